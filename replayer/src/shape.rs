//! What traffic looks like beside how much there is of it: its mix, its bursts, its sessions, its pauses.
//!
//! A scaled plan must look like the capture: nothing N times faster, only N times more. Both are measured by the
//! same numbers here, and the distances between them told, so that nobody needs to believe it.

use std::collections::HashMap;
use std::time::Duration;

use captures::{Histogram, Offset};

use crate::plan::{Plan, PlannedRequest};
use crate::schedule::Due;

/// The stretch by which requests are counted for [`Shape::burstiness`].
const WINDOW: Duration = Duration::from_secs(1);

/// What a stream of requests looks like.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// By route, as numbered in the plan: requests.
    pub routes: Vec<u64>,
    /// The Allan factor of the counts of successive seconds, Σ(nᵢ₊₁ − nᵢ)² ÷ 2Σnᵢ: the index of dispersion, but
    /// blind to a load that rises or falls slowly. 1 for a Poisson stream, more for bursts, 0 for a metronome;
    /// `None` within fewer than three seconds. Source: Allan (1966), "Statistics of atomic frequency standards";
    /// as an index of point processes: Lowen and Teich (1996).
    pub burstiness: Option<f64>,
    /// Sessions that lie within the stream as a whole.
    pub sessions: u64,
    /// Their requests: sessions of n requests are counted at n µs.
    pub session_requests: Histogram,
    /// How long they last, from their first request to their last.
    pub session_length: Histogram,
    /// The pauses between requests of one session.
    pub pauses: Histogram,
}

/// A plan beside the capture that it was made of.
#[derive(Clone, Debug, Default)]
pub struct Likeness {
    /// The capture.
    pub recorded: Shape,
    /// The plan.
    pub planned: Shape,
}

impl Likeness {
    /// Half the sum over routes of the differences between their shares: the share of requests that another route
    /// took, in `0..=1`.
    pub fn mix_distance(&self) -> f64 {
        let share = |shape: &Shape, route: usize| {
            let all: u64 = shape.routes.iter().sum();
            shape.routes.get(route).map_or(0.0, |&count| count as f64 / all.max(1) as f64)
        };
        let routes = 0..self.recorded.routes.len().max(self.planned.routes.len());
        routes.map(|route| (share(&self.recorded, route) - share(&self.planned, route)).abs()).sum::<f64>()
            / 2.0
    }

    /// The Kolmogorov–Smirnov distance between the requests of sessions, in `0..=1`.
    pub fn session_requests_distance(&self) -> f64 {
        distance(&self.recorded.session_requests, &self.planned.session_requests)
    }

    /// The same of how long sessions last.
    pub fn session_length_distance(&self) -> f64 {
        distance(&self.recorded.session_length, &self.planned.session_length)
    }

    /// The same of the pauses within sessions.
    pub fn pause_distance(&self) -> f64 {
        distance(&self.recorded.pauses, &self.planned.pauses)
    }
}

/// The largest difference between the shares that are no longer than any length; 0 when either is empty.
fn distance(one: &Histogram, other: &Histogram) -> f64 {
    if one.is_empty() || other.is_empty() {
        return 0.0;
    }
    let (mut left, mut right) = (one.pairs().peekable(), other.pairs().peekable());
    let (mut passed, mut most) = ([0_u64; 2], 0.0_f64);
    while let Some(next) = match (left.peek(), right.peek()) {
        (Some(&(a, _)), Some(&(b, _))) => Some(a.min(b)),
        (Some(&(only, _)), None) | (None, Some(&(only, _))) => Some(only),
        (None, None) => None,
    } {
        while let Some((_, count)) = left.next_if(|&(at, _)| at == next) {
            passed[0] += count;
        }
        while let Some((_, count)) = right.next_if(|&(at, _)| at == next) {
            passed[1] += count;
        }
        let share = |passed: u64, of: &Histogram| passed as f64 / of.len() as f64;
        most = most.max((share(passed[0], one) - share(passed[1], other)).abs());
    }
    most
}

/// Where a recorded session begins and ends, in nanoseconds of the plan.
#[derive(Clone, Copy)]
struct Stretch {
    first: u64,
    last: u64,
}

/// Measures a stream request by request, in the order of their moments.
pub(crate) struct Measure<'plan> {
    plan: &'plan Plan,
    /// The end of the stream.
    end: Offset,
    stretches: Vec<Stretch>,
    shape: Shape,
    sessions: HashMap<(u32, u32, u32), Session>,
    counts: Counts,
}

struct Session {
    requests: u64,
    first: Offset,
    last: Offset,
    is_whole: bool,
}

/// The counts of successive windows, as far as the Allan factor needs them.
#[derive(Default)]
struct Counts {
    window: u64,
    count: u64,
    before: Option<u64>,
    windows: u64,
    all: u64,
    squares: f64,
}

impl Counts {
    fn on(&mut self, at: Offset) {
        let window = at.as_nanos() / u64::try_from(WINDOW.as_nanos()).unwrap_or(u64::MAX);
        if self.window < window {
            self.end_window();
        }
        if self.window < window {
            // The first empty one; those after it differ by nothing.
            self.end_window();
            self.windows += window - self.window;
            self.window = window;
        }
        self.count += 1;
    }

    fn end_window(&mut self) {
        if let Some(before) = self.before {
            self.squares += (self.count as f64 - before as f64).powi(2);
        }
        self.before = Some(self.count);
        self.all += self.count;
        self.windows += 1;
        (self.window, self.count) = (self.window + 1, 0);
    }

    /// Of the windows that are over; the last one may be cut short.
    fn allan_factor(&self) -> Option<f64> {
        let mean = self.all as f64 / self.windows as f64;
        (self.windows >= 3 && self.all > 0).then(|| self.squares / (self.windows - 1) as f64 / (2.0 * mean))
    }
}

impl<'plan> Measure<'plan> {
    pub(crate) fn new(plan: &'plan Plan, end: Offset) -> Self {
        let mut stretches = vec![Stretch { first: u64::MAX, last: 0 }; plan.sessions() as usize];
        for request in &plan.requests {
            let stretch = &mut stretches[request.session as usize];
            stretch.first = stretch.first.min(request.arrived);
            stretch.last = stretch.last.max(request.arrived);
        }
        let shape = Shape { routes: vec![0; plan.routes().len()], ..Shape::default() };
        Self { plan, end, stretches, shape, sessions: HashMap::new(), counts: Counts::default() }
    }

    /// The shape of the capture itself.
    pub(crate) fn of_recorded(plan: &'plan Plan) -> Shape {
        let mut measure = Self::new(plan, Offset::MAX);
        for request in &plan.requests {
            measure.on(request, (0, 0), Offset::from_nanos(request.arrived));
        }
        measure.finish()
    }

    pub(crate) fn on_due(&mut self, due: &Due) {
        let plan = self.plan;
        self.on(&plan.requests[due.request as usize], (due.copy, due.lap), due.at);
    }

    fn on(&mut self, request: &PlannedRequest, (copy, lap): (u32, u32), at: Offset) {
        self.shape.routes[usize::from(request.route)] += 1;
        self.counts.on(at);
        let Stretch { first, last } = self.stretches[request.session as usize];
        // Where this copy of the session begins and ends, were nothing left out.
        let (at_nanos, arrived) = (i128::from(at.as_nanos()), i128::from(request.arrived));
        let begins = at_nanos - arrived + i128::from(first);
        let ends = at_nanos - arrived + i128::from(last);
        let session = self.sessions.entry((copy, lap, request.session)).or_insert_with(|| Session {
            requests: 0,
            first: at,
            last: at,
            is_whole: begins >= 0 && ends < i128::from(self.end.as_nanos()),
        });
        if session.requests > 0 {
            self.shape.pauses.record(at.since(session.last));
        }
        session.requests += 1;
        session.last = at;
    }

    pub(crate) fn finish(self) -> Shape {
        let Self { mut shape, sessions, counts, .. } = self;
        let mut whole: Vec<Session> = sessions.into_values().filter(|session| session.is_whole).collect();
        whole.sort_unstable_by_key(|session| session.first);
        for session in &whole {
            shape.session_requests.record_micros(session.requests, 1);
            shape.session_length.record(session.last.since(session.first));
        }
        shape.sessions = whole.len() as u64;
        shape.burstiness = counts.allan_factor();
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{exchange, plan_of};
    use crate::preview::preview;
    use crate::schedule::Unit;
    use crate::stages::hold;

    #[test]
    fn counts_of_successive_seconds_tell_bursts_from_a_metronome_and_from_a_slow_rise() {
        let factor = |counts: &[u64]| {
            let mut measured = Counts::default();
            for (second, count) in (0..).zip(counts) {
                (0..*count).for_each(|_| measured.on(Offset::from_secs(second)));
            }
            measured.on(Offset::from_secs(counts.len() as u64));
            measured.allan_factor()
        };
        assert_eq!(factor(&[7, 7, 7, 7]), Some(0.0));
        // By hand: 3 steps of 10, Σ = 300, ÷ 3 ÷ (2 · 5).
        assert_eq!(factor(&[0, 10, 0, 10]), Some(10.0));
        // By hand: 3 steps of 1, ÷ 3 ÷ (2 · 11.5).
        assert_eq!(factor(&[10, 11, 12, 13]), Some(1.0 / 23.0));
        assert_eq!(factor(&[7, 7]), None);
    }

    #[test]
    fn the_distance_is_the_largest_difference_of_the_shares() {
        let of = |lengths: &[u64]| {
            let mut histogram = Histogram::new();
            lengths.iter().for_each(|&length| histogram.record_micros(length, 1));
            histogram
        };
        assert!(distance(&of(&[1, 2, 3]), &of(&[1, 2, 3, 1, 2, 3])).abs() < 1e-12);
        assert!((distance(&of(&[1, 2]), &of(&[5, 6])) - 1.0).abs() < 1e-12);
        assert!((distance(&of(&[1, 2, 3, 4]), &of(&[1, 2, 9, 9])) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn ten_times_more_users_are_ten_times_more_and_no_faster() {
        // 60 sessions of 5 requests, 700 ms apart, over a minute; two routes.
        let recorded = (0..300).map(|id| {
            let (session, turn) = (id / 5, id % 5);
            exchange(id, session * 1_000 + turn * 700, session)
        });
        let plan = plan_of(recorded);
        let stages = hold(10.0, plan.span());
        let likeness = preview(&plan, Unit::Session, &stages, 3, 10_000).unwrap().likeness;

        let Likeness { recorded, planned } = &likeness;
        assert_eq!((recorded.sessions, recorded.session_requests.max().as_micros()), (60, 5));
        assert_eq!(planned.routes.iter().sum::<u64>(), 3_000);
        assert!(planned.sessions >= 540, "{} whole sessions", planned.sessions);
        assert!(likeness.mix_distance() < 0.01, "{}", likeness.mix_distance());
        assert!(likeness.pause_distance() < 1e-9 && likeness.session_length_distance() < 1e-9);
        assert!(likeness.session_requests_distance() < 1e-9);

        // Twice as fast, on the other hand, is told.
        let hasty = Likeness {
            planned: Shape {
                pauses: {
                    let mut pauses = Histogram::new();
                    pauses.record_micros(350_000, 10);
                    pauses
                },
                ..planned.clone()
            },
            ..likeness.clone()
        };
        assert!((hasty.pause_distance() - 1.0).abs() < 1e-9);
    }
}
