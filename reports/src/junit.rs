//! The verdict as JUnit XML, for systems that show tests.

use crate::evidence::Evidence;
use crate::svg::escaped;
use crate::{account, finding, words};

/// One thing that was to hold.
struct Case {
    group: &'static str,
    name: String,
    /// Why it does not hold.
    failure: Option<String>,
}

/// What was to hold, as JUnit XML: valid runs, the objective at the recorded load, no regression beside the
/// baseline, the checked prediction, and latest runs no worse than those before.
pub fn junit(evidence: &Evidence<'_>) -> String {
    let cases = cases(evidence);
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"{}\" tests=\"{}\" \
         failures=\"{failures}\" errors=\"0\" skipped=\"0\">\n",
        escaped(evidence.title),
        cases.len()
    );
    for case in &cases {
        let head =
            format!("<testcase classname=\"highwater.{}\" name=\"{}\"", case.group, escaped(&case.name));
        out.push_str(&match &case.failure {
            None => format!("{head}/>\n"),
            Some(why) => format!("{head}><failure message=\"{}\"/></testcase>\n", escaped(why)),
        });
    }
    out.push_str("</testsuite>\n</testsuites>\n");
    out
}

fn cases(evidence: &Evidence<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, run) in evidence.runs.iter().enumerate() {
        cases.push(Case {
            group: "run",
            name: format!("run {} is valid", at + 1),
            failure: run.end.as_ref().and_then(|end| end.invalid_reason.clone()),
        });
    }
    if let Some(objective) = evidence.objective() {
        let named = words::objective(objective);
        if let Some(model) = evidence.model.filter(|_| !evidence.runs.iter().all(finding::is_invalid)) {
            let scale = model.capacity.scale;
            cases.push(Case {
                group: "objective",
                name: format!("{named} at the recorded load"),
                failure: scale
                    .filter(|scale| *scale < 1.0)
                    .map(|scale| format!("the capacity is {} of the recorded load", words::times(scale))),
            });
        } else {
            for point in evidence.points() {
                cases.push(Case {
                    group: "objective",
                    name: format!("{named} at {}", point.scale.map_or_else(String::new, words::times)),
                    failure: (account::point_meets(point, objective) == Some(false))
                        .then(|| "is missed".to_owned()),
                });
            }
        }
    }
    for it in evidence.baseline.iter().flat_map(|baseline| &baseline.comparison.differences) {
        cases.push(Case {
            group: "baseline",
            name: format!("{} of {}", words::measure(it.compared), it.route),
            failure: it.regressed.then(|| words::difference(it)),
        });
    }
    if let Some(check) = evidence.check {
        let missed = check.deviation_ratio().filter(|deviation| deviation.abs() > 0.1);
        cases.push(Case {
            group: "prediction",
            name: "the predicted capacity is within 10 % of the measured one".to_owned(),
            failure: missed.map(|deviation| format!("it is {:+.1} % off", deviation * 100.0)),
        });
    }
    for release in evidence.releases {
        cases.push(Case {
            group: "trend",
            name: format!("{} is no worse than the run before", release.name),
            failure: (!release.regressions.is_empty()).then(|| release.regressions.join("; ")),
        });
    }
    cases
}
