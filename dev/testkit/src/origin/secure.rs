//! Origins behind TLS.

use std::sync::Arc;

use super::engine::Handler;
use super::{Origin, Reply, Seen, Stage};
use crate::tls::TlsServer;

impl TlsServer {
    /// [`Origin::named`] over TLS.
    pub fn named(&self, name: &str) -> Origin {
        let own = name.to_owned();
        let handler = move |stage: &mut Stage| super::standard::serve_named(stage, &own);
        self.before(name, Arc::new(handler))
    }

    /// [`Origin::answering`] over TLS.
    pub fn answering(&self, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Origin {
        let handler = move |stage: &mut Stage| super::standard::serve(stage, "", &answer);
        self.before("answering", Arc::new(handler))
    }

    /// [`Origin::scripted`] over TLS; the script begins after the handshake.
    pub fn scripted(&self, script: impl Fn(&mut Stage) + Send + Sync + 'static) -> Origin {
        self.before("scripted", Arc::new(script))
    }

    fn before(&self, name: &str, handler: Handler) -> Origin {
        let own = self.clone();
        let handler = move |stage: &mut Stage| {
            if stage.start_tls(&own) {
                handler(stage);
            }
        };
        Origin::with_handler(name, Arc::new(handler))
    }
}
