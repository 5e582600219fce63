//! How clients resume sessions with a listener: by tickets, by sessions kept here, or not at all.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::event::Event;
use crate::fault::{Notice, SettingsFault};
use crate::sessions::Sessions;
use crate::settings::{SessionSettings, TicketSettings};
use crate::tickets::{TicketEvent, Tickets};

/// What a listener has for resumption.
#[derive(Debug, Default)]
pub(crate) struct Resumption {
    pub tickets: Option<Arc<Tickets>>,
    pub sessions: Option<Arc<Sessions>>,
    /// Of the tickets, for events.
    source: String,
}

impl Resumption {
    /// Reads or makes the keys. `scope` keeps sessions apart that must not be mixed.
    pub(crate) fn new(
        tickets: Option<&TicketSettings>,
        sessions: Option<SessionSettings>,
        state_folder: &Path,
        scope: &[u8],
        now: SystemTime,
    ) -> Result<(Resumption, Vec<Notice>), SettingsFault> {
        let mut resumption = Resumption {
            sessions: sessions.map(|settings| Arc::new(Sessions::new(settings, now))),
            ..Resumption::default()
        };
        let mut notices = Vec::new();
        if let Some(settings) = tickets {
            let (tickets, found) = Tickets::new(settings, state_folder, scope, now)?;
            notices = found;
            resumption.tickets = Some(Arc::new(tickets));
            resumption.source = match &settings.key_file {
                Some(path) => path.display().to_string(),
                None => "own keys".to_owned(),
            };
        }
        Ok((resumption, notices))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.tickets.is_some() || self.sessions.is_some()
    }

    /// Rotates keys and forgets old sessions.
    pub(crate) fn refresh(&self, now: SystemTime, events: &mut Vec<Event>) {
        if let Some(sessions) = &self.sessions {
            sessions.refresh(now);
        }
        let source = || self.source.clone();
        for event in self.tickets.iter().flat_map(|keys| keys.refresh(now)) {
            events.push(match event {
                TicketEvent::Taken { .. } | TicketEvent::Rotated => {
                    Event::TicketKeysTaken { source: source() }
                }
                TicketEvent::Refused(fault) => Event::Refused {
                    source: source(),
                    what: fault.what,
                    mend: fault.mend,
                },
                TicketEvent::NotKept(what) => Event::Refused {
                    source: source(),
                    what,
                    mend: "let the user that runs evenkeel write the state folder".to_owned(),
                },
            });
        }
    }
}
