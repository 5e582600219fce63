//! Descriptors that were open before the program began, by the protocol of systemd.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// The first descriptor after standard input, output and error.
const FIRST: RawFd = 3;
/// More than any supervisor passes.
const COUNT_MAX: usize = 4096;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the `count` descriptors from 3 on, which a supervisor passed to this process. They are
/// closed in child processes from then on.
///
/// # Errors
/// When they were taken before, or are not open, or not left open by who started the program.
pub fn take_inherited(count: usize) -> io::Result<Vec<OwnedFd>> {
    if count > COUNT_MAX {
        return Err(io::Error::other(format!(
            "{count} descriptors are too many"
        )));
    }
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Err(io::Error::other("the descriptors were taken before"));
    }
    let numbers = || (FIRST..).take(count);
    for number in numbers() {
        // SAFETY: the borrow lasts for this one question; a number that is not open gives an error,
        // and the number is not -1.
        let asked = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) });
        match asked {
            // Whatever this program itself has opened is closed on exec; who started us cannot have
            // passed such a descriptor. So this refuses to own what another part owns.
            Ok(flags) if !flags.contains(FdFlags::CLOEXEC) => {}
            _ => {
                return Err(io::Error::other(format!(
                    "descriptor {number} was not passed to this process"
                )));
            }
        }
    }
    numbers()
        .map(|number| {
            // SAFETY: the number is open and was not opened by this program (see above), so nobody
            // else owns it; the flag makes sure that it is given out once only.
            let owned = unsafe { OwnedFd::from_raw_fd(number) };
            fcntl_setfd(&owned, FdFlags::CLOEXEC)?;
            Ok(owned)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The good way needs a process that was started so: tests/tests/e2e/systemd.rs.
    #[test]
    fn what_nobody_passed_is_refused_and_asking_twice_too() {
        assert!(take_inherited(COUNT_MAX + 1).is_err());
        let said = take_inherited(COUNT_MAX).unwrap_err().to_string();
        assert!(said.contains("was not passed"), "{said}");
        let said = take_inherited(0).unwrap_err().to_string();
        assert!(said.contains("taken before"), "{said}");
    }
}
