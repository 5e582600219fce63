//! The client's address behind trusted proxies.

use std::net::IpAddr;

use crate::fields::Fields;
use crate::header::HeaderId;

/// The address of the client.
pub fn client_address(
    _fields: &Fields,
    _buf: &[u8],
    peer: IpAddr,
    _trusted: &dyn Fn(IpAddr) -> bool,
    _order: &[HeaderId],
) -> IpAddr {
    peer
}
