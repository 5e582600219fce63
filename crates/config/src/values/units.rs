//! Numbers, durations, sizes and percentages.

use super::Fault;
use crate::diagnostic::codes;
use crate::keys::show_duration;

const DURATION_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Both spellings are 1024-based: `KB` is what people write and mean in limits.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("b", 1),
    ("kb", 1 << 10),
    ("kib", 1 << 10),
    ("mb", 1 << 20),
    ("mib", 1 << 20),
    ("gb", 1 << 30),
    ("gib", 1 << 30),
    ("tb", 1 << 40),
    ("tib", 1 << 40),
];

/// Splits `1.5GB` into number and unit. `None` when it does not start with a number.
fn split(text: &str) -> Option<(&str, &str)> {
    let at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let dots = number.bytes().filter(|b| *b == b'.').count();
    let sound = number.starts_with(|c: char| c.is_ascii_digit()) && !number.ends_with('.');
    (sound && dots <= 1).then_some((number, unit))
}

/// Multiplies a decimal number exactly where it is whole, and rounds where it is not. Saturates.
fn times(number: &str, factor: u64) -> u64 {
    match number.parse::<u64>() {
        Ok(whole) => whole.saturating_mul(factor),
        // Too long for u64, or with decimals: a float's rounding is far below the range's steps.
        Err(_) => (number.parse::<f64>().unwrap_or(f64::MAX) * factor as f64).round() as u64,
    }
}

/// A duration in milliseconds.
pub(crate) fn duration(text: &str) -> Result<u64, Fault> {
    let units = "units are ms, s, m, h and d";
    let Some((number, unit)) = split(text) else {
        let says = "is not a duration";
        return Err(Fault::new(&codes::WRONG_TYPE, says).help(format!("write `30s`; {units}")));
    };
    if unit.is_empty() {
        return Err(Fault::new(&codes::MISSING_UNIT, "has no unit")
            .help(format!("write `{number}s` for seconds; {units}")));
    }
    if let Some((_, factor)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) {
        return Ok(times(number, *factor));
    }
    let meant = match unit.trim().to_ascii_lowercase().as_str() {
        "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => Some("ms"),
        "s" | "sec" | "secs" | "second" | "seconds" => Some("s"),
        "m" | "min" | "mins" | "minute" | "minutes" => Some("m"),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some("h"),
        "d" | "day" | "days" => Some("d"),
        _ => None,
    };
    if let Some(ms) = compound(text) {
        let says = "has several units";
        return Err(Fault::new(&codes::WRONG_UNIT, says).guess(show_duration(ms)));
    }
    let other = "a size, where a duration is needed";
    Err(wrong_unit(number, unit, meant, SIZE_UNITS, other).help(units))
}

/// `1m30s` in milliseconds.
fn compound(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0u64;
    while !rest.is_empty() {
        let (number, after) = split(rest)?;
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
        sum = sum.saturating_add(times(number, *factor));
        rest = after;
    }
    Some(sum)
}

/// A size in bytes.
pub(crate) fn size(text: &str) -> Result<u64, Fault> {
    let units = "units are B, KB, MB, GB and TB, 1024-based; KiB, MiB, GiB and TiB mean the same";
    let Some((number, unit)) = split(text) else {
        let says = "is not a size";
        return Err(Fault::new(&codes::WRONG_TYPE, says).help(format!("write `10MB`; {units}")));
    };
    if unit.is_empty() {
        return Err(
            Fault::new(&codes::MISSING_UNIT, "has no unit").help(format!(
                "write `{number}B` for bytes, `{number}KB` for kilobytes; {units}"
            )),
        );
    }
    let lower = unit.to_ascii_lowercase();
    if let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == lower) {
        return Ok(times(number, *factor));
    }
    let meant = match lower.trim() {
        "b" | "byte" | "bytes" => Some("B"),
        "k" | "kb" => Some("KB"),
        "m" | "mb" | "mbyte" => Some("MB"),
        "g" | "gb" => Some("GB"),
        "t" | "tb" => Some("TB"),
        other => SIZE_UNITS
            .iter()
            .any(|(name, _)| *name == other)
            .then(|| unit.trim()),
    };
    let fault = wrong_unit(
        number,
        unit,
        meant,
        DURATION_UNITS,
        "a duration, where a size is needed",
    );
    Err(fault.help(units))
}

fn wrong_unit(
    number: &str,
    unit: &str,
    meant: Option<&str>,
    others: &[(&str, u64)],
    other: &str,
) -> Fault {
    if let Some(meant) = meant {
        let says = match unit.starts_with(' ') {
            true => "has a space before its unit".to_owned(),
            false => format!("has the unit `{unit}`, which is not known"),
        };
        return Fault::new(&codes::WRONG_UNIT, says).guess(format!("{number}{meant}"));
    }
    let unit = unit.trim();
    let lower = unit.to_ascii_lowercase();
    if others.iter().any(|(name, _)| *name == lower) {
        return Fault::new(&codes::WRONG_UNIT, format!("is {other}"));
    }
    Fault::new(
        &codes::WRONG_UNIT,
        format!("has the unit `{unit}`, which is not known"),
    )
}

/// A percentage, in percent.
pub(crate) fn percent(text: &str) -> Result<f64, Fault> {
    let Some((number, unit)) = split(text) else {
        return Err(Fault::new(&codes::WRONG_TYPE, "is not a percentage").help("write `5%`"));
    };
    match unit {
        "%" => Ok(number.parse().unwrap_or(f64::MAX)),
        "" => Err(Fault::new(&codes::MISSING_UNIT, "has no `%`")
            .help(format!("write `{number}%`, or what share you mean"))),
        _ => Err(Fault::new(&codes::WRONG_UNIT, "is not a percentage").help("write `5%`")),
    }
}

/// A whole number in decimal digits.
pub(crate) fn whole(text: &str) -> Result<i64, Fault> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        let fault = Fault::new(&codes::BAD_NUMBER, "is not a whole number");
        let plain: String = digits
            .chars()
            .filter(|c| !matches!(c, '_' | ',' | '\''))
            .collect();
        return Err(
            if plain != digits && plain.bytes().all(|b| b.is_ascii_digit()) {
                fault.guess(plain)
            } else {
                fault.help("write decimal digits only")
            },
        );
    }
    if digits.len() > 1 && digits.starts_with('0') {
        let plain = digits.trim_start_matches('0');
        return Err(Fault::new(
            &codes::BAD_NUMBER,
            "starts with 0, which some readers take for octal",
        )
        .guess(if plain.is_empty() { "0" } else { plain }));
    }
    // What does not fit is out of every range.
    let wide = text.parse::<i64>();
    Ok(wide.unwrap_or(if text.starts_with('-') {
        i64::MIN
    } else {
        i64::MAX
    }))
}

/// A number with decimals.
pub(crate) fn decimal(text: &str) -> Result<f64, Fault> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    match split(unsigned) {
        Some((_, "")) => Ok(text.parse().unwrap_or(f64::MAX)),
        _ => Err(Fault::new(&codes::BAD_NUMBER, "is not a number").help("write it as `1.25`")),
    }
}
