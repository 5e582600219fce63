//! Tags that only holders of a key can make: for cookies that nobody may forge, and for tables whose
//! keys no client may choose.

use aws_lc_rs::{hmac, rand};

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

    /// 32 random bytes that make a secret; `None` when the system has none.
    pub fn random_secret() -> Option<[u8; 32]> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).ok()?;
        Some(secret)
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
    fn another_key_makes_another_tag_and_shows_nothing_of_itself() {
        let secrets = [MacKey::random_secret(), MacKey::random_secret()];
        let [Some(one), Some(other)] = secrets else {
            panic!("no random numbers");
        };
        assert_ne!(
            MacKey::new(&one).tag(&[b"a"]),
            MacKey::new(&other).tag(&[b"a"])
        );
        assert_eq!(format!("{:?}", MacKey::new(&one)), "MacKey");
    }
}
