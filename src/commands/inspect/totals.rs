//! Shows what a capture came to, as one JSON object.
//!
//! Every exchange that the recorder saw is in exactly one place:
//! `seen = complete + all of partial + filtered + sampled_out + all of dropped`.

use std::collections::BTreeMap;
use std::path::Path;

use captures::{CaptureSet, Damage, DropReason, Ending, Event, Masking, Offset, Rate, SessionKey, Tally};
use serde::Serialize;

use super::inspection::{Inspection, Slow};
use super::{epoch_seconds, millis, session_key};
use crate::commands::files::hex;

#[derive(Serialize)]
pub(super) struct Totals {
    tool: String,
    recording: String,
    segment: u32,
    /// The files that were read as one, in the order of their recordings and segments.
    files: Vec<String>,
    /// Whether pseudonyms of some files were made with another key.
    mixed_keys: bool,
    recorded_from: serde_json::Number,
    listen: Vec<String>,
    upstream: Vec<String>,
    servers: Vec<String>,
    masking_rules: Vec<String>,
    session_keys: Vec<String>,
    filters: Vec<String>,
    sampling_ratio: f64,
    exchanges: u64,
    sessions: u64,
    connections: u64,
    first: Option<serde_json::Number>,
    last: Option<serde_json::Number>,
    span_seconds: f64,
    mean_rate_per_second: f64,
    peak_rate_per_second: u64,
    /// Pairs of (second, exchanges that arrived in it).
    seconds: Vec<(u64, u64)>,
    requests_per_session: f64,
    session_seconds_p50: f64,
    think_seconds_p50: f64,
    think_seconds_p90: f64,
    hosts: BTreeMap<String, u64>,
    protocols: BTreeMap<&'static str, u64>,
    secure: u64,
    largest_response_bytes: u64,
    slowest: Vec<ShownSlow>,
    errors: Vec<ShownError>,
    forwarded_attempts: u64,
    retried: u64,
    not_forwarded: u64,
    request_body_bytes: u64,
    response_body_bytes: u64,
    bodies_cut: u64,
    /// Exchanges by what their session was recognised by.
    sessions_by: BTreeMap<&'static str, u64>,
    methods: BTreeMap<String, u64>,
    statuses: BTreeMap<u16, u64>,
    endings: BTreeMap<&'static str, u64>,
    routes: Vec<ShownRoute>,
    seen: u64,
    recorded: u64,
    /// Recorded exchanges that went through whole.
    complete: u64,
    /// Recorded exchanges that did not, by how they ended.
    partial: BTreeMap<&'static str, u64>,
    filtered: u64,
    sampled_out: u64,
    dropped: BTreeMap<&'static str, u64>,
    events: Vec<ShownEvent>,
    closed: bool,
    damage: Vec<ShownDamage>,
    damage_count: u64,
}

impl Totals {
    pub(super) fn of(inspection: &Inspection, reader: &CaptureSet, accounts: &Tally) -> Self {
        let header = reader.header();
        let moment = |at: Offset| epoch_seconds(header.started, at);
        Self {
            tool: header.tool.clone(),
            recording: hex(&header.recording),
            segment: header.segment,
            files: reader.files().iter().map(|path| path.display().to_string()).collect(),
            mixed_keys: reader.mixed_keys(),
            recorded_from: moment(Offset::ZERO),
            listen: header.listen.clone(),
            upstream: header.upstream.clone(),
            servers: header.servers.clone(),
            masking_rules: match &header.masking {
                Masking::None => Vec::new(),
                Masking::Pseudonyms { rules, .. } => rules.clone(),
            },
            session_keys: header.session_keys.clone(),
            filters: header.filters.clone(),
            sampling_ratio: header.sampling_ratio,
            exchanges: inspection.exchanges,
            sessions: inspection.sessions.len() as u64,
            connections: inspection.connections.len() as u64,
            first: inspection.first.map(moment),
            last: inspection.last.map(moment),
            span_seconds: inspection.span().as_secs_f64(),
            mean_rate_per_second: Rate::of(inspection.exchanges, inspection.span()).as_per_second(),
            peak_rate_per_second: inspection.peak(),
            seconds: inspection.per_second.iter().map(|(&second, &count)| (second, count)).collect(),
            requests_per_session: inspection.session_length().0,
            session_seconds_p50: inspection.session_length().1.as_secs_f64(),
            think_seconds_p50: inspection.think.quantile(0.5).as_secs_f64(),
            think_seconds_p90: inspection.think.quantile(0.9).as_secs_f64(),
            hosts: inspection.hosts.clone(),
            protocols: inspection.protocols.clone(),
            secure: inspection.secure,
            largest_response_bytes: inspection.largest_response,
            slowest: inspection
                .slowest
                .iter()
                .map(|slow| ShownSlow::of(slow, moment(slow.arrived)))
                .collect(),
            errors: inspection.worst().into_iter().map(ShownError::of).collect(),
            forwarded_attempts: inspection.attempts,
            retried: inspection.retried,
            not_forwarded: inspection.unforwarded,
            request_body_bytes: inspection.request_bytes,
            response_body_bytes: inspection.response_bytes,
            bodies_cut: inspection.cut_bodies,
            sessions_by: sessions_by(inspection),
            methods: inspection.methods.clone(),
            statuses: inspection.statuses.clone(),
            endings: inspection.endings.iter().map(|(ending, &count)| (ending.as_str(), count)).collect(),
            routes: routes(inspection),
            seen: accounts.seen,
            recorded: accounts.recorded,
            complete: inspection.complete(),
            partial: partial(inspection),
            filtered: accounts.filtered,
            sampled_out: accounts.sampled_out,
            dropped: dropped(accounts),
            events: reader.events().iter().map(ShownEvent::of).collect(),
            closed: reader.closed(),
            damage: reader.damage().iter().map(|(path, damage)| ShownDamage::of(path, damage)).collect(),
            damage_count: reader.damage_count(),
        }
    }
}

fn sessions_by(inspection: &Inspection) -> BTreeMap<&'static str, u64> {
    let keys = [SessionKey::Cookie, SessionKey::Header, SessionKey::AddressAgent, SessionKey::Connection];
    let names = keys.into_iter().map(session_key);
    names.map(|name| (name, inspection.session_keys.get(name).copied().unwrap_or(0))).collect()
}

fn partial(inspection: &Inspection) -> BTreeMap<&'static str, u64> {
    let counted: BTreeMap<Ending, u64> = inspection.partial().collect();
    let reasons = Ending::ALL.into_iter().filter(|ending| *ending != Ending::Completed);
    reasons.map(|ending| (ending.as_str(), counted.get(&ending).copied().unwrap_or(0))).collect()
}

fn dropped(accounts: &Tally) -> BTreeMap<&'static str, u64> {
    let count = |reason: DropReason| -> u64 {
        accounts.dropped.iter().filter(|(known, _)| *known == reason).map(|&(_, count)| count).sum()
    };
    DropReason::ALL.into_iter().map(|reason| (reason.as_str(), count(reason))).collect()
}

fn routes(inspection: &Inspection) -> Vec<ShownRoute> {
    let shown = inspection.ranked().into_iter().map(|(name, route)| ShownRoute {
        route: name.to_owned(),
        exchanges: route.count,
        share: route.count as f64 / inspection.exchanges.max(1) as f64,
        errors: route.errors,
        p50_ms: millis(route.service.quantile(0.5)),
        p99_ms: millis(route.service.quantile(0.99)),
    });
    shown.collect()
}

#[derive(Serialize)]
struct ShownSlow {
    id: u64,
    arrived: serde_json::Number,
    duration_ms: f64,
    status: Option<u16>,
    request: String,
}

impl ShownSlow {
    fn of(slow: &Slow, arrived: serde_json::Number) -> Self {
        let Slow { id, took, status, what, .. } = slow;
        Self { id: *id, arrived, duration_ms: millis(*took), status: *status, request: what.clone() }
    }
}

#[derive(Serialize)]
struct ShownError {
    route: String,
    /// A status, or how it ended.
    how: String,
    exchanges: u64,
}

impl ShownError {
    fn of((route, how, exchanges): (&str, &str, u64)) -> Self {
        Self { route: route.to_owned(), how: how.to_owned(), exchanges }
    }
}

#[derive(Serialize)]
struct ShownRoute {
    route: String,
    exchanges: u64,
    share: f64,
    errors: u64,
    p50_ms: f64,
    p99_ms: f64,
}

#[derive(Serialize)]
struct ShownEvent {
    /// Epoch seconds by the wall clock of that moment.
    at: serde_json::Number,
    kind: &'static str,
    amount: i64,
}

impl ShownEvent {
    fn of(event: &Event) -> Self {
        Self { at: epoch_seconds(event.wall, Offset::ZERO), kind: event.kind.as_str(), amount: event.amount }
    }
}

#[derive(Serialize)]
struct ShownDamage {
    file: String,
    offset: u64,
    length: u64,
    records: Option<u32>,
    kind: &'static str,
}

impl ShownDamage {
    fn of(path: &Path, damage: &Damage) -> Self {
        Self {
            file: path.display().to_string(),
            offset: damage.offset,
            length: damage.length,
            records: damage.records,
            kind: damage.kind.as_str(),
        }
    }
}
