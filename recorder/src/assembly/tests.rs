//! The events of exchanges, told one by one with literal moments.

use captures::Body;

use super::*;
use crate::policy::{BodyRules, Kept};

fn keeping(kept: Kept) -> BodyPolicy {
    let rules = BodyRules::new(&[], kept).unwrap();
    BodyPolicy {
        request: rules.clone(),
        response: rules,
        key: None,
        room: Room::of(captures::Bytes::new(100)),
    }
}

fn first_8() -> BodyPolicy {
    keeping(Kept::Prefix(captures::Bytes::new(8)))
}

fn begun() -> Assembly {
    let head = b"POST /cart HTTP/1.1\r\nHost: shop\r\n\r\n";
    Assembly::begin(ExchangeId(7), ConnectionId(3), Offset::from_millis(10), head)
}

fn response(status: u16, at_ms: u64) -> ResponseHead {
    ResponseHead {
        began: Offset::from_millis(at_ms),
        status,
        version: Version::Http11,
        fields: b"Server: x\r\n".to_vec(),
    }
}

fn body_of(pieces: &[&'static str], policy: &BodyPolicy) -> Body {
    let mut assembly = begun();
    for piece in pieces {
        assembly.on_request_body(&Bytes::from_static(piece.as_bytes()), policy);
    }
    assembly.into_exchange().request.body
}

/// SHA-256, from `printf %s TEXT | sha256sum`.
fn digest(hex: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap();
    }
    bytes
}

#[test]
fn events_become_one_exchange_with_all_its_moments() {
    let mut assembly = begun();
    assembly.on_attempt();
    assembly.on_request_body(&Bytes::from_static(b"a=1"), &first_8());
    assembly.on_request_done(Offset::from_millis(11));
    assembly.on_response_head(response(200, 30));
    assembly.on_response_body(&Bytes::from_static(b"ok"), &first_8());
    assembly.end(Offset::from_millis(31), Ending::Completed);

    let exchange = assembly.into_exchange();

    assert_eq!((exchange.id, exchange.connection), (ExchangeId(7), ConnectionId(3)));
    assert_eq!(exchange.arrived, Offset::from_millis(10));
    assert_eq!(exchange.request_done, Some(Offset::from_millis(11)));
    assert_eq!(exchange.response_began, Some(Offset::from_millis(30)));
    assert_eq!(exchange.ended, Offset::from_millis(31));
    assert_eq!((exchange.attempts, exchange.ending), (1, Ending::Completed));
    assert_eq!(exchange.request.target, b"/cart");
    assert_eq!(exchange.request.body.stored, b"a=1");
    assert_eq!(exchange.response.map(|response| response.body.stored), Some(b"ok".to_vec()));
}

#[test]
fn a_retry_counts_the_body_once_and_keeps_the_first_moment_of_completion() {
    let mut assembly = begun();
    for at_ms in [11, 20] {
        assembly.on_attempt();
        assembly.on_request_body(&Bytes::from_static(b"a=1"), &first_8());
        assembly.on_request_done(Offset::from_millis(at_ms));
    }

    let exchange = assembly.into_exchange();

    assert_eq!(exchange.attempts, 2);
    assert_eq!(exchange.request.body.length, 3);
    assert_eq!(exchange.request_done, Some(Offset::from_millis(11)));
}

#[test]
fn a_body_up_to_the_limit_is_whole_and_needs_no_digest() {
    for pieces in [&["12345678"][..], &["1234", "", "5678"], &["1", "2345678"]] {
        let body = body_of(pieces, &first_8());

        assert_eq!(body, Body { length: 8, stored: b"12345678".to_vec(), ..Body::default() });
    }
}

#[test]
fn a_longer_body_is_cut_and_the_digest_covers_all_of_it() {
    let whole = digest("15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"); // 123456789
    for pieces in [&["123456789"][..], &["12345678", "9"], &["1234", "5678", "9"], &["1234567", "89"]] {
        let body = body_of(pieces, &first_8());

        assert_eq!(
            body,
            Body {
                length: 9,
                stored: b"12345678".to_vec(),
                digest: Some(whole),
                cut: true,
                ..Body::default()
            }
        );
    }
}

#[test]
fn under_a_key_the_digest_is_not_that_of_the_body() {
    let policy = BodyPolicy { key: Some([1; 32]), ..keeping(Kept::Digest) };
    let mut assembly = begun();
    assembly.on_request_body(&Bytes::from_static(b"123456789"), &policy);

    let body = assembly.into_exchange().request.body;

    // python3 -c "import hmac; print(hmac.new(b'\x01'*32, b'123456789', 'sha256').hexdigest())"
    let keyed = digest("2e62fade5782f7df181dfb009a1e00f8e31d41b9221b15a04ebeddcf0f3fad48");
    assert_eq!(
        body,
        Body { length: 9, stored: Vec::new(), digest: Some(keyed), cut: true, ..Body::default() }
    );
}

#[test]
fn each_way_of_keeping_a_body_keeps_just_that() {
    let whole = Some(digest("15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225")); // 123456789
    let eight = captures::Bytes::new(8);
    for pieces in [&["123456789"][..], &["12345678", "9"], &["1", "2345678", "9"]] {
        let check = |kept, stored: &str, digest| {
            let expected =
                Body { length: 9, stored: stored.into(), digest, cut: stored.len() < 9, ..Body::default() };
            assert_eq!(body_of(pieces, &keeping(kept)), expected, "{kept:?} {pieces:?}");
        };
        check(Kept::Prefix(eight), "12345678", whole);
        check(Kept::Whole(eight), "", whole);
        check(Kept::Whole(captures::Bytes::new(9)), "123456789", None);
        check(Kept::Digest, "", whole);
        check(Kept::Nothing, "", None);
    }
    for kept in [Kept::Whole(eight), Kept::Digest, Kept::Nothing] {
        assert_eq!(body_of(&[], &keeping(kept)), Body::default());
    }
}

#[test]
fn bodies_that_find_the_room_full_keep_a_digest_and_give_back_what_they_had() {
    let policy = keeping(Kept::Whole(captures::Bytes::new(1_000)));
    let sixty = Bytes::from_static(&[b'x'; 60]);
    let (mut first, mut second) = (begun(), begun());
    first.on_request_body(&sixty, &policy);
    second.on_request_body(&Bytes::from_static(b"abc"), &policy);
    second.on_request_body(&sixty, &policy);

    let cut = second.into_exchange().request.body;
    assert_eq!((cut.length, cut.stored.len(), cut.cut, cut.digest.is_some()), (63, 0, true, true));
    // 40 bytes are free again, and 100 once the first is written.
    second = begun();
    second.on_request_body(&Bytes::from_static(&[b'x'; 40]), &policy);
    assert!(second.into_exchange().request.body.is_whole());
    assert!(first.into_exchange().request.body.is_whole());
    assert!(policy.room.is_empty());
}

#[test]
fn the_content_type_is_that_of_the_head_of_the_same_side() {
    let rules = [("text/*".to_owned(), Kept::Nothing)];
    let rules = BodyRules::new(&rules, Kept::Digest).unwrap();
    let policy = BodyPolicy { response: rules.clone(), request: rules, ..first_8() };
    let mut assembly = begun();
    let fields = b"Content-Type: text/html\r\n".to_vec();
    assembly.on_response_head(ResponseHead { fields, ..response(200, 12) });
    assembly.on_request_body(&Bytes::from_static(b"a=1"), &policy);
    assembly.on_response_body(&Bytes::from_static(b"<html>"), &policy);

    let exchange = assembly.into_exchange();

    assert!(exchange.request.body.digest.is_some());
    let answer = exchange.response.unwrap().body;
    assert_eq!(answer, Body { length: 6, cut: true, ..Body::default() });
}

#[test]
fn after_an_upgrade_bytes_are_counted_and_not_kept() {
    let mut assembly = begun();
    assembly.on_response_head(response(101, 12));
    for _ in 0..1000 {
        assembly.on_request_body(&Bytes::from_static(b"frame"), &first_8());
        assembly.on_response_body(&Bytes::from_static(b"frames"), &first_8());
    }
    assert!(assembly.size() < 1_000);

    let exchange = assembly.into_exchange();

    assert_eq!(exchange.request.body, Body { length: 5_000, cut: true, ..Body::default() });
    assert_eq!(exchange.response.map(|response| response.body.length), Some(6_000));
}

#[test]
fn what_is_never_ended_ended_with_the_proxy() {
    assert_eq!(begun().into_exchange().ending, Ending::ProxyFailed);
}
