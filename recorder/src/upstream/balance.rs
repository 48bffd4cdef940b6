//! Decides which server gets the next request.
//!
//! Pure: it is told which servers may be chosen and how busy they are. Round robin is smooth weighted round
//! robin as nginx does it (over a cycle of the sum of the weights each server gets exactly its weight, and its
//! turns are spread over the cycle). Least connections takes the least busy for its weight, and goes round
//! among those that are equally busy. Hash is weighted rendezvous hashing: every server draws a number from
//! the key and the highest wins, so that a server that goes away moves nobody's sessions but its own.

/// How requests are dealt to the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// To the server with the fewest requests in flight for its weight.
    LeastConnections,
    /// The same client to the same server.
    Hash,
}

/// The state of smooth weighted round robin.
#[derive(Debug)]
pub(crate) struct Wheel {
    weights: Vec<u32>,
    credit: Vec<i64>,
}

impl Wheel {
    /// A wheel for servers of these weights, each above zero.
    pub(crate) fn new(weights: Vec<u32>) -> Self {
        Self { credit: vec![0; weights.len()], weights }
    }

    /// The server whose turn it is among those that are eligible; `None` when none is.
    ///
    /// Source: nginx commit 52327e0627f4, "Upstream: smooth weighted round-robin balancing" (2012).
    pub(crate) fn next(&mut self, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<usize> = None;
        for at in (0..self.weights.len()).filter(|&at| eligible(at)) {
            let weight = i64::from(self.weights[at]);
            self.credit[at] += weight;
            total += weight;
            if best.is_none_or(|best| self.credit[at] > self.credit[best]) {
                best = Some(at);
            }
        }
        let best = best?;
        self.credit[best] -= total;
        Some(best)
    }

    /// The least busy server for its weight; the wheel decides among equals.
    pub(crate) fn least(
        &mut self,
        busy: impl Fn(usize) -> u64,
        eligible: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        // Each load is read once: it changes under our hands.
        let loads: Vec<Option<u64>> =
            (0..self.weights.len()).map(|at| eligible(at).then(|| busy(at))).collect();
        let share = |at: usize, load: u64| load as f64 / f64::from(self.weights[at]);
        let shares = loads.iter().enumerate().filter_map(|(at, load)| Some(share(at, (*load)?)));
        let least = shares.fold(f64::INFINITY, f64::min);
        let among: Vec<bool> = loads
            .iter()
            .enumerate()
            .map(|(at, load)| load.is_some_and(|load| share(at, load) <= least))
            .collect();
        self.next(|at| among[at])
    }
}

/// The server to which `key` belongs among those that are eligible.
///
/// `seeds` tell servers apart and stay with them. Source: Schindelhauer and Schomaker, *Weighted Distributed
/// Hash Tables* (2005), the logarithmic method: the least of `-ln(u) / weight` wins.
pub(crate) fn rendezvous(
    seeds: &[u64],
    weights: &[u32],
    key: u64,
    eligible: impl Fn(usize) -> bool,
) -> Option<usize> {
    let cost = |at: usize| {
        // The upper 53 bits, as a fraction above zero and below one.
        let drawn = (mixed(key ^ seeds[at]) >> 11) as f64 + 0.5;
        -(drawn / (1_u64 << 53) as f64).ln() / f64::from(weights[at])
    };
    (0..seeds.len()).filter(|&at| eligible(at)).min_by(|&one, &other| cost(one).total_cmp(&cost(other)))
}

/// A hash of some parts, the same in every process and version (FNV-1a, finished by SplitMix64).
pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for &byte in (part.len() as u64).to_le_bytes().iter().chain(*part) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    mixed(hash)
}

fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_gives_each_server_its_weight_and_spreads_its_turns() {
        let turns = |weights: &[u32], count: usize| {
            let mut wheel = Wheel::new(weights.to_vec());
            (0..count).map(|_| wheel.next(|_| true).unwrap()).collect::<Vec<_>>()
        };
        // The example of nginx's commit: weights 5, 1, 1.
        assert_eq!(turns(&[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(turns(&[3, 1], 8), [0, 0, 1, 0, 0, 0, 1, 0]);
        let many = turns(&[7, 3, 11], 21 * 5);
        let count = |server| many.iter().filter(|&&turn| turn == server).count();
        assert_eq!((count(0), count(1), count(2)), (35, 15, 55));
    }

    #[test]
    fn the_turns_of_a_server_that_is_away_go_to_the_others_by_weight() {
        let mut wheel = Wheel::new(vec![2, 5, 1]);
        let turns: Vec<usize> = (0..30).map(|_| wheel.next(|at| at != 1).unwrap()).collect();

        assert_eq!(turns.iter().filter(|&&turn| turn == 0).count(), 20);
        assert!(!turns.contains(&1));
        assert_eq!(wheel.next(|_| false), None);
    }

    #[test]
    fn the_least_busy_server_for_its_weight_is_next() {
        let check = |weights: &[u32], busy: &[u64], expected: &[usize]| {
            let mut wheel = Wheel::new(weights.to_vec());
            let chosen: Vec<usize> =
                expected.iter().map(|_| wheel.least(|at| busy[at], |_| true).unwrap()).collect();
            assert_eq!(chosen, expected, "{weights:?} {busy:?}");
        };
        check(&[1, 1, 1], &[2, 1, 3], &[1, 1]);
        check(&[3, 1], &[2, 1], &[0]);
        check(&[3, 1], &[4, 1], &[1]);
        check(&[1, 1], &[0, 0], &[0, 1, 0]);
        check(&[1, 1, 1], &[5, 0, 0], &[1, 2, 1]);
    }

    #[test]
    fn a_server_that_goes_away_moves_only_its_own_sessions() {
        let seeds: Vec<u64> = (0..5_u64).map(|at| hash(&[&at.to_le_bytes()])).collect();
        let weights = [1; 5];
        let of = |key: u64, gone: Option<usize>| {
            let key = hash(&[&key.to_le_bytes()]);
            rendezvous(&seeds, &weights, key, |at| Some(at) != gone).unwrap()
        };
        let mut counts = [0; 5];
        for key in 0..10_000 {
            let (before, after) = (of(key, None), of(key, Some(2)));
            counts[before] += 1;
            if before == 2 {
                assert_ne!(after, 2);
            } else {
                assert_eq!(before, after);
            }
        }
        // Each expects 2 000 with a standard deviation of 40.
        assert!(counts.iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn sessions_are_hashed_by_weight_and_the_same_for_ever() {
        let seeds = [hash(&[b"a:80"]), hash(&[b"b:80"])];
        let first = (0..10_000_u64)
            .filter(|key| rendezvous(&seeds, &[3, 1], hash(&[&key.to_le_bytes()]), |_| true) == Some(0))
            .count();

        // 7 500 with a standard deviation of 43.
        assert!((7_250..7_750).contains(&first), "{first}");
        // FNV-1a of the eight bytes of the length 0 alone, by hand: the basis times the prime, eight times.
        let basis = (0..8).fold(0xcbf2_9ce4_8422_2325_u64, |hash, _| hash.wrapping_mul(0x0100_0000_01b3));
        assert_eq!(hash(&[b""]), mixed(basis));
        assert_eq!(rendezvous(&seeds, &[1, 1], 7, |_| false), None);
    }
}
