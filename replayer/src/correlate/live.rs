//! The values of a replay while it goes on: one store for each copy of a session that has bindings.
//!
//! A request waits for the answers that give its values, and for nothing else: `ready = max(due, its predecessor on
//! the connection, those answers)`. An answer that will never come (its request was skipped, or was due before the
//! copy began) is not waited for; the value is then missing, and its rule says what to do.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use captures::Offset;

use crate::correlate::kept::Keep;
use crate::correlate::links::{Links, NONE, Patch, SessionLinks};
use crate::correlate::render::render;
use crate::correlate::rules::Missing;
use crate::correlate::take::take;
use crate::correlate::template::Whose;
use crate::correlate::value::{AsIs, fold};
use crate::plan::{Plan, PlannedRequest};
use crate::schedule::{Due, FIRST_LAP};

/// A store in which nothing happened for so long is given up: its copy was thinned out.
const FORGOTTEN: std::time::Duration = std::time::Duration::from_secs(600);

/// One copy of one session in one repetition of the capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    copy: u32,
    lap: u32,
    session: u32,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Looked up several times for each request: two multiplications, and equal ones are told apart by `Eq`.
        let place =
            (u64::from(self.copy) << 32 | u64::from(self.session)) ^ u64::from(self.lap).rotate_left(48);
        state.write_u64(fold(place, 0x9E37_79B9_7F4A_7C15));
    }
}

/// The values of one copy of a session.
#[derive(Debug)]
struct Store {
    slots: Vec<Option<Vec<u8>>>,
    givers: Vec<Giver>,
    /// Lanes that wait, each for the giver.
    waiting: Vec<(u32, u32)>,
    /// Requests that are due, or in flight.
    open: u32,
    /// Whether the last request of the session was due.
    is_last: bool,
    has_ended: bool,
    touched: Offset,
}

impl Store {
    fn new(session: &SessionLinks, at: Offset) -> Self {
        Self {
            slots: vec![None; session.slots as usize],
            givers: vec![Giver::Absent; session.givers as usize],
            waiting: Vec::new(),
            open: 0,
            is_last: false,
            has_ended: false,
            touched: at,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Giver {
    /// Not due yet; for requests that come after it in the capture: never.
    Absent,
    Pending,
    Done(Offset),
}

/// Whether a request can have its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Not before an answer that it needs; its lane is told.
    Wait,
    /// Now; it became ready no earlier than this.
    Ready(Offset),
    /// Never: a value is missing.
    Skip,
}

/// How often a rule was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Values that were put into requests.
    pub bound: u64,
    /// Values that were missing.
    pub missing: u64,
}

/// The stores of one sending thread.
#[derive(Debug)]
pub(crate) struct Live<'run> {
    links: &'run Links,
    stores: HashMap<Key, Store, BuildHasherDefault<AsIs>>,
    applied: Vec<Applied>,
    told: bool,
    /// Numbers that no other thread gives out.
    next_seq: u64,
    seq_step: u64,
    sessions: u32,
    /// Room for a body while it is written.
    body: Vec<u8>,
}

impl<'run> Live<'run> {
    /// For the thread `number` of `threads`.
    pub(crate) fn new(plan: &'run Plan, number: usize, threads: usize) -> Self {
        let links = plan.links();
        Self {
            links,
            stores: HashMap::default(),
            body: Vec::new(),
            applied: vec![Applied::default(); links.rules.len()],
            told: true,
            next_seq: number as u64 + 1,
            seq_step: threads.max(1) as u64,
            sessions: plan.sessions(),
        }
    }

    /// A request is due.
    pub(crate) fn on_due(&mut self, due: Due, request: &PlannedRequest) {
        if request.links == NONE {
            return;
        }
        let session = &self.links.sessions[request.session as usize];
        let place = key(due, request);
        if !self.stores.contains_key(&place) && !self.links.made(request.session).is_empty() {
            self.make(due, request);
        }
        let store = self.stores.entry(place).or_insert_with(|| Store::new(session, due.at));
        let own = &self.links.requests[request.links as usize];
        store.open += 1;
        store.is_last |= own.followers == 0;
        store.touched = due.at;
        if let Some(giver) = store.givers.get_mut(own.giver as usize) {
            *giver = Giver::Pending;
        }
    }

    /// Begins a store with the values that are made.
    fn make(&mut self, due: Due, request: &PlannedRequest) {
        let making = &self.links.making;
        let mut store = Store::new(&self.links.sessions[request.session as usize], due.at);
        let passed = i64::try_from(due.at.as_nanos() / 1_000_000).unwrap_or(0);
        for made in self.links.made(request.session) {
            let whose = Whose {
                seed: making.seed,
                copy: due.copy,
                lap: due.lap.saturating_sub(FIRST_LAP),
                session: request.session,
                sessions: self.sessions,
                slot: made.slot,
                seq: self.next_seq,
                now_ms: making.started_ms + passed,
                later_ms: making.started_ms - making.recorded_ms,
            };
            self.next_seq += self.seq_step;
            let value = making.templates[made.set as usize].value(&made.recorded, &whose, &making.tables);
            store.slots[made.slot as usize] = Some(value);
        }
        self.stores.insert(key(due, request), store);
    }

    /// Whether a request at the head of `lane` can have its turn.
    pub(crate) fn turn(&mut self, due: Due, request: &PlannedRequest, lane: u32) -> Turn {
        if request.links == NONE {
            return Turn::Ready(Offset::ZERO);
        }
        let Some(store) = self.stores.get_mut(&key(due, request)) else { return Turn::Ready(Offset::ZERO) };
        if store.has_ended {
            return Turn::Skip;
        }
        let mut ready = Offset::ZERO;
        for &giver in self.links.waits(request.links) {
            match store.givers[giver as usize] {
                Giver::Absent => {}
                Giver::Done(at) => ready = ready.max(at),
                Giver::Pending => {
                    if !store.waiting.contains(&(giver, lane)) {
                        store.waiting.push((giver, lane));
                    }
                    return Turn::Wait;
                }
            }
        }
        let mut turn = Turn::Ready(ready);
        for patch in self.links.patches(request.links) {
            if store.slots[patch.slot as usize].is_some() {
                continue;
            }
            match self.links.rules[patch.rule as usize].missing {
                Missing::Recorded => {}
                Missing::Skip => turn = Turn::Skip,
                Missing::EndSession => {
                    store.has_ended = true;
                    turn = Turn::Skip;
                }
            }
        }
        if turn == Turn::Skip {
            count(&mut self.applied, self.links.patches(request.links), Some(store));
            self.told = false;
        }
        turn
    }

    /// The text of a request with this copy's values, into `out`; `false` when it is sent as it is planned.
    pub(crate) fn text(
        &mut self,
        due: Due,
        request: &PlannedRequest,
        text: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        if request.links == NONE || self.links.patches(request.links).is_empty() {
            return false;
        }
        let (frame, patches) = (self.links.frame(request.links), self.links.patches(request.links));
        let store = self.stores.get(&key(due, request));
        count(&mut self.applied, patches, store);
        self.told = false;
        let Some(store) = store else { return false };
        render(text, frame, patches, |slot| store.slots[slot as usize].as_deref(), out, &mut self.body);
        true
    }

    /// How much of the answer to a request is to be kept for [`Live::on_end`].
    pub(crate) fn keep(&self, request: &PlannedRequest) -> Keep {
        if request.links == NONE {
            return Keep::Nothing;
        }
        if !self.links.takes(request.links).is_empty() {
            Keep::All
        } else if !self.links.jar(request.session).is_empty() {
            Keep::Cookies
        } else {
            Keep::Nothing
        }
    }

    /// A request ended, at `now`: with `answer` as far as it was kept, or without. Gives the lanes that waited for it.
    pub(crate) fn on_end(
        &mut self,
        due: Due,
        request: &PlannedRequest,
        answer: Option<&[u8]>,
        now: Offset,
    ) -> Vec<u32> {
        if request.links == NONE {
            return Vec::new();
        }
        let key = key(due, request);
        let Some(store) = self.stores.get_mut(&key) else { return Vec::new() };
        if let Some(raw) = answer.filter(|raw| !raw.is_empty()) {
            let (takes, jar) = (self.links.takes(request.links), self.links.jar(request.session));
            take(raw, takes, jar, &mut |slot, value| store.slots[slot as usize] = Some(value.to_vec()));
        }
        store.touched = now;
        store.open = store.open.saturating_sub(1);
        let own = self.links.requests[request.links as usize].giver;
        let mut lanes = Vec::new();
        if let Some(giver) = store.givers.get_mut(own as usize) {
            *giver = Giver::Done(now);
            store.waiting.retain(|&(waited, lane)| {
                if waited == own {
                    lanes.push(lane);
                }
                waited != own
            });
        }
        if store.is_last && store.open == 0 {
            self.stores.remove(&key);
        }
        lanes
    }

    /// What was applied since this was last asked; empty when nothing was.
    pub(crate) fn take_applied(&mut self) -> Vec<Applied> {
        if std::mem::replace(&mut self.told, true) {
            return Vec::new();
        }
        let fresh = vec![Applied::default(); self.applied.len()];
        std::mem::replace(&mut self.applied, fresh)
    }

    /// Gives up the stores of copies that left the load before their end.
    pub(crate) fn sweep(&mut self, now: Offset) {
        self.stores.retain(|_, store| store.open > 0 || now.since(store.touched) < FORGOTTEN);
    }
}

/// Counts for each patch whether its value is there.
fn count(applied: &mut [Applied], patches: &[Patch], store: Option<&Store>) {
    for patch in patches {
        let applied = &mut applied[patch.rule as usize];
        let is_there = store.is_some_and(|store| store.slots[patch.slot as usize].is_some());
        *(if is_there { &mut applied.bound } else { &mut applied.missing }) += 1;
    }
}

const fn key(due: Due, request: &PlannedRequest) -> Key {
    Key { copy: due.copy, lap: due.lap, session: request.session }
}
