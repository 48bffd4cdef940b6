//! Names the route of a request: its method and the shape of its path.
//!
//! `GET /product/4711?ref=a` becomes `GET /product/{}`. A path segment that looks like an identifier (a
//! number, a UUID, a long hexadecimal or mixed token) is replaced; the query is left out. The number of
//! routes in one file is bounded: what comes after the limit is counted under [`OTHER_ROUTE`].

mod finder;
mod names;
mod pattern;

use std::collections::HashMap;

pub use finder::{RouteFinder, RouteTemplate};
pub use names::{NamedRoute, RouteNames};
pub use pattern::RoutePattern;

/// The most routes that are told apart, [`OTHER_ROUTE`] not counted.
pub const MAX_ROUTES: usize = 64;

/// The name of all routes beyond the limit.
pub const OTHER_ROUTE: &str = "other";

/// Paths are cut to this many segments for their name.
const MAX_SEGMENTS: usize = 8;

/// The route of a request with `method` and `target`.
pub fn route_of(method: &[u8], target: &[u8]) -> String {
    let mut name = String::new();
    route_into(&mut name, method, target);
    name
}

/// The same, at the end of `name`.
pub fn route_into(name: &mut String, method: &[u8], target: &[u8]) {
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    let path = &target[..end];
    // The absolute form names scheme and authority before the path.
    let path = match path.contains(&b':').then(|| find(path, b"://")).flatten() {
        Some(at) => {
            let rest = &path[at + 3..];
            &rest[rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len())..]
        }
        None => path,
    };
    name.push_str(&String::from_utf8_lossy(method));
    name.push(' ');
    let mut segments = path.split(|&byte| byte == b'/').skip(1);
    let mut any = false;
    for segment in segments.by_ref().take(MAX_SEGMENTS) {
        any = true;
        name.push('/');
        if is_identifier(segment) {
            name.push_str("{}");
        } else {
            name.push_str(&String::from_utf8_lossy(segment));
        }
    }
    if segments.next().is_some() {
        name.push_str("/…");
    } else if !any {
        name.push_str(if path.is_empty() { "/" } else { "*" });
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Whether a path segment looks like one of many: a number, or a token that holds digits and is long.
fn is_identifier(segment: &[u8]) -> bool {
    let digits = segment.iter().filter(|byte| byte.is_ascii_digit()).count();
    let token = segment.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let stem = segment.split(|&byte| byte == b'.').next().unwrap_or_default();
    let numbered_file = stem.len() < segment.len() && !stem.is_empty() && stem.iter().all(u8::is_ascii_digit);
    (digits > 0 && digits == segment.len()) || numbered_file || (token && digits >= 4 && segment.len() >= 16)
        // short ids with a number at the end, like `p1234` or `sku-1234`
        || (token && digits >= 3 && segment.iter().rev().take(3).all(u8::is_ascii_digit) && !is_version(segment))
}

fn is_version(segment: &[u8]) -> bool {
    segment.first().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'v')) && segment.len() <= 3
}

/// Numbers routes in the order in which they are met, up to the limit.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    numbers: HashMap<String, u16>,
    names: Vec<String>,
}

impl Routes {
    /// With none known.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of the route called `name`; that of [`OTHER_ROUTE`] once the limit is reached.
    pub fn number(&mut self, name: &str) -> u16 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let name = if self.names.len() < MAX_ROUTES { name } else { OTHER_ROUTE };
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = u16::try_from(self.names.len()).expect("the limit of routes is far below 65536");
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// The names, in the order of their numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_folded_and_words_are_kept() {
        for (method, target, expected) in [
            ("GET", "/", "GET /"),
            ("GET", "/product/4711?ref=a", "GET /product/{}"),
            ("GET", "/img/12.webp", "GET /img/{}"),
            ("POST", "/cart/550e8400-e29b-41d4-a716-446655440000/items", "POST /cart/{}/items"),
            ("GET", "/api/v2/search", "GET /api/v2/search"),
            ("GET", "/product/p1234", "GET /product/{}"),
            ("GET", "http://shop.test/a/b", "GET /a/b"),
            ("OPTIONS", "*", "OPTIONS *"),
            ("GET", "/css/main.css", "GET /css/main.css"),
        ] {
            assert_eq!(route_of(method.as_bytes(), target.as_bytes()), expected);
        }
    }

    #[test]
    fn routes_beyond_the_limit_are_counted_together() {
        let mut routes = Routes::new();
        for at in 0..MAX_ROUTES + 10 {
            routes.number(&format!("GET /{at}x"));
        }
        assert_eq!(routes.names().len(), MAX_ROUTES + 1);
        assert_eq!(routes.names()[MAX_ROUTES], OTHER_ROUTE);
        assert_eq!(routes.number("GET /0x"), 0);
    }
}
