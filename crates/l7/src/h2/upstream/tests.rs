//! What becomes of connections to servers that end, and of who waits for them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use keel_net::Drain;
use keel_observe::log::UtcOffset;
use keel_observe::{LogLimits, LogWriter, Names, Registry};
use keel_route::Router;
use keel_upstream::{ServerAddress, ServerKeys};

use super::*;
use crate::snapshot::{KeepRequestId, RequestIdPlan, Snapshot};
use crate::worker::{Gate, View};

const KEEP: KeepAlive = KeepAlive {
    connections_max: 8,
    idle_timeout_ms: 60_000,
    requests_max: 1_000,
};

/// SETTINGS; the answer 204 on stream 1; GOAWAY after stream 1.
const LAST_WORDS: &[u8] = &[
    0, 0, 0, 4, 0, 0, 0, 0, 0, // SETTINGS
    0, 0, 1, 1, 5, 0, 0, 0, 1, 0x89, // HEADERS
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, // GOAWAY
];

fn worker() -> Rc<Worker> {
    let snapshot = Snapshot {
        listeners: Vec::new(),
        router: Router::compile(Vec::new()).unwrap(),
        routes: Vec::new(),
        pools: Vec::new(),
        logs: Vec::new(),
        trusted_proxies: Vec::new(),
        client_address_headers: Vec::new(),
        request_id: RequestIdPlan::new("", KeepRequestId::Never),
        shed: None,
    };
    let view = View {
        snapshot: Arc::new(snapshot),
        metrics: Registry::new(&Names::default(), 1).worker(0),
        copies_answers: Vec::new(),
        hostname: String::new(),
    };
    let log = LogWriter::start(LogLimits::default(), UtcOffset::UTC).unwrap();
    let (drain, gate) = (Drain::new(), Arc::new(Gate::new(1)));
    let now = Instant::now();
    Rc::new(Worker::new(0, now, drain, gate, (view, log.buffer()), 1))
}

/// A worker that knows one server, by a name, and a connection to it with a place on it; its far end.
struct Kit {
    worker: Rc<Worker>,
    plan: ServerHttp2Plan,
    server: Arc<Upstream>,
    call: H2Call,
    far: Option<std::net::TcpStream>,
}

impl Kit {
    async fn new(plan: ServerHttp2Plan) -> Kit {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let tcp = tokio::net::TcpStream::connect(at).await.unwrap();
        let (far, _) = listener.accept().unwrap();
        let address = ServerAddress {
            host: "name.example".to_owned(),
            port: at.port(),
        };
        let server = Upstream::new(ServerKeys::new().give(), "a".to_owned(), address);
        server.resolved.store(Arc::new(vec![at]));
        let (worker, server) = (worker(), Arc::new(server));
        worker.h2.serve([&server]);
        let rest = (at, None, None);
        let call = H2Connections::add(&worker, server.key, &plan, &KEEP, tcp.into(), rest);
        Kit {
            worker,
            plan,
            server,
            call,
            far: Some(far),
        }
    }

    fn listed(&self) -> usize {
        let listed = self.worker.h2.with(self.server.key, |it| it.list.len());
        listed.unwrap()
    }

    fn find(&self, ticket: Option<Ticket>) -> Way<'_> {
        let h2 = &self.worker.h2;
        h2.find(self.server.key, &self.plan, KEEP.requests_max, ticket)
    }

    /// A place in the line; whether that is because all is full.
    fn wait(&self, ticket: Option<Ticket>) -> (Ticket, bool) {
        match self.find(ticket) {
            Way::Wait { ticket, full } => (ticket, full),
            _ => panic!("there is no need to wait"),
        }
    }
}

fn ask(call: &H2Call) -> H2Body {
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", b"/"),
    ];
    call.send(fields.into_iter(), true, false).unwrap()
}

fn is_told(ticket: &Ticket) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    pin!(ticket.told()).poll(&mut cx).is_ready()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// The server answers, takes leave and closes while this thread is busy; what is written next fails before that was seen.
#[test]
fn what_a_server_said_before_it_closed_is_heard() {
    run(async {
        let mut kit = Kit::new(ServerHttp2Plan::default()).await;
        let mut first = ask(&kit.call);
        tokio::time::sleep(Duration::from_millis(50)).await;
        // It has read nothing: closing it is a reset.
        let mut far = kit.far.take().unwrap();
        far.write_all(LAST_WORDS).unwrap();
        drop(far);
        std::thread::sleep(Duration::from_millis(50));
        let mut second = ask(&kit.call);
        tokio::task::yield_now().await;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(!kit.call.is_open() && first.poll_head(&mut cx).is_pending());
        let head = poll_fn(|cx| first.poll_head(cx)).await;
        assert!(head.is_ok_and(|head| head.ended));
        let refused = poll_fn(|cx| second.poll_head(cx)).await;
        assert!(matches!(refused, Err(StreamError::Refused)));
        assert_eq!(kit.listed(), 1);
        kit.worker.h2.sweep();
        assert_eq!(kit.listed(), 0, "what is closed is forgotten");
    });
}

#[test]
fn who_waits_looks_again_when_an_address_is_gone() {
    run(async {
        let plan = ServerHttp2Plan {
            streams_max: 1,
            connections_max: 1,
            ..ServerHttp2Plan::default()
        };
        let kit = Kit::new(plan).await;
        let (ticket, full) = kit.wait(None);
        kit.worker.h2.sweep();
        assert!(full && !is_told(&ticket));
        kit.server.resolved.store(Arc::default());
        kit.worker.h2.sweep();
        assert!(is_told(&ticket));
        assert!(matches!(kit.find(Some(ticket)), Way::Connect(_)));
        // The connection ends with what runs on it.
        let mut far = kit.far.as_ref().unwrap();
        drop(kit.call);
        let mut all = Vec::new();
        far.set_nonblocking(true).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(far.read_to_end(&mut all).is_ok(), "it is closed");
    });
}

/// Each of those who wait has its turn to connect, and does not wake the others for it.
#[test]
fn a_connection_that_cannot_be_opened_is_told_to_one() {
    run(async {
        let plan = ServerHttp2Plan {
            streams_max: 1,
            ..ServerHttp2Plan::default()
        };
        let kit = Kit::new(plan).await;
        let mut connecting = kit.find(None);
        let mut line: VecDeque<Ticket> = (0..4).map(|_| kit.wait(None).0).collect();
        while let Some(next) = line.pop_front() {
            assert!(matches!(connecting, Way::Connect(_)));
            assert!(!is_told(&next) && !line.iter().any(is_told));
            drop(connecting);
            assert!(is_told(&next) && !line.iter().any(is_told));
            connecting = kit.find(Some(next));
            // Who left the line told the next one, who finds that somebody connects.
            if let Some(after) = line.pop_front() {
                assert!(is_told(&after) && !line.iter().any(is_told));
                line.push_front(kit.wait(Some(after)).0);
            }
        }
    });
}
