//! A check by HTTP/2: one stream on a connection of its own.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request};
use keel_balance::CheckFault;
use keel_tls::Stream;

use super::BODY_MAX;
use super::plan::HttpProbe;
use super::probe::Answer;

/// Most bytes of an answer's head.
const HEAD_MAX: u32 = 16 * 1024;

/// How long the goodbye (GOAWAY) may take.
const GOODBYE: Duration = Duration::from_millis(100);

/// An answer with what HTTP/2 has beside status and body.
#[derive(Debug, Default)]
pub(super) struct Answer2 {
    pub(super) head: HeaderMap,
    pub(super) trailers: HeaderMap,
    pub(super) answer: Answer,
}

/// Asks, and reads the answer.
pub(super) async fn run(
    probe: &HttpProbe,
    authority: &str,
    stream: Stream,
) -> Result<Answer, CheckFault> {
    let mut request =
        Request::builder()
            .method(probe.method.as_str())
            .uri(uri(&stream, authority, &probe.path));
    for (name, value) in [("user-agent", "evenkeel-check"), ("accept", "*/*")] {
        if !probe.has_header(name) {
            request = request.header(name, value);
        }
    }
    for (name, value) in &probe.headers {
        request = request.header(name.as_str(), value.as_str());
    }
    if probe.tells_length() {
        request = request.header("content-length", "0");
    }
    let request = request.body(()).map_err(unsendable)?;
    Ok(call(stream, request, None).await?.answer)
}

/// The target with the scheme that the connection has.
pub(super) fn uri(stream: &Stream, authority: &str, path: &str) -> String {
    let scheme = if stream.is_tls() { "https" } else { "http" };
    format!("{scheme}://{authority}{path}")
}

/// A request that the configuration should not have let through.
pub(super) fn unsendable(error: http::Error) -> CheckFault {
    CheckFault::Answer(format!("the request cannot be sent: {error}").into())
}

/// Sends a request with its body and reads the answer.
pub(super) async fn call(
    stream: Stream,
    request: Request<()>,
    body: Option<Bytes>,
) -> Result<Answer2, CheckFault> {
    let (send, connection) = Builder::new()
        .enable_push(false)
        .max_header_list_size(HEAD_MAX)
        .initial_window_size(BODY_MAX as u32)
        .handshake(stream)
        .await
        .map_err(broken)?;
    let mut connection = pin!(connection);
    let mut asked = pin!(ask(send, request, body));
    let mut ended = false;
    let answer = poll_fn(|cx| {
        // Its errors come out of the stream as well.
        ended = ended || connection.as_mut().poll(cx).is_ready();
        match asked.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            done => done,
        }
    })
    .await;
    if !ended {
        let _ = tokio::time::timeout(GOODBYE, connection).await;
    }
    answer
}

async fn ask(
    send: SendRequest<Bytes>,
    request: Request<()>,
    body: Option<Bytes>,
) -> Result<Answer2, CheckFault> {
    let mut send = send.ready().await.map_err(broken)?;
    let (answer, mut out) = send.send_request(request, body.is_none()).map_err(broken)?;
    if let Some(body) = body {
        out.send_data(body, true).map_err(broken)?;
    }
    let (parts, mut body) = answer.await.map_err(broken)?.into_parts();
    let mut all = Answer2 {
        head: parts.headers,
        ..Answer2::default()
    };
    all.answer.status = parts.status.as_u16();
    while let Some(data) = body.data().await {
        let data = data.map_err(broken)?;
        let room = BODY_MAX - all.answer.body.len();
        all.answer
            .body
            .extend_from_slice(data.get(..room).unwrap_or(&data));
        if data.len() > room {
            all.answer.cut = true;
            return Ok(all);
        }
        body.flow_control()
            .release_capacity(data.len())
            .map_err(broken)?;
    }
    all.trailers = body.trailers().await.map_err(broken)?.unwrap_or_default();
    Ok(all)
}

fn broken(error: h2::Error) -> CheckFault {
    match error.is_io() {
        true => CheckFault::Closed,
        false => CheckFault::Answer(format!("HTTP/2: {error}").into()),
    }
}
