//! Servers are written back into the text: what does not change stays byte for byte, and the new text means what was
//! wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use keel_config::edit::{EditFault, EntryChange, NewEntry, PoolEdit, edit};
use keel_config::model::{Endpoint, EndpointHost, Model};
use keel_config::{InMemory, Source, load};
use proptest::prelude::*;

const REST: &str = "listeners: { web: { bind: \":80\" } }\nroutes: [ { pool: app } ]\n";

fn endpoint(port: u16) -> Endpoint {
    Endpoint {
        host: EndpointHost::Ip([10, 0, 0, 9].into()),
        port,
    }
}

fn new(port: u16) -> NewEntry {
    NewEntry {
        name: None,
        address: endpoint(port),
        weight: 1,
        max_connections: 0,
        tier: 0,
        down: false,
    }
}

fn loaded(world: &InMemory) -> Model {
    let loaded = load(Source::file(Path::new("main.yaml"), world));
    let loaded = loaded.map_err(|found| keel_config::render_all(&found, false));
    loaded.expect("loads").0
}

/// The text of the only file, after the edit.
fn edited(text: &str, change: PoolEdit) -> Result<String, EditFault> {
    let world = InMemory::new().file("main.yaml", text);
    let model = loaded(&world);
    let files = edit(
        Source::file(Path::new("main.yaml"), &world),
        &model,
        &[change],
    )?;
    Ok(files
        .into_iter()
        .next()
        .map_or_else(|| text.to_owned(), |file| file.text))
}

fn pool() -> PoolEdit {
    PoolEdit {
        pool: "app".to_owned(),
        ..PoolEdit::default()
    }
}

fn weight(weight: u32) -> EntryChange {
    EntryChange {
        weight: Some(weight),
        down: None,
    }
}

/// Text before, change, text after.
#[track_caller]
fn becomes(servers: &str, change: PoolEdit, expected: &str) {
    let before = format!("{REST}pools:\n  app: # ours\n{servers}    balance: least_conn\n");
    let after = format!("{REST}pools:\n  app: # ours\n{expected}    balance: least_conn\n");
    assert_eq!(edited(&before, change).expect("is edited"), after);
}

#[test]
fn a_block_list() {
    let list = "    servers:\n      # the first\n      - 10.0.0.1:80 # old\n      - address: 10.0.0.2:80\n        weight: 2   # twice\n\n";
    becomes(
        list,
        PoolEdit {
            changed: BTreeMap::from([(1, weight(5))]),
            added: vec![NewEntry {
                weight: 3,
                ..new(80)
            }],
            ..pool()
        },
        "    servers:\n      # the first\n      - 10.0.0.1:80 # old\n      - address: 10.0.0.2:80\n        weight: 5   # twice\n      - address: 10.0.0.9:80\n        weight: 3\n\n",
    );
    becomes(
        list,
        PoolEdit {
            removed: BTreeSet::from([1]),
            changed: BTreeMap::from([(0, weight(4))]),
            ..pool()
        },
        "    servers:\n      # the first\n      - { address: 10.0.0.1:80, weight: 4 } # old\n\n",
    );
    becomes(
        list,
        PoolEdit {
            changed: BTreeMap::from([(
                1,
                EntryChange {
                    weight: None,
                    down: Some(true),
                },
            )]),
            ..pool()
        },
        "    servers:\n      # the first\n      - 10.0.0.1:80 # old\n      - address: 10.0.0.2:80\n        weight: 2   # twice\n        down: true\n\n",
    );
}

#[test]
fn a_flow_list_on_a_line() {
    let list =
        "    servers: [ \"10.0.0.1:80\", { address: \"10.0.0.2:80\" }, '10.0.0.3:80' ] # all\n";
    becomes(
        list,
        PoolEdit {
            changed: BTreeMap::from([(1, weight(5))]),
            added: vec![new(80)],
            ..pool()
        },
        "    servers: [ \"10.0.0.1:80\", { address: \"10.0.0.2:80\", weight: 5 }, '10.0.0.3:80', \"10.0.0.9:80\" ] # all\n",
    );
    becomes(
        list,
        PoolEdit {
            removed: BTreeSet::from([0]),
            ..pool()
        },
        "    servers: [ { address: \"10.0.0.2:80\" }, '10.0.0.3:80' ] # all\n",
    );
    becomes(
        list,
        PoolEdit {
            removed: BTreeSet::from([1, 2]),
            ..pool()
        },
        "    servers: [ \"10.0.0.1:80\" ] # all\n",
    );
    becomes(
        list,
        PoolEdit {
            removed: BTreeSet::from([0, 1, 2]),
            added: vec![new(80), new(81)],
            ..pool()
        },
        "    servers: [ \"10.0.0.9:80\", \"10.0.0.9:81\" ] # all\n",
    );
}

#[test]
fn a_flow_list_over_lines() {
    let list = "    servers: [\n      10.0.0.1:80,   # one\n      10.0.0.2:80,   # two\n      10.0.0.3:80    # three\n    ]\n";
    becomes(
        list,
        PoolEdit {
            removed: BTreeSet::from([1]),
            added: vec![new(80)],
            ..pool()
        },
        "    servers: [\n      10.0.0.1:80,   # one\n      10.0.0.3:80,\n      10.0.0.9:80    # three\n    ]\n",
    );
    becomes(
        list,
        PoolEdit {
            removed: BTreeSet::from([2]),
            ..pool()
        },
        "    servers: [\n      10.0.0.1:80,   # one\n      10.0.0.2:80,   # two\n    ]\n",
    );
}

#[test]
fn json_stays_json() {
    let text = "{\"listeners\": {\"web\": {\"bind\": \":80\"}}, \"routes\": [{\"pool\": \"app\"}],\n \"pools\": {\"app\": {\"servers\": [\n  \"10.0.0.1:80\",\n  {\"address\": \"10.0.0.2:80\"}\n]}}}\n";
    let change = PoolEdit {
        changed: BTreeMap::from([(0, weight(2)), (1, weight(3))]),
        added: vec![NewEntry {
            weight: 7,
            ..new(80)
        }],
        ..pool()
    };
    let after = edited(text, change).expect("is edited");
    let json: serde_json::Value = serde_json::from_str(&after).expect("is JSON");
    assert_eq!(json["pools"]["app"]["servers"][0]["weight"], 2);
    assert_eq!(json["pools"]["app"]["servers"][1]["weight"], 3);
    assert_eq!(json["pools"]["app"]["servers"][2]["weight"], 7);
}

#[test]
fn an_included_file_is_edited_where_it_is() {
    let main = format!("include: conf.d/*.yaml\n{REST}");
    let pools = "\u{feff}pools:\r\n  app:\r\n    servers:\r\n    - 10.0.0.1:80\r\n";
    let world = InMemory::new()
        .file("main.yaml", main)
        .file("conf.d/pools.yaml", pools);
    let model = loaded(&world);
    let source = Source::file(Path::new("main.yaml"), &world);
    let change = PoolEdit {
        added: vec![new(80)],
        ..pool()
    };
    let files = edit(source, &model, &[change]).expect("is edited");
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].path, Path::new("conf.d/pools.yaml"));
    assert_eq!(files[0].text, format!("{pools}    - 10.0.0.9:80\r\n"));
}

#[test]
fn what_cannot_be_edited_is_refused() {
    let add = || PoolEdit {
        added: vec![new(80)],
        ..pool()
    };
    // One list for two pools: the other would change too.
    let shared = format!(
        "x-all: &all {{ servers: [10.0.0.1:80] }}\n{REST}pools: {{ app: {{ <<: *all }}, other: {{ <<: *all }} }}\n"
    );
    let fault = edited(&shared, add()).expect_err("shared");
    assert!(matches!(fault, EditFault::Differs(_)), "{fault}");
    let text = format!("{REST}pools: {{ app: {{ servers: [10.0.0.1:80] }} }}\n");
    let all = PoolEdit {
        removed: BTreeSet::from([0]),
        ..pool()
    };
    assert!(matches!(edited(&text, all), Err(EditFault::Form { .. })));
    let nobody = PoolEdit {
        pool: "nobody".to_owned(),
        ..add()
    };
    assert!(matches!(edited(&text, nobody), Err(EditFault::NoPool(_))));
    let twice = PoolEdit {
        added: vec![new(80), new(80)],
        ..pool()
    };
    let fault = edited(&text, twice).expect_err("two of one name");
    assert!(
        fault.to_string().contains("are named `10.0.0.9:80`"),
        "{fault}"
    );
    // Somebody else was quicker.
    let world = InMemory::new().file("main.yaml", text.clone());
    let model = loaded(&world);
    let newer = InMemory::new().file("main.yaml", format!("{text}# more\n"));
    let source = Source::file(Path::new("main.yaml"), &newer);
    let fault = edit(source, &model, &[add()]).expect_err("it changed");
    assert!(matches!(fault, EditFault::Changed(_)));
}

#[derive(Debug, Clone)]
struct Entry {
    style: u8,
    weight: Option<u32>,
    comment: bool,
    gone: bool,
    new_weight: Option<u32>,
    new_down: Option<bool>,
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (
        0u8..4,
        proptest::option::of(0u32..9),
        any::<bool>(),
        any::<bool>(),
        proptest::option::of(0u32..9),
        proptest::option::of(any::<bool>()),
    );
    let entry = entry.prop_map(
        |(style, weight, comment, gone, new_weight, new_down)| Entry {
            style,
            weight,
            comment,
            gone,
            new_weight,
            new_down,
        },
    );
    proptest::collection::vec(entry, 1..6)
}

impl Entry {
    /// As an item of a flow list; as an item after a dash in a block list.
    fn write(&self, at: usize, block: bool) -> String {
        let address = match self.style % 3 {
            0 => format!("10.0.0.{at}:80"),
            1 => format!("\"10.0.0.{at}:80\""),
            _ => format!("'10.0.0.{at}:80'"),
        };
        match (self.weight, self.style) {
            (None, 0..3) => address,
            (None, _) => format!("{{address: {address}}}"),
            (Some(weight), 0) if block => {
                format!("address: {address}\n        weight: {weight}")
            }
            (Some(weight), 1) if block => {
                format!("weight: {weight}\n        name: s{at}\n        address: {address}")
            }
            (Some(weight), _) => format!("{{ address: {address}, weight: {weight} }}"),
        }
    }
}

fn list(entries: &[Entry], form: u8) -> String {
    let comment = |entry: &Entry, at: usize| match entry.comment {
        true => format!(" # about {at}"),
        false => String::new(),
    };
    let count = entries.len();
    let all = entries.iter().enumerate();
    match form {
        0 => all
            .map(|(at, it)| format!("\n      - {}{}", it.write(at, true), comment(it, at)))
            .collect(),
        1 => {
            let items: Vec<String> = all.map(|(at, it)| it.write(at, false)).collect();
            format!(" [{}]", items.join(", "))
        }
        _ => {
            let items: String = all
                .map(|(at, it)| {
                    let comma = if at + 1 < count || form == 2 { "," } else { "" };
                    format!("\n      {}{comma}{}", it.write(at, false), comment(it, at))
                })
                .collect();
            format!(" [{items}\n      ]")
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Whatever the style and the change: it loads as wanted (`edit` itself compares, or refuses), what stands before
    /// and after the list stays, and so do comments and entries that do not change.
    #[test]
    fn any_list_and_any_change(
        entries in entries(),
        form in 0u8..4,
        added in proptest::collection::vec((1000u16..1100, proptest::option::of(2u32..9)), 0..3),
    ) {
        let before = format!("# top\n{REST}pools:\n  app: # ours\n    servers:");
        let after = "\n    # below\n    balance: least_conn # end\n";
        let text = format!("{before}{}{after}", list(&entries, form));
        let mut change = pool();
        for (at, entry) in entries.iter().enumerate() {
            let new = EntryChange { weight: entry.new_weight, down: entry.new_down };
            if entry.gone {
                change.removed.insert(at);
            } else if new != EntryChange::default() {
                change.changed.insert(at, new);
            }
        }
        for (position, (port, weight)) in added.iter().enumerate() {
            let entry = new(port + 100 * position as u16);
            change.added.push(NewEntry { weight: weight.unwrap_or(1), ..entry });
        }
        if change.removed.len() == entries.len() && change.added.is_empty() {
            return Ok(());
        }
        let out = match edited(&text, change.clone()) {
            Ok(out) => out,
            Err(fault) => {
                // The one form that is left to people: all entries of a list over several lines go, its comma stays.
                let odd = form >= 2 && change.removed.contains(&(entries.len() - 1));
                prop_assert!(odd, "{}\n{}", fault, text);
                return Ok(());
            }
        };
        prop_assert!(out.starts_with(&before) && out.ends_with(after), "{}\n→\n{}", text, out);
        for (at, entry) in entries.iter().enumerate() {
            if entry.gone || change.changed.contains_key(&at) {
                continue;
            }
            prop_assert!(out.contains(&entry.write(at, form == 0)), "{}\n→\n{}", text, out);
        }
        for (at, entry) in entries.iter().enumerate().filter(|(_, it)| it.comment && form != 1) {
            let kept = entry.gone || out.contains(&format!(" # about {at}"));
            prop_assert!(kept, "{}\n→\n{}", text, out);
        }
    }
}
