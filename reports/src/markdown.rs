//! The same report as Markdown: for a merge request, a wiki or a mail.

use crate::evidence::Evidence;
use crate::table::{self, Table};
use crate::{advice, draw, finding};

/// The report of `evidence` as Markdown; charts are named by the files they are written to.
pub fn markdown(evidence: &Evidence<'_>) -> String {
    let found = finding::finding(evidence);
    let mut out = format!("# {}\n\n", plain(evidence.title));
    for alarm in &found.alarms {
        out.push_str(&format!("> **{}**\n\n", plain(alarm)));
    }
    out.push_str(&format!("**{}**\n\n", plain(&found.headline)));
    let lead = advice::lead(evidence);
    if !lead.is_empty() {
        out.push_str(&format!("{}\n\n", plain(&lead)));
    }
    for fact in &found.facts {
        let note = if fact.note.is_empty() { String::new() } else { format!(" ({})", plain(&fact.note)) };
        out.push_str(&format!("- {}: **{}**{note}\n", fact.name, plain(&fact.value)));
    }
    let recommendations = advice::recommendations(evidence);
    if !recommendations.is_empty() {
        out.push_str("\n## What to do\n\n");
        for line in recommendations {
            out.push_str(&format!("1. {}\n", plain(&line)));
        }
    }
    let forecast = evidence.forecast;
    for (name, table) in [
        ("The prediction, checked", evidence.check.map(table::trials)),
        ("Beside the baseline", evidence.baseline.map(table::found::comparison)),
        ("Load levels", table::levels(evidence)),
        ("Objective and error budget", table::plan::budget(evidence)),
        ("Routes: limits and cost", evidence.model.and_then(table::found::routes)),
        ("Resources", evidence.model.and_then(table::found::resources)),
        ("Growth", forecast.map(table::growth)),
        ("Machines", forecast.and_then(table::plan::plan)),
        ("Other futures", forecast.and_then(table::plan::scenarios)),
        ("Risks", forecast.and_then(table::plan::risks)),
        ("Runs over time", table::plan::releases(evidence)),
        ("Families", evidence.model.and_then(table::families)),
    ] {
        if let Some(table) = table {
            out.push_str(&format!("\n## {name}\n\n{}", written(&table)));
        }
    }
    let charts = draw::charts(evidence);
    if !charts.is_empty() {
        out.push_str("\n## Charts\n\n");
        for chart in &charts {
            out.push_str(&format!("![{0}]({0}.svg)\n\n", chart.name));
        }
    }
    let warnings = evidence.model.into_iter().flat_map(|model| &model.warnings);
    let warnings: Vec<&String> =
        warnings.chain(forecast.into_iter().flat_map(|forecast| &forecast.warnings)).collect();
    if !warnings.is_empty() {
        out.push_str("\n## Know before you rely on it\n\n");
        for warning in warnings {
            out.push_str(&format!("- {}\n", plain(warning)));
        }
    }
    out
}

fn written(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = line(table.columns.iter().map(|column| plain(&column.name)).collect());
    out.push_str(&line(
        table.columns.iter().map(|column| if column.text { ":--" } else { "--:" }.to_owned()).collect(),
    ));
    for row in &table.rows {
        out.push_str(&line(row.cells.iter().map(|cell| plain(cell)).collect()));
    }
    if let Some(note) = &table.note {
        out.push_str(&format!("\n{}\n", plain(note)));
    }
    out
}

/// Text that stays text: no mark-up and no line of its own comes from a file.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' => {
                out.push('\\');
                out.push(letter);
            }
            _ if letter.is_control() => out.push(' '),
            _ => out.push(letter),
        }
    }
    out
}
