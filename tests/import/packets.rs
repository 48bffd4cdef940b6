//! A file of packets made here, byte by byte, as libpcap describes it.

use std::path::Path;

use super::{exchanges, imported, material, text};
use crate::support::{run, stderr};

/// A segment of IPv4 and TCP.
fn segment(by_client: bool, sequence: u32, heard: u32, content: &[u8]) -> Vec<u8> {
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (from, to) = if by_client { (client, server) } else { (server, client) };
    let ports: [u16; 2] = if by_client { [40_000, 8_080] } else { [8_080, 40_000] };
    let length = u16::try_from(40 + content.len()).unwrap();
    let mut bytes = vec![0x45, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 64, 6, 0, 0]);
    bytes.extend(from);
    bytes.extend(to);
    ports.iter().for_each(|port| bytes.extend(port.to_be_bytes()));
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(heard.to_be_bytes());
    bytes.extend([0x50, 0x10, 255, 255, 0, 0, 0, 0]);
    bytes.extend(content);
    bytes
}

/// A file in nanoseconds, of raw IP.
fn pcap(packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xA1B2_3C4D, 0x0004_0002, 0, 0, 262_144, 101_u32] {
        file.extend(word.to_le_bytes());
    }
    for (millis, packet) in packets {
        let length = u32::try_from(packet.len()).unwrap();
        for word in [1_600_000_000 + millis / 1_000, millis % 1_000 * 1_000_000, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

const REQUEST: &[u8] = b"POST /pay HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\n\r\nabcd";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

fn talk() -> Vec<(u32, Vec<u8>)> {
    let sent = u32::try_from(REQUEST.len()).unwrap();
    let (first, rest) = REQUEST.split_at(10);
    vec![
        (0, segment(true, 100, 900, first)),
        (25, segment(true, 110, 900, rest)),
        (75, segment(false, 900, 100 + sent, ANSWER)),
    ]
}

/// The same said within TLS, as Wireshark exports it when it has the keys.
fn exported(by_client: bool, content: &[u8]) -> Vec<u8> {
    let tag = |kind: u16, value: &[u8]| {
        let length = u16::try_from(value.len()).unwrap();
        [&kind.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
    };
    let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (from, to) = if by_client { (client, server) } else { (server, client) };
    let ports: [u32; 2] = if by_client { [40_000, 443] } else { [443, 40_000] };
    [
        tag(12, b"http-over-tls\0\0\0"),
        tag(20, &from),
        tag(21, &to),
        tag(24, &2_u32.to_be_bytes()),
        tag(25, &ports[0].to_be_bytes()),
        tag(26, &ports[1].to_be_bytes()),
        tag(0, b""),
        content.to_vec(),
    ]
    .concat()
}

#[test]
fn what_was_taken_out_of_tls_is_read_as_secure() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("x.pcap"), folder.path().join("x.capture"));
    let said = [(0, exported(true, REQUEST)), (40, exported(false, ANSWER)), (50, exported(true, REQUEST))];
    let mut bytes = pcap(&said);
    bytes[20] = 252;
    write(&file, &bytes);
    let said = imported(&file, &out, &[]);
    let found = exchanges(&out);
    assert_eq!(
        (found.len(), &found[0]["status"], &found[0]["server"]),
        (2, &200.into(), &"10.0.0.2:443".into())
    );
    assert_eq!(said["counts"]["requests_without_response"], 1);
    let shown = run(&["inspect", text(&out), "--show", &found[0]["id"].to_string(), "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["secure"], &shown["request"]["target"]), (&true.into(), &"/pay".into()));
    assert_eq!(shown["response"]["body"]["text"], "ok");
}

/// What Wireshark keeps of its own tests: two connections of TLS 1.2, each behind its secrets.
#[test]
fn tls_is_read_with_keys_of_the_file_or_of_another_and_counted_without() {
    let Some(folder) = material("pcap") else { return };
    let folder_out = tempfile::tempdir().unwrap();
    let at = |name: &str| folder_out.path().join(name);
    let (mut without, mut keys) = (Vec::new(), Vec::new());
    let whole = std::fs::read(folder.join("wireshark__tls12-dsb.pcapng")).unwrap();
    let mut rest = &whole[..];
    while let Some(head) = rest.first_chunk::<8>() {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (block, after) = rest.split_at(length);
        rest = after;
        if head[..4] == [10, 0, 0, 0] {
            let length = u32::from_le_bytes([block[12], block[13], block[14], block[15]]) as usize;
            keys.extend_from_slice(&block[16..16 + length]);
        } else {
            without.extend_from_slice(block);
        }
    }
    write(&at("whole.pcapng"), &whole);
    write(&at("without.pcapng"), &without);
    write(&at("keys.log"), &keys);
    write(&at("none.log"), b"# nothing\n");

    let keys = at("keys.log");
    let cases: [(&str, &[&str], usize); 3] = [
        ("whole.pcapng", &[], 2),
        ("without.pcapng", &[], 0),
        ("without.pcapng", &["--keylog", text(&keys)], 2),
    ];
    for (turn, (file, more, expected)) in cases.into_iter().enumerate() {
        let out = at(&format!("{turn}.capture"));
        let said = imported(&at(file), &out, more);
        let found = exchanges(&out);
        assert_eq!(found.len(), expected, "{file} {more:?}");
        let counts = &said["counts"];
        assert_eq!(counts["tls_connections"], 2);
        assert_eq!(counts["tls_connections_read"].as_u64().unwrap_or(0), expected as u64);
        for (exchange, host) in found.iter().zip(["example.com", "example.net"]) {
            assert_eq!((&exchange["method"], &exchange["host"]), (&"HEAD".into(), &host.into()));
        }
    }
    let output = run(&[
        "import",
        text(&at("without.pcapng")),
        "--out",
        text(&at("y.capture")),
        "--keylog",
        text(&at("none.log")),
    ]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("none.log: holds no keys of TLS; "), "{}", stderr(&output));
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn packets_become_exchanges_with_their_moments() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("x.pcap"), folder.path().join("x.capture"));
    write(&file, &pcap(&talk()));

    let said = imported(&file, &out, &[]);

    assert_eq!((&said["exchanges"], &said["files"][0]["entries"]), (&1.into(), &3.into()));
    let found = &exchanges(&out)[0];
    assert_eq!(found["arrived"].to_string(), "1600000000.000000000");
    assert_eq!(
        (&found["method"], &found["host"], &found["target"]),
        (&"POST".into(), &"shop".into(), &"/pay".into())
    );
    assert_eq!((&found["status"], &found["duration_ms"]), (&200.into(), &75.0.into()));
    assert_eq!((&found["request_body_bytes"], &found["response_body_bytes"]), (&4.into(), &2.into()));
    assert_eq!(found["server"], "10.0.0.2:8080");
}

#[test]
fn a_connection_goes_on_from_one_file_into_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let talk = talk();
    write(&at("z-first.pcap"), &pcap(&talk[..2]));
    write(&at("a-second.pcap"), &pcap(&talk[2..]));
    let files = [at("a-second.pcap"), at("z-first.pcap")];
    let output = run(&["import", text(&files[0]), text(&files[1]), "--out", text(&at("x.capture"))]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(exchanges(&at("x.capture"))[0]["status"], 200);
}

#[test]
fn a_torn_file_gives_what_it_has_wherever_it_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let whole = pcap(&talk());
    for end in (0..whole.len()).step_by(9) {
        let (file, out) = (folder.path().join("x.pcap"), folder.path().join(format!("{end}.capture")));
        write(&file, &whole[..end]);
        let output = run(&["import", text(&file), "--out", text(&out)]);
        let code = output.status.code();
        assert!(code == Some(0) || code == Some(3), "{end}: {code:?} {}", stderr(&output));
    }
}

#[test]
fn only_the_connections_of_a_port_can_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("x.pcap"), folder.path().join("x.capture"));
    write(&file, &pcap(&talk()));
    let said = imported(&file, &out, &["--port", "80"]);
    assert_eq!((&said["exchanges"], &said["counts"]["other_ports"]), (&0.into(), &3.into()));
}
