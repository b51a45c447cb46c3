//! Messages about assets, verbatim.

mod support;

use std::fs;
use std::path::Path;

use kling::emulator::{Emulator, Step};
use kling::{Asset, Error, Seconds, VideoRequest, asset};
use support::{fox, printed};
use tempfile::TempDir;

/// An error about files in this folder.
fn words_in(folder: &TempDir, error: &Error) -> String {
    printed(error).replace(folder.path().to_str().unwrap(), "assets")
}

/// With tests, as with build scripts, Cargo says where the package is.
fn command() -> String {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    format!("set AIML_API_KEY and run\n  KLING_GENERATE=1 cargo build --manifest-path {}", manifest.display())
}

#[test]
fn a_build_that_stops_says_what_changed_and_what_would_pay_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("campfire.mp4");
    let asset = |prompt: &str| Asset::new(&place, VideoRequest::new(prompt));
    let stopped = |assets: Vec<Asset>| words_in(&folder, &kling::build_script(assets).unwrap_err());
    let policy = "a build generates nothing without KLING_GENERATE=1, since it costs money";
    let command = command();
    assert_eq!(
        stopped(vec![asset("a campfire"), Asset::new(folder.path().join("sea.mp4"), fox())]),
        format!(
            "assets/campfire.mp4 is not current: it was not generated yet\n\
             assets/sea.mp4 is not current: it was not generated yet\n\
             {policy}; to pay for 2 generations, {command}"
        )
    );
    let emulator = Emulator::builder().status_of(0, []).status([Step::Http(401)]).start();
    asset::ensure([&asset("a campfire")], || Ok(emulator.client())).unwrap();
    assert_eq!(
        stopped(vec![Asset::new(&place, VideoRequest::new("a bonfire").duration(Seconds::Ten))]),
        format!(
            "assets/campfire.mp4 is not current: its request has changed\n  \
             duration: not set → 10\n  \
             prompt: \"a campfire\" → \"a bonfire\"\n\
             {policy}; to pay for 1 generation, {command}"
        )
    );
    asset::ensure([&asset("a bonfire")], || Ok(emulator.client())).unwrap_err();
    assert_eq!(
        stopped(vec![asset("a bonfire")]),
        format!(
            "assets/campfire.mp4 is not current: generation UUID:MODEL is paid for, and the file is not its video: \
             restore it from version control (`git lfs pull`, if it is kept there), or fetch it again\n\
             {policy}; to go on without paying again, {command}"
        )
    );
    fs::remove_file(&place).unwrap();
    assert_eq!(
        stopped(vec![asset("a bonfire")]),
        format!(
            "assets/campfire.mp4 is not current: generation UUID:MODEL is paid for, and its video is not here\n\
             {policy}; to go on without paying again, {command}"
        )
    );
}

#[test]
fn a_change_is_shown_where_it_is_and_cut_to_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Emulator::start();
    let asset = |prompt: &str| Asset::new(folder.path().join("campfire.mp4"), VideoRequest::new(prompt));
    let long = "é".repeat(50) + " the end of it ";
    asset::ensure([&asset(&format!("{long}is calm{long}"))], || Ok(emulator.client())).unwrap();
    let asset::State::Stale { differences } = asset(&format!("{long}is wild")).state().unwrap() else { panic!() };
    assert_eq!(
        differences[0].to_string(),
        format!("prompt: …éé the end of it is calm{}… → …{} the end of it is wild\"", "é".repeat(36), "é".repeat(37))
    );
}

#[test]
fn an_asset_whose_outcome_is_unknown_names_the_file_to_delete() {
    let folder = tempfile::tempdir().unwrap();
    let asset = Asset::new(folder.path().join("campfire.mp4"), fox());
    let emulator = Emulator::builder().create([Step::Close]).logs_lag(9).start();
    let made = || words_in(&folder, &asset::ensure([&asset], || Ok(emulator.client())).unwrap_err());
    let unknown = "1 asset could not be made:\nassets/campfire.mp4: the create request with client request id kling-RANDOM may have been \
                   accepted and charged; before sending it again, look this id up in the service's logs, which go back 7 days\n  \
                   caused by:";
    let delete = "; to generate it again, and perhaps to pay again, delete assets/campfire.mp4.receipt.jsonl";
    assert_eq!(
        made(),
        format!(
            "{unknown} POST http://127.0.0.1:PORT/v2/generate/video/kling/generation: no response: run this again in \
             some minutes, which looks it up{delete}"
        )
    );
    assert_eq!(
        made(),
        format!(
            "{unknown} the logs of the last 7 days do not show its create: run this again in some minutes, which looks it up{delete}"
        )
    );
    fs::write(asset.receipt_path(), "{\"requ").unwrap();
    assert_eq!(
        made().replace("(lost)", "kling-RANDOM"),
        format!("{unknown} its receipt breaks off within its last line: restore it from version control{delete}")
    );
}

#[test]
fn what_lies_in_the_place_of_an_asset_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Emulator::start();
    let asset = Asset::new(folder.path().join("campfire.mp4"), fox());
    let made = || words_in(&folder, &asset::ensure([&asset], || Ok(emulator.client())).unwrap_err());
    let cannot = "1 asset could not be made:\n";
    fs::write(asset.path(), "another file").unwrap();
    let without = "there is a file, but assets/campfire.mp4.receipt.jsonl does not say what it was made from: restore the two \
                   from version control, or delete the file to have it generated";
    assert_eq!(made(), format!("{cannot}assets/campfire.mp4 is not current: {without}"));
    fs::write(asset.receipt_path(), "another file\n").unwrap();
    let unreadable = "failed to read the receipt assets/campfire.mp4.receipt.jsonl\n  caused by: its line 1 is not one that it \
                      knows: restore it with its video from version control; delete both only to pay for the asset again";
    assert_eq!(made(), format!("{cannot}assets/campfire.mp4: {unreadable}"));
    let stopped = words_in(&folder, &kling::build_script([asset.clone()]).unwrap_err());
    assert!(stopped.starts_with(&format!("assets/campfire.mp4 is not current: {unreadable}\n")), "{stopped}");
}
