//! An uncertain quantity's lower and upper bound, and how far an answer lies from what was measured.

/// A lower and an upper bound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds<T> {
    /// The lower one.
    pub low: T,
    /// The upper one.
    pub high: T,
}

impl<T> Bounds<T> {
    /// Both bounds, each through `change`.
    pub fn map<U>(self, change: impl Fn(T) -> U) -> Bounds<U> {
        Bounds { low: change(self.low), high: change(self.high) }
    }
}

/// How an answer relates to what was measured: its load over the largest measured load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// At most the largest measured load.
    Measured,
    /// Up to 1.5 times the largest measured load.
    Extrapolated,
    /// Up to twice the largest measured load; the interval is inflated.
    LowConfidence,
    /// Beyond twice the largest measured load: only bounds are given, unless the answer was forced.
    ///
    /// Source: Schwartz, *Practical Scalability Analysis with the Universal Scalability Law* (2015): not
    /// beyond twice the measured size.
    Refused,
}

impl Verdict {
    /// The verdict on an answer at `factor` times the largest measured load.
    pub fn of(factor: f64) -> Self {
        // A load given with three digits may exceed the one it names by rounding.
        const ROUNDING: f64 = 1.0 + 1e-9;
        if factor <= ROUNDING {
            Self::Measured
        } else if factor <= 1.5 * ROUNDING {
            Self::Extrapolated
        } else if factor <= 2.0 * ROUNDING {
            Self::LowConfidence
        } else {
            Self::Refused
        }
    }

    /// The name in machine-readable output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Extrapolated => "extrapolated",
            Self::LowConfidence => "low_confidence",
            Self::Refused => "refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honesty_grows_with_the_distance() {
        let verdicts = [1.0, 1.01, 1.5, 1.51, 2.0, 2.01].map(Verdict::of);
        assert_eq!(
            verdicts,
            [
                Verdict::Measured,
                Verdict::Extrapolated,
                Verdict::Extrapolated,
                Verdict::LowConfidence,
                Verdict::LowConfidence,
                Verdict::Refused
            ]
        );
    }
}
