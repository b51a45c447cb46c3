//! The file beside an asset: found, locked, appended to and synced.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::event::Event;
use super::journal::{Journal, Parsed, parse};
use crate::error::{Error, Result};
use crate::temp_file::sync_parent_dir;

/// The maximum length of a receipt, many times that of any real one. A longer file is something else.
const MAX_RECEIPT_BYTES: u64 = 4 * 1024 * 1024;

/// The maximum length of a receipt after a `requested` event. The rest is for the events of its outcome.
const MAX_REQUESTED_BYTES: u64 = MAX_RECEIPT_BYTES / 2;

/// The delay between two attempts to lock a receipt, which nobody notices after minutes of waiting.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

const SUFFIX: &str = ".receipt.jsonl";

/// Returns the path of the receipt of the asset at this path.
pub(super) fn path_of(asset: &Path) -> PathBuf {
    let mut name = asset.file_name().unwrap_or_default().to_owned();
    name.push(SUFFIX);
    asset.with_file_name(name)
}

/// Returns the path of the asset of the receipt at this path, or `None` if the path is not that of a receipt.
pub(super) fn asset_of(receipt: &Path) -> Option<PathBuf> {
    let name = receipt.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    (!name.is_empty()).then(|| receipt.with_file_name(name))
}

/// Reads a receipt without locking it. Receipts are only ever appended to.
pub(super) fn read_unlocked(path: &Path) -> Result<Journal> {
    check_kind(path)?;
    match File::open(path) {
        Ok(mut file) => Ok(read(path, &mut file)?.journal),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Journal::default()),
        Err(error) => Err(Error::io("open the receipt", path)(error)),
    }
}

/// Returns `true` if another process has locked the receipt at this path.
pub(super) fn is_locked(path: &Path) -> bool {
    let lock = || File::open(path).ok()?.try_lock_shared().err();
    check_kind(path).is_ok() && matches!(lock(), Some(TryLockError::WouldBlock))
}

/// Checks that the path does not lead to a pipe: opening one would wait for somebody at its other end.
fn check_kind(path: &Path) -> Result<()> {
    match path.metadata() {
        Ok(found) if !found.is_file() => {
            Err(unreadable(path, "it is not a regular file; choose another path for the asset"))
        }
        _ => Ok(()),
    }
}

/// A receipt that is locked for as long as this lives.
pub(super) struct Receipt {
    path: PathBuf,
    file: File,
    /// The end of the last event. A failed write may have left something behind it.
    end: u64,
    /// The last event has no newline yet.
    needs_newline: bool,
}

impl Receipt {
    /// Acquires the lock and reads the receipt. Calls `on_wait` once if another process holds the lock.
    pub(super) fn lock(path: PathBuf, timeout: Duration, on_wait: impl Fn()) -> Result<(Self, Journal)> {
        let deadline = Instant::now() + timeout;
        check_kind(&path)?;
        loop {
            // Windows cannot truncate a file that was opened in append mode.
            let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = open.map_err(Error::io("open the receipt", &path))?;
            wait_for_lock(&file, deadline, &on_wait).map_err(Error::io("lock the receipt", &path))?;
            // If the file was deleted during the wait, its lock excludes nobody.
            if is_same_file(&file, &path).map_err(Error::io("find the receipt", &path))? {
                let Parsed { journal, valid_len, needs_newline } = read(&path, &mut file)?;
                return Ok((Receipt { path, file, end: valid_len, needs_newline }, journal));
            }
            if Instant::now() >= deadline {
                return Err(Error::io("lock the receipt", &path)(lock_timeout()));
            }
        }
    }

    /// Checks that the file is still at its path, so that events are kept.
    pub(super) fn check_in_place(&self) -> Result<()> {
        check_in_place(&self.file, &self.path).map_err(Error::io("write the receipt", &self.path))
    }

    /// Lets others work on the asset.
    pub(super) fn unlock(&self) {
        // If this fails, the lock is released when the file is closed.
        let _ = self.file.unlock();
    }

    /// Appends an event and syncs it to disk. If this fails, the event is not recorded.
    pub(super) fn append(&mut self, event: &Event) -> Result<()> {
        self.write(event).map_err(Error::io("write the receipt", &self.path))
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        let newline = if self.needs_newline { "\n" } else { "" };
        let text = format!("{newline}{}\n", serde_json::to_string(event)?);
        let end = self.end + text.len() as u64;
        if matches!(event, Event::Requested { .. }) && end > MAX_REQUESTED_BYTES {
            return Err(io::Error::other("it would become too long to be read again"));
        }
        // An incomplete line of a killed process or a failed write would make this one unreadable.
        self.file.set_len(self.end)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        if let Err(error) = written.and_then(|()| check_in_place(&self.file, &self.path)) {
            // If this fails as well, the next event replaces the line.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        // A power failure may remove a file whose directory was not synced.
        sync_parent_dir(&self.path);
        self.end = end;
        self.needs_newline = false;
        Ok(())
    }
}

/// The identity of a receipt that exists: several paths can lead to one file.
#[derive(Debug, PartialEq)]
pub(super) enum FileId {
    /// The device and the inode.
    #[cfg(unix)]
    Inode(u64, u64),
    /// The canonical path in lower case. Unlike an inode, it differs between two hard links.
    #[cfg(any(not(unix), test))]
    Path(String),
}

impl FileId {
    /// Returns the identity of the file at this path, or `None` if it does not exist.
    pub(super) fn of(path: &Path) -> Option<Self> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let found = path.metadata().ok()?;
            Some(FileId::Inode(found.dev(), found.ino()))
        }
        #[cfg(not(unix))]
        Some(FileId::of_canonical(&path.canonicalize().ok()?))
    }

    /// Returns the identity of a file where the file system ignores case and std knows no inodes: on Windows.
    #[cfg(any(not(unix), test))]
    pub(super) fn of_canonical(path: &Path) -> Self {
        FileId::Path(path.to_string_lossy().to_lowercase())
    }
}

/// Returns `true` if the path leads to this open file, which is locked.
fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let found = match path.metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let opened = file.metadata()?;
        Ok((found.dev(), found.ino()) == (opened.dev(), opened.ino()))
    }
    #[cfg(not(unix))]
    is_same_locked_file(file, path)
}

/// Returns `true` if the path leads to this open file, which is locked: where std knows no inodes, on Windows.
#[cfg(any(not(unix), test))]
fn is_same_locked_file(file: &File, path: &Path) -> io::Result<bool> {
    let found = match File::open(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // The lock keeps out every other handle of this file: one that can be locked is of another file.
    match found.try_lock() {
        Ok(()) => return Ok(false),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Another process may hold the lock of another file. The length counts as well, since Windows gives a file that
    // replaces one of the same name within 15 s the old one's creation time.
    let (found, opened) = (found.metadata()?, file.metadata()?);
    Ok((found.len(), found.created().ok()) == (opened.len(), opened.created().ok()))
}

fn check_in_place(file: &File, path: &Path) -> io::Result<()> {
    if is_same_file(file, path)? {
        return Ok(());
    }
    Err(io::Error::other("the receipt was deleted or replaced while in use"))
}

fn wait_for_lock(file: &File, deadline: Instant, on_wait: impl Fn()) -> io::Result<()> {
    let mut is_waiting = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                if !std::mem::replace(&mut is_waiting, true) {
                    on_wait();
                }
                thread::sleep(LOCK_INTERVAL);
            }
            Err(TryLockError::WouldBlock) => return Err(lock_timeout()),
        }
    }
}

/// Returns `true` if another process has locked what was to be read: locks are mandatory on Windows.
fn is_lock_violation(error: &io::Error) -> bool {
    const ERROR_LOCK_VIOLATION: i32 = 33;
    cfg!(windows) && error.raw_os_error() == Some(ERROR_LOCK_VIOLATION)
}

fn lock_timeout() -> io::Error {
    let reason = "another process holds the lock; try again once it has finished";
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

fn read(path: &Path, file: &mut File) -> Result<Parsed> {
    let mut bytes = Vec::new();
    let result = file.take(MAX_RECEIPT_BYTES + 1).read_to_end(&mut bytes);
    result
        .map_err(|error| if is_lock_violation(&error) { lock_timeout() } else { error })
        .map_err(Error::io("read the receipt", path))?;
    if bytes.len() as u64 > MAX_RECEIPT_BYTES {
        return Err(unreadable(path, "it is too long for a receipt; restore the receipt from version control"));
    }
    parse(&bytes).map_err(|reason| unreadable(path, reason))
}

/// Returns the error for an invalid receipt. It may still hold the id of a paid generation, so no reason suggests
/// deleting it.
fn unreadable(path: &Path, reason: impl Into<String>) -> Error {
    Error::io("read the receipt", path)(io::Error::new(io::ErrorKind::InvalidData, reason.into()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::super::event::Reason;
    use super::*;
    use crate::builder::SERVICE;
    use crate::request::VideoRequest;

    fn requested() -> Event {
        Event::requested("kling-1", SERVICE, &VideoRequest::new("a fox")).unwrap()
    }

    fn refused() -> Event {
        Event::Refused(Reason::new("kling-1", "no credit"))
    }

    fn lock(path: &Path) -> Receipt {
        Receipt::lock(path.to_owned(), Duration::ZERO, || panic!("nobody else holds the lock")).unwrap().0
    }

    #[test]
    fn appending_fails_once_the_receipt_was_deleted_or_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipt");
        let mut receipt = lock(&path);
        receipt.append(&requested()).unwrap();
        fs::remove_file(&path).unwrap();
        if path.exists() {
            return; // Under wine, an open file that was removed stays visible. On Windows, it does not.
        }
        receipt.append(&refused()).unwrap_err();
        let mut receipt = lock(&path);
        receipt.append(&requested()).unwrap();
        fs::copy(&path, folder.path().join("other")).unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        receipt.append(&refused()).unwrap_err();
    }

    #[test]
    fn a_receipt_is_told_from_another_by_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut receipt = lock(&path("receipt"));
        receipt.append(&requested()).unwrap();
        let is_same = |name: &str| is_same_locked_file(&receipt.file, &path(name)).unwrap();
        assert!(is_same("receipt"));
        assert!(!is_same("missing"));
        fs::write(path("other"), vec![b'\n'; receipt.end as usize]).unwrap();
        assert!(!is_same("other"), "nobody holds its lock");
        let other = lock(&path("other"));
        other.file.set_len(receipt.end + 1).unwrap();
        assert!(!is_same("other"), "it has another length");
        fs::rename(path("receipt"), path("moved")).unwrap();
        assert!(is_same("moved") && !is_same("receipt"));
    }

    #[test]
    fn append_replaces_what_a_failed_write_has_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipt");
        let mut receipt = lock(&path);
        receipt.append(&requested()).unwrap();
        let first = fs::read_to_string(&path).unwrap();
        for left in [&first[..], &first[..9]] {
            OpenOptions::new().append(true).open(&path).unwrap().write_all(left.as_bytes()).unwrap();
            receipt.append(&refused()).unwrap();
        }
        let second = "{\"refused\":{\"client_request_id\":\"kling-1\",\"reason\":\"no credit\"}}\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), [&first, second, second].concat());
    }

    #[test]
    fn a_receipt_has_a_maximum_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipt");
        for (len, is_ok) in [(MAX_RECEIPT_BYTES, true), (MAX_RECEIPT_BYTES + 1, false)] {
            fs::write(&path, vec![b' '; len as usize]).unwrap();
            assert_eq!(read_unlocked(&path).is_ok(), is_ok, "{len}");
        }
        fs::write(&path, "").unwrap();
        let mut receipt = lock(&path);
        let last_end = MAX_REQUESTED_BYTES - serde_json::to_string(&requested()).unwrap().len() as u64 - 1;
        for (end, is_ok) in [(last_end, true), (last_end + 1, false)] {
            receipt.end = end;
            assert_eq!(receipt.append(&requested()).is_ok(), is_ok, "{end}");
            receipt.append(&refused()).unwrap();
        }
    }

    #[test]
    fn append_begins_a_new_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipt");
        lock(&path).append(&requested()).unwrap();
        let line = fs::read_to_string(&path).unwrap();
        for (left, lines) in
            [(line.trim_end().to_owned(), 2), (line.clone() + "\r\n \n", 2), (line.clone() + "{\"cre", 2)]
        {
            fs::write(&path, left).unwrap();
            let mut receipt = lock(&path);
            receipt.append(&refused()).unwrap();
            receipt.append(&refused()).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), lines + 1, "{text}");
            assert!(text.ends_with("}\n") && text.starts_with(&line), "{text}");
        }
    }

    #[test]
    fn lock_reports_a_wait_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipt");
        let reports = Cell::new(0);
        let lock = |timeout| Receipt::lock(path.clone(), timeout, || reports.set(reports.get() + 1));
        let (held, _) = lock(Duration::ZERO).unwrap();
        assert_eq!(reports.get(), 0);
        assert!(lock(LOCK_INTERVAL * 5).is_err());
        assert_eq!(reports.get(), 1);
        assert!(is_locked(&path));
        held.unlock();
        assert!(!is_locked(&path));
        assert!(lock(Duration::ZERO).is_ok());
    }

    #[test]
    #[cfg(unix)]
    fn links_to_one_receipt_have_one_identity() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("receipt"), "").unwrap();
        fs::write(path("other"), "").unwrap();
        fs::hard_link(path("receipt"), path("hard")).unwrap();
        std::os::unix::fs::symlink("receipt", path("soft")).unwrap();
        let id = |name: &str| FileId::of(&path(name));
        assert_eq!((id("hard"), id("soft")), (id("receipt"), id("receipt")));
        assert_ne!(id("other"), id("receipt"));
        assert_eq!(id("missing"), None);
        // What cannot be looked at is not missing.
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        let file = File::open(path("receipt")).unwrap();
        is_same_file(&file, &path("loop")).unwrap_err();
        is_same_locked_file(&file, &path("loop")).unwrap_err();
    }
}
