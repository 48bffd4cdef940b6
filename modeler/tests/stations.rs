//! Simulated stations of known capacity: how often the interval of the capacity holds the truth, how far the
//! estimate is off, and whether the resource that binds is named.
//!
//! `HIGHWATER_REPEATS` sets the repeats of each station; `make bench-model` runs 200 of them.

#![expect(clippy::print_stderr, reason = "says what it measured")]

#[path = "stations/simulator.rs"]
mod simulator;

use captures::Rate;
use modeler::{Model, ModelRequest, Objective, model, points};
use simulator::{Law, Service, run_of, simulate};

const NONE: Law = Law::Fixed(0.0);
const MANY: usize = 1_000_000;

/// A station and how it is exercised.
struct Case {
    name: &'static str,
    service: Service,
    /// The most it carries per second.
    most: f64,
    /// The objective: p95 below this, in seconds.
    limit: f64,
    binds: &'static str,
}

fn cases() -> Vec<Case> {
    let station = |cores: usize, cpu: Law| Service { pool: MANY, cores, cpu, elsewhere: NONE, usl: None };
    let case = |name, service, most, limit, binds| Case { name, service, most, limit, binds };
    vec![
        case("M/M/1", station(1, Law::Exponential(0.004)), 250.0, 0.060, "cpu"),
        case("M/M/8", station(8, Law::Exponential(0.020)), 400.0, 0.120, "cpu"),
        case("M/D/4", station(4, Law::Fixed(0.010)), 400.0, 0.030, "cpu"),
        case(
            "USL service",
            Service { pool: 24, cores: 0, cpu: NONE, elsewhere: NONE, usl: Some([0.03, 0.0005, 60.0]) },
            // X(24) = 60·24 / (1 + 0.03·23 + 0.0005·24·23)
            732.6,
            0.090,
            "pool",
        ),
        case(
            "pool",
            Service { pool: 10, cores: MANY, cpu: NONE, elsewhere: Law::Exponential(0.025), usl: None },
            400.0,
            0.150,
            "pool",
        ),
        case(
            "CPU and pool",
            Service {
                pool: 40,
                cores: 4,
                cpu: Law::Exponential(0.010),
                elsewhere: Law::Exponential(0.030),
                usl: None,
            },
            400.0,
            0.200,
            "cpu",
        ),
    ]
}

/// Stages as shares of the most that is carried.
const STAGES: [f64; 8] = [0.2, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0, 1.15];

fn p95(answered: &[(f64, f64)]) -> f64 {
    let mut responses: Vec<f64> = answered.iter().map(|(due, done)| done - due).skip(2_000).collect();
    let at = responses.len() * 95 / 100;
    *responses.select_nth_unstable_by(at, f64::total_cmp).1
}

/// The highest steady rate with p95 below the limit, from long simulations.
fn truth(case: &Case) -> f64 {
    let (mut low, mut high) = (0.3 * case.most, 1.02 * case.most);
    while high - low > 0.002 * case.most {
        let rate = 0.5 * (low + high);
        let seconds = 600_000.0 / rate;
        if p95(&simulate(case.service, &[rate], seconds, 99).answered) < case.limit { low = rate } else { high = rate }
    }
    0.5 * (low + high)
}

fn modeled(case: &Case, stages: &[f64], seconds: f64, seed: u64) -> Model {
    let rates: Vec<f64> = stages.iter().map(|share| share * case.most).collect();
    let simulated = simulate(case.service, &rates, seconds, seed);
    let points = points(&run_of(&rates, seconds, &simulated.answered), "shop.run").expect("is a run");
    let request = ModelRequest {
        objective: Some(Objective::parse(&format!("p95<{}ms", case.limit * 1e3)).expect("is an objective")),
        at: Vec::new(),
        rate_at_1x: Rate::per_second(50.0),
        held_back_ratio: 0.0,
        force: false,
        seed: 1,
    };
    model(points, &request).expect("has enough loads")
}

fn repeats(otherwise: u64) -> u64 {
    std::env::var("HIGHWATER_REPEATS").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn intervals_of_the_capacity_hold_the_truth_as_often_as_they_say() {
    let repeats = repeats(8);
    for case in cases() {
        let truth = truth(&case);
        let mut misses: Vec<f64> = Vec::new();
        let mut held = [0_u32; 2];
        let (mut width, mut below) = (0.0, 0);
        for seed in 0..repeats {
            let capacity = modeled(&case, &STAGES, 30.0, 1_000 + seed).capacity;
            misses.push(capacity.rate.as_per_second() / truth - 1.0);
            for (held, interval) in held.iter_mut().zip([capacity.interval_80, capacity.interval]) {
                let interval = interval.map(Rate::as_per_second);
                *held += u32::from(interval.low <= truth && truth <= interval.high);
            }
            let interval = capacity.interval.map(Rate::as_per_second);
            width += (interval.high - interval.low) / truth / repeats as f64;
            below += u32::from(interval.high < truth);
        }
        let mut sizes: Vec<f64> = misses.iter().map(|miss| miss.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        misses.sort_by(f64::total_cmp);
        eprintln!(
            "{:14} truth {truth:.0} ({:.2} of the most): 80 % {:.3}, 95 % {:.3} (width {width:.3}, below {below}), error median {:.4} p90 {:.4}, bias {:+.4}, binds {}",
            case.name,
            truth / case.most,
            f64::from(held[0]) / repeats as f64,
            f64::from(held[1]) / repeats as f64,
            sizes[sizes.len() / 2],
            sizes[sizes.len() * 9 / 10],
            misses[misses.len() / 2],
            case.binds,
        );
    }
}
