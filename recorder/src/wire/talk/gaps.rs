//! What becomes of a conversation when something of it was not captured.

use captures::Offset;

use super::super::message::{self, Chunks, Framing};
use super::super::scene::Scene;
use super::parts::State;
use super::{Mode, Side, Talk};

impl Talk {
    /// `length` bytes of one party are missing.
    pub(in crate::wire) fn on_gap(&mut self, scene: &mut Scene<'_>, side: Side, at: Offset, length: u64) {
        match &mut self.mode {
            Mode::Messages => {}
            Mode::Http2(http2) => return http2.on_gap(scene, side, at, length),
            Mode::Secure(_) => return self.on_closed(scene, at),
            Mode::Tunnel | Mode::Tls => return,
        }
        let reader = &mut self.readers[side];
        // How much of it lies within the body, whether the message ends with that, and whether it is known how
        // the stream goes on.
        let (within, is_end, goes_on) = match reader.state {
            State::Body(Framing::Length(left)) => {
                let within = left.min(length);
                reader.state = State::Body(Framing::Length(left - within));
                (within, left == within, left >= length)
            }
            State::Body(Framing::UntilClose) => (length, false, true),
            State::Body(Framing::Chunked) => {
                let goes_on = reader.chunks.skip(length);
                (length, !goes_on, goes_on)
            }
            State::Head => {
                self.on_cut_head(scene, side, at);
                (0, false, false)
            }
            State::Seeking | State::Between | State::Over => (0, false, false),
        };
        let is_client = self.client == Some(side);
        if within > 0 {
            let pending = if is_client { self.exchanges.back_mut() } else { self.being_answered(side) };
            if let Some(pending) = pending {
                pending.missing += within;
                pending.assembly.on_missing(is_client, within);
            }
        }
        if is_end {
            self.on_message_end(scene, side, at);
        }
        if !goes_on {
            let reader = &mut self.readers[side];
            reader.state = State::Seeking;
            reader.is_lost = true;
            reader.chunks = Chunks::default();
        }
    }

    /// The end of a head was not captured. What it says before that is taken, when that is enough. How its body is
    /// framed is not known then, so that the message ends here for us.
    fn on_cut_head(&mut self, scene: &mut Scene<'_>, side: Side, at: Offset) {
        let is_client = self.client == Some(side);
        let reader = &mut self.readers[side];
        let Some(head) = message::cut_head(std::mem::take(&mut reader.head), is_client) else {
            scene.counts.unreadable_messages += 1;
            return;
        };
        scene.counts.cut_heads += 1;
        reader.is_cut = true;
        self.is_http = true;
        if is_client {
            self.on_request_head(scene, at, head);
        } else {
            self.on_response_head(scene, at, head);
        }
        if matches!(self.readers[side].state, State::Body(_)) {
            let pending = if is_client { self.exchanges.back_mut() } else { self.being_answered(side) };
            if let Some(pending) = pending {
                // It has a body, of which nothing is known.
                pending.assembly.on_missing(is_client, 0);
            }
            self.on_message_end(scene, side, at);
        }
    }
}
