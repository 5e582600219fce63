//! Differential: hyper reads the same conversation. Each request that we accept must be read alike by hyper, or be
//! refused by it for a reason that is not framing (it knows fewer targets than RFC 9112 has).
#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper::{Request, Response};
use keel_fuzz::{Seen, read_requests, sorted_fields};
use libfuzzer_sys::fuzz_target;

/// A connection whose client has sent all that it will ever send and takes all that it is given.
struct Wire {
    input: Vec<u8>,
    at: usize,
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let take = (self.input.len() - self.at).min(buf.remaining());
        let end = self.at + take;
        buf.put_slice(&self.input[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The requests that hyper reads whole, in order.
fn hyper_reads(input: &[u8]) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (parts, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                seen.borrow_mut().push(Seen {
                    method: parts.method.as_str().as_bytes().to_vec(),
                    target: Vec::new(),
                    minor_version: u8::from(parts.version == hyper::Version::HTTP_11),
                    fields: sorted_fields(
                        parts
                            .headers
                            .iter()
                            .map(|(n, v)| (n.as_str().as_bytes(), v.as_bytes())),
                    ),
                    body: body.to_bytes().to_vec(),
                });
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .max_headers(512)
        .serve_connection(
            Wire {
                input: input.to_vec(),
                at: 0,
            },
            service,
        );
    let mut connection = pin!(connection);
    let mut context = Context::from_waker(Waker::noop());
    // Nothing ever waits, so a few polls suffice; the bound keeps a busy loop from hiding.
    for _ in 0..1000 {
        if connection.as_mut().poll(&mut context).is_ready() {
            break;
        }
    }
    seen.take()
}

/// Whether hyper can hold the target at all.
fn hyper_knows_target(target: &[u8]) -> bool {
    hyper::Uri::try_from(target).is_ok()
}

/// A conversation that both must read whole: two bodies, a trailer, a last request that closes.
const SOUND: &[u8] = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;e=f\r\ndef\r\n0\r\nT: v\r\n\r\n\
GET /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn the_comparison_is_not_empty() {
    let bodies = |seen: Vec<Seen>| seen.into_iter().map(|s| s.body).collect::<Vec<_>>();
    let expected = [&b"abc"[..], b"def", b""];
    assert_eq!(bodies(read_requests(SOUND)), expected);
    assert_eq!(bodies(hyper_reads(SOUND)), expected);
}

fuzz_target!(init: the_comparison_is_not_empty(), |data: &[u8]| {
    let ours = read_requests(data);
    let theirs = hyper_reads(data);
    for (at, our) in ours.iter().enumerate() {
        match theirs.get(at) {
            Some(their) => {
                let mut our = our.clone();
                our.target.clear();
                assert_eq!(&our, their, "request {at} is read in two ways");
            }
            None => {
                assert!(
                    !hyper_knows_target(&our.target),
                    "hyper refuses request {at}: {our:?}"
                );
                break;
            }
        }
    }
});
