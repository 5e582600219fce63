//! Instructions that evenkeel spends in user space on a whole request: the real binary under callgrind, one keep-alive
//! connection, one request at a time. As in [`crate::callgrind`], the difference of two runs leaves start and stop out.
//!
//! Unlike the counts of the pure cores these wobble by a per cent or so: timers fire by the clock.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bed::Origins;
use crate::callgrind::{Counts, rounded};
use crate::cores::Cores;
use crate::document::Document;
use crate::process::check_interrupt;
use crate::profile;
use crate::proxy::{Features, Programs, ProxyKind, Running, Setup};
use crate::wire;

/// The two numbers of requests.
const REQUESTS: [usize; 2] = [500, 2_500];
/// Time for an answer, and for the end of the process, under valgrind.
const PATIENCE: Duration = Duration::from_secs(60);

/// The source file that writes heads; its instructions are counted apart.
const HEAD_WRITER: &str = "l7/src/heads.rs";

/// What is asked of the binary, by name.
const WHOLE: [(&str, Features); 2] = [
    (
        "plain",
        Features {
            routes: 0,
            header_edits: false,
            access_log: false,
            metrics: false,
        },
    ),
    (
        "full",
        Features {
            routes: 1000,
            header_edits: true,
            access_log: true,
            metrics: true,
        },
    ),
];

/// Names of what is counted: whole requests, and within them the writing of both heads (the writer's own lines, without
/// the copying functions that it calls).
pub fn names() -> Vec<String> {
    WHOLE
        .iter()
        .flat_map(|(name, _)| [request_name(name), head_name(name)])
        .collect()
}

fn request_name(name: &str) -> String {
    format!("request/{name}")
}

fn head_name(name: &str) -> String {
    format!("head/write/{name}")
}

/// Instructions of one run.
struct Run {
    total: i64,
    head_writer: i64,
}

/// Counts everything.
pub fn count(programs: &Programs, scratch: &Path) -> Result<Counts> {
    let [few, many] = REQUESTS;
    let mut counts = Counts::new();
    for (name, features) in WHOLE {
        let (short, long) = (
            run(features, few, programs, scratch)?,
            run(features, many, programs, scratch)?,
        );
        let each = |difference: i64| rounded(difference as f64 / (many - few) as f64);
        counts.insert(request_name(name), each(long.total - short.total));
        counts.insert(head_name(name), each(long.head_writer - short.head_writer));
    }
    Ok(counts)
}

fn run(features: Features, requests: usize, programs: &Programs, scratch: &Path) -> Result<Run> {
    let out = scratch.join("callgrind.whole");
    let wrapper = [
        "valgrind".into(),
        "--tool=callgrind".into(),
        "--quiet".into(),
        format!("--callgrind-out-file={}", out.display()),
    ];
    let programs = Programs {
        wrapper: wrapper.map(Into::into).to_vec(),
        ..programs.clone()
    };
    let cores = Cores::of_machine(1);
    let origins = Origins::start(3, &cores)?;
    let mut setup = Setup::plain(&origins.addresses);
    setup.features = features;
    let running = Running::start(ProxyKind::Evenkeel, &programs, &setup, &cores.proxy)?;
    let path = crate::bed::paths(&setup, Document::Small).swap_remove(0);
    ask(running.address, &path, requests)?;
    running.stop(PATIENCE)?;
    let text = fs::read_to_string(&out).context("callgrind wrote no file")?;
    let total = profile::total(&text).context("callgrind's file has no total")?;
    let head_writer = profile::of_file(&text, HEAD_WRITER);
    ensure!(
        head_writer > 0,
        "nothing ran in {HEAD_WRITER}: was it moved, or built without line tables?"
    );
    Ok(Run { total, head_writer })
}

/// So many requests on one connection, one after the other.
fn ask(address: SocketAddr, path: &str, requests: usize) -> Result<()> {
    let mut stream = TcpStream::connect(address).context("cannot connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = wire::get(path, "bench.example", false);
    let mut buffer = vec![0; 64 << 10];
    for _ in 0..requests {
        check_interrupt()?;
        stream.write_all(&request)?;
        let mut filled = 0;
        loop {
            let count = stream.read(&mut buffer[filled..])?;
            ensure!(count > 0, "the connection was closed");
            filled += count;
            let head = wire::answer_head(&buffer[..filled])
                .ok()
                .context("not an answer")?;
            let Some(head) = head else { continue };
            ensure!(head.status == 200, "status {}", head.status);
            ensure!(
                head.body == wire::Body::Length(Document::Small.bytes()),
                "not the document"
            );
            if (filled - head.len) as u64 == Document::Small.bytes() {
                break;
            }
        }
    }
    Ok(())
}
