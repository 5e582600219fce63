//! A family's series: one set of cells per worker for each combination of label values.
//!
//! Invariants: a worker's cells are made once, by that worker, at its first use of the series, and
//! live as long as any registry or handle names them. A series that two configurations share by its
//! labels is the same object, so counts run on over a reload.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// The cells of all workers for one combination of label values.
#[derive(Debug)]
pub(crate) struct Series<C> {
    /// `name="value",…` with escaped values, ready for the text format.
    pub(crate) labels: String,
    cells: Box<[OnceLock<Arc<C>>]>,
}

impl<C: Default> Series<C> {
    /// A series that no worker has used yet.
    pub(crate) fn new(labels: String, workers: usize) -> Series<C> {
        Series {
            labels,
            cells: (0..workers).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The cells of one worker, made at its first call.
    ///
    /// The caller guarantees that `worker` is below the number of workers of the registry.
    pub(crate) fn worker(&self, worker: usize) -> Arc<C> {
        Arc::clone(self.cells[worker].get_or_init(Arc::default))
    }

    /// The cells of those workers that have used the series.
    pub(crate) fn each(&self) -> impl Iterator<Item = &C> {
        self.cells
            .iter()
            .filter_map(|cells| cells.get().map(Arc::as_ref))
    }

    /// Sums one figure over all workers. Gauges sum right because they wrap.
    pub(crate) fn sum(&self, figure: impl Fn(&C) -> u64) -> u64 {
        self.each()
            .fold(0, |sum, cells| sum.wrapping_add(figure(cells)))
    }

    /// Whether any worker has used the series.
    pub(crate) fn is_used(&self) -> bool {
        self.each().next().is_some()
    }
}

/// Series by position in the configuration.
#[derive(Debug)]
pub(crate) struct Family<C> {
    by_index: Vec<Arc<Series<C>>>,
    /// Without repeats, with the first position of each: two entries with the same labels share a
    /// series and are exported once.
    distinct: Vec<(usize, Arc<Series<C>>)>,
}

impl<C: Default> Family<C> {
    /// One series per entry of `labels`; those that `previous` has under the same labels run on.
    pub(crate) fn build(
        labels: impl Iterator<Item = String>,
        workers: usize,
        previous: Option<&Family<C>>,
    ) -> Family<C> {
        let mut known: HashMap<&str, &Arc<Series<C>>> = HashMap::new();
        if let Some(previous) = previous {
            known.extend(
                previous
                    .distinct
                    .iter()
                    .map(|(_, series)| (series.labels.as_str(), series)),
            );
        }
        let mut seen: HashMap<String, Arc<Series<C>>> = HashMap::new();
        let mut family = Family {
            by_index: Vec::new(),
            distinct: Vec::new(),
        };
        for labels in labels {
            let series = match (seen.get(&labels), known.get(labels.as_str())) {
                (Some(series), _) => Arc::clone(series),
                (None, found) => {
                    let series = match found {
                        Some(series) => Arc::clone(series),
                        None => Arc::new(Series::new(labels.clone(), workers)),
                    };
                    seen.insert(labels, Arc::clone(&series));
                    family
                        .distinct
                        .push((family.by_index.len(), Arc::clone(&series)));
                    series
                }
            };
            family.by_index.push(series);
        }
        family
    }

    /// The series at a position of the configuration.
    pub(crate) fn at(&self, index: usize) -> Option<&Arc<Series<C>>> {
        self.by_index.get(index)
    }

    /// How many positions there are.
    pub(crate) fn len(&self) -> usize {
        self.by_index.len()
    }

    /// Every series once with its first position, in the order of the configuration.
    pub(crate) fn distinct(&self) -> &[(usize, Arc<Series<C>>)] {
        &self.distinct
    }
}

/// Writes `name="value"` with the escapes of the text format into a new string.
pub(crate) fn label(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        escape_label_into(value, &mut text);
        text.push('"');
    }
    text
}

/// Escapes a label value: backslash, quote and line feed, as the text format has it.
fn escape_label_into(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}
