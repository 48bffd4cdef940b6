//! How a replay binds values to the answers that give them, and what it says of that.

use std::fmt::Write;
use std::path::Path;

use captures::CaptureSet;
use replayer::correlate::{self, Injection, LoginFlow, Making, RuleSet, SetRule, Table, Template};
use replayer::{Plan, Planner, Totals};
use serde_json::{Value, json};

use crate::commands::correlate::{data, file, find, find_in};
use crate::commands::files;
use crate::commands::replay::args::SourceArgs;
use crate::complain::{Complaint, Exit, say};

/// A login is looked for among so many exchanges.
const MAX_LOGIN: usize = 10_000;
/// A rule with missing values is named; so many of them.
const NAMED: usize = 8;

/// A planner that knows what is bound.
pub(super) struct Bound {
    pub(super) planner: Planner,
    /// What is put before sessions.
    pub(super) flow: Option<LoginFlow>,
    /// Whether the captures were read to their end for it.
    pub(super) is_read: bool,
    /// Whether all of them is planned already.
    pub(super) is_planned: bool,
}

/// A `planner`, with the rules of a file, or those that are found in the captures, and the login that is put before
/// sessions, if one is given. `recorded_ms`: when the recording began.
///
/// Captures are read for their bindings first and for the plan afterwards. As long as nothing was found that may be
/// bound, the plan is made in the first reading, and where there is nothing to its end, there is no second.
pub(super) fn bound(
    planner: impl Fn() -> Planner,
    reader: &mut CaptureSet,
    args: &SourceArgs,
    seed: u64,
    recorded_ms: i64,
) -> Result<Bound, Complaint> {
    let mut tables = args.data.iter().map(|path| data::read(path)).collect::<Result<Vec<_>, _>>()?;
    let credentials = args.login.as_deref().map(data::read).transpose()?;
    tables.extend(credentials.clone());
    let started_ms = jiff::Timestamp::now().as_millisecond();
    let making = Making { tables, seed, started_ms, recorded_ms, templates: Vec::new() };
    if args.no_correlate && args.login.is_none() && args.login_flow.is_none() {
        return Ok(Bound { planner: planner(), flow: None, is_read: false, is_planned: false });
    }
    // Also with rules of somebody's own: it tells which recorded sessions are one.
    let has_own =
        args.no_correlate || args.rules.is_some() || args.login.is_some() || args.login_flow.is_some();
    let mut ahead = (!has_own).then(&planner);
    let found = find_in(reader, &args.captures, false, |exchange, finder| {
        if let Some(planner) = &mut ahead {
            planner.add(exchange);
            if finder.may_bind() || !planner.is_small() {
                ahead = None;
            }
        }
    })?;
    let mut rules = match &args.rules {
        Some(path) => file::read(path, &making.tables)?,
        None if args.no_correlate => RuleSet::default(),
        None => found.rules.clone(),
    };
    let mut login_fields = found.logins.clone();
    let flow = match &args.login_flow {
        Some(path) => Some(with_login(path, &mut rules, &mut login_fields)?),
        None => None,
    };
    if let (Some(path), Some(table)) = (&args.login, &credentials) {
        let sets = logins(table, &login_fields, &making.tables);
        if sets.is_empty() {
            return Err(Complaint::new(
                Exit::Input,
                path.display(),
                format!("no column ({}) is a field of a login in the capture", table.columns.join(", ")),
                "name the columns like the fields, e.g. username and password",
            ));
        }
        rules
            .sets
            .retain(|set| !sets.iter().any(|login| (&login.route, &login.place) == (&set.route, &set.place)));
        rules.sets.extend(sets);
    }
    let ahead = ahead.filter(|_| rules.rules.is_empty() && rules.sets.is_empty());
    let is_planned = ahead.is_some();
    let planner = ahead.unwrap_or_else(&planner).bound_by(&rules, Some(&found), making);
    Ok(Bound { planner, flow, is_read: true, is_planned })
}

/// The login in the capture at `path`; its rules come to the others, and its fields to those of logins.
fn with_login(path: &Path, rules: &mut RuleSet, fields: &mut Vec<Injection>) -> Result<LoginFlow, Complaint> {
    let paths = [path.to_owned()];
    let found = find(&paths, false)?;
    let mut exchanges = Vec::new();
    for exchange in files::open_captures(&paths)?.take(MAX_LOGIN) {
        exchanges.push(exchange.map_err(|error| files::not_a_set(&error))?);
    }
    let flow = LoginFlow::new(&exchanges, &found.logins).ok_or_else(|| {
        Complaint::new(
            Exit::Input,
            path.display(),
            "holds no login: no request with a password that was not refused",
            "record one visitor who logs in, from the first page on",
        )
    })?;
    let known: Vec<String> = rules.rules.iter().map(|rule| rule.name.clone()).collect();
    rules.rules.extend(found.rules.rules.into_iter().filter(|rule| !known.contains(&rule.name)));
    rules.rules.extend(flow.rules());
    fields.extend(found.logins.into_iter().filter(|field| !fields.contains(field)).collect::<Vec<_>>());
    Ok(flow)
}

/// Puts the columns of `table` into the fields of logins that are called like them.
fn logins(table: &Table, fields: &[Injection], tables: &[Table]) -> Vec<SetRule> {
    let mut sets = Vec::new();
    for Injection { route, place } in fields {
        let column = table.columns.iter().find(|column| correlate::is_same_field(&place.name, column));
        let text = column.map(|column| format!("{{{{file:{}:{column}}}}}", table.name));
        if let Some(text) = text
            && let Ok(template) = Template::parse(&text, tables)
        {
            let (route, place) = (route.clone(), place.clone());
            sets.push(SetRule { route, place, text, template, chosen: false, naming: None });
        }
    }
    sets
}

/// By what values are bound, for the run's header.
pub(super) fn configuration(args: &SourceArgs) -> Value {
    json!({
        "correlate": !args.no_correlate,
        "rules": args.rules,
        "data": args.data,
        "login": args.login,
        "login_flow": args.login_flow,
    })
}

pub(super) fn introduce(plan: &Plan) {
    if plan.bound_values() > 0 {
        say!(
            "{} values in requests are bound to answers by {} rules; `highwater correlate` shows them",
            plan.bound_values(),
            plan.rules().count()
        );
    }
    if plan.unplanned_bindings() > 0 {
        say!(
            "warning: {} values would come from answers to requests that are held back: they are sent as recorded",
            plan.unplanned_bindings()
        );
    }
}

pub(super) fn summary(text: &mut String, plan: &Plan, totals: &Totals) {
    let same = totals.same_status_overall();
    if same.compared > 0 {
        let _ = writeln!(
            text,
            "  {} of {} answers had the recorded status ({:.2} %)",
            same.same,
            same.compared,
            same.ratio() * 100.0
        );
    }
    let (bound, missing) =
        totals.rules.iter().fold((0, 0), |sum, rule| (sum.0 + rule.bound, sum.1 + rule.missing));
    if bound + missing == 0 {
        return;
    }
    let _ = writeln!(text, "  {bound} values bound to answers, {missing} missing");
    let mut lacking: Vec<_> =
        plan.rules().zip(&totals.rules).filter(|(_, applied)| applied.missing > 0).collect();
    lacking.sort_by_key(|(name, applied)| (std::cmp::Reverse(applied.missing), *name));
    for (name, applied) in lacking.into_iter().take(NAMED) {
        let all = applied.bound + applied.missing;
        let _ = writeln!(text, "    missing {} of {all}: {}", applied.missing, files::plain(name));
    }
}

pub(super) fn shown(plan: &Plan, totals: &Totals) -> Value {
    let sum = |of: fn(&replayer::correlate::Applied) -> u64| totals.rules.iter().map(of).sum::<u64>();
    json!({
        "bound": sum(|rule| rule.bound),
        "missing": sum(|rule| rule.missing),
        "unplanned": plan.unplanned_bindings(),
        "rules": plan.rules().zip(&totals.rules).map(|(name, applied)| json!({
            "rule": name,
            "bound": applied.bound,
            "missing": applied.missing,
        })).collect::<Vec<_>>(),
    })
}

/// What the answers must do.
pub(super) struct Expected {
    least: f64,
}

impl Expected {
    /// Of `recorded-status`, or `recorded-status>=97%`.
    pub(super) fn parse(text: &str) -> Result<Self, Complaint> {
        let rest = text.trim().strip_prefix("recorded-status").map(str::trim);
        let least = match rest {
            Some("") => Some(99.0),
            Some(rest) => {
                rest.strip_prefix(">=").and_then(|rest| rest.trim().strip_suffix('%')?.trim().parse().ok())
            }
            None => None,
        };
        match least.filter(|least| (0.0..=100.0).contains(least)) {
            Some(least) => Ok(Self { least: least / 100.0 }),
            None => Err(Complaint::new(
                Exit::Usage,
                format!("--expect {text}"),
                "is no expectation",
                "write it like 'recorded-status' or 'recorded-status>=97%'",
            )),
        }
    }

    /// Whether enough answers had the recorded status.
    pub(super) fn gate(&self, totals: &Totals, out: &Path) -> Result<(), Complaint> {
        let same = totals.same_status_overall();
        if same.ratio() >= self.least {
            return Ok(());
        }
        Err(Complaint::new(
            Exit::Gate,
            out.display(),
            format!(
                "{:.2} % of the answers had the recorded status, not {:.2} %",
                same.ratio() * 100.0,
                self.least * 100.0
            ),
            "the summary says which routes and rules fell short; `highwater correlate` shows what is bound",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_names_its_share() {
        assert_eq!(Expected::parse("recorded-status").unwrap().least, 0.99);
        assert_eq!(Expected::parse("recorded-status >= 97.5%").unwrap().least, 0.975);
        for wrong in ["recorded", "recorded-status>5", "recorded-status>=101%", ""] {
            assert!(Expected::parse(wrong).is_err(), "{wrong}");
        }
    }
}
