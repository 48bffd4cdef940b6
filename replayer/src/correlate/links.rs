//! Bindings, compiled for a replay: what each request takes from its session's answers, and what its own answer gives.
//!
//! ```text
//! answer of request 3 ──take──▶ slot 0 of the session's copy ──patch──▶ bytes 118..150 of request 7
//! ```
//!
//! A slot holds one value. A cookie has one slot for the whole session, which any answer may set. Requests of
//! sessions without bindings know nothing of all this.

use std::collections::{BTreeMap, HashMap};

use captures::ExchangeId;

use crate::correlate::asked::{Base64, Written};
use crate::correlate::bind::{Binding, Origin};
use crate::correlate::render::Frame;
use crate::correlate::rules::Missing;
use crate::correlate::template::{Table, Template};
use crate::plan::{Plan, PlannedRequest};

/// No number.
pub(crate) const NONE: u32 = u32::MAX;

/// All bindings of a plan.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pub(crate) requests: Vec<RequestLinks>,
    shapes: Vec<Shape>,
    pub(crate) sessions: Vec<SessionLinks>,
    pub(crate) patches: Vec<Patch>,
    pub(crate) takes: Vec<Take>,
    pub(crate) waits: Vec<u32>,
    pub(crate) jars: Vec<(u64, u32)>,
    pub(crate) made: Vec<Made>,
    pub(crate) making: Making,
    pub(crate) rules: Vec<RuleNote>,
    /// Bindings to answers of requests that are not in the plan.
    pub(crate) unplanned: u64,
}

impl Plan {
    /// How many values are put into the requests of one replay at 1x.
    pub fn bound_values(&self) -> usize {
        let links = self.links();
        (0..count(&links.requests)).map(|own| links.patches(own).len()).sum()
    }

    /// The names of the rules by which values are bound, in the order of [`crate::Totals::rules`].
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.links().rules.iter().map(|rule| rule.name.as_str())
    }

    /// Bindings that cannot be kept, because the request whose answer gives the value is not planned.
    pub const fn unplanned_bindings(&self) -> u64 {
        self.links().unplanned
    }
}

/// What is known of a rule while it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleNote {
    pub(crate) name: String,
    pub(crate) missing: Missing,
}

/// What values are made with.
#[derive(Clone, Debug, Default)]
pub struct Making {
    /// Data that templates refer to.
    pub tables: Vec<Table>,
    /// The seed of what is random in them.
    pub seed: u64,
    /// When the replay begins, in milliseconds since 1970-01-01 UTC.
    pub started_ms: i64,
    /// When the recording began, likewise.
    pub recorded_ms: i64,
    /// The templates, in the order of the rules that set values.
    pub templates: Vec<Template>,
}

/// A slot of a session that is filled when a copy of it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) slot: u32,
    pub(crate) set: u32,
    pub(crate) recorded: Vec<u8>,
}

type Stretch = (u32, u32);

/// The bindings of one request of a session that has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestLinks {
    shape: u32,
    /// Its number among those of its session whose answers are waited for; [`NONE`] when nobody waits.
    pub(crate) giver: u32,
    /// How many requests of its session follow it.
    pub(crate) followers: u32,
}

/// What many requests have in common: the same page asked for by the next visitor is patched in the same places. It
/// is in the processor's cache then, which what each request has for itself is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    patches: Stretch,
    takes: Stretch,
    waits: Stretch,
    /// How the text is laid out, when it has patches.
    frame: Frame,
}

/// A shape while it is looked for.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Outline {
    patches: Vec<Patch>,
    takes: Vec<Take>,
    waits: Vec<u32>,
    frame: Frame,
}

/// What one copy of a session needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionLinks {
    pub(crate) slots: u32,
    pub(crate) givers: u32,
    jar: Stretch,
    made: Stretch,
}

/// A stretch of a request's text that holds the value of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Patch {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) slot: u32,
    pub(crate) written: Written,
    pub(crate) base64: Option<Base64>,
    pub(crate) before: Vec<u8>,
    pub(crate) after: Vec<u8>,
    pub(crate) rule: u32,
}

/// A value of an answer that goes into a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Take {
    pub(crate) pattern: u64,
    pub(crate) ordinal: u32,
    pub(crate) slot: u32,
}

impl Links {
    pub(crate) fn patches(&self, links: u32) -> &[Patch] {
        stretch(&self.patches, self.shape(links).patches)
    }

    pub(crate) fn takes(&self, links: u32) -> &[Take] {
        stretch(&self.takes, self.shape(links).takes)
    }

    /// The numbers of the answers that this request waits for.
    pub(crate) fn waits(&self, links: u32) -> &[u32] {
        stretch(&self.waits, self.shape(links).waits)
    }

    /// How the text of a request with patches is laid out.
    pub(crate) fn frame(&self, links: u32) -> Frame {
        self.shape(links).frame
    }

    fn add(&mut self, outline: &Outline) -> u32 {
        let shape = Shape {
            patches: extend(&mut self.patches, outline.patches.clone()),
            takes: extend(&mut self.takes, outline.takes.clone()),
            waits: extend(&mut self.waits, outline.waits.clone()),
            frame: outline.frame,
        };
        self.shapes.push(shape);
        count(&self.shapes) - 1
    }

    fn shape(&self, links: u32) -> &Shape {
        &self.shapes[self.requests[links as usize].shape as usize]
    }

    /// The cookies of a session: the number of their extractor, and their slot.
    pub(crate) fn jar(&self, session: u32) -> &[(u64, u32)] {
        stretch(&self.jars, self.sessions[session as usize].jar)
    }

    /// The slots of a session that are filled with made values.
    pub(crate) fn made(&self, session: u32) -> &[Made] {
        stretch(&self.made, self.sessions[session as usize].made)
    }
}

fn stretch<T>(all: &[T], (from, to): Stretch) -> &[T] {
    &all[from as usize..to as usize]
}

/// What one session is being compiled into.
#[derive(Default)]
struct Draft {
    slots: u32,
    givers: HashMap<usize, u32>,
    cookies: BTreeMap<u64, u32>,
    values: HashMap<(usize, u64, u32), u32>,
    made: Vec<Made>,
}

impl Draft {
    fn new_slot(&mut self) -> u32 {
        self.slots += 1;
        self.slots - 1
    }

    /// The slot of what the answer to `source` gives; a new one is told to `taken`.
    fn slot_of(&mut self, origin: &Origin, source: usize, taken: impl FnOnce(Take)) -> u32 {
        match *origin {
            Origin::Cookie { pattern, .. } => {
                if let Some(&slot) = self.cookies.get(&pattern) {
                    return slot;
                }
                let slot = self.new_slot();
                self.cookies.insert(pattern, slot);
                slot
            }
            Origin::Answer { pattern, ordinal, .. } => {
                if let Some(&slot) = self.values.get(&(source, pattern, ordinal)) {
                    return slot;
                }
                let slot = self.new_slot();
                self.values.insert((source, pattern, ordinal), slot);
                taken(Take { pattern, ordinal, slot });
                slot
            }
            Origin::Made { .. } => NONE,
        }
    }
}

/// Compiles the `bindings` of `requests`, which are in order of arrival; each request learns where its own are.
pub(crate) fn compile(
    requests: &mut [PlannedRequest],
    sessions: u32,
    mut bindings: HashMap<ExchangeId, (Frame, Vec<Binding>)>,
    rules: Vec<RuleNote>,
    making: Making,
) -> Links {
    let mut links = Links { rules, making, ..Links::default() };
    let places: HashMap<u64, usize> =
        requests.iter().enumerate().map(|(at, request)| (request.exchange.0, at)).collect();
    let mut drafts: BTreeMap<u32, Draft> = BTreeMap::new();
    let mut outlines: HashMap<usize, Outline> = HashMap::new();
    for at in 0..requests.len() {
        let Some((frame, own)) = bindings.remove(&requests[at].exchange) else { continue };
        let session = requests[at].session;
        for binding in own {
            let draft = drafts.entry(session).or_default();
            let (slot, giver) = match &binding.origin {
                Origin::Made { set, recorded } => {
                    let known = draft.made.iter().find(|made| made.set == *set && made.recorded == *recorded);
                    let slot = known.map(|made| made.slot).unwrap_or_else(|| {
                        let slot = draft.new_slot();
                        draft.made.push(Made { slot, set: *set, recorded: recorded.clone() });
                        slot
                    });
                    (slot, None)
                }
                Origin::Answer { exchange, .. } | Origin::Cookie { exchange, .. } => {
                    let source = places.get(exchange).copied();
                    let Some(source) =
                        source.filter(|&source| source < at && requests[source].session == session)
                    else {
                        links.unplanned += 1;
                        continue;
                    };
                    let next = u32::try_from(draft.givers.len()).unwrap_or(NONE);
                    let giver = *draft.givers.entry(source).or_insert(next);
                    let slot = draft.slot_of(&binding.origin, source, |take| {
                        outlines.entry(source).or_default().takes.push(take)
                    });
                    (slot, Some(giver))
                }
            };
            let outline = outlines.entry(at).or_insert_with(|| Outline { frame, ..Outline::default() });
            outline.waits.extend(giver.filter(|giver| !outline.waits.contains(giver)));
            outline.patches.push(Patch {
                start: binding.start,
                end: binding.end,
                slot,
                written: binding.written,
                base64: binding.base64,
                before: binding.before,
                after: binding.after,
                rule: binding.rule,
            });
        }
    }
    links.sessions = vec![SessionLinks::default(); sessions as usize];
    for (&session, draft) in &drafts {
        let from = count(&links.jars);
        links.jars.extend(draft.cookies.iter().map(|(&pattern, &slot)| (pattern, slot)));
        let jar = (from, count(&links.jars));
        let made = extend(&mut links.made, draft.made.clone());
        let givers = u32::try_from(draft.givers.len()).unwrap_or(NONE);
        links.sessions[session as usize] = SessionLinks { slots: draft.slots, givers, jar, made };
    }
    let mut followers: HashMap<u32, u32> = HashMap::new();
    let mut shapes: HashMap<Outline, u32> = HashMap::new();
    for at in (0..requests.len()).rev() {
        let Some(draft) = drafts.get(&requests[at].session) else { continue };
        let followers = followers.entry(requests[at].session).or_default();
        let mut outline = outlines.remove(&at).unwrap_or_default();
        outline.patches.sort_by_key(|patch| patch.start);
        let shape = shapes.get(&outline).copied().unwrap_or_else(|| {
            let number = links.add(&outline);
            shapes.insert(outline, number);
            number
        });
        let giver = draft.givers.get(&at).copied().unwrap_or(NONE);
        requests[at].links = count(&links.requests);
        links.requests.push(RequestLinks { shape, giver, followers: *followers });
        *followers += 1;
    }
    links
}

/// Connections that carry requests of one session with bindings belong together, and so do those that they share with
/// other such sessions: for each, the smallest number among them.
pub(crate) fn groups(requests: &[PlannedRequest], connections: usize) -> Vec<u32> {
    let mut groups: Vec<u32> =
        (0..connections).map(|number| u32::try_from(number).unwrap_or(u32::MAX)).collect();
    let mut first: HashMap<u32, u32> = HashMap::new();
    for request in requests.iter().filter(|request| request.links != NONE) {
        let other = *first.entry(request.session).or_insert(request.connection);
        let (a, b) = (root(&mut groups, other), root(&mut groups, request.connection));
        groups[a.max(b) as usize] = a.min(b);
    }
    for connection in 0..groups.len() {
        groups[connection] = root(&mut groups, u32::try_from(connection).unwrap_or(u32::MAX));
    }
    groups
}

fn root(groups: &mut [u32], mut of: u32) -> u32 {
    while groups[of as usize] != of {
        groups[of as usize] = groups[groups[of as usize] as usize];
        of = groups[of as usize];
    }
    of
}

fn count<T>(all: &[T]) -> u32 {
    u32::try_from(all.len()).unwrap_or(NONE)
}

fn extend<T>(all: &mut Vec<T>, more: Vec<T>) -> Stretch {
    let from = count(all);
    all.extend(more);
    (from, count(all))
}
