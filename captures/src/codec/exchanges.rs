//! Reads stored exchanges back by hand: a replay reads each twice, and the serialiser takes three times as long.
//!
//! The form is that of [`super::StoredExchange`] in bincode's standard configuration; the tests read the same records
//! by the serialiser as well, sound ones and damaged ones, and compare. A number below 251 is its own byte; 251, 252
//! and 253 announce one of 2, 4 and 8 bytes, little-endian. A byte string is its length and its bytes, a list its
//! length and its items; 0 stands for nothing, 1 for something.

use crate::exchange::{
    Body, ConnectionId, Ending, Exchange, ExchangeId, Frames, Header, Passage, Request, Response, SessionId,
};
use crate::units::Offset;

use super::{ALTERED, CUT, DECODED, LONGEST_LIST, SECURE, SESSION_KEYS, UNFINISHED, VERSIONS};

/// The exchange that all of `record` stores; `None` when it cannot be understood.
pub(super) fn exchange(record: &[u8]) -> Option<Exchange> {
    let mut stored = Stored(record);
    let exchange = stored.exchange()?;
    stored.0.is_empty().then_some(exchange)
}

/// What was not read yet of a record.
struct Stored<'a>(&'a [u8]);

impl<'a> Stored<'a> {
    fn exchange(&mut self) -> Option<Exchange> {
        let (id, connection, session) = (self.number()?, self.number()?, self.number()?);
        let session_key = *SESSION_KEYS.get(usize::from(self.byte()?))?;
        let arrived = self.moment()?;
        let request_done = self.optional(Self::moment)?;
        let response_began = self.optional(Self::moment)?;
        let ended = self.moment()?;
        let attempts = self.number_u32()?;
        let ending = *Ending::ALL.get(usize::from(self.byte()?))?;
        let request = Request {
            method: self.bytes()?.to_vec(),
            target: self.bytes()?.to_vec(),
            version: *VERSIONS.get(usize::from(self.byte()?))?,
            headers: self.headers()?,
            body: self.body()?,
            trailers: self.headers()?,
        };
        let response = self.optional(Self::response)?;
        let server = self.optional(Self::number_u32)?;
        let flags = self.byte()?;
        let frames =
            self.optional(|stored| Some(Frames { client: stored.number()?, upstream: stored.number()? }))?;
        let detail = std::str::from_utf8(self.bytes()?).ok()?.to_owned();
        Some(Exchange {
            id: ExchangeId(id),
            connection: ConnectionId(connection),
            session: SessionId(session),
            session_key,
            arrived,
            request_done,
            response_began,
            ended,
            attempts,
            request,
            response,
            ending,
            passage: Passage {
                server,
                secure: flags & SECURE != 0,
                altered: flags & ALTERED != 0,
                unfinished: flags & UNFINISHED != 0,
                frames,
                detail,
            },
        })
    }

    fn response(&mut self) -> Option<Response> {
        Some(Response {
            status: self.number_u16()?,
            version: *VERSIONS.get(usize::from(self.byte()?))?,
            headers: self.headers()?,
            body: self.body()?,
            trailers: self.headers()?,
        })
    }

    fn headers(&mut self) -> Option<Vec<Header>> {
        let count = self.length()?;
        // An item is two bytes at least: what a hostile length may allocate is bounded by the record.
        if count > LONGEST_LIST || count > self.0.len() / 2 {
            return None;
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            headers.push(Header { name: self.bytes()?.to_vec(), value: self.bytes()?.to_vec() });
        }
        Some(headers)
    }

    fn body(&mut self) -> Option<Body> {
        let length = self.number()?;
        let stored = self.bytes()?.to_vec();
        let digest = self.optional(Self::array)?;
        let flags = self.byte()?;
        Some(Body { length, stored, digest, decoded: flags & DECODED != 0, cut: flags & CUT != 0 })
    }

    fn moment(&mut self) -> Option<Offset> {
        self.number().map(Offset::from_nanos)
    }

    /// Something, nothing, or (`None`) neither.
    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u64> {
        match self.byte()? {
            251 => self.array().map(|bytes| u16::from_le_bytes(bytes).into()),
            252 => self.array().map(|bytes| u32::from_le_bytes(bytes).into()),
            253 => self.array().map(u64::from_le_bytes),
            254.. => None,
            small => Some(small.into()),
        }
    }

    fn number_u32(&mut self) -> Option<u32> {
        match self.byte()? {
            251 => self.array().map(|bytes| u16::from_le_bytes(bytes).into()),
            252 => self.array().map(u32::from_le_bytes),
            253.. => None,
            small => Some(small.into()),
        }
    }

    fn number_u16(&mut self) -> Option<u16> {
        match self.byte()? {
            251 => self.array().map(u16::from_le_bytes),
            252.. => None,
            small => Some(small.into()),
        }
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }
}

#[cfg(test)]
mod tests;
