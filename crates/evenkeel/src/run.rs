//! From a compiled configuration to a running process: start, admin listener, signals, drain.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use keel_config::Model;
use keel_config::model::{Admin, EndpointHost};
use keel_control::{Compiled, Running, StartFault, start};
use keel_net::Drain;
use keel_upstream::keep_resolving;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// How often the end of the workers is looked for.
const POLL: Duration = Duration::from_millis(20);
/// Time on top of the drain's in which the workers must end.
const DRAIN_SLACK: Duration = Duration::from_secs(2);

/// Serves until a signal says stop, then drains.
pub fn serve(model: &Model, compiled: Compiled) -> Result<()> {
    let running = start(model, compiled)?;
    for bind in &running.binds {
        tracing::info!(
            "listening listener={} address={}",
            bind.listener,
            bind.address
        );
    }
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let stop = Drain::new();
    runtime.block_on(async {
        let admin = start_admin(model.admin.as_ref(), &running, &stop)?;
        let resolving = tokio::spawn(keep_resolving(running.servers()));
        tracing::info!(
            workers = running.workers,
            connections = running.connections_max,
            "ready"
        );
        wait_for_stop(&running).await?;
        tracing::info!("stopping: no new connections, running requests may finish");
        running.begin_drain();
        resolving.abort();
        wait_for_end(&running).await;
        stop.begin();
        for task in admin {
            task.abort();
        }
        Ok::<(), anyhow::Error>(())
    })?;
    // Look-ups of names run on threads of their own and cannot be stopped: nobody waits for them.
    runtime.shutdown_background();
    if !running.is_over() {
        return Ok(());
    }
    running.join().context("a worker failed")?;
    tracing::info!("stopped");
    Ok(())
}

type AdminTask = tokio::task::JoinHandle<std::io::Result<()>>;

/// Starts the admin listener. One that nobody asked for may find its port busy.
fn start_admin(admin: Option<&Admin>, running: &Running, stop: &Drain) -> Result<Vec<AdminTask>> {
    let mut tasks = Vec::new();
    let Some(admin) = admin else { return Ok(tasks) };
    for address in &admin.binds {
        let wanted = &address.value;
        let host = match &wanted.host {
            EndpointHost::Ip(ip) => ip.to_string(),
            EndpointHost::Name(name) => name.clone(),
        };
        let bound = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), wanted.port))
            .with_context(|| format!("admin: {wanted} does not resolve"))?
            .next()
            .with_context(|| format!("admin: {wanted} resolves to nothing"))
            .and_then(|at| {
                keel_net::bind(at, 128).map_err(|fault| {
                    StartFault::Bind {
                        listener: "admin".into(),
                        fault,
                    }
                    .into()
                })
            });
        let bound = match bound {
            Ok(bound) => bound,
            Err(error) if admin.defaulted => {
                tracing::warn!(
                    "no admin listener: {error:#}; set `admin:` to another address or off"
                );
                continue;
            }
            Err(error) => return Err(error),
        };
        tracing::info!("listening listener=admin address={}", bound.address);
        let (status, stop) = (Arc::clone(&running.status), stop.clone());
        tasks.push(tokio::spawn(async move {
            keel_admin::serve(bound.listener, status, async move { stop.begun().await }).await
        }));
    }
    Ok(tasks)
}

/// Waits for SIGTERM or SIGINT; SIGUSR1 opens the logs anew on the way.
async fn wait_for_stop(running: &Running) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let mut reopen = signal(SignalKind::user_defined1()).context("cannot catch SIGUSR1")?;
    let mut look = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = reopen.recv() => {
                tracing::info!("opening the access logs anew");
                running.reopen_logs();
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
