//! What a recording says while it runs, and at its end.

use std::net::SocketAddr;

use recorder::{Notice, RecordError, Totals};

use crate::complain::{reason, say};

/// Says what a user should know at once.
pub(in crate::commands) fn say_notice(file: &str, notice: &Notice) {
    match notice {
        Notice::UpstreamDown { server, address } => {
            say!("highwater: {}: is down", named(server, address));
        }
        Notice::UpstreamUp { server, address } => {
            say!("highwater: {}: is up again", named(server, address));
        }
        Notice::AcceptFailed(error) => {
            say!("highwater: record: cannot accept connections: {}; they wait until it can", reason(error));
        }
        Notice::TakenOver => say!("highwater: {file}: a newer process goes on with the recording"),
        Notice::WriteFailed(error) => say!(
            "highwater: {file}: cannot be written: {}; requests go on unrecorded until it can",
            reason(error)
        ),
        Notice::WriteResumed { lost } => {
            say!("highwater: {file}: is written again; {lost} exchanges were lost meanwhile");
        }
        Notice::WentOn { file: next } => {
            say!("highwater: {file}: could not be continued; recording goes on in {}", next.display());
        }
        Notice::RotationFailed(error) => say!(
            "highwater: {file}: the next capture cannot be begun: {}; the last one is continued until it can",
            reason(error)
        ),
        Notice::QuotaReached => {
            say!("highwater: {file}: --quota is used up; requests go on unrecorded until there is room");
        }
        Notice::SyncFailed(error) => say!(
            "highwater: {file}: cannot be brought onto the disk: {}; it would not survive a power cut",
            reason(error)
        ),
        Notice::CertificateRenewed { file } => {
            say!("highwater: {}: is read again, and shown from now on", file.display());
        }
        Notice::CertificateKept(error) => {
            let place = match error {
                RecordError::Certificate { file, .. } => file.display().to_string(),
                _ => "--tls-cert".to_owned(),
            };
            say!("highwater: {place}: {error}; what was shown before still is; {}", error.mend());
        }
    }
}

/// A server's address, with the server where that says more.
fn named(server: &str, address: &SocketAddr) -> String {
    let address = address.to_string();
    if server == address { format!("upstream {address}") } else { format!("upstream {server} ({address})") }
}

/// One line that says what became of every exchange.
pub(in crate::commands) fn summary(totals: &Totals, file: &str) -> String {
    let lost: u64 = totals.dropped.iter().map(|(_, count)| count).sum();
    let reasons: Vec<String> =
        totals.dropped.iter().map(|(reason, count)| format!("{} {count}", reason.as_str())).collect();
    let handshakes = match totals.failed_handshakes {
        0 => String::new(),
        count => format!(", {count} TLS handshakes failed"),
    };
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let files = if totals.files > 1 { format!("{} files, ", totals.files) } else { String::new() };
    format!(
        "seen {}, recorded {}, filtered {}, sampled out {}, dropped {lost}{reasons}, {} in {files}{file}{handshakes}",
        totals.seen, totals.recorded, totals.filtered, totals.sampled_out, totals.size
    )
}
