//! The knee of a series of measurements by Kneedle: where it lies farthest from its own chord.
//!
//! Source: Satopää, Albrecht, Irwin and Raghavan, "Finding a 'Kneedle' in a Haystack" (2011), offline.

/// Which way a series bends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bend {
    /// Like throughput by concurrency: steep, then flat.
    ConcaveRising,
    /// Flat, then steep downwards.
    ConcaveFalling,
    /// Like response by load: flat, then steep.
    ConvexRising,
    /// Steep downwards, then flat.
    ConvexFalling,
}

/// The place of the first knee of `series` (ascending, no repeats in x); `None` when it does not bend.
///
/// `sensitivity` is the S of the paper: how far the distance must fall again, in mean steps, before a knee is
/// declared; 1 is usual.
pub fn kneedle(series: &[(f64, f64)], bend: Bend, sensitivity: f64) -> Option<f64> {
    let curve = flattened(series, bend)?;
    let step = 1.0 / (curve.len() - 1) as f64;
    let peaks =
        (1..curve.len() - 1).filter(|&at| curve[at].1 > curve[at - 1].1 && curve[at].1 >= curve[at + 1].1);
    let mut peaks = peaks.peekable();
    while let Some(peak) = peaks.next() {
        let until = peaks.peek().copied().unwrap_or(curve.len());
        let threshold = curve[peak].1 - sensitivity * step;
        let fallen = (peak + 1..until).any(|at| curve[at].1 < threshold);
        // At the end of the series nothing can follow: a distance that ends at zero has fallen.
        if fallen || (until == curve.len() && threshold <= 0.0) {
            return Some(curve[peak].0);
        }
    }
    None
}

/// The original places, with the distance from the chord, both axes brought to `0..=1` and turned so that every
/// bend is concave and rising.
fn flattened(series: &[(f64, f64)], bend: Bend) -> Option<Vec<(f64, f64)>> {
    let (first, last) = (series.first()?, series.last()?);
    let lowest = series.iter().map(|each| each.1).fold(f64::INFINITY, f64::min);
    let highest = series.iter().map(|each| each.1).fold(f64::NEG_INFINITY, f64::max);
    let (width, height) = (last.0 - first.0, highest - lowest);
    if series.len() < 3 || !(width > 0.0 && height > 0.0 && (width * height).is_finite()) {
        return None;
    }
    let distance = |&(x, y): &(f64, f64)| {
        let (x, y) = ((x - first.0) / width, (y - lowest) / height);
        match bend {
            Bend::ConcaveRising => y - x,
            Bend::ConcaveFalling => y + x - 1.0,
            Bend::ConvexRising => x - y,
            Bend::ConvexFalling => 1.0 - x - y,
        }
    };
    Some(series.iter().map(|each| (each.0, distance(each))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corner_is_found_and_a_line_has_none() {
        let corner: Vec<(f64, f64)> = (1..=20).map(f64::from).map(|x| (x, x.min(7.0))).collect();
        assert_eq!(kneedle(&corner, Bend::ConcaveRising, 1.0), Some(7.0));
        let line: Vec<(f64, f64)> = (1..=20).map(f64::from).map(|x| (x, 3.0 * x)).collect();
        assert_eq!(kneedle(&line, Bend::ConcaveRising, 1.0), None);
        for nothing in [&[][..], &[(1.0, 1.0)], &[(1.0, 2.0), (2.0, 2.0), (3.0, 2.0)], &[(0.0, f64::NAN); 3]]
        {
            assert_eq!(kneedle(nothing, Bend::ConvexRising, 1.0), None);
        }
    }
}
