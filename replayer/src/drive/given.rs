//! Values that answers give to later requests: who waited for them gets its turn.

use captures::{Failure, Offset};

use super::Worker;
use crate::correlate::links::NONE;
use crate::lane::skipped;
use crate::schedule::Due;

impl Worker<'_> {
    /// The request of `due` ended: what its answer gives is noted, and lanes that waited for it get their turns.
    pub(super) fn wake(&mut self, due: Due, answer: Option<&[u8]>, now: Offset) {
        let request = &self.plan.requests[due.request as usize];
        self.let_follow(due, now);
        if request.links != NONE {
            self.woken.extend(self.live.on_end(due, request, answer, now));
        }
    }

    pub(super) fn advance_woken(&mut self) {
        while let Some(index) = self.woken.pop() {
            self.advance(index);
        }
    }

    /// The next request of a lane is not sent: a value that it needs is missing.
    pub(super) fn skip_unbound(&mut self, index: u32, now: Offset) {
        let Some(lane) = &mut self.lanes[index as usize].lane else { return };
        let Some(due) = lane.waiting.pop_front() else { return };
        let request = &self.plan.requests[due.request as usize];
        let is_over = lane.is_over(request);
        self.waiting -= 1;
        self.outcomes.push(skipped(due, request, Failure::SkippedUnbound, now));
        if is_over {
            self.remove(index);
        }
        self.wake(due, None, now);
    }
}
