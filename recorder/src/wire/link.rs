//! Finds the network layer in a captured frame, through whatever lies in front of it.
//!
//! ```text
//! Ethernet, cooked, loopback, raw … ─▶ VLAN, QinQ, PPPoE, MPLS … ─▶ IPv4 or IPv6
//! ```
//!
//! Nothing here trusts a length: a frame that ends too early has no network layer.

/// A kind of link, by libpcap's number (`DLT_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link(pub i32);

/// Headers in front of the network layer that are stepped over; a frame with more is not HTTP's.
const MOST_TAGS: usize = 8;

impl Link {
    /// What Wireshark exports of the upper layers.
    pub(super) const EXPORTED: Self = Self(252);

    /// Whether frames of this kind are understood.
    pub const fn is_known(self) -> bool {
        matches!(
            self.0,
            0 | 1 | 7 | 9 | 12 | 14 | 50 | 51 | 101 | 104 | 108 | 113 | 129 | 228 | 229 | 239 | 252 | 276
        )
    }

    /// The packet of IPv4 or IPv6 in `frame`, if it holds one.
    pub(super) fn network(self, frame: &[u8]) -> Option<&[u8]> {
        match self.0 {
            // The first four bytes are the address family, in the byte order of whoever captured it.
            0 | 108 => ip(frame.get(4..)?),
            1 => ethernet(frame),
            7 => arcnet(*frame.get(2)?, frame.get(3..)?),
            // Linux puts two bytes in front of the kind.
            129 => arcnet(*frame.get(4)?, frame.get(5..)?),
            9 | 50 => point_to_point(frame),
            51 => point_to_point(frame.get(6..)?),
            12 | 14 | 101 | 228 | 229 => ip(frame),
            // Cisco's HDLC: address, control, then an EtherType.
            104 => ether_type(number(frame, 2)?, frame.get(4..)?),
            // Linux cooked, versions 1 and 2.
            113 => ether_type(number(frame, 14)?, frame.get(16..)?),
            276 => ether_type(number(frame, 0)?, frame.get(20..)?),
            239 => netfilter_log(frame),
            _ => None,
        }
    }
}

/// The packet in an Ethernet frame.
pub(super) fn ethernet(frame: &[u8]) -> Option<&[u8]> {
    ether_type(number(frame, 12)?, frame.get(14..)?)
}

/// The packet behind an EtherType, tags stepped over.
pub(super) fn ether_type(mut kind: u16, mut rest: &[u8]) -> Option<&[u8]> {
    for _ in 0..MOST_TAGS {
        match kind {
            0x0800 | 0x86DD => return ip(rest),
            // VLAN, QinQ in its spellings.
            0x8100 | 0x88A8 | 0x9100 | 0x9200 => {
                kind = number(rest, 2)?;
                rest = rest.get(4..)?;
            }
            // VN-Tag.
            0x8926 => {
                kind = number(rest, 4)?;
                rest = rest.get(6..)?;
            }
            0x8864 => return point_to_point(rest.get(6..)?),
            0x880B => return point_to_point(rest),
            0x8847 | 0x8848 => return labelled(rest),
            // A frame within: transparent bridging.
            0x6558 => {
                kind = number(rest, 12)?;
                rest = rest.get(14..)?;
            }
            // A length instead of a kind: 802.2 with SNAP.
            0..=1500 => {
                if rest.get(..3)? != [0xAA, 0xAA, 0x03] {
                    return None;
                }
                kind = number(rest, 6)?;
                rest = rest.get(8..)?;
            }
            _ => return None,
        }
    }
    None
}

/// The packet in a frame of PPP, with or without address and control, with a protocol of one or two bytes.
pub(super) fn point_to_point(frame: &[u8]) -> Option<&[u8]> {
    let frame = frame.strip_prefix(&[0xFF, 0x03]).unwrap_or(frame);
    match frame {
        [0x21 | 0x57, rest @ ..] | [0x00, 0x21 | 0x57, rest @ ..] => ip(rest),
        _ => None,
    }
}

/// The packet behind MPLS labels; behind a pseudowire's control word there may be an Ethernet frame.
fn labelled(mut rest: &[u8]) -> Option<&[u8]> {
    for _ in 0..MOST_TAGS {
        let is_last = rest.get(2)? & 1 == 1;
        rest = rest.get(4..)?;
        if is_last {
            return match rest.first()? >> 4 {
                4 | 6 => ip(rest),
                0 => ethernet(rest.get(4..)?),
                _ => None,
            };
        }
    }
    None
}

/// The packet in a frame of ARCNET: RFC 1051 has no more head, RFC 1201 has a flag and a number.
fn arcnet(kind: u8, rest: &[u8]) -> Option<&[u8]> {
    match kind {
        0xF0 => ip(rest),
        0xD4 => match rest.first()? {
            0 => ip(rest.get(3..)?),
            _ => None,
        },
        _ => None,
    }
}

/// The packet in a record of Linux's netfilter log: a list of lengths, kinds and values.
fn netfilter_log(frame: &[u8]) -> Option<&[u8]> {
    const PAYLOAD: u16 = 9;
    let mut rest = frame.get(4..)?;
    loop {
        // In the byte order of the capturing machine, which nearly always is this.
        let length = usize::from(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]));
        let kind = u16::from_le_bytes([*rest.get(2)?, *rest.get(3)?]);
        if length < 4 {
            return None;
        }
        if kind & 0x7FFF == PAYLOAD {
            return ip(rest.get(4..length.min(rest.len()))?);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

/// `packet`, when it begins like one of IPv4 or IPv6.
pub(super) fn ip(packet: &[u8]) -> Option<&[u8]> {
    matches!(packet.first()? >> 4, 4 | 6).then_some(packet)
}

/// The big-endian number at `at`.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACKET: [u8; 4] = [0x45, 1, 2, 3];

    fn check(link: i32, front: &[u8]) {
        let frame = [front, &PACKET].concat();
        assert_eq!(Link(link).network(&frame), Some(&PACKET[..]), "link {link}");
        assert_eq!(Link(link).network(front), None, "link {link}, nothing behind it");
    }

    #[test]
    fn the_packet_is_found_behind_every_kind_of_front() {
        let addresses = [0_u8; 12];
        let ethernet = |rest: &[u8]| [&addresses[..], rest].concat();
        check(1, &ethernet(&[0x08, 0x00]));
        check(1, &ethernet(&[0x81, 0x00, 0, 7, 0x08, 0x00]));
        check(1, &ethernet(&[0x88, 0xA8, 0, 7, 0x81, 0x00, 0, 8, 0x08, 0x00]));
        check(1, &ethernet(&[0x00, 0x20, 0xAA, 0xAA, 0x03, 0, 0, 0, 0x08, 0x00]));
        check(1, &ethernet(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 6, 0x00, 0x21]));
        check(1, &ethernet(&[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64]));
        check(0, &[2, 0, 0, 0]);
        check(108, &[0, 0, 0, 2]);
        check(12, &[]);
        check(113, &[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x00]);
        check(276, &[0x08, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0]);
        check(239, &[2, 0, 0, 0, 8, 0, 1, 0, 8, 0, 0, 0, 8, 0, 9, 0]);
        check(9, &[0xFF, 0x03, 0x00, 0x21]);
        check(104, &[0x0F, 0x00, 0x08, 0x00]);
    }

    proptest! {
        #[test]
        fn any_frame_gets_an_answer(link in 0..300_i32, frame in proptest::collection::vec(any::<u8>(), 0..80)) {
            Link(link).network(&frame);
        }
    }
}
