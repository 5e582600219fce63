//! Names of headers that are taken away, as they were written: the snapshot holds known ones as bits only.

use keel_config::model::{HeaderEdits, HeaderRules, Model};

/// Headers that go at each level.
#[derive(Debug, Default)]
pub struct Removed {
    /// By listener, those at the top included.
    pub listeners: Vec<RemovedNames>,
    /// By route, in the order of the router.
    pub routes: Vec<RemovedNames>,
    /// Of requests, by pool.
    pub pools: Vec<Vec<String>>,
}

/// Headers that go at one level.
#[derive(Debug, Default, Clone)]
pub struct RemovedNames {
    /// Of requests.
    pub request: Vec<String>,
    /// Of answers.
    pub response: Vec<String>,
}

impl Removed {
    /// `before`: how many routes stand before those of the file.
    pub(super) fn of(model: &Model, before: usize) -> Removed {
        let routes = model.routes.iter().map(|route| names(&[&route.headers]));
        Removed {
            listeners: model
                .listeners
                .iter()
                .map(|listener| names(&[&model.headers, &listener.headers]))
                .collect(),
            routes: std::iter::repeat_n(RemovedNames::default(), before)
                .chain(routes)
                .collect(),
            pools: model
                .pools
                .iter()
                .map(|pool| removes(&pool.request_headers).collect())
                .collect(),
        }
    }
}

fn names(levels: &[&HeaderRules]) -> RemovedNames {
    RemovedNames {
        request: levels.iter().flat_map(|it| removes(&it.request)).collect(),
        response: levels.iter().flat_map(|it| removes(&it.response)).collect(),
    }
}

fn removes(edits: &HeaderEdits) -> impl Iterator<Item = String> {
    edits.remove.iter().map(|name| name.value.clone())
}
