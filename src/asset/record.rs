//! What a receipt says: its lines, and how far each create came.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use crate::generation::GenerationId;
use crate::request::VideoRequest;

/// A line of a receipt.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
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
    pub(super) fn requested(
        client_request_id: String,
        server: Option<&str>,
        request: &VideoRequest,
    ) -> Result<Self, serde_json::Error> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let request = serde_json::value::to_raw_value(request)?;
        Ok(Line::Requested { at, client_request_id, server: server.map(str::to_owned), request })
    }

    pub(super) fn completed(file_size: u64, credits: Option<f64>) -> Self {
        // As the service writes them: 120000, and not 120000.0.
        let whole =
            |credits: f64| (credits.fract() == 0.0 && credits.abs() < 1e15).then(|| Number::from(credits as i64));
        let credits = credits.and_then(|credits| whole(credits).or_else(|| Number::from_f64(credits)));
        Line::Completed { file_size, credits }
    }
}

/// A request as it is read from a receipt.
pub(super) fn body(request: &VideoRequest) -> Result<Value, serde_json::Error> {
    serde_json::from_str(&serde_json::to_string(request)?)
}

/// A create, and how far it came.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) request: Value,
    pub(super) client_request_id: String,
    pub(super) server: Option<String>,
    pub(super) stage: Stage,
    /// It once was completed. That it is not any more does not mean that it cost nothing.
    pub(super) was_completed: bool,
}

impl Entry {
    /// Whether a line is due that says how it went on.
    fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::Requested | Stage::Created(_))
    }
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Nobody knows whether the create was accepted.
    Requested,
    /// It was refused or has failed.
    Over,
    Created(GenerationId),
    Completed(GenerationId, u64),
}

/// What a receipt says.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// All creates that it knows of, the one that was worked on last at the end.
    pub(super) entries: Vec<Entry>,
    /// It breaks off within a line that may have been about another create than those.
    pub(super) torn: bool,
}

impl Record {
    /// The place of the entry that counts for a request: one whose outcome nobody knows, else the last that exists.
    pub(super) fn entry_for(&self, request: &Value) -> Option<usize> {
        let last = |fits: fn(&Stage) -> bool| {
            self.entries.iter().rposition(|entry| entry.request == *request && fits(&entry.stage))
        };
        let exists = |stage: &Stage| matches!(stage, Stage::Created(_) | Stage::Completed(..));
        last(|stage| matches!(stage, Stage::Requested)).or_else(|| last(exists))
    }

    /// Whether the file is of a later generation than this one. One that was put in its place just before a crash is
    /// told by its length.
    pub(super) fn is_followed(&self, entry: usize) -> bool {
        self.entries[entry + 1..].iter().any(|entry| matches!(entry.stage, Stage::Completed(..)))
    }

    /// Takes one more line; `None` if it makes no sense.
    pub(super) fn follow(&mut self, line: Line) -> Option<()> {
        if let Line::Requested { client_request_id, server, request, .. } = line {
            let request = serde_json::from_str(request.get()).ok()?;
            let earlier = self.entries.iter().position(|entry| entry.client_request_id == client_request_id);
            let mut entry = match earlier.map(|place| self.entries.remove(place)) {
                // The same create once more was taken up again.
                Some(earlier) => (earlier.request == request).then_some(earlier)?,
                None => Entry { request, client_request_id, server, stage: Stage::Requested, was_completed: false },
            };
            entry.stage = match entry.stage {
                // What is in the place of its file may be another video by now.
                Stage::Created(id) | Stage::Completed(id, _) => Stage::Created(id),
                Stage::Requested | Stage::Over => Stage::Requested,
            };
            self.entries.push(entry);
            return Some(());
        }
        let entry = self.entries.last_mut()?;
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
}

/// Reads the lines, and tells where the last whole one ends.
pub(super) fn parse(bytes: &[u8]) -> Result<(Record, u64), String> {
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
        record.follow(line).ok_or_else(|| format!("its line {number} does not follow from those before"))?;
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
}
