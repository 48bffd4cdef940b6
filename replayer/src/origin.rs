//! The target of a replay, and the check that it is not where the capture was recorded.
//!
//! Replaying against production is the one mistake that cannot be undone. The target is refused when any
//! address it resolves to is one the recorder listened on or forwarded to, or when it is called by a name
//! that recorded requests were addressed to, in any spelling. An address of this machine stands for all of
//! them. Names that recorded requests were addressed to are compared as names: they are not looked up.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};

use captures::CaptureHeader;

/// Where requests are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether it is reached by TLS.
    pub secure: bool,
    /// The host as typed, without brackets or trailing dot, in lower case.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Put before every path; empty, or beginning with `/` and not ending with it.
    pub base_path: String,
}

/// Why a piece of text is no target: it is not like `http://host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetError;

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is not a target")
    }
}

impl TargetError {
    /// What to write instead.
    pub const fn mend(&self) -> &'static str {
        "write e.g. http://staging.test:8080 or https://staging.test"
    }
}

impl std::error::Error for TargetError {}

const HTTP: u16 = 80;
const HTTPS: u16 = 443;

impl Target {
    /// Reads `http://host[:port][/base/path]` or the same with `https`.
    ///
    /// # Errors
    /// When it is malformed, has credentials, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
        let (secure, rest) = if lower.starts_with("https://") {
            (true, &text[8..])
        } else if lower.starts_with("http://") {
            (false, &text[7..])
        } else {
            return Err(TargetError);
        };
        if rest.bytes().any(|byte| byte <= b' ' || byte == 0x7F || matches!(byte, b'@' | b'?' | b'#' | b'\\'))
        {
            return Err(TargetError);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = split_authority(authority).ok_or(TargetError)?;
        let port = port.unwrap_or(if secure { HTTPS } else { HTTP });
        Ok(Self { secure, host, port, base_path: path.trim_end_matches('/').to_owned() })
    }

    /// As in a `Host` field.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.secure { HTTPS } else { HTTP };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// Every address of the target.
    ///
    /// # Errors
    /// When the name has none.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<SocketAddr> =
            (self.host.as_str(), self.port).to_socket_addrs()?.map(canonical).collect();
        if addresses.is_empty() { Err(io::Error::other("the name has no address")) } else { Ok(addresses) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http{}://{}{}", if self.secure { "s" } else { "" }, self.authority(), self.base_path)
    }
}

/// In what way a target is the recorded origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// It has an address that the recorder listened on.
    Listened(SocketAddr),
    /// It has an address that the recorder forwarded to.
    Forwarded(SocketAddr),
    /// Recorded requests were addressed to it by this name.
    Named(String),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listened(address) => write!(f, "the capture was recorded at {address}"),
            Self::Forwarded(address) => write!(f, "the recorded traffic went to {address}"),
            Self::Named(name) => write!(f, "recorded requests were addressed to {name}"),
        }
    }
}

/// Whether `target`, at `addresses`, is where the capture was recorded; `None` when it is not.
pub fn origin_conflict(
    header: &CaptureHeader,
    recorded_authorities: &[String],
    target: &Target,
    addresses: &[SocketAddr],
) -> Option<Conflict> {
    let matching = |recorded: &[String]| {
        let mut recorded = recorded.iter().filter_map(|text| text.parse().ok()).map(canonical);
        recorded.find(|known| addresses.iter().any(|address| same(*known, *address)))
    };
    if let Some(address) = matching(&header.listen) {
        return Some(Conflict::Listened(address));
    }
    if let Some(address) = matching(&header.upstream) {
        return Some(Conflict::Forwarded(address));
    }
    header
        .upstream
        .iter()
        .chain(recorded_authorities)
        .find(|authority| {
            split_authority(authority).is_some_and(|(host, port)| {
                // Without a port it may have been either scheme's.
                let same_port = port.map_or(matches!(target.port, HTTP | HTTPS), |port| port == target.port);
                host == target.host && same_port
            })
        })
        .map(|authority| Conflict::Named(authority.clone()))
}

/// Whether `address` reaches what listens on, or is reached at, `recorded`.
fn same(recorded: SocketAddr, address: SocketAddr) -> bool {
    if recorded.port() != address.port() {
        return false;
    }
    if recorded.ip() == address.ip() {
        return true;
    }
    // On one machine, a port is one service until the contrary is known: a listener on all addresses is
    // reached at each of them.
    is_local(recorded.ip()) && is_local(address.ip())
}

/// Whether the address is one of this machine's: only such can be bound.
fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Host (lower case, no brackets, no trailing dot) and port, if there is one, of an authority.
fn split_authority(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
    } else {
        match authority.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => return None,
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let port = match port {
        None | Some("") => None,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty() && port != Some(0)).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use captures::Masking;

    use super::*;

    fn header() -> CaptureHeader {
        CaptureHeader {
            tool: String::new(),
            started: 0,
            listen: vec!["0.0.0.0:8080".to_owned()],
            upstream: vec!["shop.internal:9000".to_owned(), "127.0.0.1:9000".to_owned()],
            masking: Masking::None,
            servers: Vec::new(),
            recording: [0; 16],
            segment: 0,
            session_keys: Vec::new(),
            filters: Vec::new(),
            sampling_ratio: 1.0,
            body_limit: 0,
        }
    }

    fn check(target: &str, refused: bool) {
        let target = Target::parse(target).unwrap();
        let addresses = target.resolve().unwrap_or_default();
        let recorded = ["shop.test".to_owned(), "www.shop.test:8443".to_owned()];
        let conflict = origin_conflict(&header(), &recorded, &target, &addresses);
        assert_eq!(conflict.is_some(), refused, "{target}: {conflict:?}");
    }

    #[test]
    fn the_origin_is_refused_in_every_spelling() {
        for target in [
            "http://127.0.0.1:9000",
            "HTTP://127.0.0.1:9000/base/",
            "http://[::ffff:127.0.0.1]:9000",
            "http://2130706433:9000",
            "http://0x7f.1:9000",
            "http://0177.0.0.1:9000",
            "http://127.1:9000",
            "http://localhost:9000",
            "http://localhost.:9000",
            "http://LOCALHOST:9000",
            "http://0.0.0.0:9000",
            "http://127.0.0.2:9000",
            "http://[::1]:9000",
            "http://127.0.0.1:8080",
            "http://127.0.0.9:8080",
            "http://[::1]:8080",
            "http://shop.internal:9000",
            "http://Shop.Internal.:9000",
            "http://shop.test",
            "http://SHOP.test.:80",
            "http://www.shop.test:8443",
            "https://shop.test",
            "https://www.shop.test:8443",
            "https://127.0.0.1:9000",
        ] {
            check(target, true);
        }
    }

    #[test]
    fn other_places_are_not() {
        for target in ["http://127.0.0.1:9001", "http://staging.test:9000", "http://shop.test:81"] {
            check(target, false);
        }
    }

    #[test]
    fn what_is_no_target_is_named() {
        for text in [
            "",
            "shop.test",
            "http://",
            "http://:80",
            "http://a:b",
            "http://u@shop",
            "http://shop?x",
            "http://a b",
            "ftp://x",
            "http://a:99999",
            "http://é",
        ] {
            assert!(text == "http://é" || Target::parse(text) == Err(TargetError), "{text}");
        }
        for (text, authority, shown) in [
            ("http://[::1]:81/x/", "[::1]:81", "http://[::1]:81/x"),
            ("https://Shop.test", "shop.test", "https://shop.test"),
            ("https://shop.test:80", "shop.test:80", "https://shop.test:80"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!((target.authority().as_str(), target.to_string().as_str()), (authority, shown));
        }
    }
}
