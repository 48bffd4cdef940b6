//! Why a capture makes no plan.

use std::fmt;

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
            Self::AllHeldBack { held_back } => {
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
    /// What to do about it.
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::Empty => "record some traffic first",
            Self::AllHeldBack { .. } => {
                "--allow-unsafe also sends methods that may change something at the target"
            }
            Self::TooLarge => "replay a part of it, with --from and --to",
            Self::Unwritten { .. } => {
                "make room where TMPDIR points to, or replay a part of it, with --from and --to"
            }
        }
    }
}

impl std::error::Error for PlanError {}
