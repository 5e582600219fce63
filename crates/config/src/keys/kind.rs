//! What a key takes.

use super::{Form, Table};

/// Words and what each means.
pub(crate) type Words = &'static [(&'static str, &'static str)];

/// What a value may be. A value's shape (scalar, list, map) alone decides which alternative is meant,
/// so that a report can speak of that one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int { min: i64, max: i64 },
    /// A number with decimals.
    Number { min: f64, max: f64 },
    /// A share: `2%`. Bounds in percent.
    Percent { min: f64, max: f64 },
    /// A duration with a unit. Bounds in milliseconds.
    Duration { min_ms: u64, max_ms: u64 },
    /// A size with a unit. Bounds in bytes.
    Size { min: u64, max: u64 },
    /// A text.
    Text(&'static Form),
    /// One of these words.
    Words(Words),
    /// One of these words, or something else that is a scalar.
    WordOr(Words, &'static Kind),
    /// A share when it ends with `%`, or else something else that is a scalar. Bounds in percent.
    PercentOr {
        min: f64,
        max: f64,
        other: &'static Kind,
    },
    /// A map with fixed keys.
    Section(&'static Table),
    /// A map from names to values.
    Map {
        name: &'static Form,
        value: &'static Kind,
        min: usize,
    },
    /// A list.
    List { item: &'static Kind, min: usize },
    /// A list, or one item alone.
    OneOrMany { item: &'static Kind, min: usize },
    /// By shape; an absent shape is a wrong type.
    Shape {
        scalar: Option<&'static Kind>,
        list: Option<&'static Kind>,
        map: Option<&'static Kind>,
    },
}

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// 1024 bytes.
pub(super) const KIB: u64 = 1024;
/// 1024 KiB.
pub(super) const MIB: u64 = 1024 * KIB;
/// 1024 GiB.
pub(super) const TIB: u64 = 1024 * 1024 * MIB;

impl Kind {
    /// A timeout: 1 ms to 7 days.
    pub const TIMEOUT: Kind = Kind::Duration {
        min_ms: 1,
        max_ms: 7 * DAY_MS,
    };
    /// A time that may be nothing: 0 to 7 days.
    pub const TIME: Kind = Kind::Duration {
        min_ms: 0,
        max_ms: 7 * DAY_MS,
    };
    /// The largest body: up to 1024 TiB.
    pub const BODY_SIZE: Kind = Kind::Size {
        min: 0,
        max: 1024 * TIB,
    };

    /// The type for the reference page and for messages, without an article where that reads better.
    pub fn describe(&self) -> String {
        match self {
            Kind::Bool => "`true` or `false`".to_owned(),
            Kind::Int { min, max } => format!("a whole number, {min} to {max}"),
            Kind::Number { min, max } => format!("a number, {min} to {max}"),
            Kind::Percent { min, max } => format!("a percentage, {min}% to {max}%"),
            Kind::Duration { min_ms, max_ms } => {
                format!(
                    "a duration, {} to {}",
                    show_duration(*min_ms),
                    show_duration(*max_ms)
                )
            }
            Kind::Size { min, max } => {
                format!("a size, {} to {}", show_size(*min), show_size(*max))
            }
            Kind::Text(form) => form.name.to_owned(),
            Kind::Words(words) => list_words(words),
            Kind::WordOr(words, other) => format!("{}, or {}", list_words(words), other.describe()),
            Kind::PercentOr { min, max, other } => {
                format!("a percentage, {min}% to {max}%, or {}", other.describe())
            }
            Kind::Section(table) => format!("a map ({})", table.title),
            Kind::Map { name, value, .. } => {
                format!("a map from {} to {}", name.name, value.describe())
            }
            Kind::List { item, .. } => format!("a list (each item: {})", item.describe()),
            Kind::OneOrMany { item, .. } => format!("{}; or a list of such", item.describe()),
            Kind::Shape { scalar, list, map } => [scalar, list, map]
                .into_iter()
                .flatten()
                .map(|kind| kind.describe())
                .collect::<Vec<_>>()
                .join("; or "),
        }
    }

    /// The unit for the reference page; empty when it has none.
    pub fn unit(&self) -> &'static str {
        match self {
            Kind::Duration { .. } => "ms, s, m, h, d",
            Kind::Size { .. } => "B, KB, MB, GB, TB (KiB … the same)",
            Kind::Percent { .. } => "%",
            Kind::PercentOr {
                other: Kind::Size { .. },
                ..
            } => "%, B, KB, MB, GB, TB (KiB … the same)",
            Kind::PercentOr { .. } => "%, ms, s, m, h, d",
            Kind::WordOr(_, other) | Kind::OneOrMany { item: other, .. } => other.unit(),
            _ => "",
        }
    }
}

fn list_words(words: Words) -> String {
    let words: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// A duration in its largest whole unit.
pub(crate) fn show_duration(ms: u64) -> String {
    for (unit, of) in [("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS), ("s", 1000)] {
        if ms > 0 && ms.is_multiple_of(of) {
            return format!("{}{unit}", ms / of);
        }
    }
    if ms == 0 {
        "0s".to_owned()
    } else {
        format!("{ms}ms")
    }
}

/// A size in its largest whole unit.
pub(crate) fn show_size(bytes: u64) -> String {
    for (unit, of) in [
        ("TiB", TIB),
        ("GiB", 1024 * MIB),
        ("MiB", MIB),
        ("KiB", KIB),
    ] {
        if bytes > 0 && bytes.is_multiple_of(of) {
            return format!("{}{unit}", bytes / of);
        }
    }
    format!("{bytes}B")
}
