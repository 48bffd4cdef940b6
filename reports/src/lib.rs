//! Draws reports: charts as SVG, one self-contained HTML page, the same facts as JSON and as plain text.
//!
//! Everything is drawn from [`Evidence`], whatever of it there is; nothing is measured or fitted here. The
//! same evidence gives the same bytes. The charts of [`chart`] take plain numbers and know nothing of runs.

mod account;
mod advice;
mod axis;
pub mod chart;
mod draw;
mod evidence;
mod finding;
mod json;
mod junit;
mod label;
mod markdown;
mod method;
mod page;
mod plot;
mod summary;
mod svg;
mod table;
mod theme;
mod title;
mod words;

pub use evidence::{Baseline, Check, Evidence, Release, RouteTime, Trial};
pub use json::{SCHEMA, json};
pub use junit::junit;
pub use markdown::markdown;
pub use page::html;
pub use summary::text;

/// Every chart that `evidence` has data for.
pub fn charts(evidence: &Evidence<'_>) -> Vec<Picture> {
    let drawn = draw::charts(evidence).into_iter();
    drawn.map(|chart| Picture { name: chart.name, svg: chart.svg, csv: chart.csv }).collect()
}

/// A chart of a report.
pub struct Picture {
    /// A file's stem, unique in the report.
    pub name: String,
    /// The picture.
    pub svg: String,
    /// Its data as comma-separated values.
    pub csv: String,
}

#[cfg(test)]
mod tests;
