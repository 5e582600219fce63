//! The body of one stream, both ways.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Response;
use keel_net::Buf;

use super::guarded::Watch;
use super::heads::{trailer_map, write_trailers};
use super::inbox::Received;

/// What a stream of HTTP/2 brings and takes, whichever side of us it is on.
#[derive(Debug, Default)]
pub struct H2Body {
    /// What the far end sends; unset until its head was there.
    recv: Option<Received>,
    /// What we send; unset until our head went out.
    send: Option<SendStream<Bytes>>,
    /// Answers the client, when the far end is one.
    respond: Option<SendResponse<Bytes>>,
    /// Gives the server's answer, when the far end is one.
    answer: Option<ResponseFuture>,
    /// The part of a DATA frame that did not fit where it was read to.
    left: Bytes,
    /// Field lines that came after the body.
    trailers: Vec<u8>,
    /// We said all that we have to say.
    ended: bool,
}

impl H2Body {
    /// A stream that a client opened.
    pub fn of_client(recv: RecvStream, respond: SendResponse<Bytes>, watch: Rc<Watch>) -> H2Body {
        let stream = respond.stream_id().as_u32();
        H2Body {
            recv: Some(Received::of_client(stream, recv, watch)),
            respond: Some(respond),
            ..H2Body::default()
        }
    }

    /// A stream that we opened to a server; `ended` when the head was all of the request.
    pub fn to_server(answer: ResponseFuture, send: SendStream<Bytes>, ended: bool) -> H2Body {
        H2Body {
            answer: Some(answer),
            send: Some(send),
            ended,
            ..H2Body::default()
        }
    }

    /// Sends the head of the final answer to the client; `ended` when nothing follows it.
    pub fn send_answer(&mut self, head: Response<()>, ended: bool) -> io::Result<()> {
        let respond = self.respond.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        self.send = Some(respond.send_response(head, ended).map_err(as_io)?);
        self.ended = ended;
        Ok(())
    }

    /// Sends an interim answer to the client.
    pub fn send_interim(&mut self, head: Response<()>) -> io::Result<()> {
        let respond = self.respond.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        respond.send_informational(head).map_err(as_io)
    }

    /// The head of the server's next answer, an interim one or the final one, whose body can be
    /// read from then on.
    pub fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(http::response::Parts, bool), h2::Error>> {
        let Some(answer) = &mut self.answer else {
            return Poll::Pending;
        };
        if let Poll::Ready(Some(interim)) = answer.poll_informational(cx) {
            return Poll::Ready(interim.map(|head| (head.into_parts().0, false)));
        }
        let (head, recv) = ready!(Pin::new(answer).poll(cx))?.into_parts();
        let ended = recv.is_end_stream();
        self.answer = None;
        self.recv = Some(Received::Plain(recv));
        Poll::Ready(Ok((head, ended)))
    }

    /// Reads what has come of the body; 0 is its end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut Buf) -> Poll<io::Result<usize>> {
        let Some(recv) = &mut self.recv else {
            return Poll::Pending;
        };
        loop {
            if !self.left.is_empty() {
                let n = buf.append(&self.left);
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::StorageFull.into()));
                }
                self.left.advance(n);
                // Only what has left our memory makes room in the far end's window.
                recv.release(n);
                return Poll::Ready(Ok(n));
            }
            match ready!(recv.poll_data(cx)) {
                Some(Ok(data)) => self.left = data,
                Some(Err(error)) => return Poll::Ready(Err(as_io(error))),
                None => break,
            }
        }
        let sound = match ready!(recv.poll_trailers(cx)) {
            Ok(Some(trailers)) => write_trailers(&trailers, &mut self.trailers).is_ok(),
            Ok(None) => true,
            Err(Some(error)) => return Poll::Ready(Err(as_io(error))),
            Err(None) => false,
        };
        if !sound {
            self.reset(Reason::PROTOCOL_ERROR);
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(0))
    }

    /// The field lines that came after the body.
    pub fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers)
    }

    /// Whether the far end has sent all that it will, and no trailers.
    pub fn is_received(&self) -> bool {
        self.left.is_empty()
            && self.trailers.is_empty()
            && self.recv.as_ref().is_some_and(Received::is_end_stream)
    }

    /// Sends as much of the parts as the far end's window takes. With `last`, the message ends when
    /// all of them are taken.
    pub fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: [&[u8]; 3],
        last: bool,
    ) -> Poll<io::Result<usize>> {
        let Some(send) = &mut self.send else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        if self.ended || wanted == 0 {
            return Poll::Ready(if wanted == 0 {
                Ok(0)
            } else {
                Err(io::ErrorKind::BrokenPipe.into())
            });
        }
        send.reserve_capacity(wanted);
        let mut room = send.capacity();
        while room == 0 {
            match ready!(send.poll_capacity(cx)) {
                Some(Ok(more)) => room = more,
                Some(Err(error)) => return Poll::Ready(Err(as_io(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let taken = room.min(wanted);
        let mut data = BytesMut::with_capacity(taken);
        for part in parts {
            let n = part.len().min(taken - data.len());
            data.extend_from_slice(part.get(..n).unwrap_or(&[]));
        }
        let ends = last && taken == wanted;
        send.send_data(data.freeze(), ends).map_err(as_io)?;
        self.ended = ends;
        Poll::Ready(Ok(taken))
    }

    /// Ends the message, with field lines behind the body when there are any.
    pub fn end(&mut self, trailers: &[u8]) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        let Some(send) = &mut self.send else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        self.ended = true;
        if trailers.is_empty() {
            send.send_data(Bytes::new(), true).map_err(as_io)
        } else {
            send.send_trailers(trailer_map(trailers)).map_err(as_io)
        }
    }

    /// Whether we said all that we had to say.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Ends the stream at once, in the middle of whatever was going on.
    pub fn reset(&mut self, reason: Reason) {
        match (&mut self.send, &mut self.respond) {
            (Some(send), _) => send.send_reset(reason),
            (None, Some(respond)) => respond.send_reset(reason),
            (None, None) => {}
        }
    }

    /// Fails when the client has given the stream up.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let gone = match (&mut self.send, &mut self.respond) {
            (Some(send), _) if !self.ended => send.poll_reset(cx).is_ready(),
            (None, Some(respond)) => respond.poll_reset(cx).is_ready(),
            _ => false,
        };
        match gone {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

/// An error of the library as one of a stream's.
pub(super) fn as_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
