//! Helpers for the tests of assets.

use std::fs;
use std::path::PathBuf;

use kling::asset::ensure;
use kling::emulator::Emulator;
use kling::{Asset, Client, Error, Poll, Result};
use tempfile::TempDir;

use super::{fox, millis};

/// Returns a directory, and an asset in it that has not been generated.
pub fn campfire() -> (TempDir, Asset) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let asset = Asset::new(folder.path().join("campfire.mp4"), fox());
    (folder, asset)
}

/// Generates one asset.
pub fn generate(asset: &Asset, emulator: &Emulator) -> Result<()> {
    ensure([asset], || Ok(emulator.client())).map(drop).map_err(only_failure)
}

/// Generates one asset with a client that waits only for a moment, for a file that never comes.
pub fn generate_impatiently(asset: &Asset, emulator: &Emulator) -> Result<()> {
    let poll = Poll { interval: millis(5), max_wait: millis(200) };
    ensure([asset], || emulator.client_builder().poll(poll).build()).map(drop).map_err(only_failure)
}

/// Returns the error of the only asset that failed.
#[track_caller]
pub fn only_failure(error: Error) -> Error {
    match error {
        Error::AssetsNotMade { mut failed } if failed.len() == 1 => failed.remove(0).1,
        other => other,
    }
}

/// Checks that an asset is current: `ensure` needs no client.
#[track_caller]
pub fn assert_current(asset: &Asset) {
    ensure([asset], || panic!("the asset is not current: {:?}", asset.state())).expect("a current asset");
}

/// Returns where the video of a generation is kept when another one takes its place.
pub fn kept(asset: &Asset, emulator: &Emulator, generation: usize) -> PathBuf {
    let creates = emulator.creates();
    let id = creates.iter().filter_map(|create| create.generation_id.as_ref()).nth(generation).expect("it was created");
    asset.path().with_extension(format!("{}.mp4", &id[..8]))
}

/// Makes a receipt say that the service itself has generated what an emulator has.
pub fn claim_from_service(asset: &Asset, emulator: &Emulator) {
    let receipt = fs::read_to_string(asset.receipt_path()).expect("a receipt");
    let claimed = receipt.replace(&format!(r#""server":"{}","#, emulator.base_url()), "");
    assert_ne!(receipt, claimed);
    fs::write(asset.receipt_path(), claimed).expect("the receipt is written");
}

/// Returns the events of a receipt, by name.
pub fn events(asset: &Asset) -> Vec<String> {
    let receipt = fs::read_to_string(asset.receipt_path()).expect("a receipt");
    receipt.lines().map(|line| line.split('"').nth(1).expect("an event").to_owned()).collect()
}

/// Returns a client with short polls for the server at this URL.
pub fn client_of(base_url: &str) -> Result<Client> {
    let poll = Poll { interval: millis(5), ..Poll::default() };
    Client::builder("rehearsal-key").base_url(base_url).poll(poll).build()
}
