//! Every way in which a head or a body can break the rules, each with a name of its own.
//!
//! The texts are for the log and for metrics, one sentence each; what the client is told is the driver's choice.

use thiserror::Error;

/// Why a head was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum HeadFault {
    // Lines.
    /// A line ends in LF without CR (RFC 9112, 2.2).
    #[error("a line of the head ends in a bare line feed")]
    BareLf,
    /// CR that is not followed by LF (RFC 9112, 2.2).
    #[error("the head has a carriage return that no line feed follows")]
    BareCr,
    /// More than one empty line before the start line, or any before an answer.
    #[error("there are empty lines before the start line")]
    LeadingBlankLines,
    /// A control byte where none may stand.
    #[error("the head has a control byte")]
    ControlByte,

    // Start line.
    /// The request line is not `method SP target SP version`.
    #[error("the request line is not a method, a target and a version with single spaces between")]
    RequestLine,
    /// The method is not a token.
    #[error("the method has a byte that may not stand in a method")]
    MethodByte,
    /// The method is longer than [`crate::METHOD_BYTES_MAX`].
    #[error("the method is too long")]
    MethodTooLong,
    /// The version is not of the form `HTTP/1.1`, or is older than 1.0.
    #[error("the protocol version is malformed")]
    VersionMalformed,
    /// A well-formed version that we do not speak on this connection.
    #[error("the protocol version is neither HTTP/1.0 nor HTTP/1.1")]
    VersionUnsupported,
    /// The status line is not `version SP 3DIGIT [SP reason]`, or `:status` is not 3DIGIT.
    #[error("the status line is malformed")]
    StatusLine,
    /// The status code is not within 100 to 599.
    #[error("the status code is outside 100 to 599")]
    StatusRange,

    // Fields.
    /// A field line that continues the line before (RFC 9112, 5.2).
    #[error("a field value is folded over lines")]
    ObsFold,
    /// White space between the start line and the first field (RFC 9112, 2.2).
    #[error("white space follows the start line")]
    SpaceBeforeFields,
    /// White space between a field name and its colon (RFC 9112, 5.1).
    #[error("white space stands before the colon of a field")]
    SpaceBeforeColon,
    /// A field line without a colon.
    #[error("a field line has no colon")]
    NoColon,
    /// A field without a name.
    #[error("a field has an empty name")]
    EmptyName,
    /// A field name that is not a token.
    #[error("a field name has a byte that may not stand in a name")]
    NameByte,
    /// A field value with a control byte.
    #[error("a field value has a control byte")]
    ValueByte,

    // Limits.
    /// The head is longer than `head_bytes_max`.
    #[error("the head is too long")]
    HeadTooLong,
    /// There are more fields than `fields_max`.
    #[error("the head has too many fields")]
    TooManyFields,
    /// The target is longer than `target_bytes_max`.
    #[error("the request target is too long")]
    TargetTooLong,

    // Framing.
    /// Both Content-Length and Transfer-Encoding (RFC 9112, 6.1).
    #[error("the message has both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// More than one Content-Length, or a list of lengths.
    #[error("the message has more than one Content-Length")]
    ContentLengthConflict,
    /// Content-Length is not 1*DIGIT.
    #[error("Content-Length is not a number")]
    ContentLengthMalformed,
    /// Content-Length does not fit 64 bits.
    #[error("Content-Length is too large")]
    ContentLengthOverflow,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112, 6.1).
    #[error("an HTTP/1.0 message has a Transfer-Encoding")]
    CodingInHttp10,
    /// Transfer-Encoding with chunked twice, not last, or malformed.
    #[error("Transfer-Encoding does not end in one chunked")]
    CodingMalformed,
    /// A transfer coding other than chunked.
    #[error("a transfer coding other than chunked is not supported")]
    CodingUnsupported,
    /// A message that may not have a body has a length or coding (1xx, 204, TRACE).
    #[error("a message that may not have a body declares one")]
    BodyForbidden,
    /// An expectation other than 100-continue (RFC 9110, 10.1.1).
    #[error("the expectation is not 100-continue")]
    ExpectUnknown,
    /// 101 although no upgrade was asked for, or without an Upgrade field.
    #[error("the answer switches protocols without being asked to")]
    SwitchUnasked,

    // Host and target.
    /// HTTP/1.1 without Host (RFC 9112, 3.2).
    #[error("the request has no Host")]
    HostMissing,
    /// More than one Host.
    #[error("the request has more than one Host")]
    HostRepeated,
    /// The Host or authority is not `host [":" port]`.
    #[error("the Host is not a name or address with an optional port")]
    HostInvalid,
    /// The target has none of the four forms, or one that its method may not have.
    #[error("the request target has a form that this method may not have")]
    TargetForm,
    /// An absolute target with a scheme other than http and https.
    #[error("the scheme of the request target is neither http nor https")]
    TargetScheme,
    /// A byte that may not stand in a target: outside visible ASCII, `#`, or a backslash in the path.
    #[error("the request target has a byte that may not stand there")]
    TargetByte,
    /// `%` without two hexadecimal digits.
    #[error("the path has a malformed percent-encoding")]
    PercentMalformed,
    /// An encoded control byte such as `%00` or `%0a`.
    #[error("the path has an encoded control byte")]
    PercentControl,
    /// An overlong UTF-8 form such as `%c0%ae`.
    #[error("the path has an overlong encoding")]
    PercentOverlong,
    /// A dot segment that some servers see and some do not, such as `..%2f` or `..;`.
    #[error("the path hides a dot segment")]
    HiddenDotSegment,
    /// The path goes above the root.
    #[error("the path goes above the root")]
    AboveRoot,
    /// CONNECT (but for a tunnel of RFC 8441) or TRACE, which a reverse proxy does not serve.
    #[error("the method is not served by a reverse proxy")]
    MethodRefused,

    // HTTP/2.
    /// A pseudo-header field among the fields: unknown, twice, after a regular one, or in trailers (RFC 9113, 8.3).
    #[error("a pseudo-header field stands where none may stand")]
    PseudoField,
    /// No `:method` (RFC 9113, 8.3.1).
    #[error("the HTTP/2 request has no :method")]
    MethodMissing,
    /// No `:status` (RFC 9113, 8.3.2).
    #[error("the HTTP/2 answer has no :status")]
    StatusMissing,
    /// A field name with upper-case letters (RFC 9113, 8.2.1).
    #[error("a field name has upper-case letters, which HTTP/2 forbids")]
    NameUpperCase,
    /// A field value with white space at an end (RFC 9113, 8.2.1).
    #[error("a field value begins or ends with white space, which HTTP/2 forbids")]
    ValuePadded,
    /// Connection, Keep-Alive, Proxy-Connection, Transfer-Encoding or Upgrade (RFC 9113, 8.2.2).
    #[error("the message has a connection-specific field, which HTTP/2 forbids")]
    ConnectionField,
    /// TE with anything but `trailers` (RFC 9113, 8.2.2).
    #[error("the TE field of an HTTP/2 message is not trailers")]
    TeInvalid,
    /// No `:path`, or an empty one (RFC 9113, 8.3.1).
    #[error("the HTTP/2 request has no :path or an empty one")]
    PathMissing,
    /// No `:scheme` (RFC 9113, 8.3.1).
    #[error("the HTTP/2 request has no :scheme")]
    SchemeMissing,
    /// Host and `:authority` differ (RFC 9113, 8.3.1).
    #[error("the Host of the HTTP/2 request differs from its :authority")]
    HostConflict,
    /// A user before the host (RFC 9113, 8.3.1).
    #[error("the authority of the HTTP/2 request has user information")]
    HostUserinfo,
    /// `:protocol` with a method other than CONNECT (RFC 8441, 4).
    #[error("the HTTP/2 request has a :protocol but its method is not CONNECT")]
    ProtocolMisplaced,
    /// Extended CONNECT for a protocol other than websocket.
    #[error("the :protocol of the HTTP/2 request is not supported")]
    ProtocolUnsupported,
    /// A Content-Length above 0 in a message that ends with its head (RFC 9113, 8.1.1).
    #[error("Content-Length declares a body but the HTTP/2 stream ends with the head")]
    LengthWithoutBody,
    /// An interim answer with END_STREAM (RFC 9113, 8.1).
    #[error("an interim answer ends the HTTP/2 stream")]
    InterimEnds,
    /// A trailer that may only stand in a head (RFC 9110, 6.5.1).
    #[error("a trailer field may only stand in a head")]
    TrailerForbidden,
    /// More bytes of trailers than [`crate::ChunkLimits`] allows by default.
    #[error("the trailers are too long")]
    TrailersTooLong,
    /// More trailer fields than [`crate::ChunkLimits`] allows by default.
    #[error("there are too many trailers")]
    TooManyTrailers,
}

impl HeadFault {
    /// The status code with which a request is refused. A malformed answer of a backend is 502 whatever this says.
    pub const fn status(self) -> u16 {
        match self {
            HeadFault::MethodRefused => 405,
            HeadFault::TargetTooLong => 414,
            HeadFault::ExpectUnknown => 417,
            HeadFault::HeadTooLong
            | HeadFault::TooManyFields
            | HeadFault::TrailersTooLong
            | HeadFault::TooManyTrailers => 431,
            HeadFault::CodingUnsupported | HeadFault::ProtocolUnsupported => 501,
            HeadFault::VersionUnsupported => 505,
            _ => 400,
        }
    }
}

/// Why a chunked body was refused. A request is answered 400, a backend's answer is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum BodyFault {
    /// The chunk size has no digit, a sign, white space, or another byte.
    #[error("the chunk size is not a hexadecimal number")]
    ChunkSizeByte,
    /// The chunk size has more than 16 digits.
    #[error("the chunk size has too many digits")]
    ChunkSizeTooLong,
    /// A chunk extension that does not follow RFC 9112, 7.1.1.
    #[error("a chunk extension is malformed")]
    ExtensionMalformed,
    /// More bytes of chunk extensions than allowed.
    #[error("the chunk extensions are too long")]
    ExtensionsTooLong,
    /// LF without CR, or CR without LF, in the framing.
    #[error("a line of the chunked framing does not end in CRLF")]
    LineEnd,
    /// The data of a chunk is not followed by CRLF.
    #[error("the data of a chunk is longer than its size")]
    ChunkEnd,
    /// A trailer line that is no field.
    #[error("a trailer field is malformed")]
    TrailerMalformed,
    /// A trailer that may only stand in a head (RFC 9110, 6.5.1).
    #[error("a trailer field may only stand in a head")]
    TrailerForbidden,
    /// More bytes of trailers than allowed.
    #[error("the trailers are too long")]
    TrailersTooLong,
    /// More trailer fields than allowed.
    #[error("there are too many trailers")]
    TooManyTrailers,
}
