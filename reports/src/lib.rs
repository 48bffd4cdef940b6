//! Draws reports: charts as SVG, one self-contained HTML page, the same facts as JSON and as plain text.
//!
//! Everything is drawn from [`Evidence`], whatever of it there is; nothing is measured or fitted here. The
//! same evidence gives the same bytes. The charts of [`chart`] take plain numbers and know nothing of runs.

mod account;
mod axis;
pub mod chart;
mod draw;
mod evidence;
mod finding;
mod json;
mod label;
mod method;
mod page;
mod plot;
mod summary;
mod svg;
mod table;
mod theme;
mod title;
mod words;

pub use evidence::{Check, Evidence, Trial};
pub use json::json;
pub use page::html;
pub use summary::text;

/// Every chart that `evidence` has data for: a file's stem and the SVG.
pub fn charts(evidence: &Evidence<'_>) -> Vec<(String, String)> {
    draw::charts(evidence).into_iter().map(|chart| (chart.name, chart.svg)).collect()
}

#[cfg(test)]
mod tests;
