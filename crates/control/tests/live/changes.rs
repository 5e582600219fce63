//! Servers that are added, removed, drained, weighed; and what a reload leaves of it.

use std::time::Duration;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_added_drained_and_removed() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let it = Site::start(&site(&[&a])).await;
    assert_eq!(it.answer(4), ["a"]);
    assert_eq!(it.change(add(&b)).await, Ok(2));
    assert_eq!(it.answer(4), ["a", "b"]);
    assert_eq!(it.stats()["backends"]["a"]["requests"], 6, "counts go on");

    let drain = ServerState::Drain {
        limit: Some(Duration::from_secs(60)),
    };
    it.change(set("a", drain)).await.unwrap();
    assert_eq!(it.answer(4), ["b"]);
    let stats = it.stats();
    let server = &stats["backends"]["a"];
    assert_eq!(
        (&server["state"], &server["by"]),
        (&"draining".into(), &"a test".into())
    );
    assert!(
        server["ends_in_seconds"].as_f64().unwrap() > 50.0,
        "{server}"
    );
    it.change(set("a", ServerState::Ready)).await.unwrap();
    assert_eq!(it.answer(4), ["a", "b"]);
    assert_eq!(it.stats()["backends"]["a"]["ends_in_seconds"], Value::Null);

    it.change(set("b", ServerState::Down)).await.unwrap();
    assert_eq!(it.answer(4), ["a"]);
    assert_eq!(it.stats()["backends"]["b"]["state"], "disabled");
    it.change(remove("b")).await.unwrap();
    assert_eq!(it.stats()["backends"]["b"], Value::Null);
    assert_eq!(it.stats()["process"]["changes"]["done"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_set() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let it = Site::start(&site(&[&a, &b])).await;
    it.change(weigh("a", 3)).await.unwrap();
    for _ in 0..8 {
        Ask::get(it.address(), "/").send().expect(200);
    }
    assert_eq!((a.requests(), b.requests()), (6, 2));
    it.change(weigh("b", 0)).await.unwrap();
    assert_eq!(it.answer(4), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let it = Site::start(&site(&[&a])).await;
    let refused = [
        (weigh("x", 1), "has no server `x`; it has a"),
        (weigh("a", 70_000), "0 to 65535"),
        (remove("a"), "the only server"),
        (add(&a), "has a server `a` already"),
        (
            Change::SetWeight {
                pool: "other".to_owned(),
                server: "a".to_owned(),
                weight: 1,
            },
            "no pool `other`",
        ),
        (
            Change::AddServer {
                pool: "app".to_owned(),
                server: NewServer {
                    name: Some("a\nb".to_owned()),
                    ..added(&b)
                },
            },
            "control characters",
        ),
    ];
    for (change, why) in refused {
        let fault = it.change(change).await.unwrap_err();
        assert!(fault.contains(why), "{fault}");
    }
    let stats = it.stats();
    assert_eq!(stats["process"]["generation"], 1);
    assert_eq!(stats["process"]["changes"]["refused"], 6);
    assert_eq!(it.answer(2), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_changes_while_the_file_has_what_they_are_about() {
    let (a, b, c) = (Origin::named("a"), Origin::named("b"), Origin::named("c"));
    let it = Site::start(&site(&[&a, &b])).await;
    it.change(set("a", ServerState::Down)).await.unwrap();
    it.change(add(&c)).await.unwrap();
    let done = it.reload().await.unwrap();
    assert!(done.dropped.is_empty(), "{:?}", done.dropped);
    assert_eq!(it.answer(4), ["b", "c"]);
    // The file has the one that was added, and the other no more.
    std::fs::write(it.file(), site(&[&b, &c])).unwrap();
    let done = it.reload().await.unwrap();
    assert_eq!(done.dropped.len(), 2, "{:?}", done.dropped);
    assert_eq!(it.answer(4), ["b", "c"]);
    assert_eq!(it.stats()["process"]["changes_not_in_file"], 0);
    // A pool that is gone takes its changes with it.
    it.change(weigh("b", 5)).await.unwrap();
    std::fs::write(it.file(), site(&[&b]).replace("app", "new")).unwrap();
    let done = it.reload().await.unwrap();
    assert!(
        done.dropped[0].contains("pool `app` is gone"),
        "{:?}",
        done.dropped
    );
    assert_eq!(it.answer(2), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_runs_ends_on_the_server_that_was_removed() {
    let gate = keel_testkit::origin::Gate::new();
    let inner = gate.clone();
    let slow = Origin::scripted(move |stage| {
        if stage.request().is_some() {
            inner.wait();
            stage.send("HTTP/1.1 200 OK\r\nX-Origin: slow\r\nContent-Length: 4\r\n\r\nlate");
        }
    });
    let b = Origin::named("b");
    let text = site(&[&b]).replace(
        "{ name: b",
        &format!(
            "{{ name: slow, address: \"{}\" }}\n      - {{ name: b",
            slow.address()
        ),
    );
    let it = Site::start(&text).await;
    it.change(set("b", ServerState::Down)).await.unwrap();
    let address = it.address();
    let running = std::thread::spawn(move || Ask::get(address, "/").send().expect(200).text());
    keel_testkit::wait::until_true("it runs", || slow.requests() == 1);
    it.change(set("b", ServerState::Ready)).await.unwrap();
    it.change(remove("slow")).await.unwrap();
    assert_eq!(it.answer(3), ["b"]);
    gate.open();
    assert_eq!(running.join().unwrap(), "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_at_once_are_made_one_after_the_other() {
    let a = Origin::named("a");
    let it = Site::start(&site(&[&a])).await;
    let control = it.running.control.clone();
    let all: Vec<_> = (1..=40)
        .map(|weight| {
            let control = control.clone();
            tokio::spawn(
                async move { control.change(weigh("a", weight), Actor::new("many")).await },
            )
        })
        .collect();
    let mut generations = Vec::new();
    for one in all {
        generations.push(one.await.unwrap().unwrap().generation);
    }
    generations.sort_unstable();
    assert_eq!(generations, (2..=41).collect::<Vec<u64>>());
    assert_eq!(it.answer(2), ["a"]);
}
