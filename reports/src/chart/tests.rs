//! The charts, byte for byte against their goldens, and what must hold in all of them.

use std::path::Path;

use super::*;
use crate::words;

/// Compares with `reports/goldens/NAME.svg` byte for byte; `BLESS=1` writes it instead.
fn check(name: &str, svg: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(format!("{name}.svg"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, svg).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(svg == golden, "{} differs; look at it, then run with BLESS=1", path.display());
    assert_eq!(svg.matches("http").count(), 1, "only the name space names an address");
    assert!(svg.contains("<title id=\"hw-") && svg.contains("<desc id=\"hw-"));
}

fn caption(name: &str, title: &str, subtitle: &str) -> Caption {
    Caption { name: name.to_owned(), title: title.to_owned(), subtitle: subtitle.to_owned() }
}

/// A service that carries 1000 requests per second, and what was measured of it.
fn carried(offered: f64) -> f64 {
    offered / (1.0 + (offered / 1_000.0).powi(14)).powf(1.0 / 14.0)
}

const LOADS: [(f64, &str); 7] = [
    (105.0, "1×"),
    (210.0, "2×"),
    (420.0, "4×"),
    (630.0, "6×"),
    (840.0, "8×"),
    (945.0, "9×"),
    (1_155.0, "11×"),
];

fn capacity() -> Mark {
    Mark { at: 902.0, interval: Some((868.0, 931.0)), label: "capacity 902 req/s (868–931)".to_owned() }
}

#[test]
fn throughput_shows_points_families_ceiling_and_capacity() {
    let curve: Vec<Step> = (0..=80)
        .map(|at| {
            let x = f64::from(at) * 20.0;
            let (y, doubt) = (carried(x), 4.0 + 0.03 * carried(x) + 0.06 * (x - 1_155.0).max(0.0));
            Step { x, y, low: y - doubt, high: y + doubt }
        })
        .collect();
    let chart = Throughput {
        caption: caption(
            "throughput",
            "The service carries what is offered up to about 900 requests per second, then stops at 1,000",
            "Requests answered per second against requests offered; weighted average of 5 families, 95 % band; \
             dots are steady windows of 7 load levels with their 95 % error bars",
        ),
        x_name: "offered load, requests per second".to_owned(),
        y_name: "answered requests per second".to_owned(),
        points: LOADS
            .iter()
            .enumerate()
            .map(|(at, &(x, label))| {
                let y = carried(x) * [1.0, 0.998, 1.004, 0.996, 1.003, 0.995, 1.01][at];
                let interval = Some((y - 6.0 - y * 0.012, y + 6.0 + y * 0.012));
                Dot { x, y, interval, saturated: x > 1_000.0, label: label.to_owned() }
            })
            .collect(),
        curve,
        curve_name: "fitted".to_owned(),
        families: vec![],
        x_logarithmic: false,
        ideal_slope: Some(1.0),
        ceiling: Some(Level {
            at: 1_003.0,
            interval: Some((985.0, 1_024.0)),
            label: "ceiling 1,003".to_owned(),
        }),
        measured_to: 1_155.0,
        capacity: Some(capacity()),
    };
    check("throughput", &chart.svg());
}

#[test]
fn scalability_shows_every_family_thin() {
    let usl = |n: f64| 95.0 * n / (1.0 + 0.03 * (n - 1.0) + 0.000_9 * n * (n - 1.0));
    let amdahl = |n: f64| 93.0 * n / (1.0 + 0.055 * (n - 1.0));
    let hinge = |n: f64| (80.0 * n).min(1_000.0);
    let smooth = |n: f64| 88.0 * n / (1.0 + (88.0 * n / 1_000.0_f64).powi(3)).powf(1.0 / 3.0);
    let values =
        |law: &dyn Fn(f64) -> f64| (1..=60).map(|n| (f64::from(n), law(f64::from(n)))).collect::<Vec<_>>();
    let family = |name: &str, law: &dyn Fn(f64) -> f64| Family { name: name.to_owned(), values: values(law) };
    let curve =
        values(&smooth).into_iter().map(|(x, y)| Step { x, y, low: y * 0.95, high: y * 1.05 }).collect();
    let chart = Throughput {
        caption: caption(
            "scalability",
            "A smooth hinge explains the service best: more than 20 requests in flight buy nothing",
            "Requests answered per second against the mean number in flight; thin lines are the families, named with \
             their weight in the average",
        ),
        x_name: "requests in flight (mean)".to_owned(),
        y_name: "answered requests per second".to_owned(),
        points: [1.2, 2.4, 5.1, 8.0, 12.6, 18.0, 34.0]
            .iter()
            .map(|&x| Dot { x, y: smooth(x) * (1.0 + 0.01 * (x * 7.0).sin()), ..Dot::default() })
            .collect(),
        curve,
        curve_name: "average".to_owned(),
        x_logarithmic: false,
        families: vec![
            family("USL 4 %", &usl),
            family("Amdahl 1 %", &amdahl),
            family("hinge 25 %", &hinge),
            family("smooth hinge 70 %", &smooth),
        ],
        ideal_slope: Some(88.0),
        ceiling: Some(Level { at: 1_000.0, interval: None, label: "ceiling 1,000".to_owned() }),
        measured_to: 34.0,
        capacity: None,
    };
    check("scalability", &chart.svg());
}

#[test]
fn response_sets_promise_and_capacity_among_the_quantiles() {
    let law = |base: f64, weight: f64, load: f64| {
        base * (1.0 + weight * (load / 1_000.0_f64).powi(6) / (1.0 - load / 1_000.0))
    };
    let line = |name: &str, base: f64, weight: f64, limited: bool| ResponseLine {
        name: name.to_owned(),
        points: LOADS
            .iter()
            .enumerate()
            .map(|(at, &(x, _))| {
                let wobble = [1.02, 0.97, 1.03, 0.98, 1.04, 0.99, 1.0][at];
                let y = if x > 1_000.0 { base * 60.0 } else { law(base, weight, x) * wobble };
                Dot {
                    x,
                    y,
                    interval: Some((y * 0.93, y * 1.07)),
                    saturated: x > 1_000.0,
                    label: String::new(),
                }
            })
            .collect(),
        curve: (1..=98)
            .map(|at| {
                let x = f64::from(at) * 10.0;
                let y = law(base, weight, x);
                let doubt = 1.06 + 0.25 * (x / 1_000.0).powi(8);
                Step { x, y, low: y / doubt, high: y * doubt }
            })
            .collect(),
        limited,
    };
    let chart = Response {
        caption: caption(
            "response",
            "p95 stays under 200 ms up to 902 requests per second, then it leaves within a few percent of load",
            "Response quantiles against offered load; queueing curves that share the ceiling of the throughput, 95 % bands",
        ),
        x_name: "offered load, requests per second".to_owned(),
        lines: vec![
            line("p50", 14.0, 0.35, false),
            line("p95", 48.0, 0.55, true),
            line("p99", 92.0, 0.75, false),
        ],
        limits: vec![Limit { at: 200.0, quantile: Some(0.95), label: "p95 < 200 ms".to_owned() }],
        measured_to: 1_155.0,
        capacity: Some(capacity()),
    };
    check("response", &chart.svg());
}

#[test]
fn quantiles_give_each_nine_the_same_room() {
    let quantiles: Vec<f64> = (0..=64).map(|at| 1.0 - 10_f64.powf(-f64::from(at) / 16.0)).collect();
    let line = |name: &str, scale: f64, tail: f64| QuantileLine {
        name: name.to_owned(),
        values: quantiles.iter().map(|&q| (q, scale * (1.0 + tail * (-(1.0 - q).ln()).powf(1.6)))).collect(),
    };
    let chart = Quantiles {
        caption: caption(
            "quantiles",
            "One request in a hundred takes longer than 79 ms, one in ten thousand longer than 201 ms",
            "All 184,220 outcomes of the run, failures included; response = done − ready, latency = done − due, \
             service = done − sent",
        ),
        lines: vec![line("response", 9.0, 0.66), line("latency", 9.4, 0.9), line("service", 8.4, 0.4)],
        limits: vec![Limit { at: 200.0, quantile: Some(0.95), label: "p95 < 200 ms".to_owned() }],
    };
    check("quantiles", &chart.svg());
}

#[test]
fn a_timeline_shows_where_the_target_fell_behind() {
    let stages = [
        (0.0, "1×", 105.0),
        (20.0, "2×", 210.0),
        (40.0, "4×", 420.0),
        (60.0, "8×", 840.0),
        (80.0, "11×", 1_155.0),
    ];
    let seconds: Vec<f64> = (0..100).map(f64::from).collect();
    let wobble = |second: f64| 1.0 + 0.05 * (second * 1.7).sin() + 0.03 * (second * 5.3).cos();
    let planned: Vec<_> =
        seconds.iter().map(|&second| (second, stages[(second / 20.0) as usize].2 * wobble(second))).collect();
    let behind = |second: f64| (second - 80.0).max(0.0);
    let line = |name: &str, value: &dyn Fn(f64, f64) -> f64| PanelLine {
        name: name.to_owned(),
        values: planned.iter().map(|&(second, rate)| (second, value(second, rate))).collect(),
        planned: false,
    };
    let chart = Timeline {
        caption: caption(
            "timeline",
            "At 11× the target fell behind: 1,000 of 1,155 requests per second were answered and the queue grew",
            "Run ten.run, one value a second; planned and response by the second a request was due, the rest by the clock",
        ),
        panels: vec![
            Panel {
                name: "requests per second".to_owned(),
                lines: vec![
                    PanelLine { name: "planned".to_owned(), values: planned.clone(), planned: true },
                    line("answered", &|_, rate| rate.min(1_000.0)),
                ],
                ..Panel::default()
            },
            Panel {
                name: "requests in flight".to_owned(),
                lines: vec![line("in flight", &|second, rate| rate * 0.02 + behind(second) * 150.0)],
                ..Panel::default()
            },
            Panel {
                name: "response, logarithmic".to_owned(),
                lines: vec![
                    line("p50", &|second, rate| 14.0 * wobble(second) + rate * 0.01 + behind(second) * 140.0),
                    line("p99", &|second, rate| {
                        90.0 * wobble(second * 2.0) + rate * 0.08 + behind(second) * 160.0
                    }),
                ],
                milliseconds: true,
                limit: Some((200.0, "p95 < 200 ms".to_owned())),
                ..Panel::default()
            },
            Panel {
                name: "errors per second".to_owned(),
                lines: vec![line("errors", &|second, _| {
                    if second > 92.0 { (second - 92.0) * 3.0 } else { 0.0 }
                })],
                alarm: true,
                ..Panel::default()
            },
        ],
        stages: stages
            .iter()
            .map(|&(begin, label, _)| StageSpan { begin, end: begin + 20.0, label: label.to_owned() })
            .collect(),
        length: 100.0,
    };
    check("timeline", &chart.svg());
}

#[test]
fn growth_meets_capacity() {
    let week = 7.0 * 86_400.0;
    let begin = words::epoch_of(jiff::civil::date(2026, 1, 5)).unwrap();
    let trend = |at: f64| 440.0 * (1.0 + 0.0140 * at);
    let history = (0..46)
        .map(|at| {
            let noise = 1.0 + 0.03 * (f64::from(at) * 2.3).sin() * (f64::from(at) * 0.71).cos();
            (begin + f64::from(at) * week, (at != 17).then_some(trend(f64::from(at)) * noise))
        })
        .collect();
    let fan = (46..80)
        .map(|at| {
            let middle = trend(f64::from(at)) * if at == 52 { 1.3 } else { 1.0 };
            let doubt = 0.03 + 0.004 * f64::from(at - 46);
            let range = |factor: f64| (middle * (1.0 - factor * doubt), middle * (1.0 + factor * doubt));
            Fan { at: begin + f64::from(at) * week, middle, inner: range(1.0), outer: range(1.6) }
        })
        .collect();
    let chart = Growth {
        caption: caption(
            "growth",
            "The capacity of 902 requests per second runs out in June 2027; the sale in January touches it before",
            "Busiest minute of each week; damped trend with weekly season, simulated paths; shaded 80 % and 95 % of paths",
        ),
        y_name: "requests per second in the week's busiest minute".to_owned(),
        history,
        today: None,
        fan,
        capacity: Some(Level { at: 902.0, interval: Some((868.0, 931.0)), label: "capacity 902".to_owned() }),
        events: vec![Happening { at: begin + 52.0 * week, label: "Sale 1.3×".to_owned() }],
        running_out: Some(RunningOut {
            at: begin + 75.0 * week,
            interval: Some((begin + 66.0 * week, begin + 79.0 * week)),
            label: "runs out 14 Jun 2027 (on 61 % of the paths by the horizon)".to_owned(),
        }),
    };
    check("growth", &chart.svg());
}

#[test]
fn charts_of_nothing_are_drawn_all_the_same() {
    let nan = Dot { x: f64::NAN, y: f64::INFINITY, interval: Some((f64::NAN, 1.0)), ..Dot::default() };
    for svg in [
        Throughput::default().svg(),
        Throughput { points: vec![nan.clone()], measured_to: f64::NAN, ..Throughput::default() }.svg(),
        Response::default().svg(),
        Response {
            lines: vec![ResponseLine { points: vec![nan], ..ResponseLine::default() }],
            ..Response::default()
        }
        .svg(),
        Quantiles::default().svg(),
        Timeline::default().svg(),
        Timeline { panels: vec![Panel::default()], ..Timeline::default() }.svg(),
        Growth::default().svg(),
    ] {
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}

#[test]
fn a_huge_table_gives_a_small_picture_that_says_so() {
    let points = |saturated_from: f64| {
        let dot = move |at: u32| {
            let x = 0.05 * f64::from(at);
            let y = carried(x) * (1.0 + 0.1 * (x * 7.7).sin());
            Dot {
                x,
                y,
                interval: Some((y * 0.9, y * 1.1)),
                saturated: x > saturated_from,
                label: format!("{x}×"),
            }
        };
        (0..20_000).map(dot).collect::<Vec<_>>()
    };
    let throughput = Throughput { points: points(900.0), measured_to: 1_000.0, ..Throughput::default() };
    let line = ResponseLine { points: points(900.0), ..ResponseLine::default() };
    let response = Response { lines: vec![line], measured_to: 1_000.0, ..Response::default() };

    for svg in [throughput.svg(), response.svg()] {
        assert!(svg.len() < 300_000, "{}", svg.len());
        assert!(svg.contains(" of 20,000 dots drawn"));
    }
}

#[test]
fn names_from_outside_are_escaped() {
    let evil = "<script>alert(1)</script>\" onload=\"x\u{0}";
    let chart = Throughput {
        caption: caption("a", evil, evil),
        x_name: evil.to_owned(),
        points: vec![Dot { x: 1.0, y: 1.0, label: evil.to_owned(), ..Dot::default() }],
        measured_to: 1.0,
        ..Throughput::default()
    };
    let svg = chart.svg();
    assert!(!svg.contains("<script") && !svg.contains("\" onload") && !svg.contains('\u{0}'));
}

/// The first days of the months from November 2026 on, in seconds since 1970-01-01 UTC.
fn month(at: i64) -> f64 {
    let first = jiff::civil::date(2026, 11, 1).saturating_add(jiff::Span::new().months(at));
    words::epoch_of(first).unwrap()
}

#[test]
fn chances_show_the_dates_that_matter() {
    let share = |day: f64| 1.0 / (1.0 + (-(day - 100.0) / 18.0).exp());
    let date = |at: f64, label: &str, act| ChanceDate { at, label: label.to_owned(), act };
    let chart = Chances {
        caption: caption(
            "exhaustion",
            "Capacity is as likely as not to run out by 8 Feb 2027",
            "Share of paths",
        ),
        curve: (0..182).map(|day| (month(0) + f64::from(day) * 86_400.0, share(f64::from(day)))).collect(),
        dates: vec![
            date(month(2), "10 %: 31 Dec 2026", false),
            date(month(0) + 100.0 * 86_400.0, "50 %: 8 Feb 2027", false),
            date(month(0) + 40.0 * 86_400.0, "order by 11 Dec 2026", true),
        ],
    };
    check("exhaustion", &chart.svg());
}

#[test]
fn columns_compare_with_today() {
    let needed = [4.0, 5.0, 5.0, 6.0, 6.0, 7.0];
    let names = ["Nov 2026", "Dec 2026", "Jan 2027", "Feb 2027", "Mar 2027", "Apr 2027"];
    let chart = Columns {
        caption: caption("machines", "Order 1 machine by 11 Dec 2026", "N+1 machines at up to 80 % each"),
        names: names.map(str::to_owned).to_vec(),
        panels: vec![
            ColumnPanel {
                name: "machines".to_owned(),
                values: needed.map(Some).to_vec(),
                labels: needed.map(words::number).to_vec(),
                whiskers: needed.map(|it| Some((it - 1.0, it + 1.0))).to_vec(),
                level: Some((4.0, "today 4".to_owned())),
                ..ColumnPanel::default()
            },
            ColumnPanel {
                name: "shortage, % of paths".to_owned(),
                values: [0.0, 2.0, 11.0, 30.0, 61.0, 100.0].map(Some).to_vec(),
                labels: ["0 %", "2 %", "11 %", "30 %", "61 %", "100 %"].map(str::to_owned).to_vec(),
                alarm: true,
                end: Some(110.0),
                ..ColumnPanel::default()
            },
        ],
    };
    check("machines", &chart.svg());
}

#[test]
fn a_week_tells_its_busiest_hour() {
    let busy = |day: usize, hour: usize| {
        let day = if day > 4 { 0.6 } else { 1.0 };
        day * (120.0 + 100.0 * ((hour as f64 - 14.0) / 24.0 * std::f64::consts::TAU).cos())
    };
    let mut hours: Vec<[Option<f64>; 24]> =
        (0..7).map(|day| std::array::from_fn(|hour| Some(busy(day, hour)))).collect();
    hours[6][3] = None;
    let chart = Week {
        caption: caption(
            "week",
            "The busiest hour of a week: Mondays from 14:00",
            "Median of each hour, UTC",
        ),
        hours,
        unit: "requests per second".to_owned(),
    };
    check("week", &chart.svg());
}

#[test]
fn a_back_test_shows_what_was_foretold_beside_what_came() {
    let came = |day: f64| 400.0 + day + 30.0 * (day / 7.0 * std::f64::consts::TAU).sin();
    let at = |day: i32| month(0) + f64::from(day) * 86_400.0;
    let chart = Backtest {
        caption: caption(
            "backtest",
            "This forecast missed a step by 3 % in the median",
            "Foretold and observed",
        ),
        y_name: "requests per second, mean".to_owned(),
        observed: (0..120).map(|day| (at(day), came(f64::from(day)))).collect(),
        foretold: [30, 60, 90]
            .map(|from| (from..from + 28).map(|day| (at(day), 1.03 * came(f64::from(day)))).collect())
            .to_vec(),
    };
    check("backtest", &chart.svg());
}

#[test]
fn costs_are_drawn_with_their_intervals() {
    let row = |name: &str, value: f64, interval, share: &str, marked| IntervalRow {
        name: name.to_owned(),
        value,
        interval,
        label: format!("{value} ms · {share} of all"),
        marked,
    };
    let chart = Intervals {
        caption: caption(
            "cost",
            "POST /checkout takes 41 % of what requests use",
            "Non-negative least squares over the windows of all levels, with 95 % intervals",
        ),
        x_name: "CPU-milliseconds a request".to_owned(),
        rows: vec![
            row("POST /checkout", 18.2, (16.1, 20.4), "41 %", true),
            row("GET /search", 6.4, (5.2, 7.7), "33 %", false),
            row("GET /product/{}", 1.1, (0.6, 1.6), "22 %", false),
            row("GET /", 0.2, (0.0, 0.5), "4 %", false),
        ],
    };
    check("cost", &chart.svg());
    assert!(chart.csv().starts_with("name,value,low,high\nPOST /checkout,18.2,16.1,20.4\n"));
}

#[test]
fn a_shift_is_drawn_around_zero() {
    let step =
        |quantile, change, doubt| ShiftStep { quantile, change, low: change - doubt, high: change + doubt };
    let chart = Shift {
        caption: caption(
            "shift",
            "One regression beside main.run: p95 +18 %",
            "Each quantile of all responses of branch.run over that of main.run, with 95 % intervals",
        ),
        steps: vec![
            step(0.1, -1.0, 1.5),
            step(0.5, 0.6, 1.8),
            step(0.8, 4.0, 2.6),
            step(0.9, 11.0, 3.5),
            step(0.95, 18.0, 5.0),
            step(0.99, 26.0, 11.0),
        ],
        allowed: Some(5.0),
    };
    check("shift", &chart.svg());
    assert!(chart.csv().contains("\n0.95,18,13,23\n"));
}
