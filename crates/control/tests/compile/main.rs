//! What becomes of a configuration: plans for the data plane, reports of what only the cores can judge, and the
//! explanation of a request.
#![allow(clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod bad;
mod examples;
mod explain;
mod plans;
mod tls;

use keel_config::{Diagnostic, render_all};
use keel_control::{Compiled, compile};

/// Compiles a text that must be right, warnings or not.
fn compiled(text: &str) -> Compiled {
    let (model, _) = keel_config::load_str(text)
        .unwrap_or_else(|found| panic!("does not load:\n{}", render_all(&found, false)));
    compile(&model)
        .unwrap_or_else(|found| panic!("does not compile:\n{}", render_all(&found, false)))
}

/// What compiling a text reports; it must load without an error.
fn reports(text: &str) -> Vec<Diagnostic> {
    let (model, _) = keel_config::load_str(text)
        .unwrap_or_else(|found| panic!("does not load:\n{}", render_all(&found, false)));
    match compile(&model) {
        Ok(compiled) => compiled.warnings,
        Err(found) => found,
    }
}
