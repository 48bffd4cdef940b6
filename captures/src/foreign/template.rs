//! Formats of log lines in nginx's own notation: `$remote_addr - $remote_user [$time_local] "$request" $status`.
//!
//! A variable ends where the text after it begins. Within quotes a backslash keeps a quote from ending it, as
//! nginx (`\x22`) and Apache (`\"`) write them.

use std::fmt;

/// A format of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    typed: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Variable(String),
}

impl Template {
    /// Reads a format.
    ///
    /// # Errors
    /// When it has no variable, or two without anything between them; says which.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = typed;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('$') {
                let (name, after) = match after.strip_prefix('{') {
                    Some(inner) => {
                        inner.split_once('}').ok_or_else(|| "a ${ is not closed by a }".to_owned())?
                    }
                    None => {
                        after.split_at(after.find(|letter: char| !is_word(letter)).unwrap_or(after.len()))
                    }
                };
                if name.is_empty() {
                    return Err("a $ has no name behind it".to_owned());
                }
                if matches!(parts.last(), Some(Part::Variable(_))) {
                    return Err(format!("nothing stands between ${name} and the variable before it"));
                }
                parts.push(Part::Variable(name.to_owned()));
                rest = after;
            } else {
                let end = rest.find('$').unwrap_or(rest.len());
                parts.push(Part::Text(rest.as_bytes()[..end].to_vec()));
                rest = &rest[end..];
            }
        }
        if !parts.iter().any(|part| matches!(part, Part::Variable(_))) {
            return Err("it has no $variable".to_owned());
        }
        Ok(Self { typed: typed.to_owned(), parts })
    }

    /// Whether the format names `variable`.
    pub(super) fn has(&self, variable: &str) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Variable(name) if name == variable))
    }

    /// Gives the values of `line` to `take`, each with its name; `false` when the line is of another format.
    /// What follows the end of the format is given as `rest`.
    pub(super) fn read<'a>(&'a self, line: &'a [u8], mut take: impl FnMut(&'a str, &'a [u8])) -> bool {
        let mut rest = line;
        let mut parts = self.parts.iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Text(text) => match rest.strip_prefix(text.as_slice()) {
                    Some(after) => rest = after,
                    None => return false,
                },
                Part::Variable(name) => {
                    let end = match parts.peek() {
                        Some(Part::Text(text)) => find(rest, text),
                        _ => Some(rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len())),
                    };
                    let Some(end) = end else { return false };
                    take(name, &rest[..end]);
                    rest = &rest[end..];
                }
            }
        }
        take("rest", rest);
        true
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.typed)
    }
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Where `text` begins in `line`; a quote after a backslash is none.
fn find(line: &[u8], text: &[u8]) -> Option<usize> {
    let first = *text.first()?;
    let mut at = 0;
    while at < line.len() {
        if first == b'"' && line[at] == b'\\' {
            at += 2;
            continue;
        }
        if line[at] == first && line[at..].starts_with(text) {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(template: &str, line: &str) -> Option<Vec<(String, String)>> {
        let template = Template::parse(template).unwrap();
        let mut found = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        template
            .read(line.as_bytes(), |name, value| found.push((name.to_owned(), text(value))))
            .then_some(found)
    }

    #[test]
    fn a_line_is_read_by_its_format() {
        let found = values("$a [$b] \"$c\" ${d}", r#"1 [2 3] "x \" y" 4 5"#).unwrap();
        let expected = [("a", "1"), ("b", "2 3"), ("c", r#"x \" y"#), ("d", "4"), ("rest", " 5")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(values("$a [$b]", "1 (2)"), None);
    }

    #[test]
    fn a_format_that_cannot_be_meant_is_refused() {
        for wrong in ["", "text", "$a$b", "$", "${a", "$a $"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
