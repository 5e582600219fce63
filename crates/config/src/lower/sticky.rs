//! Persistence.

use super::{Lower, text_of};
use crate::decode::{Data, Fields, Item};
use crate::diagnostic::codes;
use crate::keys;
use crate::model::{CookieSecure, LearnFrom, SameSite, Sticky, StickyBy, StickyCookie};
use crate::span::{Span, Spanned};

impl Lower<'_> {
    pub(super) fn sticky(&mut self, fields: &mut Fields) -> Option<Sticky> {
        let item = fields.item(&keys::POOL_STICKY)?;
        let span = item.span;
        let (by, mut own) = match item.data {
            Data::Word(at) => {
                let by = match at {
                    0 => {
                        let own = self.defaults(&keys::STICKY_COOKIE_TABLE, span);
                        StickyBy::Cookie(self.cookie(own, span)?)
                    }
                    1 => StickyBy::ClientAddress,
                    _ => StickyBy::TlsSession,
                };
                (by, self.without_kind(span))
            }
            Data::Fields(mut own) => (self.sticky_by(&mut own)?, own),
            _ => return None,
        };
        if matches!(by, StickyBy::Cookie(_)) {
            for key in [&keys::STICKY_SIZE, &keys::STICKY_IDLE] {
                if own.is_set(key) {
                    let what = format!(
                        "`{}` has no effect: a cookie of ours needs no memory",
                        key.name
                    );
                    self.report(&codes::NO_EFFECT, own.span_of(key), what, |report| {
                        report.help("remove it; how long the cookie lasts says `expires`")
                    });
                }
            }
        }
        Some(Sticky {
            by: Spanned::new(by, span),
            size: own.value(&keys::STICKY_SIZE),
            idle: own.value(&keys::STICKY_IDLE),
        })
    }

    /// The defaults of the section for a word alone.
    fn without_kind(&mut self, span: Span) -> Fields {
        let node = crate::tree::fragment("{ client_address: true }", span);
        crate::decode::Decoder::new(self.input, self.found).section(&node, &keys::STICKY)
    }

    fn sticky_by(&mut self, own: &mut Fields) -> Option<StickyBy> {
        if own.is_set(&keys::STICKY_COOKIE) {
            let item = own.item(&keys::STICKY_COOKIE)?;
            let span = item.span;
            let cookie = match item.data {
                Data::Fields(fields) => self.cookie(fields, span)?,
                data => {
                    let name = text_of(Item { span, data })?;
                    let own = self.defaults(&keys::STICKY_COOKIE_TABLE, span);
                    let cookie = self.named_cookie(own, name);
                    self.cookie_prefix(&cookie, span);
                    cookie
                }
            };
            return Some(StickyBy::Cookie(cookie));
        }
        if own.is_set(&keys::STICKY_LEARN) {
            let mut fields = own.section(&keys::STICKY_LEARN)?;
            let cookie = fields.get(&keys::LEARN_COOKIE).map(LearnFrom::Cookie);
            let learn = cookie.or_else(|| fields.get(&keys::LEARN_HEADER).map(LearnFrom::Header));
            return learn.map(StickyBy::Learn);
        }
        if own.is_set(&keys::STICKY_ADDRESS) {
            return Some(StickyBy::ClientAddress);
        }
        if own.is_set(&keys::STICKY_TLS) {
            return Some(StickyBy::TlsSession);
        }
        own.get(&keys::STICKY_HEADER).map(StickyBy::Header)
    }

    fn cookie(&mut self, mut own: Fields, span: Span) -> Option<StickyCookie> {
        let name: Spanned<String> = own.get(&keys::COOKIE_NAME)?;
        let same_site_span = own.span_of(&keys::COOKIE_SAME_SITE);
        let cookie = self.named_cookie(own, name);
        if cookie.same_site == SameSite::None && cookie.secure == CookieSecure::Never {
            let what = "`same_site: none` stands beside `secure: never`";
            self.report(&codes::CONFLICT, same_site_span, what, |report| {
                report
                    .why("browsers refuse such a cookie")
                    .help("write `secure: always`")
            });
        }
        self.cookie_prefix(&cookie, span);
        Some(cookie)
    }

    fn named_cookie(&mut self, mut own: Fields, name: Spanned<String>) -> StickyCookie {
        StickyCookie {
            name,
            expires: own.get(&keys::COOKIE_EXPIRES),
            domain: own.get(&keys::COOKIE_DOMAIN),
            path: own.value(&keys::COOKIE_PATH),
            secure: own.word::<CookieSecure>(&keys::COOKIE_SECURE),
            same_site: own.word::<SameSite>(&keys::COOKIE_SAME_SITE),
            http_only: own.value(&keys::COOKIE_HTTP_ONLY),
        }
    }

    /// What browsers ask of names with a prefix (RFC 6265bis section 4.1.3).
    fn cookie_prefix(&mut self, cookie: &StickyCookie, span: Span) {
        let name = cookie.name.to_ascii_lowercase();
        let host = name.starts_with("__host-");
        let secure = cookie.secure == CookieSecure::Always;
        let wrong = if (host || name.starts_with("__secure-")) && !secure {
            "`secure: always`"
        } else if host && (cookie.domain.is_some() || cookie.path != "/") {
            "`path: /` and no `domain`"
        } else {
            return;
        };
        let what = format!("the cookie `{}` needs {wrong}", cookie.name.value);
        self.report(&codes::CONFLICT, span, what, |report| {
            report
                .why("browsers refuse a cookie with this prefix otherwise")
                .help("set it so, or take another name")
        });
    }
}
