//! Which part of a capture is replayed, and how its mix is changed on purpose.
//!
//! A selection is decided once, before the plan is compiled: a stretch of time, routes that are left out,
//! routes that are sent more or less often, and the speed at which recorded time passes.

use std::fmt;
use std::time::Duration;

use captures::{Offset, RoutePattern};

/// The most by which one route may be multiplied.
const MOST_FACTOR: f64 = 1_000.0;

/// What of a capture is replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Only what arrived at this moment of the recording or later.
    pub from: Option<Offset>,
    /// Only what arrived before this moment of the recording.
    pub to: Option<Offset>,
    /// Only the stretch of this length that holds the most requests.
    pub busiest: Option<Duration>,
    /// Only routes that match one of these; all when there are none.
    pub include: Vec<RoutePattern>,
    /// No route that matches one of these.
    pub exclude: Vec<RoutePattern>,
    /// How many times as often routes are sent as they were recorded; the first pattern that matches counts.
    pub mix: Vec<(RoutePattern, f64)>,
    /// How many times as fast recorded time passes: above 1 every user is faster.
    pub speed: f64,
}

impl Selection {
    /// Everything, as it was recorded.
    pub const ALL: Self = Self {
        from: None,
        to: None,
        busiest: None,
        include: Vec::new(),
        exclude: Vec::new(),
        mix: Vec::new(),
        speed: 1.0,
    };

    /// Whether routes of this name are sent at all.
    pub(crate) fn takes(&self, route: &str) -> bool {
        (self.include.is_empty() || self.include.iter().any(|pattern| pattern.matches(route)))
            && !self.exclude.iter().any(|pattern| pattern.matches(route))
    }

    /// Whether it arrived in the stretch from [`Selection::from`] to [`Selection::to`].
    pub(crate) fn covers(&self, arrived: Offset) -> bool {
        self.from.is_none_or(|from| arrived >= from) && self.to.is_none_or(|to| arrived < to)
    }

    /// How many times as often a route is sent.
    pub(crate) fn factor(&self, route: &str) -> f64 {
        self.mix.iter().find(|(pattern, _)| pattern.matches(route)).map_or(1.0, |&(_, factor)| factor)
    }
}

/// Why a piece of text is no change of the mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixError;

impl fmt::Display for MixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is no change of the mix")
    }
}

impl MixError {
    /// What to write instead.
    pub const fn mend(&self) -> &'static str {
        "write ROUTE=Nx with N from 0 to 1000, e.g. 'POST /checkout=3x'"
    }
}

impl std::error::Error for MixError {}

/// Reads `POST /checkout=3x`.
///
/// # Errors
/// When it is not of that form.
pub fn parse_mix(text: &str) -> Result<(RoutePattern, f64), MixError> {
    let (route, factor) = text.rsplit_once('=').ok_or(MixError)?;
    let factor = factor.trim();
    let number: f64 = factor.strip_suffix(['x', 'X']).unwrap_or(factor).parse().map_err(|_| MixError)?;
    if route.trim().is_empty() || !(0.0..=MOST_FACTOR).contains(&number) {
        return Err(MixError);
    }
    Ok((RoutePattern::new(route), number))
}

/// The beginning of the stretch of `length` nanoseconds that holds the most of `arrivals`, which ascend; the
/// first of several.
pub(crate) fn busiest(arrivals: &[u64], length: u64) -> u64 {
    let (mut first, mut most, mut begin) = (0, 0, 0);
    for (at, &arrived) in arrivals.iter().enumerate() {
        while arrivals[first].saturating_add(length) <= arrived {
            first += 1;
        }
        if at + 1 - first > most {
            (most, begin) = (at + 1 - first, arrivals[first]);
        }
    }
    begin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_mix_is_a_route_and_a_multiple() {
        assert_eq!(parse_mix("POST /checkout=3x"), Ok((RoutePattern::new("POST /checkout"), 3.0)));
        assert_eq!(parse_mix("/a?b=c=0.5"), Ok((RoutePattern::new("/a?b=c"), 0.5)));
        for wrong in ["POST /checkout", "=3x", "/a=-1x", "/a=many", "/a=1001x", "/a=NaN"] {
            assert_eq!(parse_mix(wrong), Err(MixError), "{wrong}");
        }
    }

    #[test]
    fn the_busiest_stretch_is_where_most_arrive() {
        // Three within 10 of each other from 50 on; two from 0 on.
        assert_eq!(busiest(&[0, 5, 50, 55, 59, 60, 100], 10), 50);
        assert_eq!(busiest(&[7], 10), 7);
        assert_eq!(busiest(&[], 10), 0);
    }
}
