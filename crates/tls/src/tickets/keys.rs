//! Keys of tickets: reading a shared key file, and our own in the state folder.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kept;

/// Most keys of one file: nodes that rotate by hand need three.
pub(super) const KEYS_MAX: usize = 16;
/// Bytes of a key as we make it; nginx and HAProxy take the same.
pub(super) const KEY_LONG: usize = 80;
const KEY_SHORT: usize = 48;
pub(super) const NAME: usize = 16;

/// Most bytes of a file that are read: all keys as text, with room for comments.
const FILE_BYTES_MAX: u64 = 8 * 1024;
/// An entry of the file in the state folder: seconds since 1970, then the key.
const ENTRY: usize = 8 + KEY_LONG;
const STATE_FILE: &str = "tickets.keys";

/// What [`Key::secret`] is made with; another construction of tickets would get another label.
const LABEL: &[u8] = b"evenkeel ticket 1";

/// One key. Its name is sent in clear in front of each ticket.
pub(super) struct Key {
    pub(super) name: [u8; NAME],
    /// From which the key of each ticket is derived.
    pub(super) secret: hmac::Key,
}

impl Key {
    /// Of 48 or 80 random bytes: 16 of name, the rest of secret. `scope` keeps the tickets of listeners apart that
    /// ask clients for different certificates, though they have the same key.
    pub(super) fn new(bytes: &[u8], scope: &[u8]) -> Option<Key> {
        let (name, secret) = bytes.split_first_chunk::<NAME>()?;
        let outer = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut context = hmac::Context::with_key(&outer);
        context.update(LABEL);
        context.update(&(scope.len() as u64).to_be_bytes());
        context.update(scope);
        let secret = hmac::Key::new(hmac::HMAC_SHA256, context.sign().as_ref());
        Some(Key {
            name: *name,
            secret,
        })
    }
}

/// The content of a file of keys.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    kept::read(path, FILE_BYTES_MAX)
}

/// What tells whether a file was changed: time, length, inode.
pub(super) type Stamp = (i64, i64, u64, u64);

pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.mtime(), meta.mtime_nsec(), meta.size(), meta.ino()))
}

/// Whether users that are neither owner nor in the group may read the file.
pub(super) fn open_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o004 != 0)
}

/// The keys of a key file: raw ones of 80 bytes (or 48) one after the other, or one of base64 on each line.
/// The error says what is wrong.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let keys = match std::str::from_utf8(bytes) {
        _ if bytes.is_empty() => return Err("it is empty".into()),
        Ok(text) if bytes.iter().all(is_text) => lines(text)?,
        _ => raw(bytes)?,
    };
    match keys.len() {
        0 => return Err("it has no key".into()),
        1..=KEYS_MAX => {}
        count => return Err(format!("it has {count} keys; {KEYS_MAX} are the most")),
    }
    for (at, key) in keys.iter().enumerate() {
        if key.iter().all(|byte| Some(byte) == key.first()) {
            return Err(format!("key {} is one byte over and over", at + 1));
        }
        let same = |other: &Vec<u8>| other.get(..NAME) == key.get(..NAME);
        if let Some(first) = keys.iter().take(at).position(same) {
            let (first, second) = (first + 1, at + 1);
            return Err(format!(
                "keys {first} and {second} have the same first {NAME} bytes"
            ));
        }
    }
    Ok(keys)
}

fn raw(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let len = bytes.len();
    // 240 bytes could be both; three long ones are what people have.
    let size = [KEY_LONG, KEY_SHORT]
        .into_iter()
        .find(|size| len.is_multiple_of(*size));
    let size = size.ok_or_else(|| {
        format!("it has {len} bytes, which is no multiple of {KEY_LONG} nor of {KEY_SHORT}")
    })?;
    Ok(bytes.chunks_exact(size).map(<[u8]>::to_vec).collect())
}

fn lines(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut keys = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line_number = at + 1;
        let key = STANDARD.decode(line);
        let key = key.map_err(|_| format!("line {line_number} is not base64"))?;
        if ![KEY_LONG, KEY_SHORT].contains(&key.len()) {
            let len = key.len();
            return Err(format!(
                "line {line_number} is {len} bytes in base64; {KEY_LONG} or {KEY_SHORT} are needed"
            ));
        }
        keys.push(key);
    }
    Ok(keys)
}

/// A key of our own and when it was made.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Own {
    /// Seconds since 1970.
    pub(super) made: u64,
    pub(super) bytes: Vec<u8>,
}

impl Own {
    pub(super) fn random(now: u64) -> Result<Own, String> {
        let mut bytes = vec![0; KEY_LONG];
        rand::fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
        Ok(Own { made: now, bytes })
    }
}

/// The file of our own keys.
pub(super) fn state_path(folder: &Path) -> PathBuf {
    folder.join(STATE_FILE)
}

/// The keys kept in the state folder, the newest first; `None` when the file is not one of ours.
pub(super) fn parse_state(bytes: &[u8]) -> Option<Vec<Own>> {
    let (entries, rest) = bytes.as_chunks::<ENTRY>();
    if entries.is_empty() || !rest.is_empty() {
        return None;
    }
    let own = entries.iter().map(|entry| {
        let (made, bytes) = entry.split_first_chunk::<8>()?;
        let (made, bytes) = (u64::from_be_bytes(*made), bytes.to_vec());
        Some(Own { made, bytes })
    });
    let mut own = own.collect::<Option<Vec<Own>>>()?;
    own.sort_by_key(|own| std::cmp::Reverse(own.made));
    Some(own)
}

/// Keeps the keys, whole or not at all.
pub(super) fn write_state(folder: &Path, own: &[Own]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(own.len() * ENTRY);
    for own in own {
        bytes.extend_from_slice(&own.made.to_be_bytes());
        bytes.extend_from_slice(&own.bytes);
    }
    kept::write(folder, STATE_FILE, &bytes)
}
