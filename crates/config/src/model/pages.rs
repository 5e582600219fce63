//! Pages that replace our own error texts.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPage {
    /// Bytes of the body, as they are (no template).
    pub body: Arc<[u8]>,
    /// Value of Content-Type.
    pub content_type: String,
}

/// Pages by status, 400 to 599.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorPages {
    by_status: BTreeMap<u16, Arc<ErrorPage>>,
}

impl ErrorPages {
    /// The page of a status.
    pub fn page(&self, status: u16) -> Option<&Arc<ErrorPage>> {
        self.by_status.get(&status)
    }

    /// True when there are no pages.
    pub fn is_empty(&self) -> bool {
        self.by_status.is_empty()
    }

    /// Every status that has a page, with it, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Arc<ErrorPage>)> {
        self.by_status.iter().map(|(status, page)| (*status, page))
    }

    /// Puts a page in; the earlier one of the status is replaced.
    pub fn insert(&mut self, status: u16, page: Arc<ErrorPage>) {
        self.by_status.insert(status, page);
    }

    /// Takes those pages of `outer` for which there is no own one.
    pub fn inherit(&mut self, outer: &ErrorPages) {
        for (status, page) in &outer.by_status {
            self.by_status
                .entry(*status)
                .or_insert_with(|| Arc::clone(page));
        }
    }
}
