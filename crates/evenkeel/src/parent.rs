//! What whoever started this process gave it: the channel of a process that this one is to replace,
//! the socket of a supervisor, sockets that listen already.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use keel_net::{Channel, Inherited, Message, Origin, Taken};
use keel_sys::take_variables;

use crate::systemd::{Notify, activation_sockets, watchdog_interval};

/// Says that standard input is the channel of a handover.
pub const HANDOVER: &str = "EVENKEEL_HANDOVER";
/// The supervisor's socket.
pub const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// The supervisor's watchdog, in microseconds.
pub const WATCHDOG: &str = "WATCHDOG_USEC";

/// How long the old process may take to send what it has.
const OFFER_LIMIT: Duration = Duration::from_secs(30);

/// What was given.
#[derive(Debug, Default)]
pub struct Parent {
    /// The supervisor.
    pub notify: Notify,
    /// How often the supervisor wants to hear of us.
    pub watchdog: Option<Duration>,
    /// `WATCHDOG_USEC` as it is, for the process that follows.
    pub watchdog_usec: Option<String>,
    /// Sockets that listen already.
    pub inherited: Inherited,
    channel: Option<Channel>,
}

impl Parent {
    /// Takes what there is, out of the environment too. To be called before anything else: it needs
    /// the only thread.
    ///
    /// # Errors
    /// When something was announced that is not there.
    pub fn take() -> io::Result<Parent> {
        let [handover, socket, usec, pid] =
            take_variables([HANDOVER, NOTIFY_SOCKET, WATCHDOG, "WATCHDOG_PID"]);
        let [fds, fds_pid, fd_names, _] = take_variables([
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "LISTEN_PIDFDID",
        ]);
        let notify = match socket.filter(|name| !name.is_empty()) {
            Some(name) => Notify::to(&name)?,
            None => Notify::default(),
        };
        let watchdog = watchdog_interval(usec.as_deref(), pid.as_deref());
        let mut inherited = Inherited::none();
        let sockets = activation_sockets(fds.as_deref(), fds_pid.as_deref(), fd_names.as_deref())?;
        inherited.add(Origin::Supervisor, sockets)?;
        let channel = match handover {
            Some(_) => Some(Channel::from_stdin()?),
            None => None,
        };
        Ok(Parent {
            notify,
            watchdog,
            watchdog_usec: usec.filter(|_| watchdog.is_some()),
            inherited,
            channel,
        })
    }

    /// Takes the sockets of the process before this one and gives its state; `None` when this
    /// process replaces nobody.
    ///
    /// # Errors
    /// When the other process goes away, or sends what cannot be read.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(channel) = &mut self.channel else {
            return Ok(None);
        };
        channel.set_limit(OFFER_LIMIT);
        let mut sockets = Vec::new();
        let state = loop {
            match channel.receive().context("nothing was taken over")? {
                Message::Sockets(mut some) => sockets.append(&mut some),
                Message::State(state) => break state,
                Message::Ready(_) | Message::Refused(_) => bail!("the old process says nonsense"),
            }
        };
        tracing::info!(
            sockets = sockets.len(),
            "taking over from the running process"
        );
        self.inherited.add(Origin::Predecessor, sockets)?;
        Ok(Some(state))
    }

    /// Says that this process serves, closes the sockets that it has no use for, and lets the old
    /// process go.
    ///
    /// # Errors
    /// When the old process is not there any more: it went on without us, or ended.
    pub fn ready(&mut self, taken: Vec<usize>) -> Result<()> {
        self.inherited = Inherited::none();
        let Some(mut channel) = self.channel.take() else {
            return Ok(());
        };
        channel.set_limit(OFFER_LIMIT);
        let pid = std::process::id();
        channel
            .send_ready(&Taken {
                pid,
                sockets: taken,
            })
            .context("the process to be replaced does not answer")
    }

    /// Says that this process cannot serve.
    pub fn refuse(&mut self, why: &str) {
        if let Some(mut channel) = self.channel.take() {
            channel.set_limit(OFFER_LIMIT);
            // Gone or not, it goes on without us.
            let _ = channel.send_refused(why);
        }
    }
}
