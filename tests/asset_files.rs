//! No file that was paid for is replaced, and no request is paid for because a file was renamed.

mod support;

use std::fs;
use std::path::Path;

use kling::asset::{State, ensure};
use kling::emulator::{Emulator, Step};
use kling::{Asset, Charged, Error, Result, Seconds, VideoRequest, build_script};
use support::assets::{assert_current, campfire, claim_from_service, events, generate, kept, only_failure};
use support::{fox, names};

fn owl_at(asset: &Asset) -> Asset {
    Asset::new(asset.path(), VideoRequest::new("an owl").duration(Seconds::Ten))
}

fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

/// Checks that an asset was pointed out instead of being paid for.
#[track_caller]
fn assert_pointed_out(result: Result<()>, text: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::AssetNotCurrent { charged: Charged::Yes, .. }), "{error:?}");
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn a_renamed_asset_is_pointed_out() {
    let emulator = Emulator::start();
    let (folder, old) = campfire();
    generate(&old, &emulator).unwrap();
    let new = Asset::new(folder.path().join("bonfire.mp4"), fox());
    // Only the name in the program was changed.
    let text = format!("rename {} to {}", old.path().display(), new.path().display());
    assert_pointed_out(generate(&new, &emulator), &text);
    let text = format!(", and {} to {}", old.receipt_path().display(), new.receipt_path().display());
    assert_pointed_out(generate(&new, &emulator), &text);
    // The video was renamed, too.
    rename(old.path(), new.path());
    let text = format!("instead of paying again, rename that file to {}", new.receipt_path().display());
    assert_pointed_out(generate(&new, &emulator), &text);
    rename(&old.receipt_path(), &new.receipt_path());
    assert_current(&new);
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn a_file_whose_receipt_was_renamed_is_pointed_out() {
    let emulator = Emulator::start();
    let (folder, old) = campfire();
    generate(&old, &emulator).unwrap();
    let new = Asset::new(folder.path().join("new.mp4"), fox());
    fs::rename(old.receipt_path(), new.receipt_path()).unwrap();
    // One has another length, and one another extension.
    fs::write(folder.path().join("another.mp4"), "").unwrap();
    fs::copy(old.path(), folder.path().join("another.mov")).unwrap();
    let stopped = build_script([new.clone()]).unwrap_err().to_string();
    let hint = format!("if {} is this video, rename it to {}", old.path().display(), new.path().display());
    assert!(stopped.contains(&hint), "{stopped}");
}

#[test]
fn an_asset_that_moved_to_another_directory_is_pointed_out_beside_another_asset() {
    let emulator = Emulator::start();
    let (folder, old) = campfire();
    let sea = Asset::new(folder.path().join("sea.mp4"), VideoRequest::new("a sea"));
    ensure([&old, &sea], || Ok(emulator.client())).unwrap();
    let new = Asset::new(folder.path().join("new").join("campfire.mp4"), fox());
    let error = only_failure(ensure([&sea, &new], || Ok(emulator.client())).unwrap_err());
    assert_pointed_out(Err(error), "was already generated as");
    assert_eq!(emulator.creates().len(), 2);
}

#[test]
fn assets_that_swapped_their_names_are_pointed_out() {
    let emulator = Emulator::start();
    let (folder, first) = campfire();
    let second = Asset::new(folder.path().join("second.mp4"), VideoRequest::new("a sea"));
    ensure([&first, &second], || Ok(emulator.client())).unwrap();
    let swapped = [Asset::new(first.path(), VideoRequest::new("a sea")), Asset::new(second.path(), fox())];
    let Err(Error::AssetsNotMade { failed }) = ensure(&swapped, || Ok(emulator.client())) else { panic!() };
    assert_eq!(failed.len(), 2);
    for (_, error) in failed {
        assert_pointed_out(Err(error), "move the files that are there away, and then copy ");
    }
    assert_eq!(emulator.creates().len(), 2);
}

#[test]
fn two_assets_of_one_request_have_a_video_each() {
    let emulator = Emulator::start();
    let (folder, first) = campfire();
    let second = Asset::new(folder.path().join("second.mp4"), fox());
    generate(&first, &emulator).unwrap();
    ensure([&first, &second], || Ok(emulator.client())).unwrap();
    assert_eq!(emulator.creates().len(), 2);
}

#[test]
fn a_rehearsal_under_another_name_does_not_stop_a_real_generation() {
    let (rehearsal, real) = (Emulator::start(), Emulator::start());
    let (folder, old) = campfire();
    generate(&old, &rehearsal).unwrap();
    let new = Asset::new(folder.path().join("bonfire.mp4"), fox());
    generate(&new, &real).unwrap();
    // A real one stops any.
    fs::remove_file(new.path()).unwrap();
    fs::remove_file(new.receipt_path()).unwrap();
    claim_from_service(&old, &rehearsal);
    assert_pointed_out(generate(&new, &real), "was already generated as");
}

#[test]
fn a_rehearsal_never_replaces_what_the_service_made() {
    let (service, rehearsal) = (Emulator::start(), Emulator::start());
    let (_folder, asset) = campfire();
    generate(&asset, &service).unwrap();
    claim_from_service(&asset, &service);
    let before = fs::read(asset.path()).unwrap();
    let error = generate(&owl_at(&asset), &rehearsal).unwrap_err();
    assert!(error.to_string().contains("a rehearsal does not replace it"), "{error:?}");
    assert_eq!(rehearsal.connections(), 0);
    assert!(fs::read(asset.path()).unwrap() == before);
    assert_current(&asset);
}

#[test]
fn a_rehearsal_replaces_another_rehearsal() {
    let (first, second) = (Emulator::start(), Emulator::start());
    let (folder, asset) = campfire();
    generate(&asset, &first).unwrap();
    generate(&owl_at(&asset), &second).unwrap();
    assert_current(&owl_at(&asset));
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn the_previous_video_is_kept_and_put_back_without_a_request() {
    let emulator = Emulator::start();
    let (folder, asset) = campfire();
    generate(&asset, &emulator).unwrap();
    let first = fs::read(asset.path()).unwrap();
    generate(&owl_at(&asset), &emulator).unwrap();
    let second = fs::read(asset.path()).unwrap();
    assert!(fs::read(kept(&asset, &emulator, 0)).unwrap() == first);
    let connections = emulator.connections();
    // Back and forth.
    generate(&asset, &emulator).unwrap();
    assert!(fs::read(asset.path()).unwrap() == first);
    assert!(fs::read(kept(&asset, &emulator, 1)).unwrap() == second);
    assert_current(&asset);
    generate(&owl_at(&asset), &emulator).unwrap();
    assert_current(&owl_at(&asset));
    assert_eq!(names(folder.path()).len(), 3, "{:?}", names(folder.path()));
    assert_eq!(emulator.connections(), connections);
}

#[test]
fn a_video_is_kept_under_the_id_of_its_own_generation() {
    // Both videos have the same length.
    let emulator = Emulator::start();
    let (_folder, fox_asset) = campfire();
    let owl_asset = Asset::new(fox_asset.path(), VideoRequest::new("an owl"));
    generate(&fox_asset, &emulator).unwrap();
    generate(&owl_asset, &emulator).unwrap();
    // A file of another length is not the video that was kept.
    let kept_fox = kept(&fox_asset, &emulator, 0);
    fs::write(&kept_fox, "somebody's work").unwrap();
    generate(&fox_asset, &emulator).unwrap();
    assert_current(&fox_asset);
    assert_eq!(fs::read(&kept_fox).unwrap(), b"somebody's work");
    assert!(kept(&fox_asset, &emulator, 1).is_file(), "the owl");
    assert_eq!(emulator.creates().len(), 2);
}

#[test]
fn a_video_that_was_kept_is_pointed_out_for_another_asset() {
    let emulator = Emulator::start();
    let (folder, asset) = campfire();
    generate(&asset, &emulator).unwrap();
    generate(&owl_at(&asset), &emulator).unwrap();
    let new = Asset::new(folder.path().join("bonfire.mp4"), fox());
    let error = only_failure(ensure([&owl_at(&asset), &new], || Ok(emulator.client())).unwrap_err());
    let text = format!("copy {} to {}", kept(&asset, &emulator, 0).display(), new.path().display());
    assert_pointed_out(Err(error), &text);
}

/// Returns a complete video of another length.
fn edited(video: &[u8]) -> Vec<u8> {
    [video, b"\0\0\0\x0cfreeedit"].concat()
}

#[test]
fn an_edited_video_is_never_overwritten() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    generate(&asset, &emulator).unwrap();
    let edited = edited(&fs::read(asset.path()).unwrap());
    fs::write(asset.path(), &edited).unwrap();
    let requests = emulator.connections();
    for asset in [&asset, &owl_at(&asset)] {
        let error = generate(asset, &emulator).unwrap_err();
        assert!(error.to_string().contains("the file is a complete video, but not the one"), "{error:?}");
        assert!(fs::read(asset.path()).unwrap() == edited);
    }
    assert_eq!(emulator.connections(), requests);
    // As the message says.
    fs::remove_file(asset.path()).unwrap();
    generate(&asset, &emulator).unwrap();
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn a_video_that_a_killed_run_has_placed_is_recorded() {
    let emulator = Emulator::builder().status([Step::Http(401)]).start();
    let (_folder, asset) = campfire();
    generate(&asset, &emulator).unwrap_err();
    let (_elsewhere, other) = campfire();
    generate(&other, &Emulator::start()).unwrap();
    // Another one is not taken for it.
    let video = fs::read(other.path()).unwrap();
    fs::write(asset.path(), edited(&video)).unwrap();
    let error = generate(&asset, &emulator).unwrap_err();
    assert!(format!("{error:?}").contains("the file is a complete video, but not the one"), "{error:?}");
    assert!(fs::read(asset.path()).unwrap() == edited(&video));
    fs::write(asset.path(), &video).unwrap();
    assert!(matches!(asset.state().unwrap(), State::InProgress { .. }));
    let stopped = build_script([asset.clone()]).unwrap_err().to_string();
    assert!(stopped.contains("to resume 1 generation without paying again"), "{stopped}");
    generate(&asset, &emulator).unwrap();
    assert_eq!(events(&asset), ["requested", "created", "completed"]);
    assert_current(&asset);
}
