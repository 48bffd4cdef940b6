//! Says what a comparison of answers came to, as text and as JSON.

use std::fmt::Write as _;

use replayer::answers::{Class, Compared, RouteVerdict};
use serde_json::{Value, json};

use crate::commands::files;

/// So many classes are shown to people.
const SHOWN: usize = 40;

pub(super) fn as_text(compared: &Compared, against: &str) -> String {
    let overall = compared.overall();
    let mut text = format!(
        "{} answers compared with {against}: {} differ ({:.2} % alike)\n",
        overall.compared,
        overall.compared - overall.alike,
        percent(overall.alike, overall.compared),
    );
    if compared.learned_from == 0 {
        text.push_str(
            "no two answers to the same request: noise is not learned; give a second run against the same target\n",
        );
    } else {
        let _ = writeln!(
            text,
            "noise learned from {} pairs of answers of the same target: {} places left out",
            compared.learned_from,
            compared.noise.len()
        );
    }
    classes(&mut text, &compared.classes);
    if !compared.presumed.is_empty() {
        text.push_str("presumed to be noise, for they read like times or tokens (--strict counts them):\n");
        classes(&mut text, &compared.presumed);
    }
    for (count, what) in [
        (compared.unpaired, "answers had nothing to be compared with"),
        (compared.cut, "answers were not kept whole: their bodies are not compared"),
        (compared.overflow, "differences were left out: there are too many kinds of them"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{count} {what}");
        }
    }
    text
}

fn classes(text: &mut String, classes: &[Class]) {
    for class in classes.iter().take(SHOWN) {
        let _ = writeln!(
            text,
            "  {:>6}  {}  {} {}: {}",
            class.count,
            files::plain(&class.route),
            class.what.as_str(),
            files::plain(&class.place),
            files::plain(&change(class)),
        );
        let of = class.example;
        let _ = writeln!(text, "          e.g. exchange {} in copy {}", of.exchange, of.copy);
    }
    if classes.len() > SHOWN {
        let _ = writeln!(text, "  and {} more kinds; --json has all", classes.len() - SHOWN);
    }
}

fn change(class: &Class) -> String {
    match (class.before.as_str(), class.now.as_str()) {
        ("", now) => format!("now {now}"),
        (before, "") => format!("was {before}"),
        (before, now) => format!("{before} → {now}"),
    }
}

fn percent(part: u64, all: u64) -> f64 {
    if all == 0 { 100.0 } else { 100.0 * part as f64 / all as f64 }
}

pub(super) fn as_json(compared: &Compared) -> Value {
    let verdict = |of: &RouteVerdict| {
        json!({
            "compared": of.compared,
            "same_status": of.same_status,
            "alike": of.alike,
            "alike_ratio": percent(of.alike, of.compared) / 100.0,
        })
    };
    let classes = |classes: &[Class]| {
        classes
            .iter()
            .map(|class| {
                json!({
                    "route": class.route,
                    "what": class.what.as_str(),
                    "place": class.place,
                    "count": class.count,
                    "before": class.before,
                    "now": class.now,
                    "example": {
                        "exchange": class.example.exchange,
                        "copy": class.example.copy,
                        "lap": class.example.lap,
                    },
                })
            })
            .collect::<Vec<_>>()
    };
    json!({
        "overall": verdict(&compared.overall()),
        "routes": compared.routes.iter().map(|(route, of)| {
            let mut shown = verdict(of);
            shown["route"] = json!(route);
            shown
        }).collect::<Vec<_>>(),
        "classes": classes(&compared.classes),
        "presumed_noise": classes(&compared.presumed),
        "noise": compared.noise.iter().map(|(route, place)| json!({"route": route, "place": place})).collect::<Vec<_>>(),
        "learned_from": compared.learned_from,
        "unpaired": compared.unpaired,
        "cut": compared.cut,
        "overflow": compared.overflow,
    })
}
