//! Framing: from the bytes of a source to the parts that a sink is given.

use keel_http::write_chunk_size;
use keel_net::Buf;

use super::parts::{Decode, Encode, RelayFault, decode_chunks, write_body_end};
use super::{COPY_MAX, Relay};

impl Relay {
    /// Takes what is in `input` as data of the body and prepares the parts to write. `first` is set
    /// for what came with the head: whether the source says that nothing follows.
    pub(super) fn decode_into_parts(
        &mut self,
        input: &mut Buf,
        first: Option<bool>,
    ) -> Result<(), RelayFault> {
        debug_assert!(
            self.data_len == 0 && self.raw_len == 0,
            "decoding over unwritten data"
        );
        self.taken = true;
        match &mut self.decode {
            Decode::Fixed(left) => {
                let n = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                *left -= n as u64;
                (self.data_len, self.raw_len) = (n, n);
                let ended = *left == 0;
                self.frame_data(input, first.is_some() && ended)?;
                if ended {
                    self.end_of_body(&[])?;
                }
            }
            Decode::UntilClose => {
                (self.data_len, self.raw_len) = (input.len(), input.len());
                self.frame_data(input, false)?;
            }
            Decode::Stream(left) => {
                if let Some(left) = left {
                    *left = left
                        .checked_sub(input.len() as u64)
                        .ok_or(RelayFault::Cut)?;
                }
                (self.data_len, self.raw_len) = (input.len(), input.len());
                let over = matches!(self.decode, Decode::Stream(None | Some(0)));
                self.frame_data(input, over && first == Some(true))?;
            }
            Decode::Chunked(decoder) => {
                let (data_len, raw_len, ended) = decode_chunks(decoder, input.filled_mut())?;
                (self.data_len, self.raw_len) = (data_len, raw_len);
                self.frame_data(input, first.is_some() && ended)?;
                if ended {
                    let trailers = match &self.decode {
                        Decode::Chunked(decoder) => decoder.trailers().to_vec(),
                        _ => Vec::new(),
                    };
                    self.end_of_body(&trailers)?;
                }
            }
        }
        self.settle(input, first.is_some());
        Ok(())
    }

    /// Writes the framing around the data that was decoded. A body that is `whole` stays in the prefix
    /// when it is small, and need not be kept a second time.
    fn frame_data(&mut self, input: &Buf, whole: bool) -> Result<(), RelayFault> {
        if let Some(web) = &mut self.web {
            let data = input.filled().get(..self.data_len).unwrap_or(&[]);
            let mut made = Vec::new();
            web.data(data, &mut made)?;
            self.data_len = 0;
            self.body_bytes += made.len() as u64;
            if self.body_bytes > self.body_bytes_max {
                return Err(RelayFault::TooLarge);
            }
            self.replay.keep(&made);
            if self.encode == Encode::Chunked && !made.is_empty() {
                write_chunk_size(&mut self.prefix, made.len());
                self.suffix.extend_from_slice(b"\r\n");
            }
            self.prefix.append(&mut made);
            self.prefix.append(&mut self.suffix);
            return Ok(());
        }
        self.body_bytes += self.data_len as u64;
        if self.body_bytes > self.body_bytes_max {
            return Err(RelayFault::TooLarge);
        }
        if self.replay.is_wanted() && !(whole && self.data_len <= COPY_MAX) {
            self.replay
                .keep(input.filled().get(..self.data_len).unwrap_or(&[]));
        }
        if self.encode == Encode::Chunked && self.data_len > 0 {
            write_chunk_size(&mut self.prefix, self.data_len);
            self.suffix.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// The source has given all of the body and then `trailers`.
    pub(super) fn end_of_body(&mut self, trailers: &[u8]) -> Result<(), RelayFault> {
        self.source_ended = true;
        let mut trailers = trailers;
        if let Some(web) = &mut self.web {
            let mut made = Vec::new();
            web.end(trailers, &mut made)?;
            trailers = &[];
            self.body_bytes += made.len() as u64;
            self.replay.keep(&made);
            let framed = self.encode == Encode::Chunked && !made.is_empty();
            if framed {
                write_chunk_size(&mut self.suffix, made.len());
            }
            self.suffix.append(&mut made);
            if framed {
                self.suffix.extend_from_slice(b"\r\n");
            }
        }
        self.replay.keep_trailers(trailers);
        self.trailers = write_body_end(self.encode, trailers, &mut self.suffix);
        Ok(())
    }

    /// Small data joins the prefix, so that one plain write does, and so does the `first`, so that it
    /// can be sent again; data that is nothing but framing leaves the input at once.
    fn settle(&mut self, input: &mut Buf, first: bool) {
        let joins = self.data_len <= COPY_MAX && (first || !self.prefix.is_empty());
        if joins && let Some(data) = input.filled().get(..self.data_len) {
            self.prefix.extend_from_slice(data);
            self.prefix.append(&mut self.suffix);
            self.data_len = 0;
        }
        if self.data_len == 0 {
            input.consume(self.raw_len);
            self.raw_len = 0;
        }
    }
}
