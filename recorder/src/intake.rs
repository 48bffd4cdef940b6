//! What every exchange passes that was not proxied by us: the same sessions, filters, sample, body limits and
//! masks as a recorded one, before anything of it reaches a file.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use captures::{Body, Bytes, CaptureHeader, Exchange, Header, Response, Tally};

use crate::assembly::{BodyPolicy, Room, kept_of};
use crate::config::Policy;
use crate::policy::{Screen, Verdict};
use crate::redact::{MaskPolicy, Redaction};
use crate::session::Origin;

/// Bodies that are being put together may take so much memory.
const ROOM: Bytes = Bytes::new(64 << 20);

/// Admits exchanges by a policy, and counts those that it does not.
pub struct Intake {
    screen: Screen,
    redaction: Redaction,
    bodies: BodyPolicy,
    admitted: u64,
    filtered: u64,
    sampled_out: u64,
    /// What the header of a capture says of the policy.
    header: CaptureHeader,
}

impl Intake {
    /// By `policy`, for the recording with this identity.
    pub fn new(policy: &Policy, masking: &MaskPolicy, recording: [u8; 16]) -> Self {
        let redaction = Redaction::new(masking.clone());
        let header = CaptureHeader {
            tool: concat!("highwater ", env!("CARGO_PKG_VERSION")).to_owned(),
            started: 0,
            listen: Vec::new(),
            upstream: Vec::new(),
            servers: Vec::new(),
            recording,
            segment: 0,
            session_keys: policy.sessions.keys.iter().map(ToString::to_string).collect(),
            filters: policy.typed.clone(),
            masking: redaction.masking(),
            sampling_ratio: policy.sampling.as_f64(),
            body_limit: policy.request_bodies.limit().max(policy.response_bodies.limit()),
        };
        Self {
            screen: Screen::new(policy, &[], recording),
            redaction,
            bodies: body_policy(policy, masking),
            admitted: 0,
            filtered: 0,
            sampled_out: 0,
            header,
        }
    }

    /// The header of a capture of what is admitted, of exchanges with `servers` (addresses, which replays refuse)
    /// whose offsets count from `started`, in nanoseconds since 1970-01-01 UTC.
    pub fn capture_header(&self, started: i128, servers: Vec<String>) -> CaptureHeader {
        CaptureHeader { started, upstream: servers.clone(), servers, ..self.header.clone() }
    }

    /// `exchange` as it may be stored, unless it is to be left out. Without an address of the client, sessions
    /// are known by cookies and headers alone.
    pub fn admit(&mut self, mut exchange: Exchange, client: Option<IpAddr>) -> Option<Exchange> {
        let Exchange { request, response, .. } = &mut exchange;
        self.limit(true, &request.headers, &mut request.body);
        if let Some(Response { headers, body, .. }) = response {
            self.limit(false, headers, body);
        }
        let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.judge(exchange, Origin { client, shared_connection: false })
    }

    /// The same of one that was read out of packets, with its bodies limited already.
    pub fn admit_read(&mut self, exchange: Exchange, client: IpAddr) -> Option<Exchange> {
        self.judge(exchange, Origin { client, shared_connection: false })
    }

    /// Masks an exchange that belongs to its session already.
    pub fn mask(&mut self, mut exchange: Exchange) -> Exchange {
        self.redaction.apply(&mut exchange);
        exchange
    }

    fn judge(&mut self, mut exchange: Exchange, origin: Origin) -> Option<Exchange> {
        match self.screen.judge(&mut exchange, origin) {
            Verdict::Filtered => {
                self.filtered += 1;
                None
            }
            Verdict::SampledOut => {
                self.sampled_out += 1;
                None
            }
            Verdict::Record => {
                self.redaction.apply(&mut exchange);
                self.admitted += 1;
                Some(exchange)
            }
        }
    }

    fn limit(&self, is_request: bool, headers: &[Header], body: &mut Body) {
        if body.stored.is_empty() || !body.is_whole() {
            return;
        }
        let rules = if is_request { &self.bodies.request } else { &self.bodies.response };
        let content_type = captures::header_value(headers, "content-type").unwrap_or_default();
        let head = [b"content-type: ", content_type, b"\r\n\r\n"].concat();
        let decoded = body.decoded;
        *body = kept_of(std::mem::take(&mut body.stored), rules.of(&head), &self.bodies);
        body.decoded = decoded;
    }

    /// The accounts.
    pub fn tally(&self) -> Tally {
        Tally {
            seen: self.admitted + self.filtered + self.sampled_out,
            recorded: self.admitted,
            filtered: self.filtered,
            sampled_out: self.sampled_out,
            ..Tally::default()
        }
    }
}

/// How much of bodies is kept by `policy`.
pub(crate) fn body_policy(policy: &Policy, masking: &MaskPolicy) -> BodyPolicy {
    BodyPolicy {
        request: policy.request_bodies.clone(),
        response: policy.response_bodies.clone(),
        key: match masking {
            MaskPolicy::None => None,
            MaskPolicy::Pseudonyms { key, .. } => Some(*key),
        },
        room: Arc::clone(&Room::of(ROOM)),
    }
}
