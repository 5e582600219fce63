//! grpc-status and grpc-message.

use std::io::Write;

use crate::syntax::hex_value;

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $number:literal $name:literal,)+) => {
        /// A status of gRPC.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Code {
            $($(#[$meta])* #[doc = concat!("`", $name, "`, ", stringify!($number))] $variant = $number,)+
        }

        impl Code {
            /// Every code, by number.
            pub const ALL: [Code; 17] = [$(Code::$variant,)+];

            /// The name in lower case with `_`, as in the documents of gRPC.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Code::$variant => $name,)+
                }
            }
        }
    };
}

codes! {
    Ok = 0 "ok",
    Cancelled = 1 "cancelled",
    Unknown = 2 "unknown",
    InvalidArgument = 3 "invalid_argument",
    DeadlineExceeded = 4 "deadline_exceeded",
    NotFound = 5 "not_found",
    AlreadyExists = 6 "already_exists",
    PermissionDenied = 7 "permission_denied",
    ResourceExhausted = 8 "resource_exhausted",
    FailedPrecondition = 9 "failed_precondition",
    Aborted = 10 "aborted",
    OutOfRange = 11 "out_of_range",
    Unimplemented = 12 "unimplemented",
    Internal = 13 "internal",
    Unavailable = 14 "unavailable",
    DataLoss = 15 "data_loss",
    Unauthenticated = 16 "unauthenticated",
}

impl Code {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The code with this name, in lower case with `_`.
    pub fn of_name(name: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.name() == name)
    }

    /// What an answer of HTTP without grpc-status means: the table of gRPC's `http-grpc-status-mapping`.
    pub const fn of_http(status: u16) -> Code {
        match status {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502..=504 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }

    /// What we say to a client of gRPC where we would answer another client with `status`. It differs from
    /// [`Code::of_http`] where we know more: our 504 is a deadline, our 413 a limit.
    pub const fn of_failure(status: u16) -> Code {
        match status {
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            // No route, and methods that gRPC does not have.
            404 | 405 | 501 => Code::Unimplemented,
            408 | 504 => Code::DeadlineExceeded,
            413 | 414 | 431 => Code::ResourceExhausted,
            429 | 502 | 503 => Code::Unavailable,
            499 => Code::Cancelled,
            400..=599 => Code::Internal,
            _ => Code::Unknown,
        }
    }
}

/// Reads a grpc-status. A number that is no code is [`Code::Unknown`], as clients take it; `None` when it is no number.
pub fn parse_status(value: &[u8]) -> Option<Code> {
    if value.is_empty() || value.len() > 10 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = value.iter().fold(0u64, |n, b| n * 10 + u64::from(b - b'0'));
    Some(
        Code::ALL
            .into_iter()
            .find(|code| u64::from(code.number()) == number)
            .unwrap_or(Code::Unknown),
    )
}

/// Appends grpc-status and grpc-message (if not empty) as field lines with CRLF: what ends an answer of ours.
pub fn write_status(code: Code, message: &str, out: &mut Vec<u8>) {
    // Writing into a Vec cannot fail.
    drop(write!(out, "grpc-status: {}\r\n", code.number()));
    if !message.is_empty() {
        out.extend_from_slice(b"grpc-message: ");
        encode_message(message, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a grpc-message: `%` and all outside visible ASCII percent-encoded; spaces only at the ends, where a field
/// value may have none.
pub fn encode_message(message: &str, out: &mut Vec<u8>) {
    let last = message.len().saturating_sub(1);
    for (at, byte) in message.bytes().enumerate() {
        match byte {
            b' ' if at == 0 || at == last => out.extend_from_slice(b"%20"),
            b' '..=b'~' if byte != b'%' => out.push(byte),
            // Writing into a Vec cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

/// Appends what a grpc-message says. What is not a sound percent-encoding is kept as it is, as the protocol asks.
pub fn decode_message(mut value: &[u8], out: &mut Vec<u8>) {
    while let [byte, rest @ ..] = value {
        if let [b'%', high, low, after @ ..] = value
            && let (Some(high), Some(low)) = (hex_value(*high), hex_value(*low))
        {
            out.push(high << 4 | low);
            value = after;
        } else {
            out.push(*byte);
            value = rest;
        }
    }
}
