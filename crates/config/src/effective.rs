//! The configuration with every default written out, as it would stand in a file.

use std::fmt;

use serde_json::{Value as Json, json};

use crate::keys::{self, Default, Form, Key, Kind, Table, forms};
use crate::load::{Source, read};
use crate::model::{Discover, Model, Pool, Server};
use crate::source::Sources;
use crate::surroundings::Surroundings;
use crate::tree::{Node, Value, fragment};
use crate::{FILES_MAX, Span};

/// JSON whose maps keep their order: that of listeners and pools counts.
enum Tree {
    Leaf(Json),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

/// What stands for a secret that was written into the file.
const HIDDEN: &str = "(hidden)";
/// Where a section that is absent says that its own defaults hold.
const OWN_DEFAULTS: &str = "the defaults of its keys";

/// The whole configuration as the text of a JSON map, which is a configuration too: files joined, aliases expanded, defaults written out,
/// the servers of pools as they are in force. References such as `env:NAME` stay; a token or secret that was written
/// in place is hidden. `model` is the one in force; the text is that of its load, whatever the files say now.
pub fn effective(model: &Model, world: &dyn Surroundings) -> String {
    let Some(main) = model.sources.files().first() else {
        return "{}".to_owned();
    };
    let world = Loaded {
        sources: &model.sources,
        base: world,
    };
    let source = Source::text(std::path::Path::new(&main.name), &main.text, &world);
    let read = read(source);
    let root = Node {
        span: Span::default(),
        value: Value::Map(read.top),
    };
    let mut tree = section(&root, &keys::TOP);
    if let Tree::Map(top) = &mut tree {
        top.retain(|(key, _)| key != keys::INCLUDE.name);
        let pools = top.iter_mut().find(|(key, _)| key == keys::POOLS.name);
        if let Some((_, Tree::Map(pools))) = pools {
            for (name, fields) in pools {
                let pool = model.pools.iter().find(|pool| pool.name.value == *name);
                if let (Some(pool), Tree::Map(fields)) = (pool, fields) {
                    in_force(pool, fields);
                }
            }
        }
    }
    tree.to_string()
}

/// The servers of a pool as they are in force.
fn in_force(pool: &Pool, fields: &mut [(String, Tree)]) {
    let has_outlier = pool.outlier.is_some();
    let servers = pool.servers.iter().map(|it| server(it, has_outlier));
    let written = fields
        .iter_mut()
        .find(|(key, _)| key == keys::POOL_SERVERS.name);
    if let Some((_, written)) = written {
        *written = Tree::List(servers.collect());
    }
}

/// A server with all that is known of it.
fn server(server: &Server, has_outlier: bool) -> Tree {
    let mut fields = Vec::new();
    let mut put = |key: &str, value: Json| fields.push((key.to_owned(), Tree::Leaf(value)));
    match server.discover {
        Discover::Srv => put("srv", json!(server.address.host.to_string())),
        Discover::Addresses => {
            put("address", json!(server.address.to_string()));
            put("resolve", json!("all"));
        }
        Discover::One => {
            put("address", json!(server.address.to_string()));
            put("name", json!(server.name.value));
        }
    }
    if server.discover != Discover::Srv {
        put("weight", json!(server.weight));
        put("tier", json!(server.tier));
    }
    put("down", json!(server.down));
    put("max_connections", json!(server.max_connections));
    if !has_outlier {
        put("max_fails", json!(server.max_fails));
        let ms = u64::try_from(server.fail_timeout.as_millis()).unwrap_or(u64::MAX);
        put("fail_timeout", json!(keys::show_duration(ms)));
    }
    Tree::Map(fields)
}

fn section(node: &Node, table: &'static Table) -> Tree {
    let Value::Map(entries) = &node.value else {
        return Tree::Leaf(node.to_json());
    };
    let mut fields = Vec::new();
    for key in table.keys {
        let written = entries.iter().find(|(name, _)| name.text == key.name);
        let value = match (written, key.default) {
            (Some((_, value)), _) => filled(value, &key.kind),
            (None, Default::Value(text)) => {
                // Beside `outlier` these two would be a conflict.
                let judged: [&Key; 2] = [&keys::POOL_MAX_FAILS, &keys::POOL_FAIL_TIMEOUT];
                let replaced = judged.iter().any(|it| std::ptr::eq(*it, *key))
                    && entries
                        .iter()
                        .any(|(name, _)| name.text == keys::POOL_OUTLIER.name);
                if replaced || !stands_alone(table, key.name) {
                    continue;
                }
                filled(&fragment(text, node.span), &key.kind)
            }
            (None, Default::Absent(OWN_DEFAULTS)) => match table_of(&key.kind) {
                Some(table) if table.one_of.is_empty() && stands_alone_section(key.name) => {
                    let nothing = Node {
                        span: node.span,
                        value: Value::Map(Vec::new()),
                    };
                    section(&nothing, table)
                }
                _ => continue,
            },
            (None, _) => continue,
        };
        fields.push((key.name.to_owned(), value));
    }
    Tree::Map(fields)
}

/// Whether a default may be written out without being a setting of something else.
fn stands_alone(table: &Table, key: &str) -> bool {
    // Settings that belong to one choice among several, by the section in which they stand.
    let whole: [&Table; 6] = [
        &keys::DEPENDENCY,
        &keys::STICKY,
        &keys::SERVER,
        &keys::MATCH,
        &keys::PATH_TEST,
        &keys::VALUE_TEST,
    ];
    let single: [(&Table, &Key); 8] = [
        (&keys::HEDGE, &keys::HEDGE_MIN),
        (&keys::HEDGE, &keys::HEDGE_MAX),
        (&keys::HEALTH, &keys::HEALTH_EVERY_DOWN),
        (&keys::ROUTE, &keys::ROUTE_SPLIT_BY),
        (&keys::ROUTE, &keys::ROUTE_GRPC_WEB),
        (&keys::ACCESS_LOG, &keys::LOG_FACILITY),
        (&keys::ACCESS_LOG, &keys::LOG_TAG),
        (&keys::SERVER_TLS, &keys::SERVER_CA),
    ];
    let of_algorithm = table.id == keys::BALANCE.id && key != keys::BALANCE_ALGORITHM.name;
    !of_algorithm
        && !whole.iter().any(|it| it.id == table.id)
        && !single
            .iter()
            .any(|(of, it)| of.id == table.id && it.name == key)
}

/// `http2` of a pool has no meaning where HTTP/1 is spoken.
fn stands_alone_section(key: &str) -> bool {
    key != keys::POOL_HTTP2.name
}

fn table_of(kind: &Kind) -> Option<&'static Table> {
    match kind {
        Kind::Section(table) => Some(table),
        Kind::Shape {
            map: Some(Kind::Section(table)),
            ..
        } => Some(table),
        _ => None,
    }
}

fn filled(node: &Node, kind: &Kind) -> Tree {
    let leaf = || Tree::Leaf(node.to_json());
    match (kind, &node.value) {
        (Kind::Shape { scalar, list, map }, value) => {
            let shape = match value {
                Value::List(_) => list,
                Value::Map(_) => map,
                Value::Scalar { .. } | Value::Null => scalar,
            };
            shape.map_or_else(leaf, |kind| filled(node, kind))
        }
        (Kind::Section(table), Value::Map(_)) => section(node, table),
        (Kind::Map { value, .. }, Value::Map(entries)) => {
            let entries = entries.iter();
            Tree::Map(
                entries
                    .map(|(key, node)| (key.text.clone(), filled(node, value)))
                    .collect(),
            )
        }
        (Kind::List { item, .. } | Kind::OneOrMany { item, .. }, Value::List(items)) => {
            Tree::List(items.iter().map(|node| filled(node, item)).collect())
        }
        (Kind::OneOrMany { item, .. }, _) => filled(node, item),
        (Kind::Text(form), Value::Scalar { text, .. }) if is_secret(form) => {
            let refers = text.starts_with("env:") || text.starts_with("file:");
            Tree::Leaf(json!(if refers { text } else { HIDDEN }))
        }
        _ => leaf(),
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Tree {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let (open, close, count) = match self {
            Tree::Leaf(json) => return write!(f, "{json}"),
            Tree::List(items) => ('[', ']', items.len()),
            Tree::Map(entries) => ('{', '}', entries.len()),
        };
        if count == 0 {
            return write!(f, "{open}{close}");
        }
        writeln!(f, "{open}")?;
        for at in 0..count {
            write!(f, "{:1$}", "", 2 * depth + 2)?;
            let value = match self {
                Tree::Map(entries) => entries.get(at).map(|(key, value)| (Some(key), value)),
                Tree::List(items) => items.get(at).map(|value| (None, value)),
                Tree::Leaf(_) => None,
            };
            if let Some((key, value)) = value {
                if let Some(key) = key {
                    write!(f, "{}: ", json!(key))?;
                }
                value.write(f, depth + 1)?;
            }
            writeln!(f, "{}", if at + 1 < count { "," } else { "" })?;
        }
        write!(f, "{:1$}{close}", "", 2 * depth)
    }
}

fn is_secret(form: &'static Form) -> bool {
    [&forms::SECRET, &forms::TOKEN]
        .iter()
        .any(|secret| std::ptr::eq(*secret, form))
}

/// The world with the files as they were loaded.
struct Loaded<'a> {
    sources: &'a Sources,
    base: &'a dyn Surroundings,
}

impl Surroundings for Loaded<'_> {
    fn read(&self, path: &std::path::Path, bytes_max: usize) -> std::io::Result<Vec<u8>> {
        let name = path.display().to_string();
        let mut files = self.sources.files().iter().take(FILES_MAX + 1);
        match files.find(|file| file.name == name) {
            Some(file) => Ok(file.text.as_bytes().to_vec()),
            None => self.base.read(path, bytes_max),
        }
    }

    fn list(&self, folder: &std::path::Path) -> std::io::Result<Vec<String>> {
        let paths = self
            .sources
            .files()
            .iter()
            .map(|file| std::path::Path::new(&file.name));
        let inside = paths.filter(|path| path.parent() == Some(folder));
        Ok(inside
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.base.variable(name)
    }
}
