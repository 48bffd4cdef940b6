//! Flags of what is recorded.

use std::time::Duration;

use captures::Bytes;
use recorder::{BodyRules, Filters, Kept, KeyRule, Policy, Rule, SamplingRatio, SessionPolicy};

use super::units::{size, time};
use crate::complain::{Complaint, Exit};

/// Bodies larger than this are not stored: two of them and their heads still fit a block of the file.
pub(in crate::commands) const LARGEST_BODY: Bytes = Bytes::new(16 << 20);

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What is recorded")]
pub(in crate::commands) struct PolicyArgs {
    /// What visitors are told apart by; of this list, the first that a request carries decides
    ///
    /// `cookie` is any cookie named like a session cookie (sid, PHPSESSID, JSESSIONID …), `cookie:NAME` that
    /// one, `header:NAME`, `query:NAME` a parameter (as sent, undecoded), `ip+ua` the client's address (behind
    /// --trusted-proxy: the one it names) and user agent, `connection` the client connection. A response that
    /// sets a key cookie joins its request's session, also when a login rotates it. A connection from a
    /// trusted proxy is nobody's: `connection` means `ip+ua` there. Without any key, a request is a session by
    /// itself. The newest 130,000 keys or so are remembered.
    ///
    /// [default: cookie,header:authorization,connection; of logs, HAR and GoReplay ip+ua instead of connection]
    #[arg(long, value_name = "KEY,…", value_delimiter = ',', value_parser = KeyRule::parse)]
    session: Vec<KeyRule>,
    /// So much silence ends a session
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = time)]
    session_idle: Duration,
    /// The share of the sessions that is recorded: 5%, 1/20 or 0.05
    ///
    /// Sessions are recorded whole or not at all. The choice is made once, by a hash of the session's first
    /// key: recorders side by side choose the same sessions by cookie, header, query or address; a session
    /// first seen without any of these, by its connection, is chosen by each recorder for itself. Replays
    /// multiply by the inverse of the share, so that 1x is still all of production.
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = SamplingRatio::parse)]
    sample: SamplingRatio,
    /// Record only what fits RULE (one of them, if repeated)
    ///
    /// A rule is made of words that must all hold: methods (`GET,HEAD`), the path without its query
    /// (`/api/*/items/{}`, where * is anything and {} one segment), `status=5xx,404,none` (none: without a
    /// response), and `header.NAME=PATTERN` of the request, which stands last. What is left out is counted
    /// as filtered.
    #[arg(long, value_name = "RULE", value_parser = Rule::parse)]
    include: Vec<Rule>,
    /// Leave out what fits RULE, e.g. 'GET /health*' or 'header.user-agent=*bot*'; may be repeated
    #[arg(long, value_name = "RULE", value_parser = Rule::parse)]
    exclude: Vec<Rule>,
    /// What is kept of bodies, by content type, e.g. 'application/json=whole:1MiB,image/*=digest,*=none'
    ///
    /// The first TYPE that fits decides; * in it is anything, a body without a type has the empty one.
    /// `whole` up to the size, of larger bodies a digest; `prefix` up to the size, and a digest when there is
    /// more; `digest` alone; `none`. The length is kept always. A size is --body-limit when left out, and at
    /// most 16MiB. Digests are SHA-256, under the mask key unless nothing is masked. Bodies that wait to be
    /// written share a memory (--queue-bytes and 64 MiB more); one that finds it full keeps a digest.
    #[arg(long, value_name = "[TYPE=]KEPT,…", value_delimiter = ',', value_parser = body_rule)]
    body: Vec<BodyRule>,
    /// The same for requests alone; tried before --body
    #[arg(long, value_name = "[TYPE=]KEPT,…", value_delimiter = ',', value_parser = body_rule)]
    request_body: Vec<BodyRule>,
    /// The same for responses alone; tried before --body
    #[arg(long, value_name = "[TYPE=]KEPT,…", value_delimiter = ',', value_parser = body_rule)]
    response_body: Vec<BodyRule>,
    /// The most bytes that are stored of a body for which no rule gives a size; of longer ones also a digest
    /// [default: 64KiB of what passes by, 16MiB of what is imported]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    body_limit: Option<Bytes>,
    /// Whether bodies are stored as received, or with gzip, deflate, br and zstd taken off
    ///
    /// A body that is not stored whole, cannot be decoded, or decodes to more than 16 MiB stays as received;
    /// `inspect --exchanges` says of each which it is.
    #[arg(long, value_enum, value_name = "received|decoded", hide_possible_values = true, default_value_t = Bodies::Received)]
    bodies: Bodies,
    /// Record requests that a replay sent, too
    #[arg(long)]
    record_replayed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Bodies {
    Received,
    Decoded,
}

impl PolicyArgs {
    pub(in crate::commands) fn resolve(&self, usual_limit: Bytes) -> Result<Policy, Complaint> {
        let limit = self.body_limit.unwrap_or(usual_limit);
        if self.session_idle.is_zero() {
            let mend = "give a length of time, e.g. 30m";
            return Err(Complaint::new(Exit::Usage, "--session-idle", "must be above zero", mend));
        }
        if limit > LARGEST_BODY {
            let mend = "give at most 16MiB; of larger bodies a digest is kept";
            return Err(Complaint::new(Exit::Usage, "--body-limit", "stores more than a record holds", mend));
        }
        Ok(Policy {
            sessions: SessionPolicy { keys: self.keys(), idle: self.session_idle },
            sampling: self.sample,
            filters: Filters { include: self.include.clone(), exclude: self.exclude.clone() },
            request_bodies: self.bodies("--request-body", &self.request_body, limit)?,
            response_bodies: self.bodies("--response-body", &self.response_body, limit)?,
            decode_bodies: self.bodies == Bodies::Decoded,
            record_replayed: self.record_replayed,
            typed: self.typed(),
        })
    }

    /// Whether it was said what visitors are told apart by.
    pub(in crate::commands) fn tells_sessions(&self) -> bool {
        !self.session.is_empty()
    }

    fn keys(&self) -> Vec<KeyRule> {
        if self.tells_sessions() {
            return self.session.clone();
        }
        vec![KeyRule::SessionCookie, KeyRule::Header("authorization".to_owned()), KeyRule::Connection]
    }

    fn bodies(&self, flag: &str, own: &[BodyRule], limit: Bytes) -> Result<BodyRules, Complaint> {
        let rules: Vec<(String, Kept)> = own
            .iter()
            .chain(&self.body)
            .map(|rule| (rule.content_type.clone(), rule.kept.with(limit)))
            .collect();
        let largest =
            |kept: &Kept| matches!(kept, Kept::Whole(size) | Kept::Prefix(size) if *size > LARGEST_BODY);
        if rules.iter().any(|(_, kept)| largest(kept)) {
            let mend = "give at most 16MiB; of larger bodies a digest is kept";
            return Err(Complaint::new(Exit::Usage, flag, "stores more than a record holds", mend));
        }
        BodyRules::new(&rules, Kept::Prefix(limit)).map_err(|pattern| {
            Complaint::new(Exit::Usage, format!("{flag} {pattern}"), "is longer than any type", "shorten it")
        })
    }

    /// What makes the capture hold less than what passed.
    fn typed(&self) -> Vec<String> {
        let rules = |flag: &'static str, rules: &[Rule]| -> Vec<String> {
            rules.iter().map(|rule| format!("{flag} '{}'", rule.as_str())).collect()
        };
        let bodies = |flag: &'static str, rules: &[BodyRule]| -> Vec<String> {
            rules.iter().map(|rule| format!("{flag} {}", rule.typed)).collect()
        };
        [
            rules("--include", &self.include),
            rules("--exclude", &self.exclude),
            bodies("--body", &self.body),
            bodies("--request-body", &self.request_body),
            bodies("--response-body", &self.response_body),
        ]
        .concat()
    }
}

/// The policy of what was recorded before: everything is kept as it is.
pub(in crate::commands) fn everything() -> Policy {
    let all = || {
        let none: &[(String, Kept)] = &[];
        BodyRules::new(none, Kept::Whole(LARGEST_BODY)).expect("no pattern is no long pattern")
    };
    Policy {
        sessions: SessionPolicy { keys: vec![KeyRule::Connection], idle: Duration::from_secs(1_800) },
        sampling: SamplingRatio::ALL,
        filters: Filters::default(),
        request_bodies: all(),
        response_bodies: all(),
        decode_bodies: false,
        record_replayed: true,
        typed: Vec::new(),
    }
}

/// What is kept of bodies of a type.
#[derive(Clone, Debug)]
struct BodyRule {
    typed: String,
    content_type: String,
    kept: TypedKept,
}

/// As typed: a size may be left out.
#[derive(Clone, Copy, Debug)]
enum TypedKept {
    Whole(Option<Bytes>),
    Prefix(Option<Bytes>),
    Digest,
    Nothing,
}

impl TypedKept {
    fn with(self, limit: Bytes) -> Kept {
        match self {
            Self::Whole(size) => Kept::Whole(size.unwrap_or(limit)),
            Self::Prefix(size) => Kept::Prefix(size.unwrap_or(limit)),
            Self::Digest => Kept::Digest,
            Self::Nothing => Kept::Nothing,
        }
    }
}

/// `TYPE=KEPT`, or `KEPT` of every type.
fn body_rule(typed: &str) -> Result<BodyRule, String> {
    let (content_type, kept) = typed.split_once('=').unwrap_or(("*", typed));
    let (kept, typed_size) = kept.split_once(':').map_or((kept, None), |(kept, size)| (kept, Some(size)));
    let given = typed_size.map(size).transpose()?;
    let kept = match (kept, given) {
        ("whole", size) => TypedKept::Whole(size),
        ("prefix", size) => TypedKept::Prefix(size),
        ("digest", None) => TypedKept::Digest,
        ("none", None) => TypedKept::Nothing,
        _ => {
            return Err(
                "give [TYPE=]whole[:SIZE], prefix[:SIZE], digest or none, e.g. image/*=digest".to_owned()
            );
        }
    };
    Ok(BodyRule { typed: typed.to_owned(), content_type: content_type.trim().to_owned(), kept })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_rule_names_a_type_and_what_is_kept() {
        let check = |typed: &str, content_type: &str, kept: Kept| {
            let rule = body_rule(typed).unwrap();
            assert_eq!(
                (rule.content_type.as_str(), rule.kept.with(Bytes::new(7))),
                (content_type, kept),
                "{typed}"
            );
        };
        check("application/json=whole:1MiB", "application/json", Kept::Whole(Bytes::new(1 << 20)));
        check("text/*=prefix", "text/*", Kept::Prefix(Bytes::new(7)));
        check("image/*=digest", "image/*", Kept::Digest);
        check("none", "*", Kept::Nothing);
        check("=none", "", Kept::Nothing);
        for wrong in ["", "all", "none:5", "digest:1k", "whole:", "whole:x", "image/*", "image/*="] {
            assert!(body_rule(wrong).is_err(), "{wrong}");
        }
    }
}
