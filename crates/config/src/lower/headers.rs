//! Header edits, and what backends are told about the client.

use super::{Lower, Seen, text_of};
use crate::decode::{Data, Fields, Item, items_of};
use crate::diagnostic::codes;
use crate::keys;
use crate::model::{Forwarded, HeaderEdits, HeaderRules, HeaderValue, HostHeader, XForwarded};
use crate::span::Spanned;

/// Fields that frame a message or belong to one connection (RFC 9110 section 7.6.1). Lower case.
const PROTECTED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Lower<'_> {
    pub(super) fn headers(&mut self, fields: Option<Fields>) -> HeaderRules {
        let Some(mut fields) = fields else {
            return HeaderRules::default();
        };
        HeaderRules {
            request: self.edits(fields.section(&keys::HEADERS_REQUEST)),
            response: self.edits(fields.section(&keys::HEADERS_RESPONSE)),
        }
    }

    pub(super) fn edits(&mut self, fields: Option<Fields>) -> HeaderEdits {
        let Some(mut fields) = fields else {
            return HeaderEdits::default();
        };
        let mut edits = HeaderEdits::default();
        let remove = fields
            .items(&keys::EDIT_REMOVE)
            .into_iter()
            .filter_map(text_of);
        for name in remove {
            self.editable(&name);
            edits.remove.push(name);
        }
        edits.set = self.values(fields.entries(&keys::EDIT_SET));
        for (name, item) in fields.entries(&keys::EDIT_ADD) {
            self.editable(&name);
            let values = items_of(item).into_iter().filter_map(text_of);
            edits.add.extend(values.map(|value| HeaderValue {
                name: name.clone(),
                value,
            }));
        }
        edits
    }

    /// Fields of which each is written once; names that differ only in case are the same.
    pub(super) fn values(&mut self, entries: Vec<(Spanned<String>, Item)>) -> Vec<HeaderValue> {
        let mut seen = Seen::new();
        let mut values = Vec::with_capacity(entries.len());
        for (name, item) in entries {
            self.editable(&name);
            if let Some(first) = seen.insert(name.to_ascii_lowercase(), name.span) {
                let what = format!("the header `{}` is set twice", name.value);
                let sources = self.input.sources;
                self.report(&codes::DUPLICATE_NAME, name.span, what, |report| {
                    report
                        .why("names of headers are the same in any case, so one of the two would be lost")
                        .related(sources, first, "first here")
                        .help("remove one; to send several values use `add`")
                });
            }
            values.extend(text_of(item).map(|value| HeaderValue { name, value }));
        }
        values
    }

    /// Reports a header that is written by the proxy alone.
    pub(super) fn editable(&mut self, name: &Spanned<String>) {
        let lower = name.to_ascii_lowercase();
        let help = match lower.as_str() {
            "host" => "use `host: keep | server | NAME` of a route or pool",
            "upgrade" | "connection" => {
                "remove it: connections are kept and upgraded (WebSocket) without it"
            }
            name if PROTECTED.contains(&name) => "take another header, or remove this one",
            _ => return,
        };
        let what = format!("the header `{}` cannot be edited", name.value);
        self.report(&codes::PROTECTED_FIELD, name.span, what, |report| {
            report.help(help)
        });
    }

    /// `outer`: what holds for keys that a route does not set.
    pub(super) fn forwarded(
        &mut self,
        fields: Option<Fields>,
        outer: Option<&Forwarded>,
    ) -> Forwarded {
        let mut fields = match (fields, outer) {
            (Some(fields), _) => fields,
            (None, Some(outer)) => return outer.clone(),
            (None, None) => self.defaults(&keys::FORWARDED, crate::span::Span::default()),
        };
        let own = |fields: &Fields, key| outer.is_none() || fields.is_set(key);
        let base = outer.cloned().unwrap_or(Forwarded {
            x_forwarded: XForwarded::Append,
            x_real_ip: true,
            forwarded: false,
        });
        Forwarded {
            x_forwarded: match own(&fields, &keys::X_FORWARDED) {
                true => fields.word::<XForwarded>(&keys::X_FORWARDED),
                false => base.x_forwarded,
            },
            x_real_ip: match own(&fields, &keys::X_REAL_IP) {
                true => fields.value(&keys::X_REAL_IP),
                false => base.x_real_ip,
            },
            forwarded: match own(&fields, &keys::RFC_FORWARDED) {
                true => fields.value(&keys::RFC_FORWARDED),
                false => base.forwarded,
            },
        }
    }

    pub(super) fn host(&mut self, item: Option<Item>) -> Option<HostHeader> {
        let item = item?;
        match item.data {
            Data::Word(0) => Some(HostHeader::Keep),
            Data::Word(_) => Some(HostHeader::Server),
            _ => text_of(item).map(HostHeader::Literal),
        }
    }
}
