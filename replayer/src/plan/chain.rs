//! What the requests of one recorded connection have to do with each other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use captures::Exchange;

use super::PlannedRequest;

/// Marks the last request of each connection, and how long after its predecessor's end each arrived.
pub(super) fn link(requests: &mut [(PlannedRequest, u64)], connections: usize) {
    let mut ended: Vec<Option<u64>> = vec![None; connections];
    // Of connections whose requests overlap, the ends that are still to come.
    let mut ahead: HashMap<u32, BinaryHeap<Reverse<u64>>> = HashMap::new();
    for (request, end) in requests.iter_mut() {
        let last = &mut ended[request.connection as usize];
        let before = if request.overlaps {
            let ahead = ahead.entry(request.connection).or_default();
            while ahead.peek().is_some_and(|Reverse(end)| *end <= request.arrived) {
                *last = ahead.pop().map(|Reverse(end)| end);
            }
            ahead.push(Reverse(*end));
            *last
        } else {
            last.replace(*end)
        };
        if let Some(before) = before {
            let micros = request.arrived.saturating_sub(before) / 1_000;
            request.think = u32::try_from(micros).unwrap_or(u32::MAX);
        }
    }
    let mut seen = vec![false; connections];
    for (request, _) in requests.iter_mut().rev() {
        let later = &mut seen[request.connection as usize];
        request.is_last = !*later;
        *later = true;
    }
}

/// How many microseconds it took, rounded up: what arrives as it ends does not follow from its answer.
pub(super) fn lasted(exchange: &Exchange) -> u32 {
    let nanos = exchange.ended.as_nanos().saturating_sub(exchange.arrived.as_nanos());
    u32::try_from(nanos.div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
}
