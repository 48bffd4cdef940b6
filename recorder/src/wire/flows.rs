//! Follows every TCP connection: whose segment it is, and when a connection is over.
//!
//! Constant memory: so many connections, so many bytes that wait; what falls over a limit is given up and
//! counted. A connection that ended is remembered for a moment, so that a late copy of its last segments does
//! not look like a new one.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use captures::Offset;

use super::half::Half;
use super::link::number;
use super::scene::Stage;
use super::talk::{Side, Stretch, Talk};

/// Connections that are followed at once.
const MOST: usize = 65_536;
/// When so many bytes wait on all connections together, what is missing is waited for no longer.
const MOST_WAITING: usize = 32 << 20;
/// When they take so many, with all that is being read, connections are given up.
const MOST_HELD: usize = 64 << 20;
/// A connection on which nothing passed for so long is over for us.
const IDLE: Duration = Duration::from_secs(600);
/// So long one that ended is remembered.
const LINGER: Duration = Duration::from_secs(10);

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Two parties in the order of their addresses.
pub(super) type Parties = [SocketAddr; 2];

/// What a conversation is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    parties: Parties,
    carrier: Carrier,
}

/// What carries a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Carrier {
    Tcp,
    Sctp,
}

/// Content that somebody else put in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ordered<'a> {
    pub(super) at: Offset,
    pub(super) parties: Parties,
    pub(super) carrier: Carrier,
    /// Whose it is.
    pub(super) side: Side,
    /// Whether it was within TLS.
    pub(super) is_secure: bool,
    pub(super) content: &'a [u8],
}

/// How a conversation that somebody else puts in order ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Close {
    /// By both parties' word.
    Agreed,
    /// One party broke off.
    Broken(Side),
    /// What follows is not known.
    Lost,
}

/// The connections that are followed.
#[derive(Debug, Default)]
pub(super) struct Flows {
    numbers: HashMap<Key, usize>,
    slots: Vec<Option<Flow>>,
    free: Vec<usize>,
    /// When to look at which connection again; each is here once.
    deadlines: VecDeque<(Offset, usize, u64)>,
    generation: u64,
    held: usize,
    now: Offset,
}

#[derive(Debug)]
struct Flow {
    key: Key,
    generation: u64,
    halves: [Half; 2],
    talk: Talk,
    last: Offset,
    ended: [bool; 2],
    reset_by: Option<Side>,
    /// When it ended, by both parties' word or by a reset.
    over: Option<Offset>,
    has_content: bool,
    /// Whether it was within TLS, which somebody took off.
    is_secure: bool,
}

/// The head of a segment.
struct Segment<'a> {
    sequence: u32,
    acknowledged: Option<u32>,
    flags: u8,
    payload: &'a [u8],
}

impl Flows {
    /// A packet of TCP; `false` when it is none.
    pub(super) fn on_packet(
        &mut self,
        stage: &mut Stage,
        at: Offset,
        addresses: [IpAddr; 2],
        packet: &[u8],
        ports: &[u16],
    ) -> bool {
        let Some((from, to, segment)) = read(packet) else { return false };
        if !ports.is_empty() && !ports.contains(&from) && !ports.contains(&to) {
            stage.counts.other_ports += 1;
            return true;
        }
        let (parties, side) =
            parties([SocketAddr::new(addresses[0], from), SocketAddr::new(addresses[1], to)]);
        let key = Key { parties, carrier: Carrier::Tcp };
        self.on_segment(stage, at, key, side, &segment, false);
        true
    }

    /// What one party says next.
    pub(super) fn on_ordered(&mut self, stage: &mut Stage, ordered: Ordered<'_>) {
        let Ordered { at, parties, carrier, side, is_secure, content } = ordered;
        let key = Key { parties, carrier };
        let segment = self.next_segment(key, side, ACK, content);
        self.on_segment(stage, at, key, side, &segment, is_secure);
    }

    /// A conversation that somebody else puts in order is over.
    pub(super) fn on_close(&mut self, stage: &mut Stage, parties: Parties, carrier: Carrier, close: Close) {
        let key = Key { parties, carrier };
        let Some(&slot) = self.numbers.get(&key) else { return };
        let at = self.slots[slot].as_ref().map_or(self.now, |flow| flow.last);
        let ends: &[(Side, u8)] = match close {
            Close::Agreed => &[(0, FIN), (1, FIN)],
            Close::Broken(0) => &[(0, RST)],
            Close::Broken(_) => &[(1, RST)],
            Close::Lost => &[],
        };
        for &(side, flags) in ends {
            let segment = self.next_segment(key, side, flags | ACK, &[]);
            self.on_segment(stage, at, key, side, &segment, false);
        }
        if self.numbers.get(&key) == Some(&slot) {
            self.close(stage, slot);
        }
    }

    /// A segment that comes next, and whose sender has heard all that came before.
    fn next_segment<'a>(&self, key: Key, side: Side, flags: u8, payload: &'a [u8]) -> Segment<'a> {
        let flow = self.numbers.get(&key).and_then(|&slot| self.slots[slot].as_ref());
        let next = |side: Side| flow.map_or(0, |flow| flow.halves[side].next_sequence());
        Segment { sequence: next(side), acknowledged: Some(next(1 - side)), flags, payload }
    }

    fn on_segment(
        &mut self,
        stage: &mut Stage,
        at: Offset,
        key: Key,
        side: Side,
        segment: &Segment<'_>,
        is_secure: bool,
    ) {
        self.now = self.now.max(at);
        self.expire(stage);
        let mut slot = self.numbers.get(&key).copied();
        if let Some(known) = slot
            && self.slots[known].as_ref().is_some_and(|flow| flow.is_another(side, segment))
        {
            self.close(stage, known);
            slot = None;
        }
        let slot = slot.or_else(|| self.open(stage, key, at, segment));
        let Some(flow) = slot.and_then(|slot| self.slots[slot].as_mut()) else { return };
        flow.is_secure |= is_secure;
        let before = flow.held();
        let is_crowded = self.held > MOST_WAITING;
        flow.on_segment(stage, at, side, segment);
        if is_crowded {
            flow.give_up_waiting(stage);
        }
        self.held = (self.held + flow.held()).saturating_sub(before);
        while (self.held > MOST_HELD || stage.is_full()) && self.evict(stage) {}
    }

    /// No packet came until `now`.
    pub(super) fn on_time(&mut self, stage: &mut Stage, now: Offset) {
        self.now = self.now.max(now);
        self.expire(stage);
    }

    /// A new connection, unless the packet begins none.
    fn open(&mut self, stage: &mut Stage, key: Key, at: Offset, segment: &Segment<'_>) -> Option<usize> {
        if segment.flags & SYN == 0 && segment.payload.is_empty() {
            return None;
        }
        if self.numbers.len() >= MOST {
            self.evict(stage);
        }
        stage.counts.connections += 1;
        self.generation += 1;
        let flow = Flow::new(key, self.generation, at);
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(Some(flow));
        } else {
            self.slots[slot] = Some(flow);
        }
        self.numbers.insert(key, slot);
        self.deadlines.push_back((self.now.plus(LINGER), slot, self.generation));
        Some(slot)
    }

    fn close(&mut self, stage: &mut Stage, slot: usize) {
        let Some(mut flow) = self.slots[slot].take() else { return };
        self.held = self.held.saturating_sub(flow.held());
        flow.finish(stage);
        self.numbers.remove(&flow.key);
        self.free.push(slot);
    }

    /// Closes what is idle for long, or over.
    fn expire(&mut self, stage: &mut Stage) {
        while let Some(&(deadline, slot, generation)) = self.deadlines.front() {
            if deadline > self.now {
                return;
            }
            self.deadlines.pop_front();
            let Some(flow) = self.slots[slot].as_ref().filter(|flow| flow.generation == generation) else {
                continue;
            };
            let until = flow.over.map_or_else(|| flow.last.plus(IDLE), |over| over.plus(LINGER));
            if until <= self.now {
                self.close(stage, slot);
            } else {
                // The list stays in order, since all wait equally long.
                self.deadlines.push_back((self.now.plus(LINGER), slot, generation));
            }
        }
    }

    /// Gives the connection up that was looked at longest ago; `false` when there is none.
    fn evict(&mut self, stage: &mut Stage) -> bool {
        while let Some((_, slot, generation)) = self.deadlines.pop_front() {
            if self.slots[slot].as_ref().is_some_and(|flow| flow.generation == generation) {
                stage.counts.evicted_connections += 1;
                self.close(stage, slot);
                return true;
            }
        }
        false
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, stage: &mut Stage) {
        // In the order in which they began.
        let mut left: Vec<(u64, usize)> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(slot, flow)| Some((flow.as_ref()?.generation, slot)))
            .collect();
        left.sort_unstable();
        for (_, slot) in left {
            self.close(stage, slot);
        }
    }
}

impl Flow {
    fn new(key: Key, generation: u64, at: Offset) -> Self {
        Self {
            key,
            generation,
            halves: [Half::default(), Half::default()],
            talk: Talk::default(),
            last: at,
            ended: [false; 2],
            reset_by: None,
            over: None,
            has_content: false,
            is_secure: false,
        }
    }

    fn held(&self) -> usize {
        self.halves[0].held() + self.halves[1].held() + self.talk.held()
    }

    /// Whether the segment begins another connection between the same ports.
    fn is_another(&self, side: Side, segment: &Segment<'_>) -> bool {
        let half = &self.halves[side];
        segment.flags & SYN != 0
            && segment.flags & RST == 0
            && half.is_known()
            && (!half.began_at(segment.sequence) || (self.over.is_some() && segment.flags & ACK == 0))
    }

    fn on_segment(&mut self, stage: &mut Stage, at: Offset, side: Side, segment: &Segment<'_>) {
        self.last = self.last.max(at);
        let mut sequence = segment.sequence;
        if segment.flags & SYN != 0 {
            self.halves[side].begin(sequence);
            self.talk.on_opened_by(if segment.flags & ACK == 0 { side } else { 1 - side });
            sequence = sequence.wrapping_add(1);
        }
        let other = &mut self.halves[1 - side];
        let mut heard = segment.acknowledged.and_then(|acknowledged| other.place_of(acknowledged));
        if let Some(heard) = heard {
            other.on_acknowledged(heard);
        }
        if let Some((end, _)) = other.end {
            // The end itself is acknowledged like a byte.
            heard = heard.map(|heard| heard.min(end));
        }
        if segment.flags & RST != 0 {
            self.reset_by.get_or_insert(side);
            self.over.get_or_insert(at);
            return;
        }
        if self.ended[side] || self.talk.is_closed_to_us() {
            if segment.flags & FIN != 0 {
                self.over.get_or_insert(at);
            }
            return;
        }
        if !segment.payload.is_empty() {
            self.on_payload(stage, at, side, sequence, heard, segment.payload);
        }
        if segment.flags & FIN != 0 {
            self.halves[side].on_end(at, sequence, segment.payload.len());
        }
        for side in 0..2 {
            if let Some(gap) = self.halves[side].missing(at) {
                self.on_gap(stage, side, at, gap);
            }
        }
        self.deliver(stage, false);
    }

    fn on_payload(
        &mut self,
        stage: &mut Stage,
        at: Offset,
        side: Side,
        sequence: u32,
        heard: Option<u64>,
        payload: &[u8],
    ) {
        self.has_content = true;
        let must_wait = self.must_wait(side, heard);
        let arrival = self.halves[side].on_segment(at, sequence, heard, payload, must_wait);
        stage.counts.repeated_segments += u64::from(arrival.is_repeat);
        stage.counts.differing_segments += u64::from(arrival.differs);
        stage.counts.refused_bytes += arrival.refused as u64;
        if let Some(from) = arrival.next_from {
            let bytes = &payload[from..];
            let stretch = Stretch { at, place: self.halves[side].position(), heard, bytes };
            self.say(stage, side, stretch);
        }
    }

    fn say(&mut self, stage: &mut Stage, side: Side, stretch: Stretch<'_>) {
        let server_is_heard = self.server_is_heard(side);
        self.talk.on_bytes(
            &mut stage.scene(self.key.parties, self.is_secure, server_is_heard),
            side,
            stretch,
        );
        self.halves[side].advance(stretch.bytes.len());
    }

    fn server_is_heard(&self, side: Side) -> bool {
        let client = self.talk.client().unwrap_or(side);
        self.halves[1 - client].is_known()
    }

    /// Whether an answer is here before what it answers.
    fn must_wait(&self, side: Side, heard: Option<u64>) -> bool {
        self.talk.client() == Some(1 - side)
            && self.halves[1 - side].is_known()
            && heard.is_some_and(|heard| heard > self.halves[1 - side].position())
    }

    /// Hands on what is in order: requests before answers.
    fn deliver(&mut self, stage: &mut Stage, regardless: bool) -> bool {
        let first = self.talk.client().unwrap_or(0);
        let mut any = false;
        loop {
            let mut progress = false;
            for side in [first, 1 - first] {
                while let Some(heard) = self.halves[side].next_heard() {
                    if !regardless && self.must_wait(side, heard) {
                        break;
                    }
                    let place = self.halves[side].position();
                    let Some(waiting) = self.halves[side].take() else { break };
                    let stretch =
                        Stretch { at: waiting.at, place, heard: waiting.heard, bytes: &waiting.bytes };
                    self.say(stage, side, stretch);
                    progress = true;
                }
                if self.halves[side].is_over() && !self.ended[side] {
                    self.ended[side] = true;
                    let at = self.halves[side].end.map_or(self.last, |(_, at)| at);
                    let server_is_heard = self.server_is_heard(side);
                    self.talk.on_end(
                        &mut stage.scene(self.key.parties, self.is_secure, server_is_heard),
                        side,
                        at,
                    );
                    progress = true;
                }
            }
            any |= progress;
            if !progress {
                break;
            }
        }
        if self.ended == [true; 2] {
            self.over.get_or_insert(self.last);
        }
        any
    }

    fn on_gap(&mut self, stage: &mut Stage, side: Side, at: Offset, gap: u64) {
        stage.counts.gaps += 1;
        stage.counts.gap_bytes += gap;
        let server_is_heard = self.server_is_heard(side);
        self.talk.on_gap(&mut stage.scene(self.key.parties, self.is_secure, server_is_heard), side, at, gap);
        self.halves[side].skip(gap);
    }

    /// Waits no longer for what is missing.
    fn give_up_waiting(&mut self, stage: &mut Stage) {
        let first = self.talk.client().unwrap_or(0);
        loop {
            if self.deliver(stage, false) {
                continue;
            }
            let gap = [first, 1 - first]
                .into_iter()
                .find_map(|side| Some((side, self.halves[side].missing_at_last()?)));
            if let Some((side, gap)) = gap {
                self.on_gap(stage, side, self.last, gap);
            } else if !self.deliver(stage, true) {
                return;
            }
        }
    }

    fn finish(&mut self, stage: &mut Stage) {
        if !self.talk.is_closed_to_us() {
            self.give_up_waiting(stage);
        }
        let at = self.over.unwrap_or(self.last);
        self.talk.on_finish(&mut stage.scene(self.key.parties, self.is_secure, true), at, self.reset_by);
        stage.counts.http_connections += u64::from(self.talk.is_http());
        let is_read = self.talk.is_http() || self.talk.is_http2();
        let is_other = self.has_content && !is_read && !self.talk.is_closed_to_us();
        stage.counts.other_connections += u64::from(is_other);
    }
}

/// The two parties in their order, and which of them is the first of `sender_first`.
pub(super) fn parties(sender_first: [SocketAddr; 2]) -> (Parties, Side) {
    let [source, target] = sender_first;
    if source <= target { ([source, target], 0) } else { ([target, source], 1) }
}

/// The ports and the rest of a packet of TCP.
fn read(packet: &[u8]) -> Option<(u16, u16, Segment<'_>)> {
    let (from, to) = (number(packet, 0)?, number(packet, 2)?);
    let sequence = u32::from_be_bytes(*packet.get(4..)?.first_chunk()?);
    let acknowledged = u32::from_be_bytes(*packet.get(8..)?.first_chunk()?);
    let head = usize::from(packet.get(12)? >> 4) * 4;
    let flags = *packet.get(13)?;
    if head < 20 {
        return None;
    }
    let payload = packet.get(head..)?;
    let acknowledged = (flags & ACK != 0).then_some(acknowledged);
    Some((from, to, Segment { sequence, acknowledged, flags, payload }))
}
