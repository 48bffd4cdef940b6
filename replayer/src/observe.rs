//! Watches the target while a replay goes on: processes, control groups, metrics in Prometheus' text format.
//!
//! Each source is looked at as each second ends, on one thread of its own: what was used and what was asked for are
//! then of the same second, and the costs of routes can be told from both. What a source says is understood by pure
//! functions (`process`, `cgroup`, `docker`, `prometheus`); growth of counters becomes a rate here. A source that fails
//! once leaves a gap.
//!
//! Once the last request has ended it is watched for some seconds more, at rest. What it uses without requests is
//! then seen, where otherwise it would be what a straight line leaves at no load.

mod cgroup;
mod docker;
mod process;
mod prometheus;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use captures::{Observed, ObservedKind, Offset};
use cgroup::Account;

use crate::clock::Clock;
use crate::ledger::Told;

/// A source of observations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObserveSource {
    /// A page in Prometheus' text format.
    Prometheus {
        /// Host and port.
        authority: String,
        /// The path, with its query.
        path: String,
        /// The metrics that are kept; all but the buckets of histograms when there are none.
        names: Vec<String>,
    },
    /// A process of this machine, with all that descend from it.
    Process(u32),
    /// A control group of this machine: a container, a service. Its folder, or its path below the hierarchies' roots.
    Cgroup(PathBuf),
    /// A container of this machine, by its name or id, and the socket of the engine that knows it.
    Docker {
        /// The name or id.
        name: String,
        /// The socket.
        socket: PathBuf,
    },
}

/// Why something cannot be observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObserveError {
    /// It is not written as a source.
    Form,
    /// Docker's engine is not on this machine.
    EngineElsewhere,
    /// It cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
}

impl fmt::Display for ObserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => write!(f, "is no source"),
            Self::EngineElsewhere => {
                write!(f, "cannot be observed: DOCKER_HOST is no socket of this machine")
            }
            Self::Unreadable { why } => write!(f, "cannot be observed: {why}"),
        }
    }
}

impl ObserveError {
    /// What to do about it.
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::Form => {
                "write pid=4711, cgroup=/sys/fs/cgroup/…, docker=NAME or prometheus=http://HOST:PORT/metrics[,name…]"
            }
            Self::EngineElsewhere => "set DOCKER_HOST to unix:///…, or unset it for /var/run/docker.sock",
            Self::Unreadable { .. } => {
                "check that it runs on this machine, or answers there, and may be read by this user"
            }
        }
    }
}

impl std::error::Error for ObserveError {}

impl ObserveSource {
    /// Reads `pid=N`, `cgroup=PATH`, `docker=NAME` or `prometheus=URL[,name…]`; `docker_host` says where Docker's engine
    /// is, `unix:///run/docker.sock`, as its own tools are told; by default it is at `/var/run/docker.sock`.
    ///
    /// # Errors
    /// When it is none of these, and for a container of an engine that has no socket on this machine.
    pub fn parse(text: &str, docker_host: Option<&str>) -> Result<Self, ObserveError> {
        let (kind, rest) = text.split_once('=').ok_or(ObserveError::Form)?;
        match kind {
            "pid" => rest.parse().map(Self::Process).map_err(|_| ObserveError::Form),
            "cgroup" if !rest.is_empty() => Ok(Self::Cgroup(PathBuf::from(rest))),
            "docker" if docker::is_name(rest) => match docker_host.filter(|host| !host.is_empty()) {
                None => Ok("/var/run/docker.sock"),
                Some(host) => host.strip_prefix("unix://").ok_or(ObserveError::EngineElsewhere),
            }
            .map(|socket| Self::Docker { name: rest.to_owned(), socket: PathBuf::from(socket) }),
            "prometheus" => {
                let mut parts = rest.split(',');
                let url = parts.next().unwrap_or_default();
                let rest = url.strip_prefix("http://").ok_or(ObserveError::Form)?;
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
                if host.is_empty() || rest.bytes().any(|byte| byte <= b' ' || byte == 0x7F) {
                    return Err(ObserveError::Form);
                }
                let has_port =
                    authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Self::Prometheus {
                    authority: if has_port { authority.to_owned() } else { format!("{authority}:80") },
                    path: if path.is_empty() { "/metrics".to_owned() } else { path.to_owned() },
                    names: parts.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
                })
            }
            _ => Err(ObserveError::Form),
        }
    }

    /// What the names of its observations begin with.
    fn prefix(&self) -> String {
        match self {
            Self::Prometheus { authority, .. } => format!("prometheus:{authority}/"),
            Self::Process(id) => format!("pid:{id}/"),
            Self::Cgroup(path) => {
                format!("cgroup:{}/", path.file_name().unwrap_or(path.as_os_str()).to_string_lossy())
            }
            Self::Docker { name, .. } => format!("docker:{name}/"),
        }
    }

    /// Looks; where a control group is accounted for is remembered in `account` until that fails, as it does when a
    /// container is started anew.
    fn look(&self, account: &mut Option<Account>) -> io::Result<Vec<Reading>> {
        let found = match self {
            Self::Prometheus { authority, path, names } => {
                return prometheus::look(authority, path, names);
            }
            Self::Process(id) => return process::look(*id),
            Self::Cgroup(_) | Self::Docker { .. } if account.is_some() => account.take(),
            Self::Cgroup(path) => Some(Account::of(path)?),
            Self::Docker { name, socket } => Some(Account::of_process(docker::process_of(name, socket)?)?),
        };
        let readings = found.as_ref().map_or_else(|| Ok(Vec::new()), Account::look)?;
        *account = found;
        Ok(readings)
    }

    /// The metrics that are asked for by their names.
    fn asked(&self) -> impl Iterator<Item = Asked> + '_ {
        let names = match self {
            Self::Prometheus { names, .. } => names.as_slice(),
            _ => &[],
        };
        names.iter().map(|name| Asked { source: self.to_string(), prefix: self.prefix(), name: name.clone() })
    }
}

/// A metric that is asked for by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    source: String,
    prefix: String,
    name: String,
}

impl Asked {
    /// Whether an observation of this name is one of it.
    pub fn is(&self, observed: &str) -> bool {
        observed.strip_prefix(&self.prefix).is_some_and(|series| prometheus::is_named(series, &self.name))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it was to be.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Display for ObserveSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prometheus { authority, path, .. } => write!(f, "prometheus=http://{authority}{path}"),
            Self::Process(id) => write!(f, "pid={id}"),
            Self::Cgroup(path) => write!(f, "cgroup={}", path.display()),
            Self::Docker { name, .. } => write!(f, "docker={name}"),
        }
    }
}

/// One number of a source at one moment.
#[derive(Clone, Debug, PartialEq)]
struct Reading {
    name: String,
    /// A level, or a counter that only grows; a counter is multiplied by `scale` once it has become a rate.
    counter: bool,
    value: f64,
    scale: f64,
}

impl Reading {
    fn gauge(name: &str, value: f64) -> Self {
        Self { name: name.to_owned(), counter: false, value, scale: 1.0 }
    }

    fn counter(name: &str, value: f64, scale: f64) -> Self {
        Self { name: name.to_owned(), counter: true, value, scale }
    }
}

/// Watches sources for as long as a run lasts; by default none.
#[derive(Debug, Default)]
pub struct Observer {
    sources: Vec<Watched>,
    absent: Vec<Asked>,
}

#[derive(Debug)]
struct Watched {
    source: ObserveSource,
    account: Option<Account>,
    rates: Rates,
}

impl Observer {
    /// Looks at each source once, so that one that cannot be observed is known before anything is sent.
    ///
    /// # Errors
    /// The first source that cannot be read, and why.
    pub fn new(sources: &[ObserveSource]) -> Result<Self, (ObserveSource, ObserveError)> {
        let (mut watched, mut absent) = (Vec::new(), Vec::new());
        for source in sources {
            let unreadable = |error: io::Error| ObserveError::Unreadable { why: error.to_string() };
            let mut account = None;
            let readings = source.look(&mut account).map_err(|error| (source.clone(), unreadable(error)))?;
            let seen = |asked: &Asked| {
                readings.iter().any(|reading| prometheus::is_named(&reading.name, &asked.name))
            };
            absent.extend(source.asked().filter(|asked| !seen(asked)));
            watched.push(Watched { source: source.clone(), account, rates: Rates::default() });
        }
        let mut sources = watched;
        // What answers at once comes first, on time.
        sources.sort_by_key(|watched| matches!(watched.source, ObserveSource::Prometheus { .. }));
        Ok(Self { sources, absent })
    }

    /// The metrics that are asked for by their names.
    pub fn asked(&self) -> Vec<Asked> {
        self.sources.iter().flat_map(|watched| watched.source.asked()).collect()
    }

    /// Those of them that were not there at the first look. They may come: some counters do with the first event.
    pub fn absent(&self) -> &[Asked] {
        &self.absent
    }

    /// Whether there is nothing to watch.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Looks at the start, as each second ends, and for [`REST_SECONDS`] more once `over` says that all requests
    /// have ended. Once more only, and without a rest, when `over` is dropped: the run was ended early.
    pub(crate) fn run(mut self, clock: Clock, over: &Receiver<()>, ledger: &Sender<Told>) {
        let timed_out = Err(RecvTimeoutError::Timeout);
        if over.recv_timeout(clock.until_start()) != timed_out {
            return;
        }
        // Counters have grown from here on.
        self.look(clock);
        let mut before = clock.now();
        // The second that is watched last.
        let mut last = u64::MAX;
        loop {
            let now = clock.now();
            let told = over.recv_timeout(Offset::from_secs(now.second() + 1).since(now));
            let at = clock.now();
            if told == Ok(()) {
                last = at.second() + REST_SECONDS;
                continue;
            }
            let ended = told != timed_out;
            // The second in which most of what was seen took place; of too short a rest nothing is said.
            let second = at.minus(HALF).second();
            if ended && at.since(before) < HALF {
                return;
            }
            let observed = self.look(clock);
            if ledger.send(Told::Observed(second, observed)).is_err() || ended || second >= last {
                return;
            }
            before = at;
        }
    }

    /// Each source has a moment of its own: a page may take long.
    fn look(&mut self, clock: Clock) -> Vec<Observed> {
        self.sources.iter_mut().flat_map(|watched| watched.look(clock.now())).collect()
    }
}

const HALF: Duration = Duration::from_millis(500);
/// Whole seconds after the one of the last answer. In that one connections are closed and answers logged.
const REST_SECONDS: u64 = 3;

impl Watched {
    fn look(&mut self, at: Offset) -> Vec<Observed> {
        let Ok(readings) = self.source.look(&mut self.account) else { return Vec::new() };
        let prefix = self.source.prefix();
        readings.iter().filter_map(|reading| self.rates.observed(&prefix, reading, at)).collect()
    }
}

/// Turns counters into rates.
#[derive(Debug, Default)]
struct Rates {
    before: BTreeMap<String, (Offset, f64)>,
}

impl Rates {
    /// `None` for a counter that is seen for the first time, or that was set back.
    fn observed(&mut self, prefix: &str, reading: &Reading, at: Offset) -> Option<Observed> {
        let name = format!("{prefix}{}", reading.name);
        if !reading.counter {
            return Some(Observed { name, kind: ObservedKind::Gauge, value: reading.value });
        }
        let before = self.before.insert(reading.name.clone(), (at, reading.value));
        let (earlier, was) = before.filter(|&(earlier, was)| earlier < at && was <= reading.value)?;
        let value = (reading.value - was) / at.since(earlier).as_secs_f64() * reading.scale;
        Some(Observed { name, kind: ObservedKind::Rate, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_as_it_is_typed() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let page = |authority: &str, path: &str, kept: &[&str]| ObserveSource::Prometheus {
            authority: authority.to_owned(),
            path: path.to_owned(),
            names: names(kept),
        };
        let container =
            |socket: &str| ObserveSource::Docker { name: "shop-1".to_owned(), socket: PathBuf::from(socket) };
        let at = |host| ObserveSource::parse("docker=shop-1", Some(host));
        assert_eq!(at("unix:///tmp/d.sock"), Ok(container("/tmp/d.sock")));
        assert_eq!(at("tcp://h:2375"), Err(ObserveError::EngineElsewhere));
        for (text, expected) in [
            ("pid=4711", Ok(ObserveSource::Process(4711))),
            ("cgroup=/sys/fs/cgroup/x", Ok(ObserveSource::Cgroup(PathBuf::from("/sys/fs/cgroup/x")))),
            ("prometheus=http://h:9100/m?x=1,a,b", Ok(page("h:9100", "/m?x=1", &["a", "b"]))),
            ("prometheus=http://h", Ok(page("h:80", "/metrics", &[]))),
            ("prometheus=https://h/", Err(ObserveError::Form)),
            ("prometheus=http:///m", Err(ObserveError::Form)),
            ("pid=x", Err(ObserveError::Form)),
            ("load", Err(ObserveError::Form)),
            ("docker=shop-1", Ok(container("/var/run/docker.sock"))),
            ("docker=../x", Err(ObserveError::Form)),
        ] {
            assert_eq!(ObserveSource::parse(text, None), expected, "{text}");
        }
    }

    #[test]
    fn a_counter_becomes_a_rate_and_starts_anew_when_it_is_set_back() {
        let mut rates = Rates::default();
        let mut seen = |at_ms, value| {
            let reading = Reading::counter("c", value, 0.5);
            rates.observed("s/", &reading, Offset::from_millis(at_ms)).map(|observed| observed.value)
        };
        // (moment in ms, counter, half of its growth a second)
        for (at, value, expected) in [
            (0, 10.0, None),
            (500, 30.0, Some(20.0)),
            (1_500, 30.0, Some(0.0)),
            (2_500, 4.0, None),
            (3_500, 6.0, Some(1.0)),
        ] {
            assert_eq!(seen(at, value), expected, "at {at} ms");
        }
    }

    #[test]
    fn this_process_can_be_observed_and_one_that_is_not_there_cannot() {
        let own = ObserveSource::Process(std::process::id());
        let mut observer = Observer::new(&[own]).unwrap();
        let observed = observer.sources[0].look(Offset::from_secs(1));
        let memory = observed.iter().find(|one| one.name.ends_with("/memory_bytes")).unwrap();
        assert!(memory.value > 1e5, "{observed:?}");
        let nobody = ObserveSource::Process(u32::MAX);
        assert!(matches!(Observer::new(&[nobody]), Err((_, ObserveError::Unreadable { .. }))));
    }
}
