//! What the server is told about the client: `X-Forwarded-*`, `X-Real-IP` and `Forwarded`.
//!
//! From a peer that is not trusted nothing of the kind passes; what an edit sets or removes, we do not
//! write.

use std::net::IpAddr;

use keel_http::{HeaderId, HeaderSet};

use crate::exchange::Exchange;
use crate::heads::{RequestHeadPlan, write_field, write_ip};
use crate::snapshot::{ForwardedPlan, XForwarded};

/// What only a trusted peer may say about the client.
const CLAIMS: HeaderSet = HeaderSet::new()
    .with(HeaderId::XForwardedFor)
    .with(HeaderId::XForwardedProto)
    .with(HeaderId::XForwardedHost)
    .with(HeaderId::XForwardedPort)
    .with(HeaderId::XRealIp)
    .with(HeaderId::CfConnectingIp)
    .with(HeaderId::XClientIp)
    .with(HeaderId::Forwarded);

/// Headers of the client that do not pass, because we write them anew or do not believe them.
pub fn dropped_claims(forwarded: ForwardedPlan, trusted: bool) -> HeaderSet {
    if !trusted {
        return CLAIMS;
    }
    let mut drop = HeaderSet::new();
    if forwarded.x_forwarded != XForwarded::Off {
        drop = drop
            .with(HeaderId::XForwardedFor)
            .with(HeaderId::XForwardedProto)
            .with(HeaderId::XForwardedHost);
    }
    if forwarded.x_real_ip {
        drop = drop.with(HeaderId::XRealIp);
    }
    if forwarded.forwarded {
        drop = drop.with(HeaderId::Forwarded);
    }
    drop
}

/// Writes what the server is told about the client, but for what is edited.
pub fn write_forwarded(
    out: &mut Vec<u8>,
    ex: &Exchange,
    plan: &RequestHeadPlan<'_>,
    edited: HeaderSet,
) {
    let buf = ex.bytes();
    let ForwardedPlan {
        x_forwarded,
        x_real_ip,
        forwarded,
    } = plan.route.forwarded;
    if x_forwarded != XForwarded::Off {
        if !edited.contains(HeaderId::XForwardedFor) {
            out.extend_from_slice(b"X-Forwarded-For: ");
            write_chain(out, ex, plan, x_forwarded);
            out.extend_from_slice(b"\r\n");
        }
        let told = |id| {
            plan.trusted
                .then(|| ex.head.fields.first(id, buf))
                .flatten()
        };
        let scheme = told(HeaderId::XForwardedProto).unwrap_or(plan.listener.scheme.as_bytes());
        if !edited.contains(HeaderId::XForwardedProto) {
            write_field(out, b"X-Forwarded-Proto", scheme);
        }
        let host = told(HeaderId::XForwardedHost).unwrap_or_else(|| ex.normal.authority(buf));
        let host = if host.is_empty() { b"unknown" } else { host };
        if !edited.contains(HeaderId::XForwardedHost) {
            write_field(out, b"X-Forwarded-Host", host);
        }
    }
    if x_real_ip && !edited.contains(HeaderId::XRealIp) {
        out.extend_from_slice(b"X-Real-IP: ");
        write_client(out, ex, plan);
        out.extend_from_slice(b"\r\n");
    }
    if forwarded && !edited.contains(HeaderId::Forwarded) {
        write_rfc7239(out, ex, plan);
    }
}

/// The client's address, which is mostly the peer's.
fn write_client(out: &mut Vec<u8>, ex: &Exchange, plan: &RequestHeadPlan<'_>) {
    if ex.record.client_ip == plan.peer {
        out.extend_from_slice(plan.peer_text.as_bytes());
    } else {
        write_ip(out, ex.record.client_ip);
    }
}

/// `X-Forwarded-For`: behind what a trusted peer sent stands that peer; otherwise the client alone.
fn write_chain(
    out: &mut Vec<u8>,
    ex: &Exchange,
    plan: &RequestHeadPlan<'_>,
    x_forwarded: XForwarded,
) {
    let mut any = false;
    if plan.trusted && x_forwarded == XForwarded::Append {
        for value in ex.head.fields.all(HeaderId::XForwardedFor, ex.bytes()) {
            if any {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(value);
            any |= !value.is_empty();
        }
    }
    if any {
        out.extend_from_slice(b", ");
        out.extend_from_slice(plan.peer_text.as_bytes());
    } else {
        write_client(out, ex, plan);
    }
}

/// `Forwarded` (RFC 7239, 4): our element behind what a trusted peer sent.
fn write_rfc7239(out: &mut Vec<u8>, ex: &Exchange, plan: &RequestHeadPlan<'_>) {
    let buf = ex.bytes();
    out.extend_from_slice(b"Forwarded: ");
    if plan.trusted {
        for value in ex.head.fields.all(HeaderId::Forwarded, buf) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(b"for=");
    match plan.peer {
        IpAddr::V4(_) => write_ip(out, plan.peer),
        IpAddr::V6(_) => {
            out.extend_from_slice(b"\"[");
            write_ip(out, plan.peer);
            out.extend_from_slice(b"]\"");
        }
    }
    let authority = ex.normal.authority(buf);
    if !authority.is_empty() {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(authority);
        out.push(b'"');
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(plan.listener.scheme.as_bytes());
    out.extend_from_slice(b"\r\n");
}
