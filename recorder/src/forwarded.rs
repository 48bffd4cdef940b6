//! Decides who the client is when other proxies stand between it and us.
//!
//! Anybody may send `X-Forwarded-For` or `Forwarded`, so both count only when the connection comes from a
//! proxy that is trusted, and only from the right: each trusted proxy vouches for the address before its own,
//! and the first that is not a trusted proxy's is the client's. Where an entry cannot be read (`unknown`, an
//! obfuscated name), the client is the last address that could.
//!
//! `X-Forwarded-For` is read first and `Forwarded` (RFC 7239) only in its absence: which of the two a chain of
//! proxies keeps true cannot be told from a request. A trusted proxy must set or drop both.

mod rewrite;

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
pub use rewrite::Forwarding;
pub(crate) use rewrite::{Origin, rewrite};

/// A range of addresses, e.g. `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `ADDRESS` or `ADDRESS/BITS`; `None` when it is neither.
    pub fn parse(typed: &str) -> Option<Self> {
        let (address, bits) = typed.split_once('/').map_or((typed, None), |(ip, bits)| (ip, Some(bits)));
        let first: IpAddr = address.parse().ok()?;
        let width = if first.is_ipv4() { 32 } else { 128 };
        let prefix = match bits {
            None => width,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= width)?,
        };
        Some(Self { first, prefix })
    }

    /// Whether `address` lies in it; an IPv4 address does in either of its spellings.
    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (first.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (first.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

/// Whether `address` is one of the `trusted` proxies'.
pub(crate) fn is_trusted(trusted: &[Network], address: IpAddr) -> bool {
    trusted.iter().any(|network| network.holds(address))
}

/// The client's address in a request that came from `peer`.
pub(crate) fn client(trusted: &[Network], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut nearest = peer.to_canonical();
    if !is_trusted(trusted, nearest) {
        return nearest;
    }
    let lines = |name| headers.get_all(name).iter().map(|value| value.as_bytes()).collect::<Vec<_>>();
    let listed = lines("x-forwarded-for");
    let hops: Vec<Option<IpAddr>> = if listed.is_empty() {
        let forwarded = lines("forwarded");
        forwarded.iter().flat_map(|line| split_outside_quotes(line, b',')).map(for_of).collect()
    } else {
        listed.iter().flat_map(|line| line.split(|&byte| byte == b',')).map(address).collect()
    };
    for hop in hops.into_iter().rev() {
        let Some(hop) = hop else { break };
        nearest = hop;
        if !is_trusted(trusted, hop) {
            break;
        }
    }
    nearest
}

/// The address in the `for` of one `Forwarded` element.
fn for_of(element: &[u8]) -> Option<IpAddr> {
    let mut pairs = split_outside_quotes(element, b';');
    let value = pairs.find_map(|pair| {
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        pair[..equals].trim_ascii().eq_ignore_ascii_case(b"for").then(|| pair[equals + 1..].trim_ascii())
    })?;
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    address(quoted.unwrap_or(value))
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let read = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok().or_else(|| text.rsplit_once(':')?.0.parse().ok().filter(IpAddr::is_ipv4)),
    };
    read.map(|address: IpAddr| address.to_canonical())
}

/// The parts of a field value between separators, none of which stands in a quoted string.
fn split_outside_quotes(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |&byte| {
        let cut = byte == separator && !quoted;
        if escaped {
            escaped = false;
        } else if quoted && byte == b'\\' {
            escaped = true;
        } else if byte == b'"' {
            quoted = !quoted;
        }
        cut
    })
}

#[cfg(test)]
mod tests;
