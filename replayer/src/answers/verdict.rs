//! Lays the answers of replays beside the recorded ones, and sorts what differs into classes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use captures::{Exchange, route_of};

use crate::answers::compare::differences;
use crate::answers::difference::{Difference, What, generic};
use crate::answers::keep::{Repeated, repeated};
use crate::answers::noise::Noise;
use crate::answers::pairs::Pairs;
use crate::answers::words::Sides;

/// The most classes that are told apart.
const MAX_CLASSES: usize = 10_000;

/// How times and tokens are looked at that no second answer shows to be noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tolerance {
    /// They are presumed to be noise, and listed as such.
    #[default]
    Presume,
    /// They are differences like others.
    Strict,
}

/// Answers that differ in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The route.
    pub route: String,
    /// In what.
    pub what: What,
    /// Where.
    pub place: String,
    /// In how many answers.
    pub count: u64,
    /// What stood there before and stands there now, in one of them.
    pub before: String,
    /// See `before`.
    pub now: String,
    /// That one.
    pub example: Repeated,
}

/// What the answers of one route came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteVerdict {
    /// Answers that were laid beside another.
    pub compared: u64,
    /// Those of the same status.
    pub same_status: u64,
    /// Those without a difference.
    pub alike: u64,
}

/// What a comparison came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// By route.
    pub routes: BTreeMap<String, RouteVerdict>,
    /// Differences, the most frequent first.
    pub classes: Vec<Class>,
    /// What was taken for noise because it reads like a time or a token.
    pub presumed: Vec<Class>,
    /// What two answers of one target showed to be noise: routes and places.
    pub noise: BTreeSet<(String, String)>,
    /// How many pairs of answers noise was learned from.
    pub learned_from: u64,
    /// Answers whose recorded ones are not in the capture.
    pub unpaired: u64,
    /// Bodies that were not kept whole, so that they were not compared.
    pub cut: u64,
    /// Differences that fell over the limit of classes or of noise.
    pub overflow: u64,
}

impl Compared {
    /// Over all routes.
    pub fn overall(&self) -> RouteVerdict {
        self.routes.values().fold(RouteVerdict::default(), |sum, of| RouteVerdict {
            compared: sum.compared + of.compared,
            same_status: sum.same_status + of.same_status,
            alike: sum.alike + of.alike,
        })
    }
}

type SessionKey = (usize, u64);
type Classes = BTreeMap<(String, What, String), Class>;

/// Collects answers, and compares them.
#[derive(Default)]
pub struct Comparison {
    recorded: HashMap<u64, Exchange>,
    /// By run: the one that is judged first.
    runs: Vec<BTreeMap<Repeated, Exchange>>,
    /// Answers of another version, to be compared with instead of the recorded ones.
    base: Option<BTreeMap<Repeated, Exchange>>,
    unknown: u64,
}

impl Comparison {
    /// With nothing to compare yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the answers of a run; the first run is the one that is judged, from the others noise is learned.
    pub fn add_run(&mut self, answers: impl Iterator<Item = Exchange>) {
        let answers = self.known(answers);
        self.runs.push(answers);
    }

    /// Takes in the answers of a run to be compared with, instead of the recorded ones.
    pub fn add_base(&mut self, answers: impl Iterator<Item = Exchange>) {
        self.base = Some(self.known(answers));
    }

    fn known(&mut self, answers: impl Iterator<Item = Exchange>) -> BTreeMap<Repeated, Exchange> {
        let mut known = BTreeMap::new();
        for answer in answers {
            match repeated(&answer) {
                Some(of) => {
                    known.insert(of, answer);
                }
                None => self.unknown += 1,
            }
        }
        known
    }

    /// Whether some answer repeats this recorded exchange.
    pub fn wants(&self, exchange: u64) -> bool {
        let first = Repeated { exchange, copy: 0, lap: 0 };
        let has = |answers: &BTreeMap<Repeated, Exchange>| {
            answers.range(first..).next().is_some_and(|(of, _)| of.exchange == exchange)
        };
        self.runs.iter().chain(&self.base).any(has)
    }

    /// Takes in a recorded exchange that is wanted.
    pub fn add_recorded(&mut self, exchange: Exchange) {
        self.recorded.insert(exchange.id.0, exchange);
    }

    /// Compares.
    pub fn finish(self, tolerance: Tolerance) -> Compared {
        let mut compared = Compared { unpaired: self.unknown, ..Compared::default() };
        let pairs = self.pairs();
        let none = Pairs::default();
        let of = |run: usize, answer: &Exchange| pairs.get(&(run, answer.session.0)).unwrap_or(&none);
        let noise = self.noise(&pairs, &mut compared.learned_from);
        let (mut classes, mut presumed) = (Classes::new(), Classes::new());
        let base_run = self.runs.len();
        for (repeated, answer) in self.runs.first().into_iter().flatten() {
            let Some(recorded) = self.recorded.get(&repeated.exchange) else {
                compared.unpaired += 1;
                continue;
            };
            let (before, of_before) = match &self.base {
                None => (recorded, &none),
                Some(base) => match base.get(repeated) {
                    Some(before) => (before, of(base_run, before)),
                    None => {
                        compared.unpaired += 1;
                        continue;
                    }
                },
            };
            if before.response.is_none() {
                continue;
            }
            let route = route_of(&recorded.request.method, &recorded.request.target);
            let is_cut = |exchange: &Exchange| {
                exchange.response.as_ref().is_some_and(|response| !response.body.is_whole())
            };
            compared.cut += u64::from(is_cut(before) || is_cut(answer));
            let sides = Sides { before: of_before, now: of(0, answer) };
            let found = differences(before, answer, sides);
            let (mut counted, mut is_alike) = (BTreeSet::new(), true);
            for one in &found {
                if noise.covers(&route, one) {
                    continue;
                }
                let is_presumed = one.is_presumed && tolerance == Tolerance::Presume;
                is_alike &= is_presumed;
                let key = (route.clone(), one.what, generic(&one.place));
                if counted.insert((is_presumed, one.what, generic(&one.place))) {
                    let into = if is_presumed { &mut presumed } else { &mut classes };
                    compared.overflow += u64::from(!count(into, key, one, *repeated));
                }
            }
            let verdict = compared.routes.entry(route).or_default();
            verdict.compared += 1;
            verdict.same_status += u64::from(!found.iter().any(|one| one.what == What::Status));
            verdict.alike += u64::from(is_alike);
        }
        compared.overflow += noise.overflow;
        compared.noise = noise.places();
        compared.classes = sorted(classes);
        compared.presumed = sorted(presumed);
        compared
    }

    /// Which values stand for which recorded ones, by run and session.
    fn pairs(&self) -> HashMap<SessionKey, Pairs> {
        let mut pairs: HashMap<SessionKey, Pairs> = HashMap::new();
        for (run, answers) in self.runs.iter().chain(&self.base).enumerate() {
            for (of, answer) in answers {
                if let Some(recorded) = self.recorded.get(&of.exchange) {
                    pairs.entry((run, answer.session.0)).or_default().add(recorded, answer);
                }
            }
        }
        pairs
    }

    /// What differs between answers of the same target to the same request: in the same copy of two runs, and in two
    /// copies of one run.
    fn noise(&self, pairs: &HashMap<SessionKey, Pairs>, learned_from: &mut u64) -> Noise {
        let mut noise = Noise::default();
        let none = Pairs::default();
        let of = |run: usize, answer: &Exchange| pairs.get(&(run, answer.session.0)).unwrap_or(&none);
        let mut learn =
            |(run, one): (usize, &Exchange), (other_run, other): (usize, &Exchange), exchange: u64| {
                let Some(recorded) = self.recorded.get(&exchange) else { return };
                let route = route_of(&recorded.request.method, &recorded.request.target);
                let sides = Sides { before: of(run, one), now: of(other_run, other) };
                noise.learn(&route, &differences(one, other, sides));
                *learned_from += 1;
            };
        for (run, answers) in self.runs.iter().enumerate() {
            let mut last: Option<(&Repeated, &Exchange)> = None;
            for (of, answer) in answers {
                if let Some((before, other)) = last.filter(|(before, _)| before.exchange == of.exchange) {
                    learn((run, other), (run, answer), before.exchange);
                }
                last = Some((of, answer));
            }
        }
        if let Some((first, others)) = self.runs.split_first() {
            for (number, other) in others.iter().enumerate() {
                for (of, answer) in first {
                    if let Some(again) = other.get(of) {
                        learn((0, answer), (number + 1, again), of.exchange);
                    }
                }
            }
        }
        noise
    }
}

/// Counts a difference in its class; `false` when there are too many.
fn count(classes: &mut Classes, key: (String, What, String), one: &Difference, example: Repeated) -> bool {
    if !classes.contains_key(&key) && classes.len() >= MAX_CLASSES {
        return false;
    }
    let (route, what, place) = key.clone();
    let class = classes.entry(key).or_insert_with(|| Class {
        route,
        what,
        place,
        count: 0,
        before: one.before.clone(),
        now: one.now.clone(),
        example,
    });
    class.count += 1;
    true
}

fn sorted(classes: Classes) -> Vec<Class> {
    let mut classes: Vec<Class> = classes.into_values().collect();
    classes.sort_by_key(|class| std::cmp::Reverse(class.count));
    classes
}
