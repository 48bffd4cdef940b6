//! `highwater import`: what others recorded becomes a capture.

mod foreign;
mod inputs;
mod packets;
mod sink;
mod sorter;
mod telling;

use std::ffi::OsString;
use std::path::PathBuf;

use captures::foreign::{LogFormat, Template};
use captures::{Bytes, sha256};
use recorder::{KeyRule, MaskPolicy, Policy};

use crate::Globals;
use crate::commands::import::inputs::{Format, Input};
use crate::commands::record::mask::MaskArgs;
use crate::commands::record::policy::{LARGEST_BODY, PolicyArgs};
use crate::complain::{Complaint, Exit};

/// What is kept of a body unless something else is said: files hold what they hold.
const BODY_LIMIT: Bytes = LARGEST_BODY;

/// Turns what others recorded into a capture: packets (pcap, pcapng), HAR, GoReplay, access logs
///
/// Files may be compressed by gzip, zstd or xz, `-` is stdin. Of several, the one that begins first is read
/// first; a connection may go on from one file of packets into the next. Secrets are masked, sessions found,
/// exchanges filtered and sampled as by `record`. What is no exchange, or cannot be read, is counted by reason.
///
/// From packets HTTP/1 is read, on any port and in any order of segments, through VLANs, MPLS, PPPoE, GRE,
/// VXLAN, Geneve, GTP and other tunnels, over TCP and SCTP, and HTTP/2. TLS 1.2 and 1.3 are read when their keys
/// are known, from --keylog or from within a pcapng file that is not stdin (editcap --inject-secrets), for the suites of AES-GCM and
/// ChaCha20-Poly1305; all else of TLS is counted. Other suites tshark can take off, and what it exports is read:
/// tshark -r x.pcapng -o tls.keylog_file:KEYS -U 'OSI layer 7' -w plain.pcapng
///
/// Access logs are known in the formats common and combined (with $request_time or a duration behind it), of
/// Application and Classic Load Balancers, CloudFront and IIS (by their #Fields), Envoy, Traefik, Caddy and nginx
/// in JSON, nginx proxy manager; any other by --log-line
/// (--log-format means the same when there is a $ in it). They have no bodies, but rate, mix, sessions (by
/// address and agent) and history. Flow dumps of mitmproxy have no stable format: let mitmdump write HAR.
///
/// Example: highwater import monday.pcap.gz tuesday.pcap.gz --port 80 --out shop.capture
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// What to read; `-` is stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The capture to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What the files are; `auto` looks into each
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Auto)]
    format: Format,
    /// The format of the lines of a log, in nginx's own notation
    ///
    /// E.g. '$remote_addr [$time_local] "$request" $status $body_bytes_sent $request_time'. Read are the moment
    /// ($time_local, $time_iso8601 or $msec), $request or $request_method and $request_uri (or $uri and $args),
    /// $status, $body_bytes_sent, $request_length, $request_time (seconds; $duration_ms and $duration_us too),
    /// $remote_addr, $host, $http_NAME, $cookie_NAME, $connection, $scheme, $upstream_addr; others are stepped
    /// over.
    #[arg(long, value_name = "FORMAT", value_parser = Template::parse)]
    log_line: Option<Template>,
    /// Of packets: only connections of this port; may be repeated
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// Of packets: the keys of TLS, as browsers, curl and others write them (SSLKEYLOGFILE)
    #[arg(long, value_name = "FILE")]
    keylog: Option<PathBuf>,
    /// One JSON object on stdout that says what was read and what was not
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    mask: MaskArgs,
}

/// What an import goes by.
struct Plan<'a> {
    args: &'a ImportArgs,
    policy: Policy,
    masking: MaskPolicy,
    /// How the lines of logs are read.
    log: LogFormat,
    /// Tells this recording from others: made of the names and sizes of what is imported.
    recording: [u8; 16],
}

/// Runs the command.
pub(crate) fn run(args: &ImportArgs, globals: &Globals) -> Result<(), Complaint> {
    let mut policy = args.policy.resolve(BODY_LIMIT)?;
    let masking = args.mask.resolve()?;
    let mut inputs = Vec::new();
    let mut refused = Vec::new();
    for path in &args.files {
        match Input::open(path, args.format) {
            Ok(input) => inputs.push(input),
            Err(complaint) => refused.push(complaint),
        }
    }
    if inputs.is_empty() {
        return Err(telling::nothing(refused));
    }
    let log = args.log_line.clone().map_or(LogFormat::Known, LogFormat::Template);
    let recording = identity(&inputs);
    let is_packets = |input: &&Input| input.format == Format::Pcap;
    let packet_files = inputs.iter().filter(is_packets).count();
    if packet_files > 0 && packet_files < inputs.len() {
        let mend = "import them one by one; `highwater cut` merges the captures";
        return Err(usage("import", "files of packets and others do not belong together", mend));
    }
    if packet_files == 0 && args.keylog.is_some() {
        return Err(usage("--keylog", "opens packets, and there are none", "leave it out"));
    }
    if packet_files == 0 && !args.policy.tells_sessions() {
        policy.sessions.keys =
            vec![KeyRule::SessionCookie, KeyRule::Header("authorization".to_owned()), KeyRule::AddressAgent];
    }
    let plan = Plan { args, policy, masking, log, recording };
    let mut account =
        if packet_files > 0 { packets::import(&plan, inputs)? } else { foreign::import(&plan, inputs)? };
    account.refused.extend(refused);
    telling::tell(&account, args, globals)
}

/// What was typed, with the two meanings of `--log-format` told apart: all commands say by it how they speak
/// (`text` or `json`), and to an import or a forecast it may as well be the format of a log, which has a `$`.
pub(crate) fn told_apart(typed: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = typed.collect();
    let is_import = all.iter().skip(1).any(|word| word == "import" || word == "forecast");
    for at in 1..all.len() {
        let Some(word) = all[at].to_str().filter(|_| is_import) else { continue };
        let value = word.strip_prefix("--log-format=").map(str::to_owned);
        let names_line = |value: &str| value.contains('$');
        if let Some(value) = value.filter(|value| names_line(value)) {
            all[at] = format!("--log-line={value}").into();
        } else if word == "--log-format"
            && all.get(at + 1).and_then(|next| next.to_str()).is_some_and(names_line)
        {
            all[at] = "--log-line".into();
        }
    }
    all
}

fn identity(inputs: &[Input]) -> [u8; 16] {
    let mut names = Vec::new();
    for input in inputs {
        names.extend_from_slice(input.path.as_os_str().as_encoded_bytes());
        names.extend_from_slice(&std::fs::metadata(&input.path).map_or(0, |found| found.len()).to_le_bytes());
    }
    let digest = sha256(&names);
    std::array::from_fn(|at| digest[at])
}

/// What cannot be meant.
fn usage(place: &str, what: &str, mend: &str) -> Complaint {
    Complaint::new(Exit::Usage, place, what, mend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_format_with_a_variable_is_that_of_the_log() {
        let check = |typed: &str, expected: &str| {
            let told = told_apart(typed.split(' ').map(OsString::from));
            let told: Vec<&str> = told.iter().filter_map(|word| word.to_str()).collect();
            assert_eq!(told.join(" "), expected);
        };
        check("x import --log-format $a|$b f", "x import --log-line $a|$b f");
        check("x import --log-format=$a f", "x import --log-line=$a f");
        check("x import --log-format json f", "x import --log-format json f");
        check("x forecast --log-format $a f", "x forecast --log-line $a f");
        check("x record --log-format $a", "x record --log-format $a");
    }
}
