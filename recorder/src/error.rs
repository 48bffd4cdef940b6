//! Why a recording cannot start, and how to mend it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a recording cannot start.
#[derive(Debug)]
pub enum RecordError {
    /// Something else listens there.
    ListenInUse {
        /// Where.
        address: SocketAddr,
    },
    /// The listening address cannot be used.
    CannotListen {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The upstream's name has no address.
    Unresolved {
        /// As typed.
        upstream: String,
        /// Why, in the resolver's words.
        reason: String,
    },
    /// The upstream is the recorder itself.
    Loop {
        /// The address that is both.
        address: SocketAddr,
    },
    /// A file of certificates or keys is of no use.
    Certificate {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// A listener is to speak TLS and has no certificate to show.
    NoCertificate,
    /// The certificates by which the machine trusts others are missing or broken.
    NoTrust {
        /// Why.
        reason: String,
    },
    /// The capture's first bytes cannot be written.
    CannotWrite {
        /// Why.
        error: io::Error,
    },
    /// The recording of an older process cannot be taken over, or not be offered to a newer one.
    CannotTakeOver {
        /// Why.
        error: io::Error,
    },
    /// The machine gives no threads or no randomness.
    Machine {
        /// Why.
        error: io::Error,
    },
}

impl RecordError {
    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::ListenInUse { .. } => "stop what listens there or give another --listen",
            Self::CannotListen { .. } => "give --listen an address of this machine and a port you may use",
            Self::Unresolved { .. } => "give --upstream HOST:PORT with a name that resolves",
            Self::Loop { .. } => "give --upstream the service, not the recorder",
            Self::Certificate { .. } => "give PEM files that can be read and belong together",
            Self::NoCertificate => "give --tls-cert FILE and --tls-key FILE",
            Self::NoTrust { .. } => "install ca-certificates or give --upstream-ca FILE",
            Self::CannotWrite { .. } => "give --out a path in a folder that exists and may be written",
            Self::CannotTakeOver { .. } => {
                "give --upgrade-socket a path in a folder that exists and is yours, or stop what is there"
            }
            Self::Machine { .. } => "free some memory or raise the limit of threads",
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListenInUse { .. } => write!(f, "address in use"),
            Self::CannotListen { error, .. } => write!(f, "cannot listen: {error}"),
            Self::Unresolved { reason, .. } => write!(f, "no address: {reason}"),
            Self::Loop { .. } => write!(f, "upstream is the address to listen on"),
            Self::Certificate { reason, .. } => write!(f, "{reason}"),
            Self::NoCertificate => write!(f, "wants TLS and has no certificate"),
            Self::NoTrust { reason } => write!(f, "the machine's own certificates cannot be used: {reason}"),
            Self::CannotWrite { error } => write!(f, "cannot be written: {error}"),
            Self::CannotTakeOver { error } => write!(f, "cannot be taken over or offered: {error}"),
            Self::Machine { error } => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for RecordError {}
