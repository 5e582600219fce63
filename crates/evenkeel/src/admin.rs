//! The sockets of the admin API.

use std::net::ToSocketAddrs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use keel_admin::{Admin, AdminTls, Listening, SocketName, Token};
use keel_config::Model;
use keel_config::model::{self, EndpointHost};
use keel_control::{Control, TlsStart};
use keel_net::{Bound, Drain, Inherited, SocketBook};
use tokio::task::JoinHandle;

/// The listener's name in messages, and towards the process that follows.
const NAME: &str = "admin";
/// Connections that may wait there.
const BACKLOG: i32 = 128;

/// What is listened on.
#[derive(Default)]
pub struct Sockets {
    /// Over TCP.
    pub tcp: Vec<Bound>,
    local: Option<(UnixListener, SocketName)>,
    /// The folder of the unix socket, when it was made for it.
    folder: Option<PathBuf>,
}

/// Binds the sockets, or takes those that the process before had. One that nobody asked for may not be had. Copies for
/// the process that follows go into the book.
pub fn bind(
    admin: Option<&model::Admin>,
    inherited: &mut Inherited,
    book: &SocketBook,
) -> Result<Sockets> {
    let mut sockets = Sockets::default();
    let Some(admin) = admin else {
        return Ok(sockets);
    };
    for address in &admin.binds {
        let mut bound = tcp(admin, &address.value, inherited, book)?;
        sockets.tcp.append(&mut bound);
    }
    if let Some(path) = &admin.socket {
        let shown = path.display().to_string();
        let missing = path.parent().filter(|it| !it.exists());
        let folder = missing.map(Path::to_path_buf);
        let local = match inherited.take_unix(NAME, &shown) {
            Some(local) => Ok(local),
            None => keel_admin::bind(path),
        };
        match local {
            Ok(local) => {
                book.keep_unix(NAME, &shown, &local).context("admin")?;
                sockets.local = Some((local, SocketName::note(path)));
                sockets.folder = folder;
            }
            Err(fault) if admin.socket_defaulted => {
                tracing::warn!("no admin socket: {fault}");
            }
            Err(fault) => bail!("admin: {fault}"),
        }
    }
    Ok(sockets)
}

fn tcp(
    admin: &model::Admin,
    wanted: &model::BindAddress,
    inherited: &mut Inherited,
    book: &SocketBook,
) -> Result<Vec<Bound>> {
    let host = match &wanted.host {
        EndpointHost::Ip(ip) => ip.to_string(),
        EndpointHost::Name(name) => name.clone(),
    };
    let at = (host.as_str(), wanted.port)
        .to_socket_addrs()
        .with_context(|| format!("admin: {wanted} does not resolve"))?
        .next()
        .with_context(|| format!("admin: {wanted} resolves to nothing"))?;
    let mut bound = inherited
        .take(NAME, at)
        .with_context(|| format!("admin: {wanted}"))?;
    if bound.is_empty() {
        match keel_net::bind(at, BACKLOG) {
            Ok(one) => bound.push(one),
            Err(fault) if admin.defaulted => {
                tracing::warn!(
                    "no admin listener: {fault}; set `admin:` to another address or off"
                );
            }
            Err(fault) => bail!("listener `admin`: {fault}"),
        }
    }
    for one in &bound {
        book.keep(NAME, at, one).context("admin")?;
    }
    Ok(bound)
}

/// Names of unix sockets that the process before had and that nobody took: its listener has moved. To be asked after
/// [`bind`], and removed once this process has taken over.
pub fn left(inherited: &Inherited) -> Vec<SocketName> {
    let left = inherited.left().into_iter();
    left.filter(|it| it.listener == NAME && it.address.contains('/'))
        .map(|it| SocketName::note(Path::new(&it.address)))
        .collect()
}

/// The TLS of the API over TCP. Its key may be root's.
pub fn tls(start: Option<TlsStart>) -> Result<Option<AdminTls>> {
    Ok(start.map(AdminTls::new).transpose()?)
}

/// The API of a process that serves this.
pub fn api(model: &Model, control: Control, tls: Option<AdminTls>) -> Admin {
    let token = model.admin.as_ref().and_then(|it| it.token.as_ref());
    let token = token.map(|it| Token::new(it.value.reveal().to_owned()));
    Admin::new(control, token, tls)
}

impl Sockets {
    /// What has to be given to the user that the process becomes: the name of the unix socket, and its folder when it
    /// was made for it.
    pub fn names(&self) -> Vec<PathBuf> {
        let name = self.local.iter().map(|(_, name)| name.path().to_path_buf());
        name.chain(self.folder.clone()).collect()
    }

    /// Serves on all of them until `stop` begins.
    pub fn serve(self, admin: &Admin, stop: &Drain) -> Serving {
        let mut serving = Serving::default();
        for bound in self.tcp {
            tracing::info!("listening listener=admin address={}", bound.address);
            let task = spawn(Listening::Tcp(bound.listener), admin, stop);
            serving.tasks.push(task);
        }
        if let Some((local, name)) = self.local {
            let socket = name.path().display();
            tracing::info!("listening listener=admin socket={socket}");
            let task = spawn(Listening::Unix(local), admin, stop);
            serving.tasks.push(task);
            serving.name = Some(name);
        }
        serving
    }
}

/// The API while it is served. Dropping it changes nothing.
#[derive(Default)]
pub struct Serving {
    tasks: Vec<JoinHandle<()>>,
    name: Option<SocketName>,
}

impl Serving {
    /// Removes the name of the unix socket: nobody will listen there any more.
    pub fn remove_name(&self) {
        if let Some(name) = &self.name {
            name.remove();
        }
    }

    /// Waits until what was asked before the stop is answered, which takes a few seconds at the longest.
    pub async fn end(self) {
        for task in self.tasks {
            // A panic was told of by its hook.
            let _ = task.await;
        }
    }
}

fn spawn(listening: Listening, admin: &Admin, stop: &Drain) -> JoinHandle<()> {
    let (admin, stop) = (admin.clone(), stop.clone());
    tokio::spawn(async move {
        let served = keel_admin::serve(listening, admin, async move { stop.begun().await });
        if let Err(error) = served.await {
            tracing::error!("admin: {error}");
        }
    })
}
