//! A check by a text that is sent and one that must come back: SMTP, Redis, and the like.

use keel_balance::CheckFault;
use keel_tls::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::BODY_MAX;
use super::plan::Exchange;

/// Most reads: an answer that trickles in byte by byte is looked through anew with every one.
const READS_MAX: usize = 256;

/// Sends, and reads until what is expected has come.
pub(super) async fn run(exchange: &Exchange, mut stream: Stream) -> Result<(), CheckFault> {
    if !exchange.send.is_empty() {
        let sent = stream.write_all(&exchange.send).await;
        sent.map_err(|_| CheckFault::Closed)?;
    }
    let Some(expect) = &exchange.expect else {
        return Ok(());
    };
    let mut answer = Vec::new();
    for _ in 0..READS_MAX {
        let room = (BODY_MAX - answer.len()) as u64;
        let read = (&mut stream).take(room).read_buf(&mut answer).await;
        if expect.holds(&answer) {
            return Ok(());
        }
        match read {
            Err(_) | Ok(0) if answer.is_empty() => return Err(CheckFault::Closed),
            Err(_) | Ok(0) => break,
            Ok(_) => {}
        }
    }
    Err(expect.missing(&answer))
}
