//! Renamed assets: a video that was generated from the same request and lies under another name.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::attempt::{Attempt, Stage};
use super::event::request_json;
use super::kept;
use super::receipt::{self, FileId};
use super::state::{Asset, State};
use crate::charged::Charged;
use crate::error::Result;
use crate::temp_file::parent_dir;

/// A receipt that records a completed generation for the request of an asset with another name.
struct Twin {
    /// The video, if it is there.
    video: Option<PathBuf>,
    receipt: PathBuf,
    /// An asset of this call still uses the receipt, for another request.
    is_in_use: bool,
}

impl Twin {
    /// Returns how to use the video for an asset instead of paying again. `has_files` is `true` if the asset has files of
    /// its own, which stand in the way.
    fn advice(&self, asset: &Asset, has_files: bool) -> String {
        let (path, receipt) = (asset.path().display(), asset.receipt_path());
        let (receipt, twin_receipt) = (receipt.display(), self.receipt.display());
        let verb = if self.is_in_use { "copy" } else { "rename" };
        let first = if has_files { "move the files that are there away, and then " } else { "" };
        let Some(video) = self.video.as_ref().map(|video| video.display()) else {
            let then = if asset.exists() { "" } else { ", and run this again" };
            return format!(
                "its request was already generated, and {twin_receipt} records it; instead of paying again, {verb} that \
                 file to {receipt}{then}"
            );
        };
        format!(
            "its request was already generated as {video}; instead of paying again, {first}{verb} {video} to {path}, and \
             {twin_receipt} to {receipt}"
        )
    }
}

/// Fails if an asset that is not current was renamed, so that it is not paid for again.
pub(super) fn check_not_renamed(asset: &Asset, state: &State, others: &[&Asset], server: Option<&str>) -> Result<()> {
    match find_twin(asset, &request_json(&asset.request)?, others, server) {
        Some(twin) => Err(asset.not_current(twin.advice(asset, *state != State::Missing), Charged::Yes)),
        None => Ok(()),
    }
}

/// Finds a twin of an asset among the receipts in its directory, and beside the other assets of the call.
///
/// An asset of the call with the same request has a video of its own, and is not a twin. Neither is a rehearsal, if `server`
/// is another one, because it saves nobody a payment.
fn find_twin(asset: &Asset, request: &Value, others: &[&Asset], server: Option<&str>) -> Option<Twin> {
    let own = asset.receipt_path();
    let own_id = FileId::of(&own);
    let in_use: Vec<(FileId, bool)> = others
        .iter()
        .filter_map(|other| Some((FileId::of(&other.receipt_path())?, other.request == asset.request)))
        .collect();
    let mut directories: Vec<PathBuf> = others.iter().map(|other| parent_dir(other.path()).to_owned()).collect();
    directories.push(parent_dir(asset.path()).to_owned());
    directories.sort();
    directories.dedup();
    let mut twins = Vec::new();
    for path in
        directories.iter().flat_map(|directory| paths_in(directory)).filter(|path| receipt::asset_of(path).is_some())
    {
        let id = FileId::of(&path);
        if id.is_none() || id == own_id {
            continue;
        }
        let user = in_use.iter().find(|(used, _)| Some(used) == id.as_ref());
        if user.is_some_and(|(_, has_same_request)| *has_same_request) {
            continue;
        }
        let Some(video) = video_of(&path, request, server) else { continue };
        twins.push(Twin { video, receipt: path, is_in_use: user.is_some() });
    }
    // One whose video is there is worth more, then one that nobody uses.
    twins.into_iter().min_by_key(|twin| (twin.video.is_none(), twin.is_in_use))
}

/// Returns the paths in a directory, in an order that is the same on every machine.
fn paths_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Finds a file beside an asset that has the length of its missing video, and that no receipt explains: probably, the
/// asset was renamed, and only its receipt was moved.
pub(super) fn find_video(asset: &Asset, attempt: &Attempt) -> Option<PathBuf> {
    let extension = asset.path().extension()?;
    let is_its_length = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| attempt.has_file_size(found.len()));
    let has_receipt = |path: &Path| receipt::path_of(path).exists();
    // A video that was kept, such as `fox.1a2b3c4d.mp4`, belongs to the receipt of `fox.mp4`.
    let is_kept = |path: &PathBuf| has_receipt(&path.with_extension("").with_extension(extension));
    let mut paths = paths_in(parent_dir(asset.path())).into_iter();
    paths
        .find(|path| path.extension() == Some(extension) && is_its_length(path) && !has_receipt(path) && !is_kept(path))
}

/// Returns the video that the receipt records for a request; `Some(None)` if it is not beside the receipt.
fn video_of(path: &Path, request: &Value, server: Option<&str>) -> Option<Option<PathBuf>> {
    // A receipt that cannot be read proves nothing, and stops its own asset.
    let journal = receipt::read_unlocked(path).ok()?;
    let is_match = |attempt: &&Attempt| {
        attempt.request == *request
            && matches!(attempt.stage(), Stage::Completed(_))
            && (attempt.emulator_url().is_none() || server.is_none_or(|server| attempt.server() == server))
    };
    let attempts: Vec<&Attempt> = journal.attempts.iter().filter(is_match).collect();
    attempts.first()?;
    let video = receipt::asset_of(path)?;
    let len = fs::metadata(&video).ok().filter(|found| found.is_file()).map(|found| found.len());
    if len.is_some_and(|len| journal.current(request, len).is_some()) {
        return Some(Some(video));
    }
    Some(attempts.into_iter().find_map(|attempt| kept::find(&video, attempt)))
}
