//! Stands in front of the engine and lets through only requests that cannot be read in two ways.
//!
//! ```text
//! client ─▶ bytes ─▶ [head] ─▶ whole and sound? ─▶ engine        (or an answer of our own, recorded)
//!                      [body] ─▶ to its end, and not a byte beyond
//! ```
//!
//! The engine gets a head when all of it is there and sound, with as much of the body as came with it and is
//! sound, too: a request whose first bytes are bad never reaches the upstream. Of what follows it gets each
//! byte when it has been followed; where a body goes bad later, the upstream never sees it complete. What
//! comes behind the end of a request stays here until its answer is out.
//!
//! An idle connection holds no buffer and nothing of the engine: those begin with a request.

mod frames;
mod framing;
mod head;
mod http1;
mod stream;
mod upgrade;
mod visit;

pub(crate) use frames::FrameCounter;
pub(crate) use http1::{Limits, serve};
pub(crate) use upgrade::prepare as prepare_upgrade;
pub(crate) use visit::{Refused, RequestHead, Visit};
