//! Masking JSON leaves JSON.

use proptest::prelude::*;

use crate::redact::masker::Masker;
use crate::redact::policy::MaskRules;
use crate::redact::text::{Look, Shown};

fn masker() -> Masker {
    let mut rules = MaskRules::usual();
    rules.fields.extend(["$.user.code", "items[*].key"].map(str::to_owned));
    Masker::new(&[7; 32], &rules)
}

fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    masker().text(&mut bytes, Look::of(text.as_bytes()), Shown::ALL);
    String::from_utf8(bytes).unwrap()
}

fn pseudonym(secret: &str) -> String {
    let masked = masked(&format!("[{{\"password\":{secret:?}}}]"));
    masked[14..masked.len() - 3].to_owned()
}

#[test]
fn fields_are_masked_at_any_depth_and_nothing_else_is() {
    let check = |text: &str| {
        let expected = text.replace("S3cret", &pseudonym("S3cret")).replace("5310", &pseudonym("5310"));
        assert_eq!(masked(text), expected);
        assert_ne!(masked(text), text);
    };
    check(r#"{"a":[{"b":{"password" : "S3cret","n":12}}],"c":"word","pin":5310}"#);
    check("{\"password\":\"S3cret\"}\n{\"token\":\"S3cret\"}\n");
    check(r#"{"tokens":["S3cret",{"x":"S3cret"},5310,true,null],"after":"word"}"#);
    check(r#"{"user":{"code":"S3cret"},"code":"word"}"#);
    check(r#"{"items":[{"key":"S3cret"},{"key":"S3cret"}],"key":"word"}"#);
    check(r#"{"url":"https://shop/a?b=c&token=S3cret#d","note":"password: S3cret, please"}"#);
    check(r#"{"db":"postgres://S3cret:S3cret@db:5432/x"}"#);
    check("{\"cid\":\"5310\"}");
    check("\u{feff} [{\"Authorization\":\"Bearer S3cret\"}]");
    check(r#"{'password':'S3cret', token: "S3cret"}"#);
    check(r#"{"a":1 "password":"S3cret"}"#);
    check(
        r#")]}',
{"token":"S3cret"}"#,
    );
    assert_eq!(masked(r#"{"cid":"531042","title":"no secret"}"#), r#"{"cid":"531042","title":"no secret"}"#);
}

#[test]
fn what_another_field_calls_a_secret_is_one() {
    let check = |text: &str| {
        let expected = text.replace("S3cret", &pseudonym("S3cret")).replace("5310", &pseudonym("5310"));
        assert_eq!(masked(text), expected);
        assert_ne!(masked(text), text);
    };
    check(r#"{"name":"password","value":"S3cret"}"#);
    check(r#"[{"value":"S3cret","type":"word","name":"password"},{"name":"x","value":"word"}]"#);
    check(r#"{"key":"api_key","val":"S3cret"}"#);
    check(r#"{"k":"pin","v":5310}"#);
    check(r#"{"v":5310,"value":"S3cret","k":"pin"}"#);
    check(r#"{"field":"passw\u006frd","value":["S3cret",{"x":"S3cret"}],"y":"word"}"#);
    check(r#"{"name":"Authorization","value":"Bearer S3cret"}"#);
    check(r#"{"name":"Cookie","key":"word","value":"S3cret"}"#);
    check(r#"{"headers":[["accept","word"],["Authorization","Bearer S3cret"],["cookie","S3cret"]]}"#);
    check(r#"{"a":{"name":"word"},"name":"password","b":{"value":"word"},"value":"S3cret"}"#);
    check(r#"{"a":"{\"name\":\"password\",\"value\":\"S3cret\"}"}"#);
    for text in [
        r#"{"name":"Alice","value":"word","key":5310}"#,
        r#"["token","word"]"#,
        r#"[["token","word","word"],["token"],["x","token"]]"#,
        r#"{"name":"password"},{"value":"word"}"#,
    ] {
        assert_eq!(masked(text), text);
    }
}

#[test]
fn a_code_beside_a_card_number_is_masked() {
    let is_masked = |text: &str, code: &str| !masked(text).contains(code);
    assert!(is_masked(r#"{"card":{"number":"4111111111111111","code":"737"}}"#, "737"));
    assert!(is_masked(r#"{"code":737,"exp":"12/30","number":4111111111111111}"#, ":737,"));
    assert!(is_masked(r#"{"card_number":"4111 1111 1111 1111","verification":"7371"}"#, "7371"));
    for text in [
        r#"{"number":"4111111111111112","code":"737"}"#,
        r#"{"card":{"x":"a4111"},"code":"737"}"#,
        r#"{"number":"1700000000000","code":"737"}"#,
    ] {
        assert_eq!(masked(text), text);
    }
    assert!(masked(r#"{"number":"4111111111111111","code":"word"}"#).contains("word"));
}

#[test]
fn escapes_hide_nothing() {
    let escaped = |secret: &str| secret.bytes().map(|byte| format!("\\u{byte:04x}")).collect::<String>();
    let check = |before: &str, after: &str| assert_eq!(masked(before), after);
    let name = pseudonym("S3cret");

    check(
        &format!(r#"{{"password":"{}"}}"#, escaped("S3cret")),
        &format!(r#"{{"password":"{}"}}"#, escaped(&name)),
    );
    check(r#"{"\u0070assword":"S3cret"}"#, &format!(r#"{{"\u0070assword":"{name}"}}"#));
    check(r#"{"a":"{\"password\":\"S3cret\"}"}"#, &format!(r#"{{"a":"{{\"password\":\"{name}\"}}"}}"#));
    check(r#"{"a":"x\u003ftoken=S3cret"}"#, &format!(r#"{{"a":"x\u003ftoken={name}"}}"#));
    let card = masked(&format!(r#"{{"a":"{}"}}"#, escaped("4111111111111111")));
    assert!(!card.contains(&escaped("4111111111111111")), "{card}");
}

#[test]
fn json_that_was_cut_is_masked_to_its_end() {
    let whole = r#"{"a":1,"password":"S3cretS3cretS3cret"}"#;
    for end in 22..whole.len() {
        let mut cut = whole.as_bytes()[..end].to_vec();
        masker().text(&mut cut, Look::Json(0), Shown { is_cut: true, depth: 0 });
        assert_ne!(&cut, &whole.as_bytes()[..end]);
        assert_eq!(cut[..19], whole.as_bytes()[..19]);
    }
}

/// Any JSON, with names of secrets in it.
fn json() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("password"),
        Just("token"),
        Just("cvv"),
        Just("name"),
        Just("cid"),
        Just("\\u0070in")
    ];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i32>().prop_map(|n| n.to_string()),
        any::<f32>().prop_filter("a number", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        r#"([ a-zA-Z0-9!?&=:;,.{}'é+-]|\\n|\\"|\\u00e9|\\u0041|\\\\){0,20}"#
            .prop_map(|text| format!("\"{text}\"")),
        Just("\"4111 1111 1111 1111\"".to_owned()),
        Just("4111111111111111".to_owned()),
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|list| format!("[{}]", list.join(", "))),
            prop::collection::vec((name.clone(), inner), 0..5).prop_map(|fields| {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("\"{name}\" : {value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

/// Every byte that gives JSON its structure: what is left when strings and numbers are blanked.
fn structure(text: &str) -> String {
    let mut shape = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                while let Some(inner) = letters.next().filter(|inner| *inner != '"') {
                    if inner == '\\' {
                        letters.next();
                    }
                }
                shape.push('s');
            }
            '0'..='9' => shape.push('0'),
            other => shape.push(other),
        }
    }
    shape
}

proptest! {
    #[test]
    fn masked_json_is_json_of_the_same_structure(text in json()) {
        let masked = masked(&text);

        prop_assert_eq!(masked.len(), text.len());
        prop_assert_eq!(structure(&masked), structure(&text));
        let noughts = masked.as_bytes().windows(2).enumerate().filter(|(at, pair)| {
            let before = at.checked_sub(1).map(|at| masked.as_bytes()[at]);
            pair[0] == b'0' && pair[1].is_ascii_digit() && matches!(before, Some(b'-' | b'[' | b' ' | b':'))
                && !text.as_bytes()[*at..].starts_with(b"0")
        });
        // No number begins with a nought that it had not before.
        prop_assert_eq!(noughts.filter(|(at, _)| text.as_bytes()[at.saturating_sub(2)..*at].ends_with(b": ")).count(), 0);
    }

    #[test]
    fn any_bytes_get_an_answer_of_their_length(
        text in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\ \"p=1&<>%".to_vec())], 0..200),
        is_cut in any::<bool>(),
    ) {
        for look in [Look::Json(0), Look::Form, Look::Markup, Look::Table(b','), Look::Events, Look::Multipart(b"--".to_vec()), Look::Plain] {
            let mut copy = text.clone();
            masker().text(&mut copy, look, Shown { is_cut, depth: 0 });
            prop_assert_eq!(copy.len(), text.len());
        }
    }
}
