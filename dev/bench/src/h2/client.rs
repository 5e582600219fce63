//! A single GET over HTTP/2 on a connection that waits.

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};

use crate::h2::frames::{
    self, DATA, END_STREAM, FrameReader, HEADERS, Piece, RST_STREAM, WINDOW_MAX,
};
use crate::h2::requests::Request;

/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;

/// Sends a GET as the first request of a connection and gives its status and body. Fields of the answer are not read.
pub fn get(stream: &mut (impl Read + Write), path: &str, host: &str) -> Result<(u16, Vec<u8>)> {
    let mut out = frames::opening(WINDOW_MAX);
    Request::get(path, host).put(&mut out, 1);
    let mut reader = FrameReader::default();
    let mut buffer = vec![0; READ_BYTES];
    let (mut status, mut body, mut is_complete) = (None, Vec::new(), false);
    while !is_complete {
        stream.write_all(&out).context("cannot send")?;
        stream.flush().context("cannot send")?;
        out.clear();
        let count = stream
            .read(&mut buffer)
            .context("the answer does not end")?;
        ensure!(count > 0, "the connection was closed within an answer");
        reader.read(&buffer[..count], |piece| {
            let Piece {
                head,
                payload,
                is_last,
            } = piece;
            match head.kind {
                DATA => body.extend_from_slice(payload),
                HEADERS => {
                    status.get_or_insert_with(|| frames::status(head, payload));
                }
                RST_STREAM => return Err(frames::fault("RST_STREAM")),
                _ => frames::put_duty(&mut out, head, payload)?,
            }
            let is_of_answer = matches!(head.kind, DATA | HEADERS);
            is_complete |= is_of_answer && is_last && head.has(END_STREAM);
            Ok(())
        })?;
    }
    stream.write_all(&out).context("cannot send")?;
    stream.flush().context("cannot send")?;
    Ok((status.unwrap_or(0), body))
}
