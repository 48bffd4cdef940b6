//! Finds the lane of a recorded connection.
//!
//! It keeps numbers of lanes alone: each lane knows its key itself, and a table with both would be four times as large.

use hashbrown::HashTable;

use super::LaneKey;
use crate::schedule::mix;

/// Lanes by their keys. Who asks says what key the lane of a number has, which is `None` for one that was taken away.
#[derive(Debug)]
pub(crate) struct Known {
    lanes: HashTable<u32>,
}

impl Known {
    /// With room for so many.
    pub(crate) fn with_capacity(lanes: usize) -> Self {
        Self { lanes: HashTable::with_capacity(lanes) }
    }

    pub(crate) fn get(&self, key: LaneKey, key_of: impl Fn(u32) -> Option<LaneKey>) -> Option<u32> {
        self.lanes.find(hash(key), |&lane| key_of(lane) == Some(key)).copied()
    }

    /// Adds a lane whose key is not there yet.
    pub(crate) fn insert(&mut self, key: LaneKey, lane: u32, key_of: impl Fn(u32) -> Option<LaneKey>) {
        self.lanes.insert_unique(hash(key), lane, |&lane| key_of(lane).map_or(0, hash));
    }

    /// Takes one away.
    pub(crate) fn remove(&mut self, key: LaneKey, lane: u32) {
        if let Ok(entry) = self.lanes.find_entry(hash(key), |&known| known == lane) {
            entry.remove();
        }
    }
}

/// Keys are numbers that the plan gave out: nobody chose them so that they meet.
fn hash(key: LaneKey) -> u64 {
    let LaneKey { copy, lap, connection, request } = key;
    mix(mix(u64::from(copy) << 32 | u64::from(lap)) ^ (u64::from(connection) << 32 | u64::from(request)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_found_by_its_key_until_it_is_taken_away_however_many_there_are() {
        let keys: Vec<LaneKey> = (0..3_000)
            .map(|at| LaneKey { copy: at % 7, lap: at % 3, connection: at / 21, request: at % 2 })
            .collect();
        let key_of = |lane: u32| keys.get(lane as usize).copied();
        let mut known = Known::with_capacity(1);
        let mut expected = std::collections::HashMap::new();
        for (&key, lane) in keys.iter().zip(0..) {
            if known.get(key, key_of).is_none() {
                known.insert(key, lane, key_of);
            }
            expected.entry(key).or_insert(lane);
            // Every third goes away again.
            if lane % 3 == 0 && expected.get(&key) == Some(&lane) {
                known.remove(key, lane);
                expected.remove(&key);
            }
        }
        for &key in &keys {
            assert_eq!(known.get(key, key_of), expected.get(&key).copied(), "{key:?}");
        }
    }
}
