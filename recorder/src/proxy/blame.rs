//! Says whose fault it was that the engine gave a request up: the client's, the upstream's or ours.

use std::io;

use captures::Ending;
use pingora::{Error, ErrorSource, ErrorType};
use rustix::io::Errno;

/// Whether no connection could be begun because *this* machine lacks something: descriptors, ports, memory,
/// permission. The engine has a type for most of that, and none for the rest.
pub(super) fn is_want_of_ours(error: &Error) -> bool {
    match error.etype() {
        ErrorType::InternalError | ErrorType::SocketError | ErrorType::BindError => true,
        ErrorType::ConnectError => {
            let cause = error.root_cause();
            let system: Option<&io::Error> =
                cause.downcast_ref().or_else(|| cause.source().and_then(|source| source.downcast_ref()));
            let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
            system.and_then(Errno::from_io_error).is_some_and(|errno| ours.contains(&errno))
        }
        _ => false,
    }
}

/// Whether the connection to the upstream broke.
pub(super) fn broke(error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream
        && matches!(error.etype(), ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError)
}

/// How an exchange ended that the engine gave up with `error`.
pub(super) fn ending_of(error: &Error) -> Ending {
    use ErrorType as Type;
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, Type::ReadTimedout | Type::WriteTimedout) => Ending::ClientTimedOut,
        // A stream that ends with an error of HTTP/2 was reset by the client, or its connection was lost: what
        // breaks the rules of HTTP/2 never becomes a request.
        (
            ErrorSource::Downstream,
            Type::ReadError | Type::WriteError | Type::ConnectionClosed | Type::H2Error,
        ) => Ending::ClientAborted,
        (ErrorSource::Downstream, _) => Ending::RequestInvalid,
        (
            ErrorSource::Upstream,
            Type::ConnectTimedout | Type::TLSHandshakeTimedout | Type::ReadTimedout | Type::WriteTimedout,
        ) => Ending::UpstreamTimedOut,
        (ErrorSource::Upstream, Type::InternalError) => Ending::ProxyFailed,
        (
            ErrorSource::Upstream,
            Type::ConnectRefused
            | Type::ConnectNoRoute
            | Type::ConnectError
            | Type::TLSHandshakeFailure
            | Type::InvalidCert
            | Type::HandshakeError,
        ) => Ending::UpstreamRefused,
        (ErrorSource::Upstream, Type::ReadError | Type::WriteError | Type::ConnectionClosed) => {
            Ending::UpstreamReset
        }
        (ErrorSource::Upstream, _) => Ending::UpstreamInvalid,
        (ErrorSource::Internal | ErrorSource::Unset, _) => Ending::ProxyFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blame_follows_the_side_that_failed() {
        let check = |error: Box<Error>, expected| assert_eq!(ending_of(&error), expected);

        check(Error::new_down(ErrorType::ConnectionClosed), Ending::ClientAborted);
        check(Error::new_down(ErrorType::H2Error), Ending::ClientAborted);
        check(Error::new_down(ErrorType::ReadTimedout), Ending::ClientTimedOut);
        check(Error::new_down(ErrorType::InvalidHTTPHeader), Ending::RequestInvalid);
        check(Error::new_up(ErrorType::ConnectRefused), Ending::UpstreamRefused);
        check(Error::new_up(ErrorType::TLSHandshakeFailure), Ending::UpstreamRefused);
        check(Error::new_up(ErrorType::ConnectTimedout), Ending::UpstreamTimedOut);
        check(Error::new_up(ErrorType::ConnectionClosed), Ending::UpstreamReset);
        check(Error::new_up(ErrorType::InvalidHTTPHeader), Ending::UpstreamInvalid);
        check(Error::new_up(ErrorType::InternalError), Ending::ProxyFailed);
        check(Error::new_in(ErrorType::InternalError), Ending::ProxyFailed);
    }

    #[test]
    fn a_connection_that_we_could_not_begin_is_no_fault_of_the_upstream() {
        let check = |errno: Errno, expected| {
            let cause = io::Error::from_raw_os_error(errno.raw_os_error());
            let error = Error::because(ErrorType::ConnectError, "connecting", cause);
            assert_eq!(is_want_of_ours(&error.more_context("to a peer")), expected, "{errno}");
        };
        check(Errno::NOBUFS, true);
        check(Errno::MFILE, true);
        check(Errno::CONNRESET, false);
        assert!(is_want_of_ours(&Error::new(ErrorType::SocketError)));
        assert!(is_want_of_ours(&Error::new(ErrorType::BindError)));
        assert!(!is_want_of_ours(&Error::new(ErrorType::ConnectRefused)));
        assert!(!is_want_of_ours(&Error::new(ErrorType::ConnectTimedout)));
    }
}
