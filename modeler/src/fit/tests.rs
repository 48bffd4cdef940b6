//! The fits, against published and constructed truths.

use super::*;

/// SPEC SDM91 on a SPARCcenter 2000, as in Gunther's *Guerrilla Capacity Planning* (2007).
const SPEC_SDM91: [(f64, f64); 7] = [
    (1.0, 64.9),
    (18.0, 995.9),
    (36.0, 1652.4),
    (72.0, 1853.2),
    (108.0, 1828.9),
    (144.0, 1775.0),
    (216.0, 1702.2),
];

fn observed(pairs: &[(f64, f64)]) -> Vec<Observed> {
    pairs.iter().map(|&(n, x)| Observed { n, x, error: None }).collect()
}

#[test]
fn the_published_fit_of_spec_sdm91_is_found() {
    let usl = solve(Family::Usl, &observed(&SPEC_SDM91), None);
    let expected = [0.027_728_475_6, 0.000_104_365_484, 89.995_233_1];
    for (value, expected) in usl.values.iter().zip(expected) {
        assert!((value / expected - 1.0).abs() < 1e-6, "{:?}", usl.values);
    }
    let fitted = parameters(Family::Usl, &usl, 7);
    let interval = fitted[0].interval.expect("four degrees of freedom");
    // .0277285 ± t(0.975, 4) × .0091217
    assert!(
        (interval.low - 0.002_402).abs() < 1e-5 && (interval.high - 0.053_054).abs() < 1e-5,
        "{interval:?}"
    );
}

#[test]
fn known_parameters_are_recovered_exactly_by_every_family() {
    let loads = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
    for (family, truth) in [
        (Family::Linear, [12.0, 0.0, 0.0, 0.0]),
        (Family::Amdahl, [0.05, 100.0, 0.0, 0.0]),
        (Family::Usl, [0.02, 0.0005, 995.0, 0.0]),
        (Family::Hinge, [100.0, 1_500.0, 0.0, 0.0]),
        (Family::SmoothHinge, [100.0, 1_500.0, 2.5, 0.0]),
    ] {
        let points: Vec<(f64, f64)> = loads.iter().map(|&n| (n, family.throughput_at(&truth, n))).collect();
        let found = solve(family, &observed(&points), None);
        for (value, truth) in found.values.iter().zip(truth).take(family.names().len()) {
            assert!((value / truth - 1.0).abs() < 1e-6, "{family:?} {:?}", found.values);
        }
        let fits = fit_all(&observed(&points));
        let best = fits.iter().max_by(|a, b| a.weight.total_cmp(&b.weight)).expect("there are families");
        assert!((fits.iter().map(|fit| fit.weight).sum::<f64>() - 1.0).abs() < 1e-9);
        let next = average_at(&fits, 160.0) / family.throughput_at(&truth, 160.0);
        assert!((next - 1.0).abs() < 0.02, "{family:?} chose {:?}: {next}", best.family);
    }
}

#[test]
fn a_collapse_is_foretold_only_when_one_was_measured() {
    let rising: Vec<(f64, f64)> = [1.0, 2.0, 4.0, 8.0, 12.0, 16.0]
        .iter()
        .map(|&n| (n, Family::Usl.throughput_at(&[0.02, 0.002, 100.0, 0.0], n)))
        .collect();
    let usl = |pairs: &[(f64, f64)]| {
        fit_all(&observed(pairs)).into_iter().find(|fit| fit.family == Family::Usl).expect("is fitted")
    };
    assert_eq!(usl(&rising).weight, 0.0);
    assert!(usl(&rising).excluded.is_some());
    let mut fallen = rising;
    fallen.extend([32.0, 64.0].map(|n| (n, Family::Usl.throughput_at(&[0.02, 0.002, 100.0, 0.0], n))));
    assert!(usl(&fallen).weight > 0.9);
}

#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    let truth = [0.03, 0.0004, 250.0, 0.0];
    let loads = [1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0];
    let mut chance = crate::resample::generator(11, 0);
    let mut held = [0_u32; 3];
    for _ in 0..400 {
        let noisy: Vec<(f64, f64)> = loads
            .iter()
            .map(|&n| (n, Family::Usl.throughput_at(&truth, n) + 40.0 * crate::resample::normal(&mut chance)))
            .collect();
        let solution = solve(Family::Usl, &observed(&noisy), None);
        for (index, parameter) in parameters(Family::Usl, &solution, noisy.len()).iter().enumerate() {
            let interval = parameter.interval.expect("has degrees of freedom");
            held[index] += u32::from(interval.low <= truth[index] && truth[index] <= interval.high);
        }
    }
    // 95 % of 400 are 380, with a standard deviation of 4.4.
    assert!(held.iter().all(|held| (364..=394).contains(held)), "{held:?}");
}
