//! Costs that are known, found again from the counters of a server that works on one request after the other.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::super::rows::Row;
use super::split;
use crate::resample::{generator, quantile_of};

/// Share of the requests, and CPU-seconds a request.
const ROUTES: [(f64, f64); 4] = [(0.45, 0.0015), (0.30, 0.0035), (0.15, 0.0105), (0.10, 0.0165)];
/// Requests a second, up to 45 % of what the server carries, and how long each level is held.
const LEVELS: [f64; 5] = [20.0, 35.0, 50.0, 65.0, 80.0];
const HOLD: usize = 30;

/// What is read of a server at work `early` seconds before the end of each second, cut to ticks of 10 ms; and what
/// a request of each route cost it. One that finds it asleep pays `waking` seconds on top.
///
/// Requests come by chance, in a mix that sways; the first row of each level is left out, as a warm-up is.
fn rows(early: f64, waking: f64, seed: u64) -> (Vec<Row>, Vec<f64>) {
    let mut chance = generator(seed, 3);
    let mut requests = arrivals(&mut chance);
    requests.sort_by(|one, other| one.0.total_cmp(&other.0));
    let seconds = LEVELS.len() * HOLD;
    let mut due = vec![vec![0.0; ROUTES.len()]; seconds];
    let mut works = Vec::new();
    let mut free = 0.0_f64;
    let mut accounts = vec![(0.0, 0.0); ROUTES.len()];
    for (at, route) in requests {
        due[at as usize][route] += 1.0;
        let begin = free.max(at);
        let cost = ROUTES[route].1 + if free < at { waking } else { 0.0 };
        free = begin + cost;
        works.push((begin, free));
        accounts[route] = (accounts[route].0 + cost, accounts[route].1 + 1.0);
    }
    let counter = |moment: f64| {
        let used: f64 = works.iter().map(|&(begin, end)| (moment.min(end) - begin).max(0.0)).sum();
        (used * 100.0).floor() / 100.0
    };
    let read: Vec<f64> = (0..=seconds).map(|second| counter(second as f64 - early)).collect();
    let rows = (1..seconds)
        .filter(|second| second % HOLD > 0)
        .map(|second| Row {
            seconds: 1.0,
            used: read[second + 1] - read[second],
            due: due[second].clone(),
            before: due[second - 1].clone(),
            load_ratio: LEVELS[second / HOLD] / LEVELS[LEVELS.len() - 1],
            misses: None,
            follows: second % HOLD > 1,
        })
        .collect();
    (rows, accounts.iter().map(|(cost, count)| cost / count).collect())
}

fn arrivals(chance: &mut ChaCha8Rng) -> Vec<(f64, usize)> {
    let mut requests = Vec::new();
    for (level, rate) in LEVELS.iter().enumerate() {
        for (route, (share, _)) in ROUTES.iter().enumerate() {
            // By thinning: the rate sways by up to 60 %, each route in a rhythm of its own.
            let most = 1.6 * rate * share;
            let mut at = 0.0;
            loop {
                at += -(1.0 - chance.random::<f64>()).ln() / most;
                if at >= HOLD as f64 {
                    break;
                }
                let moment = (level * HOLD) as f64 + at;
                let sway = 1.0 + 0.6 * (moment * (0.7 + 0.4 * route as f64)).sin();
                if chance.random::<f64>() * 1.6 < sway {
                    requests.push((moment, route));
                }
            }
        }
    }
    requests
}

/// Of every route: the mean and the median of the error, how often it is below 10 %, how often the 95 % interval
/// holds the truth.
fn repeated(early: f64, waking: f64) -> Vec<[f64; 4]> {
    repeated_with(None, |seed| rows(early, waking, seed))
}

fn repeated_with(rest: Option<f64>, rows: impl Fn(u64) -> (Vec<Row>, Vec<f64>)) -> Vec<[f64; 4]> {
    const REPEATS: u64 = 60;
    let mut errors = vec![Vec::new(); ROUTES.len()];
    let mut held = vec![0.0; ROUTES.len()];
    for seed in 0..REPEATS {
        let (rows, truths) = rows(seed);
        let found = split(&rows, ROUTES.len(), rest);
        let draws = found.drawn(100, &mut generator(seed, 7));
        for (route, truth) in truths.iter().enumerate() {
            assert!(found.costs[route + 1] >= 0.0);
            errors[route].push(found.costs[route + 1] / truth - 1.0);
            let mut drawn: Vec<f64> = draws.iter().map(|draw| draw[route + 1]).collect();
            drawn.sort_by(f64::total_cmp);
            let within = quantile_of(&drawn, 0.025) <= *truth && *truth <= quantile_of(&drawn, 0.975);
            held[route] += f64::from(u8::from(within)) / REPEATS as f64;
        }
    }
    let of = |(errors, held): (&Vec<f64>, &f64)| {
        let bias = errors.iter().sum::<f64>() / errors.len() as f64;
        let mut sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        let near = sizes.iter().filter(|size| **size < 0.10).count() as f64 / sizes.len() as f64;
        [bias, quantile_of(&sizes, 0.5), near, *held]
    };
    errors.iter().zip(&held).map(of).collect()
}

#[test]
fn costs_are_found_again_though_work_spills_into_the_next_second() {
    for ((_, cost), [bias, median, near, held]) in ROUTES.iter().zip(repeated(0.0, 0.0)) {
        let said = format!("{cost} s: bias {bias}, median error {median}, within 10 % {near}, held {held}");
        assert!(bias.abs() < 0.01 && median < 0.03 && near > 0.95 && held > 0.85, "{said}");
    }
}

#[test]
fn a_counter_that_is_read_early_does_not_give_the_costs_of_one_route_to_another() {
    for ((_, cost), [bias, median, near, held]) in ROUTES.iter().zip(repeated(0.3, 0.0)) {
        let said = format!("{cost} s: bias {bias}, median error {median}, within 10 % {near}, held {held}");
        assert!(bias.abs() < 0.05 && median < 0.08 && near > 0.6 && held > 0.85, "{said}");
    }
}

#[test]
fn what_waking_a_server_costs_is_found_in_its_requests() {
    // More dear requests also mean fewer that find it asleep: what they save is told apart from nothing.
    for ((_, cost), [bias, median, near, _]) in ROUTES.iter().zip(repeated(0.0, 0.002)) {
        let said = format!("{cost} s: bias {bias}, median error {median}, within 10 % {near}");
        let most = if *cost < 0.01 { 0.03 } else { 0.05 };
        assert!(bias.abs() < most && median < 0.05 && near > 0.95, "{said}");
    }
}

#[test]
fn what_is_seen_at_rest_is_not_taken_from_the_cheap_routes() {
    // So many seconds on top at 20 requests a second, and fewer of them the more there are: however many come, they
    // cost 14 ms a second more, which a line through the loads takes for idle use.
    let shrinking = |seed| {
        let (mut rows, mut truths) = rows(0.0, 0.0, seed);
        let (mut seconds, mut requests) = (0.0, 0.0);
        for row in &mut rows {
            row.used += 0.014;
            seconds += row.seconds;
            requests += row.due.iter().sum::<f64>();
        }
        truths.iter_mut().for_each(|truth| *truth += 0.014 * seconds / requests);
        (rows, truths)
    };
    let cheapest = |found: Vec<[f64; 4]>| found[0][0];
    let (unseen, seen) =
        (cheapest(repeated_with(None, shrinking)), cheapest(repeated_with(Some(0.0), shrinking)));
    assert!(unseen < -0.10 && seen.abs() < 0.05, "{unseen}, {seen}");
}
