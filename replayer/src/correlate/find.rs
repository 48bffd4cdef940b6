//! Reads a capture once and proposes rules.
//!
//! Every value that came and went is counted under its *candidate*: this extractor of that route's answers, into
//! this place of that route's requests. At the end each candidate is weighed (`evidence`). Where a value has several
//! proposed origins, the surest one gets it, and of equally sure ones the first.

use std::collections::HashMap;

use captures::{Exchange, Offset, RouteNames, header_value};

use crate::correlate::accounts::Accounts;
use crate::correlate::answer::Given;
use crate::correlate::asked::Field;
use crate::correlate::evidence::{Case, THRESHOLD, are_related, confidence, is_id_name};
use crate::correlate::memory::Source;
use crate::correlate::names::Names;
use crate::correlate::pattern::{Extractor, GivenKind, Part, Place, PlaceKind};
use crate::correlate::rules::{ANY_ROUTE, Evidence, Injection, Missing, Rule, RuleSet};
use crate::correlate::track::{Match, Tracker, Visitor, received};
use crate::correlate::value::{ByHash, Hashes, Strength, contains, hash};

/// The most routes, extractors and candidates that are told apart.
const MAX_ROUTES: usize = 4_096;
const MAX_PATTERNS: usize = 1 << 16;
const MAX_CANDIDATES: usize = 1 << 16;
/// The most targets whose answers are compared when they are asked again.
const MAX_REVISITS: usize = 1 << 20;
/// So many different values and sessions of one candidate are counted exactly.
const MAX_COUNTED: usize = 256;
/// The most combinations of origins of one value.
const MAX_CHOICES: usize = 1 << 16;

/// What fell over a bound while a capture was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflow {
    /// Values that were forgotten: a binding to an older answer may have been missed.
    pub values: u64,
    /// Places and routes that were not told apart.
    pub places: u64,
}

/// What was found in a capture.
#[derive(Clone, Debug)]
pub struct Found {
    /// The rules.
    pub rules: RuleSet,
    /// The exchanges that were read.
    pub exchanges: u64,
    /// Values that were sent back, bound or not.
    pub matches: u64,
    /// Candidates that were weighed and found too light.
    pub rejected: u64,
    /// What fell over a bound.
    pub overflow: Overflow,
    /// Answers of text that were not stored whole: what they gave further on is not known.
    pub cut: u64,
    /// Fields of requests that carry a password, with their routes.
    pub logins: Vec<Injection>,
    pub(crate) joined: ByHash<u64>,
    /// Names that sessions chose for what they made: by session and name, the hash of the rule for it.
    pub(crate) names: ByHash<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    pattern: u64,
    from: u32,
    place: u64,
    to: u32,
    is_token: bool,
}

#[derive(Debug)]
struct Candidate {
    key: Key,
    place: Place,
    is_related: bool,
    bindings: u64,
    created: u64,
    /// The answers that gave a value.
    sources: Hashes,
    sessions: Hashes,
    values: Hashes,
    example: (u64, u64),
    example_length: usize,
    /// Values for which this is the origin of choice.
    chosen: u64,
}

/// Looks for bindings in a capture.
#[derive(Default)]
pub struct Finder {
    tracker: Tracker,
    text: Vec<u8>,
    exchanges: u64,
    cut: u64,
    book: Book,
}

/// What is counted.
#[derive(Default)]
struct Book {
    routes: HashMap<String, u32>,
    route_names: Vec<String>,
    named: RouteNames,
    patterns: ByHash<Extractor>,
    candidates: Vec<Candidate>,
    by_key: HashMap<Key, u32>,
    /// The origins that one value had at a time, and how often.
    choices: HashMap<Vec<u32>, u64>,
    choice_order: Vec<Vec<u32>>,
    /// The value that a target gave last, and to which session.
    revisits: ByHash<(u64, u64)>,
    /// By route and extractor: how often the same target gave another value, and how often another session the same.
    /// That one session is given the same value again is the way of tokens too.
    changes: ByHash<(u64, u64)>,
    matches: u64,
    overflow: u64,
    accounts: Accounts,
    names: Names,
    /// Of the exchange at hand.
    to: u32,
    target: u64,
    exchange: u64,
}

impl Finder {
    /// With nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next exchange, in the order in which they ended.
    pub fn add(&mut self, exchange: &Exchange) {
        self.exchanges += 1;
        let is_cut = exchange.response.as_ref().is_some_and(is_cut_text);
        self.cut += u64::from(is_cut);
        received(exchange, &mut self.text);
        let route = self.book.route(&exchange.request.method, &exchange.request.target);
        self.book.to = route;
        self.book.exchange = exchange.id.0;
        self.book.target = hash(hash(3, &exchange.request.method), &exchange.request.target);
        self.tracker.observe(exchange, &self.text, 0, route, &mut self.book);
        let status = exchange.response.as_ref().map_or(0, |response| response.status);
        let name = route_name(&self.book.route_names, route);
        self.book.accounts.on_request(name, (200..400).contains(&status));
        let session = self.tracker.root(exchange.session.0);
        self.book.names.on_exchange(exchange, session, name, is_cut);
    }

    /// Whether what was read so far may come to a rule; while it may not, nothing is bound.
    pub fn may_bind(&self) -> bool {
        self.book.matches > 0 || !self.book.accounts.sets.is_empty() || self.book.names.may_make()
    }

    /// Weighs what was read.
    pub fn finish(mut self) -> Found {
        let overflow = Overflow { values: self.tracker.overflow(), places: self.book.overflow };
        let matches = self.book.matches;
        let accounts = std::mem::take(&mut self.book.accounts);
        let names = std::mem::take(&mut self.book.names);
        let (mut rules, rejected) = self.book.weigh(&self.tracker);
        let (chosen, names) = names.finish(|session| self.tracker.root(session));
        rules.sets = accounts.sets;
        rules.sets.extend(chosen);
        Found {
            rules,
            exchanges: self.exchanges,
            matches,
            rejected,
            overflow,
            cut: self.cut,
            logins: accounts.logins,
            joined: self.tracker.joined().clone(),
            names,
        }
    }
}

/// Whether an answer of text was not stored whole.
fn is_cut_text(response: &captures::Response) -> bool {
    let media = header_value(&response.headers, "content-type").unwrap_or_default().to_ascii_lowercase();
    !response.body.is_whole()
        && [&b"html"[..], b"json", b"xml", b"form-urlencoded"].iter().any(|kind| contains(&media, kind))
}

impl Book {
    fn route(&mut self, method: &[u8], target: &[u8]) -> u32 {
        let named = self.named.of(method, target);
        if let Some(number) = named.number {
            return number;
        }
        if let Some(&number) = self.routes.get(&named.name) {
            named.number = Some(number);
            return number;
        }
        if self.route_names.len() >= MAX_ROUTES {
            self.overflow += 1;
            return u32::MAX;
        }
        let number = u32::try_from(self.route_names.len()).unwrap_or(u32::MAX);
        self.route_names.push(named.name.clone());
        self.routes.insert(named.name.clone(), number);
        number
    }

    fn route_name(&self, number: u32) -> &str {
        route_name(&self.route_names, number)
    }

    /// The candidate of a source and the field at hand, if they can belong together.
    fn candidate(&mut self, source: &Source, found: &Match<'_>) -> Option<u32> {
        let extractor = self.patterns.get(&source.pattern)?;
        let field = found.field;
        let is_token = found.strength == Strength::Token;
        // A cookie is the session's, whichever answer sets it and wherever it is sent.
        let of_jar = extractor.kind == GivenKind::Cookie;
        let to_jar = of_jar && field.kind == PlaceKind::Cookie;
        if to_jar && extractor.name.as_bytes() != field.name.as_ref() {
            return None;
        }
        if field.kind == PlaceKind::Referer && !is_token && source.before != hash_before(field.before) {
            return None;
        }
        let name = String::from_utf8_lossy(&field.name).into_owned();
        let place = Place { kind: field.kind, name };
        let to = if to_jar || field.kind == PlaceKind::Referer { u32::MAX } else { self.to };
        let from = if of_jar { u32::MAX } else { source.route };
        let key = Key { pattern: source.pattern, from, place: place.hash(), to, is_token };
        let at = match self.by_key.get(&key) {
            Some(&at) => at,
            None if self.candidates.len() >= MAX_CANDIDATES => {
                self.overflow += 1;
                return None;
            }
            None => {
                let route = self.route_name(self.to);
                let is_related = are_related(
                    [self.route_name(source.route), &extractor.name],
                    [route, if place.kind == PlaceKind::Segment { "" } else { &place.name }],
                ) && (place.kind == PlaceKind::Segment || is_id_name(&place.name));
                let at = u32::try_from(self.candidates.len()).unwrap_or(u32::MAX);
                self.candidates.push(Candidate {
                    key,
                    place,
                    is_related,
                    bindings: 0,
                    created: 0,
                    sources: Hashes::default(),
                    sessions: Hashes::default(),
                    values: Hashes::default(),
                    example: (source.exchange, self.exchange),
                    example_length: found.length,
                    chosen: 0,
                });
                self.by_key.insert(key, at);
                at
            }
        };
        let extractor = self.patterns.get(&source.pattern)?;
        let candidate = &self.candidates[at as usize];
        let fits = is_token || fits_identifier(extractor, source, found, candidate);
        fits.then_some(at)
    }

    fn weigh(mut self, tracker: &Tracker) -> (RuleSet, u64) {
        let weighed: Vec<Option<Evidence>> =
            (0..self.candidates.len()).map(|at| self.evidence(at, tracker)).collect();
        for choice in &self.choice_order {
            let count = self.choices.get(choice).copied().unwrap_or(0);
            let best = choice
                .iter()
                .filter_map(|&at| weighed[at as usize].as_ref().map(|evidence| (at, evidence.confidence)))
                .reduce(|best, next| if next.1 > best.1 + 1e-9 { next } else { best });
            if let Some((at, _)) = best {
                self.candidates[at as usize].chosen += count;
            }
        }
        let mut rules: Vec<Rule> = Vec::new();
        let mut by_source: HashMap<(u64, u32, bool), usize> = HashMap::new();
        let mut rejected = 0;
        for (candidate, evidence) in self.candidates.iter().zip(weighed) {
            let Some(evidence) = evidence else {
                rejected += 1;
                continue;
            };
            if candidate.chosen == 0 {
                continue;
            }
            let Some(extractor) = self.patterns.get(&candidate.key.pattern) else { continue };
            let injection = Injection {
                route: self.route_name(candidate.key.to).to_owned(),
                place: candidate.place.clone(),
            };
            let source = (candidate.key.pattern, candidate.key.from, candidate.key.is_token);
            if let Some(&at) = by_source.get(&source) {
                let rule: &mut Rule = &mut rules[at];
                if !rule.into.contains(&injection) {
                    rule.into.push(injection);
                }
                if let Some(known) = &mut rule.evidence {
                    known.bindings += evidence.bindings;
                    known.sessions = known.sessions.max(evidence.sessions);
                    known.values = known.values.max(evidence.values);
                    known.confidence = known.confidence.max(evidence.confidence);
                }
                continue;
            }
            let route = self.route_name(candidate.key.from).to_owned();
            let name =
                if route == ANY_ROUTE { extractor.to_string() } else { format!("{extractor} of {route}") };
            by_source.insert(source, rules.len());
            rules.push(Rule {
                name,
                route,
                extractor: extractor.clone(),
                into: vec![injection],
                newest: false,
                created: !candidate.key.is_token,
                missing: Missing::Recorded,
                evidence: Some(evidence),
            });
        }
        rules.sort_by(|a, b| {
            let rank =
                |rule: &Rule| rule.evidence.as_ref().map_or((0.0, 0), |it| (it.confidence, it.bindings));
            rank(b)
                .partial_cmp(&rank(a))
                .unwrap_or(std::cmp::Ordering::Equal)
                .then_with(|| a.name.cmp(&b.name))
        });
        (RuleSet { rules, sets: Vec::new() }, rejected)
    }

    /// What speaks for a candidate; `None` when that is too little.
    fn evidence(&self, at: usize, tracker: &Tracker) -> Option<Evidence> {
        let candidate = &self.candidates[at];
        let extractor = self.patterns.get(&candidate.key.pattern)?;
        let shared = sorted(&candidate.values).iter().filter(|&&value| tracker.is_shared(value)).count();
        let (changed, unchanged) = self
            .changes
            .get(&change_key(candidate.key.pattern, candidate.key.from))
            .copied()
            .unwrap_or_default();
        let mut evidence = Evidence {
            confidence: 0.0,
            bindings: candidate.bindings,
            sessions: candidate.sessions.len() as u64,
            values: candidate.values.len() as u64,
            shared_ratio: shared as f64 / candidate.values.len().max(1) as f64,
            changed,
            unchanged,
            created_ratio: candidate.created as f64 / candidate.bindings.max(1) as f64,
            example: candidate.example,
            example_length: candidate.example_length,
        };
        // What is created is something else each time.
        let is_constant = !candidate.key.is_token && 2 * candidate.values.len() <= candidate.sources.len();
        if candidate.bindings == 0 || is_constant {
            return None;
        }
        let case = Case {
            given: extractor.kind,
            // A link is called by its path; what its parameter is called says more.
            given_name: match &extractor.part {
                Part::Query(name) => name,
                _ => &extractor.name,
            },
            place: candidate.place.kind,
            place_name: &candidate.place.name,
            strength: if candidate.key.is_token { Strength::Token } else { Strength::Id },
        };
        evidence.confidence = confidence(&case, &evidence);
        (evidence.confidence >= THRESHOLD).then_some(evidence)
    }
}

/// Whether an identifier of this source can be meant by the field: it stands behind the same path, or the names and
/// routes have to do with one another.
pub(crate) fn fits_identifier_places(
    extractor: &Extractor,
    source: &Source,
    found: &Match<'_>,
    is_related: bool,
) -> bool {
    let field = found.field;
    if field.before.is_empty() {
        let same_field = extractor.kind == GivenKind::Input
            && matches!(field.kind, PlaceKind::Form | PlaceKind::Multipart)
            && extractor.name.as_bytes() == field.name.as_ref();
        return same_field || (is_related && extractor.kind != GivenKind::Input);
    }
    if source.before != 0 {
        return source.before == hash_before(field.before);
    }
    is_related
}

fn fits_identifier(extractor: &Extractor, source: &Source, found: &Match<'_>, candidate: &Candidate) -> bool {
    source.is_created && fits_identifier_places(extractor, source, found, candidate.is_related)
}

pub(crate) fn hash_before(path: &[u8]) -> u64 {
    if path.is_empty() { 0 } else { hash(0x6C69_6E6B, path) }
}

fn change_key(pattern: u64, route: u32) -> u64 {
    hash(pattern, &route.to_le_bytes())
}

fn sorted(set: &Hashes) -> Vec<u64> {
    let mut all: Vec<u64> = set.iter().copied().collect();
    all.sort_unstable();
    all
}

fn count_into(set: &mut Hashes, value: u64) {
    if set.len() < MAX_COUNTED {
        set.insert(value);
    }
}

fn route_name(names: &[String], number: u32) -> &str {
    names.get(number as usize).map_or(ANY_ROUTE, String::as_str)
}

impl Visitor for Book {
    fn on_field(&mut self, session: u64, field: &Field<'_>, _at: Offset) {
        self.accounts.on_field(field);
        self.names.on_field(session, field);
    }

    fn on_body(&mut self, session: u64, is_safe: bool, content_type: &[u8], body: &[u8]) {
        self.names.on_body(session, is_safe, content_type, body);
    }

    fn on_match(&mut self, session: u64, found: &Match<'_>) {
        self.matches += 1;
        let mut choice = Vec::new();
        for source in found.sources {
            let Some(at) = self.candidate(source, found) else { continue };
            if choice.contains(&at) {
                continue;
            }
            choice.push(at);
            let candidate = &mut self.candidates[at as usize];
            candidate.bindings += 1;
            candidate.created += u64::from(source.is_created);
            count_into(&mut candidate.sources, source.exchange);
            count_into(&mut candidate.sessions, session);
            count_into(&mut candidate.values, found.value);
        }
        if choice.is_empty() {
            return;
        }
        if let Some(count) = self.choices.get_mut(&choice) {
            *count += 1;
        } else if self.choices.len() >= MAX_CHOICES {
            self.overflow += 1;
        } else {
            self.choice_order.push(choice.clone());
            self.choices.insert(choice, 1);
        }
    }

    fn on_given(&mut self, session: u64, source: &Source, value: u64, given: &Given<'_>) {
        if !self.patterns.contains_key(&source.pattern) {
            if self.patterns.len() >= MAX_PATTERNS {
                self.overflow += 1;
                return;
            }
            let name = String::from_utf8_lossy(given.name).into_owned();
            self.patterns
                .insert(source.pattern, Extractor { kind: given.kind, name, part: given.part.owned() });
        }
        if given.kind == GivenKind::Cookie {
            return;
        }
        let place = hash(self.target ^ source.pattern, &source.ordinal.to_le_bytes());
        if let Some((known, whose)) = self.revisits.get_mut(&place) {
            let (is_same, is_other) = (*known == value, *whose != session);
            (*known, *whose) = (value, session);
            let key = change_key(source.pattern, source.route);
            if (!is_same || is_other)
                && (self.changes.len() < MAX_PATTERNS || self.changes.contains_key(&key))
            {
                let (changed, unchanged) = self.changes.entry(key).or_default();
                *(if is_same { unchanged } else { changed }) += 1;
            }
        } else if self.revisits.len() < MAX_REVISITS {
            self.revisits.insert(place, (value, session));
        }
    }
}

#[cfg(test)]
mod frameworks;
#[cfg(test)]
pub(crate) mod tests;
