//! Imports files of packets.

use std::fs::File;
use std::io::{self, BufReader};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use captures::Exchange;
use recorder::{Intake, KeyLog, PacketFile, PacketReader};

use super::inputs::{Input, unreadable};
use super::sink::{Sink, size};
use super::telling::{Account, FileAccount};
use super::{Plan, usage};
use crate::complain::{Complaint, Exit};

/// Exchanges are handed over by so many, or when they hold so many bytes.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// So much of a file is read at once, in search of keys.
const PIECE: usize = 1 << 18;

/// Imports `inputs`, all of them packets, the earliest first.
///
/// One thread reads packets, the other masks exchanges and writes them; the batches between them are few, so that
/// memory stays bounded. What is made does not depend on who is faster.
pub(super) fn import(plan: &Plan<'_>, inputs: Vec<Input>) -> Result<Account, Complaint> {
    let mut sink = Sink::new(&plan.args.out)?;
    let mut intake = Intake::new(&plan.policy, &plan.masking, plan.recording);
    let inputs = in_order(inputs)?;
    let (hand_over, batches) = mpsc::sync_channel(1);
    let mut reader = PacketReader::new(&plan.policy, &plan.masking, plan.args.port.clone());
    reader.know_keys(keys(plan, &inputs)?);
    let (outcome, written) = thread::scope(|scope| {
        let reading =
            scope.spawn(move || Reading { reader, hand_over, batch: Batch::default() }.read(inputs));
        let written = write(&mut intake, &mut sink, &batches);
        // Without a taker the reading ends as well.
        drop(batches);
        (reading.join(), written)
    });
    written?;
    let mut outcome = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if outcome.account.files.is_empty() {
        return Err(super::telling::nothing(outcome.account.refused));
    }
    let header = intake.capture_header(outcome.started, outcome.servers);
    outcome.account.tally = sink.finish(&header, intake.tally())?;
    Ok(outcome.account)
}

/// The keys of TLS: those that were given, and those within the files. They are looked for before anything is read,
/// because they may stand behind what they open.
fn keys(plan: &Plan<'_>, inputs: &[Input]) -> Result<KeyLog, Complaint> {
    let mut keys = KeyLog::default();
    if let Some(path) = &plan.args.keylog {
        let log = File::open(path).map_err(|error| Complaint::cannot_open(path, &error))?;
        keys.read(BufReader::new(log)).map_err(|error| unreadable(path, &error))?;
        if keys.connections() == 0 {
            let mend = "give the file that SSLKEYLOGFILE had a client or a server write";
            return Err(Complaint::new(Exit::Input, path.display(), "holds no keys of TLS", mend));
        }
    }
    for input in inputs.iter().filter(|input| input.path.is_file()) {
        // What cannot be read any further is told when packets are read.
        let _ = if input.is_plain {
            File::open(&input.path).and_then(|file| keys.read_within(BufReader::with_capacity(PIECE, file)))
        } else {
            Input::open(&input.path, input.format).map_or(Ok(()), |again| keys.read_within(again.content))
        };
    }
    Ok(keys)
}

/// Exchanges on their way from one thread to the other, with what the head of the capture says of them.
#[derive(Default)]
struct Batch {
    exchanges: Vec<(Exchange, IpAddr)>,
    bytes: usize,
    started: i128,
    servers: Vec<String>,
}

/// What a reading came to.
struct Outcome {
    account: Account,
    started: i128,
    servers: Vec<String>,
}

fn write(intake: &mut Intake, sink: &mut Sink<'_>, batches: &Receiver<Batch>) -> Result<(), Complaint> {
    for Batch { exchanges, started, servers, .. } in batches {
        for (exchange, client) in exchanges {
            if let Some(exchange) = intake.admit_read(exchange, client) {
                sink.push(exchange, || intake.capture_header(started, servers.clone()))?;
            }
        }
    }
    Ok(())
}

/// The thread that reads.
struct Reading {
    reader: PacketReader,
    hand_over: SyncSender<Batch>,
    batch: Batch,
}

/// Nobody takes what is read any more.
struct Unwanted;

impl Reading {
    fn read(mut self, inputs: Vec<Input>) -> Outcome {
        let mut account = Account::default();
        for input in inputs {
            let shown = input.shown();
            match self.read_one(input) {
                Ok(Ok(file)) => account.files.push(FileAccount { path: shown, ..file }),
                Ok(Err(complaint)) => account.refused.push(complaint),
                Err(Unwanted) => break,
            }
        }
        self.reader.finish();
        // Nobody may be there to take it; then it is not wanted.
        let _ = self.gather().and_then(|()| self.send());
        account.counts = self.reader.counts().rows().into_iter().filter(|(_, count)| *count > 0).collect();
        Outcome { account, started: self.reader.started().unwrap_or(0), servers: self.reader.servers() }
    }

    /// Reads a file; the complaint is for one that cannot be read at all.
    fn read_one(&mut self, input: Input) -> Result<Result<FileAccount, Complaint>, Unwanted> {
        let source = match Source::of(input) {
            Ok(source) => source,
            Err(complaint) => return Ok(Err(complaint)),
        };
        let refused = |error: &recorder::PacketError| {
            let what = format!("cannot be read as packets: {error}");
            Complaint::new(Exit::Input, source.path.display(), what, error.mend())
        };
        let mut file = match PacketFile::open(&source.opened) {
            Ok(file) => file,
            Err(error) => return Ok(Err(refused(&error))),
        };
        let mut account = FileAccount { format: "pcap", ..FileAccount::default() };
        loop {
            match file.next_packet() {
                Ok(Some(packet)) => {
                    self.reader.on_packet(packet);
                    account.entries += 1;
                }
                Ok(None) => break,
                // The file is torn or damaged: what came before is good.
                Err(error) if account.entries > 0 => {
                    account.damage = Some(format!("after packet {}: {error}", account.entries));
                    break;
                }
                Err(error) => return Ok(Err(refused(&error))),
            }
            self.gather()?;
        }
        drop(file);
        if let Some(error) = source.finish() {
            account.damage.get_or_insert(format!("after packet {}: {error}", account.entries));
        }
        Ok(Ok(account))
    }

    /// Takes what is done, and hands over what is enough.
    fn gather(&mut self) -> Result<(), Unwanted> {
        while let Some((exchange, client)) = self.reader.poll() {
            self.batch.bytes += size(&exchange);
            self.batch.exchanges.push((exchange, client));
            if self.batch.exchanges.len() >= BATCH || self.batch.bytes >= BATCH_BYTES {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Unwanted> {
        let mut batch = std::mem::take(&mut self.batch);
        (batch.started, batch.servers) = (self.reader.started().unwrap_or(0), self.reader.servers());
        self.hand_over.send(batch).map_err(|_| Unwanted)
    }
}

/// Where libpcap reads from: the file itself, or a pipe that is fed with what was compressed.
struct Source {
    path: PathBuf,
    opened: PathBuf,
    feeder: Option<(io::PipeReader, JoinHandle<io::Result<u64>>)>,
}

impl Source {
    fn of(input: Input) -> Result<Self, Complaint> {
        let Input { path, mut content, is_plain, .. } = input;
        if is_plain {
            return Ok(Self { opened: path.clone(), path, feeder: None });
        }
        let (reader, mut writer) = io::pipe().map_err(|error| unreadable(&path, &error))?;
        let opened = Path::new("/proc/self/fd").join(reader.as_raw_fd().to_string());
        let feeder = std::thread::spawn(move || io::copy(&mut content, &mut writer));
        Ok(Self { path, opened, feeder: Some((reader, feeder)) })
    }

    /// What went wrong with what was compressed.
    fn finish(self) -> Option<io::Error> {
        let (reader, feeder) = self.feeder?;
        drop(reader);
        match feeder.join() {
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Some(error),
            _ => None,
        }
    }
}

/// By their first packets; what cannot be looked at beforehand comes last.
fn in_order(inputs: Vec<Input>) -> Result<Vec<Input>, Complaint> {
    if inputs.iter().filter(|input| input.path == Path::new("-")).count() > 1 {
        return Err(usage("-", "is named twice", "stdin can be read once"));
    }
    let mut dated: Vec<(i128, Input)> =
        inputs.into_iter().map(|input| (first_moment(&input), input)).collect();
    dated.sort_by_key(|(first, _)| *first);
    Ok(dated.into_iter().map(|(_, input)| input).collect())
}

fn first_moment(input: &Input) -> i128 {
    let again = if input.is_plain {
        Some(Source { path: input.path.clone(), opened: input.path.clone(), feeder: None })
    } else if input.path.is_file() {
        Input::open(&input.path, input.format).and_then(Source::of).ok()
    } else {
        None
    };
    let Some(source) = again else { return i128::MAX };
    let mut file = PacketFile::open(&source.opened).ok();
    let first = file.as_mut().and_then(|file| Some(file.next_packet().ok()??.wall));
    drop(file);
    source.finish();
    first.unwrap_or(i128::MAX)
}
