//! Where a recording is written: segments, their names and limits, the medium under them.
//!
//! [`Roll`] decides when a segment ends and what becomes of what cannot be written; it sees files only
//! through a [`Shelf`], so that it can be tried against disks that fail in every way. [`Segments`] is the
//! shelf of real files.

mod disk;
mod names;
mod notices;
mod roll;
mod segments;
mod syncer;

pub(crate) use disk::{Outlook, outlook};
#[cfg(test)]
pub(crate) use roll::tests as memory;
pub(crate) use roll::{Roll, Shelf, Written};
pub use segments::{OutError, Segments};
