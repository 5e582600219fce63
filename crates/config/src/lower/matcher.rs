//! Conditions.

use super::{Lower, text_of};
use crate::decode::{Data, Fields, Item, items_of};
use crate::diagnostic::codes;
use crate::keys;
use crate::model::{
    Condition, FieldTest, PathPattern, Scheme, TlsFact, TlsTest, TlsVersion, ValueTest,
};
use crate::span::Spanned;
use crate::values;

/// A key that holds a text, and the test that it stands for.
type TestKey<T> = (&'static keys::Key, fn(String) -> T);

impl Lower<'_> {
    pub(super) fn condition(&mut self, mut fields: Fields) -> Condition {
        let mut all = Vec::new();
        let listeners = fields.items(&keys::MATCH_LISTENER);
        if !listeners.is_empty() {
            let names = listeners.into_iter().filter_map(text_of);
            let ids = names
                .filter_map(|name| self.refer(|lower| &lower.listeners, &name.value, name.span));
            all.push(Condition::Listener(ids.collect()));
        }
        if let Some(item) = fields.item(&keys::MATCH_SCHEME) {
            all.extend(crate::decode::word_of::<Scheme>(item).map(Condition::Scheme));
        }
        let hosts = fields.items(&keys::MATCH_HOST);
        if !hosts.is_empty() {
            let texts = hosts.into_iter().filter_map(text_of);
            let patterns = texts.filter_map(|text| {
                Some(Spanned::new(values::host_pattern(&text).ok()?, text.span))
            });
            all.push(Condition::Host(patterns.collect()));
        }
        let paths = fields.items(&keys::MATCH_PATH);
        if !paths.is_empty() {
            let patterns = paths.into_iter().filter_map(|item| self.path(item));
            all.push(Condition::Path(patterns.collect()));
        }
        let methods = fields.items(&keys::MATCH_METHOD);
        if !methods.is_empty() {
            all.push(Condition::Method(
                methods.into_iter().filter_map(text_of).collect(),
            ));
        }
        for (key, condition) in [
            (
                &keys::MATCH_HEADER,
                Condition::Header as fn(FieldTest) -> Condition,
            ),
            (&keys::MATCH_COOKIE, Condition::Cookie),
            (&keys::MATCH_QUERY, Condition::Query),
        ] {
            for (name, item) in fields.entries(key) {
                let tests = items_of(item).into_iter().filter_map(test).collect();
                all.push(condition(FieldTest { name, tests }));
            }
        }
        let clients = fields.items(&keys::MATCH_CLIENT);
        if !clients.is_empty() {
            all.push(Condition::Client(self.networks(clients)));
        }
        if let Some(tls) = fields.section(&keys::MATCH_TLS) {
            self.tls_tests(tls, &mut all);
        }
        all.extend(self.conditions(fields.items(&keys::MATCH_ALL)));
        let any = self.conditions(fields.items(&keys::MATCH_ANY));
        if !any.is_empty() {
            all.push(Condition::Any(any));
        }
        if let Some(not) = fields.section(&keys::MATCH_NOT) {
            all.push(Condition::Not(Box::new(self.condition(not))));
        }
        match (all.pop(), all.is_empty()) {
            (Some(only), true) => only,
            (Some(last), false) => {
                all.push(last);
                Condition::All(all)
            }
            (None, _) => Condition::All(Vec::new()),
        }
    }

    fn tls_tests(&mut self, mut fields: Fields, all: &mut Vec<Condition>) {
        let span = fields.span();
        let table = fields.table();
        let empty = !table.keys.iter().any(|key| fields.is_set(key));
        let mut add = |fact, tests: Vec<Spanned<ValueTest>>| {
            if !tests.is_empty() {
                all.push(Condition::Tls(TlsTest { fact, tests }));
            }
        };
        for (key, fact) in [
            (&keys::TLS_TEST_NAME, TlsFact::ServerName),
            (&keys::TLS_TEST_JA4, TlsFact::Ja4),
            (&keys::TLS_TEST_SUBJECT, TlsFact::ClientSubject),
        ] {
            let items = fields.items(key).into_iter();
            add(fact, items.filter_map(test).collect());
        }
        let version_span = fields.span_of(&keys::TLS_TEST_VERSION);
        if let Some(version) = fields
            .item(&keys::TLS_TEST_VERSION)
            .and_then(crate::decode::word_of)
        {
            let name = match version {
                TlsVersion::Tls12 => "TLSv1.2",
                TlsVersion::Tls13 => "TLSv1.3",
            };
            let test = ValueTest::Exact(name.to_owned());
            add(TlsFact::Version, vec![Spanned::new(test, version_span)]);
        }
        let pins = fields.items(&keys::TLS_TEST_FINGERPRINT).into_iter();
        let pins = pins.filter_map(text_of).filter_map(|text| {
            let bytes = values::fingerprint(&text).ok()?;
            let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(Spanned::new(ValueTest::Exact(hex), text.span))
        });
        add(TlsFact::ClientFingerprint, pins.collect());
        let verified_span = fields.span_of(&keys::TLS_TEST_VERIFIED);
        if let Some(verified) = fields.get::<bool>(&keys::TLS_TEST_VERIFIED) {
            let test = match verified {
                true => ValueTest::Present,
                false => ValueTest::Absent,
            };
            add(
                TlsFact::ClientVerified,
                vec![Spanned::new(test, verified_span)],
            );
        }
        if empty {
            self.report(&codes::EMPTY, span, "`tls` has no test", |report| {
                report.help("for any connection with TLS write `scheme: https`")
            });
        }
    }

    fn conditions(&mut self, items: Vec<Item>) -> Vec<Condition> {
        let mut conditions = Vec::with_capacity(items.len());
        for item in items {
            if let Data::Fields(fields) = item.data {
                conditions.push(self.condition(fields));
            }
        }
        conditions
    }

    fn path(&mut self, item: Item) -> Option<Spanned<PathPattern>> {
        let span = item.span;
        let mut fields = match item.data {
            Data::Fields(fields) => fields,
            data => {
                let path = text_of(Item { span, data })?;
                return Some(path.map(|path| PathPattern::Prefix {
                    path,
                    segment: true,
                }));
            }
        };
        let segment_set = fields.is_set(&keys::PATH_SEGMENT);
        let segment_span = fields.span_of(&keys::PATH_SEGMENT);
        let segment = fields.value(&keys::PATH_SEGMENT);
        if let Some(path) = fields.get::<Spanned<String>>(&keys::PATH_PREFIX) {
            return Some(path.map(|path| PathPattern::Prefix { path, segment }));
        }
        if segment_set {
            let what = "`segment` stands without `prefix`";
            self.report(&codes::CONFLICT, segment_span, what, |report| {
                report.help("remove it; it says how a `prefix` ends")
            });
        }
        let tests: [TestKey<PathPattern>; 3] = [
            (&keys::PATH_EXACT, PathPattern::Exact),
            (&keys::PATH_GLOB, PathPattern::Glob),
            (&keys::PATH_REGEX, PathPattern::Regex),
        ];
        tests.into_iter().find_map(|(key, pattern)| {
            fields
                .get::<Spanned<String>>(key)
                .map(|text| text.map(pattern))
        })
    }
}

fn test(item: Item) -> Option<Spanned<ValueTest>> {
    let span = item.span;
    let mut fields = match item.data {
        Data::Fields(fields) => fields,
        data => return text_of(Item { span, data }).map(|text| text.map(ValueTest::Exact)),
    };
    if let Some(present) = fields.get::<bool>(&keys::VALUE_PRESENT) {
        let test = if present {
            ValueTest::Present
        } else {
            ValueTest::Absent
        };
        return Some(Spanned::new(test, span));
    }
    let tests: [TestKey<ValueTest>; 5] = [
        (&keys::VALUE_EXACT, ValueTest::Exact),
        (&keys::VALUE_PREFIX, ValueTest::Prefix),
        (&keys::VALUE_SUFFIX, ValueTest::Suffix),
        (&keys::VALUE_CONTAINS, ValueTest::Contains),
        (&keys::VALUE_REGEX, ValueTest::Regex),
    ];
    tests.into_iter().find_map(|(key, test)| {
        fields
            .get::<Spanned<String>>(key)
            .map(|text| text.map(test))
    })
}
