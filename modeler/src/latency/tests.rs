//! What latency curves promise: found again, inverted, never falling.

use super::*;
use crate::queueing::shared_ceiling;

#[test]
fn a_queueing_curve_is_found_again_and_inverted() {
    let shapes = crate::crowding::shapes(LatencyMeasure::Quantile(0.95));
    let truth = |offered: f64| {
        let ratio: f64 = offered / 400.0;
        0.02 + 0.004 * ratio.powi(3) / (1.0 - ratio)
    };
    let responses: Vec<Response> = [50.0, 100.0, 200.0, 300.0, 380.0]
        .iter()
        .map(|&offered| Response { offered, seconds: truth(offered), length: 60.0 })
        .collect();
    let track = Track {
        measure: LatencyMeasure::Quantile(0.95),
        shapes: &shapes,
        responses: &responses,
        work: f64::INFINITY,
        waiting: None,
    };
    let fit = fit(track, 400.0).expect("there are responses");
    let offered = fit.offered_for(truth(390.0));
    assert!((offered - 390.0).abs() < 0.5, "{offered}");
    assert!(fit.response_at(400.0).is_infinite());
    let found = shared_ceiling(&[track], 0.5);
    assert!((found / 400.0 - 1.0).abs() < 0.07, "{found}");
}

#[test]
fn pooling_never_falls() {
    assert_eq!(rising(&[1.0, 3.0, 2.0, 4.0], &[1.0; 4]), [1.0, 2.5, 2.5, 4.0]);
    assert_eq!(rising(&[3.0, 2.0, 1.0], &[1.0, 1.0, 2.0]), [1.75; 3]);
}

#[test]
fn many_loads_are_left_out_in_no_more_turns_than_few() {
    for (loads, expected) in [(4, 0), (8, 8), (32, 32), (1_000, 32)] {
        let rate = |at: usize| 10.0 + 0.3 * at as f64;
        let responses: Vec<Response> =
            (0..loads).map(|at| Response { offered: rate(at), seconds: 0.02, length: 60.0 }).collect();
        let turns = std::cell::Cell::new(0);
        let missed = left_out(&responses, 1e6, |rest| {
            turns.set(turns.get() + 1);
            assert!(rest.len() < loads && rest.len() + loads.div_ceil(32) >= loads);
            let form = Form::Monotone { knots: vec![(10.0, 0.02), (400.0, 0.02)] };
            let beyond = (400.0, 1.0);
            Some(Fitted { form, ceiling: 1e6, score: 0.0, surprise: 0.0, beyond, forms: Forms::default() })
        });
        assert_eq!((turns.get(), missed.is_some()), (expected, loads >= 5), "{loads} loads");
    }
}
