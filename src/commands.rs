//! One file per command: its flags, and the thread from files through one engine to files.

pub(crate) mod arrival;
pub(crate) mod capacity;
pub(crate) mod compare;
pub(crate) mod correlate;
pub(crate) mod cut;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod files;
pub(crate) mod forecast;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod model;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod report;
mod signals;
pub(crate) mod sniff;
