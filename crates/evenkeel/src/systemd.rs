//! What systemd wants to be told, and what it gives: readiness, watchdog, sockets. No library: the
//! protocol is datagrams of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names
//! (`sd_notify(3)`), and descriptors from 3 on (`sd_listen_fds(3)`).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use keel_net::{Handed, Label};

/// The socket of the supervisor; tells nobody anything when there is none.
#[derive(Debug, Clone, Default)]
pub struct Notify(Option<Arc<Target>>);

#[derive(Debug)]
struct Target {
    socket: UnixDatagram,
    address: SocketAddr,
    /// The value of `NOTIFY_SOCKET`, for the process that follows.
    name: String,
}

impl Notify {
    /// The socket with this name, which is a path, or `@` and a name of the abstract namespace.
    ///
    /// # Errors
    /// When the name is of another kind, or there are no sockets.
    pub fn to(name: &str) -> io::Result<Notify> {
        /// Supervisors read at once; one that does not must not hold up serving.
        const PATIENCE: Duration = Duration::from_millis(500);

        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None if name.starts_with('/') => SocketAddr::from_pathname(name)?,
            None => {
                return Err(io::Error::other(format!(
                    "NOTIFY_SOCKET is `{name}`; a path or an abstract name (`@…`) is understood"
                )));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Notify(Some(Arc::new(Target {
            socket,
            address,
            name: name.to_owned(),
        }))))
    }

    /// The name of the socket.
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|target| target.name.as_str())
    }

    /// It serves; `status` is a line for `systemctl status`.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// It reads its configuration anew. [`Notify::ready`] is due after it, whatever comes of it.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let us = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec / 1000);
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={us}\nSTATUS=reading the configuration"
        ));
    }

    /// It stops.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=draining: running requests may finish");
    }

    /// It is alive.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    /// Another process is the main one from now on: the last that this one may say.
    pub fn main_pid(&self, pid: u32) {
        self.send(&format!("MAINPID={pid}"));
    }

    fn send(&self, text: &str) {
        let Some(target) = &self.0 else { return };
        if let Err(error) = target.socket.send_to_addr(text.as_bytes(), &target.address) {
            tracing::warn!(socket = target.name, "cannot tell the supervisor: {error}");
        }
    }
}

/// How often the watchdog wants to hear of us: half of `WATCHDOG_USEC`, when it is for this process.
pub fn watchdog_interval(usec: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    /// A shorter watchdog than this one makes no sense for a process that serves.
    const INTERVAL_MIN: Duration = Duration::from_millis(50);

    if pid.is_some_and(|pid| pid.parse() != Ok(std::process::id())) {
        return None;
    }
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    Some((Duration::from_micros(usec) / 2).max(INTERVAL_MIN))
}

/// The sockets that a supervisor opened for this process (`LISTEN_FDS`), by their names
/// (`LISTEN_FDNAMES`); none when they are for another process.
///
/// # Errors
/// When the descriptors are not there, or the variables make no sense.
pub fn activation_sockets(
    count: Option<&str>,
    pid: Option<&str>,
    names: Option<&str>,
) -> io::Result<Vec<Handed>> {
    let (Some(count), Some(pid)) = (count, pid) else {
        return Ok(Vec::new());
    };
    if pid.parse() != Ok(std::process::id()) {
        return Ok(Vec::new());
    }
    let count = count
        .parse()
        .map_err(|_| io::Error::other(format!("LISTEN_FDS is `{count}`, which is no number")))?;
    let mut names = names.unwrap_or_default().split(':');
    let sockets = keel_sys::take_inherited(count)?;
    let labelled = sockets.into_iter().map(|socket| Handed {
        label: Label {
            listener: names.next().unwrap_or_default().to_owned(),
            asked: String::new(),
            address: String::new(),
            lent: true,
        },
        socket,
    });
    Ok(labelled.collect())
}

/// The name of an abstract or path socket as `NOTIFY_SOCKET` has it.
#[cfg(test)]
fn name_of(address: &SocketAddr) -> String {
    match (address.as_abstract_name(), address.as_pathname()) {
        (Some(name), _) => format!("@{}", String::from_utf8_lossy(name)),
        (_, Some(path)) => path.display().to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let len = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    #[test]
    fn what_is_told_arrives_on_both_kinds_of_sockets() {
        let unique = format!("evenkeel-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&unique);
        let _stale = std::fs::remove_file(&path);
        for address in [
            SocketAddr::from_abstract_name(&unique).unwrap(),
            SocketAddr::from_pathname(&path).unwrap(),
        ] {
            let supervisor = UnixDatagram::bind_addr(&address).unwrap();
            let notify = Notify::to(&name_of(&address)).unwrap();
            notify.ready("2 workers");
            assert_eq!(heard(&supervisor), "READY=1\nSTATUS=2 workers");
            notify.reloading();
            let said = heard(&supervisor);
            let us = said
                .lines()
                .find_map(|it| it.strip_prefix("MONOTONIC_USEC="));
            assert!(us.unwrap().parse::<u64>().unwrap() > 0, "{said}");
            assert!(said.starts_with("RELOADING=1\n"));
            notify.main_pid(7);
            assert_eq!(heard(&supervisor), "MAINPID=7");
            notify.watchdog();
            assert_eq!(heard(&supervisor), "WATCHDOG=1");
            notify.stopping();
            assert!(heard(&supervisor).starts_with("STOPPING=1\n"));
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn without_a_socket_nothing_is_told_and_a_strange_name_is_refused() {
        Notify::default().ready("alone");
        assert!(Notify::to("vsock:2:1234").is_err());
        let gone = Notify::to("/nonexistent/evenkeel-notify").unwrap();
        gone.ready("nobody listens");
        assert_eq!(gone.name(), Some("/nonexistent/evenkeel-notify"));
    }

    #[test]
    fn the_watchdog_is_told_twice_in_its_time() {
        let us = std::process::id().to_string();
        let half = Some(Duration::from_secs(15));
        assert_eq!(watchdog_interval(Some("30000000"), Some(&us)), half);
        assert_eq!(watchdog_interval(Some("30000000"), None), half);
        assert_eq!(watchdog_interval(Some("30000000"), Some("1")), None);
        assert_eq!(watchdog_interval(Some("0"), None), None);
        assert_eq!(watchdog_interval(Some("soon"), None), None);
        assert_eq!(watchdog_interval(None, None), None);
        let shortest = Some(Duration::from_millis(50));
        assert_eq!(watchdog_interval(Some("1"), None), shortest);
    }

    #[test]
    fn sockets_for_another_process_are_not_ours() {
        assert!(activation_sockets(None, None, None).unwrap().is_empty());
        let other = activation_sockets(Some("1"), Some("1"), None);
        assert!(other.unwrap().is_empty());
        let us = std::process::id().to_string();
        assert!(activation_sockets(Some("many"), Some(&us), None).is_err());
    }
}
