//! Writes servers of pools back into the text of a configuration.
//!
//! Only what changes is touched: an entry that goes, a value of an entry, a new entry in the style of its list. All
//! else stays byte for byte, comments too. The new text is loaded again, and must mean exactly what was wanted; else
//! nothing comes of it. Pure: the caller writes the files.

mod list;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::load::{Source, load};
use crate::model::{Discover, Endpoint, Model, Pool, Server};
use crate::source::SourceFile;
use crate::span::Spanned;
use crate::surroundings::Surroundings;
use crate::tree::{self, Budget, FILE_BYTES_MAX, Key, Node, Value};
use crate::{FileId, Sources};

/// Changes of one pool's `servers`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolEdit {
    /// Name of the pool.
    pub pool: String,
    /// Positions in [`Pool::servers`] of entries that go.
    pub removed: BTreeSet<usize>,
    /// Entries that change, by position.
    pub changed: BTreeMap<usize, EntryChange>,
    /// Entries that come after all others.
    pub added: Vec<NewEntry>,
}

/// What changes of an entry; `None` = stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntryChange {
    /// 0 to 65535.
    pub weight: Option<u32>,
    /// Gets no new traffic.
    pub down: Option<bool>,
}

/// A new entry. Failures are judged as the pool says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// `None` = its address.
    pub name: Option<String>,
    /// Where it listens.
    pub address: Endpoint,
    /// 0 to 65535; usually 1.
    pub weight: u32,
    /// 0 = no limit.
    pub max_connections: u32,
    /// Usually 0.
    pub tier: u8,
    /// Gets no new traffic.
    pub down: bool,
}

/// A file and its new text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditedFile {
    /// Its path as it was read.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

/// Why servers cannot be written back. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum EditFault {
    /// There is no such pool.
    #[error("there is no pool `{0}` in the configuration")]
    NoPool(String),
    /// The file cannot be read again.
    #[error("{path} cannot be read: {cause}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        cause: io::Error,
    },
    /// Somebody changed the file since it was loaded.
    #[error("{0} has changed since it was loaded: reload first")]
    Changed(String),
    /// The list is written in a way that is not edited.
    #[error("{place}: the servers of pool `{pool}` {why}; edit them by hand")]
    Form {
        /// `file:line:column`.
        place: String,
        /// The pool.
        pool: String,
        /// What about it.
        why: &'static str,
    },
    /// The new text does not load; the text is what is wrong with it.
    #[error("the new text would not load: {0}")]
    Refused(String),
    /// The new text means something else, in another pool for example that shares the list.
    #[error("the new text would change more than the servers of {0}; edit it by hand")]
    Differs(String),
}

/// A stretch of a text and what stands there instead.
type Patch = (Range<usize>, String);

/// The new texts of the files in which the servers of these pools stand. `model` is what `source` was loaded as. Files
/// that stay as they are are not among them.
///
/// # Errors
/// When the files are not as they were loaded, or the change cannot be made without changing something else.
pub fn edit(
    source: Source<'_>,
    model: &Model,
    pools: &[PoolEdit],
) -> Result<Vec<EditedFile>, EditFault> {
    let mut patches: BTreeMap<FileId, Vec<Patch>> = BTreeMap::new();
    let mut wanted = model.clone();
    for change in pools {
        let missing = || EditFault::NoPool(change.pool.clone());
        let mut named = wanted.pools.iter_mut();
        let pool = named.find(|pool| pool.name.value == change.pool);
        let pool = pool.ok_or_else(missing)?;
        let file = pool.name.span.file;
        let read = model.sources.file(file).ok_or_else(missing)?;
        let found = list::patches(read, file, &model.sources, pool, change)?;
        patches.entry(file).or_default().extend(found);
        apply(pool, change);
    }
    let mut files = Vec::new();
    for (file, mut patches) in patches {
        let Some(read) = model.sources.file(file).filter(|_| !patches.is_empty()) else {
            continue;
        };
        patches.sort_by_key(|(range, _)| (range.start, range.end));
        let before = as_loaded(source.world(), read)?;
        let text = patched(&read.text, &patches).ok_or_else(|| EditFault::Differs(names(pools)))?;
        files.push(EditedFile {
            path: PathBuf::from(&read.name),
            text: format!("{before}{text}"),
        });
    }
    confirm(source, &wanted, pools, &files)?;
    Ok(files)
}

/// What stands before the text (a byte order mark), when the file still is what was loaded.
fn as_loaded(world: &dyn Surroundings, read: &SourceFile) -> Result<&'static str, EditFault> {
    let bytes = world
        .read(Path::new(&read.name), FILE_BYTES_MAX)
        .map_err(|cause| EditFault::Unreadable {
            path: read.name.clone(),
            cause,
        })?;
    let bare = bytes.strip_prefix("\u{feff}".as_bytes());
    if bare.unwrap_or(&bytes) != read.text.as_bytes() {
        return Err(EditFault::Changed(read.name.clone()));
    }
    Ok(if bare.is_some() { "\u{feff}" } else { "" })
}

/// The text with the patches, which are in order. `None` when two meet.
fn patched(text: &str, patches: &[Patch]) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 256);
    let mut at = 0;
    for (range, new) in patches {
        out.push_str(text.get(at..range.start)?);
        out.push_str(new);
        at = range.end;
    }
    out.push_str(text.get(at..)?);
    Some(out)
}

/// The pool as it is to be.
fn apply(pool: &mut Pool, change: &PoolEdit) {
    for (at, new) in &change.changed {
        if let Some(server) = pool.servers.get_mut(*at) {
            server.weight = new.weight.unwrap_or(server.weight);
            server.down = new.down.unwrap_or(server.down);
        }
    }
    let mut at = 0;
    let pattern = pool.servers.first().cloned();
    pool.servers.retain(|_| {
        at += 1;
        !change.removed.contains(&(at - 1))
    });
    for new in &change.added {
        if let Some(pattern) = &pattern {
            let name = new.name.clone().unwrap_or_else(|| new.address.to_string());
            pool.servers.push(Server {
                name: Spanned::new(name, pattern.name.span),
                address: Spanned::new(new.address.clone(), pattern.address.span),
                weight: new.weight,
                tier: new.tier,
                discover: Discover::One,
                down: new.down,
                max_connections: new.max_connections,
                ..pattern.clone()
            });
        }
    }
}

/// Loads the new texts and compares.
fn confirm(
    source: Source<'_>,
    wanted: &Model,
    pools: &[PoolEdit],
    files: &[EditedFile],
) -> Result<(), EditFault> {
    let world = Edited {
        base: source.world(),
        files,
    };
    let (mut new, _) = load(source.on(&world)).map_err(|found| {
        EditFault::Refused(crate::render_all(&found, false).trim_end().to_owned())
    })?;
    // How failures of a new server are judged says the pool, which the model no longer tells.
    for (pool, wanted) in new.pools.iter_mut().zip(&wanted.pools) {
        let change = pools.iter().find(|change| change.pool == wanted.name.value);
        let count = change.map_or(0, |change| change.added.len());
        let first = pool.servers.len().saturating_sub(count);
        for (server, wanted) in pool.servers.iter_mut().zip(&wanted.servers).skip(first) {
            server.max_fails = wanted.max_fails;
            server.fail_timeout = wanted.fail_timeout;
        }
    }
    match new == *wanted {
        true => Ok(()),
        false => Err(EditFault::Differs(names(pools))),
    }
}

fn names(pools: &[PoolEdit]) -> String {
    let names = pools.iter().map(|change| format!("`{}`", change.pool));
    names.collect::<Vec<_>>().join(", ")
}

/// The world with some files as they are to be.
struct Edited<'a> {
    base: &'a dyn Surroundings,
    files: &'a [EditedFile],
}

impl Surroundings for Edited<'_> {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        match self.files.iter().find(|file| file.path == path) {
            Some(file) => Ok(file.text.clone().into_bytes()),
            None => self.base.read(path, bytes_max),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.base.list(folder)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.base.variable(name)
    }
}

/// The `servers` of a pool in the tree of its file, and the key before it.
fn servers_of<'t>(root: &'t Node, pool: &str) -> Option<(&'t Key, &'t Node)> {
    let inside = |node: &'t Node, name: &str| match &node.value {
        Value::Map(entries) => entries
            .iter()
            .find(|(key, _)| key.text == name)
            .map(|(key, value)| (key, value)),
        _ => None,
    };
    let (_, pools) = inside(root, crate::keys::POOLS.name)?;
    let (_, pool) = inside(pools, pool)?;
    inside(pool, crate::keys::POOL_SERVERS.name)
}

/// The tree of one file that loaded before.
fn tree_of(file: FileId, sources: &Sources) -> Option<Node> {
    tree::parse(file, sources, &mut Budget::default(), &mut Vec::new())
}
