//! A history from the range API of Prometheus, page by page.
//!
//! The expression gives requests per second; its series are added up. A page holds fewer points than the server
//! answers at most, and is bounded in bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use modeler::{History, Observation, Step};
use serde_json::Value;

use crate::commands::files;
use crate::complain::{Complaint, Exit};

/// Points of a page; a server answers 11 000 at most.
const PAGE: i64 = 5_000;
/// Bytes of a page at most.
const MOST_BYTES: u64 = 64 << 20;
/// Steps at most.
const MOST_STEPS: i64 = 1_000_000;
/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks the server at `url` for `query`, in steps of `step` (an hour when nothing was said), `since` back from now.
pub(super) fn history(url: &str, query: &str, since: &str, step: Option<Step>) -> Result<History, Complaint> {
    let place = format!("prometheus={}", files::plain(url));
    let step = step.unwrap_or(Step::Hour);
    let seconds = i64::try_from(step.length().as_secs()).unwrap_or(3_600);
    let back = super::horizon_of(since, "--since")?;
    let end = crate::clock::now().as_second().div_euclid(seconds) * seconds;
    let count = (i64::try_from(back.as_secs()).unwrap_or(i64::MAX) / seconds).max(1);
    if count > MOST_STEPS {
        return Err(Complaint::new(
            Exit::Usage,
            format!("--since {since}"),
            format!("is more than {MOST_STEPS} steps of {}", step.one()),
            "give a shorter length, or a longer --step",
        ));
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .build()
        .into();
    let mut rates: BTreeMap<i64, f64> = BTreeMap::new();
    let mut page = 0;
    while page < count {
        let (from, to) = (end - (count - page - 1) * seconds, end - (count - page - PAGE).max(0) * seconds);
        add_page(&agent, &place, url, query, (from, to, seconds), &mut rates)?;
        page += PAGE;
    }
    if rates.is_empty() {
        return Err(Complaint::new(
            Exit::Input,
            place,
            "knows nothing of this query within the time asked for",
            "try the query in its own page, or give a longer --since",
        ));
    }
    // A value stands for the step that ends with it.
    let first = rates.keys().next().copied().unwrap_or(end);
    let observations = (0..=(end - first) / seconds)
        .filter_map(|index| {
            let at = first + index * seconds;
            let begin = Timestamp::from_second(at - seconds).ok()?.to_zoned(TimeZone::UTC).datetime();
            Some(Observation { at: begin, volume: rates.get(&at).map(|rate| rate * seconds as f64) })
        })
        .collect();
    Ok(History { step, observations })
}

fn add_page(
    agent: &ureq::Agent,
    place: &str,
    url: &str,
    query: &str,
    (from, to, seconds): (i64, i64, i64),
    rates: &mut BTreeMap<i64, f64>,
) -> Result<(), Complaint> {
    let unreachable = |error: ureq::Error| {
        Complaint::new(
            Exit::Unreachable,
            place,
            error,
            "check the address, and that a Prometheus answers there",
        )
    };
    let mut answer = agent
        .get(format!("{}/api/v1/query_range", url.trim_end_matches('/')))
        .query("query", query)
        .query("start", from.to_string())
        .query("end", to.to_string())
        .query("step", seconds.to_string())
        .call()
        .map_err(unreachable)?;
    let text = answer.body_mut().with_config().limit(MOST_BYTES).read_to_string().map_err(unreachable)?;
    let strange = |what: String| {
        Complaint::new(Exit::Input, place, what, "check the address and try the query in its own page")
    };
    let facts: Value = serde_json::from_str(&text)
        .map_err(|_| strange(format!("answers {} and no JSON", answer.status().as_u16())))?;
    if facts["status"] != "success" {
        let said = files::plain(facts["error"].as_str().unwrap_or("nothing more"));
        return Err(strange(format!("refuses the query: {said}")));
    }
    if facts["data"]["resultType"] != "matrix" {
        return Err(strange("answers with something else than series over time".to_owned()));
    }
    for series in facts["data"]["result"].as_array().into_iter().flatten() {
        for pair in series["values"].as_array().into_iter().flatten() {
            let at = pair[0].as_f64().map(|at| at.round() as i64);
            let value = pair[1].as_str().and_then(|text| text.parse::<f64>().ok());
            if let (Some(at), Some(value)) = (at, value.filter(|value| value.is_finite())) {
                if value < 0.0 {
                    return Err(strange(format!("has {value} requests per second, less than none")));
                }
                *rates.entry(at).or_default() += value;
            }
        }
    }
    Ok(())
}
