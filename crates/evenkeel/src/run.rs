//! From a compiled configuration to a running process: start, admin listener, signals, drain.

use std::net::ToSocketAddrs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use keel_config::Model;
use keel_config::model::{Admin, EndpointHost};
use keel_control::{Actor, Compiled, Names, Running, Start, start};
use keel_net::{Bound, Drain};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// How often the end of the workers is looked for.
const POLL: Duration = Duration::from_millis(20);
/// Time on top of the drain's in which the workers must end.
const DRAIN_SLACK: Duration = Duration::from_secs(2);

/// Serves until a signal says stop, then drains. `file` is what a reload reads.
pub fn serve(model: Model, compiled: Compiled, file: Option<&Path>) -> Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let outcome = runtime.block_on(serve_on(model, compiled, file));
    // Look-ups of names run on threads of their own and cannot be stopped: nobody waits for them.
    runtime.shutdown_background();
    let running = outcome?;
    if !running.is_over() {
        bail!("stopped without waiting for what still ran");
    }
    running.join().context("a worker failed")?;
    tracing::info!("stopped");
    Ok(())
}

async fn serve_on(model: Model, compiled: Compiled, file: Option<&Path>) -> Result<Running> {
    let (names, _changes) = Names::start();
    names.settle(&model, &compiled.snapshot).await;
    // Whatever can fail comes before the first client is let in.
    let admin = bind_admin(model.admin.as_ref())?;
    let running = start(Start {
        model,
        compiled,
        file: file.map(Path::to_path_buf),
    })?;
    for bind in &running.binds {
        let (listener, address) = (&bind.listener, bind.address);
        tracing::info!("listening listener={listener} address={address}");
    }
    let stop = Drain::new();
    for bound in admin {
        tracing::info!("listening listener=admin address={}", bound.address);
        let (status, stop) = (Arc::clone(&running.status), stop.clone());
        tokio::spawn(async move {
            keel_admin::serve(bound.listener, status, async move { stop.begun().await }).await
        });
    }
    tracing::info!(
        workers = running.workers,
        connections = running.connections_max,
        "ready"
    );
    wait_for_stop(&running).await?;
    tracing::info!("stopping: no new connections, running requests may finish");
    running.begin_drain();
    drop(names);
    wait_for_end(&running).await;
    stop.begin();
    Ok(running)
}

/// Binds the admin listener. One that nobody asked for may find its port busy.
pub fn bind_admin(admin: Option<&Admin>) -> Result<Vec<Bound>> {
    /// Connections that may wait there.
    const BACKLOG: i32 = 128;

    let mut all = Vec::new();
    let Some(admin) = admin else { return Ok(all) };
    for address in &admin.binds {
        let wanted = &address.value;
        let host = match &wanted.host {
            EndpointHost::Ip(ip) => ip.to_string(),
            EndpointHost::Name(name) => name.clone(),
        };
        let at = (host.as_str(), wanted.port)
            .to_socket_addrs()
            .with_context(|| format!("admin: {wanted} does not resolve"))?
            .next()
            .with_context(|| format!("admin: {wanted} resolves to nothing"))?;
        match keel_net::bind(at, BACKLOG) {
            Ok(bound) => all.push(bound),
            Err(fault) if admin.defaulted => {
                tracing::warn!(
                    "no admin listener: {fault}; set `admin:` to another address or off"
                );
            }
            Err(fault) => bail!("listener `admin`: {fault}"),
        }
    }
    Ok(all)
}

/// Waits for SIGTERM or SIGINT. On the way SIGUSR1 opens the logs anew, and SIGHUP reloads.
async fn wait_for_stop(running: &Running) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let mut reopen = signal(SignalKind::user_defined1()).context("cannot catch SIGUSR1")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot catch SIGHUP")?;
    let mut look = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = reopen.recv() => {
                tracing::info!("opening the access logs anew");
                running.reopen_logs();
            }
            _ = hangup.recv() => {
                let control = running.control.clone();
                // What came of it is logged there; other signals are heard meanwhile.
                tokio::spawn(async move { control.reload(Actor::new("SIGHUP")).await });
            }
            _ = look.tick() => anyhow::ensure!(!running.has_failed(), "a worker ended by itself"),
        }
    }
}

/// Waits for the workers to end, or for a second signal, or for the drain's time limit.
async fn wait_for_end(running: &Running) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return;
    };
    let due = tokio::time::Instant::now() + running.drain_timeout() + DRAIN_SLACK;
    while !running.is_over() && tokio::time::Instant::now() < due {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
}
