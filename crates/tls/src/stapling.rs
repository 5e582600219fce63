//! OCSP answers for the certificates of a listener: which are wanted, and what became of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;

use crate::certificate::Certificate;
use crate::event::Event;
use crate::ocsp::{CertificateToStaple, StapleEvent, Stapled, Staples};
use crate::store::Entry;

/// A certificate with its file.
pub(crate) type Named = (String, Arc<Certificate>);

/// Stapling of one listener; does nothing when it is off.
#[derive(Debug)]
pub(crate) struct Stapling(Option<Staples>);

impl Stapling {
    /// Answers are kept in `folder`.
    pub(crate) fn new(on: bool, folder: PathBuf) -> Stapling {
        Stapling(on.then(|| Staples::new(folder)))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Takes the answers that are kept already; asks nobody.
    pub(crate) fn load(&self, named: &[Named], now: SystemTime) {
        if let Some(staples) = &self.0 {
            // What is wrong will be told by the first refresh that asks a responder.
            staples.load(now, &wanted(named));
        }
    }

    /// Asks for one answer that is due. Says whether other answers are to be stapled now. Blocks.
    pub(crate) fn refresh(
        &self,
        named: &[Named],
        now: SystemTime,
        events: &mut Vec<Event>,
    ) -> bool {
        let Some(staples) = &self.0 else {
            return false;
        };
        let found = staples.refresh(now, &wanted(named));
        let changed = found
            .iter()
            .any(|event| matches!(event.what, Stapled::Taken { .. } | Stapled::Ended));
        events.extend(found.into_iter().map(told));
        changed
    }

    /// The certificate as handshakes use it: with its answer, if there is one.
    pub(crate) fn entry(&self, certificate: &Arc<Certificate>) -> Entry {
        let own = || certificate.key.clone();
        let staple = self
            .0
            .as_ref()
            .and_then(|all| all.staple_for(&certificate.staple));
        Entry {
            certificate: certificate.clone(),
            key: staple.map_or_else(own, |answer| {
                let mut key: CertifiedKey = (*certificate.key).clone();
                key.ocsp = Some(answer.to_vec());
                Arc::new(key)
            }),
        }
    }
}

fn wanted(named: &[Named]) -> Vec<CertificateToStaple<'_>> {
    named
        .iter()
        .map(|(source, certificate)| CertificateToStaple {
            key: certificate.staple,
            source,
            chain: &certificate.key.cert,
        })
        .collect()
}

fn told(event: StapleEvent) -> Event {
    let source = event.source;
    let what = match event.what {
        Stapled::Taken { .. } => return Event::StapleTaken { source },
        Stapled::Ended => "the one in use has ended, nothing is stapled any more".to_owned(),
        Stapled::Failed { why, retry } => {
            format!("{why}; tried again in {} s", retry.as_secs())
        }
        Stapled::Unable(why) | Stapled::NotKept(why) => why,
        Stapled::MustStaple => {
            "the certificate must come with one, and clients that know this refuse it without"
                .to_owned()
        }
    };
    Event::StapleFailed { source, what }
}
