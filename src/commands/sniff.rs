//! `highwater sniff`: records what passes on an interface.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use captures::Bytes;
use recorder::{SniffError, SniffTotals, Until, Wiretap};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};

use crate::Globals;
use crate::commands::files;
use crate::commands::record::files::FilesArgs;
use crate::commands::record::mask::MaskArgs;
use crate::commands::record::policy::PolicyArgs;
use crate::commands::record::telling::{say_notice, summary};
use crate::commands::record::units::{size, time};
use crate::complain::{Complaint, Exit, reason, say};

/// What is kept of a body unless something else is said.
const BODY_LIMIT: Bytes = Bytes::new(64 << 10);

/// Records what passes on a network interface, by libpcap, without a proxy in the path
///
/// HTTP/1 in clear is read, on --port or on any port by content. Sampling, filters, bodies, masks, rotation and
/// quota are those of `record`. The right to capture (root, or CAP_NET_RAW) is given up before anything is read:
/// all capabilities, and under sudo the user, too. SIGINT or SIGTERM closes the capture; what the kernel dropped
/// is told then, and everything that could not be read.
///
/// Example: sudo highwater sniff -i eth0 --port 80 --out shop.capture
#[derive(Debug, clap::Args)]
pub(crate) struct SniffArgs {
    /// The interface, e.g. eth0, lo or any
    #[arg(short, long, value_name = "NAME")]
    interface: String,
    /// Only connections of this port; may be repeated
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// Only packets that pass this filter of libpcap, e.g. 'tcp port 80 and not host 10.0.0.7'
    #[arg(long, value_name = "BPF")]
    filter: Option<String>,
    /// The kernel's buffer: what passes while the machine is busy waits there
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    buffer: Bytes,
    /// Stop by itself after so long [default: at a signal]
    #[arg(long, value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,
    /// One JSON object on stdout when it is over
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    mask: MaskArgs,
    #[command(flatten)]
    files: FilesArgs,
}

/// Runs the command.
pub(crate) fn run(args: &SniffArgs, globals: &Globals) -> Result<(), Complaint> {
    let policy = args.policy.resolve(BODY_LIMIT)?;
    let masking = args.mask.resolve()?;
    let settings = args.files.resolve()?;
    let missing = || Complaint::new(Exit::Usage, "--out", "is missing", "name the capture to write");
    let out = args.files.out.as_deref().ok_or_else(missing)?;
    let tap = Wiretap::open(&args.interface, args.port.clone(), args.filter.as_deref(), args.buffer);
    let tap = tap.map_err(|error| complaint(args, &error))?;
    recorder::give_up_rights(invoker()).map_err(|error| {
        let what = format!("the rights of root could not be given up: {}", reason(&error));
        Complaint::new(Exit::Fault, "sniff", what, "start it as the user who is to own the capture")
    })?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| machine(&error))?;
    }
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))
        .map_err(|error| machine(&error))?;
    let segments = args.files.open(out, &settings, None)?;
    let shown = segments.shown().display().to_string();
    if !globals.quiet {
        say!("listening on {} into {shown}", args.interface);
    }
    let about = shown.clone();
    let until = Until { stop: &stop, duration: args.duration };
    let done = recorder::sniff(tap, &policy, &masking, &settings, segments, until, move |notice| {
        say_notice(&about, &notice)
    });
    let done = done.map_err(|error| Complaint::new(Exit::Fault, out.display(), &error, error.mend()))?;
    tell(args, globals, &done, &shown)
}

fn tell(args: &SniffArgs, globals: &Globals, done: &SniffTotals, shown: &str) -> Result<(), Complaint> {
    let rows = done.counts.rows();
    if !globals.quiet {
        say!("{}", summary(&done.totals, shown));
        let counts: Vec<String> = rows
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{} {count}", name.replace('_', " ")))
            .collect();
        say!(
            "kernel dropped {}, interface dropped {}; {}",
            done.dropped_by_kernel,
            done.dropped_by_interface,
            counts.join(", ")
        );
    }
    if args.json {
        let dropped: BTreeMap<&str, u64> =
            done.totals.dropped.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        let object = serde_json::json!({
            "seen": done.totals.seen,
            "recorded": done.totals.recorded,
            "filtered": done.totals.filtered,
            "sampled_out": done.totals.sampled_out,
            "dropped": dropped,
            "packets_received": done.received,
            "kernel_drops": done.dropped_by_kernel,
            "interface_drops": done.dropped_by_interface,
            "counts": rows.iter().map(|(name, count)| (*name, *count)).collect::<BTreeMap<_, _>>(),
        });
        files::to_stdout(|out| writeln!(out, "{object}"))?;
    }
    if let Some(what) = &done.broken {
        let mend = "what was recorded before can be read";
        return Err(Complaint::new(Exit::Fault, &args.interface, what, mend));
    }
    match &done.totals.unclosed {
        None => Ok(()),
        Some(error) => Err(Complaint::cannot_write(Path::new(shown), error)),
    }
}

fn complaint(args: &SniffArgs, error: &SniffError) -> Complaint {
    let (exit, place) = match error {
        SniffError::NoInterface { .. } => (Exit::Usage, format!("--interface {}", args.interface)),
        SniffError::Filter { .. } => {
            (Exit::Usage, format!("--filter {}", args.filter.as_deref().unwrap_or_default()))
        }
        SniffError::Forbidden | SniffError::Failed { .. } => (Exit::Fault, args.interface.clone()),
    };
    Complaint::new(exit, place, error, error.mend())
}

/// Who called sudo, by user and group.
fn invoker() -> Option<(u32, u32)> {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    Some((number("SUDO_UID")?, number("SUDO_GID")?))
}

fn machine(error: &std::io::Error) -> Complaint {
    Complaint::new(Exit::Fault, "sniff", reason(error), "free some descriptors or memory")
}
