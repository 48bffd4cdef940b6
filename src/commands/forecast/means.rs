//! What there is to meet growth with: machines, prices, and the futures to compare.

use std::path::{Path, PathBuf};

use modeler::{FleetGiven, MixChange, MixError, Prices, ScaleOut, Scenario, StoredModel, mix_cost};
use serde::Deserialize;

use crate::commands::files;
use crate::complain::{Complaint, Exit};

/// Machines and their use.
#[derive(Debug, clap::Args)]
pub(super) struct MeansArgs {
    /// The machines that carry the capacity today; asks for a plan of machines and orders
    #[arg(long, value_name = "N")]
    instances: Option<u32>,
    /// Machines that may fail at once: the k of N+k
    #[arg(long, value_name = "N", default_value_t = 1)]
    spare: u32,
    /// The share of its capacity that a machine is to use at most, like 70%
    #[arg(long, value_name = "SHARE", default_value = "80%")]
    target_utilisation: String,
    /// From an order until the machine serves, like 21d
    #[arg(long, value_name = "LENGTH", default_value = "14d")]
    lead_time: String,
    /// The probability of too few machines that is accepted
    #[arg(long, value_name = "SHARE", default_value = "10%")]
    risk: String,
    /// How capacity grows with machines: linear, 'contention=0.02,coherency=0.0001' (as in the USL), or measured
    /// fleets like '1=210,2=405,4=770' (machines=capacity); else a contention of 0.01 is assumed
    #[arg(long, value_name = "LAW", requires = "instances")]
    scale_out: Option<String>,
    /// Prices: a TOML file with currency, instance_per_month, and if wanted fixed_per_month, per_million_requests
    #[arg(long, value_name = "FILE.toml", requires = "instances")]
    prices: Option<PathBuf>,
    /// Another future beside the expected one, as factors: 'viral=growth:2,event:1.5', 'better code=cost:0.8',
    /// 'heavier mix=cost:1.3', 'a new market=traffic:1.4'; with --model that knows costs a route by its name:
    /// 'a sale=mix POST /checkout:3'
    #[arg(long = "scenario", value_name = "NAME=FACTORS")]
    scenarios: Vec<String>,
}

/// Prices as a file has them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPrices {
    currency: String,
    instance_per_month: f64,
    #[serde(default)]
    fixed_per_month: f64,
    #[serde(default)]
    per_million_requests: f64,
}

/// A factor may be so large.
const MOST_TIMES: f64 = 1_000.0;
/// So many futures are compared.
const MOST_SCENARIOS: usize = 12;

impl MeansArgs {
    /// The fleet; `None` when no plan is asked for.
    pub(super) fn fleet(&self) -> Result<Option<FleetGiven>, Complaint> {
        let Some(instances) = self.instances else { return Ok(None) };
        if !(1..=100_000).contains(&instances) || self.spare >= 1_000 {
            return Err(usage(
                format!("--instances {instances} --spare {}", self.spare),
                "is no fleet",
                "give 1 to 100000 machines and fewer than 1000 spares",
            ));
        }
        let days = super::horizon_of(&self.lead_time, "--lead-time")?.as_secs().div_ceil(86_400);
        Ok(Some(FleetGiven {
            instances,
            spare: self.spare,
            target_utilisation: share_of("--target-utilisation", &self.target_utilisation)?,
            lead_time_days: u32::try_from(days).unwrap_or(u32::MAX).min(3_650),
            risk_ratio: share_of("--risk", &self.risk)?,
            scale_out: self.scale_out.as_deref().map_or(Ok(ScaleOut::ASSUMED), scale_out_of)?,
            prices: self.prices.as_deref().map(prices_of).transpose()?,
        }))
    }

    /// The futures to compare with the expected one; `model` tells what another mix would cost.
    pub(super) fn scenarios(&self, model: Option<&StoredModel>) -> Result<Vec<Scenario>, Complaint> {
        if self.scenarios.len() > MOST_SCENARIOS {
            return Err(usage(
                "--scenario".to_owned(),
                "is given more than twelve times",
                "compare fewer futures at once",
            ));
        }
        self.scenarios.iter().map(|text| scenario_of(text, model)).collect()
    }
}

fn usage(place: String, what: &str, mend: &str) -> Complaint {
    Complaint::new(Exit::Usage, place, what, mend)
}

/// `70%` or `0.7`, above zero and up to all.
fn share_of(flag: &str, text: &str) -> Result<f64, Complaint> {
    let typed = text.trim();
    let share = match typed.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => typed.parse::<f64>(),
    };
    share.ok().filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(|| {
        usage(
            format!("{flag} {}", files::plain(typed)),
            "is not a share above zero and up to 100 %",
            "write e.g. 70%",
        )
    })
}

fn scale_out_of(text: &str) -> Result<ScaleOut, Complaint> {
    let wrong = |what: &str| {
        usage(
            format!("--scale-out '{}'", files::plain(text)),
            what,
            "write linear, 'contention=0.02,coherency=0.0001' or three measured fleets: '1=210,2=405,4=770'",
        )
    };
    if text.trim() == "linear" {
        return Ok(ScaleOut { contention: 0.0, coherency: 0.0, assumed: false });
    }
    let mut law = ScaleOut { contention: 0.0, coherency: 0.0, assumed: false };
    let mut fleets = Vec::new();
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or_else(|| wrong("has a part without ="))?;
        let value: f64 =
            value.trim().trim_end_matches("rps").parse().map_err(|_| wrong("holds no number"))?;
        if !value.is_finite() || value < 0.0 {
            return Err(wrong("holds a number below zero"));
        }
        match name.trim() {
            "contention" if value <= 1.0 => law.contention = value,
            "coherency" if value <= 1.0 => law.coherency = value,
            "contention" | "coherency" => return Err(wrong("holds a coefficient above 1")),
            machines => fleets.push((machines.parse().map_err(|_| wrong("is no law"))?, value)),
        }
    }
    if fleets.is_empty() {
        return Ok(law);
    }
    ScaleOut::measured(&fleets)
        .ok_or_else(|| wrong("gives no law: three fleets of different size are needed"))
}

fn prices_of(path: &Path) -> Result<Prices, Complaint> {
    let text = std::fs::read_to_string(path).map_err(|error| Complaint::cannot_open(path, &error))?;
    let mend = "write currency = \"EUR\" and instance_per_month = 210.0";
    let wrong = |what: String| Complaint::new(Exit::Input, path.display(), what, mend);
    let stored: StoredPrices = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
    let numbers = [stored.instance_per_month, stored.fixed_per_month, stored.per_million_requests];
    if numbers.iter().any(|number| !(0.0..=1e12).contains(number)) {
        return Err(wrong("holds a price below zero, or none that anybody pays".to_owned()));
    }
    Ok(Prices {
        currency: files::plain(stored.currency.trim()),
        instance_per_month: stored.instance_per_month,
        fixed_per_month: stored.fixed_per_month,
        per_million_requests: stored.per_million_requests,
    })
}

fn scenario_of(text: &str, model: Option<&StoredModel>) -> Result<Scenario, Complaint> {
    let wrong = |what: &str| {
        usage(
            format!("--scenario '{}'", files::plain(text)),
            what,
            "write e.g. 'viral=growth:2,event:1.5' or 'better code=cost:0.8'",
        )
    };
    let (name, factors) = text.split_once('=').ok_or_else(|| wrong("has no ="))?;
    if name.trim().is_empty() {
        return Err(wrong("has no name"));
    }
    let mut scenario = Scenario { name: files::plain(name.trim()), ..Scenario::expected() };
    let mut mix = Vec::new();
    for part in factors.split(',') {
        let (what, factor) = part.rsplit_once(':').ok_or_else(|| wrong("has a factor without :"))?;
        let factor = factor.trim();
        let factor: f64 =
            factor.strip_suffix('x').unwrap_or(factor).parse().map_err(|_| wrong("holds no number"))?;
        if !(factor > 0.0 && factor <= MOST_TIMES) {
            return Err(wrong("holds a factor that is not above zero and up to 1000"));
        }
        match what.trim() {
            "growth" => scenario.growth = factor,
            "traffic" => scenario.traffic = factor,
            "event" => scenario.event = factor,
            "cost" => scenario.cost = factor,
            other => match other.strip_prefix("mix ") {
                Some(route) => mix.push(MixChange { route: route.trim().to_owned(), times: factor }),
                None => return Err(wrong("knows growth, traffic, event, cost and 'mix ROUTE' only")),
            },
        }
    }
    if mix.is_empty() {
        return Ok(scenario);
    }
    let model = model.ok_or_else(|| wrong("needs --model, which knows what routes cost"))?;
    let costed = mix_cost(model, &mix).map_err(|error| match error {
        MixError::NoCosts => wrong("needs a model that knows costs: replay with --observe"),
        MixError::UnknownRoute { route, known } => {
            let known: Vec<String> = known.iter().take(8).map(|route| files::plain(route)).collect();
            wrong(&format!("has a route {} that the model does not know; it has {}", route, known.join(", ")))
        }
        MixError::Nothing => wrong("leaves no requests"),
    })?;
    scenario.traffic *= costed.traffic;
    scenario.cost *= costed.cost;
    scenario.cost_spread = costed.spread;
    Ok(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn futures_and_laws_are_read_as_people_write_them() {
        let viral = scenario_of("viral=growth:2x, event:1.5", None).expect("is a scenario");
        assert_eq!((viral.growth, viral.event, viral.traffic, viral.cost), (2.0, 1.5, 1.0, 1.0));
        assert!(scenario_of("viral=speed:2", None).is_err() && scenario_of("x=growth:-1", None).is_err());
        let law = scale_out_of("contention=0.02,coherency=0.0001").expect("is a law");
        assert_eq!((law.contention, law.coherency, law.assumed), (0.02, 0.0001, false));
        assert!(scale_out_of("1=210,2=405").is_err());
        let measured = scale_out_of("1=100,2=200,4=400").expect("is a law");
        assert!(measured.contention < 1e-9 && measured.coherency < 1e-9);
        assert_eq!(share_of("--risk", "5%").ok(), Some(0.05));
        assert!(share_of("--risk", "0").is_err() && share_of("--risk", "120%").is_err());
    }
}
