//! What a worker needs between the sockets and the protocols: listeners, read buffers, a cached
//! clock, coarse deadlines, descriptor limits and the drain flag.
//!
//! Everything but [`Drain`] and [`bind`] belongs to one worker thread and is not `Send`.
#![forbid(unsafe_code)]

mod buffer;
mod clock;
mod deadline;
mod drain;
mod io;
mod limits;
mod listen;

pub use buffer::{Buf, BufPool, LARGE, MEDIUM, SMALL, TINY};
pub use clock::Clock;
pub use deadline::{Deadline, Deadlines, NEVER, TICK};
pub use drain::Drain;
pub use io::{poll_read, poll_write_parts};
pub use limits::{descriptor_limit, raise_descriptor_limit};
pub use listen::{BindFault, Bound, bind, bind_like, is_exhaustion};
