//! A proxy with TLS, and an authority that its clients trust, for the tests of TLS and HTTP/2.

use std::net::SocketAddr;

use keel_testkit::proxy::simple;
use keel_testkit::scratch::Scratch;
use keel_testkit::tls::Leaf;
use keel_testkit::{Ca, H2Wire, Proxy, TlsClient, Wire};

/// Names of the certificate that a site shows first.
pub const NAMES: [&str; 3] = ["localhost", "test.example", "127.0.0.1"];

/// What a site shows when nothing else is said.
pub const OWN: &str = "certificates: [ { cert: \"@DIR@/site.pem\", key: \"@DIR@/site.key\" } ]";

/// A proxy whose listener `web` speaks TLS.
pub struct Site {
    /// Who signs the certificates of this site.
    pub ca: Ca,
    /// The certificate in `site.pem`.
    pub leaf: Leaf,
    /// The proxy.
    pub proxy: Proxy,
}

impl Site {
    /// With the keys of TLS, such as [`OWN`].
    #[track_caller]
    pub fn before(servers: &[SocketAddr], tls: &str) -> Site {
        Site::with(servers, "", tls, "")
    }

    /// With keys of the pool, of TLS, and more of the file.
    #[track_caller]
    pub fn with(servers: &[SocketAddr], pool: &str, tls: &str, more: &str) -> Site {
        Site::prepared(servers, pool, tls, more, |_, _| {})
    }

    /// As [`Site::with`], with more files in the folder of the configuration.
    #[track_caller]
    pub fn prepared(
        servers: &[SocketAddr],
        pool: &str,
        tls: &str,
        more: &str,
        files: impl FnOnce(&Ca, &Scratch),
    ) -> Site {
        let ca = Ca::new("an authority of tests");
        let scratch = Scratch::new();
        let leaf = ca.leaf(&NAMES);
        leaf.write(&scratch, "site");
        scratch.write("ca.pem", ca.pem());
        files(&ca, &scratch);
        let proxy = Proxy::start_in(scratch, &config(servers, pool, tls, more), &[]);
        Site { ca, leaf, proxy }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// A client that trusts it.
    pub fn client(&self) -> TlsClient {
        TlsClient::new(&self.ca)
    }

    /// A connection for HTTP/1.
    #[track_caller]
    pub fn wire(&self) -> Wire {
        self.client().connect(self.address())
    }

    /// A connection for HTTP/2.
    #[track_caller]
    pub fn h2(&self) -> H2Wire {
        H2Wire::tls(&self.client(), self.address())
    }
}

/// A file with one listener that speaks TLS; `bind` is a port of the system.
pub fn config(servers: &[SocketAddr], pool: &str, tls: &str, more: &str) -> String {
    let listeners = format!("listeners: {{ web: {{ bind: \"127.0.0.1:0\", tls: {{ {tls} }} }} }}");
    simple(
        servers,
        pool,
        &format!("{listeners}\nstate: \"@DIR@/state\"\n{more}"),
    )
}
