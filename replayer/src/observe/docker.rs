//! Finds the first process of a container: asks the Docker Engine on its socket.
//!
//! Source: Docker Engine API, `GET /containers/{id}/json` (ContainerInspect), `State.Pid`. Podman answers the same.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::prometheus::body_of;

/// An answer above this size is cut: 8 MiB.
const MAX_ANSWER: u64 = 8 << 20;
/// How long the engine may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the engine can have a container of that name, or with an id that begins so.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// The process. HTTP/1.0 keeps the answer free of chunks.
pub(super) fn process_of(name: &str, socket: &Path) -> io::Result<u32> {
    let of_socket = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", socket.display()));
    let mut stream = UnixStream::connect(socket).map_err(of_socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /containers/{name}/json HTTP/1.0\r\nHost: docker\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(of_socket)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).map_err(of_socket)?;
    running(&answer).map_err(|why| io::Error::new(io::ErrorKind::NotFound, why))
}

/// The process that an answer names; why there is none.
fn running(answer: &[u8]) -> Result<u32, String> {
    let status = answer.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    if status.starts_with(b"404") {
        return Err("there is no such container".to_owned());
    }
    let body = body_of(answer).ok_or_else(|| {
        format!("the engine answered with status {}", String::from_utf8_lossy(status).escape_debug())
    })?;
    let told: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| format!("the engine's answer is no JSON: {error}"))?;
    let state = &told["State"];
    let id = state["Pid"].as_u64().and_then(|id| u32::try_from(id).ok());
    match id.filter(|&id| id > 0 && state["Running"] != false) {
        Some(id) => Ok(id),
        None => Err("the container is not running".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_a_running_process_or_says_why_there_is_none() {
        let ok = |body: &str| format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}");
        for (answer, expected) in [
            (ok("{\"State\":{\"Running\":true,\"Pid\":4711}}"), Ok(4711)),
            (ok("{\"State\":{\"Running\":false,\"Pid\":0}}"), Err("is not running")),
            (ok("{}"), Err("is not running")),
            (ok("{"), Err("no JSON")),
            ("HTTP/1.0 404 Not Found\r\n\r\n{\"message\":\"x\"}".to_owned(), Err("no such container")),
            ("HTTP/1.0 500 Internal Server Error\r\n\r\n".to_owned(), Err("status 500")),
            (String::new(), Err("status")),
        ] {
            match (running(answer.as_bytes()), expected) {
                (Ok(id), Ok(expected)) => assert_eq!(id, expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
                (found, _) => panic!("{answer}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        assert!(is_name("shop-web_1.a") && is_name("4f5e6d"));
        for wrong in ["", "../x", "a/b", "a b", "a?b", "a\r\nb", "-a"] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
