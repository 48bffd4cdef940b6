//! What one client connection of the replay has to do, in order.
//!
//! A lane stands for one recorded client connection in one copy. Its requests leave one after another: the
//! next is *ready* when it is due and its predecessor has ended, whatever the wire does. The lane keeps the
//! moments; it knows no socket.

mod known;
mod waiting;

use std::time::Duration;

use captures::{Bytes, Failure, Offset, Outcome};

use crate::correlate::kept::Keep;
use crate::plan::PlannedRequest;
use crate::response::ResponseReader;
use crate::schedule::Due;
pub(crate) use known::Known;
use waiting::Waiting;

/// A server's close and a request that leaves at the same time cross on the way: one round trip, at most.
const CROSSING: Duration = Duration::from_millis(20);

/// Which recorded connection, in which copy and which repetition of the capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LaneKey {
    pub(crate) copy: u32,
    pub(crate) lap: u32,
    pub(crate) connection: u32,
    /// The request that has the lane for itself; [`IN_ORDER`] where requests take turns.
    pub(crate) request: u32,
}

/// The lane of requests that leave one after another.
const IN_ORDER: u32 = u32::MAX;

impl LaneKey {
    /// For requests that leave one after another, and for what a connection's lanes share.
    pub(crate) const fn in_order(copy: u32, lap: u32, connection: u32) -> Self {
        Self { copy, lap, connection, request: IN_ORDER }
    }

    /// For a request that overlapped others on its connection.
    pub(crate) const fn alone(due: Due, connection: u32) -> Self {
        Self { copy: due.copy, lap: due.lap, connection, request: due.request }
    }

    pub(crate) const fn of_connection(self) -> Self {
        Self { request: IN_ORDER, ..self }
    }
}

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) key: LaneKey,
    pub(crate) waiting: Waiting,
    /// Apart, as most lanes of a run with many connections are idle at any moment.
    pub(crate) active: Option<Box<Active>>,
    /// When its last request ended; zero before the first has.
    pub(crate) last_done: Offset,
    /// Whether its request waits for others of its connection.
    pub(crate) gated: bool,
}

/// Whether a turn began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// The next request has its turn.
    Turn,
    /// Its user still thinks, until then.
    Later(Offset),
    /// Nothing waits, or something has its turn already.
    Nothing,
}

/// The request whose turn it is.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) due: Due,
    pub(crate) ready: Offset,
    /// When this turn must be over.
    pub(crate) deadline: Offset,
    /// Tells this turn from others of the same lane.
    pub(crate) serial: u64,
    pub(crate) connect_began: Option<Offset>,
    pub(crate) connecting: Duration,
    pub(crate) sent: Option<Offset>,
    pub(crate) first_byte: Option<Offset>,
    pub(crate) received: u64,
    /// Whether the connection that it left on had carried an answer before.
    pub(crate) reused: bool,
    pub(crate) written: usize,
    /// Where its body begins, while that is kept back; else 0.
    pub(crate) body_at: usize,
    pub(crate) retried: bool,
    /// Whether the ceiling of the rate let it pass.
    pub(crate) admitted: bool,
    pub(crate) reader: ResponseReader,
    /// Its own bytes, where they are not the plan's in memory: with values bound, or read from disk.
    pub(crate) own: Option<Vec<u8>>,
    /// What is kept of the answer, and how much of it is wanted.
    pub(crate) keep: Keep,
    pub(crate) kept: Vec<u8>,
    /// Whether its answer is one of those that are kept for a look at them.
    pub(crate) is_sampled: bool,
}

impl Lane {
    pub(crate) const fn new(key: LaneKey) -> Self {
        Self { key, waiting: Waiting::new(), active: None, last_done: Offset::ZERO, gated: false }
    }

    /// Whether nothing comes after `request`, which has ended.
    pub(crate) fn is_over(&self, request: &PlannedRequest) -> bool {
        (request.is_last || self.key.request != IN_ORDER) && self.waiting.is_empty()
    }

    /// Whether nothing is to be done here now.
    pub(crate) fn is_idle(&self) -> bool {
        self.active.is_none() && self.waiting.is_empty()
    }

    /// Gives the next waiting request its turn at `now`, no sooner than `pause` after the end of its
    /// predecessor.
    pub(crate) fn begin_next(
        &mut self,
        now: Offset,
        // When the answers that it needs were there.
        given: Offset,
        timeout: Duration,
        serial: u64,
        is_head: impl Fn(Due) -> bool,
        pause: impl Fn(Due) -> Duration,
    ) -> Begun {
        if self.active.is_some() {
            return Begun::Nothing;
        }
        let Some(due) = self.waiting.front() else { return Begun::Nothing };
        let paused = if self.last_done == Offset::ZERO { Duration::ZERO } else { pause(due) };
        let ready = due.at.max(self.last_done.plus(paused)).max(given);
        if !paused.is_zero() && ready > now {
            return Begun::Later(ready);
        }
        self.waiting.pop_front();
        self.active = Some(Box::new(Active {
            due,
            ready,
            deadline: now.plus(timeout),
            serial,
            connect_began: None,
            connecting: Duration::ZERO,
            sent: None,
            first_byte: None,
            received: 0,
            reused: false,
            written: 0,
            body_at: 0,
            retried: false,
            admitted: false,
            reader: ResponseReader::new(is_head(due)),
            own: None,
            keep: Keep::Nothing,
            kept: Vec::new(),
            is_sampled: false,
        }));
        Begun::Turn
    }

    /// Ends the turn of the active request; `None` when there is none.
    pub(crate) fn end(
        &mut self,
        request: &PlannedRequest,
        result: Result<u16, Failure>,
        now: Offset,
    ) -> Option<Outcome> {
        let active = self.active.take()?;
        self.last_done = now;
        Some(Outcome {
            exchange: request.exchange,
            copy: active.due.copy,
            route: request.route,
            recorded_status: (request.recorded_status != 0).then_some(request.recorded_status),
            due: active.due.at,
            ready: active.ready,
            sent: active.sent,
            first_byte: active.first_byte,
            connecting: active.connecting,
            done: now.max(active.ready),
            result,
            received: Bytes::new(active.received),
            reused: active.reused,
            retried: active.retried,
        })
    }
}

/// The outcome of a request that is given up before its turn.
pub(crate) fn skipped(due: Due, request: &PlannedRequest, failure: Failure, now: Offset) -> Outcome {
    Outcome {
        exchange: request.exchange,
        copy: due.copy,
        route: request.route,
        recorded_status: (request.recorded_status != 0).then_some(request.recorded_status),
        due: due.at,
        ready: due.at,
        sent: None,
        first_byte: None,
        connecting: Duration::ZERO,
        done: now.max(due.at),
        result: Err(failure),
        received: Bytes::new(0),
        reused: false,
        retried: false,
    }
}

impl Active {
    /// Whether a connection that broke at `now` may have been closed just as the request left: soon after it,
    /// and without a byte of an answer. Later, it is the target that let the request down.
    pub(crate) fn crossed_a_close(&self, now: Offset) -> bool {
        !self.retried && !self.reader.began() && self.sent.is_none_or(|sent| now.since(sent) < CROSSING)
    }

    /// Whether the request never left on this try: no byte of it was taken.
    pub(crate) const fn never_left(&self) -> bool {
        !self.retried && self.sent.is_none()
    }

    /// Forgets what happened on a connection that was closed as the request left, for its second try. The
    /// moment of its first byte stays: what came after is not the generator's lateness.
    pub(crate) fn reset_for_retry(&mut self, is_head: bool) {
        self.retried = true;
        self.written = 0;
        self.admitted = false;
        self.connect_began = None;
        self.reader = ResponseReader::new(is_head);
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{exchange, plan_of};

    fn due(at_ms: u64, request: u32) -> Due {
        Due { at: Offset::from_millis(at_ms), copy: 0, request, lap: 0 }
    }

    #[test]
    fn a_request_is_ready_when_it_is_due_and_its_predecessor_has_ended() {
        let plan = plan_of((0..3).map(|id| exchange(id, id * 10, 1)));
        let mut lane = Lane::new(LaneKey::in_order(0, 0, 0));
        [due(0, 0), due(10, 1), due(500, 2)].into_iter().for_each(|due| lane.waiting.push_back(due));
        // (turn begins, sent, ends) in ms; then wait, lag, response and latency in ms.
        let expected = [
            ((1, 1, 100), (0, 1, 100, 100)),
            ((100, 102, 150), (90, 2, 50, 140)),
            ((500, 500, 510), (0, 0, 10, 10)),
        ];
        for (at, ((begin, sent, end), (wait, lag, response, latency))) in expected.into_iter().enumerate() {
            let now = Offset::from_millis(begin);
            assert_eq!(
                lane.begin_next(now, Offset::ZERO, Duration::from_secs(30), 1, |_| false, |_| Duration::ZERO),
                Begun::Turn
            );
            lane.active.as_mut().unwrap().sent = Some(Offset::from_millis(sent));
            let outcome = lane.end(&plan.requests[at], Ok(200), Offset::from_millis(end)).unwrap();
            assert_eq!(outcome.ready.since(outcome.due), Duration::from_millis(wait));
            assert_eq!(outcome.lag(), Some(Duration::from_millis(lag)));
            assert_eq!(outcome.response(), Duration::from_millis(response));
            assert_eq!(outcome.latency(), Duration::from_millis(latency));
        }
        assert!(lane.is_idle());
    }

    #[test]
    fn a_user_who_thinks_is_not_hurried_by_a_slow_answer() {
        let plan = plan_of([exchange(0, 0, 1), exchange(1, 105, 1)]);
        let pause = |due: Due| Duration::from_micros(u64::from(plan.requests[due.request as usize].think));
        let mut lane = Lane::new(LaneKey::in_order(0, 0, 0));
        [due(0, 0), due(105, 1)].into_iter().for_each(|due| lane.waiting.push_back(due));
        let begin = |lane: &mut Lane, at| {
            lane.begin_next(
                Offset::from_millis(at),
                Offset::ZERO,
                Duration::from_secs(30),
                1,
                |_| false,
                pause,
            )
        };
        assert_eq!(begin(&mut lane, 0), Begun::Turn);
        // The answer comes after 400 ms instead of the recorded 5: the recorded 100 ms of thinking follow it.
        lane.end(&plan.requests[0], Ok(200), Offset::from_millis(400)).unwrap();
        assert_eq!(begin(&mut lane, 400), Begun::Later(Offset::from_millis(500)));
        assert_eq!(begin(&mut lane, 500), Begun::Turn);
        assert_eq!(lane.active.as_ref().unwrap().ready, Offset::from_millis(500));
    }

    #[test]
    fn only_a_close_that_crossed_the_request_is_a_reason_to_try_again() {
        let mut lane = Lane::new(LaneKey::in_order(0, 0, 0));
        lane.waiting.push_back(due(10, 0));
        lane.begin_next(
            Offset::from_millis(10),
            Offset::ZERO,
            Duration::from_secs(30),
            1,
            |_| false,
            |_| Duration::ZERO,
        );
        let active = lane.active.as_mut().unwrap();
        active.sent = Some(Offset::from_millis(10));
        assert!(active.crossed_a_close(Offset::from_millis(11)));
        assert!(!active.crossed_a_close(Offset::from_millis(510)), "the target sat on it");
        active.reset_for_retry(false);
        assert!(!active.crossed_a_close(Offset::from_millis(12)), "once is enough");
        assert_eq!(active.sent, Some(Offset::from_millis(10)));
    }

    #[test]
    fn the_time_to_connect_is_not_the_generators_lateness() {
        let plan = plan_of([exchange(0, 0, 1)]);
        let mut lane = Lane::new(LaneKey::in_order(0, 0, 0));
        lane.waiting.push_back(due(10, 0));
        lane.begin_next(
            Offset::from_millis(10),
            Offset::ZERO,
            Duration::from_secs(30),
            1,
            |_| false,
            |_| Duration::ZERO,
        );
        let active = lane.active.as_mut().unwrap();
        active.connecting = Duration::from_millis(7);
        active.sent = Some(Offset::from_millis(18));
        let outcome = lane.end(&plan.requests[0], Ok(200), Offset::from_millis(30)).unwrap();
        assert_eq!(outcome.lag(), Some(Duration::from_millis(1)));
        assert_eq!(outcome.response(), Duration::from_millis(20));
    }
}
