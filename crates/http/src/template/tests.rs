//! Parsing, rendering and round trips of templates.

use super::*;
use proptest::prelude::*;

/// Gives every variable its own name as value, except those that have none.
struct Names;

impl Variables for Names {
    fn write(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        match var {
            Var::RemoteUser => false,
            Var::Args => {
                out.extend_from_slice(b"a\"b\\c\n\xe9");
                true
            }
            _ => {
                out.extend_from_slice(format!("<{}>", var.name()).as_bytes());
                true
            }
        }
    }
}

fn render(text: &str, escape: Escape) -> String {
    let mut out = b"> ".to_vec();
    Template::parse(text)
        .unwrap()
        .render(&Names, &mut out, escape);
    String::from_utf8_lossy(&out[2..]).into_owned()
}

#[test]
fn both_ways_of_writing_a_variable() {
    assert_eq!(
        render("$host:$server_port/${uri}x", Escape::None),
        "<host>:<server_port>/<uri>x"
    );
    assert_eq!(
        render("https://$host$request_uri", Escape::None),
        "https://<host><request_uri>"
    );
    assert_eq!(render("5$$ $$$$ $$host", Escape::None), "5$ $$ $host");
    assert_eq!(render("", Escape::None), "");
    assert_eq!(
        render("\u{e9}$status\u{e9}", Escape::Log),
        "\u{e9}<status>\u{e9}"
    );
}

#[test]
fn families_and_aliases() {
    let parse = |text| {
        Template::parse(text)
            .unwrap()
            .vars()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        parse("$http_X_Forwarded_For $sent_http_etag $upstream_http_x_a $cookie_Id $arg_Q"),
        [
            Var::Http("x-forwarded-for".into()),
            Var::SentHttp("etag".into()),
            Var::UpstreamHttp("x-a".into()),
            Var::Cookie("Id".into()),
            Var::Arg("Q".into()),
        ]
    );
    assert_eq!(parse("$query_string${document_uri}"), [Var::Args, Var::Uri]);
    assert_eq!(parse("$http_host"), [Var::Http("host".into())]);
    assert_eq!(parse("$content_type"), [Var::Http("content-type".into())]);
    assert_eq!(parse("${cookie_a-b.c}"), [Var::Cookie("a-b.c".into())]);
}

#[test]
fn faults_say_where_and_guess() {
    for (text, offset, name, suggestion, problem) in [
        (
            "a $hots b",
            2,
            "hots",
            Some("host"),
            TemplateProblem::UnknownName,
        ),
        (
            "${remote_adr}",
            0,
            "remote_adr",
            Some("remote_addr"),
            TemplateProblem::UnknownName,
        ),
        (
            "$STATUS",
            0,
            "STATUS",
            Some("status"),
            TemplateProblem::UnknownName,
        ),
        (
            "$xyzzy_quux",
            0,
            "xyzzy_quux",
            None,
            TemplateProblem::UnknownName,
        ),
        (
            "$http_",
            0,
            "http_",
            Some("https"),
            TemplateProblem::UnknownName,
        ),
        (
            "${http_a b}",
            0,
            "http_a b",
            None,
            TemplateProblem::UnknownName,
        ),
        ("a$", 1, "", None, TemplateProblem::NoName),
        ("$$$", 2, "", None, TemplateProblem::NoName),
        ("$ x", 0, "", None, TemplateProblem::NoName),
        ("${}", 0, "", None, TemplateProblem::NoName),
        ("\u{e9}${host", 2, "", None, TemplateProblem::NotClosed),
    ] {
        let fault = Template::parse(text).unwrap_err();
        let name = name.to_owned();
        assert_eq!(
            fault,
            TemplateFault {
                offset,
                name,
                suggestion,
                problem
            },
            "{text}"
        );
    }
}

#[test]
fn missing_values_and_escapes() {
    assert_eq!(render("[$remote_user]", Escape::None), "[]");
    assert_eq!(render("[$remote_user]", Escape::Json), "[]");
    assert_eq!(render("[$remote_user]", Escape::Log), "[-]");
    assert_eq!(
        render("\"$args\"", Escape::Log),
        "\"a\\x22b\\x5Cc\\x0A\\xE9\""
    );
    assert_eq!(
        render("\"$args\"", Escape::Json),
        "\"a\\\"b\\\\c\\n\\u00e9\""
    );
    assert_eq!(
        render("$args", Escape::None).as_bytes(),
        "a\"b\\c\n\u{fffd}".as_bytes()
    );
}

#[test]
fn json_keeps_utf8_and_stays_valid() {
    let mut out = "x\u{e9}\t\u{1}\u{7f}\u{1F600}".as_bytes().to_vec();
    escape::escape_tail(&mut out, 1, Escape::Json);
    assert_eq!(out, "x\u{e9}\\t\\u0001\\u007f\u{1F600}".as_bytes());
}

#[test]
fn literals() {
    assert!(Template::parse("a$$b").unwrap().is_literal());
    assert!(!Template::parse("$uri").unwrap().is_literal());
    assert!(Template::parse("").unwrap().is_empty());
    assert_eq!(Template::literal("a$b"), Template::parse("a$$b").unwrap());
    assert_eq!(Template::literal("a$b").to_string(), "a$$b");
}

#[test]
fn every_listed_name_parses_to_itself() {
    for (name, meaning) in var_names() {
        let name = name.replace("NAME", "some_name");
        let var = Var::parse(&name).expect("a listed name is known");
        assert!(Var::parse(&var.name()) == Some(var), "{name}");
        assert!(!meaning.is_empty() && !meaning.ends_with('.'));
    }
}

proptest! {
    #[test]
    fn what_is_written_parses_to_the_same(text in "([a-z $]|\\$\\$|\\$host|\\$\\{uri\\}|\\$http_a_b|\\$\\{cookie_x-y\\}|\u{e9}){0,20}") {
        if let Ok(template) = Template::parse(&text) {
            prop_assert_eq!(&Template::parse(&template.to_string()).unwrap(), &template);
        }
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,40}") {
        let _ = Template::parse(&text);
    }

    /// Undoing the escapes gives the value back.
    #[test]
    fn log_escapes_can_be_undone(value in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut out = value.clone();
        escape::escape_tail(&mut out, 0, Escape::Log);
        prop_assert!(out.iter().all(|b| (b' '..0x7f).contains(b) && *b != b'"'));
        let text = String::from_utf8(out).unwrap();
        let mut parts = text.split("\\x");
        let mut back = parts.next().unwrap().as_bytes().to_vec();
        for part in parts {
            back.push(u8::from_str_radix(&part[..2], 16).unwrap());
            back.extend_from_slice(&part.as_bytes()[2..]);
        }
        prop_assert_eq!(back, value);
    }
}
