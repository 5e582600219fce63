//! What a request must look like for a route to take it.

use ipnet::IpNet;

use super::ListenerId;
use crate::Spanned;
use crate::words::words;

words! {
    /// Scheme of the request at the listener.
    Scheme {
        /// Plain HTTP.
        Http = "http",
        /// HTTP over TLS.
        Https = "https",
    }
}

/// A host that is asked for. The request's port does not count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name; lower case, without port and trailing dot.
    Exact(String),
    /// `*.example.com`: one or more labels before this suffix. Holds the text after `*.`.
    Wildcard(String),
    /// Every host, `*`.
    Any,
}

/// A path of the normalised request. Paths and globs are as written: the router brings them into normal form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path and no other.
    Exact(String),
    /// Paths that start so.
    Prefix {
        /// Start of the path.
        path: String,
        /// The prefix ends at a segment's border: `/api` matches `/api` and `/api/x`, not `/apix`.
        segment: bool,
    },
    /// A glob; checked by the later stage.
    Glob(String),
    /// A regex, found anywhere in the path unless anchored; checked by the later stage.
    Regex(String),
}

/// A test of a header's, cookie's or query parameter's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ValueTest {
    /// There is one, whatever its value.
    Present,
    /// There is none.
    Absent,
    /// The value is this.
    Exact(String),
    /// The value starts so.
    Prefix(String),
    /// The value ends so.
    Suffix(String),
    /// This stands in the value.
    Contains(String),
    /// A regex, found anywhere in the value unless anchored; checked by the later stage.
    Regex(String),
}

/// A test of a named field; one of `tests` must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldTest {
    /// Name of the header, cookie or query parameter.
    pub name: Spanned<String>,
    /// Never empty; one must hold.
    pub tests: Vec<Spanned<ValueTest>>,
}

/// A fact about the TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsFact {
    /// The name that the client asked for (SNI).
    ServerName,
    /// The version; tests are for `TLSv1.2` or `TLSv1.3`.
    Version,
    /// The JA4 fingerprint.
    Ja4,
    /// Subject of the client's certificate.
    ClientSubject,
    /// SHA-256 of the client's certificate, lowercase hex.
    ClientFingerprint,
    /// Present when the client has a certificate that was verified.
    ClientVerified,
}

/// A test of a fact; one of `tests` must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsTest {
    /// The fact.
    pub fact: TlsFact,
    /// Never empty; one must hold.
    pub tests: Vec<Spanned<ValueTest>>,
}

/// A condition. `All(vec![])` holds for every request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Every one holds.
    All(Vec<Condition>),
    /// At least one holds.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// The request came in at one of these listeners.
    Listener(Vec<Spanned<ListenerId>>),
    /// One of these hosts.
    Host(Vec<Spanned<HostPattern>>),
    /// One of these paths.
    Path(Vec<Spanned<PathPattern>>),
    /// One of these methods (case-sensitive tokens).
    Method(Vec<Spanned<String>>),
    /// A request header.
    Header(FieldTest),
    /// A cookie.
    Cookie(FieldTest),
    /// A query parameter.
    Query(FieldTest),
    /// The client's address is in one of these networks.
    Client(Vec<Spanned<IpNet>>),
    /// The scheme.
    Scheme(Scheme),
    /// The TLS connection.
    Tls(TlsTest),
}
