//! Holds what was recorded against what clients sent and what the service saw.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use captures::{CaptureReader, Ending, Event, Exchange, Tally, sha256};

use crate::drive::{Outcome, Sent};
use crate::mix::Kind;
use crate::subject::captures_in;

/// What is in the captures of one recording.
#[derive(Default)]
pub(crate) struct Kept {
    /// The numbered exchanges.
    pub(crate) exchanges: BTreeMap<u64, Exchange>,
    /// Those whose targets have no number.
    pub(crate) others: Vec<Exchange>,
    /// Numbers that were recorded twice.
    pub(crate) repeated: u64,
    /// The sum of the last accounts of each file.
    pub(crate) tally: Tally,
    pub(crate) events: Vec<Event>,
    /// Places of all files that could not be read.
    pub(crate) damage: Vec<String>,
    pub(crate) files: Vec<PathBuf>,
    /// Files that could not be opened at all, and why.
    pub(crate) unreadable: Vec<String>,
    pub(crate) unclosed: usize,
}

impl Kept {
    /// Everything in `folder`.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut kept = Self { files: captures_in(folder), ..Self::default() };
        for path in kept.files.clone() {
            let shown = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let file = BufReader::new(File::open(&path).unwrap());
            let mut reader = match CaptureReader::open(file) {
                Ok(reader) => reader,
                Err(error) => {
                    kept.unreadable.push(format!("{shown}: {error}"));
                    continue;
                }
            };
            let mut read = 0;
            for exchange in reader.by_ref().map_while(Result::ok) {
                read += 1;
                match Kind::read(&String::from_utf8_lossy(&exchange.request.target)) {
                    None => kept.others.push(exchange),
                    Some((_, id)) => {
                        kept.repeated += u64::from(kept.exchanges.insert(id, exchange).is_some());
                    }
                }
            }
            kept.damage.extend(reader.damage().iter().map(|damage| format!("{shown}: {damage}")));
            kept.unclosed += usize::from(!reader.closed());
            kept.events.extend_from_slice(reader.events());
            // Each file has accounts of its own; together they are those of the recording.
            if let Some(tally) = reader.tallies().last() {
                kept.tally.seen += tally.seen;
                kept.tally.recorded += tally.recorded;
                if !reader.closed() {
                    // Of the last records of a file that was left on a failing disk it says nothing more.
                    let untold = u64::saturating_sub(read, tally.recorded);
                    kept.tally.seen += untold;
                    kept.tally.recorded += untold;
                }
                kept.tally.filtered += tally.filtered;
                kept.tally.sampled_out += tally.sampled_out;
                kept.tally.dropped.extend_from_slice(&tally.dropped);
            }
        }
        kept
    }

    /// The number of exchanges in the files.
    pub(crate) fn count(&self) -> u64 {
        self.exchanges.len() as u64 + self.others.len() as u64
    }

    /// The number of exchanges that it says it lost.
    pub(crate) fn dropped(&self) -> u64 {
        self.tally.dropped.iter().map(|(_, count)| count).sum()
    }

    /// What is wrong with the accounts of a recorder that was stopped in order. `removed` says that whole
    /// files were removed to keep a quota.
    pub(crate) fn problems(&self, sent: &[Sent], seen: &BTreeMap<u64, u32>, removed: bool) -> Vec<String> {
        let mut problems = Vec::new();
        let tally = &self.tally;
        let parts = tally.recorded + tally.filtered + tally.sampled_out + self.dropped();
        if tally.seen != parts {
            problems.push(format!("seen {} is not the sum of its parts, {parts}", tally.seen));
        }
        if self.repeated > 0 {
            problems.push(format!("{} exchanges were recorded twice", self.repeated));
        }
        if tally.recorded != self.count() && !removed {
            problems.push(format!(
                "the accounts tell of {} records, the files hold {}",
                tally.recorded,
                self.count()
            ));
        }
        let answered = sent.iter().filter(|one| !matches!(one.outcome, Outcome::Broken(_)));
        let missing: Vec<u64> =
            answered.map(|one| one.id).filter(|id| !self.exchanges.contains_key(id)).collect();
        let unrecorded = tally.filtered + tally.sampled_out + self.dropped();
        if missing.len() as u64 > unrecorded && !removed {
            problems.push(format!(
                "{} answered requests are not recorded (the first is {}), {unrecorded} are accounted for",
                missing.len(),
                missing[0]
            ));
        }
        let most = (sent.len() + self.others.len()) as u64;
        if tally.seen > most {
            problems.push(format!("seen {} of {most} requests", tally.seen));
        }
        let unknown = seen.keys().filter(|id| !self.exchanges.contains_key(id)).count() as u64;
        if unknown > unrecorded && !removed {
            problems.push(format!("the service saw {unknown} requests that are not recorded"));
        }
        problems.extend(self.wrong(sent, seen));
        problems
    }

    /// Records that do not tell what happened.
    pub(crate) fn wrong(&self, sent: &[Sent], seen: &BTreeMap<u64, u32>) -> Vec<String> {
        let by_id: BTreeMap<u64, &Sent> = sent.iter().map(|one| (one.id, one)).collect();
        let mut problems = Vec::new();
        for (id, exchange) in &self.exchanges {
            let Some(sent) = by_id.get(id) else {
                problems.push(format!("record {id} was never sent"));
                continue;
            };
            if let Some(problem) = difference(sent, exchange, seen.get(id).copied().unwrap_or(0)) {
                problems.push(format!(
                    "record {id} ({:?}, {}): {problem}",
                    sent.kind,
                    exchange.ending.as_str()
                ));
            }
        }
        problems
    }
}

/// In what a record differs from what was sent and answered.
fn difference(sent: &Sent, exchange: &Exchange, seen: u32) -> Option<String> {
    let (kind, id) = (sent.kind, sent.id);
    let (request, completed) = (&exchange.request, exchange.ending == Ending::Completed);
    if request.target != kind.target(id).as_bytes() || request.method != kind.method().as_bytes() {
        return Some("another target or method".to_owned());
    }
    let number = captures::header_value(&request.headers, "x-number");
    if number != Some(id.to_string().as_bytes()) {
        return Some(format!("another header: {number:?}"));
    }
    if exchange.ended < exchange.arrived {
        return Some("it ended before it began".to_owned());
    }
    if sent.outcome == Outcome::Right && !completed {
        return Some("its client has the whole answer".to_owned());
    }
    if exchange.attempts > 0 && seen == 0 && completed {
        return Some("the service never saw it".to_owned());
    }
    if exchange.attempts == 0 && seen > 0 {
        return Some("the service saw it".to_owned());
    }
    let response = exchange.response.as_ref();
    if let Some(problem) = body_differs(&request.body, &kind.up(id), exchange.request_done.is_some()) {
        return Some(format!("request body {problem}"));
    }
    let own = response.is_some_and(|response| response.status != kind.status());
    if let (false, Some(response)) = (own, response)
        && let Some(problem) = body_differs(&response.body, &kind.down(id), completed)
    {
        return Some(format!("response body {problem}"));
    }
    if completed && response.is_none() {
        return Some("completed without a response".to_owned());
    }
    if let (Outcome::Status(status), Some(response)) = (&sent.outcome, response)
        && response.status != *status
    {
        return Some(format!("its client got {status}, not {}", response.status));
    }
    None
}

fn body_differs(body: &captures::Body, expected: &[u8], whole: bool) -> Option<String> {
    if !expected.starts_with(&body.stored) {
        return Some("holds other bytes".to_owned());
    }
    if whole && body.length != expected.len() as u64 {
        return Some(format!("has {} bytes instead of {}", body.length, expected.len()));
    }
    if whole && !body.cut && body.stored.len() != expected.len() {
        return Some(format!("is short: {} of {} bytes stored", body.stored.len(), expected.len()));
    }
    if whole && body.cut && body.digest.is_some_and(|digest| digest != sha256(expected)) {
        return Some("has another digest".to_owned());
    }
    if whole && body.cut && body.digest.is_none() {
        return Some("was cut without a digest".to_owned());
    }
    None
}
