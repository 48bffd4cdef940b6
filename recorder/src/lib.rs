//! Records real traffic: a reverse proxy that writes down every exchange that passes through it.
//!
//! ```text
//! accept ─▶ gate ─▶ worker (pingora, one runtime a thread) ─▶ queue, bounded in bytes ─▶ writer thread ─▶ file
//! ```
//!
//! A worker only takes the time and keeps what went by; parsing, sessions, masking, encoding and compression
//! happen on the writer thread. Recording never makes a request wait: when the queue is full or the file
//! cannot be written, the *record* is lost and counted, and the request goes on. The crate prints nothing and
//! handles no signal; the command does.
//!
//! What it is not: unless asked to it tells the upstream nothing of the client, and it has no opinion on what
//! passes, but that nothing passes on HTTP/1 which two servers could read in two ways: the gate refuses it, and
//! records that it did. Header fields keep their order and case on HTTP/1, except that those of one name are
//! written together where the first stood; an answer without a `Date` gets one. The proxy engine speaks for
//! itself about the connection (`Connection`, `Keep-Alive`, `Transfer-Encoding`). The capture holds heads as received.
//!
//! Secrets are masked by their names (of headers, cookies, parameters, fields of forms and JSON) and by their
//! shape (card numbers, tokens): [`MaskRules`]. What has neither, such as a word in a path, is stored as sent.

mod assembly;
mod clock;
mod config;
mod connection;
mod error;
mod files;
mod forwarded;
mod gate;
mod head;
mod intake;
mod keylog;
mod metrics;
mod monitor;
mod notice;
mod outlet;
mod packets;
mod peer;
mod policy;
mod proxy;
mod redact;
mod serve;
mod session;
mod sniff;
mod spool;
mod tls;
mod upgrade;
mod upstream;
mod wire;

pub use config::{
    Config, Downstream, Files, Policy, Quota, Rotation, Syncing, Upstream, Upstreams, WhenFull,
};
pub use error::RecordError;
pub use files::{OutError, Segments};
pub use forwarded::{Forwarding, Network};
pub use intake::Intake;
pub use keylog::KeyLog;
pub use metrics::{Latencies, Metrics, RouteCount};
pub use monitor::Monitor;
pub use notice::Notice;
pub use packets::{PacketError, PacketFile, PacketReader, RawPacket};
pub use peer::{Authorities, Http2, Protocol, Trust, UpstreamTls};
pub use policy::{BodyRules, Filters, Kept, KeyRule, Rule, SamplingRatio, SessionPolicy, take_coding_off};
pub use redact::{Explanation, Found, MaskPolicy, MaskRules, explain};
pub use serve::{Listener, Recording, Stopper, bind, start};
pub use sniff::{SniffError, SniffTotals, Until, Wiretap, give_up_rights, sniff};
pub use spool::Totals;
pub use tls::{Certificates, KeyPair};
pub use upgrade::Upgrade;
pub use upstream::{Balance, Check, HealthChecks, HostHeader, UpstreamState};
pub use wire::{Link, Packet, WireCounts};
