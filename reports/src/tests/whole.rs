//! The report of all that can be known, in every form it is written in.

use super::*;

/// Whether `value` is what `schema` says, by the words that our schema uses; else where it is not.
fn held_to(schema: &serde_json::Value, value: &serde_json::Value, place: &str) -> Result<(), String> {
    use serde_json::Value;
    if let Some(either) = schema["anyOf"].as_array() {
        let fits = either.iter().any(|schema| held_to(schema, value, place).is_ok());
        return if fits { Ok(()) } else { Err(format!("{place} fits nothing")) };
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        return Err(format!("{place} is {value}"));
    }
    if let Some(known) = schema["enum"].as_array().filter(|known| !known.contains(value)) {
        return Err(format!("{place} is {value}, not of {known:?}"));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec![kind],
    };
    let fits = allowed.contains(&kind) || (kind == "integer" && allowed.contains(&"number"));
    if !fits {
        return Err(format!("{place} is of type {kind}, not {allowed:?}"));
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        held_to(&schema["items"], item, &format!("{place}[{at}]"))?;
    }
    let Some(members) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            return Err(format!("{place}.{name} is missing"));
        }
    }
    for (name, member) in members {
        // What is written is documented.
        if schema["properties"][name].is_null() {
            return Err(format!("{place}.{name} is not in the schema"));
        }
        held_to(&schema["properties"][name], member, &format!("{place}.{name}"))?;
    }
    Ok(())
}

#[test]
fn what_is_written_for_machines_is_what_the_schema_says() {
    let schema: serde_json::Value = serde_json::from_str(crate::SCHEMA).unwrap();
    let runs = [run()];
    let (model, forecast, check) = (modelled(&runs[0]), planned(), check());
    let releases = releases();
    let baseline = baseline(&runs[0]);
    let whole = Evidence {
        title: "Shop",
        runs: &runs,
        points: &[],
        model: Some(&model),
        forecast: Some(&forecast),
        check: Some(&check),
        releases: &releases,
        baseline: Some(&baseline),
    };
    let nothing = Evidence { title: "Shop", ..Evidence::default() };
    for evidence in [whole, nothing] {
        let facts: serde_json::Value = serde_json::from_str(&json(&evidence)).unwrap();
        assert_eq!(held_to(&schema, &facts, "report"), Ok(()));
    }
    let page = html(&whole);
    look("planned.html", &page);
    for picture in charts(&whole) {
        look(&format!("{}.svg", picture.name), &picture.svg);
        look(&format!("{}.csv", picture.name), &picture.csv);
    }
    check_page(&page);
    assert!(page.len() < 1_000_000, "{}", page.len());
    // A page in one breath: what holds, what binds, until when, what to order.
    let bound = model.binding_route().map(|bound| bound.route).unwrap();
    let lead = format!(
        "p95 of {bound} binds (reaches 200 ms); exhausted around Feb 2027 (10–90 %: Nov 2026 – beyond the horizon); order 2 \
         machines by 28 Dec 2026."
    );
    let facts: serde_json::Value = serde_json::from_str(&json(&whole)).unwrap();
    assert_eq!(facts["verdict"]["lead"], lead);
    let headline = facts["verdict"]["headline"].as_str().unwrap();
    assert!(headline.starts_with("Holds 1.") && headline.contains("× today's peak (90 %: "), "{headline}");
    assert!(facts["comparison"]["regressions"].as_u64().unwrap() >= 2, "{}", facts["comparison"]);
    for words in ["Order 2 machines by 28 Dec 2026", "Prepare Black Friday", "p95 of GET / went from"] {
        assert!(page.contains(words), "{words}");
    }
    let xml = crate::junit(&whole);
    let failures = 1 + facts["comparison"]["regressions"].as_u64().unwrap();
    assert!(
        xml.contains(&format!("failures=\"{failures}\"")) && xml.contains("p95 of GET / went from"),
        "{xml}"
    );
    let text = crate::markdown(&whole);
    assert!(text.starts_with("# Shop\n\n**Holds ") && text.contains("## Risks"), "{text}");
}

/// A forecast with all that can be asked of it.
fn planned() -> Forecast {
    use modeler::{
        ExhaustionMonth, FleetGiven, Order, Plan, PlanMonth, Prices, Risk, ScaleOut, Scenario, ScenarioAnswer,
    };
    let mut made = forecast();
    let tried = |from: usize| {
        let known = made.history[from..from + 60].iter();
        known
            .filter_map(|seen| Some(modeler::Foretold { at: seen.at, volume: 1.03 * seen.volume? }))
            .collect()
    };
    made.tried = vec![tried(200), tried(260)];
    let months: Vec<jiff::civil::Date> =
        (8..=12).map(|month| date(2026, month, 1)).chain((1..=2).map(|month| date(2027, month, 1))).collect();
    if let Some(exhaustion) = &mut made.exhaustion {
        exhaustion.by_month = months
            .iter()
            .zip([0.0, 0.0, 0.01, 0.12, 0.2, 0.3, 0.2])
            .map(|(&month, probability)| ExhaustionMonth { month, probability, shortage: 1.5 * probability })
            .collect();
    }
    let rate = |value| Rate::per_second(value).unwrap();
    let order = Order { by: date(2026, 12, 28), needed: date(2027, 1, 11), instances: 2, total: 6 };
    made.plan = Some(Plan {
        given: FleetGiven {
            instances: 4,
            spare: 1,
            target_utilisation: 0.8,
            lead_time_days: 14,
            risk_ratio: 0.1,
            scale_out: ScaleOut::ASSUMED,
            prices: Some(Prices {
                currency: "EUR".to_owned(),
                instance_per_month: 210.0,
                fixed_per_month: 0.0,
                per_million_requests: 0.4,
            }),
        },
        per_instance: rate(233.0),
        months: months
            .iter()
            .enumerate()
            .map(|(at, &month)| {
                let (peak, needed) = (700.0 + 40.0 * at as f64, 4 + u32::from(at > 4) + u32::from(at > 5));
                PlanMonth {
                    month,
                    peak: rate(peak),
                    peak_80: Bounds { low: rate(0.95 * peak), high: rate(1.1 * peak) },
                    needed_50: Some(needed),
                    needed: Some(needed),
                    needed_99: Some(needed + 1),
                    requests: peak * 1e6,
                    share: 1.0,
                    cost: Some(f64::from(needed) * 210.0 + 0.4 * peak),
                    cost_per_million: Some(0.4 + f64::from(needed) * 210.0 / peak),
                }
            })
            .collect(),
        orders: vec![order],
    });
    let answer = |name: &str, growth: f64, probability: f64| ScenarioAnswer {
        scenario: Scenario { name: name.to_owned(), growth, ..Scenario::expected() },
        runs_out: [Some(date(2026, 11, 27).at(0, 0, 0, 0)), None, None],
        probability,
        highest_load: 0.9 * growth,
        instances: Some(6),
        order: Some(order),
        cost: Some(9_000.0 * growth),
    };
    made.scenarios = vec![answer("as expected", 1.0, 0.83), answer("viral", 2.0, 0.99)];
    made.risks = vec![Risk {
        name: "Black Friday".to_owned(),
        from: date(2026, 11, 27),
        to: date(2026, 11, 27),
        probability: 0.34,
        excess_ratio: 0.12,
        instances: Some(6),
    }];
    made
}

/// `run` beside an earlier one, in which `POST /checkout` took two thirds as long.
fn baseline(run: &Run) -> crate::Baseline {
    // The levels that are carried: in overload all quantiles stray too far to tell anything.
    let mut run = run.clone();
    run.intervals.truncate(60);
    let mut earlier = run.clone();
    for entry in earlier.intervals.iter_mut().flat_map(|it| &mut it.routes).filter(|it| it.route == 4) {
        let mut faster = captures::Histogram::new();
        entry.response.pairs().for_each(|(micros, count)| faster.record_micros(micros * 2 / 3, count));
        entry.response = faster;
    }
    crate::Baseline {
        name: "main.run".to_owned(),
        candidate: "branch.run".to_owned(),
        comparison: modeler::compare(&earlier, &run, 0.05, 1),
        shift: modeler::shift(&earlier, &run, 1),
        allowed_ratio: 0.05,
        warnings: vec!["had another load than the base".to_owned()],
    }
}

/// Two runs, the later one worse.
fn releases() -> Vec<crate::Release> {
    let release = |name: &str, p95: u64, regressions: &[&str]| crate::Release {
        name: name.to_owned(),
        started: 1_790_000_000_000_000_000,
        level: "at 4×".to_owned(),
        capacity: Rate::per_second(905.0 - p95 as f64),
        interval: Some(Bounds {
            low: Rate::per_second(870.0 - p95 as f64).unwrap(),
            high: Rate::per_second(930.0 - p95 as f64).unwrap(),
        }),
        routes: vec![crate::RouteTime {
            name: "GET /".to_owned(),
            p95: Duration::from_millis(p95),
            requests: 4_000,
        }],
        regressions: regressions.iter().map(|&what| what.to_owned()).collect(),
    };
    vec![release("v1.run", 20, &[]), release("v2.run", 31, &["p95 of GET / went from 20 ms to 31 ms"])]
}

#[test]
fn what_was_observed_of_the_target_is_drawn_over_time_and_against_load() {
    let mut run = run();
    for interval in &mut run.intervals {
        let busy = (interval.planned as f64 / 1_200.0).min(1.0);
        for (name, value) in [("pid:1/cpu", busy), ("pid:1/open_files", 20.0)] {
            let kind = captures::ObservedKind::Gauge;
            assert!(interval.observe(captures::Observed { name: name.to_owned(), kind, value }));
        }
    }
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
    let named = |name: &str| charts(&evidence).into_iter().find(|picture| picture.name == name).unwrap();

    look("utilisation.svg", &named("utilisation").svg);
    look("observed.svg", &named("observed").svg);
    assert!(named("utilisation").svg.contains("pid:1/cpu is the fullest resource"));
    assert!(named("observed").csv.contains("open_files"));
    check_page(&html(&evidence));
}

#[test]
fn what_routes_cost_and_where_they_break_the_objective_is_told() {
    let mut run = run();
    for interval in &mut run.intervals {
        // By construction a checkout costs 40 ms of CPU, a search 10 and everything else 4.
        let cost = |route: u16| [4.0, 4.0, 10.0, 4.0, 40.0][usize::from(route)];
        let used: f64 = interval.routes.iter().map(|it| it.total() as f64 * cost(it.route)).sum();
        let name = "pid:1/cpu_cores".to_owned();
        let seen = captures::Observed { name, kind: captures::ObservedKind::Gauge, value: 0.2 + used / 1e3 };
        assert!(interval.observe(seen));
    }
    let runs = [run];
    let model = modelled(&runs[0]);
    let evidence = Evidence { title: "Shop", runs: &runs, model: Some(&model), ..Evidence::default() };
    let page = html(&evidence);
    look("costs.html", &page);
    check_page(&page);
    let cost = charts(&evidence).into_iter().find(|picture| picture.name == "cost").unwrap();
    look("cost.svg", &cost.svg);
    // Routes that always come in the same proportion cannot be told apart; their sum can.
    assert!(cost.csv.contains("POST /checkout,") && page.contains("CPU-milliseconds a request"));
    let facts: serde_json::Value = serde_json::from_str(&json(&evidence)).unwrap();
    let binds: Vec<&str> = facts["routes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|route| route["binds"] == true)
        .filter_map(|route| route["name"].as_str())
        .collect();
    assert_eq!(binds, [model.binding_route().unwrap().route]);
}

#[test]
fn what_grows_while_the_load_does_not_is_drawn() {
    let mut run = run();
    let end = Offset::from_secs(300);
    run.header.stages = vec![Stage { begin: Offset::ZERO, end, from: 1.0, to: 1.0 }];
    run.intervals = (0..300)
        .map(|second| {
            let mut interval = Interval { second, planned: 10, completed: 10, ..Interval::default() };
            interval.route_mut(0).statuses = vec![(200, 10)];
            interval.route_mut(0).response.record_micros(9_000, 10);
            let wave = ((second * 37 % 11) as f64 - 5.0) / 5.0;
            for (name, value) in [
                ("pid:1/rss_bytes", 2.0e8 * (1.0 + second as f64 / 1_500.0) + 2e6 * wave),
                ("pid:1/open_files", 40.0 + wave),
            ] {
                let kind = captures::ObservedKind::Gauge;
                assert!(interval.observe(captures::Observed { name: name.to_owned(), kind, value }));
            }
            interval
        })
        .collect();
    let runs = [run];
    let evidence = Evidence { title: "Soak", runs: &runs, ..Evidence::default() };
    let picture = charts(&evidence).into_iter().find(|picture| picture.name == "leaks").unwrap();
    look("leaks.svg", &picture.svg);
    look("leaks.html", &html(&evidence));
    // By hand: 270 of 1 500 seconds, over 1.11 of the first value, which is the level in their middle.
    assert!(picture.svg.contains("pid:1/rss_bytes grew by 16"), "{}", &picture.svg[..800]);
    assert!(picture.csv.contains("open_files (no leak"), "{}", &picture.csv[..400]);
    check_page(&html(&evidence));
}
