//! `highwater cut`: a part of captures, or several as one, becomes a capture of its own.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use captures::{Exchange, Offset, Tally, sha256};
use recorder::{Intake, Rule};

use crate::Globals;
use crate::commands::files;
use crate::commands::record::mask::MaskArgs;
use crate::commands::record::policy;
use crate::commands::record::units::time;
use crate::complain::{Complaint, Exit, say};

/// Cuts a part out of captures, merges several into one, masks again
///
/// What is left out is counted as filtered in the new capture. With any flag of --mask everything that is kept is
/// masked once more: what a stricter policy, or another key, calls a secret becomes a pseudonym (of a pseudonym).
///
/// Example: highwater cut monday.capture tuesday.capture --busiest 5m --where '/api/*' --out peak.capture
#[derive(Debug, clap::Args)]
pub(crate) struct CutArgs {
    /// Captures, or folders with files that end in .capture
    #[arg(value_name = "CAPTURE", required = true)]
    captures: Vec<PathBuf>,
    /// The capture to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Keep what arrived at this moment or later: a time like 2026-11-21T08:00:00Z, or so long after the start (5m)
    #[arg(long, value_name = "WHEN", value_parser = when)]
    from: Option<When>,
    /// Keep what arrived before this moment
    #[arg(long, value_name = "WHEN", value_parser = when)]
    to: Option<When>,
    /// Keep the stretch of this length in which most exchanges arrived (to the second)
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with_all = ["from", "to"])]
    busiest: Option<Duration>,
    /// Keep only what fits RULE (one of them, if repeated), as `record --include` reads it
    #[arg(long = "where", value_name = "RULE", value_parser = Rule::parse)]
    rules: Vec<Rule>,
    /// Leave out what fits RULE
    #[arg(long, value_name = "RULE", value_parser = Rule::parse)]
    exclude: Vec<Rule>,
    /// Keep only this route: a path in which {} or {name} is any one segment; may be repeated
    #[arg(long, value_name = "TEMPLATE", value_parser = route)]
    route: Vec<Rule>,
    #[command(flatten)]
    mask: MaskArgs,
}

/// A moment, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Nanoseconds since 1970-01-01 UTC.
    Wall(i128),
    /// After the start.
    After(Duration),
}

impl When {
    fn offset(self, started: i128) -> Offset {
        match self {
            Self::Wall(wall) => Offset::from_nanos(u64::try_from(wall - started).unwrap_or(0)),
            Self::After(length) => Offset::ZERO.plus(length),
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &CutArgs, globals: &Globals) -> Result<(), Complaint> {
    let mut reader = files::open_captures(&args.captures)?;
    let started = reader.header().started;
    let (from, to) = match args.busiest {
        Some(length) => busiest(args, length)?,
        None => (
            args.from.map_or(Offset::ZERO, |from| from.offset(started)),
            args.to.map_or(Offset::MAX, |to| to.offset(started)),
        ),
    };
    if from >= to {
        return Err(Complaint::new(Exit::Usage, "--to", "is not after --from", "give a later moment"));
    }
    let mut header = reader.header().clone();
    header.started += i128::from(from.as_nanos());
    header.segment = 0;
    header.filters.extend(typed(args, started, from, to));
    // Another recording: its offsets do not go on where those of the first end.
    let name = [&header.recording[..], header.filters.join("\n").as_bytes()].concat();
    header.recording = std::array::from_fn(|at| sha256(&name)[at]);
    let mut intake = None;
    if args.mask.is_typed() {
        let masking = args.mask.resolve()?;
        let made = Intake::new(&policy::everything(), &masking, header.recording);
        header.masking = made.capture_header(0, Vec::new()).masking;
        intake = Some(made);
    }
    let mut writer = files::create_capture(&args.out, &header)?;
    let failed = |error: std::io::Error| Complaint::cannot_write(&args.out, &error);
    let (mut kept, mut left_out) = (0_u64, 0_u64);
    for exchange in reader.by_ref() {
        let exchange = exchange.map_err(|error| files::not_a_set(&error))?;
        let is_within = (from..to).contains(&exchange.arrived);
        if !is_within || !fits(args, &exchange) {
            left_out += 1;
            continue;
        }
        let exchange = since(from, exchange);
        let exchange = match &mut intake {
            Some(intake) => intake.mask(exchange),
            None => exchange,
        };
        writer.push(&exchange).map_err(failed)?;
        kept += 1;
    }
    // What the recorders left out or lost stays on the account, and what is cut away joins it.
    let accounts = reader.accounts();
    let tally = Tally { recorded: kept, filtered: accounts.filtered + left_out, ..accounts.clone() };
    writer.finish(&tally).and_then(|mut sink| sink.flush()).map_err(failed)?;
    if !globals.quiet {
        say!("kept {kept} exchanges, left {left_out} out, in {}", args.out.display());
        if reader.mixed_keys() {
            say!(
                "highwater: {}: pseudonyms were made with different keys: equal secrets may differ",
                args.out.display()
            );
        }
    }
    match reader.damage().first() {
        Some((path, damage)) => {
            let mend = "everything else was kept; `highwater inspect` says what is lost";
            Err(Complaint::new(Exit::Input, path.display(), damage, mend))
        }
        None => Ok(()),
    }
}

fn fits(args: &CutArgs, exchange: &Exchange) -> bool {
    let any = |rules: &[Rule]| rules.iter().any(|rule| rule.fits(exchange));
    (args.rules.is_empty() || any(&args.rules))
        && (args.route.is_empty() || any(&args.route))
        && !any(&args.exclude)
}

/// The stretch of `length` in which most exchanges arrived that are to be kept; the first of equals.
fn busiest(args: &CutArgs, length: Duration) -> Result<(Offset, Offset), Complaint> {
    let seconds = length.as_secs().max(1);
    let mut arrivals: BTreeMap<u64, u64> = BTreeMap::new();
    for exchange in files::open_captures(&args.captures)? {
        let exchange = exchange.map_err(|error| files::not_a_set(&error))?;
        if fits(args, &exchange) {
            *arrivals.entry(exchange.arrived.second()).or_default() += 1;
        }
    }
    let (mut best, mut most, mut within) = (0, 0, 0);
    let mut first = arrivals.iter().peekable();
    for (&second, &count) in &arrivals {
        within += count;
        while let Some(&(&early, &gone)) = first.peek() {
            if early + seconds > second {
                break;
            }
            within -= gone;
            first.next();
        }
        if within > most {
            (most, best) = (within, second);
        }
    }
    let from = Offset::from_secs((best + 1).saturating_sub(seconds));
    Ok((from, from.plus(Duration::from_secs(seconds))))
}

fn since(from: Offset, mut exchange: Exchange) -> Exchange {
    let shift = |at: Offset| Offset::ZERO.plus(at.since(from));
    exchange.arrived = shift(exchange.arrived);
    exchange.request_done = exchange.request_done.map(shift);
    exchange.response_began = exchange.response_began.map(shift);
    exchange.ended = shift(exchange.ended);
    exchange
}

/// What was cut, for those who read the capture.
fn typed(args: &CutArgs, started: i128, from: Offset, to: Offset) -> Vec<String> {
    let utc = |at: Offset| files::utc(started + i128::from(at.as_nanos()));
    let mut told = Vec::new();
    if from > Offset::ZERO {
        told.push(format!("cut --from '{}'", utc(from)));
    }
    if to < Offset::MAX {
        told.push(format!("cut --to '{}'", utc(to)));
    }
    for (flag, rules) in [("--where", &args.rules), ("--route", &args.route), ("--exclude", &args.exclude)] {
        told.extend(rules.iter().map(|rule| format!("cut {flag} '{}'", rule.as_str())));
    }
    told
}

fn when(typed: &str) -> Result<When, String> {
    if let Ok(length) = time(typed) {
        return Ok(When::After(length));
    }
    let moment = typed.parse::<jiff::Timestamp>();
    moment
        .map(|moment| When::Wall(moment.as_nanosecond()))
        .map_err(|_| "give a moment like 2026-11-21T08:00:00Z, or a time after the start like 5m".to_owned())
}

/// `/product/{id}` as a rule: a name within braces is for people.
fn route(typed: &str) -> Result<Rule, String> {
    let mut rule = String::new();
    let mut rest = typed;
    while let Some((before, after)) = rest.split_once('{') {
        let (_, behind) = after.split_once('}').ok_or_else(|| "a { is not closed by a }".to_owned())?;
        rule.push_str(before);
        rule.push_str("{}");
        rest = behind;
    }
    rule.push_str(rest);
    Rule::parse(&rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_typed_by_the_wall_clock_or_from_the_start() {
        assert_eq!(when("5m"), Ok(When::After(Duration::from_secs(300))));
        assert_eq!(when("1970-01-01T00:00:01Z"), Ok(When::Wall(1_000_000_000)));
        assert!(when("noon").is_err());
        assert_eq!(When::Wall(5).offset(10), Offset::ZERO);
    }

    #[test]
    fn a_route_may_name_its_segments() {
        assert_eq!(
            route("GET /p/{slug}/x").map(|rule| rule.as_str().to_owned()),
            Ok("GET /p/{}/x".to_owned())
        );
        assert!(route("/p/{slug").is_err());
    }
}
