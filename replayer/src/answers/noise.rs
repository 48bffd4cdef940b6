//! Learns what differs between answers of the same target to the same request: noise, not a change.

use std::collections::{BTreeMap, BTreeSet};

use crate::answers::difference::{Difference, WHOLE, What, generic};
use crate::answers::page::parent;
use crate::answers::words::{is_prose, words};

/// The most places that are known to be noise.
const MAX_PLACES: usize = 100_000;
/// An element whose text varies at so many places varies at all places of its kind.
const ALIKE: usize = 2;

/// What is noise, by route and place.
#[derive(Debug, Default)]
pub(crate) struct Noise {
    /// Words of texts, by exact place.
    words: BTreeSet<(String, String, u32)>,
    /// The same by place without numbers: at which exact places it was seen.
    alike: BTreeMap<(String, String, u32), BTreeSet<String>>,
    /// Places below which everything varies.
    trees: BTreeSet<(String, String)>,
    /// Differences that nothing was learned from, because too many places were known.
    pub(crate) overflow: u64,
}

impl Noise {
    /// Takes in what differs between two answers of one target.
    pub(crate) fn learn(&mut self, route: &str, found: &[Difference]) {
        for one in found {
            if self.words.len() + self.trees.len() >= MAX_PLACES {
                self.overflow += 1;
                continue;
            }
            match one.what {
                What::Value => self.learn_value(route, one, found),
                // A target that sometimes refuses is not one that answers alike.
                What::Status => {}
                What::Header => {
                    self.words.insert((route.to_owned(), one.place.clone(), WHOLE));
                }
                _ => {
                    self.trees.insert((route.to_owned(), generic(&one.place)));
                    if let Some(list) = in_list(&one.place) {
                        self.trees.insert((route.to_owned(), list.to_owned()));
                    }
                    // Something else in its place: whatever is shown there is chosen anew each time.
                    let replaced = found.iter().any(|other| {
                        matches!((one.what, other.what), (What::Gone, What::New))
                            && parent(&other.place) == parent(&one.place)
                    });
                    let place = parent(&one.place);
                    if replaced && place.starts_with("page ") && place.matches('/').count() >= 2 {
                        self.trees.insert((route.to_owned(), generic(place)));
                    }
                }
            }
        }
    }

    fn learn_value(&mut self, route: &str, one: &Difference, found: &[Difference]) {
        let all = words(&one.now).len();
        let changed =
            found.iter().filter(|other| other.what == What::Value && other.place == one.place).count();
        let is_prose = words(&one.now).get(one.word as usize).is_some_and(|word| is_prose(word));
        // Where words of prose vary, or most of the words, the text is another one each time.
        let word = if is_prose || changed * 4 >= all { WHOLE } else { one.word };
        self.words.insert((route.to_owned(), one.place.clone(), word));
        let key = (route.to_owned(), generic(&one.place), word);
        let seen = self.alike.entry(key).or_default();
        if seen.len() < ALIKE {
            seen.insert(one.place.clone());
        }
    }

    /// Whether a difference is one that two answers of the same target show as well.
    pub(crate) fn covers(&self, route: &str, one: &Difference) -> bool {
        let place = generic(&one.place);
        let mut above = place.as_str();
        loop {
            if self.trees.contains(&(route.to_owned(), above.to_owned())) {
                return true;
            }
            match above.rfind(['/', '@']) {
                Some(at) => above = &above[..at],
                None => break,
            }
        }
        if one.what.is_structure() || one.what == What::Status {
            return false;
        }
        [one.word, WHOLE].into_iter().any(|word| {
            self.words.contains(&(route.to_owned(), one.place.clone(), word))
                || self
                    .alike
                    .get(&(route.to_owned(), place.clone(), word))
                    .is_some_and(|seen| seen.len() >= ALIKE)
        })
    }

    /// The places that are noise, by route.
    pub(crate) fn places(&self) -> BTreeSet<(String, String)> {
        let words = self.words.iter().map(|(route, place, _)| (route.clone(), generic(place)));
        words.chain(self.trees.iter().cloned()).collect()
    }
}

/// The list in whose elements a JSON place lies.
fn in_list(place: &str) -> Option<&str> {
    let at = place.find("/[]")?;
    place.starts_with("json ").then(|| &place[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(place: &str, word: u32, now: &str) -> Difference {
        Difference { word, ..Difference::new(What::Value, place, "", now) }
    }

    #[test]
    fn a_word_of_a_text_is_noise_and_the_others_are_not() {
        let mut noise = Noise::default();
        noise.learn("GET /", &[value("json /made", 2, "at 1234 by 5 of 6")]);
        assert!(noise.covers("GET /", &value("json /made", 2, "at 1235 by 5 of 6")));
        assert!(!noise.covers("GET /", &value("json /made", 6, "at 1235 by 7 of 6")));
        assert!(!noise.covers("GET /other", &value("json /made", 2, "at 1235 by 5 of 6")));
    }

    #[test]
    fn where_prose_varies_the_text_is_another_each_time() {
        let mut noise = Noise::default();
        noise.learn("GET /", &[value("json /ad", 4, "Buy now cheap shoes of one kind or another")]);
        assert!(noise.covers("GET /", &value("json /ad", WHOLE, "Something else")));
    }

    #[test]
    fn all_rows_of_a_table_vary_when_two_do() {
        let mut noise = Noise::default();
        let rows = ["page table/tr/td:2/text", "page table/tr:2/td:2/text", "page table/tr:9/td:2/text"];
        noise.learn("GET /", &[value(rows[0], 0, "17")]);
        assert!(!noise.covers("GET /", &value(rows[2], 0, "18")));
        noise.learn("GET /", &[value(rows[1], 0, "17")]);
        assert!(noise.covers("GET /", &value(rows[2], 0, "18")));
        assert!(!noise.covers("GET /", &value("page table/tr:9/td:3/text", 0, "18")));
    }

    #[test]
    fn below_a_part_that_comes_and_goes_everything_is_noise() {
        let mut noise = Noise::default();
        noise.learn("GET /", &[Difference::new(What::Gone, "json /promo", "{}", "")]);
        assert!(noise.covers("GET /", &value("json /promo/text", 0, "x")));
        assert!(!noise.covers("GET /", &value("json /price", 0, "5")));
        noise.learn("GET /", &[Difference::new(What::New, "json /ads/[]/video", "", "x")]);
        assert!(noise.covers("GET /", &Difference::new(What::Length, "json /ads", "1", "2")));
    }
}
