//! How long a stalling connection is kept: seconds until the proxy closes its end of it.
//!
//! Seen in the kernel's table of sockets, because a client that does not read cannot see it. Over HTTP/2 the first stream that
//! is reset, or the announced end of the connection, counts too: the socket may stay for others. All proxies and all ways of
//! stalling run side by side, so a whole table takes as long as its slowest row.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::bed::Origins;
use crate::cores::Cores;
use crate::hold::{Held, HoldKind};
use crate::process::{check_interrupt, pause};
use crate::protocol::Protocol;
use crate::proxy::{Programs, ProxyKind, Purpose, Running, Setup};
use crate::sockets::SocketTable;
use crate::table::Table;

/// Between two looks at the table of sockets.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The ways of stalling, in the order of the table.
pub const STALLS: [HoldKind; 10] = [
    HoldKind::Silent,
    HoldKind::SlowHead,
    HoldKind::SlowBody,
    HoldKind::SlowRead,
    HoldKind::NoRead,
    HoldKind::Idle,
    HoldKind::TlsSilent,
    HoldKind::H2NoStream,
    HoldKind::H2CutOff,
    HoldKind::H2NoWindow,
];

/// One cell.
#[derive(Debug, Serialize)]
pub struct Stall {
    /// Which proxy.
    pub proxy: ProxyKind,
    /// How the client stalls.
    pub kind: HoldKind,
    /// Seconds until the proxy ended it; `None` when it did not.
    pub seconds: Option<f64>,
}

/// All cells.
#[derive(Debug, Default)]
pub struct Found {
    /// What was seen.
    pub stalls: Vec<Stall>,
    /// What could not be looked at, and why.
    pub failures: Vec<String>,
}

struct Watched {
    stall: Stall,
    held: Held,
    client: SocketAddr,
    proxy: SocketAddr,
    began: Instant,
    next_drip: Instant,
}

impl Watched {
    fn open(running: &Running, kind: HoldKind) -> Result<Watched> {
        let held = Held::open(kind, running.address)?;
        let began = Instant::now();
        Ok(Watched {
            stall: Stall {
                proxy: running.kind,
                kind,
                seconds: None,
            },
            client: held.local()?,
            proxy: running.address,
            began,
            next_drip: began + kind.period(),
            held,
        })
    }

    fn look(&mut self, sockets: &SocketTable) {
        if self.stall.seconds.is_some() {
            return;
        }
        let is_h2 = self.stall.kind.protocol() == Protocol::Http2;
        if is_h2 || Instant::now() >= self.next_drip {
            self.next_drip += self.stall.kind.period();
            self.held.drip();
        }
        let is_ended = is_h2 && !self.held.is_open();
        if is_ended || !sockets.is_established(self.proxy, self.client) {
            self.stall.seconds = Some(self.began.elapsed().as_secs_f64());
        }
    }
}

/// Runs these ways of stalling against these proxies, at most `limit` long.
pub fn run(
    proxies: &[ProxyKind],
    rows: &[HoldKind],
    programs: &Programs,
    cores: &Cores,
    limit: Duration,
) -> Result<Found> {
    let origins = Origins::start(3, cores)?;
    let mut setup = Setup::plain(&origins.addresses);
    setup.purpose = Purpose::Patience;
    let mut found = Found::default();
    let mut running = Vec::new();
    for protocol in Protocol::ALL {
        if !rows.iter().any(|row| row.protocol() == protocol) {
            continue;
        }
        setup.protocol = protocol;
        for kind in proxies {
            match Running::start(*kind, programs, &setup, &cores.proxy) {
                Ok(proxy) => running.push(proxy),
                Err(error) => {
                    check_interrupt()?;
                    let (name, about) = (kind.name(), protocol.about());
                    found.failures.push(format!("{name}, {about}: {error:#}"));
                }
            }
        }
    }
    // Give a connection made by the starting check time to go.
    pause(Duration::from_millis(200))?;
    let mut watched = Vec::new();
    for proxy in &running {
        let spoken = proxy.peer().protocol;
        for kind in rows.iter().filter(|row| row.protocol() == spoken) {
            match Watched::open(proxy, *kind) {
                Ok(one) => watched.push(one),
                Err(error) => {
                    let (name, about) = (proxy.kind.name(), kind.about());
                    found.failures.push(format!("{name}, {about}: {error:#}"));
                }
            }
        }
    }
    let end = Instant::now() + limit;
    while Instant::now() < end && watched.iter().any(|one| one.stall.seconds.is_none()) {
        check_interrupt()?;
        let sockets = SocketTable::read()?;
        for one in &mut watched {
            one.look(&sockets);
        }
        pause(LOOK_EVERY)?;
    }
    found.stalls = watched.into_iter().map(|one| one.stall).collect();
    Ok(found)
}

/// A row for each way of stalling, a column for each proxy.
pub fn render(found: &Found, proxies: &[ProxyKind], rows: &[HoldKind], limit: Duration) -> String {
    let names = proxies.iter().map(|kind| kind.name().to_string());
    let mut table = Table::new(std::iter::once("seconds until ended".to_string()).chain(names));
    for kind in rows {
        let cell = |proxy: &ProxyKind| {
            let mut stalls = found.stalls.iter();
            let seen = stalls.find(|stall| stall.proxy == *proxy && stall.kind == *kind);
            match seen.map(|stall| stall.seconds) {
                Some(Some(seconds)) => format!("{seconds:.1}"),
                Some(None) => format!(">{}", limit.as_secs()),
                None => "-".into(),
            }
        };
        let cells = proxies.iter().map(cell);
        table.row(std::iter::once(kind.about().to_string()).chain(cells));
    }
    let mut text = table.render();
    for failure in &found.failures {
        text.push_str(&format!("  NOT RUN {failure}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_stalls_show_the_limit() {
        let stall = |proxy, kind, seconds| Stall {
            proxy,
            kind,
            seconds,
        };
        let stalls = [
            stall(ProxyKind::Nginx, HoldKind::Silent, Some(60.04)),
            stall(ProxyKind::Nginx, HoldKind::SlowBody, None),
        ];
        let found = Found {
            stalls: stalls.into(),
            failures: vec!["haproxy: gone".into()],
        };
        let limit = Duration::from_secs(75);
        let text = render(&found, &[ProxyKind::Nginx], &STALLS, limit);
        assert!(text.contains("NOT RUN haproxy: gone"), "{text}");
        let cell = |name| {
            text.lines()
                .find(|line| line.contains(name))
                .and_then(|l| l.split("  ").last())
        };
        assert_eq!(
            cell("silent after connect").map(str::trim),
            Some("60.0"),
            "{text}"
        );
        assert_eq!(cell("body of 1 byte").map(str::trim), Some(">75"), "{text}");
    }
}
