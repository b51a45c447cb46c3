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
/// The bytes go to a temporary file in the same folder, are checked to be a whole MP4 file, synced, and renamed to `path`;
/// a file that was there is replaced in one step, and so is a symbolic link. If anything fails, the temporary file is
/// removed and `path` is as it was.
///
/// This is the way to show progress: wrap a [`Download`](crate::Download) in what counts its bytes, and save that.
/// [`Client::download`](crate::Client::download) is the same without the wrapping.
///
/// Not promised: the permissions of a file that is replaced; that no temporary file (`.kling-….part`) stays behind when
/// the process is killed or the power fails; that the rename outlives a power failure where the system cannot sync a
/// folder (Windows, some network file systems).
///
/// # Errors
///
/// [`Error::Io`] from the disk, from a reader that is no download, or for bytes that are no whole MP4 file; what stopped
/// a download is returned as it is.
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
    save_to(&Place::of_anybody(path.as_ref()), reader)
}

/// Where a video is put, and where it lies until it is whole.
pub(crate) struct Place<'a> {
    path: &'a Path,
    temporary: PathBuf,
}

impl<'a> Place<'a> {
    /// A place that several may write to at once: each has a temporary file of its own.
    pub(crate) fn of_anybody(path: &'a Path) -> Self {
        Place { path, temporary: folder_of(path).join(format!(".kling-{:016x}.part", random::bits())) }
    }

    /// A place that only the holder of its lock writes to. Its temporary file always has the same name, so that what
    /// was left by a process that was killed is found and replaced.
    pub(crate) fn locked(path: &'a Path) -> Self {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".part");
        Place { path, temporary: folder_of(path).join(name) }
    }

    /// Whether a video could be written here.
    pub(crate) fn check(&self) -> Result<()> {
        Part::create(self).map(drop)
    }
}

pub(crate) fn save_to(place: &Place<'_>, mut reader: impl Read) -> Result<u64> {
    let path = place.path;
    let mut part = Part::create(place)?;
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
    part.rename()?;
    Ok(written)
}

/// The temporary file, which is removed when it is dropped, unless it was renamed.
struct Part<'a> {
    file: File,
    place: &'a Place<'a>,
    renamed: bool,
}

impl<'a> Part<'a> {
    /// What cannot become a file is refused before anything is read, and a device is not replaced by one.
    fn create(place: &'a Place<'a>) -> Result<Self> {
        let Place { path, temporary } = place;
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
        // What a killed process has left; create_new then follows no link that somebody laid there.
        if let Err(error) = fs::remove_file(temporary)
            && temporary.symlink_metadata().is_ok()
        {
            return Err(Error::io("remove", temporary)(error));
        }
        let file = OpenOptions::new().write(true).create_new(true).open(temporary);
        let file = file.map_err(Error::io("create a file in", folder_of(path)))?;
        Ok(Part { file, place, renamed: false })
    }

    /// Syncs before the rename: otherwise a power failure could leave the name with half of the bytes.
    fn rename(mut self) -> Result<()> {
        let Place { path, temporary } = self.place;
        self.file.sync_all().map_err(Error::io("sync", path))?;
        fs::rename(temporary, path).map_err(Error::io("put the whole video in the place of", path))?;
        self.renamed = true;
        sync_folder_of(path);
        Ok(())
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

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // The error that led here is the one to tell.
            let _ = fs::remove_file(&self.place.temporary);
        }
    }
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
