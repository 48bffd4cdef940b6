//! Finds the values that an answer gave and a later request of the same session sent back, and binds them.
//!
//! ```text
//! exchanges ─▶ Finder ─▶ Found (rules, with evidence) ─▶ Binder ─▶ bindings of a plan ─▶ patches, per session copy
//! ```
//!
//! An answer and a request are taken apart into named pieces (`answer`, `asked`); a value that occurs in both is
//! a *candidate*, and evidence over the whole capture decides whether it is a token or a coincidence (`evidence`).
//! Values are compared as hashes: nothing of a capture is kept but names, and masked captures work as well as
//! others, since equal secrets have equal pseudonyms.
//!
//! Everything here is pure. What grows is bounded, and what fell over a bound is counted.

mod accounts;
mod answer;
pub(crate) mod asked;
pub(crate) mod bind;
mod evidence;
mod find;
mod flow;
pub(crate) mod kept;
pub(crate) mod links;
pub(crate) mod live;
mod memory;
mod names;
pub(crate) mod pattern;
pub(crate) mod render;
mod rules;
mod take;
mod template;
mod track;
pub(crate) mod value;

pub use accounts::is_same_field;
pub(crate) use answer::html as markup;
pub(crate) use answer::{Language, path_and_query};
pub use bind::Binder;
#[cfg(test)]
pub(crate) use find::tests::{Traffic, answer};
pub use find::{Finder, Found, Overflow};
pub use flow::LoginFlow;
pub use links::Making;
pub use live::Applied;
pub use pattern::{Extractor, GivenKind, Part, PatternError, Place, PlaceKind};
pub use rules::{ANY_ROUTE, Evidence, Injection, Missing, Naming, Rule, RuleSet, SetRule};
pub(crate) use take::{dechunked, final_answer};
pub use template::{Table, Template, TemplateError};
pub(crate) use track::received;
