//! A process that serves, changed while it runs: through the handle that the admin API uses.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod changes;
mod saved;

use std::net::SocketAddr;
use std::path::PathBuf;

use keel_config::model::{Endpoint, EndpointHost};
use keel_config::render_all;
use keel_control::{
    Actor, BeforeServing, Change, NewServer, Running, ServerState, Start, compile, load_file, start,
};
use keel_net::Inherited;
use keel_testkit::scratch::Scratch;
use keel_testkit::{Ask, Origin};
use serde_json::Value;

/// A process with a file.
struct Site {
    running: Running,
    scratch: Scratch,
}

impl Site {
    async fn start(text: &str) -> Site {
        let scratch = Scratch::new();
        let file = scratch.write("site.yaml", text);
        let (model, _) =
            load_file(&file).unwrap_or_else(|found| panic!("{}", render_all(&found, false)));
        let compiled =
            compile(&model).unwrap_or_else(|found| panic!("{}", render_all(&found, false)));
        let running = start(Start {
            model,
            compiled,
            file: Some(file),
            sockets: Inherited::none(),
            carried: None,
            before_serving: BeforeServing::default(),
        })
        .await
        .unwrap();
        Site { running, scratch }
    }

    fn file(&self) -> PathBuf {
        self.scratch.path().join("site.yaml")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    fn address(&self) -> SocketAddr {
        self.running.binds[0].address
    }

    /// Names of those who answer so many requests.
    fn answer(&self, count: usize) -> Vec<String> {
        let ask = Ask::get(self.address(), "/");
        let mut all: Vec<String> = (0..count)
            .map(|_| ask.send().expect(200).origin())
            .collect();
        all.sort();
        all.dedup();
        all
    }

    fn stats(&self) -> Value {
        let page = self
            .running
            .control
            .status()
            .page(keel_control::Page::Stats);
        serde_json::from_slice(&page.body).unwrap()
    }

    async fn change(&self, change: Change) -> Result<u64, String> {
        let done = self
            .running
            .control
            .change(change, Actor::new("a test"))
            .await;
        done.map(|it| it.generation)
            .map_err(|fault| fault.to_string())
    }

    async fn reload(&self) -> Result<keel_control::Reloaded, String> {
        let done = self.running.control.reload(Actor::new("a test")).await;
        done.map_err(|fault| fault.to_string())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.running.begin_drain();
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        host: EndpointHost::Ip(address.ip()),
        port: address.port(),
    }
}

fn added(origin: &Origin) -> NewServer {
    NewServer {
        name: Some(origin.name().to_owned()),
        address: endpoint(origin.address()),
        weight: None,
        max_connections: None,
        tier: None,
    }
}

fn add(origin: &Origin) -> Change {
    Change::AddServer {
        pool: "app".to_owned(),
        server: added(origin),
    }
}

fn remove(server: &str) -> Change {
    Change::RemoveServer {
        pool: "app".to_owned(),
        server: server.to_owned(),
    }
}

fn set(server: &str, state: ServerState) -> Change {
    Change::SetState {
        pool: "app".to_owned(),
        server: server.to_owned(),
        state,
    }
}

fn weigh(server: &str, weight: u32) -> Change {
    Change::SetWeight {
        pool: "app".to_owned(),
        server: server.to_owned(),
        weight,
    }
}

/// A file with these servers, one on a line, and a comment that is nobody's business.
fn site(origins: &[&Origin]) -> String {
    let mut text = String::from(
        "workers: 2\nlisteners: { web: { bind: \"127.0.0.1:0\" } }\nadmin: off\n\
         routes: [ { name: all, pool: app } ]\npools:\n  app:\n    servers:  # ours\n",
    );
    for origin in origins {
        let (name, address) = (origin.name(), origin.address());
        text.push_str(&format!(
            "      - {{ name: {name}, address: \"{address}\" }}\n"
        ));
    }
    text
}
