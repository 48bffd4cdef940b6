//! Follows associations of SCTP: chunks of data in any order become what each party says, in the order in which
//! it was said (RFC 9260).
//!
//! An association is read as one conversation, by its transmission sequence numbers (TSN): which of its streams a
//! message takes is the sender's choice, and servers of HTTP do change it from message to message. Requests that
//! run side by side on several streams are therefore not told apart.
//!
//! Where a chunk was not captured the conversation breaks off, since nobody knows how much is missing, and another
//! begins with the next message. Interleaved messages (RFC 8260) are not read, and neither is what takes a second
//! address.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use captures::Offset;

use super::flows::{Parties, parties};
use super::link::number;
use super::talk::Side;

/// Associations that are followed at once.
const MOST: usize = 4_096;
/// So many chunks of one party may wait for one that is missing, as many bytes of one, and of all.
const MOST_CHUNKS: usize = 1_024;
const MOST_WAITING: usize = 1 << 20;
const MOST_HELD: usize = 16 << 20;
/// A number further ahead than this is nonsense.
const FURTHEST: u32 = 1 << 16;
/// What is acknowledged and does not come within so many packets, or so much time, was not captured.
const LATE_PACKETS: u32 = 64;
const LATE: Duration = Duration::from_secs(2);
/// What is not even acknowledged has this long.
const NEVER: Duration = Duration::from_secs(60);

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const ABORT: u8 = 6;
const SHUTDOWN_COMPLETE: u8 = 14;
const FORWARD: u8 = 192;
/// A chunk of data begins a message, or ends it.
const BEGINS: u8 = 2;
const ENDS: u8 = 1;

/// What passes on an association.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// One party says this next.
    Said { at: Offset, side: Side, content: &'a [u8] },
    /// So many bytes belong to a message whose start was not captured.
    Unread(usize),
    /// A chunk brought nothing new; whether it differs from what waits in its place.
    Repeated { differs: bool },
    /// So many bytes found no room to wait in.
    Refused(usize),
    /// Something was not captured.
    Lost,
    /// One party broke the association off.
    Broken(Side),
    /// Both parties ended it.
    Over,
}

/// The associations that are followed.
#[derive(Debug, Default)]
pub(super) struct Sctp {
    associations: HashMap<Parties, Association>,
    /// The oldest first; one that is gone is still here, with its number.
    ages: VecDeque<(Parties, u64)>,
    begun: u64,
    held: usize,
}

#[derive(Debug, Default)]
struct Association {
    number: u64,
    halves: [Half; 2],
}

/// The chunks of one party.
#[derive(Debug, Default)]
struct Half {
    /// The number that the first chunk was said to have, and that of the next one.
    first: Option<u32>,
    next: Option<u32>,
    /// How many numbers lie before that.
    position: u64,
    waiting: BTreeMap<u64, Chunk>,
    held: usize,
    /// Up to where the other party has everything.
    acknowledged: u64,
    /// When the order stopped, and how many packets came since.
    stopped: Option<(Offset, u32)>,
    is_within_message: bool,
}

#[derive(Debug)]
struct Chunk {
    at: Offset,
    flags: u8,
    bytes: Vec<u8>,
}

/// Where the events of an association go.
type Tell<'a> = &'a mut dyn FnMut(Parties, Event<'_>);

impl Sctp {
    /// The two parties of a packet, and which of them sent it; `None` when it is none.
    pub(super) fn between(addresses: [IpAddr; 2], packet: &[u8]) -> Option<(Parties, Side)> {
        packet.get(..12)?;
        let ports = [number(packet, 0)?, number(packet, 2)?];
        Some(parties([0, 1].map(|at| SocketAddr::new(addresses[at], ports[at]))))
    }

    /// A packet between `parties`, sent by `side`; `tell` hears what it leads to, of other associations too.
    pub(super) fn on_packet(
        &mut self,
        at: Offset,
        parties: Parties,
        side: Side,
        packet: &[u8],
        tell: Tell<'_>,
    ) {
        let before = self.held_by(&parties);
        for (kind, flags, body) in chunks(packet) {
            if kind == INIT && self.associations.get(&parties).is_some_and(|known| known.differs(side, body))
            {
                self.end(parties, tell);
                tell(parties, Event::Over);
            }
            if matches!(kind, ABORT | SHUTDOWN_COMPLETE) {
                self.end(parties, tell);
                tell(parties, if kind == ABORT { Event::Broken(side) } else { Event::Over });
            } else if matches!(kind, DATA | INIT | INIT_ACK) {
                self.open(parties);
            }
            if let Some(known) = self.associations.get_mut(&parties) {
                known.on_chunk(at, side, (kind, flags, body), &mut |event| tell(parties, event));
            }
        }
        if let Some(known) = self.associations.get_mut(&parties) {
            known.on_time(at, &mut |event| tell(parties, event));
        }
        self.held = (self.held + self.held_by(&parties)).saturating_sub(before);
        while self.held > MOST_HELD || self.associations.len() > MOST {
            let Some(age) = self.ages.pop_front() else { break };
            if self.is_current(&age) {
                self.held = self.held.saturating_sub(self.held_by(&age.0));
                self.end(age.0, tell);
                tell(age.0, Event::Lost);
            }
        }
    }

    /// Nothing more comes: what waits is read as far as it can be.
    pub(super) fn finish(&mut self, tell: Tell<'_>) {
        while let Some(age) = self.ages.pop_front() {
            if self.is_current(&age) {
                self.end(age.0, tell);
            }
        }
    }

    fn held_by(&self, parties: &Parties) -> usize {
        self.associations.get(parties).map_or(0, |known| known.halves[0].held + known.halves[1].held)
    }

    fn is_current(&self, (parties, number): &(Parties, u64)) -> bool {
        self.associations.get(parties).is_some_and(|known| known.number == *number)
    }

    fn open(&mut self, parties: Parties) {
        if !self.associations.contains_key(&parties) {
            self.begun += 1;
            self.associations.insert(parties, Association { number: self.begun, ..Association::default() });
            self.ages.push_back((parties, self.begun));
            // Those that are gone do not gather.
            if self.ages.len() > 2 * MOST {
                let ages = std::mem::take(&mut self.ages);
                self.ages = ages.into_iter().filter(|age| self.is_current(age)).collect();
            }
        }
    }

    fn end(&mut self, parties: Parties, tell: Tell<'_>) {
        if let Some(mut known) = self.associations.remove(&parties) {
            known.give_up_waiting(&mut |event| tell(parties, event));
        }
    }
}

/// The chunks of a packet: kind, flags and what follows them. One whose end was not captured is none, and ends it.
fn chunks(packet: &[u8]) -> impl Iterator<Item = (u8, u8, &[u8])> {
    let mut rest = packet.get(12..).unwrap_or_default();
    std::iter::from_fn(move || {
        let [kind, flags, high, low, ..] = *rest else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let body = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, flags, body))
    })
}

/// The number that stands at `place`.
fn word(body: &[u8], place: usize) -> Option<u32> {
    body.get(place..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

impl Association {
    /// Whether the first chunk of an association begins with another number than this one did.
    fn differs(&self, side: Side, body: &[u8]) -> bool {
        self.halves[side].first.is_some_and(|first| word(body, 12).is_some_and(|number| number != first))
    }

    fn on_chunk(
        &mut self,
        at: Offset,
        side: Side,
        (kind, flags, body): (u8, u8, &[u8]),
        tell: &mut dyn FnMut(Event<'_>),
    ) {
        match (kind, word(body, 0)) {
            (DATA, Some(number)) if body.len() > 12 => {
                self.halves[side].on_data(number, Chunk { at, flags, bytes: body[12..].to_vec() }, tell);
                self.deliver(side, tell);
            }
            (INIT | INIT_ACK, _) => {
                let half = &mut self.halves[side];
                half.first = half.first.or_else(|| word(body, 12));
                half.next = half.next.or(half.first);
            }
            (SACK, Some(number)) => self.halves[1 - side].on_acknowledged(number),
            (FORWARD, Some(number)) => {
                // The sender gives up everything up to this number.
                let half = &mut self.halves[side];
                let until = half.place(number).map(|place| place + 1).filter(|place| *place > half.position);
                if let Some(until) = until {
                    self.skip(side, until, tell);
                }
            }
            _ => {}
        }
    }

    /// What is in order is said.
    fn deliver(&mut self, side: Side, tell: &mut dyn FnMut(Event<'_>)) {
        let half = &mut self.halves[side];
        while let Some(chunk) = half.take() {
            if !half.is_within_message && chunk.flags & BEGINS == 0 {
                tell(Event::Unread(chunk.bytes.len()));
                continue;
            }
            half.is_within_message = chunk.flags & ENDS == 0;
            tell(Event::Said { at: chunk.at, side, content: &chunk.bytes });
        }
    }

    /// A packet came at `now`: what is late by then was never captured.
    fn on_time(&mut self, now: Offset, tell: &mut dyn FnMut(Event<'_>)) {
        for side in 0..2 {
            if let Some(until) = self.halves[side].missing_until(now) {
                self.skip(side, until, tell);
            }
        }
    }

    /// What `side` sent before the place `until` and is not here will never be. Both parties go on with their next
    /// messages.
    fn skip(&mut self, side: Side, until: u64, tell: &mut dyn FnMut(Event<'_>)) {
        let half = &mut self.halves[side];
        while let Some(entry) = half.waiting.first_entry().filter(|entry| *entry.key() < until) {
            let length = entry.remove().bytes.len();
            half.held -= length;
            tell(Event::Unread(length));
        }
        half.advance(until - half.position);
        half.stopped = None;
        self.halves.iter_mut().for_each(|half| half.is_within_message = false);
        tell(Event::Lost);
        self.deliver(side, tell);
    }

    fn give_up_waiting(&mut self, tell: &mut dyn FnMut(Event<'_>)) {
        for side in 0..2 {
            while let Some((&first, _)) = self.halves[side].waiting.first_key_value() {
                self.skip(side, first, tell);
            }
        }
    }
}

impl Half {
    /// The place of the chunk of this number; `None` for one that was there before, or is nonsense.
    fn place(&self, number: u32) -> Option<u64> {
        let ahead = number.wrapping_sub(self.next?);
        (ahead < FURTHEST).then(|| self.position + u64::from(ahead))
    }

    fn advance(&mut self, count: u64) {
        self.position += count;
        self.next = self.next.map(|next| next.wrapping_add((count & u64::from(u32::MAX)) as u32));
    }

    fn on_data(&mut self, number: u32, chunk: Chunk, tell: &mut dyn FnMut(Event<'_>)) {
        self.next.get_or_insert(number);
        let Some(place) = self.place(number) else { return tell(Event::Repeated { differs: false }) };
        if let Some(kept) = self.waiting.get(&place) {
            return tell(Event::Repeated { differs: kept.bytes != chunk.bytes });
        }
        // What is next waits no longer than for itself.
        let is_next = place == self.position;
        if !is_next && (self.waiting.len() >= MOST_CHUNKS || self.held + chunk.bytes.len() > MOST_WAITING) {
            return tell(Event::Refused(chunk.bytes.len()));
        }
        if !is_next && self.stopped.is_none() {
            self.stopped = Some((chunk.at, 0));
        }
        self.held += chunk.bytes.len();
        self.waiting.insert(place, chunk);
    }

    fn take(&mut self) -> Option<Chunk> {
        let entry = self.waiting.first_entry().filter(|entry| *entry.key() == self.position)?;
        let chunk = entry.remove();
        self.held -= chunk.bytes.len();
        self.advance(1);
        self.stopped = self.stopped.filter(|_| !self.waiting.is_empty()).map(|_| (chunk.at, 0));
        Some(chunk)
    }

    fn on_acknowledged(&mut self, number: u32) {
        if let Some(place) = self.place(number) {
            self.acknowledged = self.acknowledged.max(place + 1);
        }
    }

    /// Up to where chunks are missing for good, when a packet comes at `now`.
    fn missing_until(&mut self, now: Offset) -> Option<u64> {
        let (&first, _) = self.waiting.first_key_value()?;
        let (since, packets) = self.stopped.get_or_insert((now, 0));
        *packets += 1;
        let late = now.since(*since);
        let is_gone = self.acknowledged > self.position && (*packets >= LATE_PACKETS || late >= LATE);
        let is_full = self.held >= MOST_WAITING / 2 || self.waiting.len() >= MOST_CHUNKS / 2;
        (is_gone || is_full || late >= NEVER).then_some(first)
    }
}
