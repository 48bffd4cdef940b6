//! What Highwater writes down: exchanges as they happened (captures) and what a replay measured (runs).
//!
//! This crate is the vocabulary of the workspace and the owner of both file formats. It knows no network,
//! no clock and no policy; it reads and writes only through the `Read` and `Write` it is handed.

mod capture;
mod codec;
pub mod coding;
mod digest;
mod error;
mod exchange;
pub mod foreign;
mod frame;
mod histogram;
pub mod hpack;
mod inflow;
mod outcome;
mod route;
mod run;
mod set;
mod units;

pub use capture::{
    CaptureHeader, CaptureReader, CaptureWriter, DropReason, Event, EventKind, Masking, Tally,
};
pub use digest::{Sha256, sha256};
pub use error::{Damage, DamageKind, ReadError};
pub use exchange::{
    Body, ConnectionId, Ending, Exchange, ExchangeId, Frames, Header, Passage, Request, Response, SessionId,
    SessionKey, Version, header_value,
};
pub use frame::{Compression, FileKind, MAX_BLOCK};
pub use histogram::Histogram;
pub use inflow::uncompressed;
pub use outcome::{Failure, Outcome};
pub use route::{
    MAX_ROUTES, NamedRoute, OTHER_ROUTE, RouteFinder, RouteNames, RoutePattern, RouteTemplate, Routes,
    route_into, route_of,
};
pub use run::{
    GeneratorLoad, Interval, MAX_OBSERVED, Observed, ObservedKind, RouteInterval, Run, RunEnd, RunHeader,
    RunWriter, Stage,
};
pub use set::{CaptureSet, SetError};
pub use units::{Bytes, Offset, Rate};
