//! The flags of `highwater replay`, and those that it shares with `highwater capacity`.

use std::path::PathBuf;

/// Re-issues a capture against a target at scale, open loop, and writes down what happened
///
/// A scale of 10x is ten phase-shifted copies of every session of production: more users, not faster ones. Of
/// a capture that holds a sample of the sessions, 1x takes as many copies as make up all of production again.
/// Only GET, HEAD and OPTIONS are sent until --allow-unsafe is given, and never to where the capture was
/// recorded.
///
/// Example: highwater replay shop.capture --target http://127.0.0.1:9001 --stages '=10s:1x,=10s:4x' --out shop.run
///
/// Example: highwater replay shop.capture --target http://staging --allow-unsafe --profile spike --scale 10x --threshold 'p95<500ms' 'route:POST /checkout:p99<1s' --out spike.run
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) sending: SendingArgs,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    /// The run to write; with --dry-run the plan as JSON, and beside it as a chart that ends in .svg
    #[arg(long, value_name = "RUN", required_unless_present = "dry_run")]
    pub(super) out: Option<PathBuf>,
    /// What the run must meet: 'p95<500ms' 'errors<1%' 'route:POST /checkout:p99<1s' 'stage:3:p95<800ms'
    /// 'observe:cpu<85% for 2m'; exits 99 when it does not
    ///
    /// `errors=0` or `errors<=0%` asks for no error; a number without % is a share below 1 (errors<0.01). <= and >= let
    /// the limit itself pass. A route may be a pattern ('route:/shop/*:p95<1s'): all that fit, taken together. With
    /// `for TIME` it is missed when it is broken all through a stretch of that length. What could not be judged is
    /// missed, too; what never could is refused before anything is sent.
    #[arg(long, value_name = "THRESHOLD", num_args = 1..)]
    pub(super) threshold: Vec<String>,
    /// What the answers must do: 'recorded-status' (99 % of them) or 'recorded-status>=97%'; exits 99 when they do not
    #[arg(long, value_name = "WHAT")]
    pub(super) expect: Option<String>,
    /// Keep answers beside the run (in RUN with the ending .answers, with live secrets), of whole sessions chosen by
    /// the seed, about so many; says how many of them say what the recorded ones said, and serves `highwater diff`
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10000", requires = "out")]
    pub(super) answers: Option<u64>,
    /// Thresholds that end the run when they are broken for 10 s, or for as long as they say
    #[arg(long, value_name = "THRESHOLD", num_args = 1..)]
    pub(super) abort_on: Vec<String>,
    /// When failures end the run: a threshold, or off
    #[arg(long, value_name = "THRESHOLD", default_value = "errors<50% for 10s")]
    pub(super) breaker: String,
    /// The thresholds as JUnit XML, for CI
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    /// A summary in Markdown, for a comment
    #[arg(long, value_name = "FILE")]
    pub(super) markdown: Option<PathBuf>,
    /// Serve /metrics (Prometheus) there while the replay goes on
    ///
    /// It asks for no password: give it a loopback address, or one that only your scraper reaches.
    #[arg(long, value_name = "IP:PORT")]
    pub(super) metrics: Option<std::net::SocketAddr>,
    /// Show the plan and send nothing; its curve by seconds, or by what makes 100 000 steps of it when it is longer
    #[arg(long)]
    pub(super) dry_run: bool,
    /// One JSON object on stdout at the end
    #[arg(long)]
    pub(super) json: bool,
}

/// What is replayed, and where.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// Captures, or folders with files that end in .capture; read as one
    #[arg(value_name = "CAPTURE", required = true)]
    pub(crate) captures: Vec<PathBuf>,
    /// Where to send, as http://HOST:PORT[/BASE] or https://HOST
    ///
    /// Several are one service at several addresses: new connections go to all their addresses in turn, and are
    /// told the Host of the first. A name is looked up again every 30 s; should it lead to where the capture was
    /// recorded, the replay stops.
    #[arg(long, value_name = "URL", required = true)]
    pub(crate) target: Vec<String>,
    /// The version of HTTP that is spoken
    #[arg(long, value_enum, value_name = "VERSION", default_value_t = HttpArg::One)]
    pub(crate) http: HttpArg,
    /// With HTTP/2, share connections among all sessions, with at most so many requests at a time on each [default:
    /// a connection for each that was recorded; with --connections 100]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub(crate) http2_streams: Option<usize>,
    /// Also send methods that may change something at the target (POST, PUT, DELETE …)
    #[arg(long)]
    pub(crate) allow_unsafe: bool,
    /// Replay against the recorded origin all the same; names it, so that no typing error can
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) origin_is_safe: Option<String>,
    /// Do not look for values that requests carry from earlier answers: send them as they were recorded
    #[arg(long, conflicts_with = "rules")]
    pub(crate) no_correlate: bool,
    /// Bind values by this file, as `highwater correlate --out` writes it, instead of by what is found
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// Data that rules refer to as {{file:NAME:COLUMN}}: CSV with a head line, or JSONL; a row for each copy of a session
    #[arg(long, value_name = "FILE")]
    pub(crate) data: Vec<PathBuf>,
    /// Log in with these credentials, as masked captures hold none: CSV or JSONL with columns named like the fields
    /// (username, password …), a row for each copy of a session; fewer rows are shared
    #[arg(long, value_name = "FILE")]
    pub(crate) login: Option<PathBuf>,
    /// Put the login that this capture holds before every session that began logged in: its first request carries a
    /// cookie or token that such a login gives. With --login, each copy logs in with a row of its own
    #[arg(long, value_name = "CAPTURE")]
    pub(crate) login_flow: Option<PathBuf>,
    /// Only what arrived from then on: a time since the recording began (90s, 2h) or a timestamp
    #[arg(long, value_name = "WHEN", conflicts_with = "busiest")]
    pub(crate) from: Option<String>,
    /// Only what arrived before then; a window ends where the capture ends
    #[arg(long, value_name = "WHEN", conflicts_with = "busiest")]
    pub(crate) to: Option<String>,
    /// Only the busiest stretch of this length; all of a capture that is shorter
    #[arg(long, value_name = "TIME")]
    pub(crate) busiest: Option<String>,
    /// Only these routes: 'GET /product/{}', '/api/*' (any method)
    #[arg(long, value_name = "ROUTE")]
    pub(crate) route: Vec<String>,
    /// None of these routes
    #[arg(long, value_name = "ROUTE")]
    pub(crate) exclude_route: Vec<String>,
    /// Send a route more or less often than it was recorded: 'POST /checkout=3x'; of several, the first that fits a
    /// route counts
    #[arg(long, value_name = "ROUTE=Nx")]
    pub(crate) mix: Vec<String>,
    /// How many times as fast recorded time passes; above 1 every user is faster (--scale takes more users)
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) speed: String,
    /// The Host field: target, recorded, or a name
    #[arg(long, value_name = "HOST", default_value = "target")]
    pub(crate) host: String,
    /// Set a field of every request: 'X-Test: 1'; not Host (--host) nor what frames requests (Content-Length,
    /// Transfer-Encoding, Connection …)
    #[arg(long, value_name = "FIELD")]
    pub(crate) header: Vec<String>,
    /// Leave a field out of every request
    #[arg(long, value_name = "NAME")]
    pub(crate) remove_header: Vec<String>,
    /// Put another beginning before paths: /v1/=/v2/
    #[arg(long, value_name = "OLD=NEW")]
    pub(crate) rewrite_path: Vec<String>,
    /// Set a parameter of the query of every request: key=test
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set_query: Vec<String>,
    /// The Authorization field of every request: 'Bearer …', @FILE with a line for each session in turn, or
    /// !COMMAND that prints one
    #[arg(long, value_name = "VALUE|@FILE|!COMMAND")]
    pub(crate) auth: Option<String>,
}

/// How it is sent.
#[derive(Debug, clap::Args)]
pub(crate) struct SendingArgs {
    /// What fractions of the load are made of
    #[arg(long, value_enum, default_value_t = UnitArg::Auto)]
    pub(crate) unit: UnitArg,
    /// The most one request may take
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) timeout: String,
    /// Sending threads [default: half of the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// The most requests that may leave in a second, counted by 100 ms; what is above is skipped and counted
    /// [default: the plan's own peak]
    #[arg(long, value_name = "RATE")]
    pub(crate) ceiling: Option<String>,
    /// When a request follows another on its connection: at its planned moment, or no sooner than its recorded
    /// pause after the answer
    #[arg(long, value_enum, default_value_t = PacingArg::Plan)]
    pub(crate) pacing: PacingArg,
    /// Share so many connections among all sessions [default: as many as were recorded, each with its own]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) connections: Option<usize>,
    /// A local address to send from; several take turns
    #[arg(long, value_name = "IP")]
    pub(crate) source_ip: Vec<std::net::IpAddr>,
    /// Trust these certificates (PEM) instead of the system's, for an https target
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The name that an https target's certificate must bear [default: the target's host]
    #[arg(long, value_name = "NAME")]
    pub(crate) sni: Option<String>,
    /// The certificate chain (PEM) to show to an https target
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,
    /// The most connections at a time [default: what the descriptor limit allows]
    #[arg(long, value_name = "N")]
    pub(crate) max_connections: Option<usize>,
    /// The most requests that may wait for their turn; more are skipped and counted
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) max_backlog: usize,
    /// Watch the target once a second, and three seconds at rest after the last answer: pid=N, cgroup=PATH,
    /// docker=NAME or prometheus=URL[,name…]; may be repeated
    ///
    /// A control group is named by its folder, or by its path below the roots of the hierarchies
    /// (system.slice/nginx.service). Docker's engine is asked at DOCKER_HOST (unix://…) or /var/run/docker.sock where
    /// the container's control group is. A metric that is named and not there at the first look is said, and again at
    /// the end when it never came.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) observe: Vec<String>,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum HttpArg {
    /// HTTP/1.1, one request at a time on a connection
    #[value(name = "1.1")]
    One,
    /// HTTP/2: by ALPN of an https target, else without asking first; what was recorded over HTTP/2 overlaps on its
    /// connection as it was recorded, and handshakes of WebSockets are held back
    #[value(name = "2")]
    Two,
    /// What an https target picks of both (ALPN), asked once before the replay; HTTP/1.1 in the clear, where nobody
    /// could tell beforehand, and with --dry-run, which asks nobody
    Auto,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PacingArg {
    /// Its planned moment, and its predecessor on the connection
    Plan,
    /// The recorded pause after its predecessor's end, too: a slow target slows its users down
    Think,
}

/// What fractions of the load are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum UnitArg {
    /// Sessions, unless they are too few or too long
    Auto,
    /// Whole sessions
    Session,
    /// Single requests
    Request,
}

/// How much load, and for how long.
#[derive(Debug, clap::Args)]
pub(super) struct LoadArgs {
    /// The load, as a multiple of the recorded curve; with --profile its peak [default: 1x]
    #[arg(long, value_name = "Nx", conflicts_with_all = ["stages", "rate", "users"])]
    pub(super) scale: Option<String>,
    /// The load as a mean rate, with the capture's mix and curve: 500rps
    #[arg(long, value_name = "RATE", conflicts_with_all = ["stages", "users", "profile"])]
    pub(super) rate: Option<String>,
    /// The load as a mean number of users at a time, which is by Little's law the lengths of all sessions added up, over
    /// the capture's span; a session lasts until one mean pause after its last request
    #[arg(long, value_name = "N", conflicts_with_all = ["stages", "profile"])]
    pub(super) users: Option<String>,
    /// The load over time: '=10s:4x' holds a level, '10s:4x' ramps to it; levels may be 500rps or 200users too.
    /// Sessions with bound values begin as it says and then go on to their end, so that none lacks what its first
    /// answers give
    #[arg(long, value_name = "STAGES", conflicts_with = "profile")]
    pub(super) stages: Option<String>,
    /// The load over time by name; --scale sets its peak, --duration its length
    #[arg(long, value_enum, value_name = "NAME")]
    pub(super) profile: Option<ProfileArg>,
    /// How long to replay; the capture repeats when this is longer [default: the capture's span, or the profile's
    /// length]
    #[arg(long, value_name = "TIME", conflicts_with = "stages")]
    pub(super) duration: Option<String>,
}

/// A load by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ProfileArg {
    /// =5m:1x
    Baseline,
    /// 2m:2x,=10m:2x
    Peak,
    /// =2m:1x,10s:10x,=90s:10x,10s:1x,=130s:1x
    Spike,
    /// 5m:1x,=235m:1x
    Soak,
    /// =2m:1x,=2m:2x,=2m:3x and so on up to =2m:8x
    Stress,
    /// 5m:3x,=55m:3x
    Volume,
    /// 30m:20x
    Breakpoint,
    /// =2m:1x,2m:4x,=3m:4x,30s:10x,=5m:10x,2m:6x,=6m:6x,90s:1x,=3m:1x
    BlackFriday,
}

impl ProfileArg {
    pub(super) const fn profile(self) -> replayer::Profile {
        match self {
            Self::Baseline => replayer::Profile::Baseline,
            Self::Peak => replayer::Profile::Peak,
            Self::Spike => replayer::Profile::Spike,
            Self::Soak => replayer::Profile::Soak,
            Self::Stress => replayer::Profile::Stress,
            Self::Volume => replayer::Profile::Volume,
            Self::Breakpoint => replayer::Profile::Breakpoint,
            Self::BlackFriday => replayer::Profile::BlackFriday,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_manual_says_what_a_profile_expands_to() {
        for arg in ProfileArg::value_variants() {
            let value = arg.to_possible_value().unwrap();
            assert_eq!(value.get_name(), arg.profile().as_str());
            let (said, expands) = (value.get_help().unwrap().to_string(), arg.profile().stages_text());
            match said.split_once(" and so on up to ") {
                Some((first, last)) => assert!(expands.starts_with(first) && expands.ends_with(last)),
                None => assert_eq!(said, expands, "{arg:?}"),
            }
        }
    }
}
