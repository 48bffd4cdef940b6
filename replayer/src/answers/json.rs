//! In what two JSON texts differ: by structure, each leaf under its path, with `[]` for every place in a list.

use serde_json::Value;

use crate::answers::difference::{Difference, What};
use crate::answers::words::{self, Sides};

/// Deeper values are compared as one.
const DEEPEST: usize = 64;
/// The most differences of one answer.
pub(crate) const MAX_DIFFERENCES: usize = 500;

/// Tells `found` in what the two differ; `false` when one of them is no JSON.
pub(crate) fn compare(before: &[u8], now: &[u8], sides: Sides<'_>, found: &mut Vec<Difference>) -> bool {
    let (Ok(before), Ok(now)) = (serde_json::from_slice(before), serde_json::from_slice(now)) else {
        return false;
    };
    walk(&before, &now, &mut String::from("json "), 0, sides, found);
    true
}

fn walk(
    before: &Value,
    now: &Value,
    path: &mut String,
    depth: usize,
    sides: Sides<'_>,
    found: &mut Vec<Difference>,
) {
    if found.len() >= MAX_DIFFERENCES {
        return;
    }
    match (before, now) {
        (Value::Object(old), Value::Object(new)) if depth < DEEPEST => {
            for (key, old) in old {
                within(path, &format!("/{key}"), |path| match new.get(key) {
                    Some(new) => walk(old, new, path, depth + 1, sides, found),
                    None => found.push(Difference::new(What::Gone, path.as_str(), &shown(old), "")),
                });
            }
            for (key, new) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                within(path, &format!("/{key}"), |path| {
                    found.push(Difference::new(What::New, path.as_str(), "", &shown(new)));
                });
            }
        }
        (Value::Array(old), Value::Array(new)) if depth < DEEPEST => {
            if old.len() != new.len() {
                let count = |list: &[Value]| format!("{} elements", list.len());
                found.push(Difference::new(What::Length, path.as_str(), &count(old), &count(new)));
                return;
            }
            within(path, "/[]", |path| {
                for (old, new) in old.iter().zip(new) {
                    walk(old, new, path, depth + 1, sides, found);
                }
            });
        }
        (old, new) if kind(old) == kind(new) => {
            words::compare(path, &text(old), &text(new), sides, found);
        }
        (old, new) => {
            let named = |value: &Value| format!("{} {}", kind(value), shown(value));
            found.push(Difference::new(What::Kind, path.as_str(), &named(old), &named(new)));
        }
    }
}

fn within(path: &mut String, more: &str, then: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push_str(more);
    then(path);
    path.truncate(length);
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn shown(value: &Value) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::pairs::Pairs;

    fn check(before: &str, now: &str) -> Vec<(What, String)> {
        let none = Pairs::default();
        let mut found = Vec::new();
        assert!(compare(before.as_bytes(), now.as_bytes(), Sides { before: &none, now: &none }, &mut found));
        found.into_iter().map(|difference| (difference.what, difference.place)).collect()
    }

    #[test]
    fn each_difference_has_its_path() {
        let before = r#"{"id":7,"price":1999,"tags":["a","b"],"user":{"name":"ann","vip":true},"rows":[{"n":1},{"n":2}]}"#;
        assert_eq!(check(before, before), []);
        let now = r#"{"user":{"vip":"yes","name":"ann"},"id":7,"price":2099,"tags":["a"],"rows":[{"n":1},{"n":3}],"x":null}"#;
        assert_eq!(
            check(before, now),
            [
                (What::Value, "json /price".to_owned()),
                (What::Length, "json /tags".to_owned()),
                (What::Kind, "json /user/vip".to_owned()),
                (What::Value, "json /rows/[]/n".to_owned()),
                (What::New, "json /x".to_owned()),
            ]
        );
        assert_eq!(check(now, before).last(), Some(&(What::Gone, "json /x".to_owned())));
    }

    #[test]
    fn what_is_no_json_is_not_compared_as_such() {
        let none = Pairs::default();
        assert!(!compare(b"{", b"{}", Sides { before: &none, now: &none }, &mut Vec::new()));
    }
}
