//! Pages that are generated from the code, so that they cannot be wrong.

use std::path::Path;

use anyhow::{Context, Result};

/// Says in each page where it comes from.
const MADE: &str = "<!-- Made by `cargo xtask docs`; CI fails when it is stale. -->";

/// A generated page: where it lies, and what must stand in it.
struct Page {
    path: &'static str,
    text: String,
}

/// Every generated page, freshly made.
fn pages() -> Vec<Page> {
    let page = |path, text| Page { path, text };
    vec![
        page("docs/reference/configuration.md", keel_config::reference()),
        page(
            "docs/reference/metrics.md",
            keel_observe::metrics::metrics_reference(),
        ),
        page("docs/reference/errors.md", errors()),
        page("docs/reference/variables.md", variables()),
    ]
}

/// What clients, the log and the metrics are told of each thing that can go wrong.
fn errors() -> String {
    format!(
        "# Errors and termination codes\n\n{MADE}\n\n\
         What the proxy answers by itself, and what the access log says of it (`$termination`). The code has three letters: who\n\
         ended the request, why, and in which phase; `---` is a request that ran to its end.\n\n{}\n\
         First letter: `C` client, `S` server, `P` the proxy. Second: `T` timeout, `A` abort, `P` protocol, `L` limit,\n\
         `U` unavailable, `R` answered by the configuration, `D` drain, `I` internal. Third: `A` accept, `H` head of the request,\n\
         `N` normalise, `R` route, `L` limits, `Q` choice of a server, `C` connect, `S` send, `W` wait for the answer, `B` body,\n\
         `T` tunnel.\n",
        keel_l7::error::reference()
    )
}

/// The variables of access logs, header values and redirects.
fn variables() -> String {
    let mut text = format!(
        "# Variables\n\n{MADE}\n\n\
         They stand in formats of access logs, in values of headers and in targets of redirects, as `$name` or `${{name}}`;\n\
         `$$` is a dollar sign. One without a value is `-` in a log and nothing elsewhere.\n\n\
         | variable | meaning |\n|---|---|\n"
    );
    for (name, meaning) in keel_http::template::var_names() {
        text.push_str(&format!("| `${name}` | {meaning} |\n"));
    }
    text
}

/// Writes the pages that are stale.
pub fn write(root: &Path) -> Result<()> {
    for page in pages() {
        let file = root.join(page.path);
        if std::fs::read_to_string(&file).is_ok_and(|have| have == page.text) {
            continue;
        }
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::write(&file, &page.text).with_context(|| page.path.to_owned())?;
        println!("docs: wrote {}", page.path);
    }
    Ok(())
}

/// The pages that are stale or missing.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for page in pages() {
        let have = std::fs::read_to_string(root.join(page.path)).unwrap_or_default();
        if have != page.text {
            wrong.push(format!(
                "{} is stale; run `cargo xtask docs` and commit it",
                page.path
            ));
        }
    }
    Ok(wrong)
}
