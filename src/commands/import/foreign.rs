//! Imports what other tools wrote: HAR, GoReplay, access logs.

use std::io::BufRead;
use std::net::IpAddr;
use std::path::Path;

use captures::foreign::{self, Entry, ForeignError, LogFormat};
use captures::{Exchange, Offset};
use recorder::Intake;

use super::Plan;
use super::inputs::{Format, Input};
use super::sorter::Sorter;
use super::telling::{Account, FileAccount, nothing};
use crate::complain::{Complaint, Exit};

/// Servers that are named in the header of the capture.
const MOST_SERVERS: usize = 1_024;

/// Imports `inputs`, none of them packets.
pub(super) fn import(plan: &Plan<'_>, inputs: Vec<Input>) -> Result<Account, Complaint> {
    let mut account = Account::default();
    let mut taking = Taking {
        intake: Intake::new(&plan.policy, &plan.masking, plan.recording),
        sorter: Sorter::new(&plan.args.out)?,
        servers: Vec::new(),
        failed: None,
    };
    for input in in_order(plan, inputs) {
        let (path, shown, format) = (input.path.clone(), input.shown(), input.format);
        match read(format, &plan.log, input.content, |entry| taking.take(entry)) {
            Ok(found) => account.files.push(FileAccount {
                path: shown,
                format: format.as_str(),
                entries: found.entries,
                skipped: found.skipped,
                noted: found.noted,
                damage: found.damage,
            }),
            Err(error) => account.refused.push(refused(&path, &error)),
        }
        if let Some(complaint) = taking.failed.take() {
            return Err(complaint);
        }
    }
    if account.files.is_empty() {
        return Err(nothing(account.refused));
    }
    let Taking { intake, sorter, servers, .. } = taking;
    account.tally = sorter.finish(|started| intake.capture_header(started, servers), intake.tally())?;
    Ok(account)
}

fn read(
    format: Format,
    log: &LogFormat,
    content: Box<dyn BufRead + Send>,
    take: impl FnMut(Entry),
) -> Result<foreign::Account, ForeignError> {
    match format {
        Format::Har => foreign::read_har(content, take),
        Format::Gor => foreign::read_gor(content, take),
        Format::Log | Format::Pcap | Format::Auto => foreign::read_log(content, log, take),
    }
}

fn refused(path: &Path, error: &ForeignError) -> Complaint {
    let place = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    Complaint::new(Exit::Input, place, error, error.mend())
}

/// What becomes of entries.
struct Taking<'a> {
    intake: Intake,
    sorter: Sorter<'a>,
    servers: Vec<String>,
    failed: Option<Complaint>,
}

impl Taking<'_> {
    fn take(&mut self, entry: Entry) {
        if self.failed.is_some() {
            return;
        }
        let Entry { mut exchange, client, server } = entry;
        exchange.passage.server = server.and_then(|server| self.number(server));
        let client: Option<IpAddr> = client;
        if let Some(exchange) = self.intake.admit(exchange, client)
            && let Err(complaint) = self.sorter.push(exchange)
        {
            self.failed = Some(complaint);
        }
    }

    fn number(&mut self, server: String) -> Option<u32> {
        let known = self.servers.iter().position(|known| *known == server);
        let number = match known {
            Some(number) => number,
            None if self.servers.len() < MOST_SERVERS => {
                self.servers.push(server);
                self.servers.len() - 1
            }
            None => return None,
        };
        u32::try_from(number).ok()
    }
}

/// By their first entries, so that sessions go on from one file into the next.
fn in_order(plan: &Plan<'_>, inputs: Vec<Input>) -> Vec<Input> {
    if inputs.len() < 2 {
        return inputs;
    }
    let mut dated: Vec<(Offset, Input)> =
        inputs.into_iter().map(|input| (first_moment(plan, &input), input)).collect();
    dated.sort_by_key(|(first, _)| *first);
    dated.into_iter().map(|(_, input)| input).collect()
}

fn first_moment(plan: &Plan<'_>, input: &Input) -> Offset {
    const START: u64 = 256 << 10;
    let mut earliest = Offset::MAX;
    if input.path.is_file()
        && let Ok(again) = Input::open(&input.path, input.format)
    {
        let start = Box::new(std::io::BufReader::new(std::io::Read::take(again.content, START)));
        let note = |entry: Entry| earliest = earliest.min(moment(&entry.exchange));
        let _ = read(input.format, &plan.log, start, note);
    }
    earliest
}

const fn moment(exchange: &Exchange) -> Offset {
    exchange.arrived
}
