//! The record layer of TLS 1.3 (RFC 8446, 5) with AES-128-GCM, for the load generator: decrypts where the bytes lie.
//!
//! rustls makes the handshake and gives its keys; its own record layer copies every record into a buffer of its own,
//! which at 1 MiB an answer would cost as much as what is measured.

use std::io;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

/// Bytes before a record's payload.
pub const HEAD_BYTES: usize = 5;
/// Most bytes of plain text in a record.
const PLAIN_BYTES_MAX: usize = 16 << 10;
/// Most bytes of a protected payload (RFC 8446, 5.2).
const PAYLOAD_BYTES_MAX: usize = PLAIN_BYTES_MAX + 256;
/// Bytes by which protection lengthens: the inner type and the tag.
const ADDED_BYTES: usize = 1 + 16;

/// Type of a record with an alert.
pub const ALERT: u8 = 21;
/// Type of a record with handshake messages.
pub const HANDSHAKE: u8 = 22;
/// Type of a record with application data, and of every protected one outside.
pub const DATA: u8 = 23;

fn fault(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {what}"))
}

/// Length of the first record in `bytes` with its head, when all of it is there.
pub fn whole(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = bytes.get(..HEAD_BYTES) else {
        return Ok(None);
    };
    let payload = usize::from(u16::from_be_bytes([head[3], head[4]]));
    if payload > PAYLOAD_BYTES_MAX {
        return Err(fault("a record is too long"));
    }
    let len = HEAD_BYTES + payload;
    Ok((bytes.len() >= len).then_some(len))
}

/// Keys of one direction.
#[derive(Debug)]
struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Keys {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> io::Result<Keys> {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            return Err(fault("another cipher than AES-128-GCM was chosen"));
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).map_err(|_| fault("a bad key"))?;
        let iv = iv
            .as_ref()
            .try_into()
            .map_err(|_| fault("a bad initialization vector"))?;
        Ok(Keys {
            key: LessSafeKey::new(key),
            iv,
            sequence,
        })
    }

    /// Nonce of the next record (RFC 8446, 5.3).
    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, part) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= part;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Protects what is sent.
#[derive(Debug)]
pub struct Sealer(Keys);

impl Sealer {
    /// With the keys that rustls gives for sending.
    pub fn new(secrets: (u64, ConnectionTrafficSecrets)) -> io::Result<Sealer> {
        Keys::new(secrets).map(Sealer)
    }

    /// Appends `plain` to `out` as records of application data.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        for part in plain.chunks(PLAIN_BYTES_MAX) {
            let len = ((part.len() + ADDED_BYTES) as u16).to_be_bytes();
            let head = [DATA, 3, 3, len[0], len[1]];
            out.extend_from_slice(&head);
            let start = out.len();
            out.extend_from_slice(part);
            out.push(DATA);
            let nonce = self.0.nonce();
            let tag = self
                .0
                .key
                .seal_in_place_separate_tag(nonce, Aad::from(head), &mut out[start..])
                .map_err(|_| fault("a record cannot be protected"))?;
            out.extend_from_slice(tag.as_ref());
        }
        Ok(())
    }
}

/// Takes the protection off what arrives.
#[derive(Debug)]
pub struct Opener(Keys);

impl Opener {
    /// With the keys that rustls gives for receiving.
    pub fn new(secrets: (u64, ConnectionTrafficSecrets)) -> io::Result<Opener> {
        Keys::new(secrets).map(Opener)
    }

    /// Decrypts one whole record in place; gives its inner type and its plain text.
    pub fn open<'a>(&mut self, record: &'a mut [u8]) -> io::Result<(u8, &'a [u8])> {
        let (head, payload) = record.split_at_mut(HEAD_BYTES);
        let head = [head[0], head[1], head[2], head[3], head[4]];
        if head[0] != DATA {
            return Err(fault("a record without protection"));
        }
        let nonce = self.0.nonce();
        let plain = self
            .0
            .key
            .open_in_place(nonce, Aad::from(head), payload)
            .map_err(|_| fault("a record that cannot be decrypted"))?;
        let end = plain.iter().rposition(|byte| *byte != 0);
        let end = end.ok_or_else(|| fault("a record without a type"))?;
        Ok((plain[end], &plain[..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    use crate::protocol::Protocol;
    use crate::tls;

    #[test]
    fn a_server_understands_and_is_understood() {
        let mut client = tls::client(&tls::client_config(Protocol::Tls).unwrap()).unwrap();
        let mut server = tls::testing::server(&[b"http/1.1"]);
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            if server.is_handshaking() {
                wire.clear();
                while server.wants_write() {
                    server.write_tls(&mut wire).unwrap();
                }
                client.read_tls(&mut wire.as_slice()).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        let secrets = client.dangerous_extract_secrets().unwrap();
        let mut sealer = Sealer::new(secrets.tx).unwrap();
        let mut opener = Opener::new(secrets.rx).unwrap();

        let mut wire = Vec::new();
        sealer.seal(&[b'q'; 20_000], &mut wire).unwrap();
        let mut rest = &wire[..];
        let mut read = Vec::new();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
            let mut part = [0; 32 << 10];
            while let Ok(count) = server.reader().read(&mut part) {
                read.extend_from_slice(&part[..count]);
            }
        }
        assert_eq!(read, [b'q'; 20_000]);

        server.writer().write_all(&[b'a'; 40_000]).unwrap();
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let (mut start, mut body, mut tickets) = (0, 0, 0);
        while let Some(len) = whole(&wire[start..]).unwrap() {
            match opener.open(&mut wire[start..start + len]).unwrap() {
                (DATA, plain) => {
                    assert!(plain.iter().all(|byte| *byte == b'a'));
                    body += plain.len();
                }
                (kind, _) => {
                    assert_eq!(kind, HANDSHAKE);
                    tickets += 1;
                }
            }
            start += len;
        }
        assert_eq!((start, body), (wire.len(), 40_000));
        assert!(tickets > 0, "the server sends tickets, which are skipped");
    }

    #[test]
    fn records_are_awaited_whole_and_bounded() {
        let mut bytes = vec![DATA, 3, 3, 0, 2, 1, 2, 9];
        assert_eq!(whole(&bytes).unwrap(), Some(7));
        assert_eq!(whole(&bytes[..6]).unwrap(), None);
        assert_eq!(whole(&bytes[..4]).unwrap(), None);
        bytes[3] = 0xff;
        assert!(whole(&bytes).is_err());
    }
}
