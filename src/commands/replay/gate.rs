//! Whether a run met what it had to: thresholds, limits that end it, and their results for CI.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use captures::{Run, Stage};
use modeler::{Judgement, Recovery, Threshold, Trend, Unfit};
use replayer::{Asked, Finished, Plan};
use serde_json::{Value, json};

use super::args::ReplayArgs;
use crate::commands::files;
use crate::complain::{Complaint, Exit};

/// How long a limit must be broken to end a run, when it does not say.
const FOR_LONG: Duration = Duration::from_secs(10);

/// The thresholds that the flags name.
pub(super) fn thresholds(flag: &str, texts: &[String]) -> Result<Vec<Threshold>, Complaint> {
    let mut all = Vec::new();
    for text in texts {
        all.extend(
            Threshold::parse(text).map_err(|error| {
                Complaint::new(Exit::Usage, format!("{flag} {text}"), &error, error.mend())
            })?,
        );
    }
    Ok(all)
}

/// What ends the run while it goes on.
pub(super) fn limits(args: &ReplayArgs) -> Result<Vec<Threshold>, Complaint> {
    let mut limits = thresholds("--abort-on", &args.abort_on)?;
    if args.breaker != "off" {
        limits.extend(thresholds("--breaker", std::slice::from_ref(&args.breaker))?);
    }
    Ok(limits.into_iter().map(|limit| limit.lasting_at_least(FOR_LONG)).collect())
}

/// Refuses thresholds that could only be missed, whatever the target does, before anything is sent.
pub(super) fn fit(
    args: &ReplayArgs,
    thresholds: &[Threshold],
    limits: &[Threshold],
    stages: &[Stage],
    routes: &[String],
) -> Result<(), Complaint> {
    let observing = !args.sending.observe.is_empty();
    let wrong = |flag: &str, threshold: &Threshold, unfit: &Unfit| {
        Complaint::new(Exit::Usage, format!("{flag} {threshold}"), unfit, unfit.mend())
    };
    for threshold in thresholds {
        let fits = threshold.fits(stages, routes, observing).and_then(|()| threshold.fits_in(stages));
        fits.map_err(|unfit| wrong("--threshold", threshold, &unfit))?;
    }
    for limit in limits {
        limit.fits(stages, routes, observing).map_err(|unfit| wrong("--abort-on", limit, &unfit))?;
    }
    Ok(())
}

/// What is concluded from a run that was written.
#[derive(Debug, Default)]
pub(super) struct Conclusions {
    pub(super) judgements: Vec<Judgement>,
    pub(super) recoveries: Vec<Recovery>,
    /// By name, of the level that was held for longest.
    pub(super) trends: Vec<(String, Trend)>,
    /// Metrics that were asked for by their names and never observed.
    pub(super) unseen: Vec<String>,
}

/// Reads the run back and judges it.
pub(super) fn conclude(mut run: Run, thresholds: &[Threshold]) -> Conclusions {
    // What an interruption cut off says nothing of the target.
    if let Some(from) = modeler::cut_from(&run) {
        run.intervals.retain(|interval| interval.second < from);
    }
    let run = &run;
    Conclusions {
        judgements: thresholds.iter().map(|threshold| threshold.judge(run)).collect(),
        recoveries: modeler::recoveries(run),
        trends: modeler::steady_trends(run).into_iter().map(|each| (each.name, each.trend)).collect(),
        unseen: Vec::new(),
    }
}

/// Of the metrics that were asked for by their names those that were never observed.
pub(super) fn unseen(asked: &[Asked], finished: &Finished) -> Vec<String> {
    let seen = |asked: &Asked| finished.totals.observed.keys().any(|name| asked.is(name));
    asked
        .iter()
        .filter(|asked| !seen(asked))
        .map(|asked| format!("{} of {}", asked.name(), asked.source()))
        .collect()
}

impl Conclusions {
    /// Lines for people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for judgement in &self.judgements {
            let _ = match &judgement.missed {
                None => writeln!(text, "  met     {}", judgement.threshold),
                Some(why) => writeln!(text, "  MISSED  {}: {why}", judgement.threshold),
            };
        }
        for recovery in &self.recoveries {
            let after = format!(
                "after {:.4}x, at {:.4}x again from second {}",
                recovery.from, recovery.to, recovery.second
            );
            let _ = match recovery.seconds {
                Some(seconds) => writeln!(text, "  back to normal {seconds} s {after}"),
                None => writeln!(text, "  not back to normal {after}"),
            };
        }
        for unseen in &self.unseen {
            let _ = writeln!(text, "  never observed: {}", files::plain(unseen));
        }
        for (name, trend) in self.trends.iter().filter(|(_, trend)| trend.is_leak()) {
            let _ = writeln!(
                text,
                "  grows   {}: {:+.1} % over {:.0} s (p {:.4}), a leak if it goes on",
                files::plain(name),
                trend.growth_ratio() * 100.0,
                trend.seconds,
                trend.p_value
            );
        }
        text
    }

    /// The same for machines.
    pub(super) fn json(&self) -> Value {
        json!({
            "thresholds": self.judgements.iter().map(|judgement| json!({
                "threshold": judgement.threshold, "met": judgement.missed.is_none(), "why": judgement.missed,
            })).collect::<Vec<_>>(),
            "never_observed": self.unseen,
            "recoveries": self.recoveries.iter().map(|recovery| json!({
                "from": recovery.from, "to": recovery.to, "second": recovery.second, "seconds": recovery.seconds,
            })).collect::<Vec<_>>(),
            "trends": self.trends.iter().map(|(name, trend)| json!({
                "name": name, "slope_per_second": trend.slope_per_second, "p_value": trend.p_value,
                "growth_ratio": trend.growth_ratio(), "leak": trend.is_leak(),
            })).collect::<Vec<_>>(),
        })
    }

    /// The first threshold that was missed.
    pub(super) fn missed(&self) -> Option<&Judgement> {
        self.judgements.iter().find(|judgement| judgement.missed.is_some())
    }

    /// JUnit XML: one case for the run itself, one for each threshold.
    pub(super) fn junit(&self, finished: &Finished, name: &str) -> String {
        let seconds = finished.elapsed.as_secs_f64();
        let invalid = finished.end.invalid_reason.as_deref();
        let failures = self.judgements.iter().filter(|judgement| judgement.missed.is_some()).count();
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let _ = writeln!(
            xml,
            "<testsuites><testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{}\" time=\"{seconds:.3}\">",
            escaped(name),
            self.judgements.len() + 1,
            usize::from(invalid.is_some()),
        );
        let _ = match invalid {
            None => writeln!(xml, "  <testcase classname=\"highwater.replay\" name=\"the run is valid\"/>"),
            Some(why) => writeln!(
                xml,
                "  <testcase classname=\"highwater.replay\" name=\"the run is valid\"><error message=\"{}\"/></testcase>",
                escaped(why)
            ),
        };
        for Judgement { threshold, missed } in &self.judgements {
            let threshold = escaped(threshold);
            let _ = match missed {
                None => writeln!(xml, "  <testcase classname=\"highwater.threshold\" name=\"{threshold}\"/>"),
                Some(why) => writeln!(
                    xml,
                    "  <testcase classname=\"highwater.threshold\" name=\"{threshold}\"><failure message=\"{}\"/></testcase>",
                    escaped(why)
                ),
            };
        }
        xml.push_str("</testsuite></testsuites>\n");
        xml
    }

    /// A summary for a comment.
    pub(super) fn markdown(&self, plan: &Plan, finished: &Finished, name: &str) -> String {
        let totals = &finished.totals;
        let overall = &totals.overall;
        let millis = |quantile: f64| overall.response.quantile(quantile).as_secs_f64() * 1e3;
        let verdict = match (&finished.end.invalid_reason, self.missed()) {
            (Some(why), _) => format!("⚠️ run invalid: {}", cell(why)),
            (None, Some(_)) => "❌ a threshold was missed".to_owned(),
            (None, None) => "✅ all thresholds were met".to_owned(),
        };
        let mut text = format!("### Replay of {}: {verdict}\n\n", cell(name));
        let _ = writeln!(
            text,
            "{} planned, {} sent, {} errors ({:.3} %) in {:.0} s; response p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms\n",
            totals.planned,
            totals.sent(),
            overall.errors(),
            100.0 * overall.errors() as f64 / totals.planned.max(1) as f64,
            finished.elapsed.as_secs_f64(),
            millis(0.5),
            millis(0.95),
            millis(0.99),
        );
        if !self.judgements.is_empty() {
            text.push_str("| threshold | | |\n|---|---|---|\n");
            for Judgement { threshold, missed } in &self.judgements {
                let (sign, why) = missed.as_deref().map_or(("✅", ""), |why| ("❌", why));
                let _ = writeln!(text, "| `{}` | {sign} | {} |", cell(threshold), cell(why));
            }
            text.push('\n');
        }
        for unseen in &self.unseen {
            let _ = writeln!(text, "⚠️ never observed: `{}`\n", cell(unseen));
        }
        text.push_str(
            "| route | requests | errors | p50 ms | p95 ms | p99 ms |\n|---|---:|---:|---:|---:|---:|\n",
        );
        let mut routes: Vec<_> = plan.routes().iter().zip(&totals.routes).collect();
        routes.sort_by_key(|(name, route)| (std::cmp::Reverse(route.total()), *name));
        for (name, route) in routes.into_iter().take(20) {
            let millis = |quantile: f64| route.response.quantile(quantile).as_secs_f64() * 1e3;
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {:.1} | {:.1} | {:.1} |",
                cell(name),
                route.total(),
                route.errors(),
                millis(0.5),
                millis(0.95),
                millis(0.99)
            );
        }
        text
    }
}

/// Writes what CI reads.
pub(super) fn write_for_ci(
    args: &ReplayArgs,
    plan: &Plan,
    finished: &Finished,
    conclusions: &Conclusions,
) -> Result<(), Complaint> {
    let name = files::named(&args.source.captures);
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).map_err(|error| Complaint::cannot_write(path, &error))
    };
    if let Some(path) = &args.junit {
        write(path, conclusions.junit(finished, &name))?;
    }
    if let Some(path) = &args.markdown {
        write(path, conclusions.markdown(plan, finished, &name))?;
    }
    Ok(())
}

/// Text that can stand in an XML attribute.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for letter in files::plain(text).chars() {
        match letter {
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '&' => xml.push_str("&amp;"),
            '"' => xml.push_str("&quot;"),
            _ => xml.push(letter),
        }
    }
    xml
}

/// Text that can stand in a cell of a table.
fn cell(text: &str) -> String {
    files::plain(text).replace('|', "\\|").replace('`', "'")
}
