//! A generated file is paid for at most once, whatever stops or crowds those who need it.

mod support;

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kling::asset::{State, ensure};
use kling::emulator::{Emulator, Step};
use kling::{AspectRatio, Asset, Client, Error, Poll, Result, Seconds, VideoRequest};
use support::{RawServer, accepted, closed_port, fox, millis, names, only_id, say};
use tempfile::TempDir;

/// A folder with an asset in it that has to be made.
fn campfire() -> (TempDir, Asset) {
    let folder = tempfile::tempdir().unwrap();
    let asset = Asset::new(folder.path().join("campfire.mp4"), fox());
    (folder, asset)
}

fn made(asset: &Asset, emulator: &Emulator) -> Result<()> {
    ensure([asset], || Ok(emulator.client())).map(drop).map_err(only_failure)
}

/// What went wrong with the only asset that failed.
#[track_caller]
fn only_failure(error: Error) -> Error {
    match error {
        Error::AssetsNotMade { mut failed } if failed.len() == 1 => failed.remove(0).1,
        other => other,
    }
}

/// What the lines of a receipt are.
fn steps_of(asset: &Asset) -> Vec<String> {
    let receipt = fs::read_to_string(asset.receipt_path()).unwrap();
    receipt.lines().map(|line| line.split('"').nth(1).unwrap().to_owned()).collect()
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
    let emulator = Emulator::builder().create([Step::Http(429)]).start();
    let (_folder, asset) = campfire();
    made(&asset, &emulator).unwrap();
    assert_eq!(steps_of(&asset), ["requested", "refused", "requested", "created", "completed"]);
    let receipt = fs::read_to_string(asset.receipt_path()).unwrap();
    for create in emulator.creates() {
        let id = create.header("x-client-request-id").unwrap();
        assert_eq!(receipt.matches(id).count(), 1, "each try has a line of its own");
    }
    assert!(!receipt.contains("offline-key"));
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
    let emulator = Emulator::builder().create([Step::Http(403)]).status_of(0, [Step::failed("moderated")]).start();
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
        let of = |create: &&kling::emulator::RecordedRequest| {
            create.body["prompt"] == prompt && create.generation_id.is_some()
        };
        emulator.creates().iter().filter(of).count()
    };

    // The other one was refused: the file is still the first one's.
    let emulator = Emulator::builder().create([Step::Queued, Step::Http(403)]).start();
    made(&fox_asset, &emulator).unwrap();
    made(&owl_asset, &emulator).unwrap_err();
    is_free(&fox_asset);
    // The other one was made: the first one is fetched again.
    made(&owl_asset, &emulator).unwrap();
    assert!(matches!(fox_asset.state().unwrap(), State::InProgress { .. }), "the file is the other one's");
    made(&fox_asset, &emulator).unwrap();
    is_free(&fox_asset);
    made(&owl_asset, &emulator).unwrap();
    assert_eq!((creates_of(&emulator, "A fox in the snow"), creates_of(&emulator, "an owl")), (1, 1));

    // The first one's answer was lost, or it was not received.
    for (create, status) in [(Step::Close, vec![]), (Step::Queued, vec![Step::Http(401)])] {
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
fn another_request_that_was_not_received_leaves_the_file_current() {
    let emulator = Emulator::builder().status_of(0, []).status([Step::Http(401)]).start();
    let (_folder, fox_asset) = campfire();
    let owl_asset = Asset::new(fox_asset.path(), VideoRequest::new("an owl"));
    made(&fox_asset, &emulator).unwrap();
    made(&owl_asset, &emulator).unwrap_err();
    is_free(&fox_asset);
    // A third one is compared with the last that exists, and not with one that was refused.
    let State::Stale { differences } = Asset::new(fox_asset.path(), VideoRequest::new("a cat")).state().unwrap() else {
        panic!("it is stale")
    };
    assert_eq!(differences[0].was, Some("an owl".into()));
}

#[test]
fn what_was_completed_once_has_its_price_even_if_it_fails_later() {
    let fails_later = [Step::Completed, Step::failed("expired")];
    let emulator = Emulator::builder().status_of(0, fails_later).start();
    let (_folder, fox_asset) = campfire();
    let owl_asset = Asset::new(fox_asset.path(), VideoRequest::new("an owl"));
    made(&fox_asset, &emulator).unwrap();
    made(&owl_asset, &emulator).unwrap();
    for _ in 0..3 {
        assert!(matches!(made(&fox_asset, &emulator), Err(Error::Failed { .. })));
    }
    assert_eq!(emulator.creates().len(), 2);
}

#[test]
fn a_generation_that_exists_is_gone_on_with() {
    let emulator = Emulator::builder().status([Step::Http(401), Step::Http(403)]).file([Step::Http(400)]).start();
    let (_folder, asset) = campfire();
    for _ in 0..3 {
        made(&asset, &emulator).unwrap_err();
        assert_eq!(asset.state().unwrap(), State::InProgress { id: only_id(&emulator) });
    }
    made(&asset, &emulator).unwrap();
    assert_eq!(steps_of(&asset), ["requested", "created", "completed"]);
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

    let emulator = Emulator::builder().create([Step::Close]).logs_lag(2).start();
    let (_folder, asset) = campfire();
    for _ in 0..3 {
        let error = made(&asset, &emulator).unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
        let receipt = asset.receipt_path();
        assert!(format!("{error:?}").contains(&format!("delete {}", receipt.display())), "{error:?}");
    }
    made(&asset, &emulator).unwrap();
    assert_eq!(emulator.creates().len(), 1);

    let emulator = Emulator::builder().create([Step::Close]).status_of(0, [Step::failed("moderated")]).start();
    let (_folder, asset) = campfire();
    made(&asset, &emulator).unwrap_err();
    made(&asset, &emulator).unwrap();
    is_free(&asset);
    assert_eq!(emulator.creates().len(), 2, "a failed row costs nothing");

    let emulator = Emulator::builder().create([Step::Close]).logs([Step::Http(403)]).start();
    let (_folder, asset) = campfire();
    for _ in 0..2 {
        let error = made(&asset, &emulator).unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "not looked up is not unpaid: {error:?}");
    }
    made(&asset, &emulator).unwrap();
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn what_was_not_sent_is_missing() {
    let (_folder, asset) = campfire();
    let emulator = Emulator::start();
    let nowhere = format!("http://127.0.0.1:{}", closed_port());
    let connect = || emulator.client_builder().base_url(nowhere).build();
    let error = only_failure(ensure([&asset], connect).unwrap_err());
    assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
    assert_eq!(asset.state().unwrap(), State::Missing);
    made(&asset, &emulator).unwrap();
}

#[test]
fn assets_do_not_share_a_client_request_id_of_the_callers() {
    let emulator = Emulator::start();
    let folder = tempfile::tempdir().unwrap();
    let assets = ["a.mp4", "b.mp4"].map(|name| Asset::new(folder.path().join(name), fox().client_request_id("fox-1")));
    ensure(&assets, || Ok(emulator.client())).unwrap();
    let ids: Vec<_> =
        emulator.creates().iter().map(|create| create.header("x-client-request-id").unwrap().to_owned()).collect();
    assert!(ids[0] != ids[1] && !ids.contains(&"fox-1".to_owned()), "{ids:?}");
}

#[test]
fn an_asset_that_has_ended_is_not_locked_until_the_others_have() {
    let emulator = Emulator::builder().status_of(0, []).status(vec![Step::Queued; 200]).start();
    let folder = tempfile::tempdir().unwrap();
    let assets = ["a.mp4", "b.mp4"].map(|name| Asset::new(folder.path().join(name), fox()));
    thread::scope(|scope| {
        let working = scope.spawn(|| ensure(&assets, || Ok(emulator.client())).unwrap());
        while assets[0].state().unwrap() != State::Current {
            thread::sleep(millis(1));
        }
        let receipt = fs::File::open(assets[0].receipt_path()).unwrap();
        while receipt.try_lock().is_err() {
            thread::sleep(millis(1));
        }
        assert!(!working.is_finished(), "the other one is still under way");
    });
}

#[test]
#[cfg(unix)]
fn a_pipe_in_the_place_of_a_receipt_is_not_waited_for() {
    let (_folder, asset) = campfire();
    assert!(Command::new("mkfifo").arg(asset.receipt_path()).status().unwrap().success());
    assert!(matches!(asset.state(), Err(Error::Io { .. })));
    assert!(matches!(made(&asset, &Emulator::start()), Err(Error::Io { .. })));
}

#[test]
fn what_a_killed_process_has_left_is_removed_and_no_link_is_followed() {
    let emulator = Emulator::start();
    let (folder, asset) = campfire();
    let part = folder.path().join(".campfire.mp4.0123456789abcdef.part");
    fs::write(&part, "half").unwrap();
    made(&asset, &emulator).unwrap();
    assert_eq!(names(folder.path()).len(), 2);

    #[cfg(unix)]
    {
        let target = folder.path().join("target");
        fs::write(&target, "mine").unwrap();
        std::os::unix::fs::symlink(&target, &part).unwrap();
        fs::remove_file(asset.path()).unwrap();
        made(&asset, &emulator).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"mine");
        assert!(asset.path().symlink_metadata().unwrap().is_file());
    }
}

#[test]
fn many_assets_are_in_flight_together_and_one_that_fails_costs_no_other_its_file() {
    let emulator = Emulator::builder().status_of(1, [Step::failed("moderated")]).start();
    let folder = tempfile::tempdir().unwrap();
    let assets: Vec<Asset> = (0..4)
        .map(|n| Asset::new(folder.path().join(format!("{n}.mp4")), VideoRequest::new(format!("fox {n}"))))
        .collect();
    let error = ensure(&assets, || Ok(emulator.client())).unwrap_err();
    assert!(matches!(only_failure(error), Error::Failed { .. }));
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
fn a_copy_that_breaks_off_within_a_second_request_loses_neither() {
    let emulator = Emulator::builder().status([Step::Http(401)]).start();
    let (_folder, fox_asset) = campfire();
    let owl_asset = Asset::new(fox_asset.path(), VideoRequest::new("an owl"));
    made(&fox_asset, &emulator).unwrap_err();
    let first = fs::read(fox_asset.receipt_path()).unwrap();
    made(&owl_asset, &emulator).unwrap_err();
    let both = fs::read(fox_asset.receipt_path()).unwrap();
    let end_of_the_second = first.len() + both[first.len()..].iter().position(|byte| *byte == b'\n').unwrap();
    for cut in first.len() + 1..=end_of_the_second {
        for asset in [&fox_asset, &owl_asset] {
            fs::write(asset.receipt_path(), &both[..cut]).unwrap();
            let error = made(asset, &emulator).unwrap_err();
            assert!(matches!(error, Error::OutcomeUnknown { .. }), "cut at {cut}: {error:?}");
            assert_eq!(fs::read(asset.receipt_path()).unwrap(), &both[..cut], "cut at {cut}: it is left as it is");
        }
    }
    assert_eq!(emulator.creates().len(), 2);
}

#[test]
fn receipts_that_were_joined_are_not_paid_for_again() {
    let emulator = Emulator::builder().create([Step::Queued, Step::Close]).status_of(1, [Step::failed("x")]).start();
    let ((_here, here), (_there, there)) = (campfire(), campfire());
    made(&here, &emulator).unwrap();
    made(&there, &emulator).unwrap_err();
    // "Keep both", in a merge: what was completed, and then what failed and was not looked up yet.
    let joined = [fs::read(here.receipt_path()).unwrap(), fs::read(there.receipt_path()).unwrap()].concat();
    fs::write(here.receipt_path(), joined).unwrap();
    made(&here, &emulator).unwrap();
    is_free(&here);
    assert_eq!(emulator.creates().len(), 2);
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
    let Some((_, path)) = child_environment() else { return };
    ensure([&Asset::new(path, fox())], child_client).unwrap();
}

fn child_environment() -> Option<(String, PathBuf)> {
    Some((std::env::var(CHILD_BASE).ok()?, std::env::var_os(CHILD_ASSET)?.into()))
}

fn child_client() -> Result<Client> {
    client_of(&child_environment().unwrap().0)
}

fn client_of(base_url: &str) -> Result<Client> {
    let poll = Poll { interval: millis(5), ..Poll::default() };
    Client::builder("rehearsal-key").base_url(base_url).poll(poll).build()
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
        assert_eq!(names(asset.path().parent().unwrap()).len(), 2, "{case}: no litter");
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

#[test]
fn a_receipt_that_stays_locked_is_not_waited_for_without_end() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    let receipt = OpenOptions::new().append(true).create(true).open(asset.receipt_path()).unwrap();
    receipt.lock().unwrap();
    let poll = Poll { max_wait: millis(20), ..Poll::default() };
    let connect = || Client::builder("rehearsal-key").base_url(emulator.base_url()).poll(poll).build();
    let error = only_failure(ensure([&asset], connect).unwrap_err());
    assert!(format!("{error:?}").contains("another process works on it"), "{error:?}");
    assert_eq!(emulator.connections(), 0);
}

#[test]
fn a_receipt_that_is_deleted_while_it_is_waited_for_locks_nobody_out() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    let deleted = OpenOptions::new().append(true).create(true).open(asset.receipt_path()).unwrap();
    deleted.lock().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| made(&asset, &emulator));
        thread::sleep(millis(20));
        fs::remove_file(asset.receipt_path()).unwrap();
        deleted.unlock().unwrap();
        waiting.join().unwrap().unwrap();
    });
    is_free(&asset);
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn a_receipt_that_is_deleted_while_it_is_worked_on_is_an_error_with_the_id() {
    for (status, file) in [(vec![Step::Stall], vec![]), (vec![], vec![Step::Stall])] {
        let emulator = Emulator::builder().status(status).file(file).client_timeout(millis(300)).start();
        let (_folder, asset) = campfire();
        thread::scope(|scope| {
            let working = scope.spawn(|| made(&asset, &emulator));
            while emulator.polls().is_empty() {
                thread::sleep(millis(1));
            }
            fs::remove_file(asset.receipt_path()).unwrap();
            let error = working.join().unwrap().unwrap_err();
            assert_eq!(error.generation_id(), Some(&only_id(&emulator)));
            assert!(format!("{error:?}").contains("deleted or replaced"), "{error:?}");
        });
        // The file is there, and is not paid for again.
        assert_eq!(asset.state().unwrap(), State::Untracked);
        made(&asset, &emulator).unwrap_err();
        assert_eq!(emulator.creates().len(), 1);
    }
}

#[test]
fn a_refusal_that_could_not_be_written_is_written_before_the_next_try() {
    let (_folder, asset) = campfire();
    let (receipt, elsewhere) = (asset.receipt_path(), asset.path().with_extension("elsewhere"));
    let requests = AtomicUsize::new(0);
    let server = RawServer::start({
        let (receipt, elsewhere) = (receipt.clone(), elsewhere.clone());
        move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            match requests.fetch_add(1, Ordering::SeqCst) {
                0 => {
                    fs::rename(&receipt, &elsewhere).unwrap();
                    say(&mut stream, b"HTTP/1.1 429 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
                    thread::sleep(millis(100));
                    fs::rename(&elsewhere, &receipt).unwrap();
                }
                1 => say(&mut stream, b"HTTP/1.1 201 Yes\r\nContent-Length: 12\r\n\r\n{\"id\":\"a:b\"}"),
                _ => say(&mut stream, b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"),
            }
        }
    });
    let connect = || client_of(&format!("http://127.0.0.1:{}", server.port));
    let error = only_failure(ensure([&asset], connect).unwrap_err());
    assert_eq!(error.generation_id().map(|id| id.as_str()), Some("a:b"), "{error:?}");
    assert_eq!(steps_of(&asset), ["requested", "refused", "requested", "created"]);
}

#[test]
fn a_file_without_a_receipt_is_not_overwritten() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    fs::write(asset.path(), "somebody's work").unwrap();
    assert_eq!(asset.state().unwrap(), State::Untracked);
    let error = made(&asset, &emulator).unwrap_err();
    assert!(matches!(error, Error::AssetNotCurrent { .. }), "{error:?}");
    assert!(format!("{error:?}").contains("campfire.mp4.receipt.jsonl"), "{error:?}");
    assert_eq!(fs::read(asset.path()).unwrap(), b"somebody's work");
    assert_eq!(emulator.connections(), 0);
    assert!(!asset.receipt_path().exists(), "nor is an empty one left");

    // Nor with a receipt of what was refused.
    let refusing = Emulator::builder().create([Step::Http(403)]).start();
    let (_folder, asset) = campfire();
    made(&asset, &refusing).unwrap_err();
    fs::write(asset.path(), "somebody's work").unwrap();
    assert_eq!(asset.state().unwrap(), State::Untracked);
    made(&asset, &refusing).unwrap_err();
    assert_eq!(fs::read(asset.path()).unwrap(), b"somebody's work");
    assert_eq!(refusing.creates().len(), 1);
}

#[test]
fn a_receipt_that_is_replaced_meanwhile_keeps_its_file() {
    // While it waits, and while the file comes.
    for (status, file) in [(vec![Step::Stall], vec![]), (vec![], vec![Step::StallAfter(9000)])] {
        let within_the_file = status.is_empty();
        let made_first = Emulator::script([]);
        let emulator = Emulator::builder().status(status).file(file).client_timeout(millis(300)).start();
        let (folder, fox_asset) = campfire();
        let owl_asset = Asset::new(fox_asset.path(), VideoRequest::new("an owl").duration(Seconds::Ten));
        made(&fox_asset, &made_first).unwrap();
        let (receipt, before) = (fs::read(fox_asset.receipt_path()).unwrap(), fs::read(fox_asset.path()).unwrap());
        thread::scope(|scope| {
            let working = scope.spawn(|| made(&owl_asset, &emulator));
            while emulator.polls().is_empty() || (within_the_file && emulator.files().is_empty()) {
                thread::sleep(millis(1));
            }
            // As `git checkout` does it.
            fs::write(folder.path().join("new"), &receipt).unwrap();
            fs::rename(folder.path().join("new"), fox_asset.receipt_path()).unwrap();
            let error = working.join().unwrap().unwrap_err();
            assert!(error.generation_id().is_some(), "{error:?}");
        });
        assert!(fs::read(fox_asset.path()).unwrap() == before, "the file is still that of its receipt");
        is_free(&fox_asset);
    }
}

#[test]
fn a_file_that_has_expired_says_how_to_pay_again() {
    let emulator = Emulator::builder().file(vec![Step::Http(410); 9]).start();
    let (_folder, asset) = campfire();
    let error = made(&asset, &emulator).unwrap_err();
    assert_eq!(error.generation_id(), Some(&only_id(&emulator)));
    assert!(format!("{error:?}").contains("too old, delete "), "{error:?}");
}

#[test]
fn a_request_that_a_receipt_could_not_give_back_costs_nothing() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    let deep = (0..200).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    for request in [fox().param("deep", deep), fox().negative_prompt("x".repeat(3_000_000))] {
        let asset = Asset::new(asset.path(), request);
        let error = made(&asset, &emulator).unwrap_err();
        assert!(matches!(error, Error::InvalidRequest { .. } | Error::Io { .. }), "{error:?}");
    }
    assert_eq!(emulator.connections(), 0);
    // As deep as can be read, and of many characters.
    let deep = (0..120).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    let long = Asset::new(asset.path(), fox().negative_prompt("x".repeat(1_000_000)).param("deep", deep));
    made(&long, &emulator).unwrap();
    is_free(&long);
}

#[test]
fn all_that_failed_is_told_and_costs_the_others_nothing() {
    let emulator = Emulator::builder().status_of(0, [Step::failed("moderated")]).start();
    let folder = tempfile::tempdir().unwrap();
    let asset = |name: &str| Asset::new(folder.path().join(name), VideoRequest::new(name));
    let assets = ["failing.mp4", "hostile.mp4", "sound.mp4", "file/nowhere.mp4"].map(asset);
    fs::write(assets[1].receipt_path(), "hostile\n").unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let Err(Error::AssetsNotMade { failed }) = ensure(&assets, || Ok(emulator.client())) else { panic!("all made") };
    let mut names: Vec<String> =
        failed.iter().map(|(path, _)| path.strip_prefix(folder.path()).unwrap().display().to_string()).collect();
    names.sort();
    assert_eq!(names, ["failing.mp4", "file/nowhere.mp4", "hostile.mp4"]);
    assert_eq!(assets[2].state().unwrap(), State::Current);
}

#[test]
fn a_generation_of_another_server_is_not_asked_for_here() {
    let there = Emulator::builder().status([Step::Http(401)]).start();
    let (_folder, asset) = campfire();
    made(&asset, &there).unwrap_err();
    let here = Emulator::start();
    let error = made(&asset, &here).unwrap_err();
    assert!(matches!(error, Error::AssetNotCurrent { .. }), "{error:?}");
    assert!(format!("{error:?}").contains(&there.base_url()), "{error:?}");
    assert_eq!(here.connections(), 0);
    made(&asset, &there).unwrap();
    is_free(&asset);
}

#[test]
#[cfg(unix)]
fn more_assets_than_files_may_be_open_are_all_made() {
    let emulator = Emulator::start();
    let folder = tempfile::tempdir().unwrap();
    let (open, path) = (40, folder.path().join("campfire.mp4"));
    let limited = format!("ulimit -n {open} && exec \"$0\" --exact child_of_many --test-threads 1");
    let status = Command::new("sh")
        .args(["-c", &limited])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD_BASE, emulator.base_url())
        .env(CHILD_ASSET, &path)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(accepted(&emulator), MANY);
}

const MANY: usize = 50;

/// Not a test by itself, as `child`.
#[test]
fn child_of_many() {
    let Some((_, path)) = child_environment() else { return };
    let many: Vec<Asset> = (0..MANY)
        .map(|n| Asset::new(path.with_file_name(format!("{n}.mp4")), VideoRequest::new(format!("fox {n}"))))
        .collect();
    ensure(&many, child_client).unwrap();
}
