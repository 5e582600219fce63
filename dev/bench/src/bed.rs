//! What stands around a proxy in a run: the origins' process, the load's process, and the checks that all proxies do
//! the same work.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cores::Cores;
use crate::document::Document;
use crate::job::{LoadJob, LoadResult};
use crate::origin::OriginCounts;
use crate::process::{Farewell, Guard, Launch};
use crate::protocol::Protocol;
use crate::proxy::{Running, Setup};
use crate::wire;

/// Time for a load process beyond its warm-up and measuring: opening connections above all.
const LOAD_PATIENCE: Duration = Duration::from_secs(90);
/// Time for one request of a check.
const CHECK_PATIENCE: Duration = Duration::from_secs(10);

/// The running origins.
#[derive(Debug)]
pub struct Origins {
    guard: Guard,
    replies: BufReader<ChildStdout>,
    /// Where they listen.
    pub addresses: Vec<SocketAddr>,
}

fn own_command(args: &[&str]) -> Vec<OsString> {
    let program = std::iter::once("/proc/self/exe");
    program
        .chain(args.iter().copied())
        .map(OsString::from)
        .collect()
}

impl Origins {
    /// Starts so many origins in one process on the load's cores.
    pub fn start(count: usize, cores: &Cores) -> Result<Origins> {
        let mut guard = Guard::start(Launch {
            name: "origin",
            command: own_command(&["origin", "--servers", &count.to_string()]),
            cores: &cores.load,
            farewell: Farewell::Kill,
            stdin: Stdio::piped(),
            stdout: Stdio::piped(),
            stderr: Stdio::inherit(),
        })?;
        let stdout = guard
            .child()
            .stdout
            .take()
            .context("the origin has no output")?;
        let mut replies = BufReader::new(stdout);
        let addresses = read_json(&mut replies).context("the origins did not start")?;
        Ok(Origins {
            guard,
            replies,
            addresses,
        })
    }

    /// Their process.
    pub fn pid(&self) -> u32 {
        self.guard.pid()
    }

    /// What they have seen so far.
    pub fn counts(&mut self) -> Result<OriginCounts> {
        let stdin = self
            .guard
            .child()
            .stdin
            .as_mut()
            .context("the origin has no input")?;
        stdin.write_all(b"\n").context("the origins have ended")?;
        read_json(&mut self.replies).context("the origins do not answer")
    }
}

fn read_json<T: serde::de::DeserializeOwned>(from: &mut impl BufRead) -> Result<T> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    serde_json::from_str(&line).with_context(|| format!("not what was expected: {line:?}"))
}

/// Runs one load process to its end.
pub fn run_load(job: &LoadJob, cores: &Cores) -> Result<LoadResult> {
    let mut guard = Guard::start(Launch {
        name: "load",
        command: own_command(&["load"]),
        cores: &cores.load,
        farewell: Farewell::Kill,
        stdin: Stdio::piped(),
        stdout: Stdio::piped(),
        stderr: Stdio::inherit(),
    })?;
    let mut stdin = guard
        .child()
        .stdin
        .take()
        .context("the load has no input")?;
    writeln!(stdin, "{}", serde_json::to_string(job)?).context("the load does not listen")?;
    let time = Duration::from_millis(job.warm_up_ms + job.measure_ms);
    let status = guard.wait(time + LOAD_PATIENCE)?;
    ensure!(status.success(), "the load process failed ({status})");
    let mut text = String::new();
    let mut stdout = guard
        .child()
        .stdout
        .take()
        .context("the load has no output")?;
    stdout.read_to_string(&mut text)?;
    serde_json::from_str(&text).context("the load's result is not valid")
}

/// Paths that ask for `document` spread evenly over the routes of a setup, at most 64 of them.
pub fn paths(setup: &Setup, document: Document) -> Vec<String> {
    let routes = setup.features.routes;
    if routes == 0 {
        return vec![format!("/{}", document.name())];
    }
    let count = routes.min(64);
    // The last of each of `count` equal parts, so that the very last route is among them.
    let route = |part: usize| (part + 1) * routes / count - 1;
    (0..count)
        .map(|part| format!("{}{}", Setup::route_prefix(route(part)), document.name()))
        .collect()
}

/// Fails unless the proxy passes `document` on unchanged, adds what it should and edits what it should.
pub fn check_same_work(running: &Running, setup: &Setup, document: Document) -> Result<()> {
    let path = paths(setup, document).swap_remove(0);
    let answer = running.peer().fetch(&path, CHECK_PATIENCE)?;
    ensure!(answer.status == 200, "status {} for {path}", answer.status);
    ensure!(
        answer.body == document.body(),
        "the body of {path} was changed"
    );
    let head_path = path.replace(document.name(), "head");
    let seen = running.peer().fetch(&head_path, CHECK_PATIENCE)?.body;
    ensure!(
        wire::field(&seen, b"x-forwarded-for").is_some(),
        "X-Forwarded-For is not added"
    );
    if setup.protocol == Protocol::Http2 {
        // The fields of these answers are not read: no row edits them.
        ensure!(
            !setup.features.header_edits,
            "edited headers cannot be checked over HTTP/2"
        );
        return Ok(());
    }
    let edited = [
        wire::field(&seen, b"x-tenant") == Some(b"bench"),
        wire::field(&answer.head, b"x-frame-options") == Some(b"DENY"),
        wire::field(&answer.head, b"x-content-type-options") == Some(b"nosniff"),
        wire::field(&answer.head, b"x-powered-by").is_none(),
    ];
    let wanted = setup.features.header_edits;
    ensure!(
        edited.iter().all(|done| *done == wanted),
        "headers are not edited as configured"
    );
    Ok(())
}

/// Why the origins' counters say that a proxy did not do its work, when they do.
pub fn unequal_work(before: &OriginCounts, after: &OriginCounts, job: &LoadJob) -> Option<String> {
    let requests = after.requests - before.requests;
    let unforwarded = after.unforwarded - before.unforwarded;
    if unforwarded > 0 {
        return Some(format!(
            "{unforwarded} of {requests} requests came without X-Forwarded-For"
        ));
    }
    if after.refused > before.refused {
        return Some("the origin could not read some requests".into());
    }
    let opened = after.connections - before.connections;
    // Each request under way may want one of its own, and a few may be replaced.
    let allowed = (job.active * job.streams + job.idle) as u64 * 2 + 64 + requests / 20;
    (opened > allowed)
        .then(|| format!("connections to origins are not kept: {opened} for {requests} requests"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> LoadJob {
        LoadJob {
            target: SocketAddr::from(([127, 0, 0, 1], 1)),
            protocol: Protocol::Http1,
            streams: 1,
            active: 64,
            idle: 0,
            paths: vec!["/".into()],
            host: "x".into(),
            body_bytes: 90,
            reconnect: false,
            client_addresses: 0,
            warm_up_ms: 0,
            measure_ms: 0,
            proxy_pid: 1,
            origin_pid: 1,
        }
    }

    #[test]
    fn paths_spread_over_all_routes() {
        let mut setup = Setup::plain(&[]);
        assert_eq!(paths(&setup, Document::Small), ["/small"]);
        setup.features.routes = 1;
        assert_eq!(paths(&setup, Document::TenKib), ["/svc-00000/10k"]);
        setup.features.routes = 1000;
        let spread = paths(&setup, Document::Small);
        assert_eq!(spread.len(), 64);
        assert_eq!(spread.last().map(String::as_str), Some("/svc-00999/small"));
        assert!(spread.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn origins_tell_on_a_proxy() {
        let before = OriginCounts::default();
        let good = OriginCounts {
            requests: 100_000,
            connections: 64,
            ..OriginCounts::default()
        };
        assert_eq!(unequal_work(&before, &good, &job()), None);
        let bare = OriginCounts {
            unforwarded: 1,
            ..good.clone()
        };
        assert!(
            unequal_work(&before, &bare, &job())
                .unwrap()
                .contains("X-Forwarded-For")
        );
        let fresh = OriginCounts {
            connections: 90_000,
            ..good
        };
        assert!(
            unequal_work(&before, &fresh, &job())
                .unwrap()
                .contains("not kept")
        );
    }
}
