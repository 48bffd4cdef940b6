//! What was found, or what somebody wrote by hand: which value of which answers goes where in which requests.

use crate::correlate::pattern::{Extractor, Place};
use crate::correlate::template::Template;

/// The word for any route.
pub const ANY_ROUTE: &str = "*";

/// What to do with a request whose bound value is missing, because the answer that gives it failed or lacks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// Send the request as it was recorded.
    #[default]
    Recorded,
    /// Do not send it.
    Skip,
    /// Do not send it, nor anything later of that copy of the session.
    EndSession,
}

impl Missing {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Recorded, Self::Skip, Self::EndSession];

    /// Its word in rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Skip => "skip",
            Self::EndSession => "end-session",
        }
    }
}

/// Where the value of a rule goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Injection {
    /// The requests, by their route; `*` for all.
    pub route: String,
    /// The place in them.
    pub place: Place,
}

/// Where a value comes from and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// A name for people.
    pub name: String,
    /// The requests whose answers give it, by their route; `*` for all.
    pub route: String,
    /// Where in those answers.
    pub extractor: Extractor,
    /// Where it goes.
    pub into: Vec<Injection>,
    /// Whether a request takes the newest value of its session, even where the recorded one differs; else only a
    /// value that was the same in the recording is bound.
    pub newest: bool,
    /// Whether only identifiers are bound that the answer seems to have created: of the numbers in a list that
    /// everybody sees, the one that is this session's own.
    pub created: bool,
    /// What to do without the value.
    pub missing: Missing,
    /// Why it was proposed; `None` for what somebody wrote.
    pub evidence: Option<Evidence>,
}

/// What speaks for a rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// How sure it is that the value is a token of its session and no coincidence, in `0..=1`.
    pub confidence: f64,
    /// Values that were sent back.
    pub bindings: u64,
    /// Sessions in which they were.
    pub sessions: u64,
    /// Different values, as far as they were counted.
    pub values: u64,
    /// The share of those values that other sessions were given or sent as well, in `0..=1`.
    pub shared_ratio: f64,
    /// How often the same target gave another value when it was asked again.
    pub changed: u64,
    /// How often it gave the same one to another session.
    pub unchanged: u64,
    /// The share of the bindings whose answer seems to have created the value, in `0..=1`.
    pub created_ratio: f64,
    /// An exchange that gave it and one that sent it back.
    pub example: (u64, u64),
    /// The length of that value, in bytes.
    pub example_length: usize,
}

/// All rules of a replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSet {
    /// The rules, best first.
    pub rules: Vec<Rule>,
    /// Values that are made.
    pub sets: Vec<SetRule>,
}

/// A value that no answer gives: it is made for each copy of a session. Wherever the session sends the recorded value
/// again as a whole field, it sends the made one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRule {
    /// The requests, by their route; `*` for all.
    pub route: String,
    /// The place in them.
    pub place: Place,
    /// The template as it was written.
    pub text: String,
    /// What makes the value.
    pub template: Template,
    /// Whether it is made only for names of things that the session chose and made; then wherever the session sends
    /// such a name, before that request too, and in other spellings.
    pub chosen: bool,
    /// Why it was proposed, if it is for chosen names.
    pub naming: Option<Naming>,
}

/// What speaks for a rule that makes chosen names unique.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// Names that sessions brought, and with which they made something.
    pub names: u64,
    /// Sessions that did.
    pub sessions: u64,
    /// Names whose address answered 404 before, and 200 after.
    pub turned: u64,
    /// Names of which an answer said 201.
    pub created: u64,
    /// Names to whose address an answer led when a text was written for it.
    pub written: u64,
    /// An exchange that shows it.
    pub example: u64,
}

impl SetRule {
    /// A name for people.
    pub fn name(&self) -> String {
        format!("{} of {} = {}", self.place, self.route, self.text)
    }
}
