//! What a process costs: CPU time from the scheduler, resident memory, spooled files.
//!
//! CPU time comes from `/proc/PID/task/*/schedstat`, whose first number is nanoseconds on a CPU. It is summed over
//! every thread of a process and of all its descendants, because nginx does its work in a child. The scheduler brings
//! the number of a running thread up to date at each tick, so a reading is late by at most one tick (4 ms at 250 Hz).
//! A thread that ends between two readings takes its time with it; none of the measured proxies ends threads under load.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Nanoseconds on a CPU from the text of a `schedstat` file (`on_cpu waiting timeslices`).
pub fn parse_schedstat(text: &str) -> Option<u64> {
    let mut numbers = text.split_ascii_whitespace();
    let on_cpu = numbers.next()?.parse().ok()?;
    let _waiting: u64 = numbers.next()?.parse().ok()?;
    let _slices: u64 = numbers.next()?.parse().ok()?;
    Some(on_cpu)
}

/// Parent's id from the text of `/proc/PID/stat`. The name, in parentheses, may itself hold spaces and parentheses.
pub fn parse_parent(text: &str) -> Option<u32> {
    let after_name = text.get(text.rfind(')')? + 1..)?;
    after_name.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// A line `Name:   123 kB` of `/proc/PID/smaps_rollup` or `status`, in KiB.
pub fn parse_kib(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix(':')?;
        rest.trim().strip_suffix("kB")?.trim().parse().ok()
    })
}

/// `root` and all its descendants that live now, `root` first.
pub fn process_tree(root: u32) -> io::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        // A process that ended since the listing is none of ours any more.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        if let Some(parent) = parse_parent(&stat) {
            parents.push((pid, parent));
        }
    }
    Ok(descendants(root, &parents))
}

/// `root` and every pid whose chain of parents leads to it, breadth first.
fn descendants(root: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        let children = parents
            .iter()
            .filter(|(pid, of)| *of == parent && *pid != parent);
        for (pid, _) in children {
            if !tree.contains(pid) {
                tree.push(*pid);
            }
        }
        next += 1;
    }
    tree
}

/// Clock ticks that all cores together spent on anything, from the text of `/proc/stat`; guest time is part of user time.
pub fn parse_busy_ticks(text: &str) -> Option<u64> {
    let numbers = text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace();
    let fields: Vec<u64> = numbers.map_while(|number| number.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = fields.as_slice() else {
        return None;
    };
    Some(user + nice + system + irq + softirq + steal)
}

/// Time that all cores together spent on anything since the machine began, to a hundredth of a second.
pub fn machine_busy() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let ticks = parse_busy_ticks(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "stat has no cpu line"))?;
    // The unit of /proc/stat is fixed at 100 per second on every platform of ours.
    Ok(Duration::from_millis(ticks * 10))
}

/// Reads the CPU time of one tree of processes, fixed when the meter is made.
#[derive(Debug)]
pub struct CpuMeter {
    pids: Vec<u32>,
}

impl CpuMeter {
    /// A meter of `root` and the descendants that it has now.
    pub fn new(root: u32) -> io::Result<CpuMeter> {
        Ok(CpuMeter {
            pids: process_tree(root)?,
        })
    }

    /// CPU time used by all threads of the tree since they began.
    pub fn read(&self) -> io::Result<Duration> {
        let mut total_ns = 0;
        for pid in &self.pids {
            total_ns += process_ns(*pid)?;
        }
        Ok(Duration::from_nanos(total_ns))
    }
}

/// Nanoseconds on a CPU of all threads of one process.
fn process_ns(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = match fs::read_to_string(task?.path().join("schedstat")) {
            // The thread ended since the listing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        sum += parse_schedstat(&text).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "schedstat is not three numbers")
        })?;
    }
    Ok(sum)
}

/// Resident memory of the tree in KiB, by the exact count of `smaps_rollup` (the one in `status` lags behind).
pub fn resident_kib(root: u32) -> io::Result<u64> {
    let mut sum = 0;
    for pid in process_tree(root)? {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        sum += parse_kib(&text, "Rss")
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "smaps_rollup has no Rss"))?;
    }
    Ok(sum)
}

/// KiB held by the tree in unlinked regular files: what a proxy has spooled to disk.
pub fn spooled_kib(root: u32) -> io::Result<u64> {
    let mut bytes = 0;
    for pid in process_tree(root)? {
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            bytes += spooled_bytes(&entry?.path());
        }
    }
    Ok(bytes / 1024)
}

/// Size of the file behind a descriptor when it is a regular one that was unlinked, else 0.
fn spooled_bytes(descriptor: &Path) -> u64 {
    let unlinked = fs::read_link(descriptor)
        .is_ok_and(|target| target.to_string_lossy().ends_with("(deleted)"));
    match fs::metadata(descriptor) {
        Ok(meta) if unlinked && meta.is_file() => meta.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_takes_the_first_of_three_numbers() {
        assert_eq!(parse_schedstat("238994 0 3\n"), Some(238_994));
        assert_eq!(parse_schedstat("18446744073709551615 1 2"), Some(u64::MAX));
        assert_eq!(parse_schedstat("12 3\n"), None);
        assert_eq!(parse_schedstat("a b c"), None);
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn parent_is_found_behind_a_hostile_name() {
        assert_eq!(parse_parent("12 (nginx) S 7 12 12 0"), Some(7));
        assert_eq!(parse_parent("12 (a) b) (c) R 99 1 1"), Some(99));
        assert_eq!(parse_parent("12 (nginx"), None);
        assert_eq!(parse_parent("12 (nginx)"), None);
    }

    #[test]
    fn kib_lines_are_found_by_their_whole_name() {
        let text = "00400000-7ffc [rollup]\nRss:    1234 kB\nPss:  99 kB\nRssAnon: 5 kB\n";
        assert_eq!(parse_kib(text, "Rss"), Some(1234));
        assert_eq!(parse_kib(text, "Pss"), Some(99));
        assert_eq!(parse_kib(text, "Swap"), None);
    }

    #[test]
    fn busy_ticks_leave_out_idle_and_guest() {
        let text = "cpu  10 1 20 5000 7 2 3 4 9 9\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(parse_busy_ticks(text), Some(40));
        assert_eq!(parse_busy_ticks("cpu  1 2 3\n"), None);
        assert_eq!(parse_busy_ticks("intr 1\n"), None);
    }

    #[test]
    fn tree_holds_grandchildren_and_no_strangers() {
        let parents = [(1, 0), (10, 1), (11, 10), (12, 11), (20, 1), (13, 10)];
        assert_eq!(descendants(10, &parents), vec![10, 11, 13, 12]);
        assert_eq!(descendants(99, &parents), vec![99]);
    }

    #[test]
    fn a_busy_child_is_measured() {
        let busy = ["-c", "while :; do :; done"];
        let mut child = std::process::Command::new("sh").args(busy).spawn().unwrap();
        let meter = CpuMeter::new(child.id()).unwrap();
        let before = meter.read().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let after = meter.read().unwrap();
        let resident = resident_kib(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(after > before, "{before:?} {after:?}");
        assert!(resident.unwrap() > 100);
    }
}
