//! Everything that happens to assets is yielded in order, after the receipt has recorded it.

mod support;

use std::fs;

use kling::asset::{Ensure, State};
use kling::emulator::{Emulator, Step};
use kling::{Asset, Charged, Error, Update, VideoRequest};
use support::assets::{assert_current, campfire, events, generate};
use support::{accepted, fox, millis, only_id};
use tempfile::TempDir;

/// Returns assets that have not been generated, ordered by name from the last to the first.
fn seas(count: usize) -> (TempDir, Vec<Asset>) {
    let folder = tempfile::tempdir().unwrap();
    let asset = |n: usize| Asset::new(folder.path().join(format!("{n:02}.mp4")), VideoRequest::new(format!("sea {n}")));
    let assets = (0..count).rev().map(asset).collect();
    (folder, assets)
}

#[test]
fn an_update_is_yielded_once_the_receipt_has_recorded_it() {
    let emulator = Emulator::builder().create([Step::Http(429)]).status([Step::Queued, Step::Http(502)]).start();
    let (_folder, asset) = campfire();
    let mut seen = Vec::new();
    for (index, update) in Ensure::new([&asset]).updates(|| Ok(emulator.client())).unwrap() {
        assert_eq!(index, 0);
        let name = match &update {
            Update::Sending { client_request_id } => {
                assert!(fs::read_to_string(asset.receipt_path()).unwrap().contains(client_request_id));
                "sending"
            }
            Update::Retrying(_) => "retrying",
            Update::Created(id) => {
                assert_eq!(asset.state().unwrap(), State::InProgress { id: id.clone() });
                "created"
            }
            Update::Status(status) => {
                assert!(!asset.path().exists());
                if status.is_finished() { "completed" } else { "queued" }
            }
            Update::Missed(_) => "missed",
            Update::Finished(Ok(video)) => {
                let State::Current(origin) = asset.state().unwrap() else { panic!("{:?}", asset.state()) };
                assert_eq!((&origin.id, Some(origin.file_size)), (&video.id, video.file_size));
                assert_eq!(origin.server, Some(emulator.base_url()));
                assert_eq!(Some(origin.cost), video.usage);
                "finished"
            }
            other => panic!("{other:?}"),
        };
        seen.push((name, events(&asset).last().unwrap().clone()));
    }
    let seen: Vec<(&str, &str)> = seen.iter().map(|(name, event)| (*name, event.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("sending", "requested"),
            ("retrying", "refused"),
            ("sending", "requested"),
            ("created", "created"),
            ("queued", "created"),
            ("missed", "created"),
            ("completed", "created"),
            ("finished", "completed"),
        ]
    );
}

#[test]
fn indices_are_those_of_the_callers_list() {
    let emulator = Emulator::builder().create([Step::Http(403)]).start();
    let (_folder, assets) = seas(20);
    generate(&assets[3], &emulator).unwrap_err();
    generate(&assets[3], &emulator).unwrap();
    fs::write(assets[5].path(), "not a video").unwrap();
    let mut finished = vec![0; assets.len()];
    // The last one is listed twice.
    let listed = assets.iter().chain([&assets[19]]);
    for (index, update) in Ensure::new(listed).updates(|| Ok(emulator.client())).unwrap() {
        if let Update::Finished(outcome) = update {
            finished[index] += 1;
            assert_eq!(outcome.is_ok(), assets[index].state().unwrap().is_current());
            assert_eq!(outcome.is_err(), index == 5, "{outcome:?}");
        }
    }
    let expected: Vec<i32> = (0..20).map(|index| i32::from(index != 3)).collect();
    assert_eq!(finished, expected, "the current one yields nothing");
}

#[test]
fn at_most_so_many_are_in_flight() {
    let (_folder, assets) = seas(6);
    for max in [1, 3] {
        let emulator = Emulator::builder().max_concurrent(max).start();
        assets.iter().for_each(|asset| {
            let _ = (fs::remove_file(asset.path()), fs::remove_file(asset.receipt_path()));
        });
        let run = Ensure::new(&assets).max_in_flight(max).run(|| Ok(emulator.client())).unwrap();
        assert_eq!(run.len(), 6);
        assert_eq!(emulator.creates().len(), 6, "none was refused with 429");
    }
}

#[test]
fn a_request_that_was_announced_and_not_sent_is_not_looked_up() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    let mut updates = Ensure::new([&asset]).updates(|| Ok(emulator.client())).unwrap();
    assert!(matches!(updates.next(), Some((0, Update::Sending { .. }))));
    drop(updates);
    assert_eq!(events(&asset), ["requested", "refused"]);
    assert_eq!(asset.state().unwrap(), State::Missing);
    assert_eq!(emulator.connections(), 0);
    generate(&asset, &emulator).unwrap();
    assert_eq!(accepted(&emulator), 1);
}

#[test]
fn a_request_that_was_sent_is_not_taken_back() {
    let emulator = Emulator::script(vec![Step::Generating; 9999]);
    let (_folder, assets) = seas(2);
    let mut updates = Ensure::new(&assets).updates(|| Ok(emulator.client())).unwrap();
    let mut created = 0;
    // The last request that was announced is the second one.
    while created < 2 {
        created += usize::from(matches!(updates.next(), Some((_, Update::Created(_)))));
    }
    drop(updates);
    for asset in &assets {
        assert_eq!(events(asset), ["requested", "created"]);
    }
}

#[test]
fn a_run_that_is_stopped_at_a_tick_is_resumed() {
    let emulator = Emulator::script(vec![Step::Http(503); 9999]);
    let (_folder, asset) = campfire();
    let mut ticks = 0;
    for update in Ensure::new([&asset]).updates(|| Ok(emulator.client())).unwrap().tick(millis(1)) {
        ticks += usize::from(update.is_none());
        if ticks > 2 {
            break;
        }
    }
    assert_eq!(asset.state().unwrap(), State::InProgress { id: only_id(&emulator) });
    // The lock is released with the iterator.
    fs::File::open(asset.receipt_path()).unwrap().try_lock().unwrap();
}

#[test]
fn without_permission_to_create_only_what_exists_is_fetched() {
    let emulator = Emulator::builder().status([Step::Http(401)]).start();
    let (folder, lost) = campfire();
    let missing = Asset::new(folder.path().join("missing.mp4"), VideoRequest::new("an owl"));
    generate(&lost, &emulator).unwrap_err();
    let error = Ensure::new([&missing, &lost]).may_create(false).run(|| Ok(emulator.client())).unwrap_err();
    assert_eq!(error.charged(), Charged::No);
    let Error::AssetsNotMade { failed } = error else { panic!("{error:?}") };
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0, missing.path());
    assert_current(&lost);
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn the_state_of_a_current_asset_is_data() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    assert_eq!(serde_json::to_value(asset.state().unwrap()).unwrap(), "missing");
    generate(&asset, &emulator).unwrap();
    let json = serde_json::to_value(asset.state().unwrap()).unwrap();
    let origin = &json["current"];
    assert_eq!(origin["id"], only_id(&emulator).as_str());
    assert_eq!(origin["cost"]["credits"], 120_000.0);
    assert_eq!(origin["server"], emulator.base_url());
    assert!(origin["requested_at"].as_u64().is_some_and(|at| at > 1_700_000_000), "{origin}");
    let changed = Asset::new(asset.path(), fox().param("seed", 1)).state().unwrap();
    assert_eq!(serde_json::to_value(changed).unwrap()["stale"]["differences"][0]["field"], "seed");
}
