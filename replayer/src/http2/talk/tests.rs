//! Connections against servers that keep to RFC 9113, and against those that do not.

use proptest::prelude::*;

use super::*;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: s\r\n\r\n";
/// `:status: 200`, by its number in RFC 7541, Appendix A.
const OK: &[u8] = &[0x88];

fn framed(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::push(&mut out, kind, flags, stream, payload);
    out
}

fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::push_settings(&mut out, settings);
    out
}

fn head(stream: u32, ends: bool) -> Vec<u8> {
    framed(frame::HEADERS, frame::END_HEADERS | u8::from(ends), stream, OK)
}

/// A connection whose server has said `said`, with what it was sent before taken away.
fn talk(said: &[(u16, u32)]) -> Talk {
    let mut talk = Talk::new(false, 1_000);
    assert!(talk.unsent().starts_with(frame::PREFACE));
    let events = told(&mut talk, &settings(said));
    assert_eq!(events, Ok(Vec::new()));
    sent(&mut talk);
    talk
}

fn begin(talk: &mut Talk, serial: u64, text: &[u8]) -> u32 {
    talk.begin(text, false, true, (7, serial)).unwrap()
}

/// What became of requests by these bytes: serial and what.
fn told(talk: &mut Talk, bytes: &[u8]) -> Result<Vec<(u64, What)>, Fault> {
    let mut events = Vec::new();
    talk.on_bytes(bytes, &mut events)?;
    Ok(events.into_iter().map(|event| (event.tag.1, event.what)).collect())
}

/// The frames that are to be sent, taken away: kind, flags, stream, payload.
fn sent(talk: &mut Talk) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut bytes = talk.unsent();
    bytes = bytes.strip_prefix(frame::PREFACE).unwrap_or(bytes);
    let mut frames = Vec::new();
    while let Some(head) = FrameHead::read(bytes) {
        let end = frame::HEAD + head.length;
        frames.push((head.kind, head.flags, head.stream, bytes[frame::HEAD..end].to_vec()));
        bytes = &bytes[end..];
    }
    let all = talk.unsent().len();
    talk.on_sent(all);
    frames
}

fn kinds(talk: &mut Talk) -> Vec<(u8, u32)> {
    sent(talk).into_iter().map(|(kind, _, stream, _)| (kind, stream)).collect()
}

#[test]
fn answers_come_in_any_order_and_in_pieces_of_any_size() {
    let answers = [
        head(3, false),
        head(1, false),
        framed(frame::DATA, 0, 3, b"xy"),
        framed(frame::DATA, frame::END_STREAM, 1, b"abc"),
        // Trailers: `a: b`, a literal.
        framed(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, 3, b"\0\x01a\x01b"),
    ]
    .concat();
    for piece in [1, 2, 7, 10, answers.len()] {
        let mut talk = talk(&[]);
        assert_eq!((begin(&mut talk, 1, GET), begin(&mut talk, 2, GET)), (1, 3));
        let mut all = Vec::new();
        for part in answers.chunks(piece) {
            all.extend(told(&mut talk, part).unwrap());
        }
        let text = || What::Head(b"HTTP/1.1 200 \r\n\r\n".to_vec());
        let expected = [
            (2, text()),
            (1, text()),
            (2, What::Content(b"xy".to_vec())),
            (1, What::Content(b"abc".to_vec())),
            (1, What::Ended(200)),
            (2, What::Content(Vec::new())),
            (2, What::Ended(200)),
        ];
        assert_eq!(all, expected, "pieces of {piece}");
        assert!(talk.is_quiet() && talk.has_room());
    }
}

#[test]
fn no_more_requests_begin_than_the_server_takes() {
    let mut talk = Talk::new(false, 1_000);
    assert!(talk.has_room());
    begin(&mut talk, 1, GET);
    assert!(!talk.has_room(), "what it takes is not known yet");
    told(&mut talk, &settings(&[(frame::MAX_CONCURRENT_STREAMS, 2)])).unwrap();
    assert!(talk.has_room());
    begin(&mut talk, 2, GET);
    assert!(!talk.has_room());
    told(&mut talk, &head(1, true)).unwrap();
    assert!(talk.has_room());
    // Our own limit holds as well.
    let mut few = Talk::new(false, 1);
    told(&mut few, &settings(&[])).unwrap();
    begin(&mut few, 1, GET);
    assert!(!few.has_room());
}

#[test]
fn a_body_is_sent_as_far_as_both_windows_let() {
    let mut talk = talk(&[(frame::INITIAL_WINDOW_SIZE, 10)]);
    let text = [b"POST / HTTP/1.1\r\nHost: s\r\n\r\n".as_slice(), &[b'x'; 70_000]].concat();
    begin(&mut talk, 1, &text);
    let of_body = |talk: &mut Talk| -> (usize, bool) {
        let frames = sent(talk);
        let content = frames.iter().filter(|(kind, ..)| *kind == frame::DATA);
        let ends = frames.iter().any(|(kind, flags, ..)| *kind == frame::DATA && *flags == frame::END_STREAM);
        (content.map(|(.., payload)| payload.len()).sum(), ends)
    };
    assert_eq!(of_body(&mut talk), (10, false));
    told(&mut talk, &framed(frame::WINDOW_UPDATE, 0, 1, &5_u32.to_be_bytes())).unwrap();
    assert_eq!(of_body(&mut talk), (5, false));
    // A smaller window makes what is left of this one negative.
    told(&mut talk, &settings(&[(frame::INITIAL_WINDOW_SIZE, 0)])).unwrap();
    told(&mut talk, &framed(frame::WINDOW_UPDATE, 0, 1, &8_u32.to_be_bytes())).unwrap();
    assert_eq!(of_body(&mut talk), (0, false));
    told(&mut talk, &settings(&[(frame::INITIAL_WINDOW_SIZE, 100_000)])).unwrap();
    // Now the window of the connection is the narrower one: 65,535 bytes to begin with.
    assert_eq!(of_body(&mut talk), (65_535 - 15, false));
    told(&mut talk, &framed(frame::WINDOW_UPDATE, 0, 0, &100_000_u32.to_be_bytes())).unwrap();
    assert_eq!(of_body(&mut talk), (70_000 - 65_535, true));
}

#[test]
fn windows_are_opened_again_as_content_comes() {
    let mut talk = talk(&[]);
    begin(&mut talk, 1, GET);
    sent(&mut talk);
    told(&mut talk, &head(1, false)).unwrap();
    let piece = framed(frame::DATA, 0, 1, &[0; LARGEST]);
    let (mut came, mut opened) = (0, 0);
    for _ in 0..2 * STREAM_WINDOW as usize / LARGEST {
        told(&mut talk, &piece).unwrap();
        came += LARGEST as i64;
        for (kind, _, stream, payload) in sent(&mut talk) {
            assert_eq!((kind, stream), (frame::WINDOW_UPDATE, 1));
            opened += i64::from(frame::number(&payload, 0).unwrap());
        }
        assert!(came - opened <= STREAM_WINDOW / 2 + LARGEST as i64);
    }
    // A server that does not wait for that is told so.
    let mut rash = super::tests::talk(&[]);
    begin(&mut rash, 1, GET);
    told(&mut rash, &head(1, false)).unwrap();
    rash.streams.get_mut(&1).unwrap().receive_window = 10;
    assert_eq!(told(&mut rash, &framed(frame::DATA, 0, 1, &[0; 11])), Err(Fault(FLOW_CONTROL_ERROR)));
}

#[test]
fn what_a_server_never_looked_at_can_be_sent_again() {
    let mut talk = talk(&[]);
    for serial in 1..=3 {
        begin(&mut talk, serial, GET);
    }
    let refused = framed(frame::RST_STREAM, 0, 1, &REFUSED_STREAM.to_be_bytes());
    assert_eq!(told(&mut talk, &refused), Ok(vec![(1, What::Refused)]));
    // The second stream is the last that it looked at.
    let goaway = framed(frame::GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(told(&mut talk, &goaway), Ok(vec![(3, What::Refused)]));
    assert!(talk.is_ending() && !talk.has_room() && !talk.is_quiet());
    let events = told(&mut talk, &head(3, true)).unwrap();
    assert_eq!(events.last(), Some(&(2, What::Ended(200))));
    assert!(talk.is_quiet());
}

#[test]
fn an_answer_that_breaks_off_or_is_none_ends_its_own_request_alone() {
    let cancelled = framed(frame::RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
    let short = [head(1, false), framed(frame::DATA, 0, 1, b"x")].concat();
    let length = |text: &[u8]| [&[0x88, 0x0F, 13, text.len() as u8][..], text].concat();
    let whole =
        |block: &[u8], ends: bool| framed(frame::HEADERS, frame::END_HEADERS | u8::from(ends), 1, block);
    for (bytes, expected) in [
        (cancelled, What::Reset),
        // Content before a head.
        (framed(frame::DATA, 0, 1, b"x"), What::Invalid),
        // Another length than the head says, and two lengths.
        (whole(&length(b"5"), true), What::Invalid),
        ([whole(&length(b"2"), false), framed(frame::DATA, 1, 1, b"abc")].concat(), What::Invalid),
        (whole(&length(b"+1"), true), What::Invalid),
        // No status, two of them, one that is none, and one after a regular field.
        (whole(b"\0\x01a\x01b", true), What::Invalid),
        (whole(&[0x88, 0x88], true), What::Invalid),
        (whole(b"\x08\x0299", true), What::Invalid),
        (whole(b"\0\x01a\x01b\x88", true), What::Invalid),
        // A name in upper case, and a line break in a value.
        (whole(b"\x88\0\x01A\x01b", true), What::Invalid),
        (whole(b"\x88\0\x01a\x03b\r\n", true), What::Invalid),
        // A second head, and an informational one that ends.
        ([short, whole(OK, false)].concat(), What::Invalid),
        (whole(b"\x08\x03103", true), What::Invalid),
        (framed(frame::WINDOW_UPDATE, 0, 1, &[0; 4]), What::Invalid),
    ] {
        let mut talk = talk(&[]);
        begin(&mut talk, 1, GET);
        begin(&mut talk, 2, GET);
        sent(&mut talk);
        let events = told(&mut talk, &bytes).unwrap();
        assert_eq!(events.last(), Some(&(1, expected.clone())), "{bytes:?}");
        let said = kinds(&mut talk);
        assert_eq!(said.contains(&(frame::RST_STREAM, 1)), expected == What::Invalid, "{bytes:?}");
        assert_eq!(told(&mut talk, &head(3, true)).unwrap().last(), Some(&(2, What::Ended(200))));
    }
}

#[test]
fn informational_heads_are_passed_over() {
    let mut talk = talk(&[]);
    begin(&mut talk, 1, GET);
    let early = framed(frame::HEADERS, frame::END_HEADERS, 1, b"\x08\x03103");
    let events = told(&mut talk, &[early.clone(), head(1, true)].concat()).unwrap();
    let texts =
        [&b"HTTP/1.1 103 \r\n\r\n"[..], b"HTTP/1.1 200 \r\n\r\n"].map(|text| What::Head(text.to_vec()));
    assert_eq!(events.into_iter().map(|(_, what)| what).collect::<Vec<_>>()[..2], texts);
    begin(&mut talk, 2, GET);
    let again = framed(frame::HEADERS, frame::END_HEADERS, 3, b"\x08\x03103").repeat(101);
    assert_eq!(told(&mut talk, &again).unwrap().last(), Some(&(2, What::Invalid)));
}

#[test]
fn a_request_that_is_given_up_is_cancelled_and_what_still_comes_is_passed_over() {
    let mut talk = talk(&[]);
    let id = begin(&mut talk, 1, GET);
    sent(&mut talk);
    talk.cancel(id);
    assert_eq!(sent(&mut talk), [(frame::RST_STREAM, 0, 1, CANCEL.to_be_bytes().to_vec())]);
    talk.cancel(id);
    assert_eq!(sent(&mut talk), []);
    let late = [head(1, false), framed(frame::DATA, frame::END_STREAM, 1, b"x")].concat();
    assert_eq!(told(&mut talk, &late), Ok(Vec::new()));
}

#[test]
fn a_server_that_wants_no_more_of_a_body_is_sent_no_more() {
    let mut talk = talk(&[(frame::INITIAL_WINDOW_SIZE, 0)]);
    begin(&mut talk, 1, b"POST / HTTP/1.1\r\nHost: s\r\n\r\nbody");
    sent(&mut talk);
    let events = told(&mut talk, &head(1, true)).unwrap();
    assert_eq!(events.last(), Some(&(1, What::Ended(200))));
    assert_eq!(kinds(&mut talk), [(frame::RST_STREAM, 1)]);
    assert_eq!(talk.unfinished, 0);
}

#[test]
fn a_server_that_breaks_the_protocol_is_told_so_and_left() {
    let ours = |bytes: Vec<u8>| [settings(&[]), bytes].concat();
    let continued = |count: usize| {
        let first = framed(frame::HEADERS, 0, 1, &[]);
        [first, framed(frame::CONTINUATION, 0, 1, &[]).repeat(count)].concat()
    };
    for (why, bytes, code) in [
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), FRAME_SIZE_ERROR),
        ("no settings first", head(1, true), PROTOCOL_ERROR),
        ("a giant frame", ours(vec![1, 0, 0, 0, 0, 0, 0, 0, 1]), FRAME_SIZE_ERROR),
        ("a stream that nobody began", ours(head(99, true)), PROTOCOL_ERROR),
        ("a stream of its own", ours(head(2, true)), PROTOCOL_ERROR),
        ("a push", ours(framed(frame::PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])), PROTOCOL_ERROR),
        (
            "a block that is cut into",
            ours([framed(frame::HEADERS, 0, 1, OK), settings(&[])].concat()),
            PROTOCOL_ERROR,
        ),
        ("a block that goes on nowhere", ours(framed(frame::CONTINUATION, 4, 1, OK)), PROTOCOL_ERROR),
        ("a block that is no block", ours(framed(frame::HEADERS, 4, 1, &[0x80])), COMPRESSION_ERROR),
        (
            "a block without an end",
            ours(
                [
                    framed(frame::HEADERS, 0, 1, &[]),
                    framed(frame::CONTINUATION, 0, 1, &[0; LARGEST]).repeat(5),
                ]
                .concat(),
            ),
            ENHANCE_YOUR_CALM,
        ),
        ("empty pieces without an end", ours(continued(20_000)), ENHANCE_YOUR_CALM),
        ("a flood of settings", settings(&[]).repeat(20_000), ENHANCE_YOUR_CALM),
        ("a flood of pings", ours(framed(frame::PING, 0, 0, &[0; 8]).repeat(20_000)), ENHANCE_YOUR_CALM),
        ("a flood of what is not known", ours(framed(99, 0, 5, &[0; 8]).repeat(20_000)), ENHANCE_YOUR_CALM),
        (
            "empty content without an end",
            ours([head(1, false), framed(frame::DATA, 0, 1, &[]).repeat(20_000)].concat()),
            ENHANCE_YOUR_CALM,
        ),
        (
            "a window above the largest",
            ours(framed(frame::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
            FLOW_CONTROL_ERROR,
        ),
        (
            "a first window above the largest",
            settings(&[(frame::INITIAL_WINDOW_SIZE, 1 << 31)]),
            FLOW_CONTROL_ERROR,
        ),
        ("a window opened by nothing", ours(framed(frame::WINDOW_UPDATE, 0, 0, &[0; 4])), PROTOCOL_ERROR),
        ("a short ping", ours(framed(frame::PING, 0, 0, &[0; 7])), FRAME_SIZE_ERROR),
        ("cut settings", framed(frame::SETTINGS, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
        ("settings of a stream", framed(frame::SETTINGS, 0, 1, &[]), PROTOCOL_ERROR),
        ("frames that are too small", settings(&[(frame::MAX_FRAME_SIZE, 100)]), PROTOCOL_ERROR),
    ] {
        let mut talk = Talk::new(false, 100);
        begin(&mut talk, 1, GET);
        let mut events = Vec::new();
        let outcome = bytes.chunks(LARGEST).try_for_each(|part| talk.on_bytes(part, &mut events));
        assert_eq!(outcome, Err(Fault(code)), "{why}");
        let last = sent(&mut talk).pop().unwrap();
        assert_eq!((last.0, frame::number(&last.3, 4)), (frame::GOAWAY, Some(code)), "{why}");
        assert_eq!(talk.give_up(), [(7, 1)], "{why}: the request is still there to be ended");
    }
}

#[test]
fn pings_are_answered_and_what_is_not_known_is_passed_over() {
    let mut talk = talk(&[(0x99, 5)]);
    let bytes =
        [framed(frame::PING, 0, 0, b"abcdefgh"), framed(0x42, 0xFF, 9, b"?"), framed(2, 0, 1, &[0; 5])]
            .concat();
    assert_eq!(told(&mut talk, &bytes), Ok(Vec::new()));
    assert_eq!(sent(&mut talk), [(frame::PING, frame::ACK, 0, b"abcdefgh".to_vec())]);
}

proptest! {
    /// However a server behaves, each request ends at most once, and all that did not are given up at the end.
    #[test]
    fn each_request_ends_once_whatever_comes(
        frames in proptest::collection::vec((0_u8..12, any::<u8>(), 0_u32..9, proptest::collection::vec(any::<u8>(), 0..40)), 0..60),
        piece in 1_usize..100,
    ) {
        let mut talk = talk(&[]);
        for serial in 1..=4 {
            begin(&mut talk, serial, GET);
        }
        let bytes: Vec<u8> = frames.iter().flat_map(|(kind, flags, stream, payload)| framed(*kind, *flags, *stream, payload)).collect();
        let mut events = Vec::new();
        let _ = bytes.chunks(piece).try_for_each(|part| talk.on_bytes(part, &mut events));
        let is_end = |what: &What| !matches!(what, What::Head(_) | What::Content(_));
        let mut ended: Vec<u64> = events.iter().filter(|event| is_end(&event.what)).map(|event| event.tag.1).collect();
        ended.extend(talk.give_up().into_iter().map(|(_, serial)| serial));
        ended.sort_unstable();
        prop_assert_eq!(ended, [1, 2, 3, 4]);
        prop_assert_eq!(talk.unfinished, 0);
    }
}
