//! Connections that carry several requests at a time: HTTP/2.
//!
//! A lane then has no connection of its own, but a stream of a *hub*: of the hub that stands for its recorded
//! connection, or, where connections are shared, of any that has room. A request that finds none waits, which counts
//! like the time to connect. Every decision about the protocol is made in [`crate::http2`].

mod opening;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use captures::{Failure, Offset};
use rustix::event::epoll;

use super::link::Link;
use super::turns::sent_bytes;
use super::{IDLE, Worker};
use crate::client::{self, Moved};
use crate::correlate::kept::{Keep, keep_piece};
use crate::http2::{Event, Tag, Talk, What};
use crate::lane::{Active, LaneKey};
use crate::order::{Lasted, Order};
use crate::schedule::Due;
use crate::tls;

/// Tells the events of hubs from those of lanes.
const HUB: u32 = 1 << 31;
/// So many requests at a time go on a connection, if the server takes them and nobody says otherwise.
const USUAL_STREAMS: usize = 100;

/// All hubs of a worker.
#[derive(Default)]
pub(super) struct Hubs {
    all: Vec<Hub>,
    free: Vec<u32>,
    /// By recorded connection; none where connections are shared.
    keys: HashMap<LaneKey, u32>,
    /// Shared hubs that had room when they were last looked at, the one used last on top; and turns that wait.
    roomy: Vec<u32>,
    wanting: VecDeque<Tag>,
    /// Shared hubs that are not known yet to take requests.
    coming: usize,
    orders: HashMap<LaneKey, Order>,
    events: Vec<Event>,
}

struct Hub {
    /// Whose connection it is; `None` when it is shared.
    key: Option<LaneKey>,
    link: Link,
    talk: Talk,
    generation: u32,
    /// Turns that wait for it.
    waiting: VecDeque<Tag>,
    /// Whether no later request of its recorded connection will come.
    is_last: bool,
    is_roomy: bool,
    /// Whether it is shared, and not known yet to take requests.
    is_coming: bool,
    last_used: Offset,
}

impl Hub {
    fn has_room(&self) -> bool {
        matches!(self.link, Link::Open { .. }) && self.talk.has_room()
    }
}

impl Worker<'_> {
    /// Sends the active request on a hub, or has it wait for one; `false` when its turn ended by that.
    pub(super) fn board(&mut self, index: u32) -> bool {
        let plan = self.plan;
        if matches!(self.lanes[index as usize].link, Link::Stream { .. }) {
            return true;
        }
        let Some((key, active)) = self.lanes[index as usize]
            .lane
            .as_mut()
            .and_then(|lane| Some((lane.key, lane.active.as_deref_mut()?)))
        else {
            return true;
        };
        let tag = (index, active.serial);
        if self.limits.is_shared() {
            return self.board_shared(tag);
        }
        let is_last = plan.requests[active.due.request as usize].is_last;
        let key = key.of_connection();
        let known = self.hubs.keys.get(&key).copied().filter(|&hub| !self.hub(hub).talk.is_ending());
        let hub = match known {
            Some(hub) => hub,
            None => match self.open_hub(Some(key), tag) {
                Ok(Some(hub)) => hub,
                Ok(None) => return true,
                Err(failure) => {
                    self.end_turn(index, Err(failure));
                    return false;
                }
            },
        };
        let of_hub = &mut self.hubs.all[hub as usize];
        of_hub.is_last |= is_last;
        if of_hub.has_room() && of_hub.waiting.is_empty() {
            return self.start(tag, hub);
        }
        of_hub.waiting.push_back(tag);
        self.begin_waiting(index);
        true
    }

    fn board_shared(&mut self, tag: Tag) -> bool {
        while let Some(&hub) = self.hubs.roomy.last() {
            if self.hub(hub).has_room() {
                return self.start(tag, hub);
            }
            self.hubs.roomy.pop();
            self.hubs.all[hub as usize].is_roomy = false;
        }
        let most = self.limits.streams.unwrap_or(USUAL_STREAMS);
        if self.hubs.coming * most <= self.hubs.wanting.len() && self.may_connect() {
            match self.open_hub(None, tag) {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(failure) => {
                    self.end_turn(tag.0, Err(failure));
                    return false;
                }
            }
        } else if self.connections == 0 {
            self.end_turn(tag.0, Err(Failure::SkippedDescriptors));
            return false;
        }
        self.hubs.wanting.push_back(tag);
        self.begin_waiting(tag.0);
        true
    }

    /// Whether another shared connection may be made.
    fn may_connect(&self) -> bool {
        self.connections < self.limits.pool.unwrap_or(usize::MAX).min(self.limits.max_connections)
    }

    fn begin_waiting(&mut self, index: u32) {
        let now = self.clock.now();
        if let Some(active) = self.active_of(index) {
            active.connect_began.get_or_insert(now);
        }
    }

    fn active_of(&mut self, index: u32) -> Option<&mut Active> {
        self.lanes[index as usize].lane.as_mut()?.active.as_deref_mut()
    }

    fn hub(&self, hub: u32) -> &Hub {
        &self.hubs.all[hub as usize]
    }

    /// Begins the request on the hub, which has room; `false` when its turn ended by that.
    fn start(&mut self, tag: Tag, hub: u32) -> bool {
        let (index, serial) = tag;
        let (now, plan) = (self.clock.now(), self.plan);
        let slot = &mut self.lanes[index as usize];
        let Some(active) = slot.lane.as_mut().and_then(|lane| lane.active.as_deref_mut()) else {
            return true;
        };
        active.connecting += active.connect_began.take().map_or(Duration::ZERO, |began| now.since(began));
        if !active.admitted {
            active.admitted = self.ceiling.admits(now);
            if !active.admitted {
                self.held.push_back(tag);
                return true;
            }
        }
        let text = sent_bytes(active.own.as_deref(), plan, active.due.request);
        let of_hub = &mut self.hubs.all[hub as usize];
        let is_head = plan.requests[active.due.request as usize].is_head;
        let Some(id) = of_hub.talk.begin(text, is_head, active.keep != Keep::Nothing, tag) else {
            self.end_turn(index, Err(Failure::Invalid));
            return false;
        };
        let used = matches!(of_hub.link, Link::Open { used: true, .. });
        active.written = text.len();
        active.sent.get_or_insert(now);
        active.reused = used;
        slot.link = Link::Stream { hub, id };
        of_hub.last_used = now;
        self.meter.at(now).reused += u64::from(used);
        if !self.flush_hub(hub) {
            self.on_hub_broken(hub);
        }
        self.current(index, serial).is_some()
    }

    /// Sends what there is to send; `false` when the connection broke.
    fn flush_hub(&mut self, hub: u32) -> bool {
        let now = self.clock.now();
        let of_hub = &mut self.hubs.all[hub as usize];
        let Link::Open { socket, tls, .. } = &mut of_hub.link else { return true };
        if let Some(tls) = tls.as_deref_mut()
            && tls::flush(tls, socket).is_err()
        {
            return false;
        }
        while !of_hub.talk.unsent().is_empty() {
            let left = of_hub.talk.unsent();
            let moved = match tls.as_deref_mut() {
                None => client::send(socket, left),
                Some(tls) => tls::send(tls, socket, left),
            };
            match moved {
                Moved::Bytes(count) => {
                    of_hub.talk.on_sent(count);
                    self.meter.at(now).bytes_out += count as u64;
                }
                Moved::Blocked => return true,
                Moved::Broken | Moved::Alert => return false,
            }
        }
        true
    }

    /// Whether an event's token is a hub's; if so, it was taken care of.
    pub(super) fn on_hub_event(&mut self, token: u64, flags: epoll::EventFlags, buffer: &mut [u8]) -> bool {
        let number = u32::try_from(token & 0xFFFF_FFFF).unwrap_or(u32::MAX);
        if number & HUB == 0 {
            return false;
        }
        let number = number & !HUB;
        let Some(hub) = self.hubs.all.get(number as usize) else { return true };
        if u64::from(hub.generation) != token >> 32 {
            return true;
        }
        let ends =
            flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR);
        match hub.link {
            Link::Connecting { .. } => self.on_hub_connected(number),
            Link::Shaking { .. } => self.shake_hub(number),
            _ => {}
        }
        // What came together with the end of a handshake is announced by no further event.
        if let Link::Open { .. } = self.hub(number).link {
            if ends || flags.contains(epoll::EventFlags::IN) {
                self.read_hub(number, ends, buffer);
            } else {
                self.look_after(number);
            }
        }
        true
    }

    /// Sends what there is, lets requests begin that wait, and closes a connection that has done its work.
    fn look_after(&mut self, hub: u32) {
        let generation = self.hub(hub).generation;
        if !self.flush_hub(hub) {
            return self.on_hub_broken(hub);
        }
        loop {
            let of_hub = &mut self.hubs.all[hub as usize];
            if of_hub.generation != generation || !of_hub.has_room() {
                break;
            }
            let next = match of_hub.key {
                Some(_) => of_hub.waiting.pop_front(),
                None => self.hubs.wanting.pop_front(),
            };
            let Some(tag) = next else { break };
            if self.current(tag.0, tag.1).is_some() && !self.start(tag, hub) {
                self.woken.push(tag.0);
            }
        }
        let of_hub = &mut self.hubs.all[hub as usize];
        if of_hub.generation != generation {
            return;
        }
        if of_hub.is_coming && of_hub.talk.is_known() {
            of_hub.is_coming = false;
            self.hubs.coming -= 1;
        }
        if of_hub.key.is_none() && !of_hub.is_roomy && of_hub.has_room() {
            of_hub.is_roomy = true;
            self.hubs.roomy.push(hub);
        }
        if of_hub.talk.is_ending() {
            // Whoever waits here goes elsewhere.
            for tag in std::mem::take(&mut of_hub.waiting) {
                self.board_again(tag);
            }
        }
        if self.is_done(hub) {
            self.close_hub(hub);
        }
    }

    fn is_done(&self, hub: u32) -> bool {
        let hub = self.hub(hub);
        let is_over =
            hub.is_last && hub.key.is_none_or(|key| self.hubs.orders.get(&key).is_none_or(Order::is_empty));
        matches!(hub.link, Link::Open { .. })
            && hub.talk.is_quiet()
            && hub.waiting.is_empty()
            && (hub.talk.is_ending() || is_over)
    }

    fn board_again(&mut self, tag: Tag) {
        if self.current(tag.0, tag.1).is_some() && !self.board(tag.0) {
            self.woken.push(tag.0);
        }
    }

    fn read_hub(&mut self, hub: u32, ends: bool, buffer: &mut [u8]) {
        let generation = self.hub(hub).generation;
        loop {
            let of_hub = &mut self.hubs.all[hub as usize];
            if of_hub.generation != generation {
                return;
            }
            let Link::Open { socket, tls, .. } = &mut of_hub.link else { return };
            let secure = tls.is_some();
            let moved = match tls.as_deref_mut() {
                None => client::receive(socket, buffer),
                Some(tls) => tls::receive(tls, socket, buffer),
            };
            let received = match moved {
                Moved::Blocked => break,
                Moved::Alert => return self.on_hub_failed(hub, Failure::Tls),
                Moved::Bytes(0) | Moved::Broken => return self.on_hub_broken(hub),
                Moved::Bytes(received) => received,
            };
            let now = self.clock.now();
            self.meter.at(now).bytes_in += received as u64;
            let mut events = std::mem::take(&mut self.hubs.events);
            let taken = of_hub.talk.on_bytes(&buffer[..received], &mut events);
            for event in events.drain(..) {
                self.on_stream(hub, event, now);
            }
            self.hubs.events = events;
            if self.hub(hub).generation != generation {
                return;
            }
            if taken.is_err() {
                self.flush_hub(hub);
                return self.on_hub_failed(hub, Failure::Invalid);
            }
            // TLS may hold more than one read took.
            if received < buffer.len() && !ends && !secure {
                break;
            }
        }
        self.look_after(hub);
    }

    /// Something became of a request.
    fn on_stream(&mut self, hub: u32, event: Event, now: Offset) {
        let (index, serial) = event.tag;
        if self.current(index, serial).is_none() {
            return;
        }
        let Some(active) = self.active_of(index) else { return };
        if event.bytes > 0 {
            active.first_byte.get_or_insert(now);
            active.received += event.bytes;
        }
        let result = match event.what {
            What::Head(piece) => return keep_piece(&mut active.kept, &mut active.keep, &piece),
            What::Content(piece) if active.keep == Keep::Cookies || piece.is_empty() => return,
            What::Content(piece) => return keep_piece(&mut active.kept, &mut active.keep, &piece),
            What::Ended(status) => {
                if let Link::Open { used, .. } = &mut self.hubs.all[hub as usize].link {
                    *used = true;
                }
                Ok(status)
            }
            What::Refused => return self.on_given_back(index, true, Failure::Reset),
            What::Reset => Err(Failure::Reset),
            What::Invalid => Err(Failure::Invalid),
        };
        self.lanes[index as usize].link = Link::Closed;
        self.end_turn(index, result);
        self.woken.push(index);
    }

    /// A request lost its stream: it is tried once more, which is counted, if it `may` be; else its turn ends.
    fn on_given_back(&mut self, index: u32, may: bool, failure: Failure) {
        let (now, plan) = (self.clock.now(), self.plan);
        self.lanes[index as usize].link = Link::Closed;
        let Some(active) = self.active_of(index) else { return };
        if may && !active.retried {
            active.reset_for_retry(plan.requests[active.due.request as usize].is_head);
            active.first_byte = None;
            active.received = 0;
            self.meter.at(now).retried += 1;
            if self.board(index) {
                return;
            }
        } else {
            self.end_turn(index, Err(failure));
        }
        self.woken.push(index);
    }

    /// The connection broke. A safe request that had just left, and got no byte back, may have crossed its close.
    fn on_hub_broken(&mut self, hub: u32) {
        let (now, plan) = (self.clock.now(), self.plan);
        let of_hub = &mut self.hubs.all[hub as usize];
        let was_used = matches!(of_hub.link, Link::Open { used: true, .. });
        let (begun, waiting) = (of_hub.talk.give_up(), std::mem::take(&mut of_hub.waiting));
        self.close_hub(hub);
        for tag in begun {
            if self.current(tag.0, tag.1).is_none() {
                continue;
            }
            let crossed = self.active_of(tag.0).is_some_and(|active| {
                let is_safe = plan.requests[active.due.request as usize].is_safe;
                is_safe && active.first_byte.is_none() && active.crossed_a_close(now)
            });
            self.on_given_back(tag.0, was_used && crossed, Failure::Reset);
        }
        for tag in waiting {
            if was_used {
                self.board_again(tag);
            } else if self.current(tag.0, tag.1).is_some() {
                self.end_turn(tag.0, Err(Failure::Reset));
                self.woken.push(tag.0);
            }
        }
    }

    /// The connection could not be made, or the target broke the protocol: what was to go on it ends by that.
    fn on_hub_failed(&mut self, hub: u32, failure: Failure) {
        let of_hub = &mut self.hubs.all[hub as usize];
        let mut turns = of_hub.talk.give_up();
        turns.extend(std::mem::take(&mut of_hub.waiting));
        if of_hub.key.is_none() && !matches!(of_hub.link, Link::Open { .. }) {
            // Of those that wait for any, as many as this one would have taken.
            let most = self.limits.streams.unwrap_or(USUAL_STREAMS).min(self.hubs.wanting.len());
            turns.extend(self.hubs.wanting.drain(..most));
        }
        self.close_hub(hub);
        for (index, serial) in turns {
            if self.current(index, serial).is_some() {
                self.lanes[index as usize].link = Link::Closed;
                self.end_turn(index, Err(failure));
                self.woken.push(index);
            }
        }
    }

    /// A request is given up: its stream is cancelled, and the connection goes on.
    pub(super) fn leave_stream(&mut self, hub: u32, id: u32) {
        self.hubs.all[hub as usize].talk.cancel(id);
        if !self.flush_hub(hub) {
            self.on_hub_broken(hub);
        }
    }

    /// Lets shared requests go on for which a connection must be made, because the last one closed.
    pub(super) fn take_up_hubs(&mut self) {
        while self.hubs.coming == 0 && !self.hubs.wanting.is_empty() && self.may_connect() {
            let Some(tag) = self.hubs.wanting.pop_front() else { break };
            self.board_again(tag);
        }
    }

    /// Gives up connections, and what is known of recorded ones, where nothing happens any more.
    pub(super) fn close_idle_hubs(&mut self, now: Offset) {
        for hub in 0..u32::try_from(self.hubs.all.len()).unwrap_or(u32::MAX) {
            let of_hub = self.hub(hub);
            let is_stale = now.since(of_hub.last_used) > IDLE
                && of_hub.talk.is_quiet()
                && of_hub.waiting.is_empty()
                && matches!(of_hub.link, Link::Open { .. });
            if is_stale || self.is_done(hub) {
                self.close_hub(hub);
            }
        }
        self.hubs.orders.retain(|_, order| !order.is_stale(now, IDLE));
    }

    /// A request that overlapped others when it was recorded is due: whether it may leave.
    pub(super) fn may_leave(&mut self, due: Due, key: LaneKey, index: u32) -> bool {
        let one = self.lasted(due);
        let order = self.hubs.orders.entry(key.of_connection()).or_default();
        let before = order.on_due(one, index);
        if let Some(lane) = &mut self.lanes[index as usize].lane {
            lane.gated = before.is_none();
            lane.last_done = before.unwrap_or(Offset::ZERO);
        }
        before.is_some()
    }

    /// It ended: those that had waited for it may leave.
    pub(super) fn let_follow(&mut self, due: Due, now: Offset) {
        let request = &self.plan.requests[due.request as usize];
        if !request.overlaps {
            return;
        }
        let one = self.lasted(due);
        let key = LaneKey::in_order(due.copy, due.lap, request.connection);
        let Some(order) = self.hubs.orders.get_mut(&key) else { return };
        // They are woken from the end.
        for index in order.on_end(one, now).into_iter().rev() {
            if let Some(lane) = &mut self.lanes[index as usize].lane {
                lane.gated = false;
                lane.last_done = now;
            }
            self.woken.push(index);
        }
    }

    fn lasted(&self, due: Due) -> Lasted {
        let request = &self.plan.requests[due.request as usize];
        Lasted { request: due.request, arrived: request.arrived, ended: request.ended() }
    }
}
