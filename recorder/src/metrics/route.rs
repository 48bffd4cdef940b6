//! Numbers the routes that are told apart, without an allocation for one that is known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use captures::{MAX_ROUTES, route_into};

/// A longer segment of a path is no word of a route.
const LONGEST_WORD: usize = 40;

/// The routes of all workers.
#[derive(Debug, Default)]
pub(super) struct RouteTable {
    names: Mutex<Vec<String>>,
}

impl RouteTable {
    /// The names, in the order of their numbers.
    pub(super) fn names(&self) -> Vec<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of a route; one that is not known gets one when it `may_enter` and there is room.
    fn number(&self, name: &str, may_enter: bool) -> Option<usize> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.iter().position(|known| known == name);
        if known.is_none() && may_enter && names.len() < MAX_ROUTES {
            names.push(name.to_owned());
            return Some(names.len() - 1);
        }
        known
    }
}

/// The routes that one worker has met.
#[derive(Debug, Default)]
pub(super) struct KnownRoutes {
    table: Arc<RouteTable>,
    numbers: HashMap<String, usize>,
    /// Room for a name.
    name: String,
}

impl KnownRoutes {
    pub(super) fn of(table: Arc<RouteTable>) -> Self {
        Self { table, ..Self::default() }
    }

    /// The number of a request's route; `None` when it is one of the others.
    pub(super) fn number(&mut self, method: &str, target: &[u8], may_enter: bool) -> Option<usize> {
        self.name.clear();
        route_into(&mut self.name, method.as_bytes(), target);
        if !self.name.split([' ', '/']).all(is_word) {
            self.name = self.name.split('/').map(plain).collect::<Vec<_>>().join("/");
        }
        if let Some(&number) = self.numbers.get(self.name.as_str()) {
            return Some(number);
        }
        // A full table does not change any more: it is asked no more once all of it is known.
        if self.numbers.len() >= MAX_ROUTES {
            return None;
        }
        let number = self.table.number(&self.name, may_enter);
        if let Some(number) = number {
            self.numbers.insert(self.name.clone(), number);
        }
        number
    }
}

fn is_word(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    segment.len() <= LONGEST_WORD && (segment.bytes().all(plain) || matches!(segment, "{}" | "*" | "…"))
}

/// A segment that may hold anything (a matrix parameter, an encoded query) is no word of ours to show.
fn plain(segment: &str) -> &str {
    if segment.split(' ').all(is_word) { segment } else { "{}" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_of_a_path_are_shown() {
        let table = Arc::new(RouteTable::default());
        let mut routes = KnownRoutes::of(Arc::clone(&table));
        for target in [
            "/cart;jsessionid=A1B2/items?token=s3cret",
            "/search%3Fq=s3cret",
            "/a\u{1b}[31m/b",
            "/caf\u{e9}",
            "/product/4711",
        ] {
            routes.number("GET", target.as_bytes(), true);
        }
        assert_eq!(table.names(), ["GET /{}/items", "GET /{}", "GET /{}/b", "GET /product/{}"]);
    }

    #[test]
    fn a_route_enters_by_an_answer_that_went_well() {
        let mut routes = KnownRoutes::default();
        assert_eq!(routes.number("GET", b"/wp-admin", false), None);
        assert_eq!(routes.number("GET", b"/shop", true), Some(0));
        assert_eq!(routes.number("GET", b"/shop", false), Some(0));
    }
}
