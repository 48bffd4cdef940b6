//! Which stretch of a recording is planned: what was asked for, as far as the recording goes.
//!
//! Before its first arrival and after its last there is nothing that was recorded, and nothing is not silence: a window
//! that reaches beyond is cut there. Within, silence is what production did, and stays.

use std::time::Duration;

use captures::Offset;

use super::{Plan, PlannedRequest};
use crate::select::{Selection, busiest};

/// The arrivals of a recording, in nanoseconds, whatever is taken of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub(super) first: u64,
    pub(super) last: u64,
    count: u64,
}

/// The stretch that is planned, in nanoseconds: from `begin`, up to `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) begin: u64,
    pub(super) end: u64,
    /// Whether more was asked for.
    pub(super) is_cut: bool,
}

impl Extent {
    pub(super) fn on(&mut self, arrived: u64) {
        self.first = if self.count == 0 { arrived } else { self.first.min(arrived) };
        self.last = self.last.max(arrived);
        self.count += 1;
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One mean gap after the last arrival: n arrivals mark off n − 1 gaps, and then have the recorded rate.
    const fn end(&self) -> u64 {
        let between = self.last - self.first;
        let gap = if between == 0 { 1_000_000_000 } else { between / (self.count - 1) };
        self.last.saturating_add(if gap == 0 { 1 } else { gap })
    }

    pub(super) const fn length(&self) -> Duration {
        Duration::from_nanos(self.end() - self.first)
    }

    /// What `selection` takes; `None` for all of it. `requests` are those that can be sent, in order of arrival.
    pub(super) fn window(&self, selection: &Selection, requests: &[(PlannedRequest, u64)]) -> Option<Window> {
        let (first, last) = (self.first, self.end());
        if let Some(length) = selection.busiest {
            let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
            if length > last - first {
                return Some(Window { begin: first, end: last, is_cut: true });
            }
            let arrivals: Vec<u64> = requests.iter().map(|(request, _)| request.arrived).collect();
            // Moved to the front, it holds no fewer.
            let begin = busiest(&arrivals, length).max(first).min(last - length);
            return Some(Window { begin, end: begin + length, is_cut: false });
        }
        let (from, to) = (selection.from.map(Offset::as_nanos), selection.to.map(Offset::as_nanos));
        if from.is_none() && to.is_none() {
            return None;
        }
        let to = to.unwrap_or(last);
        Some(Window { begin: from.unwrap_or(first).max(first), end: to.min(last), is_cut: to > last })
    }
}

impl Plan {
    /// The length of the whole recording: from the first to the last exchange of the capture, and one mean gap more.
    pub const fn recorded_span(&self) -> Duration {
        self.recorded_span
    }

    /// Whether the stretch that was asked for reaches beyond the end of the recording, so that less is planned.
    pub const fn window_is_cut(&self) -> bool {
        self.window_is_cut
    }
}
