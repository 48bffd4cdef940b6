//! The requests of one lane that wait for their turn: mostly none, often one, seldom many.
//!
//! One lies in the lane itself, more in a queue that is made for them and given up with the last of them. So a lane
//! that is idle, and most are, holds no memory for what it once had to do.

use std::collections::VecDeque;

use captures::Offset;

use crate::schedule::Due;

/// First come, first served.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// [`NOBODY`] when there is none: an `Option` would take a third more in every lane.
    first: Due,
    /// Those behind it; never empty, and only there while there is a first.
    #[expect(clippy::box_collection, reason = "seldom there, and a quarter as large in every lane")]
    others: Option<Box<VecDeque<Due>>>,
}

/// Due at a moment that no run has.
const NOBODY: Due = Due { at: Offset::MAX, copy: 0, request: 0, lap: 0 };

impl Waiting {
    pub(crate) const fn new() -> Self {
        Self { first: NOBODY, others: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.at == NOBODY.at
    }

    pub(crate) fn front(&self) -> Option<Due> {
        (!self.is_empty()).then_some(self.first)
    }

    pub(crate) fn push_back(&mut self, due: Due) {
        if self.is_empty() {
            self.first = due;
        } else {
            self.others.get_or_insert_default().push_back(due);
        }
    }

    pub(crate) fn pop_front(&mut self) -> Option<Due> {
        let first = self.front();
        self.first = NOBODY;
        if let Some(others) = &mut self.others {
            self.first = others.pop_front().unwrap_or(NOBODY);
            if others.is_empty() {
                self.others = None;
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_out_in_the_order_in_which_they_went_in() {
        let mut waiting = Waiting::new();
        let due = |request| Due { at: Offset::ZERO, copy: 0, request, lap: 0 };
        let (mut next_in, mut next_out) = (0, 0);
        // In and out by turns, so that it is empty, holds one, and holds many.
        for (into, out) in [(1, 1), (3, 2), (5, 6), (1, 0), (100, 101), (2, 3)] {
            for _ in 0..into {
                waiting.push_back(due(next_in));
                next_in += 1;
            }
            assert_eq!(waiting.front().map(|due| due.request), Some(next_out));
            for _ in 0..out {
                let popped = waiting.pop_front().map(|due| due.request);
                assert_eq!(popped, (next_out < next_in).then_some(next_out));
                next_out = (next_out + 1).min(next_in);
            }
            assert_eq!(waiting.is_empty(), next_in == next_out);
        }
        assert!(waiting.others.is_none(), "an empty queue holds no memory");
    }
}
