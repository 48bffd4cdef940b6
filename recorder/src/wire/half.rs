//! One direction of a TCP connection: segments in any order become a stream of bytes.
//!
//! The first copy of a byte stays, whatever a retransmission holds; one that holds something else is counted.
//! What is missing is waited for until the receiver has acknowledged it and it still does not come, or until
//! too much waits behind it: then it was never captured, and the stream goes on behind a gap of known length.

use std::collections::BTreeMap;
use std::time::Duration;

use captures::Offset;

/// So many bytes may wait behind a gap.
const MOST_WAITING: usize = 4 << 20;
/// So many segments may.
const MOST_SEGMENTS: usize = 8_192;
/// What is acknowledged and does not come within so many packets, or so much time, was not captured.
const LATE_PACKETS: u32 = 64;
const LATE: Duration = Duration::from_secs(2);
/// What is not even acknowledged has this long.
const NEVER: Duration = Duration::from_secs(60);
/// The newest segments are remembered, to know a copy that differs.
const REMEMBERED: usize = 8;

/// The bytes that one side of a connection sent.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// The sequence number of the next byte; unknown until something was seen.
    next: Option<u32>,
    /// The place of that byte in the stream.
    position: u64,
    waiting: BTreeMap<u64, Waiting>,
    held: usize,
    /// Up to where the receiver says it has everything.
    acknowledged: u64,
    /// When the stream stopped, and how many packets came since.
    stopped: Option<(Offset, u32)>,
    recent: [(u64, usize, u64); REMEMBERED],
    newest: usize,
    /// Where the stream ends, once that was said, and when.
    pub(super) end: Option<(u64, Offset)>,
}

/// A segment that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) at: Offset,
    /// How much of the other direction its sender had received.
    pub(super) heard: Option<u64>,
    pub(super) bytes: Vec<u8>,
}

/// What became of a segment's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Where the bytes begin that are next in the stream, when they are.
    pub(super) next_from: Option<usize>,
    /// Whether it brought nothing new.
    pub(super) is_repeat: bool,
    /// Whether it differs from what came before it at the same place.
    pub(super) differs: bool,
    /// Bytes that found no room.
    pub(super) refused: usize,
}

impl Half {
    /// Whether anything was seen of this direction.
    pub(super) const fn is_known(&self) -> bool {
        self.next.is_some()
    }

    /// The sequence number of the next byte, or of the first one.
    pub(super) fn next_sequence(&self) -> u32 {
        self.next.unwrap_or(0)
    }

    /// The place of the next byte.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// The bytes that wait.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// A connection begins: the byte after `sequence` is the first.
    pub(super) fn begin(&mut self, sequence: u32) {
        if self.next.is_none() {
            self.next = Some(sequence.wrapping_add(1));
        }
    }

    /// Whether `sequence` can be that of the connection's own first packet.
    pub(super) fn began_at(&self, sequence: u32) -> bool {
        let since = self.next.map_or(0, |next| next.wrapping_sub(sequence.wrapping_add(1)));
        u64::from(since) == self.position || self.position > u64::from(u32::MAX)
    }

    /// The place in the stream of the byte with `sequence`; before its start counts as negative.
    fn place(&self, sequence: u32) -> Option<i64> {
        let distance = sequence.wrapping_sub(self.next?).cast_signed();
        Some(i64::try_from(self.position).unwrap_or(i64::MAX).saturating_add(i64::from(distance)))
    }

    /// The place of the byte with `sequence`, for what the receiver says.
    pub(super) fn place_of(&self, sequence: u32) -> Option<u64> {
        self.place(sequence).map(|place| u64::try_from(place).unwrap_or(0))
    }

    /// The receiver has everything before the place `acknowledged`.
    pub(super) fn on_acknowledged(&mut self, acknowledged: u64) {
        // An acknowledgement far ahead of everything is another connection's, or nonsense.
        if acknowledged < self.position.saturating_add(1 << 30) {
            self.acknowledged = self.acknowledged.max(acknowledged);
        }
    }

    /// The sender ends the stream behind `length` bytes from `sequence`.
    pub(super) fn on_end(&mut self, at: Offset, sequence: u32, length: usize) {
        if let Some(place) = self.place_of(sequence) {
            self.end.get_or_insert((place + length as u64, at));
        }
    }

    /// A segment. Bytes that are next in the stream are left to the caller, who delivers them and tells
    /// [`Self::advance`], unless `must_wait`; others are kept until they are.
    pub(super) fn on_segment(
        &mut self,
        at: Offset,
        sequence: u32,
        heard: Option<u64>,
        bytes: &[u8],
        must_wait: bool,
    ) -> Arrival {
        self.next.get_or_insert(sequence);
        let Some(place) = self.place(sequence) else { return Arrival::default() };
        let repeated = u64::try_from(self.position.cast_signed().saturating_sub(place)).unwrap_or(0);
        let repeated = usize::try_from(repeated).unwrap_or(usize::MAX);
        if repeated >= bytes.len() {
            let differs = u64::try_from(place).is_ok_and(|place| self.differs(place, bytes));
            return Arrival { is_repeat: true, differs, ..Arrival::default() };
        }
        let start = u64::try_from(place.max(self.position.cast_signed())).unwrap_or(self.position);
        let bytes = &bytes[repeated..];
        if start == self.position && !must_wait && self.waiting.is_empty() {
            self.remember(start, bytes);
            return Arrival { next_from: Some(repeated), ..Arrival::default() };
        }
        self.keep(at, start, heard, bytes)
    }

    /// Keeps what of `bytes` is new.
    fn keep(&mut self, at: Offset, start: u64, heard: Option<u64>, bytes: &[u8]) -> Arrival {
        let end = start + bytes.len() as u64;
        let mut arrival = Arrival { is_repeat: true, ..Arrival::default() };
        let mut from = start;
        while from < end {
            // What already waits at this place, or comes next.
            let before = self.waiting.range(..=from).next_back();
            let covered = before.filter(|(at, kept)| **at + kept.bytes.len() as u64 > from);
            if let Some((at, kept)) = covered {
                let until = (at + kept.bytes.len() as u64).min(end);
                let theirs = &kept.bytes[place(from - at)..place(until - at)];
                arrival.differs |= theirs != &bytes[place(from - start)..place(until - start)];
                from = until;
                continue;
            }
            let next = self.waiting.range(from..).next().map_or(end, |(at, _)| *at);
            let until = next.min(end);
            let piece = &bytes[place(from - start)..place(until - start)];
            if self.held + piece.len() > MOST_WAITING || self.waiting.len() >= MOST_SEGMENTS {
                arrival.refused += piece.len();
            } else {
                self.held += piece.len();
                self.waiting.insert(from, Waiting { at, heard, bytes: piece.to_vec() });
            }
            arrival.is_repeat = false;
            from = until;
        }
        if self.stopped.is_none() {
            self.stopped = Some((at, 0));
        }
        arrival
    }

    /// `length` bytes were delivered.
    pub(super) fn advance(&mut self, length: usize) {
        self.position += length as u64;
        // The sequence number wraps around every 4 GiB.
        let step = (length as u64 & u64::from(u32::MAX)) as u32;
        self.next = self.next.map(|next| next.wrapping_add(step));
    }

    /// How much the sender of the next segment had heard, when one waits that is next.
    pub(super) fn next_heard(&self) -> Option<Option<u64>> {
        let (place, waiting) = self.waiting.first_key_value()?;
        (*place == self.position).then_some(waiting.heard)
    }

    /// The waiting segment that is next; the caller delivers it and tells [`Self::advance`].
    pub(super) fn take(&mut self) -> Option<Waiting> {
        let entry = self.waiting.first_entry().filter(|entry| *entry.key() == self.position)?;
        let waiting = entry.remove();
        self.held -= waiting.bytes.len();
        self.stopped =
            self.stopped.filter(|_| !self.waiting.is_empty()).map(|(at, _)| (at.max(waiting.at), 0));
        self.remember(self.position, &waiting.bytes);
        Some(waiting)
    }

    /// A packet of the connection came at `now`. How many bytes are missing for good, if any are.
    pub(super) fn missing(&mut self, now: Offset) -> Option<u64> {
        let first = self.waiting.first_key_value().map(|(place, _)| *place);
        let behind = self.acknowledged > self.position;
        if first == Some(self.position) || (first.is_none() && !behind) {
            if first.is_none() {
                self.stopped = None;
            }
            return None;
        }
        let (since, packets) = self.stopped.get_or_insert((now, 0));
        *packets += 1;
        let late = now.since(*since);
        let is_gone = behind && (*packets >= LATE_PACKETS || late >= LATE);
        let is_full = self.held >= MOST_WAITING / 2 || self.waiting.len() >= MOST_SEGMENTS / 2;
        (is_gone || is_full || late >= NEVER).then(|| self.gap(first)).filter(|gap| *gap > 0)
    }

    /// How many bytes are missing, when nothing more can come.
    pub(super) fn missing_at_last(&self) -> Option<u64> {
        let first = self.waiting.first_key_value().map(|(place, _)| *place);
        Some(self.gap(first)).filter(|gap| *gap > 0)
    }

    fn gap(&self, first: Option<u64>) -> u64 {
        let end = self.end.map(|(end, _)| end);
        // The acknowledgement of an end counts one more than there are bytes.
        let heard = end.map_or(self.acknowledged, |end| self.acknowledged.min(end));
        first.unwrap_or(heard).saturating_sub(self.position)
    }

    /// Steps over `length` bytes that are missing.
    pub(super) fn skip(&mut self, length: u64) {
        self.position += length;
        let step = (length & u64::from(u32::MAX)) as u32;
        self.next = self.next.map(|next| next.wrapping_add(step));
        self.stopped = None;
    }

    /// Whether everything up to the end was delivered.
    pub(super) fn is_over(&self) -> bool {
        self.end.is_some_and(|(end, _)| self.position >= end)
    }

    fn remember(&mut self, place: u64, bytes: &[u8]) {
        self.recent[self.newest] = (place, bytes.len(), fingerprint(bytes));
        self.newest = (self.newest + 1) % REMEMBERED;
    }

    fn differs(&self, place: u64, bytes: &[u8]) -> bool {
        let mut same = self.recent.iter().filter(|(at, length, _)| (*at, *length) == (place, bytes.len()));
        same.next().is_some_and(|(_, _, before)| *before != fingerprint(bytes))
    }
}

/// Inside one segment a place fits any number.
fn place(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}

/// Tells copies of a segment from other bytes: eight at a time, multiplied and turned, after Fowler, Noll and Vo.
fn fingerprint(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01B3).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0xCBF2_9CE4_8422_2325, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    rest.iter().fold(hash, |hash, &byte| mix(hash, u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: u32 = u32::MAX - 5;

    /// What the stream is when these pieces of `whole` come in this order.
    fn read(whole: &[u8], pieces: &[(usize, usize)]) -> Vec<u8> {
        let (mut half, mut stream) = (Half::default(), Vec::new());
        half.begin(START.wrapping_sub(1));
        for &(start, end) in pieces {
            let sequence = START.wrapping_add(u32::try_from(start).unwrap());
            let bytes = &whole[start..end];
            if let Some(from) = half.on_segment(Offset::ZERO, sequence, None, bytes, false).next_from {
                stream.extend_from_slice(&bytes[from..]);
                half.advance(bytes.len() - from);
            }
            while let Some(waiting) = half.take() {
                half.advance(waiting.bytes.len());
                stream.extend_from_slice(&waiting.bytes);
            }
        }
        stream
    }

    #[test]
    fn segments_in_any_order_and_more_than_once_make_the_stream() {
        assert_eq!(read(b"abcdefghij", &[(0, 3), (5, 10), (3, 6), (0, 10)]), b"abcdefghij");
        assert_eq!(read(b"abcdefghij", &[(5, 10), (2, 7), (0, 2)]), b"abcdefghij");
    }

    #[test]
    fn a_copy_with_other_bytes_is_known_and_the_first_stays() {
        let mut half = Half::default();
        half.begin(0);
        assert_eq!(half.on_segment(Offset::ZERO, 1, None, b"abc", false).next_from, Some(0));
        half.advance(3);
        assert!(!half.on_segment(Offset::ZERO, 1, None, b"abc", false).differs);
        assert!(half.on_segment(Offset::ZERO, 1, None, b"abX", false).differs);
        half.on_segment(Offset::ZERO, 10, None, b"xyz", false);
        assert!(half.on_segment(Offset::ZERO, 11, None, b"Yz!", false).differs);
    }

    #[test]
    fn what_is_acknowledged_and_never_comes_is_a_gap_of_known_length() {
        let mut half = Half::default();
        half.begin(0);
        half.on_segment(Offset::ZERO, 11, None, b"later", false);
        half.on_acknowledged(15);
        assert_eq!(half.missing(Offset::from_millis(1)), None);
        assert_eq!(half.missing(Offset::from_secs(3)), Some(10));
        half.skip(10);
        assert_eq!(half.take().unwrap().bytes, b"later");
    }

    proptest! {
        #[test]
        fn any_pieces_that_cover_the_stream_give_the_stream(
            cuts in proptest::collection::vec((0..200_usize, 1..60_usize), 0..60)
        ) {
            let whole: Vec<u8> = (0..200).collect();
            let mut pieces: Vec<(usize, usize)> =
                cuts.into_iter().map(|(start, length)| (start, (start + length).min(200))).collect();
            pieces.extend((0..20).rev().map(|tenth| (tenth * 10, tenth * 10 + 10)));
            prop_assert_eq!(read(&whole, &pieces), whole);
        }
    }
}
