//! From flags to a plan and a place to send it: reads the capture, refuses the recorded origin.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use captures::{CaptureHeader, Offset, Rate, RoutePattern};
use replayer::{
    Addresses, HeldBack, HostField, ObserveSource, Observer, Plan, Planner, Rewrites, Rewriting, Selection,
    Share, Target, Tls, TlsError, TlsFiles, Wire, some_of,
};

use super::args::{HttpArg, SendingArgs, SourceArgs};
use super::bindings;
use super::targets::{self, Targets};
use crate::commands::files;
use crate::complain::{Complaint, Exit, reason, say};

/// A capture, compiled for a target that has passed the check against the origin.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) targets: Targets,
    pub(crate) addresses: Vec<(usize, SocketAddr)>,
    /// Whether it is planned for HTTP/2.
    pub(crate) http2: bool,
}

/// How long each step of asking for the version of HTTP may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads what `args` name. Where the target is to pick the version of HTTP, it is asked as `asking` says; with none, it
/// is not asked.
pub(crate) fn prepare(
    args: &SourceArgs,
    asking: Option<&SendingArgs>,
    seed: u64,
) -> Result<Prepared, Complaint> {
    let prepared = prepare_for(args, args.http == HttpArg::Two, seed)?;
    let Some(sending) = asking.filter(|_| args.http == HttpArg::Auto) else { return Ok(prepared) };
    // Only now: before the capture was read, nobody knows whether the target is the recorded origin.
    if !picks_http2(&prepared, sending)? {
        return Ok(prepared);
    }
    // What overlaps is another plan; two of them at a time would take twice the memory.
    drop(prepared);
    prepare_for(args, true, seed)
}

fn picks_http2(prepared: &Prepared, sending: &SendingArgs) -> Result<bool, Complaint> {
    let target = prepared.targets.first();
    let addresses = prepared.targets.reachable(&prepared.addresses)?;
    let wire = wire(sending, target, addresses.clone(), None)?;
    let (Some(tls), Some(&address)) = (wire.tls, addresses.first()) else { return Ok(false) };
    match tls.picks_http2(address, PATIENCE) {
        Ok(picked) => Ok(picked),
        Err(error) => {
            say!("warning: {target} did not say which version of HTTP it picks ({}): 1.1", reason(&error));
            Ok(false)
        }
    }
}

fn prepare_for(args: &SourceArgs, http2: bool, seed: u64) -> Result<Prepared, Complaint> {
    if args.http2_streams.is_some() && args.http == HttpArg::One {
        return Err(Complaint::new(
            Exit::Usage,
            "--http2-streams",
            "is of HTTP/2 alone",
            "add --http 2 or --http auto, or leave it out",
        ));
    }
    let targets = targets::parse(args)?;
    let (header, plan) = load(args, &targets[0], http2, seed)?;
    let targets = Targets::new(targets, args, header, plan.authorities());
    let addresses = targets.resolve()?;
    Ok(Prepared { plan, targets, addresses, http2 })
}

/// Reads the capture into a plan. Damage is stepped over, and said.
fn load(
    args: &SourceArgs,
    target: &Target,
    http2: bool,
    seed: u64,
) -> Result<(CaptureHeader, Plan), Complaint> {
    let mut reader = files::open_captures(&args.captures)?;
    let rewriting = Rewriting {
        authority: target.authority(),
        base_path: target.base_path.clone(),
        secure: target.secure,
        http2,
        allow_unsafe: args.allow_unsafe,
        rewrites: rewrites(args)?,
    };
    let selection = selection(args, reader.header())?;
    let planner = || Planner::new(rewriting.clone(), selection.clone());
    let recorded_ms = i64::try_from(reader.header().started / 1_000_000).unwrap_or(0);
    let bound = bindings::bound(planner, &mut reader, args, seed, recorded_ms)?;
    let (mut planner, mut flow) = (bound.planner, bound.flow);
    if !bound.is_planned {
        if bound.is_read {
            reader = files::open_captures(&args.captures)?;
        }
        for exchange in reader.by_ref() {
            let mut exchange = exchange.map_err(|error| files::not_a_set(&error))?;
            if let Some(flow) = &mut flow {
                flow.before(&mut exchange).iter().for_each(|step| planner.add(step));
            }
            planner.add(&exchange);
        }
    }
    if let Some(flow) = &flow {
        say!("{} sessions began logged in: the login is put before each of them", flow.sessions);
    }
    let named = || files::named(&args.captures);
    if let Some((path, first)) = reader.damage().first() {
        say!("highwater: {}: {first}; the rest is replayed", path.display());
    }
    if reader.mixed_keys() {
        say!("highwater: {}: masked with different keys; secrets that were equal may differ", named());
    }
    let lost = reader.accounts().lost();
    if lost > 0 {
        say!(
            "highwater: {}: {lost} exchanges were lost as it was recorded; the load is lighter than it was",
            named()
        );
    }
    let header = reader.header().clone();
    let filters =
        header.filters.iter().any(|typed| typed.starts_with("--include") || typed.starts_with("--exclude"));
    let share = Share {
        sampling_ratio: header.sampling_ratio,
        // Without a filter, what was left out is replayed traffic: none of production's.
        filtered: if filters { reader.accounts().filtered } else { 0 },
    };
    if !(share.sampling_ratio > 0.0 && share.sampling_ratio <= 1.0) {
        let what = format!("claims to hold a share of {} of the sessions", share.sampling_ratio);
        return Err(Complaint::new(Exit::Input, named(), what, "record again"));
    }
    let plan = planner.finish(share).map_err(|error| {
        let exit = if error.is_selection() { Exit::Usage } else { Exit::Input };
        Complaint::new(exit, named(), &error, files::plain(&error.mend()))
    })?;
    if plan.window_is_cut() {
        let asked = match (&args.busiest, &args.to) {
            (Some(text), _) => format!("--busiest {text}"),
            (None, text) => format!("--to {}", text.as_deref().unwrap_or_default()),
        };
        let (all, taken) = (plan.recorded_span().as_secs_f64(), plan.span().as_secs_f64());
        say!("{asked}: the capture has {all:.1} s only; {taken:.1} s are replayed");
    }
    fits(&args.mix, &plan)?;
    Ok((header, plan))
}

/// Whether each change of the mix changes something.
fn fits(texts: &[String], plan: &Plan) -> Result<(), Complaint> {
    let patterns = texts.iter().map(|text| Ok(mix(text)?.0)).collect::<Result<Vec<_>, Complaint>>()?;
    for (at, (text, pattern)) in texts.iter().zip(&patterns).enumerate() {
        let wrong = |what: &str, mend: &str| {
            let (what, mend) = (files::plain(what), files::plain(mend));
            Err(Complaint::new(Exit::Usage, format!("--mix {text}"), what, mend))
        };
        let mut routes = plan.routes().iter().filter(|route| pattern.matches(route)).peekable();
        if routes.peek().is_none() {
            let left_out = plan.left_out().iter().find(|(route, _)| pattern.matches(route));
            return match left_out {
                None => wrong("no route fits", &format!("the routes are: {}", some_of(plan.routes()))),
                Some((route, HeldBack::UnsafeMethod)) => wrong(
                    &format!("fits {route} only, which is held back"),
                    "--allow-unsafe also sends methods that may change something at the target",
                ),
                Some((route, reason)) => wrong(
                    &format!("fits {route} only, which is held back ({})", reason.as_str()),
                    &format!("the routes that are sent are: {}", some_of(plan.routes())),
                ),
            };
        }
        // The first that fits a route counts.
        if routes.all(|route| patterns[..at].iter().any(|earlier| earlier.matches(route))) {
            return wrong("changes nothing: an earlier --mix has all its routes", "keep one of them");
        }
    }
    Ok(())
}

fn selection(args: &SourceArgs, header: &CaptureHeader) -> Result<Selection, Complaint> {
    let moment =
        |flag: &str, text: &Option<String>| text.as_deref().map(|text| when(flag, text, header)).transpose();
    let patterns = |texts: &[String]| texts.iter().map(|text| RoutePattern::new(text)).collect();
    let speed = args.speed.strip_suffix(['x', 'X']).unwrap_or(&args.speed).parse::<f64>().ok();
    let speed = speed.filter(|speed| (0.001..=1_000.0).contains(speed)).ok_or_else(|| {
        Complaint::new(
            Exit::Usage,
            format!("--speed {}", args.speed),
            "must be from 0.001 to 1000",
            "0.5 is half speed, 2 is double; --scale takes more users instead of faster ones",
        )
    })?;
    let selection = Selection {
        from: moment("--from", &args.from)?,
        to: moment("--to", &args.to)?,
        busiest: args.busiest.as_deref().map(|text| length("--busiest", text)).transpose()?,
        include: patterns(&args.route),
        exclude: patterns(&args.exclude_route),
        mix: args.mix.iter().map(|text| mix(text)).collect::<Result<_, _>>()?,
        speed,
    };
    if let (Some(from), Some(to)) = (selection.from, selection.to)
        && from >= to
    {
        return Err(Complaint::new(
            Exit::Usage,
            "--from and --to",
            "nothing lies between them",
            "give a --to that is later than --from",
        ));
    }
    Ok(selection)
}

fn mix(text: &str) -> Result<(RoutePattern, f64), Complaint> {
    replayer::parse_mix(text)
        .map_err(|error| Complaint::new(Exit::Usage, format!("--mix {text}"), error, error.mend()))
}

/// A moment of the recording: a length since it began, or a timestamp.
fn when(flag: &str, text: &str, header: &CaptureHeader) -> Result<Offset, Complaint> {
    if text == "0" || text == "0s" {
        return Ok(Offset::ZERO);
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        let nanos = (at.as_nanosecond() - header.started).max(0);
        return Ok(Offset::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
    }
    replayer::parse_length(text).map(|length| Offset::ZERO.plus(length)).map_err(|error| {
        let mend = "write a time since the recording began (90s, 2h) or a timestamp (2026-11-27T09:00:00Z)";
        Complaint::new(Exit::Usage, format!("{flag} {text}"), error, mend)
    })
}

fn rewrites(args: &SourceArgs) -> Result<Rewrites, Complaint> {
    let wrong = |flag: &str, text: &str, error: &replayer::RewriteError| {
        Complaint::new(Exit::Usage, format!("{flag} {text}"), error, error.mend())
    };
    let pairs = |flag: &str, texts: &[String]| {
        texts
            .iter()
            .map(|text| replayer::parse_pair(text).map_err(|error| wrong(flag, text, &error)))
            .collect::<Result<Vec<_>, _>>()
    };
    let set = args
        .header
        .iter()
        .map(|text| replayer::parse_field(text).map_err(|error| wrong("--header", text, &error)));
    Ok(Rewrites {
        host: match args.host.as_str() {
            "target" => HostField::Target,
            "recorded" => HostField::Recorded,
            name => {
                HostField::Named(replayer::field_value(name).map_err(|error| wrong("--host", name, &error))?)
            }
        },
        set: set.collect::<Result<_, _>>()?,
        remove: args.remove_header.clone(),
        paths: pairs("--rewrite-path", &args.rewrite_path)?,
        query: pairs("--set-query", &args.set_query)?,
        authorization: args.auth.as_deref().map(authorization).transpose()?.unwrap_or_default(),
    })
}

/// The values of `--auth`. They are credentials: no complaint repeats them.
fn authorization(text: &str) -> Result<Vec<String>, Complaint> {
    let lines = if let Some(path) = text.strip_prefix('@') {
        let path = std::path::Path::new(path);
        std::fs::read_to_string(path).map_err(|error| Complaint::cannot_open(path, &error))?
    } else if let Some(command) = text.strip_prefix('!') {
        let failed =
            |what: String| Complaint::new(Exit::Usage, "--auth", what, "run the command by hand to see why");
        let output = std::process::Command::new("sh")
            .args(["-c", command])
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::inherit())
            .output()
            .map_err(|error| failed(format!("the command cannot be run: {}", reason(&error))))?;
        if !output.status.success() {
            return Err(failed(format!("the command failed ({})", output.status)));
        }
        String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
    } else {
        text.to_owned()
    };
    let values: Vec<String> = lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            replayer::field_value(line)
                .map_err(|error| Complaint::new(Exit::Usage, "--auth", &error, error.mend()))
        })
        .collect::<Result<_, _>>()?;
    if values.is_empty() {
        let mend = "give a value like 'Bearer …', a file with one a line, or a command that prints one";
        return Err(Complaint::new(Exit::Usage, "--auth", "gives no value", mend));
    }
    Ok(values)
}

pub(crate) fn length(flag: &str, text: &str) -> Result<Duration, Complaint> {
    replayer::parse_length(text)
        .map_err(|error| Complaint::new(Exit::Usage, format!("{flag} {text}"), &error, error.mend()))
}

/// Where and how connections are made.
pub(crate) fn wire(
    args: &SendingArgs,
    target: &Target,
    addresses: Vec<SocketAddr>,
    http2: Option<bool>,
) -> Result<Wire, Complaint> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| Complaint::cannot_open(path, &error));
    let unreached = |source: &IpAddr| addresses.iter().find(|address| address.is_ipv4() != source.is_ipv4());
    let wrong_family = args.source_ip.iter().find_map(|source| Some((source, unreached(source)?)));
    if let Some((source, address)) = wrong_family {
        let what = format!("cannot reach {address}");
        let mend = "give addresses of the family of the target's";
        return Err(Complaint::new(Exit::Usage, format!("--source-ip {source}"), what, mend));
    }
    for source in &args.source_ip {
        TcpListener::bind((*source, 0)).map_err(|error| {
            let what = format!("no connection can come from it: {}", reason(&error));
            Complaint::new(
                Exit::Usage,
                format!("--source-ip {source}"),
                what,
                "give addresses of this machine (ip addr)",
            )
        })?;
    }
    let tls_flags = args.ca.is_some() || args.sni.is_some() || args.client_cert.is_some();
    if !target.secure && tls_flags {
        return Err(Complaint::new(
            Exit::Usage,
            target,
            "does not ask for TLS, but --ca, --sni or --client-cert do",
            "write https:// or leave them out",
        ));
    }
    let tls = if target.secure {
        let identity = match (&args.client_cert, &args.client_key) {
            (Some(chain), Some(key)) => Some((read(chain)?, read(key)?)),
            _ => None,
        };
        let files = TlsFiles { authority: args.ca.as_ref().map(read).transpose()?, identity };
        let name = args.sni.as_deref().unwrap_or(&target.host);
        let place = |error: &TlsError| match error {
            TlsError::Name => format!("--sni {name}"),
            TlsError::Authority => format!("--ca {}", args.ca.as_deref().unwrap_or(Path::new("")).display()),
            TlsError::Identity { .. } => "--client-cert".to_owned(),
            TlsError::NoRoots => target.to_string(),
        };
        let tls = Tls::new(name, &files)
            .map_err(|error| Complaint::new(Exit::Usage, place(&error), &error, error.mend()))?;
        let greet = |address: &SocketAddr| tls.greet(*address, http2?, PATIENCE).err();
        if let Some(error) = addresses.iter().find_map(greet) {
            return Err(Complaint::new(
                Exit::Unreachable,
                target,
                format!("no TLS connection can be made: {}", unmet(&error)),
                "mend its certificate, or give --ca, --sni, --client-cert or another --http to suit it",
            ));
        }
        Some(tls)
    } else {
        None
    };
    Ok(Wire { addresses: Addresses::new(addresses), tls, sources: args.source_ip.clone() })
}

/// Why hands were not shaken. A read that waited for too long is told from others by its kind alone.
fn unmet(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no handshake within {} s", PATIENCE.as_secs())
        }
        _ => reason(error),
    }
}

/// The ceiling of the rate, if one is set.
pub(crate) fn ceiling(args: &SendingArgs) -> Result<Option<Rate>, Complaint> {
    let Some(text) = &args.ceiling else { return Ok(None) };
    let number = text.strip_suffix("rps").or_else(|| text.strip_suffix("/s")).unwrap_or(text);
    let rate = number.trim().parse().ok().filter(|rate: &f64| *rate >= 10.0).and_then(Rate::per_second);
    rate.map(Some).ok_or_else(|| {
        Complaint::new(
            Exit::Usage,
            format!("--ceiling {text}"),
            "is no rate of 10 a second or more",
            "write e.g. 500rps",
        )
    })
}

/// What is to be watched, looked at once; what is not there yet is said.
pub(crate) fn observer(sources: &[String]) -> Result<Observer, Complaint> {
    let docker_host = std::env::var("DOCKER_HOST").ok();
    let parsed: Vec<ObserveSource> = sources
        .iter()
        .map(|text| {
            ObserveSource::parse(text, docker_host.as_deref()).map_err(|error| {
                Complaint::new(Exit::Usage, format!("--observe {text}"), &error, error.mend())
            })
        })
        .collect::<Result<_, _>>()?;
    let observer = Observer::new(&parsed).map_err(|(source, error)| {
        Complaint::new(Exit::Unreachable, format!("--observe {source}"), &error, error.mend())
    })?;
    for absent in observer.absent() {
        say!("highwater: --observe {}: no metric called {} is there yet", absent.source(), absent.name());
    }
    Ok(observer)
}
