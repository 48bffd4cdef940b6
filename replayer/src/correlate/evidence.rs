//! Weighs whether a value that came and went is a token.
//!
//! Log-odds are added up, as in naive Bayes: what kind of place gave it, whether the same target gives another value
//! when it is asked again, whether other sessions have the same one, whether an answer to a request that changes
//! something gave it, and what the places are called. The weights are judgement, set on made traffic with known
//! truth (`find/tests.rs`) and on recorded applications; they are not probabilities of anything.
//!
//! Short identifiers (17) are never bound for being equal: their answer must have created them, and the places they
//! come from and go to must be related by name or path.

use crate::correlate::pattern::{GivenKind, PlaceKind};
use crate::correlate::rules::Evidence;
use crate::correlate::value::{Strength, contains};

/// From this confidence on a rule is proposed.
pub(crate) const THRESHOLD: f64 = 0.8;

/// What is to be weighed, beside the counts in the evidence.
pub(crate) struct Case<'a> {
    pub(crate) given: GivenKind,
    pub(crate) given_name: &'a str,
    pub(crate) place: PlaceKind,
    pub(crate) place_name: &'a str,
    pub(crate) strength: Strength,
}

/// The confidence that the case is a binding, in `0..=1`.
pub(crate) fn confidence(case: &Case<'_>, evidence: &Evidence) -> f64 {
    let is_named = is_token_name(case.given_name) || is_token_name(case.place_name);
    let is_credential = case.place == PlaceKind::Cookie
        || (case.place == PlaceKind::Header && (case.place_name == "authorization" || is_named));
    let revisits = evidence.changed + evidence.unchanged;
    let changed_ratio = evidence.changed as f64 / revisits.max(1) as f64;
    let is_volatile = revisits > 0 && changed_ratio >= 0.5;
    let is_created = evidence.created_ratio >= 0.5;
    if case.strength != Strength::Token {
        // Related places are a condition for being here at all.
        return if is_created { sigmoid(1.8 + support(evidence)) } else { 0.0 };
    }
    let is_listed = matches!(
        case.given,
        GivenKind::Json | GivenKind::Data | GivenKind::Link | GivenKind::Xml | GivenKind::Location
    );
    if is_listed && !is_created && !is_volatile && !is_named && !is_credential {
        // A page that lists what there is: the target lists the same.
        return 0.0;
    }
    if matches!(case.given, GivenKind::Link) && !is_created && !is_named && evidence.sessions < 2 {
        return 0.0;
    }
    let mut odds = match case.given {
        GivenKind::Cookie => 2.5,
        GivenKind::Input | GivenKind::Meta | GivenKind::Header | GivenKind::Form | GivenKind::Text => 1.6,
        GivenKind::Script | GivenKind::Json | GivenKind::Xml | GivenKind::Data | GivenKind::Location => 0.8,
        GivenKind::Link => 0.0,
    };
    if revisits > 0 {
        odds += 3.0 * (2.0 * changed_ratio - 1.0);
    }
    odds -= 8.0 * evidence.shared_ratio;
    odds += if is_created { 1.6 } else { 0.0 };
    odds += if is_named { 1.2 } else { 0.0 };
    odds += if is_credential { 1.2 } else { 0.0 };
    odds += if names_match(case.given_name, case.place_name) { 0.8 } else { 0.0 };
    sigmoid(odds + support(evidence))
}

/// More bindings and more sessions with values of their own say more, ever less so.
fn support(evidence: &Evidence) -> f64 {
    let sessions = (evidence.sessions.max(1) as f64).log2().min(4.0);
    let values = (evidence.values.max(1) as f64).log2().min(4.0);
    0.25 * (sessions + values) * (1.0 - evidence.shared_ratio)
}

fn sigmoid(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

/// Whether a name says that what it names is a token.
pub(crate) fn is_token_name(name: &str) -> bool {
    const WORDS: [&str; 19] = [
        "token",
        "csrf",
        "xsrf",
        "nonce",
        "session",
        "sess",
        "sid",
        "auth",
        "jwt",
        "secret",
        "ticket",
        "signature",
        "viewstate",
        "eventvalidation",
        "captcha",
        "verifier",
        "challenge",
        "bearer",
        "sectok",
    ];
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| contains(name.as_bytes(), word.as_bytes()))
        || matches!(
            name.rsplit('/').next(),
            Some("key" | "sig" | "state" | "code" | "jti" | "hash" | "cursor")
        )
}

fn names_match(one: &str, other: &str) -> bool {
    let last = |name: &str| {
        let name = name.rsplit('/').next().unwrap_or_default();
        name.bytes()
            .filter(u8::is_ascii_alphanumeric)
            .map(|byte| byte.to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    !last(one).is_empty() && last(one) == last(other)
}

/// Whether a place's name says that what it names is an identifier: `id`, `order_id`, `productId`, `pk`.
pub(crate) fn is_id_name(name: &str) -> bool {
    let name = name.rsplit('/').find(|part| *part != "[]").unwrap_or_default();
    let words = words(name);
    matches!(
        words.last().map(String::as_str),
        Some(
            "id" | "uuid"
                | "guid"
                | "pk"
                | "key"
                | "number"
                | "no"
                | "nr"
                | "code"
                | "slug"
                | "ref"
                | "reference"
        )
    ) || name.ends_with("ID")
        || name == "_id"
}

/// Whether the route and name that gave an identifier have a word in common with those that take it.
pub(crate) fn are_related(source: [&str; 2], target: [&str; 2]) -> bool {
    let source: Vec<String> =
        source.iter().flat_map(|text| words(text)).filter(|word| says_something(word)).collect();
    let [route, name] = target;
    let named: Vec<String> = words(name).into_iter().filter(|word| says_something(word)).collect();
    // `order_id` says more than the path it is sent to; `id` says nothing, so that the path decides.
    let wanted = if named.is_empty() { words(route) } else { named };
    wanted.iter().filter(|word| says_something(word)).any(|word| source.contains(word))
}

fn says_something(word: &str) -> bool {
    const EMPTY: [&str; 24] = [
        "id",
        "uuid",
        "guid",
        "pk",
        "key",
        "number",
        "no",
        "nr",
        "code",
        "slug",
        "ref",
        "reference",
        "api",
        "data",
        "get",
        "post",
        "put",
        "patch",
        "delete",
        "rest",
        "index",
        "segment",
        "item",
        "result",
    ];
    word.len() >= 2 && !EMPTY.contains(&word) && !word.bytes().any(|byte| byte.is_ascii_digit())
}

/// The words of a name or a path, in lower case and singular.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut was_lower = false;
    for letter in text.chars() {
        if !letter.is_ascii_alphanumeric() {
            words.push(String::new());
        } else {
            if letter.is_ascii_uppercase() && was_lower {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.push(letter.to_ascii_lowercase());
            }
        }
        was_lower = letter.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    for word in &mut words {
        if word.len() > 4 && word.ends_with("ies") {
            word.truncate(word.len() - 3);
            word.push('y');
        } else if word.len() > 3 && word.ends_with('s') && !word.ends_with("ss") {
            word.pop();
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_an_identifier_and_what_belongs_together() {
        for name in ["id", "/data/id", "order_id", "productId", "userID", "/items/[]/uuid", "pk"] {
            assert!(is_id_name(name), "{name}");
        }
        for name in ["quantity", "/total", "page", "paid", "video"] {
            assert!(!is_id_name(name), "{name}");
        }
        assert!(are_related(["POST /orders", "/id"], ["GET /orders/{}", "2"]));
        assert!(are_related(["POST /carts", "/id"], ["POST /checkout", "/cart_id"]));
        assert!(are_related(["POST /api/login", "/user/id"], ["GET /api/users/{}", "3"]));
        assert!(!are_related(["POST /orders", "/id"], ["GET /pages/{}", "2"]));
        assert!(!are_related(["POST /carts", "/id"], ["POST /carts", "/product_id"]));
    }

    #[test]
    fn a_listed_value_that_stays_is_no_token_and_one_that_changes_is() {
        let case = Case {
            given: GivenKind::Json,
            given_name: "/items/[]/uuid",
            place: PlaceKind::Segment,
            place_name: "2",
            strength: Strength::Token,
        };
        let listed = Evidence { bindings: 5, sessions: 1, values: 5, unchanged: 3, ..Evidence::default() };
        assert_eq!(confidence(&case, &listed), 0.0);
        let changing = Evidence { changed: 3, unchanged: 0, ..listed };
        assert!(confidence(&case, &changing) > THRESHOLD);
        let shared = Evidence { shared_ratio: 0.8, ..changing };
        assert!(confidence(&case, &shared) < THRESHOLD);
    }
}
