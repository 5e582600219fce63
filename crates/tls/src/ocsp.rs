//! OCSP answers for our own certificates, to be stapled (RFC 6066 section 8, RFC 8446 section 4.4.2.1).
//!
//! Answers are fetched over plain HTTP, verified in full, kept in the state folder, and asked for anew at half of their
//! validity. All of it runs on a thread that may block: a handshake only ever sees an answer that is there already, so
//! a dead responder delays nobody. What is refused leaves the answer of before in use until that one's end.

mod fetch;
mod message;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;

use crate::kept;
use message::{AnswerFault, Target, Validity};

/// The first pause after a failure; each further one is twice as long.
const RETRY_MIN_S: u64 = 60;
/// The longest pause after failures.
const RETRY_MAX_S: u64 = 3600;
/// A file that nobody wrote for so long is of a certificate that was replaced.
const FORGOTTEN: Duration = Duration::from_secs(90 * 24 * 3600);
/// Entries of the state folder that are looked at for such files.
const ENTRIES_MAX: usize = 10_000;

/// A certificate, told apart from others by its SHA-256 fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificateKey(pub [u8; 32]);

impl CertificateKey {
    /// Of the certificate in DER.
    pub fn of(certificate: &[u8]) -> CertificateKey {
        let mut key = [0; 32];
        let digest = digest(&SHA256, certificate);
        key.iter_mut()
            .zip(digest.as_ref())
            .for_each(|(slot, byte)| *slot = *byte);
        CertificateKey(key)
    }

    fn file(&self) -> String {
        let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{hex}.ocsp")
    }
}

/// A certificate in use for which an answer is wanted.
#[derive(Debug, Clone, Copy)]
pub struct CertificateToStaple<'a> {
    /// Which one it is.
    pub key: CertificateKey,
    /// Its file, for events.
    pub source: &'a str,
    /// The certificate itself, then its issuer.
    pub chain: &'a [CertificateDer<'a>],
}

/// What happened to answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StapleEvent {
    /// Which certificate.
    pub key: CertificateKey,
    /// Its file.
    pub source: String,
    /// What happened to its answer.
    pub what: Stapled,
}

/// What happened to the answer for one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stapled {
    /// There is a new one, from the responder or from the state folder.
    Taken {
        /// Its end in seconds since 1970.
        until: u64,
    },
    /// The one in use has come to its end, or the certificate is revoked: nothing is stapled any more.
    Ended,
    /// None could be had this time.
    Failed {
        /// Why, and what to do where something can be done.
        why: String,
        /// When it is tried again.
        retry: Duration,
    },
    /// None can be had at all, said once for each certificate.
    Unable(String),
    /// The certificate says that it must come with an answer (RFC 7633), and there is none: clients that know the
    /// rule refuse it. Said once until there is one.
    MustStaple,
    /// The new one could not be written to the state folder: it will have to be fetched after a restart.
    NotKept(String),
}

/// The answers for all certificates of a listener.
#[derive(Debug)]
pub struct Staples {
    folder: PathBuf,
    timeout: Duration,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<CertificateKey, Entry>,
    tidied: bool,
}

#[derive(Debug)]
struct Entry {
    source: String,
    target: Target,
    staple: Option<Staple>,
    /// When to ask, in seconds since 1970; `None` when there is nobody to ask.
    due: Option<u64>,
    failures: u32,
    /// Whether it was said that it must have an answer and has none.
    missed: bool,
}

#[derive(Debug, Clone)]
struct Staple {
    answer: Arc<Vec<u8>>,
    validity: Validity,
}

/// How one attempt ended.
enum Outcome {
    /// A good answer, and why it could not be kept.
    Good(Staple, Option<String>),
    /// The responder could not be asked, which is likely so for its other certificates too.
    NoAnswer(String),
    Bad(AnswerFault),
}

impl Staples {
    /// No answers yet; those of before are in `folder`, which is made when there is one to be written.
    pub fn new(folder: impl Into<PathBuf>) -> Staples {
        Staples {
            folder: folder.into(),
            timeout: fetch::TIMEOUT,
            table: Mutex::default(),
        }
    }

    /// The answer in DER for a certificate, as it was at the last refresh.
    pub fn staple_for(&self, certificate: &CertificateKey) -> Option<Arc<Vec<u8>>> {
        let table = self.table();
        let staple = table.entries.get(certificate)?.staple.as_ref()?;
        Some(staple.answer.clone())
    }

    /// Takes over which certificates are in use, and for new ones the answers in the state folder. Asks nobody: for
    /// the start, so that it does not wait for responders.
    pub fn load(
        &self,
        now: SystemTime,
        certificates: &[CertificateToStaple<'_>],
    ) -> Vec<StapleEvent> {
        let now = seconds(now);
        let mut events = Vec::new();
        let mut table = self.table();
        if !std::mem::replace(&mut table.tidied, true) {
            tidy(&self.folder, now);
        }
        table
            .entries
            .retain(|key, _| certificates.iter().any(|one| one.key == *key));
        for one in certificates {
            if table.entries.contains_key(&one.key) {
                continue;
            }
            // What cannot be read is no certificate; loading it says so elsewhere.
            let Some(target) = Target::new(one.chain) else {
                continue;
            };
            let mut entry = Entry {
                source: one.source.to_owned(),
                due: (target.url.is_some() && target.has_issuer()).then_some(now),
                target,
                staple: None,
                failures: 0,
                missed: false,
            };
            if let Some(staple) = self.read(&one.key, &entry.target, now) {
                entry.due = entry.due.map(|_| half(staple.validity));
                let until = staple.validity.until;
                entry.staple = Some(staple);
                events.push(entry.event(one.key, Stapled::Taken { until }));
            }
            if entry.target.url.is_some() && !entry.target.has_issuer() {
                let why = "the certificate's issuer does not follow it in its file, and without that no OCSP \
                           answer can be asked for; append the certificate of the CA";
                events.push(entry.event(one.key, Stapled::Unable(why.to_owned())));
            }
            table.entries.insert(one.key, entry);
        }
        for (key, entry) in &mut table.entries {
            let ended = entry
                .staple
                .as_ref()
                .is_some_and(|staple| staple.validity.until <= now);
            if ended {
                entry.staple = None;
                events.push(entry.event(*key, Stapled::Ended));
            }
        }
        events
    }

    /// The same as [`Staples::load`], and then asks for the answer that is due for the longest, if one is: at most one
    /// at each call. Blocks for up to 10 s (and for the system's look-up of the responder's name). About once a second.
    pub fn refresh(
        &self,
        now: SystemTime,
        certificates: &[CertificateToStaple<'_>],
    ) -> Vec<StapleEvent> {
        let mut events = self.load(now, certificates);
        let now = seconds(now);
        if let Some((key, target, since)) = self.next(now) {
            let outcome = self.attempt(&key, &target, since, now);
            self.settle(key, &target, outcome, now, &mut events);
        }
        for (key, entry) in &mut self.table().entries {
            let tried = entry.failures > 0 || entry.due.is_none();
            let misses = entry.target.must_staple && entry.staple.is_none() && tried;
            if misses && !entry.missed {
                events.push(entry.event(*key, Stapled::MustStaple));
            }
            entry.missed = misses;
        }
        events
    }

    /// The certificate that is due for the longest, and since when its present answer is good.
    fn next(&self, now: u64) -> Option<(CertificateKey, Target, u64)> {
        let table = self.table();
        let due = table
            .entries
            .iter()
            .filter(|(_, entry)| entry.due.is_some_and(|due| due <= now));
        let (key, entry) = due.min_by_key(|(_, entry)| entry.due)?;
        let since = entry
            .staple
            .as_ref()
            .map_or(0, |staple| staple.validity.from);
        Some((*key, entry.target.clone(), since))
    }

    fn attempt(&self, key: &CertificateKey, target: &Target, since: u64, now: u64) -> Outcome {
        // Another listener with the same certificate may have asked already.
        if let Some(staple) = self.read(key, target, now)
            && staple.validity.from > since
        {
            return Outcome::Good(staple, None);
        }
        let (Some(url), Some(request)) = (&target.url, target.request()) else {
            return Outcome::Bad(AnswerFault::Signer); // Such a one is never due.
        };
        let answer = match fetch::fetch(url, &request, self.timeout) {
            Ok(answer) => answer,
            Err(fault) => return Outcome::NoAnswer(format!("{} ({url})", fault.text())),
        };
        match target.judge(&answer, now) {
            Ok(validity) => {
                let kept = kept::write(&self.folder, &key.file(), &answer);
                let fault = kept
                    .err()
                    .map(|error| format!("cannot write to {}: {error}", self.folder.display()));
                Outcome::Good(
                    Staple {
                        answer: Arc::new(answer),
                        validity,
                    },
                    fault,
                )
            }
            Err(fault) => Outcome::Bad(fault),
        }
    }

    fn settle(
        &self,
        key: CertificateKey,
        target: &Target,
        outcome: Outcome,
        now: u64,
        events: &mut Vec<StapleEvent>,
    ) {
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(&key) else {
            return;
        };
        let (why, dead) = match outcome {
            Outcome::Good(staple, fault) => {
                let Validity { until, .. } = staple.validity;
                entry.failures = 0;
                // Responders may answer with what they signed long ago: a pause, though it is past half.
                let pause = ((until - now) / 8).clamp(RETRY_MIN_S, RETRY_MAX_S);
                entry.due = Some(half(staple.validity).max(now + pause));
                entry.staple = Some(staple);
                events.push(entry.event(key, Stapled::Taken { until }));
                events.extend(fault.map(|fault| entry.event(key, Stapled::NotKept(fault))));
                return;
            }
            Outcome::NoAnswer(why) => (why, true),
            Outcome::Bad(fault) => {
                if fault == AnswerFault::Revoked {
                    // The older answer would be a false statement now.
                    let _ = fs::remove_file(self.folder.join(key.file())); // It may not be there.
                    if entry.staple.take().is_some() {
                        events.push(entry.event(key, Stapled::Ended));
                    }
                }
                (fault.to_string(), false)
            }
        };
        let retry = (RETRY_MIN_S << entry.failures.min(10)).min(RETRY_MAX_S);
        entry.failures = entry.failures.saturating_add(1);
        entry.due = Some(now + retry);
        let retry_after = Duration::from_secs(retry);
        events.push(entry.event(
            key,
            Stapled::Failed {
                why,
                retry: retry_after,
            },
        ));
        if dead {
            let others = table.entries.values_mut();
            let same = others.filter(|other| other.target.url == target.url);
            for other in same {
                other.due = other.due.map(|due| due.max(now + retry));
            }
        }
    }

    /// The answer in the state folder, when it is good.
    fn read(&self, key: &CertificateKey, target: &Target, now: u64) -> Option<Staple> {
        let path = self.folder.join(key.file());
        let answer = kept::read(&path, fetch::ANSWER_BYTES_MAX as u64).ok()?;
        let validity = target.judge(&answer, now).ok()?;
        Some(Staple {
            answer: Arc::new(answer),
            validity,
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn event(&self, key: CertificateKey, what: Stapled) -> StapleEvent {
        StapleEvent {
            key,
            source: self.source.clone(),
            what,
        }
    }
}

/// The middle of an answer's validity.
fn half(validity: Validity) -> u64 {
    validity.from + validity.until.saturating_sub(validity.from) / 2
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Deletes answers that nobody wants any more.
fn tidy(folder: &Path, now: u64) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.take(ENTRIES_MAX).flatten() {
        let path = entry.path();
        let written = entry.metadata().and_then(|meta| meta.modified());
        let old = written.is_ok_and(|time| seconds(time) + FORGOTTEN.as_secs() < now);
        if old
            && path
                .extension()
                .is_some_and(|extension| extension == "ocsp")
        {
            let _ = fs::remove_file(path); // It is in nobody's way.
        }
    }
}

#[cfg(test)]
mod tests;
