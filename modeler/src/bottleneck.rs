//! What stands in the way of more throughput: the resource that runs out first, or none that was observed.

use captures::Rate;

use crate::bounds::Bounds;
use crate::resource::{Growth, ResourceLaw, first};

/// What limits the throughput.
#[derive(Clone, Debug, PartialEq)]
pub struct Bottleneck {
    /// The resource; `None` when the ceiling was measured and nothing that was observed explains it.
    pub resource: Option<String>,
    /// The throughput at which it runs out.
    pub bound: Option<Rate>,
    /// The 95 % interval of the bound.
    pub interval: Option<Bounds<Rate>>,
    /// Whether it was seen at its limit; otherwise the utilisation law foretells it.
    pub measured: bool,
    /// The reason, in one sentence.
    pub because: String,
}

/// A bound within this share of the measured ceiling explains it.
const EXPLAINS_RATIO: f64 = 0.2;

/// The bottleneck by the `laws` and the `ceiling`, which was measured or not; `None` when nothing that ends was
/// observed. `unexplained` is the share of a response that no observed resource explains, when it is most of it.
pub(crate) fn bottleneck(
    laws: &[ResourceLaw],
    serves: &[bool],
    ceiling: Option<(f64, bool)>,
    unexplained: Option<f64>,
) -> Option<Bottleneck> {
    let ends: Vec<ResourceLaw> =
        laws.iter().zip(serves).filter(|(_, serves)| **serves).map(|(law, _)| law.clone()).collect();
    if ends.is_empty() {
        return None;
    }
    let full: Vec<ResourceLaw> = ends.iter().filter(|law| law.exhausted).cloned().collect();
    let by_law = first(&full).or(full.first());
    if let Some(law) = by_law {
        let others = full.len() - 1;
        let held = if others > 0 { format!(" ({others} more filled up behind it)") } else { String::new() };
        return Some(named(law, true, format!("{} was used up{held}", law.name)));
    }
    let lowest = first(&ends);
    match (ceiling, lowest) {
        (Some((ceiling, true)), lowest) => {
            let bound = lowest.and_then(|law| law.bound).map_or(f64::INFINITY, Rate::as_per_second);
            match lowest {
                Some(law) if bound <= (1.0 + EXPLAINS_RATIO) * ceiling => Some(named(
                    law,
                    false,
                    format!("{} runs out near the ceiling that was measured", law.name),
                )),
                _ => Some(Bottleneck {
                    resource: None,
                    bound: None,
                    interval: None,
                    measured: false,
                    because: format!(
                        "the throughput ends at {ceiling:.0} req/s while no observed resource is used up: a lock, a pool or a service behind it that was not observed"
                    ),
                }),
            }
        }
        (_, Some(law)) => {
            let caution = match law.growth {
                Growth::SuperLinear => "; it grows faster than the throughput, so the bound is optimistic",
                Growth::Linear | Growth::Flat => "",
            };
            let elsewhere = unexplained.map_or(String::new(), |ratio| {
                format!(
                    "; but requests spend {:.0} % of a response where nothing was observed, and that may end sooner",
                    ratio * 100.0
                )
            });
            let because = format!("{} runs out first by the utilisation law{caution}{elsewhere}", law.name);
            Some(named(law, false, because))
        }
        (_, None) => None,
    }
}

fn named(law: &ResourceLaw, measured: bool, because: String) -> Bottleneck {
    Bottleneck {
        resource: Some(law.name.clone()),
        bound: law.bound,
        interval: law.bound_interval,
        measured,
        because,
    }
}
