//! Tags that only holders of a key can make: for cookies that nobody may forge, and for tables whose
//! keys no client may choose.

use std::io;
use std::path::Path;

use aws_lc_rs::{hmac, rand};

use crate::kept;

/// The file in the state folder.
const STATE_FILE: &str = "sticky.key";

/// A key for tags (HMAC-SHA256, RFC 2104).
#[derive(Clone)]
pub struct MacKey(hmac::Key);

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacKey")
    }
}

impl MacKey {
    /// The key that a secret is; 16 bytes or more are of use.
    pub fn new(secret: &[u8]) -> MacKey {
        MacKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// 32 random bytes that make a secret.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random_secret() -> io::Result<[u8; 32]> {
        let mut secret = [0; 32];
        let filled = rand::fill(&mut secret);
        filled.map_err(|_| io::Error::other("the system has no random numbers"))?;
        Ok(secret)
    }

    /// The secret that an earlier process kept in this folder; `None` when there is none.
    ///
    /// # Errors
    /// When there is a file that cannot be read or is not of 32 bytes.
    pub fn read_secret(folder: &Path) -> io::Result<Option<[u8; 32]>> {
        let bytes = match kept::read(&folder.join(STATE_FILE), 32) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let secret = bytes.try_into();
        let secret = secret.map_err(|_| io::Error::other("it is not of 32 bytes"))?;
        Ok(Some(secret))
    }

    /// Keeps a secret in this folder, for processes that follow; nobody else may read it.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep_secret(folder: &Path, secret: &[u8; 32]) -> io::Result<()> {
        kept::write(folder, STATE_FILE, secret)
    }

    /// The first 16 bytes of the tag of these parts, one behind the other. Whoever has several says
    /// where one ends.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let tag = context.sign();
        let mut first = [0; 16];
        for (to, from) in first.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, 4.3 (test case 2).
    #[test]
    fn the_tag_is_the_one_of_the_standard() {
        let key = MacKey::new(b"Jefe");
        let tag = key.tag(&[b"what do ya ", b"want for nothing?"]);
        let wanted = [
            0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95,
            0x75, 0xc7,
        ];
        assert_eq!(tag, wanted);
    }

    #[test]
    fn a_secret_is_kept_for_the_next_process() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("keel-mac-{}", std::process::id()));
        assert_eq!(MacKey::read_secret(&folder).unwrap(), None);
        MacKey::keep_secret(&folder, &[7; 32]).unwrap();
        assert_eq!(MacKey::read_secret(&folder).unwrap(), Some([7; 32]));
        let file = folder.join(STATE_FILE);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&file, b"short").unwrap();
        assert!(MacKey::read_secret(&folder).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn another_key_makes_another_tag_and_shows_nothing_of_itself() {
        let secrets = [MacKey::random_secret(), MacKey::random_secret()];
        let [Ok(one), Ok(other)] = secrets else {
            panic!("no random numbers");
        };
        assert_ne!(
            MacKey::new(&one).tag(&[b"a"]),
            MacKey::new(&other).tag(&[b"a"])
        );
        assert_eq!(format!("{:?}", MacKey::new(&one)), "MacKey");
    }
}
