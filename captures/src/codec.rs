//! Records ↔ bytes: the stored forms, and the one place that names the serialiser.
//!
//! Stored forms are structs of their own: renaming a public field cannot change a file. Their field order
//! *is* the format; a change of it is a new format version. The serialiser is bincode 2 with its standard
//! (variable-length) configuration; byte strings go through `serde_bytes`, which is three times as fast as
//! element by element. bincode is unmaintained (RUSTSEC-2025-0141): it is confined to this module, and every
//! decode has a limit, so that a hostile length cannot allocate.

mod exchanges;
mod runs;

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes as ByteString;

use crate::capture::{CaptureHeader, DropReason, Event, EventKind, Masking, Tally};
use crate::error::{Damage, DamageKind};
use crate::exchange::{Body, Ending, Exchange, Header, Passage, SessionKey, Version};
use crate::frame::{Block, MAX_BLOCK};
use crate::units::Offset;

pub(crate) use runs::{
    append_interval, append_outcome, append_run_end, decode_run_end, decode_run_header, each_interval,
    each_outcome, encode_run_header,
};

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_BLOCK>()
}

fn encode<T: Serialize>(record: &T) -> io::Result<Vec<u8>> {
    bincode::serde::encode_to_vec(record, config()).map_err(io::Error::other)
}

/// Appends a length (u32, little-endian) and the record.
fn append<T: Serialize>(payload: &mut Vec<u8>, record: &T) -> io::Result<()> {
    let start = payload.len();
    payload.extend_from_slice(&[0; 4]);
    if let Err(error) = bincode::serde::encode_into_std_write(record, payload, config()) {
        payload.truncate(start);
        return Err(io::Error::other(error));
    }
    let length = u32::try_from(payload.len() - start - 4).map_err(io::Error::other)?;
    payload[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// The longest list in a record: a few bytes of a hostile file shall not become many of memory.
const LONGEST_LIST: usize = 100_000;

/// Decodes a list, but none above the limit.
fn bounded<'de, D, T>(source: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Bounded<T>(std::marker::PhantomData<T>);
    impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Bounded<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a list of at most {LONGEST_LIST}")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == LONGEST_LIST {
                    return Err(serde::de::Error::custom("a list above the limit"));
                }
                list.push(item);
            }
            Ok(list)
        }
    }
    source.deserialize_seq(Bounded(std::marker::PhantomData))
}

/// Hands each record of a payload to `take`; `None` when the payload cannot be understood to its end.
fn each<T: DeserializeOwned>(payload: &[u8], mut take: impl FnMut(T) -> Option<()>) -> Option<()> {
    let mut rest = payload;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (record, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        take(decode_owned(record)?)?;
        rest = after;
    }
    Some(())
}

fn decode_owned<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (record, read) = bincode::serde::decode_from_slice(bytes, config()).ok()?;
    (read == bytes.len()).then_some(record)
}

/// Appends a record of two parts under one length: readers that know only the first read that.
fn append_parts<T: Serialize, U: Serialize>(payload: &mut Vec<u8>, first: &T, more: &U) -> io::Result<()> {
    let start = payload.len();
    append(payload, first)?;
    let appended = bincode::serde::encode_into_std_write(more, payload, config()).map_err(io::Error::other);
    let length = appended.and_then(|_| u32::try_from(payload.len() - start - 4).map_err(io::Error::other));
    match length {
        Ok(length) => payload[start..start + 4].copy_from_slice(&length.to_le_bytes()),
        Err(error) => {
            payload.truncate(start);
            return Err(error);
        }
    }
    Ok(())
}

/// Hands each record of a payload, and its second part if it has one, to `take`. What follows the second part
/// was written by a newer Highwater, and is left alone.
fn each_in_parts<T: DeserializeOwned, U: DeserializeOwned>(
    payload: &[u8],
    mut take: impl FnMut(T, Option<U>) -> Option<()>,
) -> Option<()> {
    let mut rest = payload;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (record, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (first, more) = parts(record)?;
        take(first, more)?;
        rest = after;
    }
    Some(())
}

/// The first part of a record, and its second if it has one.
fn parts<T: DeserializeOwned, U: DeserializeOwned>(record: &[u8]) -> Option<(T, Option<U>)> {
    let (first, read) = bincode::serde::decode_from_slice(record, config()).ok()?;
    match record.get(read..) {
        None | Some([]) => Some((first, None)),
        Some(more) => Some((first, Some(bincode::serde::decode_from_slice(more, config()).ok()?.0))),
    }
}

/// The damage report for a block whose checksum holds but whose records cannot be understood.
pub(crate) fn undecodable(block: &Block) -> Damage {
    Damage {
        offset: block.offset,
        length: block.length,
        records: Some(block.records),
        kind: DamageKind::Undecodable,
    }
}

// ---- captures -------------------------------------------------------------------------------------------

#[derive(Serialize, Deserialize)]
struct StoredCaptureHeader {
    tool: String,
    started: i128,
    listen: Vec<String>,
    upstream: Vec<String>,
    servers: Vec<String>,
    recording: [u8; 16],
    segment: u32,
    session_keys: Vec<String>,
    filters: Vec<String>,
    masking: Option<([u8; 8], Vec<String>)>,
    sampling_ratio: f64,
    body_limit: u64,
}

pub(crate) fn encode_capture_header(header: &CaptureHeader) -> io::Result<Vec<u8>> {
    encode(&StoredCaptureHeader {
        tool: header.tool.clone(),
        started: header.started,
        listen: header.listen.clone(),
        upstream: header.upstream.clone(),
        servers: header.servers.clone(),
        recording: header.recording,
        segment: header.segment,
        session_keys: header.session_keys.clone(),
        filters: header.filters.clone(),
        masking: match &header.masking {
            Masking::None => None,
            Masking::Pseudonyms { key_id, rules } => Some((*key_id, rules.clone())),
        },
        sampling_ratio: header.sampling_ratio,
        body_limit: header.body_limit,
    })
}

pub(crate) fn decode_capture_header(payload: &[u8]) -> Option<CaptureHeader> {
    let stored: StoredCaptureHeader = decode_owned(payload)?;
    Some(CaptureHeader {
        tool: stored.tool,
        started: stored.started,
        listen: stored.listen,
        upstream: stored.upstream,
        servers: stored.servers,
        recording: stored.recording,
        segment: stored.segment,
        session_keys: stored.session_keys,
        filters: stored.filters,
        masking: match stored.masking {
            None => Masking::None,
            Some((key_id, rules)) => Masking::Pseudonyms { key_id, rules },
        },
        sampling_ratio: stored.sampling_ratio,
        body_limit: stored.body_limit,
    })
}

#[derive(Serialize, Deserialize)]
struct StoredTally {
    at: u64,
    seen: u64,
    recorded: u64,
    filtered: u64,
    sampled_out: u64,
    dropped: Vec<(u8, u64)>,
}

pub(crate) fn encode_tally(tally: &Tally) -> io::Result<Vec<u8>> {
    encode(&StoredTally {
        at: tally.at.as_nanos(),
        seen: tally.seen,
        recorded: tally.recorded,
        filtered: tally.filtered,
        sampled_out: tally.sampled_out,
        dropped: tally
            .dropped
            .iter()
            .map(|&(reason, count)| (place(&DropReason::ALL, &reason), count))
            .collect(),
    })
}

pub(crate) fn decode_tally(payload: &[u8]) -> Option<Tally> {
    let stored: StoredTally = decode_owned(payload)?;
    Some(Tally {
        at: Offset::from_nanos(stored.at),
        seen: stored.seen,
        recorded: stored.recorded,
        filtered: stored.filtered,
        sampled_out: stored.sampled_out,
        dropped: stored
            .dropped
            .iter()
            .map(|&(reason, count)| Some((*DropReason::ALL.get(usize::from(reason))?, count)))
            .collect::<Option<_>>()?,
    })
}

#[derive(Serialize, Deserialize)]
struct StoredEvent {
    at: u64,
    wall: i128,
    kind: u8,
    amount: i64,
}

pub(crate) fn append_event(payload: &mut Vec<u8>, event: &Event) -> io::Result<()> {
    let kind = place(&EventKind::ALL, &event.kind);
    append(payload, &StoredEvent { at: event.at.as_nanos(), wall: event.wall, kind, amount: event.amount })
}

/// Hands each event of a payload to `take`; `None` when the payload cannot be understood to its end.
pub(crate) fn each_event(payload: &[u8], mut take: impl FnMut(Event)) -> Option<()> {
    each(payload, |stored: StoredEvent| {
        let kind = *EventKind::ALL.get(usize::from(stored.kind))?;
        take(Event { at: Offset::from_nanos(stored.at), wall: stored.wall, kind, amount: stored.amount });
        Some(())
    })
}

/// An exchange as it is stored; [`exchanges`] reads it back.
#[derive(Serialize)]
#[cfg_attr(test, derive(Deserialize))]
struct StoredExchange<'a> {
    id: u64,
    connection: u64,
    session: u64,
    session_key: u8,
    arrived: u64,
    request_done: Option<u64>,
    response_began: Option<u64>,
    ended: u64,
    attempts: u32,
    ending: u8,
    #[cfg_attr(test, serde(borrow))]
    request: StoredRequest<'a>,
    #[cfg_attr(test, serde(borrow))]
    response: Option<StoredResponse<'a>>,
    server: Option<u32>,
    /// What of [`SECURE`], [`ALTERED`] and [`UNFINISHED`] holds.
    flags: u8,
    frames: Option<(u64, u64)>,
    detail: &'a str,
}

const SECURE: u8 = 1;
const ALTERED: u8 = 2;
const UNFINISHED: u8 = 4;

#[derive(Serialize)]
#[cfg_attr(test, derive(Deserialize))]
struct StoredRequest<'a> {
    #[cfg_attr(test, serde(borrow))]
    method: &'a ByteString,
    #[cfg_attr(test, serde(borrow))]
    target: &'a ByteString,
    version: u8,
    #[cfg_attr(test, serde(borrow, deserialize_with = "bounded"))]
    headers: Vec<(&'a ByteString, &'a ByteString)>,
    #[cfg_attr(test, serde(borrow))]
    body: StoredBody<'a>,
    #[cfg_attr(test, serde(borrow, deserialize_with = "bounded"))]
    trailers: Vec<(&'a ByteString, &'a ByteString)>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(Deserialize))]
struct StoredResponse<'a> {
    status: u16,
    version: u8,
    #[cfg_attr(test, serde(borrow, deserialize_with = "bounded"))]
    headers: Vec<(&'a ByteString, &'a ByteString)>,
    #[cfg_attr(test, serde(borrow))]
    body: StoredBody<'a>,
    #[cfg_attr(test, serde(borrow, deserialize_with = "bounded"))]
    trailers: Vec<(&'a ByteString, &'a ByteString)>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(Deserialize))]
struct StoredBody<'a> {
    length: u64,
    #[cfg_attr(test, serde(borrow))]
    stored: &'a ByteString,
    digest: Option<[u8; 32]>,
    /// What of [`DECODED`] and [`CUT`] holds.
    flags: u8,
}

const DECODED: u8 = 1;
const CUT: u8 = 2;

const VERSIONS: [Version; 5] =
    [Version::Other, Version::Http10, Version::Http11, Version::Http2, Version::Http3];
const SESSION_KEYS: [SessionKey; 4] =
    [SessionKey::Connection, SessionKey::Cookie, SessionKey::Header, SessionKey::AddressAgent];

/// Where `wanted` stands in the list of all values of its type: what is stored of it.
fn place<T: PartialEq>(all: &[T], wanted: &T) -> u8 {
    let at = all.iter().position(|value| value == wanted).expect("the list names every value of the type");
    u8::try_from(at).expect("no such list is longer than 255")
}

pub(crate) fn append_exchange(payload: &mut Vec<u8>, exchange: &Exchange) -> io::Result<()> {
    append(
        payload,
        &StoredExchange {
            id: exchange.id.0,
            connection: exchange.connection.0,
            session: exchange.session.0,
            session_key: place(&SESSION_KEYS, &exchange.session_key),
            arrived: exchange.arrived.as_nanos(),
            request_done: exchange.request_done.map(Offset::as_nanos),
            response_began: exchange.response_began.map(Offset::as_nanos),
            ended: exchange.ended.as_nanos(),
            attempts: exchange.attempts,
            ending: place(&Ending::ALL, &exchange.ending),
            request: StoredRequest {
                method: ByteString::new(&exchange.request.method),
                target: ByteString::new(&exchange.request.target),
                version: place(&VERSIONS, &exchange.request.version),
                headers: stored_headers(&exchange.request.headers),
                body: stored_body(&exchange.request.body),
                trailers: stored_headers(&exchange.request.trailers),
            },
            response: exchange.response.as_ref().map(|response| StoredResponse {
                status: response.status,
                version: place(&VERSIONS, &response.version),
                headers: stored_headers(&response.headers),
                body: stored_body(&response.body),
                trailers: stored_headers(&response.trailers),
            }),
            server: exchange.passage.server,
            flags: stored_flags(&exchange.passage),
            frames: exchange.passage.frames.map(|frames| (frames.client, frames.upstream)),
            detail: &exchange.passage.detail,
        },
    )
}

const fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

const fn stored_flags(passage: &Passage) -> u8 {
    flag(passage.secure, SECURE) | flag(passage.altered, ALTERED) | flag(passage.unfinished, UNFINISHED)
}

fn stored_headers(headers: &[Header]) -> Vec<(&ByteString, &ByteString)> {
    headers.iter().map(|header| (ByteString::new(&header.name), ByteString::new(&header.value))).collect()
}

fn stored_body(body: &Body) -> StoredBody<'_> {
    StoredBody {
        length: body.length,
        stored: ByteString::new(&body.stored),
        digest: body.digest,
        flags: flag(body.decoded, DECODED) | flag(body.cut, CUT),
    }
}

/// The first exchange of `payload`, and how many bytes it took; `None` when it cannot be understood.
pub(crate) fn first_exchange(payload: &[u8]) -> Option<(Exchange, usize)> {
    let (length, after) = payload.split_first_chunk::<4>()?;
    let record = after.get(..u32::from_le_bytes(*length) as usize)?;
    Some((exchanges::exchange(record)?, record.len() + 4))
}
