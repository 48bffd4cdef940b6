//! Brings exchanges from the order in which they ended into that in which they arrived, in bounded memory.
//!
//! An exchange that lasted longer than the window, or than there is room for others meanwhile, comes late.

use std::collections::BTreeMap;
use std::time::Duration;

use captures::{Exchange, Offset};

const WINDOW: Duration = Duration::from_secs(60);
const MOST: usize = 100_000;
const MOST_HELD: usize = 64 << 20;

/// Exchanges that wait for earlier ones.
#[derive(Default)]
pub(crate) struct ByArrival {
    waiting: BTreeMap<(Offset, u64), Exchange>,
    held: usize,
    newest: Offset,
}

impl ByArrival {
    /// One more, in the order in which they ended.
    pub(crate) fn push(&mut self, exchange: Exchange) {
        self.newest = self.newest.max(exchange.ended);
        self.held += size(&exchange);
        self.waiting.insert((exchange.arrived, exchange.id.0), exchange);
    }

    /// The next one, when no earlier one is to be expected.
    pub(crate) fn settled(&mut self) -> Option<Exchange> {
        let first = self.waiting.first_key_value()?.0.0;
        let is_settled = first < self.newest.minus(WINDOW);
        if is_settled || self.waiting.len() > MOST || self.held > MOST_HELD { self.next() } else { None }
    }

    /// The next one, when nothing more comes.
    pub(crate) fn next(&mut self) -> Option<Exchange> {
        let (_, exchange) = self.waiting.pop_first()?;
        self.held = self.held.saturating_sub(size(&exchange));
        Some(exchange)
    }
}

fn size(exchange: &Exchange) -> usize {
    let answer = exchange.response.as_ref();
    let bodies = exchange.request.body.stored.len() + answer.map_or(0, |answer| answer.body.stored.len());
    let headers = exchange.request.headers.len() + answer.map_or(0, |answer| answer.headers.len());
    size_of::<Exchange>() + bodies + headers * 100
}
