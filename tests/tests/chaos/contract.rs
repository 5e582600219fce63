//! What a request asks for and what its answer has to be; known to clients and servers alike.
//!
//! Each request has an id in `X-Id`. `/echo` and `/do` are answered with the id and a line feed, `/big/N` with N bytes of
//! it, over and over; a request's body is made in the same way. An answer says who gave it (`X-Origin`) and to
//! which request (`X-Id`), so that one that reached the wrong client is found.

/// So many bytes that belong to this id.
pub fn body(id: &str, len: usize) -> Vec<u8> {
    let line = [id.as_bytes(), b"\n"].concat();
    line.iter().copied().cycle().take(len).collect()
}

/// The short answer.
pub fn line(id: &str) -> Vec<u8> {
    [id.as_bytes(), b"\n"].concat()
}

/// The answer's body for this target.
pub fn answer(target: &str, id: &str) -> Vec<u8> {
    let len = target
        .strip_prefix("/big/")
        .and_then(|len| len.parse().ok());
    len.map_or_else(|| line(id), |len| body(id, len))
}

/// The id as text.
pub fn text(id: u64) -> String {
    format!("{id:016x}")
}
