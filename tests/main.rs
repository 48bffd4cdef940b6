//! The real binary, real sockets, real servers.

#![expect(clippy::print_stderr, reason = "says what it skips and what it measured")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod complaints;
mod config;
mod deploy;
mod forecast;
mod import;
mod pipeline;
mod record;
mod replay;
mod report;
mod support;
mod tidy;
