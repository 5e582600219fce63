//! Destinations that are slow, full or gone, and syslog.

use std::fs;
use std::io::Read;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::super::*;
use super::{AT_MS, Folder, Request, SOON, lines, only_stats, spec, to_file, writer};

fn receive(socket: &UnixDatagram) -> String {
    let mut message = [0; 16 * 1024];
    let len = socket.recv(&mut message).unwrap();
    String::from_utf8(message[..len].to_vec()).unwrap()
}

/// Waits for what the writer thread does by itself.
fn until(what: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + SOON;
    while !what() {
        assert!(std::time::Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_slow_pipe_gets_every_line_whole_and_in_order() {
    let (mut reader, pipe) = std::io::pipe().unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", pipe.as_raw_fd()));
    let writer = writer(LogLimits::default());
    let log = writer.open(&to_file(&path)).unwrap();
    let mut buffer = writer.buffer();
    // Far more than a pipe holds, so that writing stops in the middle of lines.
    let text = "y".repeat(997);
    for n in 0..400 {
        buffer.write(&log, AT_MS, &Request(format!("{n} {text}").as_bytes()));
    }
    drop(buffer);
    assert_eq!(writer.flush(Duration::from_millis(50)), Err(LogTimeout));
    let reading = std::thread::spawn(move || {
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        all
    });
    writer.flush(SOON).unwrap();
    drop((writer, log, pipe));
    let all = reading.join().unwrap();
    let got: Vec<&str> = all.lines().collect();
    assert_eq!(got.len(), 400);
    for (n, line) in got.iter().enumerate() {
        assert_eq!(*line, format!("{n} {text}"));
    }
}

#[test]
fn a_line_cut_off_in_one_file_is_whole_in_the_next() {
    let folder = Folder::new();
    let path = folder.path("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let reader = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let writer = writer(LogLimits::default());
    let log = writer.open(&to_file(&path)).unwrap();
    let mut buffer = writer.buffer();
    let text = "z".repeat(997);
    for n in 0..100 {
        buffer.write(&log, AT_MS, &Request(format!("{n} {text}").as_bytes()));
    }
    drop(buffer);
    until(|| only_stats(&writer).lines_written > 0);
    assert_eq!(writer.flush(Duration::from_millis(50)), Err(LogTimeout));
    fs::remove_file(&path).unwrap();
    writer.reopen();
    writer.flush(SOON).unwrap();
    let got = lines(&path);
    let first: usize = got[0].split(' ').next().unwrap().parse().unwrap();
    assert!(first > 0 && first < 100);
    for (line, n) in got.iter().zip(first..) {
        assert_eq!(*line, format!("{n} {text}"));
    }
    assert_eq!(got.len(), 100 - first);
    drop(reader);
}

#[test]
fn a_pipe_without_reader_is_counted_and_others_go_on() {
    let folder = Folder::new();
    let (reader, pipe) = std::io::pipe().unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", pipe.as_raw_fd()));
    let writer = writer(LogLimits::default());
    let broken = writer.open(&to_file(&path)).unwrap();
    let fine = writer.open(&to_file(&folder.path("fine.log"))).unwrap();
    drop(reader);
    let mut buffer = writer.buffer();
    for log in [&broken, &fine, &broken] {
        buffer.write(log, AT_MS, &Request(b"x"));
    }
    drop(buffer);
    writer.flush(SOON).unwrap();
    let stats = writer.stats();
    let of = |path: &Path| {
        let wanted = Destination::File(path.to_owned()).to_string();
        stats
            .iter()
            .find(|stats| stats.destination == wanted)
            .unwrap()
    };
    assert_eq!((of(&path).lines_dropped, of(&path).errors), (2, 1));
    assert_eq!(of(&folder.path("fine.log")).lines_written, 1);
}

#[test]
fn a_full_disk_drops_and_is_reported_once_a_minute() {
    let (tell, told) = mpsc::channel();
    let limits = LogLimits {
        backlog_bytes: 1000,
        chunk_bytes: 100,
        ..LogLimits::default()
    };
    let report = move |trouble| tell.send(trouble).unwrap();
    let writer = LogWriter::start_reporting(limits, UtcOffset::UTC, report).unwrap();
    let log = writer.open(&to_file(Path::new("/dev/full"))).unwrap();
    let mut buffer = writer.buffer();
    let line = [b'x'; 99];
    for _ in 0..30 {
        buffer.write(&log, AT_MS, &Request(&line));
    }
    drop(buffer);
    assert_eq!(writer.flush(Duration::from_millis(100)), Err(LogTimeout));
    assert_eq!(
        writer.shutdown(Duration::from_millis(1500)),
        Err(LogTimeout)
    );
    // The channel ends with the thread.
    let troubles: Vec<Trouble> = told.iter().collect();
    let stats = only_stats(&writer);
    // Ten lines fill the backlog; they are given up at the end.
    assert_eq!((stats.lines_written, stats.lines_dropped), (0, 30));
    assert!(stats.errors >= 1);
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert_eq!(troubles[0].destination, "file:/dev/full");
    assert!(
        troubles[0]
            .error
            .as_ref()
            .unwrap()
            .contains("No space left"),
        "{troubles:?}"
    );
}

#[test]
fn a_stuck_writer_costs_lines_never_time() {
    let folder = Folder::new();
    let (release, wait) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    // The report runs on the writer thread: holding it there stops the thread.
    let report = move |_| {
        let _ = entered.send(());
        let _ = wait.recv();
    };
    let limits = LogLimits {
        queue_chunks: 4,
        chunk_bytes: 100,
        ..LogLimits::default()
    };
    let writer = LogWriter::start_reporting(limits, UtcOffset::UTC, report).unwrap();
    let gone = folder.path("gone/access.log");
    fs::create_dir(folder.path("gone")).unwrap();
    let doomed = writer.open(&to_file(&gone)).unwrap();
    let path = folder.path("access.log");
    let log = writer.open(&to_file(&path)).unwrap();
    fs::remove_dir_all(folder.path("gone")).unwrap();
    writer.reopen();
    inside.recv().unwrap();
    let mut buffer = writer.buffer();
    let line = [b'x'; 99];
    for _ in 0..50 {
        buffer.write(&log, AT_MS, &Request(&line));
    }
    buffer.flush();
    assert_eq!(writer.flush(Duration::from_millis(10)), Err(LogTimeout));
    drop(release);
    drop(buffer);
    writer.flush(SOON).unwrap();
    let written = lines(&path).len();
    assert_eq!(written, 4);
    let stats = writer
        .stats()
        .into_iter()
        .find(|s| s.destination.ends_with("y/access.log"));
    assert!(stats.is_none());
    let dropped: u64 = writer.stats().iter().map(|stats| stats.lines_dropped).sum();
    assert_eq!(dropped, 46);
    drop(doomed);
}

#[test]
fn syslog_over_a_unix_socket_survives_its_daemon() {
    let folder = Folder::new();
    let path = folder.path("log");
    let target = Destination::Syslog(SyslogTarget::Unix(path.clone()));
    let writer = writer(LogLimits::default());
    // No daemon yet: opening works, lines are kept.
    let log = writer.open(&spec(target, "$request")).unwrap();
    let mut buffer = writer.buffer();
    buffer.write(&log, AT_MS, &Request(b"early"));
    buffer.flush();
    until(|| only_stats(&writer).errors == 1);
    let daemon = UnixDatagram::bind(&path).unwrap();
    writer.flush(SOON).unwrap();
    assert_eq!(receive(&daemon), "<190>Nov 20 21:12:01 evenkeel: early");
    // The daemon is restarted: its socket vanishes and comes back.
    drop(daemon);
    fs::remove_file(&path).unwrap();
    buffer.write(&log, AT_MS, &Request(b"between"));
    buffer.flush();
    until(|| only_stats(&writer).errors == 2);
    let daemon = UnixDatagram::bind(&path).unwrap();
    writer.flush(SOON).unwrap();
    assert_eq!(receive(&daemon), "<190>Nov 20 21:12:01 evenkeel: between");
    let stats = only_stats(&writer);
    assert_eq!((stats.lines_written, stats.lines_dropped), (2, 0));
}

#[test]
fn a_slow_syslog_daemon_gets_all_messages() {
    let folder = Folder::new();
    let path = folder.path("log");
    let daemon = UnixDatagram::bind(&path).unwrap();
    let writer = writer(LogLimits::default());
    let target = Destination::Syslog(SyslogTarget::Unix(path));
    let log = writer.open(&spec(target, "$request")).unwrap();
    let mut buffer = writer.buffer();
    let long = "x".repeat(9000);
    for n in 0..2000 {
        buffer.write(&log, AT_MS, &Request(format!("{n}").as_bytes()));
    }
    buffer.write(&log, AT_MS, &Request(long.as_bytes()));
    drop(buffer);
    let head = "<190>Nov 20 21:12:01 evenkeel: ";
    for n in 0..2000 {
        assert_eq!(receive(&daemon), format!("{head}{n}"));
    }
    assert_eq!(receive(&daemon).len(), 8192);
    writer.flush(SOON).unwrap();
    let stats = only_stats(&writer);
    assert_eq!(
        (stats.lines_written, stats.lines_truncated, stats.errors),
        (2001, 1, 0)
    );
}

#[test]
fn syslog_over_udp_names_the_host() {
    let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
    daemon.set_read_timeout(Some(SOON)).unwrap();
    let target = format!("syslog:udp:{}", daemon.local_addr().unwrap());
    let writer = writer(LogLimits::default());
    let mut told = spec(target.parse().unwrap(), "$request");
    told.tag = "keel-1".parse().unwrap();
    told.facility = "local0".parse().unwrap();
    let log = writer.open(&told).unwrap();
    let mut buffer = writer.buffer();
    buffer.write(&log, AT_MS, &Request(b"hello"));
    drop(buffer);
    let mut message = [0; 1024];
    let len = daemon.recv(&mut message).unwrap();
    let text = String::from_utf8(message[..len].to_vec()).unwrap();
    let rest = text.strip_prefix("<134>Nov 20 21:12:01 ").unwrap();
    let host = rest.strip_suffix(" keel-1: hello").unwrap();
    assert!(!host.is_empty() && !host.contains([' ', '.']), "{text}");
}
