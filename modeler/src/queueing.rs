//! Queueing curves: `R = s + gρ + b·z(ρ)`, fitted within what is known beforehand of queues.
//!
//! With responses at a few loads, many curves fit. What decides among them is theory: in heavy traffic waiting is
//! nearly exponential with a mean near the time between completions, a quantile's weighs by its tail, and no more
//! can be served at once than Little's law allows.

use crate::crowding::Shape;
use crate::latency::{Fitted, Form, Forms, LatencyMeasure, Response, Waiting, known_to};

/// Where the ceiling may lie when none was measured, as multiples of the highest steady load.
const CEILINGS: [f64; 16] =
    [1.01, 1.03, 1.06, 1.1, 1.15, 1.2, 1.3, 1.4, 1.55, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0];
/// How far the logarithm of the burstiness `(cₐ² + cₛ²) / 2` of services lies from that of a Poisson queue.
const BURSTINESS_SPREAD: f64 = 1.2;
/// The root of the weight of the burstiness that is expected beforehand.
const EXPECTED_WEIGHT: f64 = 0.5;
/// The root of the weight of the burstiness that the mean shows.
const MEAN_WEIGHT: f64 = 3.0;
/// The share of waiting in the mean from which on its weight counts as known.
const CLEAR_SHARE: f64 = 0.3;
/// How far the logarithm of a quantile's burstiness lies from that of the mean.
const MEAN_SPREAD: f64 = 0.35;
/// How many more servers there may be than work at the ceiling: both are measured with errors.
const SERVERS_MARGIN: f64 = 1.3;

/// The responses of one measure, with the shapes that its curve may have.
#[derive(Clone, Copy)]
pub(crate) struct Track<'a> {
    pub(crate) measure: LatencyMeasure,
    pub(crate) shapes: &'a [Shape],
    pub(crate) responses: &'a [Response],
    /// Seconds of a request without waiting, in the mean; infinite when unknown. By Little's law no more than
    /// so long × the ceiling can be served at once, which bounds how late waiting may set in.
    pub(crate) work: f64,
    /// How much waiting weighs by the curve of the mean, in seconds: that of a quantile is near its tail times
    /// this. `None` for the mean itself, and where no waiting was seen.
    pub(crate) waiting: Option<Waiting>,
}

/// The ceiling that suits all `tracks` of responses, when none was measured; infinite without responses.
///
/// Each candidate weighs by how little the responses are surprised by it; of that distribution the share
/// `place` is taken, `0.5` for the estimate. The quantiles of one load are one measurement, so their
/// surprises are averaged, not added.
pub(crate) fn shared_ceiling(tracks: &[Track<'_>], place: f64) -> f64 {
    let highest =
        tracks.iter().flat_map(|track| track.responses).map(|each| each.offered).fold(0.0, f64::max);
    if highest <= 0.0 {
        return f64::INFINITY;
    }
    let surprise = |ceiling: f64| {
        let fits = tracks.iter().filter_map(|track| queueing(*track, ceiling, false));
        let (sum, count) = fits.fold((0.0, 0.0), |(sum, count), fit| (sum + fit.surprise, count + 1.0));
        if count > 0.0 { sum / count } else { f64::INFINITY }
    };
    let surprises = CEILINGS.map(|multiple| surprise(highest * multiple));
    let least = surprises.iter().copied().fold(f64::INFINITY, f64::min);
    let weights = surprises.map(|each| (-0.5 * (each - least)).exp());
    let total: f64 = weights.iter().sum();
    if !(total.is_finite() && total > 0.0) {
        return f64::INFINITY;
    }
    let mut passed = 0.0;
    for (index, weight) in weights.iter().enumerate() {
        if passed + weight >= place * total {
            // Within the candidate's own stretch, up to the next one.
            let within = ((place * total - passed) / weight).clamp(0.0, 1.0);
            let (low, high) = (CEILINGS[index], *CEILINGS.get(index + 1).unwrap_or(&12.0));
            return highest * low * (high / low).powf(within);
        }
        passed += weight;
    }
    f64::INFINITY
}

/// The likeliest curve `s + gρ + b·z(ρ)`; without `grows`, `g` is zero.
pub(crate) fn queueing(track: Track<'_>, ceiling: f64, grows: bool) -> Option<Fitted> {
    let below: Vec<Response> =
        track.responses.iter().copied().filter(|each| each.offered < 0.995 * ceiling).collect();
    if below.len() < if grows { 4 } else { 2 } {
        return None;
    }
    let weights: Vec<f64> = below.iter().map(|each| each.weight(ceiling)).collect();
    let total: f64 = weights.iter().sum();
    let expected = track.measure.tail() * track.waiting.map_or(1.0 / ceiling, |waiting| waiting.seconds);
    // The less of the response was waiting, the less is known of how it weighs.
    let (trust, spread) = track.waiting.map_or((EXPECTED_WEIGHT, BURSTINESS_SPREAD), |waiting| {
        let known = (waiting.share_ratio / CLEAR_SHARE).min(1.0);
        (EXPECTED_WEIGHT.max(MEAN_WEIGHT * known), MEAN_SPREAD / known.max(MEAN_SPREAD / BURSTINESS_SPREAD))
    });
    let ratios: Vec<f64> = below.iter().map(|each| each.offered / ceiling).collect();
    let measured: Vec<f64> = below.iter().map(|each| each.seconds).collect();
    let servers = (SERVERS_MARGIN * ceiling * track.work).max(1.0);
    let possible = |shape: &Shape| shape.law.is_possible(servers) || track.shapes.len() == 1;
    let mut best: Option<(f64, f64, Line, usize)> = None;
    for (index, shape) in track.shapes.iter().enumerate().filter(|(_, shape)| possible(shape)) {
        let crowded: Vec<f64> = ratios.iter().map(|&ratio| shape.at(ratio)).collect();
        let rows = Rows { measured: &measured, weights: &weights, ratios: &ratios, crowded: &crowded };
        for prior in [Some((expected, trust)), None] {
            // Relative errors are relative to the curve: dividing by what was measured would trust the points
            // that chance made small, and they are the ones that are too small.
            let first = rows.line(&measured, prior, grows);
            let line = rows.line(&rows.on(&first), prior, grows);
            let sum: f64 = rows
                .on(&line)
                .iter()
                .zip(&measured)
                .zip(&weights)
                .map(|((fitted, measured), weight)| weight * (fitted / measured).ln().powi(2))
                .sum();
            let surprise = sum + ((line.slope / expected).max(1e-6).ln() / spread).powi(2);
            if best.as_ref().is_none_or(|best| surprise < best.0) {
                best = Some((surprise, sum / total, line, index));
            }
        }
    }
    let (surprise, score, line, index) = best?;
    let Line { service, growth, slope } = line;
    let form = Form::Queueing { service, growth, slope, shape: track.shapes[index].clone() };
    Some(Fitted {
        form,
        ceiling,
        score,
        surprise,
        beyond: (known_to(&below, ceiling), 1.0),
        forms: Forms::default(),
    })
}

/// The shapes of `track` that surprise least, best first, at most `count`.
pub(crate) fn likely(track: Track<'_>, ceiling: f64, count: usize) -> Vec<Shape> {
    let mut ranked: Vec<(f64, &Shape)> = track
        .shapes
        .iter()
        .map(|shape| {
            let alone = queueing(Track { shapes: std::slice::from_ref(shape), ..track }, ceiling, false);
            (alone.map_or(f64::INFINITY, |fit| fit.surprise), shape)
        })
        .collect();
    ranked.sort_by(|one, other| one.0.total_cmp(&other.0));
    ranked.into_iter().take(count).map(|(_, shape)| shape.clone()).collect()
}

/// `s`, `g` and `b` of a queueing curve.
#[derive(Clone, Copy, Debug)]
struct Line {
    service: f64,
    growth: f64,
    slope: f64,
}

/// What a line is fitted to.
struct Rows<'a> {
    measured: &'a [f64],
    weights: &'a [f64],
    ratios: &'a [f64],
    crowded: &'a [f64],
}

impl Rows<'_> {
    fn on(&self, line: &Line) -> Vec<f64> {
        let points = self.ratios.iter().zip(self.crowded);
        points.map(|(ratio, z)| line.service + line.growth * ratio + line.slope * z).collect()
    }

    /// Least squares on errors relative to `scales`, with `s > 0`, `g ≥ 0` and `b ≥ 0`.
    ///
    /// `expected` adds what is known of `b` beforehand, with the root of its weight, as one more row. The normal
    /// equations are solved at once, since this is done for every shape of every draw.
    fn line(&self, scales: &[f64], expected: Option<(f64, f64)>, grows: bool) -> Line {
        let mut normal = [[0.0; 3]; 3];
        let mut right = [0.0; 3];
        for (at, scale) in scales.iter().enumerate() {
            let row = [1.0 / scale, self.ratios[at] / scale, self.crowded[at] / scale];
            for i in 0..3 {
                right[i] += self.weights[at] * row[i] * self.measured[at] / scale;
                for j in 0..3 {
                    normal[i][j] += self.weights[at] * row[i] * row[j];
                }
            }
        }
        if let Some((expected, trust)) = expected {
            normal[2][2] += trust * trust / (expected * expected);
            right[2] += trust * trust / expected;
        }
        if grows && let Some(line) = of_three(&normal, &right) {
            return line;
        }
        let (ss, sz, zz) = (normal[0][0], normal[0][2], normal[2][2]);
        let flat = Line { service: (right[0] / ss).max(1e-9), growth: 0.0, slope: 0.0 };
        let determinant = ss * zz - sz * sz;
        if determinant.is_nan() || determinant <= 1e-12 * ss * zz {
            return flat;
        }
        let service = (right[0] * zz - right[2] * sz) / determinant;
        let slope = (ss * right[2] - sz * right[0]) / determinant;
        // All waiting: the service is at most the shortest response.
        let floor = 0.3 * self.measured.iter().copied().fold(f64::INFINITY, f64::min);
        if service < floor {
            let slope = ((right[2] - floor * sz) / zz).max(0.0);
            return Line { service: floor, growth: 0.0, slope };
        }
        // Falling with load: no waiting was seen.
        if slope < 0.0 { flat } else { Line { service, growth: 0.0, slope } }
    }
}

/// All three unknowns by Cramer's rule; `None` when one of them would be negative.
fn of_three(normal: &[[f64; 3]; 3], right: &[f64; 3]) -> Option<Line> {
    let determinant = |m: &[[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let whole = determinant(normal);
    if whole.is_nan() || whole <= 1e-12 * normal[0][0] * normal[1][1] * normal[2][2] {
        return None;
    }
    let value = |column: usize| {
        let mut replaced = *normal;
        for row in 0..3 {
            replaced[row][column] = right[row];
        }
        determinant(&replaced) / whole
    };
    let line = Line { service: value(0), growth: value(1), slope: value(2) };
    (line.service > 0.0 && line.growth >= 0.0 && line.slope >= 0.0).then_some(line)
}
