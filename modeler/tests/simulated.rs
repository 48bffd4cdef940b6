//! Simulated queues of known capacity, replayed in stages: the model must find that capacity again.

#![expect(clippy::print_stderr, reason = "says what it skips or measured")]

#[path = "stations/simulator.rs"]
mod simulator;

use captures::{Failure, Interval, Offset, Rate, Run, RunEnd};
use modeler::{Model, ModelError, ModelRequest, Objective, interruption, model, points};
use simulator::{Law, Service, run_of, simulate};

/// So many workers, each busy for as long as the law says.
const fn workers(count: usize, law: Law) -> Service {
    Service { pool: 1_000_000, cores: count, cpu: law, elsewhere: Law::Fixed(0.0), usl: None }
}

const SHOP: Service = workers(8, Law::Exponential(0.02));

fn model_of(service: Service, rates: &[f64], seconds: f64, slo: &str, seed: u64) -> Model {
    let simulated = simulate(service, rates, seconds, seed);
    let points = points(&run_of(rates, seconds, &simulated), "shop.run").expect("is a run");
    let request = ModelRequest {
        objective: Some(Objective::parse(slo).expect("is an objective")),
        rate_at_1x: Rate::per_second(50.0),
        ..ModelRequest::plain(1)
    };
    model(points, &request).expect("has enough loads")
}

/// The highest steady rate with p95 below `limit` seconds, from long simulations.
fn true_capacity(service: Service, limit: f64) -> f64 {
    let (mut low, mut high) = (0.0, service.cores as f64 / service.cpu.mean());
    while high - low > 1.0 {
        let rate = 0.5 * (low + high);
        let simulated = simulate(service, &[rate], 600.0, 99);
        let mut responses: Vec<f64> =
            simulated.answered.iter().map(|(due, done)| done - due).skip(1_000).collect();
        responses.sort_by(f64::total_cmp);
        if responses[responses.len() * 95 / 100] < limit { low = rate } else { high = rate }
    }
    low
}

/// How far the predicted capacities lie from the truth, and how many intervals hold it.
fn check(name: &str, service: Service, rates: &[f64], seconds: f64, (slo, limit): (&str, f64)) {
    let truth = true_capacity(service, limit);
    let mut errors = Vec::new();
    let mut covered = 0;
    for seed in 0..6 {
        let capacity = model_of(service, rates, seconds, slo, seed).capacity;
        errors.push(capacity.rate.as_per_second() / truth - 1.0);
        let interval = capacity.interval.map(Rate::as_per_second);
        covered += usize::from(interval.low <= truth && truth <= interval.high);
    }
    errors.sort_by(f64::total_cmp);
    eprintln!(
        "{name}: truth {truth:.0}, errors {:+.3} … {:+.3} … {:+.3}, covered {covered}/6",
        errors[0], errors[3], errors[5]
    );
    assert!(errors.iter().all(|error| error.abs() < 0.15), "{name} {errors:?}");
    assert!(covered >= 4, "{name}: {covered}");
}

const STAGES: [f64; 7] = [50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0];

#[test]
fn the_capacity_of_a_pool_of_exponential_workers_is_found() {
    check("M/M/8", SHOP, &STAGES, 6.0, ("p95<200ms,errors<1%", 0.2));
}

#[test]
fn the_capacity_under_a_tight_objective_is_found() {
    check("M/M/8 tight", SHOP, &STAGES, 15.0, ("p95<80ms", 0.08));
}

#[test]
fn the_capacity_of_a_pool_of_regular_workers_is_found() {
    let regular = workers(8, Law::Fixed(0.02));
    check("M/D/8", regular, &STAGES, 6.0, ("p95<60ms", 0.06));
}

#[test]
fn the_capacity_of_a_single_worker_is_found() {
    let single = workers(1, Law::Shifted { least: 0.001, more: 0.001 });
    check("M/G/1", single, &[60.0, 120.0, 240.0, 360.0, 420.0, 480.0, 600.0, 700.0], 8.0, ("p95<50ms", 0.05));
}

#[test]
fn without_a_saturated_stage_the_answer_says_how_far_it_reaches() {
    let fitted = model_of(SHOP, &[50.0, 100.0, 150.0, 200.0, 250.0], 8.0, "p95<200ms", 3);
    let capacity = &fitted.capacity;
    let interval = capacity.interval.map(Rate::as_per_second);
    assert!(interval.low < 385.0 && 385.0 < interval.high, "{interval:?}");
    assert!(!capacity.bracketed && capacity.lowest_fail.is_none());
    assert!(capacity.verdict > modeler::Verdict::Measured);
}

#[test]
fn the_same_run_and_seed_give_the_same_model() {
    let once = model_of(SHOP, &STAGES, 6.0, "p95<200ms", 7);
    assert_eq!(once, model_of(SHOP, &STAGES, 6.0, "p95<200ms", 7));
}

/// Stages of 20 s at 100, 200, 300 and 600 requests a second (the shop takes 400), interrupted at `second`.
fn interrupted_at(second: u64) -> Run {
    let rates = [100.0, 200.0, 300.0, 600.0];
    let mut run = run_of(&rates, 20.0, &simulate(SHOP, &rates, 20.0, 1));
    for interval in run.intervals.iter_mut().filter(|each| each.second > second) {
        *interval = Interval { second: interval.second, ..Interval::default() };
    }
    run.end = Some(RunEnd {
        ended: Offset::from_millis(second * 1_000 + 1_400),
        interrupted: true,
        invalid_reason: None,
        stopped_by: None,
    });
    run
}

#[test]
fn an_interruption_leaves_the_whole_seconds_before_it() {
    let points = points(&interrupted_at(50), "shop.run").expect("has points");
    // 20 s lose their warm-up; of the third stage 10 s are whole, and lose a fifth.
    assert_eq!(points.len(), 3);
    assert_eq!(
        points[2].windows.iter().map(|window| window.second).collect::<Vec<_>>(),
        [42, 43, 44, 45, 46, 47, 48, 49]
    );
    assert!(points[2].error_ratio == 0.0 && !points[2].saturated);
}

#[test]
fn requests_that_an_interruption_kept_from_their_turn_are_no_verdict_on_the_target() {
    let mut run = interrupted_at(70);
    for interval in run.intervals.iter_mut().filter(|each| (66..=70).contains(&each.second)) {
        interval.route_mut(0).failures = vec![(Failure::SkippedEnded, 200)];
    }
    let points = points(&run, "shop.run").expect("has points");
    // The level at which requests waited is left out whole: nobody knows how it would have ended.
    assert_eq!(points.len(), 3);
    assert!(points.iter().all(|point| point.error_ratio == 0.0 && !point.saturated));
    assert_eq!(
        interruption(&run, "shop.run").expect("was interrupted"),
        "shop.run: the run was interrupted at 71.400 s; later levels are left out."
    );
}

#[test]
fn requests_that_an_interruption_cut_off_are_no_errors_of_the_target() {
    let mut run = interrupted_at(50);
    for interval in run.intervals.iter_mut().filter(|each| (48..=50).contains(&each.second)) {
        interval.route_mut(0).failures = vec![(Failure::CutOff, 3)];
    }
    let points = points(&run, "shop.run").expect("has points");
    assert_eq!(points[2].windows.last().map(|window| window.second), Some(47));
    assert_eq!(points[2].error_ratio, 0.0);
}

#[test]
fn a_run_that_was_interrupted_at_once_says_so() {
    let error = points(&interrupted_at(2), "shop.run").expect_err("has no level");
    assert_eq!(error, ModelError::Interrupted { at: Offset::from_millis(3_400) });
    let rates = [100.0, 200.0, 300.0];
    let whole = run_of(&rates, 20.0, &simulate(SHOP, &rates, 20.0, 1));
    assert_eq!(interruption(&whole, "shop.run"), None);
}
