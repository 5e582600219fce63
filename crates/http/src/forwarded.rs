//! The client's address behind trusted proxies.
//!
//! A forwarding field is only as good as who wrote it. So fields count only when the socket's peer is trusted, and a
//! list is read from the right, past trusted hops, up to the first address that no trusted proxy vouches for: what
//! stands further left may be the client's own invention.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::fields::Fields;
use crate::header::HeaderId;
use crate::syntax::{list, trim_ows};

/// The fields that are looked at, in this order, unless the configuration says otherwise.
pub const DEFAULT_ORDER: [HeaderId; 5] = [
    HeaderId::XForwardedFor,
    HeaderId::XRealIp,
    HeaderId::CfConnectingIp,
    HeaderId::XClientIp,
    HeaderId::Forwarded,
];

/// The address of the client of this request: the peer itself, or, when `trusted` holds for the peer, what the first
/// field of `order` that says anything usable says. IPv4 addresses in IPv6 form are given as IPv4.
pub fn client_address(
    fields: &Fields,
    buf: &[u8],
    peer: IpAddr,
    trusted: &dyn Fn(IpAddr) -> bool,
    order: &[HeaderId],
) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted(peer) {
        return peer;
    }
    let found = order
        .iter()
        .filter(|&&id| fields.contains(id))
        .find_map(|&id| {
            let mut hops = Hops {
                trusted,
                client: None,
            };
            for line in fields.all(id, buf) {
                match id {
                    HeaderId::Forwarded => each_for(line, &mut |node| hops.add(node)),
                    _ => list(line)
                        .filter(|node| !node.is_empty())
                        .for_each(|node| hops.add(node)),
                }
            }
            hops.client
        });
    found.unwrap_or(peer)
}

/// Reads a chain of hops from left to right in such a way that what is left is the result of reading it from the
/// right: the rightmost untrusted address, or the leftmost of the trusted ones to its right, never across a node
/// that is no address.
struct Hops<'a> {
    trusted: &'a dyn Fn(IpAddr) -> bool,
    client: Option<IpAddr>,
}

impl Hops<'_> {
    fn add(&mut self, node: &[u8]) {
        match parse_node(node) {
            None => self.client = None,
            Some(ip) if self.client.is_none() || !(self.trusted)(ip) => self.client = Some(ip),
            Some(_) => {}
        }
    }
}

/// An address with an optional port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`. Obfuscated
/// identifiers and `unknown` (RFC 7239, 6) are none.
fn parse_node(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    if let Some(inner) = text.strip_prefix('[') {
        let (address, port) = inner.split_once(']')?;
        let sound = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        let ip = address.parse::<Ipv6Addr>().ok().filter(|_| sound)?;
        return Some(IpAddr::V6(ip).to_canonical());
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let (address, port) = text.split_once(':')?;
    let ip = address.parse::<Ipv4Addr>().ok()?;
    is_port(port).then_some(IpAddr::V4(ip))
}

/// A port or an obfuscated port.
fn is_port(text: &str) -> bool {
    !text.is_empty()
        && (text.parse::<u16>().is_ok()
            || (text.starts_with('_') && crate::syntax::is_token(text.as_bytes())))
}

/// Calls `f` with the `for` node of each element of a Forwarded value (RFC 7239, 4), in order; with an empty node
/// for an element that has none, has two, or is malformed.
fn each_for(value: &[u8], f: &mut dyn FnMut(&[u8])) {
    let mut rest = value;
    loop {
        let (element, after) = match split_outside_quotes(rest, b',') {
            Some(parts) => parts,
            // An open quote: nothing in this line can be told apart.
            None => return f(b""),
        };
        if !trim_ows(element).is_empty() {
            f(for_of(element).unwrap_or_default());
        }
        match after {
            Some(after) => rest = after,
            None => return,
        }
    }
}

/// The `for` node of one element, without quotes.
fn for_of(element: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    let mut rest = Some(element);
    while let Some(pairs) = rest {
        let (pair, after) = split_outside_quotes(pairs, b';')?;
        rest = after;
        let pair = trim_ows(pair);
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_at_checked(memchr::memchr(b'=', pair)?)?;
        if name.eq_ignore_ascii_case(b"for") {
            let value = match value.get(1..)? {
                [b'"', inner @ .., b'"'] => inner,
                other => other,
            };
            if found.replace(value).is_some() {
                return None;
            }
        }
    }
    found
}

/// The bytes up to the first `separator` that does not stand in a quoted string, and what follows it. `None` when a
/// quote is not closed.
#[allow(clippy::type_complexity)]
fn split_outside_quotes(bytes: &[u8], separator: u8) -> Option<(&[u8], Option<&[u8]>)> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &b) in bytes.iter().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if b == separator && !quoted => {
                let (before, after) = bytes.split_at_checked(at)?;
                return Some((before, after.get(1..)));
            }
            _ => {}
        }
    }
    (!quoted).then_some((bytes, None))
}

#[cfg(test)]
mod tests;
