//! Keys of operation: the admin API, our own /health, load shed, reload, users, names of servers.

use super::*;

pub(crate) static USER: Key = Key::new("user", Kind::Text(&forms::USER))
    .absent("the user who starts it", "")
    .about("User that the process becomes once its addresses are bound, so that it needs no rights while it serves. Only root can do so. Files of certificates, logs and the `state` folder must be open to this user.")
    .example("www-data");
pub(crate) static GROUP: Key = Key::new("group", Kind::Text(&forms::USER))
    .absent("the user's own group", "")
    .about("Group that the process becomes.")
    .with(&[("user", "www-data")])
    .example("www-data");
pub(crate) static RELOAD_KEY: Key = Key::new("reload", Kind::Section(&RELOAD))
    .absent("the defaults of its keys", "")
    .about("What makes the configuration be read anew, beside `evenkeel reload` and SIGHUP.")
    .example("{ watch: true }");
pub(crate) static RELOAD_WATCH: Key = Key::new("watch", Kind::Bool)
    .default("false", "a file that is being edited is not taken half-done")
    .about("Whether a change of the file, or of one that it includes, is a reload. A file with an error is refused, and what runs goes on.")
    .example("true");

pub(crate) static RELOAD: Table = Table {
    id: "reload",
    title: "reloads",
    places: "reload",
    about: "What makes the configuration be read anew.",
    keys: &[&RELOAD_WATCH],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, reload: { @ } }",
    base: &[],
};

pub(crate) static SECRET: Key = Key::new("secret", Kind::Text(&forms::SECRET))
    .absent("one that is made at the first start and kept in the `state` folder", "")
    .about("What the values of our own cookies are authenticated with. Nodes that share it understand each other's. At least 32 characters; best from `env:` or `file:`.")
    .example("0123456789abcdef0123456789abcdef");

pub(crate) static SHED_KEY: Key = Key::new("shed", Kind::Section(&SHED))
    .absent("no request is refused for load", "limits of pools and servers are closer to the cause")
    .about("When the process as a whole refuses requests, with 503 and Retry-After, before memory or latency suffers.")
    .example("{ requests: 10000 }");
pub(crate) static SHED_MEMORY: Key = Key::new(
    "memory",
    Kind::PercentOr { min: 1.0, max: 100.0, other: &Kind::Size { min: 16 * super::kind::MIB, max: 1024 * super::kind::TIB } },
)
.absent("no limit", "")
.about("Memory of the process beyond which new requests are refused: a share of what it may have (the limit of its cgroup, or the machine's memory), or a size.")
.example("90%");
pub(crate) static SHED_REQUESTS: Key = Key::new(
    "requests",
    Kind::Int {
        min: 1,
        max: u32::MAX as i64,
    },
)
.absent("no limit", "")
.about("Requests in flight, over all workers and pools, beyond which new ones are refused.")
.example("10000");

pub(crate) static SHED: Table = Table {
    id: "shed",
    title: "load shed",
    places: "shed",
    about: "When the process as a whole refuses requests.",
    keys: &[&SHED_MEMORY, &SHED_REQUESTS],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, shed: { @ } }",
    base: &[],
};

pub(crate) static RESOLVER_KEY: Key = Key::new("resolver", Kind::Section(&RESOLVER))
    .absent("the defaults of its keys", "")
    .about("How the names of servers are looked up.")
    .example("{ ttl_max: 1m }");
pub(crate) static RESOLVER_SERVERS: Key = Key::new(
    "servers",
    Kind::OneOrMany {
        item: &Kind::Text(&forms::DNS_SERVER),
        min: 0,
    },
)
.default("[]", "the system knows its own (`/etc/resolv.conf`)")
.about("DNS servers, asked in this order; the port is 53 unless it is written.")
.example("[\"10.0.0.2:53\"]");
pub(crate) static RESOLVER_TTL_MIN: Key = Key::new("ttl_min", Kind::TIMEOUT)
    .default("1s", "a name that says 0 is not asked for at each request")
    .about("A shorter time to live counts as this.")
    .example("5s");
pub(crate) static RESOLVER_TTL_MAX: Key = Key::new("ttl_max", Kind::TIMEOUT)
    .default("1h", "a slip in a zone is over within the hour")
    .about("A longer time to live counts as this.")
    .example("5m");
pub(crate) static RESOLVER_TIMEOUT: Key = Key::new("timeout", Kind::TIMEOUT)
    .default("5s", "as everywhere")
    .about("How long a look-up may take in all. The last good answer stays in use.")
    .example("2s");

pub(crate) static RESOLVER: Table = Table {
    id: "resolver",
    title: "names of servers",
    places: "resolver",
    about: "How the names of servers are looked up, and how often.",
    keys: &[
        &RESOLVER_SERVERS,
        &RESOLVER_TTL_MIN,
        &RESOLVER_TTL_MAX,
        &RESOLVER_TIMEOUT,
    ],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, resolver: { @ } }",
    base: &[],
};

pub(crate) static OWN_HEALTH_KEY: Key = Key::new("health", Kind::Section(&OWN_HEALTH))
    .absent("our version, and no checks", "")
    .about("Our own /health: what it tells and what it depends on.")
    .example("{ version: \"1.2.3\" }");
pub(crate) static OWN_VERSION: Key = Key::new("version", Kind::Text(&forms::PART))
    .absent("that of evenkeel", "")
    .about("Version that /health tells: that of your site, say.")
    .example("\"2026.11\"");
pub(crate) static OWN_CHECKS: Key = Key::new(
    "checks",
    Kind::Map {
        name: &forms::NAME,
        value: &Kind::Section(&DEPENDENCY),
        min: 0,
    },
)
.absent("none", "")
.about("What /health depends on, by name. It answers 503 while one of them fails.")
.example("{ disk: { disk: /var } }");

pub(crate) static OWN_HEALTH: Table = Table {
    id: "own_health",
    title: "our own health",
    places: "health",
    about: "What /health tells, and what it depends on.",
    keys: &[&OWN_VERSION, &OWN_CHECKS],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, health: { @ } }",
    base: &[],
};

pub(crate) static DEPENDS_TCP: Key = Key::new("tcp", Kind::Text(&forms::SERVER_ADDRESS))
    .absent("another is given", "")
    .about("Something that takes connections at this address.")
    .with(&[("disk", "")])
    .example("\"127.0.0.1:6379\"");
pub(crate) static DEPENDS_DISK: Key = Key::new("disk", Kind::Text(&forms::FOLDER))
    .absent("another is given", "")
    .about("The disk that holds this path.")
    .example("/srv");
pub(crate) static DEPENDS_POOL: Key = Key::new("pool", Kind::Text(&forms::POOL_NAME))
    .absent("another is given", "")
    .about("A pool, which must have a usable server.")
    .with(&[("disk", "")])
    .example("app");
pub(crate) static DEPENDS_SEND: Key = Key::new("send", Kind::Text(&forms::SENT))
    .default("\"\"", "")
    .about("With `tcp`: what is sent once connected. It knows `\\r`, `\\n`, `\\t`, `\\\\` and `\\xHH`.")
    .with(&[("disk", ""), ("tcp", "\"127.0.0.1:6379\""), ("expect", "\"+PONG\"")])
    .example("'PING\\r\\n'");
pub(crate) static DEPENDS_EXPECT: Key = Key::new("expect", EXPECTED_KIND)
    .absent("connecting is enough", "")
    .about("With `tcp`: what must come back: a text (as for `send`), or `{ regex: … }`.")
    .with(&[("disk", ""), ("tcp", "\"127.0.0.1:6379\"")])
    .example("\"+PONG\"");
pub(crate) static DEPENDS_FREE: Key = Key::new(
    "free",
    Kind::PercentOr {
        min: 0.0,
        max: 100.0,
        other: &Kind::Size {
            min: 0,
            max: 1024 * super::kind::TIB,
        },
    },
)
.default("10%", "")
.about("With `disk`: what must be free of it, a share or a size.")
.example("5GB");
pub(crate) static DEPENDS_EVERY: Key = Key::new("every", Kind::TIMEOUT)
    .default("10s", "")
    .about("Time from one look to the next; /health tells what the last one found. A pool is looked at when /health is asked.")
    .example("30s");
pub(crate) static DEPENDS_TIMEOUT: Key = Key::new("timeout", Kind::TIMEOUT)
    .default("2s", "")
    .about("How long a look may take.")
    .example("1s");

pub(crate) static DEPENDENCY: Table = Table {
    id: "dependency",
    title: "a check of our own health",
    places: "health.checks.NAME",
    about: "Something that our health depends on.",
    keys: &[
        &DEPENDS_TCP,
        &DEPENDS_DISK,
        &DEPENDS_POOL,
        &DEPENDS_SEND,
        &DEPENDS_EXPECT,
        &DEPENDS_FREE,
        &DEPENDS_EVERY,
        &DEPENDS_TIMEOUT,
    ],
    one_of: &["tcp", "disk", "pool"],
    sample: "{ listeners: { web: { bind: \":80\" } }, pools: { app: { servers: [\"127.0.0.1:9001\"] } }, routes: [ { pool: app } ], health: { checks: { it: { @ } } } }",
    base: &[("disk", "/var")],
};

pub(crate) static ADMIN_KEY: Key = Key::new(
    "admin",
    Kind::Shape { scalar: Some(&Kind::Words(OFF)), list: None, map: Some(&Kind::Section(&ADMIN)) },
)
.absent("the defaults of its keys", "metrics and health are there from the first start, for this machine only; a busy port is then a warning")
.about("Where the process can be asked and told: /health, /stats, /metrics and changes at run time. Or `off`: neither an address nor a socket.")
.example("off");

pub(crate) static ADMIN_BIND: Key = Key::new(
    "bind",
    Kind::Shape {
        scalar: Some(&Kind::WordOr(OFF, &Kind::Text(&forms::BIND))),
        list: Some(&Kind::List { item: &Kind::Text(&forms::BIND), min: 1 }),
        map: None,
    },
)
.default("\"127.0.0.1:9900\"", "for this machine only")
.about(
    "One or more TCP addresses, or `off`. Whoever reaches them sees the metrics, so keep them from the public. To change something over them needs `token` or a client certificate.",
)
.example("\"127.0.0.1:9901\"");
pub(crate) static ADMIN_SOCKET: Key = Key::new(
    "socket",
    Kind::WordOr(OFF, &Kind::Text(&forms::SOCKET)),
)
.absent("`admin.sock` in `$RUNTIME_DIRECTORY`, which systemd sets (`RuntimeDirectory=`); else in `$XDG_RUNTIME_DIR/evenkeel`; else in the `state` folder", "")
.about("The unix socket for `evenkeel status`, `reload` and the like, or `off`. Only the user of the process and root may use it.")
.example("/run/evenkeel/admin.sock");
pub(crate) static ADMIN_TOKEN: Key = Key::new("token", Kind::Text(&forms::TOKEN))
    .absent("nobody changes anything by token", "")
    .about("Whoever sends it over TCP (`Authorization: Bearer …`) may change things. At least 16 characters, letters, digits and `-._~+/=`; best from `env:` or `file:`.")
    .example("0123456789abcdef");
pub(crate) static ADMIN_TLS: Key = Key::new("tls", Kind::Section(&LISTENER_TLS))
    .absent("plain", "it is meant for this machine")
    .about("TLS of the TCP addresses, as of a listener. With `client`, whoever shows a verified certificate may change things.")
    .example("{ self_signed: true }");

pub(crate) static ADMIN: Table = Table {
    id: "admin",
    title: "the admin API",
    places: "admin",
    about: "Where the process can be asked and told.",
    keys: &[&ADMIN_BIND, &ADMIN_SOCKET, &ADMIN_TOKEN, &ADMIN_TLS],
    one_of: &[],
    sample: "{ listeners: { web: { bind: \":80\" } }, admin: { @ } }",
    base: &[],
};
