//! Fields named by their path, e.g. `$.user.pin`, `items[*].code`.
//!
//! With `$` in front a path begins at the top; without, it fits at any depth. `*` stands for any name, `[*]`
//! for any element of a list. Names are compared exactly.

use crate::redact::names::Rule;

/// A path, and the rule it is.
pub(super) struct Path {
    is_from_top: bool,
    steps: Vec<Step>,
    pub(super) rule: Rule,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    AnyName,
    Element(usize),
    AnyElement,
}

/// One step of where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At<'a> {
    Name(&'a [u8]),
    Element(usize),
}

impl Path {
    /// The path that `entry` is; `None` when it is a mere name.
    pub(super) fn parse(entry: &str, rule: Rule) -> Option<Self> {
        if entry.starts_with('!') || !entry.contains(['$', '.', '[']) {
            return None;
        }
        let is_from_top = entry.starts_with('$');
        let rest = entry.strip_prefix('$').unwrap_or(entry);
        let mut steps = Vec::new();
        for part in rest.split('.').filter(|part| !part.is_empty()) {
            for (at, piece) in part.split('[').enumerate() {
                let inner = piece.strip_suffix(']').unwrap_or(piece);
                steps.push(match (at, inner) {
                    (0, "") => continue,
                    (0, "*") => Step::AnyName,
                    (0, name) => Step::Name(name.to_owned()),
                    (_, "*" | "") => Step::AnyElement,
                    (_, inner) => match inner.parse() {
                        Ok(index) => Step::Element(index),
                        Err(_) => Step::Name(inner.trim_matches(['"', '\'']).to_owned()),
                    },
                });
            }
        }
        (!steps.is_empty()).then_some(Self { is_from_top, steps, rule })
    }

    /// Whether it leads to `place`, from the top.
    pub(super) fn fits(&self, place: &[At<'_>]) -> bool {
        let Some(above) = place.len().checked_sub(self.steps.len()) else { return false };
        let same = |(step, at): (&Step, &At<'_>)| match (step, at) {
            (Step::AnyName, At::Name(_)) | (Step::AnyElement, At::Element(_)) => true,
            (Step::Name(wanted), At::Name(name)) => wanted.as_bytes() == *name,
            (Step::Element(wanted), At::Element(index)) => wanted == index,
            _ => false,
        };
        (above == 0 || !self.is_from_top) && self.steps.iter().zip(&place[above..]).all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_fits_where_it_leads() {
        let pin = [At::Name(b"user"), At::Name(b"pin")];
        let code = [At::Name(b"order"), At::Name(b"items"), At::Element(3), At::Name(b"code")];
        let check = |path: &str, place: &[At<'_>], expected| {
            assert_eq!(Path::parse(path, Rule(0)).unwrap().fits(place), expected, "{path}");
        };
        check("$.user.pin", &pin, true);
        check("$.pin", &pin, false);
        check("user.pin", &pin, true);
        check("$.*.pin", &pin, true);
        check("$['user']['pin']", &pin, true);
        check("items[*].code", &code, true);
        check("items[].code", &code, true);
        check("items[3].code", &code, true);
        check("items[2].code", &code, false);
        check("$.items[*].code", &code, false);
        check("a.order.items[*].code", &code, false);
    }

    #[test]
    fn a_mere_name_is_no_path() {
        for entry in ["pin", "*token*", "!a.b"] {
            assert!(Path::parse(entry, Rule(0)).is_none(), "{entry}");
        }
    }
}
