//! Access logs.

use super::{ACCESS_LOGS_MAX, Lower, text_of};
use crate::decode::{Data, Fields, Item};
use crate::diagnostic::codes;
use crate::keys;
use crate::model::{AccessLog, Facility, LogFormat, LogId, LogTarget, NamedFormat};
use crate::span::Spanned;
use crate::values;
use crate::words::Word;

impl Lower<'_> {
    pub(super) fn named_logs(&mut self, entries: Vec<(Spanned<String>, Item)>) {
        for (name, item) in entries {
            let Data::Fields(fields) = item.data else {
                continue;
            };
            if name.value == "off" {
                self.report(
                    &codes::BAD_NAME,
                    name.span,
                    "an access log cannot be named `off`",
                    |r| {
                        r.why("`access_log: off` means no log")
                            .help("give it another name")
                            .help("give it another name")
                    },
                );
            }
            let log = self.log(name.clone(), fields);
            if let Some(id) = self.add_log(log) {
                self.log_names.add(&name, id);
            }
        }
    }

    fn add_log(&mut self, log: AccessLog) -> Option<LogId> {
        let id = LogId(u16::try_from(self.logs.len()).ok()?);
        if self.logs.len() == ACCESS_LOGS_MAX {
            self.limit(
                ACCESS_LOGS_MAX + 1,
                ACCESS_LOGS_MAX,
                "access logs",
                log.name.span,
            );
            return None;
        }
        self.logs.push(log);
        Some(id)
    }

    fn log(&mut self, name: Spanned<String>, mut fields: Fields) -> AccessLog {
        let span = fields.span_of(&keys::LOG_TO);
        let to: String = fields.value(&keys::LOG_TO);
        let target = match values::log_target(&to) {
            Ok(LogTarget::File(path)) => {
                LogTarget::File(self.input.path(span, &path.to_string_lossy()))
            }
            Ok(target) => target,
            Err(_) => LogTarget::Stdout,
        };
        let is_syslog = matches!(target, LogTarget::SyslogUdp(_) | LogTarget::SyslogUnix(_));
        for key in [&keys::LOG_FACILITY, &keys::LOG_TAG] {
            if fields.is_set(key) && !is_syslog {
                let what = format!(
                    "`{}` has no effect: the log does not go to syslog",
                    key.name
                );
                self.report(&codes::NO_EFFECT, fields.span_of(key), what, |report| {
                    report.help("remove it, or write `to: syslog:/dev/log`")
                });
            }
        }
        let format_span = fields.span_of(&keys::LOG_FORMAT);
        let format = match fields.item(&keys::LOG_FORMAT).map(|item| item.data) {
            Some(Data::Word(at)) => LogFormat::Named(
                NamedFormat::ALL
                    .get(at)
                    .copied()
                    .unwrap_or(NamedFormat::Combined),
            ),
            Some(Data::Text(text)) => LogFormat::Template(text.text),
            _ => LogFormat::Named(NamedFormat::Combined),
        };
        AccessLog {
            name,
            target: Spanned::new(target, span),
            format: Spanned::new(format, format_span),
            facility: fields.word::<Facility>(&keys::LOG_FACILITY),
            tag: fields.value(&keys::LOG_TAG),
        }
    }

    /// The value of `access_log`: `off`, names, or logs in place, which are named after `place`.
    pub(super) fn log_use(&mut self, item: Option<Item>, place: &str) -> Option<Vec<LogId>> {
        let item = item?;
        let items = match item.data {
            Data::Word(_) => Vec::new(),
            Data::Items(items) => items,
            data => vec![Item {
                span: item.span,
                data,
            }],
        };
        let mut ids = Vec::with_capacity(items.len());
        for item in items {
            let span = item.span;
            let id = match item.data {
                Data::Fields(fields) => self.log_in_place(fields, place),
                data => text_of(Item { span, data }).and_then(|name| self.log_named(&name)),
            };
            if let Some(id) = id
                && !ids.contains(&id)
            {
                ids.push(id);
            }
        }
        Some(ids)
    }

    fn log_named(&mut self, name: &Spanned<String>) -> Option<LogId> {
        if ["stdout", "stderr"].contains(&name.value.as_str()) {
            let what = format!("there is no access log named `{}`", name.value);
            let help = format!("write `access_log: {{ to: {} }}`", name.value);
            if self
                .log_names
                .unused()
                .all(|(_, other, _)| other != name.value)
            {
                self.report(&codes::UNKNOWN_NAME, name.span, what, |report| {
                    report.help(help)
                });
                return None;
            }
        }
        self.refer(|lower| &lower.log_names, &name.value, name.span)
            .map(|id| id.value)
    }

    /// The same log written in several places is one.
    fn log_in_place(&mut self, fields: Fields, place: &str) -> Option<LogId> {
        let name = Spanned::new(place.to_owned(), fields.span());
        let log = self.log(name, fields);
        let same = |other: &AccessLog| {
            other.target == log.target
                && other.format == log.format
                && other.facility == log.facility
                && other.tag == log.tag
        };
        let named = self.log_names.len();
        match self.logs.iter().skip(named).position(same) {
            Some(at) => u16::try_from(named + at).ok().map(LogId),
            None => self.add_log(log),
        }
    }
}
