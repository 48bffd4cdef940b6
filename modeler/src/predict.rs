//! The throughput at a load somebody asks for, with as much certainty as the measurements carry.

use captures::Rate;

use crate::bounds::{Bounds, Verdict};
use crate::model::LoadUnit;
use crate::study::Study;
use crate::window::rate;

/// The answer for one load.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The load: concurrency or offered requests per second, as [`crate::Model::load_unit`] says.
    pub load: f64,
    /// The throughput; `None` when refused.
    pub throughput: Option<Rate>,
    /// The 95 % interval of what would be measured; when refused: the highest measured throughput and the
    /// bound no service exceeds.
    pub interval: Bounds<Rate>,
    /// How far from what was measured.
    pub verdict: Verdict,
    /// Whether the answer, beyond twice the largest measured load, is there by force.
    pub forced: bool,
}

/// The throughput at `load`, in the unit of the study.
pub(crate) fn predict(study: &Study<'_>, load: f64, force: bool) -> Prediction {
    let verdict = Verdict::of(load / study.largest_load);
    if verdict == Verdict::Refused && !force {
        return Prediction {
            load,
            throughput: None,
            interval: outer_bounds(study, load),
            verdict,
            forced: false,
        };
    }
    let throughput = study.throughput_at(load);
    let mut interval = study.measured_interval_at(load, 0.95);
    if verdict >= Verdict::LowConfidence && study.unit == LoadUnit::Concurrency {
        // So far out nothing promises more than what was measured.
        interval.low = interval.low.min(study.seen.iter().map(|seen| seen.throughput).fold(0.0, f64::max));
    }
    Prediction {
        load,
        throughput: Some(rate(throughput)),
        interval: Bounds {
            low: rate(interval.low.min(throughput)),
            high: rate(interval.high.max(throughput)),
        },
        verdict,
        forced: verdict == Verdict::Refused,
    }
}

/// What holds for any service: not above the load itself, or the best rate per request in flight; and, as
/// long as no decline was measured, not below what was measured.
fn outer_bounds(study: &Study<'_>, load: f64) -> Bounds<Rate> {
    let measured = study.seen.iter().map(|seen| seen.throughput);
    let high = match study.unit {
        LoadUnit::Offered => load,
        LoadUnit::Concurrency => {
            let best = study.observed.iter().map(|each| each.x / each.n).fold(0.0, f64::max);
            load * best
        }
    };
    let low = if study.declines { 0.0 } else { measured.fold(0.0, f64::max) };
    Bounds { low: rate(low.min(high)), high: rate(high) }
}
