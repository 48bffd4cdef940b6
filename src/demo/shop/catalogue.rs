//! What the shop sells: a seeded catalogue, and the search through it.
//!
//! The search is a plain scan over every product, on purpose: it is the shop's real work.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many products there are.
pub(crate) const PRODUCTS: u32 = 1_200;

/// The categories, as they stand in addresses.
pub(crate) const CATEGORIES: [&str; 8] =
    ["sails", "ropes", "compasses", "lanterns", "anchors", "charts", "oilskins", "galley"];

const QUALITIES: [&str; 12] = [
    "weathered",
    "brass",
    "folding",
    "heavy",
    "northern",
    "tarred",
    "polished",
    "little",
    "double",
    "storm",
    "harbour",
    "hand-made",
];
const NOUNS: [&str; 14] = [
    "lamp", "jib", "halyard", "sextant", "kettle", "grapnel", "atlas", "coat", "bell", "pulley", "buoy",
    "log", "whistle", "chest",
];
const PHRASES: [&str; 14] = [
    "made for long nights on watch",
    "tested in salt water for a whole winter",
    "as used by pilots on the outer banks",
    "with a spare part for the part that always breaks",
    "light enough to be carried ashore in one hand",
    "finished by hand and signed by whoever finished it",
    "keeps its shape when the weather does not",
    "comes with a tin of wax and an honest manual",
    "older than the harbour master and in better repair",
    "fits every boat between four and forty feet",
    "never known to have failed before supper",
    "dries overnight beside a small stove",
    "can be mended at sea with what is in your pockets",
    "measured twice, cut once and oiled often",
];

/// One product.
pub(crate) struct Product {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) category: &'static str,
    pub(crate) cents: u32,
    pub(crate) description: String,
    pub(crate) reviews: Vec<Review>,
}

/// What a customer wrote.
pub(crate) struct Review {
    pub(crate) stars: u8,
    pub(crate) text: String,
}

/// All products.
pub(crate) struct Catalogue {
    products: Vec<Product>,
}

impl Catalogue {
    /// The catalogue that belongs to `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        Self { products: (1..=PRODUCTS).map(|id| Product::invent(id, &mut chance)).collect() }
    }

    /// The product with this number.
    pub(crate) fn product(&self, id: u32) -> Option<&Product> {
        self.products.get(usize::try_from(id.checked_sub(1)?).ok()?)
    }

    /// The products of a category, in the order of their numbers.
    pub(crate) fn in_category(&self, category: &str) -> impl Iterator<Item = &Product> {
        self.products.iter().filter(move |product| product.category == category)
    }

    /// A choice for the front page that changes with `day`.
    pub(crate) fn featured(&self, day: u32) -> impl Iterator<Item = &Product> {
        self.products.iter().skip(usize::try_from(day % 40).unwrap_or(0)).step_by(67)
    }

    /// The products that name most of the words of `question`, best first.
    pub(crate) fn search(&self, question: &str, limit: usize) -> Vec<&Product> {
        let question = question.to_lowercase();
        let words: Vec<&str> = question.split_whitespace().take(4).collect();
        let mut hits: Vec<(usize, &Product)> = self
            .products
            .iter()
            .map(|product| (words.iter().map(|word| product.weight_of(word)).sum::<usize>(), product))
            .filter(|(weight, _)| *weight > 0)
            .collect();
        hits.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.id.cmp(&b.1.id)));
        hits.into_iter().take(limit).map(|(_, product)| product).collect()
    }
}

impl Product {
    fn invent(id: u32, chance: &mut ChaCha8Rng) -> Self {
        let quality = one_of(&QUALITIES, chance);
        let noun = one_of(&NOUNS, chance);
        let description = (0..10).map(|_| one_of(&PHRASES, chance)).collect::<Vec<_>>().join(", ");
        let reviews = (0..chance.random_range(3..9))
            .map(|_| Review {
                stars: chance.random_range(2..=5),
                text: format!(
                    "{}, {}, {}.",
                    one_of(&PHRASES, chance),
                    one_of(&PHRASES, chance),
                    one_of(&PHRASES, chance)
                ),
            })
            .collect();
        Self {
            id,
            name: format!("{quality} {noun} no. {id}"),
            category: one_of(&CATEGORIES, chance),
            cents: chance.random_range(490..48_900),
            description,
            reviews,
        }
    }

    fn weight_of(&self, word: &str) -> usize {
        10 * self.name.matches(word).count()
            + self.description.matches(word).count()
            + self.reviews.iter().map(|review| review.text.matches(word).count()).sum::<usize>()
    }
}

fn one_of(words: &[&'static str], chance: &mut ChaCha8Rng) -> &'static str {
    words.choose(chance).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_sells_the_same_things() {
        let (one, other) = (Catalogue::new(7), Catalogue::new(7));

        assert_eq!(one.product(1).map(|p| &p.description), other.product(1).map(|p| &p.description));
        assert!(one.product(0).is_none() && one.product(PRODUCTS + 1).is_none());
    }

    #[test]
    fn a_search_puts_names_before_descriptions() {
        let catalogue = Catalogue::new(7);

        let found = catalogue.search("lamp", 5);

        assert_eq!(found.len(), 5);
        assert!(found[0].name.contains("lamp"));
        assert!(catalogue.search("zeppelin", 5).is_empty());
    }
}
