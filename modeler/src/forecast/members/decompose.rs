//! Seasons taken apart from the rest by STL, and put back on what comes.
//!
//! Source: Cleveland et al., *STL: A Seasonal-Trend Decomposition Procedure Based on Loess* (1990); several
//! seasons by Bandara, Hyndman and Bergmeir, *MSTL* (2021).

use stlrs::{Mstl, Stl};

/// How fast a season may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// Over a dozen cycles, as MSTL has it.
    Moving,
    /// The same, outliers weighed down.
    MovingRobust,
    /// Hardly at all, outliers weighed down.
    LastingRobust,
}

/// A series taken apart.
#[derive(Clone, Debug)]
pub(super) struct Decomposed {
    /// What is left without the seasons: trend and remainder.
    pub(super) rest: Vec<f64>,
    /// The last cycle of each season.
    seasons: Vec<Vec<f64>>,
}

/// Passes in which outliers lose weight.
const ROBUST_PASSES: usize = 5;
/// Cycles over which the first season is smoothed, and what each further one adds. Source: MSTL's defaults.
const MOVING_CYCLES: (usize, usize) = (11, 4);
/// Cycles over which a lasting season is smoothed.
const LASTING_CYCLES: usize = 301;

/// Takes the seasons of `periods` (ascending, each held twice by `values`) off `values`.
pub(super) fn decompose(values: &[f64], periods: &[usize], window: Window) -> Decomposed {
    let whole = || Decomposed { rest: values.to_vec(), seasons: Vec::new() };
    if periods.is_empty() {
        return whole();
    }
    let lengths: Vec<usize> = (0..periods.len())
        .map(|at| match window {
            Window::LastingRobust => LASTING_CYCLES,
            Window::Moving | Window::MovingRobust => MOVING_CYCLES.0 + MOVING_CYCLES.1 * at,
        })
        .collect();
    let mut each = Stl::params();
    if window != Window::Moving {
        each.robust(true).outer_loops(ROBUST_PASSES);
    }
    let fitted = Mstl::params().seasonal_lengths(&lengths).stl_params(each).fit(values, periods);
    let Ok(fitted) = fitted else { return whole() };
    let mut rest = values.to_vec();
    for season in fitted.seasonal() {
        for (value, part) in rest.iter_mut().zip(season) {
            *value -= part;
        }
    }
    let last_cycle =
        |(season, &period): (&Vec<f64>, &usize)| season[season.len().saturating_sub(period)..].to_vec();
    if rest.iter().any(|value| !value.is_finite()) {
        return whole();
    }
    Decomposed { rest, seasons: fitted.seasonal().iter().zip(periods).map(last_cycle).collect() }
}

impl Decomposed {
    /// `ahead`, which continues [`Self::rest`], with the seasons as their last cycles were.
    pub(super) fn with_seasons(&self, ahead: Vec<f64>) -> Vec<f64> {
        ahead
            .into_iter()
            .enumerate()
            .map(|(step, value)| {
                value + self.seasons.iter().map(|season| season[step % season.len()]).sum::<f64>()
            })
            .collect()
    }
}
