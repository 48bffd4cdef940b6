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
    /// By second: requests that will be due.
    pub seconds: Vec<u64>,
    /// By second: connections whose first request will be due.
    pub connections: Vec<u64>,
    /// By route, as numbered in the plan.
    pub routes: Vec<u64>,
    /// The most requests that are due within any 100 ms.
    pub peak_per_100_ms: u64,
    /// How it looks beside the capture.
    pub likeness: Likeness,
}

impl Preview {
    /// All requests.
    pub fn total(&self) -> u64 {
        self.seconds.iter().sum()
    }
}

const WINDOW: Duration = Duration::from_secs(1);

/// Lays out the plan. `None` when it holds more than `most` requests: that would take too long to count.
pub fn preview(plan: &Plan, unit: Unit, stages: &[Stage], seed: u64, most: u64) -> Option<Preview> {
    let schedule = Schedule::by(unit, plan, stages.to_vec(), seed);
    if schedule.expected() > most {
        return None;
    }
    let mut preview = Preview { routes: vec![0; plan.routes().len()], ..Preview::default() };
    let mut begun: HashSet<(u32, u32, u32)> = HashSet::new();
    let mut peak = Peak::default();
    let mut measure = Measure::new(plan, schedule.end());
    let mut from = Offset::ZERO;
    while from < schedule.end() {
        let until = from.plus(WINDOW);
        let dues = schedule.window(from, until);
        let mut opened = 0;
        for due in &dues {
            let request = &plan.requests[due.request as usize];
            preview.routes[usize::from(request.route)] += 1;
            opened += u64::from(begun.insert((due.copy, due.lap, request.connection)));
            peak.on_due(due.at);
            measure.on_due(due);
        }
        preview.seconds.push(dues.len() as u64);
        preview.connections.push(opened);
        from = until;
    }
    preview.peak_per_100_ms = peak.most;
    preview.likeness = Likeness { recorded: Measure::of_recorded(plan), planned: measure.finish() };
    Some(preview)
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
        assert_eq!((preview.total(), preview.seconds.len()), (300, 10));
        assert_eq!(preview.routes.iter().sum::<u64>(), 300);
        // 30 whole connections, and one more for each that the copies' shifts cut in two.
        let connections: u64 = preview.connections.iter().sum();
        assert!((30..=32).contains(&connections), "{connections}");
        assert!((3..=6).contains(&preview.peak_per_100_ms), "{preview:?}");
        assert!(super::preview(&plan, Unit::Session, &stages, 1, 299).is_none());
    }
}
