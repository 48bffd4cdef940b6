//! What one session was given and has sent, in bounded memory.

use std::collections::VecDeque;

use captures::Offset;

use crate::correlate::value::{ByHash, Hashes};

/// The most values that are remembered of one session: about a megabyte. The oldest are forgotten first.
pub(crate) const MAX_GIVEN: usize = 8_192;
/// The most sent values that are remembered of one session.
const MAX_SENT: usize = 16_384;
/// The most answers that are remembered to have given one value: the first, which is where it came from, and some
/// of the later ones.
const MAX_SOURCES: usize = 4;
/// The most requests that changed something and are remembered.
const MAX_CHANGES: usize = 8;

/// One answer that gave a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The number of its extractor.
    pub(crate) pattern: u64,
    /// Which of the values of that extractor in this answer.
    pub(crate) ordinal: u32,
    pub(crate) route: u32,
    pub(crate) exchange: u64,
    /// From when on it could be known.
    pub(crate) from: Offset,
    /// For a segment of an address, the number of the path before it; else 0.
    pub(crate) before: u64,
    /// Whether the answer seems to have made it: see [`crate::correlate::find`].
    pub(crate) is_created: bool,
}

/// A request that changed something.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) path: Vec<u8>,
    /// Where its answer pointed to.
    pub(crate) location: Vec<u8>,
}

/// The memory of one session.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    given: ByHash<Vec<Source>>,
    oldest: VecDeque<u64>,
    sent: Hashes,
    /// The largest number that was given under a pattern.
    largest: ByHash<u64>,
    /// Identifiers with their patterns, that were given.
    known_ids: Hashes,
    pub(crate) changes: VecDeque<Change>,
    pub(crate) last: Offset,
    /// The number of its newest exchange among those of all sessions.
    pub(crate) newest: u64,
    /// Values that were forgotten, or not taken in, for want of room.
    pub(crate) overflow: u64,
}

impl Memory {
    /// The bytes that it takes, about: a value that was given, with its answers and its place in the order, is 150;
    /// what else is remembered lies in tables of 8 and 16 bytes an entry, half full.
    pub(crate) fn held(&self) -> usize {
        let changes: usize =
            self.changes.iter().map(|change| change.path.len() + change.location.len()).sum();
        150 * self.given.len()
            + 16 * (self.sent.len() + self.known_ids.len())
            + 32 * self.largest.len()
            + changes
            + size_of::<Self>()
    }

    /// How many values it remembers.
    pub(crate) fn len(&self) -> usize {
        self.given.len()
    }

    /// Who gave this value by `at`, oldest first.
    pub(crate) fn sources(&self, value: u64, at: Offset) -> &[Source] {
        let all = self.given.get(&value).map_or(&[][..], Vec::as_slice);
        &all[..all.partition_point(|source| source.from <= at)]
    }

    pub(crate) fn give(&mut self, value: u64, source: Source) {
        let sources = self.given.entry(value).or_default();
        if sources.is_empty() {
            self.oldest.push_back(value);
        }
        if sources.len() < MAX_SOURCES && !sources.iter().any(|known| known.exchange == source.exchange) {
            sources.push(source);
            sources.sort_by_key(|source| source.from);
        }
        if self.given.len() > MAX_GIVEN
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.given.remove(&oldest);
            self.overflow += 1;
        }
    }

    pub(crate) fn has_sent(&self, value: u64) -> bool {
        self.sent.contains(&value)
    }

    pub(crate) fn was_given(&self, value: u64) -> bool {
        self.given.contains_key(&value)
    }

    pub(crate) fn send(&mut self, value: u64) {
        if self.sent.len() < MAX_SENT {
            self.sent.insert(value);
        } else if !self.sent.contains(&value) {
            self.overflow += 1;
        }
    }

    /// Notes that an identifier was given; whether it is new here, and above all numbers before it.
    pub(crate) fn note_id(&mut self, pattern: u64, value: u64, number: Option<u64>) {
        if self.known_ids.len() < MAX_SENT {
            self.known_ids.insert(pattern ^ value.rotate_left(32));
        }
        if let Some(number) = number
            && (self.largest.len() < MAX_GIVEN || self.largest.contains_key(&pattern))
        {
            let largest = self.largest.entry(pattern).or_default();
            *largest = number.max(*largest);
        }
    }

    /// Whether an identifier was not given under this pattern yet and, if it is a number, is above those that were.
    pub(crate) fn is_news(&self, pattern: u64, value: u64, number: Option<u64>) -> bool {
        !self.known_ids.contains(&(pattern ^ value.rotate_left(32)))
            && number.is_none_or(|number| self.largest.get(&pattern).is_none_or(|&largest| number > largest))
    }

    pub(crate) fn change(&mut self, change: Change) {
        if self.changes.len() == MAX_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }

    /// Takes in what another memory holds: two sessions turned out to be one.
    pub(crate) fn join(&mut self, other: Self) {
        for value in other.oldest {
            for source in other.given.get(&value).into_iter().flatten() {
                self.give(value, *source);
            }
        }
        if self.sent.len() + other.sent.len() <= MAX_SENT {
            self.sent.extend(other.sent);
        }
        self.changes.extend(other.changes.into_iter().take(MAX_CHANGES));
        self.changes.truncate(MAX_CHANGES);
        self.last = self.last.max(other.last);
        self.overflow += other.overflow;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(exchange: u64) -> Source {
        let from = Offset::from_millis(exchange);
        Source { pattern: 1, ordinal: 0, route: 0, exchange, from, before: 0, is_created: false }
    }

    #[test]
    fn what_was_not_known_yet_is_no_source() {
        let mut memory = Memory::default();
        memory.give(7, source(10));
        memory.give(7, source(30));
        assert!(memory.sources(7, Offset::from_millis(9)).is_empty());
        assert_eq!(memory.sources(7, Offset::from_millis(10)), [source(10)]);
        assert_eq!(memory.sources(7, Offset::from_millis(40)).len(), 2);
    }

    #[test]
    fn the_oldest_values_are_forgotten_first_and_counted() {
        let mut memory = Memory::default();
        for value in 0..MAX_GIVEN as u64 + 10 {
            memory.give(value, source(value));
        }
        assert_eq!((memory.len(), memory.overflow), (MAX_GIVEN, 10));
        assert!(!memory.was_given(9) && memory.was_given(10));
    }
}
