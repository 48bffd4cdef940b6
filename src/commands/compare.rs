//! `highwater compare`: two runs in; which routes became slower, beyond noise.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use captures::Run;
use modeler::{Compared, Comparison, Difference};
use serde_json::{Value, json};

use crate::Globals;
use crate::commands::files;
use crate::complain::{Complaint, Exit, say};

/// Says whether a run is slower than another, beyond noise, route by route
///
/// Quantiles of the response and the share of errors are compared. A change is called a regression when chance
/// alone would hardly bring it about (the more is compared, the more certain it must be) and when it is larger
/// than --max-regression. Exits 99 when there is one.
///
/// Example: highwater compare main.run branch.run --max-regression 10%
#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// The run that is compared with
    #[arg(value_name = "BASE")]
    base: PathBuf,
    /// The run that is judged
    #[arg(value_name = "CANDIDATE")]
    candidate: PathBuf,
    /// A quantile may grow by so much
    #[arg(long, value_name = "PERCENT", default_value = "5%")]
    max_regression: String,
    /// A table in Markdown, for a comment
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &CompareArgs, globals: &Globals) -> Result<(), Complaint> {
    let allowed = allowed(&args.max_regression)?;
    let (base, candidate) = (read(&args.base)?, read(&args.candidate)?);
    for warning in warnings(&base, &candidate) {
        say!("highwater: {}: {warning}", args.candidate.display());
    }
    let comparison = modeler::compare(&base, &candidate, allowed, globals.seed);
    if comparison.differences.is_empty() {
        return Err(Complaint::new(
            Exit::Input,
            args.candidate.display(),
            "shares no route with the base that has enough requests to compare",
            "replay the same capture for a minute or longer, 100 requests of a route at least",
        ));
    }
    if let Some(path) = &args.markdown {
        std::fs::write(path, markdown(&comparison)).map_err(|error| Complaint::cannot_write(path, &error))?;
    }
    files::to_stdout(|out| {
        if args.json {
            writeln!(out, "{}", shown(&comparison, allowed))
        } else {
            out.write_all(text(&comparison).as_bytes())
        }
    })?;
    let regressions: Vec<&Difference> = comparison.regressions().collect();
    match regressions.first() {
        Some(first) => Err(Complaint::new(
            Exit::Gate,
            args.candidate.display(),
            format!(
                "{} regressions, the first: {} {}",
                regressions.len(),
                files::plain(&first.route),
                said(first)
            ),
            "see what changed between the two runs, or allow more with --max-regression",
        )),
        None => Ok(()),
    }
}

/// By how much a quantile may grow, as `--max-regression` says it.
pub(crate) fn allowed(text: &str) -> Result<f64, Complaint> {
    percent(text).ok_or_else(|| {
        Complaint::new(
            Exit::Usage,
            format!("--max-regression {}", files::plain(text)),
            "is no percentage from 0 % to 1000 %",
            "write e.g. 10%",
        )
    })
}

/// A run that can be compared: an invalid one tells of the generator, not of the target.
pub(crate) fn read(path: &std::path::Path) -> Result<Run, Complaint> {
    let run = files::read_run(path)?;
    match run.end.as_ref().and_then(|end| end.invalid_reason.as_deref()) {
        Some(why) => Err(Complaint::new(
            Exit::Invalid,
            path.display(),
            format!("is an invalid run: {why}"),
            "replay again with more CPU for the generator",
        )),
        None => Ok(run),
    }
}

/// What makes the two runs less alike than they should be.
pub(crate) fn warnings(base: &Run, candidate: &Run) -> Vec<String> {
    let mut warnings = Vec::new();
    if base.header.capture_digest != candidate.header.capture_digest {
        warnings.push("was made from another capture than the base".to_owned());
    }
    if base.header.stages != candidate.header.stages {
        warnings.push("had another load than the base".to_owned());
    }
    if base.header.held_back_ratio != candidate.header.held_back_ratio {
        warnings.push("held back another share of the requests than the base".to_owned());
    }
    warnings
}

fn percent(text: &str) -> Option<f64> {
    let (number, divisor) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let ratio = number.trim().parse::<f64>().ok()? / divisor;
    (0.0..=10.0).contains(&ratio).then_some(ratio)
}

fn measure(compared: Compared) -> String {
    match compared {
        Compared::Quantile(quantile) => format!("p{}", (quantile * 1e4).round() / 100.0),
        Compared::Errors => "errors".to_owned(),
    }
}

fn said(difference: &Difference) -> String {
    let Difference { compared, base, candidate, change, interval, .. } = difference;
    match compared {
        Compared::Quantile(_) => format!(
            "{} {:.2} ms → {:.2} ms, {:+.1} % ({:+.1} to {:+.1})",
            measure(*compared),
            base * 1e3,
            candidate * 1e3,
            (change - 1.0) * 100.0,
            (interval.0 - 1.0) * 100.0,
            (interval.1 - 1.0) * 100.0
        ),
        Compared::Errors => {
            format!("errors {:.3} % → {:.3} %", base * 100.0, candidate * 100.0)
        }
    }
}

const fn word(difference: &Difference) -> &'static str {
    match (difference.regressed, difference.improved) {
        (true, _) => "SLOWER",
        (_, true) => "better",
        _ => "same",
    }
}

fn text(comparison: &Comparison) -> String {
    let mut text = String::new();
    for difference in &comparison.differences {
        let _ = writeln!(
            text,
            "{:<7} {:<60} p {:.4}  {}",
            word(difference),
            said(difference),
            difference.p_value,
            files::plain(&difference.route)
        );
    }
    for (route, why) in &comparison.left_out {
        let _ = writeln!(text, "{:<7} {why}: {}", "–", files::plain(route));
    }
    text
}

fn markdown(comparison: &Comparison) -> String {
    let count = comparison.regressions().count();
    let verdict =
        if count == 0 { "✅ no regression".to_owned() } else { format!("❌ {count} regressions") };
    let mut text = format!("### Comparison: {verdict}\n\n| | route | change | p |\n|---|---|---|---:|\n");
    for difference in &comparison.differences {
        let route = files::plain(&difference.route).replace('|', "\\|").replace('`', "'");
        let _ = writeln!(
            text,
            "| {} | `{route}` | {} | {:.4} |",
            word(difference),
            said(difference),
            difference.p_value
        );
    }
    text
}

fn shown(comparison: &Comparison, allowed: f64) -> Value {
    json!({
        "max_regression_ratio": allowed,
        "regressions": comparison.regressions().count(),
        "differences": comparison.differences.iter().map(|difference| json!({
            "route": difference.route,
            "measure": measure(difference.compared),
            "base": difference.base,
            "candidate": difference.candidate,
            "change": difference.change,
            "interval": [difference.interval.0, difference.interval.1],
            "p_value": difference.p_value,
            "regressed": difference.regressed,
            "improved": difference.improved,
        })).collect::<Vec<_>>(),
        "left_out": comparison.left_out.iter().map(|(route, why)| json!({ "route": route, "why": why })).collect::<Vec<_>>(),
    })
}
