//! What became of one planned request of a replay.
//!
//! The moments and lengths are those of the glossary: *due* (planned), *ready* (the earliest moment at
//! which it could leave), *sent* (first byte out), *done* (last byte in).

use std::time::Duration;

use crate::exchange::ExchangeId;
use crate::units::{Bytes, Offset};

/// One planned request and how it ended. All moments are offsets from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The recorded exchange it repeats.
    pub exchange: ExchangeId,
    /// Which copy of the recorded session: 0 is the unshifted one.
    pub copy: u32,
    /// Its route, as an index into the run header's routes.
    pub route: u16,
    /// The status of the recorded response; `None` when there was none.
    pub recorded_status: Option<u16>,
    /// The planned moment.
    pub due: Offset,
    /// When it could leave: due, or the end of its predecessor on the connection if that was later.
    pub ready: Offset,
    /// The moment of the first byte out; `None` when it never left.
    pub sent: Option<Offset>,
    /// The moment of the first byte of the answer; `None` when none came.
    pub first_byte: Option<Offset>,
    /// Time that passed between ready and sent because a connection had to be made.
    pub connecting: Duration,
    /// The moment of the last byte in, of the failure, or of the decision to skip it.
    pub done: Offset,
    /// The status of the answer, or why there is none.
    pub result: Result<u16, Failure>,
    /// Bytes of the answer that came, heads included.
    pub received: Bytes,
    /// Whether it left on a connection that had carried an answer before.
    pub reused: bool,
    /// Whether it left a second time, because a kept-alive connection was closed as it left.
    pub retried: bool,
}

impl Outcome {
    /// done − ready: what SLOs, thresholds and models use.
    pub fn response(&self) -> Duration {
        self.done.since(self.ready)
    }

    /// done − due: includes the time its session was behind the plan.
    pub fn latency(&self) -> Duration {
        self.done.since(self.due)
    }

    /// done − sent; `None` when it never left.
    pub fn service(&self) -> Option<Duration> {
        self.sent.map(|sent| self.done.since(sent))
    }

    /// First byte in − sent; `None` when no answer began.
    pub fn time_to_first_byte(&self) -> Option<Duration> {
        Some(self.first_byte?.since(self.sent?))
    }

    /// sent − ready − connecting: the generator's own lateness; `None` when it never left.
    pub fn lag(&self) -> Option<Duration> {
        self.sent.map(|sent| sent.since(self.ready).saturating_sub(self.connecting))
    }

    /// Whether it counts as an error: no answer, a 5xx, or a 4xx where the recording had a 2xx or 3xx.
    pub fn is_error(&self) -> bool {
        match self.result {
            Ok(status) => status >= 500 || self.is_unexpected_4xx(status),
            Err(_) => true,
        }
    }

    /// Whether `status` is a 4xx where the recording had a 2xx or 3xx.
    pub fn is_unexpected_4xx(&self, status: u16) -> bool {
        (400..500).contains(&status)
            && self.recorded_status.is_some_and(|recorded| (200..400).contains(&recorded))
    }
}

/// Why a planned request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// The target refused the connection.
    Refused,
    /// No connection within the time limit, or no route to the target.
    Unreachable,
    /// The connection broke before the answer was complete.
    Reset,
    /// No complete answer within the time limit.
    TimedOut,
    /// The answer was not HTTP.
    Invalid,
    /// Skipped: too many requests were waiting for their turn.
    SkippedBacklog,
    /// Skipped: the machine had no free local port.
    SkippedPorts,
    /// Skipped: the process had no free descriptor, or the connection limit was reached.
    SkippedDescriptors,
    /// Skipped: it was due, but still waited for its turn, when the run was ended from outside or by its
    /// drain limit.
    SkippedEnded,
    /// It had its turn, but no answer yet, when the run was ended from outside or by its drain limit: it
    /// would have taken longer than what was measured.
    CutOff,
    /// The TLS handshake failed, or the target's certificate was not accepted.
    Tls,
    /// Skipped: it would have passed the ceiling of the rate.
    SkippedCeiling,
    /// Skipped: a value that it needs was not in the answer that should have supplied it.
    SkippedUnbound,
}

impl Failure {
    /// All of them, in the order in which reports list them. Files refer to them by their place: new ones go to
    /// the end.
    pub const ALL: [Self; 13] = [
        Self::Refused,
        Self::Unreachable,
        Self::Reset,
        Self::TimedOut,
        Self::Invalid,
        Self::SkippedBacklog,
        Self::SkippedPorts,
        Self::SkippedDescriptors,
        Self::SkippedEnded,
        Self::CutOff,
        Self::Tls,
        Self::SkippedCeiling,
        Self::SkippedUnbound,
    ];

    /// The name in machine-readable output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::TimedOut => "timed_out",
            Self::Invalid => "invalid",
            Self::SkippedBacklog => "backlog",
            Self::SkippedPorts => "ports",
            Self::SkippedDescriptors => "descriptors",
            Self::SkippedEnded => "ended",
            Self::CutOff => "cut_off",
            Self::Tls => "tls",
            Self::SkippedCeiling => "ceiling",
            Self::SkippedUnbound => "unbound",
        }
    }

    /// Whether the request was never sent, by our own decision.
    pub const fn is_skip(self) -> bool {
        matches!(
            self,
            Self::SkippedBacklog
                | Self::SkippedPorts
                | Self::SkippedDescriptors
                | Self::SkippedEnded
                | Self::SkippedCeiling
                | Self::SkippedUnbound
        )
    }
}
