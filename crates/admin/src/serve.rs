//! Takes connections and serves them, within limits.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use keel_control::{Control, TlsStart};
use keel_tls::{Acceptor, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;

use crate::access::{Peer, Token};
use crate::routes::{App, WrongTokens, router};
use crate::stall::Impatient;

/// Connections at a time on one socket; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// How long a head may take, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long running requests may take once the process stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection on which nothing was asked stays open once the process stops.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// How often files of certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause after a failure to accept: descriptors have run out, and the next attempt would fail too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin API of a process. Clones are the same.
#[derive(Debug, Clone)]
pub struct Admin {
    router: Router,
    tls: Option<Arc<AdminTls>>,
}

/// The TLS of an [`Admin`] over TCP.
#[derive(Debug)]
pub struct AdminTls {
    acceptor: Acceptor,
    timeout: Duration,
    asks_certificates: bool,
}

impl AdminTls {
    /// Prepares it; certificates and keys are read.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn new(start: TlsStart) -> io::Result<AdminTls> {
        let timeout = Duration::from_millis(start.handshake_timeout_ms);
        let asks_certificates = start.settings.client.is_some();
        let (acceptor, _) = Acceptor::new(start.settings).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            io::Error::other(format!("admin: TLS: {}", faults.join("; ")))
        })?;
        Ok(AdminTls {
            acceptor,
            timeout,
            asks_certificates,
        })
    }
}

/// A socket to serve on.
#[derive(Debug)]
pub enum Listening {
    /// Over TCP, with the TLS of the [`Admin`].
    Tcp(std::net::TcpListener),
    /// The unix socket.
    Unix(std::os::unix::net::UnixListener),
}

impl Admin {
    /// The API of this process. `token` lets its holders change things over TCP.
    pub fn new(control: Control, token: Option<Token>, tls: Option<AdminTls>) -> Admin {
        let asks_certificates = tls.as_ref().is_some_and(|it| it.asks_certificates);
        let app = Arc::new(App {
            wrong_tokens: WrongTokens::default(),
            control,
            token,
            asks_certificates,
        });
        Admin {
            router: router(app),
            tls: tls.map(Arc::new),
        }
    }
}

/// Serves on one socket until `stop` resolves, then lets running requests end.
///
/// # Errors
/// When the socket cannot be registered with the runtime.
pub async fn serve(
    listening: Listening,
    admin: Admin,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    let accepting = async {
        match &listening {
            Listening::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                let listener = TcpListener::from_std(listener.try_clone()?)?;
                accept_tcp(&listener, &admin, &closed, &mut connections).await
            }
            Listening::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener.try_clone()?)?;
                accept_unix(&listener, &admin, &closed, &mut connections).await
            }
        }
    };
    let outcome = tokio::select! {
        outcome = accepting => outcome,
        () = look_after(&admin) => Ok(()),
        () = stop => Ok(()),
    };
    let _ = closing.send(true);
    drop(listening);
    let all = async { while connections.join_next().await.is_some() {} };
    // Whoever is slower is cut off with the set.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, all).await;
    outcome
}

/// Takes new certificates into use. Never ends.
async fn look_after(admin: &Admin) {
    let Some(tls) = admin.tls.clone() else {
        return std::future::pending().await;
    };
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        let tls = tls.clone();
        let looked =
            tokio::task::spawn_blocking(move || tls.acceptor.refresh(std::time::SystemTime::now()));
        for event in looked.await.unwrap_or_default() {
            match event.is_warning() {
                true => tracing::warn!(listener = "admin", "{event}"),
                false => tracing::info!(listener = "admin", "{event}"),
            }
        }
    }
}

async fn accept_tcp(
    listener: &TcpListener,
    admin: &Admin,
    closed: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await;
        while connections.try_join_next().is_some() {}
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                refused(&error).await;
                continue;
            }
        };
        let (admin, closed) = (admin.clone(), closed.clone());
        connections.spawn(async move {
            let _place = place;
            let Some(stream) = shake(&admin, stream, address).await else {
                return;
            };
            let subject = stream
                .facts()
                .and_then(|facts| facts.client.as_ref())
                .map(|client| client.subject.to_string());
            let peer = Peer::Remote {
                address,
                certificate: subject,
            };
            converse(&admin, stream, peer, closed).await;
        });
    }
}

/// The connection after its handshake, where there is TLS.
async fn shake(
    admin: &Admin,
    stream: tokio::net::TcpStream,
    address: SocketAddr,
) -> Option<Stream> {
    let Some(tls) = &admin.tls else {
        return Some(Stream::Plain(stream));
    };
    let shaken = tokio::time::timeout(tls.timeout, tls.acceptor.accept(stream)).await;
    match shaken {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(fault)) => {
            tracing::debug!(client = %address, "admin: TLS handshake failed: {fault}");
            None
        }
        Err(_) => {
            tracing::debug!(client = %address, "admin: TLS handshake did not end in time");
            None
        }
    }
}

async fn accept_unix(
    listener: &UnixListener,
    admin: &Admin,
    closed: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await;
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                refused(&error).await;
                continue;
            }
        };
        // The kernel's word for who connected; whoever it is not known of is nobody.
        let uid = stream.peer_cred().map_or(u32::MAX, |it| it.uid());
        let (admin, closed) = (admin.clone(), closed.clone());
        connections.spawn(async move {
            let _place = place;
            converse(&admin, stream, Peer::Local { uid }, closed).await;
        });
    }
}

async fn refused(error: &io::Error) {
    tracing::debug!("admin: cannot take a connection: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Serves one connection to its end.
async fn converse(
    admin: &Admin,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    mut closed: watch::Receiver<bool>,
) {
    let service = TowerToHyperService::new(admin.router.clone().layer(Extension(peer)));
    let asked = Arc::new(Notify::new());
    let tell = asked.clone();
    let service = service_fn(move |request| {
        tell.notify_one();
        service.call(request)
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut connection =
        std::pin::pin!(builder.serve_connection(TokioIo::new(Impatient::new(stream)), service));
    // Who has just come has asked, perhaps, and is heard: the library closes what it has read nothing from.
    let stopped = async {
        let _ = closed.wait_for(|closed| *closed).await;
        let _ = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, asked.notified()).await;
    };
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!("admin: a connection ended: {error}");
            }
            return;
        }
        () = stopped => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
