//! Files of others, as their tools document them.

use super::*;
use crate::exchange::header_value;

fn shown(entries: &[Entry]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let show = |entry: &Entry| {
        let exchange = &entry.exchange;
        let (request, answer) = (&exchange.request, exchange.response.as_ref());
        format!(
            "{:.3} +{:.3} {} {} {} {}",
            exchange.arrived.as_secs_f64(),
            exchange.ended.since(exchange.arrived).as_secs_f64(),
            text(&request.method),
            text(&request.target),
            answer.map_or(0, |answer| answer.status),
            answer.map_or(0, |answer| answer.body.length),
        )
    };
    entries.iter().map(show).collect()
}

fn log(text: &str, format: &LogFormat) -> (Vec<Entry>, Account) {
    let mut found = Vec::new();
    let account = read_log(text.as_bytes(), format, |entry| found.push(entry)).unwrap();
    assert_eq!(account.entries, account.read + account.skipped.values().sum::<u64>());
    (found, account)
}

fn check_log(line: &str, expected: &str) -> Entry {
    let (found, _) = log(line, &LogFormat::Known);
    assert_eq!(shown(&found), [expected], "{line}");
    found.into_iter().next().unwrap()
}

/// The lines are the examples of each server's own documentation, shortened.
#[test]
fn lines_of_many_servers_are_read() {
    let combined = r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326 "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)""#;
    let entry = check_log(combined, "971211336.000 +0.000 GET /apache_pb.gif 200 2326");
    assert_eq!(entry.client, Some("127.0.0.1".parse().unwrap()));
    assert_eq!(
        header_value(&entry.exchange.request.headers, "user-agent").unwrap(),
        b"Mozilla/4.08 [en] (Win98; I ;Nav)"
    );
    check_log(
        r#"127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 2326"#,
        "971211336.000 +0.000 GET /a 200 2326",
    );
    check_log(
        r#"10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 5 "-" "x" 0.250"#,
        "971211335.750 +0.250 GET /a 200 5",
    );
    check_log(
        r#"10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 5 "-" "x" 42 "router" "http://10.0.0.7:80" 12ms"#,
        "971211336.000 +0.012 GET /a 200 5",
    );
    check_log(
        r#"http 2018-07-02T22:23:00.186641Z app/my-loadbalancer/50dc6c495c0c9188 192.168.131.39:2817 10.0.0.1:80 0.000 0.001 0.000 200 200 34 366 "GET http://www.example.com:80/x?y=1 HTTP/1.1" "curl/7.46.0" - - arn:aws:x "Root=1-58337262-36d228ad5d99923122bbe354" "-" "-" 0"#,
        "1530570180.186 +0.001 GET /x?y=1 200 366",
    );
    check_log(
        r#"2015-05-13T23:39:43.945958Z my-loadbalancer 192.168.131.39:2817 10.0.0.1:80 0.000073 0.001048 0.000057 200 200 0 29 "GET http://www.example.com:80/ HTTP/1.1" "curl/7.38.0" - -"#,
        "1431560383.945 +0.001 GET / 200 29",
    );
    check_log(
        r#"[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "cc21d9b0" "locations" "tcp://10.0.2.1:80""#,
        "1460751420.310 +0.226 POST /api/v1/locations 204 0",
    );
    check_log(
        "#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query time-taken\n2019-12-04\t21:02:31\tLAX1\t392\t192.0.2.100\tGET\td111.cloudfront.net\t/index.html\t200\t-\tMozilla/5.0%20(Windows)\tq=1\t0.5",
        "1575493350.500 +0.500 GET /index.html?q=1 200 392",
    );
    check_log(
        r#"{"level":"info","ts":1693840791.75,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"172.17.0.1","client_ip":"127.0.0.1","proto":"HTTP/1.0","method":"GET","host":"a:80","uri":"/b","headers":{"User-Agent":["curl"]}},"duration":0.25,"size":6,"status":200}"#,
        "1693840791.500 +0.250 GET /b 200 6",
    );
    check_log(
        r#"{"ClientHost":"10.0.0.1","DownstreamContentSize":17,"DownstreamStatus":200,"Duration":1500000,"RequestHost":"x","RequestMethod":"GET","RequestPath":"/t","RequestProtocol":"HTTP/1.1","StartUTC":"2020-01-01T00:00:00.5Z"}"#,
        "1577836800.500 +0.002 GET /t 200 17",
    );
    check_log(
        r#""1.2.3.4 - - [22/Dec/2016:16:30:52 +0300] "POST /x HTTP/1.1" 303 382 "-" "Moz"""#,
        "1482413452.000 +0.000 POST /x 303 382",
    );
}

#[test]
fn a_format_of_ones_own_is_read_in_nginx_notation() {
    let typed =
        "$msec|$remote_addr|$request_method|$request_uri|$status|$request_time|$connection|$http_host";
    let format = LogFormat::Template(Template::parse(typed).unwrap());
    let (found, _) = log("1700000000.500|10.0.0.9|GET|/a?b=c|200|0.125|77|shop.test\n", &format);
    assert_eq!(shown(&found), ["1700000000.375 +0.125 GET /a?b=c 200 0"]);
    assert_eq!(header_value(&found[0].exchange.request.headers, "host"), Some(&b"shop.test"[..]));
}

#[test]
fn lines_of_one_second_are_spread_over_it_and_the_guess_is_told() {
    let line =
        |path: &str| format!("1.1.1.1 - - [10/Oct/2000:13:55:36 -0700] \"GET {path} HTTP/1.0\" 200 1\n");
    let (found, account) = log(&[line("/a"), line("/b"), line("/c"), line("/d")].concat(), &LogFormat::Known);
    let arrived: Vec<u64> =
        found.iter().map(|entry| entry.exchange.arrived.as_nanos() / 1_000_000 % 1_000).collect();
    assert_eq!(arrived, [0, 250, 500, 750]);
    assert_eq!(account.noted["spread_within_a_second"], 3);
}

#[test]
fn what_is_no_line_of_a_log_is_counted_by_reason() {
    let good = "1.1.1.1 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.0\" 200 1\n";
    let no_request = "1.1.1.1 - - [10/Oct/2000:13:55:36 -0700] \"\\x16\\x03\\x01\" 400 1\n";
    let (found, account) =
        log(&[good, no_request, "something else\n", "\n", good].concat(), &LogFormat::Known);
    assert_eq!((found.len(), account.entries), (2, 4));
    assert_eq!(account.skipped, BTreeMap::from([("no_request_line", 1), ("unknown_format", 1)]));
    assert!(read_log(&b"{\"a\":1}\nx\n"[..], &LogFormat::Known, |_| ()).is_err());
}

fn gor(text: &str) -> (Vec<Entry>, Account) {
    let mut found = Vec::new();
    let account = read_gor(text.as_bytes(), |entry| found.push(entry)).unwrap();
    assert_eq!(account.entries, account.read + account.skipped.values().sum::<u64>());
    (found, account)
}

#[test]
fn goreplays_requests_find_their_responses() {
    let separator = "\n🐵🙈🙉\n";
    let request = "1 a1 1000000000 0\nPOST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
    let response = "2 a1 1250000000 250000000\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n";
    let replayed = "3 a1 9000000000 5\nHTTP/1.1 500 Oh\r\n\r\n";
    let orphan = "2 zz 1250000000 1\nHTTP/1.1 200 OK\r\n\r\n";
    let records = [request, response, replayed, orphan, "nonsense"];
    let (found, account) = gor(&records.map(|record| [record, separator].concat()).concat());
    assert_eq!(shown(&found), ["1.000 +0.250 POST /x 201 3"]);
    assert_eq!(found[0].exchange.request.body.stored, b"hi");
    assert_eq!(account.skipped, BTreeMap::from([("no_record_line", 1), ("response_without_request", 1)]));
    assert_eq!(account.noted["replayed_responses_unused"], 1);
}

#[test]
fn an_entry_of_har_is_read_however_little_it_has() {
    let har = r#"{"log":{"version":"1.2","creator":{"name":"x"},"entries":[
        {"startedDateTime":"2020-01-01T00:00:00.000Z","time":30,"request":{"method":"GET","url":"https://h.test/a?b#c","httpVersion":"h2","headers":[{"name":":path","value":"/a"},{"name":"Accept","value":"*/*"}]},
         "response":{"status":200,"httpVersion":"HTTP/2.0","headers":[{"name":"Content-Encoding","value":"gzip"}],"content":{"size":2,"encoding":"base64","text":"aGk="}},
         "timings":{"blocked":10,"dns":-1,"connect":-1,"send":0,"wait":15,"receive":5},"connection":"443","serverIPAddress":"192.0.2.7"},
        {"request":{"method":"POST","url":"http://h.test","postData":{"mimeType":"application/x-www-form-urlencoded","params":[{"name":"a b","value":"ü"}]}}},
        {"request":{"method":"GET","url":"data:text/plain,x"}},
        {"request":{"method":"","url":"http://h.test/"}}
    ]}}"#;
    let mut found = Vec::new();
    let account = read_har(har.as_bytes(), |entry| found.push(entry)).unwrap();
    assert_eq!(shown(&found), ["1577836800.010 +0.020 GET /a?b 200 2", "1577836800.000 +0.000 POST / 0 0"]);
    let first = &found[0].exchange;
    assert_eq!(first.response.as_ref().unwrap().body.stored, b"hi");
    assert!(first.response.as_ref().unwrap().body.decoded && first.passage.secure);
    assert_eq!(header_value(&first.request.headers, "host"), Some(&b"h.test"[..]));
    assert_eq!(found[0].server.as_deref(), Some("192.0.2.7:443"));
    assert_eq!(found[1].exchange.request.body.stored, b"a+b=%C3%BC");
    assert_eq!((account.entries, account.read), (4, 2));
    assert_eq!(account.skipped, BTreeMap::from([("no_method", 1), ("not_http", 1)]));
}

#[test]
fn a_har_that_is_torn_gives_what_it_has_and_another_file_is_refused() {
    let entry = r#"{"startedDateTime":"2020-01-01T00:00:00Z","request":{"method":"GET","url":"http://h/"}}"#;
    let torn = format!("{{\"log\":{{\"entries\":[{entry},{entry},{{\"a");
    let mut count = 0;
    let account = read_har(torn.as_bytes(), |_| count += 1).unwrap();
    assert!(count == 2 && account.damage.is_some());
    for wrong in ["", "[1]", "{\"a\":1}", "hello", "{\"log\":5}"] {
        assert!(read_har(wrong.as_bytes(), |_| ()).is_err(), "{wrong}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = read_har(&bytes[..], |_| ());
        let _ = read_gor(&bytes[..], |_| ());
        let _ = read_log(&bytes[..], &LogFormat::Known, |_| ());
    }
}
