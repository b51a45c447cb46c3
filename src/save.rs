//! A file that is whole or absent.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::mp4::Boxes;
use crate::random;

/// Writes the video that a reader gives to a file that is whole or absent, and returns the number of bytes.
///
/// The bytes go to a temporary file in the same folder, are checked to be a whole MP4 file, synced, and renamed to
/// `path`; a file that was there is replaced in one step, and so is a symbolic link. If anything fails, the temporary
/// file is removed and `path` is as it was.
///
/// This is the way to show progress: wrap a [`Download`](crate::Download) in what counts its bytes, and save that.
/// [`Client::download`](crate::Client::download) is the same without the wrapping.
///
/// Not promised: the permissions of a file that is replaced; that no temporary file (`.fox.mp4.….part`) stays behind
/// when the process is killed or the power fails; that the rename outlives a power failure where the system cannot sync
/// a folder (Windows, some network file systems).
///
/// # Errors
///
/// [`Error::Io`] from the disk, from a reader that is no download, or for bytes that are no whole MP4 file; what
/// stopped a download is returned as it is.
///
/// # Example
///
/// ```
/// # let emulator = kling::emulator::Emulator::start();
/// # let client = emulator.client();
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("fox.mp4");
/// use kling::VideoRequest;
///
/// let video = client.generate(&VideoRequest::new("A fox in the snow"))?;
/// let download = client.open(&video)?;
/// let announced = download.len();
/// let bytes = kling::save(download, &path)?;
/// assert_eq!(announced, Some(bytes));
/// assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);
/// # Ok::<(), kling::Error>(())
/// ```
pub fn save(reader: impl Read, path: impl AsRef<Path>) -> Result<u64> {
    save_if(reader, path.as_ref(), &|| Ok(()))
}

/// The same, if the whole file may still be put in its place when it is there.
pub(crate) fn save_if(mut reader: impl Read, path: &Path, may_be_placed: &dyn Fn() -> Result<()>) -> Result<u64> {
    let mut part = Part::beside(path)?;
    let mut boxes = Boxes::default();
    let not_a_video = |found| Error::io("save as a video", path)(io::Error::new(io::ErrorKind::InvalidData, found));
    let mut buffer = vec![0; 64 * 1024];
    let mut written = 0;
    // Not io::copy: it does not tell an error of the reader from one of the disk.
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(error.downcast::<Error>().unwrap_or_else(Error::io("read the video for", path)));
            }
        };
        boxes.follow(&buffer[..n]).map_err(not_a_video)?;
        part.file.write_all(&buffer[..n]).map_err(Error::io("write", path))?;
        written += n as u64;
    }
    boxes.end(Some(written)).map_err(not_a_video)?;
    part.rename(may_be_placed)?;
    Ok(written)
}

/// Whether a video could be written to this place.
pub(crate) fn can_be_saved(path: &Path) -> Result<()> {
    Part::beside(path).map(drop)
}

/// Removes what processes that were killed have left beside a path. If one is still alive, its save ends in an error.
pub(crate) fn sweep(path: &Path) {
    let Ok(entries) = fs::read_dir(folder_of(path)) else { return };
    let prefix = part_prefix(path);
    for entry in entries.flatten() {
        let name = entry.file_name();
        let bits = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let bits = bits.and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
        if bits.is_some_and(|bits| bits.len() == 16 && bits.iter().all(u8::is_ascii_hexdigit)) {
            // It is litter, and no more.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A temporary file is called `.fox.mp4.0123456789abcdef.part`, so that it can be told whose it is.
fn part_prefix(path: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    prefix
}

const SUFFIX: &str = ".part";

/// A temporary file, which is removed when it is dropped, unless it was renamed.
struct Part<'a> {
    file: File,
    path: &'a Path,
    temporary: PathBuf,
    renamed: bool,
}

impl<'a> Part<'a> {
    /// What cannot become a file is refused before anything is read, and a device is not replaced by one.
    fn beside(path: &'a Path) -> Result<Self> {
        let is_a_folder = path.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
        let reason = match fs::metadata(path) {
            _ if is_a_folder || path.file_name().is_none() => Some(io::ErrorKind::IsADirectory.into()),
            Ok(there) if there.is_dir() => Some(io::ErrorKind::IsADirectory.into()),
            Ok(there) if !there.is_file() => Some(io::Error::other("it is there, and is no regular file")),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Some(error),
            _ => None,
        };
        if let Some(reason) = reason {
            return Err(Error::io("write a video to", path)(reason));
        }
        // Random, so that no other process writes to the file that is renamed here.
        let mut name = part_prefix(path);
        name.push(format!("{:016x}{SUFFIX}", random::bits()));
        let temporary = folder_of(path).join(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary);
        let file = file.map_err(Error::io("create a file in", folder_of(path)))?;
        Ok(Part { file, path, temporary, renamed: false })
    }

    /// Syncs before the rename: otherwise a power failure could leave the name with half of the bytes.
    fn rename(mut self, may_be_placed: &dyn Fn() -> Result<()>) -> Result<()> {
        let path = self.path;
        self.file.sync_all().map_err(Error::io("sync", path))?;
        may_be_placed()?;
        fs::rename(&self.temporary, path).map_err(Error::io("put the whole video in the place of", path))?;
        self.renamed = true;
        sync_folder_of(path);
        Ok(())
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // The error that led here is the one to tell.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Makes the name of a file outlive a power failure, where the file system can: the file itself is synced.
pub(crate) fn sync_folder_of(path: &Path) {
    #[cfg(unix)]
    let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = path;
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    const VIDEO: &[u8] = b"\0\0\0\x08ftyp\0\0\0\x08moov\0\0\0\x09mdat1";

    /// Gives a byte and then an error.
    struct Breaks(bool);

    impl Read for Breaks {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            buf[0] = 0;
            Ok(1)
        }
    }

    #[test]
    fn a_file_is_replaced_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        fs::write(&path, "old").unwrap();
        assert_eq!(save(VIDEO, &path).unwrap(), VIDEO.len() as u64);
        assert_eq!(fs::read(&path).unwrap(), VIDEO);
        assert_eq!(names(folder.path()), ["video.mp4"]);
    }

    #[test]
    fn a_reader_that_breaks_leaves_the_old_file_and_no_litter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        fs::write(&path, "old").unwrap();
        let error = save(Breaks(false), &path).unwrap_err();
        assert!(matches!(&error, Error::Io { path: at, .. } if *at == path), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["video.mp4"]);
    }

    #[test]
    fn a_file_that_may_not_be_placed_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        fs::write(&path, "old").unwrap();
        save_if(VIDEO, &path, &|| Err(Error::MissingKey)).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["video.mp4"]);
    }

    #[test]
    fn litter_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        let others = [".a.mp4.part", ".a.mp4.b.0123456789abcdef.part", ".b.mp4.0123456789abcdef.part", "a.mp4"];
        for name in others.into_iter().chain([".a.mp4.0123456789abcdef.part", ".a.mp4.ffffffffffffffff.part"]) {
            fs::write(folder.path().join(name), "").unwrap();
        }
        sweep(&path);
        let left = names(folder.path());
        assert_eq!(left.len(), others.len());
        assert!(others.iter().all(|name| left.iter().any(|left| left == name)), "{left:?}");
    }

    #[test]
    fn what_is_no_whole_video_is_not_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        fs::write(&path, "old").unwrap();
        for bytes in [&b""[..], b"<html>", &VIDEO[..20], &VIDEO[8..]] {
            assert!(matches!(save(bytes, &path), Err(Error::Io { .. })), "{}", bytes.escape_ascii());
        }
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["video.mp4"]);
    }

    /// Is interrupted before each byte.
    struct Interrupted<'a>(&'a [u8], bool);

    impl Read for Interrupted<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.read(&mut buf[..1]) }
        }
    }

    #[test]
    fn a_reader_that_is_interrupted_is_read_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        assert_eq!(save(Interrupted(VIDEO, false), &path).unwrap(), VIDEO.len() as u64);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named_before_anything_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let unusable = [
            folder.path().join("missing").join("video.mp4"),
            folder.path().to_owned(),
            folder.path().join("video.mp4/"),
            folder.path().join("x".repeat(300)),
            PathBuf::from("/"),
            #[cfg(unix)]
            PathBuf::from("/dev/null"),
        ];
        for path in unusable {
            let mut reader = Breaks(false);
            assert!(matches!(save(&mut reader, &path), Err(Error::Io { .. })), "{}", path.display());
            assert!(!reader.0, "nothing was read for {}", path.display());
        }
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
