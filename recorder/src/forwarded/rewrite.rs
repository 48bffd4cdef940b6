//! Tells the upstream who the client is, as users of nginx expect it.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, header};
use pingora::Result;
use pingora::http::RequestHeader;

/// What becomes of `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// They pass as they came; nothing is added.
    Off,
    /// Who connected is added to the lists; scheme and host that a trusted proxy told are kept.
    Append,
    /// What came is dropped; the client's address, our scheme and the Host are told.
    Replace,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// Who connected.
    pub(crate) peer: IpAddr,
    /// Whom a trusted proxy names, otherwise the peer.
    pub(crate) client: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub(crate) trusted: bool,
    /// Whether the client spoke TLS to us.
    pub(crate) secure: bool,
}

/// Writes the fields into `request`, which was made from `received`.
///
/// # Errors
/// When the engine refuses a value that is made of values that it has taken before.
pub(crate) fn rewrite(
    forwarding: Forwarding,
    origin: Origin,
    received: &RequestHeader,
    request: &mut RequestHeader,
) -> Result<()> {
    let append = match forwarding {
        Forwarding::Off => return Ok(()),
        Forwarding::Append => true,
        Forwarding::Replace => false,
    };
    let told = if append { origin.peer } else { origin.client }.to_canonical();
    let scheme = if origin.secure { "https" } else { "http" };
    let authority = received.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host =
        received.headers.get(header::HOST).map(HeaderValue::as_bytes).or(authority).unwrap_or_default();
    let listed = |name: &str, last: Vec<u8>| {
        let before = received.headers.get_all(name).iter().map(|value| value.as_bytes());
        let parts: Vec<&[u8]> = before.filter(|_| append).chain([last.as_slice()]).collect();
        parts.join(&b", "[..])
    };
    let keeps = |name: &str, headers: &HeaderMap| append && origin.trusted && headers.contains_key(name);
    if host.is_empty() && !keeps("x-forwarded-host", &request.headers) {
        request.remove_header("x-forwarded-host");
    }
    request.insert_header("X-Forwarded-For", listed("x-forwarded-for", told.to_string().into_bytes()))?;
    if !keeps("x-forwarded-proto", &request.headers) {
        request.insert_header("X-Forwarded-Proto", scheme)?;
    }
    if !host.is_empty() && !keeps("x-forwarded-host", &request.headers) {
        request.insert_header("X-Forwarded-Host", host)?;
    }
    request.insert_header("Forwarded", listed("forwarded", element(told, host, scheme)))
}

/// One element of `Forwarded` (RFC 7239, section 4).
fn element(told: IpAddr, host: &[u8], scheme: &str) -> Vec<u8> {
    let node = match told {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let mut element = format!("for={node}").into_bytes();
    if !host.is_empty() {
        element.extend_from_slice(b";host=");
        let is_token = host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte));
        if is_token {
            element.extend_from_slice(host);
        } else {
            element.push(b'"');
            for &byte in host {
                if byte == b'"' || byte == b'\\' {
                    element.push(b'\\');
                }
                element.push(byte);
            }
            element.push(b'"');
        }
    }
    element.extend_from_slice(b";proto=");
    element.extend_from_slice(scheme.as_bytes());
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    const XFF: &str = "X-Forwarded-For";

    /// The fields that arrive upstream of a request with `fields` from `peer`, who names `client`.
    fn arrive(
        forwarding: Forwarding,
        (peer, client, secure): (&str, &str, bool),
        fields: &[(&'static str, &'static str)],
    ) -> String {
        let mut received = RequestHeader::build("GET", b"/", None).unwrap();
        for &(name, value) in fields {
            received.append_header(name, value).unwrap();
        }
        let (peer, client) = (peer.parse().unwrap(), client.parse().unwrap());
        let origin = Origin { peer, client, trusted: peer != client, secure };
        let mut request = received.clone();
        rewrite(forwarding, origin, &received, &mut request).unwrap();
        let mut wire = Vec::new();
        request.header_to_h1_wire(&mut wire);
        String::from_utf8(wire).unwrap()
    }

    #[test]
    fn off_is_transparent() {
        let fields = [("Host", "shop"), (XFF, "1.2.3.4"), ("forwarded", "for=1.2.3.4")];
        let arrived = arrive(Forwarding::Off, ("192.0.2.1", "192.0.2.1", true), &fields);
        assert_eq!(arrived, "Host: shop\r\nX-Forwarded-For: 1.2.3.4\r\nforwarded: for=1.2.3.4\r\n");
    }

    #[test]
    fn append_adds_who_connected_to_what_came() {
        let check = |from, fields: &[_], expected: &str| {
            assert_eq!(arrive(Forwarding::Append, from, fields), expected, "{fields:?}");
        };
        let direct = ("192.0.2.1", "192.0.2.1", false);
        check(
            direct,
            &[("Host", "shop")],
            "Host: shop\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: shop\r\n\
             Forwarded: for=192.0.2.1;host=shop;proto=http\r\n",
        );
        // nginx's $proxy_add_x_forwarded_for joins the lines; what a stranger says of scheme and host goes.
        check(
            direct,
            &[(XFF, "a"), ("X-Forwarded-Proto", "https"), (XFF, "b"), ("Host", "shop:8080")],
            "X-Forwarded-For: a, b, 192.0.2.1\r\nX-Forwarded-Proto: http\r\nHost: shop:8080\r\n\
             X-Forwarded-Host: shop:8080\r\nForwarded: for=192.0.2.1;host=\"shop:8080\";proto=http\r\n",
        );
        // A trusted proxy's word on scheme and host stays. RFC 7239, section 4: lists grow at the end.
        check(
            ("10.0.0.1", "2001:db8::7", false),
            &[
                ("forwarded", "for=\"[2001:db8::7]\""),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "www"),
            ],
            "Forwarded: for=\"[2001:db8::7]\", for=10.0.0.1;proto=http\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: www\r\nX-Forwarded-For: 10.0.0.1\r\n",
        );
    }

    #[test]
    fn replace_tells_what_we_know_and_nothing_else() {
        let check = |from, fields: &[_], expected: &str| {
            assert_eq!(arrive(Forwarding::Replace, from, fields), expected, "{fields:?}");
        };
        check(
            ("10.0.0.1", "2001:db8::7", true),
            &[(XFF, "evil, 2001:db8::7"), ("X-Forwarded-Proto", "gopher"), ("Host", "a\"b")],
            "X-Forwarded-For: 2001:db8::7\r\nX-Forwarded-Proto: https\r\nHost: a\"b\r\n\
             X-Forwarded-Host: a\"b\r\nForwarded: for=\"[2001:db8::7]\";host=\"a\\\"b\";proto=https\r\n",
        );
        check(
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1", false),
            &[("X-Forwarded-Host", "evil")],
            "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nForwarded: for=192.0.2.1;proto=http\r\n",
        );
    }
}
