//! The forecast on real series, scored by rolling origin.
//!
//! The data live beside the project, not in it; without them this test says so and passes.

use std::collections::BTreeMap;
use std::path::Path;

use modeler::{CapacityGiven, EventGiven, ForecastRequest, History, PeakFactor, forecast, moment_of};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[derive(Default)]
struct Scores {
    mase: Vec<f64>,
    naive: Vec<f64>,
    inside_80: Vec<f64>,
    inside_95: Vec<f64>,
    peak_held: Vec<f64>,
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn given(name: &str, first: jiff::civil::Date, last: jiff::civil::Date, multiple: Option<f64>) -> EventGiven {
    EventGiven { name: name.to_owned(), first, last, multiple, optional: false }
}

/// The scores by series, when `events` gives those of each.
fn scored<'a>(
    texts: &BTreeMap<&'a str, String>,
    cutoffs: &'a str,
    events: &dyn Fn(&str) -> Vec<EventGiven>,
) -> BTreeMap<&'a str, Scores> {
    let mut all: BTreeMap<&str, Scores> = BTreeMap::new();
    for line in cutoffs.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let history = History::parse(&texts[cells[0]]).expect("is a history");
        let (season, steps): (usize, usize) = (cells[2].parse().expect("m"), cells[3].parse().expect("H"));
        let until = moment_of(cells[4]).expect("is a moment");
        let request = ForecastRequest {
            steps,
            until: Some(until),
            capacity: None,
            events: events(cells[0]),
            peak_factor: PeakFactor::MeanOnly,
            fleet: None,
            scenarios: Vec::new(),
            seed: 1,
        };
        let made = forecast(&history, &request).expect("is long enough");
        let begin = made.history.len();
        let past: Vec<Option<f64>> = made.history.iter().map(|each| each.volume).collect();
        let steps_of_season: Vec<f64> =
            (season..begin).filter_map(|at| Some((past[at]? - past[at - season]?).abs())).collect();
        let scores = all.entry(cells[0]).or_default();
        let mut naive_errors: Vec<f64> = Vec::new();
        let (mut errors, mut in_80, mut in_95, mut highest, mut bound) =
            (Vec::new(), Vec::new(), Vec::new(), 0.0_f64, 0.0_f64);
        for (index, step) in made.steps.iter().enumerate() {
            bound = bound.max(step.interval_95.high);
            let Some(truth) = history.observations.get(begin + index).and_then(|each| each.volume) else {
                continue;
            };
            assert_eq!(history.observations[begin + index].at, step.at);
            errors.push((truth - step.volume).abs());
            naive_errors.extend(past[begin - season + index % season].map(|same| (truth - same).abs()));
            in_80.push(f64::from(u8::from(step.interval_80.low <= truth && truth <= step.interval_80.high)));
            in_95.push(f64::from(u8::from(step.interval_95.low <= truth && truth <= step.interval_95.high)));
            highest = highest.max(truth);
        }
        scores.naive.push(mean(&naive_errors) / mean(&steps_of_season));
        scores.mase.push(mean(&errors) / mean(&steps_of_season));
        scores.inside_80.push(mean(&in_80));
        scores.inside_95.push(mean(&in_95));
        scores.peak_held.push(f64::from(u8::from(highest <= bound)));
    }
    all
}

#[test]
fn real_series_are_forecast_as_well_as_by_the_best_single_models() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/forecast_panel");
    let (Ok(panel), Ok(cutoffs)) = (
        std::fs::read_to_string(folder.join("panel.csv")),
        std::fs::read_to_string(folder.join("cutoffs.csv")),
    ) else {
        eprintln!("skipped: {} is not there", folder.display());
        return;
    };
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for line in panel.lines().skip(1) {
        let (series, rest) = line.split_once(',').expect("has columns");
        let text = texts.entry(series).or_default();
        text.push_str(rest);
        text.push('\n');
    }
    let all = scored(&texts, &cutoffs, &|_| Vec::new());
    // The two cran series cross Christmas: with it given, a third of their error is gone.
    let christmas = |series: &str| {
        let day = |year, month, day| jiff::civil::date(year, month, day);
        if series.starts_with("cran") {
            vec![given("Christmas", day(2017, 12, 22), day(2018, 1, 1), Some(0.45))]
        } else {
            Vec::new()
        }
    };
    let with_events = scored(&texts, &cutoffs, &christmas);
    for series in ["cran_broom", "cran_dplyr"] {
        let (without, with) = (mean(&all[series].mase), mean(&with_events[series].mase));
        eprintln!("{series}: MASE {without:.3}, with Christmas given {with:.3}");
        assert!(with < without / 1.5, "{series}");
    }

    let mut mases: Vec<f64> = all.values().map(|scores| mean(&scores.mase)).collect();
    for (name, scores) in &all {
        eprintln!(
            "{name:24} MASE {:.3} c80 {:.2} c95 {:.2}",
            mean(&scores.mase),
            mean(&scores.inside_80),
            mean(&scores.inside_95)
        );
    }
    mases.sort_by(f64::total_cmp);
    let median = 0.5 * (mases[(mases.len() - 1) / 2] + mases[mases.len() / 2]);
    let over = |of: fn(&Scores) -> &Vec<f64>| {
        mean(&all.values().map(|scores| mean(of(scores))).collect::<Vec<f64>>())
    };
    let (covered_80, covered_95) = (over(|scores| &scores.inside_80), over(|scores| &scores.inside_95));
    let mut naive: Vec<f64> = all.values().map(|scores| mean(&scores.naive)).collect();
    naive.sort_by(f64::total_cmp);
    eprintln!("seasonal naive: MASE mean {:.3} median {:.3}", mean(&naive), naive[naive.len() / 2]);
    eprintln!(
        "{} series: MASE mean {:.3} median {median:.3}, c80 {:.1} %, c95 {:.1} %, peak held {:.0} %",
        mases.len(),
        mean(&mases),
        covered_80 * 100.0,
        covered_95 * 100.0,
        over(|scores| &scores.peak_held) * 100.0
    );
    // The best single peers reach 1.18 in the median (AutoTheta) and 1.49 in the mean (AutoARIMA).
    assert!(median <= 1.15 && mean(&mases) <= 1.45, "{median} {}", mean(&mases));
    assert!((0.77..=0.88).contains(&covered_80), "{covered_80}");
    assert!((0.92..=0.97).contains(&covered_95), "{covered_95}");
    assert!(over(|scores| &scores.peak_held) >= 0.87);
}

/// A year of days that grow by 0.12 % a day, with a week and some noise: (text, the first day not in it).
fn growing(days: usize, seed: u64) -> String {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let begin = jiff::civil::date(2025, 9, 1);
    let week = [1.0, 1.05, 1.1, 1.05, 1.0, 0.7, 0.6];
    let mut text = "ds,y\n".to_owned();
    for day in 0..days {
        let date = begin.saturating_add(jiff::SignedDuration::from_hours(24 * day as i64));
        // The sum of twelve uniform numbers is nearly normal.
        let noise: f64 = (0..12).map(|_| chance.random::<f64>()).sum::<f64>() - 6.0;
        let volume = 20e6 * week[day % 7] * (GROWTH * day as f64 + 0.04 * noise).exp();
        text.push_str(&format!("{date},{volume:.0}\n"));
    }
    text
}

const GROWTH: f64 = 0.0012;

#[test]
fn steady_growth_is_continued_and_meets_the_capacity_when_it_must() {
    let days = 420;
    // The best weekday, Wednesday (1.1), reaches this volume on day 510.
    let volume = 20e6 * 1.1 * (GROWTH * 510.0).exp();
    let capacity = CapacityGiven {
        rate: captures::Rate::per_second(volume / 86_400.0).expect("is a rate"),
        interval: None,
    };
    let (mut hits, mut errors) = (0, Vec::new());
    for seed in 0..20 {
        let history = History::parse(&growing(days, seed)).expect("is a history");
        let request = ForecastRequest {
            steps: 182,
            until: None,
            capacity: Some(capacity),
            events: Vec::new(),
            peak_factor: PeakFactor::MeanOnly,
            fleet: None,
            scenarios: Vec::new(),
            seed: 1,
        };
        let made = forecast(&history, &request).expect("is long enough");
        let last = made.steps.last().expect("has steps");
        let truth = 20e6
            * [1.0, 1.05, 1.1, 1.05, 1.0, 0.7, 0.6][(days + 181) % 7]
            * (GROWTH * (days + 181) as f64).exp();
        errors.push((last.volume / truth - 1.0).abs());
        let exhaustion = made.exhaustion.expect("has a capacity");
        let day = |at: Option<jiff::civil::DateTime>| {
            at.map_or(f64::INFINITY, |at| at.duration_since(made.history[0].at).as_secs() as f64 / 86_400.0)
        };
        eprintln!(
            "P10 {} P50 {} P90 {} beyond {}",
            day(exhaustion.p10),
            day(exhaustion.p50),
            day(exhaustion.p90),
            exhaustion.beyond_ratio
        );
        // Noise lets single days reach it earlier than the curve does.
        hits += usize::from(day(exhaustion.p10) <= 510.0 && 480.0 <= day(exhaustion.p90));
    }
    errors.sort_by(f64::total_cmp);
    eprintln!(
        "26 weeks ahead: error median {:.3}, largest {:.3}; dates held {hits}/20",
        errors[10], errors[19]
    );
    assert!(errors[10] < 0.1);
    assert!(hits >= 16);
}

#[test]
fn an_event_multiplies_its_day_and_only_that() {
    let history = History::parse(&growing(420, 1)).expect("is a history");
    let day = jiff::civil::date(2026, 11, 27);
    let event = given("Black Friday", day, day, Some(10.0));
    let mut request = ForecastRequest {
        steps: 60,
        until: None,
        capacity: CapacityGiven {
            rate: captures::Rate::per_second(900.0).expect("is a rate"),
            interval: None,
        }
        .into(),
        events: Vec::new(),
        peak_factor: PeakFactor::Given(1.5),
        fleet: None,
        scenarios: Vec::new(),
        seed: 1,
    };
    let without = forecast(&history, &request).expect("is long enough");
    request.events.push(event);
    let with = forecast(&history, &request).expect("is long enough");
    for (one, other) in without.steps.iter().zip(&with.steps) {
        let times = if one.at.date() == day { 10.0 } else { 1.0 };
        assert!((other.volume / one.volume / times - 1.0).abs() < 1e-9);
    }
    assert!(without.exhaustion.expect("has a capacity").beyond_ratio > 0.99);
    assert_eq!(with.exhaustion.expect("has a capacity").p50.map(|at| at.date()), Some(day));
}

/// `growing`, in steps of `days`: their sums.
fn growing_by(days: usize, count: usize) -> History {
    let daily = History::parse(&growing(days * count, 1)).expect("is a history");
    let rows: String = daily
        .observations
        .chunks(days)
        .map(|chunk| {
            format!("{},{}\n", chunk[0].at.date(), chunk.iter().filter_map(|each| each.volume).sum::<f64>())
        })
        .collect();
    History::parse(&rows).expect("is a history")
}

fn exhaustion_of(history: &History, capacity: f64, events: Vec<EventGiven>) -> modeler::Forecast {
    let request = ForecastRequest {
        steps: 20,
        until: None,
        capacity: Some(CapacityGiven {
            rate: captures::Rate::per_second(capacity).expect("is a rate"),
            interval: None,
        }),
        events,
        peak_factor: PeakFactor::MeanOnly,
        fleet: None,
        scenarios: Vec::new(),
        seed: 1,
    };
    forecast(history, &request).expect("is long enough")
}

#[test]
fn a_week_does_not_thin_the_day_of_an_event() {
    let history = growing_by(7, 60);
    let day = jiff::civil::date(2026, 11, 27);
    let event = given("Black Friday", day, day, Some(10.0));
    // By then a week's mean is about 20e6 · 0.93 · e^0.54 / 86 400 = 370 a second: ten times that is 3 700, while
    // the mean of the week with it is (6 + 10) / 7 times, 850.
    let made = exhaustion_of(&history, 2_000.0, vec![event]);

    let at = made.exhaustion.as_ref().and_then(|each| each.p50).expect("runs out").date();
    assert!(at <= day && day.since(at).expect("is near").get_days() < 7, "{at}");
    let step = made.steps.iter().find(|step| step.at.date() == at).expect("is a step");
    assert!((step.peak_rate.as_per_second() / step.mean_rate.as_per_second() - 70.0 / 16.0).abs() < 1e-9);
    assert!(made.warnings.iter().any(|warning| warning.contains("a step is a week")), "{:?}", made.warnings);
}

#[test]
fn a_capacity_that_was_exceeded_already_is_not_foretold() {
    // The week of day 350 has about 20e6 · 0.93 · e^0.42 / 86 400 = 327 a second in the mean.
    let history = growing_by(7, 60);
    let made = exhaustion_of(&history, 327.0, Vec::new());

    let since = made.exceeded_since().expect("is exceeded");
    let day = since.duration_since(history.observations[0].at).as_secs() / 86_400;
    assert!((320..=380).contains(&day), "{day}");
    assert_eq!(made.exhaustion.map(|each| (each.p50, each.beyond_ratio)), Some((Some(since), 0.0)));
    assert_eq!(exhaustion_of(&history, 3_000.0, Vec::new()).exceeded_since(), None);
}
