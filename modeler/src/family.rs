//! The scalability families: throughput as a function of concurrency, with gradients and exact inverses.
//!
//! No one law fits all services. On 464 real HTTP sweeps a USL fitted to 8–64 connections misses the
//! throughput at 256 by 24 % (median), because it foretells a collapse that does not come; a smooth hinge
//! misses by 3 %. So several families are fitted, and weighed by what they predict.

use captures::Rate;

/// A law of throughput `X` by concurrency `N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// `X = λN`.
    Linear,
    /// `X = λN / (1 + σ(N − 1))`. Source: Amdahl (1967), in Gunther's form.
    Amdahl,
    /// `X = λN / (1 + σ(N − 1) + κN(N − 1))`. Source: Gunther, *Guerrilla Capacity Planning* (2007).
    Usl,
    /// `X = min(λN, C)`: the operational bounds. Source: Denning and Buzen (1978).
    Hinge,
    /// `X = λN / (1 + (λN/C)^q)^(1/q)`: the hinge with a rounded corner.
    SmoothHinge,
    /// `X = min(λN / (1 + σ(N − 1) + κN(N − 1)), C)`: the USL under a hardware ceiling.
    UslCeiling,
}

/// The parameters of a family, in the order of [`Family::names`]; unused ones are zero.
pub type Parameters = [f64; 4];

/// Where more concurrency starts to buy clearly less than it bought at first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// Requests in flight there.
    pub concurrency: f64,
    /// Throughput there.
    pub throughput: Rate,
    /// How it was found.
    pub method: KneeMethod,
}

/// How a knee was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KneeMethod {
    /// Where the averaged curve lies farthest from its own chord, over the measured loads.
    Kneedle,
    /// Where its slope has fallen to half of the first, also beyond them: where Kneedle finds no knee.
    HalfSlope,
}

impl KneeMethod {
    /// The name in machine-readable output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kneedle => "kneedle",
            Self::HalfSlope => "half_slope",
        }
    }
}

impl Family {
    /// All of them, simplest first.
    pub const ALL: [Self; 6] =
        [Self::Linear, Self::Amdahl, Self::Usl, Self::Hinge, Self::SmoothHinge, Self::UslCeiling];

    /// The name in machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Amdahl => "amdahl",
            Self::Usl => "usl",
            Self::Hinge => "hinge",
            Self::SmoothHinge => "smooth_hinge",
            Self::UslCeiling => "usl_ceiling",
        }
    }

    /// The names of its parameters: `contention` is σ, `coherency` κ, `rate` λ (per unit of concurrency).
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Linear => &["rate"],
            Self::Amdahl => &["contention", "rate"],
            Self::Usl => &["contention", "coherency", "rate"],
            Self::Hinge => &["rate", "ceiling"],
            Self::SmoothHinge => &["rate", "ceiling", "sharpness"],
            Self::UslCeiling => &["contention", "coherency", "rate", "ceiling"],
        }
    }

    /// The lower and upper bound of each parameter.
    pub(crate) const fn limits(self) -> [(f64, f64); 4] {
        const POSITIVE: (f64, f64) = (1e-12, f64::INFINITY);
        const SHARE: (f64, f64) = (0.0, 1.0);
        match self {
            Self::Linear | Self::Hinge => [POSITIVE; 4],
            Self::Amdahl => [SHARE, POSITIVE, POSITIVE, POSITIVE],
            Self::Usl | Self::UslCeiling => [SHARE, SHARE, POSITIVE, POSITIVE],
            Self::SmoothHinge => [POSITIVE, POSITIVE, (0.5, 40.0), POSITIVE],
        }
    }

    /// The throughput per second at concurrency `n`, above zero.
    pub fn throughput_at(self, values: &Parameters, n: f64) -> f64 {
        let &[a, b, c, d] = values;
        match self {
            Self::Linear => a * n,
            Self::Amdahl => b * n / (1.0 + a * (n - 1.0)),
            Self::Usl => c * n / (1.0 + a * (n - 1.0) + b * n * (n - 1.0)),
            Self::Hinge => (a * n).min(b),
            Self::SmoothHinge => a * n / smooth_divisor(a * n / b, c),
            Self::UslCeiling => Self::Usl.throughput_at(values, n).min(d),
        }
    }

    /// The derivative of [`Self::throughput_at`] by each parameter.
    pub(crate) fn gradient_at(self, values: &Parameters, n: f64) -> Parameters {
        let &[a, b, c, d] = values;
        match self {
            Self::Linear => [n, 0.0, 0.0, 0.0],
            Self::Amdahl => {
                let divisor = 1.0 + a * (n - 1.0);
                [-b * n * (n - 1.0) / (divisor * divisor), n / divisor, 0.0, 0.0]
            }
            Self::Usl => {
                let divisor = 1.0 + a * (n - 1.0) + b * n * (n - 1.0);
                let by_contention = -c * n * (n - 1.0) / (divisor * divisor);
                [by_contention, by_contention * n, n / divisor, 0.0]
            }
            Self::Hinge if a * n < b => [n, 0.0, 0.0, 0.0],
            Self::Hinge => [0.0, 1.0, 0.0, 0.0],
            Self::UslCeiling if Self::Usl.throughput_at(values, n) < d => Self::Usl.gradient_at(values, n),
            Self::UslCeiling => [0.0, 0.0, 0.0, 1.0],
            Self::SmoothHinge => {
                let throughput = self.throughput_at(values, n);
                let log_u = (a * n / b).ln();
                // u^q / (1 + u^q), and ln(1 + u^q), without overflow.
                let share = 1.0 / (1.0 + (-c * log_u).exp());
                let log_sum = if c * log_u > 0.0 {
                    c * log_u + (-c * log_u).exp().ln_1p()
                } else {
                    (c * log_u).exp().ln_1p()
                };
                [
                    throughput * (1.0 - share) / a,
                    throughput * share / b,
                    throughput * (log_sum / (c * c) - share * log_u / c),
                    0.0,
                ]
            }
        }
    }

    /// The smallest concurrency that carries `throughput` per second; `None` above the peak of the curve.
    ///
    /// The exact inverse of [`Self::throughput_at`] up to the peak. For the USL the smaller root of
    /// `κX·N² + ((σ − κ)X − λ)·N + (1 − σ)X = 0`, in the form that does not cancel.
    pub fn concurrency_for(self, values: &Parameters, throughput: f64) -> Option<f64> {
        let &[a, b, c, d] = values;
        let x = throughput;
        let n = match self {
            Self::Linear => x / a,
            Self::Amdahl => x * (1.0 - a) / (b - a * x),
            Self::Usl => {
                let (square, linear, constant) = (b * x, (a - b) * x - c, (1.0 - a) * x);
                let discriminant = linear * linear - 4.0 * square * constant;
                if linear >= 0.0 || discriminant < 0.0 {
                    return None;
                }
                2.0 * constant / (-linear + discriminant.sqrt())
            }
            Self::Hinge => {
                if x > b {
                    return None;
                }
                x / a
            }
            Self::SmoothHinge => {
                if x >= b {
                    return None;
                }
                x / a / (1.0 - (x / b).powf(c)).powf(1.0 / c)
            }
            Self::UslCeiling if x > d => return None,
            Self::UslCeiling => return Self::Usl.concurrency_for(values, x),
        };
        (n.is_finite() && n >= 0.0).then_some(n)
    }

    /// The concurrency at which the mean response is `seconds`; `None` when it never gets there.
    ///
    /// By Little's law the response is `N / X(N)`.
    pub fn concurrency_for_response(self, values: &Parameters, seconds: f64) -> Option<f64> {
        let &[a, b, c, d] = values;
        let n = match self {
            Self::Linear => return None,
            Self::Amdahl => 1.0 + (seconds * b - 1.0) / a,
            Self::Usl if b == 0.0 => 1.0 + (seconds * c - 1.0) / a,
            Self::Usl => {
                // κN² + (σ − κ)N + 1 − σ − λR = 0, the larger root.
                let (half, rest) = ((a - b) / (2.0 * b), (1.0 - a - c * seconds) / b);
                (half * half - rest).sqrt() - half
            }
            Self::Hinge if seconds * a < 1.0 => return None,
            Self::Hinge => seconds * b,
            Self::SmoothHinge => ((seconds * a).powf(c) - 1.0).powf(1.0 / c) * b / a,
            // Under the ceiling the law of the USL, on it N = R·C; the smaller of the two is where R is reached.
            Self::UslCeiling => {
                let on_ceiling = seconds * d;
                match Self::Usl.concurrency_for_response(values, seconds) {
                    Some(n) if Self::Usl.throughput_at(values, n) <= d => n,
                    _ if Self::Usl.throughput_at(values, on_ceiling) >= d => on_ceiling,
                    _ => return None,
                }
            }
        };
        (n.is_finite() && n > 0.0).then_some(n)
    }

    /// Concurrency and throughput where the curve is highest; `None` when it never falls.
    pub fn peak(self, values: &Parameters) -> Option<(f64, f64)> {
        let &[a, b, ..] = values;
        match self {
            Self::Usl if b > 0.0 && a < 1.0 => {
                let n = ((1.0 - a) / b).sqrt();
                Some((n, self.throughput_at(values, n)))
            }
            Self::Usl | Self::Linear | Self::Amdahl | Self::Hinge | Self::SmoothHinge | Self::UslCeiling => {
                None
            }
        }
    }

    /// The highest throughput at any concurrency; `None` when there is no limit.
    pub fn limit(self, values: &Parameters) -> Option<f64> {
        let &[a, b, c, d] = values;
        match self {
            Self::Linear => None,
            Self::Amdahl => (a > 0.0).then(|| b / a),
            Self::Usl => self.peak(values).map(|(_, x)| x).or_else(|| (a > 0.0).then(|| c / a)),
            Self::Hinge | Self::SmoothHinge => Some(b),
            Self::UslCeiling => Some(Self::Usl.limit(values).map_or(d, |limit| limit.min(d))),
        }
    }
}

/// `(1 + u^q)^(1/q)` without overflow.
fn smooth_divisor(u: f64, q: f64) -> f64 {
    if u > 1.0 { u * (u.powf(-q).ln_1p() / q).exp() } else { (u.powf(q).ln_1p() / q).exp() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(value: Option<f64>, expected: f64, within: f64) {
        let value = value.expect("there is an answer");
        assert!((value / expected - 1.0).abs() < within, "{value} is not {expected}");
    }

    /// The coefficients of the book (Cisco, read only); inversions computed with 80-bit floats.
    #[test]
    fn the_inverses_of_the_usl_are_exact() {
        let book = [0.026_715_91, 7.690_945e-4, 995.648_6, 0.0];
        near(Family::Usl.concurrency_for(&book, 955.0), 0.958_069_640, 1e-6);
        near(Family::Usl.concurrency_for(&book, 11_048.0), 19.923_899_6, 1e-6);
        near(Family::Usl.concurrency_for(&book, 12_201.0), 29.569_030_2, 1e-6);
        assert_eq!(Family::Usl.concurrency_for(&book, 13_000.0), None);
        for (seconds, throughput) in [(0.030, 5_923.278_2), (0.040, 5_213.111_6), (0.050, 4_712.292_0)] {
            let n = Family::Usl.concurrency_for_response(&book, seconds);
            near(n.map(|n| Family::Usl.throughput_at(&book, n)), throughput, 1e-6);
        }
        near(Family::Usl.peak(&book).map(|(_, x)| x), 12_342.85, 1e-6);
    }

    fn parameters_of(family: Family, (a, b, c): (f64, f64, f64)) -> Parameters {
        match family {
            Family::Linear => [a * 1e3, 0.0, 0.0, 0.0],
            Family::Amdahl => [a, b * 1e3, 0.0, 0.0],
            Family::Usl => [a, b * 0.1, c * 1e3, 0.0],
            Family::UslCeiling => [a, b * 0.1, c * 1e3, 400.0 * c],
            Family::Hinge => [a * 1e3, b * 1e4, 0.0, 0.0],
            Family::SmoothHinge => [a * 1e3, b * 1e4, 0.5 + c * 20.0, 0.0],
        }
    }

    proptest! {
        #[test]
        fn the_inverse_of_the_inverse_is_the_same(
            a in 0.001..0.9_f64, b in 0.001..1.0_f64, c in 0.01..1.0_f64, n in 1.0..1e4_f64,
        ) {
            for family in Family::ALL {
                let values = parameters_of(family, (a, b, c));
                let x = family.throughput_at(&values, n);
                // Where the curve is flat, N cannot be told from X; X still must come back.
                if let Some(back) = family.concurrency_for(&values, x) {
                    prop_assert!((family.throughput_at(&values, back) / x - 1.0).abs() < 1e-9, "{family:?}");
                }
                let r = n / x;
                if let Some(back) = family.concurrency_for_response(&values, r) {
                    let again = back / family.throughput_at(&values, back);
                    prop_assert!((again / r - 1.0).abs() < 1e-9, "{family:?} {again} {r}");
                }
            }
        }

        #[test]
        fn the_gradient_is_the_slope(
            a in 0.01..0.9_f64, b in 0.01..1.0_f64, c in 0.05..1.0_f64, n in 1.0..300.0_f64,
        ) {
            for family in Family::ALL {
                let values = parameters_of(family, (a, b, c));
                let gradient = family.gradient_at(&values, n);
                for index in 0..family.names().len() {
                    let step = values[index].abs().max(1e-6) * 1e-6;
                    let mut up = values;
                    up[index] += step;
                    let mut down = values;
                    down[index] -= step;
                    let slope = (family.throughput_at(&up, n) - family.throughput_at(&down, n)) / (2.0 * step);
                    let scale = family.throughput_at(&values, n) / values[index];
                    prop_assert!((gradient[index] - slope).abs() <= 1e-4 * slope.abs() + 1e-6 * scale, "{family:?} {index}");
                }
            }
        }
    }
}
