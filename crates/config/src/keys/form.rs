//! What a text means: names, addresses, patterns, templates.

use crate::values::Fault;

/// A form of text.
#[derive(Debug)]
pub(crate) struct Form {
    /// For messages and the reference: `an address (host:port)`.
    pub name: &'static str,
    /// A regular expression for the schema; it must hold for every text that the loader takes.
    pub pattern: Option<&'static str>,
    /// `env:NAME` and `file:PATH` may stand for it.
    pub refs: Refs,
    /// Has `$variables`.
    pub template: bool,
    /// The empty text means something.
    pub empty: bool,
    /// A number or boolean without quotes can be one too.
    pub plain: bool,
    /// Whether a text is of this form.
    pub check: fn(&str) -> Result<(), Fault>,
}

/// Whether a text may be taken from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refs {
    /// No.
    None,
    /// As text: one line feed at the end of a file is dropped.
    Text,
    /// As bytes: a file is taken as it is.
    Bytes,
}

impl Form {
    const fn new(name: &'static str, check: fn(&str) -> Result<(), Fault>) -> Form {
        Form {
            name,
            pattern: None,
            refs: Refs::None,
            template: false,
            empty: false,
            plain: true,
            check,
        }
    }

    const fn pattern(mut self, pattern: &'static str) -> Form {
        self.pattern = Some(pattern);
        self
    }

    const fn refs(mut self) -> Form {
        self.refs = Refs::Text;
        self
    }

    const fn bytes(mut self) -> Form {
        self.refs = Refs::Bytes;
        self
    }

    const fn template(mut self) -> Form {
        self.template = true;
        self
    }

    const fn has_unit(mut self) -> Form {
        self.plain = false;
        self
    }

    const fn empty(mut self) -> Form {
        self.empty = true;
        self
    }
}

/// Longest name, in characters.
pub(crate) const NAME_CHARS_MAX: usize = 64;

/// Every form.
pub(crate) mod forms {
    use super::super::{FailureCase, RetryCase};
    use super::Form;
    use crate::values;
    use crate::words::Word;

    const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$";
    const TOKEN_PATTERN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

    pub static NAME: Form =
        Form::new("a name (letters, digits, `_`, `.`, `-`)", values::name).pattern(NAME_PATTERN);
    pub static POOL_NAME: Form = Form::new("the name of a pool", values::line);
    pub static LISTENER_NAME: Form = Form::new("the name of a listener", values::line);
    pub static LOG_NAME: Form = Form::new("the name of an access log", values::line);
    pub static SERVER_NAME: Form = Form::new(
        "a name (letters, digits, `_`, `.`, `-`, `:`, `[`, `]`)",
        values::server_name,
    )
    .pattern("^[A-Za-z0-9\\[][A-Za-z0-9_.:\\[\\]-]*$");
    pub static INCLUDE: Form = Form::new("a path, `*` and `?` in its last part", values::line);
    pub static NETWORK: Form = Form::new(
        "a network (`10.0.0.0/8`, `2001:db8::/32`) or an address",
        |text| values::network(text).map(drop),
    );
    pub static BIND: Form = Form::new("an address to bind (`host:port`, `:port`)", |text| {
        values::bind(text).map(drop)
    })
    .refs();
    pub static SERVER_ADDRESS: Form = Form::new("an address (`host:port`)", |text| {
        values::server_address(text).map(drop)
    })
    .refs();
    pub static HOST_PATTERN: Form = Form::new("a host name, `*.suffix` or `*`", |text| {
        values::host_pattern(text).map(drop)
    });
    pub static HOST_HEADER: Form =
        Form::new("a host name, with or without a port", values::host_header).refs();
    pub static PATH: Form = Form::new("a path", values::path);
    pub static EXACT_PATH: Form = Form::new("a path, or `*`", values::exact_path);
    pub static GLOB: Form = Form::new("a glob over paths", values::glob);
    pub static REGEX: Form = Form::new("a regular expression", values::regex);
    pub static METHOD: Form = Form::new("a method", values::method);
    pub static VALUE: Form = Form::new("a text", values::line).empty();
    pub static PART: Form = Form::new("a text", values::line);
    pub static FIELD_NAME: Form =
        Form::new("the name of a header", values::field_name).pattern(TOKEN_PATTERN);
    pub static COOKIE_NAME: Form =
        Form::new("the name of a cookie", values::cookie_name).pattern(TOKEN_PATTERN);
    pub static QUERY_NAME: Form = Form::new("the name of a query parameter", values::query_name);
    pub static FIELD_VALUE: Form = Form::new("a text with `$variables`", values::field_value)
        .refs()
        .template()
        .empty();
    pub static REDIRECT_TO: Form =
        Form::new("a URL or path with `$variables`", values::redirect_target).template();
    pub static BODY: Form = Form::new("a text", values::any).bytes().empty();
    pub static MEDIA_TYPE: Form = Form::new(
        "a media type (`text/html; charset=utf-8`)",
        values::media_type,
    );
    pub static FILE: Form = Form::new("the path of a file", values::line);
    pub static LOG_TARGET: Form = Form::new(
        "`stdout`, `stderr`, `file:PATH`, a path with a `/`, `syslog:/dev/log` or `syslog:udp:ADDRESS:PORT`",
        |text| values::log_target(text).map(drop),
    );
    pub static LOG_FORMAT: Form =
        Form::new("a text with `$variables`", values::log_format).template();
    pub static TAG: Form = Form::new(
        "a word of at most 32 letters, digits, `_`, `.` and `-`",
        values::tag,
    )
    .pattern("^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$");
    pub static TLS_FILE: Form = Form::new("the path of a file", values::tls_file);
    pub static CIPHER_SUITE: Form =
        Form::new("the standard name of a cipher suite", values::cipher_suite);
    pub static GROUP: Form = Form::new("the name of a group", values::group);
    pub static CERTIFICATE_NAME: Form = Form::new(
        "a host name, `*.suffix` or an IP address",
        values::certificate_name,
    );
    pub static TLS_NAME: Form = Form::new("a host name or an IP address", |text| {
        values::tls_name(text).map(drop)
    });
    pub static FINGERPRINT: Form = Form::new("a SHA-256 in hex", |text| {
        values::fingerprint(text).map(drop)
    });
    pub static RATE: Form = Form::new("a rate (`100r/s`)", |text| values::rate(text).map(drop))
        .pattern("^[0-9]+r/s$")
        .has_unit();
    pub static SOCKET: Form = Form::new("the path of a socket", values::line);
    pub static FOLDER: Form = Form::new("the path of a folder", values::line);
    pub static STATUS_SET: Form = Form::new(
        "a status, a class (`5xx`), or a list of statuses and ranges (`500,502-504`)",
        |text| values::status_set(text).map(drop),
    )
    .pattern("^[0-9xX, -]+$");
    pub static REQUEST_PATH: Form =
        Form::new("a path, with or without a query", values::request_path);
    pub static EXCHANGED: Form = Form::new("a text", |text| values::exchanged(text).map(drop));
    pub static SENT: Form = Form::new("a text", |text| values::exchanged(text).map(drop)).empty();
    pub static PLAIN_FIELD_VALUE: Form = Form::new("a text", values::field_value).refs().empty();
    pub static ANSWER_STATUS: Form = Form::new(
        "a status (`204`), a range (`200-299`) or a class (`2xx`)",
        |text| values::answer_status(text, &[]).map(drop),
    );
    pub static RETRY_STATUS: Form = Form::new(
        "a status (`503`), a range (`502-504`) or a class (`5xx`)",
        |text| values::answer_status(text, RetryCase::WORDS).map(drop),
    );
    pub static FAILURE_STATUS: Form = Form::new(
        "a status (`503`), a range (`502-504`) or a class (`5xx`)",
        |text| values::answer_status(text, FailureCase::WORDS).map(drop),
    );
    pub static JSON_PATH: Form =
        Form::new("names of fields with dots between them", values::json_path);
    pub static GRPC_SERVICE: Form =
        Form::new("the name of a gRPC service", values::grpc_service).empty();
    pub static SRV_NAME: Form = Form::new(
        "the name of SRV records (`_app._tcp.example.com`)",
        |text| values::srv_name(text).map(drop),
    );
    pub static DNS_SERVER: Form = Form::new("the IP address of a DNS server", |text| {
        values::dns_server(text).map(drop)
    });
    pub static USER: Form = Form::new("the name or number of a user or group", values::user);
    pub static SECRET: Form = Form::new("a text of 32 characters or more", values::secret).refs();
    pub static TOKEN: Form = Form::new(
        "16 characters or more of letters, digits and `-._~+/=`",
        values::token,
    )
    .refs();
    pub static COOKIE_DOMAIN: Form = Form::new("a host name", values::cookie_domain);
    pub static COOKIE_PATH: Form = Form::new("a path without `;`", values::cookie_path);
}
