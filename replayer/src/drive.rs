//! One sending thread: its lanes, its epoll set, its loop.
//!
//! The loop sends what is due, then waits until the next due moment, the next deadline or the next event.
//! Due moments are absolute; nothing is ever slept relative to what happened before. A connection is
//! registered once, edge-triggered; a request is one `send` and usually one `recv`. Bodies go through one
//! buffer per thread and are not kept.

mod alarm;
mod expect;
mod given;
mod hubs;
mod link;
mod turns;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use captures::{Failure, Offset, Outcome};
use rustix::event::{Timespec, epoll};

use crate::addresses::Addresses;
use crate::answers::Keeper;
use crate::ceiling::{self, Ceiling};
use crate::clock::{Clock, thread_cpu};
use crate::correlate::kept::Keep;
use crate::correlate::links::NONE;
use crate::correlate::live::{Live, Turn};
use crate::lane::{Active, Begun, Known, Lane, LaneKey, skipped};
use crate::ledger::{Batch, Meter, Told};
use crate::plan::Plan;
use crate::schedule::Due;
use crate::stop::Stop;
use crate::tls::Tls;
use alarm::Alarm;
use hubs::Hubs;
use link::{Link, Slot};

/// How often a worker tells the ledger what it did.
const TELL: Duration = Duration::from_millis(100);
/// A lane with nothing to do for this long gives its connection up.
const IDLE: Duration = Duration::from_secs(90);
/// After an interruption, answers are waited for this long.
const INTERRUPTED_DRAIN: Duration = Duration::from_secs(1);
/// By how much the sending threads' priority is raised.
const PRIORITY: i32 = -10;
const BUFFER: usize = 64 << 10;
/// At most so many connections are being made at a time by one worker: a listener's queue is short.
const MAX_DIALLED: usize = 256;
/// At most so many connections are begun in one turn of the loop: beginning one takes as long as sending several requests,
/// and those whose connections are open are not to wait for it.
const DIALS_A_TURN: usize = 4;
/// So many times in a row it is looked whether something became due while something was sent.
const LOOKS: usize = 8;
/// How soon what the ceiling holds back is looked at again.
const HELD: Duration = Duration::from_millis(1);

/// A stretch of the schedule, as the planner hands it to one worker.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Everything of this worker that is due before this moment is in this chunk or an earlier one.
    pub(crate) until: Offset,
    pub(crate) dues: Vec<Due>,
}

/// Where and how connections are made.
#[derive(Clone, Debug)]
pub struct Wire {
    /// Where to send: each new connection to the next of them.
    pub addresses: Addresses,
    /// TLS, when the target speaks it.
    pub tls: Option<Tls>,
    /// Local addresses that connections come from, in turn; empty: what the system chooses.
    pub sources: Vec<IpAddr>,
}

/// The limits of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// So many connections are shared by all lanes; `None`: each lane has its own, as it was recorded.
    pub(crate) pool: Option<usize>,
    /// Whether HTTP/2 is spoken, and how many requests at a time then share a connection with others' at most.
    pub(crate) http2: bool,
    pub(crate) streams: Option<usize>,
    /// Whether a request waits for its recorded pause after the end of its predecessor.
    pub(crate) think: bool,
    pub(crate) timeout: Duration,
    pub(crate) drain: Duration,
    pub(crate) max_connections: usize,
    pub(crate) max_backlog: usize,
}

impl Limits {
    /// Whether lanes share connections, instead of each having those that were recorded.
    const fn is_shared(&self) -> bool {
        self.pool.is_some() || self.streams.is_some()
    }
}

/// One sending thread.
pub(crate) struct Worker<'run> {
    number: usize,
    plan: &'run Plan,
    clock: Clock,
    wire: &'run Wire,
    limits: Limits,
    ceiling: &'run Ceiling,
    stop: &'run Stop,
    epoll: OwnedFd,
    lanes: Vec<Slot>,
    free: Vec<u32>,
    known: Known,
    deadlines: VecDeque<(Offset, u32, u64)>,
    serial: u64,
    waiting: usize,
    connections: usize,
    meter: Meter,
    planned: Vec<(u64, u64)>,
    outcomes: Vec<Outcome>,
    connects: Vec<(u64, Duration)>,
    handshakes: Vec<(u64, Duration)>,
    /// Idle connections that any lane may take, the one used last on top; and turns that wait for one.
    pool: Vec<Link>,
    wanting: VecDeque<(u32, u64)>,
    /// Connections that are being made, those that may still be begun in this turn of the loop, and lanes that wait for
    /// either.
    dialled: usize,
    dials_left: usize,
    dialling: VecDeque<(u32, u64)>,
    /// Turns that wait because the ceiling of the rate was reached.
    held: VecDeque<(u32, u64)>,
    /// Lanes whose users think, until then.
    thinking: BinaryHeap<Reverse<(Offset, u32)>>,
    next_source: usize,
    next_address: usize,
    cpu: Duration,
    alarm: Alarm,
    live: Live<'run>,
    /// Texts of requests that have ended, for the next ones.
    texts: Vec<Vec<u8>>,
    /// Lanes whose waiting may be over.
    woken: Vec<u32>,
    keeper: Option<Keeper>,
    hubs: Hubs,
    /// Turns that have sent a head and keep their body back, until then at most.
    expecting: VecDeque<(Offset, u32, u64)>,
}

/// What a worker works on.
pub(crate) struct Task<'run> {
    pub(crate) number: usize,
    pub(crate) threads: usize,
    pub(crate) plan: &'run Plan,
    pub(crate) clock: Clock,
    pub(crate) wire: &'run Wire,
    pub(crate) limits: Limits,
    pub(crate) ceiling: &'run Ceiling,
    pub(crate) stop: &'run Stop,
    /// Where answers are kept, if they are.
    pub(crate) keeper: Option<Keeper>,
}

impl<'run> Worker<'run> {
    pub(crate) fn new(task: Task<'run>) -> std::io::Result<Self> {
        let Task { number, threads, plan, clock, wire, limits, ceiling, stop, keeper } = task;
        // Room for as many as were recorded: growing while requests are sent would hold them twice, and take time.
        let room = (plan.connections() as usize / threads.max(1)).min(limits.max_connections);
        Ok(Self {
            number,
            plan,
            clock,
            wire,
            limits,
            ceiling,
            stop,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            lanes: Vec::with_capacity(room),
            free: Vec::new(),
            known: Known::with_capacity(room),
            deadlines: VecDeque::new(),
            serial: 0,
            waiting: 0,
            connections: 0,
            meter: Meter::default(),
            planned: Vec::new(),
            outcomes: Vec::new(),
            connects: Vec::new(),
            handshakes: Vec::new(),
            pool: Vec::new(),
            wanting: VecDeque::new(),
            dialled: 0,
            dials_left: DIALS_A_TURN,
            dialling: VecDeque::new(),
            held: VecDeque::new(),
            thinking: BinaryHeap::new(),
            next_source: number,
            next_address: number,
            cpu: Duration::ZERO,
            alarm: Alarm::default(),
            live: Live::new(plan, number, threads),
            texts: Vec::new(),
            woken: Vec::new(),
            keeper,
            hubs: Hubs::default(),
            expecting: VecDeque::new(),
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
            if !interrupted && self.stop.is_asked() {
                queue.clear();
                (interrupted, planned_all) = (true, true);
                give_up = give_up.min(now.plus(INTERRUPTED_DRAIN));
            }
            if self.stop.is_urgent() {
                give_up = give_up.min(now);
            }
            self.dials_left = DIALS_A_TURN;
            self.send_due(&mut queue, now);
            self.expire(now);
            self.take_up(now);
            self.advance_woken();
            if now >= next_tell {
                next_tell = now.plus(TELL);
                self.tell(now, false, ledger);
            }
            if now >= next_sweep {
                next_sweep = now.plus(IDLE / 10);
                self.close_idle(now);
                self.live.sweep(now);
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
            if let Some(Reverse((until, _))) = self.thinking.peek() {
                wake = wake.min(*until);
            }
            if let Some((until, _, _)) = self.expecting.front() {
                wake = wake.min(*until);
            }
            if !self.held.is_empty() {
                wake = wake.min(now.plus(HELD));
            }
            if !self.dialling.is_empty() && self.dialled < MAX_DIALLED {
                wake = now;
            }
            let turn = self.clock.now();
            let second = self.meter.at(turn);
            second.loop_delay = second.loop_delay.max(turn.since(woken));
            let nap = self.alarm.nap(turn, wake.since(turn));
            events.clear();
            self.sleep(nap, &mut events);
            woken = self.clock.now();
            if events.is_empty() {
                self.alarm.woke(nap, woken.since(turn));
            }
            for event in &events {
                self.on_event(event.data.u64(), event.flags, &mut buffer);
                self.advance_woken();
                // Many answers at once are no reason for what is due meanwhile to wait.
                if !queue.is_empty() {
                    self.send_due(&mut queue, self.clock.now());
                }
            }
        }
    }

    /// Sends what is due at `now`, and what becomes due while that is sent; but not on and on, for answers wait.
    fn send_due(&mut self, queue: &mut VecDeque<Due>, mut now: Offset) {
        for _ in 0..LOOKS {
            let mut is_due = false;
            while let Some(due) = queue.front().filter(|due| due.at <= now).copied() {
                queue.pop_front();
                self.dispatch(due);
                is_due = true;
            }
            if !is_due || queue.is_empty() {
                return;
            }
            now = self.clock.now();
        }
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
        self.live.on_due(due, request);
        if self.waiting >= self.limits.max_backlog {
            let now = self.clock.now();
            self.outcomes.push(skipped(due, request, Failure::SkippedBacklog, now));
            self.wake(due, None, now);
            return;
        }
        let key = if request.overlaps {
            LaneKey::alone(due, request.connection)
        } else {
            LaneKey::in_order(due.copy, due.lap, request.connection)
        };
        let index = match self.known.get(key, key_in(&self.lanes)) {
            Some(index) => index,
            None => self.add_lane(key),
        };
        if let Some(lane) = &mut self.lanes[index as usize].lane {
            lane.waiting.push_back(due);
            self.waiting += 1;
        }
        if request.overlaps && !self.may_leave(due, key, index) {
            return;
        }
        self.advance(index);
    }

    fn add_lane(&mut self, key: LaneKey) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.lanes.push(Slot { lane: None, link: Link::Closed, generation: 0 });
            u32::try_from(self.lanes.len() - 1).unwrap_or(u32::MAX)
        });
        self.lanes[index as usize].lane = Some(Lane::new(key));
        self.known.insert(key, index, key_in(&self.lanes));
        index
    }

    /// Gives the lane's requests their turns for as long as turns end at once.
    fn advance(&mut self, index: u32) {
        let plan = self.plan;
        loop {
            let slot = &mut self.lanes[index as usize];
            let Some(lane) = &mut slot.lane else { return };
            let Some(next) = lane.waiting.front().filter(|_| lane.active.is_none() && !lane.gated) else {
                return;
            };
            let request = &plan.requests[next.request as usize];
            let now = self.clock.now();
            let given = match self.live.turn(next, request, index) {
                Turn::Ready(given) => given,
                Turn::Wait => return,
                Turn::Skip => {
                    self.skip_unbound(index, now);
                    continue;
                }
            };
            self.serial += 1;
            let is_head = |due: Due| plan.requests[due.request as usize].is_head;
            let think = self.limits.think;
            let pause = |due: Due| {
                let micros = if think { plan.requests[due.request as usize].think } else { 0 };
                Duration::from_micros(u64::from(micros))
            };
            match lane.begin_next(now, given, self.limits.timeout, self.serial, is_head, pause) {
                Begun::Turn => {}
                Begun::Nothing => return,
                Begun::Later(until) => {
                    self.thinking.push(Reverse((until, index)));
                    return;
                }
            }
            self.waiting -= 1;
            let mut unread = false;
            if let Some(active) = &mut lane.active {
                active.keep = self.live.keep(request);
                active.is_sampled =
                    self.keeper.as_ref().is_some_and(|keeper| keeper.takes(next, request.session));
                if active.is_sampled && active.keep != Keep::All {
                    active.keep = Keep::Sample;
                }
                if request.links != NONE || plan.is_on_disk() {
                    active.own = match plan.text(request) {
                        Some(planned) => {
                            let mut text = self.texts.pop().unwrap_or_default();
                            if request.links != NONE && self.live.text(next, request, &planned, &mut text) {
                                Some(text)
                            } else {
                                self.texts.push(text);
                                match planned {
                                    Cow::Owned(read) => Some(read),
                                    Cow::Borrowed(_) => None,
                                }
                            }
                        }
                        None => {
                            unread = true;
                            None
                        }
                    };
                }
                self.meter.on_flight(now, 1);
                self.deadlines.push_back((active.deadline, index, active.serial));
            }
            if unread {
                // The disk gives it no more: like memory that is not there.
                self.end_turn(index, Err(Failure::SkippedDescriptors));
            } else if self.set_off(index) {
                return;
            }
        }
    }

    fn remove(&mut self, index: u32) {
        self.close(index);
        if let Some(lane) = self.lanes[index as usize].lane.take() {
            self.known.remove(lane.key, index);
            self.free.push(index);
        }
    }

    fn close(&mut self, index: u32) {
        let slot = &mut self.lanes[index as usize];
        let link = std::mem::replace(&mut slot.link, Link::Closed);
        if let Link::Stream { hub, id } = link {
            return self.leave_stream(hub, id);
        }
        if !matches!(link, Link::Closed) {
            slot.generation = slot.generation.wrapping_add(1);
            self.connections -= 1;
        }
        self.dialled -= usize::from(matches!(link, Link::Connecting { .. } | Link::Shaking { .. }));
    }

    /// Ends the turns that have lasted too long.
    fn expire(&mut self, now: Offset) {
        while let Some(&(deadline, index, serial)) = self.deadlines.front() {
            let current = self.current(index, serial).is_some();
            if current && deadline > now {
                return;
            }
            self.deadlines.pop_front();
            if current {
                let link = &self.lanes[index as usize].link;
                let connecting = !matches!(link, Link::Open { .. } | Link::Stream { .. });
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
        self.close_idle_hubs(now);
    }

    /// Takes up again what waited for the ceiling, for its user, or for fewer connections being made.
    fn take_up(&mut self, now: Offset) {
        while let Some(&Reverse((until, index))) = self.thinking.peek()
            && until <= now
        {
            self.thinking.pop();
            self.advance(index);
        }
        for _ in 0..self.held.len() {
            let Some((index, serial)) = self.held.pop_front() else { break };
            let Some(active) = self.current(index, serial) else { continue };
            if now.since(active.ready.plus(active.connecting)) > ceiling::PATIENCE {
                self.end_turn(index, Err(Failure::SkippedCeiling));
                self.advance(index);
            } else if !self.set_off(index) {
                self.advance(index);
            }
        }
        self.take_up_hubs();
        self.release_bodies(now);
        // Whatever was closed meanwhile makes room in the pool, too.
        while !self.wanting.is_empty() && self.has_connection() {
            let Some((index, serial)) = self.wanting.pop_front() else { break };
            if self.current(index, serial).is_some() && !self.set_off(index) {
                self.advance(index);
            }
        }
        while self.dialled < MAX_DIALLED
            && self.dials_left > 0
            && let Some((index, serial)) = self.dialling.pop_front()
        {
            if self.current(index, serial).is_some() && !self.set_off(index) {
                self.advance(index);
            }
        }
    }

    /// Whether a turn of a pooled run would find a connection, or room for one.
    fn has_connection(&self) -> bool {
        !self.pool.is_empty() || self.limits.pool.is_some_and(|most| self.connections < most)
    }

    /// The turn of a lane, if it is still this one.
    fn current(&self, index: u32, serial: u64) -> Option<&Active> {
        let active = self.lanes[index as usize].lane.as_ref()?.active.as_deref()?;
        (active.serial == serial).then_some(active)
    }

    fn is_idle(&self) -> bool {
        self.waiting == 0 && self.meter.in_flight() == 0
    }

    fn tell(&mut self, now: Offset, finished: bool, ledger: &Sender<Told>) {
        let cpu = thread_cpu();
        let second = self.meter.at(now);
        second.cpu += cpu.saturating_sub(self.cpu);
        second.spun += self.alarm.take_spun();
        second.connections = self.connections as u64;
        second.waiting = self.waiting as u64;
        self.cpu = cpu;
        // About as many again: a list that grows is copied at each size.
        let room = self.outcomes.len() + self.outcomes.len() / 4;
        let batch = Batch {
            worker: self.number,
            until: now,
            planned: std::mem::take(&mut self.planned),
            outcomes: std::mem::replace(&mut self.outcomes, Vec::with_capacity(room)),
            seconds: self.meter.take(now),
            connects: std::mem::take(&mut self.connects),
            handshakes: std::mem::take(&mut self.handshakes),
            applied: self.live.take_applied(),
            finished,
        };
        // The ledger listens until every worker has finished.
        let _ = ledger.send(Told::Batch(batch));
    }
}

/// The key of the lane of a number.
fn key_in(lanes: &[Slot]) -> impl Fn(u32) -> Option<LaneKey> {
    |index| lanes.get(index as usize)?.lane.as_ref().map(|lane| lane.key)
}
