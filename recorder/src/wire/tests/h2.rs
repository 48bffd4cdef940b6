//! Conversations of HTTP/2: frame by frame as RFC 9113 draws them, and those of a real client and a real server.

use bytes::Bytes;
use captures::{Exchange, Header, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[])
}

/// Fields that are spelled out, and remembered by nobody.
fn head(flags: u8, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let block: Vec<u8> =
        fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect();
    frame(1, flags | END_HEADERS, stream, &block)
}

fn request(flags: u8, stream: u32, path: &str) -> Vec<u8> {
    head(flags, stream, &[(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path)])
}

fn answer(flags: u8, stream: u32, status: &str) -> Vec<u8> {
    head(flags, stream, &[(":status", status)])
}

/// What one after the other says: by the client or not.
fn talk(said: &[(bool, Vec<u8>)]) -> Vec<Sent> {
    let (mut sent, mut places) = (opened(), [0_u32; 2]);
    for (by_client, content) in said {
        let side = usize::from(*by_client);
        let (place, heard) = (places[side], places[1 - side]);
        places[side] += length(content);
        sent.push(if *by_client { client(place, heard, content) } else { server(place, heard, content) });
    }
    sent
}

/// A connection with three requests, of which the second is answered last.
fn three() -> Vec<(bool, Vec<u8>)> {
    vec![
        (true, [PREFACE, &settings(), &request(END_STREAM, 1, "/a")].concat()),
        (false, [settings(), answer(0, 1, "200"), frame(0, END_STREAM, 1, b"ok")].concat()),
        (true, [request(END_STREAM, 3, "/b"), request(END_STREAM, 5, "/c")].concat()),
        (false, [answer(0, 3, "200"), answer(END_STREAM, 5, "404")].concat()),
        (false, frame(0, END_STREAM, 3, b"late")),
    ]
}

const THREE: [&str; 3] = ["/a 200 ok completed", "/c 404  completed", "/b 200 late completed"];

#[test]
fn streams_are_exchanges_whatever_their_order_and_however_the_segments_are_cut() {
    for size in [1, 2, 7, 30, 1_000] {
        let cut: Vec<(bool, Vec<u8>)> = three()
            .into_iter()
            .flat_map(|(side, bytes)| {
                bytes.chunks(size).map(|piece| (side, piece.to_vec())).collect::<Vec<_>>()
            })
            .collect();
        let (found, counts) = read(&talk(&cut));
        assert_eq!(shown(&found), THREE, "{size}");
        let seen = (counts.http2_connections, counts.http_connections, counts.other_connections);
        assert_eq!((seen, counts.unread_bytes, counts.http2_sides_lost), ((1, 0, 0), 0, 0), "{size}");
        assert_eq!(found[0].request.version, Version::Http2);
        assert_eq!(found[0].request.headers, [Header { name: b"host".to_vec(), value: b"x".to_vec() }]);
        assert!(found.iter().all(|exchange| exchange.connection == found[0].connection));
    }
}

#[test]
fn a_server_may_begin_before_its_client() {
    let mut said = three();
    said.insert(0, (false, settings()));
    assert_eq!(shown(&read(&talk(&said)).0), THREE);
}

#[test]
fn moments_are_those_of_the_frames() {
    let said = [
        (true, [PREFACE, &request(0, 1, "/a")].concat()),
        (true, frame(0, END_STREAM, 1, b"body")),
        (false, answer(0, 1, "200")),
        (false, frame(0, END_STREAM, 1, b"")),
    ];
    let (found, _) = read(&talk(&said));
    // After a handshake of three packets.
    let at = Offset::from_millis;
    assert_eq!((found[0].arrived, found[0].request_done), (at(4), Some(at(5))));
    assert_eq!((found[0].response_began, found[0].ended), (Some(at(6)), at(7)));
}

#[test]
fn an_upgrade_is_answered_on_the_first_stream() {
    let asks = b"GET /up HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n";
    let switches = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
    let said = [
        (true, asks.to_vec()),
        (false, [&switches[..], &settings(), &answer(0, 1, "200"), &frame(0, END_STREAM, 1, b"ok")].concat()),
        (true, [PREFACE, &settings(), &request(END_STREAM, 3, "/b")].concat()),
        (false, answer(END_STREAM, 3, "204")),
    ];
    let (found, counts) = read(&talk(&said));
    assert_eq!(shown(&found), ["/up 200 ok completed", "/b 204  completed"]);
    let versions = found[0].response.as_ref().map(|response| (found[0].request.version, response.version));
    assert_eq!(versions, Some((Version::Http11, Version::Http2)));
    assert_eq!((counts.upgraded_connections, counts.http2_connections), (1, 1));
    assert_eq!(found[0].connection, found[1].connection);

    let (found, counts) =
        read(&talk(&said[..1].iter().cloned().chain([(false, switches.to_vec())]).collect::<Vec<_>>()));
    assert_eq!(shown(&found), ["/up 101  proxy_failed"]);
    assert_eq!(counts.requests_without_response, 1);
}

#[test]
fn what_is_missing_within_content_is_told_and_anything_else_ends_that_side() {
    // The last piece of the answer to /a.
    let mut sent = talk(&three());
    let cut = sent[4].content.len() - 1;
    sent[4].content.truncate(cut);
    let (found, counts) = read(&sent);
    assert_eq!(shown(&found), ["/a 200 o completed", THREE[1], THREE[2]]);
    assert_eq!((counts.gap_bytes, counts.http2_sides_lost), (1, 0));

    // The heads of the answers to /b and /c: what the server says afterwards is unknown.
    let mut sent = talk(&three());
    sent.remove(6);
    let (found, counts) = read(&sent);
    assert_eq!(shown(&found), [THREE[0], "/b  proxy_failed", "/c  proxy_failed"]);
    assert_eq!((counts.gaps, counts.http2_sides_lost, counts.requests_without_response), (1, 1, 2));

    // The requests /b and /c: their answers are nobody's.
    let mut sent = talk(&three());
    sent.remove(5);
    let (found, counts) = read(&sent);
    assert_eq!(shown(&found), [THREE[0]]);
    assert_eq!(counts.responses_without_request, 2);
}

#[test]
fn a_stream_can_be_broken_off_by_both() {
    let reset = |stream, code| frame(3, 0, stream, &[0, 0, 0, code]);
    let said = [
        (true, [PREFACE, &request(END_STREAM, 1, "/a"), &request(END_STREAM, 3, "/b")].concat()),
        (true, request(0, 5, "/c")),
        (false, [answer(0, 1, "200"), reset(1, 2), answer(END_STREAM, 5, "413"), reset(5, 0)].concat()),
        (true, reset(3, 8)),
    ];
    let (found, _) = read(&talk(&said));
    assert_eq!(shown(&found), ["/a 200  upstream_reset", "/c 413  completed", "/b  client_aborted"]);
}

#[test]
fn interim_and_promised_answers_are_counted_and_a_tunnel_is_not_read() {
    let connect = head(0, 3, &[(":method", "CONNECT"), (":authority", "y:25")]);
    let said = [
        (true, [PREFACE, &request(END_STREAM, 1, "/a"), &connect].concat()),
        (false, [answer(0, 1, "103"), frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])].concat()),
        (false, [answer(END_STREAM, 2, "200"), answer(END_STREAM, 1, "200"), answer(0, 3, "200")].concat()),
        (true, frame(0, 0, 3, b"EHLO")),
        (false, frame(0, 0, 3, b"250")),
    ];
    let (found, counts) = read(&talk(&said));
    assert_eq!(shown(&found), ["/a 200  completed", "y:25 200  completed"]);
    assert_eq!((counts.interim_responses, counts.promised_responses, counts.tunnels), (1, 1, 1));
    assert_eq!(counts.responses_without_request, 0);
}

#[test]
fn fields_that_would_read_like_several_make_no_request() {
    let evil = head(END_STREAM, 1, &[(":method", "GET"), (":path", "/a"), ("x", "1\r\nHost: other")]);
    let said = [
        (true, [PREFACE, &evil, &request(END_STREAM, 3, "/b")].concat()),
        (false, [answer(END_STREAM, 1, "200"), answer(END_STREAM, 3, "200")].concat()),
    ];
    let (found, counts) = read(&talk(&said));
    assert_eq!(shown(&found), ["/b 200  completed"]);
    assert_eq!((counts.unreadable_messages, counts.responses_without_request), (1, 1));
}

#[test]
fn more_streams_than_anybody_opens_give_the_oldest_up() {
    let requests = (0..1_030).flat_map(|at| request(END_STREAM, at * 2 + 1, "/many")).collect();
    let (found, counts) = read(&talk(&[(true, PREFACE.to_vec()), (true, requests), (false, settings())]));
    assert_eq!((found.len(), counts.requests_without_response), (1_030, 1_030));
}

/// Hands on what two ends say, and writes it down.
async fn relay(mut ends: [DuplexStream; 2]) -> Vec<(bool, Vec<u8>)> {
    let mut said = Vec::new();
    let (mut from_client, mut from_server) = ([0; 1_400], [0; 1_400]);
    loop {
        let [client, server] = &mut ends;
        let (by_client, count) = tokio::select! {
            biased;
            count = client.read(&mut from_client) => (true, count.unwrap_or(0)),
            count = server.read(&mut from_server) => (false, count.unwrap_or(0)),
        };
        if count == 0 {
            return said;
        }
        let piece = if by_client { &from_client[..count] } else { &from_server[..count] };
        said.push((by_client, piece.to_vec()));
        if ends[usize::from(by_client)].write_all(piece).await.is_err() {
            return said;
        }
    }
}

async fn serve(end: DuplexStream) {
    let mut connection = ::h2::server::Builder::new().handshake::<_, Bytes>(end).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            let (mut body, mut length) = (request.into_body(), 0);
            while let Some(Ok(piece)) = body.data().await {
                length += piece.len();
                let _ = body.flow_control().release_capacity(piece.len());
            }
            let response = http::Response::builder().status(200).header("x-path", path).body(()).unwrap();
            let mut stream = respond.send_response(response, false).unwrap();
            stream.send_data(Bytes::from(format!("{length} bytes")), false).unwrap();
            let trailers = [(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from(0))];
            stream.send_trailers(trailers.into_iter().collect()).unwrap();
        });
    }
}

/// So many requests with growing bodies, told apart by path, cookie and length.
async fn ask(end: DuplexStream, count: usize) {
    let (mut client, connection) =
        ::h2::client::Builder::new().header_table_size(8_192).handshake::<_, Bytes>(end).await.unwrap();
    tokio::spawn(connection);
    for at in 0..count {
        let request = http::Request::post(format!("http://shop.test/item/{at}?q={}", "x".repeat(at * 7)))
            .header("cookie", format!("session={}", at * 1_000_003))
            .header("user-agent", "a client")
            .body(())
            .unwrap();
        client = client.ready().await.unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from(vec![b'b'; at * 100]), true).unwrap();
        let mut answer = response.await.unwrap().into_body();
        while let Some(piece) = answer.data().await {
            let piece = piece.unwrap();
            let _ = answer.flow_control().release_capacity(piece.len());
        }
        answer.trailers().await.unwrap();
    }
}

#[test]
fn what_a_real_client_and_a_real_server_say_is_read_to_the_byte() {
    const COUNT: usize = 150;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let said = runtime.block_on(async {
        let (client, front) = tokio::io::duplex(1 << 16);
        let (back, server) = tokio::io::duplex(1 << 16);
        let relay = tokio::spawn(relay([front, back]));
        tokio::spawn(serve(server));
        ask(client, COUNT).await;
        relay.await.unwrap()
    });
    let (found, counts) = read(&talk(&said));
    assert_eq!((found.len(), counts.unread_bytes, counts.http2_sides_lost), (COUNT, 0, 0));
    for (at, exchange) in found.iter().enumerate() {
        let Exchange { request, response, .. } = exchange;
        let response = response.as_ref().unwrap();
        let value = |headers, name| captures::header_value(headers, name).unwrap().to_vec();
        assert_eq!(request.target, format!("/item/{at}?q={}", "x".repeat(at * 7)).as_bytes());
        assert_eq!(value(&request.headers, "host"), b"shop.test");
        assert_eq!(value(&request.headers, "cookie"), format!("session={}", at * 1_000_003).as_bytes());
        assert_eq!(request.body.stored, vec![b'b'; at * 100]);
        assert_eq!(value(&response.headers, "x-path"), format!("/item/{at}").as_bytes());
        assert_eq!(response.body.stored, format!("{} bytes", at * 100).as_bytes());
        assert_eq!(value(&response.trailers, "grpc-status"), b"0");
    }
}

proptest! {
    #[test]
    fn flipped_bytes_of_frames_are_survived(
        flips in proptest::collection::vec((0..10_usize, 0..200_usize, any::<u8>()), 1..12)
    ) {
        let mut said = three();
        for (at, place, value) in flips {
            let at = at % said.len();
            let bytes = &mut said[at].1;
            let place = place % bytes.len();
            bytes[place] = value;
        }
        read(&talk(&said));
    }
}
