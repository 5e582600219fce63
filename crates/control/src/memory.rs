//! How much memory there is for this process, and how much it has.

use std::path::{Path, PathBuf};

/// Memory that this process may use, in bytes: the lowest limit of its cgroups (v2 or v1), else the
/// machine's. `None` where neither can be read.
pub(crate) fn available_bytes() -> Option<u64> {
    let machine = machine_bytes();
    let limit = cgroup_limit(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"));
    match (limit, machine) {
        (Some(limit), Some(machine)) => Some(limit.min(machine)),
        (limit, machine) => limit.or(machine),
    }
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

fn machine_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The lowest limit from the process' own group up to the root.
fn cgroup_limit(groups: &Path, mounts: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(groups).ok()?;
    let mut lowest: Option<u64> = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => (mounts.to_path_buf(), "memory.max"),
            some if some.split(',').any(|it| it == "memory") => {
                (mounts.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let own = root.join(path.trim_start_matches('/'));
        for folder in own.ancestors().take_while(|it| it.starts_with(&root)) {
            if let Some(limit) = limit_in(folder.join(file)) {
                lowest = Some(lowest.map_or(limit, |it| it.min(limit)));
            }
        }
    }
    lowest
}

/// `max` and the huge number that v1 has for no limit are none.
fn limit_in(file: PathBuf) -> Option<u64> {
    const NONE_FROM: u64 = 1 << 60;

    let text = std::fs::read_to_string(file).ok()?;
    text.trim().parse().ok().filter(|limit| *limit < NONE_FROM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keel_testkit::scratch::Scratch;

    #[test]
    fn the_machine_and_the_process_can_be_read() {
        let all = available_bytes().expect("Linux tells");
        let used = resident_bytes().expect("Linux tells");
        assert!(used > 0 && used < all, "{used} of {all}");
    }

    #[test]
    fn the_lowest_limit_on_the_way_to_the_root_counts() {
        let scratch = Scratch::new();
        let groups = scratch.path().join("groups");
        let mounts = scratch.path().join("fs");
        let own = mounts.join("a/b");
        std::fs::create_dir_all(&own).expect("folders");
        std::fs::write(&groups, "0::/a/b\n").expect("a file");
        assert_eq!(cgroup_limit(&groups, &mounts), None);
        std::fs::write(own.join("memory.max"), "max\n").expect("a file");
        assert_eq!(cgroup_limit(&groups, &mounts), None);
        std::fs::write(mounts.join("a/memory.max"), "4096\n").expect("a file");
        assert_eq!(cgroup_limit(&groups, &mounts), Some(4096));
        std::fs::write(own.join("memory.max"), "9000\n").expect("a file");
        assert_eq!(cgroup_limit(&groups, &mounts), Some(4096));
    }
}
