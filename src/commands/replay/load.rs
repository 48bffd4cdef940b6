//! How much load, over which time: from flags to stages.

use captures::Stage;
use replayer::{Levels, Plan, StagesError, Unit};

use super::args::{LoadArgs, UnitArg};
use super::prepare::length;
use crate::complain::{Complaint, Exit};

/// The stages that the flags ask for.
pub(super) fn stages(args: &LoadArgs, plan: &Plan) -> Result<Vec<Stage>, Complaint> {
    let wrong = |flag: &str, text: &str, error: &StagesError| {
        Complaint::new(Exit::Usage, format!("{flag} {text}"), error, error.mend())
    };
    let levels = Levels { rate: plan.rate(), users: plan.users() };
    if let Some(text) = &args.stages {
        let stages =
            replayer::parse_stages_with(text, &levels).map_err(|error| wrong("--stages", text, &error))?;
        return checked(stages, plan);
    }
    let duration = args.duration.as_deref().map(|text| length("--duration", text)).transpose()?;
    let of = |flag: &str, text: &str, unit: &str| {
        let level = if text.ends_with(unit) { text.to_owned() } else { format!("{text}{unit}") };
        levels.scale(&level).map_err(|error| match error {
            // As it was typed, without the unit that was put behind it.
            StagesError::Scale { .. } => wrong(flag, text, &StagesError::Scale { text: text.to_owned() }),
            error => wrong(flag, text, &error),
        })
    };
    let scale = match (&args.scale, &args.rate, &args.users) {
        (Some(text), ..) => {
            Some(replayer::parse_scale(text).map_err(|error| wrong("--scale", text, &error))?)
        }
        (_, Some(text), _) => {
            let unit = if text.ends_with("/s") { "/s" } else { "rps" };
            Some(of("--rate", text, unit)?)
        }
        (.., Some(text)) => Some(of("--users", text, "users")?),
        (None, None, None) => None,
    };
    let stages = match args.profile.map(super::args::ProfileArg::profile) {
        Some(profile) => profile
            .stages(scale.unwrap_or_else(|| profile.peak()), duration.unwrap_or_else(|| profile.length())),
        None => replayer::hold(scale.unwrap_or(1.0), duration.unwrap_or_else(|| plan.span())),
    };
    checked(stages, plan)
}

fn checked(stages: Vec<Stage>, plan: &Plan) -> Result<Vec<Stage>, Complaint> {
    refuse_absurd(&stages, plan)?;
    Ok(stages)
}

/// A plan that no machine could send, and that would only fill this one's memory.
fn refuse_absurd(stages: &[Stage], plan: &Plan) -> Result<(), Complaint> {
    const MOST_AT_ONCE: f64 = 20e6;
    let seconds: f64 = stages.iter().map(|stage| stage.end.since(stage.begin).as_secs_f64()).sum();
    let highest = stages.iter().map(|stage| stage.from.max(stage.to)).fold(0.0, f64::max);
    let rate = highest * plan.rate().as_per_second();
    if rate * seconds.min(1.0) <= MOST_AT_ONCE {
        return Ok(());
    }
    Err(Complaint::new(
        Exit::Usage,
        format!("{highest}x"),
        format!("is {rate:.0} requests a second, more than any machine sends"),
        format!("1x of this capture is {}; lower the scale", plan.rate()),
    ))
}

/// What fractions of the load are made of, and why, when that was not asked for.
pub(crate) fn unit(arg: UnitArg, plan: &Plan, stages: &[Stage]) -> (Unit, Option<&'static str>) {
    let fraction = |scale: f64| (scale * plan.copies_at_1x()).fract() != 0.0;
    let fractions = stages.iter().any(|stage| !stage.is_hold() || fraction(stage.from));
    match (arg, plan.coarse()) {
        (UnitArg::Request, _) => (Unit::Request, None),
        (UnitArg::Auto, Some(why)) if (fractions && plan.bound_values() == 0) || plan.mix_is_changed() => {
            (Unit::Request, Some(why))
        }
        (UnitArg::Auto | UnitArg::Session, _) => (Unit::Session, None),
    }
}
