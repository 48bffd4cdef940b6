//! One self-contained HTML page: the verdict first, then the evidence, then the method and its limits.
//!
//! The page asks nothing of the network, and says so to the browser. It is whole without its one script, which
//! sorts tables and is the only one that the browser is told to run. Everything that came from a file is escaped
//! by the template engine; only our own pictures are inserted as they are.

use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;

use crate::advice;
use crate::draw::{self, Part};
use crate::evidence::Evidence;
use crate::finding;
use crate::method;
use crate::table::{self, Table};
use crate::words;

/// What the template is filled with: text, ready to read.
#[derive(Serialize)]
struct Page {
    title: String,
    tool: &'static str,
    style: &'static str,
    script: &'static str,
    script_hash: String,
    tone: &'static str,
    alarms: Vec<String>,
    headline: String,
    lead: String,
    recommendations: Vec<String>,
    facts: Vec<Fact>,
    /// Facts in one row.
    facts_abreast: usize,
    warnings: Vec<String>,
    parts: Vec<Link>,
    check: Option<Checked>,
    throughput: Option<String>,
    response: Option<String>,
    levels: Option<Table>,
    scalability: Option<String>,
    budget: Option<Table>,
    growth: Option<Grown>,
    exhaustion: Vec<String>,
    machines: Option<String>,
    plan: Option<Table>,
    scenarios: Option<Table>,
    risks: Option<Table>,
    week: Option<String>,
    tried: Option<String>,
    in_the_way: Vec<String>,
    cost: Option<String>,
    routes: Option<Table>,
    resources: Option<Table>,
    shift: Option<String>,
    comparison: Option<Table>,
    trend: Option<String>,
    releases: Option<Table>,
    runs: Vec<RunPart>,
    runs_left: Option<String>,
    firmer: Vec<String>,
    how_capacity: Vec<String>,
    families: Option<Table>,
    curves: Option<Table>,
    backtest: Option<String>,
    how_growth: Vec<String>,
    words: Vec<(&'static str, &'static str)>,
    configurations: Vec<method::Configuration>,
}

#[derive(Serialize)]
struct Fact {
    name: &'static str,
    value: String,
    note: String,
    anchor: &'static str,
}

#[derive(Serialize)]
struct Link {
    name: &'static str,
    anchor: &'static str,
}

#[derive(Serialize)]
struct Checked {
    lead: String,
    table: Table,
}

#[derive(Serialize)]
struct Grown {
    chart: String,
    note: String,
    table: Table,
}

#[derive(Serialize)]
struct RunPart {
    name: String,
    alarm: Option<String>,
    lead: String,
    charts: Vec<String>,
    routes_at: String,
    routes: Option<Table>,
}

/// What sorts tables.
const SCRIPT: &str = include_str!("page.js");

/// The name and version of this program.
pub(crate) const TOOL: &str = concat!("highwater ", env!("CARGO_PKG_VERSION"));

/// The page of `evidence`.
pub fn html(evidence: &Evidence<'_>) -> String {
    let mut templates = Environment::new();
    // The name ends in .html, so everything that is filled in is escaped.
    let filled = templates
        .add_template("page.html", include_str!("page.html"))
        .and_then(|()| templates.get_template("page.html")?.render(Serde(page(evidence))));
    filled.expect("the template is part of the program and its tests fill it")
}

/// Bytes as the browser is told the digest of a script. Source: RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

fn page(evidence: &Evidence<'_>) -> Page {
    let found = finding::finding(evidence);
    let drawn = draw::charts(evidence);
    let one = |part: Part| drawn.iter().find(|chart| chart.part == part).map(|chart| chart.svg.clone());
    let mut warnings = evidence.model.map_or_else(Vec::new, |model| model.warnings.clone());
    let firmer = evidence.model.map_or_else(Vec::new, |model| model.firmer.clone());
    warnings.extend(evidence.forecast.into_iter().flat_map(|forecast| forecast.warnings.iter().cloned()));
    let runs = (0..evidence.runs.len().min(draw::MOST_RUNS)).map(|at| {
        let charts = drawn.iter().filter(|chart| chart.part == Part::Run(at)).map(|chart| chart.svg.clone());
        run_part(evidence, at, charts.collect())
    });
    let left = evidence.runs.len().saturating_sub(draw::MOST_RUNS);
    let mut page = Page {
        title: evidence.title.to_owned(),
        tool: TOOL,
        style: include_str!("page.css"),
        script: SCRIPT,
        script_hash: format!("sha256-{}", base64(&captures::sha256(SCRIPT.as_bytes()))),
        tone: found.tone.name(),
        alarms: found.alarms,
        facts_abreast: match found.facts.len() {
            count @ 0..=4 => count,
            5 | 6 | 9 => 3,
            _ => 4,
        },
        headline: found.headline,
        lead: advice::lead(evidence),
        recommendations: advice::recommendations(evidence),
        facts: found
            .facts
            .into_iter()
            .map(|fact| Fact { name: fact.name, value: fact.value, note: fact.note, anchor: fact.anchor })
            .collect(),
        warnings,
        parts: Vec::new(),
        check: evidence
            .check
            .map(|check| Checked { lead: method::check_lead(check), table: table::trials(check) }),
        throughput: one(Part::Throughput),
        response: one(Part::Response),
        levels: table::levels(evidence),
        budget: table::plan::budget(evidence),
        scalability: one(Part::Scalability),
        growth: evidence.forecast.zip(one(Part::Growth)).map(|(forecast, chart)| Grown {
            chart,
            note: method::growth_note(forecast),
            table: table::growth(forecast),
        }),
        exhaustion: drawn
            .iter()
            .filter(|chart| chart.part == Part::Exhaustion)
            .map(|chart| chart.svg.clone())
            .collect(),
        machines: one(Part::Machines),
        plan: evidence.forecast.and_then(table::plan::plan),
        scenarios: evidence.forecast.and_then(table::plan::scenarios),
        risks: evidence.forecast.and_then(table::plan::risks),
        week: one(Part::Week),
        tried: one(Part::Backtest),
        in_the_way: evidence.model.map_or_else(Vec::new, table::found::in_the_way),
        cost: one(Part::Cost),
        routes: evidence.model.and_then(table::found::routes),
        resources: evidence.model.and_then(table::found::resources),
        shift: one(Part::Shift),
        comparison: evidence.baseline.map(table::found::comparison),
        trend: one(Part::Trend),
        releases: table::plan::releases(evidence),
        runs: runs.collect(),
        runs_left: (left > 0).then(|| format!("{left} further runs are in report.json.")),
        firmer,
        how_capacity: evidence.model.map_or_else(Vec::new, method::capacity),
        families: evidence.model.and_then(table::families),
        curves: evidence.model.and_then(table::curves),
        backtest: evidence.model.and_then(|model| model.backtest.as_ref()).map(method::backtest),
        how_growth: evidence.forecast.map_or_else(Vec::new, method::growth),
        words: method::WORDS.to_vec(),
        configurations: method::configurations(evidence.runs),
    };
    page.parts = page.present_parts();
    let present = |anchor: &str| page.parts.iter().any(|part| part.anchor == anchor);
    for fact in &mut page.facts {
        if fact.anchor != "how-capacity" && !present(fact.anchor) {
            fact.anchor = "method";
        }
    }
    page
}

impl Page {
    fn has_bottlenecks(&self) -> bool {
        !self.in_the_way.is_empty() || self.routes.is_some() || self.resources.is_some()
    }

    /// The parts that are there, for the row of links.
    fn present_parts(&self) -> Vec<Link> {
        [
            (self.check.is_some(), "Check", "check"),
            (self.comparison.is_some(), "Beside the baseline", "comparison"),
            (self.throughput.is_some(), "Throughput", "throughput"),
            (self.response.is_some(), "Response", "response"),
            (self.levels.is_some(), "Load levels", "levels"),
            (self.budget.is_some(), "Error budget", "budget"),
            (self.scalability.is_some(), "Scalability", "scalability"),
            (self.has_bottlenecks(), "Bottlenecks", "bottlenecks"),
            (self.growth.is_some(), "Growth", "growth"),
            (!self.exhaustion.is_empty(), "When it runs out", "exhaustion"),
            (self.plan.is_some(), "Machines", "machines"),
            (self.scenarios.is_some(), "Other futures", "scenarios"),
            (self.risks.is_some(), "Risks", "risks"),
            (self.tried.is_some(), "Back-test", "tried"),
            (self.week.is_some(), "Week", "week"),
            (self.releases.is_some(), "Over time", "trend"),
            (!self.runs.is_empty(), "Runs", "runs"),
            (true, "Method and limits", "method"),
        ]
        .into_iter()
        .filter(|&(present, ..)| present)
        .map(|(_, name, anchor)| Link { name, anchor })
        .collect()
    }
}

fn run_part(evidence: &Evidence<'_>, at: usize, charts: Vec<String>) -> RunPart {
    let run = &evidence.runs[at];
    let level = crate::account::telling_level(run, evidence.objective());
    RunPart {
        name: format!("{} against {}", words::file_name(&run.header.capture), run.header.target),
        alarm: finding::is_invalid(run).then(|| "Not valid: the generator was the bottleneck.".to_owned()),
        lead: method::run_lead(run),
        charts,
        routes: table::routes(run, &level),
        routes_at: level.name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_rfc_4648_has_them() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
