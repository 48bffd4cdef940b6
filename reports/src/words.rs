//! Numbers, lengths of time and moments as people read them.
//!
//! Rounding happens here and nowhere earlier: pages, pictures and the terminal say the same number.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// A number with three significant digits, thousands set apart: `0.125`, `12.5`, `1,250`, `12,500`; `1.5e20`
/// where nobody counts digits any more.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return if value > 0.0 { "∞".to_owned() } else { "–".to_owned() };
    }
    let size = value.abs();
    if size >= 1e15 {
        let text = format!("{value:.2e}");
        let (lead, power) = text.split_once('e').unwrap_or((&text, "0"));
        let lead = lead.trim_end_matches('0').trim_end_matches('.');
        return format!("{}e{power}", lead.replace('-', "−"));
    }
    let digits = if !(5e-7..100.0).contains(&size) {
        0
    } else {
        let whole_digits = size.log10().floor();
        // Between 3 and 8 for the sizes that are left.
        (2.0 - whole_digits).clamp(0.0, 8.0) as usize
    };
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    grouped(&text)
}

/// A whole number, thousands set apart.
pub(crate) fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// A tick on an axis whose largest tick is `largest`: `k`, `M`, `G` and `T` once numbers are long.
pub(crate) fn tick(value: f64, largest: f64) -> String {
    const UNITS: [(f64, f64, &str); 5] =
        [(2e15, 1.0, ""), (2e12, 1e12, "T"), (2e9, 1e9, "G"), (2e6, 1e6, "M"), (1e4, 1e3, "k")];
    if value == 0.0 {
        return "0".to_owned();
    }
    match UNITS.into_iter().find(|&(least, ..)| largest >= least) {
        Some((_, unit, name)) => format!("{}{name}", number(value / unit)),
        None => number(value),
    }
}

/// A length of time given in milliseconds, in the unit that fits: `80 µs`, `12.5 ms`, `1.25 s`, `2 min`.
pub(crate) fn milliseconds(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0 ms".to_owned()
    } else if size < 0.9995 {
        format!("{} µs", number(value * 1e3))
    } else if size < 999.5 {
        format!("{} ms", number(value))
    } else if size < 120_000.0 {
        format!("{} s", number(value / 1e3))
    } else {
        format!("{} min", number(value / 60e3))
    }
}

/// A length of time given in seconds: `45 s`, `12 min`, `2 h 30 min`.
pub(crate) fn seconds(value: f64) -> String {
    if value < 120.0 {
        format!("{} s", number(value))
    } else if value < 7_200.0 {
        two_units(value, (60.0, "min"), "s")
    } else {
        two_units(value / 60.0, (60.0, "h"), "min")
    }
}

fn two_units(value: f64, (each, large): (f64, &str), small: &str) -> String {
    let whole = value.round();
    let rest = whole % each;
    let first = format!("{} {large}", number((whole / each).floor()));
    if rest > 0.0 { format!("{first} {} {small}", number(rest)) } else { first }
}

/// A share in `0..=1` as percent.
pub(crate) fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent == 0.0 {
        "0 %".to_owned()
    } else if percent < 0.01 {
        "< 0.01 %".to_owned()
    } else {
        // Near all, as near none, what is missing is what counts.
        let digits = if percent < 10.0 || (99.9..99.995).contains(&percent) { 2 } else { 1 };
        let text = format!("{percent:.digits$}");
        format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A rate as a whole number where that is exact enough: `902`, `12.5`.
pub(crate) fn rate(rate: captures::Rate) -> String {
    number(rate.as_per_second())
}

/// A length of time.
pub(crate) fn length(length: std::time::Duration) -> String {
    milliseconds(length.as_secs_f64() * 1e3)
}

/// A range of rates: `868–931`.
pub(crate) fn rates(bounds: &modeler::Bounds<captures::Rate>) -> String {
    format!("{}–{}", rate(bounds.low), rate(bounds.high))
}

/// An objective as a sentence says it: `p95 < 200 ms and errors < 1 %`.
pub(crate) fn objective(objective: &modeler::Objective) -> String {
    let limits: Vec<String> = objective.limits.iter().map(limit).collect();
    match limits.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => limits.concat(),
    }
}

/// One condition of an objective: `p95 < 200 ms`.
pub(crate) fn limit(limit: &modeler::Limit) -> String {
    match limit {
        modeler::Limit::Latency(measure, longest) => format!("{} < {}", measure.name(), length(*longest)),
        modeler::Limit::Errors(ratio) => format!("errors < {}", percent(*ratio)),
        modeler::Limit::Throughput(least) => format!("throughput > {} req/s", rate(*least)),
    }
}

/// A difference between two runs: `p95 of GET / went from 20 ms to 31 ms (+55 %)`.
pub(crate) fn difference(it: &modeler::Difference) -> String {
    let (measure, base, candidate) = (measure(it.compared), it.base, it.candidate);
    match it.compared {
        modeler::Compared::Quantile(_) => format!(
            "{measure} of {} went from {} to {} ({})",
            it.route,
            milliseconds(1e3 * base),
            milliseconds(1e3 * candidate),
            crate::finding::signed_percent(it.change - 1.0)
        ),
        modeler::Compared::Errors => {
            format!("{measure} of {} went from {} to {}", it.route, percent(base), percent(candidate))
        }
    }
}

/// What is compared: `p95`, `errors`.
pub(crate) fn measure(compared: modeler::Compared) -> String {
    match compared {
        modeler::Compared::Quantile(quantile) => modeler::LatencyMeasure::Quantile(quantile).name(),
        modeler::Compared::Errors => "errors".to_owned(),
    }
}

/// A multiple: `1.4×`, `12.5×`, `250×`.
pub(crate) fn times(factor: f64) -> String {
    let digits = if factor.abs() < 99.95 { 1 } else { 0 };
    format!("{}×", number(round_to(factor, digits)))
}

/// So many machines: `1 machine`, `6 machines`.
pub(crate) fn machines(count: u32) -> String {
    if count == 1 { "1 machine".to_owned() } else { format!("{} machines", self::count(u64::from(count))) }
}

/// A number of which only the size matters: `15`, `1,200`.
pub(crate) fn about(value: f64) -> String {
    let size = value.abs().max(1e-9).log10().floor() as i32;
    number(round_to(value, 1 - size))
}

/// The last part of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
}

fn round_to(value: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (value * unit).round() / unit
}

/// A day: `27 Nov 2026`.
pub(crate) fn date(date: Date) -> String {
    format!("{} {} {}", date.day(), month_name(date.month()), date.year())
}

/// A moment, from nanoseconds since 1970-01-01 UTC: `2026-11-27 08:15 UTC`.
pub(crate) fn moment(epoch_nanos: i128) -> String {
    Timestamp::from_nanosecond(epoch_nanos).map_or_else(
        |_| "–".to_owned(),
        |stamp| {
            let there = stamp.to_zoned(TimeZone::UTC);
            format!("{} {:02}:{:02} UTC", there.date(), there.hour(), there.minute())
        },
    )
}

/// The day in UTC that holds the moment; `None` outside the years −9999 to 9999.
pub(crate) fn date_of(epoch_seconds: f64) -> Option<Date> {
    let whole = epoch_seconds.is_finite().then(|| epoch_seconds.floor() as i64)?;
    Some(Timestamp::from_second(whole).ok()?.to_zoned(TimeZone::UTC).date())
}

/// Seconds since 1970-01-01 UTC of the first moment of `date`.
pub(crate) fn epoch_of(date: Date) -> Option<f64> {
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second() as f64)
}

/// The three letters of a month in `1..=12`.
pub(crate) fn month_name(month: i8) -> &'static str {
    const NAMES: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    usize::try_from(month).ok().and_then(|at| NAMES.get(at.wrapping_sub(1))).copied().unwrap_or("–")
}

/// Sets thousands apart in a decimal number.
fn grouped(text: &str) -> String {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("−", rest));
    let (whole, part) = text.split_once('.').map_or((text, None), |(whole, part)| (whole, Some(part)));
    let mut out = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(part) = part {
        out.push('.');
        out.push_str(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, expected) in [
            (0.0, "0"),
            (0.125, "0.125"),
            (0.05, "0.05"),
            (9.99, "9.99"),
            (12.34, "12.3"),
            (250.0, "250"),
            (1_250.4, "1,250"),
            (1_234_567.0, "1,234,567"),
            (-1_500.0, "−1,500"),
            (1e100, "1e100"),
            (-1.25e20, "−1.25e20"),
            (f64::INFINITY, "∞"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn lengths_of_time_choose_their_unit() {
        for (value, expected) in
            [(0.08, "80 µs"), (12.5, "12.5 ms"), (1_250.0, "1.25 s"), (0.0, "0 ms"), (180_000.0, "3 min")]
        {
            assert_eq!(milliseconds(value), expected);
        }
    }

    #[test]
    fn shares_and_multiples_read_naturally() {
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.00001), "< 0.01 %");
        assert_eq!(percent(0.0125), "1.25 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.9997), "99.97 %");
        assert_eq!(percent(0.835), "83.5 %");
        assert_eq!(seconds(160.0), "2 min 40 s");
        assert_eq!(seconds(9_000.0), "2 h 30 min");
        assert_eq!(times(1.44), "1.4×");
        assert_eq!(times(12.5), "12.5×");
        assert_eq!(times(8.0), "8×");
        assert_eq!(about(14.93), "15");
        assert_eq!(about(1_234.0), "1,200");
        assert_eq!(file_name("/srv/demo/shop.capture"), "shop.capture");
    }

    #[test]
    fn days_are_those_of_utc() {
        assert_eq!(date_of(1_795_737_599.0).map(date).as_deref(), Some("26 Nov 2026"));
        assert_eq!(date_of(1_795_737_600.0).map(date).as_deref(), Some("27 Nov 2026"));
        assert_eq!(moment(1_795_737_600_000_000_000), "2026-11-27 00:00 UTC");
        assert_eq!(epoch_of(jiff::civil::date(2026, 11, 27)), Some(1_795_737_600.0));
    }
}
