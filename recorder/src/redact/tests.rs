//! Secrets wherever they may stand in an exchange.

use captures::{Body, Exchange, Header, Response, Version};

use super::*;
use captures::coding;

const KEY: [u8; 32] = [7; 32];
const SECRET: &str = "S3cretOfMine9";

fn redaction() -> Redaction {
    Redaction::new(MaskPolicy::Pseudonyms { key: KEY, rules: MaskRules::usual() })
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.into(), value: value.into() }
}

/// The value of a header after masking.
fn masked(name: &str, value: &str) -> String {
    let mut exchange = crate::session::tests::exchange(&[]);
    exchange.request.headers = vec![header(name, value)];
    redaction().apply(&mut exchange);
    String::from_utf8(exchange.request.headers.remove(0).value).unwrap()
}

fn pseudonym(secret: &str) -> String {
    masked("x-api-key", secret)
}

fn with_body(content_type: &str, body: Body, more: &[(&str, &str)]) -> Exchange {
    let mut exchange = crate::session::tests::exchange(&[]);
    let mut headers = vec![header("content-type", content_type)];
    headers.extend(more.iter().map(|(name, value)| header(name, value)));
    exchange.response =
        Some(Response { status: 200, version: Version::Http11, headers, body, trailers: Vec::new() });
    exchange
}

fn body(stored: &[u8]) -> Body {
    Body { length: stored.len() as u64, stored: stored.to_vec(), ..Body::default() }
}

fn masked_body(content_type: &str, body: Body, more: &[(&str, &str)]) -> Body {
    let mut exchange = with_body(content_type, body, more);
    redaction().apply(&mut exchange);
    exchange.response.unwrap().body
}

fn masked_text(content_type: &str, text: &str) -> String {
    String::from_utf8(masked_body(content_type, body(text.as_bytes()), &[]).stored).unwrap()
}

#[test]
fn a_session_gets_one_pseudonym_in_set_cookie_and_cookie() {
    let set = masked("Set-Cookie", "sid=8f3Kq0ZmT1; Path=/; Max-Age=3600; HttpOnly");
    let sent = masked("Cookie", "theme=dark; sid=8f3Kq0ZmT1; n=1");

    let name = pseudonym("8f3Kq0ZmT1");
    assert_ne!(name, "8f3Kq0ZmT1");
    assert_eq!(set, format!("sid={name}; Path=/; Max-Age=3600; HttpOnly"));
    assert_eq!(sent, format!("theme={}; sid={name}; n={}", pseudonym("dark"), pseudonym("1")));
}

#[test]
fn authorization_keeps_its_scheme() {
    let value = masked("Authorization", "Bearer abc.DEF-123");

    assert_eq!(value, format!("Bearer {}", pseudonym("abc.DEF-123")));
    for scheme in ["Basic", "digest", "NTLM", "ApiKey", "AWS4-HMAC-SHA256", "SCRAM-SHA-256"] {
        let value = masked("Proxy-Authorization", &format!("{scheme} abc.DEF-123"));
        assert_eq!(value, format!("{scheme} {}", pseudonym("abc.DEF-123")));
    }
}

#[test]
fn a_word_that_is_no_known_scheme_is_masked_with_the_rest() {
    for value in ["abc.DEF-123", "s3cret-of-mine rest", "Bearer", "Bearerabc def"] {
        assert_eq!(masked("Authorization", value), pseudonym(value));
    }
}

#[test]
fn a_secret_has_one_pseudonym_however_it_is_written() {
    let secret = "a b/c+d=Ef9?";
    let name = pseudonym(secret);
    let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();

    let form = masked_text("application/x-www-form-urlencoded", &format!("x=1&password={}", percent(secret)));
    assert_eq!(form, format!("x=1&password={}", percent(&name)));
    let plus = |text: &str| text.replace('+', "%2b").replace(' ', "+").replace('?', "%3f");
    let form = masked_text("application/x-www-form-urlencoded", &format!("p%61ssword={}", plus(secret)));
    assert_eq!(form.replace('+', " ").replace("%2b", "+")[..21], format!("p%61ssword={name}")[..21]);
    assert_eq!(
        masked_text("", &format!("{{\"password\":\"{secret}\"}}")),
        format!("{{\"password\":\"{name}\"}}")
    );
}

#[test]
fn addresses_are_masked_wherever_they_stand() {
    let name = pseudonym(SECRET);
    for (field, value) in [
        ("Location", "https://S:S@shop/a;jsessionid=S?b=c&access_token=S&d=e#id_token=S&x=y"),
        ("Referer", "/a?token=S"),
        ("Refresh", "0; url=https://shop/?token=S"),
        ("Link", "<https://shop/?api_key=S&page=2>; rel=\"next\""),
        ("X-Anything", "https://shop/?a=b&password=S"),
        ("X-Custom", "Bearer S"),
    ] {
        assert_eq!(masked(field, &value.replace('S', SECRET)), value.replace('S', &name), "{field}");
    }
    for public in ["https://shop/a?b=c&page=2", "/a/b/c.html", "no address"] {
        assert_eq!(masked("Location", public), public);
    }
}

#[test]
fn targets_are_masked_by_the_names_of_their_parameters() {
    let check = |target: &str| {
        let mut exchange = crate::session::tests::exchange(&[]);
        exchange.request.target = target.replace('S', SECRET).into_bytes();
        redaction().apply(&mut exchange);
        let found = String::from_utf8(exchange.request.target).unwrap();
        assert_eq!(found, target.replace('S', &pseudonym(SECRET)));
    };
    check("/a?x=1&token=S&y=2");
    check("/a;jsessionid=S?x");
    check("http://S:S@host/a?password=S");
    check("/login?redirect=%2Fcb%3Ftoken%3DS%26x%3D1");
    check("/a?signature=S&user%5Bpassword%5D=S");
    check("/a?data={\"password\":\"S\"}");
}

/// `text` with everything but letters and digits written with percent signs, so many times over.
fn percent(text: &str, times: usize) -> String {
    (0..times).fold(text.to_owned(), |text, _| {
        let write = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(write).collect()
    })
}

#[test]
fn percent_signs_hide_nothing_however_often_they_are_written() {
    let name = pseudonym(SECRET);
    for inner in [
        "/login?token=S",
        "{\"pin\":\"S\"}",
        "a=b&password=S",
        "https://x/?u=%2Fy%3Ftoken%3DS",
        "password: S",
    ] {
        for times in 1..4 {
            let coded = |secret: &str| percent(&inner.replace('S', secret), times);
            for (kind, before, after) in [
                ("application/x-www-form-urlencoded", "x=1&payload=", "&y=2"),
                ("text/plain", "some ", " words, 100%"),
                ("application/json", "{\"url\":\"", "\"}"),
                ("application/json", "{\"url\":\"\\n", "\"}"),
                ("text/html", "<p>a &amp; b <i title='", "'>"),
            ] {
                let text = |secret| format!("{before}{}{after}", coded(secret));
                assert_eq!(masked_text(kind, &text(SECRET)), text(&name));
            }
            assert_eq!(masked("X-Url-Json", &coded(SECRET)), coded(&name));
            for before in ["https://shop/cb?u=", "https://shop/to/"] {
                let address = |secret| format!("{before}{}", coded(secret));
                assert_eq!(masked("Location", &address(SECRET)), address(&name));
            }
        }
    }
    for public in ["100%25 of a%3Db", "%7B%22name%22%3A%22word%22%7D", "%", "%3", "%3D%%25"] {
        assert_eq!(masked_text("text/plain", public), public);
    }
    // What is wrapped too often is masked as a whole.
    assert!(!masked("X-Url", &percent("/login?token=S3cretOfMine9", 9)).contains(SECRET));
}

#[test]
fn forms_parts_markup_and_events_are_masked() {
    let name = pseudonym(SECRET);
    let check = |kind: &str, text: &str| {
        assert_eq!(
            masked_text(kind, &text.replace("SECRET", SECRET)),
            text.replace("SECRET", &name),
            "{text}"
        );
    };
    check("application/x-www-form-urlencoded", "user=bob&password=SECRET&x=1");
    check("", "user=bob&user%5Bpassword%5D=SECRET");
    let parts = "--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nSECRET\r\n--b\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"a.json\"\r\nContent-Type: application/json\r\n\r\n\
        {\"token\":\"SECRET\"}\r\n--b--\r\n";
    check("multipart/form-data; boundary=b", parts);
    check("multipart/form-data; boundary=\"b\"", &format!("preamble\r\n{parts}"));
    check("text/plain", parts);
    check(
        "text/html",
        "<!doctype html><input type=hidden name=\"csrf_token\" value=\"SECRET\"><b name=x value=y>",
    );
    check("text/html", "<meta content='SECRET' name='csrf-token'><p>password: SECRET</p>");
    check("text/html", "<div data-x=\"{&quot;password&quot;:&quot;SECRET&quot;}\">");
    check("text/xml", "<a><wsse:Password Type=\"x\">SECRET</wsse:Password><b>c</b></a>");
    check("text/html", "<script>var config = {apiKey: 'SECRET', \"token\":\"SECRET\"};</script>");
    check("text/event-stream", "event: a\ndata: {\"token\":\"SECRET\"}\n\ndata: token=SECRET\n");
    check("text/plain", "the password = SECRET\nAuthorization: Bearer SECRET\n");
    check("image/png", "{\"token\":\"SECRET\"}");
}

#[test]
fn utf16_is_masked_and_unknown_character_sets_are_not_stored() {
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let text = format!("{{\"password\":\"{SECRET}\"}}");

    let found = masked_body("application/json; charset=utf-16le", body(&wide(&text)), &[]);

    assert_eq!(found.stored, wide(&text.replace(SECRET, &pseudonym(SECRET))));
    let found = masked_body("application/json; charset=UTF-7", body(text.as_bytes()), &[]);
    assert_eq!((found.stored.len(), found.cut, found.digest.is_some()), (0, true, true));
}

#[test]
fn coded_bodies_are_masked_and_coded_again() {
    let text = format!("{{\"password\":\"{SECRET}\",\"x\":\"{}\"}}", "word ".repeat(100));
    let expected = text.replace(SECRET, &pseudonym(SECRET));
    for named in ["gzip", "deflate", "br", "zstd", "gzip, br"] {
        let codings = coding::codings(named.as_bytes()).unwrap();
        let coded = coding::encode(&codings, text.as_bytes()).unwrap();

        let found = masked_body("application/json", body(&coded), &[("content-encoding", named)]);

        assert!(found.is_whole() && !found.decoded, "{named}");
        let content = coding::decode(named.as_bytes(), &found.stored, 1 << 20).unwrap();
        assert_eq!(String::from_utf8(content).unwrap(), expected, "{named}");
        let public = coding::encode(&codings, b"nothing secret").unwrap();
        let found = masked_body("text/plain", body(&public), &[("content-encoding", named)]);
        assert_eq!(found.stored, public);
    }
}

#[test]
fn gzip_is_looked_into_whether_it_is_declared_or_not() {
    let gzip = |text: &str| coding::encode(&[coding::Coding::Gzip], text.as_bytes()).unwrap();
    let gunzip = |coded: &[u8]| String::from_utf8(coding::decode(b"gzip", coded, 1 << 20).unwrap()).unwrap();
    let text = format!("{{\"password\":\"{SECRET}\",\"x\":\"{}\"}}", "word ".repeat(100));
    let expected = text.replace(SECRET, &pseudonym(SECRET));
    for kind in ["application/gzip", "application/json", "", "application/octet-stream"] {
        let found = masked_body(kind, body(&gzip(&text)), &[]);
        assert!(found.is_whole() && !found.decoded, "{kind}");
        assert_eq!(gunzip(&found.stored), expected, "{kind}");
    }
    let twice = coding::encode(&[coding::Coding::Gzip, coding::Coding::Brotli], text.as_bytes()).unwrap();
    let found = masked_body("application/gzip", body(&twice), &[("content-encoding", "br")]);
    assert_eq!(gunzip(&coding::decode(b"br", &found.stored, 1 << 20).unwrap()), expected);

    let public = gzip("nothing secret");
    assert_eq!(masked_body("application/gzip", body(&public), &[]).stored, public);
    let damaged = masked_body("application/gzip", body(b"\x1F\x8B\x08password=x"), &[]);
    assert_eq!((damaged.stored.len(), damaged.cut, damaged.digest.is_some()), (0, true, true));
    let bomb = coding::encode(&[coding::Coding::Gzip], &vec![b' '; 8 << 20]).unwrap();
    assert_eq!(masked_body("application/gzip", body(&bomb), &[]).stored, b"");
}

#[test]
fn a_part_that_is_gzip_is_masked_as_a_whole_when_it_holds_a_secret() {
    let parts = |content: &[u8]| {
        let head = b"--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n";
        [head, content, b"\r\n--b--\r\n"].concat()
    };
    let masked =
        |content: &[u8]| masked_body("multipart/form-data; boundary=b", body(&parts(content)), &[]).stored;
    let gzip = |text: &str| coding::encode(&[coding::Coding::Gzip], text.as_bytes()).unwrap();

    let public = gzip("nothing secret");
    assert_eq!(masked(&public), parts(&public));
    for secret in [gzip(&format!("{{\"password\":\"{SECRET}\"}}")), b"\x1F\x8B\x08password".to_vec()] {
        let found = masked(&secret);
        assert_eq!(found.len(), parts(&secret).len());
        let changed = found.iter().zip(parts(&secret)).filter(|(new, old)| *new != old).count();
        assert!(changed * 4 > secret.len(), "{changed} of {}", secret.len());
        assert!(coding::decode(b"gzip", &found[parts(b"").len() - 11..], 1 << 20).is_none());
    }
}

#[test]
fn of_a_coded_body_that_was_cut_the_start_is_stored_decoded() {
    let mut state = 1_u32;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    })
    .take(5_000)
    .collect();
    let text = format!("{{\"password\":\"{SECRET}\",\"x\":\"{noise}\"}}");
    let coded = coding::encode(&[coding::Coding::Gzip], text.as_bytes()).unwrap();
    let cut = Body { cut: true, digest: Some([1; 32]), ..body(&coded[..1_000]) };

    let found = masked_body("application/json", cut, &[("content-encoding", "gzip")]);

    assert!(found.decoded && found.cut && found.stored.len() <= 1_000);
    assert!(text.replace(SECRET, &pseudonym(SECRET)).as_bytes().starts_with(&found.stored));
    assert_eq!(found.digest, Some([1; 32]));
}

#[test]
fn what_nobody_can_look_into_is_not_stored() {
    for (named, stored) in
        [("compress", &b"password=x"[..]), ("gzip", b"password=x"), ("br", b"\xFF\xFFpassword")]
    {
        let found = masked_body("text/plain", body(stored), &[("content-encoding", named)]);
        assert_eq!((found.stored.len(), found.cut, found.length), (0, true, stored.len() as u64), "{named}");
        assert!(found.digest.is_some());
    }
    let bomb = coding::encode(&[coding::Coding::Gzip], &vec![b' '; 8 << 20]).unwrap();
    assert_eq!(masked_body("text/plain", body(&bomb), &[("content-encoding", "gzip")]).stored, b"");
}

#[test]
fn only_the_named_headers_of_both_messages_change() {
    let rules = MaskRules { headers: vec!["x-api-key".to_owned()], ..MaskRules::usual() };
    let mut exchange = crate::session::tests::exchange(&[]);
    exchange.request.headers = vec![header("X-API-Key", "s3cret"), header("Accept", "s3cret")];

    Redaction::new(MaskPolicy::Pseudonyms { key: KEY, rules }).apply(&mut exchange);

    assert_eq!(exchange.request.headers[0].value, pseudonym("s3cret").into_bytes());
    assert_eq!(exchange.request.headers[1].value, b"s3cret");
}

#[test]
fn cookies_may_stay_readable_but_for_tokens() {
    let rules = MaskRules { cookies: ["*", "!theme"].map(str::to_owned).to_vec(), ..MaskRules::usual() };
    let mut exchange = crate::session::tests::exchange(&[]);
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N";
    let value = format!("theme=dark; sid=dark; Theme={jwt}");
    exchange.request.headers = vec![header("cookie", &value)];

    Redaction::new(MaskPolicy::Pseudonyms { key: KEY, rules }).apply(&mut exchange);

    let value = String::from_utf8(exchange.request.headers.remove(0).value).unwrap();
    assert_eq!(value, format!("theme=dark; sid={}; Theme={}", pseudonym("dark"), pseudonym(jwt)));
}

#[test]
fn without_masking_nothing_changes() {
    let mut exchange = with_body("text/plain", body(b"password=x"), &[("authorization", "x")]);
    let before = exchange.clone();

    Redaction::new(MaskPolicy::None).apply(&mut exchange);

    assert_eq!(exchange, before);
}
