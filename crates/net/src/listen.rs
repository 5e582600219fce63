//! Listening sockets: one for each worker and address, on the same port by `SO_REUSEPORT`.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

/// A socket that listens, and the address it got (which differs from the asked one for port 0).
#[derive(Debug)]
pub struct Bound {
    /// The socket, non-blocking.
    pub listener: TcpListener,
    /// Its address.
    pub address: SocketAddr,
    /// Whether a supervisor opened it, and goes on with it when this process closes its copy.
    pub lent: bool,
}

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindFault {
    /// Another process listens there.
    #[error(
        "{0} is in use by another process; stop that one or choose another port (`ss -ltnp` shows who has it)"
    )]
    InUse(SocketAddr),
    /// The port is below 1024 and the process may not take such a port.
    #[error(
        "{0} needs a privilege: ports below {1} are for root; run with CAP_NET_BIND_SERVICE (`setcap cap_net_bind_service=+ep`) or choose a higher port"
    )]
    Privileged(SocketAddr, u16),
    /// No network interface has this address.
    #[error(
        "{0} is not an address of this machine; use one that `ip addr` shows, or 0.0.0.0 for all"
    )]
    NotOurs(SocketAddr),
    /// The kernel has no IPv6.
    #[error("{0} cannot be used: this machine has no IPv6")]
    NoFamily(SocketAddr),
    /// Anything else the system said.
    #[error("cannot listen on {0}: {1}")]
    Other(SocketAddr, #[source] io::Error),
}

/// Listens on `address`. `backlog` is how many accepted-by-the-kernel connections may wait.
///
/// An address that another process listens on is refused, even when that one set `SO_REUSEPORT`
/// too: two balancers that share a port by accident are a fault that is hard to find.
pub fn bind(address: SocketAddr, backlog: i32) -> Result<Bound, BindFault> {
    if address.port() != 0 {
        probe(address).map_err(|error| explain(address, error))?;
    }
    open(address, backlog, true).map_err(|error| explain(address, error))
}

/// Listens on the address that `bound` has, for another worker.
pub fn bind_like(bound: &Bound, backlog: i32) -> Result<Bound, BindFault> {
    open(bound.address, backlog, true).map_err(|error| explain(bound.address, error))
}

/// Listens on an address beside what this process has there already: it goes from one use to another.
pub fn bind_beside(address: SocketAddr, backlog: i32) -> Result<Bound, BindFault> {
    open(address, backlog, true).map_err(|error| explain(address, error))
}

/// Binds without `SO_REUSEPORT` and lets go again, to learn whether somebody is there.
fn probe(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    // Binding alone passes beside a listener when both set SO_REUSEADDR; listening does not.
    socket.listen(1)
}

fn open(address: SocketAddr, backlog: i32, share: bool) -> io::Result<Bound> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses to whoever wrote both of them down.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    // Inherited by accepted sockets on Linux, which saves a system call a connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    let listener: TcpListener = socket.into();
    let address = listener.local_addr()?;
    Ok(Bound {
        listener,
        address,
        lent: false,
    })
}

fn explain(address: SocketAddr, error: io::Error) -> BindFault {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ADDRINUSE) => BindFault::InUse(address),
        Some(Errno::ACCESS) => BindFault::Privileged(address, privileged_below()),
        Some(Errno::ADDRNOTAVAIL) => BindFault::NotOurs(address),
        Some(Errno::AFNOSUPPORT) => BindFault::NoFamily(address),
        _ => BindFault::Other(address, error),
    }
}

fn privileged_below() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024)
}

/// Whether an error of `accept` or `socket` means that descriptors or memory have run out: the call
/// will go on failing at once, so whoever loops must wait.
pub fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn two_workers_share_a_port_and_a_stranger_is_refused() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let first = bind(any, 16).expect("a free port");
        let second = bind_like(&first, 16).expect("the same port for another worker");
        assert_eq!(first.address, second.address);
        let refused = bind(first.address, 16).expect_err("somebody listens there");
        assert!(
            matches!(refused, BindFault::InUse(at) if at == first.address),
            "{refused}"
        );
    }

    #[test]
    fn an_address_that_is_not_ours_is_told_apart() {
        let foreign: SocketAddr = "203.0.113.7:8080".parse().expect("a literal");
        let refused = bind(foreign, 16).expect_err("not an address of this machine");
        assert!(matches!(refused, BindFault::NotOurs(_)), "{refused}");
    }
}
