//! Guesses connections where a source does not tell them: a client's next request goes on one that is free.
//!
//! So requests that overlapped in the recording may overlap in a replay, and those that did not take turns.

use std::collections::HashMap;

use crate::exchange::ConnectionId;
use crate::units::Offset;

/// Clients that are remembered; beyond, everybody is forgotten and connections begin anew.
const MOST_CLIENTS: usize = 200_000;
/// Connections of one client.
const MOST_EACH: usize = 64;

/// Connections by client.
#[derive(Debug, Default)]
pub(super) struct Pools {
    clients: HashMap<Vec<u8>, Vec<(Offset, ConnectionId)>>,
    told: HashMap<Vec<u8>, ConnectionId>,
    next: u64,
}

impl Pools {
    /// The connection for a request of `client` from `arrived` to `ended`.
    pub(super) fn pick(&mut self, client: &[u8], arrived: Offset, ended: Offset) -> ConnectionId {
        if self.clients.len() >= MOST_CLIENTS {
            self.clients.clear();
        }
        let next = &mut self.next;
        let mut fresh = || {
            *next += 1;
            ConnectionId(*next - 1)
        };
        let free = self.clients.entry(client.to_vec()).or_default();
        if let Some(place) = free.iter_mut().find(|(until, _)| *until <= arrived) {
            place.0 = ended;
            return place.1;
        }
        let connection = fresh();
        if free.len() >= MOST_EACH {
            free.remove(0);
        }
        free.push((ended, connection));
        connection
    }

    /// The connection that the source calls `name`.
    pub(super) fn named(&mut self, name: &[u8]) -> ConnectionId {
        if self.told.len() >= MOST_CLIENTS {
            self.told.clear();
        }
        let next = &mut self.next;
        *self.told.entry(name.to_vec()).or_insert_with(|| {
            *next += 1;
            ConnectionId(*next - 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_overlap_have_connections_of_their_own() {
        let mut pools = Pools::default();
        let at = Offset::from_millis;
        assert_eq!(pools.pick(b"a", at(0), at(10)), ConnectionId(0));
        assert_eq!(pools.pick(b"a", at(5), at(8)), ConnectionId(1));
        assert_eq!(pools.pick(b"a", at(9), at(12)), ConnectionId(1));
        assert_eq!(pools.pick(b"b", at(20), at(21)), ConnectionId(2));
        assert_eq!(pools.named(b"c"), pools.named(b"c"));
    }
}
