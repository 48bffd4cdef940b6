//! Shows what would be masked, on a sample.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use recorder::{Explanation, MaskPolicy};
use serde::Serialize;

use crate::commands::files;
use crate::complain::Complaint;

/// What is explained unless somebody brings a sample of their own.
const REQUEST: &[u8] =
    b"POST /pay;jsessionid=8E1C6A2F?lang=en&access_token=2YotnFZFEjr1zCsicMWpAA HTTP/1.1\r\n\
Host: shop.example\r\n\
User-Agent: Mozilla/5.0\r\n\
Cookie: theme=dark; sid=8f3Kq0ZmT1\r\n\
Authorization: Bearer 2YotnFZFEjr1zCsicMWpAA\r\n\
X-Api-Key: k-51f0a9\r\n\
Referer: https://shop.example/login?next=%2Fpay%3Ftoken%3D2YotnFZFEjr1zCsicMWpAA\r\n\
Content-Type: application/json\r\n\
\r\n\
{\"user\":{\"name\":\"Ada\",\"password\":\"correct horse\",\"pin\":4711},\"items\":[{\"id\":5,\"count\":2}],\
\"card\":\"4111 1111 1111 1111\",\"cvv\":\"123\",\"note\":\"db is postgres://ada:s3same@db/shop\"}";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
Set-Cookie: sid=8f3Kq0ZmT1; Path=/; HttpOnly\r\n\
Location: https://shop.example/done#id_token=eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.c2ln\r\n\
Content-Type: text/html\r\n\
\r\n\
<form><input type=\"hidden\" name=\"csrf_token\" value=\"Zm9vYmFy\"></form>";

#[derive(Serialize)]
struct Shown<'a> {
    place: &'a str,
    rule: &'a str,
    before: String,
    after: String,
}

/// Writes to stdout what `policy` masks in the message in the file `sample`, or in a built-in one.
pub(super) fn explain(policy: MaskPolicy, sample: Option<&Path>, as_json: bool) -> Result<(), Complaint> {
    let explanation = match sample {
        None => recorder::explain(policy, &[REQUEST, RESPONSE]),
        Some(path) => {
            let message = std::fs::read(path).map_err(|error| Complaint::cannot_open(path, &error))?;
            recorder::explain(policy, &[&message])
        }
    };
    let text = if as_json { json(&explanation) } else { text(&explanation) };
    files::to_stdout(|out| out.write_all(text.as_bytes()))
}

fn text(explanation: &Explanation) -> String {
    let mut text = String::new();
    for found in &explanation.found {
        let (before, after) = (readable(&found.before), readable(&found.after));
        let _ = writeln!(text, "{}: {before} -> {after} ({})", found.place, found.rule);
    }
    let count = explanation.found.len();
    let _ = writeln!(text, "{count} secrets masked; what would be stored:");
    for message in &explanation.stored {
        let _ = writeln!(text, "\n{}", printable(&String::from_utf8_lossy(message)));
    }
    text
}

fn json(explanation: &Explanation) -> String {
    let shown: Vec<Shown<'_>> = explanation
        .found
        .iter()
        .map(|found| Shown {
            place: &found.place,
            rule: &found.rule,
            before: String::from_utf8_lossy(found.before.trim_ascii()).into_owned(),
            after: String::from_utf8_lossy(found.after.trim_ascii()).into_owned(),
        })
        .collect();
    let stored: Vec<_> = explanation.stored.iter().map(|message| String::from_utf8_lossy(message)).collect();
    serde_json::json!({ "masked": shown, "stored": stored }).to_string() + "\n"
}

/// On one line, and not too long.
fn readable(secret: &[u8]) -> String {
    let text = String::from_utf8_lossy(secret.trim_ascii());
    let mut shown: String =
        text.chars().take(60).map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if text.chars().count() > 60 {
        shown += "…";
    }
    shown
}

/// A sample from somewhere is no reason to obey its escape sequences.
fn printable(text: &str) -> String {
    text.replace('\r', "")
        .chars()
        .map(|letter| if letter.is_control() && letter != '\n' { '.' } else { letter })
        .collect()
}
