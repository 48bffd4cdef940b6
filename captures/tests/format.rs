//! The file format against every input: round trips, cuts at every byte, flips of every byte.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::time::Duration;

use captures::{
    Body, Bytes, CaptureHeader, CaptureReader, CaptureWriter, Compression, ConnectionId, DamageKind, Ending,
    Event, EventKind, Exchange, ExchangeId, Failure, Frames, GeneratorLoad, Header, Histogram, Interval,
    MAX_OBSERVED, Masking, Observed, ObservedKind, Offset, Outcome, Passage, Rate, ReadError, Request,
    Response, Run, RunEnd, RunHeader, RunWriter, SessionId, SessionKey, Stage, Tally, Version,
};
use proptest::prelude::*;

fn header() -> CaptureHeader {
    CaptureHeader {
        tool: "highwater 0.1.0".to_owned(),
        started: 1_790_000_000_000_000_000,
        listen: vec!["127.0.0.1:8080".to_owned()],
        upstream: vec!["shop.test:80".to_owned(), "127.0.0.1:9000".to_owned()],
        servers: vec!["127.0.0.1:9000".to_owned()],
        recording: [3; 16],
        segment: 0,
        session_keys: vec!["cookie:sid".to_owned(), "connection".to_owned()],
        filters: vec!["--exclude /health".to_owned()],
        masking: Masking::Pseudonyms { key_id: [7; 8], rules: vec!["cookie".to_owned()] },
        sampling_ratio: 1.0,
        body_limit: 65_536,
    }
}

fn exchange(id: u64) -> Exchange {
    Exchange {
        id: ExchangeId(id),
        connection: ConnectionId(id / 4),
        session: SessionId(id / 8),
        session_key: SessionKey::Cookie,
        arrived: Offset::from_millis(id * 10),
        request_done: Some(Offset::from_millis(id * 10 + 1)),
        response_began: Some(Offset::from_millis(id * 10 + 4)),
        ended: Offset::from_millis(id * 10 + 5),
        attempts: 1,
        request: Request {
            method: b"GET".to_vec(),
            target: format!("/product/{id}").into_bytes(),
            version: Version::Http11,
            headers: vec![Header { name: b"HoSt".to_vec(), value: b"shop.test".to_vec() }],
            body: Body::default(),
            trailers: Vec::new(),
        },
        response: Some(Response {
            status: 200,
            version: Version::Http11,
            headers: Vec::new(),
            body: Body { length: 5, stored: b"hello".to_vec(), ..Body::default() },
            trailers: Vec::new(),
        }),
        ending: Ending::Completed,
        passage: Passage::default(),
    }
}

/// A closed capture of `count` exchanges in blocks of `per_block`.
fn capture(count: u64, per_block: u64) -> Vec<u8> {
    compressed_capture(count, per_block, Compression::default())
}

fn compressed_capture(count: u64, per_block: u64, compression: Compression) -> Vec<u8> {
    let mut writer = CaptureWriter::compressed(Vec::new(), &header(), compression).unwrap();
    let mut tally = Tally::default();
    for id in 0..count {
        writer.push(&exchange(id)).unwrap();
        tally.seen += 1;
        tally.recorded += 1;
        if (id + 1) % per_block == 0 {
            writer.flush(&tally).unwrap();
        }
    }
    writer.finish(&tally).unwrap()
}

#[test]
fn events_come_back_in_order() {
    let events = EventKind::ALL.map(|kind| Event {
        at: Offset::from_secs(kind as u64),
        wall: 1_790_000_000_000_000_000,
        kind,
        amount: -5,
    });
    let mut writer = CaptureWriter::create(Vec::new(), &header()).unwrap();
    for event in &events {
        writer.note(event).unwrap();
        writer.flush(&Tally::default()).unwrap();
    }
    let bytes = writer.finish(&Tally::default()).unwrap();
    let mut reader = CaptureReader::open(&bytes[..]).unwrap();
    assert_eq!(reader.by_ref().count(), 0);
    assert_eq!(reader.events(), events);
    assert!(reader.closed() && reader.damage().is_empty());
}

struct Read {
    exchanges: Vec<Exchange>,
    damage: usize,
    torn: bool,
    closed: bool,
}

fn read(bytes: &[u8]) -> Result<Read, ReadError> {
    let mut reader = CaptureReader::open(bytes)?;
    let exchanges: Vec<Exchange> = reader.by_ref().collect::<Result<_, _>>()?;
    Ok(Read {
        exchanges,
        damage: reader.damage().len(),
        torn: reader
            .damage()
            .iter()
            .any(|damage| matches!(damage.kind, DamageKind::Torn | DamageKind::Unclosed)),
        closed: reader.closed(),
    })
}

#[test]
fn what_was_written_is_read() {
    let bytes = capture(64, 8);
    let mut reader = CaptureReader::open(&bytes[..]).unwrap();
    assert_eq!(reader.header(), &header());
    let exchanges: Vec<Exchange> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(exchanges, (0..64).map(exchange).collect::<Vec<_>>());
    assert_eq!(reader.tallies().last().unwrap().recorded, 64);
    assert!(reader.closed());
    assert!(reader.damage().is_empty());
}

#[test]
fn every_flipped_byte_is_noticed_and_costs_at_most_its_block() {
    let bytes = capture(64, 8);
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xFF] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let read = read(&damaged).unwrap_or_else(|error| panic!("byte {at}: {error}"));
            assert!(read.damage > 0, "byte {at} flipped by {flip:#x} went unnoticed");
            assert!(read.exchanges.len() >= 56, "byte {at}: {} exchanges", read.exchanges.len());
            for got in &read.exchanges {
                assert_eq!(got, &exchange(got.id.0), "byte {at}: a wrong record");
            }
        }
    }
}

#[test]
fn blocks_in_lz4_are_read_like_others_and_no_flip_in_them_yields_a_wrong_record() {
    let bytes = compressed_capture(64, 32, Compression::Lz4);
    assert_ne!(bytes, capture(64, 32));
    let whole = read(&bytes).unwrap();
    assert_eq!(whole.exchanges, (0..64).map(exchange).collect::<Vec<_>>());
    assert!(whole.closed && whole.damage == 0);

    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x01;
        let read = read(&damaged).unwrap_or_else(|error| panic!("byte {at}: {error}"));
        assert!(read.damage > 0, "byte {at} went unnoticed");
        for got in &read.exchanges {
            assert_eq!(got, &exchange(got.id.0), "byte {at}: a wrong record");
        }
    }
}

#[test]
fn a_thousand_random_flips_of_a_long_file_yield_no_wrong_record() {
    let (count, per_block) = (4_000, 500);
    let bytes = capture(count, per_block);
    let mut draw = 42_u64;
    for _ in 0..1_000 {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(draw >> 33).unwrap() % bytes.len();
        let flip = u8::try_from(draw >> 25 & 0xFF).unwrap().max(1);
        let mut damaged = bytes.clone();
        damaged[at] ^= flip;
        let mut reader = CaptureReader::open(&damaged[..]).unwrap();
        let mut read = 0;
        for got in reader.by_ref().map(Result::unwrap) {
            assert_eq!(got, exchange(got.id.0), "byte {at}: a wrong record");
            read += 1;
        }
        let damage = reader.damage();
        assert!(!damage.is_empty(), "byte {at} went unnoticed");
        let lost = damage.iter().filter_map(|place| place.records).map(u64::from).sum::<u64>();
        assert!(read + lost <= count && read >= count - per_block, "byte {at}: {read} read, {lost} lost");
        // A flip in a payload leaves the head, which says how much was lost.
        assert!(lost == 0 || read + lost == count, "byte {at}: the loss is miscounted");
    }
}

#[test]
fn a_file_cut_anywhere_gives_every_whole_block_before_the_cut() {
    let bytes = capture(64, 8);
    let mut most = 0;
    for cut in 0..bytes.len() {
        match read(&bytes[..cut]) {
            Err(ReadError::Empty | ReadError::NoHeader | ReadError::Foreign) => {
                assert_eq!(most, 0, "cut at {cut}")
            }
            Err(error) => panic!("cut at {cut}: {error}"),
            Ok(read) => {
                assert!(!read.closed, "cut at {cut}");
                assert!(read.exchanges.len() >= most, "cut at {cut} lost what a shorter file had");
                most = read.exchanges.len();
                assert_eq!(read.exchanges, (0..most as u64).map(exchange).collect::<Vec<_>>());
                assert!(read.torn, "cut at {cut} is not said");
            }
        }
    }
    assert_eq!(most, 64);
}

#[test]
fn garbage_between_blocks_is_stepped_over() {
    let mut bytes = capture(16, 8);
    let half = bytes.len() / 2;
    bytes.splice(half..half, std::iter::repeat_n(0xB7, 100_000));
    let read = read(&bytes).unwrap();
    assert!(read.damage > 0);
    assert!(read.exchanges.len() >= 8);
}

#[test]
fn foreign_files_are_told_apart() {
    assert!(matches!(CaptureReader::open(&b""[..]), Err(ReadError::Empty)));
    assert!(matches!(CaptureReader::open(&b"GET / HTTP/1.1\r\n\r\n"[..]), Err(ReadError::Foreign)));
    assert!(matches!(CaptureReader::open(&[0_u8; 4_096][..]), Err(ReadError::Foreign)));
    let run = RunWriter::create(Vec::new(), &run_header())
        .unwrap()
        .finish(&RunEnd { ended: Offset::ZERO, interrupted: false, invalid_reason: None, stopped_by: None })
        .unwrap();
    assert!(matches!(CaptureReader::open(&run[..]), Err(ReadError::WrongKind { .. })));
    assert!(matches!(Run::read(&capture(1, 1)[..]), Err(ReadError::WrongKind { .. })));
    let mut newer = capture(1, 1);
    newer[8] = 99;
    let check = crc32c::crc32c(&newer[..12]);
    newer[12..16].copy_from_slice(&check.to_le_bytes());
    assert!(matches!(CaptureReader::open(&newer[..]), Err(ReadError::Newer { version: 99, known: 1 })));
}

#[test]
fn a_length_that_lies_is_refused_before_it_is_allocated() {
    // A sound head that claims blocks of 4 GiB: the claim itself makes it no head.
    let mut bytes = capture(8, 8);
    let first = bytes.windows(4).position(|window| window == [0xB7, 0x48, 0x57, 0x42]).unwrap();
    for field in [16, 20] {
        bytes[first + field..first + field + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    }
    let check = crc32c::crc32c(&bytes[first..first + 44]);
    bytes[first + 44..first + 48].copy_from_slice(&check.to_le_bytes());
    let read = read(&bytes).unwrap();
    assert_eq!(read.exchanges.len(), 8);
    assert!(read.damage > 0);
}

fn run_header() -> RunHeader {
    RunHeader {
        tool: "highwater 0.1.0".to_owned(),
        started: 1,
        target: "http://127.0.0.1:9001".to_owned(),
        capture: "shop.capture".to_owned(),
        capture_digest: [1; 32],
        capture_span: Duration::from_secs(60),
        capture_rate: Rate::per_second(33.3).unwrap(),
        seed: 1,
        stages: vec![Stage { begin: Offset::ZERO, end: Offset::from_secs(10), from: 1.0, to: 1.0 }],
        routes: vec!["GET /".to_owned()],
        held_back_ratio: 0.25,
        configuration: "{}".to_owned(),
    }
}

fn outcome(due_ms: u64, done_ms: u64, result: Result<u16, Failure>) -> Outcome {
    Outcome {
        exchange: ExchangeId(3),
        copy: 2,
        route: 0,
        recorded_status: Some(200),
        due: Offset::from_millis(due_ms),
        ready: Offset::from_millis(due_ms + 1),
        sent: Some(Offset::from_millis(due_ms + 2)),
        first_byte: Some(Offset::from_millis(due_ms + 12)),
        connecting: Duration::from_micros(300),
        done: Offset::from_millis(done_ms),
        result,
        received: Bytes::new(77),
        reused: true,
        retried: false,
    }
}

#[test]
fn late_deltas_of_a_second_are_added_up() {
    let mut writer = RunWriter::create(Vec::new(), &run_header()).unwrap();
    let outcomes = [
        outcome(100, 150, Ok(200)),
        outcome(200, 9_000, Ok(404)),
        outcome(300, 9_100, Err(Failure::TimedOut)),
        outcome(400, 400, Err(Failure::SkippedBacklog)),
    ];
    for (at, outcome) in outcomes.iter().enumerate() {
        let mut delta = Interval { second: 0, planned: 1, ..Interval::default() };
        delta.route_mut(0).count(outcome);
        writer.push(&delta).unwrap();
        writer.push_sample(outcome).unwrap();
        if at == 1 {
            writer.flush().unwrap();
        }
    }
    let end = RunEnd {
        ended: Offset::from_secs(10),
        interrupted: true,
        invalid_reason: Some("lag".to_owned()),
        stopped_by: None,
    };
    let run = Run::read(&writer.finish(&end).unwrap()[..]).unwrap();
    assert_eq!(run.header, run_header());
    assert_eq!(run.end, Some(end));
    assert_eq!(run.samples, outcomes);
    assert_eq!(run.intervals.len(), 1);
    let overall = run.overall();
    assert_eq!(run.intervals[0].planned, 4);
    assert_eq!((overall.answered(), overall.failed(), overall.skipped(), overall.errors()), (2, 1, 1, 3));
    assert_eq!(overall.response.len(), 3);
    // done − ready of the first: 150 − 101.
    let shortest = overall.response.quantile(0.0).as_secs_f64();
    assert!((shortest / 0.049 - 1.0).abs() < 1e-3, "{shortest}");
    // sent − ready − connecting: 1 ms − 0.3 ms, in each of the three.
    assert_eq!(overall.lag.quantile(1.0), Duration::from_micros(700));
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..200)
}

fn any_body() -> impl Strategy<Value = Body> {
    (any::<u64>(), any_bytes(), any::<Option<[u8; 32]>>(), any::<(bool, bool)>())
        .prop_map(|(length, stored, digest, (decoded, cut))| Body { length, stored, digest, decoded, cut })
}

fn any_headers() -> impl Strategy<Value = Vec<Header>> {
    proptest::collection::vec((any_bytes(), any_bytes()), 0..8)
        .prop_map(|pairs| pairs.into_iter().map(|(name, value)| Header { name, value }).collect())
}

fn any_passage() -> impl Strategy<Value = Passage> {
    (any::<Option<u32>>(), any::<[bool; 3]>(), any::<Option<(u64, u64)>>(), ".{0,40}").prop_map(
        |(server, [secure, altered, unfinished], frames, detail)| Passage {
            server,
            secure,
            altered,
            unfinished,
            frames: frames.map(|(client, upstream)| Frames { client, upstream }),
            detail,
        },
    )
}

prop_compose! {
    fn any_exchange()(
        numbers in any::<[u64; 5]>(),
        moments in any::<(Option<u64>, Option<u64>, u32)>(),
        request in (any_bytes(), any_bytes(), any_headers(), any_body(), any_headers()),
        response in proptest::option::of((any::<u16>(), any_headers(), any_body(), any_headers())),
        ending in 0..Ending::ALL.len(),
        passage in any_passage(),
    ) -> Exchange {
        let (method, target, headers, body, trailers) = request;
        Exchange {
            id: ExchangeId(numbers[0]),
            connection: ConnectionId(numbers[1]),
            session: SessionId(numbers[2]),
            session_key: SessionKey::Header,
            arrived: Offset::from_nanos(numbers[3]),
            request_done: moments.0.map(Offset::from_nanos),
            response_began: moments.1.map(Offset::from_nanos),
            ended: Offset::from_nanos(numbers[4]),
            attempts: moments.2,
            request: Request { method, target, version: Version::Http10, headers, body, trailers },
            response: response.map(|(status, headers, body, trailers)| {
                Response { status, version: Version::Http2, headers, body, trailers }
            }),
            ending: Ending::ALL[ending],
            passage,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_exchange_comes_back_as_it_was(exchanges in proptest::collection::vec(any_exchange(), 1..6)) {
        let mut writer = CaptureWriter::create(Vec::new(), &header()).unwrap();
        for exchange in &exchanges {
            writer.push(exchange).unwrap();
        }
        let bytes = writer.finish(&Tally::default()).unwrap();
        prop_assert_eq!(read(&bytes).unwrap().exchanges, exchanges);
    }

    #[test]
    fn random_bytes_are_never_a_capture_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(CaptureReader::open(&bytes[..]).is_err());
    }

    #[test]
    fn random_bytes_behind_a_sound_beginning_yield_no_record(rest in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let mut bytes = CaptureWriter::create(Vec::new(), &header()).unwrap().finish(&Tally::default()).unwrap();
        bytes.truncate(bytes.len() / 2);
        bytes.extend_from_slice(&rest);
        if let Ok(read) = read(&bytes) {
            prop_assert!(read.exchanges.is_empty());
        }
    }

    #[test]
    fn histograms_survive_the_file(values in proptest::collection::vec(0_u64..10_000_000, 0..300)) {
        let mut interval = Interval { second: 5, ..Interval::default() };
        for value in &values {
            interval.route_mut(0).response.record(Duration::from_micros(*value));
        }
        let mut writer = RunWriter::create(Vec::new(), &run_header()).unwrap();
        writer.push(&interval).unwrap();
        let end = RunEnd { ended: Offset::ZERO, interrupted: false, invalid_reason: None, stopped_by: None };
        let run = Run::read(&writer.finish(&end).unwrap()[..]).unwrap();
        let mut expected = Histogram::new();
        expected.merge(&run.intervals.first().map_or_else(Histogram::new, |read| read.overall().response));
        prop_assert_eq!(run.intervals.first().map_or(0, |read| read.overall().response.len()), values.len() as u64);
        prop_assert_eq!(expected, interval.overall().response);
    }
}

#[test]
fn what_was_observed_and_measured_beside_the_requests_survives_the_file() {
    let mut writer = RunWriter::create(Vec::new(), &run_header()).unwrap();
    let mut interval = Interval { second: 3, reused: 41, ..Interval::default() };
    interval.route_mut(0).count(&outcome(3_100, 3_200, Ok(200)));
    interval.connect.record(Duration::from_micros(180));
    interval.tls.record(Duration::from_micros(2_300));
    interval.generator = Some(GeneratorLoad {
        cpu_cores: 0.4,
        resident: Bytes::new(9 << 20),
        loop_delay: Duration::from_micros(75),
        connections: 12,
        waiting: 3,
    });
    for (name, kind, value) in
        [("pid:1/memory_bytes", ObservedKind::Gauge, 1e6), ("pid:1/cpu", ObservedKind::Rate, 0.5)]
    {
        assert!(interval.observe(Observed { name: name.to_owned(), kind, value }));
    }
    writer.push(&interval).unwrap();
    // A further part of the same second: levels are the larger, lengths are counted together.
    let load = GeneratorLoad { loop_delay: Duration::from_micros(90), ..GeneratorLoad::default() };
    let mut late = Interval { second: 3, reused: 1, generator: Some(load), ..Interval::default() };
    late.connect.record(Duration::from_micros(220));
    writer.push(&late).unwrap();
    let end = RunEnd { stopped_by: Some("errors".to_owned()), ..RunEnd::default() };
    let run = Run::read(&writer.finish(&end).unwrap()[..]).unwrap();

    assert!(run.damage.is_empty());
    assert_eq!(run.end, Some(end));
    let mut expected = interval;
    expected.merge(&late);
    assert_eq!(run.intervals, [expected]);
    let read = &run.intervals[0];
    assert_eq!((read.reused, read.connect.len(), read.tls.len()), (42, 2, 1));
    assert_eq!(read.generator.unwrap().loop_delay, Duration::from_micros(90));
    assert_eq!(read.generator.unwrap().cpu_cores, 0.4);
    assert_eq!(read.observed[0].name, "pid:1/cpu");
    // First byte in − sent: 12 − 2 ms.
    let first_byte = read.overall().first_byte.quantile(0.5).as_secs_f64();
    assert!((first_byte / 0.010 - 1.0).abs() < 1e-3, "{first_byte}");
}

#[test]
fn a_second_keeps_a_bounded_number_of_observations() {
    let mut interval = Interval::default();
    let observed =
        |at: usize, value: f64| Observed { name: format!("{at:04}"), kind: ObservedKind::Gauge, value };
    let kept = (0..MAX_OBSERVED + 10).filter(|&at| interval.observe(observed(at, 1.0))).count();
    assert_eq!(kept, MAX_OBSERVED);
    assert!(interval.observe(observed(0, 2.0)), "a later value of the same name replaces it");
    assert_eq!((interval.observed.len(), interval.observed[0].value), (MAX_OBSERVED, 2.0));
}
