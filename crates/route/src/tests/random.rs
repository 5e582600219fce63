//! Random route tables and requests: the index gives what trying every route gives, and what the documentation says.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{
    BoxedStrategy, Just, ProptestConfig, Strategy, prop_assert, prop_assert_eq, prop_oneof,
    proptest,
};
use proptest::sample::select;

use super::*;

const LABELS: [&str; 3] = ["a", "b", "c"];
const SEGMENTS: [&str; 8] = ["a", "b", "ab", "api", "x.y", "%2F", "%61", ""];
const REGEXES: [&str; 14] = [
    "^/a",
    "^/(a|b)/",
    "b$",
    "^/[ab]+$",
    "(?i)^/A",
    "api",
    "^/.*x",
    "^/a|^/b/",
    "^/a|b",
    "^$",
    "^/api/(a|b|ab)",
    "",
    "(^/a|/b)/?",
    "^(/a){1,2}$",
];
const VALUES: [&str; 7] = ["", "1", "2", "12", "A 1", "v1", "v12"];
const VALUE_REGEXES: [&str; 5] = ["^v", "1", "2$", "v1|1", ""];
const METHODS: [&str; 5] = ["GET", "POST", "HEAD", "PURGE", "BAN"];

fn host_name() -> impl Strategy<Value = String> {
    vec(select(&LABELS[..]), 1..4).prop_map(|labels| labels.join("."))
}

fn raw_path() -> impl Strategy<Value = String> {
    (vec(select(&SEGMENTS[..]), 0..4), proptest::bool::ANY).prop_map(|(segments, slash)| {
        let tail = if slash || segments.is_empty() {
            "/"
        } else {
            ""
        };
        format!("/{}{tail}", segments.join("/"))
    })
}

fn host_pattern() -> impl Strategy<Value = Matcher> {
    prop_oneof![
        6 => host_name().prop_map(HostPattern::Exact),
        1 => host_name().prop_map(|name| HostPattern::Exact(name.to_uppercase())),
        4 => host_name().prop_map(|name| HostPattern::Wildcard(format!("*.{name}"))),
        1 => Just(HostPattern::Any),
        1 => Just(HostPattern::Exact(String::new())),
    ]
    .prop_map(Matcher::Host)
}

fn glob_source() -> impl Strategy<Value = String> {
    vec(
        select(&["a", "b", "api", "*", "**", "a*", "*b", "**b"][..]),
        1..5,
    )
    .prop_map(|segments| format!("/{}", segments.join("/")))
    // A `**` beside another shares its slash; the oracle's text replacement cannot say that.
    .prop_filter("two in a row", |glob| !glob.contains("/**/**"))
}

fn path_pattern() -> impl Strategy<Value = Matcher> {
    prop_oneof![
        4 => raw_path().prop_map(PathPattern::Exact),
        6 => raw_path().prop_map(|path| PathPattern::Prefix { path, segment: true }),
        3 => raw_path().prop_map(|path| PathPattern::Prefix { path, segment: false }),
        3 => glob_source().prop_map(PathPattern::Glob),
        3 => select(&REGEXES[..]).prop_map(|source| PathPattern::Regex(source.to_owned())),
        2 => select(&REGEXES[..]).prop_map(|source| PathPattern::RegexStart(source.to_owned())),
    ]
    .prop_map(Matcher::Path)
}

fn value_test() -> impl Strategy<Value = ValueTest> {
    let text = || select(&VALUES[..]).prop_map(str::to_owned);
    let source = || select(&VALUE_REGEXES[..]).prop_map(str::to_owned);
    prop_oneof![
        1 => Just(ValueTest::Present),
        1 => Just(ValueTest::Absent),
        8 => text().prop_map(ValueTest::Exact),
        1 => text().prop_map(ValueTest::Prefix),
        1 => text().prop_map(ValueTest::Suffix),
        1 => text().prop_map(ValueTest::Contains),
        1 => source().prop_map(ValueTest::Regex),
        1 => source().prop_map(ValueTest::RegexStart),
    ]
}

fn value_matcher() -> impl Strategy<Value = Matcher> {
    let name = || select(&["x-a", "X-B", "t"][..]).prop_map(str::to_owned);
    (0..3, name(), value_test()).prop_map(|(kind, name, test)| match kind {
        0 => Matcher::Header { name, test },
        1 => Matcher::Cookie { name, test },
        _ => Matcher::Query { name, test },
    })
}

fn other_matcher() -> impl Strategy<Value = Matcher> {
    let networks = ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "0.0.0.0/0"];
    prop_oneof![
        1 => Just(Matcher::Always),
        2 => vec(0..3u16, 1..3).prop_map(Matcher::Listener),
        4 => vec(select(&METHODS[..]), 1..3)
            .prop_map(|names| Matcher::Method(names.into_iter().map(str::to_owned).collect())),
        1 => vec(select(networks.to_vec()), 1..3).prop_map(|networks| {
            Matcher::Client(networks.into_iter().map(|net| net.parse().unwrap()).collect())
        }),
        1 => select(&["http", "https"][..]).prop_map(|scheme| Matcher::Scheme(scheme.to_owned())),
    ]
}

fn leaf() -> impl Strategy<Value = Matcher> {
    prop_oneof![
        3 => host_pattern(),
        4 => path_pattern(),
        3 => value_matcher(),
        3 => other_matcher(),
    ]
}

fn nested() -> impl Strategy<Value = Matcher> {
    leaf().prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            3 => vec(inner.clone(), 0..4).prop_map(Matcher::All),
            3 => vec(inner.clone(), 1..4).prop_map(Matcher::Any),
            1 => inner.prop_map(|part| Matcher::Not(Box::new(part))),
        ]
    })
}

/// As configurations have them: some hosts, some paths, and perhaps one thing more.
fn typical() -> impl Strategy<Value = Matcher> {
    let some = |leaf: BoxedStrategy<Matcher>| option::of(vec(leaf, 1..3).prop_map(Matcher::Any));
    let more = option::weighted(0.3, prop_oneof![value_matcher(), other_matcher(), nested()]);
    (
        some(host_pattern().boxed()),
        some(path_pattern().boxed()),
        more,
    )
        .prop_map(|(hosts, paths, more)| {
            Matcher::All([hosts, paths, more].into_iter().flatten().collect())
        })
}

/// Several conditions on the same thing, which the index must join: nested, apart, or both required.
fn stacked() -> impl Strategy<Value = Matcher> {
    prop_oneof![
        vec(host_pattern(), 2..4),
        vec(path_pattern(), 2..4),
        vec(value_matcher(), 2..4),
        vec(other_matcher(), 2..4),
    ]
    .prop_map(Matcher::All)
}

fn table() -> impl Strategy<Value = Vec<Matcher>> {
    prop_oneof![
        4 => vec(prop_oneof![3 => typical(), 2 => nested()], 1..40),
        2 => vec(prop_oneof![4 => stacked(), 1 => typical()], 5..40),
        // Many exact values in one place, so that tables are made.
        2 => vec(prop_oneof![6 => value_matcher(), 1 => typical()], 10..50),
        // Long lists of paths under few hosts.
        2 => vec((host_pattern(), path_pattern()).prop_map(|(host, path)| all([host, path])), 10..80),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let values = || select(&["", "1", "2", "12", "A 1", "v1", "v12", "zz"][..]);
    let fields = vec((select(&["x-a", "x-b", "X-A", "t"][..]), values()), 0..4);
    let cookies = vec(
        vec((select(&["x-a", "X-B", "t"][..]), values()), 1..3).prop_map(|pairs| {
            pairs
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .join("; ")
        }),
        0..3,
    );
    (fields, cookies).prop_map(|(fields, cookies)| {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let cookies = cookies.into_iter().map(|line| ("Cookie".to_owned(), line));
        fields.into_iter().map(owned).chain(cookies).collect()
    })
}

fn query_string() -> impl Strategy<Value = Option<String>> {
    let encoded = select(
        &[
            "", "1", "2", "12", "%41+1", "A%201", "A 1", "v1", "v12", "zz",
        ][..],
    );
    option::of(
        vec(
            (select(&["x-a", "X-B", "t", "z"][..]), option::of(encoded)),
            0..4,
        )
        .prop_map(|pairs| {
            let piece = |(name, value): &(&str, Option<&str>)| match value {
                Some(value) => format!("{name}={value}"),
                None => (*name).to_owned(),
            };
            pairs.iter().map(piece).collect::<Vec<_>>().join("&")
        }),
    )
}

fn request() -> impl Strategy<Value = Request> {
    let host = prop_oneof![
        1 => Just(String::new()),
        8 => vec(select(&LABELS[..]), 1..6).prop_map(|labels| labels.join(".")),
    ];
    let path = prop_oneof![
        1 => Just("*".to_owned()),
        12 => vec(select(&["a", "b", "ab", "api", "apix", "x.y", "%2F"][..]), 0..6)
            .prop_flat_map(|segments| {
                let path = format!("/{}", segments.join("/"));
                select(vec![path.clone(), path.trim_end_matches('/').to_owned() + "/"])
            }),
    ];
    let clients = [
        "10.1.2.3",
        "10.9.9.9",
        "192.0.2.1",
        "fd00::1",
        "::ffff:10.1.0.1",
        "2001:db8::1",
    ];
    let rest = (
        0..4u16,
        select(&METHODS[..]),
        select(&["http", "https"][..]),
        select(clients.to_vec()),
    );
    (host, path, headers(), query_string(), rest).prop_map(
        |(host, path, headers, query, (listener, method, scheme, client))| Request {
            listener,
            method: method.to_owned(),
            scheme,
            host,
            path,
            query,
            client: client.parse().unwrap(),
            headers,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_index_finds_what_trying_all_finds(matchers in table(), requests in vec(request(), 30)) {
        let router = router(matchers.clone());
        for request in &requests {
            let view = request.view();
            let expected = router.find_linear(&view);
            prop_assert_eq!(router.find(&view), expected, "{:?}", request);
            let trials = router.explain(&view, usize::MAX);
            let explained = trials.last().filter(|trial| trial.matched).map(|trial| trial.route);
            prop_assert_eq!(explained, expected);
            prop_assert!(trials.iter().all(|trial| !trial.why.is_empty()), "{:?}", trials);
        }
        for shadow in router.unreachable() {
            prop_assert!(shadow.by < shadow.route);
            for request in &requests {
                let narrow = oracle::holds(&matchers[shadow.route], request);
                let wide = oracle::holds(&matchers[shadow.by], request);
                prop_assert!(!narrow || wide, "{:?} {:?}", shadow, request);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn compiled_conditions_mean_what_is_documented(
        matchers in table(),
        requests in vec(request(), 12),
    ) {
        let router = router(matchers.clone());
        for request in &requests {
            let expected = matchers.iter().position(|matcher| oracle::holds(matcher, request));
            prop_assert_eq!(router.find(&request.view()), expected, "{:?}", request);
        }
    }
}
