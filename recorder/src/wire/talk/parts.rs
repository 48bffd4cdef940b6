//! What is known of a message that is being read, and of an exchange that is not over.

use captures::{Ending, Offset};

use super::super::message::{Chunks, Framing};
use super::super::scene::Scene;
use crate::assembly::Assembly;

/// What one party is saying.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) state: State,
    pub(super) head: Vec<u8>,
    pub(super) scanned: usize,
    pub(super) line_is_read: bool,
    pub(super) began: Offset,
    pub(super) place: u64,
    pub(super) heard: Option<u64>,
    /// Something is missing before this place: order proves nothing.
    pub(super) is_lost: bool,
    /// Whether the end of the head was not captured.
    pub(super) is_cut: bool,
    /// Whether the message is one that is read and thrown away.
    pub(super) is_orphan: bool,
    pub(super) chunks: Chunks,
}

impl Reader {
    pub(super) fn begin_body(&mut self, framing: Framing) {
        self.chunks = Chunks::default();
        self.state = State::Body(framing);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Where a segment begins a message may begin.
    #[default]
    Seeking,
    /// Here one must begin.
    Between,
    Head,
    Body(Framing),
    /// The sender said that nothing follows.
    Over,
}

/// A request whose exchange is not over.
#[derive(Debug)]
pub(in crate::wire) struct Pending {
    pub(in crate::wire) assembly: Box<Assembly>,
    /// Where the request begins in the client's stream.
    pub(in crate::wire) place: u64,
    pub(in crate::wire) kind: Kind,
    pub(in crate::wire) is_sent: bool,
    pub(in crate::wire) answer: Answer,
    /// Whether another protocol is spoken after it.
    pub(in crate::wire) is_tunnel: bool,
    /// The bytes of its bodies that were not captured.
    pub(in crate::wire) missing: u64,
    /// Whether the end of one of its heads was not captured, nor what follows it.
    pub(in crate::wire) is_cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wire) enum Kind {
    Ordinary,
    Head,
    Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wire) enum Answer {
    Awaited,
    Begun,
    Complete,
}

impl Pending {
    pub(in crate::wire) const fn new(assembly: Box<Assembly>, place: u64, kind: Kind) -> Self {
        let answer = Answer::Awaited;
        Self { assembly, place, kind, is_sent: false, answer, is_tunnel: false, missing: 0, is_cut: false }
    }

    /// Request and response were read to their ends.
    pub(in crate::wire) fn complete(self, scene: &mut Scene<'_>, at: Offset) {
        let detail = match self.missing {
            _ if self.is_cut => "the end of a head was not captured".to_owned(),
            0 if self.is_tunnel => "what passed afterwards was not read".to_owned(),
            0 => String::new(),
            missing => format!("{missing} bytes of its bodies were not captured"),
        };
        scene.end(self.assembly, at, Ending::Completed, detail);
    }

    /// Nothing more of it can come: the client broke off (`true`), or the server did, or it is not followed any
    /// more.
    pub(in crate::wire) fn finish(self, scene: &mut Scene<'_>, at: Offset, by_client: Option<bool>) {
        let (ending, detail) = match by_client {
            _ if self.answer == Answer::Complete => (Ending::Completed, ""),
            Some(true) => (Ending::ClientAborted, ""),
            Some(false) => (Ending::UpstreamReset, ""),
            None if self.answer == Answer::Awaited => (Ending::ProxyFailed, "its response was not captured"),
            None => (Ending::ProxyFailed, "its end was not captured"),
        };
        scene.counts.requests_without_response += u64::from(self.answer == Answer::Awaited);
        scene.end(self.assembly, at, ending, detail.to_owned());
    }
}
