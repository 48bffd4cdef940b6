//! gRPC: HTTP/2 from end to end, messages as they come, the outcome in the trailers.

use bytes::Bytes;
use captures::Version;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::runtime::Runtime;

use super::*;

/// A client of the service at `port`.
async fn client(port: u16) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A service that returns each piece at once, says at the end that all went well, and remembers the fields
/// that came behind the request.
fn echo_service(runtime: &Runtime) -> (SocketAddr, Arc<Mutex<Vec<HeaderMap>>>) {
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let heard = Arc::clone(&hearing);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, answer))) = connection.accept().await {
                    tokio::spawn(echo(request, answer, Arc::clone(&heard)));
                }
            });
        }
    });
    (address, heard)
}

async fn echo(
    request: Request<RecvStream>,
    mut answer: SendResponse<Bytes>,
    heard: Arc<Mutex<Vec<HeaderMap>>>,
) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut out = answer.send_response(head, false).unwrap();
    let mut body = request.into_body();
    while let Some(Ok(piece)) = body.data().await {
        body.flow_control().release_capacity(piece.len()).unwrap();
        out.send_data(piece, false).unwrap();
    }
    if let Ok(Some(trailers)) = body.trailers().await {
        heard.lock().unwrap().push(trailers);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers.insert("grpc-message", "all%20well".parse().unwrap());
    let _ = out.send_trailers(trailers);
}

/// Begins a call.
async fn call(client: &SendRequest<Bytes>, method: &str) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
    let request = Request::post(format!("http://shop.test/shop.Cart/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    client.clone().ready().await.unwrap().send_request(request, false).unwrap()
}

async fn rest(body: &mut RecvStream) -> (Vec<u8>, HeaderMap) {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    (bytes, body.trailers().await.unwrap().unwrap_or_default())
}

fn status(trailers: &HeaderMap) -> (&str, &str) {
    (trailers["grpc-status"].to_str().unwrap(), trailers["grpc-message"].to_str().unwrap())
}

#[test]
fn grpc_passes_in_clear_and_by_tls_with_its_trailers() {
    let folder = tempfile::tempdir().unwrap();
    let (near, far) = (folder.path().join("near"), folder.path().join("far"));
    std::fs::create_dir(&near).unwrap();
    std::fs::create_dir(&far).unwrap();
    let runtime = Runtime::new().unwrap();
    let (service, _) = echo_service(&runtime);
    let shop = Identity::new(folder.path(), "shop.test");
    // Client, in clear, recorder, by TLS, recorder, in clear, service. An idle client holds nobody up.
    let grace = ["--grace", "1h"];
    let second =
        Recorder::start(&far, format!("h2c://{service}"), &[&SECURE[..], &shop.flags(), &grace].concat());
    let flags = ["--upstream-sni", "shop.test", "--upstream-ca", shop.certificate(), "--grace", "1h"];
    let first = Recorder::start(&near, format!("https://127.0.0.1:{}", second.secure_port()), &flags);

    let client = runtime.block_on(client(first.port));
    runtime.block_on(async {
        let (answer, mut out) = call(&client, "Unary").await;
        out.send_data(Bytes::from_static(b"\0\0\0\0\x05hello"), true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let (bytes, trailers) = rest(&mut body).await;
        assert_eq!((bytes.as_slice(), status(&trailers)), (&b"\0\0\0\0\x05hello"[..], ("0", "all%20well")));

        // Each message is back before the next is sent.
        let (answer, mut out) = call(&client, "Stream").await;
        let mut body = None;
        let mut answer = Some(answer);
        for count in 0..20_u8 {
            let message = Bytes::from(vec![0, 0, 0, 0, 1, count]);
            out.send_data(message.clone(), false).unwrap();
            if let Some(answer) = answer.take() {
                body = Some(answer.await.unwrap().into_body());
            }
            let body = body.as_mut().unwrap();
            let echoed = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(echoed.len()).unwrap();
            assert_eq!(echoed, message);
        }
        out.send_data(Bytes::new(), true).unwrap();
        let (bytes, trailers) = rest(body.as_mut().unwrap()).await;
        assert_eq!((bytes.len(), status(&trailers)), (0, ("0", "all%20well")));
    });

    for recorder in [first, second] {
        let (exchanges, _) = recorder.stop();
        assert_eq!(exchanges.len(), 2);
        for exchange in exchanges {
            let response = exchange.response.as_ref().unwrap();
            assert_eq!((exchange.request.version, response.version), (Version::Http2, Version::Http2));
            assert_eq!((exchange.ending, exchange.attempts), (Ending::Completed, 1));
            assert_eq!(header_value(&exchange.request.headers, "host"), Some(&b"shop.test"[..]));
            assert_eq!(names_and_values(&response.trailers), ["grpc-status: 0", "grpc-message: all%20well"]);
            assert_eq!(exchange.request.body.stored, response.body.stored);
        }
    }
    drop(client);
}

#[test]
fn fields_behind_a_request_are_left_out_and_the_record_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let (service, heard) = echo_service(&runtime);
    let recorder = Recorder::start(folder.path(), format!("h2c://{service}"), &[]);

    runtime.block_on(async {
        let client = client(recorder.port).await;
        let (answer, mut out) = call(&client, "Unary").await;
        out.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-last", "1".parse().unwrap());
        out.send_trailers(trailers).unwrap();
        let (bytes, trailers) = rest(&mut answer.await.unwrap().into_body()).await;
        assert_eq!((bytes.as_slice(), status(&trailers).0), (&b"hello"[..], "0"));
    });

    assert!(heard.lock().unwrap().is_empty());
    let (exchanges, _) = recorder.stop();
    let [exchange] = &exchanges[..] else { panic!("{exchanges:?}") };
    assert!(exchange.passage.altered && !exchange.passage.unfinished);
    assert_eq!((exchange.ending, exchange.request.body.length), (Ending::Completed, 5));
}
