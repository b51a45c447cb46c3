//! The record beside a generated file: what was asked for, and how far it came. It is only ever appended to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::generation::GenerationId;
use crate::request::VideoRequest;

/// Many times the receipt of any asset: more than this is another file.
const LONGEST: u64 = 4 * 1024 * 1024;

/// A line of a receipt.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Line {
    /// A create is about to be sent.
    Requested {
        at: u64,
        client_request_id: String,
        request: Value,
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
        credits: Option<f64>,
    },
}

impl Line {
    pub(crate) fn requested(client_request_id: String, request: &VideoRequest) -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Line::Requested { at, client_request_id, request: body(request) }
    }
}

/// A request as a receipt keeps it. Written and read again, so that its numbers compare equal to those of a receipt.
pub(crate) fn body(request: &VideoRequest) -> Value {
    let text = serde_json::to_string(request).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// A request, and how far it came.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) request: Value,
    pub(crate) client_request_id: String,
    pub(crate) stage: Stage,
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
    /// All that was ever requested, in order.
    pub(crate) entries: Vec<Entry>,
    /// It breaks off within its last line, and no line before says what was under way.
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

    /// Whether the file may be of another generation than this one.
    pub(crate) fn is_followed(&self, entry: usize) -> bool {
        let later = &self.entries[entry + 1..];
        later.iter().any(|entry| matches!(entry.stage, Stage::Created(_) | Stage::Completed(..)))
    }
}

/// The place of the receipt of an asset.
pub(crate) fn path_of(asset: &Path) -> PathBuf {
    let mut name = asset.as_os_str().to_owned();
    name.push(".receipt.jsonl");
    name.into()
}

/// Makes the folder of a file, if it is missing.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(failed("create the folder", folder))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a receipt without a lock, for a look at a file that is only ever appended to.
pub(crate) fn peek(path: &Path) -> Result<Record> {
    match File::open(path) {
        Ok(mut file) => Ok(read(path, &mut file)?.0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
        Err(source) => Err(Error::Io { action: "open the receipt", path: path.to_owned(), source }),
    }
}

/// A receipt that nobody else works on as long as this lives.
pub(crate) struct Receipt {
    path: PathBuf,
    file: File,
}

impl Receipt {
    /// Waits until nobody else works on the asset, and reads what they have left.
    pub(crate) fn lock(path: PathBuf) -> Result<(Self, Record)> {
        make_folder(&path)?;
        let open = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = open.map_err(failed("open the receipt", &path))?;
        file.lock().map_err(failed("lock the receipt", &path))?;
        let (record, whole) = read(&path, &mut file)?;
        let length = file.metadata().map_err(failed("read the receipt", &path))?.len();
        if whole < length && !record.torn {
            // Half a line would make the next one unreadable; the lines before say all that is known.
            file.set_len(whole).map_err(failed("mend the receipt", &path))?;
        }
        Ok((Receipt { path, file }, record))
    }

    /// Appends a line, and returns when it would outlive a power failure.
    pub(crate) fn append(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line).map_err(|error| self.failed("write the receipt", error.into()))?;
        text.push('\n');
        let before = self.file.metadata().map_err(|error| self.failed("read the receipt", error))?.len();
        if let Err(error) = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all()) {
            // A disk that became full may have taken a part of the line, or all of it without keeping it.
            let _ = self.file.set_len(before);
            return Err(self.failed("write the receipt", error));
        }
        // A name that a power failure takes away would take the receipt with it; some file systems cannot sync one.
        #[cfg(unix)]
        let _ = File::open(folder_of(&self.path)).and_then(|folder| folder.sync_all());
        Ok(())
    }

    fn failed(&self, action: &'static str, source: io::Error) -> Error {
        failed(action, &self.path)(source)
    }
}

/// Reads a receipt, and tells how much of it is whole lines.
fn read(path: &Path, file: &mut File) -> Result<(Record, u64)> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed("read the receipt", path))?;
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
            record.torn = !record.entries.last().is_some_and(Entry::is_under_way);
            break;
        }
        let number = number + 1;
        let line = serde_json::from_slice(text).map_err(|_| format!("its line {number} is none that it knows"))?;
        follow(&mut record, line).ok_or_else(|| format!("its line {number} does not follow from those before"))?;
        whole += text.len() as u64;
    }
    Ok((record, whole))
}

impl Entry {
    /// Whether a line is due that says how it went on.
    fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::Requested | Stage::Created(_))
    }
}

/// Takes one more line; `None` if it makes no sense.
fn follow(record: &mut Record, line: Line) -> Option<()> {
    if let Line::Requested { client_request_id, request, .. } = line {
        // The same create again is the one that was taken up again.
        record.entries.retain(|entry| entry.client_request_id != client_request_id);
        record.entries.push(Entry { request, client_request_id, stage: Stage::Requested });
        return Some(());
    }
    let entry = record.entries.last_mut()?;
    entry.stage = match (&entry.stage, line) {
        (Stage::Requested, Line::Refused { .. }) | (Stage::Created(_), Line::Failed { .. }) => Stage::Over,
        (Stage::Requested, Line::Created { id }) => Stage::Created(id),
        (Stage::Created(id) | Stage::Completed(id, _), Line::Completed { file_size, .. }) => {
            Stage::Completed(id.clone(), file_size)
        }
        _ => return None,
    };
    Some(())
}

fn unreadable(path: &Path, reason: &str) -> Error {
    let advice = format!("{reason}: restore it from version control; delete it only to pay for the asset again");
    failed("read the receipt", path)(io::Error::new(io::ErrorKind::InvalidData, advice))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
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
        let table: [(&[&str], &str); 9] = [
            (&[], "Empty"),
            (&[requested], "Requested"),
            (&[requested, created], r#"Created(GenerationId("a:b"))"#),
            (&[requested, created, completed], r#"Completed(GenerationId("a:b"), 7)"#),
            (&[requested, refused], "Over"),
            (&[requested, created, failed], "Over"),
            (&[requested, refused, requested], "Requested"),
            (&[requested, created, completed, requested, created], r#"Created(GenerationId("a:b"))"#),
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
                _ if cut < ends[1] => "Requested",
                _ if cut < ends[2] => r#"Created(GenerationId("a:b"))"#,
                _ => unreachable!(),
            };
            assert_eq!(stage(&whole[..cut]), expected, "cut at {cut}");
        }
        assert_eq!(stage(&(whole + "{\"requ")), "Torn", "perhaps the next request was on its way");
    }

    #[test]
    fn what_is_no_receipt_is_unreadable_and_not_empty() {
        let [requested, created, completed] = LINES;
        let table = [
            ("\n".to_owned(), "its line 1 is none that it knows"),
            ("\0\0\0\n".to_owned(), "its line 1 is none that it knows"),
            (receipt(&[requested, r#"{"paid_v2":{}}"#]), "its line 2 is none that it knows"),
            (receipt(&[requested, r#"{"created":{"id":"a:b","more":1}}"#]), "its line 2 is none that it knows"),
            (receipt(&[created]), "its line 1 does not follow from those before"),
            (receipt(&[requested, completed]), "its line 2 does not follow from those before"),
            (receipt(&[requested, created, created]), "its line 3 does not follow from those before"),
        ];
        for (text, reason) in table {
            assert_eq!(stage(&text), reason, "{text:?}");
        }
    }

    #[test]
    fn numbers_compare_equal_to_what_was_written() {
        for scale in [0.1, 0.3, 0.7, 1.0 / 3.0, 0.123_456_789_012_345_67] {
            let request = VideoRequest::new("a fox").cfg_scale(scale);
            let line = serde_json::to_string(&Line::requested("id".to_owned(), &request)).unwrap();
            let Line::Requested { request: read, .. } = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
            assert_eq!(read, body(&request));
        }
    }
}
