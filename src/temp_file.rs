//! Temporary files beside their target.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::random;

/// Checks that a video could be written to this path.
pub(crate) fn check_writable(path: &Path) -> Result<()> {
    TempFile::create(path).map(drop)
}

/// Removes the temporary files that killed processes have left beside `path`. A process that is still writing one
/// fails with an error instead of saving it.
pub(crate) fn remove_leftovers(path: &Path) {
    let Ok(entries) = fs::read_dir(parent_dir(path)) else { return };
    let prefix = temp_prefix(path);
    for entry in entries.flatten() {
        let name = entry.file_name();
        let bits = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let bits = bits.and_then(|rest| rest.strip_suffix(TEMP_SUFFIX.as_bytes()));
        if bits.is_some_and(|bits| bits.len() == 16 && bits.iter().all(u8::is_ascii_hexdigit)) {
            // A leftover costs disk space and nothing else.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Temporary files are named `.fox.mp4.0123456789abcdef.part`, so that leftovers can be matched to their target.
fn temp_prefix(path: &Path) -> OsString {
    let name = path.file_name().unwrap_or_default();
    let mut prefix = OsString::from(".");
    if name.len() > MAX_NAME_BYTES {
        prefix.push(format!("{:016x}", BuildHasherDefault::<DefaultHasher>::default().hash_one(name)));
    } else {
        prefix.push(name);
    }
    prefix.push(".");
    prefix
}

/// The longest name that a temporary file can have with what is added to it: file systems allow 255 bytes. A longer name
/// is replaced by its hash.
const MAX_NAME_BYTES: usize = 255 - "..0123456789abcdef.part".len();

const TEMP_SUFFIX: &str = ".part";

/// A temporary file beside its target, removed on drop unless it was renamed.
#[derive(Debug)]
pub(crate) struct TempFile<'a> {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) target: &'a Path,
    is_renamed: bool,
}

impl<'a> TempFile<'a> {
    /// Creates the temporary file. Fails if `target` is a directory or another non-regular file.
    pub(crate) fn create(target: &'a Path) -> Result<Self> {
        let is_directory = target.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
        let reason = match fs::metadata(target) {
            _ if is_directory || target.file_name().is_none() => Some(io::ErrorKind::IsADirectory.into()),
            Ok(found) if found.is_dir() => Some(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => Some(io::Error::other("it exists and is not a regular file")),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Some(error),
            _ => None,
        };
        if let Some(reason) = reason {
            return Err(Error::io("write a video to", target)(reason));
        }
        // A random name, so that no other process writes to the file that is renamed later.
        let mut name = temp_prefix(target);
        name.push(format!("{:016x}{TEMP_SUFFIX}", random::bits()));
        let path = parent_dir(target).join(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.map_err(Error::io("create a file in", parent_dir(target)))?;
        Ok(TempFile { file, path, target, is_renamed: false })
    }

    /// Renames the file to its target, which is replaced.
    pub(crate) fn rename(&mut self) -> io::Result<()> {
        fs::rename(&self.path, self.target)?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for TempFile<'_> {
    fn drop(&mut self) {
        if !self.is_renamed {
            // Ignore the result: the error that caused the drop is the one to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a new file name survive a power failure, where the file system can. The file itself is synced by its writer.
pub(crate) fn sync_parent_dir(path: &Path) {
    #[cfg(unix)]
    let _ = File::open(parent_dir(path)).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = path;
}

pub(crate) fn parent_dir(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_have_the_longest_name_that_the_file_system_allows() {
        let folder = tempfile::tempdir().unwrap();
        for length in [232, 233, 255] {
            let [path, other] = ["x", "y"].map(|letter| folder.path().join(letter.repeat(length)));
            TempFile::create(&path).unwrap().rename().unwrap();
            let (leftover, other) = (TempFile::create(&path).unwrap(), TempFile::create(&other).unwrap());
            remove_leftovers(&path);
            // Under wine, an open file that was removed stays visible. On Windows, it does not.
            assert!(!leftover.path.exists() || cfg!(windows), "{length}");
            assert!(other.path.exists(), "{length}");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn remove_leftovers_removes_only_temporary_files_of_this_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        let others = [
            "a.mp4",
            ".a.mp4.part",
            ".a.mp4.0123456789abcde.part",
            ".a.mp4.0123456789abcdeg.part",
            ".a.mp4.b.0123456789abcdef.part",
            ".b.mp4.0123456789abcdef.part",
        ];
        for name in others.into_iter().chain([".a.mp4.0123456789abcdef.part", ".a.mp4.ffffffffffffffff.part"]) {
            fs::write(folder.path().join(name), "").unwrap();
        }
        remove_leftovers(&path);
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<String> = names.collect();
        assert_eq!(left.len(), others.len());
        assert!(others.iter().all(|name| left.iter().any(|left| left == name)), "{left:?}");
    }
}
