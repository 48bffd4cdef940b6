//! A shop, its visitors, and what Highwater says about them.
//!
//! Every part of the story (the shop, the recorder, the replays, the model, the forecast) is a process of
//! its own, run by the same command line that a user types; nothing in here knows the inside of an engine.
//! Deliberately absent: any number handed to the model by the back door. What the demo knows of the
//! shop's ceiling serves to choose the levels of the replay, and for nothing else.

pub(crate) mod shop;
pub(crate) mod story;

mod check;
mod children;
mod clock;
mod folder;
mod history;
mod prediction;
mod visit;
mod visitors;
