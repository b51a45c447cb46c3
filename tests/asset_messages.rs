//! Messages about assets, verbatim.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use kling::asset::{State, ensure};
use kling::emulator::{Emulator, Step};
use kling::{Asset, Error, Seconds, VideoRequest, build_script};
use support::assets::{claim_from_service, kept};
use support::{fox, only_id, printed};
use tempfile::TempDir;

/// Returns a path as `printed` has it.
fn slashed(path: &Path) -> String {
    let path = path.to_str().unwrap();
    if cfg!(windows) { path.replace('\\', "/") } else { path.to_owned() }
}

/// Returns an error about files in this directory as it is printed.
fn printed_in(folder: &TempDir, error: &Error) -> String {
    printed(error).replace(&slashed(folder.path()), "assets")
}

/// Returns the error of a build with these assets.
fn stopped(folder: &TempDir, assets: &[Asset]) -> String {
    printed_in(folder, &build_script(assets.to_vec()).unwrap_err())
}

/// Returns the error of generating this asset, without the line that counts the failures.
#[track_caller]
fn failed(folder: &TempDir, asset: &Asset, emulator: &Emulator) -> String {
    let text = printed_in(folder, &ensure([asset], || Ok(emulator.client())).unwrap_err());
    text.strip_prefix("1 asset could not be made:\n").unwrap().to_owned()
}

const REFUSAL: &str = "generation costs money and is disabled unless KLING_GENERATE=1 is set";

const REFUSAL_AND_HINT: &str =
    "generation costs money and is disabled unless KLING_GENERATE=1 is set (`rehearse` makes test clips for free)";

const FETCH_REFUSAL: &str = "a build fetches nothing unless KLING_GENERATE is set";

/// Returns the command of the message. In tests, as in build scripts, Cargo sets the package's directory.
fn command(value: &str) -> String {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let is_here = std::env::var_os("PWD").is_some_and(|here| here == package);
    let has_tls = cfg!(any(feature = "rustls", feature = "native-tls"));
    let features = if has_tls { "" } else { " --features kling/rustls" };
    let manifest = format!("{}/Cargo.toml", package.display());
    let manifest = match is_here {
        true => String::new(),
        false if cfg!(windows) => format!(" --manifest-path \"{}\"", manifest.replace('\\', "/")),
        false => format!(" --manifest-path {manifest}"),
    };
    let cargo = match cfg!(windows) {
        true => format!("cargo build -vv --config \"env.KLING_GENERATE='{value}'\""),
        false => format!("KLING_GENERATE={value} cargo build -vv"),
    };
    format!("set AIML_API_KEY and run\n  {cargo}{features}{manifest}")
}

#[test]
fn a_build_stops_with_what_is_missing_or_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("campfire.mp4");
    let asset = |prompt: &str| Asset::new(&path, VideoRequest::new(prompt));
    let command = command("1");
    assert_eq!(
        stopped(&folder, &[asset("a campfire"), Asset::new(folder.path().join("sea.mp4"), fox())]),
        format!(
            "assets/campfire.mp4 is not current: it has not been generated yet\n\
             assets/sea.mp4 is not current: it has not been generated yet\n\
             {REFUSAL_AND_HINT}; to pay for 2 generations, {command}"
        )
    );
    let emulator = Emulator::start();
    ensure([&asset("a campfire")], || Ok(emulator.client())).unwrap();
    assert_eq!(
        stopped(&folder, &[Asset::new(&path, VideoRequest::new("a bonfire").duration(Seconds::Ten))]),
        format!(
            "assets/campfire.mp4 is not current: its request has changed\n  \
             duration: not set → 10\n  \
             prompt: \"a campfire\" → \"a bonfire\"\n\
             assets/campfire.mp4 will be replaced\n\
             {REFUSAL}; to pay for 1 generation, {command}"
        )
    );
    // What the service has made is kept, and its price is known.
    claim_from_service(&asset("a campfire"), &emulator);
    let id = only_id(&emulator);
    assert_eq!(
        stopped(&folder, &[asset("a bonfire")]),
        format!(
            "assets/campfire.mp4 is not current: its request has changed\n  \
             prompt: \"a campfire\" → \"a bonfire\"\n\
             assets/campfire.mp4 will be kept as assets/campfire.{}.mp4\n\
             {REFUSAL}; to pay for 1 generation (the last one cost 120000 credits), {command}",
            &id.as_str()[..8]
        )
    );
}

#[test]
fn the_price_of_the_last_generation_is_named() {
    let emulator = Emulator::start();
    let folder = tempfile::tempdir().unwrap();
    let [fox, owl, new] = ["fox", "owl", "new"].map(|name| {
        let path = folder.path().join(format!("{name}.mp4"));
        Asset::new(path, VideoRequest::new(name))
    });
    ensure([&fox, &owl], || Ok(emulator.client())).unwrap();
    for (asset, at, credits) in [(&fox, 2_000_000_000, 70_000), (&owl, 1_000_000_000, 80_000)] {
        claim_from_service(asset, &emulator);
        let receipt = fs::read_to_string(asset.receipt_path()).unwrap();
        let (before, rest) = receipt.split_once(r#""at":"#).unwrap();
        let (_, after) = rest.split_once(',').unwrap();
        let after = after.replace("120000", &credits.to_string());
        fs::write(asset.receipt_path(), format!("{before}\"at\":{at},{after}")).unwrap();
    }
    // Whatever their order.
    for assets in [[fox.clone(), owl.clone(), new.clone()], [owl, fox, new]] {
        let stopped = stopped(&folder, &assets);
        assert!(stopped.contains("to pay for 1 generation (the last one cost 70000 credits)"), "{stopped}");
    }
}

#[test]
fn a_build_stops_with_what_cannot_be_sent() {
    let folder = tempfile::tempdir().unwrap();
    let asset = |name: &str, request: VideoRequest| Asset::new(folder.path().join(name), request);
    // What cannot be sent.
    let invalid = asset("sea.mp4", fox().cfg_scale(7.5));
    assert_eq!(
        stopped(&folder, &[invalid]),
        "assets/sea.mp4 is not current: invalid cfg_scale: must be between 0 and 1, not 7.5"
    );
    assert_eq!(
        stopped(&folder, &[asset("sea.mp4", fox()), asset("./sea.mp4", VideoRequest::new("an owl"))]),
        "invalid assets: assets/./sea.mp4 has two different requests"
    );
}

#[test]
fn a_build_stops_with_why_the_last_attempt_was_not_charged() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Emulator::builder().create([Step::Http(403)]).start();
    let old = Asset::new(folder.path().join("old.mp4"), fox());
    ensure([&old], || Ok(emulator.client())).unwrap_err();
    assert_eq!(
        stopped(&folder, std::slice::from_ref(&old)),
        format!(
            "assets/old.mp4 is not current: it has not been generated yet; the last attempt was not charged: the service \
             refused POST http://127.0.0.1:PORT/v2/generate/video/kling/generation with status 403: Refused by the script \
             (request id 5b0e8f5c-0000-4000-8000-000000000001); check the account's credit and the API key's permissions\n\
             {REFUSAL_AND_HINT}; to pay for 1 generation, {}",
            command("1")
        )
    );
}

#[test]
fn a_build_stops_with_what_was_renamed_edited_or_lost() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Emulator::builder().create([Step::Queued, Step::Close]).logs_lag(9).start();
    let asset = |name: &str, request: VideoRequest| Asset::new(folder.path().join(name), request);
    let old = asset("old.mp4", fox());
    // What was renamed.
    ensure([&old], || Ok(emulator.client())).unwrap();
    let new = asset("new.mp4", fox());
    assert_eq!(
        stopped(&folder, std::slice::from_ref(&new)),
        "assets/new.mp4 is not current: its request was already generated as assets/old.mp4; instead of paying again, \
         rename assets/old.mp4 to assets/new.mp4, and assets/old.mp4.receipt.jsonl to assets/new.mp4.receipt.jsonl"
    );
    fs::rename(old.path(), new.path()).unwrap();
    assert_eq!(
        stopped(&folder, std::slice::from_ref(&new)),
        "assets/new.mp4 is not current: its request was already generated, and assets/old.mp4.receipt.jsonl records it; \
         instead of paying again, rename that file to assets/new.mp4.receipt.jsonl"
    );
    fs::rename(new.path(), old.path()).unwrap();
    fs::rename(old.receipt_path(), new.receipt_path()).unwrap();
    let stop = stopped(&folder, std::slice::from_ref(&new));
    let hint = "its video is missing; if assets/old.mp4 is this video, rename it to assets/new.mp4; otherwise, restore it \
                from version control, or fetch it again\n";
    assert!(stop.contains(hint), "{stop}");
    // What was edited.
    fs::rename(new.receipt_path(), old.receipt_path()).unwrap();
    let edited = [fs::read(old.path()).unwrap(), b"\0\0\0\x0cfreeedit".to_vec()].concat();
    fs::write(old.path(), edited).unwrap();
    assert_eq!(
        stopped(&folder, &[old]),
        "assets/old.mp4 is not current: the file is a complete video, but not the one that was generated, and is not \
         replaced; if it was edited, keep it under another name, and restore the generated file from version control, or \
         move it away and fetch that one again"
    );
    // What may have been accepted.
    let lost = asset("lost.mp4", VideoRequest::new("an owl"));
    ensure([&lost], || Ok(emulator.client())).unwrap_err();
    assert_eq!(
        stopped(&folder, &[lost]),
        format!(
            "assets/lost.mp4 is not current: the create request with client request id kling-RANDOM may have been \
             accepted and charged; looking it up costs nothing\n\
             {FETCH_REFUSAL}; to resume 1 generation without paying again, {}",
            command("fetch")
        )
    );
}

#[test]
fn a_build_stops_with_the_reason_why_a_paid_video_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("campfire.mp4");
    let asset = |prompt: &str| Asset::new(&path, VideoRequest::new(prompt));
    let paid = "assets/campfire.mp4 is not current: generation UUID:MODEL was already paid for, but";
    let free = format!("{FETCH_REFUSAL}; to resume 1 generation without paying again, {}", command("fetch"));
    let replaced = "assets/campfire.mp4 will be replaced";
    // The second generation is created, and its video is not received.
    let emulator = Emulator::builder().status_of(0, []).status([Step::Http(401)]).start();
    ensure([&asset("a campfire")], || Ok(emulator.client())).unwrap();
    ensure([&asset("a bonfire")], || Ok(emulator.client())).unwrap_err();
    assert_eq!(
        stopped(&folder, &[asset("a bonfire")]),
        format!("{paid} its video has not been received, and the file is another one\n{replaced}\n{free}")
    );
    // It is received, and the first request is wanted again.
    ensure([&asset("a bonfire")], || Ok(emulator.client())).unwrap();
    let kept = kept(&asset("a campfire"), &emulator, 0);
    let name = kept.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(
        stopped(&folder, &[asset("a campfire")]),
        format!("{paid} its video was kept as assets/{name}, and can be put back at no cost\n{replaced}\n{free}")
    );
    // Both videos have the same length.
    fs::remove_file(kept).unwrap();
    assert_eq!(
        stopped(&folder, &[asset("a campfire")]),
        format!("{paid} the file may be the video of another request, which has the same length\n{replaced}\n{free}")
    );
    fs::write(&path, "version https://git-lfs.github.com/spec/v1").unwrap();
    assert_eq!(
        stopped(&folder, &[asset("a bonfire")]),
        format!(
            "{paid} the file is not its video; restore it from version control (`git lfs pull`, if it is stored there), \
             or fetch it again\n{replaced}\n{free}"
        )
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(
        stopped(&folder, &[asset("a bonfire")]),
        format!(
            "{paid} its video is missing; restore it from version control (whoever generated it may not have committed \
             it), or fetch it again\n{free}"
        )
    );
}

#[test]
fn what_only_a_person_can_decide_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let asset = Asset::new(folder.path().join("campfire.mp4"), fox());
    let requested = r#"{"requested":{"at":1795365855,"client_request_id":"kling-1","request":{"model":"klingai/v2.5-turbo/pro/text-to-video","prompt":"A fox in the snow"}}}"#;
    let created = r#"{"created":{"client_request_id":"kling-1","id":"a:b"}}"#;
    let ended = r#"{"ended":{"client_request_id":"kling-1","reason":"no (status expired)"}}"#;
    fs::write(asset.receipt_path(), [requested, created, ended, ""].join("\n")).unwrap();
    assert_eq!(
        asset.state().unwrap(),
        State::Ended { id: "a:b".parse().unwrap(), reason: "no (status expired)".to_owned() }
    );
    assert_eq!(
        stopped(&folder, std::slice::from_ref(&asset)),
        format!(
            "assets/campfire.mp4 is not current: generation a:b ended without a video: no (status expired); it may have \
             been charged, and only a person can decide to pay again, so check the account's charges; to generate it \
             again, which may charge you twice, delete assets/campfire.mp4.receipt.jsonl\n{FETCH_REFUSAL}; to resume 1 \
             generation without paying again, {}",
            command("fetch")
        )
    );
    // Nothing can be run for these, so no command is printed.
    fs::write(asset.receipt_path(), requested.replace("1795365855", "1")).unwrap();
    let text = stopped(&folder, std::slice::from_ref(&asset));
    let (before, after) = text.split_once(" days ago").unwrap();
    let perhaps = "assets/campfire.mp4 is not current: the create request with client request id kling-1 may have been \
                   accepted and charged; it was sent ";
    assert!(before.starts_with(perhaps), "{before}");
    assert_eq!(
        after,
        format!(
            ", and its outcome can no longer be looked up, because the service's logs go back 7 days; check the \
             account's charges of that day; to generate the asset again, which may charge you twice, delete \
             assets/campfire.mp4.receipt.jsonl"
        )
    );
    fs::write(asset.receipt_path(), "{\"requ").unwrap();
    assert_eq!(
        stopped(&folder, &[asset]),
        format!(
            "assets/campfire.mp4 is not current: the last line of its receipt is incomplete; restore the receipt from \
             version control, or remove that line if it was cut off by a crash"
        )
    );
}

#[test]
fn a_difference_is_cut_to_a_line_around_the_change() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Emulator::start();
    let asset = |prompt: &str| Asset::new(folder.path().join("campfire.mp4"), VideoRequest::new(prompt));
    let long = "é".repeat(50) + " the end of it ";
    ensure([&asset(&format!("{long}is calm{long}"))], || Ok(emulator.client())).unwrap();
    let State::Stale { differences } = asset(&format!("{long}is wild")).state().unwrap() else { panic!() };
    assert_eq!(
        differences[0].to_string(),
        format!("prompt: …éé the end of it is calm{}… → …{} the end of it is wild\"", "é".repeat(36), "é".repeat(37))
    );
}

#[test]
fn unknown_outcomes_name_the_id_and_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let asset = Asset::new(folder.path().join("campfire.mp4"), fox());
    let logs = [Step::Completed, Step::Html(403)];
    let emulator = Emulator::builder().create([Step::Close]).logs_lag(9).logs(logs).start();
    let failed = || failed(&folder, &asset, &emulator);
    let unknown = "assets/campfire.mp4 is not current: the create request with client request id kling-RANDOM may have \
                   been accepted and charged:";
    let post = "POST http://127.0.0.1:PORT/v2/generate/video/kling/generation";
    assert_eq!(
        failed(),
        format!(
            "{unknown} {post}: no response: the server closed the connection; run this again in some minutes, which looks \
             it up"
        )
    );
    assert_eq!(
        failed(),
        format!(
            "{unknown} the service's logs do not list it yet; run this again in some minutes, which looks it up again \
             (an hour after the request, this will say how to give it up)"
        )
    );
    assert_eq!(
        failed(),
        format!(
            "{unknown} it could not be looked up: the service refused GET http://127.0.0.1:PORT/v2/logs with status 403: \
             <html><body><h1>403</h1></body></html>; check the account's credit and the API key's permissions; run this \
             again later, which looks it up again"
        )
    );
    fs::write(asset.receipt_path(), "{\"requ").unwrap();
    assert_eq!(
        failed(),
        format!(
            "assets/campfire.mp4 is not current: the last line of its receipt is incomplete; restore the receipt from version control, or remove \
             that line if it was cut off by a crash"
        )
    );
}

#[test]
fn files_and_receipts_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Emulator::start();
    let asset = Asset::new(folder.path().join("campfire.mp4"), fox());
    let failed = || failed(&folder, &asset, &emulator);
    fs::write(asset.path(), "another file").unwrap();
    assert_eq!(
        failed(),
        "assets/campfire.mp4 is not current: there is a file, but assets/campfire.mp4.receipt.jsonl does not say what it \
         was generated from; restore the receipt from version control (whoever generated the file may not have committed \
         it), or move the file away if it is another one"
    );
    fs::write(asset.receipt_path(), "another file\n").unwrap();
    let unreadable = "failed to read the receipt assets/campfire.mp4.receipt.jsonl\n  \
                      caused by: line 1 is not a valid receipt entry; restore the receipt from version control";
    assert_eq!(failed(), unreadable);
    let stopped = stopped(&folder, std::slice::from_ref(&asset));
    assert_eq!(stopped, format!("assets/campfire.mp4 is not current: {unreadable}"));
}

#[test]
fn a_generation_of_another_server_says_how_to_resume_it() {
    let folder = tempfile::tempdir().unwrap();
    let asset = Asset::new(folder.path().join("campfire.mp4"), fox());
    let (there, here) = (Emulator::builder().status([Step::Http(401)]).start(), Emulator::start());
    ensure([&asset], || Ok(there.client())).unwrap_err();
    assert_eq!(
        failed(&folder, &asset, &here),
        "assets/campfire.mp4 is not current: its generation was created on http://127.0.0.1:PORT, but this client uses \
         http://127.0.0.1:PORT; to resume it, set AIML_API_BASE=http://127.0.0.1:PORT; to generate it again on \
         http://127.0.0.1:PORT, delete assets/campfire.mp4.receipt.jsonl"
    );
    // What the service has made is not given up for a rehearsal.
    let receipt = fs::read_to_string(asset.receipt_path()).unwrap();
    let of_the_service = receipt.replace(&format!(r#""server":"{}","#, there.base_url()), "");
    assert_ne!(receipt, of_the_service);
    fs::write(asset.receipt_path(), of_the_service).unwrap();
    assert_eq!(
        failed(&folder, &asset, &here),
        "assets/campfire.mp4 is not current: its generation was created on https://api.aimlapi.com, but this client uses \
         http://127.0.0.1:PORT; to resume it, set AIML_API_BASE=https://api.aimlapi.com"
    );
}

#[test]
fn one_attempt_can_be_given_up_without_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Emulator::builder().status_of(0, []).status([Step::Http(401)]).start();
    let asset = |prompt: &str| Asset::new(folder.path().join("campfire.mp4"), VideoRequest::new(prompt));
    ensure([&asset("a fox")], || Ok(emulator.client())).unwrap();
    let first = only_id(&emulator);
    ensure([&asset("an owl")], || Ok(emulator.client())).unwrap_err();
    let here = Emulator::start();
    let text = failed(&folder, &asset("an owl"), &here);
    assert!(text.ends_with(", delete the lines of kling-RANDOM from assets/campfire.mp4.receipt.jsonl"), "{text}");
    // As the message says.
    let second = emulator.creates()[1].header("x-client-request-id").unwrap().to_owned();
    let receipt = fs::read_to_string(asset("a fox").receipt_path()).unwrap();
    let kept: String = receipt.split_inclusive('\n').filter(|line| !line.contains(&second)).collect();
    fs::write(asset("a fox").receipt_path(), &kept).unwrap();
    assert!(kept.contains(first.as_str()));
    assert!(asset("a fox").state().unwrap().is_current());
    assert!(matches!(asset("an owl").state().unwrap(), State::Stale { .. }));
}
