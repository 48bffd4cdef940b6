//! Finds the answers of runs and the capture they repeat, and compares them.

use std::path::{Path, PathBuf};

use captures::{Exchange, RunHeader};
use replayer::answers::{Compared, Comparison, Tolerance};

use crate::commands::files;
use crate::complain::{Complaint, Exit, say};

/// No more of one run is read.
const MAX_ANSWERS: usize = 200_000;

/// What is compared with what.
pub(crate) struct Wanted<'a> {
    /// The run that is judged, then those that noise is learned from.
    pub(crate) runs: &'a [PathBuf],
    /// The run to be compared with, instead of the recording.
    pub(crate) base: Option<&'a Path>,
    /// The recording.
    pub(crate) captures: &'a [PathBuf],
    pub(crate) tolerance: Tolerance,
}

/// Where the answers of a run are: beside it.
pub(crate) fn path(run: &Path) -> PathBuf {
    run.with_extension("answers")
}

/// The captures that a run repeats, as its header names them, if they are still the same.
pub(crate) fn captures_of(
    header: &RunHeader,
    run: &Path,
    given: &[PathBuf],
) -> Result<Vec<PathBuf>, Complaint> {
    let configuration: serde_json::Value = serde_json::from_str(&header.configuration).unwrap_or_default();
    let named = configuration["captures"].as_array().into_iter().flatten();
    let named: Vec<PathBuf> = named.filter_map(|path| path.as_str().map(PathBuf::from)).collect();
    let captures = if given.is_empty() { named } else { given.to_vec() };
    if captures.is_empty() {
        return Err(Complaint::new(
            Exit::Usage,
            run.display(),
            "does not say which capture it repeats",
            "give it with --capture",
        ));
    }
    if let Some(lost) = captures.iter().find(|path| !path.exists()) {
        return Err(Complaint::new(
            Exit::Input,
            lost.display(),
            format!("is the capture of {}, and not here", run.display()),
            "say with --capture where it is now",
        ));
    }
    if captures.iter().all(|path| path.is_file()) && files::digest(&captures)? != header.capture_digest {
        return Err(Complaint::new(
            Exit::Input,
            files::named(&captures),
            format!("is not what {} repeats", run.display()),
            "say with --capture which capture it was",
        ));
    }
    Ok(captures)
}

/// Compares.
pub(crate) fn compare(wanted: &Wanted<'_>) -> Result<Compared, Complaint> {
    let mut comparison = Comparison::new();
    for run in wanted.runs {
        comparison.add_run(read(run)?.into_iter());
    }
    if let Some(base) = wanted.base {
        comparison.add_base(read(base)?.into_iter());
    }
    for exchange in files::open_captures(wanted.captures)? {
        let exchange = exchange.map_err(|error| files::not_a_set(&error))?;
        if comparison.wants(exchange.id.0) {
            comparison.add_recorded(exchange);
        }
    }
    Ok(comparison.finish(wanted.tolerance))
}

/// The answers of a run.
fn read(run: &Path) -> Result<Vec<Exchange>, Complaint> {
    let path = path(run);
    if !path.exists() {
        return Err(Complaint::new(
            Exit::Input,
            path.display(),
            format!("there are no answers of {}", run.display()),
            "replay with --answers",
        ));
    }
    let mut reader = files::open_captures(std::slice::from_ref(&path))?;
    let mut answers = Vec::new();
    for exchange in reader.by_ref().take(MAX_ANSWERS) {
        answers.push(exchange.map_err(|error| files::not_a_set(&error))?);
    }
    if let Some((path, first)) = reader.damage().first() {
        say!("highwater: {}: {first}; the rest is compared", path.display());
    }
    if answers.len() == MAX_ANSWERS {
        say!("highwater: {}: the first {MAX_ANSWERS} answers are compared", path.display());
    }
    Ok(answers)
}
