//! Puts the fields of a message back into the order in which they were received.
//!
//! The engine keeps fields in a table: taking one out moves the last into its place. A message that lost a
//! field of its connection (`Connection` itself, `Keep-Alive`, …) is therefore rebuilt in the received order;
//! what the engine or we added goes last. One thing the table cannot hold: fields of one name that do not
//! follow one another are written together, where the first stood.

use http::{HeaderMap, header};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

/// Puts `request` into the order of `received`, from which it was made, and gives it the names' case back.
///
/// # Errors
/// When the engine refuses a field that it has taken before.
pub(crate) fn in_received_order(received: &RequestHeader, request: &mut RequestHeader) -> Result<()> {
    if !request.has_case() || is_in_order(&received.headers, &request.headers) {
        return Ok(());
    }
    let size = Some(request.headers.len());
    let mut ordered = RequestHeader::build(request.method.clone(), request.raw_path(), size)?;
    ordered.set_version(request.version);
    *ordered.extensions_mut() = request.extensions.clone();
    let mut names = received.case_header_iter().map(|(name, _)| name);
    for key in received.headers.keys() {
        let mut values = request.headers.get_all(key).iter();
        for name in names.by_ref().take(received.headers.get_all(key).iter().count()) {
            if let Some(value) = values.next() {
                ordered.append_header(name.clone(), value.clone())?;
            }
        }
        for value in values {
            ordered.append_header(key, value.clone())?;
        }
    }
    for ((name, value), key) in request.case_header_iter().zip(request.headers.iter().map(|(key, _)| key)) {
        if !received.headers.contains_key(key) {
            ordered.append_header(name.clone(), value.clone())?;
        }
    }
    *request = ordered;
    Ok(())
}

/// Takes out of an answer what spoke of the upstream's connection only, and keeps the order of the rest.
///
/// # Errors
/// When the engine refuses a field that it has taken before.
pub(crate) fn without_hop_by_hop(head: &mut ResponseHeader) -> Result<()> {
    let nominated = nominated(&head.headers);
    let leaves = |key: &header::HeaderName| {
        key == "keep-alive" || key == "proxy-connection" || nominated.iter().any(|name| key == name)
    };
    if !head.has_case() {
        return Ok(());
    }
    take_out(head, leaves)
}

/// Takes the framing in chunks off an answer to a client of HTTP/1.0, which knows none; whether there was any. The end of
/// the connection then ends the body.
///
/// # Errors
/// When the engine refuses a field that it has taken before.
pub(crate) fn without_chunks(head: &mut ResponseHeader) -> Result<bool> {
    let has_chunks = head.headers.contains_key(header::TRANSFER_ENCODING);
    take_out(head, |key| key == header::TRANSFER_ENCODING)?;
    Ok(has_chunks)
}

fn take_out(head: &mut ResponseHeader, leaves: impl Fn(&header::HeaderName) -> bool) -> Result<()> {
    if !head.headers.keys().any(&leaves) {
        return Ok(());
    }
    let mut kept = ResponseHeader::build(head.status, Some(head.headers.len()))?;
    kept.set_version(head.version);
    kept.set_reason_phrase(head.get_reason_phrase())?;
    *kept.extensions_mut() = head.extensions.clone();
    for ((name, value), key) in head.case_header_iter().zip(head.headers.iter().map(|(key, _)| key)) {
        if !leaves(key) {
            kept.append_header(name.clone(), value.clone())?;
        }
    }
    *head = kept;
    Ok(())
}

/// The fields that `Connection` says to be of this connection only, but for those that frame the message.
fn nominated(headers: &HeaderMap) -> Vec<header::HeaderName> {
    let tokens = headers.get_all(header::CONNECTION).iter();
    tokens
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|token| header::HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| {
            ![header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING, header::CONTENT_LENGTH]
                .contains(name)
        })
        .collect()
}

/// Whether the fields in `now` that were received stand in the received order, and before the others.
fn is_in_order(received: &HeaderMap, now: &HeaderMap) -> bool {
    let mut names = received.keys();
    now.keys().all(|key| names.any(|name| name == key) || !received.contains_key(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", b"http://shop/a?b", None).unwrap();
        for &(name, value) in fields {
            head.append_header(name, value).unwrap();
        }
        head
    }

    fn wire(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut wire = Vec::new();
        write(&mut wire);
        String::from_utf8(wire).unwrap()
    }

    #[test]
    fn a_request_that_lost_a_field_keeps_the_order_and_case_of_the_others() {
        let received = request(&[
            ("hOST", "shop"),
            ("connection", "keep-alive"),
            ("X-b", "1"),
            ("ACCEPT", "*/*"),
            ("x-B", "2"),
            ("Last", "z"),
        ]);
        let mut sent = received.clone();
        sent.remove_header("connection");
        sent.insert_header("X-New", "n").unwrap();

        in_received_order(&received, &mut sent).unwrap();

        let expected = "hOST: shop\r\nX-b: 1\r\nx-B: 2\r\nACCEPT: */*\r\nLast: z\r\nX-New: n\r\n";
        assert_eq!(wire(|wire| sent.header_to_h1_wire(wire)), expected);
        assert_eq!((sent.method.as_str(), sent.raw_path()), ("GET", &b"http://shop/a?b"[..]));
    }

    #[test]
    fn a_field_that_was_made_anew_stands_where_the_received_one_stood() {
        let received =
            request(&[("host", "shop"), ("upgrade", "WebSocket"), ("connection", "upgrade"), ("z", "1")]);
        let mut sent = received.clone();
        sent.remove_header("upgrade");
        sent.remove_header("connection");
        sent.insert_header(header::CONNECTION, "Upgrade").unwrap();
        sent.insert_header(header::UPGRADE, "websocket").unwrap();

        in_received_order(&received, &mut sent).unwrap();

        let expected = "host: shop\r\nupgrade: websocket\r\nconnection: Upgrade\r\nz: 1\r\n";
        assert_eq!(wire(|wire| sent.header_to_h1_wire(wire)), expected);
    }

    #[test]
    fn what_is_in_order_is_left_alone() {
        let received = request(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let check = |now: RequestHeader, expected| {
            assert_eq!(is_in_order(&received.headers, &now.headers), expected, "{now:?}");
        };
        check(request(&[("a", "1"), ("b", "2"), ("c", "3")]), true);
        check(request(&[("a", "1"), ("c", "3"), ("new", "4")]), true);
        check(request(&[("a", "1"), ("c", "3"), ("b", "2")]), false);
        check(request(&[("new", "4"), ("a", "1")]), false);
    }

    #[test]
    fn an_answer_loses_what_spoke_of_the_upstreams_connection() {
        let mut head = ResponseHeader::build(299, None).unwrap();
        head.set_reason_phrase(Some("Fine")).unwrap();
        for (name, value) in [
            ("date", "then"),
            ("connection", "keep-alive, X-Hop"),
            ("Keep-Alive", "timeout=5"),
            ("x-hop", "1"),
            ("SERVER", "s"),
            ("eTag", "e"),
        ] {
            head.append_header(name, value).unwrap();
        }

        without_hop_by_hop(&mut head).unwrap();

        let expected = "date: then\r\nconnection: keep-alive, X-Hop\r\nSERVER: s\r\neTag: e\r\n";
        assert_eq!(wire(|wire| head.header_to_h1_wire(wire)), expected);
        assert_eq!((head.status.as_u16(), head.get_reason_phrase()), (299, Some("Fine")));
    }
}
