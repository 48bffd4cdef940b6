//! Secrets planted everywhere, and looked for in everything a recorder leaves behind.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use captures::{Exchange, Header, header_value};

use super::{OK, Recorder, answering, next_head, upstream};
use crate::support::{json, run, stderr};

/// Makes secrets, and remembers them.
#[derive(Default)]
struct Planter {
    /// Each in all the writings it may stand in.
    planted: Vec<Vec<String>>,
    state: u64,
}

impl Planter {
    /// Eight to nineteen letters and digits that nobody else has.
    fn secret(&mut self) -> String {
        const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        let length = 8 + self.next() % 12;
        let letters: String =
            (0..length).map(|_| char::from(LETTERS[(self.next() % LETTERS.len() as u64) as usize])).collect();
        let written =
            vec![letters.clone(), percent(&letters), percent(&letters).to_uppercase(), unicode(&letters)];
        self.planted.push(written);
        letters
    }

    fn next(&mut self) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 33
    }

    /// `template` with a secret of its own for every `@`.
    fn fill(&mut self, template: &str) -> String {
        self.fill_with(template, |secret| secret.to_owned())
    }

    fn fill_with(&mut self, template: &str, written: impl Fn(&str) -> String) -> String {
        let mut parts = template.split('@');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + &written(&self.secret()) + part)
    }
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn unicode(text: &str) -> String {
    text.bytes().map(|byte| format!("\\u{byte:04x}")).collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    coder.write_all(content).unwrap();
    coder.finish().unwrap()
}

fn deflate(content: &[u8]) -> Vec<u8> {
    let mut coder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    coder.write_all(content).unwrap();
    coder.finish().unwrap()
}

fn brotli(content: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    brotli::CompressorWriter::new(&mut coded, 4_096, 5, 20).write_all(content).unwrap();
    coded
}

/// What a stored body holds, its content coding taken off by the libraries themselves.
fn content(headers: &[Header], stored: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    match header_value(headers, "content-encoding") {
        Some(b"gzip") => drop(flate2::read::GzDecoder::new(stored).read_to_end(&mut content).unwrap()),
        Some(b"deflate") => drop(flate2::read::ZlibDecoder::new(stored).read_to_end(&mut content).unwrap()),
        Some(b"br") => drop(brotli::Decompressor::new(stored, 4_096).read_to_end(&mut content).unwrap()),
        Some(b"zstd") => content = zstd::decode_all(stored).unwrap(),
        // Gzip that nobody declared.
        None if stored.starts_with(&[0x1F, 0x8B]) => {
            flate2::read::GzDecoder::new(stored).read_to_end(&mut content).unwrap();
        }
        _ => content = stored.to_vec(),
    }
    content
}

/// A body on the wire: its length said, or in chunks of odd sizes.
fn framed(head: &str, body: &[u8], chunk: Option<usize>) -> Vec<u8> {
    let Some(chunk) = chunk else {
        return [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    };
    let mut wire = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for piece in body.chunks(chunk) {
        wire.extend_from_slice(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

/// Bodies full of secrets: header fields that describe them, and what they are.
fn bodies(planter: &mut Planter) -> Vec<(String, Vec<u8>)> {
    const JSON: &str = r#"{"user":{"name":"Ada","password":"@","keys":[{"api_key":"@"},{"secret":["@","@"]}]},"id":17,"access_token":"@"}"#;
    let kind = |kind: &str| format!("Content-Type: {kind}\r\n");
    let coded = |coding: &str| format!("Content-Type: application/json\r\nContent-Encoding: {coding}\r\n");
    let mut bodies = vec![
        (kind("application/json"), planter.fill(JSON).into_bytes()),
        (kind("text/plain"), planter.fill(JSON).into_bytes()),
        (kind("image/png"), planter.fill(JSON).into_bytes()),
        (kind("application/x-www-form-urlencoded"), planter.fill(JSON).into_bytes()),
        (String::new(), planter.fill(JSON).into_bytes()),
        (kind("application/json"), planter.fill_with(JSON, unicode).into_bytes()),
        (kind("application/json"), planter.fill(r#"{"p\u0061ssword":"@","\u0074oken":["@"]}"#).into_bytes()),
        (
            kind("application/json"),
            planter.fill(r#"{"text":"{\"password\":\"@\",\"a\":\"https:\/\/x\/?token=@\"}"}"#).into_bytes(),
        ),
        (
            kind("application/x-ndjson"),
            planter.fill("{\"token\":\"@\"}\n{\"pass\":\"@\",\"n\":1}\n").into_bytes(),
        ),
        (
            kind("text/event-stream"),
            planter.fill("event: login\ndata: {\"token\":\"@\"}\n\ndata: password=@\n\n").into_bytes(),
        ),
    ];
    let form = "user=ada&password=@&client_secret=@&user%5Bpassword%5D=@&p%61sswd=@";
    bodies.push((kind("application/x-www-form-urlencoded"), planter.fill(form).into_bytes()));
    bodies.push((kind("application/x-www-form-urlencoded"), planter.fill_with(form, percent).into_bytes()));
    bodies.push((kind("text/plain"), planter.fill(form).into_bytes()));
    let wrapped = planter.fill("a=1&json=%7B%22password%22%3A%22@%22%7D&next=%2Flogin%3Ftoken%3D@%26x%3D1");
    bodies.push((kind("application/x-www-form-urlencoded"), wrapped.into_bytes()));
    let multipart = "--XX\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n@\r\n\
        --XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\npublic\r\n\
        --XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.json\"\r\nContent-Type: application/json\r\n\r\n\
        {\"token\":\"@\"}\r\n--XX\r\nContent-Disposition: form-data; name=f; filename=b.txt\r\n\r\nsecret=@\r\n--XX--\r\n";
    for _ in 0..3 {
        bodies.push((kind("multipart/form-data; boundary=XX"), planter.fill(multipart).into_bytes()));
    }
    bodies.push((kind("application/octet-stream"), planter.fill(multipart).into_bytes()));
    let page = "<!doctype html><meta name=\"csrf-token\" content=\"@\"><form><input type=hidden name='auth_token' value='@'>\
        </form><script>window.config = {apiKey: '@', \"password\": \"@\"}; x('Bearer @')</script><a href=\"/a?b=c&amp;token=@\">";
    bodies.push((kind("text/html"), planter.fill(page).into_bytes()));
    bodies.push((
        kind("text/xml"),
        planter.fill("<a><Password>@</Password><w:token x=\"1\">@</w:token></a>").into_bytes(),
    ));
    bodies.push((
        kind("text/plain"),
        planter.fill("password: @\ntoken = @\nurl https://@:@!host/?sig=@\n").replace('!', "@").into_bytes(),
    ));
    for (declared, text) in [
        ("text/xml", "<a><password><![CDATA[@]]></password><token><v>@</v></token><e key=\"pwd\">@</e></a>"),
        ("text/xml", "<m><name>password</name><value><string>@</string></value></m>"),
        ("application/xml", "<dict><key>secret</key><string>@</string></dict>"),
        ("text/html", "<input type=\"password\" value=\"@\"><input value=@ type=password name=x>"),
        ("application/json", r#"[{"name":"password","value":"@"},{"val":"@","key":"token"}]"#),
        ("application/json", r#"{"headers":[["authorization","Bearer @"],["Cookie","sid=@"]]}"#),
        ("text/csv", "user,password\nada,@\nbob,\"@\"\n"),
        ("application/x-www-form-urlencoded", "payload=%257B%2522password%2522%253A%2522@%2522%257D"),
        ("application/x-www-form-urlencoded", "u=%252Flogin%253Ftoken%253D@"),
    ] {
        bodies.push((kind(declared), planter.fill(text).into_bytes()));
    }
    for declared in [kind("application/gzip"), String::new()] {
        bodies.push((declared, gzip(planter.fill(JSON).as_bytes())));
    }
    let wide = planter.fill(JSON).encode_utf16().flat_map(u16::to_le_bytes).collect();
    bodies.push((kind("application/json; charset=utf-16le"), wide));
    for _ in 0..2 {
        bodies.push((coded("gzip"), gzip(planter.fill(JSON).as_bytes())));
        bodies.push((coded("br"), brotli(planter.fill(JSON).as_bytes())));
        bodies.push((coded("deflate"), deflate(planter.fill(JSON).as_bytes())));
        bodies.push((coded("zstd"), zstd::encode_all(planter.fill(JSON).as_bytes(), 3).unwrap()));
        let form = planter.fill("a=b&password=@&token=@");
        bodies.push(("Content-Encoding: gzip\r\n".to_owned(), gzip(form.as_bytes())));
    }
    let cut = gzip(planter.fill(JSON).as_bytes());
    bodies.push((coded("gzip, br"), cut));
    bodies
}

/// A server that answers the request of case `n` with `answers[n]`, in pieces of odd sizes.
fn server_of(answers: Vec<Vec<u8>>) -> SocketAddr {
    upstream(move |mut stream| {
        let Some(head) = next_head(&mut stream) else { return };
        let line =
            |name: &str| head.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        let case: usize = line("X-Case:").unwrap().parse().unwrap();
        let mut body = Vec::new();
        let length = line("Content-Length:").map_or(0, |length| length.parse().unwrap());
        let chunked = head.contains("chunked");
        let mut byte = [0];
        while (chunked && !body.ends_with(b"0\r\n\r\n")) || (!chunked && body.len() < length) {
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                return;
            }
            body.push(byte[0]);
        }
        in_pieces(&mut stream, &answers[case], case);
    })
}

fn in_pieces(stream: &mut TcpStream, wire: &[u8], case: usize) {
    stream.set_nodelay(true).unwrap();
    for piece in wire.chunks(1 + case * 7 % 61) {
        if stream.write_all(piece).is_err() {
            return;
        }
    }
}

/// Sends each request on a connection of its own, in pieces of odd sizes, and waits for the whole answer.
fn send_all(port: u16, requests: &[Vec<u8>]) {
    for (case, request) in requests.iter().enumerate() {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        in_pieces(&mut stream, request, case + 3);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 2"), "{case}: {}", String::from_utf8_lossy(&answer));
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Everything that a recording left behind, as text: the file as it is, what its blocks hold, what its bodies
/// hold, and what was said.
fn remains(recorder: Recorder) -> (Vec<Exchange>, Vec<Vec<u8>>) {
    let (capture, said) = (recorder.capture.clone(), recorder.said());
    let (exchanges, _) = recorder.stop();
    let raw = std::fs::read(&capture).unwrap();
    let mut left = vec![said.into_bytes(), unpacked(&raw), raw];
    for exchange in &exchanges {
        left.push(exchange.request.target.clone());
        let request = (&exchange.request.headers, &exchange.request.body);
        let response = exchange.response.iter().map(|response| (&response.headers, &response.body));
        for (headers, body) in [request].into_iter().chain(response) {
            left.extend(headers.iter().map(|header| header.value.clone()));
            let stored = if body.decoded { body.stored.clone() } else { content(headers, &body.stored) };
            left.push(stored.iter().copied().filter(|byte| *byte != 0).collect());
            left.push(stored);
        }
    }
    (exchanges, left)
}

/// What every zstd frame in a file holds.
fn unpacked(raw: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let starts = raw.windows(4).enumerate().filter(|(_, four)| *four == [0x28, 0xB5, 0x2F, 0xFD]);
    for (at, _) in starts {
        let mut frame = Vec::new();
        let decoder = zstd::Decoder::new(&raw[at..]).unwrap().single_frame();
        let _ = { decoder }.read_to_end(&mut frame);
        all.extend_from_slice(&frame);
    }
    assert!(all.len() > raw.len(), "the blocks are compressed");
    all
}

fn holds(text: &[u8], part: &str) -> bool {
    around(text, part).is_some()
}

/// Where `part` stands in `text`, with what stands around it.
fn around(text: &[u8], part: &str) -> Option<String> {
    let at = text.windows(part.len()).position(|window| window == part.as_bytes())?;
    let around = &text[at.saturating_sub(80)..text.len().min(at + part.len() + 20)];
    Some(String::from_utf8_lossy(around).into_owned())
}

#[test]
fn of_five_hundred_planted_secrets_none_is_left_anywhere() {
    let mut planter = Planter::default();
    let (mut requests, mut answers) = (Vec::new(), Vec::new());
    let request_bodies = bodies(&mut planter);
    let response_bodies = bodies(&mut planter);
    for (case, (asked, answered)) in request_bodies.iter().zip(&response_bodies).enumerate() {
        let target = planter.fill("/a/b?page=2&token=@&X-Amz-Signature=@&user%5Bpassword%5D=");
        let target = target + &percent(&planter.secret());
        let fields = planter.fill(
            "Authorization: Bearer @\r\nX-Api-Key: @\r\nCookie: theme=@; sid=@\r\nReferer: http://x/?access_token=@\r\n",
        );
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: shop\r\nX-Case: {case}\r\nConnection: close\r\n{fields}{}",
            asked.0
        );
        requests.push(framed(&head, &asked.1, (case % 2 == 0).then_some(1 + case % 9)));
        let fields = planter.fill("Set-Cookie: sid=@; Path=/\r\nLocation: https://@:@!host/?token=@#id_token=@\r\nX-Note: Bearer @\r\n");
        let fields = fields.replace('!', "@");
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{fields}{}", answered.0);
        answers.push(framed(&head, &answered.1, (case % 3 == 0).then_some(1 + case % 11)));
    }
    let cases = requests.len();
    assert!(planter.planted.len() >= 500, "{}", planter.planted.len());
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), server_of(answers), &["-v"]);

    send_all(recorder.port, &requests);

    let (exchanges, left) = remains(recorder);
    assert_eq!(exchanges.len(), cases);
    for (at, planted) in planter.planted.iter().enumerate() {
        for written in planted {
            let found = left.iter().find_map(|text| around(text, written));
            assert!(found.is_none(), "secret {at}: {}", found.unwrap());
        }
    }
    let stored = exchanges.iter().filter(|exchange| !exchange.request.body.stored.is_empty()).count();
    // One has a coding that it does not name rightly.
    assert_eq!(stored, cases - 1);
}

/// Card numbers of all networks, by their ranges and the check digit.
fn cards(count: usize, planter: &mut Planter) -> Vec<String> {
    const STARTS: [(&str, usize); 9] = [
        ("4", 16),
        ("51", 16),
        ("2221", 16),
        ("34", 15),
        ("6011", 16),
        ("3530", 16),
        ("36", 14),
        ("62", 16),
        ("6759", 16),
    ];
    let mut cards = Vec::new();
    for (start, length) in STARTS.iter().cycle().take(count) {
        let mut digits: Vec<u64> = start.bytes().map(|digit| u64::from(digit - b'0')).collect();
        while digits.len() < length - 1 {
            digits.push(planter.next() % 10);
        }
        let doubled = |(at, digit): (usize, &u64)| {
            if at % 2 == 0 { (digit * 2) / 10 + (digit * 2) % 10 } else { *digit }
        };
        let sum: u64 = digits.iter().rev().enumerate().map(doubled).sum();
        digits.push((10 - sum % 10) % 10);
        cards.push(digits.iter().map(u64::to_string).collect());
    }
    cards
}

/// `card` in groups of four.
fn grouped(card: &str, sign: &str) -> String {
    card.as_bytes()
        .chunks(4)
        .map(|group| String::from_utf8_lossy(group).into_owned())
        .collect::<Vec<_>>()
        .join(sign)
}

#[test]
fn no_card_number_and_no_verification_code_is_left_and_ids_stay() {
    let mut planter = Planter { state: 7, ..Planter::default() };
    let cards = cards(200, &mut planter);
    let codes: Vec<String> = (0..40).map(|code| format!("{:03}", 101 + code * 22)).collect();
    let ids: Vec<String> = (0..100).map(|id| format!("9{:015}", planter.next() * 7 + id)).collect();
    let kind = |kind: &str| format!("Content-Type: {kind}\r\n");
    let mut bodies = Vec::new();
    for (at, card) in cards.iter().enumerate() {
        let sixteen = |sign| if card.len() == 16 { grouped(card, sign) } else { card.clone() };
        bodies.push(match at % 10 {
            0 => (kind("text/plain"), format!("my card is {card}.").into_bytes()),
            1 => (kind("text/plain"), format!("my card is {}, thanks", sixteen(" ")).into_bytes()),
            2 => (kind("application/json"), format!("{{\"a\":\"{}\"}}", sixteen("-")).into_bytes()),
            3 => (kind("application/json"), format!("{{\"a\":{card}}}").into_bytes()),
            4 => (kind("application/json"), format!("{{\"a\":\"{}\"}}", unicode(card)).into_bytes()),
            5 => (kind("application/x-www-form-urlencoded"), format!("a={}", percent(card)).into_bytes()),
            6 => (kind("application/x-www-form-urlencoded"), format!("a={}&b=c", sixteen("+")).into_bytes()),
            7 => (kind("text/xml"), format!("<a><b>{}</b></a>", sixteen("&#32;")).into_bytes()),
            8 => (
                format!("{}Content-Encoding: gzip\r\n", kind("text/html")),
                gzip(format!("<p>{card}").as_bytes()),
            ),
            _ => (format!("{}Content-Encoding: br\r\n", kind("image/gif")), brotli(sixteen(" ").as_bytes())),
        });
    }
    for (at, code) in codes.iter().enumerate() {
        bodies.push(match at % 4 {
            0 => (kind("application/json"), format!("{{\"cvv\":\"{code}\",\"at\":\"x{at}\"}}").into_bytes()),
            1 => (
                kind("application/json"),
                format!("{{\"card\":{{\"CVC2\":{code}}},\"at\":\"x{at}\"}}").into_bytes(),
            ),
            2 => (
                kind("application/x-www-form-urlencoded"),
                format!("security_code={code}&at=x{at}").into_bytes(),
            ),
            _ => (kind("text/plain"), format!("cid={code}&at=x{at}").into_bytes()),
        });
    }
    bodies.push((kind("application/json"), format!("{{\"ids\":[{}]}}", ids.join(",")).into_bytes()));
    let requests: Vec<Vec<u8>> = (bodies.iter().enumerate())
        .map(|(case, (kind, body))| {
            let card = cards.get(case).map_or("0", String::as_str);
            let head = format!(
                "POST /{card}?q={card} HTTP/1.1\r\nHost: shop\r\nX-Case: {case}\r\nX-Card: {card}\r\nConnection: close\r\n{kind}"
            );
            framed(&head, body, (case % 2 == 0).then_some(5))
        })
        .collect();
    let answers = bodies
        .iter()
        .map(|(kind, body)| framed(&format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{kind}"), body, None))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), server_of(answers), &[]);

    send_all(recorder.port, &requests);

    let (exchanges, left) = remains(recorder);
    for card in &cards {
        for written in [
            card.clone(),
            percent(card),
            unicode(card),
            grouped(card, " "),
            grouped(card, "-"),
            grouped(card, "+"),
            grouped(card, "&#32;"),
        ] {
            assert!(!left.iter().any(|text| holds(text, &written)), "{written}");
        }
    }
    for (at, code) in codes.iter().enumerate() {
        for written in [
            format!("cvv\":\"{code}\",\"at\":\"x{at}\""),
            format!("CVC2\":{code}}},\"at\":\"x{at}\""),
            format!("code={code}&at=x{at}"),
            format!("cid={code}&at=x{at}"),
        ] {
            assert!(!left.iter().any(|text| holds(text, &written)), "{written}");
        }
    }
    let kept = exchanges.iter().find(|exchange| exchange.request.body.stored.starts_with(b"{\"ids\""));
    assert_eq!(kept.unwrap().request.body.stored, bodies.last().unwrap().1);
}

/// The pseudonym that a recorder of these flags gives to a secret, in a header and in JSON.
fn pseudonyms(folder: &Path, flags: &[&str]) -> [String; 2] {
    let recorder = Recorder::start(folder, answering(OK), flags);
    let body = "{\"password\":\"S3cretOfMine\"}";
    recorder.ask(&format!(
        "POST / HTTP/1.1\r\nHost: shop\r\nX-Api-Key: S3cretOfMine\r\nX-Mine: S3cretOfMine\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let (exchanges, _) = recorder.stop();
    let request = &exchanges[0].request;
    let header = header_value(&request.headers, "x-api-key").unwrap().to_vec();
    let stored = String::from_utf8(request.body.stored.clone()).unwrap();
    [String::from_utf8(header).unwrap(), stored[13..25].to_owned()]
}

#[test]
fn captures_of_one_key_can_be_linked_and_others_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "a key of sixteen bytes or more\n").unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let keyed = ["--mask-key", key.to_str().unwrap(), "--force"];

    let [header, field] = pseudonyms(folder.path(), &keyed);
    assert_eq!(header, field);
    assert_ne!(header, "S3cretOfMine");
    assert_eq!(pseudonyms(folder.path(), &keyed), [header.clone(), field]);
    let [other, field] = pseudonyms(folder.path(), &["--force"]);
    assert_eq!(other, field);
    assert_ne!(other, header);
}

#[test]
fn a_key_that_others_may_read_or_that_is_too_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let key_name = key.to_str().unwrap();
    let check = |what: &str| {
        let out = folder.path().join("x.capture");
        let args = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9", "--mask-key", key_name, "--out"];
        let output = run(&[&["record"][..], &args, &[out.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(what), "{}", stderr(&output));
    };
    check("does not exist");
    std::fs::write(&key, "0123456789abcdef").unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    check("may be read by everybody");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&key, "too short").unwrap();
    check("too short");
}

#[test]
fn a_policy_file_adds_to_the_defaults_and_keeps_what_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("mask.toml");
    std::fs::write(
        &policy,
        "[headers]\nadd = ['X-Mine']\nkeep = ['x-api-key']\n[cookies]\nkeep = ['theme']\n\
        [fields]\nadd = ['$.a.b', 'motto']\nkeep = ['token']\n[query]\nadd = ['q']\n[text]\ncards = false\n",
    )
    .unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &["--mask", policy.to_str().unwrap()]);
    let body =
        r#"{"a":{"b":"Secret1"},"b":"public1","motto":"Secret2","token":"public2","n":4111111111111111}"#;
    recorder.ask(&format!(
        "POST /?q=Secret3 HTTP/1.1\r\nHost: shop\r\nX-Mine: Secret4\r\nX-Api-Key: public3\r\nCookie: theme=public4; a=Secret5\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));

    let (exchanges, _) = recorder.stop();

    let shown = format!(
        "{:?}",
        exchanges[0]
            .request
            .headers
            .iter()
            .map(|header| String::from_utf8_lossy(&header.value))
            .collect::<Vec<_>>()
    );
    let shown = shown
        + &String::from_utf8_lossy(&exchanges[0].request.target)
        + &String::from_utf8_lossy(&exchanges[0].request.body.stored);
    for public in ["public1", "public2", "public3", "public4", "4111111111111111"] {
        assert!(shown.contains(public), "{shown} lacks {public}");
    }
    assert!(!shown.contains("Secret"), "{shown}");
}

#[test]
fn a_policy_file_with_an_unknown_key_is_refused_by_name_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("mask.toml");
    let check = |text: &str, place: &str, what: &str| {
        std::fs::write(&policy, text).unwrap();
        let output = run(&["record", "--explain-policy", "--mask", policy.to_str().unwrap()]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("{}:{place}", policy.display())) && said.contains(what), "{said}");
    };
    check("[headers]\nad = []\n", "2", "`ad` is no key of [headers]");
    check("[header]\nadd = []\n", "1", "[header] is no table here");
    check("[fields]\nadd = [\n'a',\n5]\n", "4", "a name is a text");
    check("[text]\ncards = 'no'\n", "2", "`cards` is true or false");
    check("[fields]\nadd = ['a*b']\n", "2", "`a*b` is no name");
    check("a = 1\n", "1", "`a` is no table");
    check("[fields\n", "1", "");
}

#[test]
fn the_policy_explains_itself_on_a_sample_and_starts_nothing() {
    let output = run(&["record", "--explain-policy"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("request header x-api-key: k-51f0a9 -> "), "{text}");
    assert!(text.contains("(field *password*)") && text.contains("(card numbers in text)"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample.http");
    std::fs::write(&sample, "GET /?token=S3cret&x=1 HTTP/1.1\nHost: shop\nX-Mine: S3cret\n\n").unwrap();
    let sample = sample.to_str().unwrap();
    let found = json(&run(&["record", "--explain-policy", sample, "--mask-header", "x-mine", "--json"]), 0);
    assert_eq!(found["masked"][0]["place"], "request target");
    assert_eq!(found["masked"][0]["rule"], "field *token*");
    assert_eq!(found["masked"][0]["before"], "S3cret");
    assert_eq!(found["masked"][0]["after"], found["masked"][1]["after"]);
    assert_eq!(found["masked"].as_array().unwrap().len(), 2);
    let none = json(&run(&["record", "--explain-policy", sample, "--mask", "none", "--json"]), 0);
    assert_eq!(none["masked"].as_array().unwrap().len(), 0);
}
