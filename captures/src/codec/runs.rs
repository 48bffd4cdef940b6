//! The stored forms of runs.
//!
//! Version 1 knew the first part of an interval and of an outcome only. Since version 2 a record may have a
//! second part, and whatever comes to the format later is appended behind it: readers read the parts that
//! they know, so that a new field needs no new version.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{append_parts, bounded, each_in_parts, encode, parts, place};
use crate::exchange::ExchangeId;
use crate::histogram::Histogram;
use crate::outcome::{Failure, Outcome};
use crate::run::{
    GeneratorLoad, Interval, MAX_OBSERVED, Observed, ObservedKind, RouteInterval, RunEnd, RunHeader, Stage,
};
use crate::units::{Bytes, Offset, Rate};

#[derive(Serialize, Deserialize)]
struct StoredRunHeader {
    tool: String,
    started: i128,
    target: String,
    capture: String,
    capture_digest: [u8; 32],
    capture_span: u64,
    capture_rate: f64,
    seed: u64,
    stages: Vec<(u64, u64, f64, f64)>,
    routes: Vec<String>,
    held_back_ratio: f64,
    configuration: String,
}

pub(crate) fn encode_run_header(header: &RunHeader) -> io::Result<Vec<u8>> {
    encode(&StoredRunHeader {
        tool: header.tool.clone(),
        started: header.started,
        target: header.target.clone(),
        capture: header.capture.clone(),
        capture_digest: header.capture_digest,
        capture_span: whole_nanos(header.capture_span),
        capture_rate: header.capture_rate.as_per_second(),
        seed: header.seed,
        stages: header
            .stages
            .iter()
            .map(|stage| (stage.begin.as_nanos(), stage.end.as_nanos(), stage.from, stage.to))
            .collect(),
        routes: header.routes.clone(),
        held_back_ratio: header.held_back_ratio,
        configuration: header.configuration.clone(),
    })
}

pub(crate) fn decode_run_header(payload: &[u8]) -> Option<RunHeader> {
    let (stored, _): (StoredRunHeader, Option<()>) = parts(payload)?;
    Some(RunHeader {
        tool: stored.tool,
        started: stored.started,
        target: stored.target,
        capture: stored.capture,
        capture_digest: stored.capture_digest,
        capture_span: Duration::from_nanos(stored.capture_span),
        capture_rate: Rate::per_second(stored.capture_rate)?,
        seed: stored.seed,
        stages: stored
            .stages
            .iter()
            .map(|&(begin, end, from, to)| Stage {
                begin: Offset::from_nanos(begin),
                end: Offset::from_nanos(end),
                from,
                to,
            })
            .collect(),
        routes: stored.routes,
        held_back_ratio: stored.held_back_ratio,
        configuration: stored.configuration,
    })
}

/// No run is longer than a year: readers may step through its seconds.
const LAST_SECOND: u64 = 366 * 86_400;

#[derive(Serialize, Deserialize)]
struct StoredInterval {
    second: u64,
    planned: u64,
    completed: u64,
    in_flight: f64,
    bytes_out: u64,
    bytes_in: u64,
    connections_opened: u64,
    retried: u64,
    generator_cpu: f64,
    #[serde(deserialize_with = "bounded")]
    routes: Vec<StoredRouteInterval>,
}

#[derive(Serialize, Deserialize)]
struct StoredRouteInterval {
    route: u16,
    #[serde(deserialize_with = "bounded")]
    statuses: Vec<(u16, u64)>,
    #[serde(deserialize_with = "bounded")]
    failures: Vec<(u8, u64)>,
    unexpected: u64,
    #[serde(deserialize_with = "bounded")]
    response: Vec<(u64, u64)>,
    #[serde(deserialize_with = "bounded")]
    latency: Vec<(u64, u64)>,
    #[serde(deserialize_with = "bounded")]
    service: Vec<(u64, u64)>,
    #[serde(deserialize_with = "bounded")]
    lag: Vec<(u64, u64)>,
}

/// What version 2 brought to an interval.
#[derive(Default, Serialize, Deserialize)]
struct MoreOfInterval {
    reused: u64,
    #[serde(deserialize_with = "bounded")]
    connect: Vec<(u64, u64)>,
    #[serde(deserialize_with = "bounded")]
    tls: Vec<(u64, u64)>,
    /// Cores, resident bytes, the longest turn in nanoseconds, connections, waiting requests.
    generator: Option<(f64, u64, u64, u64, u64)>,
    #[serde(deserialize_with = "bounded")]
    observed: Vec<(String, u8, f64)>,
    /// Of each route, in the order of the first part: the times to the first byte.
    #[serde(deserialize_with = "bounded")]
    routes: Vec<Vec<(u64, u64)>>,
}

pub(crate) fn append_interval(payload: &mut Vec<u8>, interval: &Interval) -> io::Result<()> {
    append_parts(
        payload,
        &StoredInterval {
            second: interval.second,
            planned: interval.planned,
            completed: interval.completed,
            in_flight: interval.in_flight,
            bytes_out: interval.bytes_out.as_u64(),
            bytes_in: interval.bytes_in.as_u64(),
            connections_opened: interval.connections_opened,
            retried: interval.retried,
            generator_cpu: interval.generator_cpu,
            routes: interval.routes.iter().map(stored_route).collect(),
        },
        &MoreOfInterval {
            reused: interval.reused,
            connect: stored_histogram(&interval.connect),
            tls: stored_histogram(&interval.tls),
            generator: interval.generator.map(|load| {
                let delay = whole_nanos(load.loop_delay);
                (load.cpu_cores, load.resident.as_u64(), delay, load.connections, load.waiting)
            }),
            observed: interval
                .observed
                .iter()
                .map(|observed| {
                    (observed.name.clone(), place(&ObservedKind::ALL, &observed.kind), observed.value)
                })
                .collect(),
            routes: interval.routes.iter().map(|route| stored_histogram(&route.first_byte)).collect(),
        },
    )
}

fn stored_route(route: &RouteInterval) -> StoredRouteInterval {
    StoredRouteInterval {
        route: route.route,
        statuses: route.statuses.clone(),
        failures: route
            .failures
            .iter()
            .map(|&(failure, count)| (place(&Failure::ALL, &failure), count))
            .collect(),
        unexpected: route.unexpected,
        response: stored_histogram(&route.response),
        latency: stored_histogram(&route.latency),
        service: stored_histogram(&route.service),
        lag: stored_histogram(&route.lag),
    }
}

/// Each value as its distance from the one before: small numbers, which compress well.
fn stored_histogram(histogram: &Histogram) -> Vec<(u64, u64)> {
    let mut previous = 0;
    histogram
        .pairs()
        .map(|(micros, count)| {
            let step = micros - previous;
            previous = micros;
            (step, count)
        })
        .collect()
}

fn restored_histogram(stored: &[(u64, u64)]) -> Histogram {
    let mut histogram = Histogram::new();
    let mut micros = 0_u64;
    for &(step, count) in stored {
        micros = micros.saturating_add(step);
        histogram.record_micros(micros, count);
    }
    histogram
}

pub(crate) fn each_interval(payload: &[u8], mut take: impl FnMut(Interval)) -> Option<()> {
    each_in_parts(payload, |stored: StoredInterval, more: Option<MoreOfInterval>| {
        if stored.second > LAST_SECOND || !stored.in_flight.is_finite() || !stored.generator_cpu.is_finite() {
            return None;
        }
        let more = more.unwrap_or_default();
        let mut interval = Interval {
            second: stored.second,
            planned: stored.planned,
            completed: stored.completed,
            in_flight: stored.in_flight,
            bytes_out: Bytes::new(stored.bytes_out),
            bytes_in: Bytes::new(stored.bytes_in),
            connections_opened: stored.connections_opened,
            retried: stored.retried,
            generator_cpu: stored.generator_cpu,
            routes: stored.routes.iter().map(restored_route).collect::<Option<_>>()?,
            reused: more.reused,
            connect: restored_histogram(&more.connect),
            tls: restored_histogram(&more.tls),
            generator: more.generator.map(|(cpu_cores, resident, delay, connections, waiting)| {
                let (resident, loop_delay) = (Bytes::new(resident), Duration::from_nanos(delay));
                GeneratorLoad { cpu_cores, resident, loop_delay, connections, waiting }
            }),
            observed: Vec::new(),
        };
        if interval.generator.is_some_and(|load| !load.cpu_cores.is_finite()) {
            return None;
        }
        for (name, kind, value) in more.observed.into_iter().take(MAX_OBSERVED) {
            interval.observe(Observed { name, kind: *ObservedKind::ALL.get(usize::from(kind))?, value });
        }
        for (route, first_byte) in interval.routes.iter_mut().zip(&more.routes) {
            route.first_byte = restored_histogram(first_byte);
        }
        take(interval);
        Some(())
    })
}

fn restored_route(stored: &StoredRouteInterval) -> Option<RouteInterval> {
    Some(RouteInterval {
        route: stored.route,
        statuses: stored.statuses.clone(),
        failures: stored
            .failures
            .iter()
            .map(|&(failure, count)| Some((*Failure::ALL.get(usize::from(failure))?, count)))
            .collect::<Option<_>>()?,
        unexpected: stored.unexpected,
        response: restored_histogram(&stored.response),
        latency: restored_histogram(&stored.latency),
        service: restored_histogram(&stored.service),
        lag: restored_histogram(&stored.lag),
        first_byte: Histogram::new(),
    })
}

#[derive(Serialize, Deserialize)]
struct StoredOutcome {
    exchange: u64,
    copy: u32,
    route: u16,
    recorded_status: Option<u16>,
    due: u64,
    ready: u64,
    sent: Option<u64>,
    connecting: u64,
    done: u64,
    result: Result<u16, u8>,
}

/// What version 2 brought to an outcome.
#[derive(Default, Serialize, Deserialize)]
struct MoreOfOutcome {
    first_byte: Option<u64>,
    received: u64,
    reused: bool,
    retried: bool,
}

pub(crate) fn append_outcome(payload: &mut Vec<u8>, outcome: &Outcome) -> io::Result<()> {
    append_parts(
        payload,
        &StoredOutcome {
            exchange: outcome.exchange.0,
            copy: outcome.copy,
            route: outcome.route,
            recorded_status: outcome.recorded_status,
            due: outcome.due.as_nanos(),
            ready: outcome.ready.as_nanos(),
            sent: outcome.sent.map(Offset::as_nanos),
            connecting: whole_nanos(outcome.connecting),
            done: outcome.done.as_nanos(),
            result: outcome.result.map_err(|failure| place(&Failure::ALL, &failure)),
        },
        &MoreOfOutcome {
            first_byte: outcome.first_byte.map(Offset::as_nanos),
            received: outcome.received.as_u64(),
            reused: outcome.reused,
            retried: outcome.retried,
        },
    )
}

pub(crate) fn each_outcome(payload: &[u8], mut take: impl FnMut(Outcome)) -> Option<()> {
    each_in_parts(payload, |stored: StoredOutcome, more: Option<MoreOfOutcome>| {
        let more = more.unwrap_or_default();
        take(Outcome {
            exchange: ExchangeId(stored.exchange),
            copy: stored.copy,
            route: stored.route,
            recorded_status: stored.recorded_status,
            due: Offset::from_nanos(stored.due),
            ready: Offset::from_nanos(stored.ready),
            sent: stored.sent.map(Offset::from_nanos),
            first_byte: more.first_byte.map(Offset::from_nanos),
            connecting: Duration::from_nanos(stored.connecting),
            done: Offset::from_nanos(stored.done),
            result: match stored.result {
                Ok(status) => Ok(status),
                Err(failure) => Err(*Failure::ALL.get(usize::from(failure))?),
            },
            received: Bytes::new(more.received),
            reused: more.reused,
            retried: more.retried,
        });
        Some(())
    })
}

#[derive(Serialize, Deserialize)]
struct StoredRunEnd {
    ended: u64,
    interrupted: bool,
    invalid_reason: Option<String>,
}

/// What version 2 brought to the end.
#[derive(Default, Serialize, Deserialize)]
struct MoreOfRunEnd {
    stopped_by: Option<String>,
}

pub(crate) fn append_run_end(payload: &mut Vec<u8>, end: &RunEnd) -> io::Result<()> {
    payload.extend(encode(&StoredRunEnd {
        ended: end.ended.as_nanos(),
        interrupted: end.interrupted,
        invalid_reason: end.invalid_reason.clone(),
    })?);
    payload.extend(encode(&MoreOfRunEnd { stopped_by: end.stopped_by.clone() })?);
    Ok(())
}

pub(crate) fn decode_run_end(payload: &[u8]) -> Option<RunEnd> {
    let (stored, more): (StoredRunEnd, Option<MoreOfRunEnd>) = parts(payload)?;
    Some(RunEnd {
        ended: Offset::from_nanos(stored.ended),
        interrupted: stored.interrupted,
        invalid_reason: stored.invalid_reason,
        stopped_by: more.unwrap_or_default().stopped_by,
    })
}

fn whole_nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
