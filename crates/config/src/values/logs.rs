//! Destinations of logs and redirects.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Fault;
use super::address::server_address;
use crate::diagnostic::codes;
use crate::guess::{closest, join};
use crate::model::{EndpointHost, LogTarget, NamedFormat};
use crate::words::Word;

/// Port of syslog over UDP, RFC 5426.
const SYSLOG_PORT: u16 = 514;

/// A log's destination; file paths are not joined to anything yet.
pub(crate) fn log_target(text: &str) -> Result<LogTarget, Fault> {
    let bad = |says: &str| Fault::new(&codes::BAD_LOG_TARGET, says);
    let forms =
        "write `stdout`, `stderr`, `file:PATH`, `syslog:/dev/log` or `syslog:udp:ADDRESS:PORT`";
    if text.contains(char::is_control) {
        return Err(bad("has a control character"));
    }
    match text {
        "stdout" => return Ok(LogTarget::Stdout),
        "stderr" => return Ok(LogTarget::Stderr),
        "syslog" | "syslog:" => {
            return Err(bad("does not say which syslog").guess("syslog:/dev/log"));
        }
        _ => {}
    }
    if let Some(path) = text.strip_prefix("file:") {
        if path.is_empty() || path.ends_with('/') {
            return Err(bad("has no file name after `file:`"));
        }
        return Ok(LogTarget::File(PathBuf::from(path)));
    }
    if let Some(to) = text.strip_prefix("syslog:") {
        if to.starts_with('/') {
            return Ok(LogTarget::SyslogUnix(PathBuf::from(to)));
        }
        let Some(address) = to.strip_prefix("udp:") else {
            return Err(bad("has neither a path nor `udp:` after `syslog:`").help(forms));
        };
        let has_port = address
            .rsplit(']')
            .next()
            .is_some_and(|end| end.contains(':'));
        let address = if has_port {
            address.to_owned()
        } else {
            format!("{address}:{SYSLOG_PORT}")
        };
        let endpoint = server_address(&address)?;
        let EndpointHost::Ip(ip) = endpoint.host else {
            return Err(bad("names a host, and a log is sent to an address")
                .help("write the host's IP address: `syslog:udp:192.0.2.10:514`"));
        };
        return Ok(LogTarget::SyslogUdp(SocketAddr::new(ip, endpoint.port)));
    }
    if text.contains("://") {
        return Err(bad("is a URL, which is no destination").help(forms));
    }
    if text.contains('/') {
        if text.ends_with('/') {
            return Err(bad("ends with `/`: a folder, where a file is needed"));
        }
        return Ok(LogTarget::File(PathBuf::from(text)));
    }
    Err(bad("is no destination").help(format!("{forms}; a file in this folder is `file:{text}`")))
}

/// A redirect's target: a URL, a path, or something that starts with a variable.
pub(crate) fn redirect_target(text: &str) -> Result<(), Fault> {
    let bad = |says: &str| Fault::new(&codes::BAD_REDIRECT, says);
    if text.contains(|c: char| c.is_control() || c == ' ') {
        return Err(bad("has a space or control character").help("write `%20` for a space"));
    }
    let lower = text.to_ascii_lowercase();
    if ["http://", "https://"]
        .iter()
        .any(|s| lower.starts_with(s) && lower.len() > s.len())
    {
        return Ok(());
    }
    if text.starts_with("//") {
        return Err(bad(
            "starts with `//`, which leads to another host by the scheme of the moment",
        )
        .help("write the scheme: `https://…`"));
    }
    if text.starts_with(['/', '$']) {
        return Ok(());
    }
    Err(bad("is neither a URL nor a path")
        .help("start with `https://`, `http://`, `/` or a variable; `https` alone is the same place over TLS"))
}

/// A log's format that is not known by name.
pub(crate) fn log_format(text: &str) -> Result<(), Fault> {
    super::line(text)?;
    if text.contains('$') {
        return Ok(());
    }
    let names = NamedFormat::WORDS;
    let fault = Fault::new(
        &codes::UNKNOWN_WORD,
        "is no format's name, and has no `$variable`",
    );
    Err(match closest(text, names.iter().map(|(name, _)| *name)) {
        Some(name) => fault.guess(name),
        None => fault.help(format!(
            "formats are {}",
            join(names.iter().map(|(name, _)| *name))
        )),
    })
}
