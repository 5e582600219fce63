//! Keys of TLS towards clients.

use super::kind::{KIB, MIB};
use super::*;
use crate::model::{TlsVersion, UnknownName, VerifyClient};
use crate::words::Word;

const FILE_KIND: Kind = Kind::Text(&forms::TLS_FILE);
/// RFC 8446 section 4.6.1: no ticket is used for longer.
const TICKET_TIME: Kind = Kind::Duration {
    min_ms: 60_000,
    max_ms: 7 * 86_400_000,
};
/// RFC 5246 section F.1.4: a session should not live for longer than a day.
const SESSION_TIME: Kind = Kind::Duration {
    min_ms: 1000,
    max_ms: 86_400_000,
};
const SESSION_SIZE: Kind = Kind::Size {
    min: 64 * KIB,
    max: 4096 * MIB,
};
const MAX_AGE: Kind = Kind::Duration {
    min_ms: 0,
    max_ms: 3650 * 86_400_000,
};

/// HSTS without a map.
static HSTS_WORDS: Words = &[
    ("off", "browsers are told nothing"),
    ("true", "a year, for this host alone"),
];

pub(crate) static TLS_CERTIFICATES: Key = Key::new(
    "certificates",
    Kind::OneOrMany {
        item: &Kind::Shape {
            scalar: Some(&FILE_KIND),
            list: None,
            map: Some(&Kind::Section(&CERTIFICATE)),
        },
        min: 1,
    },
)
.absent("`self_signed` is given", "")
.about(
    "Certificates with their keys. The one that has the name which a client asks for (SNI) is shown, an exact name before a `*.` one; the first is that of \
     clients that ask for none. A name may have several, ECDSA and RSA. A text alone is short for `{ bundle: … }`. Files are looked at every second: a new pair that fits is taken without a reload, one that is broken is refused and the old one stays.",
)
.with(&[("self_signed", "")])
.example("[ { cert: site.pem, key: site.key }, { directory: certs } ]");
pub(crate) static TLS_SELF_SIGNED: Key = Key::new(
    "self_signed",
    Kind::Shape { scalar: Some(&Kind::Bool), list: None, map: Some(&Kind::Section(&SELF_SIGNED)) },
)
.absent("`false`", "clients do not trust such a certificate")
.about(
    "For a first try: a certificate for `localhost`, or for the names given, signed by a CA of this machine. The CA is made at the first start and kept in the `state` folder; \
     the command that makes this machine trust it is printed. Not together with `certificates`.",
)
.example("{ names: [localhost, dev.internal] }");
pub(crate) static TLS_UNKNOWN_NAME: Key = Key::new("unknown_name", Kind::Words(UnknownName::WORDS))
    .default(
        "default",
        "old clients, checks and tools that name no known host still get an answer",
    )
    .about("What a client gets that asks for a name which no certificate has.")
    .example("refuse");
pub(crate) static TLS_MIN_VERSION: Key = Key::new("min_version", Kind::Words(TlsVersion::WORDS))
    .default(
        "1.2",
        "clients of the last ten years speak it; 1.0 and 1.1 are broken and are not there",
    )
    .about("Oldest version of TLS that is spoken.")
    .example("1.3");
pub(crate) static TLS_MAX_VERSION: Key = Key::new("max_version", Kind::Words(TlsVersion::WORDS))
    .default("1.3", "the newest is the fastest and the safest")
    .about("Newest version of TLS that is spoken.")
    .example("1.2");
pub(crate) static TLS_CIPHER_SUITES: Key = Key::new(
    "cipher_suites",
    Kind::OneOrMany { item: &Kind::Text(&forms::CIPHER_SUITE), min: 1 },
)
.absent("all that are there", "each of them has forward secrecy and authenticated encryption")
.about("Cipher suites by their standard (IANA) names, of TLS 1.3 and 1.2 in one list, the preferred first. Each version that is spoken needs one. To a client that puts ChaCha20 first it is given first.")
.with(&[("min_version", "\"1.3\"")])
.example("[TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256]");
pub(crate) static TLS_GROUPS: Key = Key::new(
    "groups",
    Kind::OneOrMany { item: &Kind::Text(&forms::GROUP), min: 1 },
)
.absent(
    "X25519MLKEM768, X25519, secp256r1, secp384r1",
    "what is recorded today stays secret from a quantum computer of tomorrow, where the client can do it too",
)
.about("Groups of the key exchange, the preferred first.")
.example("[X25519, secp256r1]");
pub(crate) static TLS_TICKETS: Key = Key::new(
    "tickets",
    Kind::Shape { scalar: Some(&Kind::Words(OFF)), list: None, map: Some(&Kind::Section(&TICKETS)) },
)
.absent("on, with the defaults of its keys", "a client that comes back spares a round trip and us a signature")
.about("Session tickets: what is needed to resume a session is kept by the client, encrypted with a key of ours.")
.example("off");
pub(crate) static TLS_SESSIONS: Key = Key::new(
    "sessions",
    Kind::Shape { scalar: Some(&Kind::Words(OFF)), list: None, map: Some(&Kind::Section(&SESSIONS)) },
)
.absent("on, with the defaults of its keys", "clients that take no tickets resume by id")
.about("The store of sessions that clients resume by their id (TLS 1.2). It is shared by all workers and lost at a restart.")
.example("off");
pub(crate) static TLS_OCSP: Key = Key::new("ocsp", Kind::Bool)
    .default("true", "browsers need not ask the CA who you are and that they visit you")
    .about("Whether the CA's word that a certificate is not revoked (OCSP) is fetched and sent along. A responder that is down delays nothing. A certificate whose CA has no responder is served without.")
    .example("false");
pub(crate) static TLS_CLIENT: Key = Key::new("client", Kind::Section(&CLIENT_CERTIFICATES))
    .absent(
        "clients are not asked for a certificate",
        "browsers have none",
    )
    .about("Certificates of clients (mutual TLS).")
    .example("{ ca: clients.pem }");
pub(crate) static TLS_HSTS: Key = Key::new(
    "hsts",
    Kind::Shape { scalar: Some(&Kind::Words(HSTS_WORDS)), list: None, map: Some(&Kind::Section(&HSTS)) },
)
.default("off", "a browser keeps it for as long as it was told, so plain HTTP cannot come back: it is for you to decide")
.about("Strict-Transport-Security: tells browsers to come by https only, to `max_age` from their last visit (RFC 6797). It takes the place of what a backend sends; an edit of this name under `headers` takes the place of it.")
.example("{ max_age: 30d }");
pub(crate) static TLS_HANDSHAKES: Key = Key::new("handshakes", Kind::Section(&HANDSHAKES))
    .absent("the defaults of its keys", "")
    .about("Limits of handshakes. How long one may take is `timeouts.handshake`.")
    .example("{ concurrent: 1000 }");

const LISTENER_SAMPLE: &str = "{ listeners: { web: { bind: \":443\", tls: { @ } } } }";

pub(crate) static LISTENER_TLS: Table = Table {
    id: "listener_tls",
    title: "TLS of a listener",
    places: "listeners.NAME.tls",
    about: "TLS towards clients. Exactly one of `certificates` and `self_signed` is needed.",
    keys: &[
        &TLS_CERTIFICATES,
        &TLS_SELF_SIGNED,
        &TLS_UNKNOWN_NAME,
        &TLS_MIN_VERSION,
        &TLS_MAX_VERSION,
        &TLS_CIPHER_SUITES,
        &TLS_GROUPS,
        &TLS_TICKETS,
        &TLS_SESSIONS,
        &TLS_OCSP,
        &TLS_CLIENT,
        &TLS_HSTS,
        &TLS_HANDSHAKES,
    ],
    one_of: &[],
    sample: LISTENER_SAMPLE,
    base: &[("self_signed", "true")],
};

pub(crate) static CERTIFICATE_CERT: Key = Key::new("cert", FILE_KIND)
    .absent("another is given", "")
    .about("File with the certificate and then its chain, in PEM.")
    .with(&[("key", "other.key")])
    .example("other.pem");
pub(crate) static CERTIFICATE_KEY: Key = Key::new("key", FILE_KIND)
    .absent("`cert` is not given", "")
    .about("File with the key of `cert`, in PEM, without a passphrase. It should be readable for nobody else.")
    .example("other.key");
pub(crate) static CERTIFICATE_BUNDLE: Key = Key::new("bundle", FILE_KIND)
    .absent("another is given", "")
    .about("File with certificate, chain and key, in PEM, as HAProxy has them.")
    .with(&[("cert", ""), ("key", "")])
    .example("site.pem");
pub(crate) static CERTIFICATE_DIRECTORY: Key = Key::new("directory", FILE_KIND)
    .absent("another is given", "")
    .about("Folder with pairs (`NAME.crt`, `NAME.cer` or `NAME.pem` with a `NAME.key` beside it) and bundles (every other `*.pem`). What is added there is taken, in the order of the names.")
    .with(&[("cert", ""), ("key", "")])
    .example("/etc/certs");

pub(crate) static CERTIFICATE: Table = Table {
    id: "certificate",
    title: "a certificate",
    places: "listeners.NAME.tls.certificates[]",
    about: "Where a certificate and its key are. A text alone is short for `{ bundle: … }`.",
    keys: &[
        &CERTIFICATE_CERT,
        &CERTIFICATE_KEY,
        &CERTIFICATE_BUNDLE,
        &CERTIFICATE_DIRECTORY,
    ],
    one_of: &["cert", "bundle", "directory"],
    sample: "{ listeners: { web: { bind: \":443\", tls: { certificates: [ { @ } ] } } } }",
    base: &[("cert", "site.pem"), ("key", "site.key")],
};

pub(crate) static SELF_SIGNED_NAMES: Key = Key::new(
    "names",
    Kind::OneOrMany {
        item: &Kind::Text(&forms::CERTIFICATE_NAME),
        min: 1,
    },
)
.default(
    "[localhost, 127.0.0.1, \"::1\"]",
    "what a browser on this machine is pointed at",
)
.about("Names and addresses of the certificate.")
.example("[dev.internal, \"*.dev.internal\", 10.0.0.5]");

pub(crate) static SELF_SIGNED: Table = Table {
    id: "self_signed",
    title: "a certificate of our own",
    places: "listeners.NAME.tls.self_signed",
    about: "A certificate that is signed by a CA of this machine. `true` is short for `{}`.",
    keys: &[&SELF_SIGNED_NAMES],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":443\", tls: { self_signed: { @ } } } } }",
    base: &[],
};

pub(crate) static TICKET_KEYS: Key = Key::new("keys", FILE_KIND)
    .absent("keys of our own, kept in the `state` folder", "one node needs no file, and sessions outlive a restart")
    .about(
        "File of keys, as nginx has them: 80 random bytes (`openssl rand 80 > tickets.key`), or 48, for each, or one of base64 on each line. The first encrypts, the others still decrypt. \
         Nodes that share it resume each other's sessions. Looked at every second; who can read it can read what was recorded.",
    )
    .example("tickets.key");
pub(crate) static TICKET_ROTATE: Key = Key::new("rotate", TICKET_TIME)
    .default(
        "12h",
        "a key that leaks opens half a day, and clients of the same day resume",
    )
    .about("How long a key encrypts tickets before a new one is made. With `keys` the file decides, and this has no effect.")
    .example("6h");
pub(crate) static TICKET_LIFETIME: Key = Key::new("lifetime", TICKET_TIME)
    .default("24h", "a client of yesterday resumes")
    .about("How long a ticket may be used; at most 7 days (RFC 8446 section 4.6.1), and without `keys` at most twice `rotate`.")
    .example("6h");

pub(crate) static TICKETS: Table = Table {
    id: "tickets",
    title: "session tickets",
    places: "listeners.NAME.tls.tickets",
    about: "Resumption that is kept by the client.",
    keys: &[&TICKET_KEYS, &TICKET_ROTATE, &TICKET_LIFETIME],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":443\", tls: { self_signed: true, tickets: { @ } } } } }",
    base: &[],
};

pub(crate) static SESSION_SIZE_KEY: Key = Key::new("size", SESSION_SIZE)
    .default("10MB", "room for some 40,000 sessions, as in nginx")
    .about("Memory of the store; when it is full the oldest sessions go.")
    .example("1MB");
pub(crate) static SESSION_TIMEOUT: Key = Key::new("timeout", SESSION_TIME)
    .default("10m", "covers one visit; what is not kept cannot leak")
    .about("How long a session may be resumed.")
    .example("1h");

pub(crate) static SESSIONS: Table = Table {
    id: "sessions",
    title: "the store of sessions",
    places: "listeners.NAME.tls.sessions",
    about: "Resumption by id (TLS 1.2).",
    keys: &[&SESSION_SIZE_KEY, &SESSION_TIMEOUT],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":443\", tls: { self_signed: true, sessions: { @ } } } } }",
    base: &[],
};

pub(crate) static CLIENT_CA: Key = Key::new("ca", FILE_KIND)
    .about("File with the certificates of the CAs that sign those of clients, in PEM.")
    .example("clients.pem");
pub(crate) static CLIENT_VERIFY: Key = Key::new("verify", Kind::Words(VerifyClient::WORDS))
    .default(
        "required",
        "who asks for certificates mostly means to let nobody else in",
    )
    .about("Whether a client must have one.")
    .example("optional");
pub(crate) static CLIENT_CRL: Key = Key::new("crl", FILE_KIND)
    .absent("none is revoked", "")
    .about("File with revocation lists of these CAs, in PEM. A certificate that is on one is refused. Looked at every second.")
    .example("revoked.pem");
pub(crate) static CLIENT_HEADERS_KEY: Key = Key::new("headers", Kind::Bool)
    .default(
        "true",
        "an application can only act on what it is told, and believes what it is sent",
    )
    .about(
        "Whether backends are told of the certificate: X-Client-Cert-Verify, X-Client-Cert-Subject, X-Client-Cert-Issuer, X-Client-Cert-Serial and X-Client-Cert-Fingerprint (SHA-256). \
         Fields of these names that come from a client are taken away, with a certificate or without.",
    )
    .example("false");

pub(crate) static CLIENT_CERTIFICATES: Table = Table {
    id: "client_certificates",
    title: "certificates of clients",
    places: "listeners.NAME.tls.client",
    about: "Mutual TLS: who may connect.",
    keys: &[&CLIENT_CA, &CLIENT_VERIFY, &CLIENT_CRL, &CLIENT_HEADERS_KEY],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":443\", tls: { self_signed: true, client: { @ } } } } }",
    base: &[("ca", "ca.pem")],
};

pub(crate) static HSTS_MAX_AGE: Key = Key::new("max_age", MAX_AGE)
    .default("365d", "what the browsers' own lists ask for")
    .about("How long a browser comes by https only, from its last visit. `0s` makes it forget.")
    .example("30d");
pub(crate) static HSTS_SUBDOMAINS: Key = Key::new("include_subdomains", Kind::Bool)
    .default("false", "a subdomain may still be without TLS")
    .about("Whether it holds for all subdomains too.")
    .example("true");
pub(crate) static HSTS_PRELOAD: Key = Key::new("preload", Kind::Bool)
    .default("false", "getting off the browsers' own list takes months")
    .about("Whether the browsers' makers may put the host on their own list. They ask for a `max_age` of a year and for `include_subdomains`.")
    .with(&[("include_subdomains", "true")])
    .example("true");

pub(crate) static HSTS: Table = Table {
    id: "hsts",
    title: "strict transport security",
    places: "listeners.NAME.tls.hsts",
    about: "Tells browsers to come by https only. `true` is short for `{}`.",
    keys: &[&HSTS_MAX_AGE, &HSTS_SUBDOMAINS, &HSTS_PRELOAD],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":443\", tls: { self_signed: true, hsts: { @ } } } } }",
    base: &[],
};

pub(crate) static HANDSHAKES_PER_CLIENT: Key = Key::new(
    "per_client",
    Kind::WordOr(OFF, &Kind::Text(&forms::RATE)),
)
.default("off", "a whole company or mobile network may come from one address")
.about("Handshakes that one address (one /64 of IPv6) may start; a connection beyond that is closed before it costs a signature.")
.example("100r/s");
pub(crate) static HANDSHAKES_CONCURRENT: Key = Key::new(
    "concurrent",
    Kind::Int { min: 1, max: 1_000_000 },
)
.default("4096", "a flood of half-open handshakes holds some 80 MiB at most, and none of the connections that are through")
.about("Handshakes of this listener that may be under way at a time, over all workers; a connection beyond that is closed.")
.example("1000");

pub(crate) static HANDSHAKES: Table = Table {
    id: "handshakes",
    title: "limits of handshakes",
    places: "listeners.NAME.tls.handshakes",
    about: "A handshake costs a signature: these limits keep a flood of them from starving connections that are through.",
    keys: &[&HANDSHAKES_PER_CLIENT, &HANDSHAKES_CONCURRENT],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":443\", tls: { self_signed: true, handshakes: { @ } } } } }",
    base: &[],
};
