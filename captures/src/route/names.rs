//! Remembers the routes of requests that were asked for lately: the same few targets are asked for over and over.

use super::route_into;

/// So many requests are remembered, each in the one place that its target leaves it.
const PLACES: usize = 512;
/// Longer targets are not remembered.
const LONGEST: usize = 256;

/// Names routes like [`super::route_of`], and remembers the names.
#[derive(Clone, Debug)]
pub struct RouteNames {
    places: Vec<NamedRoute>,
}

/// A request, and its route.
#[derive(Clone, Debug, Default)]
pub struct NamedRoute {
    method: Vec<u8>,
    target: Vec<u8>,
    /// The name of its route.
    pub name: String,
    /// For the caller, who may note here which number it gave the route. Of a request that was not remembered: none.
    pub number: Option<u32>,
}

impl Default for RouteNames {
    fn default() -> Self {
        // One more for what is not to be remembered.
        Self { places: vec![NamedRoute::default(); PLACES + 1] }
    }
}

impl RouteNames {
    /// The route of a request with `method` and `target`.
    pub fn of(&mut self, method: &[u8], target: &[u8]) -> &mut NamedRoute {
        let is_short = target.len() <= LONGEST && method.len() <= LONGEST;
        let place = &mut self.places[if is_short { place(target) } else { PLACES }];
        // What names no method at all was never put there.
        if !is_short || place.target != target || place.method != method || method.is_empty() {
            place.name.clear();
            place.number = None;
            route_into(&mut place.name, method, target);
            place.method.clear();
            place.target.clear();
            if is_short {
                place.method.extend_from_slice(method);
                place.target.extend_from_slice(target);
            }
        }
        place
    }
}

/// Where a target is remembered: by its length and its last bytes, in which targets differ most. Whoever makes them
/// meet in one place gets what is asked for all the same, only not faster.
fn place(target: &[u8]) -> usize {
    let mut word = [0; 8];
    let last = &target[target.len().saturating_sub(8)..];
    word[..last.len()].copy_from_slice(last);
    let mixed = (u64::from_le_bytes(word) ^ target.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    usize::try_from(mixed >> 32).unwrap_or(0) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::route_of;

    #[test]
    fn remembered_or_not_a_route_has_its_name() {
        let mut names = RouteNames::default();
        let long = format!("/a/{}/4711", "x".repeat(LONGEST));
        // The first two and the third meet in one place: same length, same end.
        let asked = ["/one/p1234567", "/two/p1234567", "/one/p1234567", "/one/p1234567", "", &long, &long];
        for (method, target) in
            asked.iter().flat_map(|target| [("GET", *target), ("POST", *target), ("", *target)])
        {
            let named = names.of(method.as_bytes(), target.as_bytes());
            assert_eq!(named.name, route_of(method.as_bytes(), target.as_bytes()));
        }
    }

    #[test]
    fn a_number_stays_with_its_request_only() {
        let mut names = RouteNames::default();
        names.of(b"GET", b"/a").number = Some(7);
        assert_eq!(names.of(b"GET", b"/a").number, Some(7));
        assert_eq!(names.of(b"POST", b"/a").number, None);
        assert_eq!(names.of(b"GET", b"/a").number, None);
        let long = [b'/'; LONGEST + 1];
        names.of(b"GET", &long).number = Some(8);
        assert_eq!(names.of(b"GET", &long).number, None);
    }
}
