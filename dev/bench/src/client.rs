//! A blocking client for single requests: checks before a run, and the normal requests beside slow clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::wire;

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Its head.
    pub head: Vec<u8>,
    /// Its body.
    pub body: Vec<u8>,
    /// From before the connection to the last byte.
    pub took: Duration,
}

/// A GET on a connection of its own.
pub fn fetch(address: SocketAddr, path: &str, patience: Duration) -> Result<Answer> {
    let began = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, patience).context("cannot connect")?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream
        .write_all(&wire::get(path, "bench.example", true))
        .context("cannot send")?;
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .context("the answer does not end")?;
    let took = began.elapsed();
    let head = wire::answer_head(&bytes)
        .ok()
        .flatten()
        .context("the answer has no head")?;
    let body = bytes.split_off(head.len);
    Ok(Answer {
        status: head.status,
        head: bytes,
        body,
        took,
    })
}
