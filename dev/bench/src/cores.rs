//! Which cores the proxy and the load get.

use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity};

/// Cores by part. Empty = not pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores {
    /// Of the proxy.
    pub proxy: Vec<usize>,
    /// Of load generator, origins and this program.
    pub load: Vec<usize>,
    /// What the reader must know when the parts share cores.
    pub note: Option<String>,
}

/// The cores that this process was allowed to use when it began.
fn allowed() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(None).unwrap_or_default();
        (0..CpuSet::MAX_CPU)
            .filter(|core| set.is_set(*core))
            .collect()
    })
}

impl Cores {
    /// Of this machine, for a proxy with so many workers.
    pub fn of_machine(workers: usize) -> Cores {
        Cores::plan(allowed(), workers)
    }

    /// The first `workers` cores for the proxy and as many of the rest for the load.
    pub fn plan(cores: &[usize], workers: usize) -> Cores {
        if cores.len() < 2 {
            let note =
                "one core only: proxy, load and origins share it, look at nothing but ratios";
            return Cores {
                proxy: vec![],
                load: vec![],
                note: Some(note.into()),
            };
        }
        if workers < cores.len() {
            let (proxy, rest) = cores.split_at(workers);
            let load = rest.iter().copied().take(workers.max(1)).collect();
            return Cores {
                proxy: proxy.to_vec(),
                load,
                note: None,
            };
        }
        let note = format!(
            "{workers} workers on {} cores: load and origins share the proxy's cores, requests/s say little",
            cores.len()
        );
        Cores {
            proxy: cores.to_vec(),
            load: cores.to_vec(),
            note: Some(note),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_leaves_the_second_core_to_the_load() {
        let cores = Cores::plan(&[0, 1], 1);
        assert_eq!(
            (cores.proxy, cores.load, cores.note),
            (vec![0], vec![1], None)
        );
    }

    #[test]
    fn more_workers_get_more_load() {
        let cores = Cores::plan(&[2, 3, 4, 5, 6, 7], 2);
        assert_eq!((cores.proxy, cores.load), (vec![2, 3], vec![4, 5]));
    }

    #[test]
    fn sharing_is_said() {
        let one = Cores::plan(&[0], 1);
        assert!(one.proxy.is_empty() && one.load.is_empty() && one.note.is_some());
        let full = Cores::plan(&[0, 1], 2);
        assert_eq!((full.proxy, full.load), (vec![0, 1], vec![0, 1]));
        assert!(full.note.is_some());
    }
}
