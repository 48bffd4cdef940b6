//! The forecast on 22 real series, scored by rolling origin.
//!
//! The data live beside the project, not in it; without them this test says so and passes.

use std::collections::BTreeMap;
use std::path::Path;

use modeler::{ForecastRequest, History, PeakFactor, forecast, moment_of};

#[derive(Default)]
struct Scores {
    mase: Vec<f64>,
    inside_80: Vec<f64>,
    inside_95: Vec<f64>,
    peak_held: Vec<f64>,
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
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
            events: Vec::new(),
            peak_factor: PeakFactor::MeanOnly,
            seed: 1,
        };
        let made = forecast(&history, &request).expect("is long enough");
        let begin = made.history.len();
        let past: Vec<Option<f64>> = made.history.iter().map(|each| each.volume).collect();
        let steps_of_season: Vec<f64> =
            (season..begin).filter_map(|at| Some((past[at]? - past[at - season]?).abs())).collect();
        let scores = all.entry(cells[0]).or_default();
        let (mut errors, mut in_80, mut in_95, mut highest, mut bound) =
            (Vec::new(), Vec::new(), Vec::new(), 0.0_f64, 0.0_f64);
        for (index, step) in made.steps.iter().enumerate() {
            bound = bound.max(step.interval_95.high);
            let Some(truth) = history.observations.get(begin + index).and_then(|each| each.volume) else {
                continue;
            };
            assert_eq!(history.observations[begin + index].at, step.at);
            errors.push((truth - step.volume).abs());
            in_80.push(f64::from(u8::from(step.interval_80.low <= truth && truth <= step.interval_80.high)));
            in_95.push(f64::from(u8::from(step.interval_95.low <= truth && truth <= step.interval_95.high)));
            highest = highest.max(truth);
        }
        scores.mase.push(mean(&errors) / mean(&steps_of_season));
        scores.inside_80.push(mean(&in_80));
        scores.inside_95.push(mean(&in_95));
        scores.peak_held.push(f64::from(u8::from(highest <= bound)));
    }
    let mut mases: Vec<f64> = all.values().map(|scores| mean(&scores.mase)).collect();
    for (name, scores) in &all {
        println!(
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
    println!(
        "{} series: MASE mean {:.3} median {median:.3}, c80 {:.1} %, c95 {:.1} %, peak held {:.0} %",
        mases.len(),
        mean(&mases),
        covered_80 * 100.0,
        covered_95 * 100.0,
        over(|scores| &scores.peak_held) * 100.0
    );
}
