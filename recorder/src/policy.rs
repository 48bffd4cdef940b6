//! What is recorded of what passes: whose it is, which exchanges, how much of their bodies.
//!
//! The rules are read here and nowhere else, so that they mean the same in flags and in a file. They are
//! applied on the writer's thread, except for what is kept of a body: that is decided once, when it begins.

mod bodies;
mod glob;
mod keys;
mod rules;
mod sampling;
mod screen;

pub use bodies::{BodyRules, Kept};
pub use keys::{KeyRule, SessionPolicy};
pub use rules::{Filters, Rule};
pub use sampling::SamplingRatio;
pub use screen::take_coding_off;
pub(crate) use screen::{Screen, Verdict};

#[cfg(test)]
pub(crate) mod tests;
