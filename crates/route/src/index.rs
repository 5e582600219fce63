//! The index: finds the candidate routes of a request without looking at the others.
//!
//! A host gives at most a few trees (its own name, each wildcard above it, any host; each for any listener and for this
//! one). A tree is a compressed trie over path bytes; walking down the request's path passes every prefix of it that some
//! route named. Each place has a list of routes. `sure` is the first route that being there decides; the list keeps only
//! candidates before it. Long lists whose routes ask for exact values of a header, cookie or query parameter keep these
//! in a table by value.
//!
//! A search first gathers the lists, and so the best sure route, and then tries candidates in file order over all lists
//! until one matches. Nothing is allocated; when more lists than [`LISTS_GATHERED_MAX`] are met the gathered ones are
//! tried first.

use std::collections::HashMap;

use crate::keys::{HostKey, MASK_ALL, Mask, method_bit, scheme_bit};
use crate::router::Compiled;
use crate::value::Field;
use crate::view::RequestView;

/// Lists gathered before their candidates are tried.
const LISTS_GATHERED_MAX: usize = 32;
/// No route, no list, no tree.
pub(crate) const NONE: u32 = u32::MAX;

pub(crate) type BytesMap<T> = HashMap<Box<[u8]>, T, foldhash::fast::FixedState>;

#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) exact_hosts: BytesMap<Trees>,
    /// By suffix with its leading dot.
    pub(crate) wildcard_hosts: BytesMap<Trees>,
    /// Bit n is set when some wildcard suffix has n dots; bit 63 stands for 63 and more.
    pub(crate) wildcard_dots: u64,
    pub(crate) any_host: Trees,
    pub(crate) nodes: Vec<Node>,
    /// First byte of each node's label.
    pub(crate) first_bytes: Vec<u8>,
    pub(crate) labels: Vec<u8>,
    pub(crate) lists: Vec<List>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) tables: Vec<Table>,
}

/// Roots of trees for one host.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    /// For all listeners.
    pub(crate) shared: Option<u32>,
    /// For one listener each, sorted.
    pub(crate) own: Box<[(u16, u32)]>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) label_start: u32,
    pub(crate) label_len: u32,
    /// Children are next to each other, sorted by first byte.
    pub(crate) children_start: u32,
    pub(crate) children_len: u32,
    /// List of those that match here and below.
    pub(crate) prefix: u32,
    /// List of those that match when the path ends here.
    pub(crate) exact: u32,
    /// First route here and below.
    pub(crate) first_route: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct List {
    /// First route that being here decides.
    pub(crate) sure: u32,
    /// Route of the first entry.
    pub(crate) head: u32,
    pub(crate) entries_start: u32,
    pub(crate) entries_end: u32,
    pub(crate) tables_start: u32,
    pub(crate) tables_end: u32,
}

/// A candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) route: u32,
    /// Methods and schemes it can match.
    pub(crate) mask: Mask,
    /// The mask decides; nothing is left to evaluate.
    pub(crate) whole: bool,
}

/// Lists by the exact value of one field.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) field: Field,
    pub(crate) first_route: u32,
    pub(crate) lists: BytesMap<u32>,
}

/// What a walk over the index does with the lists it meets.
pub(crate) trait Visit {
    /// Routes from this on are of no interest.
    fn limit(&self) -> u32;
    fn list(&mut self, list: &List);
}

impl Index {
    /// First route in file order that matches.
    pub(crate) fn find(&self, routes: &[Compiled], view: &RequestView<'_>) -> Option<usize> {
        let mut search = Search {
            index: self,
            routes,
            view,
            mask: method_bit(view.method) | scheme_bit(view.scheme),
            best: NONE,
            cursors: [Cursor {
                route: NONE,
                at: 0,
                end: 0,
            }; LISTS_GATHERED_MAX],
            len: 0,
        };
        let listener = Some(view.listener);
        self.walk(
            listener,
            HostKey::Exact(view.host),
            view.path,
            true,
            &mut search,
        );
        search.try_gathered();
        (search.best != NONE).then_some(search.best as usize)
    }

    /// Visits each list on the way: those of the listener and of all, of the host, of wildcards over it and of any, of
    /// every prefix of the path and, when `exact`, of the path itself.
    pub(crate) fn walk(
        &self,
        listener: Option<u16>,
        host: HostKey<'_>,
        path: &[u8],
        exact: bool,
        visitor: &mut impl Visit,
    ) {
        let name = match host {
            HostKey::Any => b"",
            HostKey::Exact(name) => {
                if let Some(trees) = self.exact_hosts.get(name) {
                    self.walk_trees(trees, listener, path, exact, visitor);
                }
                name
            }
            HostKey::Under(suffix) => {
                if let Some(trees) = self.wildcard_hosts.get(suffix) {
                    self.walk_trees(trees, listener, path, exact, visitor);
                }
                suffix
            }
        };
        let mut dots_wanted = self.wildcard_dots;
        let mut end = name.len();
        while dots_wanted != 0
            && let Some(dot) = memchr::memrchr(b'.', &name[..end])
            && dot > 0
        {
            // Bit 63 is never shifted out: it stands for all that have so many dots.
            dots_wanted = (dots_wanted >> 1) | (dots_wanted & (1 << 63));
            if dots_wanted & 1 != 0
                && let Some(trees) = self.wildcard_hosts.get(&name[dot..])
            {
                self.walk_trees(trees, listener, path, exact, visitor);
            }
            end = dot;
        }
        self.walk_trees(&self.any_host, listener, path, exact, visitor);
    }

    fn walk_trees(
        &self,
        trees: &Trees,
        listener: Option<u16>,
        path: &[u8],
        exact: bool,
        visitor: &mut impl Visit,
    ) {
        if let Some(root) = trees.shared {
            self.walk_tree(root, path, exact, visitor);
        }
        if let Some(listener) = listener
            && let Ok(at) = trees.own.binary_search_by_key(&listener, |own| own.0)
        {
            self.walk_tree(trees.own[at].1, path, exact, visitor);
        }
    }

    fn walk_tree(&self, root: u32, path: &[u8], exact: bool, visitor: &mut impl Visit) {
        let mut node = &self.nodes[root as usize];
        let mut rest = path;
        loop {
            if node.first_route >= visitor.limit() {
                return;
            }
            // An empty label is not compared: comparing no bytes behind a dangling pointer is very slow on some processors.
            if node.label_len > 0 {
                let label = &self.labels[node.label_start as usize..][..node.label_len as usize];
                let Some(after) = rest.strip_prefix(label) else {
                    return;
                };
                rest = after;
            }
            if node.prefix != NONE {
                visitor.list(&self.lists[node.prefix as usize]);
            }
            let Some(byte) = rest.first() else {
                if exact && node.exact != NONE {
                    visitor.list(&self.lists[node.exact as usize]);
                }
                return;
            };
            if node.children_len == 0 {
                return;
            }
            let start = node.children_start as usize;
            let firsts = &self.first_bytes[start..][..node.children_len as usize];
            let Some(child) = memchr::memchr(*byte, firsts) else {
                return;
            };
            node = &self.nodes[start + child];
        }
    }
}

/// Position in a list, with the route there.
#[derive(Clone, Copy)]
struct Cursor {
    route: u32,
    at: u32,
    end: u32,
}

struct Search<'s> {
    index: &'s Index,
    routes: &'s [Compiled],
    view: &'s RequestView<'s>,
    mask: Mask,
    /// First route known to match.
    best: u32,
    cursors: [Cursor; LISTS_GATHERED_MAX],
    len: usize,
}

impl Visit for Search<'_> {
    fn limit(&self) -> u32 {
        self.best
    }

    fn list(&mut self, list: &List) {
        self.gather(list);
        let (index, view) = (self.index, self.view);
        for table in &index.tables[list.tables_start as usize..list.tables_end as usize] {
            if table.first_route < self.best {
                table.field.any(view, &mut |value| {
                    if let Some(&list) = table.lists.get(value) {
                        self.gather(&index.lists[list as usize]);
                    }
                    false
                });
            }
        }
    }
}

impl Search<'_> {
    fn gather(&mut self, list: &List) {
        self.best = self.best.min(list.sure);
        if list.head >= self.best {
            return;
        }
        if self.len == LISTS_GATHERED_MAX {
            self.try_gathered();
        }
        self.cursors[self.len] = Cursor {
            route: list.head,
            at: list.entries_start,
            end: list.entries_end,
        };
        self.len += 1;
    }

    /// Tries candidates of all gathered lists in file order, up to the best known.
    fn try_gathered(&mut self) {
        let cursors = &mut self.cursors[..self.len];
        while let Some(next) = cursors.iter_mut().min_by_key(|cursor| cursor.route)
            && next.route < self.best
        {
            let entry = self.index.entries[next.at as usize];
            next.at += 1;
            next.route = if next.at < next.end {
                self.index.entries[next.at as usize].route
            } else {
                NONE
            };
            if entry.mask & self.mask == self.mask
                && (entry.whole || self.routes[entry.route as usize].condition.holds(self.view))
            {
                self.best = entry.route;
            }
        }
        self.len = 0;
    }
}

impl Entry {
    /// Being where the entry is decides.
    pub(crate) fn is_sure(&self) -> bool {
        self.whole && self.mask == MASK_ALL
    }
}
