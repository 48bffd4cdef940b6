//! Every chart draws whatever numbers it is given.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

/// Any number, most often one that hurts.
fn number() -> impl Strategy<Value = f64> {
    const HURTFUL: [f64; 16] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        1e-320,
        f64::MIN_POSITIVE,
        1e9,
        1e15,
        1e100,
        -1e100,
        1e308,
        f64::MAX,
        f64::MIN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    prop_oneof![
        3 => prop::sample::select(HURTFUL.to_vec()),
        1 => any::<f64>(),
        2 => 0.0..2e9,
    ]
}

fn pair() -> impl Strategy<Value = (f64, f64)> {
    (number(), number())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("8×".to_owned()), "[a-z<&\"\u{1}]{0,200}"]
}

fn caption() -> impl Strategy<Value = Caption> {
    (text(), text()).prop_map(|(title, subtitle)| Caption { name: "any".to_owned(), title, subtitle })
}

fn dot() -> impl Strategy<Value = Dot> {
    (number(), number(), option::of(pair()), any::<bool>(), text())
        .prop_map(|(x, y, interval, saturated, label)| Dot { x, y, interval, saturated, label })
}

fn step() -> impl Strategy<Value = Step> {
    (number(), number(), number(), number()).prop_map(|(x, y, low, high)| Step { x, y, low, high })
}

fn mark() -> impl Strategy<Value = Mark> {
    (number(), option::of(pair()), text()).prop_map(|(at, interval, label)| Mark { at, interval, label })
}

fn level() -> impl Strategy<Value = Level> {
    mark().prop_map(|Mark { at, interval, label }| Level { at, interval, label })
}

fn limit() -> impl Strategy<Value = Limit> {
    (number(), option::of(number()), text()).prop_map(|(at, quantile, label)| Limit { at, quantile, label })
}

prop_compose! {
    fn throughput()(
        caption in caption(),
        x_logarithmic in any::<bool>(),
        points in vec(dot(), 0..12),
        curve in vec(step(), 0..6),
        families in vec((text(), vec(pair(), 0..4)), 0..3),
        ideal_slope in option::of(number()),
        ceiling in option::of(level()),
        measured_to in number(),
        capacity in option::of(mark()),
    ) -> Throughput {
        let families = families.into_iter().map(|(name, values)| Family { name, values }).collect();
        Throughput {
            caption,
            x_logarithmic,
            points,
            curve,
            families,
            ideal_slope,
            ceiling,
            measured_to,
            capacity,
            ..Throughput::default()
        }
    }
}

prop_compose! {
    fn response()(
        caption in caption(),
        lines in vec((text(), vec(dot(), 0..8), vec(step(), 0..5), any::<bool>()), 0..4),
        limits in vec(limit(), 0..3),
        measured_to in number(),
        capacity in option::of(mark()),
    ) -> Response {
        let line = |(name, points, curve, limited)| ResponseLine { name, points, curve, limited };
        let lines = lines.into_iter().map(line).collect();
        Response { caption, x_name: String::new(), lines, limits, measured_to, capacity }
    }
}

prop_compose! {
    fn intervals()(
        caption in caption(),
        rows in vec((text(), number(), pair(), text(), any::<bool>()), 0..6),
    ) -> Intervals {
        let row = |(name, value, interval, label, marked)| IntervalRow { name, value, interval, label, marked };
        Intervals { caption, x_name: String::new(), rows: rows.into_iter().map(row).collect() }
    }
}

prop_compose! {
    fn shift()(
        caption in caption(),
        steps in vec((number(), number(), pair()), 0..6),
        allowed in option::of(number()),
    ) -> Shift {
        let step = |(quantile, change, (low, high))| ShiftStep { quantile, change, low, high };
        Shift { caption, steps: steps.into_iter().map(step).collect(), allowed }
    }
}

prop_compose! {
    fn quantiles()(
        caption in caption(),
        lines in vec((text(), vec(pair(), 0..6)), 0..4),
        limits in vec(limit(), 0..3),
    ) -> Quantiles {
        let lines = lines.into_iter().map(|(name, values)| QuantileLine { name, values }).collect();
        Quantiles { caption, lines, limits }
    }
}

prop_compose! {
    fn panel()(
        lines in vec((text(), vec(pair(), 0..6), any::<bool>()), 0..3),
        (milliseconds, alarm) in any::<(bool, bool)>(),
        limit in option::of((number(), text())),
    ) -> Panel {
        let line = |(name, values, planned)| PanelLine { name, values, planned };
        let lines = lines.into_iter().map(line).collect();
        Panel { name: "any".to_owned(), lines, milliseconds, alarm, limit }
    }
}

prop_compose! {
    fn timeline()(
        caption in caption(),
        panels in vec(panel(), 0..4),
        stages in vec((number(), number(), text()), 0..4),
        length in number(),
    ) -> Timeline {
        let stage = |(begin, end, label)| StageSpan { begin, end, label };
        Timeline { caption, panels, stages: stages.into_iter().map(stage).collect(), length }
    }
}

prop_compose! {
    fn growth()(
        caption in caption(),
        history in vec((number(), option::of(number())), 0..8),
        today in option::of(number()),
        fan in vec((number(), number(), pair(), pair()), 0..8),
        capacity in option::of(level()),
        events in vec((number(), text()), 0..20),
        running_out in option::of(mark()),
    ) -> Growth {
        let fan_at = |(at, middle, inner, outer)| Fan { at, middle, inner, outer };
        let out = |Mark { at, interval, label }| RunningOut { at, interval, label };
        Growth {
            caption,
            history,
            today,
            fan: fan.into_iter().map(fan_at).collect(),
            capacity,
            events: events.into_iter().map(|(at, label)| Happening { at, label }).collect(),
            running_out: running_out.map(out),
            ..Growth::default()
        }
    }
}

prop_compose! {
    fn chances()(
        caption in caption(),
        curve in vec(pair(), 0..8),
        dates in vec((number(), text(), any::<bool>()), 0..6),
    ) -> Chances {
        let date = |(at, label, act)| ChanceDate { at, label, act };
        Chances { caption, curve, dates: dates.into_iter().map(date).collect() }
    }
}

prop_compose! {
    fn columns()(
        caption in caption(),
        names in vec(text(), 0..20),
        panels in vec(
            (
                vec(option::of(number()), 0..20),
                vec(text(), 0..20),
                vec(option::of(pair()), 0..20),
                option::of((number(), text())),
                option::of(number()),
            ),
            0..3,
        ),
    ) -> Columns {
        let panel = |(values, labels, whiskers, level, end)| ColumnPanel {
            name: "any".to_owned(),
            values,
            labels,
            whiskers,
            level,
            alarm: false,
            end,
        };
        Columns { caption, names, panels: panels.into_iter().map(panel).collect() }
    }
}

prop_compose! {
    fn week()(caption in caption(), values in vec(option::of(number()), 168)) -> Week {
        let hours = values.chunks(24).map(|day| std::array::from_fn(|hour| day[hour])).collect();
        Week { caption, hours, unit: "req/s".to_owned() }
    }
}

prop_compose! {
    fn backtest()(
        caption in caption(),
        observed in vec(pair(), 0..8),
        foretold in vec(vec(pair(), 0..6), 0..4),
    ) -> Backtest {
        Backtest { caption, y_name: "any".to_owned(), observed, foretold }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_chart_of_growth_and_of_comparisons_draws_any_numbers(
        chances in chances(),
        columns in columns(),
        week in week(),
        backtest in backtest(),
        intervals in intervals(),
        shift in shift(),
    ) {
        let of_growth = [chances.svg(), columns.svg(), week.svg(), backtest.svg()];
        for svg in of_growth.into_iter().chain([intervals.svg(), shift.svg()]) {
            if let Err(why) = well_formed(&svg) {
                prop_assert!(false, "{why}\n{svg}");
            }
        }
        let of_growth = [chances.csv(), columns.csv(), week.csv(), backtest.csv()];
        for table in of_growth.into_iter().chain([intervals.csv(), shift.csv()]) {
            let cells = || table.split([',', '\n']);
            prop_assert!(!cells().any(|cell| matches!(cell, "NaN" | "inf" | "-inf")), "{table}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_chart_draws_any_numbers(
        throughput in throughput(),
        response in response(),
        quantiles in quantiles(),
        timeline in timeline(),
        growth in growth(),
    ) {
        for svg in [throughput.svg(), response.svg(), quantiles.svg(), timeline.svg(), growth.svg()] {
            if let Err(why) = well_formed(&svg) {
                prop_assert!(false, "{why}\n{svg}");
            }
        }
    }
}

#[test]
fn a_huge_load_leaves_room_for_the_plot() {
    let dots = [1e100, 2e100].map(|x| Dot { x, y: x, label: "8×".to_owned(), ..Dot::default() });
    let chart = Throughput { points: dots.to_vec(), measured_to: 2e100, ..Throughput::default() };

    let svg = chart.svg();

    assert_eq!(well_formed(&svg), Ok(()));
    assert!(svg.contains(">\n2e100\n</text>") || svg.contains("2e100"), "{svg}");
    assert_eq!(svg.matches("<circle").count(), 4, "a dot and its rim, twice");
}

/// Whether every element is closed in order, and every number in it is one that a picture may hold.
fn well_formed(svg: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    for part in svg.split('<').skip(1) {
        let (tag, after) = part.split_once('>').ok_or_else(|| format!("unclosed <{part}"))?;
        if after.contains('>') || after.contains("& ") {
            return Err(format!("not escaped: {after}"));
        }
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap_or_default();
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
            continue;
        }
        if !tag.ends_with('/') {
            open.push(name);
        }
        if tag.matches('"').count() % 2 == 1 {
            return Err(format!("torn attribute: {tag}"));
        }
        for key in ["x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "width", "height", "points"] {
            let Some((_, rest)) = tag.split_once(&format!(" {key}=\"")) else { continue };
            let values = rest.split('"').next().unwrap_or_default();
            for value in values.split([' ', ',']).filter(|value| !value.is_empty()) {
                let number: f64 = value.parse().map_err(|_| format!("{key} is {value}"))?;
                if number.is_nan() || number.abs() > 1e6 {
                    return Err(format!("{key} is {value}"));
                }
            }
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("never closed: {open:?}")) }
}
