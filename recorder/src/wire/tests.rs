//! Conversations packet by packet.
//!
//! The packets are made as RFC 791 and RFC 9293 draw them; what they hold is written out in each test.

mod h2;
mod sctp;
mod secure;

use std::net::Ipv4Addr;

use captures::{Bytes, Ending, Exchange, Offset};
use proptest::prelude::*;

use super::{Dissection, Link, Packet, WireCounts};
use crate::assembly::{BodyPolicy, Room};
use crate::keylog::KeyLog;
use crate::policy::{BodyRules, Kept};

const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 1), 40_000);
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 2), 80);
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// One segment: from the client or not, its place in its stream, what its sender had heard, and its content.
#[derive(Clone, Debug)]
struct Sent {
    by_client: bool,
    place: u32,
    heard: u32,
    flags: u8,
    content: Vec<u8>,
}

fn client(place: u32, heard: u32, content: &[u8]) -> Sent {
    Sent { by_client: true, place, heard, flags: ACK, content: content.to_vec() }
}

fn server(place: u32, heard: u32, content: &[u8]) -> Sent {
    Sent { by_client: false, ..client(place, heard, content) }
}

fn with(flags: u8, sent: Sent) -> Sent {
    Sent { flags, ..sent }
}

/// The handshake; places count from its end.
fn opened() -> Vec<Sent> {
    let before = 0_u32.wrapping_sub(1);
    vec![with(SYN, client(before, 0, b"")), with(SYN | ACK, server(before, 0, b"")), client(0, 0, b"")]
}

fn packet(sent: &Sent) -> Vec<u8> {
    const STARTS: [u32; 2] = [u32::MAX - 20, 7_000];
    let (from, to) = if sent.by_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    let (own, other) = if sent.by_client { (STARTS[0], STARTS[1]) } else { (STARTS[1], STARTS[0]) };
    let length = u16::try_from(40 + sent.content.len()).unwrap();
    let mut bytes = vec![0x45, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 64, 6, 0, 0]);
    bytes.extend(from.0.octets());
    bytes.extend(to.0.octets());
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    bytes.extend(own.wrapping_add(sent.place).to_be_bytes());
    bytes.extend(other.wrapping_add(sent.heard).to_be_bytes());
    bytes.extend([0x50, sent.flags, 255, 255, 0, 0, 0, 0]);
    bytes.extend(&sent.content);
    bytes
}

fn dissection() -> Dissection {
    let all = || BodyRules::new(&[], Kept::Whole(Bytes::new(1 << 20))).unwrap();
    let policy =
        BodyPolicy { request: all(), response: all(), key: None, room: Room::of(Bytes::new(16 << 20)) };
    Dissection::new(policy, Vec::new())
}

/// What is read of these segments, a millisecond apart.
fn read(sent: &[Sent]) -> (Vec<Exchange>, WireCounts) {
    read_packets(&sent.iter().map(packet).collect::<Vec<_>>(), KeyLog::default())
}

fn read_packets(packets: &[Vec<u8>], keys: KeyLog) -> (Vec<Exchange>, WireCounts) {
    let mut dissection = dissection();
    dissection.know_keys(keys);
    for (at, bytes) in (1..).zip(packets) {
        let at = Offset::from_millis(at);
        dissection.on_packet(Packet { at, link: Link(12), bytes, length: bytes.len() });
    }
    dissection.finish();
    let mut found = Vec::new();
    while let Some(assembly) = dissection.poll() {
        found.push(assembly.into_exchange());
    }
    (found, dissection.counts())
}

/// Each exchange as `target status body ending`.
fn shown(exchanges: &[Exchange]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let show = |exchange: &Exchange| {
        let answer = exchange.response.as_ref();
        let answer = answer
            .map_or_else(String::new, |answer| format!("{} {}", answer.status, text(&answer.body.stored)));
        format!("{} {answer} {}", text(&exchange.request.target), exchange.ending.as_str())
    };
    exchanges.iter().map(show).collect()
}

const GET_A: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const GET_B: &[u8] = b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n";
const OK_A: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NO_B: &[u8] = b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno";

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

/// Two requests, one after the other, and their answers.
fn two() -> Vec<Sent> {
    let (a, b, ok) = (length(GET_A), length(GET_B), length(OK_A));
    [
        opened(),
        vec![
            client(0, 0, GET_A),
            server(0, a, OK_A),
            client(a, ok, GET_B),
            server(ok, a + b, NO_B),
            with(FIN | ACK, client(a + b, ok + length(NO_B), b"")),
            with(FIN | ACK, server(ok + length(NO_B), a + b + 1, b"")),
        ],
    ]
    .concat()
}

const TWO: [&str; 2] = ["/a 200 ok completed", "/b 404 no completed"];

#[test]
fn requests_are_read_with_their_answers_and_moments() {
    let (found, counts) = read(&two());
    assert_eq!(shown(&found), TWO);
    let first = &found[0];
    assert_eq!(first.arrived, Offset::from_millis(4));
    assert_eq!(first.request_done, Some(Offset::from_millis(4)));
    assert_eq!(first.response_began, Some(Offset::from_millis(5)));
    assert_eq!(first.ended, Offset::from_millis(5));
    assert_eq!((found[0].connection, found[0].passage.server), (found[1].connection, Some(0)));
    assert_eq!((counts.http_connections, counts.gaps, counts.unread_bytes), (1, 0, 0));
}

#[test]
fn the_order_of_the_packets_does_not_matter() {
    let mut swapped = two();
    swapped.swap(3, 4);
    swapped.swap(5, 6);
    assert_eq!(shown(&read(&swapped).0), TWO);
}

#[test]
fn without_the_handshake_the_content_tells_who_asks() {
    assert_eq!(shown(&read(&two()[3..]).0), TWO);
}

#[test]
fn every_segment_twice_is_the_same_and_counted() {
    let doubled: Vec<Sent> = two().into_iter().flat_map(|sent| [sent.clone(), sent]).collect();
    let (found, counts) = read(&doubled);
    assert_eq!(shown(&found), TWO);
    assert_eq!((counts.repeated_segments, counts.differing_segments), (4, 0));
}

#[test]
fn of_copies_that_differ_the_first_stays() {
    let mut sent = two();
    let (a, evil) = (length(GET_A), OK_A.to_ascii_uppercase());
    sent.insert(5, server(0, a, &evil));
    let (found, counts) = read(&sent);
    assert_eq!(shown(&found), TWO);
    assert_eq!(counts.differing_segments, 1);
}

#[test]
fn requests_that_do_not_wait_are_answered_in_order() {
    let (a, b) = (length(GET_A), length(GET_B));
    let sent =
        [opened(), vec![client(0, 0, &[GET_A, GET_B].concat()), server(0, a + b, &[OK_A, NO_B].concat())]];
    assert_eq!(shown(&read(&sent.concat()).0), TWO);
}

#[test]
fn an_answer_that_was_not_captured_takes_no_other_request() {
    let mut sent = two();
    sent.remove(4);
    let (found, counts) = read(&sent);
    assert_eq!(shown(&found), ["/a  proxy_failed", "/b 404 no completed"]);
    assert_eq!((counts.gaps, counts.gap_bytes), (1, u64::from(length(OK_A))));
}

#[test]
fn a_request_that_was_not_captured_leaves_its_answer_alone() {
    let mut sent = two();
    sent.remove(3);
    let (found, counts) = read(&sent);
    assert_eq!(shown(&found), ["/b 404 no completed"]);
    assert_eq!(counts.responses_without_request, 1);
}

#[test]
fn a_hole_in_a_body_is_told_and_what_follows_is_read() {
    let (a, ok) = (length(GET_A), length(OK_A));
    let mut sent = two();
    sent[4] = server(0, a, &OK_A[..OK_A.len() - 1]);
    let (found, _) = read(&sent);
    assert_eq!(shown(&found), ["/a 200 o completed", "/b 404 no completed"]);
    let body = &found[0].response.as_ref().unwrap().body;
    assert_eq!((body.length, body.cut), (2, true));
    assert!(found[0].passage.detail.contains("1 bytes"));
    let _ = ok;
}

#[test]
fn of_a_head_whose_end_was_not_captured_the_start_is_read() {
    let (asked, answered) = (b"GET /a HT", b"HTTP/1.1 200 OK\r\nServer: x\r\nDa");
    for (kept, cut, expected, server) in [
        (&asked[..], &answered[..], "/a 200  completed", 1),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nA", b"HTTP/1.1 200", "/a 200  completed", 0),
    ] {
        let mut sent = two();
        sent[3].content = kept.to_vec();
        sent[4].content = cut.to_vec();
        let (found, counts) = read(&sent);
        assert_eq!(shown(&found), [expected, TWO[1]]);
        assert_eq!((counts.cut_heads, counts.unreadable_messages, counts.gaps), (2, 0, 2));
        assert_eq!(found[0].response.as_ref().unwrap().headers.len(), server);
        assert!(found[0].passage.detail.contains("head"));
        assert!(found[0].response.as_ref().unwrap().body.cut && !found[0].request.body.cut);
        assert_eq!(found[0].arrived, Offset::from_millis(4));
    }
}

#[test]
fn a_head_of_which_too_little_was_captured_is_none() {
    for (kept, cut) in [(&b"GET /a"[..], &b"HTTP/1.1 20"[..]), (b"GET /a ", b"HTTP/1.1 ")] {
        let mut sent = two();
        sent[3].content = kept.to_vec();
        sent[4].content = cut.to_vec();
        let (found, counts) = read(&sent);
        assert_eq!(shown(&found), TWO[1..]);
        assert_eq!((counts.cut_heads, counts.unreadable_messages), (0, 2));
    }
}

#[test]
fn a_body_ends_with_the_connection_where_nothing_else_ends_it() {
    let a = length(GET_A);
    let head = b"HTTP/1.0 200 OK\r\n\r\n";
    let sent = [
        opened(),
        vec![client(0, 0, GET_A), server(0, a, head), server(length(head), a, b"until")],
        vec![with(FIN | ACK, server(length(head) + 5, a, b" then"))],
    ];
    assert_eq!(shown(&read(&sent.concat()).0), ["/a 200 until then completed"]);
}

#[test]
fn head_and_not_modified_have_no_body_and_an_interim_answer_is_none() {
    let head = b"HEAD /h HTTP/1.1\r\nHost: x\r\n\r\n";
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n";
    let not_modified = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n";
    let (h, i) = (length(head), length(interim));
    let sent = [
        opened(),
        vec![client(0, 0, head), server(0, h, interim), client(h, i, GET_A)],
        vec![server(i, h + length(GET_A), not_modified)],
    ];
    let (found, counts) = read(&sent.concat());
    assert_eq!(shown(&found), ["/h 200  completed", "/a 304  completed"]);
    assert_eq!(counts.interim_responses, 1);
}

#[test]
fn chunks_and_trailers_are_read() {
    let post = b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    let sent = [opened(), vec![client(0, 0, post), server(0, length(post), OK_A)]];
    let (found, _) = read(&sent.concat());
    assert_eq!(found[0].request.body.stored, b"abc");
    assert_eq!(found[0].request.trailers[0].name, b"X-Sum");
}

#[test]
fn what_passes_after_an_upgrade_or_a_connect_is_not_read() {
    for (request, answer) in [
        (&b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"[..], &b"HTTP/1.1 101 Switching\r\n\r\n"[..]),
        (b"CONNECT x:443 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 Established\r\n\r\n"),
    ] {
        let (r, s) = (length(request), length(answer));
        let sent = [
            opened(),
            vec![client(0, 0, request), server(0, r, answer), client(r, s, GET_A), server(s, r, OK_A)],
        ];
        let (found, _) = read(&sent.concat());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].ending, Ending::Completed);
    }
}

#[test]
fn a_reset_says_who_broke_off() {
    for (by_client, expected) in [(true, "/a  client_aborted"), (false, "/a  upstream_reset")] {
        let reset = if by_client { client(length(GET_A), 0, b"") } else { server(0, length(GET_A), b"") };
        let sent = [opened(), vec![client(0, 0, GET_A), with(RST | ACK, reset)]];
        assert_eq!(shown(&read(&sent.concat()).0), [expected]);
    }
}

#[test]
fn the_same_ports_again_are_another_connection() {
    let mut again = two();
    // Another start of both sequences.
    let shift = 1_000_000;
    again.iter_mut().for_each(|sent| {
        sent.place = sent.place.wrapping_add(shift);
        sent.heard = sent.heard.wrapping_add(shift);
    });
    let (found, counts) = read(&[two(), again].concat());
    assert_eq!(shown(&found), [TWO, TWO].concat());
    assert_eq!(counts.connections, 2);
    assert_ne!(found[0].connection, found[2].connection);
}

#[test]
fn tls_is_counted_and_left_alone() {
    let sent = [opened(), vec![client(0, 0, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")]];
    let (found, counts) = read(&sent.concat());
    assert_eq!((found.len(), counts.tls_connections, counts.other_connections), (0, 1, 0));
}

proptest! {
    #[test]
    fn cut_and_shuffled_segments_give_the_same_exchanges(
        cuts in proptest::collection::vec(1..20_u32, 1..12),
        swaps in proptest::collection::vec((0..40_usize, 0..40_usize), 0..6),
    ) {
        let mut pieces = Vec::new();
        let mut cuts = cuts.into_iter().cycle();
        for sent in &two()[3..7] {
            let mut rest = sent.clone();
            while !rest.content.is_empty() {
                let count = (cuts.next().unwrap() as usize).min(rest.content.len());
                let tail = rest.content.split_off(count);
                let next = Sent { content: tail, place: rest.place + u32::try_from(count).unwrap(), ..rest.clone() };
                pieces.push(rest);
                rest = next;
            }
        }
        for (a, b) in swaps {
            let count = pieces.len();
            // Neighbours, as networks swap them.
            let at = (a + b) % (count - 1);
            pieces.swap(at, at + 1);
        }
        let all = [opened(), pieces].concat();
        prop_assert_eq!(shown(&read(&all).0), TWO);
    }

    #[test]
    fn any_packets_are_survived(
        packets in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..90)), 0..40)
    ) {
        let mut dissection = dissection();
        for (link, bytes) in packets {
            let link = Link([12, 1, 0, 113, 276, 239, 9, 104][usize::from(link % 8)]);
            dissection.on_packet(Packet { at: Offset::ZERO, link, bytes: &bytes, length: bytes.len() });
        }
        dissection.finish();
    }

    #[test]
    fn flipped_bytes_are_survived(flips in proptest::collection::vec((0..9_usize, 0..80_usize, any::<u8>()), 0..12)) {
        let mut dissection = dissection();
        let mut packets: Vec<Vec<u8>> = two().iter().map(packet).collect();
        for (at, place, value) in flips {
            let bytes = &mut packets[at];
            let place = place % bytes.len();
            bytes[place] = value;
        }
        for bytes in packets.iter().chain(packets.iter().rev()) {
            dissection.on_packet(Packet { at: Offset::ZERO, link: Link(12), bytes, length: bytes.len() });
        }
        dissection.finish();
    }
}
