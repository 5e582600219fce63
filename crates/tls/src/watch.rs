//! The sources of a listener's certificates: loaded at the start, looked at again about once a second.
//!
//! A file counts as changed when its time, size or inode did. What cannot be used is told once for
//! each change, and what was there before stays.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;

use crate::certificate::{Certificate, CertificateFault, Files, unix};
use crate::event::{CertificateInfo, Event};
use crate::fault::{Notice, Setting, SettingsFault};
use crate::settings::CertificateSource;

/// Certificates that one directory may hold.
const DIRECTORY_MAX: usize = 10_000;

/// From how many days before the end on a certificate is told to be expiring.
const EXPIRING_DAYS: i64 = 21;

const DAY: i64 = 24 * 60 * 60;

/// What tells a changed file from an unchanged one; none when it cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(Option<(SystemTime, u64, u64)>);

impl Stamp {
    /// Of a file that is not there.
    pub(crate) const NONE: Stamp = Stamp(None);

    /// Follows links, so that a link to another file is a change.
    pub(crate) fn of(path: &Path) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        Stamp(fs::metadata(path).ok().map(|meta| {
            let time = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            (time, meta.len(), meta.ino())
        }))
    }
}

/// A certificate in use, with the files that it came from.
#[derive(Debug)]
struct Tracked {
    files: Files,
    stamps: [Stamp; 2],
    /// None for a file of a directory that could never be used.
    certificate: Option<Arc<Certificate>>,
    reminder: Reminder,
}

/// Says once a day that a certificate ends.
#[derive(Debug, Default)]
pub(crate) struct Reminder {
    told_on: Option<i64>,
}

impl Reminder {
    /// The event for today, if there is one.
    pub(crate) fn look(&mut self, source: &str, one: &Certificate, now: i64) -> Option<Event> {
        let today = now.div_euclid(DAY);
        let left = one.not_after - now;
        if left > EXPIRING_DAYS * DAY || self.told_on == Some(today) {
            return None;
        }
        self.told_on = Some(today);
        let (source, names) = (source.to_owned(), one.names.clone());
        Some(if left <= 0 {
            Event::Expired { source, names }
        } else {
            let days = u32::try_from(left / DAY).unwrap_or(0);
            Event::Expiring {
                source,
                names,
                days,
            }
        })
    }
}

impl Tracked {
    fn new(files: Files, certificate: Option<Arc<Certificate>>, stamps: [Stamp; 2]) -> Tracked {
        Tracked {
            files,
            stamps,
            certificate,
            reminder: Reminder::default(),
        }
    }

    fn source(&self) -> String {
        self.files.cert.display().to_string()
    }
}

fn stamps(files: &Files) -> [Stamp; 2] {
    [Stamp::of(&files.cert), Stamp::of(files.key())]
}

/// One source with its certificates, in the order of their files.
#[derive(Debug)]
struct Source {
    source: CertificateSource,
    tracked: Vec<Tracked>,
    /// Whether the last look at a directory failed; told once.
    unreadable: bool,
}

/// All sources of a listener.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    sources: Vec<Source>,
}

impl Watch {
    /// Loads all sources, and says of each what is wrong with it.
    pub(crate) fn load(
        sources: &[CertificateSource],
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Result<(Watch, Vec<Notice>), Vec<SettingsFault>> {
        let (mut watch, mut notices, mut faults) = (Watch::default(), Vec::new(), Vec::new());
        for (at, source) in sources.iter().enumerate() {
            let setting = Setting::Certificate(at);
            let found = match files_of(source) {
                Ok(found) => found,
                Err(fault) => {
                    faults.push(fault.at(setting));
                    continue;
                }
            };
            let mut tracked = Vec::with_capacity(found.len());
            for files in found {
                let stamps = stamps(&files);
                match Certificate::load(&files, provider) {
                    Ok(one) => {
                        notices.extend(look(&files, &one, setting, unix(now)));
                        tracked.push(Tracked::new(files, Some(Arc::new(one)), stamps));
                    }
                    Err(fault) if is_stray(source, &files) => {
                        notices.push(Notice {
                            setting,
                            warning: false,
                            what: format!("{}: passed over", fault.what),
                        });
                        tracked.push(Tracked::new(files, None, stamps));
                    }
                    Err(fault) => faults.push(fault.at(setting)),
                }
            }
            watch.sources.push(Source {
                source: source.clone(),
                tracked,
                unreadable: false,
            });
        }
        if faults.is_empty() {
            Ok((watch, notices))
        } else {
            Err(faults)
        }
    }

    /// The certificates in use, in the order of the settings.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = (String, &Arc<Certificate>)> {
        self.sources
            .iter()
            .flat_map(|source| &source.tracked)
            .filter_map(|one| Some((one.source(), one.certificate.as_ref()?)))
    }

    /// What is in use, for status pages.
    pub(crate) fn infos(&self) -> Vec<CertificateInfo> {
        self.certificates()
            .map(|(source, one)| info(source, one))
            .collect()
    }

    /// Looks at all files. Says whether certificates in use changed.
    pub(crate) fn refresh(
        &mut self,
        provider: &CryptoProvider,
        now: SystemTime,
        events: &mut Vec<Event>,
    ) -> bool {
        let mut changed = false;
        for source in &mut self.sources {
            if matches!(source.source, CertificateSource::Directory(_)) {
                changed |= source.list(events);
            }
            // What was loaded stays as it is; one event says why.
            if source.unreadable {
                continue;
            }
            for one in &mut source.tracked {
                changed |= one.refresh(&source.source, provider, events);
                let name = one.source();
                if let Some(certificate) = &one.certificate {
                    events.extend(one.reminder.look(&name, certificate, unix(now)));
                }
            }
        }
        changed
    }
}

impl Source {
    /// Follows files that came to a directory or went from it.
    fn list(&mut self, events: &mut Vec<Event>) -> bool {
        let found = match files_of(&self.source) {
            Ok(found) => found,
            Err(fault) => {
                // Once, until it can be read again. What was loaded stays.
                if !std::mem::replace(&mut self.unreadable, true) {
                    events.push(refused(&self.source.path().display().to_string(), fault));
                }
                return false;
            }
        };
        self.unreadable = false;
        let mut old: BTreeMap<Files, Tracked> = std::mem::take(&mut self.tracked)
            .into_iter()
            .map(|one| (one.files.clone(), one))
            .collect();
        for files in found {
            let fresh = || Tracked::new(files.clone(), None, [Stamp::NONE; 2]);
            let known = old.remove(&files).unwrap_or_else(fresh);
            self.tracked.push(known);
        }
        let mut changed = false;
        for gone in old.into_values().filter(|one| one.certificate.is_some()) {
            changed = true;
            events.push(Event::Removed {
                source: gone.source(),
            });
        }
        changed
    }
}

impl Tracked {
    /// Reads the files again when they changed. Says whether another certificate is in use now.
    fn refresh(
        &mut self,
        source: &CertificateSource,
        provider: &CryptoProvider,
        events: &mut Vec<Event>,
    ) -> bool {
        let stamps = stamps(&self.files);
        if stamps == self.stamps {
            return false;
        }
        // Before the files are read: what is written while we read is another change.
        self.stamps = stamps;
        match Certificate::load(&self.files, provider) {
            Ok(one) => {
                let same = self
                    .certificate
                    .as_ref()
                    .is_some_and(|old| old.key.cert == one.key.cert);
                if !same {
                    events.push(Event::Taken {
                        source: self.source(),
                        names: one.names.clone(),
                        not_after: one.not_after,
                    });
                    self.reminder = Reminder::default();
                }
                self.certificate = Some(Arc::new(one));
                true
            }
            Err(_) if self.certificate.is_none() && is_stray(source, &self.files) => false,
            Err(fault) => {
                events.push(refused(&self.source(), fault));
                false
            }
        }
    }
}

impl CertificateSource {
    fn path(&self) -> &Path {
        match self {
            CertificateSource::Pair { cert, .. } => cert,
            CertificateSource::Bundle(path) | CertificateSource::Directory(path) => path,
        }
    }
}

pub(crate) fn info(source: String, one: &Certificate) -> CertificateInfo {
    CertificateInfo {
        names: one.names.clone(),
        not_after: one.not_after,
        fingerprint: one.fingerprint.clone(),
        source,
    }
}

fn refused(source: &str, fault: CertificateFault) -> Event {
    Event::Refused {
        source: source.to_owned(),
        what: fault.what,
        mend: fault.mend,
    }
}

/// What to tell of a certificate that was loaded.
fn look(files: &Files, one: &Certificate, setting: Setting, now: i64) -> Vec<Notice> {
    let path = files.cert.display();
    let mut texts = one.remarks.clone();
    if now >= one.not_after {
        texts.push(format!(
            "the certificate in {path} has ended, clients refuse it: renew it now"
        ));
    }
    if now < one.not_before {
        texts.push(format!(
            "the certificate in {path} is not valid yet: see that the clock of this machine is right, and wait, or use the one before it"
        ));
    }
    if one.names.is_empty() {
        texts.push(format!(
            "the certificate in {path} has no name: clients that check names refuse it"
        ));
    }
    let notice = |what| Notice {
        setting,
        warning: true,
        what,
    };
    texts.into_iter().map(notice).collect()
}

/// Whether a file of a directory is something else than a certificate with its key, as a bundle of
/// root certificates is. Such files may lie there.
fn is_stray(source: &CertificateSource, files: &Files) -> bool {
    let has_key = |text: Vec<u8>| {
        let words: &[u8] = b"PRIVATE KEY-----";
        text.windows(words.len()).any(|part| part == words)
    };
    matches!(source, CertificateSource::Directory(_))
        && files.key.is_none()
        && crate::certificate::read(&files.cert).is_ok_and(|text| !has_key(text))
}

/// The files of a source; those of a directory sorted by name.
fn files_of(source: &CertificateSource) -> Result<Vec<Files>, CertificateFault> {
    match source {
        CertificateSource::Pair { cert, key } => Ok(vec![Files {
            cert: cert.clone(),
            key: Some(key.clone()),
        }]),
        CertificateSource::Bundle(path) => Ok(vec![Files {
            cert: path.clone(),
            key: None,
        }]),
        CertificateSource::Directory(path) => list(path),
    }
}

fn list(folder: &Path) -> Result<Vec<Files>, CertificateFault> {
    let unreadable = |error: std::io::Error| CertificateFault {
        what: format!("cannot read the folder {}: {error}", folder.display()),
        mend: "check the path, and let the user that runs evenkeel read it".to_owned(),
    };
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    paths.sort_unstable();
    let mut found = Vec::new();
    for cert in paths {
        let extension = cert.extension().and_then(|text| text.to_str());
        let bundle = match extension {
            Some("pem") => true,
            Some("crt" | "cer") => false,
            _ => continue,
        };
        let key = Some(cert.with_extension("key")).filter(|key| key.exists());
        if bundle || key.is_some() {
            found.push(Files { cert, key });
        }
    }
    if found.is_empty() || found.len() > DIRECTORY_MAX {
        return Err(CertificateFault {
            what: format!(
                "the folder {} holds {} certificates with their keys, which is not between 1 and {DIRECTORY_MAX}",
                folder.display(),
                found.len()
            ),
            mend: "put each chain into NAME.crt with its key in NAME.key, or both into NAME.pem"
                .to_owned(),
        });
    }
    Ok(found)
}
