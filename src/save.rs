//! Video files that are either complete or absent.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::mp4::Boxes;
use crate::temp_file::{TempFile, sync_parent_dir};

/// Writes a video from a reader to a file that is either complete or absent, and returns its length in bytes.
///
/// The bytes are written to a temporary file in the same directory, checked to be a complete MP4 file, synced, and
/// renamed to `path`. A file or symbolic link at `path` is replaced in one step. If anything fails, the temporary file
/// is removed and `path` is left as it was. Windows does not replace a file that another program has open, such as a
/// player: then saving fails.
///
/// Use this to show progress: wrap a [`Download`](crate::Download) in a reader that counts its bytes, and save that.
/// [`Client::download`](crate::Client::download) does the same without a wrapper.
///
/// Not promised:
///
/// - The permissions of a replaced file are not kept.
/// - If the process is killed or the power fails, a temporary file (`.fox.mp4.….part`) may be left behind. It is
///   never used again, and can be deleted once nothing is being downloaded.
/// - Where a directory cannot be synced (Windows, some network file systems), a power failure may undo the rename.
///
/// # Errors
///
/// [`Error::Io`] if writing fails, if `reader` fails, or if the bytes are not a complete MP4 file. If `reader` is a
/// [`Download`](crate::Download), its own error is returned unchanged.
///
/// # Example
///
/// ```
/// use kling::VideoRequest;
/// use kling::emulator::Emulator;
///
/// let emulator = Emulator::start();
/// let client = emulator.client();
/// let path = std::env::temp_dir().join(format!("fox-{}.mp4", std::process::id()));
///
/// let video = client.generate(&VideoRequest::new("A fox in the snow"))?;
/// let download = client.open(&video)?;
/// let announced = download.len();
/// let bytes = kling::save(download, &path)?;
/// assert_eq!(announced, Some(bytes));
/// assert_eq!(std::fs::metadata(&path)?.len(), bytes);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save(reader: impl Read, path: impl AsRef<Path>) -> Result<u64> {
    TempVideo::write(reader, path.as_ref())?.persist()
}

/// Writes a video like [`save`], but never replaces anything: fails if `path` exists.
///
/// If several processes save to one path at the same time, exactly one succeeds. On a file system without hard links,
/// the name is first taken by an empty file, which a power failure may leave behind.
///
/// # Errors
///
/// Those of [`save`], and [`Error::Io`] with [`AlreadyExists`](io::ErrorKind::AlreadyExists) if anything exists at
/// `path`, before the first byte is read or once the video is complete.
///
/// # Example
///
/// ```
/// use std::io::ErrorKind;
/// use kling::emulator::Emulator;
/// use kling::{Error, VideoRequest};
///
/// let emulator = Emulator::start();
/// let client = emulator.client();
/// let path = std::env::temp_dir().join(format!("fox-new-{}.mp4", std::process::id()));
///
/// let video = client.generate(&VideoRequest::new("A fox in the snow"))?;
/// kling::save_new(client.open(&video)?, &path)?;
/// let again = kling::save_new(client.open(&video)?, &path);
/// let Err(Error::Io { source, .. }) = again else { panic!("it exists") };
/// assert_eq!(source.kind(), ErrorKind::AlreadyExists);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save_new(reader: impl Read, path: impl AsRef<Path>) -> Result<u64> {
    check_absent(path.as_ref())?;
    TempVideo::write(reader, path.as_ref())?.persist_new()
}

/// A complete video in a temporary file beside its target. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct TempVideo<'a> {
    temp: TempFile<'a>,
    len: u64,
}

impl<'a> TempVideo<'a> {
    /// Reads to the end, and returns once the bytes are known to be a complete MP4 file and are synced.
    pub(crate) fn write(mut reader: impl Read, path: &'a Path) -> Result<Self> {
        let mut temp = TempFile::create(path)?;
        let mut boxes = Boxes::default();
        let not_a_video =
            |found| Error::io("write a complete video to", path)(io::Error::new(io::ErrorKind::InvalidData, found));
        let mut buffer = vec![0; 64 * 1024];
        let mut len = 0;
        // Not io::copy: it does not distinguish an error of the reader from one of the disk.
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(error.downcast::<Error>().unwrap_or_else(Error::io("read the video for", path)));
                }
            };
            boxes.update(&buffer[..n]).map_err(not_a_video)?;
            temp.file.write_all(&buffer[..n]).map_err(Error::io("write", path))?;
            len += n as u64;
        }
        boxes.finish(true).map_err(not_a_video)?;
        // Before any rename: otherwise a power failure could leave the name with half of the bytes.
        temp.file.sync_all().map_err(Error::io("sync", path))?;
        Ok(TempVideo { temp, len })
    }

    /// Returns the path of the temporary file.
    pub(crate) fn path(&self) -> &Path {
        &self.temp.path
    }

    /// Renames the file to its target, and returns its length in bytes.
    pub(crate) fn persist(mut self) -> Result<u64> {
        let path = self.temp.target;
        self.temp.rename().map_err(Error::io("move the complete video to", path))?;
        sync_parent_dir(path);
        Ok(self.len)
    }

    /// Moves the file to its target unless the target exists, and returns its length in bytes.
    pub(crate) fn persist_new(self) -> Result<u64> {
        let path = self.temp.target;
        if fs::hard_link(&self.temp.path, path).is_err() {
            // The name is taken, or the file system has no hard links.
            return self.claim_and_persist();
        }
        sync_parent_dir(path);
        Ok(self.len)
    }

    /// Takes the name with an empty file, and replaces that. The process that creates it owns the name.
    fn claim_and_persist(self) -> Result<u64> {
        let path = self.temp.target;
        let claimed = OpenOptions::new().write(true).create_new(true).open(path);
        claimed.map_err(Error::io("create", path))?;
        self.persist().inspect_err(|_| {
            // The empty file that claimed the name is not a video.
            let _ = fs::remove_file(path);
        })
    }
}

/// Fails if there is anything at this path, even a symbolic link that leads nowhere.
pub(crate) fn check_absent(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() { Err(exists(path)) } else { Ok(()) }
}

fn exists(path: &Path) -> Error {
    Error::io("create", path)(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    const VIDEO: &[u8] = b"\0\0\0\x08ftyp\0\0\0\x08moov\0\0\0\x09mdat1";

    /// Returns one byte, then an error.
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
    fn save_replaces_an_existing_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        fs::write(&path, "old").unwrap();
        assert_eq!(save(VIDEO, &path).unwrap(), VIDEO.len() as u64);
        assert_eq!(fs::read(&path).unwrap(), VIDEO);
        assert_eq!(names(folder.path()), ["video.mp4"]);
    }

    #[test]
    fn save_new_never_replaces_anything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        assert_eq!(save_new(VIDEO, &path).unwrap(), VIDEO.len() as u64);
        assert_eq!(fs::read(&path).unwrap(), VIDEO);
        assert_eq!(names(folder.path()), ["video.mp4"]);
        let mut reader = Breaks(false);
        let error = save_new(&mut reader, &path).unwrap_err();
        let Error::Io { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(source.kind(), io::ErrorKind::AlreadyExists);
        assert!(!reader.0, "something was read");
        // The name is taken while the video is received.
        let error = TempVideo::write(VIDEO, &path).unwrap().persist_new().unwrap_err();
        assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
        assert_eq!(names(folder.path()), ["video.mp4"]);
    }

    #[test]
    fn without_hard_links_an_empty_file_claims_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        let video = || TempVideo::write(VIDEO, &path).unwrap();
        assert_eq!(video().claim_and_persist().unwrap(), VIDEO.len() as u64);
        let error = video().claim_and_persist().unwrap_err();
        assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&path).unwrap(), VIDEO);
        fs::remove_file(&path).unwrap();
        let without_file = video();
        fs::remove_file(&without_file.temp.path).unwrap();
        if without_file.temp.path.exists() {
            return; // Under wine, an open file that was removed stays visible. On Windows, it does not.
        }
        let error = without_file.persist_new().unwrap_err();
        assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound), "{error:?}");
        assert_eq!(names(folder.path()), [""; 0], "a name without a video is free again");
    }

    #[test]
    fn a_failing_reader_leaves_the_old_file_and_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        fs::write(&path, "old").unwrap();
        let error = save(Breaks(false), &path).unwrap_err();
        assert!(matches!(&error, Error::Io { path: at, .. } if *at == path), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["video.mp4"]);
    }

    #[test]
    #[cfg(windows)]
    fn a_video_that_is_open_in_a_player_is_left_as_it_is() {
        use std::os::windows::fs::OpenOptionsExt;
        const FILE_SHARE_READ: u32 = 1;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        fs::write(&path, "old").unwrap();
        let player = OpenOptions::new().read(true).share_mode(FILE_SHARE_READ).open(&path).unwrap();
        let error = save(VIDEO, &path).unwrap_err();
        assert!(error.to_string().contains("close it in other programs"), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["video.mp4"]);
        drop(player);
        save(VIDEO, &path).unwrap();
    }

    #[test]
    fn a_temp_video_that_is_dropped_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        fs::write(&path, "old").unwrap();
        drop(TempVideo::write(VIDEO, &path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["video.mp4"]);
    }

    #[test]
    fn save_rejects_incomplete_videos() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        fs::write(&path, "old").unwrap();
        for bytes in [&b""[..], b"<html>", &VIDEO[..20], &VIDEO[16..]] {
            assert!(matches!(save(bytes, &path), Err(Error::Io { .. })), "{}", bytes.escape_ascii());
        }
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["video.mp4"]);
    }

    /// Fails with `Interrupted` before each byte.
    struct Interrupted<'a>(&'a [u8], bool);

    impl Read for Interrupted<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.read(&mut buf[..1]) }
        }
    }

    #[test]
    fn save_retries_interrupted_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        assert_eq!(save(Interrupted(VIDEO, false), &path).unwrap(), VIDEO.len() as u64);
    }

    #[test]
    fn an_unwritable_path_is_an_error_before_anything_is_read() {
        use io::ErrorKind::{IsADirectory, NotFound};
        let folder = tempfile::tempdir().unwrap();
        #[cfg(unix)]
        let elsewhere = tempfile::tempdir().unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("loop", elsewhere.path().join("loop")).unwrap();
        #[cfg(unix)]
        let _socket = std::os::unix::net::UnixListener::bind(elsewhere.path().join("socket")).unwrap();
        let unusable = [
            (folder.path().join("missing").join("video.mp4"), Some(NotFound)),
            (folder.path().to_owned(), Some(IsADirectory)),
            (folder.path().join("video.mp4/"), Some(IsADirectory)),
            #[cfg(unix)]
            (folder.path().join("x".repeat(300)), Some(io::ErrorKind::InvalidFilename)),
            (PathBuf::from("/"), Some(IsADirectory)),
            #[cfg(unix)]
            (elsewhere.path().join("socket"), Some(io::ErrorKind::Other)),
            #[cfg(unix)]
            (elsewhere.path().join("loop"), None),
        ];
        for (path, kind) in unusable {
            let mut reader = Breaks(false);
            let error = save(&mut reader, &path).unwrap_err();
            let Error::Io { source, .. } = &error else { panic!("{}: {error:?}", path.display()) };
            assert!(kind.is_none_or(|kind| source.kind() == kind), "{}: {error:?}", path.display());
            assert!(!reader.0, "something was read for {}", path.display());
        }
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
