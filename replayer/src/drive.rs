//! One sending thread: its lanes, its epoll set, its loop.
//!
//! The loop sends what is due, then waits until the next due moment, the next deadline or the next event.
//! Due moments are absolute; nothing is ever slept relative to what happened before. A connection is
//! registered once, edge-triggered; a request is one `send` and usually one `recv`. Bodies go through one
//! buffer per thread and are not kept.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use captures::{Failure, Offset, Outcome};
use rustix::event::{Timespec, epoll};

use crate::client::{self, Moved};
use crate::clock::{Clock, thread_cpu};
use crate::lane::{Lane, LaneKey, skipped};
use crate::ledger::{Batch, Meter, Told};
use crate::plan::Plan;
use crate::response::Step;
use crate::schedule::Due;

/// How often a worker tells the ledger what it did.
const TELL: Duration = Duration::from_millis(100);
/// A due moment this near is waited for without sleeping.
const SPIN: Duration = Duration::from_micros(20);
/// A lane with nothing to do for this long gives its connection up.
const IDLE: Duration = Duration::from_secs(90);
/// After an interruption, answers are waited for this long.
const INTERRUPTED_DRAIN: Duration = Duration::from_secs(1);
/// By how much the sending threads' priority is raised.
const PRIORITY: i32 = -10;
const BUFFER: usize = 64 << 10;

/// A stretch of the schedule, as the planner hands it to one worker.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Everything of this worker that is due before this moment is in this chunk or an earlier one.
    pub(crate) until: Offset,
    pub(crate) dues: Vec<Due>,
}

/// The limits of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) timeout: Duration,
    pub(crate) drain: Duration,
    pub(crate) max_connections: usize,
    pub(crate) max_backlog: usize,
}

/// One sending thread.
pub(crate) struct Worker<'run> {
    number: usize,
    plan: &'run Plan,
    clock: Clock,
    address: SocketAddr,
    limits: Limits,
    stop: &'run AtomicBool,
    epoll: OwnedFd,
    lanes: Vec<Slot>,
    free: Vec<u32>,
    keys: HashMap<LaneKey, u32>,
    deadlines: VecDeque<(Offset, u32, u64)>,
    serial: u64,
    waiting: usize,
    connections: usize,
    meter: Meter,
    planned: Vec<(u64, u64)>,
    outcomes: Vec<Outcome>,
    connects: Vec<(u64, Duration)>,
    cpu: Duration,
}

/// A lane and its connection. `generation` tells the events of this connection from those of its forerunners.
struct Slot {
    lane: Option<Lane>,
    link: Link,
    generation: u32,
}

enum Link {
    Closed,
    Connecting(OwnedFd),
    /// `used`: it has carried an answer already.
    Open {
        socket: OwnedFd,
        used: bool,
    },
}

/// What a worker works on.
pub(crate) struct Task<'run> {
    pub(crate) number: usize,
    pub(crate) plan: &'run Plan,
    pub(crate) clock: Clock,
    pub(crate) address: SocketAddr,
    pub(crate) limits: Limits,
    pub(crate) stop: &'run AtomicBool,
}

impl<'run> Worker<'run> {
    pub(crate) fn new(task: Task<'run>) -> std::io::Result<Self> {
        let Task { number, plan, clock, address, limits, stop } = task;
        Ok(Self {
            number,
            plan,
            clock,
            address,
            limits,
            stop,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            lanes: Vec::new(),
            free: Vec::new(),
            keys: HashMap::new(),
            deadlines: VecDeque::new(),
            serial: 0,
            waiting: 0,
            connections: 0,
            meter: Meter::default(),
            planned: Vec::new(),
            outcomes: Vec::new(),
            connects: Vec::new(),
            cpu: Duration::ZERO,
        })
    }

    /// Sends what `chunks` brings until there is nothing left, and tells `ledger` of it.
    pub(crate) fn run(mut self, chunks: &Receiver<Chunk>, ledger: &Sender<Told>) {
        // Timers to the nanosecond; without the right to, the default of 50 µs stays.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        // Ahead of ordinary work on this machine, where that is allowed: a due moment does not wait its turn.
        let _ = rustix::process::nice(PRIORITY);
        let mut buffer = vec![0_u8; BUFFER];
        let mut events = Vec::with_capacity(256);
        let mut queue: VecDeque<Due> = VecDeque::new();
        let (mut horizon, mut planned_all, mut interrupted) = (Offset::ZERO, false, false);
        let mut next_tell = Offset::ZERO.plus(TELL);
        let mut next_sweep = Offset::ZERO.plus(IDLE);
        let mut give_up = Offset::MAX;
        // The clock stands at zero until the run begins.
        while !self.clock.until_start().is_zero() {
            self.sleep(self.clock.until_start(), &mut events);
        }
        let mut woken = self.clock.now();
        loop {
            let now = self.clock.now();
            while queue.is_empty() && !planned_all && now.plus(TELL) >= horizon {
                match chunks.try_recv() {
                    Ok(chunk) => {
                        horizon = chunk.until;
                        queue = chunk.dues.into();
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        planned_all = true;
                        give_up = give_up.min(horizon.max(now).plus(self.limits.drain));
                    }
                }
            }
            if !interrupted && self.stop.load(Ordering::Relaxed) {
                queue.clear();
                (interrupted, planned_all) = (true, true);
                give_up = give_up.min(now.plus(INTERRUPTED_DRAIN));
            }
            while let Some(due) = queue.front().filter(|due| due.at <= now).copied() {
                queue.pop_front();
                self.dispatch(due);
            }
            self.expire(now);
            if now >= next_tell {
                next_tell = now.plus(TELL);
                self.tell(now, false, ledger);
            }
            if now >= next_sweep {
                next_sweep = now.plus(IDLE / 10);
                self.close_idle(now);
            }
            let over = planned_all && queue.is_empty() && (now >= horizon || interrupted);
            if over && (self.is_idle() || now >= give_up) {
                self.abandon();
                self.tell(self.clock.now(), true, ledger);
                return;
            }
            let mut wake = next_tell.min(give_up);
            match queue.front() {
                Some(due) => wake = wake.min(due.at),
                // The next chunk is due to be here by now.
                None if !planned_all => wake = wake.min(horizon.max(now.plus(Duration::from_millis(1)))),
                None if now < horizon => wake = wake.min(horizon),
                None => {}
            }
            if let Some((deadline, _, _)) = self.deadlines.front() {
                wake = wake.min(*deadline);
            }
            let turn = self.clock.now();
            let second = self.meter.at(turn);
            second.loop_delay = second.loop_delay.max(turn.since(woken));
            self.wait(wake, &mut events);
            woken = self.clock.now();
            for event in &events {
                self.on_event(event.data.u64(), event.flags, &mut buffer);
            }
        }
    }

    /// Waits for events until `wake`.
    fn wait(&self, wake: Offset, events: &mut Vec<epoll::Event>) {
        events.clear();
        let left = wake.since(self.clock.now());
        self.sleep(if left <= SPIN { Duration::ZERO } else { left }, events);
    }

    fn sleep(&self, left: Duration, events: &mut Vec<epoll::Event>) {
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        // Interrupted by a signal: the loop looks again.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout));
    }

    /// A request is due: its lane takes it.
    fn dispatch(&mut self, due: Due) {
        let second = due.at.second();
        match self.planned.last_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => self.planned.push((second, 1)),
        }
        let request = &self.plan.requests[due.request as usize];
        if self.waiting >= self.limits.max_backlog {
            self.outcomes.push(skipped(due, request, Failure::SkippedBacklog, self.clock.now()));
            return;
        }
        let key = LaneKey { copy: due.copy, lap: due.lap, connection: request.connection };
        let index = match self.keys.get(&key) {
            Some(&index) => index,
            None => self.add_lane(key),
        };
        if let Some(lane) = &mut self.lanes[index as usize].lane {
            lane.waiting.push_back(due);
            self.waiting += 1;
        }
        self.advance(index);
    }

    fn add_lane(&mut self, key: LaneKey) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.lanes.push(Slot { lane: None, link: Link::Closed, generation: 0 });
            u32::try_from(self.lanes.len() - 1).unwrap_or(u32::MAX)
        });
        self.lanes[index as usize].lane = Some(Lane::new(key));
        self.keys.insert(key, index);
        index
    }

    /// Gives the lane's requests their turns for as long as turns end at once.
    fn advance(&mut self, index: u32) {
        let plan = self.plan;
        loop {
            let slot = &mut self.lanes[index as usize];
            let Some(lane) = &mut slot.lane else { return };
            let now = self.clock.now();
            self.serial += 1;
            let is_head = |due: Due| plan.requests[due.request as usize].is_head;
            if !lane.begin_next(now, self.limits.timeout, self.serial, is_head) {
                return;
            }
            self.waiting -= 1;
            if let Some(active) = &lane.active {
                self.meter.on_flight(now, 1);
                self.deadlines.push_back((active.deadline, index, active.serial));
            }
            if self.set_off(index) {
                return;
            }
        }
    }

    /// Sends the active request or begins to connect; `false` when its turn ended by that.
    fn set_off(&mut self, index: u32) -> bool {
        match &self.lanes[index as usize].link {
            Link::Open { .. } => self.write(index),
            Link::Connecting(_) => true,
            Link::Closed => {
                if self.connections >= self.limits.max_connections {
                    self.end_turn(index, Err(Failure::SkippedDescriptors));
                    return false;
                }
                let slot = &mut self.lanes[index as usize];
                slot.generation = slot.generation.wrapping_add(1);
                let token = u64::from(slot.generation) << 32 | u64::from(index);
                let now = self.clock.now();
                match client::connect(&self.epoll, self.address, token) {
                    Ok(socket) => {
                        slot.link = Link::Connecting(socket);
                        self.connections += 1;
                        if let Some(active) = slot.lane.as_mut().and_then(|lane| lane.active.as_mut()) {
                            active.connect_began = Some(now);
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

    /// Writes what is left of the active request; `false` when its turn ended by that.
    fn write(&mut self, index: u32) -> bool {
        let slot = &mut self.lanes[index as usize];
        let (Some(active), Link::Open { socket, used }) =
            (slot.lane.as_mut().and_then(|lane| lane.active.as_mut()), &slot.link)
        else {
            return true;
        };
        let text = self.plan.text(&self.plan.requests[active.due.request as usize]);
        while active.written < text.len() {
            let now = self.clock.now();
            match client::send(socket, &text[active.written..]) {
                Moved::Bytes(count) => {
                    let second = self.meter.at(now);
                    if active.written == 0 {
                        active.sent.get_or_insert(now);
                        active.reused = *used;
                        second.reused += u64::from(*used);
                    }
                    active.written += count;
                    second.bytes_out += count as u64;
                }
                Moved::Blocked => break,
                Moved::Broken => return self.on_broken(index),
            }
        }
        true
    }

    fn on_event(&mut self, token: u64, flags: epoll::EventFlags, buffer: &mut [u8]) {
        let index = u32::try_from(token & 0xFFFF_FFFF).unwrap_or(u32::MAX);
        let Some(slot) = self.lanes.get_mut(index as usize) else { return };
        if u64::from(slot.generation) != token >> 32 {
            return;
        }
        if let Link::Connecting(_) = slot.link {
            self.on_connected(index);
            return;
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
        let Link::Connecting(socket) = &slot.link else { return };
        match client::connected(socket) {
            Ok(()) => {
                self.meter.at(now).connections_opened += 1;
                if let Link::Connecting(socket) = std::mem::replace(&mut slot.link, Link::Closed) {
                    slot.link = Link::Open { socket, used: false };
                }
                if let Some(active) = slot.lane.as_mut().and_then(|lane| lane.active.as_mut()) {
                    let took = active.connect_began.map_or(Duration::ZERO, |began| now.since(began));
                    active.connecting += took;
                    self.connects.push((now.second(), took));
                }
                if !self.write(index) {
                    self.advance(index);
                }
            }
            Err(failure) => {
                self.close(index);
                self.end_turn(index, Err(failure));
                self.advance(index);
            }
        }
    }

    /// Receives what there is. `ends`: the target sends nothing more after it, so that no further event
    /// will come, and the connection takes no other request.
    fn read(&mut self, index: u32, ends: bool, buffer: &mut [u8]) {
        loop {
            let slot = &mut self.lanes[index as usize];
            let Link::Open { socket, used } = &mut slot.link else { return };
            let moved = client::receive(socket, buffer);
            let active = slot.lane.as_mut().and_then(|lane| lane.active.as_mut());
            let received = match moved {
                Moved::Blocked => return,
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
                    if received < buffer.len() && !ends {
                        return;
                    }
                }
                Step::Complete(taken) => {
                    *used = true;
                    let status = active.reader.status();
                    let text = self.plan.text(&self.plan.requests[active.due.request as usize]);
                    let whole = taken == received && active.written == text.len();
                    if !active.reader.keep_alive() || !whole || ends {
                        self.close(index);
                    }
                    self.end_turn(index, Ok(status));
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

    /// The connection broke. A safe request that had just left on a kept-alive connection, and got no byte
    /// back, is tried once more: the server closed as it left. Otherwise its turn ends; `false` then.
    fn on_broken(&mut self, index: u32) -> bool {
        let (plan, now) = (self.plan, self.clock.now());
        let slot = &mut self.lanes[index as usize];
        let was_used = matches!(slot.link, Link::Open { used: true, .. });
        let retry = slot.lane.as_mut().and_then(|lane| lane.active.as_mut()).is_some_and(|active| {
            let request = &plan.requests[active.due.request as usize];
            let again = was_used && request.is_safe && active.crossed_a_close(now);
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

    /// Ends the active request's turn, if there is one, and drops the lane when it has done all its work.
    fn end_turn(&mut self, index: u32, result: Result<u16, Failure>) {
        let now = self.clock.now();
        let slot = &mut self.lanes[index as usize];
        let Some(lane) = &mut slot.lane else { return };
        let Some(request) =
            lane.active.as_ref().map(|active| &self.plan.requests[active.due.request as usize])
        else {
            return;
        };
        if let Some(outcome) = lane.end(request, result, now) {
            self.outcomes.push(outcome);
            self.meter.on_flight(now, -1);
            self.meter.at(now).completed += u64::from(!result.is_err_and(Failure::is_skip));
        }
        if request.is_last && lane.waiting.is_empty() {
            self.remove(index);
        }
    }

    fn remove(&mut self, index: u32) {
        self.close(index);
        if let Some(lane) = self.lanes[index as usize].lane.take() {
            self.keys.remove(&lane.key);
            self.free.push(index);
        }
    }

    fn close(&mut self, index: u32) {
        let slot = &mut self.lanes[index as usize];
        if !matches!(std::mem::replace(&mut slot.link, Link::Closed), Link::Closed) {
            slot.generation = slot.generation.wrapping_add(1);
            self.connections -= 1;
        }
    }

    /// Ends the turns that have lasted too long.
    fn expire(&mut self, now: Offset) {
        while let Some(&(deadline, index, serial)) = self.deadlines.front() {
            let current = self.lanes[index as usize]
                .lane
                .as_ref()
                .and_then(|lane| lane.active.as_ref())
                .is_some_and(|active| active.serial == serial);
            if current && deadline > now {
                return;
            }
            self.deadlines.pop_front();
            if current {
                let connecting = matches!(self.lanes[index as usize].link, Link::Connecting(_));
                self.close(index);
                self.end_turn(index, Err(if connecting { Failure::Unreachable } else { Failure::TimedOut }));
                self.advance(index);
            }
        }
    }

    fn close_idle(&mut self, now: Offset) {
        for index in 0..self.lanes.len() {
            let stale = self.lanes[index]
                .lane
                .as_ref()
                .is_some_and(|lane| lane.is_idle() && now.since(lane.last_done) > IDLE);
            if stale {
                self.remove(u32::try_from(index).unwrap_or(u32::MAX));
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting == 0 && self.meter.in_flight() == 0
    }

    /// Books what still waits as never sent, and what is in flight as cut off.
    fn abandon(&mut self) {
        let now = self.clock.now();
        for index in 0..u32::try_from(self.lanes.len()).unwrap_or(u32::MAX) {
            if let Some(lane) = &mut self.lanes[index as usize].lane {
                let waiting: Vec<Due> = lane.waiting.drain(..).collect();
                self.waiting -= waiting.len();
                for due in waiting {
                    let request = &self.plan.requests[due.request as usize];
                    self.outcomes.push(skipped(due, request, Failure::SkippedEnded, now));
                }
                self.end_turn(index, Err(Failure::CutOff));
            }
        }
    }

    fn tell(&mut self, now: Offset, finished: bool, ledger: &Sender<Told>) {
        let cpu = thread_cpu();
        let second = self.meter.at(now);
        second.cpu += cpu.saturating_sub(self.cpu);
        second.connections = self.connections as u64;
        second.waiting = self.waiting as u64;
        self.cpu = cpu;
        let batch = Batch {
            worker: self.number,
            until: now,
            planned: std::mem::take(&mut self.planned),
            outcomes: std::mem::take(&mut self.outcomes),
            seconds: self.meter.take(now),
            connects: std::mem::take(&mut self.connects),
            handshakes: Vec::new(),
            finished,
        };
        // The ledger listens until every worker has finished.
        let _ = ledger.send(Told::Batch(batch));
    }
}
