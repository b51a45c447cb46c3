//! The README is true.

mod support;

use kling::emulator::Emulator;
use support::in_a_process_of_its_own;

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
fn the_build_script_of_the_readme_generates_its_asset() {
    let emulator = Emulator::script([]);
    let folder = tempfile::tempdir().unwrap();
    let base = emulator.base_url();
    let environment = [
        ("CARGO_MANIFEST_DIR", folder.path().to_str().unwrap()),
        ("KLING_GENERATE", "1"),
        ("AIML_API_KEY", "rehearsal"),
        ("AIML_API_BASE", base.as_str()),
    ];
    let name = "the_build_script_of_the_readme_generates_its_asset";
    for _ in 0..2 {
        in_a_process_of_its_own(name, &environment, folder.path(), build::run);
    }
    assert!(folder.path().join("assets/campfire.mp4").exists());
    assert!(folder.path().join("assets/campfire.mp4.receipt.jsonl").exists());
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn the_program_of_the_readme_makes_a_video() {
    // Completed at the first poll: the program waits 10 s between two.
    let emulator = Emulator::script([]);
    let folder = tempfile::tempdir().unwrap();
    let base = emulator.base_url();
    let environment = [("AIML_API_KEY", "rehearsal"), ("AIML_API_BASE", base.as_str())];
    in_a_process_of_its_own("the_program_of_the_readme_makes_a_video", &environment, folder.path(), six_lines::run);
    assert!(folder.path().join("raccoon.mp4").exists());
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn every_rust_block_of_the_readme_is_run() {
    // All blocks are doctests; the two that read the environment are compiled as such, and run by the tests above.
    let not_run: Vec<&str> =
        README.split("```rust,no_run\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert_eq!(not_run, [SIX_LINES, BUILD]);
    assert!(!README.contains("ignore"), "no block is left out");
}
