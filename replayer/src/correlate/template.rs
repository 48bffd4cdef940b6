//! Values that no answer gives: made for each copy of a session, or taken from a file of data.
//!
//! `{{unique}}` is the recorded value made different in every copy (a UUID becomes another), `{{recorded}}` the recorded value itself,
//! `{{uuid}}` a random UUID (version 4), `{{seq}}` a number that counts up, `{{now}}` or `{{now+1h}}` a moment in the
//! notation of the recorded value, `{{shifted}}` the recorded moment, as long after now as it was after the recording,
//! `{{file:NAME:COLUMN}}` a field of a row that belongs to this copy of the session, `{{jwt:NAME:COLUMN}}` the recorded
//! JSON Web Token with its times shifted, signed with the key in that field.

mod jwt;
mod moment;

use std::fmt;

use crate::schedule::mix;
use crate::stages::parse_length;
use moment::{moment, said};

/// A table of data: one row for each copy of a session; fewer rows are shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What it is called in templates.
    pub name: String,
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Its rows, each as long as there are columns.
    pub rows: Vec<Vec<String>>,
}

/// A text with places for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Recorded,
    Unique,
    Uuid,
    Seq,
    /// Seconds after now.
    Now(i64),
    /// The recorded moment, shifted by the time between the recording and now.
    Shifted,
    /// The table, and the column in it.
    File(usize, usize),
    /// The same, of the key of a token that is signed anew.
    Jwt(usize, usize),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// There is no such generator.
    Unknown(String),
    /// There is no such table of data, or no such column in it.
    NoColumn(String),
    /// `{{` without `}}`.
    Open,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => write!(f, "{{{{{word}}}}} makes nothing"),
            Self::NoColumn(word) => write!(f, "{{{{{word}}}}} names no column of a data file"),
            Self::Open => write!(f, "{{{{ lacks its }}}}"),
        }
    }
}

impl TemplateError {
    /// What to do about it.
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::Unknown(_) => {
                "there are {{unique}}, {{recorded}}, {{uuid}}, {{seq}}, {{now}}, {{now+1h}}, {{shifted}}, \
                 {{file:NAME:COLUMN}}, {{jwt:NAME:COLUMN}}"
            }
            Self::NoColumn(_) => "give the file with --data FILE; its first line names the columns",
            Self::Open => "write it like user-{{seq}}@example.com",
        }
    }
}

impl std::error::Error for TemplateError {}

/// For whom a value is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) seed: u64,
    pub(crate) copy: u32,
    /// Counted from 0.
    pub(crate) lap: u32,
    pub(crate) session: u32,
    pub(crate) sessions: u32,
    /// Tells the values of one session apart.
    pub(crate) slot: u32,
    /// A number that nobody else has.
    pub(crate) seq: u64,
    /// Now, in milliseconds since 1970-01-01 UTC.
    pub(crate) now_ms: i64,
    /// By how much the replay is later than the recording.
    pub(crate) later_ms: i64,
}

impl Template {
    /// Reads a template that may refer to `tables`.
    ///
    /// # Errors
    /// When it names what there is not.
    pub fn parse(text: &str, tables: &[Table]) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (word, after) = after.split_once("}}").ok_or(TemplateError::Open)?;
            parts.push(Piece::Text(before.to_owned()));
            parts.push(piece(word.trim(), tables)?);
            rest = after;
        }
        parts.push(Piece::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Piece::Text(text) if text.is_empty()));
        Ok(Self { parts })
    }

    /// The value for one copy of a session, where the recording had `recorded`.
    pub(crate) fn value(&self, recorded: &[u8], whose: &Whose, tables: &[Table]) -> Vec<u8> {
        let mut out = Vec::new();
        for part in &self.parts {
            match part {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Recorded => out.extend_from_slice(recorded),
                Piece::Unique => unique(recorded, whose, &mut out),
                Piece::Uuid => out.extend_from_slice(uuid(whose).as_bytes()),
                Piece::Seq => out.extend_from_slice(whose.seq.to_string().as_bytes()),
                Piece::Now(after) => {
                    out.extend_from_slice(moment(recorded, whose.now_ms + after * 1_000).as_bytes())
                }
                Piece::Shifted => match said(recorded) {
                    Some(at_ms) => out.extend_from_slice(moment(recorded, at_ms + whose.later_ms).as_bytes()),
                    None => out.extend_from_slice(recorded),
                },
                Piece::File(table, column) => {
                    out.extend_from_slice(cell(tables, *table, *column, whose).as_bytes());
                }
                Piece::Jwt(table, column) => {
                    let key = cell(tables, *table, *column, whose);
                    // `Bearer {{jwt:…}}` names again what the recorded value has before its token.
                    let recorded = recorded.strip_prefix(out.as_slice()).unwrap_or(recorded);
                    match jwt::signed(recorded, key.as_bytes(), whose.later_ms) {
                        Some(token) => out.extend_from_slice(&token),
                        None => out.extend_from_slice(recorded),
                    }
                }
            }
        }
        out
    }
}

fn piece(word: &str, tables: &[Table]) -> Result<Piece, TemplateError> {
    let unknown = || TemplateError::Unknown(word.to_owned());
    Ok(match word {
        "recorded" => Piece::Recorded,
        "unique" => Piece::Unique,
        "uuid" => Piece::Uuid,
        "seq" => Piece::Seq,
        "now" => Piece::Now(0),
        "shifted" => Piece::Shifted,
        _ => {
            if let Some((kind @ ("file" | "jwt"), place)) = word.split_once(':') {
                let no_column = || TemplateError::NoColumn(word.to_owned());
                let (name, column) = place.rsplit_once(':').ok_or_else(no_column)?;
                let table = tables.iter().position(|table| table.name == name).ok_or_else(no_column)?;
                let column =
                    tables[table].columns.iter().position(|known| known == column).ok_or_else(no_column)?;
                return Ok(if kind == "jwt" {
                    Piece::Jwt(table, column)
                } else {
                    Piece::File(table, column)
                });
            }
            let shift = word.strip_prefix("now").ok_or_else(unknown)?.trim();
            let (sign, length) = match (shift.strip_prefix('+'), shift.strip_prefix('-')) {
                (Some(length), _) => (1, length),
                (_, Some(length)) => (-1, length),
                _ => return Err(unknown()),
            };
            let length = parse_length(length.trim()).map_err(|_| unknown())?;
            Piece::Now(sign * i64::try_from(length.as_secs()).unwrap_or(0))
        }
    })
}

/// The field of the row that belongs to a copy of a session.
fn cell<'a>(tables: &'a [Table], table: usize, column: usize, whose: &Whose) -> &'a str {
    let rows = tables.get(table).map_or(&[][..], |table| &table.rows);
    rows.get(row_of(whose, rows.len())).and_then(|row| row.get(column)).map_or("", String::as_str)
}

/// Which row belongs to a copy of a session.
fn row_of(whose: &Whose, rows: usize) -> usize {
    let copies = u64::from(whose.copy) + u64::from(whose.lap) * 7_919;
    let number = copies * u64::from(whose.sessions) + u64::from(whose.session);
    usize::try_from(number % (rows.max(1) as u64)).unwrap_or(0)
}

/// The recorded value, with the numbers of copy and lap in it; the first copy keeps it as it was. They stand where
/// servers leave them when they make an address of it: before the `@` of an account, the extension of a file, or the
/// mark at the end of a sentence. A UUID becomes another one.
fn unique(recorded: &[u8], whose: &Whose, out: &mut Vec<u8>) {
    if whose.copy == 0 && whose.lap == 0 {
        out.extend_from_slice(recorded);
        return;
    }
    if is_uuid(recorded) {
        out.extend_from_slice(uuid(whose).as_bytes());
        return;
    }
    let at = recorded.iter().position(|&byte| byte == b'@').unwrap_or_else(|| end_of_stem(recorded));
    out.extend_from_slice(&recorded[..at]);
    out.extend_from_slice(format!("c{}l{}", whose.copy, whose.lap).as_bytes());
    out.extend_from_slice(&recorded[at..]);
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Where the last word of a name ends, without an extension.
fn end_of_stem(name: &[u8]) -> usize {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    if let Some(dot) = name.iter().rposition(|&byte| byte == b'.')
        && (1..=5).contains(&(name.len() - dot - 1))
        && name[dot + 1..].iter().all(u8::is_ascii_alphanumeric)
        && dot > 0
        && is_letter(&name[dot - 1])
    {
        return dot;
    }
    name.iter().rposition(is_letter).map_or(name.len(), |last| last + 1)
}

fn uuid(whose: &Whose) -> String {
    let low = mix(whose.seed ^ mix(u64::from(whose.copy) << 32 | u64::from(whose.session)));
    let high = mix(low ^ mix(u64::from(whose.lap) << 32 | u64::from(whose.slot)));
    let low = mix(high);
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xFFFF,
        high & 0xFFF,
        (low >> 48) & 0x3FFF | 0x8000,
        low & 0xFFFF_FFFF_FFFF
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// 2026-11-26 12:34:56.789 UTC, by `date -u -d @1795696496`.
    const NOW_MS: i64 = 1_795_696_496_789;

    fn whose(copy: u32, lap: u32, session: u32) -> Whose {
        Whose {
            seed: 1,
            copy,
            lap,
            session,
            sessions: 2,
            slot: 0,
            seq: 41,
            now_ms: NOW_MS,
            later_ms: 86_400_000,
        }
    }

    fn users() -> Table {
        let row = |name: &str| vec![name.to_owned(), format!("{name}@example.com")];
        Table {
            name: "users.csv".to_owned(),
            columns: vec!["name".to_owned(), "email".to_owned()],
            rows: vec![row("ann"), row("bob"), row("cid")],
        }
    }

    fn made(template: &str, recorded: &str, whose: &Whose) -> String {
        let tables = [users()];
        let value = Template::parse(template, &tables).unwrap().value(recorded.as_bytes(), whose, &tables);
        String::from_utf8(value).unwrap()
    }

    #[test]
    fn a_value_is_made_in_the_notation_of_the_recorded_one() {
        for (template, recorded, expected) in [
            ("user-{{seq}}@x.test", "", "user-41@x.test"),
            ("{{unique}}", "ann@x.test", "annc3l1@x.test"),
            ("{{unique}}", "ann", "annc3l1"),
            ("{{unique}}", "My Page", "My Pagec3l1"),
            ("{{unique}}", "Hello, World!", "Hello, Worldc3l1!"),
            ("{{unique}}", "notes.md", "notesc3l1.md"),
            ("{{unique}}", "???", "???c3l1"),
            ("{{recorded}}!", "ann", "ann!"),
            ("{{now}}", "2024-01-02", "2026-11-26"),
            ("{{now+1h}}", "2024-01-02T03:04:05Z", "2026-11-26T13:34:56Z"),
            ("{{now}}", "2024-01-02T03:04:05.678Z", "2026-11-26T12:34:56.789Z"),
            ("{{now}}", "2024-01-02 03:04", "2026-11-26 12:34"),
            ("{{now-1m}}", "1700000000", "1795696436"),
            ("{{now}}", "1700000000123", "1795696496789"),
            ("{{file:users.csv:email}}", "x", "bob@example.com"),
            ("{{shifted}}", "2024-02-28", "2024-02-29"),
            ("{{shifted}}", "2024-01-02T03:04:05Z", "2024-01-03T03:04:05Z"),
            ("{{shifted}}", "soon", "soon"),
            ("{{jwt:users.csv:email}}", "no token", "no token"),
            ("Bearer {{jwt:users.csv:email}}", "Bearer no token", "Bearer no token"),
        ] {
            assert_eq!(made(template, recorded, &whose(3, 1, 0)), expected, "{template} of {recorded}");
        }
        assert_eq!(made("{{unique}}", "ann", &whose(0, 0, 1)), "ann");
    }

    #[test]
    fn copies_get_rows_and_uuids_of_their_own() {
        let names: Vec<String> = [(0, 0), (0, 1), (1, 0), (1, 1)]
            .map(|(copy, session)| made("{{file:users.csv:name}}", "", &whose(copy, 0, session)))
            .to_vec();
        assert_eq!(names, ["ann", "bob", "cid", "ann"]);
        let uuids: BTreeSet<String> =
            (0..1_000).map(|copy| made("{{uuid}}", "", &whose(copy, copy % 3, copy % 7))).collect();
        assert_eq!(uuids.len(), 1_000);
        let one = uuids.first().unwrap();
        assert_eq!(&made("{{unique}}", one, &whose(0, 0, 0)), one);
        assert_eq!(made("{{unique}}", one, &whose(1, 0, 0)), made("{{uuid}}", one, &whose(1, 0, 0)));
        assert!(uuids.iter().all(|uuid| uuid.len() == 36 && uuid.as_bytes()[14] == b'4'));
    }

    #[test]
    fn what_makes_nothing_is_refused() {
        assert_eq!(Template::parse("{{uid}}", &[]), Err(TemplateError::Unknown("uid".to_owned())));
        assert_eq!(Template::parse("{{file:a:b}}", &[]), Err(TemplateError::NoColumn("file:a:b".to_owned())));
        assert_eq!(Template::parse("x{{", &[]), Err(TemplateError::Open));
    }
}
