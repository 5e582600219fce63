//! From a compiled configuration to a running process: start, admin listener, signals, drain.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use keel_admin::SocketName;
use keel_config::Model;
use keel_config::model::LogTarget;
use keel_control::{BeforeServing, Compiled, Running, Start, start};
use keel_net::{Drain, Handed, SocketBook};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin;
use crate::parent::Parent;
use crate::privileges::Identity;
use crate::service::{End, Heard, Service};
use crate::upgrade::Program;
use crate::watchdog;

/// How often the end of the workers is looked for.
const POLL: Duration = Duration::from_millis(20);
/// Time on top of the drain's in which the workers must end.
const DRAIN_SLACK: Duration = Duration::from_secs(2);

/// Serves until a signal says stop or another process has taken over, then drains. `file` is what a
/// reload reads.
pub fn serve(
    model: Model,
    compiled: Compiled,
    file: Option<&Path>,
    parent: &mut Parent,
) -> Result<()> {
    let program = Program::running().context("cannot tell which program this is")?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let outcome = runtime.block_on(serve_on(model, compiled, file, parent, program));
    // Look-ups of names run on threads of their own and cannot be stopped: nobody waits for them.
    runtime.shutdown_background();
    let Some(running) = outcome? else {
        tracing::info!("stopped before it served");
        return Ok(());
    };
    if !running.is_over() {
        bail!("stopped without waiting for what still ran");
    }
    running.join().context("a worker failed")?;
    tracing::info!("stopped");
    Ok(())
}

async fn serve_on(
    model: Model,
    compiled: Compiled,
    file: Option<&Path>,
    parent: &mut Parent,
    program: Program,
) -> Result<Option<Running>> {
    let upgrade_timeout = model.process.upgrade_timeout;
    let carried = parent.receive()?;
    // Whatever can fail comes before the first client is let in.
    let book = SocketBook::new();
    let admin = admin::bind(model.admin.as_ref(), &mut parent.inherited, &book)?;
    let before_serving = before_serving(&model, &book, admin.names())?;
    let (admin_model, admin_tls) = (model.clone(), admin::tls(compiled.admin_tls.clone())?);
    let taken_over = carried.as_ref().map(|_| admin::left(&parent.inherited));
    let left = taken_over.unwrap_or_default();
    // From here on a stop ends nothing by itself: a process that takes over may be asked to end, and its
    // workers may accept already.
    let mut heard = Heard::new()?;
    let what = Start {
        model,
        compiled,
        file: file.map(Path::to_path_buf),
        sockets: std::mem::take(&mut parent.inherited),
        carried,
        before_serving,
    };
    let Some(running) = begin(what, &mut heard).await? else {
        return Ok(None);
    };
    let stop_admin = Drain::new();
    let api = admin::api(&admin_model, running.control.clone(), admin_tls);
    let admin = admin.serve(&api, &stop_admin);
    let service = Service {
        running,
        notify: parent.notify.clone(),
        watchdog_usec: parent.watchdog_usec.clone(),
        book,
        program,
        upgrade_timeout,
    };
    service.is_ready(parent)?;
    left.iter().for_each(SocketName::remove);
    let every = parent.watchdog;
    let alive = || {
        // Once another process has taken over, that is the one which is watched.
        if !stop_admin.is_draining() {
            service.notify.watchdog();
        }
    };
    let watching = watchdog::watch(every, |limit| service.running.stuck_workers(limit), alive);
    let ended = async {
        let end = service.until_end(heard).await?;
        service.drain(&end, &stop_admin);
        // A process that has taken over has taken its name over too.
        if end == End::Stopped {
            admin.remove_name();
        }
        wait_for_end(&service.running, &end).await;
        Ok(())
    };
    tokio::select! {
        ended = ended => { let ended: Result<()> = ended; ended? }
        () = watching => {}
    }
    stop_admin.begin();
    // Whoever asked for the end over it has its answer first.
    admin.end().await;
    Ok(Some(service.running))
}

/// Starts; `None` when a stop came first, unless this process replaces another.
async fn begin(what: Start, heard: &mut Heard) -> Result<Option<Running>> {
    let replaces = what.carried.is_some();
    let running = tokio::select! {
        biased;
        started = start(what) => started?,
        () = heard.stop(), if !replaces => return Ok(None),
    };
    for bind in &running.binds {
        let (listener, address) = (&bind.listener, bind.address);
        tracing::info!("listening listener={listener} address={address}");
    }
    Ok(Some(running))
}

/// What has to be done as root, when the process is to become another user.
fn before_serving(
    model: &Model,
    book: &SocketBook,
    admin_names: Vec<PathBuf>,
) -> Result<BeforeServing> {
    let name = |it: &Option<keel_config::Spanned<String>>| it.as_ref().map(|it| it.value.clone());
    let (user, group) = (name(&model.process.user), name(&model.process.group));
    let Some(identity) = Identity::wanted(user.as_deref(), group.as_deref())? else {
        return Ok(BeforeServing::default());
    };
    let state = model.state.value.clone();
    let mut files: Vec<PathBuf> = vec![state.clone()];
    for log in &model.access_logs {
        if let LogTarget::File(path) = &log.target.value {
            files.push(path.clone());
        }
    }
    let admin = book.copies().context("admin")?;
    let drop_privileges = move |sockets: &[Handed]| -> Result<()> {
        for handed in sockets.iter().chain(&admin) {
            let name = &handed.label.listener;
            let given = identity.own_socket(&handed.socket);
            given.with_context(|| format!("cannot give the socket of `{name}` to the user"))?;
        }
        for path in &admin_names {
            let given = identity.own_name(path);
            given.with_context(|| format!("cannot give {} to the user", path.display()))?;
        }
        // It lies where only root can make it, as a rule.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&state);
        made.with_context(|| format!("state: cannot make {}", state.display()))?;
        for path in &files {
            let given = identity.own_files(path);
            given.with_context(|| format!("cannot give {} to the user", path.display()))?;
        }
        identity.become_it()
    };
    Ok(BeforeServing::new(move |sockets| {
        drop_privileges(sockets).map_err(|error| format!("{error:#}"))
    }))
}

/// Waits for the workers to end, or for another signal to stop, or for the drain's time limit.
async fn wait_for_end(running: &Running, end: &End) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return;
    };
    // Whoever stops the service signals this process too, which stops already: that is no second
    // thought.
    let mut patience = u32::from(matches!(end, End::Replaced(_)));
    let due = tokio::time::Instant::now() + running.drain_timeout() + DRAIN_SLACK;
    while !running.is_over() && tokio::time::Instant::now() < due {
        tokio::select! {
            () = tokio::time::sleep(POLL) => continue,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if patience == 0 {
            break;
        }
        patience -= 1;
    }
}
