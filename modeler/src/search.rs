//! Decides which load to try next, in the search for the highest that meets an objective.
//!
//! Loads are doubled until one fails, then the gap between the highest that passed and the lowest that failed
//! is halved (on a logarithmic scale) until it is narrow enough. Both ends are then tried again: a verdict
//! counts when the majority of its tries agrees, twice at least. A target that fell over is not pushed over
//! again: it must first carry the highest load that it passed.
//!
//! Time, sockets and runs are the caller's; here are only loads and verdicts.

/// What became of one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It met the objective.
    Passed,
    /// It did not.
    Failed,
    /// The target gave in, so that the try was ended before its time.
    Collapsed,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Try this load.
    Try(f64),
    /// There is nothing more to learn.
    Done(SearchEnd),
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchEnd {
    /// The limit lies between the highest load that passed and the lowest that failed.
    Bracketed,
    /// The highest load that may be tried passed.
    NeverFailed,
    /// The lowest load that may be tried failed.
    NeverPassed,
    /// The target fell over and did not carry again what it had carried before.
    FellOver,
    /// It took too many tries.
    GaveUp,
}

/// A search. Loads are in any unit, above zero.
#[derive(Clone, Debug)]
pub struct Search {
    most: f64,
    least: f64,
    resolution: f64,
    first: f64,
    tries: Vec<(f64, Tried)>,
}

/// Each load is so many times the one before, until one fails.
const GROWTH: f64 = 2.0;
/// A search ends after so many tries, whatever it knows.
const MOST_TRIES: usize = 48;

impl Search {
    /// Begins at `first` and never goes above `most`; ends when the lowest failed load is above the highest
    /// passed one by no more than the share `resolution` (0.04: 4 %).
    pub fn new(first: f64, most: f64, resolution: f64) -> Self {
        let first = first.min(most);
        Self { most, least: first / 64.0, resolution, first, tries: Vec::new() }
    }

    /// Takes what became of a load.
    pub fn on_tried(&mut self, load: f64, tried: Tried) {
        self.tries.push((load, tried));
    }

    /// What to do next.
    pub fn next(&self) -> Next {
        let (passed, failed) = (self.passed(), self.failed());
        if let [.., (_, Tried::Collapsed), (_, after)] = self.tries[..]
            && after != Tried::Passed
        {
            return Next::Done(SearchEnd::FellOver);
        }
        if let [.., (at, Tried::Collapsed)] = self.tries[..] {
            // Is it still there?
            return match passed {
                Some(passed) => Next::Try(passed),
                None if at / GROWTH >= self.least => Next::Try(at / GROWTH),
                None => Next::Done(SearchEnd::NeverPassed),
            };
        }
        if self.tries.len() >= MOST_TRIES {
            return Next::Done(SearchEnd::GaveUp);
        }
        match (passed, failed) {
            (None, None) => Next::Try(self.first),
            (Some(passed), None) if passed >= self.most => match self.is_sure(passed) {
                true => Next::Done(SearchEnd::NeverFailed),
                false => Next::Try(passed),
            },
            (Some(passed), None) => Next::Try((passed * GROWTH).min(self.most)),
            (None, Some(failed)) if failed / GROWTH >= self.least => Next::Try(failed / GROWTH),
            (None, Some(_)) => Next::Done(SearchEnd::NeverPassed),
            (Some(passed), Some(failed)) if failed / passed > 1.0 + self.resolution => {
                Next::Try((passed * failed).sqrt())
            }
            (Some(passed), Some(_)) if !self.is_sure(passed) => Next::Try(passed),
            (Some(_), Some(failed)) if !self.is_sure(failed) => Next::Try(failed),
            (Some(_), Some(_)) => Next::Done(SearchEnd::Bracketed),
        }
    }

    /// The highest load that passed below all that failed.
    pub fn passed(&self) -> Option<f64> {
        let failed = self.failed().unwrap_or(f64::INFINITY);
        let loads = self.tries.iter().map(|&(load, _)| load);
        loads.filter(|&load| load < failed && self.balance(load) > 0).reduce(f64::max)
    }

    /// The lowest load that failed.
    pub fn failed(&self) -> Option<f64> {
        let loads = self.tries.iter().map(|&(load, _)| load);
        loads.filter(|&load| self.balance(load) < 0).reduce(f64::min)
    }

    /// How many more tries of a load passed than failed. One that brought the target down is not repeated for a
    /// second opinion. Of a draw, the newest decides until there is another.
    fn balance(&self, load: f64) -> i32 {
        let of_load = || self.tries.iter().filter(|&&(at, _)| at == load).map(|&(_, tried)| tried);
        let worth = |tried| -> i32 {
            match tried {
                Tried::Passed => 1,
                Tried::Failed => -1,
                Tried::Collapsed => -2,
            }
        };
        match of_load().map(worth).sum() {
            0 => of_load().next_back().map_or(0, |tried| worth(tried).signum()),
            sum => sum,
        }
    }

    fn is_sure(&self, load: f64) -> bool {
        let of_load = self.tries.iter().filter(|&&(at, _)| at == load);
        let sum: i32 = of_load
            .map(|&(_, tried)| match tried {
                Tried::Passed => 1,
                Tried::Failed => -1,
                Tried::Collapsed => -2,
            })
            .sum();
        sum.abs() >= 2
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Searches a target that does as `carries` says; the search, how it ended, and the loads that it tried.
    fn searched(first: f64, mut carries: impl FnMut(f64) -> Tried) -> (Search, SearchEnd, Vec<f64>) {
        let mut search = Search::new(first, 1_000.0, 0.04);
        let mut loads = Vec::new();
        loop {
            match search.next() {
                Next::Try(load) => {
                    loads.push(load);
                    search.on_tried(load, carries(load));
                }
                Next::Done(end) => return (search, end, loads),
            }
        }
    }

    fn limit(at: f64) -> impl Fn(f64) -> Tried {
        move |load| if load < at { Tried::Passed } else { Tried::Failed }
    }

    #[test]
    fn the_limit_is_bracketed_within_the_resolution_whatever_it_is() {
        for at in [0.05, 0.9, 1.0, 3.7, 10.0, 96.0, 700.0] {
            let (search, end, loads) = searched(1.0, limit(at));
            assert_eq!(end, SearchEnd::Bracketed);
            let (passed, failed) = (search.passed().unwrap(), search.failed().unwrap());
            assert!(passed < at && failed >= at && failed / passed <= 1.04, "{at}: {passed} to {failed}");
            assert!(loads.len() <= 20, "{at} took {} tries", loads.len());
            // Both ends were tried twice.
            assert!([passed, failed].iter().all(|end| loads.iter().filter(|load| *load == end).count() == 2));
        }
        assert_eq!(searched(1.0, limit(1e9)).1, SearchEnd::NeverFailed);
        assert_eq!(searched(1.0, limit(1e-9)).1, SearchEnd::NeverPassed);
    }

    #[test]
    fn verdicts_that_waver_near_the_limit_move_the_answer_little() {
        for seed in 0..200 {
            let mut draw = ChaCha8Rng::seed_from_u64(seed);
            // The chance to pass falls from 1 to 0 between 9.8 and 10.2.
            let (search, end, _) = searched(1.0, |load| {
                let chance = (10.2 - load) / 0.4;
                if draw.random_range(0.0..1.0) < chance { Tried::Passed } else { Tried::Failed }
            });
            assert!(matches!(end, SearchEnd::Bracketed | SearchEnd::GaveUp));
            let found = (search.passed().unwrap() * search.failed().unwrap()).sqrt();
            assert!((found / 10.0 - 1.0).abs() < 0.05, "seed {seed}: {found}");
        }
    }

    #[test]
    fn a_target_that_fell_over_is_asked_whether_it_is_there_before_anything_else() {
        // Falls over at 12 and stays down.
        let mut down = false;
        let (search, end, loads) = searched(1.0, |load| {
            down |= load >= 12.0;
            if down { Tried::Collapsed } else { Tried::Passed }
        });
        assert_eq!((end, loads), (SearchEnd::FellOver, vec![1.0, 2.0, 4.0, 8.0, 16.0, 8.0]));
        assert_eq!(search.failed(), Some(8.0), "what it carried before, it carries no more");
        // Falls over at 12 and gets up again: the search goes on, and no load that felled it is repeated.
        let (search, end, loads) =
            searched(1.0, |load| if load < 12.0 { Tried::Passed } else { Tried::Collapsed });
        assert_eq!(end, SearchEnd::Bracketed);
        assert!(search.failed().unwrap() / search.passed().unwrap() <= 1.04);
        let felled: Vec<f64> = loads.into_iter().filter(|&load| load >= 12.0).collect();
        assert!(felled.iter().all(|load| felled.iter().filter(|other| *other == load).count() == 1));
    }
}
