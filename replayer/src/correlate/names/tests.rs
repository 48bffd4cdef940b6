//! Chosen names, in flows of which it is known by construction what they make.

use proptest::prelude::*;

use crate::correlate::bind::{Binder, Origin};
use crate::correlate::find::tests::{Answer, Traffic, answer};
use crate::correlate::track::received;
use crate::schedule::mix;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const JSON: &str = "Content-Type: application/json";

fn page(text: &str) -> Answer {
    answer(200, "text/html", format!("<html><head></head><body>{text}</body></html>"))
}

fn hidden(text: &str) -> Answer {
    answer(200, "text/html", format!("<meta name=\"robots\" content=\"noindex,follow\"/><p>{text}"))
}

fn led(to: &str) -> Answer {
    answer(302, "text/html", "").with("Location", to)
}

fn json(status: u16, text: &str) -> Answer {
    answer(status, "application/json", text)
}

fn no(status: u16) -> Answer {
    answer(status, "text/html", "")
}

/// What is proposed, and for how many names: as `names: rule`.
fn chosen(traffic: &Traffic) -> Vec<String> {
    let sets = traffic.found().rules.sets;
    sets.iter()
        .filter_map(|set| set.naming.map(|naming| format!("{}: {}", naming.names, set.name())))
        .collect()
}

/// Which values of which exchanges are made, when the capture is bound by what was found in it.
fn made(traffic: &Traffic) -> Vec<(u64, String)> {
    let found = traffic.found();
    let mut binder = Binder::new(&found.rules, Some(&found));
    let (mut text, mut all) = (Vec::new(), Vec::new());
    for exchange in &traffic.exchanges {
        received(exchange, &mut text);
        for binding in binder.add(exchange, Some((&text, 0))) {
            if let Origin::Made { recorded, .. } = binding.origin {
                all.push((exchange.id.0, String::from_utf8(recorded).unwrap()));
            }
        }
    }
    all
}

/// A wiki that answers 200 where no page is, like DokuWiki.
fn soft_wiki(traffic: &mut Traffic, session: u64, name: &str) {
    let empty = format!("<a href='/doku.php?id={name}&amp;do=edit'>Create</a>");
    traffic.exchange(session, &format!("GET /doku.php?id={name}"), "", "", hidden(&empty));
    let form =
        format!("<form><input type=hidden name=id value={name}><textarea name=\"wikitext\"></textarea>");
    traffic.exchange(session, &format!("GET /doku.php?id={name}&do=edit"), "", "", hidden(&form));
    let stored = name.to_lowercase().replace("%20", "_");
    traffic.exchange(
        session,
        &format!("POST /doku.php?id={name}"),
        FORM,
        &format!("id={name}&wikitext=Some+words&do%5Bsave%5D=1"),
        led(&format!("http://wiki.test/doku.php?id={stored}")),
    );
    traffic.exchange(
        session,
        &format!("GET /doku.php?id={stored}"),
        "",
        "",
        hidden(&format!("<link rel=canonical href='/doku.php?id={stored}'>")),
    );
}

#[test]
fn a_page_of_a_wiki_is_named_by_the_session_that_writes_it_in_every_spelling() {
    let mut traffic = Traffic::default();
    traffic.exchange(1, "GET /doku.php?id=start", "", "", page("Welcome"));
    soft_wiki(&mut traffic, 1, "First");
    soft_wiki(&mut traffic, 1, "My%20Page");
    traffic.exchange(
        1,
        "GET /doku.php?id=start",
        "Referer: http://wiki.test/doku.php?id=first",
        "",
        page(""),
    );
    traffic.exchange(1, "GET /doku.php?do=index&id=talk%3Afirst", "", "", page(""));
    assert_eq!(chosen(&traffic), ["2: form id of POST /doku.php = {{unique}}"]);
    let made: Vec<(u64, String)> = made(&traffic);
    let named = |name: &str, at: &[u64]| {
        let all: Vec<u64> = made.iter().filter(|(_, known)| known == name).map(|(at, _)| *at).collect();
        assert_eq!(all, at, "{name}");
    };
    // Asked for, edited, and twice in the request that writes it; then as the server spells it.
    named("First", &[1, 2, 3, 3]);
    named("first", &[4, 9, 10]);
    named("My Page", &[5, 6, 7, 7]);
    named("my_page", &[8]);
    assert_eq!(made.len(), 12);
}

#[test]
fn a_wiki_with_two_ways_to_a_page_is_followed_on_both() {
    let mut traffic = Traffic::default();
    traffic.exchange(1, "GET /index.php?title=Main_Page", "", "", page(""));
    for text in ["", "made"] {
        let form = format!("<textarea name=\"wpTextbox1\">\n{text}</textarea>");
        traffic.exchange(1, "GET /index.php?title=First&action=edit", "", "", hidden(&form));
        traffic.exchange(
            1,
            "POST /index.php?title=First&action=submit",
            FORM,
            "wpTextbox1=First+was+made&wpSave=1",
            led("/index.php/First"),
        );
        traffic.exchange(1, "GET /index.php/First", "", "", page(""));
    }
    assert_eq!(chosen(&traffic), ["1: query title of POST /index.php = {{unique}}"]);
    let all: Vec<u64> = made(&traffic).iter().map(|(at, _)| *at).collect();
    assert_eq!(all, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_was_not_found_before_and_is_found_after_was_made_and_so_is_what_201_answers() {
    let mut traffic = Traffic::default();
    traffic.exchange(1, "GET /", "", "", page(""));
    for name in ["First", "Second"] {
        traffic.exchange(1, &format!("GET /wiki/{name}"), "", "", no(404));
        traffic.exchange(1, &format!("POST /wiki/{name}"), FORM, "text=words", led(&format!("/wiki/{name}")));
        traffic.exchange(1, &format!("GET /wiki/{name}"), "", "", page("words"));
    }
    traffic.exchange(1, "PUT /files/notes.md", "", "words", no(201));
    traffic.exchange(1, "PUT /keys/550e8400-e29b-41d4-a716-446655440000", JSON, "{}", json(201, "{}"));
    traffic.exchange(
        1,
        "POST /api/projects",
        JSON,
        r#"{"name":"Acme Tools","public":true}"#,
        json(201, "{}").with("Location", "/api/projects/acme-tools"),
    );
    traffic.exchange(1, "GET /api/projects/acme-tools", "", "", json(200, "{}"));
    assert_eq!(
        chosen(&traffic),
        ["4: segment 2 of * = {{unique}}", "1: json /name of POST /api/projects = {{unique}}",]
    );
    assert_eq!(made(&traffic).last(), Some(&(10, "acme-tools".to_owned())));
}

#[test]
fn a_form_with_a_text_area_left_empty_makes_what_it_names() {
    let mut traffic = Traffic::default();
    traffic.exchange(1, "GET /", "", "", page(""));
    traffic.exchange(1, "GET /repo/create", "", "", page("<textarea class=x name='description'></textarea>"));
    traffic.exchange(1, "POST /repo/create", FORM, "repo_name=tools&description=", led("/ann/tools"));
    traffic.exchange(1, "GET /ann/tools", "", "", page("nothing yet"));
    traffic.exchange(1, "GET /ann/tools/settings", "", "", page("<textarea name=description></textarea>"));
    assert_eq!(chosen(&traffic), ["1: form repo_name of POST /repo/create = {{unique}}"]);
    assert_eq!(made(&traffic), [2, 3, 4].map(|at| (at, "tools".to_owned())));

    // What it names need not stand at the end.
    let mut traffic = Traffic::default();
    traffic.exchange(1, "GET /", "", "", page(""));
    traffic.exchange(
        1,
        "GET /projects/new",
        "",
        "",
        page("<textarea name=\"project[description]\"></textarea>"),
    );
    let form = "project%5Bname%5D=Our+Tools&project%5Bidentifier%5D=our-tools&project%5Bdescription%5D=";
    traffic.exchange(1, "POST /projects", FORM, form, led("/projects/our-tools/settings"));
    traffic.exchange(1, "GET /projects/our-tools/settings", "", "", page(""));
    assert_eq!(chosen(&traffic), ["1: form project[identifier] of POST /projects = {{unique}}"]);
    assert_eq!(made(&traffic).len(), 3);
}

#[test]
fn what_another_session_sent_before_or_an_answer_gave_is_no_name_of_its_own() {
    let wiki = |before: &dyn Fn(&mut Traffic)| {
        let mut traffic = Traffic::default();
        traffic.exchange(1, "GET /doku.php?id=start", "", "", page("Welcome"));
        before(&mut traffic);
        soft_wiki(&mut traffic, 1, "First");
        chosen(&traffic).len()
    };
    assert_eq!(wiki(&|_| {}), 1);
    assert_eq!(wiki(&|traffic| traffic.exchange(2, "GET /doku.php?id=first", "", "", hidden(""))), 0);
    assert_eq!(
        wiki(&|traffic| traffic.exchange(2, "GET /", "", "", page("<a href='/doku.php?id=first&do=edit'>"))),
        0
    );
    assert_eq!(wiki(&|traffic| traffic.exchange(1, "GET /api", "", "", json(200, r#"["First"]"#))), 0);
    assert_eq!(
        wiki(&|traffic| traffic.exchange(1, "GET /api", "", "", json(200, r#"{"first":1,"x":"at first"}"#))),
        1
    );
    // It was shown before.
    assert_eq!(wiki(&|traffic| traffic.exchange(1, "GET /doku.php?id=First", "", "", page("There"))), 0);
    // The session began with it.
    let mut traffic = Traffic::default();
    soft_wiki(&mut traffic, 1, "First");
    assert_eq!(chosen(&traffic).len(), 0);
    // Then it wrote another, in the same field.
    soft_wiki(&mut traffic, 1, "Second");
    assert_eq!(chosen(&traffic), ["2: form id of POST /doku.php = {{unique}}"]);
    // Two sessions write it: neither made it alone.
    let mut traffic = Traffic::default();
    for session in [1, 2] {
        traffic.exchange(session, "GET /doku.php?id=start", "", "", page("Welcome"));
        soft_wiki(&mut traffic, session, "First");
    }
    assert_eq!(chosen(&traffic).len(), 0);
}

/// Visits that make nothing of a name, with words that nobody gave.
fn innocent(traffic: &mut Traffic, session: u64, what: u8, word: &str) {
    let area = |text: &str| format!("<form><textarea name=text>{text}</textarea></form>");
    match what % 12 {
        0 => {
            let form = format!("q={word}");
            traffic.exchange(session, "POST /search", FORM, &form, led(&format!("/search?q={word}")));
            traffic.exchange(session, &format!("GET /search?q={word}"), "", "", page("found"));
        }
        1 => {
            let form = format!("color={word}&page=1&sort=price");
            traffic.exchange(
                session,
                "POST /filter",
                FORM,
                &form,
                led(&format!("/list?color={word}&page=1")),
            );
            traffic.exchange(session, &format!("GET /list?color={word}&page=1"), "", "", page(""));
        }
        2 => {
            traffic.exchange(
                session,
                "POST /lang",
                FORM,
                &format!("lang={word}"),
                led(&format!("/?lang={word}")),
            );
            traffic.exchange(session, &format!("GET /?lang={word}"), "", "", page(""));
        }
        // A login that leads back.
        3 => {
            let form = format!("id={word}&u=ann&p=secret&text=x");
            traffic.exchange(session, "GET /login", "", "", page(&area("")));
            traffic.exchange(session, "POST /login", FORM, &form, led(&format!("/?id={word}")));
            traffic.exchange(session, &format!("GET /?id={word}"), "", "", page(""));
        }
        // A comment below what is there: on its page, and on one of its own.
        4 => {
            traffic.exchange(session, &format!("GET /p/{word}"), "", "", page(&area("")));
            traffic.exchange(
                session,
                &format!("POST /p/{word}"),
                FORM,
                "text=nice",
                led(&format!("/p/{word}#c1")),
            );
            traffic.exchange(session, &format!("GET /p/{word}"), "", "", page("nice"));
        }
        5 => {
            traffic.exchange(session, &format!("GET /show?title={word}"), "", "", page("thing"));
            traffic.exchange(session, &format!("GET /comment?title={word}"), "", "", page(&area("")));
            traffic.exchange(
                session,
                &format!("POST /comment?title={word}"),
                FORM,
                "text=nice",
                led(&format!("/show?title={word}")),
            );
            traffic.exchange(session, &format!("GET /show?title={word}"), "", "", page("nice"));
        }
        // An edit of what is there.
        6 => {
            traffic.exchange(session, &format!("GET /edit?title={word}"), "", "", hidden(&area("old words")));
            traffic.exchange(
                session,
                &format!("POST /edit?title={word}"),
                FORM,
                "text=new+words",
                led(&format!("/show?title={word}")),
            );
            traffic.exchange(session, &format!("GET /show?title={word}"), "", "", page("new words"));
        }
        // Words of a program's own paths.
        7 => {
            traffic.exchange(session, "GET /orders/17/payment", "", "", json(404, "{}"));
            traffic.exchange(session, "PUT /orders/17/payment", JSON, r#"{"way":"card"}"#, json(201, "{}"));
            traffic.exchange(session, "GET /orders/17/payment", "", "", json(200, "{}"));
        }
        8 => {
            traffic.exchange(session, "GET /notes/new", "", "", hidden(&area("")));
            traffic.exchange(session, "POST /notes", FORM, "text=words", led("/notes"));
            traffic.exchange(session, "GET /notes", "", "", page("words"));
        }
        // A site whose every page asks not to be indexed.
        9 => {
            traffic.exchange(session, &format!("GET /in?page={word}"), "", "", hidden(&area("")));
            traffic.exchange(
                session,
                &format!("POST /in?page={word}"),
                FORM,
                "text=words",
                led(&format!("/in?page={word}")),
            );
            traffic.exchange(session, &format!("GET /in?page={word}"), "", "", hidden("words"));
        }
        // A product in a basket, and what the answer numbers itself.
        10 => {
            traffic.exchange(
                session,
                "POST /cart",
                JSON,
                &format!(r#"{{"sku":"{word}","quantity":1}}"#),
                json(201, "{}").with("Location", "/cart/lines/7"),
            );
            traffic.exchange(session, "GET /cart/lines/7", "", "", json(200, "{}"));
        }
        // Looked for in vain, and then no more than searched for.
        _ => {
            traffic.exchange(session, &format!("GET /tag/{word}"), "", "", no(404));
            traffic.exchange(session, "POST /search", FORM, &format!("q={word}"), no(200));
            traffic.exchange(session, &format!("GET /tag/{word}"), "", "", no(404));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn where_nothing_is_made_no_name_is_and_where_pages_are_all_of_them_are(
        visits in proptest::collection::vec((0_u64..4, any::<u8>(), any::<u16>()), 1..40),
        names in 0_usize..6,
    ) {
        let mut traffic = Traffic::default();
        // Letters that spell no word, and a digit in some.
        let word = |seed: u64| {
            let letters: String =
                (0..7).map(|at| char::from(b'a' + (mix(seed << 8 | at) % 26) as u8)).collect();
            if seed.is_multiple_of(3) { format!("{letters}-{seed}") } else { letters }
        };
        for session in 0..4 {
            traffic.exchange(session, "GET /", "", "", page("Welcome"));
        }
        for (number, &(session, what, seed)) in visits.iter().enumerate() {
            innocent(&mut traffic, session, what, &word(u64::from(seed) % 16));
            if number < names {
                soft_wiki(&mut traffic, session, &format!("Q{}", word(1_000 + number as u64)));
            }
        }
        let expected: Vec<String> = match names.min(visits.len()) {
            0 => Vec::new(),
            names => vec![format!("{names}: form id of POST /doku.php = {{{{unique}}}}")],
        };
        prop_assert_eq!(chosen(&traffic), expected);
    }
}
