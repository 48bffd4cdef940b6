//! What a target answered, kept for a look at it, and in what two answers to the same request differ.
//!
//! ```text
//! replay ─▶ sample of whole sessions ─▶ a capture of the answers ─┐
//!                                                recorded answers ┴▶ Comparison ─▶ classes of difference
//! ```
//!
//! A replay keeps the answers of a bounded sample of sessions ([`KeepAnswers`]), each with the request as it was sent.
//! A [`Comparison`] lays them beside the recorded ones. Two things are no difference: a value that the replay put into
//! requests in place of a recorded one ([`pairs`]), and *noise*, whatever differs between two answers of the same target
//! to the same request ([`noise`]). Without a second answer, times and tokens are presumed to be noise, and named so.

mod compare;
mod difference;
mod json;
mod keep;
mod noise;
mod page;
mod pairs;
mod verdict;
mod words;

pub use difference::What;
pub use keep::{AnswersKept, KeepAnswers, Repeated, repeated};
pub(crate) use keep::{Keeper, KeptAnswer, MAX_ANSWER, keeping};
pub use verdict::{Class, Compared, Comparison, RouteVerdict, Tolerance};
