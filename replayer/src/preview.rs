//! What a replay will send, before it sends anything.

use std::collections::HashSet;
use std::time::Duration;

use captures::{Offset, Stage};

use crate::plan::Plan;
use crate::schedule::{Schedule, Unit};
use crate::shape::{Likeness, Measure};

/// The load of a whole plan, exactly as it will be due.
#[derive(Clone, Debug, Default)]
pub struct Preview {
    /// How long each step of the curve is: a second, or of a plan of more than 100 000 seconds as many seconds as
    /// make no more steps than that.
    pub step: Duration,
    /// By step: requests that will be due.
    pub steps: Vec<u64>,
    /// By step: connections whose first request will be due.
    pub connections: Vec<u64>,
    /// By route, as numbered in the plan.
    pub routes: Vec<u64>,
    /// The most requests that are due within one second of the run.
    pub peak_per_second: u64,
    /// The most requests that are due within any 100 ms.
    pub peak_per_100_ms: u64,
    /// How it looks beside the capture.
    pub likeness: Likeness,
}

impl Preview {
    /// All requests.
    pub fn total(&self) -> u64 {
        self.steps.iter().sum()
    }
}

const WINDOW: Duration = Duration::from_secs(1);
/// A curve has no more steps: a little over a day of seconds.
const MOST_STEPS: u64 = 100_000;
/// So many requests are laid out at a time, unless there are more in one second.
const MOST_AT_ONCE: u64 = 100_000;

/// Lays out the plan. `None` when it holds more than `most` requests: that would take too long to count.
pub fn preview(plan: &Plan, unit: Unit, stages: &[Stage], seed: u64, most: u64) -> Option<Preview> {
    let schedule = Schedule::by(unit, plan, stages.to_vec(), seed);
    if schedule.expected() > most {
        return None;
    }
    let seconds = schedule.end().since_start().as_secs_f64().ceil() as u64;
    let step = WINDOW * u32::try_from(seconds.div_ceil(MOST_STEPS).max(1)).unwrap_or(u32::MAX);
    let steps = usize::try_from(place(schedule.end(), step)).unwrap_or(0)
        + usize::from(!schedule.end().as_nanos().is_multiple_of(nanos(step)));
    let mut preview = Preview {
        step,
        steps: vec![0; steps],
        connections: vec![0; steps],
        routes: vec![0; plan.routes().len()],
        ..Preview::default()
    };
    let mut second = (0, 0);
    let mut begun: HashSet<(u32, u32, u32)> = HashSet::new();
    let mut peak = Peak::default();
    let mut measure = Measure::new(plan, schedule.end());
    let mut from = Offset::ZERO;
    while from < schedule.end() {
        // What is empty is stepped over, whether that is a second or years.
        let busy = place(schedule.quiet_until(from).max(from), WINDOW);
        from = Offset::from_nanos(busy.saturating_mul(nanos(WINDOW)));
        let at = place(from, step);
        let end_of_step = Offset::from_nanos((at + 1).saturating_mul(nanos(step)));
        let crowded = schedule.at_most(from, end_of_step) > MOST_AT_ONCE;
        let until = if crowded { from.plus(WINDOW) } else { end_of_step };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let dues = schedule.window(from, until);
        for due in &dues {
            let request = &plan.requests[due.request as usize];
            preview.routes[usize::from(request.route)] += 1;
            preview.connections[at] += u64::from(begun.insert((due.copy, due.lap, request.connection)));
            second =
                if second.0 == due.at.second() { (second.0, second.1 + 1) } else { (due.at.second(), 1) };
            preview.peak_per_second = preview.peak_per_second.max(second.1);
            peak.on_due(due.at);
            measure.on_due(due);
        }
        if let Some(count) = preview.steps.get_mut(at) {
            *count += dues.len() as u64;
        }
        from = until;
    }
    preview.peak_per_100_ms = peak.most;
    preview.likeness = Likeness { recorded: Measure::of_recorded(plan), planned: measure.finish() };
    Some(preview)
}

/// In which step of this length a moment lies.
fn place(at: Offset, step: Duration) -> u64 {
    at.as_nanos() / nanos(step)
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// Every due moment of the plan, in order: what arrivals at a target can be compared with.
pub fn due_moments(plan: &Plan, unit: Unit, stages: &[Stage], seed: u64) -> Vec<Offset> {
    let schedule = Schedule::by(unit, plan, stages.to_vec(), seed);
    schedule.window(Offset::ZERO, schedule.end()).into_iter().map(|due| due.at).collect()
}

/// Finds the most moments within any 100 ms of an ascending series.
#[derive(Debug, Default)]
pub(crate) struct Peak {
    recent: std::collections::VecDeque<Offset>,
    pub(crate) most: u64,
}

/// The stretch in which the ceiling of the rate is watched.
pub(crate) const CEILING_WINDOW: Duration = Duration::from_millis(100);

impl Peak {
    pub(crate) fn on_due(&mut self, at: Offset) {
        while self.recent.front().is_some_and(|&first| at.since(first) >= CEILING_WINDOW) {
            self.recent.pop_front();
        }
        self.recent.push_back(at);
        self.most = self.most.max(self.recent.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{exchange, plan_of};
    use crate::stages::parse_stages;

    #[test]
    fn the_curve_the_mix_and_the_connections_are_counted_before_anything_is_sent() {
        // 10 a second on one connection each second, for 10 s.
        let plan = plan_of((0..100).map(|id| exchange(id, id * 100, id / 10)));
        let stages = parse_stages("=10s:3x").unwrap();
        let preview = super::preview(&plan, Unit::Session, &stages, 1, 1_000).unwrap();
        assert_eq!((preview.total(), preview.steps.len()), (300, 10));
        assert_eq!(preview.routes.iter().sum::<u64>(), 300);
        // 30 whole connections, and one more for each that the copies' shifts cut in two.
        let connections: u64 = preview.connections.iter().sum();
        assert!((30..=32).contains(&connections), "{connections}");
        assert!((3..=6).contains(&preview.peak_per_100_ms), "{preview:?}");
        assert!(super::preview(&plan, Unit::Session, &stages, 1, 299).is_none());
    }

    #[test]
    fn a_plan_of_years_is_laid_out_in_a_bounded_number_of_steps() {
        // Three requests in one second, three more ten years later, and one in between.
        let years = 10 * 365 * 86_400_000;
        let at = [0, 100, 200, years / 2, years, years + 100, years + 900];
        let plan = plan_of((0..).zip(at).map(|(id, at)| exchange(id, at, id)));
        for scale in [1.0, 3.0] {
            let stages = crate::stages::hold(scale, plan.span());
            let preview = super::preview(&plan, Unit::Session, &stages, 1, 1_000).unwrap();
            assert_eq!(preview.total(), 7 * scale as u64);
            assert_eq!(preview.connections.iter().sum::<u64>(), preview.total());
            assert!(preview.steps.len() <= 100_000 && preview.step > Duration::from_secs(3_000));
            // A second holds what it holds, however long a step is.
            assert!((3..10).contains(&preview.peak_per_second), "{}", preview.peak_per_second);
        }
    }
}
