//! `highwater record`: what was typed becomes a configuration, a socket and a file; signals become a stop.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::IntErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use captures::Bytes;
use recorder::{Config, DEFAULT_MASKED, MaskPolicy, Notice, RecordError, Stopper, Totals, Upstream};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::Globals;
use crate::complain::{Complaint, Exit, reason, say};

/// Record real traffic through a reverse proxy.
///
/// Clients connect to --listen; requests go on to --upstream and both sides of every exchange are written to
/// --out. No X-Forwarded-* is added; header fields that are repeated are regrouped, and answers get the
/// proxy's Date. A client that closes its sending side after a request (a half-closed connection) counts as
/// gone. SIGINT, SIGTERM or SIGHUP lets requests in flight end and closes the file; after a kill -9 the file
/// holds all but the last half second.
///
/// Secrets in headers (cookies, credentials, API keys and tokens, by the header's name) are replaced by
/// pseudonyms before they reach the disk. Queries, bodies, Location and Referer are stored as they were sent.
///
/// Example: highwater record --listen 127.0.0.1:8080 --upstream 127.0.0.1:9000 --out shop.capture
#[derive(Debug, clap::Args)]
pub(crate) struct RecordArgs {
    /// Where clients connect; port 0 lets the machine choose
    #[arg(long, value_name = "HOST:PORT")]
    listen: String,
    /// Where requests go; a name is looked up once, at the start
    #[arg(long, value_name = "HOST:PORT")]
    upstream: String,
    /// The capture to write
    #[arg(long, value_name = "FILE", required_unless_present = "recording")]
    out: Option<PathBuf>,
    /// Replace --out when it exists
    #[arg(long)]
    force: bool,
    /// The most bytes of a body that are stored; of longer ones also the length and a digest
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = size)]
    body_limit: Bytes,
    /// What to do to secrets in headers
    #[arg(long, value_enum, default_value_t = Mask::Default)]
    mask: Mask,
    /// One more header whose value is a secret, a `*` at an end standing for anything; may be repeated
    #[arg(long, value_name = "NAME")]
    mask_header: Vec<String>,
    /// Record requests that a replay sent, too
    #[arg(long)]
    record_replayed: bool,
    /// The most bytes that may wait to be written; above it, records are dropped and counted
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    queue_bytes: Bytes,
    /// Worker threads [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// How long requests in flight may go on after a signal
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    grace: Duration,
    /// How long client or upstream may stay silent within an exchange
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    timeout: Duration,
    /// `off` proxies alike and records nothing: to measure what recording costs
    #[arg(long, value_enum, value_name = "on|off", hide_possible_values = true)]
    recording: Option<Switch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mask {
    /// Headers named like credentials, cookies, API keys or tokens become pseudonyms
    Default,
    /// Nothing: the capture holds secrets
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Runs the command.
pub(crate) fn run(args: &RecordArgs, globals: &Globals) -> Result<(), Complaint> {
    let config = config(args)?;
    let listen = listen_address(&args.listen)?;
    let listener = recorder::bind(listen).map_err(|error| complaint(args, &error))?;
    let out = match (args.recording, &args.out) {
        (Some(Switch::Off), _) => None,
        (_, Some(path)) => Some(path.as_path()),
        (_, None) => {
            return Err(Complaint::new(Exit::Usage, "--out", "is missing", "name the capture to write"));
        }
    };
    // Before anything can be lost by a signal.
    let signals = Signals::new(stopping_signals()).map_err(|error| machine(&error))?;
    // A file above the limit of the process is a failed write like any other, not a reason to die.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))
        .map_err(|error| machine(&error))?;
    let sink = out.map(|path| open(path, args.force)).transpose()?;
    let is_new = sink.as_ref().is_some_and(|sink| sink.is_new);

    let upstream = config.upstream.typed.clone();
    let shown = out.map_or_else(|| "nothing".to_owned(), |path| path.display().to_string());
    let about = shown.clone();
    let file = sink.map(|sink| sink.file);
    let recording = recorder::start(config, listener, file, move |notice| say_notice(&about, &notice))
        .map_err(|error| {
            if let Some(path) = out.filter(|_| is_new) {
                let _ = std::fs::remove_file(path);
            }
            complaint(args, &error)
        })?;
    stop_on(signals, recording.stopper());
    if !globals.quiet {
        say!("recording {} -> {upstream} into {shown}", recording.address());
    }

    let totals = recording.wait();
    if !globals.quiet {
        say!("{}", summary(&totals, &shown));
    }
    match &totals.unclosed {
        None => Ok(()),
        Some(error) => Err(Complaint::new(
            Exit::Fault,
            shown,
            format!("could not be closed: {}", reason(error)),
            "what was recorded before can be read; make room and record again",
        )),
    }
}

fn config(args: &RecordArgs) -> Result<Config, Complaint> {
    let upstream = host_and_port("--upstream", &args.upstream)?;
    let upstream = Upstream::resolve(upstream).map_err(|error| complaint(args, &error))?;
    let masking = match args.mask {
        Mask::None => MaskPolicy::None,
        Mask::Default => {
            let more = args.mask_header.iter().map(|name| name.trim().to_ascii_lowercase());
            let headers = DEFAULT_MASKED.iter().map(|&name| name.to_owned()).chain(more).collect();
            MaskPolicy::with_random_key(headers).map_err(|error| complaint(args, &error))?
        }
    };
    if args.mask == Mask::None && !args.mask_header.is_empty() {
        let mend = "leave one of the two out";
        return Err(Complaint::new(Exit::Usage, "--mask-header", "contradicts --mask none", mend));
    }
    Ok(Config {
        upstream,
        body_limit: args.body_limit,
        masking,
        record_replayed: args.record_replayed,
        queue: args.queue_bytes,
        threads: args.threads.map_or_else(
            || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            usize::from,
        ),
        grace: args.grace,
        patience: args.timeout,
    })
}

fn listen_address(typed: &str) -> Result<SocketAddr, Complaint> {
    let found = host_and_port("--listen", typed)?.to_socket_addrs();
    found.ok().and_then(|mut addresses| addresses.next()).ok_or_else(|| {
        Complaint::new(
            Exit::Usage,
            format!("--listen {typed}"),
            "is no address",
            "give HOST:PORT, e.g. 127.0.0.1:8080",
        )
    })
}

/// `typed` without a scheme, when it ends in a port.
fn host_and_port<'a>(flag: &str, typed: &'a str) -> Result<&'a str, Complaint> {
    let place = format!("{flag} {typed}");
    if typed.starts_with("https://") {
        let mend = "put a plain-text port of the service there";
        return Err(Complaint::new(Exit::Usage, place, "TLS is not supported here", mend));
    }
    let address = typed.strip_prefix("http://").unwrap_or(typed);
    let address = address.strip_suffix('/').unwrap_or(address);
    let port = address.rsplit_once(':').map(|(_, port)| port).unwrap_or_default();
    let (what, mend) = match port.parse::<u16>() {
        Ok(_) => return Ok(address),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => {
            ("the port is out of range", "give a port up to 65535, e.g. 127.0.0.1:9000")
        }
        Err(_) => ("has no port", "give HOST:PORT, e.g. 127.0.0.1:9000"),
    };
    Err(Complaint::new(Exit::Usage, place, what, mend))
}

/// A capture to be written.
struct Sink {
    file: File,
    /// Whether there was nothing before.
    is_new: bool,
}

/// Creates the capture for its owner alone, or opens the one that is to be replaced, with all that is in it;
/// keeps other recorders out.
fn open(path: &Path, force: bool) -> Result<Sink, Complaint> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let sink = match created {
        Ok(file) => Ok(Sink { file, is_new: true }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && force => {
            // Created where a link leads to nothing yet.
            let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
            opened.map(|file| Sink { file, is_new: false })
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mend = "give another --out, or --force to replace it";
            return Err(Complaint::new(Exit::Usage, path.display(), "exists already", mend));
        }
        Err(error) => Err(error),
    };
    let sink = sink.map_err(|error| Complaint::cannot_write(path, &error))?;
    match sink.file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let mend = "give another --out";
            Err(Complaint::new(Exit::Usage, path.display(), "is being written by another process", mend))
        }
        // Not every file system has locks; recording does not depend on them.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(sink),
    }
}

/// The signals that stop a recording. The loss of the terminal is none of them when it is ignored already:
/// that is what `nohup` is for.
fn stopping_signals() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let hangup_is_ignored = mask >> (SIGHUP - 1) & 1 == 1;
    [SIGINT, SIGTERM].into_iter().chain((!hangup_is_ignored).then_some(SIGHUP)).collect()
}

/// Stops the recording at the first signal, and ends its grace at the second. A lost terminal tells of itself
/// more than once, by the kernel and by the shell: it is never the second.
fn stop_on(mut signals: Signals, stopper: Stopper) {
    std::thread::spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            if count == 0 || signal != SIGHUP {
                stopper.stop();
            }
        }
    });
}

fn say_notice(file: &str, notice: &Notice) {
    match notice {
        Notice::WriteFailed(error) => say!(
            "highwater: {file}: cannot be written: {}; requests go on unrecorded until it can",
            reason(error)
        ),
        Notice::WriteResumed { lost } => {
            say!("highwater: {file}: is written again; {lost} exchanges were lost meanwhile");
        }
    }
}

/// One line that says what became of every exchange.
fn summary(totals: &Totals, file: &str) -> String {
    let lost: u64 = totals.dropped.iter().map(|(_, count)| count).sum();
    let reasons: Vec<String> =
        totals.dropped.iter().map(|(reason, count)| format!("{} {count}", reason.as_str())).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    format!(
        "seen {}, recorded {}, filtered {}, dropped {lost}{reasons}, {} in {file}",
        totals.seen, totals.recorded, totals.filtered, totals.file
    )
}

fn complaint(args: &RecordArgs, error: &RecordError) -> Complaint {
    let (exit, place) = match error {
        RecordError::ListenInUse { address } | RecordError::CannotListen { address, .. } => {
            (Exit::Fault, address.to_string())
        }
        RecordError::Unresolved { upstream, .. } => (Exit::Unreachable, upstream.clone()),
        RecordError::Loop { address } => (Exit::Usage, format!("--upstream {address}")),
        RecordError::CannotWrite { .. } => {
            (Exit::Fault, args.out.as_deref().unwrap_or(Path::new("--out")).display().to_string())
        }
        RecordError::Machine { .. } => (Exit::Fault, "record".to_owned()),
    };
    Complaint::new(exit, place, error, error.mend())
}

fn machine(error: &io::Error) -> Complaint {
    Complaint::new(Exit::Fault, "record", reason(error), "free some descriptors or memory")
}

/// A size: bytes, or with a unit (`k`, `M`, `G` of 1000; `KiB`, `MiB`, `GiB` of 1024).
fn size(typed: &str) -> Result<Bytes, String> {
    let split = typed.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(typed.len());
    let (count, unit) = typed.split_at(split);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err("give bytes or a unit, e.g. 64KiB or 10MB".to_owned()),
    };
    let count: u64 = count.parse().map_err(|_| "give a whole number, e.g. 64KiB".to_owned())?;
    count.checked_mul(factor).map(Bytes::new).ok_or_else(|| "is too large".to_owned())
}

/// A length of time: a whole number with `ms`, `s`, `m` or `h`.
fn time(typed: &str) -> Result<Duration, String> {
    let split = typed.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(typed.len());
    let (count, unit) = typed.split_at(split);
    let count: u32 = count.parse().map_err(|_| "give a whole number and a unit, e.g. 5s".to_owned())?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3_600),
        _ => return Err("give a unit: ms, s, m or h, e.g. 5s".to_owned()),
    };
    Ok(unit * count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_carry_their_unit() {
        assert_eq!(size("64KiB"), Ok(Bytes::new(65_536)));
        assert_eq!(size("10MB"), Ok(Bytes::new(10_000_000)));
        assert_eq!(size("0"), Ok(Bytes::new(0)));
        assert!(size("").is_err() && size("-1").is_err() && size("5 parsecs").is_err());
        assert!(size("99999999999GiB").is_err());
        assert_eq!(time("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(time("0ms"), Ok(Duration::ZERO));
        assert!(time("5").is_err() && time("1.5s").is_err() && time("").is_err());
    }

    #[test]
    fn an_address_needs_a_port() {
        assert_eq!(host_and_port("--upstream", "http://shop:80/").ok(), Some("shop:80"));
        assert_eq!(host_and_port("--upstream", "[::1]:80").ok(), Some("[::1]:80"));
        assert!(host_and_port("--upstream", "shop").is_err());
        assert!(host_and_port("--upstream", "shop:http").is_err());
        assert!(host_and_port("--upstream", "https://shop:443").is_err());
        let far = host_and_port("--listen", "127.0.0.1:99999").map_err(|complaint| complaint.to_string());
        assert!(far.is_err_and(|complaint| complaint.contains("127.0.0.1:99999: the port is out of range")));
    }
}
