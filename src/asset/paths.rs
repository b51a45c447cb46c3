//! The paths of the assets of one call: compared, created, and locked once each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::receipt::FileId;
use super::state::Asset;
use crate::charged::Charged;
use crate::error::{Error, Result};
use crate::temp_file::sync_parent_dir;

/// Returns the assets without repetitions, each with its index, ordered by path. Processes that lock receipts in the same
/// order cannot deadlock.
pub(super) fn dedup_by_path<'a>(assets: &[(usize, &'a Asset)]) -> Result<Vec<(usize, &'a Asset)>> {
    let mut by_path: Vec<(PathBuf, (usize, &Asset))> = Vec::new();
    for &(index, asset) in assets {
        let path = canonical_path(asset.path());
        match by_path.binary_search_by(|(other, _)| other.cmp(&path)) {
            Ok(place) if by_path[place].1.1.request != asset.request => {
                let reason = format!("{} has two different requests", asset.path().display());
                return Err(Error::InvalidConfig { what: "assets", reason });
            }
            Ok(_) => {}
            Err(place) => by_path.insert(place, (path, (index, asset))),
        }
    }
    Ok(by_path.into_iter().map(|(_, asset)| asset).collect())
}

/// Returns a canonical path, so that two spellings of one path do not lock the same receipt twice and deadlock.
fn canonical_path(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().and_then(|directory| fs::canonicalize(directory).ok());
    match (directory, path.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => path,
    }
}

/// Creates a directory with its parents. Each new one is synced into its parent: a power failure that removed it would
/// remove the receipt in it.
pub(super) fn create_dir_synced(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Ok(()) => sync_parent_dir(directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_dir_synced(directory.parent().ok_or(error)?)?;
            return create_dir_synced(directory);
        }
        // It exists already. The error may also be that of a read-only parent directory.
        Err(_) if directory.is_dir() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The receipts that one call has locked.
#[derive(Default)]
pub(super) struct Locked<'a>(Vec<(FileId, &'a Asset)>);

impl<'a> Locked<'a> {
    /// Returns `false` if this call works on the asset already. Fails if it has locked the receipt for another asset: a
    /// second lock would wait for the first one. Links, and file systems that ignore case, give one file several names.
    pub(super) fn is_new(&self, asset: &Asset, receipt: &Path) -> Result<bool> {
        FileId::of(receipt).map_or(Ok(true), |id| self.is_new_id(asset, &id))
    }

    fn is_new_id(&self, asset: &Asset, receipt: &FileId) -> Result<bool> {
        let Some((_, other)) = self.0.iter().find(|(id, _)| id == receipt) else { return Ok(true) };
        let lowercase = |asset: &Asset| asset.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if lowercase(asset) == lowercase(other) && asset.request == other.request {
            return Ok(false);
        }
        let other = other.path().display();
        let reason = format!("it has the same receipt as {other}; give each asset a path of its own");
        Err(asset.not_current(reason, Charged::No))
    }

    /// Adds a receipt that was locked.
    pub(super) fn add(&mut self, asset: &'a Asset, receipt: &Path) {
        self.0.extend(FileId::of(receipt).map(|id| (id, asset)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::VideoRequest;

    #[test]
    fn two_names_of_one_receipt_are_locked_once() {
        // As on a file system that ignores case.
        let asset = |name: &str, prompt: &str| Asset::new(format!("/assets/{name}"), VideoRequest::new(prompt));
        let id = |asset: &Asset| FileId::of_canonical(&asset.receipt_path());
        let first = asset("Fox.mp4", "a fox");
        let locked = Locked(vec![(id(&first), &first)]);
        for (name, prompt, expected) in [
            ("owl.mp4", "an owl", "Ok(true)"),
            ("fox.mp4", "a fox", "Ok(false)"),
            ("FOX.MP4", "a fox", "Ok(false)"),
            (
                "fox.mp4",
                "an owl",
                "Err(/assets/fox.mp4 is not current: it has the same receipt as /assets/Fox.mp4; give each asset a path \
                 of its own)",
            ),
        ] {
            let other = asset(name, prompt);
            assert_eq!(format!("{:?}", locked.is_new_id(&other, &id(&other))), expected, "{name}: {prompt}");
        }
    }

    #[test]
    fn directories_are_created_with_their_parents() {
        let folder = tempfile::tempdir().unwrap();
        let nested = folder.path().join("new").join("assets");
        for _ in 0..2 {
            create_dir_synced(&nested).unwrap();
            assert!(nested.is_dir());
        }
        fs::write(nested.join("file"), "").unwrap();
        create_dir_synced(&nested.join("file").join("assets")).unwrap_err();
        create_dir_synced(Path::new("")).unwrap_err();
    }
}
