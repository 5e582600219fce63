//! The demo's servers, and the page that stops and starts them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{AbortHandle, JoinSet};

/// Servers that can be stopped and started on the same addresses.
pub struct Origins {
    servers: Vec<Server>,
}

struct Server {
    number: usize,
    address: SocketAddr,
    running: Mutex<Option<AbortHandle>>,
}

impl Origins {
    /// Starts `count` servers on free ports.
    pub async fn start(count: usize) -> std::io::Result<Origins> {
        let mut servers = Vec::with_capacity(count);
        for number in 1..=count {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let address = listener.local_addr()?;
            let server = Server {
                number,
                address,
                running: Mutex::new(None),
            };
            server.serve(listener);
            servers.push(server);
        }
        Ok(Origins { servers })
    }

    /// Their addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }

    /// Whether each of them runs.
    pub fn states(&self) -> Vec<bool> {
        self.servers.iter().map(Server::is_running).collect()
    }

    /// Stops a server that runs, starts one that does not. Numbers count from 1.
    pub async fn toggle(&self, number: usize) {
        let Some(server) = self.servers.iter().find(|server| server.number == number) else {
            return;
        };
        if server.is_running() {
            server.stop();
        } else if let Err(error) = server.restart() {
            eprintln!("server {number} cannot start again: {error}");
        }
    }

    /// The page with `POST /stop/N` and `POST /start/N`; gives its address.
    pub async fn serve_control(self: &Arc<Self>) -> std::io::Result<SocketAddr> {
        let change = |origins: Arc<Origins>, run: bool| {
            move |Path(number): Path<usize>| async move {
                let found = number.checked_sub(1).and_then(|at| origins.servers.get(at));
                let Some(server) = found else {
                    return (
                        StatusCode::NOT_FOUND,
                        "there are servers 1, 2 and 3\n".to_owned(),
                    );
                };
                if server.is_running() != run {
                    origins.toggle(number).await;
                }
                let state = if run { "runs" } else { "is stopped" };
                (StatusCode::OK, format!("server {number} {state}\n"))
            }
        };
        let pages = Router::new()
            .route("/stop/{number}", post(change(self.clone(), false)))
            .route("/start/{number}", post(change(self.clone(), true)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, pages).await });
        Ok(address)
    }
}

impl Server {
    fn is_running(&self) -> bool {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn stop(&self) {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(running) = running {
            running.abort();
        }
    }

    fn restart(&self) -> std::io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        self.serve(socket.listen(128)?);
        Ok(())
    }

    /// Serves until it is stopped; stopping breaks the connections that are open, as a crash does.
    fn serve(&self, listener: TcpListener) {
        let text = format!(
            "{{\"server\":\"s{}\",\"message\":\"hello\"}}\n",
            self.number
        );
        let answer = move || {
            let text = text.clone();
            async move { ([("content-type", "application/json")], text) }
        };
        let pages = Router::new().fallback(get(answer));
        let task = tokio::spawn(async move {
            // Dropped with this task, and with it every connection.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let pages = pages.clone();
                connections.spawn(serve_one(stream, pages));
                while connections.try_join_next().is_some() {}
            }
        });
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
    }
}

async fn serve_one(stream: tokio::net::TcpStream, pages: Router) {
    let service = hyper_util::service::TowerToHyperService::new(pages);
    let io = hyper_util::rt::TokioIo::new(stream);
    // A connection that breaks is the client's business.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(io, service)
        .await;
}
