//! What all who look for secrets share: the lists, the pseudonyms, and a note of what was found.

use std::collections::BTreeMap;
use std::ops::Range;

use captures::Masking;

use crate::redact::memory::Memory;
use crate::redact::names::{Names, Rule, SHORT_CODES, Spelling, Verdict};
use crate::redact::path::Path;
use crate::redact::policy::MaskRules;
use crate::redact::pseudonym::Pseudonyms;
use crate::redact::tokens::Tokens;

/// Masks what it is shown.
pub(super) struct Masker {
    pseudonyms: Pseudonyms,
    pub(super) headers: Names,
    pub(super) cookies: Names,
    pub(super) query: Names,
    pub(super) fields: Names,
    pub(super) paths: Vec<Path>,
    pub(super) tokens: Option<(Tokens, Rule)>,
    pub(super) cards: Option<Rule>,
    /// Passwords in addresses.
    pub(super) userinfo: Rule,
    /// What is wrapped too often, or in a way that nobody looks through.
    pub(super) wrapped: Rule,
    /// The rules, a line each.
    lines: Vec<String>,
    pub(super) memory: Memory,
    /// What was found since this was last asked, when somebody asks at all.
    pub(super) found: Option<Vec<Found>>,
}

/// One secret that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where, e.g. `request header cookie`.
    pub place: String,
    /// By which rule, e.g. `field *token*`.
    pub rule: String,
    /// The secret.
    pub before: Vec<u8>,
    /// Its pseudonym.
    pub after: Vec<u8>,
}

impl Masker {
    pub(super) fn new(key: &[u8; 32], rules: &MaskRules) -> Self {
        let pseudonyms = Pseudonyms::new(key);
        let seed = u64::from_le_bytes(pseudonyms.id());
        let mut lines = Vec::new();
        let mut line = |text: String| {
            // A policy has a few hundred rules; what comes after 65,535 shares the last number.
            let rule = Rule(u16::try_from(lines.len()).unwrap_or(u16::MAX));
            lines.push(text);
            rule
        };
        let mut headers = Names::new(Spelling::Header, seed);
        for entry in &rules.headers {
            let rule = line(format!("header {entry}"));
            headers.push(entry, Verdict::Secret(rule));
        }
        let mut cookies = Names::new(Spelling::Header, seed);
        for entry in &rules.cookies {
            let rule = line(format!("cookie {entry}"));
            cookies.push(entry, Verdict::Secret(rule));
        }
        let (mut query, mut fields) = (Names::new(Spelling::Field, seed), Names::new(Spelling::Field, seed));
        let mut paths = Vec::new();
        for entry in SHORT_CODES {
            let rule = line(format!("field {entry} of 3 or 4 digits"));
            query.push(entry, Verdict::ShortCode(rule));
            fields.push(entry, Verdict::ShortCode(rule));
        }
        for entry in &rules.fields {
            let rule = line(format!("field {entry}"));
            match Path::parse(entry, rule) {
                Some(path) => paths.push(path),
                None => {
                    query.push(entry, Verdict::Secret(rule));
                    fields.push(entry, Verdict::Secret(rule));
                }
            }
        }
        for entry in &rules.query {
            let rule = line(format!("query {entry}"));
            query.push(entry, Verdict::Secret(rule));
        }
        let userinfo = line("user and password in addresses".to_owned());
        let wrapped = line("what is wrapped too deep to look into".to_owned());
        let cards = rules.cards.then(|| line("card numbers in text".to_owned()));
        let tokens = rules.tokens.then(|| (Tokens::new(), line("tokens in text".to_owned())));
        Self {
            pseudonyms,
            headers,
            cookies,
            query,
            fields,
            paths,
            tokens,
            cards,
            userinfo,
            wrapped,
            lines,
            memory: Memory::new(seed),
            found: None,
        }
    }

    /// What the capture's header says of it.
    pub(super) fn masking(&self) -> Masking {
        Masking::Pseudonyms { key_id: self.pseudonyms.id(), rules: self.lines.clone() }
    }

    /// Puts the pseudonym of `secret` in its place; whether that changed anything.
    pub(super) fn replace(&mut self, rule: Rule, secret: &mut [u8]) -> bool {
        if secret.is_empty() {
            return false;
        }
        let Some(found) = &mut self.found else {
            self.pseudonyms.replace(secret);
            return true;
        };
        let before = secret.to_vec();
        self.pseudonyms.replace(secret);
        let rule = self.lines.get(usize::from(rule.0)).cloned().unwrap_or_default();
        found.push(Found { place: String::new(), rule, before, after: secret.to_vec() });
        true
    }

    /// Lets `look` look at one place.
    pub(super) fn at<T>(&mut self, place: &str, look: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.found_so_far();
        let seen = look(self);
        self.name_place(before, || place.to_owned());
        seen
    }

    /// The secrets that were noted so far.
    pub(super) fn found_so_far(&self) -> usize {
        self.found.as_ref().map_or(0, Vec::len)
    }

    /// Says where those were found that were noted after the first `before`.
    pub(super) fn name_place(&mut self, before: usize, place: impl Fn() -> String) {
        for found in self.found.iter_mut().flat_map(|found| &mut found[before..]) {
            found.place = place();
        }
    }

    /// Masks what is known by its shape: tokens and card numbers.
    pub(super) fn shapes(&mut self, text: &mut [u8], is_cut: bool, done: &mut Done) {
        // The places are few; without one, nothing is allocated.
        let mut places: Vec<(Range<usize>, Rule)> = Vec::new();
        if let Some((tokens, rule)) = &self.tokens {
            tokens.find(text, is_cut, |place| places.push((place, *rule)));
        }
        if let Some(rule) = self.cards {
            super::cards::find(text, is_cut, |place| places.push((place, rule)));
        }
        for (place, rule) in places {
            if done.is_free(&place) {
                self.replace(rule, &mut text[place.clone()]);
                done.push(place);
            }
        }
    }
}

/// What of a text was masked already, so that no pseudonym is masked again.
#[derive(Default)]
pub(super) struct Done {
    /// Where each place ends, by where it begins; no two of them meet.
    places: BTreeMap<usize, usize>,
    is_any: bool,
}

impl Done {
    pub(super) fn push(&mut self, place: Range<usize>) {
        self.is_any = true;
        self.note(place);
    }

    /// A place in which nothing else needs to be looked for, whether something was masked there or not.
    pub(super) fn note(&mut self, place: Range<usize>) {
        let mut place = place;
        // Most places are free; one that meets others takes their room, too.
        while let Some((&start, &end)) = self.last_before(&place) {
            self.places.remove(&start);
            place = start.min(place.start)..end.max(place.end);
        }
        if !place.is_empty() {
            self.places.insert(place.start, place.end);
        }
    }

    pub(super) fn is_free(&self, place: &Range<usize>) -> bool {
        self.last_before(place).is_none()
    }

    pub(super) const fn is_any(&self) -> bool {
        self.is_any
    }

    /// The last place that meets `place`.
    fn last_before(&self, place: &Range<usize>) -> Option<(&usize, &usize)> {
        self.places.range(..place.end).next_back().filter(|(_, end)| **end > place.start)
    }
}
