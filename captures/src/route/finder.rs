//! Finds the routes of a service by what was asked: a place in a path where many different words stand is an
//! identifier, whatever the words look like. What somebody taught comes first.

use std::collections::BTreeMap;
use std::fmt;

use super::route_of;

/// More different words than these at one place are identifiers.
const MOST_WORDS: usize = 32;
/// Words that are remembered; beyond, new ones are not learnt from.
const MOST_NODES: usize = 50_000;

/// A route as somebody teaches it: `/product/{slug}`, with methods in front or for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTemplate {
    methods: Vec<String>,
    path: String,
}

impl RouteTemplate {
    /// Reads a template: `[METHOD,… ]/a/{name}/b`.
    ///
    /// # Errors
    /// When it is none; says what to write.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let wrong =
            || format!("{typed:?} is no route; give e.g. '/product/{{slug}}' or 'GET /p/{{id}}/items'");
        let (methods, path) = typed.trim().rsplit_once(' ').unwrap_or(("", typed.trim()));
        if !path.starts_with('/') || path.contains(['?', '#']) {
            return Err(wrong());
        }
        let methods: Vec<String> =
            methods.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        if !methods.iter().all(|method| method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-'))
        {
            return Err(wrong());
        }
        Ok(Self { methods, path: path.to_owned() })
    }

    /// The name of a request's route, when the template fits it.
    fn name(&self, method: &str, path: &str) -> Option<String> {
        if !self.methods.is_empty() && !self.methods.iter().any(|known| known == method) {
            return None;
        }
        let (mut ours, mut theirs) = (self.path.split('/'), path.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return Some(format!("{method} {}", self.path)),
                (Some(our), Some(their)) => {
                    let is_any = our.starts_with('{') && our.ends_with('}') && !their.is_empty();
                    if !is_any && our != their {
                        return None;
                    }
                }
                _ => return None,
            }
        }
    }
}

impl fmt::Display for RouteTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.methods.is_empty() {
            write!(f, "{}", self.path)
        } else {
            write!(f, "{} {}", self.methods.join(","), self.path)
        }
    }
}

/// Learns the routes of a service.
#[derive(Clone, Debug, Default)]
pub struct RouteFinder {
    taught: Vec<RouteTemplate>,
    root: Node,
    nodes: usize,
    is_settled: bool,
}

/// A place in a path, with the words that stand behind it.
#[derive(Clone, Debug, Default)]
struct Node {
    behind: BTreeMap<String, Self>,
}

impl RouteFinder {
    /// With these templates known.
    pub fn new(taught: Vec<RouteTemplate>) -> Self {
        Self { taught, ..Self::default() }
    }

    /// Learns from a request.
    pub fn learn(&mut self, method: &[u8], target: &[u8]) {
        if self.taught_name(method, target).is_some() {
            return;
        }
        let mut node = &mut self.root;
        for word in route_of(method, target).split('/') {
            if !node.behind.contains_key(word) {
                if self.nodes >= MOST_NODES {
                    return;
                }
                self.nodes += 1;
            }
            node = node.behind.entry(word.to_owned()).or_default();
        }
    }

    /// Everything was learnt.
    pub fn settle(&mut self) {
        // The first word is the method.
        for method in self.root.behind.values_mut() {
            method.fold();
        }
        self.is_settled = true;
    }

    /// The name of a request's route.
    pub fn name(&self, method: &[u8], target: &[u8]) -> String {
        if let Some(name) = self.taught_name(method, target) {
            return name;
        }
        let plain = route_of(method, target);
        let mut name = String::with_capacity(plain.len());
        let mut node = Some(&self.root);
        for (at, word) in plain.split('/').enumerate() {
            let known = node.and_then(|node| node.behind.get(word));
            let any = node.and_then(|node| node.behind.get("{}"));
            let is_folded = known.is_none() && any.is_some();
            if at > 0 {
                name.push('/');
            }
            name.push_str(if is_folded { "{}" } else { word });
            node = known.or(any);
        }
        name
    }

    fn taught_name(&self, method: &[u8], target: &[u8]) -> Option<String> {
        if self.taught.is_empty() {
            return None;
        }
        let path = target.split(|&byte| byte == b'?' || byte == b'#').next().unwrap_or_default();
        let (method, path) = (String::from_utf8_lossy(method), String::from_utf8_lossy(path));
        let path = path.find("://").map_or(path.as_ref(), |at| {
            path[at + 3..].find('/').map_or("/", |slash| &path[at + 3 + slash..])
        });
        self.taught.iter().find_map(|template| template.name(&method, path))
    }
}

impl Node {
    fn fold(&mut self) {
        if self.behind.len() > MOST_WORDS {
            let mut all = Self::default();
            for (_, node) in std::mem::take(&mut self.behind) {
                all.merge(node);
            }
            self.behind.insert("{}".to_owned(), all);
        }
        for node in self.behind.values_mut() {
            node.fold();
        }
    }

    fn merge(&mut self, other: Self) {
        for (word, node) in other.behind {
            self.behind.entry(word).or_default().merge(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_with_many_words_is_an_identifier() {
        let mut finder = RouteFinder::default();
        let slug =
            |at: u8| format!("/shop/{}{}/reviews", char::from(b'a' + at / 26), char::from(b'a' + at % 26));
        (0..40).for_each(|at| finder.learn(b"GET", slug(at).as_bytes()));
        ["/about", "/api/v2/x"].iter().for_each(|path| finder.learn(b"GET", path.as_bytes()));
        finder.settle();
        let check =
            |target: &str, expected: &str| assert_eq!(finder.name(b"GET", target.as_bytes()), expected);
        check("/shop/ab/reviews?x=1", "GET /shop/{}/reviews");
        check("/shop/never-seen/reviews", "GET /shop/{}/reviews");
        check("/about", "GET /about");
        check("/api/v2/x", "GET /api/v2/x");
        check("/", "GET /");
    }

    #[test]
    fn what_was_taught_comes_first() {
        let taught =
            ["/p/{slug}", "POST,PUT /p/{slug}/{part}"].map(|typed| RouteTemplate::parse(typed).unwrap());
        let finder = RouteFinder::new(taught.to_vec());
        assert_eq!(finder.name(b"GET", b"/p/red-shoes?x=1"), "GET /p/{slug}");
        assert_eq!(finder.name(b"PUT", b"http://h/p/red-shoes/size"), "PUT /p/{slug}/{part}");
        assert_eq!(finder.name(b"GET", b"/p/red-shoes/size"), "GET /p/red-shoes/size");
        for wrong in ["", "p/{x}", "get /p", "/p?x=1"] {
            assert!(RouteTemplate::parse(wrong).is_err(), "{wrong}");
        }
    }
}
