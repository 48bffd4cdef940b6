//! Quantities that carry their unit: moments, rates and sizes.
//!
//! A bare number with a unit never crosses a public border of this workspace. Lengths of time are
//! [`std::time::Duration`]; what is here is what the standard library lacks.

use std::fmt;
use std::time::Duration;

/// A moment, in nanoseconds since the start of the file or run it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// The start itself.
    pub const ZERO: Self = Self(0);
    /// The latest moment there is: "never".
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The moment `micros` microseconds after the start.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// The moment `millis` milliseconds after the start.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The moment `seconds` whole seconds after the start.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the start, for arithmetic and display.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The whole second this moment lies in.
    pub const fn second(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// The length of time since the start.
    pub const fn since_start(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The length of time from `earlier` to this moment; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment moved later by `length`; [`Offset::MAX`] is the limit.
    pub fn plus(self, length: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This moment moved earlier by `length`; the start is the limit.
    pub fn minus(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.as_secs_f64())
    }
}

/// How often something happens, per second. Never negative, never infinite, never not-a-number.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// Never.
    pub const ZERO: Self = Self(0.0);

    /// `rate` times a second; `None` when that is negative or not a finite number.
    pub fn per_second(rate: f64) -> Option<Self> {
        (rate.is_finite() && rate >= 0.0).then_some(Self(rate))
    }

    /// `count` times in `length`; zero when the length is zero.
    pub fn of(count: u64, length: Duration) -> Self {
        let seconds = length.as_secs_f64();
        if seconds > 0.0 { Self(count as f64 / seconds) } else { Self::ZERO }
    }

    /// Times per second.
    pub const fn as_per_second(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.0 < 10.0 { 2 } else { usize::from(self.0 < 1_000.0) };
        write!(f, "{:.*} req/s", digits, self.0)
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

impl Bytes {
    /// A size of `count` bytes.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The number of bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Both together; the largest number is the limit.
    pub const fn plus(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut size = self.0 as f64;
        for unit in ["B", "kB", "MB", "GB"] {
            if size < 1_000.0 {
                let digits = usize::from(unit != "B" && size < 100.0);
                return write!(f, "{size:.digits$} {unit}");
            }
            size /= 1_000.0;
        }
        write!(f, "{size:.1} TB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_refuses_nonsense() {
        assert!(Rate::per_second(-1.0).is_none());
        assert!(Rate::per_second(f64::NAN).is_none());
        assert_eq!(Rate::of(50, Duration::from_secs(10)).as_per_second(), 5.0);
        assert_eq!(Rate::of(50, Duration::ZERO), Rate::ZERO);
    }

    #[test]
    fn moments_saturate_instead_of_wrapping() {
        assert_eq!(Offset::ZERO.minus(Duration::from_secs(1)), Offset::ZERO);
        assert_eq!(Offset::MAX.plus(Duration::from_secs(1)), Offset::MAX);
        assert_eq!(Offset::from_millis(1_999).second(), 1);
    }

    #[test]
    fn sizes_read_in_decimal_units() {
        assert_eq!(Bytes::new(999).to_string(), "999 B");
        assert_eq!(Bytes::new(104_857_600).to_string(), "105 MB");
        assert_eq!(Bytes::new(1_500).to_string(), "1.5 kB");
    }
}
