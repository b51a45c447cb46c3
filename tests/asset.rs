//! Each asset is generated once, and again only if its request changes.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use kling::asset::{State, ensure};
use kling::emulator::{Emulator, RecordedRequest, Step};
use kling::{AspectRatio, Asset, Charged, Error, Seconds, VideoRequest};
use support::assets::{assert_current, campfire, events, generate, kept, only_failure};
use support::{accepted, closed_address, fox, names, only_id};

fn owl_at(asset: &Asset) -> Asset {
    Asset::new(asset.path(), VideoRequest::new("an owl"))
}

/// Returns how many create requests with this prompt were accepted.
fn accepted_with(emulator: &Emulator, prompt: &str) -> usize {
    let is_accepted = |create: &&RecordedRequest| create.body["prompt"] == prompt && create.generation_id.is_some();
    emulator.creates().iter().filter(is_accepted).count()
}

#[test]
fn assets_are_generated_once() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    assert_eq!(asset.state().unwrap(), State::Missing);
    generate(&asset, &emulator).unwrap();
    assert!(asset.state().unwrap().is_current());
    assert_current(&asset);
    let before = fs::read(asset.receipt_path()).unwrap();
    generate(&asset, &emulator).unwrap();
    assert_eq!(fs::read(asset.receipt_path()).unwrap(), before, "the receipt of a current asset is not written to");
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn a_change_in_any_field_makes_an_asset_stale() {
    let base = || VideoRequest::new("a fox").cfg_scale(0.3).param("provider", "kling");
    let owl = VideoRequest::new("an owl").cfg_scale(0.3).param("provider", "kling");
    let table = [
        ("prompt", owl, r#"prompt: "a fox" → "an owl""#),
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
    generate(&asset, &emulator).unwrap();
    assert!(Asset::new(asset.path(), base().client_request_id("another")).state().unwrap().is_current());
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
    generate(&longer, &emulator).unwrap();
    assert!(fs::metadata(asset.path()).unwrap().len() > before);
    assert_eq!(accepted(&emulator), 2);
}

#[test]
fn refused_and_failed_generations_are_generated_again() {
    let emulator = Emulator::builder().create([Step::Http(403)]).status_of(0, [Step::failed("moderated")]).start();
    let (_folder, asset) = campfire();
    assert!(matches!(generate(&asset, &emulator), Err(Error::Refused { status: 403, .. })));
    assert_eq!(asset.state().unwrap(), State::Missing);
    assert!(matches!(generate(&asset, &emulator), Err(Error::Failed { .. })));
    assert_eq!(asset.state().unwrap(), State::Missing);
    generate(&asset, &emulator).unwrap();
    assert_current(&asset);
    let all = ["requested", "refused", "requested", "created", "failed", "requested", "created", "completed"];
    assert_eq!(events(&asset), all);
}

#[test]
fn a_request_that_changes_and_changes_back_is_paid_for_once() {
    let (_folder, fox_asset) = campfire();
    let owl_asset = owl_at(&fox_asset);

    // The second request is refused: the file is still that of the first one.
    let emulator = Emulator::builder().create([Step::Queued, Step::Http(403)]).start();
    generate(&fox_asset, &emulator).unwrap();
    generate(&owl_asset, &emulator).unwrap_err();
    assert_current(&fox_asset);
    // The second one is generated: the first one's video is downloaded again.
    generate(&owl_asset, &emulator).unwrap();
    assert!(matches!(fox_asset.state().unwrap(), State::InProgress { .. }), "the file is the other one's");
    generate(&fox_asset, &emulator).unwrap();
    assert_current(&fox_asset);
    generate(&owl_asset, &emulator).unwrap();
    assert_eq!((accepted_with(&emulator, "A fox in the snow"), accepted_with(&emulator, "an owl")), (1, 1));

    // The first one's response was lost, or its video was not received.
    for (create, status) in [(Step::Close, vec![]), (Step::Queued, vec![Step::Http(401)])] {
        let emulator = Emulator::builder().create([create]).status_of(0, status).start();
        let (_folder, fox_asset) = campfire();
        let owl_asset = owl_at(&fox_asset);
        generate(&fox_asset, &emulator).unwrap_err();
        generate(&owl_asset, &emulator).unwrap();
        generate(&fox_asset, &emulator).unwrap();
        assert_current(&fox_asset);
        assert_eq!((accepted_with(&emulator, "A fox in the snow"), accepted_with(&emulator, "an owl")), (1, 1));
    }
}

#[test]
fn a_file_stays_current_while_another_request_has_no_video() {
    let emulator = Emulator::builder().status_of(0, []).status([Step::Http(401)]).start();
    let (_folder, fox_asset) = campfire();
    generate(&fox_asset, &emulator).unwrap();
    generate(&owl_at(&fox_asset), &emulator).unwrap_err();
    assert_current(&fox_asset);
    // A third request is compared with the last one that exists.
    let State::Stale { differences } = Asset::new(fox_asset.path(), VideoRequest::new("a cat")).state().unwrap() else {
        panic!("it is stale")
    };
    assert_eq!(differences[0].was, Some("an owl".into()));
}

#[test]
fn a_completed_generation_is_not_paid_for_again_if_it_fails_later() {
    let fails_later = [Step::Completed, Step::failed("expired")];
    let emulator = Emulator::builder().status_of(0, fails_later).start();
    let (_folder, fox_asset) = campfire();
    generate(&fox_asset, &emulator).unwrap();
    generate(&Asset::new(fox_asset.path(), VideoRequest::new("an owl").duration(Seconds::Ten)), &emulator).unwrap();
    fs::remove_file(kept(&fox_asset, &emulator, 0)).unwrap();
    for _ in 0..3 {
        let error = generate(&fox_asset, &emulator).unwrap_err();
        assert_eq!(error.generation_id().map(|id| id.as_str()), emulator.creates()[0].generation_id.as_deref());
        assert!(format!("{error:?}").contains("restore the video from version control"), "{error:?}");
        assert!(matches!(fox_asset.state().unwrap(), State::InProgress { .. }));
    }
    assert_eq!(emulator.creates().len(), 2);
}

#[test]
fn a_generation_that_ended_at_an_unknown_cost_is_left_to_a_person() {
    let statuses = [Step::other_status("expired"), Step::other_status("expired"), Step::Completed];
    let emulator = Emulator::script(statuses);
    let (_folder, asset) = campfire();
    for _ in 0..2 {
        let error = generate(&asset, &emulator).unwrap_err();
        assert_eq!(error.generation_id(), Some(&only_id(&emulator)));
        assert_eq!(error.charged(), Charged::Perhaps, "{error:?}");
        assert!(format!("{error:?}").contains("only a person can decide to pay again"), "{error:?}");
        assert!(matches!(asset.state().unwrap(), State::Ended { id, .. } if id == only_id(&emulator)));
    }
    assert_eq!(events(&asset), ["requested", "created", "ended"]);
    // Polling it again costs nothing, and may find a video after all.
    generate(&asset, &emulator).unwrap();
    assert_current(&asset);
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn an_existing_generation_is_resumed() {
    let emulator = Emulator::builder().status([Step::Http(401), Step::Http(403)]).start();
    let (_folder, asset) = campfire();
    for _ in 0..2 {
        generate(&asset, &emulator).unwrap_err();
        assert_eq!(asset.state().unwrap(), State::InProgress { id: only_id(&emulator) });
    }
    generate(&asset, &emulator).unwrap();
    assert_eq!(events(&asset), ["requested", "created", "completed"]);
    // The file is deleted, or damaged: it is downloaded again.
    fs::remove_file(asset.path()).unwrap();
    assert_eq!(asset.state().unwrap(), State::InProgress { id: only_id(&emulator) });
    generate(&asset, &emulator).unwrap();
    fs::write(asset.path(), "half").unwrap();
    generate(&asset, &emulator).unwrap();
    assert_current(&asset);
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn a_lost_response_is_looked_up_and_never_paid_for_again() {
    // The logs list the request at once, late, or after they could not be read.
    for (emulator, failures) in [
        (Emulator::builder().create([Step::Close]), 1),
        (Emulator::builder().create([Step::Http(503)]), 1),
        (Emulator::builder().create([Step::Close]).logs_lag(2), 3),
        (Emulator::builder().create([Step::Close]).logs([Step::Http(403)]), 2),
    ] {
        let emulator = emulator.start();
        let (_folder, asset) = campfire();
        for _ in 0..failures {
            let error = generate(&asset, &emulator).unwrap_err();
            let sent = emulator.creates()[0].header("x-client-request-id").unwrap().to_owned();
            let Error::OutcomeUnknown { client_request_id, source } = &error else { panic!("{error:?}") };
            assert_eq!(client_request_id, &sent);
            assert!(matches!(**source, Error::AssetNotCurrent { .. }), "{error:?}");
            let state = State::Unknown { client_request_id: Some(sent) };
            assert_eq!(asset.state().unwrap(), state);
            assert_eq!(events(&asset), ["requested"]);
        }
        generate(&asset, &emulator).unwrap();
        assert_current(&asset);
        assert_eq!(accepted(&emulator), 1);
        assert_eq!(emulator.creates().len(), 1);
    }
}

#[test]
fn a_request_that_failed_long_ago_according_to_the_logs_is_sent_again() {
    for (age, is_believed) in [(Duration::ZERO, false), (Duration::from_secs(3600), true)] {
        let failing = Emulator::builder().create([Step::Close]).status_of(0, [Step::failed("moderated")]);
        let emulator = failing.logs_age(age).start();
        let (_folder, asset) = campfire();
        generate(&asset, &emulator).unwrap_err();
        assert_eq!(generate(&asset, &emulator).is_ok(), is_believed);
        let all = ["requested", "refused", "requested", "created", "completed"];
        assert_eq!(events(&asset), if is_believed { &all[..] } else { &all[..1] });
    }
}

#[test]
fn a_503_is_no_refusal() {
    for step in [Step::Http(503), Step::http_retry_after(503, "5")] {
        let emulator = Emulator::builder().create([step]).logs_lag(9).start();
        let (_folder, asset) = campfire();
        for _ in 0..2 {
            let error = generate(&asset, &emulator).unwrap_err();
            assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
            assert_eq!(events(&asset), ["requested"]);
        }
        assert_eq!(emulator.creates().len(), 1);
    }
}

#[test]
fn a_request_that_was_not_sent_leaves_the_asset_missing() {
    let (_folder, asset) = campfire();
    let emulator = Emulator::start();
    let nowhere = format!("http://{}", closed_address());
    let connect = || emulator.client_builder().base_url(nowhere).build();
    let error = only_failure(ensure([&asset], connect).unwrap_err());
    assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
    assert_eq!(asset.state().unwrap(), State::Missing);
    generate(&asset, &emulator).unwrap();
}

#[test]
fn each_create_request_gets_a_client_request_id_of_its_own() {
    let emulator = Emulator::builder().create([Step::Http(429)]).start();
    let folder = tempfile::tempdir().unwrap();
    let assets = ["a.mp4", "b.mp4"].map(|name| Asset::new(folder.path().join(name), fox().client_request_id("fox-1")));
    ensure(&assets, || Ok(emulator.client())).unwrap();
    let receipts = assets.each_ref().map(|asset| fs::read_to_string(asset.receipt_path()).unwrap()).concat();
    let creates = emulator.creates();
    let ids: BTreeSet<&str> = creates.iter().map(|create| create.header("x-client-request-id").unwrap()).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert!(ids.iter().all(|id| receipts.contains(id)), "{receipts}");
    assert!(!receipts.contains("fox-1") && !receipts.contains("offline-key"));
}

#[test]
fn assets_are_generated_together_and_fail_alone() {
    let emulator = Emulator::builder().status_of(1, [Step::failed("moderated")]).start();
    let folder = tempfile::tempdir().unwrap();
    let assets: Vec<Asset> = (0..4)
        .map(|n| Asset::new(folder.path().join(format!("{n}.mp4")), VideoRequest::new(format!("fox {n}"))))
        .collect();
    let error = ensure(&assets, || Ok(emulator.client())).unwrap_err();
    assert!(matches!(only_failure(error), Error::Failed { .. }));
    let current = assets.iter().filter(|asset| asset.state().unwrap().is_current()).count();
    assert_eq!(current, 3);
    // All were created before the first one had finished.
    assert_eq!(emulator.creates().len(), 4);
    let paths = ensure(&assets, || Ok(emulator.client())).unwrap();
    assert_eq!(paths.len(), 4);
    assert_eq!(emulator.creates().len(), 5);
}

#[test]
fn every_failure_is_reported() {
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
    assert!(assets[2].state().unwrap().is_current());
}

#[test]
fn one_path_has_one_request() {
    let emulator = Emulator::start();
    let (folder, asset) = campfire();
    let same = Asset::new(folder.path().join(".").join("campfire.mp4"), fox());
    ensure([&asset, &same], || Ok(emulator.client())).unwrap();
    assert_eq!(emulator.creates().len(), 1);
    // The directory is missing, so the paths cannot be compared before it is created.
    let new = folder.path().join("new");
    let spellings = [new.join("a.mp4"), new.join("..").join("new").join("a.mp4")].map(|path| Asset::new(path, fox()));
    ensure(&spellings, || Ok(emulator.client())).unwrap();
    assert_eq!(emulator.creates().len(), 2);
    let other = owl_at(&asset);
    assert!(matches!(ensure([&asset, &other], || Ok(emulator.client())), Err(Error::InvalidConfig { .. })));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
        let other = owl_at(&Asset::new(folder.path().join("link/campfire.mp4"), fox()));
        assert!(matches!(ensure([&asset, &other], || Ok(emulator.client())), Err(Error::InvalidConfig { .. })));
    }
}

#[test]
fn files_without_a_receipt_are_not_overwritten() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    fs::write(asset.path(), "somebody's work").unwrap();
    assert_eq!(asset.state().unwrap(), State::Untracked);
    let error = generate(&asset, &emulator).unwrap_err();
    assert!(matches!(error, Error::AssetNotCurrent { .. }), "{error:?}");
    assert_eq!(fs::read(asset.path()).unwrap(), b"somebody's work");
    assert_eq!(emulator.connections(), 0);
    assert!(!asset.receipt_path().exists(), "an empty receipt is left");

    // A receipt of a refused request does not say what the file is, either.
    let refusing = Emulator::builder().create([Step::Http(403)]).start();
    let (_folder, asset) = campfire();
    generate(&asset, &refusing).unwrap_err();
    fs::write(asset.path(), "somebody's work").unwrap();
    assert_eq!(asset.state().unwrap(), State::Untracked);
    generate(&asset, &refusing).unwrap_err();
    assert_eq!(fs::read(asset.path()).unwrap(), b"somebody's work");
    assert_eq!(refusing.creates().len(), 1);
}

#[test]
fn unwritable_directories_cost_nothing() {
    let emulator = Emulator::start();
    let (folder, _) = campfire();
    fs::write(folder.path().join("file"), "").unwrap();
    let asset = Asset::new(folder.path().join("file").join("campfire.mp4"), fox());
    let error = generate(&asset, &emulator).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert_eq!(emulator.connections(), 0);
    // A path where no file can be is found before anything is paid for.
    fs::create_dir(folder.path().join("campfire.mp4")).unwrap();
    let error = generate(&Asset::new(folder.path().join("campfire.mp4"), fox()), &emulator).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert_eq!(emulator.creates().len(), 0);
    // A missing directory is created.
    let asset = Asset::new(folder.path().join("new").join("assets").join("campfire.mp4"), fox());
    generate(&asset, &emulator).unwrap();
}

#[test]
fn requests_that_a_receipt_cannot_record_cost_nothing() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    let deep = (0..200).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    for request in [fox().param("deep", deep), fox().negative_prompt("x".repeat(3_000_000))] {
        let asset = Asset::new(asset.path(), request);
        let error = generate(&asset, &emulator).unwrap_err();
        assert!(matches!(error, Error::InvalidRequest { .. } | Error::Io { .. }), "{error:?}");
    }
    assert_eq!(emulator.connections(), 0);
    // The deepest that can be read back, and a very long one.
    let deep = (0..120).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    let long = Asset::new(asset.path(), fox().negative_prompt("x".repeat(1_000_000)).param("deep", deep));
    generate(&long, &emulator).unwrap();
    assert_current(&long);
}

#[test]
fn generations_of_another_server_are_not_polled_here() {
    let there = Emulator::builder().status([Step::Http(401)]).start();
    let (_folder, asset) = campfire();
    generate(&asset, &there).unwrap_err();
    let here = Emulator::start();
    let error = generate(&asset, &here).unwrap_err();
    assert!(matches!(error, Error::AssetNotCurrent { .. }), "{error:?}");
    assert!(format!("{error:?}").contains(&there.base_url()), "{error:?}");
    assert_eq!((error.charged(), here.connections()), (Charged::Yes, 0));
    generate(&asset, &there).unwrap();
    assert_current(&asset);

    let there = Emulator::builder().create([Step::Close]).logs_lag(9).start();
    let (_folder, asset) = campfire();
    generate(&asset, &there).unwrap_err();
    let error = generate(&asset, &here).unwrap_err();
    assert!(format!("{error:?}").contains(&there.base_url()), "{error:?}");
    assert_eq!((error.charged(), here.connections()), (Charged::Perhaps, 0));
}

#[test]
fn leftovers_of_killed_processes_are_removed_and_links_are_not_followed() {
    let emulator = Emulator::start();
    let (folder, asset) = campfire();
    let part = folder.path().join(".campfire.mp4.0123456789abcdef.part");
    fs::write(&part, "half").unwrap();
    generate(&asset, &emulator).unwrap();
    assert_eq!(names(folder.path()).len(), 2);

    #[cfg(unix)]
    {
        let target = folder.path().join("target");
        fs::write(&target, "mine").unwrap();
        std::os::unix::fs::symlink(&target, &part).unwrap();
        fs::remove_file(asset.path()).unwrap();
        generate(&asset, &emulator).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"mine");
        assert!(asset.path().symlink_metadata().unwrap().is_file());
    }
}
