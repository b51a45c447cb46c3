//! The attempts that a receipt records, and which of them the file is from.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::attempt::{Attempt, Stage};
use super::event::Event;

/// The attempts of one asset.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// In the order of their last `requested` events.
    pub(super) attempts: Vec<Attempt>,
    /// The last line is incomplete, and may be about another attempt than these.
    pub(super) torn: Option<Torn>,
}

/// An incomplete last line.
#[derive(Debug)]
pub(super) struct Torn {
    /// The client request id, if that much of the line is left.
    pub(super) client_request_id: Option<String>,
}

impl Journal {
    /// Returns the attempt for this request that has made a file of this length. Returns `None` if a later attempt, for
    /// another request, has made one of the same length: the file may be either.
    pub(super) fn current(&self, request: &Value, len: u64) -> Option<usize> {
        (0..self.attempts.len()).rev().find(|index| {
            let attempt = &self.attempts[*index];
            // Between `requested` and `completed`, the file may or may not have been replaced.
            let first_rival = if attempt.is_open() { 0 } else { index + 1 };
            let is_rival = |other: &Attempt| other.request != *request && other.has_file_size(len);
            attempt.request == *request
                && attempt.has_file_size(len)
                && !self.attempts[first_rival..].iter().any(is_rival)
        })
    }

    /// Returns the attempt to resume for a request: the last one whose generation exists, else the last one whose
    /// outcome is unknown, else the last one that ended and may have been charged. A client that uses `server` can
    /// resume only those that were sent there, so they come first.
    pub(super) fn unfinished(&self, request: &Value, server: Option<&str>) -> Option<usize> {
        let rank = |attempt: &Attempt| match attempt.stage() {
            Stage::Closed => None,
            Stage::Ended(..) => Some(0),
            Stage::Requested => Some(1),
            Stage::Created(_) | Stage::Completed(_) => Some(2),
        };
        let candidates = self.attempts.iter().enumerate().filter(|(_, attempt)| attempt.request == *request);
        let ranked = candidates.filter_map(|(index, attempt)| {
            let is_here = server.is_none_or(|server| attempt.server() == server);
            Some((is_here, rank(attempt)?, index))
        });
        ranked.max().map(|(_, _, index)| index)
    }

    /// Returns the last attempt that may have been charged, for whichever request.
    pub(super) fn last_charged(&self) -> Option<&Attempt> {
        self.attempts.iter().rev().find(|attempt| attempt.stage() != Stage::Closed)
    }

    /// Applies an event. Returns `None` if it contradicts the earlier ones.
    pub(super) fn apply(&mut self, event: Event) -> Option<()> {
        if let Event::Requested { at, client_request_id, server, request } = event {
            let request = serde_json::from_str(request.get()).ok()?;
            let earlier = self.attempts.iter().position(|attempt| attempt.client_request_id == client_request_id);
            let mut attempt = match earlier.map(|index| self.attempts.remove(index)) {
                Some(earlier) => (earlier.request == request).then_some(earlier)?,
                None => Attempt::new(request, client_request_id, server, at),
            };
            attempt.reopen(at);
            self.attempts.push(attempt);
            return Some(());
        }
        let index = match event.client_request_id() {
            Some(named) => self.attempts.iter().position(|attempt| attempt.client_request_id == named)?,
            None => self.attempt_due(&event)?,
        };
        self.attempts[index].apply(event)
    }

    /// Returns the attempt of an event that names none: the last one. If the event contradicts it, a merge has mixed the
    /// lines of two branches. Then it is the last attempt for the same request that the event fits.
    fn attempt_due(&self, event: &Event) -> Option<usize> {
        let last = self.attempts.last()?;
        self.attempts.iter().rposition(|attempt| attempt.request == last.request && attempt.is_due(event))
    }

    /// Records an incomplete last line, unless it is about the last attempt, whose outcome is looked up anyway.
    fn tear(&mut self, line: &[u8]) {
        let may_be = |event: &str| {
            let start = format!("{{\"{event}\"");
            let len = line.len().min(start.len());
            line[..len] == start.as_bytes()[..len]
        };
        let is_about_the_last = self.attempts.last().is_some_and(|attempt| attempt.is_open())
            && !may_be("requested")
            && ["refused", "created", "failed", "ended", "completed"].into_iter().any(may_be);
        if !is_about_the_last {
            self.torn = Some(Torn { client_request_id: torn_id(line) });
        }
    }
}

/// Returns the client request id in an incomplete line, if all of the id is there.
fn torn_id(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    let (_, rest) = text.split_once(r#""client_request_id":""#)?;
    rest.split_once('"').map(|(id, _)| id.to_owned())
}

/// A receipt that was read.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) journal: Journal,
    /// The length of the lines that were read, up to the end of the last one.
    pub(super) valid_len: u64,
    /// The last line has no newline: the next one has to begin with it.
    pub(super) needs_newline: bool,
}

/// Parses a receipt. The error is the reason why it cannot be read.
///
/// Reads what editors and Git make of it: a byte order mark, CRLF, blank lines, a last line without its newline.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut end = 0;
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        end += line.len() as u64;
        let text = if index == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        if text.trim_ascii().is_empty() {
            continue;
        }
        let number = index + 1;
        let event = match Event::parse(text) {
            Some(event) => event,
            None if is_conflict_marker(text) => {
                return Err(format!(
                    "line {number} is a merge conflict marker; keep the lines of both sides, and remove the markers"
                ));
            }
            // A line that is complete JSON was written to its end, whatever it says.
            None if !line.ends_with(b"\n") && serde_json::from_slice::<IgnoredAny>(text).is_err() => {
                parsed.journal.tear(text);
                break;
            }
            None => return Err(unreadable(number, "is not a valid receipt entry")),
        };
        let applied = parsed.journal.apply(event);
        applied.ok_or_else(|| unreadable(number, "is inconsistent with the lines before it"))?;
        parsed.valid_len = end;
        parsed.needs_newline = !line.ends_with(b"\n");
    }
    Ok(parsed)
}

fn unreadable(line: usize, problem: &str) -> String {
    format!("line {line} {problem}; restore the receipt from version control")
}

fn is_conflict_marker(line: &[u8]) -> bool {
    [b"<<<<<<<", b"|||||||", b"=======", b">>>>>>>"].into_iter().any(|marker| line.starts_with(marker))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::SERVICE;

    /// The events of an attempt that was completed, without its client request id.
    const LINES: [&str; 3] = [
        r#"{"requested":{"at":1,"client_request_id":"kling-1","request":{"prompt":"a fox"}}}"#,
        r#"{"created":{"id":"a:b"}}"#,
        r#"{"completed":{"file_size":7,"credits":null}}"#,
    ];

    fn receipt(lines: &[&str]) -> String {
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn journal(text: &str) -> Journal {
        parse(text.as_bytes()).unwrap_or_else(|reason| panic!("{reason}: {text}")).journal
    }

    fn stage(text: &str) -> String {
        match parse(text.as_bytes()) {
            Ok(Parsed { journal, .. }) if journal.torn.is_some() => "Torn".to_owned(),
            Ok(Parsed { journal, .. }) => {
                journal.attempts.last().map_or("Empty".to_owned(), |attempt| format!("{:?}", attempt.stage()))
            }
            Err(reason) => reason,
        }
    }

    #[test]
    fn the_events_determine_the_stage() {
        let [requested, created, completed] = LINES;
        let refused = r#"{"refused":{"reason":"no credit"}}"#;
        let failed = r#"{"failed":{"reason":"moderated"}}"#;
        let ended = r#"{"ended":{"reason":"expired"}}"#;
        let (is_created, is_completed) = (r#"Created(GenerationId("a:b"))"#, r#"Completed(GenerationId("a:b"))"#);
        let is_ended = r#"Ended(GenerationId("a:b"), "expired")"#;
        let table: [(&[&str], &str); 15] = [
            (&[], "Empty"),
            (&[requested], "Requested"),
            (&[requested, created], is_created),
            (&[requested, created, completed], is_completed),
            (&[requested, refused], "Closed"),
            (&[requested, created, failed], "Closed"),
            (&[requested, created, ended], is_ended),
            // A resumed attempt keeps its id, even if nothing follows.
            (&[requested, created, requested], is_created),
            (&[requested, created, completed, requested], is_completed),
            (&[requested, created, completed, completed], is_completed),
            (&[requested, created, ended, requested], is_ended),
            (&[requested, created, ended, requested, completed], is_completed),
            // Branches that disagree: the evidence of a charge counts.
            (&[requested, refused, created], is_created),
            (&[requested, created, failed, ended], is_ended),
            (&[requested, created, completed, failed], is_completed),
        ];
        for (lines, expected) in table {
            assert_eq!(stage(&receipt(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_torn_line_is_never_nothing() {
        let complete = receipt(&LINES);
        let ends: Vec<usize> = complete.match_indices('\n').map(|(at, _)| at + 1).collect();
        for cut in 1..complete.len() {
            let expected = match cut {
                _ if cut < ends[0] - 1 => "Torn",
                // `{"` may begin a line about another attempt.
                _ if ends.iter().any(|end| cut == end + 1 || cut == end + 2) => "Torn",
                _ if cut < ends[1] - 1 => "Requested",
                _ if cut < ends[2] - 1 => r#"Created(GenerationId("a:b"))"#,
                _ => r#"Completed(GenerationId("a:b"))"#,
            };
            assert_eq!(stage(&complete[..cut]), expected, "cut at {cut}");
        }
        let [requested, created, _] = LINES;
        let another = requested.replace("kling-1", "kling-2");
        for before in [&[requested][..], &[requested, created], &LINES] {
            for cut in 1..another.len() {
                let text = receipt(before) + &another[..cut];
                assert_eq!(stage(&text), "Torn", "another create request may have been sent: {text:?}");
                let id = journal(&text).torn.and_then(|torn| torn.client_request_id);
                assert_eq!(id.as_deref(), another[..cut].contains(r#""kling-2""#).then_some("kling-2"), "{text:?}");
            }
        }
    }

    #[test]
    fn a_torn_line_after_a_refusal_may_be_about_another_attempt() {
        let [requested, created, _] = LINES;
        let refused = receipt(&[requested, r#"{"refused":{"reason":"no credit"}}"#]);
        assert_eq!(stage(&refused), "Closed");
        for cut in 1..created.len() {
            assert_eq!(stage(&(refused.clone() + &created[..cut])), "Torn", "cut at {cut}");
        }
    }

    #[test]
    fn invalid_receipts_are_errors() {
        let [requested, created, completed] = LINES;
        let invalid = |line: usize| format!("line {line} is not a valid receipt entry");
        let inconsistent = |line: usize| format!("line {line} is inconsistent with the lines before it");
        let unknown = r#"{"paid_v2":{}}"#;
        let named = r#"{"created":{"client_request_id":"kling-2","id":"c:d"}}"#;
        let completed_itself = r#"{"completed":{"client_request_id":"kling-1","file_size":7,"credits":null}}"#;
        let marker =
            "line 2 is a merge conflict marker; keep the lines of both sides, and remove the markers".to_owned();
        let table = [
            (receipt(&[requested, "<<<<<<< HEAD", created]), marker.clone()),
            (receipt(&[requested, "=======", created]), marker),
            ("\0\0\0\n".to_owned(), invalid(1)),
            (receipt(&[requested, unknown]), invalid(2)),
            (receipt(&[requested]) + unknown, invalid(2)),
            (receipt(&[requested, &requested.replace("fox", "owl")]), inconsistent(2)),
            (receipt(&[created]), inconsistent(1)),
            (receipt(&[requested, completed]), inconsistent(2)),
            (receipt(&[requested, created, &created.replace("a:b", "c:d")]), inconsistent(3)),
            (receipt(&[requested, named]), inconsistent(2)),
            (receipt(&[requested, completed_itself]), inconsistent(2)),
        ];
        for (text, reason) in table {
            let found = stage(&text);
            assert_eq!(found.trim_end_matches("; restore the receipt from version control"), reason, "{text:?}");
        }
    }

    #[test]
    fn receipts_are_read_as_editors_and_git_leave_them() {
        let [requested, created, completed] = LINES;
        let complete = receipt(&LINES);
        let unknown_field = created.replace("}}", r#","later":{"a":1}}}"#);
        for (text, valid_len, needs_newline) in [
            (complete.clone(), complete.len(), false),
            (complete.trim_end().to_owned(), complete.len() - 1, true),
            (complete.replace('\n', "\r\n"), complete.len() + 3, false),
            (complete.replace('\n', "\r\n").trim_end().to_owned(), complete.len() + 1, true),
            (format!("\u{feff}{complete}"), complete.len() + 3, false),
            (complete.clone() + "\n \r\n\t", complete.len(), false),
            (format!("\n{requested}\n\n{created}\n \n{completed}\n"), complete.len() + 4, false),
            (receipt(&[requested, &unknown_field, completed]), complete.len() + 16, false),
        ] {
            assert_eq!(stage(&text), r#"Completed(GenerationId("a:b"))"#, "{text:?}");
            let parsed = parse(text.as_bytes()).unwrap();
            assert_eq!((parsed.valid_len, parsed.needs_newline), (valid_len as u64, needs_newline), "{text:?}");
        }
        assert_eq!(stage("\n"), "Empty");
    }

    /// Returns the lines of an attempt whose file has this length.
    fn attempt(name: &str, prompt: &str, file_size: u64) -> [String; 3] {
        [
            format!(r#"{{"requested":{{"at":1,"client_request_id":"{name}","request":{{"prompt":"{prompt}"}}}}}}"#),
            format!(r#"{{"created":{{"client_request_id":"{name}","id":"id-{name}"}}}}"#),
            format!(r#"{{"completed":{{"client_request_id":"{name}","file_size":{file_size},"credits":null}}}}"#),
        ]
    }

    /// Returns every order of the lines of two branches that keeps the order of each.
    fn merges(ours: &[String], theirs: &[String]) -> Vec<Vec<String>> {
        let (Some((first, our_rest)), Some((second, their_rest))) = (ours.split_first(), theirs.split_first()) else {
            return vec![[ours, theirs].concat()];
        };
        let start_with = |line: &String, rests: Vec<Vec<String>>| {
            rests.into_iter().map(|rest| [vec![line.clone()], rest].concat()).collect::<Vec<_>>()
        };
        [start_with(first, merges(our_rest, theirs)), start_with(second, merges(ours, their_rest))].concat()
    }

    #[test]
    fn merged_receipts_say_what_both_have_said() {
        let request = |prompt: &str| serde_json::json!({ "prompt": prompt });
        for (their_prompt, their_size) in [("a fox", 7), ("a fox", 9), ("an owl", 9)] {
            let (ours, theirs) = (attempt("ours", "a fox", 7), attempt("theirs", their_prompt, their_size));
            for ours in [&ours[..1], &ours[..2], &ours] {
                let merges = merges(ours, &theirs);
                assert!(merges.len() >= 4);
                for merged in merges {
                    let journal = journal(&(merged.join("\n") + "\n"));
                    let of =
                        |name: &str| journal.attempts.iter().find(|found| found.client_request_id == name).unwrap();
                    let expected = ["Requested", "Created", "Completed"][ours.len() - 1];
                    assert!(format!("{:?}", of("ours").stage()).starts_with(expected), "{merged:?}");
                    assert!(matches!(of("theirs").stage(), Stage::Completed(_)), "{merged:?}");
                    // Neither request is ever paid for again, and each file is that of its request.
                    assert!(journal.unfinished(&request("a fox"), None).is_some(), "{merged:?}");
                    assert!(journal.current(&request(their_prompt), their_size).is_some(), "{merged:?}");
                    let is_current = journal.current(&request("a fox"), 7).is_some();
                    assert_eq!(is_current, ours.len() == 3 || (their_prompt, their_size) == ("a fox", 7), "{merged:?}");
                }
            }
        }
    }

    #[test]
    fn a_later_video_of_the_same_length_makes_the_file_ambiguous() {
        let (fox, owl) = (serde_json::json!({ "prompt": "a fox" }), serde_json::json!({ "prompt": "an owl" }));
        let (first, second) = (attempt("1", "a fox", 7), attempt("2", "an owl", 7));
        let both = [first.as_slice(), &second].concat();
        let resumed = [both.as_slice(), &first[..1]].concat();
        let completed = [resumed.as_slice(), &first[2..]].concat();
        for (lines, fox_is_current, owl_is_current) in
            [(both, false, true), (resumed, false, false), (completed, true, false)]
        {
            let journal = journal(&(lines.join("\n") + "\n"));
            assert_eq!(journal.current(&fox, 7).is_some(), fox_is_current, "{lines:?}");
            assert_eq!(journal.current(&owl, 7).is_some(), owl_is_current, "{lines:?}");
            assert_eq!(journal.current(&fox, 9), None);
        }
    }

    #[test]
    fn events_without_an_id_are_about_the_last_request() {
        let [requested, created, completed] = LINES;
        let requested_again = requested.replace("kling-1", "kling-2");
        let created_again = created.replace("a:b", "c:d");
        let fox = serde_json::json!({ "prompt": "a fox" });
        // The mixed lines of two attempts for one request: both readings have the same result.
        let text = receipt(&[requested, &requested_again, created, &created_again, completed, completed]);
        assert_eq!(journal(&text).current(&fox, 7), Some(1));
        // Two requests: it does.
        let owl = requested_again.replace("fox", "owl");
        let text = receipt(&[requested, &owl, created, &created_again]);
        assert!(stage(&text).starts_with("line 4 is inconsistent"), "{}", stage(&text));
        // A line that both branches have is written once.
        let text = receipt(&[requested, created, &requested_again, &created_again, completed]);
        assert_eq!(journal(&text).current(&fox, 7), Some(1));
    }

    #[test]
    fn attempts_on_this_server_are_resumed_first() {
        let fox = serde_json::json!({ "prompt": "a fox" });
        let [requested, created, _] = LINES;
        let elsewhere = requested.replace(r#""request""#, r#""server":"http://127.0.0.1:1","request""#);
        let (lost, elsewhere) = (requested.replace("kling-1", "kling-2"), elsewhere.replace("kling-1", "kling-3"));
        let created_elsewhere = created.replace("a:b", "c:d");
        let text = receipt(&[requested, created, &lost, &elsewhere, &created_elsewhere]);
        let journal = journal(&text);
        for (server, index) in [(Some(SERVICE), 0), (Some("http://127.0.0.1:1"), 2), (None, 2)] {
            assert_eq!(journal.unfinished(&fox, server), Some(index), "{server:?}");
        }
        assert_eq!(journal.unfinished(&serde_json::json!({ "prompt": "an owl" }), None), None);
    }
}
