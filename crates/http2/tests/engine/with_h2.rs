//! Our ends against another library's, which is known to get on with the rest of the world.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Request, Response};
use keel_http2::{Config, Connection, ErrorCode, H2GuardLimits, StreamError};
use tokio::io::duplex;
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};

use crate::adapter::{Shared, Stream, pump};
use crate::side::{config, text};

/// How the two are set up.
#[derive(Debug, Clone, Copy)]
struct Setup {
    /// Windows of streams and connection, ours and theirs.
    windows: [(u32, u32); 2],
    frame_max: u32,
    table: u32,
    pipe: usize,
    out_max: usize,
    at_once: usize,
}

const SETUPS: [Setup; 4] = [
    Setup {
        windows: [(65_535, 65_535), (65_535, 65_535)],
        frame_max: 16_384,
        table: 4096,
        pipe: 65_536,
        out_max: 65_536,
        at_once: 16,
    },
    Setup {
        windows: [(16_384, 65_535), (16_384, 65_535)],
        frame_max: 16_384,
        table: 0,
        pipe: 777,
        out_max: 16_384,
        at_once: 50,
    },
    Setup {
        windows: [(1 << 20, 1 << 22), (1 << 20, 1 << 22)],
        frame_max: 1 << 20,
        table: 65_536,
        pipe: 1 << 20,
        out_max: 1 << 18,
        at_once: 100,
    },
    Setup {
        windows: [(1000, 65_535), (1000, 65_535)],
        frame_max: 20_000,
        table: 100,
        pipe: 50,
        out_max: 4096,
        at_once: 3,
    },
];

fn ours(setup: &Setup) -> Config {
    let (stream, connection) = setup.windows[0];
    Config {
        stream_window_bytes: stream,
        connection_window_bytes: connection,
        out_bytes_max: setup.out_max,
        limits: H2GuardLimits::default(),
        ..config()
    }
}

/// What is asked for: lengths of both bodies, trailers, a long head, a reset of the answer after half of it.
#[derive(Debug, Clone, Copy)]
struct Ask {
    number: usize,
    request: usize,
    answer: usize,
    trailers: bool,
    long: bool,
    reset: bool,
}

impl Ask {
    fn new(number: usize, setup: &Setup) -> Ask {
        let lengths = [0, 1, 10, 1000, 16_384, 16_385, 70_000, 200_000];
        let scale = if setup.pipe < 1000 { 20 } else { 1 };
        Ask {
            number,
            request: lengths[number % 8] / scale,
            answer: lengths[number / 8 % 8] / scale,
            trailers: number.is_multiple_of(3),
            long: number.is_multiple_of(11),
            reset: number.is_multiple_of(13),
        }
    }

    fn path(self) -> String {
        let words = [self.request, self.answer, self.number].map(|it| it.to_string());
        let flags = [self.trailers, self.long, self.reset].map(|it| u8::from(it).to_string());
        format!("/{}/{}", words.join("/"), flags.join("/"))
    }

    fn read(path: &str) -> Ask {
        let words: Vec<usize> = path[1..].split('/').map(|it| it.parse().unwrap()).collect();
        Ask {
            request: words[0],
            answer: words[1],
            number: words[2],
            trailers: words[3] == 1,
            long: words[4] == 1,
            reset: words[5] == 1,
        }
    }

    fn long_value(self) -> String {
        let times = if self.long { 6000 } else { 3 };
        format!("{:03}", self.number).repeat(times)
    }

    fn content(self, answer: bool) -> Vec<u8> {
        let len = if answer { self.answer } else { self.request };
        (0..len).map(|at| (at * 7 + self.number) as u8).collect()
    }
}

/// Runs `one` for many, so many at once.
async fn many<F: Future<Output = ()> + 'static>(setup: Setup, one: impl Fn(Ask) -> F) {
    let places = Arc::new(Semaphore::new(setup.at_once));
    let mut tasks = Vec::new();
    for number in 0..150 {
        let place = places.clone().acquire_owned().await.unwrap();
        let done = one(Ask::new(number, &setup));
        tasks.push(spawn_local(async move {
            done.await;
            drop(place);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let whole = std::time::Duration::from_secs(120);
    runtime.block_on(LocalSet::new().run_until(async move {
        let done = tokio::time::timeout(whole, future).await;
        done.expect("it stands still");
    }));
}

/// What our server does with a request of [`Ask`].
async fn serve(stream: Stream) -> Result<(), StreamError> {
    let (fields, ended) = stream.head().await?;
    let fields = text(&fields);
    let find = |wanted: &str| {
        let found = fields.iter().find(|(name, _)| name == wanted);
        found.map_or("", |(_, value)| value.as_str()).to_owned()
    };
    let ask = Ask::read(&find(":path"));
    assert_eq!(find("x-long"), ask.long_value());
    assert_eq!(ended, ask.request == 0 && !ask.trailers);
    let (content, trailers) = stream.read_all(1000).await?;
    assert_eq!(content, ask.content(false));
    let wanted: &[u8] = if ask.trailers { b"x-sum: 1\r\n" } else { b"" };
    assert_eq!(trailers, wanted);
    let long = ask.long_value();
    let head_only = ask.answer == 0 && !ask.trailers;
    stream.send_head(&[(":status", "100")], false)?;
    stream.send_head(&[(":status", "200"), ("X-Long", &long)], head_only)?;
    let content = ask.content(true);
    if ask.reset {
        stream.send(&content[..content.len() / 2], false).await?;
        stream.reset(ErrorCode::INTERNAL_ERROR);
    } else if ask.trailers {
        stream.send(&content, false).await?;
        stream.send_trailers(&[("X-Sum", "2")])?;
    } else {
        stream.send(&content, true).await?;
    }
    Ok(())
}

async fn their_request(mut send: h2::client::SendRequest<Bytes>, ask: Ask) {
    let request = Request::post(format!("http://test.example{}", ask.path()))
        .header("x-long", ask.long_value())
        .body(())
        .unwrap();
    let ended = ask.request == 0 && !ask.trailers;
    send = send.ready().await.unwrap();
    let (answer, mut body) = send.send_request(request, ended).unwrap();
    if !ended {
        let trailers = ask.trailers;
        body.send_data(Bytes::from(ask.content(false)), !trailers)
            .unwrap();
        if trailers {
            let sum = ("x-sum".parse().unwrap(), HeaderValue::from_static("1"));
            body.send_trailers(HeaderMap::from_iter([sum])).unwrap();
        }
    }
    let whole = their_answer(answer, ask).await;
    match whole {
        Ok(content) if !ask.reset => assert_eq!(content, ask.content(true), "{ask:?}"),
        Err(error) if ask.reset => assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR)),
        // A reset after an answer that was whole already changes nothing.
        Ok(_) if ask.answer == 0 && !ask.trailers => {}
        other => panic!("{ask:?}: {other:?}"),
    }
}

async fn their_answer(answer: h2::client::ResponseFuture, ask: Ask) -> Result<Vec<u8>, h2::Error> {
    let answer = answer.await?;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-long"], ask.long_value().as_str());
    let mut body = answer.into_body();
    let mut content = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len()).unwrap();
        content.extend(piece);
    }
    let trailers = body.trailers().await?;
    assert_eq!(trailers.is_some(), ask.trailers && !ask.reset);
    Ok(content)
}

#[test]
fn their_client_and_our_server() {
    for setup in SETUPS {
        run(async move {
            let (near, far) = duplex(setup.pipe);
            let conn = Rc::new(RefCell::new(Connection::server(ours(&setup), 0)));
            let served = Rc::new(Cell::new(0));
            let counted = served.clone();
            let pumped = spawn_local(pump(conn.clone(), near, move |stream| {
                counted.set(counted.get() + 1);
                spawn_local(async move { serve(stream).await.unwrap() });
            }));
            let mut builder = h2::client::Builder::new();
            let (stream, connection) = setup.windows[1];
            builder
                .initial_window_size(stream)
                .initial_connection_window_size(connection)
                .max_frame_size(setup.frame_max)
                .header_table_size(setup.table);
            let (send, driver) = builder.handshake::<_, Bytes>(far).await.unwrap();
            let driven = spawn_local(driver);
            many(setup, |ask| their_request(send.clone(), ask)).await;
            assert_eq!(served.get(), 150);
            assert_eq!(conn.borrow().active(), 0);
            // They are told to go, and go.
            conn.borrow_mut().drain();
            drop(send);
            driven.await.unwrap().unwrap();
            pumped.await.unwrap();
            assert!(conn.borrow().is_over());
        });
    }
}

/// What their server does with a request of [`Ask`].
async fn they_serve(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (parts, mut body) = request.into_parts();
    let ask = Ask::read(parts.uri.path());
    assert_eq!(parts.headers["x-long"], ask.long_value().as_str());
    let mut content = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        content.extend(piece);
    }
    assert_eq!(content, ask.content(false));
    assert_eq!(body.trailers().await?.is_some(), ask.trailers);
    let answer = Response::builder()
        .header("x-long", ask.long_value())
        .body(())
        .unwrap();
    let head_only = ask.answer == 0 && !ask.trailers && !ask.reset;
    let mut body = respond.send_response(answer, head_only)?;
    let mut content = ask.content(true);
    if ask.reset {
        content.truncate(content.len() / 2);
        body.send_data(Bytes::from(content), false)?;
        body.send_reset(Reason::INTERNAL_ERROR);
    } else if ask.trailers {
        body.send_data(Bytes::from(content), false)?;
        let sum = ("x-sum".parse().unwrap(), HeaderValue::from_static("2"));
        body.send_trailers(HeaderMap::from_iter([sum]))?;
    } else if !head_only {
        body.send_data(Bytes::from(content), true)?;
    }
    Ok(())
}

async fn our_request(conn: Shared, ask: Ask) {
    let (path, long) = (ask.path(), ask.long_value());
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "test.example"),
        (":path", &path),
        ("X-Long", &long),
    ];
    let ended = ask.request == 0 && !ask.trailers;
    let stream = Stream::open(&conn, &fields, ended).unwrap();
    if !ended {
        stream.send(&ask.content(false), false).await.unwrap();
        match ask.trailers {
            true => stream.send_trailers(&[("x-sum", "1")]).unwrap(),
            false => stream.end().unwrap(),
        }
    }
    let whole = async {
        let (fields, _) = stream.head().await?;
        let fields = text(&fields);
        assert_eq!(fields[0], (":status".to_owned(), "200".to_owned()));
        assert!(fields.contains(&("x-long".to_owned(), long.clone())));
        stream.read_all(777).await
    };
    let sum: &[u8] = if ask.trailers { b"x-sum: 2\r\n" } else { b"" };
    match whole.await {
        Ok((content, trailers)) => {
            assert!(!ask.reset);
            assert_eq!(content, ask.content(true));
            assert_eq!(trailers, sum);
        }
        Err(error) => {
            assert!(ask.reset, "{ask:?}: {error}");
            assert_eq!(error, StreamError::Reset(ErrorCode::INTERNAL_ERROR));
        }
    }
}

#[test]
fn our_client_and_their_server() {
    for setup in SETUPS {
        run(async move {
            let (near, far) = duplex(setup.pipe);
            let conn = Rc::new(RefCell::new(Connection::client(ours(&setup))));
            let pumped = spawn_local(pump(conn.clone(), near, |_| panic!("a stream of theirs")));
            let mut builder = h2::server::Builder::new();
            let (stream, connection) = setup.windows[1];
            builder
                .initial_window_size(stream)
                .initial_connection_window_size(connection)
                .max_frame_size(setup.frame_max)
                .header_table_size(setup.table);
            let mut theirs = builder.handshake::<_, Bytes>(far).await.unwrap();
            let (leave, mut left) = tokio::sync::oneshot::channel::<()>();
            let driven = spawn_local(async move {
                let mut leaving = false;
                loop {
                    tokio::select! {
                        _ = &mut left, if !leaving => {
                            leaving = true;
                            theirs.graceful_shutdown();
                        }
                        accepted = theirs.accept() => match accepted {
                            // We close as soon as we are told to go; there is nothing left.
                            Some(Err(error)) if leaving && error.is_io() => return,
                            Some(accepted) => {
                                let (request, respond) = accepted.unwrap();
                                spawn_local(async move { they_serve(request, respond).await.unwrap() });
                            }
                            None => return,
                        },
                    }
                }
            });
            many(setup, |ask| our_request(conn.clone(), ask)).await;
            assert_eq!(conn.borrow().active(), 0);
            assert!(conn.borrow().is_open());
            leave.send(()).unwrap();
            driven.await.unwrap();
            pumped.await.unwrap();
            assert!(conn.borrow().is_over() && !conn.borrow().is_open());
        });
    }
}
