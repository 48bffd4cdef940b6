//! Whether a threshold can apply to what is planned, before anything is sent.

use std::fmt;
use std::time::Duration;

use captures::Stage;

use super::{Condition, Scope, Threshold, length};

/// Of routes that are near what was typed, so many are named.
const NEAREST: usize = 3;

/// Why a threshold could only be missed, whatever the target does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The plan has not so many stages.
    Stage {
        /// The stage, counted from one.
        number: usize,
        /// How many there are.
        of: usize,
    },
    /// The plan has no such route.
    Route {
        /// Routes that it has, the nearest first.
        nearest: Vec<String>,
    },
    /// Nothing is observed at all.
    NothingObserved,
    /// It would have to be broken for longer than what it is about takes.
    TooShort {
        /// The run, or the stage.
        what: &'static str,
        /// How long that takes.
        planned: Duration,
        /// How long it would have to be broken.
        lasting: Duration,
    },
}

impl Threshold {
    /// Whether it can be told of a run with such stages and routes whether it was met.
    ///
    /// `observing` says whether anything is observed. Whether it has the time is another question
    /// ([`Threshold::fits_in`]): what may end a run need not have it.
    ///
    /// # Errors
    /// Why it never can.
    pub fn fits(&self, stages: &[Stage], routes: &[String], observing: bool) -> Result<(), Unfit> {
        self.seconds(stages)?;
        if let Scope::Route(pattern) = &self.scope
            && !routes.iter().any(|route| pattern.matches(route))
        {
            return Err(Unfit::Route { nearest: nearest(&pattern.to_string(), routes) });
        }
        if matches!(self.condition, Condition::Observed { .. }) && !observing {
            return Err(Unfit::NothingObserved);
        }
        Ok(())
    }

    /// Whether what is planned lasts as long as it must be broken.
    ///
    /// # Errors
    /// When it is shorter.
    pub fn fits_in(&self, stages: &[Stage]) -> Result<(), Unfit> {
        let (what, planned) = self.planned(stages);
        match self.lasting {
            Some(lasting) if planned < lasting => Err(Unfit::TooShort { what, planned, lasting }),
            _ => Ok(()),
        }
    }

    /// What it is about, and how long that is planned to take.
    pub(super) fn planned(&self, stages: &[Stage]) -> (&'static str, Duration) {
        let of = |stage: &Stage| stage.end.since(stage.begin);
        match self.scope {
            Scope::Stage(number) => ("stage", stages.get(number).map(of).unwrap_or_default()),
            Scope::Whole | Scope::Route(_) => ("run", stages.iter().map(of).sum()),
        }
    }
}

/// The routes that begin most like `typed`, its method left aside when it names none.
fn nearest(typed: &str, routes: &[String]) -> Vec<String> {
    let alike = |route: &str| {
        let of = if typed.starts_with(['/', '*']) {
            route.split_once(' ').map_or(route, |(_, path)| path)
        } else {
            route
        };
        of.bytes().zip(typed.bytes()).take_while(|(one, other)| one == other).count()
    };
    let mut all: Vec<&String> = routes.iter().collect();
    all.sort_by_key(|route| (std::cmp::Reverse(alike(route)), route.len()));
    all.into_iter().take(NEAREST).cloned().collect()
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage { number, of } => write!(f, "there is no stage {number}: the run has {of}"),
            Self::Route { .. } => write!(f, "no route of the plan fits"),
            Self::NothingObserved => write!(f, "nothing is observed"),
            Self::TooShort { what, planned, lasting } => write!(
                f,
                "could not be judged: the {what} takes {}, less than {}",
                length(*planned),
                length(*lasting)
            ),
        }
    }
}

impl Unfit {
    /// What to do about it.
    pub fn mend(&self) -> String {
        match self {
            Self::Stage { .. } => "stages count from 1; --dry-run shows them".to_owned(),
            Self::Route { nearest } if nearest.is_empty() => "the plan has no routes".to_owned(),
            Self::Route { nearest } => {
                format!("the nearest are: {}; --dry-run shows all, * stands for any text", nearest.join(", "))
            }
            Self::NothingObserved => "add --observe, e.g. --observe pid=4711".to_owned(),
            Self::TooShort { .. } => {
                "make the run longer (--duration), or the time after `for` shorter".to_owned()
            }
        }
    }
}

impl std::error::Error for Unfit {}
