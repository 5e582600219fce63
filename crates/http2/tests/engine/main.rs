//! The engine against peers written by hand, against itself, and against another library.
#![allow(clippy::unwrap_used, clippy::panic)]

mod adapter;
mod bounds;
mod cases;
mod client_rules;
mod corners;
mod floods;
mod flow;
mod priorities;
mod server_generic;
mod server_rules;
mod side;
mod sim;
mod wire;
mod with_h2;
