//! The file beside a generated one: found, locked, appended to and synced.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::record::{Line, Record, parse};
use crate::error::{Error, Result};
use crate::save::sync_parent_dir;

/// Many times the receipt of any asset: more than this is another file.
const LONGEST: u64 = 4 * 1024 * 1024;

/// A request is not begun beyond this: the lines about its end have to fit in as well.
const LAST_REQUEST: u64 = LONGEST / 2;

/// How often a receipt that another process works on is looked at.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// The place of the receipt of an asset.
pub(super) fn path_of(asset: &Path) -> PathBuf {
    let mut name = asset.file_name().unwrap_or_default().to_owned();
    name.push(".receipt.jsonl");
    asset.with_file_name(name)
}

/// Reads a receipt without a lock, for a look at a file that is only ever appended to.
pub(super) fn peek(path: &Path) -> Result<Record> {
    check_kind(path)?;
    match File::open(path) {
        Ok(mut file) => Ok(read(path, &mut file)?.0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
        Err(error) => Err(Error::io("open the receipt", path)(error)),
    }
}

/// To open a pipe would wait for somebody at its other end.
fn check_kind(path: &Path) -> Result<()> {
    match path.metadata() {
        Ok(there) if !there.is_file() => Err(unreadable(path, "it is not a regular file")),
        _ => Ok(()),
    }
}

/// A receipt that nobody else works on as long as this lives.
pub(super) struct Receipt {
    path: PathBuf,
    file: File,
    /// The end of the last line that was written. A write that failed may have left something behind it.
    end: u64,
}

impl Receipt {
    /// Waits until nobody else works on the asset, and reads what they have left. `on_wait` is called if it has to
    /// wait.
    pub(super) fn lock(path: PathBuf, patience: Duration, on_wait: impl Fn()) -> Result<(Self, Record)> {
        let until = Instant::now() + patience;
        check_kind(&path)?;
        loop {
            // Not to append: such a handle cannot be cut on Windows.
            let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = open.map_err(Error::io("open the receipt", &path))?;
            wait_for_lock(&file, until, &on_wait).map_err(Error::io("lock the receipt", &path))?;
            // While it waited, the one that was opened may have been deleted: then that lock keeps nobody out.
            if is_at(&file, &path).map_err(Error::io("find the receipt", &path))? {
                let (record, end) = read(&path, &mut file)?;
                return Ok((Receipt { path, file, end }, record));
            }
            if Instant::now() >= until {
                return Err(Error::io("lock the receipt", &path)(held()));
            }
        }
    }

    /// Whether what is written would be kept.
    pub(super) fn check(&self) -> Result<()> {
        check_place(&self.file, &self.path).map_err(Error::io("write the receipt", &self.path))
    }

    /// Lets others work on the asset.
    pub(super) fn release(&self) {
        // Otherwise it is released when this is dropped.
        let _ = self.file.unlock();
    }

    /// Appends a line, and returns when it would outlive a power failure. If it fails, the line is not there.
    pub(super) fn append(&mut self, line: &Line) -> Result<()> {
        self.write(line).map_err(Error::io("write the receipt", &self.path))
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        let end = self.end + text.len() as u64;
        if matches!(line, Line::Requested { .. }) && end > LAST_REQUEST {
            return Err(io::Error::other("it would become too long to be read again"));
        }
        // Half a line, of a process that ended or of a write that failed, would make this one unreadable.
        self.file.set_len(self.end)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        if let Err(error) = written.and_then(|()| check_place(&self.file, &self.path)) {
            // If that fails as well, the next line takes its place.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        // A name that a power failure takes away would take the receipt with it.
        sync_parent_dir(&self.path);
        self.end = end;
        Ok(())
    }
}

/// Whether a path leads to this open file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let there = match path.metadata() {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let here = file.metadata()?;
        Ok((there.dev(), there.ino()) == (here.dev(), here.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = (file, there);
        Ok(true)
    }
}

fn check_place(file: &File, path: &Path) -> io::Result<()> {
    if is_at(file, path)? {
        return Ok(());
    }
    Err(io::Error::other("it was deleted or replaced while it was worked on"))
}

fn wait_for_lock(file: &File, until: Instant, on_wait: impl Fn()) -> io::Result<()> {
    let mut waits = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                if !std::mem::replace(&mut waits, true) {
                    on_wait();
                }
                thread::sleep(LOCK_INTERVAL);
            }
            Err(TryLockError::WouldBlock) => return Err(held()),
        }
    }
}

fn held() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "another process works on it: run this again when that has ended")
}

/// Reads a receipt, and tells how much of it is whole lines.
fn read(path: &Path, file: &mut File) -> Result<(Record, u64)> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(Error::io("read the receipt", path))?;
    if bytes.len() as u64 > LONGEST {
        return Err(unreadable(path, "it is too long"));
    }
    parse(&bytes).map_err(|reason| unreadable(path, &reason))
}

fn unreadable(path: &Path, reason: &str) -> Error {
    let advice = format!(
        "{reason}: restore it with its video from version control; delete both only to pay for the asset again"
    );
    Error::io("read the receipt", path)(io::Error::new(io::ErrorKind::InvalidData, advice))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;
    use crate::request::VideoRequest;

    #[test]
    fn a_receipt_that_was_deleted_or_replaced_takes_no_more_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipt");
        let refused = || Line::Refused { reason: "no credit".to_owned() };
        let request = || Line::requested("id".to_owned(), None, &VideoRequest::new("a fox")).unwrap();
        let lock = || Receipt::lock(path.clone(), Duration::ZERO, || panic!("nobody else works on it")).unwrap().0;
        let mut receipt = lock();
        receipt.append(&request()).unwrap();
        fs::remove_file(&path).unwrap();
        receipt.append(&refused()).unwrap_err();
        let mut receipt = lock();
        receipt.append(&request()).unwrap();
        fs::copy(&path, folder.path().join("other")).unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        receipt.append(&refused()).unwrap_err();
    }

    #[test]
    fn what_a_failed_write_has_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipt");
        let request = Line::requested("id".to_owned(), None, &VideoRequest::new("a fox")).unwrap();
        let mut receipt = Receipt::lock(path.clone(), Duration::ZERO, || panic!("nobody else works on it")).unwrap().0;
        receipt.append(&request).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        for left in [&whole[..], &whole[..9]] {
            OpenOptions::new().append(true).open(&path).unwrap().write_all(left.as_bytes()).unwrap();
            receipt.append(&Line::Refused { reason: "no credit".to_owned() }).unwrap();
            receipt.append(&request).unwrap();
        }
        let refused = "{\"refused\":{\"reason\":\"no credit\"}}\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), [&whole[..], refused, &whole, refused, &whole].concat());
    }

    #[test]
    fn who_waits_for_a_lock_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipt");
        let lock = |patience, told: &Cell<u32>| Receipt::lock(path.clone(), patience, || told.set(told.get() + 1));
        let told = Cell::new(0);
        let (held, _) = lock(Duration::ZERO, &told).unwrap();
        assert_eq!(told.get(), 0);
        assert!(lock(LOCK_INTERVAL * 2, &told).is_err());
        assert_eq!(told.get(), 1);
        held.release();
        assert!(lock(Duration::ZERO, &told).is_ok());
    }
}
