//! The page and the facts drawn from whole evidence.

mod whole;

use std::time::Duration;

use captures::{Bytes, Failure, Interval, Offset, Rate, RouteInterval, Run, RunEnd, RunHeader, Stage};
use jiff::ToSpan;
use jiff::civil::{Date, date};
use modeler::{
    Bounds, CapacityGiven, Event, Exhaustion, ExhaustionStep, Forecast, ForecastScore, ForecastStep,
};
use modeler::{Model, ModelRequest, Objective, Observation, PeakFactor, Step};

use super::*;

const LEVELS: [f64; 8] = [1.0, 2.0, 4.0, 6.0, 7.0, 8.0, 8.8, 11.0];
const SECONDS: u64 = 20;
const CEILING: f64 = 1_000.0;

/// A run against a service with a ceiling, by the fluid approximation: what is not carried waits.
fn run() -> Run {
    let routes =
        ["GET /", "GET /product/{}", "GET /search", "POST /cart", "POST /checkout"].map(str::to_owned);
    let mut intervals = Vec::new();
    let mut queue = 0.0_f64;
    for second in 0..SECONDS * LEVELS.len() as u64 {
        let level = LEVELS[(second / SECONDS) as usize];
        let planned = (105.0 * level * (1.0 + 0.02 * ((second * 7 % 11) as f64 - 5.0) / 5.0)).round();
        let load = (planned / CEILING).min(0.985);
        let carried = (planned + queue).min(CEILING);
        queue += planned - carried;
        let waiting_ms = 6.0 * load.powi(4) / (1.0 - load) + queue / CEILING * 1e3;
        intervals.push(interval(second, (planned, carried), waiting_ms));
    }
    let stages = (0..LEVELS.len() as u64).map(|at| Stage {
        begin: Offset::from_secs(at * SECONDS),
        end: Offset::from_secs((at + 1) * SECONDS),
        from: LEVELS[at as usize],
        to: LEVELS[at as usize],
    });
    Run {
        header: RunHeader {
            tool: "highwater 0.1.0".to_owned(),
            started: 1_790_000_000_000_000_000,
            target: "http://staging.shop.test:9001".to_owned(),
            capture: "shop.capture".to_owned(),
            capture_digest: [0xab; 32],
            capture_span: Duration::from_secs(600),
            capture_rate: Rate::per_second(105.0).unwrap(),
            seed: 1,
            stages: stages.collect(),
            routes: routes.to_vec(),
            held_back_ratio: 0.0,
            configuration: "{\"stages\":\"=20s:1x,…\",\"allow_unsafe\":true}".to_owned(),
        },
        intervals,
        samples: Vec::new(),
        end: Some(RunEnd {
            ended: Offset::from_secs(162),
            interrupted: false,
            invalid_reason: None,
            stopped_by: None,
        }),
        damage: Vec::new(),
    }
}

fn interval(second: u64, (planned, carried): (f64, f64), waiting_ms: f64) -> Interval {
    let mut sum = Interval {
        second,
        planned: planned as u64,
        completed: carried as u64,
        bytes_out: Bytes::new(planned as u64 * 420),
        bytes_in: Bytes::new(carried as u64 * 8_200),
        connections_opened: 12,
        generator_cpu: 0.22,
        ..Interval::default()
    };
    let mut seconds_in_service = 0.0;
    for at in 0..planned as u64 {
        // A low-discrepancy sequence in place of chance.
        let luck = (at as f64 * 0.618_034 + second as f64 * 0.414_214).fract();
        let route = [0, 1, 1, 1, 2, 2, 0, 3, 1, 4][(at % 10) as usize];
        let base = [6.0, 9.0, 24.0, 14.0, 38.0][usize::from(route)];
        let response = (base + waiting_ms) * (0.6 - 0.75 * (1.0 - luck * 0.999).ln());
        seconds_in_service += response / 1e3;
        let micros = |ms: f64| (ms * 1e3) as u64;
        let entry: &mut RouteInterval = sum.route_mut(route);
        entry.response.record_micros(micros(response), 1);
        entry.latency.record_micros(micros(response * 1.04), 1);
        entry.service.record_micros(micros(response * 0.93), 1);
        entry.lag.record_micros(40, 1);
        let failed = luck > 0.999 && waiting_ms > 300.0;
        if failed {
            entry.failures = vec![(Failure::TimedOut, entry.failures.first().map_or(1, |it| it.1 + 1))];
        } else {
            entry.statuses = vec![(200, entry.statuses.first().map_or(1, |it| it.1 + 1))];
        }
    }
    sum.in_flight = seconds_in_service;
    sum
}

fn modelled(run: &Run) -> Model {
    let request = ModelRequest {
        objective: Some(Objective::parse("p95<200ms,errors<1%").unwrap()),
        rate_at_1x: Some(run.header.capture_rate),
        ..ModelRequest::plain(1)
    };
    modeler::model(modeler::points(run, "shop.run").unwrap(), &request).unwrap()
}

fn forecast() -> Forecast {
    let first = date(2025, 11, 3);
    let day = |at: i64| first.saturating_add(at.days());
    let volume = |at: f64, day: Date| {
        let week = [1.0, 1.02, 1.0, 0.99, 1.06, 0.82, 0.78]
            [usize::from(day.weekday().to_monday_zero_offset().unsigned_abs())];
        2.0e7 * (1.0 + 0.0011 * at) * week
    };
    let history = (0..330).map(|at| {
        let noise = 1.0 + 0.03 * (at as f64 * 2.3).sin();
        let known = !(60..64).contains(&at);
        Observation { at: day(at).at(0, 0, 0, 0), volume: known.then(|| volume(at as f64, day(at)) * noise) }
    });
    let steps = (330..512).map(|at| {
        let event = if day(at) == date(2026, 11, 27) { 1.6 } else { 1.0 };
        let volume = volume(at as f64, day(at)) * event;
        let doubt = 0.04 + 0.0006 * (at - 330) as f64;
        let range = |factor: f64| Bounds {
            low: volume * (1.0 - doubt * factor),
            high: volume * (1.0 + doubt * factor),
        };
        ForecastStep {
            at: day(at).at(0, 0, 0, 0),
            volume,
            interval_80: range(1.3),
            interval_95: range(2.0),
            mean_rate: Rate::per_second(volume / 86_400.0).unwrap(),
            peak_rate: Rate::per_second(volume / 86_400.0 * 2.2).unwrap(),
            event_multiple: event,
        }
    });
    let steps: Vec<ForecastStep> = steps.collect();
    let by_date = steps
        .iter()
        .enumerate()
        .map(|(at, step)| ExhaustionStep { at: step.at, probability: (at as f64 / 200.0).powi(2) });
    Forecast {
        step: Step::Day,
        history: history.collect(),
        capacity: Some(CapacityGiven {
            rate: Rate::per_second(905.0).unwrap(),
            interval: Some(Bounds {
                low: Rate::per_second(870.0).unwrap(),
                high: Rate::per_second(930.0).unwrap(),
            }),
        }),
        capacity_volume: Some(905.0 / 2.2 * 86_400.0),
        events: vec![Event {
            name: "Black Friday".to_owned(),
            first: date(2026, 11, 27),
            last: date(2026, 11, 27),
            multiple: 1.6,
            spread: 0.22,
            fitted_from: 0,
        }],
        peak_factor: PeakFactor::Given(2.2),
        exhaustion: Some(Exhaustion {
            p10: Some(date(2026, 11, 27).at(0, 0, 0, 0)),
            p50: Some(date(2027, 2, 12).at(0, 0, 0, 0)),
            p90: None,
            beyond_ratio: 0.17,
            by_date: by_date.collect(),
            by_month: Vec::new(),
        }),
        growth_per_year_ratio: 0.31,
        changes: Vec::new(),
        score: Some(ForecastScore {
            origins: 12,
            mase: 0.91,
            coverage_80: 0.81,
            coverage_95: 0.95,
            typical_miss_ratio: 0.08,
        }),
        tried: Vec::new(),
        plan: None,
        scenarios: Vec::new(),
        risks: Vec::new(),
        warnings: Vec::new(),
        seed: 1,
        steps,
    }
}

fn check() -> Check {
    let rate = |value| Rate::per_second(value).unwrap();
    let trial = |offered, ms, met| Trial {
        offered: rate(offered),
        response: Duration::from_millis(ms),
        error_ratio: if met { 0.0 } else { 0.004 },
        met,
    };
    Check {
        objective: Objective::parse("p95<200ms,errors<1%").unwrap(),
        predicted: rate(905.0),
        interval: Some(Bounds { low: rate(870.0), high: rate(930.0) }),
        measured: Some(rate(931.0)),
        bracketed: true,
        trials: vec![
            trial(816.0, 81, true),
            trial(1_040.0, 1_310, false),
            trial(922.0, 176, true),
            trial(951.0, 260, false),
        ],
    }
}

/// Leaves the page where it can be looked at, when `LOOK` names a folder.
fn look(name: &str, page: &str) {
    if let Some(folder) = std::env::var_os("LOOK") {
        std::fs::write(std::path::Path::new(&folder).join(name), page).unwrap();
    }
}

/// What must hold of every page, whatever it shows.
fn check_page(page: &str) {
    let addresses = page.matches("http").count();
    let ours = page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count()
        + page.matches("http://staging.shop.test:9001").count()
        + page.matches("http:&#x2f;&#x2f;staging.shop.test:9001").count()
        + page.matches("http-equiv").count();
    assert_eq!(addresses, ours, "the page names an address outside");
    assert_eq!(page.matches("<script>").count(), 1, "the one script that sorts tables");
    assert!(page.contains("script-src 'sha256-"));
    for word in ["<script ", "<link", "<img", "<iframe", "@import", "url(", "src="] {
        assert!(!page.contains(word), "{word}");
    }
    for id in page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert_eq!(page.matches(&format!(" id=\"{id}\"")).count(), 1, "{id} is there twice");
    }
    for anchor in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(page.contains(&format!(" id=\"{anchor}\"")), "nothing is called {anchor}");
    }
}

#[test]
fn a_whole_report_names_the_capacity_first() {
    let runs = [run()];
    let (model, forecast, check) = (modelled(&runs[0]), forecast(), check());
    let evidence = Evidence {
        title: "Shop, staging, autumn",
        runs: &runs,
        points: &[],
        model: Some(&model),
        forecast: Some(&forecast),
        check: Some(&check),
        releases: &[],
        baseline: None,
    };

    let page = html(&evidence);

    look("whole.html", &page);
    look("whole.txt", &text(&evidence));
    look("whole.json", &json(&evidence));
    for picture in charts(&evidence) {
        look(&format!("{}.svg", picture.name), &picture.svg);
        look(&format!("{}.csv", picture.name), &picture.csv);
    }
    check_page(&page);
    let verdict = page.find("<h1>").unwrap();
    assert!(page[verdict..].starts_with("<h1>Holds "), "{}", &page[verdict..verdict + 100]);
    assert_eq!(html(&evidence), page);
    assert_eq!(json(&evidence), json(&evidence));
    let facts: serde_json::Value = serde_json::from_str(&json(&evidence)).unwrap();
    assert_eq!(facts["capacity"]["bracketed"], true);
    assert_eq!(charts(&evidence).len(), 7);
}

#[test]
fn models_of_tables_are_reports_too() {
    let closed = "n,x\n1,95\n2,184\n4,345\n8,600\n16,860\n32,985\n64,1002\n";
    let open = "rate,p50,p95,errors\n100,10,40,0\n200,11,44,0\n400,12,50,0\n600,15,70,0\n800,30,150,0\n950,70,420,0\n";
    for (table, objective, expected) in
        [(closed, None, "Would carry at most"), (open, Some("p95<200ms"), "with p95 &lt; 200 ms")]
    {
        let request = ModelRequest {
            objective: objective.map(|text| Objective::parse(text).unwrap()),
            ..ModelRequest::plain(1)
        };
        let model = modeler::model(modeler::points_from_table(table, "table").unwrap(), &request).unwrap();
        let evidence = Evidence {
            title: "A table",
            runs: &[],
            points: &[],
            model: Some(&model),
            forecast: None,
            check: None,
            releases: &[],
            baseline: None,
        };

        let page = html(&evidence);

        look(&format!("table-{}.html", objective.is_some()), &page);
        check_page(&page);
        assert!(page.contains(expected), "{}", text(&evidence));
    }
}

#[test]
fn an_invalid_run_says_so_before_anything_else() {
    let mut run = run();
    run.header.held_back_ratio = 0.12;
    run.end = Some(RunEnd {
        ended: Offset::from_secs(160),
        interrupted: true,
        invalid_reason: Some("lag p99 31 ms is above 2 ms".to_owned()),
        stopped_by: None,
    });
    let runs = [run];
    let evidence = Evidence {
        title: "Shop",
        runs: &runs,
        points: &[],
        model: None,
        forecast: None,
        check: None,
        releases: &[],
        baseline: None,
    };

    let page = html(&evidence);

    look("invalid.html", &page);
    look("invalid.txt", &text(&evidence));
    check_page(&page);
    assert!(page.find("generator was the bottleneck").unwrap() < page.find("<h1>").unwrap());
    assert!(page.contains("Partial mix: 12 %") && page.contains("interrupted"));
    assert!(text(&evidence).starts_with("The generator was the bottleneck"));
}

#[test]
fn an_interrupted_run_says_so_first_and_is_not_judged_by_its_end() {
    let mut run = run();
    // Stopped in the second level: what was under way and what was still to come failed by that.
    run.intervals.truncate(31);
    for second in [29, 30] {
        let route = run.intervals[second].route_mut(0);
        route.statuses.clear();
        route.failures = vec![(Failure::CutOff, 20), (Failure::SkippedEnded, 160)];
    }
    run.end = Some(RunEnd {
        ended: Offset::from_millis(30_400),
        interrupted: true,
        invalid_reason: None,
        stopped_by: None,
    });
    let runs = [run];
    let evidence = Evidence {
        title: "Shop",
        runs: &runs,
        points: &[],
        model: None,
        forecast: None,
        check: None,
        releases: &[],
        baseline: None,
    };

    let page = html(&evidence);

    look("interrupted.html", &page);
    check_page(&page);
    let said = text(&evidence);
    assert!(said.starts_with("The run was interrupted after 30 s of 2 min 40 s: "), "{said}");
    assert!(said.contains("\nUntil it was interrupted, answered 100 % of the requests"), "{said}");
    assert!(page.find("was interrupted after").unwrap() < page.find("<h1>").unwrap());
    assert!(page.contains("requests until the run was interrupted"));
    assert!(!page.contains("fell behind"));
}

#[test]
fn what_came_from_outside_is_escaped() {
    let mut run = run();
    let evil = "GET /<script>alert('x')</script>\"><img src=x onerror=y>{{ 7 * 7 }}\u{1b}[31m";
    run.header.routes = vec![evil.to_owned(); 5];
    run.header.capture = evil.to_owned();
    run.header.target = evil.to_owned();
    run.header.configuration = evil.to_owned();
    run.end = Some(RunEnd {
        ended: Offset::ZERO,
        interrupted: false,
        invalid_reason: Some(evil.to_owned()),
        stopped_by: None,
    });
    let runs = [run];
    let evidence = Evidence {
        title: evil,
        runs: &runs,
        points: &[],
        model: None,
        forecast: None,
        check: None,
        releases: &[],
        baseline: None,
    };

    let page = html(&evidence);

    assert!(
        page.matches("<script").count() == 1
            && !page.contains("<img")
            && !page.contains("49"[..].repeat(9).as_str())
    );
    assert!(page.contains("{{ 7 * 7 }}"));
    assert!(!text(&evidence).contains('\u{1b}'));
    for crate::Picture { svg, .. } in charts(&evidence) {
        assert!(!svg.contains("<script") && !svg.contains("<img") && !svg.contains('\u{1b}'));
    }
}

#[test]
fn a_forecast_alone_and_nothing_at_all_are_reports_too() {
    let forecast = forecast();
    let alone = Evidence {
        title: "Growth",
        runs: &[],
        points: &[],
        model: None,
        forecast: Some(&forecast),
        check: None,
        releases: &[],
        baseline: None,
    };
    let nothing = Evidence { forecast: None, ..alone };

    check_page(&html(&alone));
    look("growth.html", &html(&alone));
    assert!(text(&alone).starts_with("Capacity runs out around 12 Feb 2027"));
    assert!(html(&nothing).contains("Nothing was measured."));
    assert!(charts(&nothing).is_empty());
}
