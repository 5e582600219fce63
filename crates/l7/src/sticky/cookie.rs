//! The cookie that we set: it names a server by a tag under our key.
//!
//! The value says nothing of addresses or names, and nobody can make one for a server of their choice.
//! All values that there can be are worked out with the snapshot, so that a request costs one look-up.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use keel_balance::{Ask, BoundFault, SelectFault, Selected};
use keel_http::base64url;
use keel_tls::MacKey;

use super::Bound;
use crate::heads::write_number;
use crate::snapshot::PoolPlan;
use crate::walk::Walk;

/// Length of a value: 16 bytes in base64url without padding (RFC 4648, 5).
const TOKEN: usize = 22;

/// When the cookie has `Secure` (RFC 6265, 4.1.2.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Secure {
    /// When the client spoke TLS.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `SameSite` of the cookie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SameSite {
    /// `Lax`.
    #[default]
    Lax,
    /// `Strict`.
    Strict,
    /// `None`.
    None,
}

/// How the cookie is set.
#[derive(Debug, Clone)]
pub struct CookieSettings {
    /// Its name, a token.
    pub name: String,
    /// How long browsers keep it; `None` until they are closed.
    pub expires: Option<Duration>,
    /// `Domain`; `None` for the host alone.
    pub domain: Option<String>,
    /// `Path`.
    pub path: String,
    /// `Secure`.
    pub secure: Secure,
    /// `SameSite`.
    pub same_site: SameSite,
    /// `HttpOnly`.
    pub http_only: bool,
}

/// The cookie of one pool, ready to be set and read.
#[derive(Debug)]
pub struct CookiePlan {
    name: String,
    /// Values by position of the server.
    tokens: Vec<[u8; TOKEN]>,
    positions: HashMap<[u8; TOKEN], usize>,
    /// What follows the value, but for the times and `Secure`.
    attributes: String,
    expires: Option<Duration>,
    secure: Secure,
}

impl CookiePlan {
    /// The cookie of a pool with servers of these names, in the order of their positions.
    pub fn new<'a>(
        settings: &CookieSettings,
        key: &MacKey,
        pool: &str,
        servers: impl IntoIterator<Item = &'a str>,
    ) -> CookiePlan {
        let tokens: Vec<[u8; TOKEN]> = servers
            .into_iter()
            .map(|server| token(key, pool, server))
            .collect();
        let mut attributes = String::new();
        if let Some(domain) = &settings.domain {
            attributes.push_str("; Domain=");
            attributes.push_str(domain);
        }
        attributes.push_str("; Path=");
        attributes.push_str(&settings.path);
        attributes.push_str(match settings.same_site {
            SameSite::Lax => "; SameSite=Lax",
            SameSite::Strict => "; SameSite=Strict",
            SameSite::None => "; SameSite=None",
        });
        if settings.http_only {
            attributes.push_str("; HttpOnly");
        }
        CookiePlan {
            name: settings.name.clone(),
            positions: tokens
                .iter()
                .copied()
                .enumerate()
                .map(|(at, it)| (it, at))
                .collect(),
            tokens,
            attributes,
            expires: settings.expires,
            secure: settings.secure,
        }
    }

    /// The server that a value names; none for one that is not ours, or of a server that is gone.
    fn position(&self, value: &[u8]) -> Option<usize> {
        let token: &[u8; TOKEN] = value.try_into().ok()?;
        self.positions.get(token).copied()
    }

    /// Chooses a server.
    pub(super) fn select(
        &self,
        walk: &mut Walk<'_>,
        plan: &PoolPlan,
        ask: &Ask<'_>,
    ) -> Result<Selected, SelectFault> {
        let balancer = &plan.pool.balancer;
        let ex = &mut *walk.ex;
        // A client may have several of the name, of other paths or domains: ours counts.
        let (name, buf) = (self.name.as_bytes(), ex.head_buf.filled());
        let mut told = ex.head.fields.cookies(name, buf);
        let there = told.find_map(|value| self.position(value));
        if let Some(there) = there {
            match balancer.select_bound(there, ask) {
                Ok(selected) => {
                    ex.record.bound = Bound::There;
                    return Ok(selected);
                }
                Err(BoundFault::Full) => ex.record.bound = Bound::Elsewhere,
                Err(BoundFault::Unusable) => {}
            }
        }
        balancer.select(ask)
    }

    /// Appends the `Set-Cookie` that names a server.
    pub(super) fn write(&self, out: &mut Vec<u8>, server: usize, tls: bool, unix_s: u64) {
        let Some(token) = self.tokens.get(server) else {
            return;
        };
        out.extend_from_slice(b"Set-Cookie: ");
        out.extend_from_slice(self.name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(token);
        if let Some(expires) = self.expires {
            out.extend_from_slice(b"; Max-Age=");
            write_number(out, expires.as_secs());
            let unix = Duration::from_secs(unix_s).saturating_add(expires);
            // A year of five digits cannot be written; `Max-Age` says it too.
            if unix.as_secs() < 253_402_300_800 {
                out.extend_from_slice(b"; Expires=");
                let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + unix);
                out.extend_from_slice(date.as_bytes());
            }
        }
        out.extend_from_slice(self.attributes.as_bytes());
        if self.secure == Secure::Always || self.secure == Secure::Auto && tls {
            out.extend_from_slice(b"; Secure");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The value that names a server of a pool.
fn token(key: &MacKey, pool: &str, server: &str) -> [u8; TOKEN] {
    base64url(&key.tag(&[pool.as_bytes(), b"\0", server.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> CookieSettings {
        CookieSettings {
            name: "evenkeel".to_owned(),
            expires: None,
            domain: None,
            path: "/".to_owned(),
            secure: Secure::Auto,
            same_site: SameSite::Lax,
            http_only: true,
        }
    }

    fn plan(settings: &CookieSettings, key: &[u8], pool: &str) -> CookiePlan {
        CookiePlan::new(settings, &MacKey::new(key), pool, ["a", "b"])
    }

    fn written(plan: &CookiePlan, server: usize, tls: bool) -> String {
        let mut out = Vec::new();
        plan.write(&mut out, server, tls, 784_111_777);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_value_names_its_server_and_nothing_else_does() {
        let plan_a = plan(&settings(), b"one key", "app");
        let [first, second] = [plan_a.tokens[0], plan_a.tokens[1]];
        assert_eq!(plan_a.position(&first), Some(0));
        assert_eq!(plan_a.position(&second), Some(1));
        let mut forged = first;
        forged[3] ^= 1;
        for value in [&forged[..], &first[..21], b"", b"a", b"127.0.0.1:8080"] {
            assert_eq!(plan_a.position(value), None, "{value:?}");
        }
        for (key, pool) in [(&b"another"[..], "app"), (b"one key", "other")] {
            let foreign = plan(&settings(), key, pool);
            assert_eq!(plan_a.position(&foreign.tokens[0]), None);
        }
        let again = plan(&settings(), b"one key", "app");
        assert_eq!(again.tokens, plan_a.tokens, "nodes with one secret agree");
    }

    #[test]
    fn a_value_is_what_a_cookie_may_hold() {
        for token in plan(&settings(), b"key", "app").tokens {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
            assert!(token.iter().all(plain), "{token:?}");
        }
    }

    #[test]
    fn attributes_are_written_as_they_are_set() {
        let short = plan(&settings(), b"key", "app");
        let token = String::from_utf8(short.tokens[1].to_vec()).expect("text");
        assert_eq!(
            written(&short, 1, false),
            format!("Set-Cookie: evenkeel={token}; Path=/; SameSite=Lax; HttpOnly\r\n")
        );
        assert!(written(&short, 1, true).ends_with("; HttpOnly; Secure\r\n"));
        let long = CookieSettings {
            expires: Some(Duration::from_secs(3_600)),
            domain: Some("example.com".to_owned()),
            path: "/app".to_owned(),
            secure: Secure::Never,
            same_site: SameSite::Strict,
            http_only: false,
            ..settings()
        };
        assert_eq!(
            written(&plan(&long, b"key", "app"), 1, true),
            format!(
                "Set-Cookie: evenkeel={token}; Max-Age=3600; Expires=Sun, 06 Nov 1994 09:49:37 GMT; \
                 Domain=example.com; Path=/app; SameSite=Strict\r\n"
            )
        );
        let always = CookieSettings {
            secure: Secure::Always,
            same_site: SameSite::None,
            ..settings()
        };
        let line = written(&plan(&always, b"key", "app"), 0, false);
        assert!(line.contains("; SameSite=None; HttpOnly; Secure"), "{line}");
        assert_eq!(written(&short, 7, false), "");
    }
}
