//! Signs a recorded JSON Web Token anew, with its times moved (RFC 7519; HMAC with SHA-256, RFC 7515 and 2104).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use captures::sha256;
use serde_json::Value;

/// The claims that are times, in seconds.
const TIMES: [&str; 4] = ["iat", "nbf", "exp", "auth_time"];

/// `recorded`, with `later_ms` added to its times and signed with `key`; also behind a word, as in `Bearer x`. `None`
/// when it is no token that is signed this way.
pub(super) fn signed(recorded: &[u8], key: &[u8], later_ms: i64) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(recorded).ok()?;
    let (word, token) = text.rsplit_once(' ').map_or(("", text), |(word, token)| (word, token));
    let mut parts = token.split('.');
    let (head, claims) = (parts.next()?, parts.next()?);
    let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    if read(head)?.get("alg")?.as_str()? != "HS256" {
        return None;
    }
    let mut claims = read(claims)?;
    for name in TIMES {
        if let Some(time) = claims.get(name).and_then(Value::as_i64) {
            claims[name] = Value::from(time + later_ms / 1_000);
        }
    }
    let body = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(hmac(key, body.as_bytes()));
    let space = if word.is_empty() { "" } else { " " };
    Some(format!("{word}{space}{body}.{signature}").into_bytes())
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let hashed;
    let key = if key.len() > BLOCK {
        hashed = sha256(key);
        &hashed[..]
    } else {
        key
    };
    let pad =
        |byte: u8| -> Vec<u8> { (0..BLOCK).map(|at| key.get(at).copied().unwrap_or(0) ^ byte).collect() };
    let inner = sha256(&[&pad(0x36)[..], message].concat());
    sha256(&[&pad(0x5C)[..], &inner].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // RFC 4231, test case 2.
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let hex: String =
            hmac(b"Jefe", b"what do ya want for nothing?").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn a_token_is_signed_anew_and_its_times_move() {
        // The example of jwt.io, signed with 'your-256-bit-secret'.
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
        let key = b"your-256-bit-secret";
        assert_eq!(signed(token.as_bytes(), key, 0), Some(token.as_bytes().to_vec()));
        let later = signed(format!("Bearer {token}").as_bytes(), key, 60_000).unwrap();
        let later = String::from_utf8(later).unwrap();
        let claims = later.strip_prefix("Bearer ").unwrap().split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        assert_eq!(claims["iat"], 1_516_239_082);
        assert_eq!(signed(b"kJ8sQ2mNv0ZpL4xT", key, 0), None);
    }
}
