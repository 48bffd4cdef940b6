//! Puts the fragments of packets together.
//!
//! Bounded in packets, in bytes of each and in time. Where fragments overlap, the first one's bytes stay.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use captures::Offset;

use super::ip::{Datagram, Fragment};

/// Packets that may be incomplete at once.
const MOST: usize = 256;
/// A packet is never larger.
const LARGEST: usize = 65_535;
/// The fragments of one packet: at 8 bytes each nobody sends more in good faith.
const MOST_PIECES: usize = 512;
/// After that long the rest does not come (RFC 1122, 3.3.2: at most 120 s).
const PATIENCE: Duration = Duration::from_secs(60);

type Key = (IpAddr, IpAddr, u32, u8);

/// Packets that are not whole yet.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    incomplete: HashMap<Key, Incomplete>,
    /// In the order in which they began.
    order: VecDeque<(Offset, Key)>,
    /// Packets that were given up.
    pub(super) lost: u64,
}

#[derive(Debug)]
struct Incomplete {
    began: Offset,
    /// The pieces by their place, none overlapping another.
    pieces: Vec<(usize, Vec<u8>)>,
    length: Option<usize>,
}

impl Fragments {
    /// The payload of the packet that `datagram` makes whole, if it does.
    pub(super) fn on_fragment(
        &mut self,
        at: Offset,
        datagram: &Datagram<'_>,
        place: Fragment,
    ) -> Option<Vec<u8>> {
        let key = (datagram.source, datagram.destination, place.id, datagram.protocol);
        self.forget_before(at);
        if place.offset + datagram.payload.len() > LARGEST || datagram.is_cut {
            self.lost += 1;
            return None;
        }
        if !self.incomplete.contains_key(&key) {
            self.order.push_back((at, key));
        }
        let packet = self.incomplete.entry(key).or_insert_with(|| Incomplete::new(at));
        packet.add(place, datagram.payload);
        let whole = packet.whole()?;
        self.incomplete.remove(&key);
        Some(whole)
    }

    fn forget_before(&mut self, now: Offset) {
        while let Some(&(began, key)) = self.order.front() {
            if self.order.len() <= MOST && now.since(began) <= PATIENCE {
                return;
            }
            self.order.pop_front();
            // A later packet may bear the same number.
            if self.incomplete.get(&key).is_some_and(|packet| packet.began == began) {
                self.incomplete.remove(&key);
                self.lost += 1;
            }
        }
    }
}

impl Incomplete {
    fn new(began: Offset) -> Self {
        Self { began, pieces: Vec::new(), length: None }
    }

    fn add(&mut self, place: Fragment, bytes: &[u8]) {
        if !place.has_more && self.length.is_none() {
            self.length = Some(place.offset + bytes.len());
        }
        if self.pieces.len() >= MOST_PIECES {
            return;
        }
        let (mut from, until) = (place.offset, place.offset + bytes.len());
        let first = self.pieces.partition_point(|(start, piece)| start + piece.len() <= from);
        let mut at = first;
        while from < until {
            let next = self.pieces.get(at).map(|(start, piece)| (*start, start + piece.len()));
            let free_until = next.map_or(until, |(start, _)| start.clamp(from, until));
            if free_until > from {
                let piece = bytes[from - place.offset..free_until - place.offset].to_vec();
                self.pieces.insert(at, (from, piece));
                at += 1;
            }
            match next {
                Some((_, end)) => from = end.max(free_until),
                None => return,
            }
            at += 1;
        }
    }

    fn whole(&self) -> Option<Vec<u8>> {
        let length = self.length?;
        let mut reached = 0;
        for (start, piece) in &self.pieces {
            if *start != reached {
                return None;
            }
            reached += piece.len();
        }
        if reached < length {
            return None;
        }
        let mut whole: Vec<u8> = self.pieces.iter().flat_map(|(_, piece)| piece).copied().collect();
        whole.truncate(length);
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn piece(offset: usize, has_more: bool, payload: &[u8]) -> (Datagram<'_>, Fragment) {
        let place = Fragment { id: 1, offset, has_more };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (source, destination) = (address, address);
        (Datagram { source, destination, protocol: 6, payload, fragment: Some(place), is_cut: false }, place)
    }

    fn assembled(pieces: &[(usize, bool, &[u8])]) -> Option<Vec<u8>> {
        let mut fragments = Fragments::default();
        pieces.iter().find_map(|&(offset, has_more, bytes)| {
            let (datagram, place) = piece(offset, has_more, bytes);
            fragments.on_fragment(Offset::ZERO, &datagram, place)
        })
    }

    #[test]
    fn fragments_in_any_order_make_the_packet_and_the_first_bytes_stay() {
        assert_eq!(assembled(&[(8, false, b"ij"), (0, true, b"abcdefgh")]).unwrap(), b"abcdefghij");
        assert_eq!(assembled(&[(0, true, b"abcdefgh")]), None);
        let overlapping: [(usize, bool, &[u8]); 3] =
            [(8, true, b"IJKLMNOP"), (0, true, b"abcdefghXX"), (16, false, b"q")];
        assert_eq!(assembled(&overlapping).unwrap(), b"abcdefghIJKLMNOPq");
    }

    #[test]
    fn what_never_becomes_whole_is_forgotten_and_counted() {
        let mut fragments = Fragments::default();
        for id in 0..300 {
            let (datagram, mut place) = piece(0, true, b"abcdefgh");
            place.id = id;
            fragments.on_fragment(Offset::from_millis(u64::from(id)), &datagram, place);
        }
        assert!(fragments.incomplete.len() <= MOST + 1 && fragments.lost >= 43);
    }

    proptest! {
        #[test]
        fn whatever_overlaps_the_length_is_right(cuts in proptest::collection::vec((0..64_usize, 1..40_usize), 0..20)) {
            let mut packet = Incomplete::new(Offset::ZERO);
            for (start, length) in cuts {
                packet.add(Fragment { id: 0, offset: start, has_more: true }, &vec![1; length]);
            }
            let mut reached = 0;
            for (start, piece) in &packet.pieces {
                prop_assert!(*start >= reached && !piece.is_empty());
                reached = start + piece.len();
            }
        }
    }
}
