//! Edits of fields that the proxy writes itself: the edit wins, and there is one field and not two.

use keel_testkit::{Origin, Proxy};

const OURS: [&str; 5] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
    "x-request-id",
];

fn with_edits(origin: &Origin, more: &str) -> Proxy {
    Proxy::before_with(&[origin.address()], "", more)
}

#[test]
fn a_set_field_takes_the_place_of_ours() {
    let origin = Origin::echo();
    let set = "{ request: { set: { X-Forwarded-For: \"$remote_addr!\", x-forwarded-proto: https, X-Forwarded-Host: h, \
               X-Real-IP: r, X-Request-ID: i, Forwarded: for=me } } }";
    let everywhere = [
        format!("headers: {set}"),
        format!("listeners: {{ web: {{ bind: \"127.0.0.1:0\", headers: {set} }} }}"),
        format!("routes: [ {{ pool: app, headers: {set}, forwarded: {{ forwarded: true }} }} ]"),
    ];
    for more in &everywhere {
        let proxy = with_edits(&origin, more);
        let answer = proxy
            .ask("/")
            .with("X-Forwarded-For", "6.6.6.6")
            .with("X-Request-ID", "theirs")
            .send()
            .expect(200);
        let seen = OURS.map(|name| answer.seen(name));
        assert_eq!(
            seen,
            [["127.0.0.1!"], ["https"], ["h"], ["r"], ["i"]],
            "{more}"
        );
        assert_eq!(answer.seen("forwarded"), ["for=me"], "{more}");
    }
}

#[test]
fn a_pool_sets_them_too() {
    let origin = Origin::echo();
    let keys = "headers: { request: { set: { X-Real-IP: pool, X-Request-ID: pool } } }";
    let proxy = Proxy::before_with(&[origin.address()], keys, "");
    let answer = proxy.get("/").expect(200);
    assert_eq!(answer.seen("x-real-ip"), ["pool"]);
    assert_eq!(answer.seen("x-request-id"), ["pool"]);
    assert_eq!(answer.seen("x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn a_removed_field_is_not_written() {
    let origin = Origin::echo();
    let more = "routes: [ { pool: app, headers: { request: { remove: [X-Forwarded-For, X-Forwarded-Proto, \
                X-Forwarded-Host, X-Real-IP, X-Request-ID] } } } ]";
    let answer = with_edits(&origin, more).get("/").expect(200);
    for name in OURS {
        assert_eq!(answer.seen(name), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn an_added_field_stands_beside_ours() {
    let origin = Origin::echo();
    let more = "headers: { request: { add: { X-Forwarded-For: 192.0.2.1 } } }";
    let answer = with_edits(&origin, more).get("/").expect(200);
    assert_eq!(answer.seen("x-forwarded-for"), ["127.0.0.1", "192.0.2.1"]);
}

#[test]
fn an_id_under_another_name_gives_way_as_well() {
    let origin = Origin::echo();
    let more = "request_id: { header: X-Trace }\nheaders: { request: { set: { x-trace: mine } } }";
    let answer = with_edits(&origin, more).get("/").expect(200);
    assert_eq!(answer.seen("x-trace"), ["mine"]);
    assert_eq!(answer.seen("x-request-id"), Vec::<String>::new());
}

#[test]
fn answers_follow_the_same_rule() {
    let origin = Origin::echo();
    let more = "show_backend: true\n\
                headers: { response: { set: { Date: now, X-Served-By: us }, remove: [X-Total-Time-Ms] } }";
    let answer = with_edits(&origin, more).get("/").expect(200);
    assert_eq!(answer.headers("date"), ["now"]);
    assert_eq!(answer.headers("x-served-by"), ["us"]);
    assert_eq!(answer.headers("x-total-time-ms"), Vec::<String>::new());
    assert_eq!(answer.headers("x-backend").len(), 1);
    assert_eq!(answer.headers("x-response-time-ms").len(), 1);
}
