//! Edits of heads, and how `X-Request-ID` is made.

use keel_http::template::Template;
use keel_http::{HeaderId, HeaderSet};

/// How `X-Request-ID` is made.
#[derive(Debug, Clone)]
pub struct RequestIdPlan {
    /// Name of the header, as written; empty for none.
    pub header: String,
    /// Whose id is kept.
    pub keep: KeepRequestId,
    /// Takes what came under that name out of the request.
    pub replaces: Edits,
}

impl RequestIdPlan {
    /// A plan for a header of this name.
    pub fn new(header: &str, keep: KeepRequestId) -> RequestIdPlan {
        let mut replaces = Edits::default();
        if !header.is_empty() {
            replaces.remove(header);
        }
        RequestIdPlan {
            header: header.to_owned(),
            keep,
            replaces,
        }
    }
}

/// Whose request id is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepRequestId {
    /// That of trusted peers.
    Trusted,
    /// Everybody's.
    Always,
    /// Nobody's.
    Never,
}

/// A field to write into a head.
#[derive(Debug, Clone)]
pub struct Written {
    /// Id of the name.
    pub id: HeaderId,
    /// Name as it is written.
    pub name: String,
    /// Value; one that renders empty is not written.
    pub value: Template,
}

/// Edits of one head: what goes, and what is written behind the rest.
///
/// Edits come in levels, outer ones first. What an inner level sets or removes, an outer one does
/// not write.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    /// Known headers that go.
    pub remove_known: HeaderSet,
    /// Other headers that go (lower-case names).
    pub remove_named: Vec<String>,
    /// Headers to write, in order.
    pub write: Vec<Written>,
}

impl Edits {
    /// Takes a header away.
    pub fn remove(&mut self, name: &str) {
        match HeaderId::of(name.as_bytes()) {
            HeaderId::Other | HeaderId::LookAlike => {
                self.remove_named.push(name.to_ascii_lowercase());
            }
            id => self.remove_known = self.remove_known.with(id),
        }
        self.write
            .retain(|written| !written.name.eq_ignore_ascii_case(name));
    }

    /// Writes a header in place of all of that name.
    pub fn set(&mut self, name: &str, value: Template) {
        self.remove(name);
        self.add(name, value);
    }

    /// Writes a header beside what is there.
    pub fn add(&mut self, name: &str, value: Template) {
        let id = HeaderId::of(name.as_bytes());
        self.write.push(Written {
            id,
            name: name.to_owned(),
            value,
        });
    }

    /// Whether a header of this name and id goes.
    #[inline]
    pub fn removes(&self, id: HeaderId, name: &[u8]) -> bool {
        match id {
            HeaderId::Other | HeaderId::LookAlike => self
                .remove_named
                .iter()
                .any(|gone| gone.as_bytes().eq_ignore_ascii_case(name)),
            known => self.remove_known.contains(known),
        }
    }
}
