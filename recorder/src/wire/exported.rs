//! Reads what Wireshark exports of the upper layers (libpcap's link 252): content without packets around it.
//!
//! That is how TLS gets here whose suites are not opened by us: `tshark -r x.pcapng -o tls.keylog_file:KEYS -U 'OSI
//! layer 7' -w plain.pcapng` takes it off. Each record says between whom it was, in a list of tags; the content
//! follows, in the order of its stream.
//!
//! Source: Wireshark, `epan/exported_pdu.h`.

use std::net::{IpAddr, SocketAddr};

use super::link::number;

const NAME: u16 = 12;
const SOURCE_IPV4: u16 = 20;
const TARGET_IPV4: u16 = 21;
const SOURCE_IPV6: u16 = 22;
const TARGET_IPV6: u16 = 23;
const PORT_TYPE: u16 = 24;
const SOURCE_PORT: u16 = 25;
const TARGET_PORT: u16 = 26;
/// The type of TCP's ports.
const TCP: u32 = 2;

/// Content that one party sent to another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exported<'a> {
    pub(super) source: SocketAddr,
    pub(super) target: SocketAddr,
    /// Whether it was within TLS.
    pub(super) is_secure: bool,
    pub(super) content: &'a [u8],
}

/// What a record holds, when it was sent over TCP.
pub(super) fn exported(record: &[u8]) -> Option<Exported<'_>> {
    let (mut source, mut target, mut ports) = (None, None, [None; 2]);
    let (mut is_tcp, mut is_secure) = (false, false);
    let mut rest = record;
    loop {
        let (tag, length) = (number(rest, 0)?, usize::from(number(rest, 2)?));
        let value = rest.get(4..)?.get(..length)?;
        rest = rest.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        let port = || u16::try_from(u32::from_be_bytes(*value.first_chunk()?)).ok();
        match tag {
            0 => break,
            NAME => is_secure = value.windows(3).any(|part| part == b"tls" || part == b"ssl"),
            SOURCE_IPV4 => source = value.first_chunk::<4>().copied().map(IpAddr::from),
            TARGET_IPV4 => target = value.first_chunk::<4>().copied().map(IpAddr::from),
            SOURCE_IPV6 => source = value.first_chunk::<16>().copied().map(IpAddr::from),
            TARGET_IPV6 => target = value.first_chunk::<16>().copied().map(IpAddr::from),
            PORT_TYPE => is_tcp = value.first_chunk().copied().map(u32::from_be_bytes) == Some(TCP),
            SOURCE_PORT => ports[0] = port(),
            TARGET_PORT => ports[1] = port(),
            _ => {}
        }
    }
    let (source, target) = (SocketAddr::new(source?, ports[0]?), SocketAddr::new(target?, ports[1]?));
    is_tcp.then_some(Exported { source, target, is_secure, content: rest })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tag(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut tag =
            [&kind.to_be_bytes()[..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat();
        tag.resize(tag.len().next_multiple_of(4), 0);
        tag
    }

    fn record(port_type: u8) -> Vec<u8> {
        [
            tag(NAME, b"http-over-tls"),
            tag(SOURCE_IPV4, &[10, 9, 0, 2]),
            tag(TARGET_IPV6, &[0x20; 16]),
            tag(PORT_TYPE, &[0, 0, 0, port_type]),
            tag(SOURCE_PORT, &[0, 0, 0xb6, 0xd0]),
            tag(TARGET_PORT, &[0, 0, 1, 0xbb]),
            tag(30, &[0, 0, 0, 6]),
            tag(0, &[]),
            b"HEAD".to_vec(),
        ]
        .concat()
    }

    #[test]
    fn the_parties_and_the_content_are_found() {
        let record_of_tcp = record(2);
        let found = exported(&record_of_tcp).unwrap();
        assert_eq!(
            (found.source.to_string(), found.target.to_string()),
            ("10.9.0.2:46800".to_owned(), "[2020:2020:2020:2020:2020:2020:2020:2020]:443".to_owned())
        );
        assert_eq!((found.content, found.is_secure), (&b"HEAD"[..], true));
        assert_eq!(exported(&record(3)), None);
        for end in 0..record_of_tcp.len() - 8 {
            assert_eq!(exported(&record_of_tcp[..end]), None);
        }
    }

    proptest! {
        #[test]
        fn any_record_gets_an_answer(record in proptest::collection::vec(any::<u8>(), 0..80)) {
            exported(&record);
        }
    }
}
