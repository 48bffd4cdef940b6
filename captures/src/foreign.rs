//! What other tools wrote down: HAR, GoReplay, access logs. Read into exchanges, one format a file, all pure.
//!
//! A reader takes a `Read` and gives [`Entry`] after entry; what is in the file and no exchange is counted by
//! reason in the [`Account`], so that `entries = read + all of skipped`, always. Offsets count from 1970-01-01 UTC
//! until the capture's own start is known.

mod gor;
mod har;
mod jsonlog;
mod log;
mod moment;
mod out;
mod pools;
mod raw;
mod template;
mod w3c;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;

use crate::exchange::{
    Body, ConnectionId, Ending, Exchange, ExchangeId, Passage, Request, Response, SessionId, SessionKey,
};
use crate::units::Offset;

pub use gor::read_gor;
pub use har::read_har;
pub use log::{LogFormat, read_log, read_log_moments};
pub use out::{Export, ExportFormat};
pub use template::Template;

/// An exchange that somebody else recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The exchange; its offsets count from 1970-01-01 UTC.
    pub exchange: Exchange,
    /// Who asked, where that is known.
    pub client: Option<IpAddr>,
    /// Where it was sent, as host and port or address, where that is known.
    pub server: Option<String>,
}

/// What became of the entries of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// All that are in it.
    pub entries: u64,
    /// Those that are exchanges now.
    pub read: u64,
    /// The others, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Entries that were read, but not exactly as they stand, by what was done.
    pub noted: BTreeMap<&'static str, u64>,
    /// Why it could not be read to its end.
    pub damage: Option<String>,
}

impl Account {
    fn skip(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_default() += 1;
    }

    fn note(&mut self, what: &'static str) {
        *self.noted.entry(what).or_default() += 1;
    }
}

/// Why a file cannot be read at all.
#[derive(Debug)]
pub enum ForeignError {
    /// The source cannot be read.
    Io(io::Error),
    /// It is not what it should be.
    Format {
        /// What it should be.
        wanted: &'static str,
        /// What is wrong, with its place.
        what: String,
    },
}

impl ForeignError {
    /// What to do about it.
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::Io(_) => "check that the file is whole",
            Self::Format { .. } => "say what it is with --format",
        }
    }
}

impl fmt::Display for ForeignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::Format { wanted, what } => write!(f, "is no {wanted}: {what}"),
        }
    }
}

impl std::error::Error for ForeignError {}

impl From<io::Error> for ForeignError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The moments of an exchange.
#[derive(Clone, Copy, Debug)]
struct Moments {
    arrived: Offset,
    request_done: Option<Offset>,
    response_began: Option<Offset>,
    ended: Offset,
}

/// An exchange of nobody's session yet.
fn exchange(
    connection: ConnectionId,
    moments: Moments,
    request: Request,
    response: Option<Response>,
) -> Exchange {
    let Moments { arrived, request_done, response_began, ended } = moments;
    let ending = if response.is_some() { Ending::Completed } else { Ending::ProxyFailed };
    Exchange {
        id: ExchangeId(0),
        connection,
        session: SessionId(0),
        session_key: SessionKey::Connection,
        arrived,
        request_done,
        response_began,
        ended,
        attempts: 1,
        request,
        response,
        ending,
        passage: Passage::default(),
    }
}

/// A body that is here whole.
fn whole(stored: Vec<u8>, decoded: bool) -> Body {
    Body { length: stored.len() as u64, stored, digest: None, decoded, cut: false }
}

/// A body of which only the length is known.
fn length_only(length: u64) -> Body {
    Body { length, cut: length > 0, ..Body::default() }
}

#[cfg(test)]
mod tests;
