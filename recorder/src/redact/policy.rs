//! What is done to secrets, as it was meant.

use std::io;

use sha2::{Digest, Sha256};

use super::names::{DEFAULT_FIELDS, DEFAULT_HEADERS, DEFAULT_QUERY};
use crate::error::RecordError;

/// What is done to secrets before they reach the file.
#[derive(Clone)]
pub enum MaskPolicy {
    /// Nothing: the capture holds them.
    None,
    /// They become keyed pseudonyms; everything else is stored as it was sent.
    Pseudonyms {
        /// The key: who has it can test guesses against the capture.
        key: [u8; 32],
        /// What a secret is.
        rules: MaskRules,
    },
}

/// What a secret is: by the name it has, or by its shape.
///
/// In the lists of names a `*` at either end stands for anything, a `!` in front says that it is none; the last
/// entry that fits a name decides. Case does not matter; in fields and parameters dashes and underscores do not
/// matter either, and of `user[pin]` or `user.pin` the last part counts as well as the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskRules {
    /// Names of headers.
    pub headers: Vec<String>,
    /// Names of cookies.
    pub cookies: Vec<String>,
    /// Names of parameters of queries, besides the fields.
    pub query: Vec<String>,
    /// Names of fields of JSON, forms and other text, or their paths: `$.user.pin`, `items[*].code`.
    pub fields: Vec<String>,
    /// Whether card numbers are secrets, wherever they stand.
    pub cards: bool,
    /// Whether what is shaped like a token is a secret, wherever it stands.
    pub tokens: bool,
}

impl MaskRules {
    /// What is masked unless something else is said.
    pub fn usual() -> Self {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            headers: list(&DEFAULT_HEADERS),
            cookies: list(&["*"]),
            query: list(&DEFAULT_QUERY),
            fields: list(&DEFAULT_FIELDS),
            cards: true,
            tokens: true,
        }
    }
}

impl MaskPolicy {
    /// Pseudonyms under a fresh random key, which is kept nowhere.
    ///
    /// # Errors
    /// When the machine gives no randomness.
    pub fn with_random_key(rules: MaskRules) -> Result<Self, RecordError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| RecordError::Machine { error: io::Error::other(error) })?;
        Ok(Self::Pseudonyms { key, rules })
    }

    /// Pseudonyms under the key that `text` is, so that captures of one key can be linked: 64 hexadecimal
    /// digits, or at least 16 bytes of anything else. Line ends around it do not count. `None` when it is
    /// shorter.
    pub fn with_key(text: &[u8], rules: MaskRules) -> Option<Self> {
        let text = text.trim_ascii();
        let digits: Vec<u8> =
            text.iter().filter_map(|&byte| Some(char::from(byte).to_digit(16)? as u8)).collect();
        let key = match (text.len(), digits.len()) {
            (64, 64) => std::array::from_fn(|at| digits[2 * at] << 4 | digits[2 * at + 1]),
            (16.., _) => Sha256::digest(text).into(),
            _ => return None,
        };
        Some(Self::Pseudonyms { key, rules })
    }
}

impl std::fmt::Debug for MaskPolicy {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => write!(f, "None"),
            Self::Pseudonyms { rules, .. } => write!(f, "Pseudonyms {{ rules: {rules:?} }}"),
        }
    }
}
