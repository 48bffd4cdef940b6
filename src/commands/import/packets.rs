//! Imports files of packets.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use recorder::{PacketFile, PacketImport};

use super::inputs::{Input, unreadable};
use super::sink::Sink;
use super::telling::{Account, FileAccount};
use super::{Plan, usage};
use crate::complain::{Complaint, Exit};

/// Imports `inputs`, all of them packets, the earliest first.
pub(super) fn import(plan: &Plan<'_>, inputs: Vec<Input>) -> Result<Account, Complaint> {
    let mut account = Account::default();
    let mut import = PacketImport::new(&plan.policy, &plan.masking, plan.recording, plan.args.port.clone());
    let mut sink = Sink::new(&plan.args.out)?;
    for input in in_order(inputs)? {
        let shown = input.shown();
        match read(&mut import, &mut sink, input) {
            Ok(file) => account.files.push(FileAccount { path: shown, ..file }),
            Err(Stop::Refused(complaint)) => account.refused.push(complaint),
            Err(Stop::Failed(complaint)) => return Err(complaint),
        }
    }
    import.finish();
    drain(&mut import, &mut sink)?;
    if account.files.is_empty() {
        return Err(super::telling::nothing(account.refused));
    }
    let header = import.intake().capture_header(import.started().unwrap_or(0), import.servers());
    account.tally = sink.finish(&header, import.intake().tally())?;
    account.counts = import.counts().rows().into_iter().filter(|(_, count)| *count > 0).collect();
    Ok(account)
}

/// Why a file is left.
enum Stop {
    /// It cannot be read at all.
    Refused(Complaint),
    /// The capture cannot be written.
    Failed(Complaint),
}

fn read(import: &mut PacketImport, sink: &mut Sink<'_>, input: Input) -> Result<FileAccount, Stop> {
    let source = Source::of(input).map_err(Stop::Refused)?;
    let refused = |error: &recorder::PacketError| {
        let what = format!("cannot be read as packets: {error}");
        Stop::Refused(Complaint::new(Exit::Input, source.path.display(), what, error.mend()))
    };
    let mut file = PacketFile::open(&source.opened).map_err(|error| refused(&error))?;
    let mut account = FileAccount { format: "pcap", ..FileAccount::default() };
    loop {
        match file.next_packet() {
            Ok(Some(packet)) => {
                import.on_packet(packet);
                account.entries += 1;
            }
            Ok(None) => break,
            // The file is torn or damaged: what came before is good.
            Err(error) if account.entries > 0 => {
                account.damage = Some(format!("after packet {}: {error}", account.entries));
                break;
            }
            Err(error) => return Err(refused(&error)),
        }
        while let Some(exchange) = import.poll() {
            let header = || import.intake().capture_header(import.started().unwrap_or(0), import.servers());
            sink.push(exchange, header).map_err(Stop::Failed)?;
        }
    }
    drop(file);
    if let Some(error) = source.finish() {
        account.damage.get_or_insert(format!("after packet {}: {error}", account.entries));
    }
    Ok(account)
}

fn drain(import: &mut PacketImport, sink: &mut Sink<'_>) -> Result<(), Complaint> {
    while let Some(exchange) = import.poll() {
        let header = || import.intake().capture_header(import.started().unwrap_or(0), import.servers());
        sink.push(exchange, header)?;
    }
    Ok(())
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
