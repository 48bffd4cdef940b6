//! Decides whether an exchange is recorded, and whose it is.
//!
//! Every exchange joins its session, recorded or not: what an answer that is left out gave its visitor is
//! known later. A filter speaks before the sample does, so that `sampled_out ÷ (recorded + sampled_out)` tells
//! of one kind of exchanges.

use captures::{Body, Exchange, Header};

use super::{Filters, SamplingRatio};
use crate::config::Policy;
use crate::forwarded::Network;
use crate::session::{Origin, Sessions};
use captures::coding;

/// What becomes of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is recorded.
    Record,
    /// Its session is not in the sample.
    SampledOut,
    /// A filter leaves it out.
    Filtered,
}

/// What every exchange passes on its way to the file.
pub(crate) struct Screen {
    sessions: Sessions,
    filters: Filters,
    sampling: SamplingRatio,
    decode_bodies: bool,
}

/// The most that a body may decode to; one that is longer stays as it was received.
const DECODED_LIMIT: usize = 16 << 20;

impl Screen {
    /// By `policy`, behind these `trusted` proxies, for the recording with this identity.
    pub(crate) fn new(policy: &Policy, trusted: &[Network], recording: [u8; 16]) -> Self {
        Self {
            sessions: Sessions::new(policy.sessions.clone(), trusted.to_vec(), recording),
            filters: policy.filters.clone(),
            sampling: policy.sampling,
            decode_bodies: policy.decode_bodies,
        }
    }

    /// Numbers sessions from `first` on.
    #[must_use]
    pub(crate) fn counting_from(mut self, first: u64) -> Self {
        self.sessions.count_from(first);
        self
    }

    /// Puts `exchange`, still unmasked, into its session, and says what becomes of it.
    pub(crate) fn judge(&mut self, exchange: &mut Exchange, origin: Origin) -> Verdict {
        let whose = self.sessions.of(exchange, origin);
        (exchange.session, exchange.session_key) = (whose.session, whose.key);
        if !self.filters.pass(exchange) {
            Verdict::Filtered
        } else if !self.sampling.takes(whose.draw) {
            Verdict::SampledOut
        } else {
            if self.decode_bodies {
                take_coding_off(exchange);
            }
            Verdict::Record
        }
    }
}

/// Takes the content coding off the bodies of `exchange` that are stored whole, where that can be done.
pub fn take_coding_off(exchange: &mut Exchange) {
    decode(&exchange.request.headers, &mut exchange.request.body);
    if let Some(response) = &mut exchange.response {
        decode(&response.headers, &mut response.body);
    }
}

/// Takes the content coding off a body that is stored whole, if that can be done.
fn decode(headers: &[Header], body: &mut Body) {
    let codings = coding::codings_of(headers).filter(|codings| !codings.is_empty());
    let Some(codings) = codings.filter(|_| body.is_whole() && !body.decoded && !body.stored.is_empty())
    else {
        return;
    };
    let decoded = coding::decode_start(&codings, &body.stored, DECODED_LIMIT);
    if let Some(decoded) = decoded.filter(|decoded| decoded.is_whole) {
        body.stored = decoded.content;
        body.decoded = true;
    }
}
