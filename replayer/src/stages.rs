//! The load over time: levels and ramps, as typed on the command line.
//!
//! `=10s:4x` holds four times the recorded load for ten seconds; `10s:4x` gets there in a straight ramp
//! from the level before (from nothing, when it is the first). A level may also be a rate (`500rps`) or a number
//! of users (`2000users`): what multiple of the capture that is, [`Levels`] knows.

use std::fmt;
use std::time::Duration;

use captures::{Offset, Rate, Stage};

/// The highest scale: far above what one machine can send, low enough for exact arithmetic.
const MAX_SCALE: f64 = 100_000.0;

/// Why a piece of text is not a load profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StagesError {
    /// A stage is not written as `10s:4x` or `=10s:4x`.
    Form {
        /// The stage.
        stage: String,
    },
    /// A length is not like `500ms`, `10s`, `5m` or `1h`.
    Length {
        /// The length.
        text: String,
    },
    /// A scale is not like `10x`, above zero (a stage may also go to `0x`).
    Scale {
        /// The scale.
        text: String,
    },
    /// No stage ever sends anything.
    Nothing,
    /// The capture does not say how many users it holds.
    NoUsers,
}

impl fmt::Display for StagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form { stage } => write!(f, "{stage:?} is not a stage"),
            Self::Length { text } => write!(f, "{text:?} is not a length of time"),
            Self::Scale { text } => write!(f, "{text:?} is not a scale"),
            Self::Nothing => write!(f, "the plan never sends anything"),
            Self::NoUsers => {
                write!(f, "no session of the capture has a second request, so that users cannot be counted")
            }
        }
    }
}

impl StagesError {
    /// What to write instead.
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::Form { .. } => "write =10s:4x to hold four times the load, 10s:4x to ramp to it",
            Self::Length { .. } => "write e.g. 500ms, 10s, 5m or 1h",
            Self::Scale { .. } => "write e.g. 10x, 0.5x, 500rps or 2000users, above zero and at most 100000x",
            Self::Nothing => "give at least one stage above 0x",
            Self::NoUsers => "give a scale or a rate instead",
        }
    }
}

impl std::error::Error for StagesError {}

/// What levels that are no multiples mean for a capture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// The rate that 1x means.
    pub rate: Rate,
    /// The mean number of users at a time that 1x means; `None` when the capture does not tell.
    pub users: Option<f64>,
}

impl Levels {
    /// Reads `10x`, `500rps` (or `500/s`), `2000users`, as a multiple of the capture.
    ///
    /// # Errors
    /// When it is none of these, or above the limit.
    pub fn scale(&self, text: &str) -> Result<f64, StagesError> {
        let wrong = || StagesError::Scale { text: text.to_owned() };
        let (number, unit) =
            if let Some(number) = text.strip_suffix("rps").or_else(|| text.strip_suffix("/s")) {
                (number, self.rate.as_per_second())
            } else if let Some(number) = text.strip_suffix("users") {
                (number, self.users.ok_or(StagesError::NoUsers)?)
            } else {
                return parse_scale(text);
            };
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        if !(number.is_finite() && number > 0.0 && unit > 0.0 && number / unit <= MAX_SCALE) {
            return Err(wrong());
        }
        Ok(number / unit)
    }
}

/// Reads stages of multiples, separated by commas.
///
/// # Errors
/// When a stage is malformed, or none sends anything.
pub fn parse_stages(text: &str) -> Result<Vec<Stage>, StagesError> {
    stages_of(text, parse_scale)
}

/// Reads stages whose levels may be rates or numbers of users too.
///
/// # Errors
/// When a stage is malformed, or none sends anything.
pub fn parse_stages_with(text: &str, levels: &Levels) -> Result<Vec<Stage>, StagesError> {
    stages_of(text, |level| levels.scale(level))
}

fn stages_of(
    text: &str,
    scale_of: impl Fn(&str) -> Result<f64, StagesError>,
) -> Result<Vec<Stage>, StagesError> {
    let mut stages = Vec::new();
    let (mut begin, mut level) = (Offset::ZERO, 0.0);
    for stage in text.split(',').map(str::trim) {
        let (hold, rest) = stage.strip_prefix('=').map_or((false, stage), |rest| (true, rest));
        let (length, scale) =
            rest.split_once(':').ok_or_else(|| StagesError::Form { stage: stage.to_owned() })?;
        let to = match scale.trim() {
            "0x" | "0" | "0rps" | "0users" => 0.0,
            scale => scale_of(scale)?,
        };
        let end = begin.plus(parse_length(length)?);
        stages.push(Stage { begin, end, from: if hold { to } else { level }, to });
        (begin, level) = (end, to);
    }
    if stages.iter().all(|stage| stage.from == 0.0 && stage.to == 0.0) {
        return Err(StagesError::Nothing);
    }
    Ok(stages)
}

/// One stage that holds `scale` for `length`.
pub fn hold(scale: f64, length: Duration) -> Vec<Stage> {
    vec![Stage { begin: Offset::ZERO, end: Offset::ZERO.plus(length), from: scale, to: scale }]
}

/// Reads `10x`, `0.5x` or `10`.
///
/// # Errors
/// When it is no number above zero, or above the limit.
pub fn parse_scale(text: &str) -> Result<f64, StagesError> {
    let number = text.strip_suffix(['x', 'X']).unwrap_or(text);
    match number.parse::<f64>() {
        Ok(scale) if scale.is_finite() && scale > 0.0 && scale <= MAX_SCALE => Ok(scale),
        _ => Err(StagesError::Scale { text: text.to_owned() }),
    }
}

/// Reads `500ms`, `10s`, `5m`, `1.5h`.
///
/// # Errors
/// When it is no length above zero, or above 30 days.
pub fn parse_length(text: &str) -> Result<Duration, StagesError> {
    let text = text.trim();
    let wrong = || StagesError::Length { text: text.to_owned() };
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let length = number.parse::<f64>().map_err(|_| wrong())? * seconds;
    if length > 0.0 && length <= 30.0 * 86_400.0 { Ok(Duration::from_secs_f64(length)) } else { Err(wrong()) }
}

/// The scale at `at`; 0 outside all stages.
pub fn scale_at(stages: &[Stage], at: Offset) -> f64 {
    // Stages follow one another without gaps, so the first that ends later is the one.
    let Some(stage) = stages.get(stages.partition_point(|stage| stage.end <= at)) else { return 0.0 };
    if stage.is_hold() || at <= stage.begin {
        return stage.from;
    }
    let share = at.since(stage.begin).as_secs_f64() / stage.end.since(stage.begin).as_secs_f64();
    stage.from + (stage.to - stage.from) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Offset {
        Offset::from_secs(seconds)
    }

    #[test]
    fn a_bare_stage_ramps_and_an_equals_sign_holds() {
        let stages = parse_stages("10s:4x, =10s:4x,5s:0x").unwrap();
        for (at, expected) in
            [(0, 0.0), (5, 2.0), (10, 4.0), (15, 4.0), (20, 4.0), (24, 0.8), (25, 0.0), (99, 0.0)]
        {
            assert!((scale_at(&stages, secs(at)) - expected).abs() < 1e-9, "at {at} s");
        }
        assert!(!stages[0].is_hold() && stages[1].is_hold());
    }

    #[test]
    fn a_level_may_be_a_rate_or_a_number_of_users() {
        let levels = Levels { rate: Rate::per_second(50.0).unwrap(), users: Some(200.0) };
        let stages = parse_stages_with("=10s:500rps,=10s:100users,5s:3x,5s:0rps", &levels).unwrap();
        assert_eq!(stages.iter().map(|stage| stage.to).collect::<Vec<_>>(), [10.0, 0.5, 3.0, 0.0]);
        let unknown = Levels { users: None, ..levels };
        assert_eq!(unknown.scale("10users"), Err(StagesError::NoUsers));
        for wrong in ["rps", "-1rps", "0rps", "infrps", "1e9rps", "10user"] {
            assert!(levels.scale(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        for (text, expected) in [
            ("10s", StagesError::Form { stage: "10s".to_owned() }),
            ("10:4x", StagesError::Length { text: "10".to_owned() }),
            ("0s:4x", StagesError::Length { text: "0s".to_owned() }),
            ("10s:fast", StagesError::Scale { text: "fast".to_owned() }),
            ("10s:-1x", StagesError::Scale { text: "-1x".to_owned() }),
            ("10s:infx", StagesError::Scale { text: "infx".to_owned() }),
            ("10s:0x", StagesError::Nothing),
        ] {
            assert_eq!(parse_stages(text), Err(expected), "{text}");
        }
        assert_eq!(parse_length("1.5m"), Ok(Duration::from_secs(90)));
    }
}
