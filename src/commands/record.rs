//! `highwater record`: what was typed becomes a configuration, a socket and a file; signals become a stop.

mod admin;
mod downstream;
pub(in crate::commands) mod files;
pub(in crate::commands) mod mask;
pub(in crate::commands) mod policy;
mod protocol;
pub(in crate::commands) mod telling;
pub(in crate::commands) mod units;
mod upstream;

use std::fs::File;
use std::io;
use std::num::IntErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use captures::Bytes;
use recorder::{Config, Monitor, RecordError, Stopper};
use signal_hook::consts::{SIGHUP, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::Globals;
use crate::admin as admin_listener;
use crate::commands::record::admin::AdminArgs;
use crate::commands::record::downstream::DownstreamArgs;
use crate::commands::record::files::FilesArgs;
use crate::commands::record::mask::{ExplainArgs, MaskArgs};
use crate::commands::record::policy::PolicyArgs;
use crate::commands::record::telling::{say_notice, summary};
use crate::commands::record::upstream::UpstreamArgs;
use crate::commands::signals;
use crate::complain::{Complaint, Exit, reason, say};

/// Record real traffic through a reverse proxy.
///
/// Clients connect to --listen; requests go on to --upstream and both sides of every exchange are written to
/// --out. On HTTP/1 header fields keep their order and case, except that fields of one name are written
/// together where the first stood; what the client said of its connection stays behind, and an answer
/// without a Date gets one (on HTTP/2 each gets the proxy's). A client that closes its sending side after a request (a half-closed connection) counts as
/// gone. An HTTP/1 request that can be read in two ways (two framings or hosts, bare line feeds, folded lines,
/// chunks or lengths out of shape, a target that is neither path nor URL) is answered by the recorder itself,
/// with a 4xx or 5xx, and recorded as `request_invalid`; CONNECT is, too. Trailers of HTTP/1 messages are not
/// passed on: those of requests are recorded, those of answers are lost. Those of HTTP/2 requests stay behind
/// unrecorded (the record says that the request was altered, unless it had declared its length); those of HTTP/2
/// answers, such as gRPC's status, pass. Upgrades are tunnelled, but for those
/// to HTTP/2, which end here.
///
/// SIGINT, SIGTERM or a lost terminal lets requests in flight end and closes the file; SIGHUP begins a new one
/// (see --out). After a kill -9 the file holds all but the last half second.
///
/// Secrets are replaced by pseudonyms before they reach the disk. They are known by their names (of headers,
/// cookies, parameters of queries, fields of forms, JSON and XML) and by their shape (card numbers, JSON web
/// tokens and the like), in bodies coded with gzip, deflate, br or zstd as well. What has neither, such as a word
/// in a path or a field of protobuf, is stored as it was sent.
///
/// Example: highwater record --listen 127.0.0.1:8080 --upstream 127.0.0.1:9000 --out shop.capture
#[derive(Debug, clap::Args)]
pub(crate) struct RecordArgs {
    #[command(flatten)]
    downstream: DownstreamArgs,
    #[command(flatten)]
    upstream: UpstreamArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    mask: MaskArgs,
    #[command(flatten)]
    explain: ExplainArgs,
    #[command(flatten)]
    files: FilesArgs,
    #[command(flatten)]
    admin: AdminArgs,
    /// Worker threads [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// `off` proxies alike and records nothing: to measure what recording costs
    #[arg(long, value_enum, value_name = "on|off", hide_possible_values = true)]
    recording: Option<Switch>,
    /// Check the flags and the --config file, then exit: 0 when a recording could be tried with them
    #[arg(long)]
    check: bool,
}

/// What is kept of a body unless something else is said.
const BODY_LIMIT: Bytes = Bytes::new(64 << 10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Runs the command.
pub(crate) fn run(args: &RecordArgs, globals: &Globals) -> Result<(), Complaint> {
    if args.explain.explain(&args.mask)? {
        return Ok(());
    }
    let config = config(args)?;
    let places = args.downstream.places()?;
    let out = match (args.recording, &args.files.out) {
        (Some(Switch::Off), _) => None,
        (_, Some(path)) => Some(path.as_path()),
        (_, None) => {
            return Err(Complaint::new(Exit::Usage, "--out", "is missing", "name the capture to write"));
        }
    };
    if args.check {
        return args.admin.address().map(drop);
    }
    let mut upgrade = args.admin.upgrade(args)?;
    let listeners = places.iter().map(|place| place.bind(upgrade.as_mut())).collect::<Result<Vec<_>, _>>();
    let listeners = listeners.map_err(|error| complaint(args, &error))?;
    let admin = args.admin.listener(args, upgrade.as_mut())?;
    // Before anything can be lost by a signal.
    let had_terminal = has_terminal();
    let signals = Signals::new(signals::heard()).map_err(|error| machine(&error))?;
    // A file above the limit of the process is a failed write like any other, not a reason to die.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))
        .map_err(|error| machine(&error))?;
    let segments = out.map(|path| args.files.open(path, &config.files, upgrade.as_mut())).transpose()?;

    let upstream =
        config.upstreams.servers.iter().map(|server| server.typed.as_str()).collect::<Vec<_>>().join(", ");
    let shown =
        segments.as_ref().map_or_else(|| "nothing".to_owned(), |out| out.shown().display().to_string());
    let about = shown.clone();
    let recording =
        recorder::start(config, listeners, segments, upgrade, move |notice| say_notice(&about, &notice))
            .map_err(|error| complaint(args, &error))?;
    obey(signals, had_terminal, recording.stopper(), recording.monitor());
    let watched = admin.as_ref().and_then(|listener| listener.local_addr().ok());
    if let Some(listener) = admin {
        admin_listener::serve(listener, args.admin.admin_host.clone(), recording.monitor())?;
    }
    if !globals.quiet {
        let clients = args.downstream.shown(recording.addresses());
        say!("recording {clients} -> {upstream} into {shown}");
        if let Some(address) = watched {
            say!("admin at http://{address}/metrics");
        }
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
    Ok(Config {
        downstream: args.downstream.resolve(args)?,
        upstreams: args.upstream.resolve(args)?,
        policy: args.policy.resolve(BODY_LIMIT)?,
        masking: args.mask.resolve()?,
        files: args.files.resolve()?,
        threads: args.threads.map_or_else(
            || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            usize::from,
        ),
    })
}

/// `typed` without a scheme, when it ends in a port.
fn host_and_port<'a>(flag: &str, typed: &'a str) -> Result<&'a str, Complaint> {
    let place = format!("{flag} {typed}");
    let address = typed.strip_prefix("http://").unwrap_or(typed);
    let address = address.strip_suffix('/').unwrap_or(address);
    let port = address.rsplit_once(':').map(|(_, port)| port).unwrap_or_default();
    let (what, mend) = match port.parse::<u16>() {
        Ok(0) if flag == "--upstream" => ("nobody listens at port 0", "give the port of the server"),
        Ok(_) => return Ok(address),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => {
            ("the port is out of range", "give a port up to 65535, e.g. 127.0.0.1:9000")
        }
        Err(_) => ("has no port", "give HOST:PORT, e.g. 127.0.0.1:9000"),
    };
    Err(Complaint::new(Exit::Usage, place, what, mend))
}

/// Stops the recording at the first signal, and ends its grace at the second.
///
/// SIGHUP is two things: a terminal that was lost, which stops (once: it tells of itself more than once, by the
/// kernel and by the shell), and somebody's wish for a new file. It is the first when there was a terminal and
/// there is none any more.
fn obey(mut signals: Signals, had_terminal: bool, stopper: Stopper, monitor: Monitor) {
    std::thread::spawn(move || {
        let mut stopped = false;
        for signal in signals.forever() {
            let is_hangup = signal == SIGHUP;
            let is_lost = had_terminal && !has_terminal();
            if is_hangup && !is_lost {
                monitor.reopen();
            } else if !(is_hangup && stopped) {
                stopped = true;
                stopper.stop();
            }
        }
    });
}

fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

fn complaint(args: &RecordArgs, error: &RecordError) -> Complaint {
    let (exit, place) = match error {
        RecordError::ListenInUse { address } | RecordError::CannotListen { address, .. } => {
            (Exit::Fault, address.to_string())
        }
        RecordError::Unresolved { upstream, .. } => (Exit::Unreachable, upstream.clone()),
        RecordError::Loop { address } => (Exit::Usage, format!("--upstream {address}")),
        RecordError::Certificate { file, .. } => (Exit::Usage, file.display().to_string()),
        RecordError::NoCertificate => (Exit::Usage, "--listen".to_owned()),
        RecordError::NoTrust { .. } => (Exit::Usage, "--upstream".to_owned()),
        RecordError::CannotWrite { .. } => {
            (Exit::Fault, args.files.out.as_deref().unwrap_or(Path::new("--out")).display().to_string())
        }
        RecordError::CannotTakeOver { .. } => (Exit::Fault, "--upgrade-socket".to_owned()),
        RecordError::Machine { .. } => (Exit::Fault, "record".to_owned()),
    };
    Complaint::new(exit, place, error, error.mend())
}

fn machine(error: &io::Error) -> Complaint {
    Complaint::new(Exit::Fault, "record", reason(error), "free some descriptors or memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_a_port() {
        assert_eq!(host_and_port("--upstream", "http://shop:80/").ok(), Some("shop:80"));
        assert_eq!(host_and_port("--upstream", "[::1]:80").ok(), Some("[::1]:80"));
        assert!(host_and_port("--upstream", "shop").is_err());
        assert!(host_and_port("--upstream", "shop:http").is_err());
        assert!(host_and_port("--upstream", "shop:0").is_err());
        assert_eq!(host_and_port("--listen", "127.0.0.1:0").ok(), Some("127.0.0.1:0"));
        let far = host_and_port("--listen", "127.0.0.1:99999").map_err(|complaint| complaint.to_string());
        assert!(far.is_err_and(|complaint| complaint.contains("127.0.0.1:99999: the port is out of range")));
    }
}
