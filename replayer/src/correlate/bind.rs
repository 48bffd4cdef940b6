//! Reads a capture a second time and says, for each request, which of its bytes come from which earlier answer.
//!
//! Where the recorded value of a field was given by an answer that a rule names, the field is bound to *that* value of
//! that answer. So a session that makes three orders and looks at the second again does the same in a replay.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use captures::{Exchange, Offset, RouteNames};

use crate::correlate::answer::Given;
use crate::correlate::asked::{self, Field, Inside, Written};
use crate::correlate::find::{Found, fits_identifier_places};
use crate::correlate::memory::Source;
use crate::correlate::names::{name_hash, name_key, rule_key};
use crate::correlate::pattern::{Extractor, GivenKind, PlaceKind, place_hash};
use crate::correlate::rules::{ANY_ROUTE, RuleSet};
use crate::correlate::track::{Match, Tracker, Visitor, received};
use crate::correlate::value::{ByHash, Hashes, hash};

/// The most newest values that are kept for rules that take the newest.
const MAX_NEWEST: usize = 1 << 18;
/// In a longer field no name is looked for.
const LONGEST_NAMING: usize = 512;

/// A stretch of a request that is to hold a live value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The bytes of the request that are replaced.
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) written: Written,
    pub(crate) base64: Option<asked::Base64>,
    /// What stands around the value in the field.
    pub(crate) before: Vec<u8>,
    pub(crate) after: Vec<u8>,
    pub(crate) origin: Origin,
    /// Which rule says so; those that make values come after those that take them.
    pub(crate) rule: u32,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From the answer of an earlier exchange.
    Answer { exchange: u64, pattern: u64, ordinal: u32 },
    /// A cookie: from that answer, or from whichever sets it last.
    Cookie { exchange: u64, pattern: u64 },
    /// It is made, by the set rule of this number, where the recording had this value.
    Made { set: u32, recorded: Vec<u8> },
}

/// Binds requests by rules.
pub struct Binder {
    tracker: Tracker,
    text: Vec<u8>,
    desk: Desk,
}

/// A rule, as far as it is looked up.
struct Compiled {
    from: Option<String>,
    into: Vec<(Option<String>, u64)>,
    newest: bool,
    created: bool,
    extractor: Extractor,
}

struct Desk {
    rules: Vec<Compiled>,
    by_pattern: ByHash<Vec<u32>>,
    /// Of rules that take the newest value: their places.
    newest_places: BTreeMap<u64, Vec<u32>>,
    newest: HashMap<(u64, u32), Source>,
    /// Of rules that make values: their routes and places; none, of those for chosen names.
    sets: Vec<Option<(Option<String>, u64)>>,
    /// Names that sessions chose, by session and name: by which of those rules they are made unique.
    chosen: ByHash<u32>,
    /// Values that are made, by session: by which of those rules.
    made: ByHash<u32>,
    routes: HashMap<String, u32>,
    names: Vec<String>,
    named: RouteNames,
    to: u32,
    bindings: Vec<Binding>,
}

impl Binder {
    /// Binds by `rules`; what a look at the same capture found helps to know its sessions.
    pub fn new(rules: &RuleSet, found: Option<&Found>) -> Self {
        let route = |name: &String| (name != ANY_ROUTE).then(|| name.clone());
        let mut by_pattern: ByHash<Vec<u32>> = ByHash::default();
        let mut newest_places: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        let mut always = Hashes::default();
        let mut compiled = Vec::new();
        for (at, rule) in rules.rules.iter().enumerate() {
            let number = u32::try_from(at).unwrap_or(u32::MAX);
            let pattern = rule.extractor.hash();
            by_pattern.entry(pattern).or_default().push(number);
            if !rule.created {
                always.insert(pattern);
            }
            let into: Vec<_> = rule.into.iter().map(|into| (route(&into.route), into.place.hash())).collect();
            if rule.newest {
                into.iter().for_each(|(_, place)| newest_places.entry(*place).or_default().push(number));
            }
            compiled.push(Compiled {
                from: route(&rule.route),
                into,
                newest: rule.newest,
                created: rule.created,
                extractor: rule.extractor.clone(),
            });
        }
        let mut chosen: ByHash<u32> = ByHash::default();
        for (at, set) in rules.sets.iter().enumerate().filter(|(_, set)| set.chosen) {
            let key = rule_key(&set.route, &set.place);
            let of_rule = found.into_iter().flat_map(|found| &found.names).filter(|(_, rule)| **rule == key);
            chosen.extend(of_rule.map(|(name, _)| (*name, u32::try_from(at).unwrap_or(u32::MAX))));
        }
        let joined = found.map(|found| found.joined.clone()).unwrap_or_default();
        Self {
            tracker: Tracker::again(joined, always),
            text: Vec::new(),
            desk: Desk {
                rules: compiled,
                by_pattern,
                newest_places,
                newest: HashMap::new(),
                sets: rules
                    .sets
                    .iter()
                    .map(|set| (!set.chosen).then(|| (route(&set.route), set.place.hash())))
                    .collect(),
                chosen,
                made: ByHash::default(),
                routes: HashMap::new(),
                names: Vec::new(),
                named: RouteNames::default(),
                to: 0,
                bindings: Vec::new(),
            },
        }
    }

    /// The number of an exchange's session; the same for recorded sessions that are one.
    pub(crate) fn session(&self, exchange: &Exchange) -> u64 {
        self.tracker.root(exchange.session.0)
    }

    /// Takes in the next exchange, in the order in which they ended. `text` is its request as it will be sent, with
    /// `skip` bytes of base path; `None` when it will not. Gives its bindings in the order of their places.
    pub(crate) fn add(&mut self, exchange: &Exchange, text: Option<(&[u8], usize)>) -> Vec<Binding> {
        self.desk.to = self.desk.number(exchange);
        self.desk.bindings.clear();
        let to = self.desk.to;
        match text {
            Some((text, skip)) => self.tracker.observe(exchange, text, skip, to, &mut self.desk),
            None => {
                received(exchange, &mut self.text);
                self.tracker.observe(exchange, &self.text, 0, to, &mut self.desk);
                self.desk.bindings.clear();
            }
        }
        let mut bindings = std::mem::take(&mut self.desk.bindings);
        // One patch a place: all of a field wins over a part of it.
        bindings.sort_by_key(|binding| (binding.start, std::cmp::Reverse(binding.end)));
        let mut end = 0;
        bindings.retain(|binding| {
            let is_free = binding.start >= end;
            end = end.max(binding.end);
            is_free
        });
        bindings
    }
}

impl Desk {
    fn number(&mut self, exchange: &Exchange) -> u32 {
        let named = self.named.of(&exchange.request.method, &exchange.request.target);
        if let Some(number) = named.number {
            return number;
        }
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let number = *self.routes.entry(named.name.clone()).or_insert(next);
        if number == next {
            self.names.push(named.name.clone());
        }
        named.number = Some(number);
        number
    }

    fn is_route(&self, wanted: Option<&String>, number: u32) -> bool {
        wanted.is_none_or(|wanted| self.names.get(number as usize) == Some(wanted))
    }

    /// The rule by which a source gives this field its value.
    fn rule(&self, source: &Source, field: &Field<'_>, is_known: impl Fn(&Compiled) -> bool) -> Option<u32> {
        let place = place_hash(field.kind, &field.name);
        self.by_pattern.get(&source.pattern)?.iter().copied().find(|&number| {
            let rule = &self.rules[number as usize];
            self.is_route(rule.from.as_ref(), source.route)
                && rule.into.iter().any(|(to, into)| *into == place && self.is_route(to.as_ref(), self.to))
                && is_known(rule)
        })
    }

    fn bind(&mut self, source: &Source, rule: u32, field: &Field<'_>, inside: Inside) {
        let whole = inside.start == 0 && inside.end == field.value.len() && inside.base64.is_none();
        // A part of a field that is written as it is said is replaced alone.
        let plain = matches!(field.written, Written::AsIs)
            || (inside.base64.is_none() && field.value.len() == field.range.len());
        let (mut start, mut end) = (field.range.start, field.range.end);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        if let Some(base64) = inside.base64 {
            let scheme = if field.value.get(..6).is_some_and(|word| word.eq_ignore_ascii_case(b"basic ")) {
                6
            } else {
                0
            };
            start += scheme;
            let Some(text) = base64.decode(&field.value[scheme..]) else { return };
            before.extend_from_slice(&text[..inside.start]);
            after.extend_from_slice(&text[inside.end..]);
        } else if plain {
            end = start + inside.end;
            start += inside.start;
        } else if !whole {
            before.extend_from_slice(&field.value[..inside.start]);
            after.extend_from_slice(&field.value[inside.end..]);
        }
        let Source { exchange, pattern, ordinal, .. } = *source;
        let origin = match self.rules[rule as usize].extractor.kind {
            GivenKind::Cookie => Origin::Cookie { exchange, pattern },
            _ => Origin::Answer { exchange, pattern, ordinal },
        };
        let (written, base64) = (field.written, inside.base64);
        self.bindings.push(Binding { start, end, written, base64, before, after, origin, rule });
    }

    /// Binds a field to a value that is made, if a rule says so or the session had such a value made before.
    fn make(&mut self, session: u64, field: &Field<'_>) {
        let value = hash(session, &field.value);
        let place = place_hash(field.kind, &field.name);
        let named = self.sets.iter().position(|set| {
            set.as_ref().is_some_and(|(to, into)| *into == place && self.is_route(to.as_ref(), self.to))
        });
        if named.is_none() && self.make_chosen(session, field) {
            return;
        }
        let set = match named {
            Some(set) => {
                let set = u32::try_from(set).unwrap_or(u32::MAX);
                if self.made.len() < MAX_NEWEST {
                    self.made.entry(value).or_insert(set);
                }
                self.made.get(&value).copied().unwrap_or(set)
            }
            // A short word, or a number, is likely to stand for something else elsewhere.
            None if field.value.len() < 3 || field.value.iter().all(u8::is_ascii_digit) => return,
            None => match self.made.get(&value) {
                Some(&set) => set,
                None => return,
            },
        };
        self.put_made(set, field, 0..field.value.len());
    }

    /// Binds what of a field is a name that the session chose for something it made; whether all of it is.
    fn make_chosen(&mut self, session: u64, field: &Field<'_>) -> bool {
        let kinds = [PlaceKind::Header, PlaceKind::Cookie, PlaceKind::Text];
        if self.chosen.is_empty() || kinds.contains(&field.kind) || field.value.len() > LONGEST_NAMING {
            return false;
        }
        let find =
            |part: &[u8]| name_hash(part).and_then(|name| self.chosen.get(&name_key(session, name)).copied());
        let value = field.value.as_ref();
        if let Some(set) = find(value) {
            self.put_made(set, field, 0..value.len());
            return true;
        }
        // `Talk:First`, `Special:History/First`, `title=First&action=edit`.
        let mut at = 0;
        let mut parts = Vec::new();
        for part in value.split(|byte| matches!(byte, b'/' | b':' | b'?' | b'&' | b'=' | b'#' | b'|')) {
            if let Some(set) = find(part).filter(|_| part.len() < value.len()) {
                parts.push((set, at..at + part.len()));
            }
            at += part.len() + 1;
        }
        // One patch a field, where its writing has to be renewed as a whole.
        for (set, part) in parts.into_iter().take(1) {
            self.put_made(set, field, part);
        }
        false
    }

    /// Binds a part of a field to a value that is made.
    fn put_made(&mut self, set: u32, field: &Field<'_>, part: Range<usize>) {
        let rule = u32::try_from(self.rules.len()).unwrap_or(u32::MAX).saturating_add(set);
        let (before, after) = (field.value[..part.start].to_vec(), field.value[part.end..].to_vec());
        self.bindings.push(Binding {
            start: field.range.start,
            end: field.range.end,
            written: field.written,
            base64: None,
            before,
            after,
            origin: Origin::Made { set, recorded: field.value[part].to_vec() },
            rule,
        });
    }
}

impl Visitor for Desk {
    fn on_field(&mut self, session: u64, field: &Field<'_>, at: Offset) {
        if !self.sets.is_empty() {
            self.make(session, field);
        }
        if self.newest_places.is_empty() {
            return;
        }
        let place = place_hash(field.kind, &field.name);
        let Some(rules) = self.newest_places.get(&place) else { return };
        let found = rules.iter().find_map(|rule| {
            let source = self.newest.get(&(session, *rule)).filter(|source| source.from <= at)?;
            self.rule(source, field, |rule| rule.newest).map(|rule| (*source, rule))
        });
        if let Some((source, rule)) = found {
            let length = field.value.len();
            let start = match field.value.iter().position(|&byte| byte == b' ') {
                // `Bearer x`: the word stays.
                Some(space) if field.kind == PlaceKind::Header && space < 16 => space + 1,
                _ => 0,
            };
            self.bind(&source, rule, field, Inside { start, end: length, base64: None });
        }
    }

    fn on_match(&mut self, _session: u64, found: &Match<'_>) {
        let best = found
            .sources
            .iter()
            .filter_map(|source| {
                let rule = self.rule(source, found.field, |rule| {
                    !rule.newest
                        && (!rule.created
                            || (source.is_created
                                && fits_identifier_places(&rule.extractor, source, found, true)))
                })?;
                // Of a cookie, the newest setting is waited for.
                let is_cookie = self.rules[rule as usize].extractor.kind == GivenKind::Cookie;
                Some((rule, if is_cookie { u64::MAX - source.from.as_nanos() } else { 0 }, *source))
            })
            .min_by_key(|(rule, late, _)| (*rule, *late));
        if let Some((rule, _, source)) = best {
            self.bind(&source, rule, found.field, found.inside);
        }
    }

    fn on_given(&mut self, session: u64, source: &Source, _value: u64, _given: &Given<'_>) {
        let Some(rules) = self.by_pattern.get(&source.pattern) else { return };
        for &number in rules {
            let rule = &self.rules[number as usize];
            if rule.newest
                && self.is_route(rule.from.as_ref(), source.route)
                && (self.newest.len() < MAX_NEWEST || self.newest.contains_key(&(session, number)))
            {
                let known = self.newest.entry((session, number)).or_insert(*source);
                if source.exchange != known.exchange && source.from >= known.from {
                    *known = *source;
                }
            }
        }
    }
}
