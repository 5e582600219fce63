//! Fills `corpus/` from a folder of public test data: `cargo run --example seed -- CORPORA`.
//!
//! `CORPORA` holds `fuzz-seeds/h2o/http1-corpus` (raw conversations) and `http1/{gunicorn,llhttp,http11probe,libhtp}`
//! (pages and escaped files; the escapes are undone roughly, since a seed needs no verdict); of HTTP/2,
//! `fuzz-seeds/h2o/http2-corpus` and `fuzz-seeds/nghttp2/corpus` (what a client sent on a connection, with the preface).
#![forbid(unsafe_code)]

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let Some(root) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: seed CORPORA");
        std::process::exit(2);
    };
    let (mut inputs, mut written) = (Vec::new(), 0);
    for file in files(&root.join("fuzz-seeds"))? {
        let has = |word| {
            file.components()
                .any(|part| part.as_os_str().to_string_lossy().contains(word))
        };
        if has("http1") {
            inputs.push(fs::read(&file)?);
        } else if has("http2") {
            for seed in h2_seeds(&fs::read(&file)?) {
                written += write("h2_connection", &seed)?;
            }
        }
    }
    for file in files(&root.join("http1"))? {
        let bytes = fs::read(&file)?;
        match file.extension().and_then(|e| e.to_str()) {
            Some("http") => inputs.push(unescape(&without(&bytes, b'\n'))),
            Some("md") => inputs.extend(blocks(&bytes)),
            Some("t") => inputs.extend(halves(&bytes)),
            _ => {}
        }
    }
    for input in &inputs {
        for (target, seed) in seeds(input) {
            written += write(target, &seed)?;
        }
    }
    println!("{} inputs, {written} seeds", inputs.len());
    Ok(())
}

/// The seeds that one conversation gives.
fn seeds(input: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut out = vec![("head", input.to_vec()), ("hyper", input.to_vec())];
    if input.windows(5).any(|w| w == b"HTTP/") && input.starts_with(b"HTTP") {
        out = vec![("response", [b"\x02", input].concat())];
    }
    if let Some(at) = input.windows(4).position(|w| w == b"\r\n\r\n") {
        out.push(("chunked", input[at + 4..].to_vec()));
    }
    let mut words = input.split(|&b| b == b' ');
    if let (Some(_), Some(target)) = (words.next(), words.next()) {
        out.push(("target", target.to_vec()));
    }
    out
}

/// One connection of HTTP/2 as that of a client and, without the preface, as that of a server. Before it stands how the
/// target goes about it; the length makes that differ from seed to seed.
fn h2_seeds(input: &[u8]) -> Vec<Vec<u8>> {
    let number = (input.len() as u32).wrapping_mul(0x9e37_79b1).to_be_bytes();
    let [_, cut, seed, acts] = number;
    let mut out = vec![[&[2, cut, seed, acts], input].concat()];
    if let Some(rest) = input.strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") {
        out.push([&[3, cut, seed, acts], rest].concat());
    }
    out
}

fn write(target: &str, seed: &[u8]) -> io::Result<usize> {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("seed-{:016x}", hasher.finish())), seed)?;
    Ok(1)
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            out.extend(files(&path)?)
        } else {
            out.push(path)
        }
    }
    Ok(out)
}

fn without(bytes: &[u8], byte: u8) -> Vec<u8> {
    bytes.iter().copied().filter(|&b| b != byte).collect()
}

/// The code blocks of a page, once with real line breaks as CRLF and once without them.
fn blocks(page: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(page);
    let mut out = Vec::new();
    for block in text.split("```http\n").skip(1) {
        let body = block.split("\n```").next().unwrap_or_default();
        out.push(unescape(
            body.replace("\\\n", "").replace('\n', "\r\n").as_bytes(),
        ));
        out.push(unescape(&without(body.as_bytes(), b'\n')));
    }
    out
}

/// The two sides of a recorded conversation.
fn halves(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        if line.starts_with(b">>>") || line.starts_with(b"<<<") {
            out.push(Vec::new());
        } else if let Some(last) = out.last_mut() {
            last.extend_from_slice(line);
        }
    }
    out
}

/// Undoes `\r`, `\n`, `\t`, `\0` and `\xHH`.
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let [b, tail @ ..] = rest {
        rest = tail;
        let (byte, skip) = match (b, tail) {
            (b'\\', [b'r', ..]) => (b'\r', 1),
            (b'\\', [b'n', ..]) => (b'\n', 1),
            (b'\\', [b't', ..]) => (b'\t', 1),
            (b'\\', [b'0', ..]) => (0, 1),
            (b'\\', [b'x', high, low, ..]) => {
                let digits = [*high, *low];
                let text = std::str::from_utf8(&digits).unwrap_or("0");
                (u8::from_str_radix(text, 16).unwrap_or(b'?'), 3)
            }
            _ => (*b, 0),
        };
        out.push(byte);
        rest = rest.get(skip..).unwrap_or_default();
    }
    out
}
