//! A run beside an earlier one, as `highwater compare` judges it.

use std::path::Path;

use captures::Run;
use reports::Baseline;

use crate::commands::{compare, files};
use crate::complain::{Complaint, Exit};

/// The run at `path` beside `candidate`, which is called `name`.
pub(super) fn beside(
    path: &Path,
    (name, candidate): (&str, &Run),
    allowed_ratio: f64,
    seed: u64,
) -> Result<Baseline, Complaint> {
    let base = compare::read(path)?;
    let comparison = modeler::compare(&base, candidate, allowed_ratio, seed);
    if comparison.differences.is_empty() {
        return Err(Complaint::new(
            Exit::Input,
            path.display(),
            format!("shares no route with {name} that has enough requests to compare"),
            "give a run of the same capture, 100 requests of a route at least",
        ));
    }
    let base_name = files::plain(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy());
    Ok(Baseline {
        // Two runs of one name lie in two folders.
        name: if base_name == name { files::plain(&path.display().to_string()) } else { base_name },
        candidate: name.to_owned(),
        comparison,
        shift: modeler::shift(&base, candidate, seed),
        allowed_ratio,
        warnings: compare::warnings(&base, candidate),
    })
}
