//! The file of rules: TOML that people read, edit and write.
//!
//! ```toml
//! [[rule]]
//! name = "input csrf of GET /login"
//! answer = "GET /login"              # the requests whose answers give the value, by their route; "*" for all
//! take = "input csrf"                # where in those answers
//! into = [{ request = "POST /login", put = "form csrf" }]
//! missing = "recorded"               # or "skip", or "end-session"
//! newest = false                     # true: also where the recorded value differs
//! created = false                    # true: only identifiers that the answer created
//!
//! [[set]]                            # a value that no answer gives
//! request = "POST /register"
//! put = "form email"
//! value = "user-{{seq}}@example.com" # {{unique}} {{recorded}} {{uuid}} {{seq}} {{now+1h}} {{shifted}} {{file:users.csv:email}}
//! chosen = false                     # true: only names of things that the session chose and made
//! ```

use std::fmt::Write;
use std::path::Path;

use replayer::correlate::{
    ANY_ROUTE, Injection, Missing, PatternError, Rule, RuleSet, SetRule, Table, Template,
};
use serde::Deserialize;

use crate::complain::{Complaint, Exit};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Written>,
    #[serde(default)]
    set: Vec<Set>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    #[serde(default = "any")]
    request: String,
    put: String,
    value: String,
    #[serde(default)]
    chosen: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Option<String>,
    #[serde(default = "any")]
    answer: String,
    take: String,
    into: Vec<Into>,
    #[serde(default)]
    missing: Option<String>,
    #[serde(default)]
    newest: bool,
    #[serde(default)]
    created: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Into {
    #[serde(default = "any")]
    request: String,
    put: String,
}

fn any() -> String {
    ANY_ROUTE.to_owned()
}

/// The rules in a file; its templates may refer to `tables`.
pub(crate) fn read(path: &Path, tables: &[Table]) -> Result<RuleSet, Complaint> {
    let text = std::fs::read_to_string(path).map_err(|error| Complaint::cannot_open(path, &error))?;
    parse(&text, tables).map_err(|wrong| Complaint::new(Exit::Input, path.display(), wrong.what, wrong.mend))
}

#[derive(Debug)]
struct Wrong {
    what: String,
    mend: String,
}

fn parse(text: &str, tables: &[Table]) -> Result<RuleSet, Wrong> {
    let file: File = toml::from_str(text).map_err(|error| Wrong {
        what: format!("line {}: {}", line_of(text, error.span()), error.message()),
        mend: "`highwater correlate CAPTURE --out FILE` writes one to begin with".to_owned(),
    })?;
    let mut rules = Vec::new();
    for (at, written) in file.rule.into_iter().enumerate() {
        rules.push(
            rule(written)
                .map_err(|wrong| Wrong { what: format!("rule {}: {}", at + 1, wrong.what), ..wrong })?,
        );
    }
    let mut sets = Vec::new();
    for (at, set) in file.set.into_iter().enumerate() {
        let wrong = |what: &dyn std::fmt::Display, mend: &str| Wrong {
            what: format!("set {}: {what}", at + 1),
            mend: mend.to_owned(),
        };
        let template = Template::parse(&set.value, tables).map_err(|error| wrong(&error, error.mend()))?;
        let place = set.put.parse().map_err(|error: PatternError| wrong(&error, error.mend()))?;
        let Set { request, value, chosen, .. } = set;
        sets.push(SetRule { route: request, place, text: value, template, chosen, naming: None });
    }
    Ok(RuleSet { rules, sets })
}

fn line_of(text: &str, span: Option<std::ops::Range<usize>>) -> usize {
    span.map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1)
}

fn rule(written: Written) -> Result<Rule, Wrong> {
    let wrong = |error: PatternError| Wrong { what: error.to_string(), mend: error.mend().to_owned() };
    let missing = match written.missing.as_deref() {
        None => Missing::default(),
        Some(word) => {
            Missing::ALL.into_iter().find(|missing| missing.as_str() == word).ok_or_else(|| Wrong {
                what: format!("missing = \"{word}\" is no policy"),
                mend: "recorded, skip or end-session".to_owned(),
            })?
        }
    };
    if written.into.is_empty() {
        return Err(Wrong {
            what: "goes nowhere".to_owned(),
            mend: "name a place: into = [{ put = \"form csrf\" }]".to_owned(),
        });
    }
    let into = written
        .into
        .into_iter()
        .map(|into| Ok(Injection { route: into.request, place: into.put.parse().map_err(wrong)? }))
        .collect::<Result<Vec<_>, Wrong>>()?;
    Ok(Rule {
        name: written.name.unwrap_or_else(|| {
            if written.answer == ANY_ROUTE {
                written.take.clone()
            } else {
                format!("{} of {}", written.take, written.answer)
            }
        }),
        route: written.answer,
        extractor: written.take.parse().map_err(wrong)?,
        into,
        newest: written.newest,
        created: written.created,
        missing,
        evidence: None,
    })
}

/// Rules as such a file.
pub(crate) fn written(rules: &RuleSet, captures: &str) -> String {
    let mut text = format!(
        "# Values that answers give and later requests send back, found in {}.\n\
         # Edit and extend it, then: highwater replay … --rules THIS_FILE\n\
         # take: cookie, header, location, json, input, meta, link, data, script, form, xml NAME, or text;\n\
         #       then, where that is an address: segment N, query NAME.\n\
         # put:  segment N, query, header, cookie, form, multipart, json, xml NAME, referer, or text.\n",
        captures.replace('\n', " ")
    );
    for rule in &rules.rules {
        let _ = writeln!(text, "\n[[rule]]");
        if let Some(evidence) = &rule.evidence {
            let _ = writeln!(
                text,
                "# confidence {:.2}, sent back {} times",
                evidence.confidence, evidence.bindings
            );
        }
        let _ = writeln!(text, "name = {}", quoted(&rule.name));
        let _ = writeln!(text, "answer = {}", quoted(&rule.route));
        let _ = writeln!(text, "take = {}", quoted(&rule.extractor.to_string()));
        let _ = writeln!(text, "into = [");
        for into in &rule.into {
            let (request, put) = (quoted(&into.route), quoted(&into.place.to_string()));
            let _ = writeln!(text, "    {{ request = {request}, put = {put} }},");
        }
        let _ = writeln!(text, "]");
        if rule.missing != Missing::Recorded {
            let _ = writeln!(text, "missing = {}", quoted(rule.missing.as_str()));
        }
        for (word, is_so) in [("newest", rule.newest), ("created", rule.created)] {
            if is_so {
                let _ = writeln!(text, "{word} = true");
            }
        }
    }
    for set in &rules.sets {
        let _ = writeln!(text, "\n[[set]]");
        if let Some(naming) = &set.naming {
            let _ = writeln!(text, "# names of things that sessions made: {}", naming.names);
        }
        let _ = writeln!(text, "request = {}", quoted(&set.route));
        let _ = writeln!(text, "put = {}", quoted(&set.place.to_string()));
        let _ = writeln!(text, "value = {}", quoted(&set.text));
        if set.chosen {
            let _ = writeln!(text, "chosen = true");
        }
    }
    text
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            letter if letter.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        let text = r#"
            [[rule]]
            name = "a \"quoted\" one"
            answer = "POST /orders"
            take = "json /data/id"
            into = [{ request = "GET /orders/{}", put = "segment 2" }, { put = "query order_id" }]
            missing = "end-session"
            newest = true
            created = true
            [[rule]]
            take = "cookie sid"
            into = [{ put = "cookie sid" }]
            [[set]]
            request = "POST /register"
            put = "form email"
            value = "u-{{seq}}@x.test"
            [[set]]
            request = "POST /index.php"
            put = "query title"
            value = "{{unique}}"
            chosen = true
        "#;
        let rules = parse(text, &[]).unwrap();
        assert_eq!(rules.rules[1].name, "cookie sid");
        assert_eq!(rules.rules[0].missing, Missing::EndSession);
        assert_eq!(parse(&written(&rules, "x.capture"), &[]).unwrap(), rules);
    }

    #[test]
    fn the_example_of_the_manual_is_a_file_of_rules() {
        let manual = include_str!("../../../docs/rules.md");
        let example = manual.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let keys = Table {
            name: "keys.csv".to_owned(),
            columns: vec!["secret".to_owned()],
            rows: vec![vec!["s".to_owned()]],
        };
        let rules = parse(example, &[keys]).unwrap();
        assert_eq!((rules.rules.len(), rules.sets.len()), (1, 2));
        assert_eq!(rules.rules[0].missing, Missing::Skip);
        // Every place that the manual names is one.
        for line in manual.lines().filter(|line| line.starts_with("| `") && !line.contains("{{")) {
            for place in line.split('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
                assert!(
                    place == "take" || place.parse::<replayer::correlate::Extractor>().is_ok(),
                    "{place}"
                );
            }
        }
    }

    #[test]
    fn a_wrong_rule_is_named_with_its_place_and_what_there_is() {
        for (text, what) in [
            (
                "[[rule]]\ntake = \"cooky a\"\ninto = [{ put = \"cookie a\" }]",
                "rule 1: 'cooky' is no place of a value",
            ),
            ("[[rule]]\ntake = \"cookie a\"\ninto = []", "rule 1: goes nowhere"),
            (
                "[[rule]]\ntake = \"cookie a\"\ninto = [{ put = \"segment a\" }]",
                "rule 1: 'a' is no segment; they count from 1",
            ),
            (
                "[[rule]]\ntake = \"cookie a\"\ninto = [{ put = \"cookie a\" }]\nmissing = \"x\"",
                "rule 1: missing = \"x\" is no policy",
            ),
        ] {
            assert_eq!(parse(text, &[]).unwrap_err().what, what);
        }
        assert!(
            parse("[[rule]]\ntook = 1", &[]).unwrap_err().what.starts_with("line 2: unknown field `took`")
        );
    }
}
