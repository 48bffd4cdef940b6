//! Which names mean secrets: of headers, cookies, query parameters and fields.
//!
//! A list is read from its end: the last entry that fits a name decides. Traffic has few names and the lists
//! are long, so what was decided is remembered.

/// The headers that are masked unless something else is said.
pub(crate) const DEFAULT_HEADERS: [&str; 48] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "apikey",
    "x-auth-key",
    "x-auth-token",
    "x-access-token",
    "x-session-token",
    "x-csrf-token",
    "x-xsrf-token",
    "x-amz-security-token",
    "x-vault-token",
    "private-token",
    "x-auth*",
    "*-auth",
    "*-authorization",
    "*api-key*",
    "*apikey*",
    "*api_key*",
    "*subscription-key*",
    "*token*",
    "*secret*",
    "*password*",
    "*credential*",
    "*jwt*",
    "*passwd*",
    "*passphrase*",
    "*passcode*",
    "*access-key*",
    "*private-key*",
    "*functions-key*",
    "*license-key*",
    "*registration-key*",
    "*session-id*",
    "*sessionid*",
    "x-session",
    "x-sid",
    "x-pin",
    "*-otp",
    "x-ssn",
    "dpop",
    "*authentication-info",
    "cookie2",
    "set-cookie2",
    // `true` or nothing; browsers ask for it by name.
    "!access-control-allow-credentials",
];

/// The fields of forms and JSON, and the parameters of queries, that are masked unless something else is said.
pub(crate) const DEFAULT_FIELDS: [&str; 64] = [
    "*password*",
    "*passwd*",
    "*passphrase*",
    "*passcode*",
    "*pwd",
    "pwd*",
    "pass",
    "userpass",
    "*secret*",
    "*token*",
    "*apikey*",
    "*accesskey*",
    "*privatekey*",
    "*subscriptionkey*",
    "passkey",
    "*secretkey*",
    "*authkey*",
    "*signingkey*",
    "*encryptionkey*",
    "*sessionkey*",
    "*credential*",
    "authorization",
    "proxyauthorization",
    "auth",
    "bearer",
    "*jwt*",
    "*csrf*",
    "*xsrf*",
    "sid",
    "session",
    "*sessionid*",
    "*sessid*",
    "connectsid",
    "otp",
    "totp",
    "*otpcode*",
    "mfacode",
    "*verificationcode*",
    "codeverifier",
    "samlresponse",
    "samlrequest",
    "*assertion",
    "pin",
    "*pinnumber",
    "newpin",
    "oldpin",
    "ssn",
    "*socialsecurity*",
    "*cardnumber*",
    "*ccnumber*",
    "pan",
    "*cvv*",
    "*cvc*",
    "*cvn*",
    "*securitycode*",
    "*cardcode*",
    "*cardverification*",
    // Kinds, numbers and lifetimes of tokens; what language models count.
    "!*tokentype",
    "!*tokenexpires*",
    "!*tokencount",
    "!maxtokens",
    "!totaltokens",
    "!prompttokens",
    "!completiontokens",
];

/// Parameters that are secrets in queries, besides the fields.
pub(crate) const DEFAULT_QUERY: [&str; 7] =
    ["sig", "*signature", "hmac", "ticket", "jsessionid", "phpsessid", "x-amz-credential"];

/// Names of card verification codes that mean other things as well: secrets when they are 3 or 4 digits.
pub(super) const SHORT_CODES: [&str; 5] = ["cid", "csc", "cav", "cav2", "cvs"];

/// So many names are remembered, of at most so many bytes.
const REMEMBERED: usize = 1_024;
const REMEMBERED_LENGTH: usize = 64;

/// A rule of the policy, by its place in the policy's list of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule(pub(super) u16);

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Public,
    Secret(Rule),
    /// A secret when it is three or four digits.
    ShortCode(Rule),
}

impl Verdict {
    /// The rule by which `value` is a secret, if it is.
    pub(super) fn of(self, value: &[u8]) -> Option<Rule> {
        match self {
            Self::Public => None,
            Self::Secret(rule) => Some(rule),
            Self::ShortCode(rule) => {
                let value = value.trim_ascii();
                let fits = (3..=4).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
                fits.then_some(rule)
            }
        }
    }
}

/// How names are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Whatever the case.
    Header,
    /// Whatever the case, the dashes and the underscores; of `user[pin]`, `user.pin` also the last part.
    Field,
}

/// One list of names.
pub(super) struct Names {
    spelling: Spelling,
    entries: Vec<Entry>,
    decided: Vec<Option<Decided>>,
    seed: u64,
}

struct Entry {
    pattern: String,
    verdict: Verdict,
}

struct Decided {
    name: Box<[u8]>,
    verdict: Verdict,
}

impl Names {
    /// A list without an entry. `seed` keeps strangers from choosing names that push one another out of memory.
    pub(super) fn new(spelling: Spelling, seed: u64) -> Self {
        let decided = std::iter::repeat_with(|| None).take(REMEMBERED).collect();
        Self { spelling, entries: Vec::new(), decided, seed }
    }

    /// One more entry: a `*` at either end stands for anything, a `!` in front says that it is no secret.
    pub(super) fn push(&mut self, entry: &str, verdict: Verdict) {
        let (pattern, verdict) = match entry.strip_prefix('!') {
            Some(pattern) => (pattern, Verdict::Public),
            None => (entry, verdict),
        };
        self.entries.push(Entry { pattern: self.spelling.plain(pattern.as_bytes()), verdict });
    }

    /// What `name` means.
    pub(super) fn verdict(&mut self, name: &[u8]) -> Verdict {
        let slot = usize::try_from(hash(name, self.seed) % REMEMBERED as u64).unwrap_or(0);
        if let Some(known) = &self.decided[slot]
            && *known.name == *name
        {
            return known.verdict;
        }
        let verdict = self.decide(name);
        if name.len() <= REMEMBERED_LENGTH {
            self.decided[slot] = Some(Decided { name: name.into(), verdict });
        }
        verdict
    }

    fn decide(&self, name: &[u8]) -> Verdict {
        let last_part = name
            .split(|byte| b"[].:/".contains(byte))
            .rfind(|part| !part.is_empty())
            .filter(|part| self.spelling == Spelling::Field && part.len() < name.len());
        [Some(name), last_part]
            .into_iter()
            .flatten()
            .find_map(|name| {
                let name = self.spelling.plain(name);
                self.entries.iter().rev().find(|entry| fits(&entry.pattern, &name))
            })
            .map_or(Verdict::Public, |entry| entry.verdict)
    }
}

impl Spelling {
    fn plain(self, name: &[u8]) -> String {
        let drop = |byte: &u8| self == Self::Header || !matches!(byte, b'-' | b'_' | b' ');
        let name: Vec<u8> = name.iter().filter(|byte| drop(byte)).map(u8::to_ascii_lowercase).collect();
        String::from_utf8_lossy(&name).into_owned()
    }
}

/// Whether `name` is `pattern`, in which a `*` at either end stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), Some(_)) => name.contains(end.strip_suffix('*').unwrap_or(end)),
        (Some(end), None) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == pattern,
    }
}

/// A quick hash of short texts. `seed` keeps strangers from choosing texts that meet.
pub(super) fn hash(text: &[u8], seed: u64) -> u64 {
    let mix = |state: u64, word: u64| {
        let state = (state ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        state ^ (state >> 32)
    };
    let mut state = seed ^ text.len() as u64;
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    // What remains as one word: with some of the last whole one, or the few bytes there are.
    let last = match (text.last_chunk::<8>(), rest) {
        (_, []) => return state,
        (Some(last), _) => u64::from_le_bytes(*last),
        (None, few) => few.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte)),
    };
    mix(state, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(spelling: Spelling, entries: &[&str]) -> Names {
        let mut names = Names::new(spelling, 1);
        for entry in entries {
            names.push(entry, Verdict::Secret(Rule(0)));
        }
        names
    }

    fn check(names: &mut Names, name: &str, expected: bool) {
        for _ in 0..2 {
            assert_eq!(names.verdict(name.as_bytes()) != Verdict::Public, expected, "{name}");
        }
    }

    #[test]
    fn headers_of_secrets_are_known_and_what_is_public_stays() {
        let mut names = list(Spelling::Header, &[&DEFAULT_HEADERS[..], &["x-mine", "y-*"]].concat());
        for secret in [
            "Authorization",
            "X-Forwarded-Authorization",
            "Cookie",
            "X-API-Key",
            "x-goog-api-key",
            "X-Functions-ApiKey",
            "my_api_key",
            "Ocp-Apim-Subscription-Key",
            "X-CSRF-Token",
            "X-Amz-Security-Token",
            "client-secret",
            "X-Client-Secret-Id",
            "X-Password",
            "X-Credential-Id",
            "X-Auth",
            "X-Authenticated-User",
            "Service-Auth",
            "X-Goog-IAP-JWT-Assertion",
            "X-Session-Id",
            "X-Private-Key",
            "X-GitHub-OTP",
            "X-Pin",
            "DPoP",
            "Proxy-Authentication-Info",
            "Set-Cookie2",
            "X-Mine",
            "Y-Anything",
        ] {
            check(&mut names, secret, true);
        }
        for public in [
            "ETag",
            "Content-Type",
            "Host",
            "WWW-Authenticate",
            "Sec-WebSocket-Key",
            "Access-Control-Allow-Credentials",
            "Idempotency-Key",
            "X-Pinterest-Id",
            "X-Side",
            "Authority",
            "Location",
            "Referer",
            "X-Mine-Not",
            "",
        ] {
            check(&mut names, public, false);
        }
    }

    #[test]
    fn fields_are_known_however_they_are_spelled_and_wherever_they_stand() {
        let mut names = list(Spelling::Field, &DEFAULT_FIELDS);
        for secret in [
            "password",
            "newPassword",
            "user[password]",
            "access_token",
            "Refresh-Token",
            "card.cvv2",
            "wsse:Password",
        ] {
            check(&mut names, secret, true);
        }
        for public in
            ["name", "token_type", "max_tokens", "author", "passage", "password.hint[]", "spin", "company"]
        {
            check(&mut names, public, public.starts_with("password"));
        }
    }

    #[test]
    fn the_last_entry_that_fits_decides() {
        let mut names = list(Spelling::Header, &["*token*", "!x-token-count", "x-*"]);
        check(&mut names, "X-Token-Count", true);
        let mut names = list(Spelling::Header, &["*token*", "!x-token-count"]);
        check(&mut names, "X-Token-Count", false);
    }

    #[test]
    fn a_short_code_is_three_or_four_digits() {
        let verdict = Verdict::ShortCode(Rule(0));
        assert!(verdict.of(b"123").is_some() && verdict.of(b" 1234").is_some());
        assert!(
            verdict.of(b"12").is_none() && verdict.of(b"12345").is_none() && verdict.of(b"abc").is_none()
        );
    }
}
