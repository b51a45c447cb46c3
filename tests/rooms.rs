//! The map of the source in `.github/CONTRIBUTING.md`: every file is on it, and uses only files below.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The folders that are drawn on a line of their own.
const FOLDERS: [&str; 2] = ["asset", "emulator"];

/// The root, and the entry points for the fuzz targets.
const NOT_DRAWN: [&str; 2] = ["lib", "fuzzing"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the line of each file or folder on the map, counted from the top.
fn map() -> BTreeMap<String, usize> {
    let text = fs::read_to_string(root().join(".github/CONTRIBUTING.md")).unwrap();
    let drawing = text.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a map");
    let mut lines = BTreeMap::new();
    for (line, text) in drawing.lines().enumerate() {
        // An explanation follows after three spaces or more.
        let names = text.split("   ").next().unwrap().split_whitespace();
        lines.extend(names.map(|name| (name.trim_end_matches('/').to_owned(), line)));
    }
    lines
}

/// Returns the names of the files that this code uses: the words after `crate::`, except in comments, tests and imports
/// for the documentation.
fn used(code: &str) -> BTreeSet<String> {
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut used = BTreeSet::new();
    let mut lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(doc)]" {
            lines.next();
            continue;
        }
        for path in line.split("crate::").skip(1) {
            assert!(!path.starts_with('{'), "one `use` for each file: {line}");
            used.insert(path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    used
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// Returns each file or folder of `src` with the names that it uses.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |name: &str, path: &Path| {
        if NOT_DRAWN.contains(&name) {
            return;
        }
        let used = used(&fs::read_to_string(path).unwrap());
        uses.entry(name.to_owned()).or_default().extend(used.into_iter().filter(|other| other != name));
    };
    for path in rust_files(&root().join("src")) {
        add(path.file_stem().unwrap().to_str().unwrap(), &path);
    }
    for folder in FOLDERS {
        rust_files(&root().join("src").join(folder)).iter().for_each(|path| add(folder, path));
    }
    uses
}

#[test]
fn every_file_is_on_the_map() {
    let drawn: Vec<String> = map().into_keys().collect();
    let files: Vec<String> = uses().into_keys().collect();
    assert_eq!(drawn, files, "the first is the map in .github/CONTRIBUTING.md, the second is src");
}

#[test]
fn files_use_only_files_below() {
    let map = map();
    for (name, used) in uses() {
        // Functions and types at the root of the crate are not files.
        for other in used.iter().filter(|other| map.contains_key(*other)) {
            // An error carries the id of its generation, and an id that is not valid is an error.
            let is_exception = name == "generation" && other == "error";
            assert!(map[&name] < map[other] || is_exception, "{name} uses {other}, which is not below it on the map");
        }
    }
}
