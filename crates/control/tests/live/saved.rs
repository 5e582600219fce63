//! Run-time changes that are written into the file.

use std::time::Duration;

use super::*;

impl Site {
    async fn save(&self) -> Result<keel_control::Saved, String> {
        let done = self.running.control.save(Actor::new("a test")).await;
        done.map_err(|fault| fault.to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_written_and_are_changes_no_more() {
    let (a, b, c) = (Origin::named("a"), Origin::named("b"), Origin::named("c"));
    let it = Site::start(&site(&[&a, &b])).await;
    let before = it.text();
    assert_eq!(it.save().await.unwrap().files, Vec::<PathBuf>::new());
    assert_eq!(it.text(), before, "nothing to write");
    it.change(weigh("a", 7)).await.unwrap();
    it.change(remove("b")).await.unwrap();
    it.change(add(&c)).await.unwrap();
    let saved = it.save().await.unwrap();
    assert_eq!((saved.files, saved.servers), (vec![it.file()], 3));
    let text = it.text();
    assert!(
        text.contains("weight: 7") && text.contains("# ours"),
        "{text}"
    );
    assert!(
        !text.contains("name: b") && text.contains("name: \"c\""),
        "{text}"
    );
    assert_eq!(it.stats()["process"]["changes_not_in_file"], 0);
    assert_eq!(it.answer(8), ["a", "c"]);
    // The file says what is served.
    let generation = it.reload().await.unwrap().generation;
    assert_eq!(generation, 6);
    assert_eq!(it.answer(8), ["a", "c"]);
    assert_eq!(it.text(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_drains_is_taken_out_in_the_file_and_keeps_its_weight() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let it = Site::start(&site(&[&a, &b])).await;
    it.change(weigh("a", 4)).await.unwrap();
    let drain = ServerState::Drain {
        limit: Some(Duration::from_secs(60)),
    };
    it.change(set("a", drain)).await.unwrap();
    it.save().await.unwrap();
    let text = it.text();
    assert!(
        text.contains("down: true") && text.contains("weight: 4"),
        "{text}"
    );
    assert_eq!(it.stats()["backends"]["a"]["state"], "draining");
    it.change(set("a", ServerState::Ready)).await.unwrap();
    it.save().await.unwrap();
    assert!(!it.text().contains("down: true"), "{}", it.text());
    assert_eq!(it.answer(10), ["a", "b"]);
    assert_eq!(it.stats()["backends"]["a"]["weight"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_changed_is_not_written_over() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let it = Site::start(&site(&[&a, &b])).await;
    it.change(weigh("a", 7)).await.unwrap();
    let theirs = format!("{}# theirs\n", it.text());
    std::fs::write(it.file(), &theirs).unwrap();
    let fault = it.save().await.unwrap_err();
    assert!(fault.contains("reload first"), "{fault}");
    assert_eq!(it.text(), theirs);
    it.reload().await.unwrap();
    it.save().await.unwrap();
    assert!(it.text().contains("weight: 7") && it.text().contains("# theirs"));
}
