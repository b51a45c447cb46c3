//! A generated file is paid for at most once, whatever stops or crowds those who need it.

mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use kling::asset::{State, ensure};
use kling::emulator::{Emulator, Step};
use kling::{AspectRatio, Asset, Client, Error, Poll, Result, Seconds, VideoRequest};
use support::{accepted, fox, millis, only_id};
use tempfile::TempDir;

/// A folder with an asset in it that has to be made.
fn campfire() -> (TempDir, Asset) {
    let folder = tempfile::tempdir().unwrap();
    let asset = Asset::new(folder.path().join("campfire.mp4"), fox());
    (folder, asset)
}

fn made(asset: &Asset, emulator: &Emulator) -> Result<()> {
    ensure([asset], || Ok(emulator.client())).map(drop)
}

/// For what is current: no client may be needed.
#[track_caller]
fn is_free(asset: &Asset) {
    ensure([asset], || panic!("nothing is left to do")).unwrap();
}

#[test]
fn an_asset_is_generated_once() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    assert_eq!(asset.state().unwrap(), State::Missing);
    made(&asset, &emulator).unwrap();
    assert_eq!(asset.state().unwrap(), State::Current);
    is_free(&asset);
    let before = fs::read(asset.receipt_path()).unwrap();
    made(&asset, &emulator).unwrap();
    assert_eq!(fs::read(asset.receipt_path()).unwrap(), before, "what is current is not written to");
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn a_receipt_reads_like_what_happened() {
    let emulator = Emulator::builder().create([Step::Refuse(429)]).start();
    let (_folder, asset) = campfire();
    made(&asset, &emulator).unwrap();
    let receipt = fs::read_to_string(asset.receipt_path()).unwrap();
    let names: Vec<&str> = receipt.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(names, ["requested", "refused", "requested", "created", "completed"]);
    for create in emulator.creates() {
        let id = create.header("x-client-request-id").unwrap();
        assert_eq!(receipt.matches(id).count(), 1, "each try has a line of its own");
    }
    assert!(!receipt.contains("rehearsal-key"));
}

#[test]
fn each_field_that_changes_is_the_reason_and_a_new_payment() {
    let base = || VideoRequest::new("a fox").cfg_scale(0.3).param("provider", "kling");
    let table = [
        (
            "prompt",
            VideoRequest::new("an owl").cfg_scale(0.3).param("provider", "kling"),
            r#"prompt: "a fox" → "an owl""#,
        ),
        ("aspect_ratio", base().aspect_ratio(AspectRatio::Square), r#"aspect_ratio: not set → "1:1""#),
        ("duration", base().duration(Seconds::Ten), "duration: not set → 10"),
        ("negative_prompt", base().negative_prompt("blur"), r#"negative_prompt: not set → "blur""#),
        ("cfg_scale", base().cfg_scale(0.7), "cfg_scale: 0.3 → 0.7"),
        ("model", base().model("other"), r#"model: "klingai/v2.5-turbo/pro/text-to-video" → "other""#),
        ("provider", base().param("provider", "fal"), r#"provider: "kling" → "fal""#),
    ];
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    let asset = Asset::new(asset.path(), base());
    made(&asset, &emulator).unwrap();
    assert_eq!(Asset::new(asset.path(), base().client_request_id("another")).state().unwrap(), State::Current);
    for (field, request, line) in table {
        match Asset::new(asset.path(), request).state().unwrap() {
            State::Stale { differences } => {
                let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
                assert_eq!((differences[0].field.as_str(), lines), (field, vec![line.to_owned()]));
            }
            other => panic!("{field}: {other:?}"),
        }
    }
    let longer = Asset::new(asset.path(), base().duration(Seconds::Ten));
    let before = fs::metadata(asset.path()).unwrap().len();
    made(&longer, &emulator).unwrap();
    assert!(fs::metadata(asset.path()).unwrap().len() > before);
    assert_eq!(accepted(&emulator), 2);
}

#[test]
fn what_is_refused_or_fails_costs_nothing_and_is_tried_again() {
    let emulator =
        Emulator::builder().create([Step::Refuse(403)]).status_of(0, [Step::Failed("moderated".to_owned())]).start();
    let (_folder, asset) = campfire();
    assert!(matches!(made(&asset, &emulator), Err(Error::Refused { status: 403, .. })));
    assert_eq!(asset.state().unwrap(), State::Missing);
    assert!(matches!(made(&asset, &emulator), Err(Error::Failed { .. })));
    assert_eq!(asset.state().unwrap(), State::Missing);
    made(&asset, &emulator).unwrap();
    is_free(&asset);
}

#[test]
fn a_request_that_changes_and_changes_back_is_not_paid_for_again() {
    let (_folder, fox_asset) = campfire();
    let owl_asset = Asset::new(fox_asset.path(), VideoRequest::new("an owl"));
    let creates_of = |emulator: &Emulator, prompt: &str| {
        let of = |create: &&kling::emulator::Asked| create.body["prompt"] == prompt && create.generation_id.is_some();
        emulator.creates().iter().filter(of).count()
    };

    // The other one was refused: the file is still the first one's.
    let emulator = Emulator::builder().create([Step::Queued, Step::Refuse(403)]).start();
    made(&fox_asset, &emulator).unwrap();
    made(&owl_asset, &emulator).unwrap_err();
    is_free(&fox_asset);
    // The other one was made: the first one is fetched again.
    made(&owl_asset, &emulator).unwrap();
    made(&fox_asset, &emulator).unwrap();
    is_free(&fox_asset);
    made(&owl_asset, &emulator).unwrap();
    assert_eq!((creates_of(&emulator, "A fox in the snow"), creates_of(&emulator, "an owl")), (1, 1));

    // The first one's answer was lost, or it was not received.
    for (create, status) in [(Step::Close, vec![]), (Step::Queued, vec![Step::Refuse(401)])] {
        let emulator = Emulator::builder().create([create]).status_of(0, status).start();
        let (_folder, fox_asset) = campfire();
        let owl_asset = Asset::new(fox_asset.path(), VideoRequest::new("an owl"));
        made(&fox_asset, &emulator).unwrap_err();
        made(&owl_asset, &emulator).unwrap();
        made(&fox_asset, &emulator).unwrap();
        is_free(&fox_asset);
        assert_eq!((creates_of(&emulator, "A fox in the snow"), creates_of(&emulator, "an owl")), (1, 1));
    }
}

#[test]
fn a_generation_that_exists_is_gone_on_with() {
    let emulator = Emulator::builder().status([Step::Refuse(401), Step::Refuse(403)]).file([Step::Refuse(400)]).start();
    let (_folder, asset) = campfire();
    for _ in 0..3 {
        made(&asset, &emulator).unwrap_err();
        assert_eq!(asset.state().unwrap(), State::InProgress { id: only_id(&emulator) });
    }
    made(&asset, &emulator).unwrap();
    // The file was deleted, or cut, by somebody: it is fetched again, for nothing.
    fs::remove_file(asset.path()).unwrap();
    assert_eq!(asset.state().unwrap(), State::InProgress { id: only_id(&emulator) });
    made(&asset, &emulator).unwrap();
    fs::write(asset.path(), "half").unwrap();
    made(&asset, &emulator).unwrap();
    is_free(&asset);
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn a_lost_answer_is_looked_up_and_never_paid_for_again() {
    // The logs show the create at once, late, or as failed.
    let emulator = Emulator::builder().create([Step::Close]).start();
    let (_folder, asset) = campfire();
    assert!(matches!(made(&asset, &emulator), Err(Error::OutcomeUnknown { .. })));
    assert!(matches!(asset.state().unwrap(), State::Unknown { client_request_id: Some(_) }));
    made(&asset, &emulator).unwrap();
    assert_eq!(emulator.creates().len(), 1);

    let emulator = Emulator::builder().create([Step::Close]).logs_after(2).start();
    let (_folder, asset) = campfire();
    for _ in 0..3 {
        let error = made(&asset, &emulator).unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
        let receipt = asset.receipt_path();
        assert!(format!("{error:?}").contains(&format!("delete {}", receipt.display())), "{error:?}");
    }
    made(&asset, &emulator).unwrap();
    assert_eq!(emulator.creates().len(), 1);

    let emulator =
        Emulator::builder().create([Step::Close]).status_of(0, [Step::Failed("moderated".to_owned())]).start();
    let (_folder, asset) = campfire();
    made(&asset, &emulator).unwrap_err();
    made(&asset, &emulator).unwrap();
    assert_eq!(emulator.creates().len(), 2, "a failed row costs nothing");
}

#[test]
fn many_assets_are_in_flight_together_and_one_that_fails_costs_no_other_its_file() {
    let emulator = Emulator::builder().status_of(1, [Step::Failed("moderated".to_owned())]).start();
    let folder = tempfile::tempdir().unwrap();
    let assets: Vec<Asset> = (0..4)
        .map(|n| Asset::new(folder.path().join(format!("{n}.mp4")), VideoRequest::new(format!("fox {n}"))))
        .collect();
    let error = ensure(&assets, || Ok(emulator.client())).unwrap_err();
    assert!(matches!(error, Error::Failed { .. }));
    let current = assets.iter().filter(|asset| asset.state().unwrap() == State::Current).count();
    assert_eq!(current, 3);
    // All were created before the first one had ended.
    assert_eq!(emulator.creates().len(), 4);
    let paths = ensure(&assets, || Ok(emulator.client())).unwrap();
    assert_eq!(paths.len(), 4);
    assert_eq!(emulator.creates().len(), 5);
}

#[test]
fn one_place_is_wanted_once() {
    let emulator = Emulator::start();
    let (folder, asset) = campfire();
    let same = Asset::new(folder.path().join(".").join("campfire.mp4"), fox());
    ensure([&asset, &same], || Ok(emulator.client())).unwrap();
    assert_eq!(emulator.creates().len(), 1);
    // The folder is missing, so that nothing can tell yet that these are one place.
    let new = folder.path().join("new");
    let ways = [new.join("a.mp4"), new.join("..").join("new").join("a.mp4")].map(|path| Asset::new(path, fox()));
    ensure(&ways, || Ok(emulator.client())).unwrap();
    assert_eq!(emulator.creates().len(), 2);
    let other = Asset::new(asset.path(), VideoRequest::new("an owl"));
    assert!(matches!(ensure([&asset, &other], || Ok(emulator.client())), Err(Error::InvalidConfig { .. })));
}

#[test]
fn a_torn_receipt_is_never_paid_for_again() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    made(&asset, &emulator).unwrap();
    let whole = fs::read(asset.receipt_path()).unwrap();
    for cut in 1..=whole.len() {
        fs::write(asset.receipt_path(), &whole[..cut]).unwrap();
        match made(&asset, &emulator) {
            Ok(()) => assert_eq!(asset.state().unwrap(), State::Current, "cut at {cut}"),
            Err(error @ Error::OutcomeUnknown { .. }) => {
                assert!(format!("{error:?}").contains("campfire.mp4.receipt.jsonl"), "cut at {cut}: {error:?}");
            }
            Err(error) => panic!("cut at {cut}: {error:?}"),
        }
        assert_eq!(emulator.creates().len(), 1, "cut at {cut}");
    }
}

#[test]
fn a_hostile_receipt_is_named_and_never_paid_for_again() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    made(&asset, &emulator).unwrap();
    let whole = fs::read_to_string(asset.receipt_path()).unwrap();
    let table = [
        ("NULs", "\0".repeat(100) + "\n"),
        ("NULs after what was", whole.clone() + "\0\0\0\n"),
        ("another version", whole.clone() + "{\"refunded\":{}}\n"),
        ("an empty line", whole.clone() + "\n"),
        ("a line of 10 MB", whole.replace("fox", &"x".repeat(10_000_000))),
        ("a video", String::from_utf8_lossy(&fs::read(asset.path()).unwrap()).into_owned()),
    ];
    for (what, text) in table {
        fs::write(asset.receipt_path(), text).unwrap();
        let error = made(&asset, &emulator).unwrap_err();
        let shown = format!("{error:?}");
        assert!(matches!(error, Error::Io { .. } | Error::OutcomeUnknown { .. }), "{what}: {shown}");
        assert!(shown.contains("campfire.mp4.receipt.jsonl"), "{what}: {shown}");
        assert!(shown.contains("delete"), "{what}: {shown}");
        assert_eq!(emulator.creates().len(), 1, "{what}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_costs_nothing() {
    let emulator = Emulator::start();
    let (folder, _) = campfire();
    fs::write(folder.path().join("file"), "").unwrap();
    let asset = Asset::new(folder.path().join("file").join("campfire.mp4"), fox());
    let error = made(&asset, &emulator).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert_eq!(emulator.connections(), 0);
    // A place where no file can be is found before anything is paid for.
    fs::create_dir(folder.path().join("campfire.mp4")).unwrap();
    let error = made(&Asset::new(folder.path().join("campfire.mp4"), fox()), &emulator).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert_eq!(emulator.creates().len(), 0);
    // A folder that is missing is made.
    let asset = Asset::new(folder.path().join("new").join("assets").join("campfire.mp4"), fox());
    made(&asset, &emulator).unwrap();
}

#[test]
fn eight_threads_pay_once() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| made(&asset, &emulator).unwrap());
        }
    });
    assert_eq!(emulator.creates().len(), 1);
}

const CHILD_BASE: &str = "KLING_TEST_CHILD_BASE";
const CHILD_ASSET: &str = "KLING_TEST_CHILD_ASSET";

/// Not a test by itself: the process that the others start, and kill.
#[test]
fn child() {
    let (Some(base), Some(path)) = (std::env::var_os(CHILD_BASE), std::env::var_os(CHILD_ASSET)) else { return };
    let poll = Poll { interval: millis(5), ..Poll::default() };
    let connect = || Client::builder("rehearsal-key").base_url(base.to_str().unwrap()).poll(poll).build();
    ensure([&Asset::new(path, fox())], connect).unwrap();
}

fn start_child(emulator: &Emulator, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child"])
        .env(CHILD_BASE, emulator.base_url())
        .env(CHILD_ASSET, path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn eight_processes_pay_once() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    let children: Vec<Child> = (0..8).map(|_| start_child(&emulator, asset.path())).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(emulator.creates().len(), 1);
    is_free(&asset);
}

/// After a crash: the next run ends with a whole file, or says that the outcome is unknown.
#[track_caller]
fn survives(asset: &Asset, emulator: &Emulator, case: &str) {
    if asset.path().exists() {
        let (_folder, whole) = campfire();
        made(&whole, &Emulator::start()).unwrap();
        assert!(fs::read(asset.path()).unwrap() == fs::read(whole.path()).unwrap(), "{case}: half a file");
    }
    match made(asset, emulator) {
        Ok(()) => is_free(asset),
        Err(Error::OutcomeUnknown { .. }) => {}
        Err(error) => panic!("{case}: {error:?}"),
    }
    assert!(accepted(emulator) <= 1, "{case}: paid twice");
}

#[test]
fn a_process_that_is_killed_between_two_steps_costs_nothing_more() {
    for (case, create, status, file) in [
        ("after the request", vec![Step::Stall], vec![], vec![]),
        ("while it waits", vec![], vec![Step::Stall], vec![]),
        ("before the file", vec![], vec![], vec![Step::Stall]),
        ("within the file", vec![], vec![], vec![Step::StallAfter(9000)]),
    ] {
        let steps = (create.len(), status.len(), file.len());
        let emulator = Emulator::builder().create(create).status(status).file(file).start();
        let (_folder, asset) = campfire();
        let mut child = start_child(&emulator, asset.path());
        let has_stalled = || {
            (emulator.creates().len(), emulator.polls().len(), emulator.files().len())
                >= (1, steps.1 + steps.2, steps.2)
        };
        while !has_stalled() {
            assert!(child.try_wait().unwrap().is_none(), "{case}: it has ended");
            thread::sleep(millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!asset.path().exists(), "{case}");
        survives(&asset, &emulator, case);
        assert_eq!(asset.state().unwrap(), State::Current, "{case}: all of these can be gone on with");
    }
}

#[test]
#[ignore = "kills three hundred processes, which takes a minute"]
fn a_process_that_is_killed_at_any_instant_costs_nothing_more() {
    let mut rng = fastrand::Rng::with_seed(7);
    for n in 0..300 {
        let emulator = Emulator::start();
        let (_folder, asset) = campfire();
        let mut child = start_child(&emulator, asset.path());
        thread::sleep(std::time::Duration::from_micros(rng.u64(..80_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        survives(&asset, &emulator, &format!("instant {n}"));
    }
}

/// A copy of the example that can be built anywhere.
fn copy_of_the_example(folder: &Path) {
    let library = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = library.join("examples/build_asset");
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::create_dir_all(folder.join("assets")).unwrap();
    for file in ["build.rs", "Cargo.lock", "src/main.rs", "assets/campfire.mp4", "assets/campfire.mp4.receipt.jsonl"] {
        fs::copy(example.join(file), folder.join(file)).unwrap();
    }
    let manifest = fs::read_to_string(example.join("Cargo.toml")).unwrap();
    let manifest = manifest.replace("../..", library.to_str().unwrap());
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
}

fn cargo(folder: &Path, target: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(folder).env("CARGO_TARGET_DIR", folder.join(target));
    for variable in ["KLING_GENERATE", "AIML_API_KEY", "AIML_API_BASE", "DOCS_RS", "CARGO_NET_OFFLINE", "CI"] {
        command.env_remove(variable);
    }
    command
}

#[track_caller]
fn builds(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    text
}

#[track_caller]
fn stops(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "runs a dozen real cargo builds, which takes minutes"]
fn cargo_builds_pay_once_and_only_when_they_are_told_to() {
    let emulator = Emulator::start();
    let folder = tempfile::tempdir().unwrap();
    let example = folder.path();
    copy_of_the_example(example);
    let generate = |target: &str| {
        let mut command = cargo(example, target, &["build", "--offline"]);
        command
            .env("KLING_GENERATE", "1")
            .env("AIML_API_KEY", "canary-3f9a51c0")
            .env("AIML_API_BASE", emulator.base_url());
        command
    };

    // Current: free with any profile and target, offline, on docs.rs, in a package.
    let host = builds(cargo(example, "target", &["--version", "--verbose"]));
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned();
    builds(cargo(example, "target", &["build", "--offline"]));
    builds(cargo(example, "target", &["build", "--offline", "--release"]));
    builds(cargo(example, "target", &["build", "--offline", "--target", &host]));
    for (variable, value) in [("DOCS_RS", "1"), ("CARGO_NET_OFFLINE", "true"), ("KLING_GENERATE", "1")] {
        let mut command = cargo(example, "target", &["build", "--offline"]);
        command.env(variable, value);
        builds(command);
    }
    builds(cargo(example, "target", &["clean"]));
    builds(cargo(example, "target", &["run", "--offline"]));
    assert_eq!(emulator.connections(), 0);

    // Changed: the build stops, and says what changed and what would pay for it.
    let script = fs::read_to_string(example.join("build.rs")).unwrap();
    fs::write(example.join("build.rs"), script.replace("campfire at night", "bonfire at night")).unwrap();
    let complaint = stops(cargo(example, "target", &["build", "--offline"]));
    assert!(
        complaint.contains(r#"prompt: "A campfire at night, seamless loop" → "A bonfire at night, seamless loop""#)
    );
    assert!(complaint.contains("KLING_GENERATE=1 cargo build"), "{complaint}");
    for (variable, value) in [("DOCS_RS", "1"), ("CARGO_NET_OFFLINE", "true")] {
        let mut command = generate("target");
        command.env(variable, value);
        stops(command);
    }
    assert_eq!(emulator.connections(), 0);

    // Four builds at once, each with a target folder of its own.
    let targets = ["target", "target-1", "target-2", "target-3"];
    let children: Vec<Child> =
        targets.map(|target| generate(target).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()).into();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(emulator.creates().len(), 1);
    builds(cargo(example, "target", &["build", "--offline"]));

    // The key is in none of Cargo's files.
    let found = Command::new("grep").args(["-r", "-l", "canary-3f9a51c0", "."]).current_dir(example).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn a_receipt_that_is_locked_is_waited_for() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    let mut receipt = OpenOptions::new().append(true).create(true).open(asset.receipt_path()).unwrap();
    receipt.lock().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| made(&asset, &emulator));
        thread::sleep(millis(20));
        assert_eq!(emulator.connections(), 0);
        // What the other process leaves behind counts.
        receipt.write_all(b"{\"requested\":{\"at\":1,\"client_request_id\":\"x\",\"request\":{}}}\n").unwrap();
        receipt.unlock().unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(emulator.creates().len(), 1);
}
