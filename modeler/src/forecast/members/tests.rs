//! What each member and the average of them must know.

use super::*;

/// A year of days with a week in it, as volumes.
fn week_of(day: usize) -> f64 {
    [1.0, 1.05, 1.1, 1.05, 1.0, 0.7, 0.6][day % 7]
}

#[test]
fn a_week_and_a_steady_growth_are_continued_to_the_letter() {
    let volume = |day: usize| 1e6 * week_of(day) * (0.001 * day as f64).exp();
    let series = Series::new(&(0..400).map(|day| Some(volume(day))).collect::<Vec<_>>(), Step::Day);
    for (step, value) in ahead(&series, 60).into_iter().enumerate() {
        assert!((value - volume(400 + step).ln()).abs() < 0.01, "step {step}");
    }
}

#[test]
fn a_year_that_comes_again_is_known_before_it_does() {
    let volume = |day: usize| {
        let season = (std::f64::consts::TAU * day as f64 / YEAR_DAYS).sin();
        1e6 * week_of(day) * (0.4 * season).exp()
    };
    let series = Series::new(&(0..1_100).map(|day| Some(volume(day))).collect::<Vec<_>>(), Step::Day);
    for (step, value) in ahead(&series, 180).into_iter().enumerate() {
        assert!((value - volume(1_100 + step).ln()).abs() < 0.04, "step {step}");
    }
}

#[test]
fn what_is_missing_or_an_outage_does_not_bend_the_forecast() {
    let volume = |day: usize| 1e6 * week_of(day);
    let seen = |day: usize| match day {
        100..130 => None,
        300..303 => Some(0.0),
        _ => Some(volume(day)),
    };
    let series = Series::new(&(0..400).map(seen).collect::<Vec<_>>(), Step::Day);
    for (step, value) in ahead(&series, 28).into_iter().enumerate() {
        assert!((value - volume(400 + step).ln()).abs() < 0.02, "step {step}");
    }
}

#[test]
fn a_new_level_is_followed() {
    let volume = |day: usize| week_of(day) * if day < 300 { 1e6 } else { 2e6 };
    let series = Series::new(&(0..400).map(|day| Some(volume(day))).collect::<Vec<_>>(), Step::Day);
    let last = ahead(&series, 28)[27];
    let (low, high) = (volume(427).ln() - 0.25, volume(427).ln() + 0.25);
    assert!((low..high).contains(&last), "{last} of {low}..{high}");
}

#[test]
fn growth_is_that_since_the_last_change_and_a_new_level_is_none() {
    let series = |trend: &dyn Fn(f64) -> f64| {
        let volume = |day: usize| Some(1e6 * week_of(day) * trend(day as f64).exp());
        Series::new(&(0..600).map(volume).collect::<Vec<_>>(), Step::Day)
    };
    let yearly = |growth: f64| growth.ln() / YEAR_DAYS;
    let bent = series(&|day| yearly(1.1) * day + yearly(1.8 / 1.1) * (day - 420.0).max(0.0));
    assert!((growth_per_year(&bent) - 0.8).abs() < 0.04, "{}", growth_per_year(&bent));
    // Twice as much from one day to the next, six weeks ago.
    let stepped = series(&|day| yearly(1.1) * day + if day < 553.0 { 0.0 } else { 0.693 });
    assert!((growth_per_year(&stepped) - 0.1).abs() < 0.04, "{}", growth_per_year(&stepped));
}
