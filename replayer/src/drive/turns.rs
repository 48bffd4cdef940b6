//! The turn of one request on its connection: connect, shake hands, send, receive, end.

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::time::Duration;

use captures::{Failure, Offset};
use rustix::event::epoll;

use super::expect::kept_back_from;
use super::link::Handshake;
use super::{Link, MAX_DIALLED, Slot, Worker};
use crate::answers::{KeptAnswer, MAX_ANSWER};
use crate::client::{self, Moved};
use crate::correlate::kept::{Keep, keep_piece};
use crate::lane::{Active, skipped};
use crate::plan::Plan;
use crate::response::Step;
use crate::schedule::Due;
use crate::tls;

/// So many buffers for texts with bound values are kept for reuse.
const MAX_TEXTS: usize = 256;

impl Slot {
    /// The request whose turn it is.
    pub(super) fn active(&mut self) -> Option<&mut Active> {
        self.lane.as_mut().and_then(|lane| lane.active.as_deref_mut())
    }
}

/// The bytes of a request: its own, with values of this target in them or read from disk, or the plan's.
pub(super) fn sent_bytes<'a>(own: Option<&'a [u8]>, plan: &'a Plan, request: u32) -> &'a [u8] {
    match own {
        Some(text) => text,
        // In memory: what is on disk was read as the turn began.
        None => match plan.text(&plan.requests[request as usize]) {
            Some(Cow::Borrowed(text)) => text,
            Some(Cow::Owned(_)) | None => &[],
        },
    }
}

impl Worker<'_> {
    /// Sends the active request or begins to connect; `false` when its turn ended by that.
    pub(super) fn set_off(&mut self, index: u32) -> bool {
        if self.limits.http2 {
            return self.board(index);
        }
        let pooled = self.limits.pool.is_some() && matches!(self.lanes[index as usize].link, Link::Closed);
        if pooled && self.take_from_pool(index) {
            return self.write(index);
        }
        match &self.lanes[index as usize].link {
            Link::Open { .. } => self.write(index),
            Link::Connecting { .. } | Link::Shaking { .. } | Link::Stream { .. } => true,
            Link::Closed if pooled && !self.has_connection() => {
                let now = self.clock.now();
                if let Some(active) = self.lanes[index as usize].active() {
                    active.connect_began.get_or_insert(now);
                    let serial = active.serial;
                    self.wanting.push_back((index, serial));
                }
                true
            }
            Link::Closed if self.dialled >= MAX_DIALLED || self.dials_left == 0 => {
                // Time without a free connection, from here on. The loop's own turn is none: until then it counts as
                // late, not as connecting.
                let began = (self.dialled >= MAX_DIALLED).then(|| self.clock.now());
                if let Some(active) = self.lanes[index as usize].active() {
                    active.connect_began = active.connect_began.or(began);
                    let serial = active.serial;
                    self.dialling.push_back((index, serial));
                }
                true
            }
            Link::Closed => {
                if self.connections >= self.limits.max_connections {
                    self.end_turn(index, Err(Failure::SkippedDescriptors));
                    return false;
                }
                let slot = &mut self.lanes[index as usize];
                slot.generation = slot.generation.wrapping_add(1);
                let token = u64::from(slot.generation) << 32 | u64::from(index);
                let now = self.clock.now();
                match self.dial(token) {
                    Ok(socket) => {
                        let slot = &mut self.lanes[index as usize];
                        slot.link = Link::Connecting { socket, since: now };
                        if let Some(active) = slot.active() {
                            active.connect_began.get_or_insert(now);
                        }
                        true
                    }
                    Err(failure) => {
                        self.end_turn(index, Err(failure));
                        false
                    }
                }
            }
        }
    }

    /// Begins a connection whose events come under `token`.
    pub(super) fn dial(&mut self, token: u64) -> Result<OwnedFd, Failure> {
        let sources = &self.wire.sources;
        let source = (!sources.is_empty()).then(|| sources[self.next_source % sources.len()]);
        self.next_source = self.next_source.wrapping_add(1);
        let address = self.wire.addresses.in_turn(self.next_address).ok_or(Failure::Unreachable);
        self.next_address = self.next_address.wrapping_add(1);
        let socket = address.and_then(|address| client::connect(&self.epoll, address, source, token))?;
        self.connections += 1;
        self.dialled += 1;
        self.dials_left = self.dials_left.saturating_sub(1);
        Ok(socket)
    }

    /// Takes the idle connection that was used last, if one is still open.
    fn take_from_pool(&mut self, index: u32) -> bool {
        let now = self.clock.now();
        while let Some(link) = self.pool.pop() {
            let Link::Open { socket, tls, .. } = &link else { continue };
            let slot = &mut self.lanes[index as usize];
            slot.generation = slot.generation.wrapping_add(1);
            let token = u64::from(slot.generation) << 32 | u64::from(index);
            // Whatever came while it lay idle (its end, mostly) makes it useless.
            let idle = tls.is_some() || client::receive(socket, &mut [0]) == Moved::Blocked;
            if idle && client::retoken(&self.epoll, socket, token) {
                slot.link = link;
                if let Some(active) = slot.active() {
                    active.connecting +=
                        active.connect_began.take().map_or(Duration::ZERO, |began| now.since(began));
                }
                return true;
            }
            self.connections -= 1;
        }
        false
    }

    /// Puts a connection whose turn has ended where any lane can take it.
    fn give_to_pool(&mut self, index: u32) {
        if self.limits.pool.is_none() {
            return;
        }
        let slot = &mut self.lanes[index as usize];
        if let Link::Open { used: true, .. } = slot.link {
            slot.generation = slot.generation.wrapping_add(1);
            self.pool.push(std::mem::replace(&mut slot.link, Link::Closed));
        }
    }

    /// Writes what is left of the active request; `false` when its turn ended by that.
    pub(super) fn write(&mut self, index: u32) -> bool {
        let slot = &mut self.lanes[index as usize];
        let (Some(active), Link::Open { socket, tls, used }) =
            (slot.lane.as_mut().and_then(|lane| lane.active.as_deref_mut()), &mut slot.link)
        else {
            return true;
        };
        if let Some(tls) = tls.as_deref_mut()
            && tls::flush(tls, socket).is_err()
        {
            return self.on_broken(index);
        }
        let text = sent_bytes(active.own.as_deref(), self.plan, active.due.request);
        if active.written == 0 && !self.plan.requests[active.due.request as usize].is_safe {
            active.body_at = kept_back_from(text);
        }
        let until = if active.body_at > 0 { active.body_at } else { text.len() };
        while active.written < until {
            let now = self.clock.now();
            if active.written == 0 && !active.admitted {
                active.admitted = self.ceiling.admits(now);
                if !active.admitted {
                    let serial = active.serial;
                    self.held.push_back((index, serial));
                    return true;
                }
            }
            let left = &text[active.written..until];
            let moved = match tls.as_deref_mut() {
                None => client::send(socket, left),
                Some(tls) => tls::send(tls, socket, left),
            };
            match moved {
                Moved::Bytes(count) => {
                    let second = self.meter.at(now);
                    if active.written == 0 {
                        active.sent.get_or_insert(now);
                        active.reused = *used;
                        second.reused += u64::from(*used);
                    }
                    active.written += count;
                    second.bytes_out += count as u64;
                    if active.written == active.body_at {
                        let serial = active.serial;
                        self.keep_back(index, serial, now);
                        return true;
                    }
                }
                Moved::Blocked => break,
                Moved::Broken | Moved::Alert => return self.on_broken(index),
            }
        }
        true
    }

    pub(super) fn on_event(&mut self, token: u64, flags: epoll::EventFlags, buffer: &mut [u8]) {
        if self.on_hub_event(token, flags, buffer) {
            return;
        }
        let index = u32::try_from(token & 0xFFFF_FFFF).unwrap_or(u32::MAX);
        let Some(slot) = self.lanes.get_mut(index as usize) else { return };
        if u64::from(slot.generation) != token >> 32 {
            return;
        }
        match slot.link {
            Link::Connecting { .. } => return self.on_connected(index),
            Link::Shaking { .. } => return self.on_shaking(index, flags, buffer),
            Link::Open { .. } | Link::Closed | Link::Stream { .. } => {}
        }
        if flags.contains(epoll::EventFlags::OUT) && !self.write(index) {
            self.advance(index);
            return;
        }
        let ends =
            flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR);
        if ends || flags.contains(epoll::EventFlags::IN) {
            self.read(index, ends, buffer);
        }
    }

    fn on_connected(&mut self, index: u32) {
        let now = self.clock.now();
        let slot = &mut self.lanes[index as usize];
        let Link::Connecting { socket, .. } = &slot.link else { return };
        if let Err(failure) = client::connected(socket) {
            return self.give_up(index, failure);
        }
        let Link::Connecting { socket, since } = std::mem::replace(&mut slot.link, Link::Closed) else {
            return;
        };
        self.meter.at(now).connections_opened += 1;
        self.connects.push((now.second(), now.since(since)));
        let Some(of_target) = &self.wire.tls else {
            slot.link = Link::Open { socket, tls: None, used: false };
            return self.on_open(index, now);
        };
        match of_target.begin() {
            Some(tls) => {
                slot.link = Link::Shaking { socket, handshake: Box::new(Handshake { tls, since: now }) };
                self.shake(index);
            }
            None => {
                // Put back, so that it is closed and counted like any other.
                slot.link = Link::Connecting { socket, since };
                self.give_up(index, Failure::Tls);
            }
        }
    }

    fn on_shaking(&mut self, index: u32, flags: epoll::EventFlags, buffer: &mut [u8]) {
        self.shake(index);
        // What came together with the end of the handshake is announced by no further event.
        if flags.contains(epoll::EventFlags::IN)
            && let Link::Open { .. } = self.lanes[index as usize].link
        {
            self.read(index, false, buffer);
        }
    }

    fn shake(&mut self, index: u32) {
        let slot = &mut self.lanes[index as usize];
        let Link::Shaking { socket, handshake } = &mut slot.link else { return };
        match tls::shake(&mut handshake.tls, socket) {
            Ok(false) => {}
            Err(failure) => self.give_up(index, failure),
            Ok(true) => {
                let now = self.clock.now();
                if let Link::Shaking { socket, handshake } = std::mem::replace(&mut slot.link, Link::Closed) {
                    let Handshake { tls, since } = *handshake;
                    self.handshakes.push((now.second(), now.since(since)));
                    slot.link = Link::Open { socket, tls: Some(tls), used: false };
                    self.on_open(index, now);
                }
            }
        }
    }

    /// A connection is ready for requests.
    fn on_open(&mut self, index: u32, now: Offset) {
        self.dialled -= 1;
        if let Some(active) = self.lanes[index as usize].active() {
            active.connecting += active.connect_began.take().map_or(Duration::ZERO, |began| now.since(began));
        }
        if !self.write(index) {
            self.advance(index);
        }
    }

    /// A connection could not be made: the turn that waited for it ends.
    fn give_up(&mut self, index: u32, failure: Failure) {
        self.close(index);
        self.end_turn(index, Err(failure));
        self.advance(index);
    }

    /// Receives what there is. `ends`: the target sends nothing more after it, so that no further event
    /// will come, and the connection takes no other request.
    fn read(&mut self, index: u32, ends: bool, buffer: &mut [u8]) {
        loop {
            let slot = &mut self.lanes[index as usize];
            let Link::Open { socket, tls, used } = &mut slot.link else { return };
            let secure = tls.is_some();
            let moved = match tls.as_deref_mut() {
                None => client::receive(socket, buffer),
                Some(tls) => tls::receive(tls, socket, buffer),
            };
            let active = slot.lane.as_mut().and_then(|lane| lane.active.as_deref_mut());
            let received = match moved {
                Moved::Blocked => return,
                Moved::Alert => return self.give_up(index, Failure::Tls),
                Moved::Bytes(0) if active.as_ref().is_some_and(|active| active.reader.ends_at_close()) => {
                    let status = active.map_or(0, |active| active.reader.status());
                    self.close(index);
                    self.end_turn(index, Ok(status));
                    self.advance(index);
                    return;
                }
                Moved::Bytes(0) | Moved::Broken => {
                    if !self.on_broken(index) {
                        self.advance(index);
                    }
                    return;
                }
                Moved::Bytes(received) => received,
            };
            let now = self.clock.now();
            self.meter.at(now).bytes_in += received as u64;
            let Some(active) = active.filter(|active| active.sent.is_some()) else {
                // Bytes that nobody asked for: whatever they are, they are no answer.
                if !self.on_broken(index) {
                    self.advance(index);
                }
                return;
            };
            active.first_byte.get_or_insert(now);
            active.received += received as u64;
            match active.reader.feed(&buffer[..received]) {
                Step::More => {
                    keep_piece(&mut active.kept, &mut active.keep, &buffer[..received]);
                    let may_go_on = active.body_at > 0 && active.reader.may_go_on();
                    if may_go_on && !self.release_body(index) {
                        return self.advance(index);
                    }
                    // TLS may hold more than one read took.
                    if received < buffer.len() && !ends && !secure {
                        return;
                    }
                }
                Step::Complete(taken) => {
                    *used = true;
                    let status = active.reader.status();
                    keep_piece(&mut active.kept, &mut active.keep, &buffer[..taken]);
                    let text = sent_bytes(active.own.as_deref(), self.plan, active.due.request);
                    let whole = taken == received && active.written == text.len();
                    if !active.reader.keep_alive() || !whole || ends {
                        self.close(index);
                    }
                    self.end_turn_at(index, Ok(status), now);
                    self.advance(index);
                    return;
                }
                Step::Invalid => {
                    self.close(index);
                    self.end_turn(index, Err(Failure::Invalid));
                    self.advance(index);
                    return;
                }
            }
        }
    }

    /// The connection broke. A request of which no byte was taken, or a safe one that had just left on a
    /// kept-alive connection and got no byte back (the server closed as it left, and never read it), is tried
    /// once more, which is counted. Otherwise its turn ends; `false` then.
    fn on_broken(&mut self, index: u32) -> bool {
        let (plan, now) = (self.plan, self.clock.now());
        let slot = &mut self.lanes[index as usize];
        let was_used = matches!(slot.link, Link::Open { used: true, .. });
        let retry = slot.active().is_some_and(|active| {
            let request = &plan.requests[active.due.request as usize];
            let again = was_used && (active.never_left() || (request.is_safe && active.crossed_a_close(now)));
            if again {
                active.reset_for_retry(request.is_head);
            }
            again
        });
        self.close(index);
        if retry {
            self.meter.at(now).retried += 1;
            return self.set_off(index);
        }
        self.end_turn(index, Err(Failure::Reset));
        false
    }

    /// Books what still waits as never sent, and what is in flight as cut off.
    pub(super) fn abandon(&mut self) {
        let now = self.clock.now();
        for index in 0..u32::try_from(self.lanes.len()).unwrap_or(u32::MAX) {
            if let Some(lane) = &mut self.lanes[index as usize].lane {
                let waiting: Vec<Due> = std::iter::from_fn(|| lane.waiting.pop_front()).collect();
                self.waiting -= waiting.len();
                for due in waiting {
                    let request = &self.plan.requests[due.request as usize];
                    self.outcomes.push(skipped(due, request, Failure::SkippedEnded, now));
                }
                self.end_turn(index, Err(Failure::CutOff));
            }
        }
    }

    /// Ends the active request's turn, if there is one, and drops the lane when it has done all its work.
    pub(super) fn end_turn(&mut self, index: u32, result: Result<u16, Failure>) {
        self.end_turn_at(index, result, self.clock.now());
    }

    /// The same, for what ended at `now`: when its last byte was read.
    fn end_turn_at(&mut self, index: u32, result: Result<u16, Failure>, now: Offset) {
        let slot = &mut self.lanes[index as usize];
        let Some(lane) = &mut slot.lane else { return };
        let Some(request) =
            lane.active.as_ref().map(|active| &self.plan.requests[active.due.request as usize])
        else {
            return;
        };
        let (mut due, mut kept, mut sampled) = (None, None, None);
        if let Some(active) = &mut lane.active {
            due = Some(active.due);
            if active.is_sampled && active.sent.is_some() {
                let text = sent_bytes(active.own.as_deref(), self.plan, active.due.request);
                sampled = Some((active.due, text[..text.len().min(MAX_ANSWER)].to_vec()));
            }
            kept = (active.keep != Keep::Nothing && result.is_ok()).then(|| std::mem::take(&mut active.kept));
            self.texts.extend(active.own.take().filter(|_| self.texts.len() < MAX_TEXTS));
        }
        let ended = lane.end(request, result, now);
        if let Some(outcome) = ended {
            if let (Some(keeper), Some((due, text))) = (&self.keeper, sampled) {
                keeper.keep(KeptAnswer { due, text, raw: kept.clone().unwrap_or_default(), outcome });
            }
            self.outcomes.push(outcome);
            self.meter.on_flight(now, -1);
            self.meter.at(now).completed += u64::from(!result.is_err_and(Failure::is_skip));
        }
        let is_over = lane.is_over(request);
        self.give_to_pool(index);
        if is_over {
            self.remove(index);
        }
        if let Some(due) = due {
            self.wake(due, kept.as_deref(), now);
        }
    }
}
