//! Pages that are generated from the code, so that they cannot be wrong.

use std::path::Path;

use anyhow::{Context, Result};

/// A generated page: where it lies, and what must stand in it.
struct Page {
    path: &'static str,
    text: String,
}

/// Every generated page, freshly made.
fn pages() -> Vec<Page> {
    Vec::new()
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
