//! What a worker needs between the sockets and the protocols: listeners, read buffers, a cached
//! clock, coarse deadlines, descriptor limits and the drain flag; and how listening sockets go from one
//! process to the next.
//!
//! [`Buf`], [`BufPool`], [`Clock`] and [`Deadlines`] belong to one worker thread and are not `Send`.
#![forbid(unsafe_code)]

mod buffer;
mod clock;
mod deadline;
mod drain;
mod handover;
mod inherited;
mod io;
mod last;
mod limits;
mod listen;
mod pulse;
mod sockets;

pub use buffer::{Buf, BufPool, LARGE, MEDIUM, SMALL, TINY};
pub use clock::Clock;
pub use deadline::{Deadline, Deadlines, NEVER, TICK};
pub use drain::Drain;
pub use handover::{Channel, HandoverFault, Message, Taken};
pub use inherited::{Inherited, Origin};
pub use io::{poll_read, poll_write_parts};
pub use last::refuse_new;
pub use limits::{descriptor_limit, raise_descriptor_limit};
pub use listen::{BindFault, Bound, bind, bind_beside, bind_like, is_exhaustion};
pub use pulse::Pulse;
pub use sockets::{Handed, Label, SocketBook};
