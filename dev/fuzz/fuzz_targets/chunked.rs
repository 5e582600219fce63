//! Chunked bodies: the cut of the input changes nothing, and what was decoded can be encoded again.
#![no_main]

use keel_fuzz::decode_chunked;
use keel_http::write_chunk_size;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = decode_chunked(data, || usize::MAX);
    assert_eq!(whole, decode_chunked(data, || 1));
    let mut sizes = data.iter().rev().map(|&b| usize::from(b)).cycle();
    assert_eq!(whole, decode_chunked(data, || sizes.next().unwrap_or(7)));

    let Some((body, used, trailers)) = whole else {
        return;
    };
    assert!(used <= data.len() && body.len() < used);
    let mut again = Vec::new();
    for chunk in body.chunks(13) {
        write_chunk_size(&mut again, chunk.len());
        again.extend_from_slice(chunk);
        again.extend_from_slice(b"\r\n");
    }
    again.extend_from_slice(b"0\r\n");
    again.extend_from_slice(&trailers);
    again.extend_from_slice(b"\r\n");
    let len = again.len();
    assert_eq!(decode_chunked(&again, || 5), Some((body, len, trailers)));
});
