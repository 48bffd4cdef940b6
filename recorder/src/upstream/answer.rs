//! Says what a client is told, and what is written down, when the upstream fails.
//!
//! The codes are those that users of nginx know: 504 when the server took too long, 502 for everything else it
//! can do wrong. The answer names no software.

use http::header::{CACHE_CONTROL, CONTENT_LENGTH};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType, Result};

/// The status that a client gets for `error`; zero when there is nobody to tell.
pub(crate) fn status_for(error: &Error) -> u16 {
    use ErrorType as Type;
    match (error.etype(), error.esource()) {
        (Type::HTTPStatus(status), _) => *status,
        (
            Type::ConnectTimedout | Type::TLSHandshakeTimedout | Type::ReadTimedout | Type::WriteTimedout,
            ErrorSource::Upstream,
        ) => 504,
        (_, ErrorSource::Upstream) => 502,
        (Type::WriteError | Type::ReadError | Type::ConnectionClosed, ErrorSource::Downstream) => 0,
        (_, ErrorSource::Downstream) => 400,
        (_, ErrorSource::Internal | ErrorSource::Unset) => 500,
    }
}

/// An answer of our own without a body.
///
/// # Errors
/// When `status` is none.
pub(crate) fn refusal(status: u16) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(4))?;
    head.insert_header(CONTENT_LENGTH, "0")?;
    head.insert_header(CACHE_CONTROL, "private, no-store")?;
    Ok(head)
}

/// What the upstream did, in a few words; `answered` says whether an answer had begun. Empty when the error is
/// not the upstream's.
pub(crate) fn what_happened(error: &Error, answered: bool) -> String {
    use ErrorType as Type;
    if *error.esource() != ErrorSource::Upstream {
        return String::new();
    }
    let when = if answered { "while the answer came" } else { "before the answer" };
    match error.etype() {
        Type::ConnectRefused => "connect refused".to_owned(),
        Type::ConnectTimedout => "connect timed out".to_owned(),
        Type::ConnectNoRoute => "no route".to_owned(),
        Type::ConnectError => "connect failed".to_owned(),
        Type::TLSHandshakeTimedout => "tls: timed out".to_owned(),
        Type::TLSHandshakeFailure | Type::HandshakeError | Type::InvalidCert => {
            // What the other side said or showed is nobody's secret. Behind what the engine says of itself
            // stands what was wrong, and the name that was asked for.
            let said = error.context.as_ref().map_or("", |said| said.as_str());
            format!("tls: {}", said.rsplit_once("cause: ").map_or(said, |(_, wrong)| wrong))
        }
        Type::ReadTimedout => format!("read timed out {when}"),
        Type::WriteTimedout => "write timed out".to_owned(),
        Type::ConnectionClosed => format!("closed {when}"),
        Type::ReadError => format!("reset {when}"),
        Type::WriteError => format!("reset {when}, while the request was sent"),
        Type::InvalidHTTPHeader => "answer invalid".to_owned(),
        other => other.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_504_and_what_fails_is_502() {
        let check = |error: Box<Error>, expected| assert_eq!(status_for(&error), expected, "{error}");
        check(Error::new_up(ErrorType::ConnectTimedout), 504);
        check(Error::new_up(ErrorType::TLSHandshakeTimedout), 504);
        check(Error::new_up(ErrorType::ReadTimedout), 504);
        check(Error::new_up(ErrorType::WriteTimedout), 504);
        check(Error::new_up(ErrorType::ConnectRefused), 502);
        check(Error::new_up(ErrorType::ConnectionClosed), 502);
        check(Error::new_up(ErrorType::InvalidHTTPHeader), 502);
        check(Error::new_down(ErrorType::ReadTimedout), 400);
        check(Error::new_down(ErrorType::ReadError), 0);
        check(Error::new_down(ErrorType::HTTPStatus(413)), 413);
        check(Error::new_in(ErrorType::InternalError), 500);
    }

    #[test]
    fn our_own_answers_name_no_software() {
        let mut wire = Vec::new();
        refusal(504).unwrap().header_to_h1_wire(&mut wire);
        assert_eq!(wire, b"Content-Length: 0\r\nCache-Control: private, no-store\r\n");
    }
}
