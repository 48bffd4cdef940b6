//! Sizes and lengths of time, as typed.

use std::time::Duration;

use captures::Bytes;

/// A size: bytes, or with a unit (`k`, `M`, `G` of 1000; `KiB`, `MiB`, `GiB` of 1024).
pub(in crate::commands) fn size(typed: &str) -> Result<Bytes, String> {
    let split = typed.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(typed.len());
    let (count, unit) = typed.split_at(split);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err("give bytes or a unit, e.g. 64KiB or 10MB".to_owned()),
    };
    let count: u64 = count.parse().map_err(|_| "give a whole number, e.g. 64KiB".to_owned())?;
    count.checked_mul(factor).map(Bytes::new).ok_or_else(|| "is too large".to_owned())
}

/// A number of bytes that is not none.
pub(in crate::commands) fn some_size(typed: &str) -> Result<Bytes, String> {
    size(typed)
        .and_then(|size| if size.as_u64() > 0 { Ok(size) } else { Err("give more than none".to_owned()) })
}

/// A length of time: a whole number with `ms`, `s`, `m` or `h`.
pub(in crate::commands) fn time(typed: &str) -> Result<Duration, String> {
    let split = typed.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(typed.len());
    let (count, unit) = typed.split_at(split);
    let count: u32 = count.parse().map_err(|_| "give a whole number and a unit, e.g. 5s".to_owned())?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3_600),
        _ => return Err("give a unit: ms, s, m or h, e.g. 5s".to_owned()),
    };
    Ok(unit * count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_carry_their_unit() {
        assert_eq!(size("64KiB"), Ok(Bytes::new(65_536)));
        assert_eq!(size("10MB"), Ok(Bytes::new(10_000_000)));
        assert_eq!(size("0"), Ok(Bytes::new(0)));
        assert!(size("").is_err() && size("-1").is_err() && size("5 parsecs").is_err());
        assert!(size("99999999999GiB").is_err());
        assert_eq!(time("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(time("0ms"), Ok(Duration::ZERO));
        assert!(time("5").is_err() && time("1.5s").is_err() && time("").is_err());
    }
}
