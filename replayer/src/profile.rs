//! Loads by name: the shapes that load tests are usually given, each as the stages that it expands to.

use std::time::Duration;

use captures::Stage;

/// A load by name. Of each, the scale of its peak and its length can be set; its shape is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Production as it was: what every other run is compared with.
    Baseline,
    /// The expected peak, reached slowly and held.
    Peak,
    /// A sudden rush and its end: does it survive, and how long until it is itself again?
    Spike,
    /// An ordinary load for long: does anything leak?
    Soak,
    /// Rising steps: where does it begin to hurt?
    Stress,
    /// Much work for long.
    Volume,
    /// A slope without end: where does it break?
    Breakpoint,
    /// Early visitors, the opening, the long high day, the evening.
    BlackFriday,
}

/// A part of a profile: its share of the length, whether it holds its level or ramps to it, and the level, as a
/// share of the way from production (0) to the peak (1).
type Part = (f64, bool, f64);

impl Profile {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Baseline,
        Self::Peak,
        Self::Spike,
        Self::Soak,
        Self::Stress,
        Self::Volume,
        Self::Breakpoint,
        Self::BlackFriday,
    ];

    /// As typed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Peak => "peak",
            Self::Spike => "spike",
            Self::Soak => "soak",
            Self::Stress => "stress",
            Self::Volume => "volume",
            Self::Breakpoint => "breakpoint",
            Self::BlackFriday => "black-friday",
        }
    }

    /// The stages at its own peak and length, for people.
    pub fn stages_text(self) -> String {
        let stages = self.stages(self.peak(), self.length());
        let level = |scale: f64| format!("{}x", (scale * 100.0).round() / 100.0);
        let written: Vec<String> = stages
            .iter()
            .map(|stage| {
                let seconds = stage.end.since(stage.begin).as_secs_f64();
                let seconds = (seconds * 1_000.0).round() / 1_000.0;
                let length = if seconds >= 60.0 && seconds % 60.0 == 0.0 {
                    format!("{}m", seconds / 60.0)
                } else {
                    format!("{seconds}s")
                };
                format!("{}{length}:{}", if stage.is_hold() { "=" } else { "" }, level(stage.to))
            })
            .collect();
        written.join(",")
    }

    /// The scale of its peak, unless another is given.
    pub const fn peak(self) -> f64 {
        match self {
            Self::Baseline | Self::Soak => 1.0,
            Self::Peak => 2.0,
            Self::Volume => 3.0,
            Self::Stress => 8.0,
            Self::Spike | Self::BlackFriday => 10.0,
            Self::Breakpoint => 20.0,
        }
    }

    /// Its length, unless another is given.
    pub const fn length(self) -> Duration {
        Duration::from_secs(
            60 * match self {
                Self::Baseline => 5,
                Self::Spike => 6,
                Self::Peak => 12,
                Self::Stress => 16,
                Self::BlackFriday => 25,
                Self::Breakpoint => 30,
                Self::Volume => 60,
                Self::Soak => 240,
            },
        )
    }

    /// The stages, for a peak and a length.
    pub fn stages(self, peak: f64, length: Duration) -> Vec<Stage> {
        let mut stages: Vec<Stage> = Vec::new();
        let (mut share, mut level) = (0.0, 0.0);
        for &(part, holds, height) in self.parts() {
            let to = 1.0 + (peak - 1.0) * height;
            let begin = stages.last().map_or(captures::Offset::ZERO, |stage| stage.end);
            share += part;
            let end = captures::Offset::ZERO.plus(length.mul_f64(share));
            stages.push(Stage { begin, end, from: if holds { to } else { level }, to });
            level = to;
        }
        stages
    }

    const fn parts(self) -> &'static [Part] {
        match self {
            Self::Baseline => &[(1.0, true, 1.0)],
            Self::Peak => &[(1.0 / 6.0, false, 1.0), (5.0 / 6.0, true, 1.0)],
            Self::Spike => &[
                (1.0 / 3.0, true, 0.0),
                (1.0 / 36.0, false, 1.0),
                (1.0 / 4.0, true, 1.0),
                (1.0 / 36.0, false, 0.0),
                (13.0 / 36.0, true, 0.0),
            ],
            Self::Soak => &[(1.0 / 48.0, false, 1.0), (47.0 / 48.0, true, 1.0)],
            Self::Stress => &[
                (1.0 / 8.0, true, 0.0),
                (1.0 / 8.0, true, 1.0 / 7.0),
                (1.0 / 8.0, true, 2.0 / 7.0),
                (1.0 / 8.0, true, 3.0 / 7.0),
                (1.0 / 8.0, true, 4.0 / 7.0),
                (1.0 / 8.0, true, 5.0 / 7.0),
                (1.0 / 8.0, true, 6.0 / 7.0),
                (1.0 / 8.0, true, 1.0),
            ],
            Self::Volume => &[(1.0 / 12.0, false, 1.0), (11.0 / 12.0, true, 1.0)],
            Self::Breakpoint => &[(1.0, false, 1.0)],
            Self::BlackFriday => &[
                (2.0 / 25.0, true, 0.0),
                (2.0 / 25.0, false, 1.0 / 3.0),
                (3.0 / 25.0, true, 1.0 / 3.0),
                (1.0 / 50.0, false, 1.0),
                (5.0 / 25.0, true, 1.0),
                (2.0 / 25.0, false, 5.0 / 9.0),
                (6.0 / 25.0, true, 5.0 / 9.0),
                (3.0 / 50.0, false, 0.0),
                (3.0 / 25.0, true, 0.0),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::{parse_stages, scale_at};

    #[test]
    fn every_profile_is_as_long_and_as_high_as_it_says_and_can_be_typed_as_stages() {
        for profile in Profile::ALL {
            let stages = profile.stages(profile.peak(), profile.length());
            let end = stages.last().unwrap().end.since_start().as_secs_f64();
            assert!((end - profile.length().as_secs_f64()).abs() < 1e-6, "{profile:?}: {end}");
            let highest = stages.iter().map(|stage| stage.from.max(stage.to)).fold(0.0, f64::max);
            assert!((highest - profile.peak()).abs() < 1e-9, "{profile:?}");
            let typed = parse_stages(&profile.stages_text()).unwrap();
            assert_eq!(typed.len(), stages.len());
            for (typed, own) in typed.iter().zip(&stages) {
                assert!((typed.to - own.to).abs() < 0.01 && typed.is_hold() == own.is_hold());
                assert!(typed.end.since(own.end).max(own.end.since(typed.end)) < Duration::from_millis(5));
            }
        }
    }

    #[test]
    fn a_spike_is_a_rush_between_two_ordinary_stretches() {
        let stages = Profile::Spike.stages(6.0, Duration::from_secs(36));
        let at = |second| scale_at(&stages, captures::Offset::from_secs(second));
        assert_eq!([at(5), at(15), at(30)], [1.0, 6.0, 1.0]);
    }

    #[test]
    fn black_friday_has_the_stages_that_the_manual_says() {
        assert_eq!(
            Profile::BlackFriday.stages_text(),
            "=2m:1x,2m:4x,=3m:4x,30s:10x,=5m:10x,2m:6x,=6m:6x,90s:1x,=3m:1x"
        );
        assert_eq!(Profile::Spike.stages_text(), "=2m:1x,10s:10x,=90s:10x,10s:1x,=130s:1x");
    }
}
