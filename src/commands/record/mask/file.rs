//! Reads a file that says what a secret is.
//!
//! It adds to the defaults and takes from them; a key it does not know is refused, never ignored.

use std::ops::Range;
use std::path::Path;

use recorder::MaskRules;
use toml::de::{DeTable, DeValue};

use crate::complain::{Complaint, Exit};

const LISTS: &str =
    "[headers], [cookies], [query] and [fields] have `add` and `keep`; [text] has `cards` and `tokens`";

/// The usual rules, and what the file at `path` adds to them and takes from them.
pub(super) fn rules(path: &Path) -> Result<MaskRules, Complaint> {
    let text = std::fs::read_to_string(path).map_err(|error| Complaint::cannot_open(path, &error))?;
    Policy { path, text: &text }.rules()
}

struct Policy<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Policy<'_> {
    fn rules(&self) -> Result<MaskRules, Complaint> {
        let root = DeTable::parse(self.text).map_err(|error| {
            self.refuse(
                error.span().unwrap_or_default(),
                error.message(),
                "mend the TOML, see https://toml.io",
            )
        })?;
        let mut rules = MaskRules::usual();
        for (section, table) in root.get_ref() {
            let name: &str = section.get_ref();
            let DeValue::Table(keys) = table.get_ref() else {
                return Err(self.refuse(section.span(), format!("`{name}` is no table"), LISTS));
            };
            for (key, value) in keys {
                let key_name: &str = key.get_ref();
                let list = match name {
                    "headers" => Some(&mut rules.headers),
                    "cookies" => Some(&mut rules.cookies),
                    "query" => Some(&mut rules.query),
                    "fields" => Some(&mut rules.fields),
                    _ => None,
                };
                match (list, name, key_name, value.get_ref()) {
                    (Some(list), _, "add" | "keep", DeValue::Array(names)) => {
                        for name in names {
                            let DeValue::String(text) = name.get_ref() else {
                                return Err(self.refuse(
                                    name.span(),
                                    "a name is a text",
                                    "write it in quotes",
                                ));
                            };
                            list.push(self.entry(text, key_name == "keep", name.span())?);
                        }
                    }
                    (Some(_), _, "add" | "keep", _) => {
                        let what = format!("`{key_name}` is a list of names");
                        return Err(self.refuse(value.span(), what, "e.g. add = [\"x-mine\", \"*-key\"]"));
                    }
                    (None, "text", "cards", DeValue::Boolean(on)) => rules.cards = *on,
                    (None, "text", "tokens", DeValue::Boolean(on)) => rules.tokens = *on,
                    (None, "text", "cards" | "tokens", _) => {
                        return Err(self.refuse(
                            value.span(),
                            format!("`{key_name}` is true or false"),
                            LISTS,
                        ));
                    }
                    (Some(_), ..) | (None, "text", ..) => {
                        return Err(self.refuse(
                            key.span(),
                            format!("`{key_name}` is no key of [{name}]"),
                            LISTS,
                        ));
                    }
                    _ => {
                        return Err(self.refuse(section.span(), format!("[{name}] is no table here"), LISTS));
                    }
                }
            }
            if !["headers", "cookies", "query", "fields", "text"].contains(&name) {
                return Err(self.refuse(section.span(), format!("[{name}] is no table here"), LISTS));
            }
        }
        Ok(rules)
    }

    /// The entry for `name`, which is a secret or is kept as it is.
    fn entry(&self, name: &str, is_kept: bool, at: Range<usize>) -> Result<String, Complaint> {
        let name = name.trim();
        let inner = name.strip_prefix('*').unwrap_or(name);
        let inner = inner.strip_suffix('*').unwrap_or(inner);
        let is_path = name.contains(['$', '.', '[']);
        if name.is_empty() || name.starts_with('!') || (inner.contains('*') && !is_path) {
            return Err(self.refuse(at, format!("`{name}` is no name"), "a `*` may stand at either end"));
        }
        if is_kept && name.contains(['$', '[']) {
            return Err(self.refuse(at, "a path cannot be kept", "keep the name of the field"));
        }
        Ok(if is_kept { format!("!{name}") } else { name.to_owned() })
    }

    fn refuse(&self, at: Range<usize>, what: impl std::fmt::Display, mend: &str) -> Complaint {
        let before = &self.text.as_bytes()[..at.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Complaint::new(Exit::Usage, format!("{}:{line}", self.path.display()), what, mend)
    }
}
