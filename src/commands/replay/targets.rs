//! Where a replay sends: the targets, their addresses, and the check that none of them is the recorded origin.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use captures::CaptureHeader;
use replayer::{Conflict, LookedUp, Resolver, Target};

use super::args::SourceArgs;
use crate::commands::files;
use crate::complain::{Complaint, Exit, reason};

/// How often names are looked up again while a replay goes on.
const LOOK_UP: Duration = Duration::from_secs(30);
/// How long an address may take to take a connection before the replay begins.
const PATIENCE: Duration = Duration::from_secs(5);

/// One service at one or several addresses.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    /// The first gives the Host and the base path.
    all: Vec<Target>,
    header: CaptureHeader,
    authorities: Vec<String>,
    /// The origin that was said to be safe.
    safe: Option<Target>,
}

/// Reads what `--target` names.
pub(super) fn parse(args: &SourceArgs) -> Result<Vec<Target>, Complaint> {
    let read = |text: &String| {
        Target::parse(text)
            .map_err(|error| Complaint::new(Exit::Usage, format!("--target {text}"), error, error.mend()))
    };
    let all = args.target.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let alike = |one: &Target| (one.secure, one.base_path.clone());
    match all.iter().find(|one| alike(one) != alike(&all[0])) {
        None => Ok(all),
        Some(other) => Err(Complaint::new(
            Exit::Usage,
            format!("--target {other}"),
            format!("is not the same service as {}", all[0]),
            "give several targets one scheme and one base path",
        )),
    }
}

impl Targets {
    /// `all`, for a capture with this header whose requests were addressed to `authorities`.
    pub(super) fn new(
        all: Vec<Target>,
        args: &SourceArgs,
        header: CaptureHeader,
        authorities: &[String],
    ) -> Self {
        let scheme = if all[0].secure { "https" } else { "http" };
        let safe = args.origin_is_safe.as_deref();
        let safe = safe.and_then(|text| Target::parse(&format!("{scheme}://{text}")).ok());
        Self { all, header, authorities: authorities.to_vec(), safe }
    }

    /// The one that gives the Host and the base path.
    pub(crate) fn first(&self) -> &Target {
        &self.all[0]
    }

    /// All of them, as they are named in a run.
    pub(crate) fn named(&self) -> String {
        self.all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Every address of every target, none of which is the recorded origin.
    pub(crate) fn resolve(&self) -> Result<Vec<(usize, SocketAddr)>, Complaint> {
        let mut addresses = Vec::new();
        for (at, target) in self.all.iter().enumerate() {
            let found = target.resolve().map_err(|error| {
                let what = format!("no address: {}", reason(&error));
                Complaint::new(Exit::Unreachable, target, what, "check the name")
            })?;
            if let Some(conflict) = self.conflict(target, &found) {
                let what = format!("refused, it is the recorded origin ({conflict})");
                let port = target.port;
                let host = if target.host.contains(':') {
                    format!("[{}]", target.host)
                } else {
                    target.host.clone()
                };
                let mend = format!(
                    "give a staging target, or --origin-is-safe {host}:{port} if nobody else uses it"
                );
                return Err(Complaint::new(Exit::Usage, target, what, mend));
            }
            addresses.extend(found.into_iter().map(|address| (at, address)));
        }
        Ok(addresses)
    }

    /// In what way this target is the recorded origin, unless that was said to be safe.
    fn conflict(&self, target: &Target, addresses: &[SocketAddr]) -> Option<Conflict> {
        let is_safe = |safe: &Target| (&safe.host, safe.port) == (&target.host, target.port);
        if self.safe.as_ref().is_some_and(is_safe) {
            return None;
        }
        replayer::origin_conflict(&self.header, &self.authorities, target, addresses)
    }

    /// Those of `addresses` that take a connection, of one family for each target; one at least for each.
    pub(crate) fn reachable(&self, addresses: &[(usize, SocketAddr)]) -> Result<Vec<SocketAddr>, Complaint> {
        let mut reached: Vec<SocketAddr> = Vec::new();
        for (at, target) in self.all.iter().enumerate() {
            let (mut family, mut last) = (None, None);
            for &(_, address) in addresses.iter().filter(|(of, _)| *of == at) {
                if family.is_some_and(|family| family != address.is_ipv4()) {
                    continue;
                }
                match TcpStream::connect_timeout(&address, PATIENCE) {
                    Ok(_) => {
                        family = Some(address.is_ipv4());
                        reached.push(address);
                    }
                    Err(error) => last = Some(error),
                }
            }
            if family.is_none() {
                let why = last.map_or_else(|| "no address".to_owned(), |error| reason(&error));
                let what = format!("cannot be reached: {why}");
                let mend = "start the target, or check host and port";
                return Err(Complaint::new(Exit::Unreachable, target, what, mend));
            }
        }
        reached.sort_unstable();
        reached.dedup();
        Ok(reached)
    }

    /// What looks the names up again while a replay goes on; `None` when there are only addresses.
    pub(crate) fn resolver(&self) -> Option<Resolver> {
        if self.all.iter().all(|target| target.host.parse::<IpAddr>().is_ok()) {
            return None;
        }
        let targets = self.clone();
        let look_up = Box::new(move |known: &[SocketAddr]| targets.look_up(known));
        Some(Resolver { every: LOOK_UP, look_up })
    }

    fn look_up(&self, known: &[SocketAddr]) -> LookedUp {
        let mut found: Vec<SocketAddr> = Vec::new();
        for target in &self.all {
            let Ok(addresses) = target.resolve() else { return LookedUp::Nothing };
            if let Some(conflict) = self.conflict(target, &addresses) {
                return LookedUp::Refused(format!("{target} leads to the recorded origin now ({conflict})"));
            }
            found.extend(addresses);
        }
        found.sort_unstable();
        found.dedup();
        // New ones must take a connection, and be of a family in use: not every address is for everybody.
        let families: Vec<bool> = known.iter().map(SocketAddr::is_ipv4).collect();
        found.retain(|address| {
            known.contains(address)
                || (families.contains(&address.is_ipv4())
                    && TcpStream::connect_timeout(address, PATIENCE).is_ok())
        });
        if found.is_empty() { LookedUp::Nothing } else { LookedUp::Found(found) }
    }
}

/// The texts of addresses, for a run's configuration.
pub(crate) fn texts(addresses: &[(usize, SocketAddr)]) -> Vec<String> {
    addresses.iter().map(|(_, address)| files::plain(&address.to_string()).to_string()).collect()
}
