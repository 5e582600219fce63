//! Starting, pinning and surely ending the processes of a run.
//!
//! Every child is started through this program's own `exec` command, which pins itself, asks the kernel for a signal
//! when its parent dies, and then becomes the wanted program. So nothing outlives the bench: a normal end and a panic
//! drop the guards, Ctrl-C sets a flag that every wait looks at, and even SIGKILL of the bench reaches the children.
//! The kernel ties that signal to the parent's thread: children must be started by the main thread.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use rustix::thread::CpuSet;

use crate::cpu;

/// How long a process may take to obey its stop signal before it is killed.
const STOP_PATIENCE: Duration = Duration::from_millis(1500);
/// Between two looks at a child or a file.
pub const LOOK_EVERY: Duration = Duration::from_millis(10);

fn interrupt_flag() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(Arc::default)
}

/// Makes Ctrl-C and SIGTERM end the run by way of the guards; a second one ends the process at once.
pub fn watch_interrupts() -> Result<()> {
    let flag = interrupt_flag();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(flag))
            .context("cannot watch for Ctrl-C")?;
        signal_hook::flag::register(signal, Arc::clone(flag)).context("cannot watch for Ctrl-C")?;
    }
    Ok(())
}

/// Fails once the run was interrupted.
pub fn check_interrupt() -> Result<()> {
    if interrupt_flag().load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Sleeps, but not through an interrupt.
pub fn pause(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        check_interrupt()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// The signal that ends a process in an orderly way when its parent dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// At once: the process has no children.
    Kill,
    /// SIGTERM, for a master process that must end its workers.
    Terminate,
}

/// What to start, and where.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Short name for messages.
    pub name: &'static str,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Cores it may use; empty = any.
    pub cores: &'a [usize],
    /// Signal on the parent's death.
    pub farewell: Farewell,
    /// Where standard output goes.
    pub stdout: Stdio,
    /// Where standard error goes.
    pub stderr: Stdio,
    /// Where standard input comes from.
    pub stdin: Stdio,
}

/// A running process that ends with its guard.
#[derive(Debug)]
pub struct Guard {
    name: &'static str,
    child: Child,
}

impl Guard {
    /// Starts a process through the `exec` command.
    pub fn start(launch: Launch<'_>) -> Result<Guard> {
        let farewell = match launch.farewell {
            Farewell::Kill => "kill",
            Farewell::Terminate => "terminate",
        };
        let cores: Vec<String> = launch.cores.iter().map(usize::to_string).collect();
        // By this link, not by its target: the file may have been replaced by a new build since.
        let child = Command::new("/proc/self/exe")
            .args(["exec", "--farewell", farewell, "--cores", &cores.join(",")])
            .args(["--parent", &std::process::id().to_string(), "--"])
            .args(&launch.command)
            .stdin(launch.stdin)
            .stdout(launch.stdout)
            .stderr(launch.stderr)
            .spawn()
            .with_context(|| format!("cannot start {}", launch.name))?;
        Ok(Guard {
            name: launch.name,
            child,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        signal(self.pid(), Signal::TERM);
    }

    /// Waits for its end, at most this long.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            check_interrupt()?;
            if Instant::now() > end {
                bail!("{} did not end within {} s", self.name, patience.as_secs());
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // Found before the parent goes: its orphans could not be told from other processes afterwards.
        let tree = cpu::process_tree(self.pid()).unwrap_or_default();
        signal(self.pid(), Signal::TERM);
        let end = Instant::now() + STOP_PATIENCE;
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_)))
                && !tree.iter().any(|pid| is_alive(*pid))
            {
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
        for pid in tree {
            signal(pid, Signal::KILL);
        }
        // An error here means that it is gone already.
        let _ = self.child.wait();
    }
}

fn is_alive(pid: u32) -> bool {
    std::fs::metadata(format!("/proc/{pid}")).is_ok()
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // An error means that the process is gone already.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Pins the calling thread, and all that it starts later, to these cores. None named: nothing is done.
pub fn pin(cores: &[usize]) -> Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    rustix::thread::sched_setaffinity(None, &set)
        .with_context(|| format!("cannot pin to cores {cores:?}"))
}

/// The `exec` command: pins, binds its life to the parent's, and becomes `command`. Returns only on failure.
pub fn become_program(
    command: &[OsString],
    cores: &[usize],
    farewell: Farewell,
    parent: u32,
) -> Result<()> {
    let death = match farewell {
        Farewell::Kill => Signal::KILL,
        Farewell::Terminate => Signal::TERM,
    };
    rustix::process::set_parent_process_death_signal(Some(death))
        .context("cannot ask for a signal at the parent's death")?;
    let actual = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if u32::try_from(actual) != Ok(parent) {
        bail!("the parent ended first");
    }
    pin(cores)?;
    raise_file_limit();
    let (program, args) = command.split_first().context("no program named")?;
    let failure = Command::new(program).args(args).exec();
    Err(failure).with_context(|| format!("cannot run {}", program.to_string_lossy()))
}

/// Raises the limit of open files to the hard one and returns it.
pub fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Not allowed: then the soft limit stays, and opening too much says so.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A file to send output to, and a copy of its path for messages.
pub fn output_file(path: &std::path::Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot create {}", path.display()))
}
