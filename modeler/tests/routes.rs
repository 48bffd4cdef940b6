//! Costs of routes that are known beforehand, found again from a run with a mixed load; and what follows from
//! them for another mix.

#[path = "fixtures/run.rs"]
mod fixture;

use std::sync::LazyLock;
use std::time::Duration;

use captures::{Interval, Observed, ObservedKind, Rate, RouteInterval, Run};
use fixture::hold;
use modeler::{MixChange, Model, ModelRequest, model, points};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Share of the requests, and CPU-seconds a request.
const ROUTES: [(&str, f64, f64); 5] = [
    ("GET /", 0.45, 0.001),
    ("GET /item/{id}", 0.30, 0.003),
    ("GET /search", 0.12, 0.012),
    ("POST /checkout", 0.08, 0.020),
    ("GET /static/{file}", 0.05, 0.0),
];
const CORES: f64 = 4.0;
const IDLE: f64 = 0.05;

/// Levels of 40 s; every second the mix sways a little, as that of visitors does.
fn run(levels: &[f64], sway: f64) -> Run {
    let mut chance = ChaCha8Rng::seed_from_u64(5);
    let mut intervals = Vec::new();
    for (level, &rate) in levels.iter().enumerate() {
        for second in 0..40 {
            let mut interval = Interval { second: (level * 40 + second) as u64, ..Interval::default() };
            let mut used = IDLE;
            for (index, (_, share, cost)) in ROUTES.iter().enumerate() {
                let factor = 1.0 + sway * (2.0 * chance.random::<f64>() - 1.0);
                let count = (rate * share * factor).round() as u64;
                let mut route = RouteInterval { route: index as u16, ..RouteInterval::default() };
                route.statuses = vec![(200, count)];
                let millis = 5.0 + cost * 1e3 / (1.0 - 0.8 * rate / 1_000.0);
                for _ in 0..count {
                    route
                        .response
                        .record(Duration::from_secs_f64(millis / 1e3 * (0.5 + chance.random::<f64>())));
                }
                interval.routes.push(route);
                interval.planned += count;
                used += count as f64 * cost;
            }
            interval.completed = interval.planned;
            interval.in_flight = interval.planned as f64 * 0.012;
            let noise = 1.0 + 0.03 * (2.0 * chance.random::<f64>() - 1.0);
            let observed =
                |name: &str, value: f64| Observed { name: name.to_owned(), kind: ObservedKind::Rate, value };
            interval.observed =
                vec![observed("pid:1/cpu", used * noise / CORES), observed("pid:1/cpu_cores", used * noise)];
            intervals.push(interval);
        }
    }
    let stages = levels.iter().zip(0..).map(|(rate, level)| hold(level * 40, (level + 1) * 40, rate / 50.0));
    fixture::run(stages.collect(), ROUTES.iter().map(|route| route.0.to_owned()).collect(), intervals)
}

fn request(mix: Vec<MixChange>) -> ModelRequest {
    ModelRequest {
        rate_at_1x: Rate::per_second(50.0),
        current: Rate::per_second(150.0),
        mix,
        ..ModelRequest::plain(1)
    }
}

fn modeled(sway: f64, mix: Vec<MixChange>) -> Model {
    let levels = [60.0, 120.0, 180.0, 240.0, 300.0, 360.0];
    model(points(&run(&levels, sway), "shop.run").expect("is a run"), &request(mix))
        .expect("has enough loads")
}

/// The model of a swaying mix; made once, since three tests look at it.
static SWAYING: LazyLock<Model> = LazyLock::new(|| modeled(0.3, Vec::new()));

fn mean_cost(times: f64) -> f64 {
    let (sum, count) = ROUTES.iter().fold((0.0, 0.0), |(sum, count), (name, share, cost)| {
        let share = if *name == "POST /checkout" { share * times } else { *share };
        (sum + share * cost, count + share)
    });
    sum / count
}

#[test]
fn the_cost_of_every_route_is_found_again() {
    let model = &*SWAYING;
    let costs = model.costs.iter().find(|costs| costs.resource.ends_with("cpu_cores")).expect("is observed");
    for (name, _, truth) in ROUTES {
        let found = costs.routes.iter().find(|route| route.route == name).expect("is a route");
        assert!(found.cost >= 0.0 && found.interval.low <= found.interval.high);
        // Within 10 %; of what costs nothing, within what the cheapest one costs.
        assert!(
            (found.cost - truth).abs() <= (0.1 * truth).max(0.0008),
            "{name}: {} is not {truth}",
            found.cost
        );
    }
    assert_eq!(costs.routes[0].route, "POST /checkout");
    assert!(costs.miss_ratio < 0.03, "{}", costs.miss_ratio);
}

#[test]
fn cpu_foretells_the_ceiling_from_loads_below_it() {
    let model = &*SWAYING;
    let truth = (CORES - IDLE) / mean_cost(1.0);
    let found = model.bottleneck.as_ref().expect("something runs out");
    assert_eq!(found.resource.as_deref(), Some("pid:1/cpu"));
    let bound = found.bound.expect("has a bound").as_per_second();
    assert!((bound / truth - 1.0).abs() < 0.05, "{bound} is not {truth}");
}

#[test]
fn a_tripled_checkout_is_answered_for() {
    let change = |route: &str, times| MixChange { route: route.to_owned(), times };
    let model = modeled(0.3, vec![change("POST /checkout", 3.0), change("GET /new", 1.0)]);
    let mix = model.mix.expect("was asked for");
    let truth = mean_cost(3.0) / mean_cost(1.0);
    assert!((mix.cost_ratio / truth - 1.0).abs() < 0.1, "{} is not {truth}", mix.cost_ratio);
    let expected = model.capacity.rate.as_per_second() / truth;
    assert!((mix.rate.as_per_second() / expected - 1.0).abs() < 0.1);
    assert!(mix.interval.low <= mix.rate && mix.rate <= mix.interval.high);
    assert_eq!(mix.unknown, ["GET /new"]);
}

#[test]
fn routes_that_cannot_be_told_apart_are_named() {
    // Without sway every second has the same mix.
    let model = modeled(0.0, Vec::new());
    let costs = model.costs.first().expect("are computed");
    assert!(costs.routes.iter().all(|route| route.cost >= 0.0));
    assert!(costs.warning.as_ref().is_some_and(|warning| warning.contains("the split is not")), "{costs:?}");
}

#[test]
fn headroom_and_routes_are_told() {
    let model = &*SWAYING;
    let headroom = model.headroom.expect("today's peak was given");
    assert!((headroom.ratio - model.capacity.rate.as_per_second() / 150.0).abs() < 1e-9);
    assert_eq!(model.routes.len(), 5);
    assert_eq!(model.routes[0].route, "GET /");
    assert!(model.routes.iter().all(|route| route.latency.len() == 4), "three quantiles and the mean");
    assert!(!model.firmer.is_empty() && model.advice.iter().any(|sentence| sentence.contains("cpu")));
}

/// Whatever the load, 60 ms of a second go into waking the server: requests that come alone pay for it. Three
/// seconds after the last answer, of which the first still cleans up, tell that apart from idle use.
#[test]
fn what_is_used_at_rest_is_all_that_counts_as_idle() {
    let mut run = run(&[60.0, 120.0, 180.0, 240.0], 0.3);
    for observed in run.intervals.iter_mut().flat_map(|interval| &mut interval.observed) {
        observed.value += if observed.name.ends_with("cores") { 0.060 } else { 0.060 / CORES };
    }
    let idle = |run: &Run| {
        let points = points(run, "shop.run").expect("is a run");
        let model = model(points, &request(Vec::new())).expect("has enough loads");
        let costs = model.costs.iter().find(|costs| costs.resource.ends_with("cpu_cores"));
        costs.expect("is observed").idle
    };
    let unseen = idle(&run);
    assert!(unseen > IDLE + 0.03, "{unseen}");
    let ended = run.intervals.len() as u64;
    for (at, cores) in [(1, 0.4), (2, IDLE), (3, IDLE)] {
        let seen = |name: &str, value| Observed { name: name.to_owned(), kind: ObservedKind::Rate, value };
        run.intervals.push(Interval {
            second: ended + at,
            observed: vec![seen("pid:1/cpu", cores / CORES), seen("pid:1/cpu_cores", cores)],
            ..Interval::default()
        });
    }
    let seen = idle(&run);
    assert!((seen / IDLE - 1.0).abs() < 0.2, "{seen}");
}

/// A second with a hit ratio of 0.9 or 0.3: what is missed costs 8 ms of CPU, whatever the route.
#[test]
fn misses_of_a_cache_cost_beside_the_routes() {
    let mut run = run(&[60.0, 120.0, 180.0, 240.0], 0.3);
    for interval in &mut run.intervals {
        let hits = if interval.second % 10 < 5 { 0.9 } else { 0.3 };
        let missed = (1.0 - hits) * interval.completed as f64;
        for observed in &mut interval.observed {
            let cores = if observed.name.ends_with("cores") { 1.0 } else { CORES };
            observed.value += 0.008 * missed / cores;
        }
        interval.observed.push(Observed {
            name: "prometheus:h:1/cache_hit_ratio".to_owned(),
            kind: ObservedKind::Gauge,
            value: hits,
        });
    }
    let model =
        model(points(&run, "shop.run").expect("is a run"), &request(Vec::new())).expect("has enough loads");
    let costs = model.costs.iter().find(|costs| costs.resource.ends_with("cpu_cores")).expect("is observed");
    let of = |name: &str| costs.routes.iter().find(|route| route.route == name).expect("is there").cost;
    assert!((of("(cache misses)") / 0.008 - 1.0).abs() < 0.1, "{costs:?}");
    assert!((of("POST /checkout") / 0.020 - 1.0).abs() < 0.15, "{costs:?}");
    // Without a cache, or with one that is always as warm, routes are all there is.
    assert!(SWAYING.costs.iter().all(|costs| costs.routes.iter().all(|route| !route.route.starts_with('('))));
}
