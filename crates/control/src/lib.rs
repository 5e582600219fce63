//! The control plane: compiles a configuration into a snapshot, starts the workers on it, tells how
//! they fare, and drains them.
//!
//! [`compile()`] is pure but for its messages; [`start()`] opens logs, makes TLS, binds sockets and
//! starts threads;
//! [`Status`] is what the admin listener and the command line ask.
#![forbid(unsafe_code)]

mod carry;
mod change;
mod compile;
mod depend;
mod detail;
mod engine;
mod explain;
mod ground;
mod hashed;
mod limits;
mod live;
mod machine;
mod memory;
mod names;
mod overlay;
mod reload;
mod replace;
mod save;
mod secret;
mod sockets;
mod start;
mod status;
mod tally;
mod tick;
mod tls;
mod upgrade;
mod watch;
mod workers;

pub use change::{
    Change, ChangeFault, Changed, Found, FoundServer, NewServer, SaveFault, Saved, ServerState,
};
pub use compile::{Compiled, Removed, RemovedNames, RuleSummary, TlsStart, compile};
pub use explain::{Explained, Question, explain};
pub use live::{Actor, Control, Standstill};
pub use machine::{Machine, load_file};
pub use names::{NameChanges, Names};
pub use reload::{ReloadFault, Reloaded};
pub use start::{BeforeServing, Bind, Running, Start, StartFault, start};
pub use status::{Page, Status};
pub use upgrade::UpgradeRequest;
