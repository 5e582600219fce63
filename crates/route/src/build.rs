//! Builds the index from the keys of all routes.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::index::{BytesMap, Entry, Index, List, NONE, Node, Table, Trees};
use crate::keys::{HostKey, Key, keys};
use crate::router::Compiled;
use crate::value::Field;

/// Fewest entries of one field that are worth a table; fewer are tried one by one.
const TABLE_ENTRIES_MIN: usize = 4;
/// Most tables of one list; each costs a look at that field in every request that comes by.
const TABLES_MAX: usize = 8;

/// A route at a place in a tree.
struct Item<'a> {
    path: Vec<u8>,
    exact: bool,
    value: Option<(&'a Field, &'a [u8])>,
    entry: Entry,
}

pub(crate) fn build(routes: &[Compiled]) -> Index {
    let mut groups: BTreeMap<HostKey<'_>, BTreeMap<Option<u16>, Vec<Item<'_>>>> = BTreeMap::new();
    for (route, compiled) in routes.iter().enumerate() {
        for key in keys(&compiled.condition) {
            let group = groups
                .entry(key.host)
                .or_default()
                .entry(key.listener)
                .or_default();
            // ROUTES_MAX is far below the range.
            group.push(Item::new(route as u32, &key));
        }
    }
    let mut index = Index::default();
    for (host, by_listener) in groups {
        let mut trees = Trees::default();
        let mut own = Vec::new();
        for (listener, items) in by_listener {
            let root = index.add_tree(items);
            match listener {
                None => trees.shared = Some(root),
                Some(listener) => own.push((listener, root)),
            }
        }
        trees.own = own.into_boxed_slice();
        match host {
            HostKey::Any => index.any_host = trees,
            HostKey::Exact(name) => {
                index.exact_hosts.insert(name.into(), trees);
            }
            HostKey::Under(suffix) => {
                let dots = memchr::memchr_iter(b'.', suffix).count();
                index.wildcard_dots |= 1 << dots.min(63);
                index.wildcard_hosts.insert(suffix.into(), trees);
            }
        }
    }
    index.shrink();
    index
}

impl<'a> Item<'a> {
    fn new(route: u32, key: &Key<'a>) -> Self {
        Self {
            path: key.path.to_vec(),
            exact: key.path.exact,
            value: key.value,
            entry: Entry {
                route,
                mask: key.mask,
                whole: key.whole,
            },
        }
    }
}

impl Index {
    /// Builds the trie of some items and gives its root.
    fn add_tree(&mut self, mut items: Vec<Item<'_>>) -> u32 {
        debug_assert!(!items.is_empty(), "a tree is made for some route");
        items.sort_by(|left, right| left.path.cmp(&right.path));
        let root = self.add_node(0);
        // Node, its items (all with the same path so far), and how much of the path is above it.
        let mut work = VecDeque::from([(root, items.as_slice(), 0)]);
        while let Some((node, items, above)) = work.pop_front() {
            let (Some(first), Some(last)) = (items.first(), items.last()) else {
                continue;
            };
            // Sorted, so what the first and the last share all share.
            let shared = above
                + first.path[above..]
                    .iter()
                    .zip(&last.path[above..])
                    .take_while(|(left, right)| left == right)
                    .count();
            let label_start = self.labels.len() as u32;
            self.labels.extend_from_slice(&first.path[above..shared]);
            let (here, below) =
                items.split_at(items.partition_point(|item| item.path.len() == shared));
            let first_route = items
                .iter()
                .map(|item| item.entry.route)
                .min()
                .unwrap_or(NONE);
            let prefix = self.add_list(here.iter().filter(|item| !item.exact));
            let exact = self.add_list(here.iter().filter(|item| item.exact));
            let children_start = self.nodes.len() as u32;
            for group in below.chunk_by(|left, right| left.path[shared] == right.path[shared]) {
                let child = self.add_node(group[0].path[shared]);
                work.push_back((child, group, shared));
            }
            self.nodes[node as usize] = Node {
                label_start,
                label_len: (shared - above) as u32,
                children_start,
                children_len: self.nodes.len() as u32 - children_start,
                prefix,
                exact,
                first_route,
            };
        }
        root
    }

    fn add_node(&mut self, first_byte: u8) -> u32 {
        let node = self.nodes.len() as u32;
        self.nodes.push(Node {
            label_start: 0,
            label_len: 0,
            children_start: 0,
            children_len: 0,
            prefix: NONE,
            exact: NONE,
            first_route: NONE,
        });
        self.first_bytes.push(first_byte);
        node
    }

    fn add_list<'i, 'a: 'i>(&mut self, items: impl Iterator<Item = &'i Item<'a>>) -> u32 {
        let mut plain = Vec::new();
        let mut by_field: HashMap<&Field, Vec<(&[u8], Entry)>> = HashMap::new();
        for item in items {
            match item.value {
                None => plain.push(item.entry),
                Some((field, value)) => {
                    by_field.entry(field).or_default().push((value, item.entry))
                }
            }
        }
        if plain.is_empty() && by_field.is_empty() {
            return NONE;
        }
        let mut fields: Vec<_> = by_field.into_iter().collect();
        fields.sort_by(|left, right| {
            (right.1.len(), &left.0.name).cmp(&(left.1.len(), &right.0.name))
        });
        let tabled = fields
            .partition_point(|field| field.1.len() >= TABLE_ENTRIES_MIN)
            .min(TABLES_MAX);
        for (_, entries) in fields.drain(tabled..) {
            // Without the table the value has not been looked at, so evaluation must.
            plain.extend(entries.into_iter().map(|(_, entry)| Entry {
                whole: false,
                ..entry
            }));
        }
        let sure = first_sure(&plain);
        let mut tables = Vec::with_capacity(fields.len());
        for (field, mut entries) in fields {
            entries.retain(|(_, entry)| entry.route < sure);
            if !entries.is_empty() {
                tables.push(self.table(field, entries));
            }
        }
        let tables_start = self.tables.len() as u32;
        self.tables.extend(tables);
        self.add_entries(plain, tables_start)
    }

    fn table(&mut self, field: &Field, entries: Vec<(&[u8], Entry)>) -> Table {
        let first_route = entries
            .iter()
            .map(|(_, entry)| entry.route)
            .min()
            .unwrap_or(NONE);
        let mut by_value: BTreeMap<&[u8], Vec<Entry>> = BTreeMap::new();
        for (value, entry) in entries {
            by_value.entry(value).or_default().push(entry);
        }
        let mut lists = BytesMap::default();
        for (value, entries) in by_value {
            let no_tables = self.tables.len() as u32;
            lists.insert(value.into(), self.add_entries(entries, no_tables));
        }
        Table {
            field: field.clone(),
            first_route,
            lists,
        }
    }

    /// Adds a list whose tables run from `tables_start` to the last one.
    fn add_entries(&mut self, mut entries: Vec<Entry>, tables_start: u32) -> u32 {
        let sure = first_sure(&entries);
        entries.retain(|entry| entry.route < sure);
        entries.sort_by_key(|entry| entry.route);
        entries.dedup();
        let entries_start = self.entries.len() as u32;
        let list = self.lists.len() as u32;
        self.lists.push(List {
            sure,
            head: entries.first().map_or(NONE, |entry| entry.route),
            entries_start,
            entries_end: entries_start + entries.len() as u32,
            tables_start,
            tables_end: self.tables.len() as u32,
        });
        self.entries.extend(entries);
        list
    }

    fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
        self.first_bytes.shrink_to_fit();
        self.labels.shrink_to_fit();
        self.lists.shrink_to_fit();
        self.entries.shrink_to_fit();
        self.tables.shrink_to_fit();
    }
}

fn first_sure(entries: &[Entry]) -> u32 {
    entries
        .iter()
        .filter(|entry| entry.is_sure())
        .map(|entry| entry.route)
        .min()
        .unwrap_or(NONE)
}
