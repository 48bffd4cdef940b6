//! `highwater inspect`: reads captures and says what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use captures::{
    Bytes, CaptureReader, Damage, DropReason, Ending, Exchange, Histogram, Masking, Offset, Rate, Routes,
    SessionKey, Tally, route_of,
};
use serde::Serialize;

use crate::Globals;
use crate::commands::files::{self, hex};
use crate::complain::{Complaint, Exit};

/// Says what is in a capture: totals, span, routes, sessions, statuses, losses, damage
///
/// Example: highwater inspect shop.capture
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// The capture
    #[arg(value_name = "CAPTURE")]
    capture: PathBuf,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
    /// With --json: one JSON object a line for each exchange, in order of arrival
    #[arg(long, requires = "json")]
    exchanges: bool,
    /// Accept a capture with damage: say what is lost and exit 0 (without it, damage exits 3)
    #[arg(long)]
    salvage: bool,
    /// With --salvage: write everything that is whole to a new capture
    #[arg(long, value_name = "FILE", requires = "salvage")]
    out: Option<PathBuf>,
}

/// What a capture came to.
#[derive(Debug, Default)]
struct Inspection {
    exchanges: u64,
    attempts: u64,
    first: Option<Offset>,
    last: Option<Offset>,
    connections: BTreeSet<u64>,
    sessions: BTreeSet<u64>,
    session_keys: [u64; 4],
    routes: Routes,
    of_routes: Vec<OfRoute>,
    statuses: BTreeMap<u16, u64>,
    endings: BTreeMap<Ending, u64>,
    methods: BTreeMap<String, u64>,
    request_bytes: u64,
    response_bytes: u64,
    cut_bodies: u64,
    per_second: BTreeMap<u64, u64>,
    retried: u64,
    unforwarded: u64,
}

#[derive(Debug, Default)]
struct OfRoute {
    count: u64,
    errors: u64,
    service: Histogram,
}

/// Runs the command.
pub(crate) fn run(args: &InspectArgs, _globals: &Globals) -> Result<(), Complaint> {
    let mut reader = files::open_capture(&args.capture)?;
    let mut salvaged = match &args.out {
        Some(path) => Some((path, files::create_capture(path, reader.header())?)),
        None => None,
    };
    let mut inspection = Inspection::default();
    let mut lines = args.exchanges.then(|| InOrder::new(reader.header().started));
    for exchange in reader.by_ref() {
        let exchange = exchange.map_err(|error| Complaint::unreadable(&args.capture, &error))?;
        inspection.count(&exchange);
        if let Some((path, writer)) = &mut salvaged {
            writer.push(&exchange).map_err(|error| Complaint::cannot_write(path, &error))?;
        }
        if let Some(lines) = &mut lines {
            lines.take(exchange)?;
        }
    }
    let accounts = inspection.accounts(reader.tallies().last());
    if let Some((path, writer)) = salvaged {
        writer
            .finish(&accounts)
            .and_then(|mut sink| sink.flush())
            .map_err(|error| Complaint::cannot_write(path, &error))?;
    }
    match lines {
        Some(lines) => lines.finish()?,
        None if args.json => {
            files::to_stdout(|out| write_line(out, &inspection.shown(&reader, &accounts)))?;
        }
        None => files::to_stdout(|out| inspection.write_text(out, &args.capture, &reader, &accounts))?,
    }
    match reader.damage().first() {
        Some(first) if !args.salvage => Err(damaged(&args.capture, &reader, first)),
        _ => Ok(()),
    }
}

/// Brings exchanges from the order in which they ended into that in which they arrived, in bounded memory.
///
/// An exchange that lasted longer than the window comes late.
struct InOrder {
    started: i128,
    waiting: BTreeMap<(Offset, u64), ShownExchange>,
    newest: Offset,
    closed: bool,
}

impl InOrder {
    const WINDOW: Duration = Duration::from_secs(60);
    const MOST: usize = 100_000;

    fn new(started: i128) -> Self {
        Self { started, waiting: BTreeMap::new(), newest: Offset::ZERO, closed: false }
    }

    fn take(&mut self, exchange: Exchange) -> Result<(), Complaint> {
        self.newest = self.newest.max(exchange.ended);
        let shown = shown_exchange(&exchange, self.started);
        self.waiting.insert((exchange.arrived, exchange.id.0), shown);
        let settled = self.newest.minus(Self::WINDOW);
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0 >= settled && self.waiting.len() <= Self::MOST {
                break;
            }
            if let Some((_, shown)) = self.waiting.pop_first() {
                self.write(&shown)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, shown: &ShownExchange) -> Result<(), Complaint> {
        if self.closed {
            return Ok(());
        }
        files::to_stdout(|out| {
            write_line(out, shown)
                .inspect_err(|error| self.closed = error.kind() == io::ErrorKind::BrokenPipe)
        })
    }

    fn finish(mut self) -> Result<(), Complaint> {
        while let Some((_, shown)) = self.waiting.pop_first() {
            self.write(&shown)?;
        }
        Ok(())
    }
}

fn damaged<R: io::Read>(path: &Path, reader: &CaptureReader<R>, first: &Damage) -> Complaint {
    let more = reader.damage_count() - 1;
    let what = if more > 0 { format!("{first}, and {more} places more") } else { first.to_string() };
    Complaint::new(
        Exit::Input,
        path.display(),
        what,
        "everything else was read; `highwater inspect --salvage` accepts that",
    )
}

fn write_line(out: &mut impl Write, shown: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, shown)?;
    out.write_all(b"\n")
}

impl Inspection {
    fn count(&mut self, exchange: &Exchange) {
        self.exchanges += 1;
        self.attempts += u64::from(exchange.attempts);
        self.retried += u64::from(exchange.attempts > 1);
        self.unforwarded += u64::from(exchange.attempts == 0);
        self.first = Some(self.first.map_or(exchange.arrived, |first| first.min(exchange.arrived)));
        self.last = Some(self.last.map_or(exchange.arrived, |last| last.max(exchange.arrived)));
        self.connections.insert(exchange.connection.0);
        self.sessions.insert(exchange.session.0);
        self.session_keys[match exchange.session_key {
            SessionKey::Cookie => 0,
            SessionKey::Header => 1,
            SessionKey::Connection => 2,
            SessionKey::AddressAgent => 3,
        }] += 1;
        *self.endings.entry(exchange.ending).or_default() += 1;
        *self.methods.entry(String::from_utf8_lossy(&exchange.request.method).into_owned()).or_default() += 1;
        *self.per_second.entry(exchange.arrived.second()).or_default() += 1;
        self.request_bytes += exchange.request.body.length;
        self.cut_bodies += u64::from(!exchange.request.body.is_whole());
        let number =
            usize::from(self.routes.number(&route_of(&exchange.request.method, &exchange.request.target)));
        self.of_routes.resize_with(self.of_routes.len().max(number + 1), OfRoute::default);
        let route = &mut self.of_routes[number];
        route.count += 1;
        route.service.record(exchange.ended.since(exchange.arrived));
        match &exchange.response {
            Some(response) => {
                *self.statuses.entry(response.status).or_default() += 1;
                self.response_bytes += response.body.length;
                self.cut_bodies += u64::from(!response.body.is_whole());
                route.errors += u64::from(response.status >= 500);
            }
            None => route.errors += 1,
        }
    }

    fn span(&self) -> Duration {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last.since(first),
            _ => Duration::ZERO,
        }
    }

    fn peak(&self) -> u64 {
        self.per_second.values().copied().max().unwrap_or(0)
    }

    /// The routes with the most requests first.
    fn ranked(&self) -> Vec<(&str, &OfRoute)> {
        let mut ranked: Vec<(&str, &OfRoute)> =
            self.routes.names().iter().map(String::as_str).zip(&self.of_routes).collect();
        ranked.sort_by_key(|(name, route)| (std::cmp::Reverse(route.count), *name));
        ranked
    }

    /// The recorder's last account, made to agree with what was read: a killed recorder had not booked its
    /// last exchanges, and damage took some that were booked.
    fn accounts(&self, last: Option<&Tally>) -> Tally {
        let mut accounts = last.cloned().unwrap_or_default();
        let unbooked = self.exchanges.saturating_sub(accounts.recorded);
        let damaged = accounts.recorded.saturating_sub(self.exchanges);
        accounts.seen += unbooked;
        accounts.recorded = self.exchanges;
        if damaged > 0 {
            accounts.dropped.retain(|(reason, _)| *reason != DropReason::Damaged);
            let before = last.map_or(0, |last| {
                last.dropped
                    .iter()
                    .filter(|(reason, _)| *reason == DropReason::Damaged)
                    .map(|&(_, count)| count)
                    .sum()
            });
            accounts.dropped.push((DropReason::Damaged, before + damaged));
        }
        accounts
    }

    fn shown<R: io::Read>(&self, reader: &CaptureReader<R>, tally: &Tally) -> Shown {
        let header = reader.header();
        Shown {
            tool: header.tool.clone(),
            recorded_from: epoch_seconds(header.started, Offset::ZERO),
            listen: header.listen.clone(),
            upstream: header.upstream.clone(),
            masking_rules: match &header.masking {
                Masking::None => Vec::new(),
                Masking::Pseudonyms { rules, .. } => rules.clone(),
            },
            sampling_ratio: header.sampling_ratio,
            exchanges: self.exchanges,
            sessions: self.sessions.len() as u64,
            connections: self.connections.len() as u64,
            first: self.first.map(|first| epoch_seconds(header.started, first)),
            last: self.last.map(|last| epoch_seconds(header.started, last)),
            span_seconds: self.span().as_secs_f64(),
            mean_rate_per_second: Rate::of(self.exchanges, self.span()).as_per_second(),
            peak_rate_per_second: self.peak(),
            seconds: self.per_second.iter().map(|(&second, &count)| (second, count)).collect(),
            forwarded_attempts: self.attempts,
            retried: self.retried,
            not_forwarded: self.unforwarded,
            request_body_bytes: self.request_bytes,
            response_body_bytes: self.response_bytes,
            bodies_cut: self.cut_bodies,
            sessions_by: SessionsBy {
                cookie: self.session_keys[0],
                header: self.session_keys[1],
                connection: self.session_keys[2],
            },
            methods: self.methods.clone(),
            statuses: self.statuses.clone(),
            endings: self.endings.iter().map(|(ending, &count)| (ending.as_str(), count)).collect(),
            routes: self
                .ranked()
                .into_iter()
                .map(|(name, route)| ShownRoute {
                    route: name.to_owned(),
                    exchanges: route.count,
                    share: route.count as f64 / self.exchanges.max(1) as f64,
                    errors: route.errors,
                    p50_ms: millis(route.service.quantile(0.5)),
                    p99_ms: millis(route.service.quantile(0.99)),
                })
                .collect(),
            seen: tally.seen,
            recorded: tally.recorded,
            filtered: tally.filtered,
            sampled_out: tally.sampled_out,
            dropped: dropped(tally),
            closed: reader.closed(),
            damage: reader.damage().iter().map(ShownDamage::of).collect(),
            damage_count: reader.damage_count(),
        }
    }

    fn write_text<R: io::Read>(
        &self,
        out: &mut impl Write,
        path: &Path,
        reader: &CaptureReader<R>,
        tally: &Tally,
    ) -> io::Result<()> {
        let header = reader.header();
        writeln!(
            out,
            "{}  recorded by {} on {}",
            path.display(),
            files::plain(&header.tool),
            files::utc(header.started)
        )?;
        writeln!(
            out,
            "  from {} to {}",
            files::plain(&header.listen.join(", ")),
            files::plain(&header.upstream.join(", "))
        )?;
        writeln!(
            out,
            "  {} exchanges in {} sessions on {} connections, over {:.1} s: mean {}, busiest second {} requests",
            self.exchanges,
            self.sessions.len(),
            self.connections.len(),
            self.span().as_secs_f64(),
            Rate::of(self.exchanges, self.span()),
            self.peak(),
        )?;
        writeln!(
            out,
            "  bodies {} up, {} down ({} cut at {})",
            Bytes::new(self.request_bytes),
            Bytes::new(self.response_bytes),
            self.cut_bodies,
            Bytes::new(header.body_limit)
        )?;
        let lost: u64 = tally.dropped.iter().map(|&(_, count)| count).sum();
        writeln!(
            out,
            "  seen {} = recorded {} + filtered {} + sampled out {} + dropped {lost}",
            tally.seen, tally.recorded, tally.filtered, tally.sampled_out
        )?;
        let list = |counts: Vec<String>| counts.join(", ");
        writeln!(
            out,
            "  status {}",
            list(self.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect())
        )?;
        writeln!(
            out,
            "  ended {}",
            list(
                self.endings.iter().map(|(ending, count)| format!("{}: {count}", ending.as_str())).collect()
            )
        )?;
        writeln!(out, "\n  {:>9} {:>7} {:>9} {:>9}  route", "exchanges", "share", "p50", "p99")?;
        for (name, route) in self.ranked().into_iter().take(25) {
            writeln!(
                out,
                "  {:>9} {:>6.1}% {:>6.1} ms {:>6.1} ms  {}",
                route.count,
                100.0 * route.count as f64 / self.exchanges.max(1) as f64,
                millis(route.service.quantile(0.5)),
                millis(route.service.quantile(0.99)),
                files::plain(name),
            )?;
        }
        for damage in reader.damage().iter().take(10) {
            writeln!(out, "  damage at {damage}")?;
        }
        Ok(())
    }
}

fn millis(length: Duration) -> f64 {
    length.as_secs_f64() * 1_000.0
}

fn dropped(tally: &Tally) -> BTreeMap<&'static str, u64> {
    DropReason::ALL
        .into_iter()
        .map(|reason| {
            let count =
                tally.dropped.iter().filter(|(known, _)| *known == reason).map(|&(_, count)| count).sum();
            (reason.as_str(), count)
        })
        .collect()
}

/// Epoch seconds with nanoseconds, exactly: a float would lose the last digits.
fn epoch_seconds(started: i128, at: Offset) -> serde_json::Number {
    let nanos = started + i128::from(at.as_nanos());
    let text = format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    serde_json::from_str(&text).unwrap_or_else(|_| 0.into())
}

#[derive(Serialize)]
struct Shown {
    tool: String,
    recorded_from: serde_json::Number,
    listen: Vec<String>,
    upstream: Vec<String>,
    masking_rules: Vec<String>,
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
    forwarded_attempts: u64,
    retried: u64,
    not_forwarded: u64,
    request_body_bytes: u64,
    response_body_bytes: u64,
    bodies_cut: u64,
    sessions_by: SessionsBy,
    methods: BTreeMap<String, u64>,
    statuses: BTreeMap<u16, u64>,
    endings: BTreeMap<&'static str, u64>,
    routes: Vec<ShownRoute>,
    seen: u64,
    recorded: u64,
    filtered: u64,
    sampled_out: u64,
    dropped: BTreeMap<&'static str, u64>,
    closed: bool,
    damage: Vec<ShownDamage>,
    damage_count: u64,
}

/// Exchanges by what their session was recognised by.
#[derive(Serialize)]
struct SessionsBy {
    cookie: u64,
    header: u64,
    connection: u64,
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
struct ShownDamage {
    offset: u64,
    length: u64,
    records: Option<u32>,
    kind: &'static str,
}

impl ShownDamage {
    fn of(damage: &Damage) -> Self {
        Self {
            offset: damage.offset,
            length: damage.length,
            records: damage.records,
            kind: damage.kind.as_str(),
        }
    }
}

#[derive(Serialize)]
struct ShownExchange {
    arrived: serde_json::Number,
    method: String,
    host: Option<String>,
    target: String,
    version: &'static str,
    status: Option<u16>,
    request_body_bytes: u64,
    response_body_bytes: u64,
    request_body_sha256: String,
    response_body_sha256: Option<String>,
    request_body_whole: bool,
    response_body_whole: Option<bool>,
    connection: u64,
    session: u64,
    attempts: u32,
    ending: &'static str,
    duration_ms: f64,
}

fn shown_exchange(exchange: &Exchange, started: i128) -> ShownExchange {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let response = exchange.response.as_ref();
    ShownExchange {
        arrived: epoch_seconds(started, exchange.arrived),
        method: text(&exchange.request.method),
        host: captures::header_value(&exchange.request.headers, "host").map(text),
        target: text(&exchange.request.target),
        version: exchange.request.version.as_str(),
        status: response.map(|response| response.status),
        request_body_bytes: exchange.request.body.length,
        response_body_bytes: response.map_or(0, |response| response.body.length),
        request_body_sha256: hex(&captures::sha256(&exchange.request.body.stored)),
        response_body_sha256: response.map(|response| hex(&captures::sha256(&response.body.stored))),
        request_body_whole: exchange.request.body.is_whole(),
        response_body_whole: response.map(|response| response.body.is_whole()),
        connection: exchange.connection.0,
        session: exchange.session.0,
        attempts: exchange.attempts,
        ending: exchange.ending.as_str(),
        duration_ms: millis(exchange.ended.since(exchange.arrived)),
    }
}
