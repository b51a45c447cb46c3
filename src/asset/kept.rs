//! The fate of the file at an asset's path when another video takes its place.
//!
//! A video that was paid for is never deleted. It is renamed to `campfire.1a2b3c4d.mp4`, after its generation's id, and
//! the receipt keeps its lines. So takes can be compared, the repository shows what is new, and a request that changes
//! back gets its video without a network.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::attempt::Attempt;
use super::journal::Journal;
use super::origin::is_emulator;
use super::state::Asset;
use crate::charged::Charged;
use crate::error::{Error, Result};
use crate::mp4::Boxes;
use crate::save::TempVideo;
use crate::temp_file::sync_parent_dir;

/// The fate of a file.
#[derive(Debug, PartialEq)]
pub(super) enum Fate {
    /// There is no file.
    Absent,
    /// It is replaced: it is a test clip of another server, or not a complete video.
    Replaced,
    /// It is renamed to this path first.
    Kept(PathBuf),
    /// It stays, because this client is a rehearsal, and the file was paid for.
    StaysForRehearsal,
    /// It stays, because it is a complete video that the receipt does not record: somebody has edited it, or a run was
    /// killed before it could record it.
    StaysUnrecorded,
}

/// Returns the fate of the file at an asset's path when a client of `server` places a video of the attempt with this
/// client request id there. A build that may not generate has no client, and so no server.
pub(super) fn fate(asset: &Asset, journal: &Journal, server: Option<&str>, client_request_id: &str) -> Result<Fate> {
    let Some(len) = asset.file_len().map_err(Error::io("read the metadata of", asset.path()))? else {
        return Ok(Fate::Absent);
    };
    let made_it = |attempt: &&Attempt| attempt.has_file_size(len);
    let is_other = |attempt: &&Attempt| attempt.client_request_id != client_request_id;
    let makers = || journal.attempts.iter().rev().filter(made_it);
    let Some(maker) = makers().find(is_other).or_else(|| makers().next()) else {
        let is_video = is_complete_video(asset.path()).map_err(Error::io("read", asset.path()))?;
        return Ok(if is_video { Fate::StaysUnrecorded } else { Fate::Replaced });
    };
    let is_paid = maker.emulator_url().is_none();
    Ok(match server {
        Some(server) if is_paid && is_emulator(server) => Fate::StaysForRehearsal,
        _ if !is_paid && server != Some(maker.server()) => Fate::Replaced,
        _ => match find(asset.path(), maker) {
            // It is kept already.
            Some(_) => Fate::Replaced,
            None => Fate::Kept(free_path(asset.path(), maker)),
        },
    })
}

/// Fails if the file must stay.
pub(super) fn check(asset: &Asset, fate: &Fate) -> Result<()> {
    let reason = match fate {
        Fate::StaysForRehearsal => {
            "the file was paid for, and a rehearsal does not replace it; rehearse with another path, or move the file and \
             its receipt away"
        }
        Fate::StaysUnrecorded => UNRECORDED,
        Fate::Absent | Fate::Replaced | Fate::Kept(_) => return Ok(()),
    };
    Err(asset.not_current(reason, Charged::Perhaps))
}

/// Why a complete video that the receipt does not record stays.
pub(super) const UNRECORDED: &str = "the file is a complete video, but not the one that was generated, and is not replaced; if it was edited, keep it under \
     another name, and restore the generated file from version control, or move it away and fetch that one again";

/// Moves a complete video to its path, and returns its length in bytes.
pub(super) fn place(asset: &Asset, temp: TempVideo<'_>, fate: Fate) -> Result<u64> {
    match &fate {
        // A run that was killed has placed this very video, and not recorded it.
        Fate::StaysUnrecorded => {
            let same = is_same_content(temp.path(), asset.path()).map_err(Error::io("read", asset.path()))?;
            if !same {
                check(asset, &fate)?;
            }
        }
        Fate::Kept(path) => keep(asset.path(), path)?,
        Fate::StaysForRehearsal => check(asset, &fate)?,
        Fate::Absent | Fate::Replaced => {}
    }
    temp.persist()
}

/// Renames a video to a path that nothing has.
pub(super) fn keep(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(Error::io("keep the previous video as", to))?;
    sync_parent_dir(to);
    Ok(())
}

/// Returns the path of the video that an attempt has made, if it was kept.
pub(super) fn find(path: &Path, attempt: &Attempt) -> Option<PathBuf> {
    let is_its_video =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.is_file() && attempt.has_file_size(found.len()));
    paths(path, attempt).find(is_its_video)
}

fn free_path(path: &Path, attempt: &Attempt) -> PathBuf {
    let is_free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
    paths(path, attempt).find(is_free).unwrap_or_else(|| path.with_extension("previous.mp4"))
}

/// How many paths are tried for a video that is kept.
const MAX_NAMES: usize = 100;

/// Returns the paths at which a video may be kept, in order.
fn paths(path: &Path, attempt: &Attempt) -> impl Iterator<Item = PathBuf> {
    let id: String = attempt.id().into_iter().flat_map(|id| id.as_str().chars()).collect();
    let short: String = id.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    (1..=MAX_NAMES).map(move |n| {
        let number = if n == 1 { String::new() } else { format!("-{n}") };
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push(format!(".{short}{number}{extension}"));
        path.with_file_name(name)
    })
}

/// Returns `true` if the file is a complete MP4 file.
fn is_complete_video(path: &Path) -> io::Result<bool> {
    let mut boxes = Boxes::default();
    let mut is_video = true;
    read_in_pieces(path, |bytes| {
        is_video = boxes.update(bytes).is_ok();
        is_video
    })?;
    Ok(is_video && boxes.finish(true).is_ok())
}

fn is_same_content(one: &Path, other: &Path) -> io::Result<bool> {
    if fs::metadata(one)?.len() != fs::metadata(other)?.len() {
        return Ok(false);
    }
    let mut other = File::open(other)?;
    let mut buffer = vec![0; PIECE];
    let mut is_same = true;
    let mut failed = None;
    read_in_pieces(one, |bytes| {
        let piece = &mut buffer[..bytes.len()];
        match other.read_exact(piece) {
            Ok(()) => is_same = piece == bytes,
            Err(error) => failed = Some(error),
        }
        is_same && failed.is_none()
    })?;
    failed.map_or(Ok(is_same), Err)
}

/// The length of the pieces in which files are read.
const PIECE: usize = 64 * 1024;

/// Reads a file until `next` returns `false`.
fn read_in_pieces(path: &Path, mut next: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) if next(&buffer[..n]) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_compared_to_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let bytes = vec![7; 2 * PIECE + 7];
        fs::write(path("one"), &bytes).unwrap();
        fs::write(path("same"), &bytes).unwrap();
        fs::write(path("shorter"), &bytes[1..]).unwrap();
        assert!(is_same_content(&path("one"), &path("same")).unwrap());
        assert!(!is_same_content(&path("one"), &path("shorter")).unwrap());
        for changed in [0, PIECE, bytes.len() - 1] {
            let mut other = bytes.clone();
            other[changed] = 8;
            fs::write(path("other"), other).unwrap();
            assert!(!is_same_content(&path("one"), &path("other")).unwrap(), "byte {changed}");
        }
        is_same_content(&path("one"), &path("missing")).unwrap_err();
    }
}
