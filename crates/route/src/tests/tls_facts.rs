//! Conditions on the TLS connection.

use super::*;
use crate::{HeaderSource, TlsFact};

/// Facts of a connection; one that is not listed is not known.
struct Facts(Vec<(TlsFact, &'static str)>);

impl HeaderSource for Facts {
    fn each(&self, _name: &[u8], _f: &mut dyn FnMut(&[u8]) -> bool) {}

    fn tls(&self, fact: TlsFact) -> Option<&[u8]> {
        let found = self.0.iter().find(|(known, _)| *known == fact);
        found.map(|(_, value)| value.as_bytes())
    }
}

fn tls(fact: TlsFact, test: ValueTest) -> Matcher {
    Matcher::Tls { fact, test }
}

/// The route that both ways of looking give for a connection with these facts.
fn route(router: &Router, facts: &[(TlsFact, &'static str)]) -> Option<usize> {
    let plain = Request::new("GET", "a.example", "/");
    let facts = Facts(facts.to_vec());
    let view = RequestView {
        headers: &facts,
        ..plain.view()
    };
    let found = router.find(&view);
    assert_eq!(found, router.find_linear(&view));
    found
}

#[test]
fn facts_are_compared_and_absent_ones_are_told_apart() {
    let router = router([
        tls(TlsFact::Ja4, is("t13d1516h2_8daaf6152771_02713d6af862")),
        tls(TlsFact::ServerName, ValueTest::Suffix(".internal".into())),
        all([
            tls(TlsFact::ClientVerified, ValueTest::Present),
            tls(
                TlsFact::ClientSubject,
                ValueTest::Contains("O=Staff".into()),
            ),
        ]),
        tls(TlsFact::Version, is("TLSv1.2")),
        tls(TlsFact::ClientVerified, ValueTest::Absent),
    ]);
    let ja4 = (TlsFact::Ja4, "t13d1516h2_8daaf6152771_02713d6af862");
    let verified = (TlsFact::ClientVerified, "1");
    assert_eq!(route(&router, &[ja4]), Some(0));
    assert_eq!(
        route(&router, &[(TlsFact::ServerName, "a.internal")]),
        Some(1)
    );
    assert_eq!(
        route(
            &router,
            &[verified, (TlsFact::ClientSubject, "CN=a,O=Staff")]
        ),
        Some(2)
    );
    assert_eq!(route(&router, &[(TlsFact::Version, "TLSv1.2")]), Some(3));
    assert_eq!(route(&router, &[verified]), None);
    // A plain connection has no facts.
    assert_eq!(route(&router, &[]), Some(4));
    assert_eq!(
        find(&router, &Request::new("GET", "a.example", "/")),
        Some(4)
    );
}

#[test]
fn many_fingerprints_are_found_by_their_table() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let router = router(names.map(|name| tls(TlsFact::ClientFingerprint, is(name))));
    for (at, name) in names.into_iter().enumerate() {
        assert_eq!(
            route(&router, &[(TlsFact::ClientFingerprint, name)]),
            Some(at)
        );
    }
    assert_eq!(route(&router, &[(TlsFact::Ja4, "a")]), None);
}
