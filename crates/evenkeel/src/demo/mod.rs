//! `evenkeel demo`: three servers, a balancer in front of them, steady traffic, one live line.
//!
//! The balancer is the real one, configured by a text that the demo prints; only the servers and the
//! clients are made for it.

mod origin;
mod screen;
mod traffic;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use keel_config::Model;
use keel_control::{BeforeServing, Running, Start, start};
use keel_net::{Drain, Inherited, SocketBook};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin;
use crate::cli::Demo;
use crate::load::{compiled, from_text};
use crate::{Failure, print_line};
use origin::Origins;
use screen::{Key, Screen};
use traffic::{Tally, Traffic};

/// Servers of the demo.
const ORIGINS: usize = 3;
/// Port of the admin listener; a free one is taken when it is busy.
const ADMIN_PORT: u16 = 9900;
/// How often the live line is written.
const LINE_EVERY: Duration = Duration::from_millis(500);

/// `demo`
pub fn demo(options: &Demo) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    let outcome = runtime.block_on(run(options));
    runtime.shutdown_background();
    outcome
}

async fn run(options: &Demo) -> Result<(), Failure> {
    let origins = Arc::new(
        Origins::start(ORIGINS)
            .await
            .context("cannot start the servers")?,
    );
    let control = origins
        .serve_control()
        .await
        .context("cannot start the control page")?;
    let text = configuration(&origins.addresses(), options.port);
    let (model, plan) = compiled(from_text(&text))?;
    let running = start(Start {
        model,
        compiled: plan,
        file: None,
        sockets: Inherited::none(),
        carried: None,
        before_serving: BeforeServing::default(),
    })
    .await;
    let running = running.map_err(anyhow::Error::from)?;
    let stop = Drain::new();
    let admin = serve_admin(running.control.status().model(), &running, &stop)?;
    let site = running
        .binds
        .first()
        .map(|bind| bind.address)
        .context("no listener")?;
    introduce(&text, site, admin, control);
    let tally = Arc::new(Tally::new(ORIGINS));
    let traffic = Traffic::start(site, options.rate, tally.clone());
    watch(options, &origins, &tally).await?;
    traffic.stop().await;
    running.begin_drain();
    stop.begin();
    let ended = tokio::task::spawn_blocking(move || running.join()).await;
    ended
        .context("a thread panicked")?
        .context("a worker failed")?;
    print_line(&format!("\nstopped: {}", tally.summary()));
    Ok(())
}

/// The configuration of the demo. The usual port when it is free, else a free one.
fn configuration(origins: &[SocketAddr], port: u16) -> String {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT));
    let free = |at: SocketAddr| match std::net::TcpListener::bind(at) {
        Ok(_) => at.port(),
        Err(_) => 0,
    };
    let (port, admin) = (free(wanted), free(admin));
    let servers: Vec<String> = origins
        .iter()
        .enumerate()
        .map(|(at, address)| format!("      - {{ name: s{}, address: \"{address}\" }}", at + 1))
        .collect();
    format!(
        "listeners:\n  web: {{ bind: \"127.0.0.1:{port}\" }}\n\
         pools:\n  app:\n    balance: round_robin\n    fail_timeout: 2s\n    servers:\n{}\n\
         routes:\n  - {{ name: everything, pool: app }}\n\
         show_backend: true\nadmin: {{ bind: \"127.0.0.1:{admin}\", socket: off }}\n",
        servers.join("\n")
    )
}

/// Serves the admin pages; gives their address.
fn serve_admin(model: &Model, running: &Running, stop: &Drain) -> Result<SocketAddr> {
    let sockets = admin::bind(
        model.admin.as_ref(),
        &mut Inherited::none(),
        &SocketBook::new(),
    )?;
    let bound = sockets.tcp.first().context("no admin listener")?;
    let address = bound.address;
    sockets.serve(&admin::api(model, running.control.clone(), None), stop);
    Ok(address)
}

fn introduce(text: &str, site: SocketAddr, admin: SocketAddr, control: SocketAddr) {
    print_line("evenkeel demo: three servers behind a balancer, configured by\n");
    for line in text.lines() {
        print_line(&format!("    {line}"));
    }
    print_line(&format!("\n  try it      curl -i http://{site}/"));
    print_line(&format!("  statistics  curl http://{admin}/stats"));
    print_line(&format!("  metrics     curl http://{admin}/metrics"));
    print_line(&format!(
        "  stop one    curl -X POST http://{control}/stop/1      (start it again: /start/1)"
    ));
    if screen::is_interactive() {
        print_line(
            "              or press 1, 2 or 3 to stop and start a server, q or Ctrl-C to end",
        );
    } else {
        print_line("              Ctrl-C ends it");
    }
    print_line("");
}

/// Shows the live line until the end is asked for.
async fn watch(options: &Demo, origins: &Arc<Origins>, tally: &Tally) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let mut tick = tokio::time::interval(LINE_EVERY);
    let mut screen = Screen::new();
    let end = options.seconds.map_or(Duration::MAX, Duration::from_secs);
    let end = tokio::time::sleep(end.min(Duration::from_secs(1 << 31)));
    tokio::pin!(end);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = &mut end => return Ok(()),
            _ = tick.tick() => screen.line(&tally.line(&origins.states())),
            key = screen.key() => match key {
                Key::Toggle(number) => origins.toggle(number).await,
                Key::Quit => return Ok(()),
            },
        }
    }
}
