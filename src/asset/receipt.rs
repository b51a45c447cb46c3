//! The record beside a generated file: what was asked for, and how far it came. It is only ever appended to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use crate::error::{Error, Result};
use crate::generation::GenerationId;
use crate::poll::later;
use crate::request::VideoRequest;
use crate::save::sync_folder_of;

/// Many times the receipt of any asset: more than this is another file.
const LONGEST: u64 = 4 * 1024 * 1024;

/// A request is not begun beyond this: the lines about its end have to fit in as well.
const LAST_REQUEST: u64 = LONGEST / 2;

/// How often a receipt that another process works on is looked at.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// A line of a receipt.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Line {
    /// A create is about to be sent.
    Requested {
        at: u64,
        client_request_id: String,
        /// Where to, if not to the service itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        server: Option<String>,
        /// Its body, to the letter: a number that is read and written again may not be the same.
        request: Box<RawValue>,
    },
    /// It was certainly not accepted, and cost nothing.
    Refused {
        reason: String,
    },
    Created {
        id: GenerationId,
    },
    /// The generation ended without a video, and cost nothing.
    Failed {
        reason: String,
    },
    /// The file was whole and in its place.
    Completed {
        file_size: u64,
        credits: Option<Number>,
    },
}

impl Line {
    pub(crate) fn requested(
        client_request_id: String,
        server: Option<&str>,
        request: &VideoRequest,
    ) -> Result<Self, serde_json::Error> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let request = serde_json::value::to_raw_value(request)?;
        Ok(Line::Requested { at, client_request_id, server: server.map(str::to_owned), request })
    }

    pub(crate) fn completed(file_size: u64, credits: Option<f64>) -> Self {
        // As the service writes them: 120000, and not 120000.0.
        let whole =
            |credits: f64| (credits.fract() == 0.0 && credits.abs() < 1e15).then(|| Number::from(credits as i64));
        let credits = credits.and_then(|credits| whole(credits).or_else(|| Number::from_f64(credits)));
        Line::Completed { file_size, credits }
    }
}

/// A request as it is read from a receipt.
pub(crate) fn body(request: &VideoRequest) -> Result<Value, serde_json::Error> {
    serde_json::from_str(&serde_json::to_string(request)?)
}

/// A create, and how far it came.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) request: Value,
    pub(crate) client_request_id: String,
    pub(crate) server: Option<String>,
    pub(crate) stage: Stage,
    /// It once was completed. That it is not any more does not mean that it cost nothing.
    pub(crate) was_completed: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Nobody knows whether the create was accepted.
    Requested,
    /// It was refused or has failed.
    Over,
    Created(GenerationId),
    Completed(GenerationId, u64),
}

/// What a receipt says.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// All creates that it knows of, the one that was worked on last at the end.
    pub(crate) entries: Vec<Entry>,
    /// It breaks off within a line that may have been about another create than those.
    pub(crate) torn: bool,
}

impl Record {
    /// The place of the entry that counts for a request: one whose outcome nobody knows, else the last that exists.
    pub(crate) fn entry_for(&self, request: &Value) -> Option<usize> {
        let last = |fits: fn(&Stage) -> bool| {
            self.entries.iter().rposition(|entry| entry.request == *request && fits(&entry.stage))
        };
        let exists = |stage: &Stage| matches!(stage, Stage::Created(_) | Stage::Completed(..));
        last(|stage| matches!(stage, Stage::Requested)).or_else(|| last(exists))
    }

    /// Whether the file is of a later generation than this one. One that was put in its place just before a crash is
    /// told by its length.
    pub(crate) fn is_followed(&self, entry: usize) -> bool {
        self.entries[entry + 1..].iter().any(|entry| matches!(entry.stage, Stage::Completed(..)))
    }
}

/// The place of the receipt of an asset.
pub(crate) fn path_of(asset: &Path) -> PathBuf {
    let mut name = asset.file_name().unwrap_or_default().to_owned();
    name.push(".receipt.jsonl");
    asset.with_file_name(name)
}

/// Reads a receipt without a lock, for a look at a file that is only ever appended to.
pub(crate) fn peek(path: &Path) -> Result<Record> {
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
pub(crate) struct Receipt {
    path: PathBuf,
    file: File,
    /// The end of the last line that was written. A write that failed may have left something behind it.
    end: u64,
}

impl Receipt {
    /// Waits until nobody else works on the asset, and reads what they have left. `on_wait` is called if it has to
    /// wait.
    pub(crate) fn lock(path: PathBuf, patience: Duration, on_wait: impl Fn()) -> Result<(Self, Record)> {
        let until = later(Instant::now(), patience);
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
    pub(crate) fn check(&self) -> Result<()> {
        check_place(&self.file, &self.path).map_err(Error::io("write the receipt", &self.path))
    }

    /// Lets others work on the asset.
    pub(crate) fn release(&self) {
        // Otherwise it is released when this is dropped.
        let _ = self.file.unlock();
    }

    /// Appends a line, and returns when it would outlive a power failure. If it fails, the line is not there.
    pub(crate) fn append(&mut self, line: &Line) -> Result<()> {
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
        sync_folder_of(&self.path);
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

fn parse(bytes: &[u8]) -> Result<(Record, u64), String> {
    let mut record = Record::default();
    let mut whole = 0;
    for (number, text) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        // A line is written in one go with its end: one without it is half a line, whatever it says.
        if !text.ends_with(b"\n") {
            record.torn = !record.entries.last().is_some_and(Entry::is_under_way) || may_be_a_request(text);
            break;
        }
        let number = number + 1;
        if text.starts_with(b"<<<<<<<") {
            return Err(format!("its line {number} begins a merge conflict"));
        }
        let line = serde_json::from_slice(text).map_err(|_| format!("its line {number} is not one that it knows"))?;
        follow(&mut record, line).ok_or_else(|| format!("its line {number} does not follow from those before"))?;
        whole += text.len() as u64;
    }
    Ok((record, whole))
}

/// Whether this is the beginning of a line about another create.
fn may_be_a_request(text: &[u8]) -> bool {
    const BEGINNING: &[u8] = br#"{"requested""#;
    let length = text.len().min(BEGINNING.len());
    text[..length] == BEGINNING[..length]
}

impl Entry {
    /// Whether a line is due that says how it went on.
    fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::Requested | Stage::Created(_))
    }
}

/// Takes one more line; `None` if it makes no sense.
fn follow(record: &mut Record, line: Line) -> Option<()> {
    if let Line::Requested { client_request_id, server, request, .. } = line {
        let request = serde_json::from_str(request.get()).ok()?;
        let earlier = record.entries.iter().position(|entry| entry.client_request_id == client_request_id);
        let mut entry = match earlier.map(|place| record.entries.remove(place)) {
            // The same create once more was taken up again.
            Some(earlier) => (earlier.request == request).then_some(earlier)?,
            None => Entry { request, client_request_id, server, stage: Stage::Requested, was_completed: false },
        };
        entry.stage = match entry.stage {
            // What is in the place of its file may be another video by now.
            Stage::Created(id) | Stage::Completed(id, _) => Stage::Created(id),
            Stage::Requested | Stage::Over => Stage::Requested,
        };
        record.entries.push(entry);
        return Some(());
    }
    let entry = record.entries.last_mut()?;
    entry.stage = match (&entry.stage, line) {
        (Stage::Requested, Line::Refused { .. }) | (Stage::Created(_), Line::Failed { .. }) => Stage::Over,
        (Stage::Requested, Line::Created { id }) => Stage::Created(id),
        (Stage::Created(id) | Stage::Completed(id, _), Line::Completed { file_size, .. }) => {
            entry.was_completed = true;
            Stage::Completed(id.clone(), file_size)
        }
        _ => return None,
    };
    Some(())
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

    const LINES: [&str; 3] = [
        r#"{"requested":{"at":1,"client_request_id":"kling-1","request":{"prompt":"a fox"}}}"#,
        r#"{"created":{"id":"a:b"}}"#,
        r#"{"completed":{"file_size":7,"credits":null}}"#,
    ];

    fn receipt(lines: &[&str]) -> String {
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn stage(text: &str) -> String {
        match parse(text.as_bytes()) {
            Ok((record, _)) if record.torn => "Torn".to_owned(),
            Ok((record, _)) => record.entries.last().map_or("Empty".to_owned(), |entry| format!("{:?}", entry.stage)),
            Err(reason) => reason,
        }
    }

    #[test]
    fn a_receipt_says_how_far_the_last_request_came() {
        let [requested, created, completed] = LINES;
        let refused = r#"{"refused":{"reason":"no credit"}}"#;
        let failed = r#"{"failed":{"reason":"moderated"}}"#;
        let table: [(&[&str], &str); 10] = [
            (&[], "Empty"),
            (&[requested], "Requested"),
            (&[requested, created], r#"Created(GenerationId("a:b"))"#),
            (&[requested, created, completed], r#"Completed(GenerationId("a:b"), 7)"#),
            (&[requested, refused], "Over"),
            (&[requested, created, failed], "Over"),
            (&[requested, refused, requested], "Requested"),
            // Taken up again: the id is not lost if nothing follows.
            (&[requested, created, requested], r#"Created(GenerationId("a:b"))"#),
            (&[requested, created, completed, requested], r#"Created(GenerationId("a:b"))"#),
            (&[requested, created, completed, completed], r#"Completed(GenerationId("a:b"), 7)"#),
        ];
        for (lines, expected) in table {
            assert_eq!(stage(&receipt(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_line_that_is_torn_never_says_that_nothing_happened() {
        let whole = receipt(&LINES);
        let ends: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at + 1).collect();
        for cut in 1..whole.len() {
            let expected = match cut {
                _ if cut < ends[0] => "Torn",
                _ if ends.iter().any(|end| cut == end + 1 || cut == end + 2) => "Torn", // {" may begin any line
                _ if cut < ends[1] => "Requested",
                _ => r#"Created(GenerationId("a:b"))"#,
            };
            assert_eq!(stage(&whole[..cut]), expected, "cut at {cut}");
        }
        let [requested, created, _] = LINES;
        for before in [&[requested][..], &[requested, created], &LINES] {
            for cut in 1..=requested.len() {
                let text = receipt(before) + &requested[..cut];
                assert_eq!(stage(&text), "Torn", "perhaps another create was on its way: {text:?}");
            }
        }
    }

    #[test]
    fn what_is_no_receipt_is_unreadable_and_not_empty() {
        let [requested, created, completed] = LINES;
        let table = [
            (receipt(&[requested, "<<<<<<< HEAD", created]), "its line 2 begins a merge conflict"),
            ("\n".to_owned(), "its line 1 is not one that it knows"),
            ("\0\0\0\n".to_owned(), "its line 1 is not one that it knows"),
            (receipt(&[requested, r#"{"paid_v2":{}}"#]), "its line 2 is not one that it knows"),
            (receipt(&[requested, r#"{"created":{"id":"a:b","more":1}}"#]), "its line 2 is not one that it knows"),
            (receipt(&[requested, &requested.replace("fox", "owl")]), "its line 2 does not follow from those before"),
            (receipt(&[created]), "its line 1 does not follow from those before"),
            (receipt(&[requested, completed]), "its line 2 does not follow from those before"),
            (receipt(&[requested, created, created]), "its line 3 does not follow from those before"),
        ];
        for (text, reason) in table {
            assert_eq!(stage(&text), reason, "{text:?}");
        }
    }

    #[test]
    fn a_request_reads_as_it_was_written() {
        let numbers = [0.1, 0.3, 1.0 / 3.0, 0.123_456_789_012_345_67, f64::from(0.1_f32), 5e-324];
        for number in numbers.into_iter().chain((0..1000).map(|n| f64::from(n) / 999.0)) {
            let request = VideoRequest::new("a fox").cfg_scale(number).param("seed", number * 1e9);
            let line = Line::requested("id".to_owned(), None, &request).unwrap();
            let (record, _) = parse((serde_json::to_string(&line).unwrap() + "\n").as_bytes()).unwrap();
            assert_eq!(record.entry_for(&body(&request).unwrap()), Some(0), "{number}");
        }
    }

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
