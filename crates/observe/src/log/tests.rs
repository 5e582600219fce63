//! The whole path of lines: buffer, queue, thread, destination.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use keel_http::template::{Var, Variables};

mod troubles;

const SOON: Duration = Duration::from_secs(20);
const AT_MS: u64 = 1_795_209_121_042;

/// Values of one request; everything not named is missing.
struct Request<'a>(&'a [u8]);

impl Variables for Request<'_> {
    fn write(&self, var: &Var, out: &mut Vec<u8>) -> bool {
        match var {
            Var::RemoteAddr => out.extend_from_slice(b"192.0.2.7"),
            Var::Request => out.extend_from_slice(self.0),
            Var::Status => out.extend_from_slice(b"200"),
            Var::BodyBytesSent => out.extend_from_slice(b"612"),
            Var::Http(name) if name == "user-agent" => out.extend_from_slice(self.0),
            _ => return false,
        }
        true
    }
}

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("keel-observe-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn spec(destination: Destination, format: &str) -> LogSpec {
    LogSpec {
        name: "main".into(),
        destination,
        format: format.into(),
        facility: Facility::default(),
        tag: SyslogTag::default(),
    }
}

fn to_file(path: &Path) -> LogSpec {
    spec(Destination::File(path.to_owned()), "$request")
}

fn writer(limits: LogLimits) -> LogWriter {
    LogWriter::start(limits, UtcOffset::UTC).unwrap()
}

fn only_stats(writer: &LogWriter) -> LogStats {
    let mut stats = writer.stats();
    assert_eq!(stats.len(), 1);
    stats.remove(0)
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "torn: {:?}",
        &text[text.len() - 40..]
    );
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_combined_line_is_as_nginx_writes_it() {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let writer = writer(LogLimits::default());
    let log = writer
        .open(&spec(Destination::File(path.clone()), "combined"))
        .unwrap();
    let mut buffer = writer.buffer();
    buffer.write(&log, AT_MS, &Request(b"GET / HTTP/1.1"));
    assert!(!buffer.is_empty());
    buffer.flush();
    assert!(buffer.is_empty());
    writer.flush(SOON).unwrap();
    assert_eq!(
        lines(&path),
        [concat!(
            r#"192.0.2.7 - - [20/Nov/2026:21:12:01 +0000] "GET / HTTP/1.1" 200 612 "-" "#,
            r#""GET / HTTP/1.1""#
        )]
    );
    assert_eq!(only_stats(&writer).lines_written, 1);
}

#[test]
fn dropping_the_buffer_and_stopping_writes_everything() {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let writer = writer(LogLimits::default());
    let log = writer.open(&to_file(&path)).unwrap();
    let mut buffer = writer.buffer();
    for n in 0..5000 {
        buffer.write(&log, AT_MS, &Request(format!("line {n}").as_bytes()));
    }
    drop(buffer);
    writer.shutdown(SOON).unwrap();
    assert_eq!(lines(&path).len(), 5000);
    // Later lines find no writer: counted, not an error.
    let mut late = writer.buffer();
    late.write(&log, AT_MS, &Request(b"late"));
    late.flush();
    assert_eq!(only_stats(&writer).lines_dropped, 1);
    writer.shutdown(SOON).unwrap();
}

#[test]
fn closing_a_buffer_waits_for_room() {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let writer = writer(LogLimits {
        queue_chunks: 1,
        ..LogLimits::default()
    });
    let log = writer.open(&to_file(&path)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut buffer = writer.buffer();
                buffer.write(&log, AT_MS, &Request(b"x"));
                buffer.close(SOON).unwrap();
            });
        }
    });
    writer.flush(SOON).unwrap();
    assert_eq!(lines(&path).len(), 8);
}

#[test]
fn rename_and_reopen_under_load_lose_nothing() {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let limits = LogLimits {
        queue_chunks: 4096,
        chunk_bytes: 256,
        ..LogLimits::default()
    };
    let writer = writer(limits);
    let log = writer.open(&to_file(&path)).unwrap();
    const WORKERS: usize = 3;
    const LINES: usize = 4000;
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (writer, log) = (&writer, &log);
            scope.spawn(move || {
                let mut buffer = writer.buffer();
                for n in 0..LINES {
                    buffer.write(log, AT_MS, &Request(format!("{worker} {n}").as_bytes()));
                    if n % 200 == 0 {
                        std::thread::sleep(Duration::from_micros(300));
                    }
                }
                buffer.close(SOON).unwrap();
            });
        }
        for turn in 0..20 {
            fs::rename(&path, folder.path(&format!("access.log.{turn:02}"))).unwrap();
            writer.reopen();
            writer.flush(SOON).unwrap();
            assert!(path.exists());
        }
    });
    writer.shutdown(SOON).unwrap();
    let mut files: Vec<_> = fs::read_dir(&folder.0)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    // access.log is the newest; the numbered ones follow it by name, oldest first.
    files.sort();
    files.rotate_left(1);
    assert_eq!(files.len(), 21);
    let all: Vec<String> = files.iter().flat_map(|file| lines(file)).collect();
    for worker in 0..WORKERS {
        let mine = all
            .iter()
            .filter_map(|line| line.strip_prefix(&format!("{worker} ")));
        let numbers: Vec<usize> = mine.map(|n| n.parse().unwrap()).collect();
        assert_eq!(numbers, (0..LINES).collect::<Vec<_>>());
    }
    let stats = only_stats(&writer);
    assert_eq!(
        (stats.lines_written, stats.lines_dropped),
        ((WORKERS * LINES) as u64, 0)
    );
}

#[test]
fn a_failed_reopen_keeps_the_old_file() {
    let folder = Folder::new();
    fs::create_dir(folder.path("sub")).unwrap();
    let path = folder.path("sub/access.log");
    let writer = writer(LogLimits::default());
    let log = writer.open(&to_file(&path)).unwrap();
    let moved = folder.path("gone");
    fs::rename(folder.path("sub"), &moved).unwrap();
    writer.reopen();
    let mut buffer = writer.buffer();
    buffer.write(&log, AT_MS, &Request(b"still here"));
    drop(buffer);
    writer.flush(SOON).unwrap();
    assert_eq!(lines(&moved.join("access.log")), ["still here"]);
    assert_eq!(only_stats(&writer).errors, 1);
}

#[test]
fn two_logs_with_one_destination_share_it() {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let writer = writer(LogLimits::default());
    let plain = writer.open(&to_file(&path)).unwrap();
    let braces = writer
        .open(&spec(plain_destination(&path), "<$request>"))
        .unwrap();
    let mut buffer = writer.buffer();
    for log in [&plain, &braces, &plain] {
        buffer.write(log, AT_MS, &Request(b"x"));
    }
    drop(buffer);
    writer.flush(SOON).unwrap();
    assert_eq!(lines(&path), ["x", "<x>", "x"]);
    assert_eq!(plain.name(), "main");
    // Counters survive the destination being closed and opened again, as over reloads.
    drop((plain, braces));
    writer.flush(SOON).unwrap();
    writer.open(&to_file(&path)).unwrap();
    assert_eq!(only_stats(&writer).lines_written, 3);
}

fn plain_destination(path: &Path) -> Destination {
    Destination::File(path.to_owned())
}

#[test]
fn opening_says_what_is_wrong() {
    let folder = Folder::new();
    let writer = writer(LogLimits::default());
    let fault = writer
        .open(&to_file(&folder.path("no/such/dir.log")))
        .unwrap_err()
        .to_string();
    assert!(
        fault.contains("`main`") && fault.contains("no/such/dir.log"),
        "{fault}"
    );
    assert!(fault.contains("No such file or directory"), "{fault}");
    assert!(matches!(
        writer.open(&to_file(&folder.0)),
        Err(LogFault::Open { .. })
    ));
    let fault = writer
        .open(&spec(Destination::Stdout, "combine"))
        .unwrap_err();
    assert!(matches!(fault, LogFault::Format { .. }), "{fault}");
}

#[test]
fn a_line_that_is_too_long_is_cut() {
    let folder = Folder::new();
    let path = folder.path("access.log");
    let writer = writer(LogLimits {
        line_bytes: 10,
        ..LogLimits::default()
    });
    let log = writer.open(&to_file(&path)).unwrap();
    let mut buffer = writer.buffer();
    buffer.write(&log, AT_MS, &Request(b"0123456789abc"));
    drop(buffer);
    writer.flush(SOON).unwrap();
    assert_eq!(lines(&path), ["0123456789"]);
    assert_eq!(only_stats(&writer).lines_truncated, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_peers_send_stays_inside_its_quotes(value: Vec<u8>) {
        let folder = Folder::new();
        let path = folder.path("access.log");
        let writer = writer(LogLimits::default());
        let log = writer.open(&spec(plain_destination(&path), "\"$request\"")).unwrap();
        let mut buffer = writer.buffer();
        buffer.write(&log, AT_MS, &Request(&value));
        drop(buffer);
        writer.shutdown(SOON).unwrap();
        let bytes = fs::read(&path).unwrap();
        prop_assert_eq!(bytes.iter().filter(|b| **b == b'"').count(), 2);
        prop_assert_eq!(bytes.iter().filter(|b| b.is_ascii_control()).count(), 1);
        prop_assert!(bytes.starts_with(b"\"") && bytes.ends_with(b"\"\n"));
    }

    #[test]
    fn every_line_is_written_or_counted(
        sizes in prop::collection::vec(1usize..400, 1..300),
        queue_chunks in 1usize..8,
        chunk_bytes in 1usize..2000,
        flush_every in 1usize..50,
    ) {
        let folder = Folder::new();
        let path = folder.path("access.log");
        let limits = LogLimits { queue_chunks, chunk_bytes, ..LogLimits::default() };
        let writer = writer(limits);
        let log = writer.open(&to_file(&path)).unwrap();
        let mut buffer = writer.buffer();
        for (n, size) in sizes.iter().enumerate() {
            buffer.write(&log, AT_MS, &Request(format!("{n} {}", "x".repeat(*size)).as_bytes()));
            if n % flush_every == 0 {
                buffer.flush();
            }
        }
        drop(buffer);
        writer.shutdown(SOON).unwrap();
        let stats = only_stats(&writer);
        let got = lines(&path);
        prop_assert_eq!(stats.lines_written, got.len() as u64);
        prop_assert_eq!(stats.lines_written + stats.lines_dropped, sizes.len() as u64);
        let mut last = None;
        for line in got {
            let (n, text) = line.split_once(' ').unwrap();
            let n: usize = n.parse().unwrap();
            prop_assert_eq!(text.len(), sizes[n]);
            prop_assert!(last < Some(n));
            last = Some(n);
        }
    }
}
