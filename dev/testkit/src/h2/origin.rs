//! Servers of HTTP/2 behind the proxy, with prior knowledge or over TLS with ALPN.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::connection::Role;
use super::frame::PREFACE;
use super::{Connection, Event, H2Reply, H2Seen, serve};
use crate::client::{End, Wire};
use crate::origin::{Origin, Stage};
use crate::tls::TlsServer;

/// How long an origin waits for bytes; idle connections of a pool last longer than a test.
pub(super) const READ_DEADLINE: Duration = Duration::from_secs(300);

/// What an origin is to be like; the last call starts it. It is an [`Origin`] as others are: it can be stopped and
/// started again, counts, and fails the test on drop when what came was not well-formed.
#[derive(Debug, Clone, Default)]
pub struct H2Origin {
    name: String,
    settings: Vec<(u16, u32)>,
    tls: Option<TlsServer>,
    address: Option<SocketAddr>,
}

impl H2Origin {
    /// With prior knowledge and default SETTINGS.
    pub fn new(name: &str) -> H2Origin {
        H2Origin {
            name: name.to_owned(),
            ..H2Origin::default()
        }
    }

    /// Sends these SETTINGS first.
    pub fn settings(self, settings: &[(u16, u32)]) -> H2Origin {
        H2Origin {
            settings: settings.to_vec(),
            ..self
        }
    }

    /// Over TLS. Its ALPN has to choose `h2`.
    pub fn tls(self, server: &TlsServer) -> H2Origin {
        H2Origin {
            tls: Some(server.clone()),
            ..self
        }
    }

    /// On an address of the caller's, instead of a port of the system.
    pub fn at(self, address: SocketAddr) -> H2Origin {
        H2Origin {
            address: Some(address),
            ..self
        }
    }

    /// Answers as [`H2Reply::standard`] does.
    pub fn echo(self) -> Origin {
        let name = self.name.clone();
        self.answering(move |seen| H2Reply::standard(&name, seen))
    }

    /// Answers each whole request as the closure says.
    pub fn answering(self, answer: impl Fn(&H2Seen) -> H2Reply + Send + Sync + 'static) -> Origin {
        let all = AtomicUsize::new(0);
        self.scripted(move |stage| serve::serve(stage, &all, &answer))
    }

    /// Does with each connection what the closure does; it begins after both sides' prefaces.
    pub fn scripted(self, script: impl Fn(&mut H2Stage<'_>) + Send + Sync + 'static) -> Origin {
        let H2Origin {
            name,
            settings,
            tls,
            address,
        } = self;
        let handler = move |stage: &mut Stage| {
            if let Some(server) = &tls
                && !stage.start_tls(server)
            {
                return;
            }
            let Some(mut own) = H2Stage::begin(stage, &settings) else {
                return;
            };
            script(&mut own);
            own.report();
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Origin::with_handler_at(address.unwrap_or(any), &name, Arc::new(handler))
    }
}

/// A connection at an HTTP/2 origin in the hands of a script.
pub struct H2Stage<'a> {
    stage: &'a mut Stage,
    /// Frames in and out.
    pub connection: Connection,
}

impl<'a> H2Stage<'a> {
    fn begin(stage: &'a mut Stage, settings: &[(u16, u32)]) -> Option<H2Stage<'a>> {
        let mut wire = Wire::over_link(stage.take_link()?);
        let preface = match wire.try_bytes(PREFACE.len(), READ_DEADLINE) {
            Ok(bytes) => bytes,
            Err(_) if wire.unread().is_empty() => return None, // a connection that was never used
            Err(_) => wire.unread().to_vec(),
        };
        if preface != PREFACE {
            let text = String::from_utf8_lossy(&preface).into_owned();
            stage.fault(&format!("no preface of HTTP/2 but {text:?}"));
            return None;
        }
        let mut connection = Connection::new(wire, Role::Server);
        connection.settings(settings);
        Some(H2Stage { stage, connection })
    }

    /// Position of this connection at this origin, from 0.
    pub fn number(&self) -> usize {
        self.stage.number()
    }

    /// Counts a request, so that [`Origin::requests`] tells of it. Scripts that read events themselves call this.
    pub fn count_request(&mut self) -> usize {
        self.stage.count_request();
        self.stage.requests()
    }

    /// What comes next.
    pub fn event(&mut self) -> Event {
        self.connection.event(READ_DEADLINE)
    }

    /// The next head of a request, whatever comes before it; `None` when the connection ends.
    pub fn request_head(&mut self) -> Option<H2Seen> {
        loop {
            match self.event() {
                Event::Head { stream, fields, .. } => {
                    let nth = self.count_request();
                    return Some(H2Seen {
                        fields,
                        stream,
                        nth,
                        connection: self.number(),
                        ..H2Seen::default()
                    });
                }
                Event::End(_) => return None,
                _ => {}
            }
        }
    }

    /// Reads and forgets all until the connection ends.
    pub fn until_end(&mut self) -> End {
        loop {
            if let Event::End(end) = self.event() {
                return end;
            }
        }
    }

    /// Waits for the reset of a stream: its code, or `None` when the connection ended.
    pub fn await_reset(&mut self, of: u32) -> Option<u32> {
        loop {
            match self.event() {
                Event::Reset { stream, code } if stream == of => return Some(code),
                Event::End(_) => return None,
                _ => {}
            }
        }
    }

    /// Reports a breach of the protocol, which fails the test.
    pub fn fault(&self, what: &str) {
        self.stage.fault(what);
    }

    fn report(&mut self) {
        for fault in self.connection.take_faults() {
            self.stage.fault(&fault);
        }
    }

    pub(super) fn next_of_all(all: &AtomicUsize) -> usize {
        all.fetch_add(1, Ordering::AcqRel) + 1
    }
}
