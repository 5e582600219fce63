//! Header edits: names to ids, values to templates, levels into one.

use keel_config::model::HeaderEdits;
use keel_l7::Edits;

use super::Report;

/// Edits of one level.
pub(super) fn level(report: &mut Report<'_>, edits: &HeaderEdits) -> Edits {
    merged(report, [edits])
}

/// Edits of several levels as one, the outer level first: what an inner one sets or removes, an
/// outer one does not write.
pub(super) fn merged<const N: usize>(report: &mut Report<'_>, levels: [&HeaderEdits; N]) -> Edits {
    let mut all = Edits::default();
    for edits in levels {
        for name in &edits.remove {
            all.remove(&name.value);
        }
        for field in &edits.set {
            let value = report.template(&field.value.value, field.value.span);
            all.set(&field.name.value, value);
        }
        for field in &edits.add {
            let value = report.template(&field.value.value, field.value.span);
            all.add(&field.name.value, value);
        }
    }
    all
}
