//! The process's limit of open descriptors.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open descriptors to the hard one and gives what is in force then. A
/// limit that cannot be raised stays as it is.
pub fn raise_descriptor_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused only when the hard limit was lowered in between; the old soft limit then stays.
    let _ = setrlimit(Resource::Nofile, limit);
    descriptor_limit()
}

/// The soft limit of open descriptors in force.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
