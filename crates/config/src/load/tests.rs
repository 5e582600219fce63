//! Tests of reading and joining files.

use super::include::wild;
use super::*;
use crate::render_all;

/// The file of design section 5, as it stands.
const SHORTEST: &str = "\
listeners: { web: { bind: \"127.0.0.1:8080\" } }
pools: { app: { servers: [\"127.0.0.1:9001\", \"127.0.0.1:9002\"] } }
routes: [ { pool: app } ]
";

fn model(text: &str) -> Model {
    match load_str(text) {
        Ok((model, _)) => model,
        Err(found) => panic!("{}", render_all(&found, false)),
    }
}

fn codes_of(found: &[Diagnostic]) -> Vec<&'static str> {
    found.iter().map(|report| report.code.id).collect()
}

#[test]
fn the_shortest_file_works() {
    let (model, warnings) = load_str(SHORTEST).expect("the shortest file loads");
    assert!(warnings.is_empty(), "{}", render_all(&warnings, false));
    assert_eq!(model.listeners.len(), 1);
    assert_eq!(model.routes[0].name.value, "route-1");
    assert_eq!(model.pools[0].servers[1].name.value, "127.0.0.1:9002");
    assert!(model.admin.is_some_and(|admin| admin.defaulted));
}

#[test]
fn json_is_yaml() {
    let json = r#"{
        "listeners": { "web": { "bind": "127.0.0.1:8080" } },
        "pools": { "app": { "servers": ["127.0.0.1:9001", "127.0.0.1:9002"] } },
        "routes": [ { "pool": "app" } ]
    }"#;
    assert_eq!(model(json), model(SHORTEST));
}

#[test]
fn layout_line_ends_and_byte_order_mark_do_not_matter() {
    let block = "\u{feff}listeners:\r\n  web:\r\n    bind: 127.0.0.1:8080\r\npools:\r\n  app:\r\n    servers:\r\n    - 127.0.0.1:9001\r\n    - 127.0.0.1:9002\r\nroutes:\r\n- pool: app\r\n";
    assert_eq!(model(block), model(SHORTEST));
}

#[test]
fn spans_point_at_the_value_in_bytes_and_characters() {
    let text = "# caf\u{e9}\nlisteners: { w: { bind: [\":80\"] } } # \u{e9}\nroutes: [{ name: caf, match: { path: { regex: \"^/\u{e9}/\" } }, respond: {} }]\n";
    let model = model(text);
    let crate::model::Condition::Path(paths) = &model.routes[0].condition.value else {
        panic!("a path")
    };
    let span = paths[0].span;
    let found = &text[span.start.offset as usize..span.end.offset as usize];
    assert_eq!(found, "\"^/\u{e9}/\"");
    assert_eq!((span.start.line, span.start.column), (3, 47));
}

#[test]
fn aliases_and_merge_keys_expand() {
    let text = "\
x-server: &server { max_fails: 3, fail_timeout: 30s }
listeners: { web: { bind: \":80\" } }
pools:
  app:
    servers:
      - { <<: *server, address: \"10.0.0.1:80\", max_fails: 5 }
      - { <<: [*server], address: \"10.0.0.2:80\" }
routes: [ { pool: app } ]
";
    let model = model(text);
    let servers = &model.pools[0].servers;
    assert_eq!((servers[0].max_fails, servers[1].max_fails), (5, 3));
    assert_eq!(servers[1].fail_timeout.as_secs(), 30);
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        text.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            [before.as_str(); 10].join(", ")
        ));
    }
    let found = load_str(&text).expect_err("a bomb");
    assert_eq!(codes_of(&found), ["E0006"]);
}

#[test]
fn aliases_that_deepen_are_refused() {
    let mut text = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        text.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    let found = load_str(&text).expect_err("a tower");
    assert_eq!(codes_of(&found), ["E0005"]);
}

#[test]
fn long_texts_count_as_many_values() {
    let long = "y".repeat(1_000_000);
    let aliases = vec!["*a"; 100].join(", ");
    let found = load_str(&format!("x-a: &a {long}\nx-b: [{aliases}]\n")).expect_err("a bomb");
    assert_eq!(codes_of(&found), ["E0006"]);
}

#[test]
fn wild_names() {
    for (pattern, name, fits) in [
        ("*.yaml", "a.yaml", true),
        ("*.yaml", "a.yml", false),
        ("a?c", "abc", true),
        ("*a*b*", "xxaxxbxx", true),
        ("*a*b*", "xxbxxaxx", false),
        ("*", "", true),
        ("?", "", false),
    ] {
        assert_eq!(
            wild(pattern.as_bytes(), name.as_bytes()),
            fits,
            "{pattern} {name}"
        );
    }
}

fn in_files(files: &[(&str, &str)]) -> Result<(Model, Vec<Diagnostic>), Vec<Diagnostic>> {
    let world = files.iter().fold(InMemory::new(), |world, (path, text)| {
        world.file(*path, *text)
    });
    load(Source::file(Path::new(files[0].0), &world))
}

#[test]
fn included_files_join_where_include_stands() {
    let main = "\
routes: [ { name: first, pool: app } ]
include: [conf.d/*.yaml, ../shared.yaml]
listeners: { web: { bind: \":80\" } }
";
    let (model, _) = in_files(&[
        ("etc/main.yaml", main),
        ("etc/conf.d/b.yaml", "routes: [ { name: b, pool: app } ]"),
        (
            "etc/conf.d/a.yaml",
            "pools: { app: { servers: [\"127.0.0.1:1\"] } }\nroutes: [ { name: a, pool: app } ]",
        ),
        ("etc/conf.d/.hidden.yaml", "nonsense"),
        ("shared.yaml", "# nothing here\n"),
    ])
    .map_err(|found| render_all(&found, false))
    .expect("loads");
    let names: Vec<&str> = model
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(names, ["first", "a", "b"]);
    assert_eq!(model.sources.files().len(), 4);
    assert_eq!(
        model.sources.name(model.routes[1].name.span),
        "etc/conf.d/a.yaml"
    );
}

#[test]
fn include_reports_loops_and_doubles_and_what_is_missing() {
    let found = in_files(&[
        ("main.yaml", "include: [a.yaml, a.yaml, none.yaml, no/*.yaml]\nworkers: 1\nlisteners: { web: { bind: \":80\" } }"),
        ("a.yaml", "include: main.yaml\nworkers: 2\nlisteners: { web: { bind: \":81\" } }"),
    ])
    .expect_err("wrong");
    let mut codes = codes_of(&found);
    codes.sort_unstable();
    assert_eq!(
        codes,
        ["E0013", "E0013", "E0014", "E0016", "E0016", "E0016"]
    );
}

#[test]
fn references_are_read_and_secrets_are_not_shown() {
    let world = InMemory::new()
        .file("etc/main.yaml", "\
listeners: { web: { bind: \"env:BIND\" } }
pools: { app: { servers: [\"env:SERVER\"], headers: { request: { set: { Authorization: \"file:token\" } } } } }
routes: [ { pool: app, error_pages: { 404: { file: 404.html }, 5xx: \"file:../50x.json\" } } ]
")
        .file("etc/token", "pa$$word\n")
        .file("etc/404.html", "<h1>$x</h1>\n")
        .file("50x.json", "{}")
        .file("etc/../50x.json", "{}")
        .variable("BIND", "127.0.0.1:80")
        .variable("SERVER", "127.0.0.1:81");
    let (model, _) = load(Source::file(Path::new("etc/main.yaml"), &world))
        .map_err(|found| render_all(&found, false))
        .expect("loads");
    let value = &model.pools[0].request_headers.set[0].value;
    assert_eq!(value.value, "pa$$$$word");
    let pages = &model.routes[0].error_pages;
    assert_eq!(&*pages.page(404).expect("a page").body, b"<h1>$x</h1>\n");
    assert_eq!(
        pages.page(404).expect("a page").content_type,
        "text/html; charset=utf-8"
    );
    assert_eq!(
        pages.page(599).expect("a page").content_type,
        "application/json"
    );

    let secret = InMemory::new()
        .file(
            "main.yaml",
            "listeners: { web: { bind: \"env:BIND\" } }\nroutes: []\n",
        )
        .variable("BIND", "http://hunter2:80/");
    let found = load(Source::file(Path::new("main.yaml"), &secret)).expect_err("wrong");
    let text = render_all(&found, false);
    assert!(text.contains("the value of `env:BIND` is a URL"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn the_default_admin_listener_gives_way() {
    let (model, warnings) =
        load_str("listeners: { web: { bind: \":9900\" } }\nroutes: [ { respond: {} } ]")
            .expect("loads");
    let admin = model.admin.expect("the socket stays");
    assert!(admin.binds.is_empty() && admin.socket.is_some());
    assert_eq!(codes_of(&warnings), ["W0004"]);
}

#[test]
fn the_largest_files_load_in_time() {
    let mut text = "listeners: { web: { bind: \":80\" } }\npools:\n".to_owned();
    for pool in 0..10 {
        text.push_str(&format!("  p{pool}:\n    servers:\n"));
        for server in 0..100 {
            text.push_str(&format!(
                "    - {{ address: \"10.0.{pool}.{server}:80\", weight: 2 }}\n"
            ));
        }
    }
    text.push_str("routes:\n");
    for route in 0..10_000 {
        let pool = route % 10;
        text.push_str(&format!(
            "- {{ name: r{route}, match: {{ host: h{route}.example.com, path: /p/{route}/ }}, pool: p{pool} }}\n"
        ));
    }
    assert_eq!(model(&text).routes.len(), 10_000);
}

#[test]
fn too_many_of_a_kind_are_refused() {
    let mut text = "listeners: { web: { bind: \":80\" } }\npools:\n".to_owned();
    for pool in 0..70_000 {
        text.push_str(&format!("  p{pool}: 0\n"));
    }
    let found = load_str(&text).expect_err("refused");
    assert_eq!(codes_of(&found)[0], "E0103");
    let mut text = "pools: { app: { servers: [\"a:1\"] } }\nlisteners:\n".to_owned();
    for listener in 0..crate::LISTENERS_MAX + 1 {
        text.push_str(&format!("  l{listener}: {{ bind: \"a{listener}:80\" }}\n"));
    }
    text.push_str(&format!(
        "routes: [ {{ pool: app, match: {{ listener: l{} }} }} ]\n",
        crate::LISTENERS_MAX
    ));
    let found = load_str(&text).expect_err("refused");
    assert_eq!(codes_of(&found), ["E0106", "E0301"]);
}

/// A wrong file is told of in time, and with so many reports as a person can read.
#[test]
fn a_file_that_is_wrong_everywhere_is_told_of_in_time() {
    let text = "a: 1\n".replace('a', "key")
        + &(0..40_000)
            .map(|at| format!("k{at}: 1\n"))
            .collect::<String>();
    let found = load_str(&text).expect_err("refused");
    assert_eq!(found.len(), crate::FINDINGS_MAX);
}

#[test]
fn the_state_folder_is_found() {
    let state = |file: &str, variables: &[(&str, &str)]| {
        let mut world = InMemory::new().file("etc/a.yaml", file);
        for (name, value) in variables {
            world = world.variable(*name, *value);
        }
        let (model, _) = load(Source::file(Path::new("etc/a.yaml"), &world)).expect("loads");
        model.state.value
    };
    let plain = "listeners: { web: { bind: ':80', redirect: https } }\n";
    let named = format!("{plain}state: kept\n");
    let home = ("HOME", "/home/a");
    let xdg = ("XDG_STATE_HOME", "/x");
    let systemd = ("STATE_DIRECTORY", "/var/lib/evenkeel:/var/lib/other");
    assert_eq!(state(plain, &[]), Path::new("evenkeel-state"));
    assert_eq!(
        state(plain, &[home]),
        Path::new("/home/a/.local/state/evenkeel")
    );
    assert_eq!(state(plain, &[home, xdg]), Path::new("/x/evenkeel"));
    assert_eq!(
        state(plain, &[home, xdg, systemd]),
        Path::new("/var/lib/evenkeel")
    );
    // XDG base directories: a relative path is to be ignored.
    assert_eq!(
        state(plain, &[("XDG_STATE_HOME", "x")]),
        Path::new("evenkeel-state")
    );
    assert_eq!(state(&named, &[systemd]), Path::new("etc/kept"));
}
