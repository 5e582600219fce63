//! Listening sockets: what is bound, what a configuration wants, and the difference.
//!
//! Each worker has a socket of its own for each address. Here is a second descriptor of each, for a
//! process that takes over; it is let go of before a worker closes its own, or connections would go on
//! waiting where nobody takes them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keel_config::model::{BindAddress, EndpointHost, Model};
use keel_net::{BindFault, Bound, Handed, Inherited, Label, bind, bind_beside, bind_like};
use keel_types::ListenerId;

use crate::start::{Bind, StartFault};

/// An address that a listener is to have.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) listener: ListenerId,
    pub(crate) name: String,
    /// As configured: the port may be 0.
    pub(crate) address: SocketAddr,
    pub(crate) backlog: i32,
}

/// An address that is listened on, by all workers.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) wanted: Wanted,
    /// With the port that it got.
    pub(crate) address: SocketAddr,
    lent: bool,
    spare: Vec<std::net::TcpListener>,
}

/// An address that was bound: what is held, and the sockets of the workers, each with its number.
pub(crate) type Opened = (Held, Vec<(usize, Bound)>);

/// All addresses that are listened on.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    held: Mutex<Vec<Held>>,
    /// The second descriptors are not kept any more.
    let_go: AtomicBool,
}

impl Held {
    /// Lets go of the second descriptors of a worker's sockets. `owners` are the workers of all sockets.
    pub(crate) fn forget(&mut self, worker: usize, owners: &[usize]) {
        let mut owners = owners.iter();
        self.spare.retain(|_| owners.next() != Some(&worker));
    }
}

impl Sockets {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Held>> {
        // Each change leaves the list whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another address is listened on.
    pub(crate) fn add(&self, mut held: Held) {
        let mut all = self.lock();
        if self.let_go.load(Ordering::Relaxed) {
            held.spare.clear();
        }
        all.push(held);
    }

    /// What is listened on, for messages.
    pub(crate) fn binds(&self) -> Vec<Bind> {
        let bind = |held: &Held| Bind {
            listener: held.wanted.name.clone(),
            address: held.address,
        };
        self.lock().iter().map(bind).collect()
    }

    /// A descriptor of every socket, for the process that takes over.
    pub(crate) fn to_hand_over(&self) -> std::io::Result<Vec<Handed>> {
        let mut all = Vec::new();
        for held in self.lock().iter() {
            for socket in &held.spare {
                all.push(Handed {
                    label: Label {
                        listener: held.wanted.name.clone(),
                        asked: held.wanted.address.to_string(),
                        address: held.address.to_string(),
                        lent: held.lent,
                    },
                    socket: socket.try_clone()?.into(),
                });
            }
        }
        Ok(all)
    }

    /// Lets go of the second descriptors: workers close theirs next.
    pub(crate) fn let_go(&self) {
        let mut all = self.lock();
        self.let_go.store(true, Ordering::Relaxed);
        for held in all.iter_mut() {
            held.spare.clear();
        }
    }
}

/// The addresses that the listeners of a model want. `ids` are those of the listeners, in order.
pub(crate) fn wanted(model: &Model, ids: &[ListenerId]) -> Result<Vec<Wanted>, StartFault> {
    let mut all = Vec::new();
    for (listener, id) in model.listeners.iter().zip(ids) {
        let name = &listener.name.value;
        for bind in &listener.binds {
            let addresses = bind_addresses(&bind.value).map_err(|cause| StartFault::Name {
                listener: name.clone(),
                name: bind.value.to_string(),
                cause,
            })?;
            all.extend(addresses.into_iter().map(|address| Wanted {
                listener: *id,
                name: name.clone(),
                address,
                backlog: i32::try_from(listener.backlog).unwrap_or(i32::MAX),
            }));
        }
    }
    Ok(all)
}

/// What has to be opened so that all that is wanted is there, and the positions of what is held and
/// wanted no more.
pub(crate) fn difference(held: &[Held], wanted: Vec<Wanted>) -> (Vec<Wanted>, Vec<usize>) {
    let mut over: Vec<usize> = (0..held.len()).collect();
    let mut missing = Vec::new();
    for want in wanted {
        let has = |at: &usize| {
            held.get(*at).is_some_and(|it| {
                it.wanted.listener == want.listener && it.wanted.address == want.address
            })
        };
        match over.iter().position(has) {
            Some(at) => drop(over.remove(at)),
            None => missing.push(want),
        }
    }
    (missing, over)
}

/// Opens sockets for every worker. `given` are sockets that the process got from another one; what is
/// wanted of them is taken out. `held` is what this process listens on already.
pub(crate) fn open(
    missing: Vec<Wanted>,
    held: &[Held],
    given: &mut Inherited,
    workers: usize,
) -> Result<Vec<Opened>, StartFault> {
    let mut all = Vec::with_capacity(missing.len());
    for want in missing {
        let mine = given
            .take(&want.name, want.address)
            .map_err(|cause| BindFault::Other(want.address, cause));
        let opened = mine.and_then(|mine| one(&want, held, mine, workers));
        all.push(opened.map_err(|fault| StartFault::Bind {
            listener: want.name.clone(),
            fault,
        })?);
    }
    Ok(all)
}

fn one(
    want: &Wanted,
    held: &[Held],
    mut given: Vec<Bound>,
    workers: usize,
) -> Result<Opened, BindFault> {
    if given.is_empty() {
        given = lent(want, held).map_err(|cause| BindFault::Other(want.address, cause))?;
    }
    if given.is_empty() {
        // A port of our own is busy with ourselves: an address that goes from one listener to another.
        let ours = |it: &Held| want.address.port() != 0 && it.address.port() == want.address.port();
        given.push(match held.iter().any(ours) {
            true => bind_beside(want.address, want.backlog)?,
            false => bind(want.address, want.backlog)?,
        });
    }
    let address = given.first().map_or(want.address, |it| it.address);
    while given.len() < workers {
        let Some(first) = given.first() else { break };
        // A socket of a service manager may not share its port: workers take turns at it.
        let like =
            bind_like(first, want.backlog).or_else(|fault| first.duplicate().map_err(|_| fault))?;
        given.push(like);
    }
    let spare = given.iter().map(|it| it.listener.try_clone());
    let spare = spare.collect::<std::io::Result<Vec<_>>>();
    let held = Held {
        wanted: want.clone(),
        address,
        lent: given.iter().any(|it| it.lent),
        spare: spare.map_err(|cause| BindFault::Other(address, cause))?,
    };
    let sockets = given.into_iter().enumerate();
    // What is more than there are workers has connections waiting in it too.
    let sockets = sockets.map(|(at, bound)| (at % workers.max(1), bound));
    Ok((held, sockets.collect()))
}

/// Copies of the sockets that somebody lent us for this address: nobody can bind beside those.
fn lent(want: &Wanted, held: &[Held]) -> std::io::Result<Vec<Bound>> {
    let is_it = |it: &&Held| it.lent && it.wanted.address == want.address;
    let Some(held) = held.iter().find(is_it) else {
        return Ok(Vec::new());
    };
    let copy = |socket: &std::net::TcpListener| {
        Ok(Bound {
            listener: socket.try_clone()?,
            address: held.address,
            lent: true,
        })
    };
    held.spare.iter().map(copy).collect()
}

/// The addresses that a bind address stands for.
pub(crate) fn bind_addresses(address: &BindAddress) -> std::io::Result<Vec<SocketAddr>> {
    match &address.host {
        EndpointHost::Ip(ip) => Ok(vec![SocketAddr::new(*ip, address.port)]),
        EndpointHost::Name(name) => {
            let mut found: Vec<SocketAddr> =
                (name.as_str(), address.port).to_socket_addrs()?.collect();
            found.sort_unstable();
            found.dedup();
            // `localhost` is two addresses; a machine without IPv6 has only one of them.
            let v6_only_loopback = |at: &SocketAddr| at.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST);
            if found.len() > 1 && !has_ipv6() {
                found.retain(|at| !v6_only_loopback(at));
            }
            Ok(found)
        }
    }
}

fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(listener: u16, address: &str) -> Wanted {
        Wanted {
            listener: ListenerId(listener),
            name: format!("l{listener}"),
            address: address.parse().expect("an address"),
            backlog: 16,
        }
    }

    fn held(listener: u16, address: &str) -> Held {
        let wanted = want(listener, address);
        Held {
            address: wanted.address,
            wanted,
            spare: Vec::new(),
            lent: false,
        }
    }

    #[test]
    fn only_what_differs_is_opened_and_closed() {
        let now = [
            held(0, "127.0.0.1:0"),
            held(0, "127.0.0.1:0"),
            held(1, "127.0.0.1:81"),
        ];
        let (missing, over) = difference(&now, vec![want(0, "127.0.0.1:0")]);
        assert!(missing.is_empty());
        assert_eq!(over, [1, 2], "each free port that was asked for is one");
        // An address that goes from one listener to another is opened anew and closed.
        let wanted = vec![
            want(0, "127.0.0.1:0"),
            want(0, "127.0.0.1:0"),
            want(2, "127.0.0.1:81"),
        ];
        let (missing, over) = difference(&now, wanted);
        assert_eq!(missing.len(), 1);
        assert_eq!(over, [2]);
    }

    #[test]
    fn an_address_of_our_own_can_be_bound_beside_and_others_are_told_apart() {
        let workers = 2;
        let none = &mut Inherited::none();
        let opened = open(vec![want(0, "127.0.0.1:0")], &[], none, workers).expect("a free port");
        let (first, sockets) = opened.into_iter().next().expect("one address");
        assert_eq!(sockets.len(), workers);
        let at = first.address.to_string();
        let mut less = open(vec![want(0, &at)], &[held(0, &at)], none, 3).expect("beside");
        let (less, sockets) = less.first_mut().expect("one address");
        let owners: Vec<usize> = sockets.iter().map(|(worker, _)| *worker).collect();
        less.forget(1, &owners);
        less.forget(7, &owners);
        assert_eq!((owners.len(), less.spare.len()), (3, 2));
        let again = open(vec![want(1, &at)], &[first], none, workers).expect("our own");
        assert_eq!(again.len(), 1);
        let fault = open(vec![want(1, &at)], &[], none, workers).expect_err("somebody is there");
        assert!(fault.to_string().starts_with("listener `l1`: "), "{fault}");
    }

    #[test]
    fn a_lent_socket_goes_from_one_listener_to_another() {
        // As a service manager binds it: nobody can bind beside it.
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let at = socket.local_addr().expect("bound").to_string();
        let now = Held {
            lent: true,
            spare: vec![socket],
            ..held(0, &at)
        };
        let none = &mut Inherited::none();
        let opened = open(vec![want(1, &at)], &[now], none, 2).expect("a copy");
        let (held, sockets) = opened.into_iter().next().expect("one address");
        assert!(held.lent && sockets.len() == 2);
    }
}
