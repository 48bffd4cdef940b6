//! What the user asked for: how servers are checked and what they are told.

use std::time::Duration;

use http::HeaderValue;

/// How servers are checked while they serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthChecks {
    /// What a server must do to pass.
    pub check: Check,
    /// The time between the end of a check and the next.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// After how many passed checks in a row a server that was down is up.
    pub rise: u32,
    /// After how many failed checks in a row a server that was up is down.
    pub fall: u32,
}

/// What a server must do to pass a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Take a connection, and speak TLS where it should.
    Tcp,
    /// Answer a GET with a success or a redirection.
    Http {
        /// The path that is asked for, with a `/` in front.
        path: String,
    },
}

/// A `Host` for the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostHeader(pub(crate) HeaderValue);

impl HostHeader {
    /// Reads `NAME` or `NAME:PORT`; `None` when a `Host` may not look so.
    pub fn parse(typed: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_graphic() && !b"@/\\?#\"<>,;".contains(&byte);
        let is_host = !typed.is_empty() && typed.bytes().all(allowed);
        HeaderValue::from_str(typed).ok().filter(|_| is_host).map(Self)
    }
}
