//! What thresholds mean, by runs that are written out.

use captures::{Failure, Observed, ObservedKind};

use super::*;
use crate::fixture;

/// A second in which `count` requests took `ms` each, `errors` of them failed, and CPU stood at `cpu`.
fn second(second: u64, count: u64, ms: u64, errors: u64, cpu: f64) -> Interval {
    let mut interval = Interval { second, planned: count, ..Interval::default() };
    interval.observe(Observed { name: "pid:1/cpu".to_owned(), kind: ObservedKind::Rate, value: cpu });
    let route = interval.route_mut(u16::from(second % 2 == 1));
    route.statuses = vec![(200, count - errors)];
    route.failures = vec![(Failure::Reset, errors)];
    for _ in 0..count {
        route.response.record(Duration::from_millis(ms));
    }
    interval
}

fn run(intervals: Vec<Interval>) -> Run {
    fixture::run(
        vec![fixture::hold(0, 5, 1.0), fixture::hold(5, 10, 2.0)],
        vec!["GET /".to_owned(), "POST /checkout".to_owned()],
        intervals,
    )
}

/// Ten seconds of 10 requests: 20 ms each and CPU at 0.5 in the first stage, 80 ms and 0.9 in the second.
fn two_stages() -> Run {
    run((0..10)
        .map(|at| {
            second(at, 10, if at < 5 { 20 } else { 80 }, u64::from(at == 9), if at < 5 { 0.5 } else { 0.9 })
        })
        .collect())
}

#[test]
fn a_threshold_is_about_the_run_a_route_a_stage_or_an_observation() {
    let run = two_stages();
    for (text, missed) in [
        ("p95<100ms", None),
        ("p95<50ms", Some("p95<50ms, but it was 80")),
        ("stage:1:p95<50ms", None),
        ("stage:2:p95<50ms", Some("but it was 80")),
        ("stage:3:p95<50ms", Some("the run has 2")),
        ("errors<2%", None),
        ("errors<1%", Some("1.000 %")),
        ("route:POST /checkout:errors<1%", Some("2.000 %")),
        ("route:GET /:errors<1%", None),
        ("route:GET /none:errors<1%", Some("no request")),
        ("throughput>9rps", None),
        ("observe:cpu<75%", None),
        ("observe:cpu<60%", Some("cpu<60%, but it was 70% on average")),
        ("observe:cpu<0.7", Some("cpu<0.7, but it was 0.7 on average")),
        ("observe:cpu>=0.9 for 4s", Some("cpu>=0.9, but it was 0.5 at its end, for 4 s from second 0 on")),
        ("observe:cpu<=0.9 for 5s", None),
        ("observe:cpu<0.9 for 5s", Some("cpu<0.9, but it was 0.9 at its end")),
        ("observe:cpu<0.0001%", Some("cpu<0.0001%, but it was 70% on average")),
        ("errors<=1%", None),
        ("errors=0", Some("errors=0, but they were 1.000 %")),
        ("stage:1:errors=0", None),
        ("route:*:errors<1%", Some("1.000 %")),
        ("route:/check*:errors<1%", Some("2.000 %")),
        ("observe:memory<1 for 4s", Some("nothing called memory was observed")),
        ("route:GET /none:p95<1s for 4s", Some("no request says anything about it")),
        ("observe:cpu<85% for 2m", Some("not judged: the run took 10 s, less than 2 min")),
        ("p50<1us for 2m", Some("not judged: the run took 10 s, less than 2 min")),
        ("stage:2:p50<1us for 6s", Some("not judged: the stage took 5 s, less than 6 s")),
        ("stage:2:p50<1us for 5s", Some("for 5 s from second 5 on")),
        ("observe:cpu<85% for 4s", Some("for 4 s from second 5 on")),
        ("observe:cpu<85% for 6s", None),
        ("observe:memory<1", Some("nothing called memory")),
        ("p95<50ms for 6s", None),
        ("p95<50ms for 3s", Some("for 3 s from second 5 on")),
    ] {
        let judged = Threshold::parse(text).unwrap()[0].judge(&run);
        assert_eq!(judged.threshold, text);
        match (missed, judged.missed) {
            (None, None) => {}
            (Some(expected), Some(why)) if why.contains(expected) => {}
            (expected, why) => panic!("{text}: {why:?}, not {expected:?}"),
        }
    }
}

#[test]
fn what_is_no_threshold_is_named() {
    assert_eq!(Threshold::parse("p95<1s,errors<1%").unwrap().len(), 2);
    for text in [
        "fast",
        "stage:0:p95<1s",
        "route:p95",
        "observe:cpu",
        "observe:<1",
        "p95<1s for ever",
        "p95<1s for 0s",
    ] {
        assert!(Threshold::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_run_is_ended_when_a_limit_is_broken_for_long_enough_and_by_enough() {
    let breaker = || -> Vec<Threshold> {
        Threshold::parse("errors<50%")
            .unwrap()
            .into_iter()
            .map(|one| one.lasting_at_least(Duration::from_secs(3)))
            .collect()
    };
    let ended = |errors: &[u64], count: u64| {
        let mut watch =
            Watch::new(breaker(), &two_stages().header.stages, vec!["a".to_owned(), "b".to_owned()]);
        errors.iter().enumerate().find_map(|(at, &errors)| {
            watch.on_interval(&second(at as u64, count, 1, errors, 0.0)).map(|_| at)
        })
    };
    assert_eq!(ended(&[0, 6, 6, 6, 6], 10), Some(3));
    assert_eq!(ended(&[0, 6, 6, 0, 6, 6], 10), None);
    assert_eq!(ended(&[4; 9], 10), None);
    // One request a second: it takes twenty of them.
    assert_eq!(ended(&[1; 30], 1), Some(19));
}

#[test]
fn a_watch_keeps_times_only_where_a_threshold_asks_for_them() {
    for (text, ends, kept) in [("errors<50% for 3s", None, 0), ("p95<50ms for 3s", Some(7), 80)] {
        let mut watch = Watch::new(
            Threshold::parse(text).unwrap(),
            &two_stages().header.stages,
            vec!["a".to_owned(), "b".to_owned()],
        );
        let ended = two_stages().intervals.iter().position(|second| watch.on_interval(second).is_some());
        assert_eq!(ended, ends, "{text}");
        let times: u64 = watch.recent.values().map(|second| second.overall().response.len()).sum();
        assert_eq!(times, kept, "{text}");
    }
}

#[test]
fn a_run_that_ended_early_or_fell_silent_is_not_judged_for_longer() {
    let judged =
        |run: &Run, text: &str| Threshold::parse(text).unwrap()[0].judge(run).missed.unwrap_or_default();
    let mut early = two_stages();
    early.intervals.truncate(6);
    early.end = Some(captures::RunEnd {
        ended: captures::Offset::from_secs(6),
        interrupted: true,
        ..captures::RunEnd::default()
    });
    assert_eq!(judged(&early, "p50<1s for 8s"), "not judged: the run took 6 s, less than 8 s");
    assert_eq!(judged(&early, "p50<1s for 6s"), "");
    // What was seen for four seconds only cannot have been broken for eight.
    let mut silent = two_stages();
    silent.intervals.iter_mut().filter(|one| one.second >= 4).for_each(|one| one.observed.clear());
    let why = "not judged: there is something to say about 4 s only, less than 8 s";
    assert_eq!(judged(&silent, "observe:cpu<85% for 8s"), why);
}

#[test]
fn seconds_at_rest_count_for_nothing() {
    let mut rested = two_stages();
    rested.intervals.extend((10..14).map(|at| second(at, 0, 1, 0, 0.0)));
    rested.end =
        Some(captures::RunEnd { ended: captures::Offset::from_millis(9_990), ..captures::RunEnd::default() });
    assert_eq!(Threshold::parse("observe:cpu>=0.69").unwrap()[0].judge(&rested).missed, None);
}

#[test]
fn what_can_never_apply_is_known_before_anything_is_sent() {
    let run = two_stages();
    let (stages, routes) = (&run.header.stages, &run.header.routes);
    let unfit = |text: &str, observing| {
        let threshold = &Threshold::parse(text).unwrap()[0];
        threshold.fits(stages, routes, observing).and_then(|()| threshold.fits_in(stages)).err()
    };
    for fit in ["p95<1s", "stage:2:p95<1s for 5s", "route:/check*:p95<1s", "route:GET /:p95<1s for 10s"] {
        assert_eq!(unfit(fit, false), None, "{fit}");
    }
    assert_eq!(unfit("observe:cpu<85%", true), None);
    assert_eq!(unfit("observe:cpu<85%", false), Some(Unfit::NothingObserved));
    assert_eq!(unfit("stage:3:p95<1s", false), Some(Unfit::Stage { number: 3, of: 2 }));
    let nearest = vec!["POST /checkout".to_owned(), "GET /".to_owned()];
    assert_eq!(unfit("route:POST /chekout:p95<1s", false), Some(Unfit::Route { nearest }));
    let too_short = unfit("stage:1:p95<1s for 2m", false).unwrap();
    assert_eq!(too_short.to_string(), "could not be judged: the stage takes 5 s, less than 2 min");
}

#[test]
fn a_threshold_says_what_was_typed_and_labels_may_hold_slashes() {
    let typed = |text: &str| -> Vec<String> {
        Threshold::parse(text).unwrap().iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        typed("route:/a:p95<1.0s, errors<0.0001% for 5s"),
        ["route:/a:p95<1.0s for 5s", "route:/a:errors<0.0001% for 5s"]
    );
    assert_eq!(typed("errors<0.01"), ["errors<0.01"]);
    let mut interval = Interval::default();
    let name = "prometheus:h:1/served{path=\"/a/b\"}".to_owned();
    interval.observe(Observed { name, kind: ObservedKind::Gauge, value: 3.0 });
    assert_eq!(observed_in(&interval, "served"), Some(3.0));
    assert_eq!(observed_in(&interval, "served{path=\"/a/b\"}"), Some(3.0));
    assert_eq!(observed_in(&interval, "b\"}"), None);
}

#[test]
fn a_limit_on_a_stage_ends_the_run_in_that_stage_only() {
    let ended = |text: &str| {
        let run = two_stages();
        let thresholds = Threshold::parse(text).unwrap();
        let mut watch = Watch::new(thresholds, &run.header.stages, run.header.routes.clone());
        run.intervals.iter().position(|second| watch.on_interval(second).is_some())
    };
    assert_eq!((ended("p95<10ms for 2s"), ended("stage:2:p95<10ms for 2s")), (Some(1), Some(6)));
}
