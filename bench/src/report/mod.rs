//! What becomes of a run: one JSON with every sample, a table and plots made from it, and a summary that says what was met.
//!
//! Everything but the JSON is made from the JSON alone, so an earlier run's results can be shown anew.

mod markdown;
mod number;
mod plot;
mod publish;
mod ratio;
mod results;
mod summary;
mod table;
mod targets;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub use publish::publish;
pub use results::{Machine, Results};

/// The JSON, in the folder of the results.
pub const JSON: &str = "results.json";

/// Where results go if nobody says.
pub fn default_folder(results: &Results) -> PathBuf {
    let stamp: String = results
        .when
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/bench")
        .join(stamp)
}

/// Writes JSON, table and plots into `folder`, and prints the summary.
pub fn write(results: &Results, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    file(JSON, serde_json::to_string_pretty(results)?)?;
    file("results.md", markdown::render(results, None))?;
    plot::write_all(results, folder)?;
    println!("\n{}", summary::render(results));
    println!("all figures, samples and plots are in {}", folder.display());
    Ok(())
}

/// Reads what an earlier run wrote.
pub fn read(path: &Path) -> Result<Results> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no result of a run", path.display()))
}
