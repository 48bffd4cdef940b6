//! Which candidate a series takes beside the average of the members, by what each missed when it was tried.
//!
//! Only trials count whose outcome was known at the time, so that a forecast that is tried is chosen as one of
//! its day would have been. The average stays unless a candidate was clearly better, again and again: a choice by
//! a hair's breadth is a choice by chance.

use super::members::{CANDIDATES, Candidate};

/// A forecast that was tried, with the candidates beside it, on the logarithm.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    /// The first step that was forecast.
    pub(super) begin: usize,
    pub(super) average: Vec<f64>,
    pub(super) candidates: [Option<Vec<f64>>; 2],
}

/// How much of a candidate is taken: the rest is the average.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Choice {
    candidate: Option<usize>,
    share: f64,
    /// What it missed over what the average missed.
    pub(super) miss_ratio: f64,
}

/// Shares that are tried.
const SHARES: [f64; 2] = [0.5, 1.0];
/// A candidate needs so many trials …
const LEAST_TRIALS: usize = 3;
/// … of which it won this share, …
const WON_RATIO: f64 = 0.65;
/// … and missed this share of what the average missed at most.
const BETTER_RATIO: f64 = 0.9;

impl Choice {
    /// By the trials of which something was known before the step `now`.
    ///
    /// `truth` gives the value of a step; `None` where it is not known. A trial counts from `least` known steps on.
    pub(super) fn by(
        tried: &[Tried],
        now: usize,
        least: usize,
        truth: &dyn Fn(usize) -> Option<f64>,
    ) -> Self {
        let mut best = Self { candidate: None, share: 0.0, miss_ratio: BETTER_RATIO };
        for candidate in 0..CANDIDATES.len() {
            for share in SHARES {
                let choice = Self { candidate: Some(candidate), share, miss_ratio: 1.0 };
                let (mut trials, mut won, mut missed, mut missed_by_average) = (0, 0, 0.0, 0.0);
                for trial in tried {
                    let known = trial.average.len().min(now.saturating_sub(trial.begin));
                    if trial.candidates[candidate].is_none() || known < least.min(trial.average.len()).max(1)
                    {
                        continue;
                    }
                    let mixed = choice.of(&trial.average, &trial.candidates);
                    let miss = |values: &[f64]| {
                        let misses: Vec<f64> = (0..known)
                            .filter_map(|step| Some((values[step] - truth(trial.begin + step)?).abs()))
                            .collect();
                        misses.iter().sum::<f64>() / misses.len().max(1) as f64
                    };
                    let (this, average) = (miss(&mixed), miss(&trial.average));
                    trials += 1;
                    won += usize::from(this < average);
                    missed += this;
                    missed_by_average += average;
                }
                let ratio = if missed_by_average > 0.0 { missed / missed_by_average } else { 1.0 };
                if trials >= LEAST_TRIALS
                    && won as f64 >= WON_RATIO * trials as f64
                    && ratio < best.miss_ratio
                {
                    best = Self { miss_ratio: ratio, ..choice };
                }
            }
        }
        best
    }

    /// The candidate, when one is taken.
    pub(super) fn candidate(&self) -> Option<Candidate> {
        self.candidate.map(|at| CANDIDATES[at])
    }

    /// `average`, with the share of the candidate that was chosen; where it has nothing to say, the average alone.
    pub(super) fn of(&self, average: &[f64], candidates: &[Option<Vec<f64>>; 2]) -> Vec<f64> {
        match self.candidate.and_then(|at| candidates[at].as_ref()) {
            Some(candidate) => average
                .iter()
                .zip(candidate)
                .map(|(average, candidate)| average + self.share * (candidate - average))
                .collect(),
            None => average.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(begin: usize, average: f64, candidate: Option<f64>) -> Tried {
        Tried { begin, average: vec![average; 4], candidates: [candidate.map(|value| vec![value; 4]), None] }
    }

    #[test]
    fn a_candidate_must_be_better_again_and_again_and_only_by_what_was_known() {
        // The truth is 10 everywhere; the average says 8, the candidate what is given.
        let taken = |now: usize, candidates: &[Option<f64>]| {
            let tried: Vec<Tried> =
                candidates.iter().enumerate().map(|(at, said)| trial(4 * at, 8.0, *said)).collect();
            let choice = Choice::by(&tried, now, 2, &|_| Some(10.0));
            choice.of(&[8.0], &[Some(vec![10.0]), None])[0]
        };
        assert_eq!(taken(100, &[Some(10.0), Some(10.0), Some(10.0)]), 10.0);
        // Half of one that goes as far beyond: 8 + ½ · 4.
        assert_eq!(taken(100, &[Some(12.0), Some(12.0), Some(12.0)]), 9.0);
        assert_eq!(taken(100, &[Some(10.0), Some(10.0), None]), 8.0);
        assert_eq!(taken(100, &[Some(10.0), Some(5.0), Some(5.0)]), 8.0);
        // The third trial begins at step 8 and is not known yet.
        assert_eq!(taken(9, &[Some(10.0), Some(10.0), Some(10.0)]), 8.0);
    }
}
