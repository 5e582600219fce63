//! Readings of the process: memory, descriptors, CPU time. Taken at a scrape, from `/proc` where
//! there is one; what cannot be read is left out.

use std::time::{SystemTime, UNIX_EPOCH};

/// What a scrape reads about the process.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcessReadings {
    /// CPU time, user and system, in microseconds.
    pub cpu_us: Option<u64>,
    /// Resident memory in bytes.
    pub resident_bytes: Option<u64>,
    /// Open descriptors.
    pub open_descriptors: Option<u64>,
    /// The limit on open descriptors; `None` when there is none.
    pub descriptors_max: Option<u64>,
}

impl ProcessReadings {
    /// Reads them now. This opens a few files; not for the data path.
    pub fn take() -> ProcessReadings {
        ProcessReadings {
            cpu_us: cpu_us(),
            resident_bytes: resident_bytes(),
            open_descriptors: open_descriptors(),
            descriptors_max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        }
    }
}

fn cpu_us() -> Option<u64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).ok()?;
    Some(seconds * 1_000_000 + u64::try_from(time.tv_nsec).ok()? / 1000)
}

fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn open_descriptors() -> Option<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // One of them is the directory that is being read.
    Some(entries.saturating_sub(1))
}

/// Now, in milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_can_be_read() {
        let before = ProcessReadings::take();
        let held = vec![1_u8; 1024];
        let file = std::fs::File::open("/dev/null").unwrap();
        let after = ProcessReadings::take();
        assert!(after.resident_bytes.unwrap() > held.len() as u64);
        assert!(after.open_descriptors.unwrap() > 0);
        assert!(after.cpu_us.unwrap() >= before.cpu_us.unwrap());
        drop(file);
    }
}
