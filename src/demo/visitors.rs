//! Who comes to the shop, when, and what each means to do: seeded plans, no socket.
//!
//! Visitors arrive at random moments, with a mild wave over the day and one small rush (a newsletter);
//! they browse, search, look, put things into the cart, log in and order, and think in between. The shop
//! is not empty when the plan begins: whoever came earlier is met in the middle of the visit, so that the
//! load is there from the first second.
//!
//! A plan says what a visitor does and how long he thinks before it; when he really does it depends on
//! the answers.

use std::f64::consts::TAU;
use std::time::Duration;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::shop::catalogue::{CATEGORIES, PRODUCTS};
use super::shop::password_of;

/// Visitors a second, in the mean.
const ARRIVALS_PER_SECOND: f64 = 3.9;
/// How far the wave of arrivals goes up and down: it ebbs in the middle.
const WAVE_RATIO: f64 = 0.12;
/// How many visitors the newsletter sends, within one second.
const RUSH: usize = 5;
/// Where in the plan the newsletter goes out: near the ebb, so that every quarter is about as busy.
const RUSH_AT_RATIO: f64 = 0.6;
/// The longest visit, from which earlier arrivals are counted.
const LONGEST_VISIT: Duration = Duration::from_secs(25);

const QUESTIONS: [&str; 12] = [
    "brass lamp",
    "storm coat",
    "kettle",
    "folding sextant",
    "rope",
    "spare part",
    "tin of wax",
    "little bell",
    "northern atlas",
    "stove",
    "anchor",
    "hand-made chest",
];

/// One visitor's visit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Visit {
    /// When it begins, from the start of the plan.
    pub(crate) arrives: Duration,
    /// Which of a few common browsers.
    pub(crate) browser: usize,
    /// What the visitor does, in order.
    pub(crate) steps: Vec<Step>,
}

/// One request of a visit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// How long the visitor thinks before it.
    pub(crate) think: Duration,
    pub(crate) ask: Ask,
}

/// A request as the shop understands it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    /// Content type and body.
    pub(crate) body: Option<(&'static str, String)>,
}

/// All visits that fall into `span`, in order of arrival.
pub(crate) fn plan(seed: u64, span: Duration) -> Vec<Visit> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed_0f75);
    let mut visits: Vec<Visit> = arrivals(span, &mut chance)
        .into_iter()
        .filter_map(|moment| Visit::invent(&mut chance).begun_at(moment))
        .collect();
    visits.sort_by_key(|visit| visit.arrives);
    visits
}

/// Seconds from the start of the plan; negative for those who came before.
///
/// Every visitor has a time slot of his own and comes at any moment of it: random as seen from one
/// moment to the next, even over some seconds. The wave bends the slots.
fn arrivals(span: Duration, chance: &mut ChaCha8Rng) -> Vec<f64> {
    let (first, last) = (-LONGEST_VISIT.as_secs_f64(), span.as_secs_f64());
    let slot = 1.0 / ARRIVALS_PER_SECOND;
    let wave = |moment: f64| moment - WAVE_RATIO * last / TAU * (TAU * moment / last).sin();
    let mut moments: Vec<f64> = std::iter::successors(Some(first), |moment| Some(moment + slot))
        .take_while(|moment| *moment < last)
        .map(|moment| wave(moment + slot * chance.random::<f64>()))
        .collect();
    moments.extend((0..RUSH).map(|_| RUSH_AT_RATIO * last + chance.random::<f64>()));
    moments.retain(|moment| *moment < last);
    moments
}

impl Visit {
    /// A visit of one of four kinds.
    fn invent(chance: &mut ChaCha8Rng) -> Self {
        let mut visit =
            Self { arrives: Duration::ZERO, browser: chance.random_range(0..4), steps: Vec::new() };
        visit.get("/", chance);
        visit.style();
        match chance.random_range(0..100) {
            0..15 => visit.get(&a_product(chance), chance),
            15..55 => visit.browse(3..8, chance),
            55..80 => visit.search(chance),
            _ => visit.buy(chance),
        }
        visit
    }

    fn browse(&mut self, pages: std::ops::Range<u32>, chance: &mut ChaCha8Rng) {
        for _ in 0..chance.random_range(pages) {
            if chance.random_bool(0.35) {
                let category = CATEGORIES.choose(chance).copied().unwrap_or_default();
                self.get(&format!("/category/{category}"), chance);
            } else {
                self.get(&a_product(chance), chance);
            }
        }
    }

    fn search(&mut self, chance: &mut ChaCha8Rng) {
        for _ in 0..chance.random_range(1..4) {
            let question = QUESTIONS.choose(chance).copied().unwrap_or_default().replace(' ', "+");
            self.get(&format!("/search?q={question}"), chance);
            self.browse(1..3, chance);
        }
        if chance.random_bool(0.3) {
            self.add(chance);
        }
    }

    fn buy(&mut self, chance: &mut ChaCha8Rng) {
        self.browse(1..4, chance);
        for _ in 0..chance.random_range(1..4) {
            self.get(&a_product(chance), chance);
            self.add(chance);
        }
        self.get("/cart", chance);
        let account = format!("visitor{}", chance.random_range(1..500));
        let credentials = format!("username={account}&password={}", password_of(&account));
        self.post("/login", "application/x-www-form-urlencoded", credentials, chance);
        self.step(Duration::ZERO, Ask { method: "GET", target: "/cart".into(), body: None });
        if chance.random_bool(0.7) {
            let form = "address=Pier+4&payment=on+delivery".to_owned();
            self.post("/checkout", "application/x-www-form-urlencoded", form, chance);
        }
    }

    fn add(&mut self, chance: &mut ChaCha8Rng) {
        let (product, quantity) = (chance.random_range(1..=PRODUCTS), chance.random_range(1..4));
        let item = format!("{{\"product\":{product},\"quantity\":{quantity}}}");
        self.post("/cart/items", "application/json", item, chance);
    }

    fn get(&mut self, target: &str, chance: &mut ChaCha8Rng) {
        self.step(a_thought(chance), Ask { method: "GET", target: target.to_owned(), body: None });
    }

    fn post(&mut self, target: &str, kind: &'static str, body: String, chance: &mut ChaCha8Rng) {
        let ask = Ask { method: "POST", target: target.to_owned(), body: Some((kind, body)) };
        self.step(a_thought(chance), ask);
    }

    /// A browser asks for the style sheet as soon as it has its first page.
    fn style(&mut self) {
        let ask = Ask { method: "GET", target: "/static/style.css".to_owned(), body: None };
        self.step(Duration::from_millis(15), ask);
    }

    fn step(&mut self, think: Duration, ask: Ask) {
        self.steps.push(Step { think, ask });
    }

    /// This visit begun at `moment`: what lies before the plan's start has happened already. `None` when
    /// all of it has.
    fn begun_at(mut self, moment: f64) -> Option<Self> {
        let mut begins = moment;
        let past = self
            .steps
            .iter()
            .take_while(|step| {
                begins += step.think.as_secs_f64();
                begins < 0.0
            })
            .count();
        self.steps.drain(..past);
        let first = self.steps.first_mut()?;
        if moment < 0.0 {
            first.think = Duration::ZERO;
            self.arrives = Duration::from_secs_f64(begins.max(0.0));
        } else {
            self.arrives = Duration::from_secs_f64(moment);
        }
        Some(self)
    }
}

fn a_product(chance: &mut ChaCha8Rng) -> String {
    // Some products are much in demand: a quarter of the views goes to the first forty.
    let id = if chance.random_bool(0.25) {
        chance.random_range(1..=40)
    } else {
        chance.random_range(1..=PRODUCTS)
    };
    format!("/product/{id}")
}

/// Skewed as real ones are: most are short, some are long.
fn a_thought(chance: &mut ChaCha8Rng) -> Duration {
    let luck: f64 = chance.random();
    Duration::from_secs_f64((0.45 - 0.75 * (1.0 - luck).ln()).min(4.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each request would be made if answers took no time, in seconds.
    fn moments(visits: &[Visit]) -> Vec<f64> {
        let mut moments = Vec::new();
        for visit in visits {
            let mut moment = visit.arrives;
            for step in &visit.steps {
                moment += step.think;
                moments.push(moment.as_secs_f64());
            }
        }
        moments
    }

    #[test]
    fn the_same_seed_plans_the_same_visits() {
        let span = Duration::from_secs(20);

        assert_eq!(plan(3, span), plan(3, span));
        assert_ne!(plan(3, span), plan(4, span));
    }

    #[test]
    fn the_load_is_there_from_the_first_second_to_the_last() {
        for seed in 1..20 {
            let moments = moments(&plan(seed, Duration::from_secs(20)));
            let rate_within =
                |from: f64| moments.iter().filter(|m| (from..from + 4.0).contains(*m)).count() / 4;

            for from in [0.0, 4.0, 8.0, 12.0, 16.0] {
                assert!((20..50).contains(&rate_within(from)), "seed {seed}, {from}: {}", rate_within(from));
            }
        }
    }

    #[test]
    fn every_route_is_visited() {
        let visits = plan(1, Duration::from_secs(20));

        for route in
            ["/", "/category/", "/product/", "/search?", "/login", "/cart/items", "/checkout", "/static/"]
        {
            let asked =
                visits.iter().flat_map(|visit| &visit.steps).any(|step| step.ask.target.starts_with(route));
            assert!(asked, "{route}");
        }
    }
}
