//! Who asks, and what they may do.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};
use keel_control::Actor;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine, over the unix socket; its user as the kernel tells.
    Local {
        /// User id.
        uid: u32,
    },
    /// Over TCP.
    Remote {
        /// Its address.
        address: SocketAddr,
        /// Subject of the client certificate that the handshake verified.
        certificate: Option<String>,
    },
}

/// What holders of may change something over TCP.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token of at least 16 characters; the configuration checks that.
    pub fn new(text: String) -> Token {
        Token(text)
    }

    /// Whether these are the same. Takes as long for a wrong guess as for a right one of its length.
    fn is(&self, guess: &str) -> bool {
        let (own, guess) = (self.0.as_bytes(), guess.as_bytes());
        let pairs = own.iter().zip(guess.iter().chain(std::iter::repeat(&0)));
        let differ = pairs.fold(0, |differ, (a, b)| differ | (a ^ b));
        std::hint::black_box(differ) == 0 && own.len() == guess.len()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why somebody may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// A user of this machine who is neither root nor the process's own.
    User(u32),
    /// Neither token nor certificate came.
    Nothing {
        /// Whether a token would do.
        token: bool,
        /// Whether a client certificate would do.
        certificate: bool,
    },
    /// The token is wrong.
    Token,
    /// A browser asks, for a page of somebody else.
    CrossSite,
}

/// Whether a peer may use the API at all.
pub fn may_ask(peer: &Peer, own_uid: u32) -> Result<(), Denied> {
    match peer {
        Peer::Local { uid } if *uid != 0 && *uid != own_uid => Err(Denied::User(*uid)),
        Peer::Local { .. } | Peer::Remote { .. } => Ok(()),
    }
}

/// Who changes something, when they may.
pub fn may_change(
    peer: &Peer,
    headers: &HeaderMap,
    token: Option<&Token>,
    asks_certificates: bool,
) -> Result<Actor, Denied> {
    let (address, certificate) = match peer {
        Peer::Local { uid } => return Ok(Actor::new(format!("admin socket uid {uid}"))),
        Peer::Remote {
            address,
            certificate,
        } => (address, certificate),
    };
    // A browser shows its user's certificate whoever's page asks, and says on whose behalf (Fetch section 3.1, Fetch Metadata section 2.3).
    let site = headers.get("sec-fetch-site");
    let is_own = site.is_none_or(|it| it == "none" || it == "same-origin");
    if headers.contains_key(header::ORIGIN) || !is_own {
        return Err(Denied::CrossSite);
    }
    if let Some(subject) = certificate {
        return Ok(Actor::new(format!("certificate {subject} at {address}")));
    }
    let guess = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(bearer);
    match (token, guess) {
        (Some(token), Some(guess)) if token.is(guess) => {
            Ok(Actor::new(format!("admin token at {address}")))
        }
        (Some(_), Some(_)) => Err(Denied::Token),
        (token, _) => Err(Denied::Nothing {
            token: token.is_some(),
            certificate: asks_certificates,
        }),
    }
}

/// The token of `Bearer TOKEN`, RFC 6750 section 2.1; the scheme in any case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(certificate: Option<&str>) -> Peer {
        Peer::Remote {
            address: SocketAddr::from(([192, 0, 2, 1], 4711)),
            certificate: certificate.map(str::to_owned),
        }
    }

    fn asks(peer: &Peer, token: Option<&str>, value: Option<&str>) -> Result<String, Denied> {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header::AUTHORIZATION, value.parse().expect("a value"));
        }
        let token = token.map(|text| Token::new(text.to_owned()));
        may_change(peer, &headers, token.as_ref(), false).map(|actor| actor.to_string())
    }

    #[test]
    fn the_socket_is_for_root_and_the_own_user() {
        for (uid, fine) in [(0, true), (33, true), (34, false), (u32::MAX, false)] {
            assert_eq!(may_ask(&Peer::Local { uid }, 33).is_ok(), fine, "{uid}");
        }
        assert!(
            may_ask(&remote(None), 33).is_ok(),
            "pages are for everybody"
        );
        let local = Peer::Local { uid: 33 };
        assert_eq!(
            asks(&local, None, None).as_deref(),
            Ok("admin socket uid 33")
        );
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        let token = Token::new("0123456789abcdef".to_owned());
        for (name, value, fine) in [
            ("origin", "https://evil.test", false),
            ("origin", "null", false),
            ("sec-fetch-site", "cross-site", false),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "none", true),
            ("sec-fetch-site", "same-origin", true),
            ("x-other", "cross-site", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a value"));
            let auth = "Bearer 0123456789abcdef".parse().expect("a value");
            headers.insert(header::AUTHORIZATION, auth);
            for peer in [remote(Some("CN=ops")), remote(None)] {
                let asked = may_change(&peer, &headers, Some(&token), true);
                assert_eq!(asked.is_ok(), fine, "{name}: {value}");
                assert!(fine || asked == Err(Denied::CrossSite));
            }
        }
    }

    #[test]
    fn over_tcp_only_the_right_token_or_a_certificate_will_do() {
        const TOKEN: &str = "0123456789abcdef";
        let none = |token| {
            Err(Denied::Nothing {
                token,
                certificate: false,
            })
        };
        let peer = remote(None);
        assert_eq!(asks(&peer, None, None), none(false));
        assert_eq!(
            asks(&peer, None, Some("Bearer 0123456789abcdef")),
            none(false)
        );
        assert_eq!(asks(&peer, Some(TOKEN), None), none(true));
        assert_eq!(
            asks(&peer, Some(TOKEN), Some("Basic 0123456789abcdef")),
            none(true)
        );
        assert_eq!(asks(&peer, Some(TOKEN), Some("Bearer ")), none(true));
        for wrong in [
            "0123456789abcdeF",
            "0123456789abcde",
            "0123456789abcdef0",
            "x",
        ] {
            let value = format!("Bearer {wrong}");
            assert_eq!(
                asks(&peer, Some(TOKEN), Some(&value)),
                Err(Denied::Token),
                "{wrong}"
            );
        }
        let right = asks(&peer, Some(TOKEN), Some("bearer 0123456789abcdef"));
        assert_eq!(right.as_deref(), Ok("admin token at 192.0.2.1:4711"));
        let known = asks(&remote(Some("CN=ops")), Some(TOKEN), None);
        assert_eq!(known.as_deref(), Ok("certificate CN=ops at 192.0.2.1:4711"));
        assert!(!format!("{:?}", Token::new(TOKEN.to_owned())).contains(TOKEN));
    }
}
