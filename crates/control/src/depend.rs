//! What our own `/health` depends on: looked at in the background, told from memory.
//!
//! Each check that leaves the process has a task of its own, on the control plane's runtime. A request
//! for `/health` reads what the last look gave. A dependency that was not looked at yet is `unknown`,
//! and fails nothing.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keel_balance::CheckSettings;
use keel_config::codes;
use keel_config::model::{
    Dependency, DependencyCheck, DiskFree, Endpoint, EndpointHost, Expected, OwnHealth,
};
use keel_types::PoolId;
use keel_upstream::check::{CheckPlan, Exchange, Expect, Probe, Target};
use keel_upstream::{Dns, ResolverSettings};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};

use crate::compile::Report;

/// What `/health` tells, compiled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    version: Option<String>,
    checks: Vec<(DependencyCheck, Look)>,
}

/// How one dependency is looked at.
#[derive(Debug, Clone)]
enum Look {
    /// By connecting, and by a text that must come back.
    Tcp(Endpoint, Box<CheckPlan>),
    /// By the free space of the disk that holds this path.
    Disk(PathBuf, DiskFree),
    /// When asked.
    Pool(PoolId),
}

impl Plan {
    /// Compiles what the configuration says; what cannot be is reported and left out.
    pub(crate) fn new(report: &mut Report<'_>, health: &OwnHealth) -> Plan {
        let mut checks = Vec::with_capacity(health.checks.len());
        for check in &health.checks {
            let look = match &check.of {
                Dependency::Pool(pool) => Some(Look::Pool(pool.value)),
                Dependency::Disk { path, free } => Some(Look::Disk(path.value.clone(), *free)),
                Dependency::Tcp {
                    address,
                    send,
                    expect,
                } => exchange(report, send, expect.as_ref()).map(|probe| {
                    Look::Tcp(
                        address.value.clone(),
                        Box::new(tcp_plan(probe, check.timeout)),
                    )
                }),
            };
            checks.extend(look.map(|look| (check.clone(), look)));
        }
        Plan {
            version: health.version.clone(),
            checks,
        }
    }
}

fn exchange(report: &mut Report<'_>, send: &[u8], expect: Option<&Expected>) -> Option<Exchange> {
    let expect = match expect {
        None => None,
        Some(Expected::Bytes(bytes)) => Some(Expect::Bytes(bytes.value.clone())),
        Some(Expected::Regex(regex)) => match Expect::regex(&regex.value) {
            Ok(expect) => Some(expect),
            Err(fault) => {
                report.add(&codes::BAD_REGEX, regex.span, fault, "");
                return None;
            }
        },
    };
    Some(Exchange {
        send: send.to_vec(),
        expect,
    })
}

fn tcp_plan(exchange: Exchange, timeout: Duration) -> CheckPlan {
    CheckPlan {
        probe: Probe::Exchange(exchange),
        settings: CheckSettings {
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            ..CheckSettings::default()
        },
        port: None,
        tls: None,
    }
}

/// The checks of one configuration. Dropping the last copy of one ends its task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dependencies {
    version: Option<String>,
    checks: Vec<Arc<Watched>>,
}

/// One check.
#[derive(Debug)]
struct Watched {
    settings: DependencyCheck,
    resolver: ResolverSettings,
    look: Look,
    seen: Arc<Seen>,
    task: Option<AbortHandle>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What the last look gave.
#[derive(Debug, Default)]
struct Seen(Mutex<Option<Outcome>>);

#[derive(Debug, Clone)]
struct Outcome {
    result: Result<(), String>,
    at: Instant,
}

impl Seen {
    fn last(&self) -> Option<Outcome> {
        // An outcome is stored whole or not at all.
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    /// Stores what a look gave; tells of changes.
    fn store(&self, name: &str, result: Result<(), String>) {
        let before = self.last().map(|outcome| outcome.result);
        match (&before, &result) {
            (Some(Ok(())) | None, Err(why)) => {
                tracing::warn!("health check `{name}` fails: {why}; /health answers 503");
            }
            (Some(Err(_)), Ok(())) => tracing::info!("health check `{name}` passes again"),
            _ => {}
        }
        let at = Instant::now();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Outcome { result, at });
    }
}

impl Dependencies {
    /// The checks of a configuration. Those that are as before go on with what they have seen; the
    /// others begin on this runtime.
    pub(crate) fn new(
        plan: &Plan,
        resolver: &ResolverSettings,
        before: Option<&Dependencies>,
        runtime: &Handle,
    ) -> Dependencies {
        let kept = before.map_or(&[][..], |it| &it.checks);
        let check = |(settings, look): &(DependencyCheck, Look)| {
            let same = |it: &&Arc<Watched>| it.settings == *settings && it.resolver == *resolver;
            match kept.iter().find(same) {
                Some(watched) => watched.clone(),
                None => Arc::new(Watched::start(settings, look, resolver, runtime)),
            }
        };
        Dependencies {
            version: plan.version.clone(),
            checks: plan.checks.iter().map(check).collect(),
        }
    }

    /// Adds `version`, `uptime` (seconds) and `checks` to the fields of `/health`. Gives whether no check
    /// fails.
    pub(crate) fn tell(
        &self,
        fields: &mut Map<String, Value>,
        uptime: Duration,
        is_usable: impl Fn(PoolId) -> bool,
    ) -> bool {
        let version = self.version.as_deref();
        let version = version.unwrap_or(env!("CARGO_PKG_VERSION"));
        fields.insert("version".to_owned(), json!(version));
        fields.insert("uptime".to_owned(), json!(uptime.as_secs()));
        let mut passes = true;
        let mut checks = Map::new();
        for check in &self.checks {
            let outcome = check.outcome(&is_usable);
            passes &= outcome.as_ref().is_none_or(|it| it.result.is_ok());
            checks.insert(check.settings.name.value.clone(), told(outcome));
        }
        fields.insert("checks".to_owned(), Value::Object(checks));
        passes
    }
}

fn told(outcome: Option<Outcome>) -> Value {
    let Some(outcome) = outcome else {
        return json!({ "status": "unknown" });
    };
    let seconds = outcome.at.elapsed().as_secs();
    match outcome.result {
        Ok(()) => json!({ "status": "healthy", "checked_seconds_ago": seconds }),
        Err(why) => json!({
            "status": "unhealthy",
            "checked_seconds_ago": seconds,
            "reason": why,
        }),
    }
}

impl Watched {
    fn start(
        settings: &DependencyCheck,
        look: &Look,
        resolver: &ResolverSettings,
        runtime: &Handle,
    ) -> Watched {
        let seen = Arc::new(Seen::default());
        let looker = Looker {
            settings: settings.clone(),
            look: look.clone(),
            resolver: resolver.clone(),
            dns: None,
            measuring: None,
        };
        let task = match look {
            Look::Pool(_) => None,
            Look::Tcp(..) | Look::Disk(..) => Some(
                runtime
                    .spawn(looker.keep_looking(seen.clone()))
                    .abort_handle(),
            ),
        };
        Watched {
            settings: settings.clone(),
            resolver: resolver.clone(),
            look: look.clone(),
            seen,
            task,
        }
    }

    fn outcome(&self, is_usable: &impl Fn(PoolId) -> bool) -> Option<Outcome> {
        let Look::Pool(pool) = self.look else {
            return self.seen.last();
        };
        let none = || "no server of the pool is usable".to_owned();
        Some(Outcome {
            result: is_usable(pool).then_some(()).ok_or_else(none),
            at: Instant::now(),
        })
    }
}

/// The task of one check.
struct Looker {
    settings: DependencyCheck,
    look: Look,
    resolver: ResolverSettings,
    dns: Option<Dns>,
    /// A disk that does not answer holds one thread, not one for each look.
    measuring: Option<JoinHandle<Result<(), String>>>,
}

impl Looker {
    async fn keep_looking(mut self, seen: Arc<Seen>) {
        let mut looks = tokio::time::interval(self.settings.every);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let timeout = self.settings.timeout;
            let result = tokio::time::timeout(timeout, self.look()).await;
            let late = || format!("no answer within {} s", timeout.as_secs_f32());
            seen.store(&self.settings.name, result.unwrap_or_else(|_| Err(late())));
        }
    }

    /// Dropping the future gives the look up.
    async fn look(&mut self) -> Result<(), String> {
        match &self.look {
            Look::Pool(_) => Ok(()),
            Look::Tcp(endpoint, plan) => {
                let (endpoint, plan) = (endpoint.clone(), plan.clone());
                let addresses = self.addresses(&endpoint).await?;
                let target = Target {
                    host: endpoint.host.to_string(),
                    authority: endpoint.to_string(),
                    addresses,
                };
                let finding = plan.run(&target).await;
                finding.result.map_err(|fault| fault.to_string())
            }
            Look::Disk(path, free) => {
                let (path, free) = (path.clone(), *free);
                let begin = || tokio::task::spawn_blocking(move || measure(&path, free));
                let measuring = self.measuring.get_or_insert_with(begin);
                let result = measuring.await;
                self.measuring = None;
                result.unwrap_or_else(|broken| Err(broken.to_string()))
            }
        }
    }

    async fn addresses(&mut self, endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
        let at = |ip: IpAddr| SocketAddr::new(ip, endpoint.port);
        let name = match &endpoint.host {
            EndpointHost::Ip(ip) => return Ok(vec![at(*ip)]),
            EndpointHost::Name(name) => name,
        };
        if self.dns.as_ref().is_none_or(Dns::is_stale) {
            self.dns = Some(Dns::new(&self.resolver)?);
        }
        let Some(dns) = &self.dns else {
            return Ok(Vec::new());
        };
        let answer = dns.host(name).await.map_err(|fault| fault.to_string())?;
        Ok(answer.addresses().map(at).collect())
    }
}

/// Whether enough of a disk is free for those who are not root.
fn measure(path: &Path, wanted: DiskFree) -> Result<(), String> {
    let disk =
        rustix::fs::statvfs(path).map_err(|fault| format!("it cannot be measured: {fault}"))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let size = disk.f_blocks.saturating_mul(disk.f_frsize);
    enough(free, size, wanted)
}

fn enough(free: u64, size: u64, wanted: DiskFree) -> Result<(), String> {
    match wanted {
        DiskFree::Share(wanted) => {
            // A file system without a size has nothing that could run out.
            let share = if size == 0 {
                1.0
            } else {
                free as f64 / size as f64
            };
            match share >= wanted {
                true => Ok(()),
                false => Err(format!(
                    "{:.1} % are free, {:.1} % are wanted",
                    share * 100.0,
                    wanted * 100.0
                )),
            }
        }
        DiskFree::Bytes(wanted) if free >= wanted => Ok(()),
        DiskFree::Bytes(wanted) => Err(format!("{free} bytes are free, {wanted} are wanted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_enough_by_share_or_by_bytes() {
        assert_eq!(enough(10, 100, DiskFree::Share(0.1)), Ok(()));
        let why = enough(9, 100, DiskFree::Share(0.1)).expect_err("too little");
        assert_eq!(why, "9.0 % are free, 10.0 % are wanted");
        assert_eq!(enough(0, 0, DiskFree::Share(0.5)), Ok(()));
        assert_eq!(enough(10, 100, DiskFree::Bytes(10)), Ok(()));
        assert!(enough(9, 100, DiskFree::Bytes(10)).is_err());
        assert_eq!(measure(Path::new("/"), DiskFree::Bytes(0)), Ok(()));
        assert!(measure(Path::new("/no/such/path"), DiskFree::Bytes(0)).is_err());
    }
}
