//! How waiting grows with load: the shapes a response curve may have.
//!
//! Every shape is zero without load and approaches `1 / (1 − ρ)` near the ceiling, in units of the mean waiting
//! there; they differ in how late waiting sets in. With the exact quantiles of M/M/c beside Kingman's form, a
//! pool of workers is met by its own law.

use std::sync::Arc;

use crate::latency::LatencyMeasure;
use crate::queue::{erlang_c, mmc_response_quantile};

/// Which law a shape follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Crowding {
    /// `ρᵐ / (1 − ρ)`. Source: Kingman's and Sakasegawa's approximations of the waiting of G/G/c.
    Kingman {
        /// `m`: near √(2(c + 1)) − 1 with c servers, and larger for quantiles.
        exponent: f64,
    },
    /// The waiting of M/M/c, for services that hardly vary.
    Waiting {
        /// `c`.
        servers: usize,
    },
    /// The response of M/M/c beyond that without load.
    Response {
        /// `c`.
        servers: usize,
    },
}

/// A law of one measure, tabulated.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) law: Crowding,
    /// `(1 − ρ)` times the shape, at equal steps of ρ in `0..=1`.
    table: Arc<[f64]>,
}

const EXPONENTS: [f64; 11] = [0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 13.0, 19.0, 28.0];
const SERVERS: [usize; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 32, 64];
const STEPS: usize = 256;

impl Crowding {
    /// Whether waiting may set in so late when at most `servers` requests are served at once.
    pub(crate) fn is_possible(self, servers: f64) -> bool {
        match self {
            // Sakasegawa's exponent, doubled: that of a quantile is larger.
            Self::Kingman { exponent } => exponent <= 2.0 * ((2.0 * (servers + 1.0)).sqrt() - 1.0),
            Self::Waiting { servers: count } | Self::Response { servers: count } => count as f64 <= servers,
        }
    }

    /// The name in machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kingman { .. } => "kingman",
            Self::Waiting { .. } => "mmc_waiting",
            Self::Response { .. } => "mmc_response",
        }
    }
}

impl Shape {
    fn new(law: Crowding, measure: LatencyMeasure) -> Self {
        let table: Vec<f64> =
            (0..=STEPS).map(|step| tamed(law, measure, step as f64 / STEPS as f64)).collect();
        Self { law, table: table.into() }
    }

    /// The waiting at `load_ratio`, in `0..1`, in units of the mean waiting near the ceiling.
    pub(crate) fn at(&self, load_ratio: f64) -> f64 {
        let place = load_ratio.clamp(0.0, 1.0) * STEPS as f64;
        let below = (place as usize).min(STEPS - 1);
        let share = place - below as f64;
        (self.table[below] * (1.0 - share) + self.table[below + 1] * share) / (1.0 - load_ratio)
    }
}

/// All shapes of `measure`.
pub(crate) fn shapes(measure: LatencyMeasure) -> Vec<Shape> {
    let kingman = EXPONENTS.iter().map(|&exponent| Crowding::Kingman { exponent });
    let waiting = SERVERS.iter().map(|&servers| Crowding::Waiting { servers });
    let response = SERVERS.iter().map(|&servers| Crowding::Response { servers });
    kingman.chain(waiting).chain(response).map(|law| Shape::new(law, measure)).collect()
}

/// The shape without its pole: from 0 to about 1.
fn tamed(law: Crowding, measure: LatencyMeasure, ratio: f64) -> f64 {
    match law {
        Crowding::Kingman { exponent } => ratio.powf(exponent),
        Crowding::Waiting { servers } | Crowding::Response { servers } if measure == LatencyMeasure::Mean => {
            erlang_c(servers, ratio * servers as f64)
        }
        Crowding::Waiting { servers } => {
            let waits = erlang_c(servers, ratio * servers as f64);
            if waits > 0.0 { (1.0 + waits.ln() / measure.tail()).max(0.0) } else { 0.0 }
        }
        Crowding::Response { .. } if ratio >= 1.0 => 1.0,
        Crowding::Response { servers } => {
            let LatencyMeasure::Quantile(quantile) = measure else { return 0.0 };
            let more = mmc_response_quantile(servers, ratio, quantile)
                - mmc_response_quantile(servers, 0.0, quantile);
            (more * servers as f64 * (1.0 - ratio) / measure.tail()).max(0.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_starts_at_nothing_and_ends_like_a_queue() {
        for measure in [LatencyMeasure::Mean, LatencyMeasure::Quantile(0.5), LatencyMeasure::Quantile(0.99)] {
            for shape in shapes(measure) {
                assert!(shape.at(0.0).abs() < 1e-9, "{shape:?}");
                let near = shape.at(0.999) * 0.001;
                assert!((0.85..1.05).contains(&near), "{:?} {measure:?}: {near}", shape.law);
                let values: Vec<f64> = (0..1_000).map(|step| shape.at(f64::from(step) / 1_000.0)).collect();
                assert!(values.windows(2).all(|pair| pair[1] >= pair[0] - 1e-9), "{:?}", shape.law);
            }
        }
    }
}
