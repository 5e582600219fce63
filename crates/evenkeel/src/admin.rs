//! The sockets of the admin listener.

use std::net::ToSocketAddrs;

use anyhow::{Context, Result, bail};
use keel_config::model::{Admin, EndpointHost};
use keel_net::{Bound, Inherited, SocketBook};

/// The listener's name in messages, and towards the process that follows.
const NAME: &str = "admin";

/// Binds the admin listener, or takes the sockets that it had in the process before. One that nobody
/// asked for may find its port busy. Copies for the process that follows go into the book.
pub fn bind(
    admin: Option<&Admin>,
    inherited: &mut Inherited,
    book: &SocketBook,
) -> Result<Vec<Bound>> {
    /// Connections that may wait there.
    const BACKLOG: i32 = 128;

    let mut all = Vec::new();
    let Some(admin) = admin else { return Ok(all) };
    for address in &admin.binds {
        let wanted = &address.value;
        let host = match &wanted.host {
            EndpointHost::Ip(ip) => ip.to_string(),
            EndpointHost::Name(name) => name.clone(),
        };
        let at = (host.as_str(), wanted.port)
            .to_socket_addrs()
            .with_context(|| format!("admin: {wanted} does not resolve"))?
            .next()
            .with_context(|| format!("admin: {wanted} resolves to nothing"))?;
        let mut bound = inherited
            .take(NAME, at)
            .with_context(|| format!("admin: {wanted}"))?;
        if bound.is_empty() {
            match keel_net::bind(at, BACKLOG) {
                Ok(one) => bound.push(one),
                Err(fault) if admin.defaulted => {
                    tracing::warn!(
                        "no admin listener: {fault}; set `admin:` to another address or off"
                    );
                }
                Err(fault) => bail!("listener `admin`: {fault}"),
            }
        }
        for one in &bound {
            book.keep(NAME, at, one).context("admin")?;
        }
        all.append(&mut bound);
    }
    Ok(all)
}
