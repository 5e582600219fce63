//! Configuration texts: no panic, never a refusal without a reason, and no report that steers a terminal.
#![no_main]

use keel_config::{load_str, render_all};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    match load_str(&text) {
        Ok((model, warnings)) => {
            assert!(!model.listeners.is_empty());
            assert!(model.pools.iter().all(|pool| !pool.servers.is_empty()));
            render_all(&warnings, true);
        }
        Err(found) => {
            assert!(!found.is_empty());
            let shown = render_all(&found, false);
            assert!(!shown.chars().any(|c| c.is_control() && c != '\n'));
        }
    }
});
