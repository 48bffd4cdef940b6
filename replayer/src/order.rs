//! Which request of a recorded HTTP/2 connection may leave, and which one waits.
//!
//! Requests that overlapped in the recording leave at their own moments. One that arrived after another had ended may
//! have been asked because of its answer, so it does not leave before that one has ended here, too: a slow target
//! delays what followed, as it does on a connection where requests take turns.
//!
//! Recorded moments are an interval order, so the request that ended first in the recording never waits, and every
//! other's turn comes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use captures::Offset;

/// One request: its place in the plan, and its recorded moments, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lasted {
    pub(crate) request: u32,
    pub(crate) arrived: u64,
    /// Later than it arrived.
    pub(crate) ended: u64,
}

/// The requests of one copy of a recorded connection that are due and have not ended.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// By their recorded ends.
    pending: BTreeSet<(u64, u32)>,
    /// Those that wait, by their recorded arrivals, with their lanes.
    waiting: BTreeMap<(u64, u32), u32>,
    /// Of those that have ended, the one that did so last in the recording, and when it did so here.
    latest: (u64, Offset),
}

impl Order {
    /// A request is due: `None` when it must wait; else it may leave, and its predecessor ended then (zero: it has
    /// none).
    pub(crate) fn on_due(&mut self, one: Lasted, lane: u32) -> Option<Offset> {
        let first = self.pending.first().map_or(u64::MAX, |&(ended, _)| ended);
        self.pending.insert((one.ended, one.request));
        if first <= one.arrived {
            self.waiting.insert((one.arrived, one.request), lane);
            return None;
        }
        let (ended, at) = self.latest;
        Some(if ended <= one.arrived { at } else { Offset::ZERO })
    }

    /// A request ended, at `now`: the lanes of those that need wait no longer, in the order of their arrival.
    pub(crate) fn on_end(&mut self, one: Lasted, now: Offset) -> Vec<u32> {
        if !self.pending.remove(&(one.ended, one.request)) {
            return Vec::new();
        }
        self.waiting.remove(&(one.arrived, one.request));
        if one.ended >= self.latest.0 {
            self.latest = (one.ended, now);
        }
        let first = self.pending.first().map_or(u64::MAX, |&(ended, _)| ended);
        let mut free = Vec::new();
        while let Some(next) = self.waiting.first_entry().filter(|next| next.key().0 < first) {
            free.push(next.remove());
        }
        free
    }

    /// Whether nothing has happened for `idle`.
    pub(crate) fn is_stale(&self, now: Offset, idle: Duration) -> bool {
        self.is_empty() && now.since(self.latest.1) > idle
    }

    /// Whether nothing is due that has not ended.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lasted(request: u32, arrived: u64, ended: u64) -> Lasted {
        Lasted { request, arrived, ended }
    }

    #[test]
    fn what_followed_a_page_waits_for_it_and_what_overlapped_does_not() {
        let mut order = Order::default();
        let at = Offset::from_millis;
        // A page, three parts of it that were asked for at once after it, and a beacon beside the page.
        let (page, beacon) = (lasted(0, 0, 100), lasted(1, 50, 400));
        let parts = [lasted(2, 110, 150), lasted(3, 111, 300), lasted(4, 112, 120)];
        let after = lasted(5, 200, 210);
        assert_eq!(order.on_due(page, 10), Some(Offset::ZERO));
        assert_eq!(order.on_due(beacon, 11), Some(Offset::ZERO));
        for (lane, part) in parts.into_iter().enumerate() {
            assert_eq!(order.on_due(part, 12 + lane as u32), None);
        }
        assert_eq!(order.on_due(after, 15), None);
        assert_eq!(order.on_end(page, at(900)), [12, 13, 14]);
        // It waits for both parts that had ended before it was asked for, whichever ends first here.
        assert!(order.on_end(parts[0], at(950)).is_empty());
        assert_eq!(order.on_end(parts[2], at(990)), [15]);
        for one in [parts[1], after, beacon] {
            order.on_end(one, at(1_000));
        }
        assert!(order.is_empty());
        // Its predecessor ended before it was due: thinking is reckoned from there.
        assert_eq!(order.on_due(lasted(6, 500, 501), 16), Some(at(1_000)));
    }

    proptest! {
        /// Whatever ends when: nothing leaves before what had ended before it in the recording, and all leave.
        #[test]
        fn order_is_kept_and_nobody_waits_for_ever(
            stretches in proptest::collection::vec((0_u64..50, 1_u64..30), 1..40),
            draws in proptest::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let mut arrived = 0;
            let all: Vec<Lasted> = stretches.iter().enumerate().map(|(at, (gap, length))| {
                arrived += gap / 5;
                lasted(at as u32, arrived, arrived + length)
            }).collect();
            let mut order = Order::default();
            let (mut due, mut out, mut ended) = (0, Vec::new(), Vec::new());
            for draw in draws {
                let choices = out.len() + usize::from(due < all.len());
                if choices == 0 {
                    break;
                }
                let choice = draw.index(choices);
                if choice < out.len() {
                    let one: u32 = out.remove(choice);
                    ended.push(one);
                    out.extend(order.on_end(all[one as usize], Offset::ZERO));
                } else {
                    if order.on_due(all[due], due as u32).is_some() {
                        out.push(due as u32);
                    }
                    due += 1;
                }
                for one in &out {
                    let before = all[..due].iter().filter(|other| other.ended <= all[*one as usize].arrived);
                    for other in before {
                        prop_assert!(ended.contains(&other.request));
                    }
                }
            }
            prop_assert_eq!(ended.len(), all.len());
            prop_assert!(order.is_empty());
        }
    }
}
