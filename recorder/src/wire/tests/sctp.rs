//! Associations of SCTP packet by packet, as RFC 9260 draws them.

use super::*;

/// What a chunk says of its message: it begins, it ends, both.
const BEGINS: u8 = 2;
const ENDS: u8 = 1;
const WHOLE: u8 = 3;
/// The first numbers of the client and of the server: one is near the end of the numbers.
const FIRST: [u32; 2] = [u32::MAX - 1, 500];

fn chunk(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + body.len()).unwrap().to_be_bytes();
    let mut chunk = [&[kind, flags][..], &length, body].concat();
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// The chunk of data number `turn` of a party.
fn data(by_client: bool, turn: u32, flags: u8, content: &[u8]) -> Sent {
    let number = FIRST[usize::from(!by_client)].wrapping_add(turn);
    // Stream, number within it, and kind of content: they do not matter.
    let body = [&number.to_be_bytes()[..], &[0, 1, 0, 0, 0, 0, 0, 0], content].concat();
    sent(by_client, &chunk(0, flags, &body))
}

fn begun(by_client: bool, kind: u8, number: u32) -> Sent {
    let body = [&[0, 0, 0, 7, 0, 1, 0, 0, 0, 9, 0, 9][..], &number.to_be_bytes()].concat();
    sent(by_client, &chunk(kind, 0, &body))
}

/// The other party has the chunks up to number `turn` of `of_client`, as it says.
fn acknowledged(of_client: bool, turn: u32) -> Sent {
    let number = FIRST[usize::from(!of_client)].wrapping_add(turn);
    sent(!of_client, &chunk(3, 0, &[&number.to_be_bytes()[..], &[0; 8]].concat()))
}

fn sent(by_client: bool, chunks: &[u8]) -> Sent {
    Sent { by_client, place: 0, heard: 0, flags: 0, content: chunks.to_vec() }
}

fn opened() -> Vec<Sent> {
    vec![begun(true, 1, FIRST[0]), begun(false, 2, FIRST[1])]
}

fn packet(sent: &Sent) -> Vec<u8> {
    let (from, to) = if sent.by_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    let mut bytes = vec![0x45, 0];
    bytes.extend(u16::try_from(32 + sent.content.len()).unwrap().to_be_bytes());
    bytes.extend([0, 1, 0, 0, 64, 132, 0, 0]);
    bytes.extend(from.0.octets());
    bytes.extend(to.0.octets());
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    bytes.extend([0, 0, 0, 7, 0, 0, 0, 0]);
    bytes.extend(&sent.content);
    bytes
}

fn read(sent: &[Sent]) -> (Vec<Exchange>, WireCounts) {
    read_packets(&sent.iter().map(packet).collect::<Vec<_>>(), KeyLog::default())
}

/// Two requests and their answers; a head, its body and the head after it are messages of their own.
fn two() -> Vec<Sent> {
    let (head, body) = OK_A.split_at(OK_A.len() - 2);
    let said = vec![
        data(true, 0, WHOLE, GET_A),
        data(false, 0, WHOLE, head),
        data(false, 1, BEGINS, &body[..1]),
        data(false, 2, ENDS, &body[1..]),
        data(true, 1, BEGINS, &GET_B[..9]),
        data(true, 2, 0, &GET_B[9..20]),
        data(true, 3, ENDS, &GET_B[20..]),
        data(false, 3, WHOLE, NO_B),
    ];
    [opened(), said].concat()
}

#[test]
fn messages_are_put_together_and_read() {
    let (found, counts) = read(&two());
    assert_eq!(shown(&found), TWO);
    assert_eq!((counts.connections, counts.http_connections, counts.not_tcp), (1, 1, 0));
    assert_eq!(found[0].arrived, Offset::from_millis(3));
    assert_eq!(shown(&read(&two()[2..]).0), TWO, "without its beginning");
}

#[test]
fn many_chunks_in_one_packet_are_read() {
    let all: Vec<u8> = two()[2..6].iter().skip(1).flat_map(|sent| sent.content.clone()).collect();
    let both = [opened(), vec![data(true, 0, WHOLE, GET_A), sent(false, &all)], two()[6..].to_vec()];
    assert_eq!(shown(&read(&both.concat()).0), TWO);
}

#[test]
fn chunks_out_of_order_and_twice_are_the_same() {
    let mut swapped = two();
    swapped.swap(4, 5);
    swapped.swap(6, 8);
    let doubled: Vec<Sent> = swapped.into_iter().flat_map(|sent| [sent.clone(), sent]).collect();
    let (found, counts) = read(&doubled);
    assert_eq!(shown(&found), TWO);
    assert_eq!((counts.repeated_segments, counts.differing_segments), (8, 0));
}

#[test]
fn of_chunks_that_differ_the_first_stays() {
    let mut sent = two();
    sent.swap(4, 5);
    sent.insert(5, data(false, 2, ENDS, b"X"));
    let (found, counts) = read(&sent);
    assert_eq!((shown(&found), counts.differing_segments), (TWO.map(str::to_owned).to_vec(), 1));
}

#[test]
fn where_a_chunk_was_not_captured_the_next_message_begins_anew() {
    let mut sent = two();
    // The second part of the second request.
    sent.remove(7);
    sent.insert(8, acknowledged(true, 3));
    let (found, counts) = read(&sent);
    assert_eq!(shown(&found), ["/a 200 ok completed"]);
    assert_eq!((counts.gaps, counts.unread_bytes), (1, u64::from(length(&GET_B[20..]))));
    assert_eq!(counts.responses_without_request, 1);
}

#[test]
fn what_a_sender_gives_up_is_not_waited_for() {
    let number = FIRST[0].wrapping_add(3);
    let forward = chunk(192, 0, &number.to_be_bytes());
    let mut given_up = two();
    given_up.remove(7);
    given_up.insert(8, sent(true, &forward));
    given_up.push(data(true, 4, WHOLE, GET_A));
    given_up.push(data(false, 4, WHOLE, OK_A));
    let (found, counts) = read(&given_up);
    assert_eq!(shown(&found), ["/a 200 ok completed", "/a 200 ok completed"]);
    assert_eq!((counts.gaps, counts.responses_without_request), (1, 1));
}

#[test]
fn the_same_ports_again_are_another_association_and_an_abort_says_who_broke_off() {
    let mut again = two();
    again.push(sent(true, &chunk(7, 0, &[0; 4])));
    again.push(sent(false, &chunk(14, 0, &[])));
    again.extend(two());
    again.push(begun(true, 1, 77));
    let request = [&77_u32.to_be_bytes()[..], &[0; 8], GET_A].concat();
    again.push(sent(true, &chunk(0, WHOLE, &request)));
    again.push(sent(false, &chunk(6, 0, &[])));
    let (found, counts) = read(&again);
    assert_eq!(shown(&found)[..4], [TWO, TWO].concat());
    assert_eq!(shown(&found)[4..], ["/a  upstream_reset"]);
    assert_eq!(counts.connections, 3);
}

proptest! {
    #[test]
    fn any_chunks_are_survived(
        packets in proptest::collection::vec(proptest::collection::vec(
            (0..16_u8, any::<u8>(), 0..60_u16, proptest::collection::vec(any::<u8>(), 0..40)), 0..6), 0..30)
    ) {
        let made = |chunks: Vec<(u8, u8, u16, Vec<u8>)>| {
            let mut bytes = Vec::new();
            for (kind, flags, length, mut body) in chunks {
                if let Some(place) = body.first_chunk_mut::<3>() {
                    *place = [0; 3];
                }
                bytes.extend([if kind == 15 { 192 } else { kind }, flags]);
                bytes.extend(length.to_be_bytes());
                bytes.extend(body);
            }
            packet(&sent(true, &bytes))
        };
        read_packets(&packets.into_iter().map(made).collect::<Vec<_>>(), KeyLog::default());
    }
}
