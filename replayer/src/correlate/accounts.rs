//! Sees which requests log in or make an account, and which values no two copies may share.
//!
//! A replay of five copies makes five accounts: their names must differ, or the target refuses four of them. So must
//! the names that pages have in their addresses (slugs). A key that makes a request idempotent must differ too, or the
//! target answers four of five from memory.

use crate::correlate::asked::Field;
use crate::correlate::pattern::{Place, PlaceKind};
use crate::correlate::rules::{ANY_ROUTE, Injection, SetRule};
use crate::correlate::template::Template;

/// The most such places.
const MAX_PLACES: usize = 256;

#[derive(Default)]
pub(crate) struct Accounts {
    pub(crate) sets: Vec<SetRule>,
    pub(crate) logins: Vec<Injection>,
    /// Of the request at hand.
    fields: Vec<Place>,
    /// Its names of things that no two may share.
    names: Vec<Place>,
    has_password: bool,
}

impl Accounts {
    pub(crate) fn on_field(&mut self, field: &Field<'_>) {
        match field.kind {
            PlaceKind::Header if field.name.ends_with(b"idempotency-key") => {
                let text = if field.value.len() == 36 { "{{uuid}}" } else { "{{unique}}" };
                self.set(ANY_ROUTE, place(field), text);
            }
            PlaceKind::Form | PlaceKind::Json | PlaceKind::Multipart if field.value.len() <= 256 => {
                if is_one_of(&field.name, &ADDRESSES)
                    && !field.value.is_empty()
                    && self.names.len() < MAX_PLACES
                {
                    self.names.push(place(field));
                }
                let word = last_word(&String::from_utf8_lossy(&field.name));
                self.has_password |= is_password(&word);
                if is_account(&word) || is_password(&word) {
                    self.fields.push(place(field));
                }
            }
            _ => {}
        }
    }

    /// The request at hand is over; `went_well`: its answer says so.
    pub(crate) fn on_request(&mut self, route: &str, went_well: bool) {
        for place in std::mem::take(&mut self.names) {
            if went_well && route.starts_with("POST ") {
                self.set(route, place, "{{unique}}");
            }
        }
        let fields = std::mem::take(&mut self.fields);
        if !std::mem::take(&mut self.has_password) {
            return;
        }
        let makes_account = went_well && route.starts_with("POST ") && makes_account(route);
        for place in fields {
            if makes_account && !is_password(&last_word(&place.name)) {
                self.set(route, place.clone(), "{{unique}}");
            }
            let injection = Injection { route: route.to_owned(), place };
            if self.logins.len() < MAX_PLACES && !self.logins.contains(&injection) {
                self.logins.push(injection);
            }
        }
    }

    fn set(&mut self, route: &str, place: Place, text: &str) {
        let is_known = self.sets.iter().any(|set| set.route == route && set.place == place);
        if let Ok(template) = Template::parse(text, &[])
            && !is_known
            && self.sets.len() < MAX_PLACES
        {
            let (route, text) = (route.to_owned(), text.to_owned());
            self.sets.push(SetRule { route, place, text, template, chosen: false, naming: None });
        }
    }
}

/// What a password's field is called, and what the name of an account is.
const PASSWORDS: [&str; 10] = [
    "password",
    "passwd",
    "pass",
    "pwd",
    "passphrase",
    "password1",
    "password2",
    "passwordconfirmation",
    "pin",
    "p",
];
const NAMES: [&str; 13] = [
    "email",
    "mail",
    "emailaddress",
    "username",
    "user",
    "login",
    "userid",
    "name",
    "nick",
    "nickname",
    "wpname",
    "phone",
    "u",
];

/// What a field is called that names a page or thing in its address: two of one name cannot be.
const ADDRESSES: [&str; 2] = ["slug", "permalink"];

fn place(field: &Field<'_>) -> Place {
    Place { kind: field.kind, name: String::from_utf8_lossy(&field.name).into_owned() }
}

fn makes_account(route: &str) -> bool {
    let route = route.to_ascii_lowercase();
    let words =
        ["register", "registration", "signup", "sign-up", "sign_up", "join", "enroll", "accounts", "users"];
    route.split(['/', ' ']).any(|segment| words.contains(&segment))
}

/// Whether a column of data is meant for a field: their names are the same, or both are words for a password or both for
/// the name of an account.
pub fn is_same_field(field: &str, column: &str) -> bool {
    let last = last_word(field);
    last == last_word(column)
        || (is_password(&last) && last_word(column) == "password")
        || (is_account(&last)
            && matches!(last_word(column).as_str(), "username" | "user" | "email" | "login"))
}

/// Whether the last word of a field's name says that it holds a password: `password`, `j_password`, `wpPassword`.
pub(crate) fn is_password(word: &str) -> bool {
    PASSWORDS.contains(&word) || word.ends_with("password")
}

/// Whether the last word of a field's name says that it names an account: `user`, `j_username`.
fn is_account(word: &str) -> bool {
    NAMES.contains(&word) || ["username", "email", "login"].iter().any(|end| word.ends_with(end))
}

/// Whether a field's name, of `user[email]` and `/user/email` the last word, is one of `names`.
fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names.contains(&last_word(&String::from_utf8_lossy(name)).as_str())
}

pub(crate) fn last_word(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let last = name.trim_end_matches(']').rsplit(['/', '[', '.', ':']).next().unwrap_or_default();
    last.chars().filter(char::is_ascii_alphanumeric).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_page_in_its_address_is_made_unique_where_one_is_made() {
        let field = |name: &'static str, value: &'static str| Field {
            kind: PlaceKind::Form,
            name: std::borrow::Cow::Borrowed(name.as_bytes()),
            range: 0..0,
            written: crate::correlate::asked::Written::Form,
            value: std::borrow::Cow::Borrowed(value.as_bytes()),
            before: b"",
        };
        let mut accounts = Accounts::default();
        for (route, value, went_well) in [
            ("POST /pages/add", "first", true),
            ("POST /pages/check", "first", false),
            ("POST /empty", "", true),
        ] {
            accounts.on_field(&field("slug", value));
            accounts.on_request(route, went_well);
        }
        let made: Vec<String> = accounts.sets.iter().map(SetRule::name).collect();
        assert_eq!(made, ["form slug of POST /pages/add = {{unique}}"]);
    }

    #[test]
    fn columns_find_their_fields() {
        for (field, column, is_same) in [
            ("user[email]", "email", true),
            ("/credentials/password", "Password", true),
            ("passwd", "password", true),
            ("j_password", "password", true),
            ("wpName", "username", true),
            ("j_username", "username", true),
            ("login", "username", true),
            ("password", "username", false),
            ("quantity", "email", false),
        ] {
            assert_eq!(is_same_field(field, column), is_same, "{field} {column}");
        }
    }
}
