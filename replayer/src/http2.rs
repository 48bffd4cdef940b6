//! HTTP/2 as a client speaks it, without a socket: bytes in, bytes out, and what became of each request.
//!
//! Nothing of the kind exists that needs no runtime, so the framing is ours; header blocks are decoded by
//! [`captures::hpack`]. Whatever a server sends, memory and work stay bounded: content is counted and dropped unless
//! it is wanted, blocks and frames have a limit, and frames that lead to nothing are counted.

mod answer;
mod frame;
mod request;
mod talk;

pub(crate) use talk::{Event, Tag, Talk, What};
