//! Reads packets of IPv4 and IPv6, and the tunnels that carry more of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::link::{self, number};

/// Extension headers of IPv6 that are stepped over.
const MOST_EXTENSIONS: usize = 16;

/// What one packet carries, as far as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) payload: &'a [u8],
    pub(super) fragment: Option<Fragment>,
    /// Whether its end was not captured.
    pub(super) is_cut: bool,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) id: u32,
    /// In bytes.
    pub(super) offset: usize,
    pub(super) has_more: bool,
}

/// Reads a packet; `None` when it is none.
pub(super) fn datagram(packet: &[u8]) -> Option<Datagram<'_>> {
    match packet.first()? >> 4 {
        4 => version4(packet),
        6 => version6(packet),
        _ => None,
    }
}

fn version4(packet: &[u8]) -> Option<Datagram<'_>> {
    let head = usize::from(packet.first()? & 0x0F) * 4;
    let told = usize::from(number(packet, 2)?);
    // With offloading the length is filled in after the capture: zero means all there is.
    let told = if told == 0 { packet.len() } else { told };
    if head < 20 || told < head {
        return None;
    }
    let flags = number(packet, 6)?;
    let (offset, has_more) = (usize::from(flags & 0x1FFF) * 8, flags & 0x2000 != 0);
    let id = u32::from(number(packet, 4)?);
    Some(Datagram {
        source: IpAddr::V4(Ipv4Addr::from(*packet.get(12..)?.first_chunk::<4>()?)),
        destination: IpAddr::V4(Ipv4Addr::from(*packet.get(16..)?.first_chunk::<4>()?)),
        protocol: *packet.get(9)?,
        payload: packet.get(head..told.min(packet.len()))?,
        fragment: (offset > 0 || has_more).then_some(Fragment { id, offset, has_more }),
        is_cut: packet.len() < told,
    })
}

fn version6(packet: &[u8]) -> Option<Datagram<'_>> {
    let told = usize::from(number(packet, 4)?) + 40;
    // Zero stands for a jumbogram, or for offloading.
    let told = if told == 40 { packet.len() } else { told };
    let mut protocol = *packet.get(6)?;
    let mut rest = packet.get(40..told.min(packet.len()))?;
    let mut fragment = None;
    for _ in 0..MOST_EXTENSIONS {
        let length = match protocol {
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(*rest.get(1)?) + 1) * 8,
            51 => (usize::from(*rest.get(1)?) + 2) * 4,
            44 => {
                let place = number(rest, 2)?;
                let id = u32::from_be_bytes(*rest.get(4..)?.first_chunk()?);
                let (offset, has_more) = (usize::from(place & 0xFFF8), place & 1 == 1);
                // An atomic fragment is a whole packet.
                fragment = (offset > 0 || has_more).then_some(Fragment { id, offset, has_more });
                8
            }
            _ => break,
        };
        protocol = *rest.first()?;
        rest = rest.get(length..)?;
        if fragment.is_some_and(|fragment: Fragment| fragment.offset > 0) {
            break;
        }
    }
    Some(Datagram {
        source: IpAddr::V6(Ipv6Addr::from(*packet.get(8..)?.first_chunk::<16>()?)),
        destination: IpAddr::V6(Ipv6Addr::from(*packet.get(24..)?.first_chunk::<16>()?)),
        protocol,
        payload: rest,
        fragment,
        is_cut: packet.len() < told,
    })
}

/// The packet that a packet of `protocol` carries, when it is a tunnel.
pub(super) fn tunnelled(protocol: u8, payload: &[u8]) -> Option<&[u8]> {
    match protocol {
        4 | 41 => link::ip(payload),
        17 => in_udp(payload),
        47 => generic(payload),
        _ => None,
    }
}

/// Generic routing encapsulation, and the mirrored frames (ERSPAN) that switches send by it.
fn generic(payload: &[u8]) -> Option<&[u8]> {
    let (flags, kind) = (number(payload, 0)?, number(payload, 2)?);
    let words = [0x8000, 0x2000, 0x1000, 0x0080];
    let optional = words.iter().filter(|&&bit| flags & bit != 0).count() * 4;
    let rest = payload.get(4 + optional..)?;
    match kind {
        0x88BE if flags & 0x1000 != 0 => link::ethernet(rest.get(8..)?),
        0x88BE => link::ethernet(rest),
        0x22EB => {
            let platform = if rest.get(11)? & 1 == 1 { 8 } else { 0 };
            link::ethernet(rest.get(12 + platform..)?)
        }
        _ => link::ether_type(kind, rest),
    }
}

fn in_udp(payload: &[u8]) -> Option<&[u8]> {
    let ports = [number(payload, 0)?, number(payload, 2)?];
    let payload = payload.get(8..)?;
    let is = |port: u16| ports.contains(&port);
    // VXLAN, on the assigned port and on Linux's.
    if (is(4789) || is(8472)) && payload.first()? & 0x08 != 0 {
        return link::ethernet(payload.get(8..)?);
    }
    // Geneve.
    if is(6081) && payload.first()? >> 6 == 0 {
        let options = usize::from(payload.first()? & 0x3F) * 4;
        return link::ether_type(number(payload, 2)?, payload.get(8 + options..)?);
    }
    // AYIYA: the lengths of identity and signature, then what follows.
    if is(5072) && *payload.get(3)? == 41 {
        let identity = 1_usize << (payload.first()? >> 4);
        let signature = usize::from(payload.get(1)? >> 4) * 4;
        return link::ip(payload.get(8 + identity + signature..)?);
    }
    user_plane(payload).or_else(|| teredo(payload))
}

/// The user plane of GTP, which is found on many ports: its lengths must agree.
fn user_plane(payload: &[u8]) -> Option<&[u8]> {
    let flags = *payload.first()?;
    if flags & 0xF0 != 0x30
        || *payload.get(1)? != 0xFF
        || usize::from(number(payload, 2)?) + 8 != payload.len()
    {
        return None;
    }
    if flags & 0x07 == 0 {
        return whole_ip(payload.get(8..)?);
    }
    let mut next = if flags & 0x04 != 0 { *payload.get(11)? } else { 0 };
    let mut rest = payload.get(12..)?;
    while next != 0 {
        let length = usize::from(*rest.first()?) * 4;
        next = *rest.get(length.checked_sub(1)?)?;
        rest = rest.get(length..)?;
    }
    whole_ip(rest)
}

/// Teredo: IPv6 in UDP, perhaps behind an authentication and an origin.
fn teredo(mut payload: &[u8]) -> Option<&[u8]> {
    if let [0, 1, identity, value, ..] = payload {
        payload = payload.get(13 + usize::from(*identity) + usize::from(*value)..)?;
    }
    if let [0, 0, ..] = payload {
        payload = payload.get(8..)?;
    }
    (payload.first()? >> 4 == 6).then(|| whole_ip(payload)).flatten()
}

/// `packet`, when its own length says that it ends where the bytes end.
fn whole_ip(packet: &[u8]) -> Option<&[u8]> {
    let length = match packet.first()? >> 4 {
        4 => usize::from(number(packet, 2)?),
        6 => usize::from(number(packet, 4)?) + 40,
        _ => return None,
    };
    (length == packet.len() && length > 20).then_some(packet)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet of IPv4 from 10.0.0.1 to 10.0.0.2, as RFC 791 draws it.
    pub(crate) fn packet4(protocol: u8, flags: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
        let [high, low] = flags.to_be_bytes();
        let head =
            [0x45, 0, length[0], length[1], 0, 7, high, low, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&head[..], payload].concat()
    }

    #[test]
    fn padding_behind_the_told_length_is_no_payload() {
        let mut packet = packet4(6, 0, b"abc");
        packet.extend_from_slice(&[0; 10]);
        let found = datagram(&packet).unwrap();
        assert_eq!((found.payload, found.is_cut, found.fragment), (&b"abc"[..], false, None));
        assert!(datagram(&packet[..22]).unwrap().is_cut);
    }

    #[test]
    fn a_fragment_tells_its_place() {
        let packet = packet4(6, 0x2000 | 3, b"abc");
        let place = Fragment { id: 7, offset: 24, has_more: true };
        assert_eq!(datagram(&packet).unwrap().fragment, Some(place));
    }

    #[test]
    fn extension_headers_are_stepped_over() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 16 + 3, 0, 64];
        packet.extend_from_slice(&[0; 32]);
        packet.extend_from_slice(&[60, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(b"abc");
        let found = datagram(&packet).unwrap();
        assert_eq!((found.protocol, found.payload), (6, &b"abc"[..]));
    }

    #[test]
    fn tunnels_are_looked_into() {
        let inner = packet4(6, 0, b"abc");
        assert_eq!(tunnelled(4, &inner), Some(&inner[..]));
        let generic = [&[0x20, 0, 0x08, 0x00, 0, 0, 0, 1][..], &inner].concat();
        assert_eq!(tunnelled(47, &generic), Some(&inner[..]));
        let frame = [&[0; 12][..], &[0x08, 0x00], &inner].concat();
        let vxlan = [&[0, 9, 0x12, 0xB5, 0, 0, 0, 0, 0x08, 0, 0, 0, 0, 0, 7, 0][..], &frame].concat();
        assert_eq!(tunnelled(17, &vxlan), Some(&inner[..]));
        let gtp = [&[0, 9, 0, 9, 0, 0, 0, 0, 0x30, 0xFF, 0, 23, 0, 0, 0, 1][..], &inner].concat();
        assert_eq!(tunnelled(17, &gtp), Some(&inner[..]));
    }

    proptest! {
        #[test]
        fn any_packet_gets_an_answer(packet in proptest::collection::vec(any::<u8>(), 0..120), protocol: u8) {
            datagram(&packet);
            tunnelled(protocol, &packet);
        }
    }
}
