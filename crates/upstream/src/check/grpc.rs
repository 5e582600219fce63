//! A check by the gRPC health protocol: `grpc.health.v1.Health/Check`.

use keel_balance::CheckFault;
use keel_http::grpc::{Code, decode_message, parse_status};
use keel_http::{h2_fields, trailer_fields};
use keel_tls::{Alpn, Stream};

use super::http2::{Question, call};

/// `ServingStatus.SERVING`.
const SERVING: u32 = 1;

/// Asks for the health of a service.
pub(super) async fn run(service: &str, authority: &str, stream: Stream) -> Result<(), CheckFault> {
    let chosen = stream.facts().and_then(|facts| facts.alpn);
    if stream.is_tls() && chosen != Some(Alpn::H2) {
        let text = "the server did not choose HTTP/2 by ALPN, which gRPC needs";
        return Err(CheckFault::Answer(text.into()));
    }
    let body = question(service);
    let got = call(
        stream,
        &Question {
            method: "POST",
            authority,
            path: "/grpc.health.v1.Health/Check",
            fields: vec![
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
                (b"user-agent", b"evenkeel-check"),
            ],
            body: &body,
        },
    )
    .await?;
    if got.answer.status != 200 {
        return Err(CheckFault::Status(got.answer.status));
    }
    // An error may come in the head alone.
    status_of(trailer_fields(&got.trailers))
        .or_else(|| status_of(h2_fields(&got.head)))
        .unwrap_or_else(|| Err(CheckFault::Answer("it has no grpc-status".into())))?;
    match health(&got.answer.body) {
        Some(SERVING) => Ok(()),
        Some(other) => Err(CheckFault::NotServing(other)),
        None => Err(CheckFault::Answer("it is no HealthCheckResponse".into())),
    }
}

/// `HealthCheckRequest { string service = 1 }`, as one message of gRPC.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut len = service.len();
        while len >= 0x80 {
            message.push(len as u8 | 0x80);
            len >>= 7;
        }
        message.push(len as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

/// What grpc-status says; `None` without one.
fn status_of<'f>(
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
) -> Option<Result<(), CheckFault>> {
    let (mut status, mut message) = (None, None);
    for (name, value) in fields {
        match name {
            b"grpc-status" => status = status.or(Some(value)),
            b"grpc-message" => message = message.or(Some(value)),
            _ => {}
        }
    }
    let value = status?;
    let code = parse_status(value);
    if code == Some(Code::Ok) {
        return Some(Ok(()));
    }
    let mut text = match code {
        Some(code) => format!("grpc-status {} ({})", code.number(), code.name()),
        None => "its grpc-status is no number of gRPC".to_owned(),
    };
    if let Some(message) = message {
        let mut decoded = Vec::new();
        decode_message(message, &mut decoded);
        let message = String::from_utf8_lossy(&decoded);
        let some: String = message.escape_debug().take(100).collect();
        text.push_str(": ");
        text.push_str(&some);
    }
    Some(Err(CheckFault::Answer(text.into())))
}

/// `HealthCheckResponse { ServingStatus status = 1 }` out of a message of gRPC; 0 (UNKNOWN) when the
/// field is left out.
fn health(body: &[u8]) -> Option<u32> {
    let (prefix, message) = body.split_first_chunk::<5>()?;
    let [compressed, len @ ..] = *prefix;
    if compressed != 0 || u32::from_be_bytes(len) as usize != message.len() {
        return None;
    }
    let (mut rest, mut found) = (message, 0);
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if tag >> 3 == 1 {
                    found = u32::try_from(value).ok()?;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let len = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(len..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_those_of_the_protocol() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(question(&"x".repeat(200))[5..8], [0x0a, 0xc8, 1]);
        assert_eq!(health(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(health(&[0, 0, 0, 0, 0]), Some(0), "left out: UNKNOWN");
        assert_eq!(
            health(&[0, 0, 0, 0, 6, 0x12, 2, 9, 9, 8, 2]),
            Some(2),
            "others are passed over"
        );
        for wrong in [
            &[][..],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 3, 8, 1],
            &[0, 0, 0, 0, 1, 8],
            &[0, 0, 0, 0, 2, 0x12, 9],
        ] {
            assert_eq!(health(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(mut body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = health(&body);
            if let Some(len) = body.len().checked_sub(5) {
                body[..5].copy_from_slice(&[0, 0, 0, 0, len as u8]);
                let _ = health(&body);
            }
        }
    }
}
