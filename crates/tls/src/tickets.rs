//! Session tickets (RFC 5077, RFC 8446 section 4.6.1) with keys that rotate or that nodes share.
//!
//! A ticket is `name of the key (16) | salt (16) | nonce (12) | AES-256-GCM of (state | time of issue (8)) | tag (16)`.
//! Each ticket has an AES key of its own, HMAC-SHA-256 of the salt under the named key: a key file may serve many
//! nodes for years, and random nonces under one AES key would not last that long. The time of issue ends a ticket even
//! when its key never changes.
//!
//! Reading and making tickets takes no lock. Time comes from [`Tickets::refresh`] alone.

mod keys;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use rustls::server::ProducesTickets;

use crate::fault::{Notice, Setting, SettingsFault};
use crate::settings::TicketSettings;
use keys::{Key, NAME, Own, Stamp};

/// Our own keys that are kept: the one that encrypts and two older ones.
const OWN_KEYS: usize = 3;
const SALT: usize = 16;
const TAG: usize = 16;
const ISSUED: usize = 8;
const HEADER: usize = NAME + SALT + NONCE_LEN;
/// Most bytes of a ticket (RFC 8446 section 4.6.1).
const TICKET_BYTES_MAX: usize = u16::MAX as usize;
/// The longest that a ticket may live (RFC 8446 section 4.6.1).
const LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The least time between two keys of our own: tickets have to outlive a handshake.
const ROTATE_MIN: Duration = Duration::from_secs(60);
/// How far the clocks of nodes that share keys may be apart, in seconds.
const SKEW_S: u64 = 300;
/// A file younger than this may be written again without a change of its time: it is read at each look.
const YOUNG_S: i64 = 3;
const MEND: &str = "make one with: openssl rand 80 > tickets.key";

/// What [`Tickets::refresh`] did or could not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketEvent {
    /// The key file was changed, and its keys are in use.
    Taken {
        /// How many.
        keys: usize,
    },
    /// The key file was changed or went away, and is no good: the keys of before stay in use. Said once for each
    /// content.
    Refused(SettingsFault),
    /// A key of our own took the place of the one of before.
    Rotated,
    /// A key of our own could not be made or written: the text says why and what follows.
    NotKept(String),
}

/// Makes and reads tickets. One for each listener, shared by all workers.
pub struct Tickets {
    keys: ArcSwap<Vec<Key>>,
    /// Seconds since 1970 at the last refresh.
    now: AtomicU64,
    lifetime_s: u64,
    scope: Vec<u8>,
    source: Source,
    upkeep: Mutex<Upkeep>,
}

enum Source {
    /// Keys that nodes share.
    File(PathBuf),
    /// Our own; the folder is `None` when they are in memory only.
    Own {
        folder: Option<PathBuf>,
        rotate_s: u64,
    },
}

/// What only the control thread looks at.
struct Upkeep {
    stamp: Option<Stamp>,
    /// The content that was judged last, so that each is judged once.
    seen: Option<Result<Vec<u8>, String>>,
    own: Vec<Own>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("lifetime_s", &self.lifetime_s)
            .finish_non_exhaustive()
    }
}

impl Tickets {
    /// Reads the key file, or the keys of before in `state_folder` (an empty path keeps them in memory only), making
    /// a new one where there is none.
    ///
    /// `scope` tells apart whose tickets may be used with each other, although they are made with the same keys: it
    /// has to differ where a client must show other certificates (a digest of the CA's file and of `required`), or a
    /// client without a certificate could resume its way in. Nodes that share keys need the same scope.
    ///
    /// The lifetime is cut to 7 days, and with our own keys to twice the time of rotation, which is at least a minute.
    ///
    /// # Errors
    ///
    /// The key file cannot be read or is no key file; the system gives no random bytes.
    pub fn new(
        settings: &TicketSettings,
        state_folder: &Path,
        scope: &[u8],
        now: SystemTime,
    ) -> Result<(Tickets, Vec<Notice>), SettingsFault> {
        let rotate = settings.rotate.max(ROTATE_MIN);
        let mut lifetime = settings.lifetime.min(LIFETIME_MAX);
        let source = match &settings.key_file {
            Some(path) => Source::File(path.clone()),
            None => {
                lifetime = lifetime.min(rotate * (OWN_KEYS as u32 - 1));
                let folder = (!state_folder.as_os_str().is_empty()).then(|| state_folder.into());
                Source::Own {
                    folder,
                    rotate_s: rotate.as_secs(),
                }
            }
        };
        let tickets = Tickets {
            keys: ArcSwap::default(),
            now: AtomicU64::new(0),
            lifetime_s: lifetime.as_secs(),
            scope: scope.to_vec(),
            source,
            upkeep: Mutex::new(Upkeep {
                stamp: None,
                seen: None,
                own: Vec::new(),
            }),
        };
        let mut notices = Vec::new();
        for event in tickets.refresh(now) {
            match event {
                TicketEvent::Refused(fault) => return Err(fault),
                TicketEvent::NotKept(what) if tickets.keys.load().is_empty() => {
                    return Err(fault(
                        what,
                        "see that the system's source of randomness works",
                    ));
                }
                TicketEvent::NotKept(what) => notices.push(notice(what)),
                TicketEvent::Taken { .. } | TicketEvent::Rotated => {}
            }
        }
        if let Source::File(path) = &tickets.source
            && keys::open_to_all(path)
        {
            notices.push(notice(format!(
                "all users can read the ticket keys in {0}, and with them what was recorded of connections; run: chmod o= {0}",
                path.display()
            )));
        }
        Ok((tickets, notices))
    }

    /// Tells the time, takes a changed key file, rotates keys of our own. About once a second, from a thread that may
    /// block on files.
    pub fn refresh(&self, now: SystemTime) -> Vec<TicketEvent> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.now.store(now, Ordering::Relaxed);
        let mut upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.source {
            Source::File(path) => self.look_at(path, now, &mut upkeep).into_iter().collect(),
            Source::Own { folder, rotate_s } => {
                self.look_after(folder.as_deref(), *rotate_s, now, &mut upkeep)
            }
        }
    }

    /// The key file: judged when its content is another one.
    fn look_at(&self, path: &Path, now: u64, upkeep: &mut Upkeep) -> Option<TicketEvent> {
        if !upkeep.changed(path, now) {
            return None;
        }
        let content = keys::read(path).map_err(|error| error.to_string());
        if upkeep.seen.as_ref() == Some(&content) {
            return None;
        }
        let parsed = match &content {
            Ok(bytes) => keys::parse(bytes).map_err(|what| {
                fault(
                    format!("{} is no file of ticket keys: {what}", path.display()),
                    MEND,
                )
            }),
            Err(error) => Err(fault(
                format!("cannot read the ticket keys in {}: {error}", path.display()),
                MEND,
            )),
        };
        upkeep.seen = Some(content);
        Some(match parsed {
            Ok(parsed) => {
                self.take(parsed.iter().map(Vec::as_slice));
                TicketEvent::Taken { keys: parsed.len() }
            }
            Err(fault) => TicketEvent::Refused(fault),
        })
    }

    /// Our own keys. Others (another listener, the process that takes over) may use the same file: what they wrote is
    /// taken before a key is made.
    fn look_after(
        &self,
        folder: Option<&Path>,
        rotate_s: u64,
        now: u64,
        upkeep: &mut Upkeep,
    ) -> Vec<TicketEvent> {
        let mut events = Vec::new();
        let before: Vec<Vec<u8>> = upkeep.own.iter().map(|own| own.bytes.clone()).collect();
        if let Some(folder) = folder
            && upkeep.changed(&keys::state_path(folder), now)
            && let Ok(bytes) = keys::read(&keys::state_path(folder))
        {
            match keys::parse_state(&bytes) {
                Some(found) => upkeep.own = found,
                None => events.push(TicketEvent::NotKept(format!(
                    "{} is not as it was written; its ticket keys are given up",
                    keys::state_path(folder).display()
                ))),
            }
        }
        // A key from the future, made before the clock was set back, would else never be replaced.
        upkeep
            .own
            .iter_mut()
            .for_each(|own| own.made = own.made.min(now));
        let oldest = now.saturating_sub(rotate_s.saturating_mul(OWN_KEYS as u64));
        upkeep.own.retain(|own| own.made >= oldest);
        let due = upkeep
            .own
            .first()
            .is_none_or(|own| now - own.made >= rotate_s);
        if due {
            match Own::random(now) {
                Ok(own) => upkeep.own.insert(0, own),
                Err(why) => events.push(TicketEvent::NotKept(format!("no new ticket key: {why}"))),
            }
        }
        upkeep.own.truncate(OWN_KEYS);
        if due && let Some(folder) = folder {
            if let Err(error) = keys::write_state(folder, &upkeep.own) {
                events.push(TicketEvent::NotKept(format!(
                    "cannot keep ticket keys in {}: {error}; after a restart clients cannot resume their sessions",
                    folder.display()
                )));
            }
            upkeep.stamp = keys::stamp(&keys::state_path(folder));
        }
        let keys = || upkeep.own.iter().map(|own| own.bytes.as_slice());
        if !before.iter().map(Vec::as_slice).eq(keys()) {
            self.take(keys());
        }
        if before
            .first()
            .is_some_and(|first| keys().next() != Some(first))
        {
            events.push(TicketEvent::Rotated);
        }
        events
    }

    fn take<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        let keys = keys.filter_map(|bytes| Key::new(bytes, &self.scope));
        self.keys.store(std::sync::Arc::new(keys.collect()));
    }
}

impl Upkeep {
    /// Whether a file has to be read again.
    fn changed(&mut self, path: &Path, now: u64) -> bool {
        let stamp = keys::stamp(path);
        let young = stamp.is_some_and(|(written, ..)| {
            written.saturating_add(YOUNG_S) >= i64::try_from(now).unwrap_or(i64::MAX)
        });
        let same = self.stamp == stamp && stamp.is_some();
        self.stamp = stamp;
        !same || young
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime_s).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let len = HEADER + plain.len() + ISSUED + TAG;
        if len > TICKET_BYTES_MAX {
            return None;
        }
        let keys = self.keys.load();
        let key = keys.first()?;
        let mut random = [0; SALT + NONCE_LEN];
        rand::fill(&mut random).ok()?;
        let (salt, nonce) = random.split_first_chunk::<SALT>()?;

        let mut ticket = Vec::with_capacity(len);
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&random);
        ticket.extend_from_slice(plain);
        ticket.extend_from_slice(&self.now.load(Ordering::Relaxed).to_be_bytes());
        let (header, sealed) = ticket.split_at_mut_checked(HEADER)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aes = aes(&key.secret, salt)?;
        let tag = aes
            .seal_in_place_separate_tag(nonce, Aad::from(&*header), sealed)
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX || ticket.len() < HEADER + ISSUED + TAG {
            return None;
        }
        let (header, sealed) = ticket.split_at_checked(HEADER)?;
        let (name, random) = header.split_first_chunk::<NAME>()?;
        let (salt, nonce) = random.split_first_chunk::<SALT>()?;
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.name == *name)?;

        let mut sealed = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aes = aes(&key.secret, salt)?;
        let len = aes
            .open_in_place(nonce, Aad::from(header), &mut sealed)
            .ok()?
            .len();
        let (state, issued) = sealed.get(..len)?.split_last_chunk::<ISSUED>()?;
        let (issued, now) = (
            u64::from_be_bytes(*issued),
            self.now.load(Ordering::Relaxed),
        );
        if issued > now.saturating_add(SKEW_S) || now.saturating_sub(issued) > self.lifetime_s {
            return None;
        }
        let len = state.len();
        sealed.truncate(len);
        Some(sealed)
    }
}

/// The AES key of one ticket.
fn aes(secret: &hmac::Key, salt: &[u8; SALT]) -> Option<LessSafeKey> {
    let key = hmac::sign(secret, salt);
    UnboundKey::new(&AES_256_GCM, key.as_ref())
        .ok()
        .map(LessSafeKey::new)
}

fn fault(what: String, mend: &str) -> SettingsFault {
    SettingsFault {
        setting: Setting::TicketKeys,
        what,
        mend: mend.into(),
    }
}

fn notice(what: String) -> Notice {
    Notice {
        setting: Setting::TicketKeys,
        warning: true,
        what,
    }
}

#[cfg(test)]
mod tests;
