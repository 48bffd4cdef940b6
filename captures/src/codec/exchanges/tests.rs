//! The reader by hand beside the serialiser: they read the same, and refuse the same.

use proptest::prelude::*;
use serde_bytes::Bytes as ByteString;

use super::super::{StoredBody, StoredExchange, append_exchange};
use super::*;

/// Decodes exactly all of `bytes`.
fn decode<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    let (record, read) = bincode::serde::borrow_decode_from_slice(bytes, super::super::config()).ok()?;
    (read == bytes.len()).then_some(record)
}

/// What the serialiser makes of a record.
fn by_serialiser(record: &[u8]) -> Option<Exchange> {
    restored_exchange(&decode::<StoredExchange<'_>>(record)?)
}

fn restored_exchange(stored: &StoredExchange<'_>) -> Option<Exchange> {
    Some(Exchange {
        id: ExchangeId(stored.id),
        connection: ConnectionId(stored.connection),
        session: SessionId(stored.session),
        session_key: *SESSION_KEYS.get(usize::from(stored.session_key))?,
        arrived: Offset::from_nanos(stored.arrived),
        request_done: stored.request_done.map(Offset::from_nanos),
        response_began: stored.response_began.map(Offset::from_nanos),
        ended: Offset::from_nanos(stored.ended),
        attempts: stored.attempts,
        ending: *Ending::ALL.get(usize::from(stored.ending))?,
        request: Request {
            method: stored.request.method.to_vec(),
            target: stored.request.target.to_vec(),
            version: *VERSIONS.get(usize::from(stored.request.version))?,
            headers: restored_headers(&stored.request.headers),
            body: restored_body(&stored.request.body),
            trailers: restored_headers(&stored.request.trailers),
        },
        response: match &stored.response {
            None => None,
            Some(response) => Some(Response {
                status: response.status,
                version: *VERSIONS.get(usize::from(response.version))?,
                headers: restored_headers(&response.headers),
                body: restored_body(&response.body),
                trailers: restored_headers(&response.trailers),
            }),
        },
        passage: Passage {
            server: stored.server,
            secure: stored.flags & SECURE != 0,
            altered: stored.flags & ALTERED != 0,
            unfinished: stored.flags & UNFINISHED != 0,
            frames: stored.frames.map(|(client, upstream)| Frames { client, upstream }),
            detail: stored.detail.to_owned(),
        },
    })
}

fn restored_headers(stored: &[(&ByteString, &ByteString)]) -> Vec<Header> {
    stored.iter().map(|(name, value)| Header { name: name.to_vec(), value: value.to_vec() }).collect()
}

fn restored_body(stored: &StoredBody<'_>) -> Body {
    Body {
        length: stored.length,
        stored: stored.stored.to_vec(),
        digest: stored.digest,
        decoded: stored.flags & DECODED != 0,
        cut: stored.flags & CUT != 0,
    }
}

/// Numbers of every written length.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..300, 60_000_u64..70_000, any::<u32>().prop_map(u64::from), any::<u64>()]
}

fn headers() -> impl Strategy<Value = Vec<Header>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
    proptest::collection::vec((bytes(), bytes()).prop_map(|(name, value)| Header { name, value }), 0..4)
}

fn body() -> impl Strategy<Value = Body> {
    let stored = proptest::collection::vec(any::<u8>(), 0..600);
    (number(), stored, proptest::option::of(any::<[u8; 32]>()), any::<bool>(), any::<bool>())
        .prop_map(|(length, stored, digest, decoded, cut)| Body { length, stored, digest, decoded, cut })
}

fn response() -> impl Strategy<Value = Response> {
    (any::<u16>(), 0..VERSIONS.len(), headers(), body(), headers()).prop_map(
        |(status, version, headers, body, trailers)| Response {
            status,
            version: VERSIONS[version],
            headers,
            body,
            trailers,
        },
    )
}

fn any_exchange() -> impl Strategy<Value = Exchange> {
    let numbers = (number(), number(), number(), number(), number(), any::<u32>());
    let moments = (proptest::option::of(number()), proptest::option::of(number()));
    let kinds = (0..SESSION_KEYS.len(), 0..Ending::ALL.len(), 0..VERSIONS.len());
    let passage =
        (proptest::option::of(any::<u32>()), 0_u8..8, proptest::option::of((number(), number())), ".{0,20}");
    let request = (headers(), body(), headers());
    (numbers, moments, kinds, passage, request, proptest::option::of(response())).prop_map(
        |(numbers, moments, kinds, passage, (headers, body, trailers), response)| Exchange {
            id: ExchangeId(numbers.0),
            connection: ConnectionId(numbers.1),
            session: SessionId(numbers.2),
            session_key: SESSION_KEYS[kinds.0],
            arrived: Offset::from_nanos(numbers.3),
            request_done: moments.0.map(Offset::from_nanos),
            response_began: moments.1.map(Offset::from_nanos),
            ended: Offset::from_nanos(numbers.4),
            attempts: numbers.5,
            ending: Ending::ALL[kinds.1],
            request: Request {
                method: b"GET".to_vec(),
                target: b"/a?b".to_vec(),
                version: VERSIONS[kinds.2],
                headers,
                body,
                trailers,
            },
            response,
            passage: Passage {
                server: passage.0,
                secure: passage.1 & SECURE != 0,
                altered: passage.1 & ALTERED != 0,
                unfinished: passage.1 & UNFINISHED != 0,
                frames: passage.2.map(|(client, upstream)| Frames { client, upstream }),
                detail: passage.3,
            },
        },
    )
}

fn record_of(exchange: &Exchange) -> Vec<u8> {
    let mut payload = Vec::new();
    append_exchange(&mut payload, exchange).unwrap();
    payload.split_off(4)
}

proptest! {
    #[test]
    fn what_was_stored_is_read_as_the_serialiser_reads_it(stored in any_exchange()) {
        let record = record_of(&stored);
        prop_assert_eq!(exchange(&record), Some(stored.clone()));
        prop_assert_eq!(by_serialiser(&record), Some(stored));
    }

    #[test]
    fn damaged_records_are_refused_or_read_as_the_serialiser_does(
        stored in any_exchange(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        left in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut record = record_of(&stored);
        for (at, byte) in damage {
            let at = at.index(record.len());
            record[at] = byte;
        }
        record.truncate(left.map_or(record.len(), |left| left.index(record.len())));
        prop_assert_eq!(exchange(&record), by_serialiser(&record));
    }

    #[test]
    fn any_bytes_are_read_as_the_serialiser_reads_them(record in proptest::collection::vec(0_u8..4, 0..80)) {
        prop_assert_eq!(exchange(&record), by_serialiser(&record));
    }
}
