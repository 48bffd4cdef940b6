//! Which share of the sessions is recorded.

/// A share in `0..=1`, not zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingRatio(f64);

impl SamplingRatio {
    /// Every session.
    pub const ALL: Self = Self(1.0);

    /// Reads `5%`, `1/20` or `0.05`.
    ///
    /// # Errors
    /// When it is none of these, not above zero, or above one; says what to write.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<f64>().ok();
        let ratio = if let Some(percent) = typed.strip_suffix('%') {
            number(percent).map(|percent| percent / 100.0)
        } else if let Some((part, whole)) = typed.split_once('/') {
            number(part).zip(number(whole)).map(|(part, whole)| part / whole)
        } else {
            number(typed)
        };
        let possible = ratio.filter(|ratio| *ratio > 0.0 && *ratio <= 1.0);
        possible.map(Self).ok_or_else(|| "give a share above 0 and up to 1: 5%, 1/20 or 0.05".to_owned())
    }

    /// As a fraction of one.
    pub const fn as_f64(self) -> f64 {
        self.0
    }

    /// Whether a session with this draw, uniform among all, is in the sample. Samples are nested: whoever is
    /// in a smaller one is in a larger one.
    pub(super) fn takes(self, draw: u64) -> bool {
        // The upper 53 bits are exact as a fraction of one, and always below it.
        ((draw >> 11) as f64) / ((1_u64 << 53) as f64) < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_in_three_spellings() {
        let read = |typed| SamplingRatio::parse(typed).map(SamplingRatio::as_f64).ok();
        for typed in ["5%", "5 %", "1/20", "0.05", "5e-2"] {
            assert_eq!(read(typed), Some(0.05), "{typed}");
        }
        assert_eq!(read("100%"), Some(1.0));
        for wrong in ["0", "0%", "101%", "1.5", "-1", "1/0", "5/", "", "NaN", "all"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn draws_below_the_share_are_taken_and_all_of_them_at_one() {
        let quarter = SamplingRatio(0.25);
        assert!(quarter.takes(0) && quarter.takes((1 << 62) - 1));
        assert!(!quarter.takes(1 << 62) && !quarter.takes(u64::MAX));
        assert!(SamplingRatio::ALL.takes(u64::MAX));
    }
}
