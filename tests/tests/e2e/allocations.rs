//! A plain request allocates nothing: the process counts its allocations, and they do not rise with requests.

use keel_testkit::{Origin, Proxy, get};

use crate::GET;

fn allocations(proxy: &Proxy) -> u64 {
    let text = get(proxy.admin(), "/metrics").expect(200).text();
    let sample = text
        .lines()
        .find_map(|line| line.strip_prefix("evenkeel_process_allocations_total "));
    sample
        .and_then(|value| value.parse().ok())
        .expect("the metric")
}

#[test]
fn a_plain_request_allocates_nothing() {
    const REQUESTS: u64 = 2_000;

    let origin = Origin::named("one");
    let proxy = Proxy::start(&format!(
        "workers: 1\nlisteners: {{ web: {{ bind: \"127.0.0.1:0\", limits: {{ requests: 1000000 }} }} }}\n\
         pools: {{ app: {{ servers: [\"{}\"], keepalive: {{ requests: 1000000 }} }} }}\n\
         routes: [ {{ pool: app }} ]\nadmin: {{ bind: \"127.0.0.1:0\" }}\n",
        origin.address()
    ));
    let mut wire = proxy.wire();
    let mut ask = |count: u64| {
        for _ in 0..count {
            wire.send(GET);
            wire.answer().expect(200);
        }
    };
    ask(200);
    let scrape = {
        let before = allocations(&proxy);
        allocations(&proxy) - before
    };
    let before = allocations(&proxy);
    ask(REQUESTS);
    let made = allocations(&proxy) - before;
    // Scraping allocates, and so does a connection that went cold for a moment on a busy machine; one allocation for
    // every tenth request would be seen all the same.
    assert!(
        made < scrape + REQUESTS / 10,
        "{made} allocations over {REQUESTS} requests, a scrape makes {scrape}"
    );
}
