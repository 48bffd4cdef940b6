//! What somebody should hear of at once.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::error::RecordError;

/// What somebody should hear of.
#[derive(Debug)]
pub enum Notice {
    /// A server's address takes no connections, or fails its checks.
    UpstreamDown {
        /// The server, as typed.
        server: String,
        /// The address.
        address: SocketAddr,
    },
    /// It is well again.
    UpstreamUp {
        /// The server, as typed.
        server: String,
        /// The address.
        address: SocketAddr,
    },
    /// A connection could not be accepted: the machine lacks something.
    AcceptFailed(io::Error),
    /// A newer process has taken over.
    TakenOver,
    /// The capture cannot be written any longer: exchanges pass unrecorded.
    WriteFailed(io::Error),
    /// The capture can be written again.
    WriteResumed {
        /// The exchanges lost to failed writes since the start.
        lost: u64,
    },
    /// The file could not be continued; recording went on in another.
    WentOn {
        /// The other.
        file: PathBuf,
    },
    /// The next segment cannot be begun; the old one goes on.
    RotationFailed(io::Error),
    /// The files are as large as they may be, and nothing can be removed: exchanges pass unrecorded.
    QuotaReached,
    /// What was written could not be brought onto the medium.
    SyncFailed(io::Error),
    /// Another certificate is shown to clients from now on.
    CertificateRenewed {
        /// The file it came from.
        file: PathBuf,
    },
    /// New files are of no use: clients are shown the certificate that was there before.
    CertificateKept(RecordError),
}
