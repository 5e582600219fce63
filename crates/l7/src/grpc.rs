//! What is special about a call of gRPC: its deadline, how a failure is told, and the bridge for
//! gRPC-Web.

use keel_http::grpc::{
    AnswerEncoder, Code, Kind, RequestDecoder, parse_status, parse_timeout, write_status,
};
use keel_http::{BodyLength, HeaderId};

use crate::driver::Next;
use crate::error::{Kind as Fault, Row};
use crate::exchange::Exchange;
use crate::heads::{write_field, write_length};
use crate::own::{body_is_out_of_the_way, keeps_alive, send_whole};
use crate::relay::Web;
use crate::snapshot::RoutePlan;
use crate::vars::with_date;
use crate::walk::Walk;

/// A call of gRPC or gRPC-Web.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What the client speaks.
    pub kind: Kind,
    /// Servers are spoken to in gRPC, though the client speaks gRPC-Web.
    pub bridged: bool,
    /// When the client gives up (`grpc-timeout`), in milliseconds of the worker's clock;
    /// `u64::MAX` when it does not say.
    pub due_ms: u64,
}

impl Call {
    /// Recognises a call by its content type. A deadline that makes no sense is left to the server.
    pub fn of(ex: &Exchange, route: &RoutePlan, now_ms: u64) -> Option<Call> {
        let buf = ex.bytes();
        let kind = Kind::of(ex.head.fields.first(HeaderId::ContentType, buf)?)?;
        let timeout = ex
            .head
            .fields
            .first_named(b"grpc-timeout", buf)
            .and_then(|value| parse_timeout(value).ok());
        let due_ms = timeout.map_or(u64::MAX, |timeout| {
            now_ms.saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX))
        });
        Some(Call {
            kind,
            bridged: route.grpc_web && kind != Kind::Grpc,
            due_ms,
        })
    }

    /// Whether the body of the request is written anew on the way, so that its length is unknown.
    pub fn recodes_request(self) -> bool {
        self.bridged && self.kind == Kind::WebText
    }

    /// What turns the request's body into one of gRPC.
    pub fn request_codec(self) -> Option<Box<Web>> {
        self.recodes_request()
            .then(|| Box::new(Web::Request(RequestDecoder::new(self.kind))))
    }

    /// The Content-Type for the server, in place of the client's.
    pub fn request_type(self, ex: &Exchange) -> Option<Vec<u8>> {
        self.bridged.then(|| {
            let told = ex.head.fields.first(HeaderId::ContentType, ex.bytes());
            let mut written = Vec::new();
            Kind::Grpc.write_content_type(told.unwrap_or_default(), &mut written);
            written
        })
    }

    /// Whether the server's answer is a status alone, one after which another server is to be tried.
    pub fn is_refused(ex: &Exchange, statuses: &[Code]) -> bool {
        if statuses.is_empty() || ex.call.is_none() || ex.answer_framing.body != BodyLength::Empty {
            return false;
        }
        let buf = ex.answer_buf.filled();
        let told = ex.answer.fields.first_named(b"grpc-status", buf);
        told.and_then(parse_status)
            .is_some_and(|status| statuses.contains(&status))
    }

    /// What the answer of a server becomes: its Content-Type for the client, and what turns its body
    /// into one of gRPC-Web. None when the server did not answer in gRPC.
    pub fn answer_bridge(self, ex: &Exchange) -> Option<(Vec<u8>, Box<Web>)> {
        let answer = ex.answer_buf.filled();
        let told = ex.answer.fields.first(HeaderId::ContentType, answer)?;
        if !self.bridged || Kind::of(told) != Some(Kind::Grpc) {
            return None;
        }
        let mut written = Vec::new();
        self.kind.write_content_type(told, &mut written);
        let codec = Web::Answer(AnswerEncoder::new(self.kind));
        Some((written, Box::new(codec)))
    }
}

/// Tells a failure of ours as gRPC does: status 200, and the failure in `grpc-status`. The answer is
/// trailers alone.
pub(crate) async fn fail_call(walk: &mut Walk<'_>, row: &Row) -> Result<Next, Fault> {
    let mut out = walk.worker.bufs.take_string();
    let second = walk.worker.clock.unix_us(walk.worker.clock.now_us()) / 1_000_000;
    let keep_alive = row.keeps_connection && keeps_alive(walk) && body_is_out_of_the_way(walk);
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    with_date(second, |date| write_field(&mut out, b"Date", date));
    let told = walk
        .ex
        .head
        .fields
        .first(HeaderId::ContentType, walk.ex.bytes());
    write_field(&mut out, b"Content-Type", told.unwrap_or_default());
    write_status(Code::of_failure(row.status), row.text, &mut out);
    write_field(&mut out, b"X-Error", row.name.as_bytes());
    if !walk.client.io.is_h2() {
        write_length(&mut out, 0);
        if !keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    walk.ex.record.failed_as = row.status;
    let sent = send_whole(walk, 200, &out, 0).await;
    walk.ex.record.bytes_sent += out.len() as u64;
    walk.worker.bufs.give_string(out);
    sent?;
    Ok(match keep_alive {
        true => Next::KeepAlive,
        false => Next::Linger,
    })
}
