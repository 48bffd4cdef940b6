//! Says what an import read, and what it did not.

use std::collections::BTreeMap;
use std::io::Write;

use captures::Tally;
use serde::Serialize;

use super::ImportArgs;
use crate::Globals;
use crate::commands::files;
use crate::complain::{Complaint, Exit, say};
use crate::journal;

/// What became of everything that was to be imported.
#[derive(Default)]
pub(super) struct Account {
    pub(super) files: Vec<FileAccount>,
    /// Files that could not be read at all.
    pub(super) refused: Vec<Complaint>,
    pub(super) tally: Tally,
    /// What became of packets that are no exchange; names with counts above zero.
    pub(super) counts: Vec<(&'static str, u64)>,
}

/// What became of one file.
#[derive(Default, Serialize)]
pub(super) struct FileAccount {
    pub(super) path: String,
    pub(super) format: &'static str,
    /// Packets, records or lines in it.
    pub(super) entries: u64,
    /// Of those the ones that are no exchange, by reason.
    pub(super) skipped: BTreeMap<&'static str, u64>,
    /// Entries that were read, but not exactly as they stand, by what was done.
    pub(super) noted: BTreeMap<&'static str, u64>,
    /// Why it could not be read to its end.
    pub(super) damage: Option<String>,
}

/// Nothing could be read: one file's complaint, or that of the first of several.
pub(super) fn nothing(mut refused: Vec<Complaint>) -> Complaint {
    if refused.is_empty() {
        return Complaint::new(Exit::Input, "import", "nothing could be read", "name the files to import");
    }
    let first = refused.remove(0);
    refused.iter().for_each(journal::complain);
    first
}

/// Says it: a line for each file that was not read whole, then one for all; one JSON object if asked to.
pub(super) fn tell(account: &Account, args: &ImportArgs, globals: &Globals) -> Result<(), Complaint> {
    account.refused.iter().for_each(journal::complain);
    if !globals.quiet {
        for file in &account.files {
            let skipped = listed(file.skipped.iter().map(|(reason, count)| (*reason, *count)));
            if !skipped.is_empty() {
                say!("highwater: {}: of {} entries skipped: {skipped}", file.path, file.entries);
            }
            let noted = listed(file.noted.iter().map(|(what, count)| (*what, *count)));
            if !noted.is_empty() {
                say!("highwater: {}: of {} entries {noted}", file.path, file.entries);
            }
            if let Some(damage) = &file.damage {
                say!("highwater: {}: could not be read to its end: {damage}", file.path);
            }
        }
        let tally = &account.tally;
        let lost: u64 = tally.lost();
        say!(
            "imported {} exchanges of {} files into {}: seen {}, filtered {}, sampled out {}, dropped {lost}",
            tally.recorded,
            account.files.len(),
            args.out.display(),
            tally.seen,
            tally.filtered,
            tally.sampled_out,
        );
        let counts = listed(account.counts.iter().copied());
        if !counts.is_empty() {
            say!("{counts}");
        }
    }
    if args.json {
        let shown = Shown {
            out: args.out.display().to_string(),
            exchanges: account.tally.recorded,
            seen: account.tally.seen,
            filtered: account.tally.filtered,
            sampled_out: account.tally.sampled_out,
            dropped: account.tally.dropped.iter().map(|(reason, count)| (reason.as_str(), *count)).collect(),
            files: &account.files,
            refused: account.refused.iter().map(ToString::to_string).collect(),
            counts: account.counts.iter().copied().collect(),
        };
        files::to_stdout(|out| {
            serde_json::to_writer(&mut *out, &shown)?;
            out.write_all(b"\n")
        })?;
    }
    Ok(())
}

fn listed(counts: impl Iterator<Item = (&'static str, u64)>) -> String {
    counts.map(|(name, count)| format!("{} {count}", name.replace('_', " "))).collect::<Vec<_>>().join(", ")
}

#[derive(Serialize)]
struct Shown<'a> {
    out: String,
    exchanges: u64,
    seen: u64,
    filtered: u64,
    sampled_out: u64,
    dropped: BTreeMap<&'static str, u64>,
    files: &'a [FileAccount],
    refused: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}
