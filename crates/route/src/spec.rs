//! What a user wrote: routes and matchers before they are checked and compiled.

use ipnet::IpNet;

use crate::view::TlsFact;

/// One route: a name for messages and what it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// Name from the configuration; only used in messages.
    pub name: String,
    /// Which requests the route takes.
    pub matcher: Matcher,
}

/// A condition on a request. Nesting is limited to [`MATCHER_DEPTH_MAX`](crate::MATCHER_DEPTH_MAX) levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matcher {
    /// Every request.
    Always,
    /// All parts hold; an empty list always holds.
    All(Vec<Matcher>),
    /// At least one part holds; an empty list is a fault.
    Any(Vec<Matcher>),
    /// The part does not hold.
    Not(Box<Matcher>),
    /// The request came in on one of these listeners (positions in the snapshot's table).
    Listener(Vec<u16>),
    /// The host asked for, without its port, ignoring case.
    Host(HostPattern),
    /// The normalised path, without the query.
    Path(PathPattern),
    /// One of these methods. Standard names may be written in any case; others are compared as they are
    /// (RFC 9110 9.1: methods are case-sensitive).
    Method(Vec<String>),
    /// A header. The name ignores case; the test holds when any occurrence of the header passes it.
    Header {
        /// Field name.
        name: String,
        /// What its value must be.
        test: ValueTest,
    },
    /// A cookie, read from all `Cookie` headers (RFC 6265 5.4). The name is case-sensitive.
    Cookie {
        /// Cookie name.
        name: String,
        /// What its value must be.
        test: ValueTest,
    },
    /// A query parameter; name and value are compared after percent-decoding, with `+` as a space. The name is
    /// case-sensitive; a parameter without `=` has an empty value.
    Query {
        /// Parameter name, decoded.
        name: String,
        /// What its decoded value must be.
        test: ValueTest,
    },
    /// A fact about the TLS connection.
    Tls {
        /// Which one.
        fact: TlsFact,
        /// What its value must be.
        test: ValueTest,
    },
    /// The client's address is in one of these networks. An IPv4 address mapped into IPv6 counts as IPv4.
    Client(Vec<IpNet>),
    /// The scheme of the request, `http` or `https`, in any case.
    Scheme(String),
}

/// A pattern for the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// This name or address (an IPv6 address in brackets), without a port. The empty string is a request without a
    /// host (HTTP/1.0).
    Exact(String),
    /// `*.example.com`: one or more labels before `.example.com`, so not `example.com` itself. `*` alone is any host.
    Wildcard(String),
    /// Any host, or none.
    Any,
}

/// A pattern for the path. Exact, prefix and glob patterns are normalised as request paths are: percent-encoded
/// unreserved characters are decoded, other escapes are written in upper case, dot segments and doubled slashes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// The whole path. `*` is the asterisk-form of `OPTIONS *`.
    Exact(String),
    /// The path begins with this.
    Prefix {
        /// The prefix; begins with a slash.
        path: String,
        /// The prefix ends at a segment border (the default of the configuration): `/api` is `/api` and `/api/x`, not
        /// `/apix`. A prefix that ends in a slash is already at a border: `/api/` is `/api/` and `/api/x` and, as in
        /// nginx and Caddy, not `/api`. When false, any path that begins with these bytes.
        segment: bool,
    },
    /// `*` stands for any bytes within one segment (also none), `**` for any bytes, `/**/` also for one slash. The
    /// pattern covers the whole path.
    Glob(String),
    /// A regular expression, found anywhere in the path. Matched as bytes against the normalised path.
    Regex(String),
    /// A regular expression that must match from the start of the path, but not to its end.
    RegexStart(String),
}

/// A test of the values of a header, cookie or query parameter. All but [`Absent`](Self::Absent) hold when at least one
/// occurrence passes. Comparisons are case-sensitive; an expression can say `(?i)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueTest {
    /// There is one, whatever its value.
    Present,
    /// There is none.
    Absent,
    /// The value is this.
    Exact(String),
    /// The value begins with this.
    Prefix(String),
    /// The value ends with this.
    Suffix(String),
    /// The value has this in it.
    Contains(String),
    /// A regular expression, found anywhere in the value.
    Regex(String),
    /// A regular expression that must match from the start of the value, but not to its end.
    RegexStart(String),
}
