//! Reading a raw ClientHello (RFC 8446 section 4.1.2) before anything is answered.
//!
//! The parser is pure and bounded: it looks at no more than the limit, allocates nothing before the message is whole,
//! and then no more than a few times the message. It does not judge whether a handshake can succeed: rustls does.

use std::borrow::Cow;

use rustls_pki_types::DnsName;
use thiserror::Error;

/// A limit for [`ClientHello::parse`] with room for every client that there is: large hybrid keys, a long ticket and
/// encrypted client hello together stay under 8 KiB.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Most bytes that one record may carry (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
const CONTENT_HANDSHAKE: u8 = 22;
const MESSAGE_CLIENT_HELLO: u8 = 1;
/// TLS_FALLBACK_SCSV: a signal that stands in the list of cipher suites (RFC 7507).
const FALLBACK_SCSV: u16 = 0x5600;

/// Numbers of the extensions that are read (the registry of RFC 8446 section 11).
pub(crate) mod extension {
    pub(crate) const SERVER_NAME: u16 = 0;
    pub(crate) const SUPPORTED_GROUPS: u16 = 10;
    pub(crate) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(crate) const ALPN: u16 = 16;
    pub(crate) const SESSION_TICKET: u16 = 35;
    pub(crate) const PRE_SHARED_KEY: u16 = 41;
    pub(crate) const EARLY_DATA: u16 = 42;
    pub(crate) const SUPPORTED_VERSIONS: u16 = 43;
}

/// What a client offers in its first message. Lists are in the order of the wire, GREASE values (RFC 8701) included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The version field of the message: 0x0303 for TLS 1.2 and for TLS 1.3.
    pub legacy_version: u16,
    /// Versions of the extension supported_versions; empty when it was not sent.
    pub versions: Vec<u16>,
    /// Cipher suites.
    pub cipher_suites: Vec<u16>,
    /// Types of all extensions.
    pub extensions: Vec<u16>,
    /// The name asked for (RFC 6066 section 3), in lower case. `None` also when what was sent is not a name, as with
    /// an IP address.
    pub server_name: Option<Box<str>>,
    /// Signature algorithms.
    pub signature_algorithms: Vec<u16>,
    /// Groups of the extension supported_groups.
    pub groups: Vec<u16>,
    /// Length of the legacy session id in bytes, 0 to 32.
    pub session_id_len: u8,
    /// Whether a session ticket of TLS 1.2 (RFC 5077), one that is not empty, was offered.
    pub ticket: bool,
    /// Whether a pre-shared key of TLS 1.3 was offered, which is how a ticket is offered there.
    pub psk: bool,
    /// Whether early data was announced.
    pub early_data: bool,
    /// The protocol names as on the wire: each with its length before it. Checked when it is read.
    pub(crate) alpn: Box<[u8]>,
}

/// How far the bytes at hand reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A whole message, and how many bytes its records took.
    Complete(Box<ClientHello>, usize),
    /// A good beginning that needs more bytes.
    Partial,
}

/// Why bytes are no ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HelloFault {
    /// The first byte or the version of the first record is not that of TLS: likely another protocol.
    #[error("the first bytes are not a TLS handshake")]
    NotTls,
    /// A later record is not of the handshake.
    #[error("a record of type {0} stands inside of the ClientHello")]
    ForeignRecord(u8),
    /// RFC 8446 section 5.1 forbids empty fragments of a handshake.
    #[error("a handshake record is empty")]
    EmptyRecord,
    /// A record over 16 KiB.
    #[error("a record of {0} bytes is over the 16384 that TLS allows")]
    RecordTooLong(usize),
    /// The first message is another one.
    #[error("the first message is of type {0}, not a ClientHello")]
    NotClientHello(u8),
    /// The message does not fit into the limit.
    #[error("the ClientHello needs more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes, records included.
        limit: usize,
    },
    /// Something follows the message in its last record (RFC 8446 section 5.1).
    #[error("the record goes on after the ClientHello")]
    DataAfter,
    /// A part of the message has a length that its surroundings do not allow.
    #[error("the ClientHello has a broken {0}")]
    Field(&'static str),
    /// An extension that we read has a broken body.
    #[error("extension {0} of the ClientHello is broken")]
    Extension(u16),
    /// The same extension stands twice (RFC 8446 section 4.2).
    #[error("extension {0} of the ClientHello is there twice")]
    DuplicateExtension(u16),
    /// RFC 8446 section 4.2.11: pre_shared_key must be the last extension.
    #[error("pre_shared_key is not the last extension of the ClientHello")]
    PskNotLast,
}

impl ClientHello {
    /// Reads the message at the start of `bytes`, over as many records as it has. `limit` is the most bytes, records
    /// included, that it may take; see [`HELLO_BYTES_MAX`].
    ///
    /// # Errors
    ///
    /// [`HelloFault`], as soon as the bytes at hand show it; more bytes never mend it.
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Parsed, HelloFault> {
        match gather(bytes, limit)? {
            Some(Message { bytes, consumed }) => {
                let hello = read_message(bytes.get(MESSAGE_HEADER..).unwrap_or_default())?;
                Ok(Parsed::Complete(Box::new(hello), consumed))
            }
            None => Ok(Parsed::Partial),
        }
    }

    /// The protocols of ALPN (RFC 7301), the client's first choice first.
    pub fn alpn(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = Reader(&self.alpn);
        std::iter::from_fn(move || rest.counted_u8())
    }

    /// The same with these protocols.
    #[cfg(test)]
    pub(crate) fn with_alpn(mut self, names: &[&[u8]]) -> Self {
        let counted = |name: &&[u8]| [&[u8::try_from(name.len()).unwrap_or(255)], *name].concat();
        self.alpn = names.iter().flat_map(counted).collect();
        self
    }

    /// The highest version offered, GREASE aside: of supported_versions, or the legacy one when that was not sent.
    pub fn version_max(&self) -> u16 {
        let real = self.versions.iter().copied().filter(|&v| !is_grease(v));
        real.max().unwrap_or(self.legacy_version)
    }

    /// Whether the client says that it tries again with a lower version after a failure (RFC 7507), though `server`,
    /// the highest version here, is above what it offers now: somebody in between may have made the failure.
    pub(crate) fn fell_back(&self, server: u16) -> bool {
        self.cipher_suites.contains(&FALLBACK_SCSV) && self.version_max() < server
    }
}

/// Whether a value is one of those that clients mix in to keep servers tolerant (RFC 8701): 0x0a0a, 0x1a1a, …, 0xfafa.
pub(crate) fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// A run over the records: what to do with each fragment is the caller's.
struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The next piece of the handshake.
enum Fragment<'a> {
    /// The whole rest of a record.
    Whole(&'a [u8]),
    /// What is there of a record that has not come to its end.
    Cut(&'a [u8]),
}

impl<'a> Records<'a> {
    fn next(&mut self) -> Result<Option<Fragment<'a>>, HelloFault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let first = self.at == 0;
        match rest.first() {
            None => return Ok(None),
            Some(&CONTENT_HANDSHAKE) => {}
            Some(_) if first => return Err(HelloFault::NotTls),
            Some(&kind) => return Err(HelloFault::ForeignRecord(kind)),
        }
        // RFC 8446 section 5.1: the minor version of a record is to be ignored.
        if rest.get(1).is_some_and(|&major| major != 3) {
            return Err(HelloFault::NotTls);
        }
        let Some(&[high, low]) = rest.get(3..RECORD_HEADER) else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        match len {
            0 => return Err(HelloFault::EmptyRecord),
            1..=RECORD_BYTES_MAX => {}
            _ => return Err(HelloFault::RecordTooLong(len)),
        }
        let body = rest.get(RECORD_HEADER..).unwrap_or_default();
        if let Some(whole) = body.get(..len) {
            self.at += RECORD_HEADER + len;
            return Ok(Some(Fragment::Whole(whole)));
        }
        self.at = self.bytes.len();
        Ok(Some(Fragment::Cut(body)))
    }
}

/// A whole message with its header, and the bytes that its records took.
struct Message<'a> {
    bytes: Cow<'a, [u8]>,
    consumed: usize,
}

/// Puts the message together from its records. Allocates only for a whole message over several of them.
fn gather(bytes: &[u8], limit: usize) -> Result<Option<Message<'_>>, HelloFault> {
    let seen = bytes.get(..limit).unwrap_or(bytes);
    let mut records = Records { bytes: seen, at: 0 };
    let (mut header, mut have, mut need) = ([0u8; MESSAGE_HEADER], 0, None);
    let mut first: Option<&[u8]> = None;
    while let Some(fragment) = records.next()? {
        let (piece, whole) = match fragment {
            Fragment::Whole(piece) => (piece, true),
            Fragment::Cut(piece) => (piece, false),
        };
        for (slot, byte) in header.iter_mut().skip(have).zip(piece) {
            *slot = *byte;
        }
        have += piece.len();
        if have > 0 && header[0] != MESSAGE_CLIENT_HELLO {
            return Err(HelloFault::NotClientHello(header[0]));
        }
        if have >= MESSAGE_HEADER {
            let [_, a, b, c] = header;
            let message = MESSAGE_HEADER + u32::from_be_bytes([0, a, b, c]) as usize;
            // At least one record header comes on top.
            if message.saturating_add(RECORD_HEADER) > limit {
                return Err(HelloFault::TooLarge { limit });
            }
            need = Some(message);
        }
        if need.is_some_and(|need| have > need) {
            return Err(HelloFault::DataAfter);
        }
        if !whole {
            break;
        }
        if need == Some(have) {
            let bytes = join(first, piece, seen, have);
            let consumed = records.at;
            return Ok(Some(Message { bytes, consumed }));
        }
        first = first.or(Some(piece));
    }
    if bytes.len() >= limit {
        return Err(HelloFault::TooLarge { limit });
    }
    Ok(None)
}

/// The message: the one piece itself, or a copy of all.
fn join<'a>(first: Option<&[u8]>, last: &'a [u8], bytes: &'a [u8], len: usize) -> Cow<'a, [u8]> {
    if first.is_none() {
        return Cow::Borrowed(last);
    }
    let mut records = Records { bytes, at: 0 };
    let mut message = Vec::with_capacity(len);
    while message.len() < len
        && let Ok(Some(Fragment::Whole(piece))) = records.next()
    {
        message.extend_from_slice(piece);
    }
    Cow::Owned(message)
}

/// The body of the message.
fn read_message(body: &[u8]) -> Result<ClientHello, HelloFault> {
    use HelloFault::Field;

    let mut input = Reader(body);
    let mut hello = ClientHello {
        legacy_version: input.u16().ok_or(Field("version"))?,
        ..ClientHello::default()
    };
    input.take(32).ok_or(Field("random"))?;
    let session_id = input.counted_u8().filter(|id| id.len() <= 32);
    let session_id = session_id.ok_or(Field("session id"))?;
    hello.session_id_len = u8::try_from(session_id.len()).unwrap_or(32);
    let suites = input.counted_u16().and_then(numbers);
    hello.cipher_suites = suites.ok_or(Field("list of cipher suites"))?;
    let compression = input.counted_u8().filter(|methods| !methods.is_empty());
    compression.ok_or(Field("list of compression methods"))?;
    if input.0.is_empty() {
        return Ok(hello); // TLS 1.2 allows a message without extensions (RFC 5246 section 7.4.1.2).
    }
    let block = input.counted_u16().filter(|_| input.0.is_empty());
    let mut block = Reader(block.ok_or(Field("block of extensions"))?);
    while !block.0.is_empty() {
        let kind = block.u16().ok_or(Field("extension header"))?;
        let body = block.counted_u16().ok_or(HelloFault::Extension(kind))?;
        if hello.psk {
            return Err(HelloFault::PskNotLast);
        }
        hello.extensions.push(kind);
        read_extension(&mut hello, kind, body).ok_or(HelloFault::Extension(kind))?;
    }
    let mut sorted = hello.extensions.clone();
    sorted.sort_unstable();
    match sorted.array_windows().find(|[a, b]| a == b) {
        Some(&[kind, _]) => Err(HelloFault::DuplicateExtension(kind)),
        None => Ok(hello),
    }
}

/// One extension; `None` when its body is broken.
fn read_extension(hello: &mut ClientHello, kind: u16, body: &[u8]) -> Option<()> {
    let mut input = Reader(body);
    match kind {
        extension::SERVER_NAME => hello.server_name = server_name(input.counted_u16()?)?,
        extension::SUPPORTED_GROUPS => hello.groups = numbers(input.counted_u16()?)?,
        extension::SIGNATURE_ALGORITHMS => {
            hello.signature_algorithms = numbers(input.counted_u16()?)?;
        }
        extension::ALPN => {
            let list = input.counted_u16()?;
            let mut names = Reader(list);
            while !names.0.is_empty() {
                names.counted_u8().filter(|name| !name.is_empty())?;
            }
            hello.alpn = (!list.is_empty()).then(|| list.into())?;
        }
        extension::SUPPORTED_VERSIONS => hello.versions = numbers(input.counted_u8()?)?,
        // The ticket is the whole body, without a length of its own.
        extension::SESSION_TICKET => hello.ticket = !std::mem::take(&mut input.0).is_empty(),
        extension::PRE_SHARED_KEY => {
            input
                .counted_u16()
                .filter(|identities| !identities.is_empty())?;
            input.counted_u16().filter(|binders| !binders.is_empty())?;
            hello.psk = true;
        }
        extension::EARLY_DATA => hello.early_data = true,
        _ => return Some(()),
    }
    input.0.is_empty().then_some(())
}

/// The host name of a list of server names; the outer `None` when the list is broken.
fn server_name(list: &[u8]) -> Option<Option<Box<str>>> {
    let mut names = Reader(list);
    let mut host = None;
    while !names.0.is_empty() {
        let kind = names.u8()?;
        let name = names.counted_u16()?;
        if kind == 0 && host.is_none() {
            host = Some(name);
        }
    }
    if list.is_empty() {
        return None;
    }
    let text = host.and_then(|name| std::str::from_utf8(name).ok());
    let good = text.filter(|text| DnsName::try_from(*text).is_ok());
    Some(good.map(|text| text.to_ascii_lowercase().into_boxed_str()))
}

/// A list of 16-bit numbers that is not empty.
fn numbers(list: &[u8]) -> Option<Vec<u16>> {
    let (pairs, rest) = list.as_chunks::<2>();
    (!pairs.is_empty() && rest.is_empty())
        .then(|| pairs.iter().map(|&pair| u16::from_be_bytes(pair)).collect())
}

/// A cursor over bytes; every reading fails rather than going past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn u16(&mut self) -> Option<u16> {
        let (&pair, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(pair))
    }

    fn counted_u8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    fn counted_u16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }
}

#[cfg(test)]
mod tests;
