//! The code blocks of the documentation and the README, as rustdoc shows them.

use std::fs;
use std::path::{Path, PathBuf};

/// Wider blocks scroll sideways in rustdoc, so that the ends of their lines are not seen.
const MAX_COLUMNS: usize = 85;

/// Returns the Rust files in this directory and below it.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// Returns the text of a doc comment, or `None` if the line is not one.
fn doc_text(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let text = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))?;
    Some(text.strip_prefix(' ').unwrap_or(text))
}

/// Returns the lines of code blocks that are visible and too wide.
fn wide_lines<'a>(lines: impl Iterator<Item = Option<&'a str>>) -> Vec<&'a str> {
    let mut is_code = false;
    let mut wide = Vec::new();
    for line in lines {
        match line {
            Some(fence) if fence.starts_with("```") => is_code = !is_code,
            Some(code) if is_code && !code.starts_with("# ") && code.chars().count() > MAX_COLUMNS => wide.push(code),
            Some(_) => {}
            None => is_code = false,
        }
    }
    wide
}

#[test]
fn code_blocks_fit_the_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in sources(&root.join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(wide_lines(text.lines().map(doc_text)), [""; 0], "{}", path.display());
    }
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    assert_eq!(wide_lines(readme.lines().map(Some)), [""; 0], "README.md");
}

#[test]
fn wide_lines_are_found_in_code_only() {
    let wide = "x".repeat(MAX_COLUMNS + 1);
    let lines = [wide.as_str(), "```", &wide[1..], &wide, "```", &wide];
    assert_eq!(wide_lines(lines.into_iter().map(Some)), [wide.as_str()]);
}
