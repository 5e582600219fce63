//! What the kernel alone asks for requests to many servers: no proxy, no HTTP read, only a write, a wait and a read on
//! connections that are kept, in the order in which an algorithm would choose them.
//!
//! It tells how much of a curve over servers could be saved at all. A proxy that did nothing but choose would have these
//! costs too: they are those of sockets that no cache holds any more when their turn comes.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::bed::Origins;
use crate::cores::Cores;
use crate::cpu::CpuMeter;
use crate::process;
use crate::ratio::Spread;
use crate::table::Table;
use crate::wire;

/// Servers at the points of a curve.
const SERVERS: [usize; 4] = [1, 10, 100, 1_000];
/// Requests in flight, as many as the curves of proxies have.
const IN_FLIGHT: usize = 64;
/// Requests in a row to one server, where they come in bursts: the mean weight of the weighted curves.
const BURST: usize = 5;
/// What is sent: about what a proxy sends for a small request.
const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nhost: bench.example\r\nx-forwarded-for: 127.0.0.1\r\n\
    x-forwarded-proto: http\r\nx-forwarded-host: bench.example\r\naccept: */*\r\nuser-agent: keel-bench\r\n\r\n";

/// How servers follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// 1, 2, 3, 1, 2, 3.
    InTurn,
    /// Each drawn by itself.
    Random,
    /// 1, 1, 1, 1, 1, 2, 2, 2, 2, 2.
    Bursts,
}

/// Measures the curves and prints each as a table.
pub fn run(orders: &[Order], rounds: usize, seconds: f64) -> Result<()> {
    let cores = Cores::of_machine(1);
    process::pin(&cores.proxy)?;
    for &order in orders {
        let mut costs: Vec<Vec<f64>> = vec![Vec::new(); SERVERS.len()];
        let mut kept = vec![0; SERVERS.len()];
        for _ in 0..rounds {
            for (at, &servers) in SERVERS.iter().enumerate() {
                process::check_interrupt()?;
                let origins = Origins::start(servers, &cores)?;
                let mut floor = Floor::new(&origins.addresses, order)?;
                floor.go(Duration::from_secs_f64(0.5 + servers as f64 / 500.0))?;
                let meter = CpuMeter::new(std::process::id())?;
                let (before, done) = (meter.read()?, floor.done);
                floor.go(Duration::from_secs_f64(seconds))?;
                let cpu = meter.read()? - before;
                costs[at].push(cpu.as_secs_f64() * 1e6 / (floor.done - done) as f64);
                kept[at] = floor.connections.len();
            }
        }
        println!("{order:?}: us of CPU per request, kernel's part of one side");
        let mut table = Table::new([
            "servers",
            "us",
            "range",
            "connections",
            "more than one server, us",
        ]);
        let first = Spread::of(costs[0].iter().copied());
        for ((servers, costs), kept) in SERVERS.iter().zip(&costs).zip(&kept) {
            let (Some(cost), Some(first)) = (Spread::of(costs.iter().copied()), first) else {
                continue;
            };
            table.row([
                servers.to_string(),
                format!("{:.2}", cost.median),
                format!("{:.2}..{:.2}", cost.min, cost.max),
                kept.to_string(),
                format!("{:+.2}", cost.median - first.median),
            ]);
        }
        println!("{}", table.render());
    }
    Ok(())
}

struct Floor {
    poll: Poll,
    servers: Vec<SocketAddr>,
    /// Every connection that was opened, with its server.
    connections: Vec<(TcpStream, usize)>,
    /// Idle connections of each server, the last used first.
    idle: HashMap<usize, Vec<usize>>,
    order: Order,
    chosen: usize,
    seed: u64,
    /// Requests answered.
    done: u64,
}

impl Floor {
    fn new(servers: &[SocketAddr], order: Order) -> Result<Floor> {
        let mut floor = Floor {
            poll: Poll::new()?,
            servers: servers.to_vec(),
            connections: Vec::new(),
            idle: HashMap::new(),
            order,
            chosen: 0,
            seed: 0x9e37_79b9_7f4a_7c15,
            done: 0,
        };
        for _ in 0..IN_FLIGHT {
            floor.send()?;
        }
        Ok(floor)
    }

    fn choose(&mut self) -> usize {
        let turn = self.chosen;
        self.chosen += 1;
        match self.order {
            Order::InTurn => turn % self.servers.len(),
            Order::Bursts => turn / BURST % self.servers.len(),
            Order::Random => {
                self.seed ^= self.seed << 13;
                self.seed ^= self.seed >> 7;
                self.seed ^= self.seed << 17;
                (self.seed % self.servers.len() as u64) as usize
            }
        }
    }

    fn send(&mut self) -> Result<()> {
        let server = self.choose();
        let at = match self.idle.get_mut(&server).and_then(Vec::pop) {
            Some(at) => at,
            None => self.open(server)?,
        };
        let written = self.connections[at].0.write(REQUEST)?;
        if written < REQUEST.len() {
            bail!("a request did not fit into an idle connection");
        }
        Ok(())
    }

    fn open(&mut self, server: usize) -> Result<usize> {
        let stream = std::net::TcpStream::connect(self.servers[server])?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let mut stream = TcpStream::from_std(stream);
        let at = self.connections.len();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(at), interest)?;
        self.connections.push((stream, server));
        Ok(at)
    }

    fn go(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 16 * 1024];
        while Instant::now() < end {
            match self.poll.poll(&mut events, Some(Duration::from_secs(10))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in events.iter().filter(|event| event.is_readable()) {
                let at = event.token().0;
                let (stream, server) = &mut self.connections[at];
                let read = match stream.read(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    result => result?,
                };
                wire::head_len(&buffer[..read]).context("an origin's answer came in parts")?;
                self.idle.entry(*server).or_default().push(at);
                self.done += 1;
                self.send()?;
            }
        }
        Ok(())
    }
}
