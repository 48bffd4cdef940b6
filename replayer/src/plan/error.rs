//! Why a capture makes no plan.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::{HeldBack, MAX_TEXT};

/// Why a capture cannot become a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// There is no exchange in it.
    Empty,
    /// Every exchange was held back.
    AllHeldBack {
        /// How many, by reason.
        held_back: Vec<(HeldBack, u64)>,
        /// Their routes, or some of them.
        routes: Vec<String>,
    },
    /// Nothing arrived in the stretch that was asked for.
    Outside {
        /// When the first exchange arrived, since the recording began.
        first: Duration,
        /// When the last one did.
        last: Duration,
    },
    /// The request texts are above the limit.
    TooLarge,
    /// The request texts are too many for memory, and cannot be put on disk.
    Unwritten {
        /// Why.
        why: String,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "holds no exchange"),
            Self::AllHeldBack { held_back, .. } if self.is_no_route() => {
                let count: u64 = held_back.iter().map(|&(_, count)| count).sum();
                write!(f, "none of its {count} exchanges is of a route that was asked for")
            }
            Self::Outside { first, last } => write!(
                f,
                "nothing arrived in the stretch that was asked for: the capture goes from {:.1} s to {:.1} s",
                first.as_secs_f64(),
                last.as_secs_f64()
            ),
            Self::AllHeldBack { held_back, .. } => {
                write!(f, "nothing is left to send (")?;
                for (at, (reason, count)) in held_back.iter().enumerate() {
                    write!(f, "{}{count} {}", if at > 0 { ", " } else { "" }, reason.as_str())?;
                }
                write!(f, ")")
            }
            Self::TooLarge => write!(f, "holds more than {} GiB of requests", MAX_TEXT >> 30),
            Self::Unwritten { why } => write!(f, "its requests cannot be put aside on disk: {why}"),
        }
    }
}

impl PlanError {
    /// Whether it is what was asked for that fits nothing of the capture.
    pub fn is_selection(&self) -> bool {
        self.is_no_route() || matches!(self, Self::Outside { .. })
    }

    fn is_no_route(&self) -> bool {
        let Self::AllHeldBack { held_back, .. } = self else { return false };
        held_back.iter().all(|&(reason, _)| reason == HeldBack::Route)
    }

    /// What to do about it.
    pub fn mend(&self) -> Cow<'static, str> {
        let text = match self {
            Self::Empty => "record some traffic first",
            Self::Outside { .. } => "give another --from or --to",
            Self::AllHeldBack { routes, .. } if self.is_no_route() => {
                return Cow::Owned(format!("its routes are {}", some_of(routes)));
            }
            Self::AllHeldBack { held_back, .. }
                if held_back.iter().any(|&(reason, _)| reason == HeldBack::UnsafeMethod) =>
            {
                "--allow-unsafe also sends methods that may change something at the target"
            }
            Self::AllHeldBack { .. } => "none can be sent again as it was; replay another stretch or capture",
            Self::TooLarge => "replay a part of it, with --from and --to",
            Self::Unwritten { .. } => {
                "make room where TMPDIR points to, or replay a part of it, with --from and --to"
            }
        };
        Cow::Borrowed(text)
    }
}

/// So many routes are named.
const NAMED: usize = 8;

/// The first of several routes, for people.
pub fn some_of(routes: &[String]) -> String {
    let named = routes.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if routes.len() > NAMED { format!("{named} and {} more", routes.len() - NAMED) } else { named }
}

impl std::error::Error for PlanError {}
