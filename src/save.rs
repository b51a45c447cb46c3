//! A file that is whole or absent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::random;

/// Writes all that a reader gives to a file that is whole or absent, and returns the number of bytes.
///
/// The bytes go to a temporary file in the same folder, which is synced and then renamed to `path`; a file that was
/// there is replaced in one step. If anything fails, the temporary file is removed and `path` is as it was.
///
/// With a [`Download`](crate::Download) inside, `Ok` means a whole MP4 file. So this is the way to show progress:
/// wrap the download in what counts bytes, and save that. [`Client::download`](crate::Client::download) is the same
/// without the wrapping.
///
/// Not promised: the permissions of a file that is replaced; that no temporary file (`.kling-….part`) stays behind when
/// the process is killed or the power fails; that the rename outlives a power failure where the system cannot sync a
/// folder (Windows, some network file systems).
///
/// # Errors
///
/// [`Error::Io`] from the disk, or from a reader that is no download; what stopped a download is returned as it is.
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
pub fn save(mut reader: impl Read, path: impl AsRef<Path>) -> Result<u64> {
    let path = path.as_ref();
    let mut file = Unfinished::beside(path)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut written = 0;
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(error.downcast::<Error>().unwrap_or_else(|error| failed("read for", path)(error)));
            }
        };
        file.file.write_all(&buffer[..n]).map_err(failed("write", &file.temporary))?;
        written += n as u64;
    }
    file.finish(path)?;
    Ok(written)
}

/// A temporary file that is removed when it is dropped, unless it was finished.
struct Unfinished {
    file: File,
    folder: PathBuf,
    temporary: PathBuf,
    finished: bool,
}

impl Unfinished {
    fn beside(path: &Path) -> Result<Self> {
        if path.file_name().is_none() || path.is_dir() {
            return Err(failed("write a video to", path)(io::ErrorKind::IsADirectory.into()));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = folder.join(format!(".kling-{:016x}.part", random::bits()));
        let file =
            OpenOptions::new().write(true).create_new(true).open(&temporary).map_err(failed("create", &temporary))?;
        Ok(Unfinished { file, folder: folder.to_owned(), temporary, finished: false })
    }

    /// Syncs before the rename: otherwise a power failure could leave the name with half of the bytes.
    fn finish(mut self, path: &Path) -> Result<()> {
        self.file.sync_all().map_err(failed("sync", &self.temporary))?;
        fs::rename(&self.temporary, path).map_err(failed("rename the whole video to", path))?;
        self.finished = true;
        // The file is whole and in its place; this only makes the rename outlive a power failure, and there are file
        // systems that cannot do it.
        #[cfg(unix)]
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            // The error that led here is the one to tell.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Gives some bytes and then an error.
    struct Breaks(bool);

    impl Read for Breaks {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            buf[0] = b'x';
            Ok(1)
        }
    }

    #[test]
    fn a_file_is_replaced_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mp4");
        fs::write(&path, "old").unwrap();
        assert_eq!(save(&b"newer"[..], &path).unwrap(), 5);
        assert_eq!(fs::read(&path).unwrap(), b"newer");
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
    fn a_place_that_cannot_be_written_is_named_before_anything_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("missing").join("video.mp4"), folder.path().to_owned(), PathBuf::from("/")] {
            let mut reader = Breaks(false);
            assert!(matches!(save(&mut reader, &path), Err(Error::Io { .. })), "{}", path.display());
            assert!(!reader.0, "nothing was read for {}", path.display());
        }
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
