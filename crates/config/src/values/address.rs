//! Addresses, networks and host names.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::Fault;
use crate::diagnostic::codes;
use crate::model::{Endpoint, EndpointHost};

/// Longest DNS name, RFC 1035 section 2.3.4.
const DNS_NAME_BYTES_MAX: usize = 253;
/// Longest label of a DNS name.
const DNS_LABEL_BYTES_MAX: usize = 63;

fn bad(says: impl Into<String>) -> Fault {
    Fault::new(&codes::BAD_ADDRESS, says)
}

/// Splits host and port. The host may be empty, the port may be absent.
fn split(text: &str) -> Result<(&str, Option<&str>), Fault> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err(bad("has `[` without `]`"));
        };
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(bad("has something other than `:PORT` after `]`")),
        };
    }
    if text.matches(':').count() > 1 {
        let fault = bad("is an IPv6 address without brackets");
        let split = text
            .rsplit_once(':')
            .filter(|(host, port)| host.parse::<Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok());
        return Err(match (split, text.parse::<Ipv6Addr>()) {
            (Some((host, port)), _) => fault.guess(format!("[{host}]:{port}")),
            (None, Ok(_)) => fault.help(format!("write `[{text}]:80`")),
            (None, Err(_)) => fault.help("write `[::1]:80`"),
        });
    }
    match text.split_once(':') {
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn port(text: &str) -> Result<u16, Fault> {
    if text.is_empty() {
        return Err(bad("has no port after the colon"));
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad(format!("has the port `{text}`, which is not a number")));
    }
    text.parse()
        .map_err(|_| bad(format!("has the port {text}, ports end at 65535")))
}

/// Things that are addresses elsewhere and not here.
fn foreign(text: &str) -> Result<(), Fault> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let fault = bad(format!(
            "is a URL; an address is `host:port` without `{scheme}://`"
        ));
        return Err(if host.contains(':') {
            fault.guess(host)
        } else {
            fault.guess(format!(
                "{host}:{}",
                if scheme == "https" { 443 } else { 80 }
            ))
        });
    }
    if text.contains('/') {
        return Err(bad("has a `/`; an address is `host:port` and nothing more"));
    }
    Ok(())
}

fn host(text: &str) -> Result<EndpointHost, Fault> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(EndpointHost::Ip(ip));
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(bad(
            "is not an IPv4 address: that is four numbers from 0 to 255 without leading zeros",
        ));
    }
    dns_name(text).map(EndpointHost::Name)
}

/// A DNS name: lower case, without a trailing dot. Underscores are taken, they occur in practice.
pub(super) fn dns_name(text: &str) -> Result<String, Fault> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let fault = |says: String| Fault::new(&codes::BAD_HOST, says);
    if name.is_empty() {
        return Err(fault("has an empty host".to_owned()));
    }
    if !name.is_ascii() {
        return Err(fault("has letters outside ASCII".to_owned())
            .help("write the name in its ASCII form, which starts with `xn--`"));
    }
    if name.len() > DNS_NAME_BYTES_MAX {
        return Err(fault(format!(
            "is longer than {DNS_NAME_BYTES_MAX} characters"
        )));
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(fault(
                "has two dots in a row, or starts with one".to_owned(),
            ));
        }
        if label.len() > DNS_LABEL_BYTES_MAX {
            return Err(fault(format!(
                "has a part longer than {DNS_LABEL_BYTES_MAX} characters"
            )));
        }
        if let Some(c) = label
            .chars()
            .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'))
        {
            return Err(fault(format!("has `{c}`, which no host name has")));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(fault("has a part that starts or ends with `-`".to_owned()));
        }
    }
    Ok(name.to_ascii_lowercase())
}

/// `host:port` or `:port`, port 0 included.
pub(crate) fn bind(text: &str) -> Result<Endpoint, Fault> {
    foreign(text)?;
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return Err(bad("is a port alone").guess(format!(":{text}")));
    }
    let (name, number) = split(text)?;
    let Some(number) = number else {
        return Err(bad("has no port").help(format!("write `{text}:80`")));
    };
    let port = port(number)?;
    match name {
        "" => Ok(Endpoint {
            host: EndpointHost::Ip(IpAddr::from([0, 0, 0, 0])),
            port,
        }),
        "*" => Err(bad("has `*` for a host").guess(format!(":{port}"))),
        name => Ok(Endpoint {
            host: host(name)?,
            port,
        }),
    }
}

/// `host:port`, the port is not 0.
pub(crate) fn server_address(text: &str) -> Result<Endpoint, Fault> {
    foreign(text)?;
    let (name, number) = split(text)?;
    let Some(number) = number else {
        return Err(bad("has no port").help(format!(
            "write `{text}:80`, or the port on which it listens"
        )));
    };
    let port = port(number)?;
    if name.is_empty() {
        return Err(bad("has no host").help(format!("write `127.0.0.1:{port}`")));
    }
    if port == 0 {
        return Err(bad("has the port 0, on which nothing can listen"));
    }
    Ok(Endpoint {
        host: host(name)?,
        port,
    })
}

/// A Host header's value: a name or address, with or without a port. Given back as it is written.
pub(crate) fn host_header(text: &str) -> Result<(), Fault> {
    foreign(text)?;
    let (name, number) = split(text)?;
    if let Some(number) = number {
        port(number)?;
    }
    if name.is_empty() {
        return Err(Fault::new(&codes::BAD_HOST, "has an empty host"));
    }
    host(name).map(drop)
}

/// A network, or an address that stands for itself. True when bits after the prefix were set.
pub(crate) fn network(text: &str) -> Result<(IpNet, bool), Fault> {
    let bad = |says: String| Fault::new(&codes::BAD_NETWORK, says);
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok((IpNet::from(ip), false));
    }
    let Some((address, prefix)) = text.split_once('/') else {
        return Err(bad("is neither an IP address nor a network".to_owned())
            .help("write `10.0.0.0/8`, `2001:db8::/32` or an address alone"));
    };
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Err(bad(format!(
            "has `{address}` before the `/`, which is not an IP address"
        )));
    };
    let most = if ip.is_ipv4() { 32 } else { 128 };
    if prefix.parse::<IpAddr>().is_ok() {
        return Err(bad("has a netmask after the `/`".to_owned())
            .help("write the number of its bits, such as `/24` for 255.255.255.0"));
    }
    let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    let length = prefix
        .parse::<u8>()
        .ok()
        .filter(|length| digits && *length <= most);
    let Some(net) = length.and_then(|length| IpNet::new(ip, length).ok()) else {
        return Err(bad(format!(
            "has the prefix `{prefix}`, it must be 0 to {most}"
        )));
    };
    Ok((net.trunc(), net != net.trunc()))
}
