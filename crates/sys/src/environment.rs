//! Environment variables that are for this process and not for its children.

/// Takes variables out of the environment and gives their values. Does not take them out, but gives
/// them all the same, once the process has more than one thread: call it first of all.
pub fn take_variables<const N: usize>(names: [&str; N]) -> [Option<String>; N] {
    let values = names.map(|name| std::env::var(name).ok());
    if is_single_threaded() {
        for name in names {
            // SAFETY: there is one thread, and it is here: nobody reads or writes the environment
            // at the same time.
            unsafe { std::env::remove_var(name) };
        }
    }
    values
}

fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_other_threads_the_environment_stays_as_it_is() {
        assert!(!is_single_threaded(), "tests run on threads of their own");
        let [path, missing] = take_variables(["PATH", "EVENKEEL_HAS_NO_SUCH"]);
        assert_eq!(path, std::env::var("PATH").ok());
        assert!(path.is_some() && missing.is_none());
    }
}
