//! The README: its programs run, and its blocks are the ones that are tested.

mod support;

use kling::emulator::Emulator;
use support::in_child_process;

const README: &str = include_str!("../README.md");
const SIX_LINES: &str = include_str!("readme/six_lines.rs");
const BUILD: &str = include_str!("readme/build.rs");

mod six_lines {
    include!("readme/six_lines.rs");

    pub(super) fn run() {
        main().expect("a video");
    }
}

mod build {
    include!("readme/build.rs");

    pub(super) fn run() {
        main().expect("a current asset");
    }
}

#[test]
fn the_build_script_generates_its_asset_once() {
    let emulator = Emulator::script([]);
    let folder = tempfile::tempdir().unwrap();
    let base = emulator.base_url();
    let environment = [
        ("CARGO_MANIFEST_DIR", folder.path().to_str().unwrap()),
        ("KLING_GENERATE", "1"),
        ("AIML_API_KEY", "rehearsal"),
        ("AIML_API_BASE", base.as_str()),
    ];
    for _ in 0..2 {
        in_child_process(&environment, folder.path(), build::run);
    }
    assert!(folder.path().join("assets/campfire.mp4").exists());
    assert!(folder.path().join("assets/campfire.mp4.receipt.jsonl").exists());
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn the_program_generates_a_video() {
    // The first poll returns `completed`: the program waits 10 s between two.
    let emulator = Emulator::script([]);
    let folder = tempfile::tempdir().unwrap();
    let base = emulator.base_url();
    let environment = [("AIML_API_KEY", "rehearsal"), ("AIML_API_BASE", base.as_str())];
    in_child_process(&environment, folder.path(), six_lines::run);
    assert!(folder.path().join("raccoon.mp4").exists());
    assert_eq!(emulator.creates().len(), 1);
}

/// Returns the blocks of the README whose fence ends with this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(fence.as_str()).skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn every_rust_block_is_run() {
    // All blocks are doctests. The two that read the environment are only compiled there; the tests above run them.
    assert_eq!(blocks("rust,no_run"), [SIX_LINES, BUILD]);
    assert!(!README.contains("ignore"), "no block is left out");
}

#[test]
fn every_rust_block_is_a_complete_program() {
    for block in [blocks("rust"), blocks("rust,no_run")].concat() {
        assert!(block.contains("fn main()"), "{block}");
        assert!(!block.lines().any(|line| line.starts_with('#')), "rustdoc would hide a line: {block}");
    }
}
