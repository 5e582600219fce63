//! Looking fields up.

use super::*;
use crate::request::{HeadLimits, RequestHead};

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nAccept: x\r\nx-ONE: 2\r\nCookie: a=1; b=\"2\"; c\r\n\
ACCEPT: y\r\ncookie: b=3;d=4=5; =e\r\nContent_Length: 7\r\n\r\n";

fn fields() -> Fields {
    let mut head = RequestHead::new();
    head.parse(HEAD, &HeadLimits::default()).unwrap();
    head.fields
}

#[test]
fn by_id() {
    let fields = fields();
    assert_eq!(fields.len(), 8);
    assert!(!fields.is_empty());
    assert!(fields.contains(HeaderId::Host) && !fields.contains(HeaderId::Te));
    assert_eq!(fields.first(HeaderId::Accept, HEAD), Some(&b"x"[..]));
    assert_eq!(fields.first(HeaderId::Te, HEAD), None);
    assert_eq!(
        fields.all(HeaderId::Accept, HEAD).collect::<Vec<_>>(),
        [b"x", b"y"]
    );
    assert_eq!(fields.all(HeaderId::Te, HEAD).count(), 0);
    assert!(fields.is_repeated(HeaderId::Accept) && !fields.is_repeated(HeaderId::Host));
    assert!(fields.contains(HeaderId::LookAlike));
    assert!(fields.present().contains(HeaderId::Cookie));
    assert_eq!((&fields).into_iter().count(), 8);
}

#[test]
fn by_name_in_any_case() {
    let fields = fields();
    assert_eq!(fields.first_named(b"X-ONE", HEAD), Some(&b"1"[..]));
    assert_eq!(
        fields.all_named(b"x-one", HEAD).collect::<Vec<_>>(),
        [b"1", b"2"]
    );
    assert_eq!(fields.first_named(b"accept", HEAD), Some(&b"x"[..]));
    assert_eq!(fields.first_named(b"x-two", HEAD), None);
    assert_eq!(fields.first_named(b"content-length", HEAD), None);
    assert_eq!(fields.first_named(b"content_length", HEAD), Some(&b"7"[..]));
    assert_eq!(fields.first_named(b"", HEAD), None);
}

#[test]
fn cookies() {
    let fields = fields();
    for (name, value) in [
        ("a", Some("1")),
        ("b", Some("\"2\"")),
        ("c", None),
        ("d", Some("4=5")),
        ("", Some("e")),
        ("A", None),
        ("e", None),
    ] {
        let found = fields.cookie(name.as_bytes(), HEAD);
        assert_eq!(found, value.map(str::as_bytes), "{name}");
    }
}
