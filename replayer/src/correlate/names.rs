//! Finds the names that visitors chose for things that they made: no two copies of a session may make the same thing.
//!
//! The name of a page of a wiki, of a project, of a file that is put somewhere: no answer gives it, so nothing binds
//! it, and five copies of a session would write one page instead of five. What is *searched* for is chosen too, and so
//! are filters and languages: to make those unique would ask for what nobody asks for. A name is therefore made unique
//! only when all of this holds:
//!
//! - The session brought it: no earlier answer of the capture gave it in an address, a field or a string, and no other
//!   session had sent it (nor makes a thing of that name later).
//! - A request that changes something carried it, as a segment of its path or in a field that is called like a name
//!   (`title`, `id`, `slug`); it was no login.
//! - Something proves that the thing is new ([`Proof`]): the same address answered 404 before and 200 afterwards; or
//!   201 was the answer to a PUT of that address, or to a request whose `Location` ends in the name; or a form with a
//!   text area that had been given empty was sent, and the answer led to an address with the name, which then showed a
//!   page. This last, weakest proof counts for nothing when the session began with that name (it followed a link from
//!   elsewhere; unless others made things through the same field), when a page of the session was cut (it may have
//!   given the name), or when an address with the name had shown a page already that is more than the form. Pages that
//!   ask not to be indexed and name no canonical address show nothing: so say wikis which answer 200 that there is no
//!   such page.
//! - A word in a path may be the program's own: `/orders/17/payment` turns from 404 to 200 as well. It is a name when
//!   it has a digit, an extension, a blank or a letter beyond ASCII, or when two such words were made below one path.
//!
//! So a search, a filter, a language, a comment on what was there, an edit of an old page, a product in a basket give
//! nothing. What is missed instead: pages behind links that led nowhere, and names that occur on earlier pages.
//!
//! Servers change case and blanks of a name (`My Page`, `my_page`): names are compared without them, and each spelling
//! is made unique as it is spelt. Names are compared as hashes, in bounded memory; what was given is remembered in a
//! filter that may take a name for given that was not, and so only misses some when it fills up.

mod words;

use std::collections::{BTreeMap, BTreeSet};

use captures::{Exchange, header_value};

use crate::correlate::accounts::{is_password, last_word};
use crate::correlate::answer::{Segment, pairs, path_and_query, segment_name, segments};
use crate::correlate::asked::Field;
use crate::correlate::pattern::{Place, PlaceKind};
use crate::correlate::rules::{ANY_ROUTE, Naming, SetRule};
use crate::correlate::template::Template;
use crate::correlate::value::{ByHash, contains, hash};
pub(crate) use words::name_hash;
use words::{Filter, SEED, address, attribute, is_hidden, is_word, plain_hash, strings};

/// The most names, sessions and places of names that are followed.
const MAX_NAMES: usize = 1 << 17;
const MAX_VISITS: usize = 100_000;
const MAX_RULES: usize = 4_096;
/// The most text areas that are remembered of a session, and that are looked at in a request.
const MAX_AREAS: usize = 32;
/// The most fields of one request that may be names, and names of an address.
const MAX_SENT: usize = 512;
const MAX_LED: usize = 32;
/// The longest tag of a text area, in bytes.
const LONGEST_TAG: usize = 4_096;
/// In so many bytes a page says whether it may be indexed.
const HEAD: usize = 16 << 10;

/// What a field is called that names a thing; also what ends in one of the first.
const NAMINGS: [&str; 3] = ["name", "title", "slug"];
const NAMING: [&str; 8] = ["id", "page", "key", "path", "file", "handle", "identifier", "topic"];

/// What shows that a thing was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Its address answered 404 before, and 200 after.
    Turn,
    /// 201.
    Created,
    /// It was written in a form with an empty area, and the answer led to it.
    Written,
}

/// Looks for chosen names.
#[derive(Default)]
pub(crate) struct Names {
    offered: Filter,
    chosen: ByHash<Chosen>,
    visits: ByHash<Visit>,
    /// Of requests that carried a name: their route, and where; and the number of each by its hash.
    rules: Vec<(String, Place)>,
    by_key: ByHash<usize>,
    /// Of the exchange at hand: what may be names, what was written into empty areas, and what its page is.
    sent: Vec<Sent>,
    letters: Vec<u8>,
    contents: Vec<u64>,
    has_password: bool,
    has_empty_area: bool,
    page: Page,
    /// The number of the segment that its address is about.
    subject: Option<u8>,
}

/// A name that one session brought.
struct Chosen {
    session: u64,
    is_entry: bool,
    is_common: bool,
    /// The address that answered 404.
    missing: Option<u64>,
    was_there: bool,
    /// The path of the page with the empty area.
    form: Option<u64>,
    /// The number of the rule for the request that carried it.
    rule: Option<usize>,
    /// Of a word in a path that may be the program's own: the path before it.
    below: Option<u64>,
    /// Where the answer led after a text was written.
    led_to: Option<u64>,
    proof: Option<(Proof, u64)>,
}

/// What is remembered of a session.
#[derive(Default)]
struct Visit {
    /// Text areas, and whether they were empty when they were given.
    areas: Vec<(u64, bool)>,
    has_begun: bool,
    is_cut: bool,
}

#[derive(Clone, Copy)]
struct Sent {
    kind: PlaceKind,
    /// Where the field's name stands among the letters.
    name: (usize, usize),
    value: u64,
    is_naming: bool,
    /// Of a segment that may be a word of the program's own: the path before it.
    below: Option<u64>,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Page {
    #[default]
    None,
    /// It asks not to be indexed, and names no canonical address, as pages do that are not there.
    Hidden,
    Shown,
}

/// An address with a name that was answered 200.
struct Shown {
    target: u64,
    is_last: bool,
    page: Page,
    has_empty_area: bool,
}

impl Chosen {
    fn on_shown(&mut self, shown: &Shown, path: &[u8], exchange: u64) {
        let Shown { target, is_last, page, has_empty_area } = *shown;
        if self.missing == Some(target) && self.rule.is_some() && !self.was_there {
            self.proof = Some((Proof::Turn, exchange));
        } else if self.led_to == Some(target) && page == Page::Shown {
            self.proof = Some((Proof::Written, exchange));
        } else {
            match page {
                // What has addresses below it is there; and a page that hides after it was made hid before for
                // another reason.
                _ if !is_last || self.led_to == Some(target) => self.was_there = true,
                Page::None | Page::Hidden => {}
                Page::Shown if has_empty_area => self.form = Some(whereto(path)),
                Page::Shown => self.was_there = true,
            }
        }
    }
}

impl Names {
    /// Whether a request carried what may be a name of something that it made.
    pub(crate) fn may_make(&self) -> bool {
        !self.rules.is_empty()
    }

    /// A request has a field.
    pub(crate) fn on_field(&mut self, session: u64, field: &Field<'_>) {
        let is_address = matches!(field.kind, PlaceKind::Segment | PlaceKind::Query);
        if !is_address && !matches!(field.kind, PlaceKind::Form | PlaceKind::Multipart | PlaceKind::Json) {
            return;
        }
        if !is_address {
            self.has_password |= is_password(&last_word(&String::from_utf8_lossy(&field.name)));
            let area = hash(SEED, &field.name);
            if self.contents.len() < MAX_AREAS
                && self.visits.get(&session).is_some_and(|visit| visit.areas.contains(&(area, true)))
            {
                self.contents.push(name_hash(&field.value).unwrap_or(0));
            }
        }
        let is_naming = field.kind == PlaceKind::Segment || is_naming(&field.name);
        if (!is_naming && !is_address) || self.sent.len() >= MAX_SENT {
            return;
        }
        let Some(value) = name_hash(&field.value) else { return };
        if let Some(chosen) = self.chosen.get_mut(&value) {
            chosen.is_common |= chosen.session != session && chosen.proof.is_none();
        } else if self.offered.contains(value) || self.chosen.len() >= MAX_NAMES {
            return;
        } else {
            let chosen = Chosen {
                session,
                is_entry: !self.visits.get(&session).is_some_and(|visit| visit.has_begun),
                is_common: false,
                missing: None,
                was_there: false,
                form: None,
                rule: None,
                below: None,
                led_to: None,
                proof: None,
            };
            self.chosen.insert(value, chosen);
        }
        let from = self.letters.len();
        self.letters.extend_from_slice(&field.name);
        let is_word = field.kind == PlaceKind::Segment && is_word(&field.value);
        let below = is_word.then(|| hash(SEED, field.before));
        self.sent.push(Sent { kind: field.kind, name: (from, self.letters.len()), value, is_naming, below });
    }

    /// Its answer has this body.
    pub(crate) fn on_body(&mut self, session: u64, is_safe: bool, content_type: &[u8], body: &[u8]) {
        let media = content_type.to_ascii_lowercase();
        let is_html = contains(&media, b"html");
        let kinds = [&b"json"[..], b"xml", b"javascript", b"plain", b"urlencoded"];
        if !is_html && !kinds.iter().any(|kind| contains(&media, kind)) {
            return;
        }
        let offered = &mut self.offered;
        strings(body, is_html, &mut |name| offered.insert(name));
        if !is_html {
            return;
        }
        self.page = if is_hidden(&body[..body.len().min(HEAD)]) { Page::Hidden } else { Page::Shown };
        if is_safe && memchr::memmem::find(body, b"<textarea").is_some() {
            self.note_areas(session, body);
        }
    }

    fn note_areas(&mut self, session: u64, page: &[u8]) {
        if self.visits.len() >= MAX_VISITS && !self.visits.contains_key(&session) {
            return;
        }
        let areas = &mut self.visits.entry(session).or_default().areas;
        for at in memchr::memmem::find_iter(page, b"<textarea") {
            let tag = &page[at..];
            let Some(end) = memchr::memchr(b'>', &tag[..tag.len().min(LONGEST_TAG)]) else { continue };
            let Some(name) = attribute(&tag[..end], b"name=") else { continue };
            let text = &tag[end + 1..];
            let length = memchr::memchr(b'<', text).unwrap_or(text.len());
            let area = (hash(SEED, name), text[..length].trim_ascii().is_empty());
            self.has_empty_area |= area.1;
            areas.retain(|known| known.0 != area.0);
            if areas.len() == MAX_AREAS {
                areas.remove(0);
            }
            areas.push(area);
        }
    }

    /// The exchange at hand is over. `is_cut`: its answer is a text that was not stored whole.
    pub(crate) fn on_exchange(&mut self, exchange: &Exchange, session: u64, route: &str, is_cut: bool) {
        let status = exchange.response.as_ref().map_or(0, |response| response.status);
        let location =
            exchange.response.as_ref().and_then(|response| header_value(&response.headers, "location"));
        if !self.sent.is_empty() {
            let led = match exchange.request.method.as_slice() {
                b"PUT" | b"POST" => Led::of(location),
                // No proof needs it.
                _ => Led::default(),
            };
            let target = whereto(&exchange.request.target);
            self.subject = subject(&exchange.request.target).map(|last| last.number);
            for at in 0..self.sent.len() {
                self.weigh(exchange, session, route, status, (at, target), &led);
            }
        }
        if let Some(location) = location {
            let offered = &mut self.offered;
            address(location, &mut |name| offered.insert(name));
        }
        if self.visits.len() < MAX_VISITS || self.visits.contains_key(&session) {
            let visit = self.visits.entry(session).or_default();
            visit.has_begun = true;
            visit.is_cut |= is_cut;
        }
        self.sent.clear();
        self.letters.clear();
        self.contents.clear();
        (self.has_password, self.has_empty_area, self.page) = (false, false, Page::None);
    }

    /// What the exchange says of the name in one field of its request.
    fn weigh(
        &mut self,
        exchange: &Exchange,
        session: u64,
        route: &str,
        status: u16,
        (at, target): (usize, u64),
        led: &Led,
    ) {
        let sent = self.sent[at];
        let method = exchange.request.method.as_slice();
        let is_last = self.is_last(sent);
        let proof = self.proof(exchange, session, status, sent, led);
        let Some(chosen) = self.chosen.get_mut(&sent.value) else { return };
        if chosen.session != session {
            chosen.is_common |= proof.is_some();
            return;
        }
        if matches!(method, b"GET" | b"HEAD" | b"OPTIONS") {
            let shows = Shown { target, is_last, page: self.page, has_empty_area: self.has_empty_area };
            match status {
                404 | 410 if is_last && chosen.led_to.is_none() => chosen.missing = Some(target),
                200 if chosen.proof.is_none() => {
                    chosen.on_shown(&shows, path_of(&exchange.request.target), exchange.id.0);
                }
                _ => {}
            }
            return;
        }
        if !sent.is_naming || self.has_password || !(200..400).contains(&status) {
            return;
        }
        if chosen.proof.is_some() || (chosen.rule.is_some() && proof.is_none()) {
            return;
        }
        chosen.below = sent.below;
        match proof {
            Some(Proof::Written) => chosen.led_to = Some(led.target),
            Some(proof) => chosen.proof = Some((proof, exchange.id.0)),
            None => {}
        }
        let rule = self.rule(sent, route);
        if let Some(chosen) = self.chosen.get_mut(&sent.value) {
            chosen.rule = rule;
        }
    }

    /// Whether a field of an address says what it is about: a parameter, or the last segment when it has none.
    fn is_last(&self, sent: Sent) -> bool {
        sent.kind != PlaceKind::Segment
            || self
                .subject
                .is_some_and(|number| &self.letters[sent.name.0..sent.name.1] == segment_name(number))
    }

    /// Whether the exchange proves that its request made the thing that this field names.
    fn proof(&self, exchange: &Exchange, session: u64, status: u16, sent: Sent, led: &Led) -> Option<Proof> {
        if !sent.is_naming || self.has_password {
            return None;
        }
        let chosen = self.chosen.get(&sent.value)?;
        match (exchange.request.method.as_slice(), status) {
            (b"PUT", 201) if sent.kind == PlaceKind::Segment => {
                (sent.below.is_none() && self.is_last(sent)).then_some(Proof::Created)
            }
            (b"POST" | b"PUT", 201) if sent.kind != PlaceKind::Segment && led.last == Some(sent.value) => {
                Some(Proof::Created)
            }
            (b"POST", 201 | 301 | 302 | 303) if led.is_to(sent) => {
                let is_written = self.contents.iter().any(|text| *text != sent.value && !led.has(*text));
                let is_new = !chosen.was_there
                    && chosen.form != Some(led.path)
                    && !self.visits.get(&session).is_none_or(|visit| visit.is_cut);
                (is_written && is_new).then_some(Proof::Written)
            }
            _ => None,
        }
    }

    fn rule(&mut self, sent: Sent, route: &str) -> Option<usize> {
        let name = String::from_utf8_lossy(&self.letters[sent.name.0..sent.name.1]).into_owned();
        // The name is a part of the route, when it stands in the path.
        let route = if sent.kind == PlaceKind::Segment { ANY_ROUTE } else { route };
        let place = Place { kind: sent.kind, name };
        let next = self.rules.len();
        if next >= MAX_RULES {
            return self.by_key.get(&rule_key(route, &place)).copied();
        }
        let at = *self.by_key.entry(rule_key(route, &place)).or_insert(next);
        if at == next {
            self.rules.push((route.to_owned(), place));
        }
        Some(at)
    }

    /// The rules, and the names that each is for: by session and name, the hash of its rule. `root` says which session
    /// one really is.
    pub(crate) fn finish(self, root: impl Fn(u64) -> u64) -> (Vec<SetRule>, ByHash<u64>) {
        let is_made = |chosen: &Chosen| chosen.proof.is_some() && !chosen.is_common;
        let mut below: ByHash<u32> = ByHash::default();
        for path in self.chosen.values().filter(|chosen| is_made(chosen)).filter_map(|chosen| chosen.below) {
            *below.entry(path).or_default() += 1;
        }
        let is_weak = |chosen: &Chosen| {
            chosen.is_entry && chosen.proof.is_some_and(|(proof, _)| proof == Proof::Written)
        };
        let mut makers = vec![false; self.rules.len()];
        for chosen in self.chosen.values().filter(|chosen| is_made(chosen) && !is_weak(chosen)) {
            if let Some(rule) = chosen.rule {
                makers[rule] = true;
            }
        }
        let mut names: ByHash<u64> = ByHash::default();
        let mut found: BTreeMap<usize, (Naming, BTreeSet<u64>)> = BTreeMap::new();
        let mut all: Vec<(&u64, &Chosen)> =
            self.chosen.iter().filter(|(_, chosen)| is_made(chosen)).collect();
        all.sort_unstable_by_key(|(name, _)| **name);
        for (name, chosen) in all {
            let (Some((proof, exchange)), Some(rule)) = (chosen.proof, chosen.rule) else { continue };
            let is_word = chosen.below.is_some_and(|path| below.get(&path).is_none_or(|&names| names < 2));
            if is_word || (is_weak(chosen) && !makers[rule]) {
                continue;
            }
            let (route, place) = &self.rules[rule];
            let session = root(chosen.session);
            names.insert(name_key(session, *name), rule_key(route, place));
            let (naming, sessions) = found
                .entry(rule)
                .or_insert_with(|| (Naming { example: u64::MAX, ..Naming::default() }, BTreeSet::new()));
            naming.names += 1;
            *match proof {
                Proof::Turn => &mut naming.turned,
                Proof::Created => &mut naming.created,
                Proof::Written => &mut naming.written,
            } += 1;
            naming.example = naming.example.min(exchange);
            sessions.insert(session);
            naming.sessions = sessions.len() as u64;
        }
        let sets = found
            .into_iter()
            .filter_map(|(rule, (naming, _))| {
                let (route, place) = self.rules[rule].clone();
                let text = "{{unique}}".to_owned();
                let template = Template::parse(&text, &[]).ok()?;
                Some(SetRule { route, place, text, template, chosen: true, naming: Some(naming) })
            })
            .collect();
        (sets, names)
    }
}

/// The hash of a name that a session chose.
pub(crate) fn name_key(session: u64, name: u64) -> u64 {
    hash(session, &name.to_le_bytes())
}

/// The hash of a rule that makes chosen names unique.
pub(crate) fn rule_key(route: &str, place: &Place) -> u64 {
    hash(place.hash(), route.as_bytes())
}

/// Where an answer led.
#[derive(Default)]
struct Led {
    parameters: Vec<u64>,
    segments: Vec<u64>,
    /// The last segment of an address without parameters.
    last: Option<u64>,
    target: u64,
    path: u64,
}

impl Led {
    fn of(location: Option<&[u8]>) -> Self {
        let location = location.unwrap_or_default();
        let (path, query) = path_and_query(location);
        let last = subject(location).and_then(|last| plain_hash(last.text, true));
        let hashed = |text: &[u8]| plain_hash(text, true);
        Self {
            parameters: pairs(query).filter_map(|(_, value)| hashed(value)).take(MAX_LED).collect(),
            segments: segments(path).filter_map(|segment| hashed(segment.text)).collect(),
            last,
            target: whereto(location),
            path: whereto(path),
        }
    }

    /// Whether the address has a name in it.
    fn has(&self, name: u64) -> bool {
        self.parameters.contains(&name) || self.segments.contains(&name)
    }

    /// Whether it is an address of what a field names. A segment of the path that was asked for may recur in it as a
    /// word of the program's own, unless it ends in that.
    fn is_to(&self, sent: Sent) -> bool {
        let recurs = sent.kind == PlaceKind::Segment && !self.parameters.contains(&sent.value);
        if recurs { self.last == Some(sent.value) } else { self.has(sent.value) }
    }
}

/// The last segment of an address without parameters: `/index.php?title=First` is not about `index.php`.
fn subject(address: &[u8]) -> Option<Segment<'_>> {
    let (path, query) = path_and_query(address);
    segments(path).last().filter(|_| query.is_empty())
}

fn path_of(address: &[u8]) -> &[u8] {
    path_and_query(address).0
}

fn whereto(address: &[u8]) -> u64 {
    let (path, query) = path_and_query(address);
    hash(hash(SEED, path), query)
}

fn is_naming(field: &[u8]) -> bool {
    let word = last_word(&String::from_utf8_lossy(field));
    NAMING.contains(&word.as_str()) || NAMINGS.iter().any(|end| word.ends_with(end))
}

#[cfg(test)]
mod tests;
