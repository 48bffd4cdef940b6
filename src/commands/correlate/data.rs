//! Data files: tables in CSV with a head line (RFC 4180), or in JSONL.

use std::path::Path;

use replayer::correlate::Table;
use serde_json::{Map, Value};

use crate::complain::{Complaint, Exit};

/// A table, called by the name of its file.
pub(crate) fn read(path: &Path) -> Result<Table, Complaint> {
    let text = std::fs::read_to_string(path).map_err(|error| Complaint::cannot_open(path, &error))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parsed = if text.trim_start().starts_with('{') { jsonl(&text) } else { csv(&text) };
    let (columns, rows) = parsed.map_err(|what| {
        Complaint::new(
            Exit::Input,
            path.display(),
            what,
            "give CSV whose first line names the columns, or JSONL",
        )
    })?;
    Ok(Table { name, columns, rows })
}

type Parsed = Result<(Vec<String>, Vec<Vec<String>>), String>;

fn csv(text: &str) -> Parsed {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut letters = text.strip_prefix('\u{FEFF}').unwrap_or(text).chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\r' if !quoted && letters.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            letter => field.push(letter),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    rows.retain(|row| row.len() > 1 || row.first().is_some_and(|field| !field.is_empty()));
    let mut rows = rows.into_iter();
    let columns = rows.next().ok_or("is empty")?;
    let rows: Vec<Vec<String>> = rows.collect();
    match rows.iter().position(|row| row.len() != columns.len()) {
        Some(at) => {
            Err(format!("row {} has {} fields, the head line {}", at + 1, rows[at].len(), columns.len()))
        }
        None if rows.is_empty() => Err("has no row".to_owned()),
        None => Ok((columns, rows)),
    }
}

fn jsonl(text: &str) -> Parsed {
    let mut columns: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let object: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", at + 1))?;
        if columns.is_empty() {
            columns = object.keys().cloned().collect();
        }
        let row = columns.iter().map(|column| match object.get(column) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Ok(other.to_string()),
            None => Err(format!("line {}: lacks {column}", at + 1)),
        });
        rows.push(row.collect::<Result<Vec<_>, _>>()?);
    }
    Ok((columns, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_in_both_forms() {
        let expected = (
            vec!["name".to_owned(), "note".to_owned()],
            vec![vec!["ann".to_owned(), "a \"b\", c".to_owned()], vec!["bob".to_owned(), String::new()]],
        );
        assert_eq!(csv("name,note\r\nann,\"a \"\"b\"\", c\"\nbob,\n").unwrap(), expected);
        let lines = "{\"name\":\"ann\",\"note\":\"a \\\"b\\\", c\"}\n\n{\"note\":\"\",\"name\":\"bob\"}";
        assert_eq!(jsonl(lines).unwrap(), expected);
    }

    #[test]
    fn a_table_that_does_not_fit_is_refused_with_its_row() {
        assert_eq!(csv("a,b\n1,2\n3").unwrap_err(), "row 2 has 1 fields, the head line 2");
        assert_eq!(csv("a,b\n").unwrap_err(), "has no row");
        assert_eq!(jsonl("{\"a\":1}\n{\"b\":1}").unwrap_err(), "line 2: lacks a");
    }
}
