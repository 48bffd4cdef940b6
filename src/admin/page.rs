//! Writes Prometheus's text format (0.0.4).

use std::fmt::{Display, Write};
use std::time::Duration;

/// A page of metrics, family by family.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// What stands on it.
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// Begins a family of samples.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample of the family that was begun.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{before}{label}=\"{text}\"");
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A family of one sample.
    pub(crate) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The same, if there is a value.
    pub(crate) fn optional(&mut self, name: &str, kind: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.single(name, kind, help, value);
        }
    }

    /// A family that is a histogram.
    pub(crate) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        buckets: &[(Option<Duration>, u64)],
        sum: Duration,
    ) {
        self.family(name, "histogram", help);
        self.buckets(name, &[], buckets, sum);
    }

    /// One histogram of a family: the counts up to each bound, of which the last is none.
    pub(crate) fn buckets(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        buckets: &[(Option<Duration>, u64)],
        sum: Duration,
    ) {
        let bucket = format!("{name}_bucket");
        for (bound, count) in buckets {
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.as_secs_f64().to_string());
            self.sample(&bucket, &[labels, &[("le", &bound)]].concat(), count);
        }
        self.sample(&format!("{name}_sum"), labels, sum.as_secs_f64());
        self.sample(&format!("{name}_count"), labels, buckets.last().map_or(0, |(_, count)| *count));
    }
}
