//! Clients: raw bytes, single requests, and steady load.

mod answer;
mod ask;
mod load;
mod wire;

pub use answer::Answer;
pub use ask::{Ask, get};
pub use load::{Load, LoadReport};
pub use wire::{End, Lost, Wire};
