//! The reason why an asset is not current, in words for a person, and the cheapest remedy.
//!
//! Everything that suggests giving up a receipt, and so paying again, is in this file.

use std::time::Duration;

use super::attempt::{Attempt, Stage};
use super::event::request_json;
use super::journal::Journal;
use super::kept;
use super::nearby::find_video;
use super::state::{Asset, Finding, State};
use crate::builder::SERVICE;
use crate::error::Error;
use crate::generation::GenerationId;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How far the service's logs go back.
const LOGS_REACH: Duration = DAY.saturating_mul(7);

/// The age from which the logs should list an accepted create request. They list it once its video has finished. The
/// service's sample code waits 1,000 s for that; a queue may make it longer.
const LISTED_AFTER: Duration = Duration::from_secs(3600);

/// The age from which a generation that is not found counts as deleted by the service. The logs still list a younger one,
/// so a transient fault is more likely.
const GONE_AFTER: Duration = LOGS_REACH;

/// An asset, and everything that its advice depends on.
pub(super) struct Advice<'a> {
    pub(super) asset: &'a Asset,
    pub(super) journal: &'a Journal,
    /// The attempt that the advice is about.
    pub(super) attempt: Option<&'a Attempt>,
    /// The length of the file; `None` if there is no file.
    pub(super) file_len: Option<u64>,
}

/// What makes an asset current.
#[derive(Debug, PartialEq)]
pub(super) enum Remedy {
    /// A new generation, which is charged.
    Generate,
    /// A run that resumes the generation, or looks the create request up, at no cost.
    Resume,
    /// A decision or a repair by a person: the reason names it.
    Person,
}

/// Why the outcome of a create request is unknown.
pub(super) enum Lookup<'a> {
    /// It was sent just now, and failed with this error.
    Sent(&'a Error),
    /// The service's logs do not list it.
    NotListed,
    /// The service's logs could not be read.
    Failed(&'a Error),
}

impl<'a> Advice<'a> {
    pub(super) fn new(asset: &'a Asset, finding: &Finding, journal: &'a Journal) -> Self {
        Advice { asset, journal, attempt: finding.attempt_in(journal), file_len: finding.file_len }
    }

    pub(super) fn remedy(&self, state: &State) -> Remedy {
        match state {
            State::Missing | State::Stale { .. } => Remedy::Generate,
            // A generation that ended is polled again as well, because a poll is free.
            State::InProgress { .. } | State::Ended { .. } => Remedy::Resume,
            State::Unknown { client_request_id: Some(_) } if !self.is_beyond_logs() => Remedy::Resume,
            _ => Remedy::Person,
        }
    }

    /// Returns why the asset is not current.
    pub(super) fn reason(&self, state: &State) -> String {
        match state {
            State::Current(_) => "it is current".to_owned(),
            State::Missing => format!("it has not been generated yet{}", self.last_failure()),
            State::Untracked => format!(
                "there is a file, but {} does not say what it was generated from; restore the receipt from version \
                 control (whoever generated the file may not have committed it), or move the file away if it is another \
                 one",
                self.asset.receipt_path().display(),
            ),
            State::Stale { differences } => {
                let lines: Vec<String> = differences.iter().map(|difference| format!("\n  {difference}")).collect();
                format!("its request has changed{}{}", lines.concat(), self.last_failure())
            }
            State::InProgress { id } => format!("generation {id} was already paid for, but {}", self.why_not_here()),
            State::Ended { id, reason } => self.ended(id, reason),
            State::Unknown { client_request_id: Some(_) } if self.is_beyond_logs() => self.beyond_logs(),
            State::Unknown { client_request_id: Some(_) } => {
                format!("{}; looking it up costs nothing", self.perhaps_accepted())
            }
            // An event is synced before the step that it announces, so a step whose line was cut off was not taken.
            State::Unknown { client_request_id: None } => {
                "the last line of its receipt is incomplete; restore the receipt from version control, or remove that \
                 line if it was cut off by a crash"
                    .to_owned()
            }
        }
    }

    /// Returns why the last attempt for this request was not charged.
    fn last_failure(&self) -> String {
        let request = request_json(&self.asset.request).unwrap_or_default();
        let last = self.journal.attempts.iter().rev().find(|attempt| attempt.request == request);
        match last.and_then(Attempt::closed_reason) {
            Some(reason) => format!("; the last attempt was not charged: {reason}"),
            None => String::new(),
        }
    }

    /// Returns why the video of a generation that is paid for is not at its path.
    fn why_not_here(&self) -> String {
        let path = self.asset.path();
        if let Some(kept) = self.attempt.and_then(|attempt| kept::find(path, attempt)) {
            return format!("its video was kept as {}, and can be put back at no cost", kept.display());
        }
        let problem = match self.file_len {
            Some(len) if self.attempt.is_some_and(|attempt| attempt.has_file_size(len)) => {
                "the file may be the video of another request, which has the same length"
            }
            Some(_) if self.was_completed() => {
                "the file is not its video; restore it from version control (`git lfs pull`, if it is stored there), or \
                 fetch it again"
            }
            Some(_) => "its video has not been received, and the file is another one",
            None if self.was_completed() => {
                if let Some(other) = self.attempt.and_then(|attempt| find_video(self.asset, attempt)) {
                    let (other, path) = (other.display(), path.display());
                    return format!(
                        "its video is missing; if {other} is this video, rename it to {path}; otherwise, restore it from \
                         version control, or fetch it again"
                    );
                }
                "its video is missing; restore it from version control (whoever generated it may not have committed it), \
                 or fetch it again"
            }
            None => "its video has not been received",
        };
        problem.to_owned()
    }

    /// Returns what to do about a generation that ended without a video, and may have been charged.
    pub(super) fn ended(&self, id: &GenerationId, reason: &str) -> String {
        if self.was_completed() {
            return format!(
                "generation {id} was already paid for, but the service reports now that it ended without a video: \
                 {reason}; {}",
                self.instead_of_a_lost_video(),
            );
        }
        format!(
            "generation {id} ended without a video: {reason}; it may have been charged, and only a person can decide to \
             pay again, so check the account's charges; to generate it again, which may charge you twice, {}",
            self.delete_hint(),
        )
    }

    /// Returns what to do about a generation that was created on another server than the one of this client.
    pub(super) fn other_server(&self, server: &str, here: &str) -> String {
        let resume = format!(
            "its generation was created on {server}, but this client uses {here}; to resume it, set \
             AIML_API_BASE={server}"
        );
        if let Some(keep) = self.same_length_hint() {
            return format!("{resume}; {keep}");
        }
        let charged = if here == SERVICE { ", which is charged" } else { "" };
        match self.attempt.and_then(Attempt::emulator_url) {
            // An emulator's generation is gone as soon as the emulator is.
            Some(_) => format!("{resume}; to generate it again on {here}{charged}, {}", self.delete_hint()),
            // The service's own was paid for.
            None => resume,
        }
    }

    /// Returns what to do about a create request whose outcome is unknown.
    pub(super) fn unknown(&self, lookup: &Lookup<'_>) -> String {
        if self.is_beyond_logs() && !matches!(lookup, Lookup::Sent(_)) {
            return self.beyond_logs();
        }
        let next = match lookup {
            Lookup::Sent(error) => format!("{}; run this again in some minutes, which looks it up", error.on_one_line()),
            Lookup::Failed(error) => {
                format!("it could not be looked up: {}; run this again later, which looks it up again", error.on_one_line())
            }
            Lookup::NotListed if self.age() < LISTED_AFTER => {
                "the service's logs do not list it yet; run this again in some minutes, which looks it up again (an hour \
                 after the request, this will say how to give it up)"
                    .to_owned()
            }
            Lookup::NotListed => format!(
                "the service's logs do not list it; check that AIML_API_KEY is the API key that it was sent with; to \
                 generate the asset again, which may charge you twice, {}",
                self.delete_hint(),
            ),
        };
        format!("{}: {next}", self.perhaps_accepted())
    }

    /// Names a create request whose outcome is unknown.
    fn perhaps_accepted(&self) -> String {
        let id = self.attempt.map_or("(lost)", |attempt| &attempt.client_request_id);
        format!("the create request with client request id {id} may have been accepted and charged")
    }

    fn beyond_logs(&self) -> String {
        format!(
            "{}; it was sent {} days ago, and its outcome can no longer be looked up, because the service's logs go back 7 \
             days; check the account's charges of that day; to generate the asset again, which may charge you twice, {}",
            self.perhaps_accepted(),
            self.age().as_secs() / DAY.as_secs(),
            self.delete_hint(),
        )
    }

    /// Returns what to do about a generation that cannot be resumed, if the error means that the service has deleted
    /// it.
    pub(super) fn gone(&self, error: &Error) -> Option<String> {
        // The generation itself is not found, or its file host refuses every URL that the service issues.
        let is_not_found = matches!(
            error,
            Error::Refused { status: 404, .. } | Error::UnexpectedResponse { status: 400 | 401 | 403 | 404 | 410, .. }
        );
        if !is_not_found {
            return None;
        }
        let causes = error.on_one_line();
        if let Some(keep) = self.same_length_hint() {
            return Some(format!("{causes}; {keep}"));
        }
        if self.age() < GONE_AFTER {
            return None;
        }
        let days = self.age().as_secs() / DAY.as_secs();
        let instead = if self.was_completed() {
            self.instead_of_a_lost_video()
        } else {
            format!("to generate it again, which is charged again, {}", self.delete_hint())
        };
        Some(format!("{causes}; the generation is {days} days old and seems to be deleted; {instead}"))
    }

    /// Returns what a person deletes to give up the attempt. Other generations in the receipt were paid for, too.
    fn delete_hint(&self) -> String {
        let receipt = self.asset.receipt_path();
        let is_other = |other: &Attempt| other.stage() != Stage::Closed;
        let others = self.journal.attempts.iter().filter(|other| is_other(other)).count();
        match self.attempt {
            Some(attempt) if others > 1 => {
                format!("delete the lines of {} from {}", attempt.client_request_id, receipt.display())
            }
            _ if self.file_len.is_some() => {
                format!("delete {} and move {} away", receipt.display(), self.asset.path().display())
            }
            _ => format!("delete {}", receipt.display()),
        }
    }

    /// Returns what to do if the service no longer has a video that was received once.
    fn instead_of_a_lost_video(&self) -> String {
        self.same_length_hint().unwrap_or_else(|| {
            format!(
                "restore the video from version control; only if it is lost, {} to generate it again, which is charged \
                 again",
                self.delete_hint(),
            )
        })
    }

    /// Returns how to keep a file whose length is that of this video, and that of a video for another request.
    fn same_length_hint(&self) -> Option<String> {
        let len = self.file_len?;
        let attempt = self.attempt.filter(|attempt| attempt.has_file_size(len))?;
        let is_rival = |other: &&Attempt| other.request != attempt.request && other.has_file_size(len);
        let rival = self.journal.attempts.iter().rev().find(is_rival)?;
        Some(format!(
            "the file has the length of this video; if it is this video, delete the lines of {} from {}",
            rival.client_request_id,
            self.asset.receipt_path().display(),
        ))
    }

    fn was_completed(&self) -> bool {
        self.attempt.is_some_and(|attempt| matches!(attempt.stage(), Stage::Completed(_)))
    }

    fn age(&self) -> Duration {
        self.attempt.map_or(Duration::ZERO, Attempt::age)
    }

    fn is_beyond_logs(&self) -> bool {
        self.age() >= LOGS_REACH
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::now;
    use super::super::journal::parse;
    use super::*;
    use crate::request::VideoRequest;

    const HERE: &str = "http://127.0.0.1:1";
    const HOURS: u64 = 3600;
    const DAYS: u64 = 24 * HOURS;

    /// The situations that lead to advice.
    #[derive(Clone, Copy, Debug)]
    enum Situation {
        /// A build that may not generate.
        Check,
        Sent,
        NotListed,
        LookupFailed,
        /// A poll or a download failed with this HTTP status.
        Refused(u16),
        FileRefused(u16),
        NoResponse,
        /// The service reports that the generation ended and may have been charged.
        EndedNow,
        OtherServer,
    }
    use Situation::*;

    fn refused(status: u16) -> Error {
        let request = "GET url".to_owned();
        Error::Refused { request, status, message: String::new(), request_id: None, retry_after: None }
    }

    fn unexpected(status: u16) -> Error {
        Error::UnexpectedResponse { request: "GET url".to_owned(), status, body: String::new(), source: None }
    }

    fn no_response() -> Error {
        Error::NoResponse { request: "GET url".to_owned(), source: "closed".into() }
    }

    /// Returns the advice for an attempt with these events, sent to `server` `age` seconds ago.
    fn advice(situation: Situation, events: &[&str], age: u64, server: &str, file_len: Option<u64>) -> String {
        let asset = Asset::new("fox.mp4", VideoRequest::new("a fox"));
        let request = request_json(&VideoRequest::new("a fox")).unwrap();
        let at = now() - age;
        let server_field = if server == SERVICE { String::new() } else { format!(r#""server":"{server}","#) };
        let mut text =
            format!(r#"{{"requested":{{"at":{at},"client_request_id":"kling-1",{server_field}"request":{request}}}}}"#);
        text += &events.iter().map(|event| format!("\n{event}")).collect::<String>();
        let journal = parse(text.as_bytes()).unwrap().journal;
        let mut finding = asset.find(&journal, &request, None).unwrap();
        finding.file_len = file_len;
        let advice = Advice::new(&asset, &finding, &journal);
        let id = "a:b".parse().unwrap();
        let gone = |error: Error| advice.gone(&error).unwrap_or_default();
        match situation {
            Check => advice.reason(&finding.state),
            Sent => advice.unknown(&Lookup::Sent(&no_response())),
            NotListed => advice.unknown(&Lookup::NotListed),
            LookupFailed => advice.unknown(&Lookup::Failed(&refused(403))),
            Refused(status) => gone(refused(status)),
            FileRefused(status) => gone(unexpected(status)),
            NoResponse => gone(no_response()),
            EndedNow => advice.ended(&id, "expired"),
            OtherServer => advice.other_server(server, HERE),
        }
    }

    const CREATED: &str = r#"{"created":{"client_request_id":"kling-1","id":"a:b"}}"#;
    const SENT: &[&str] = &[];
    const RUNNING: &[&str] = &[CREATED];
    const OVER: &[&str] = &[CREATED, r#"{"ended":{"client_request_id":"kling-1","reason":"expired"}}"#];
    const COMPLETE: &[&str] =
        &[CREATED, r#"{"completed":{"client_request_id":"kling-1","file_size":7,"credits":null}}"#];
    const EMULATOR: &str = "http://127.0.0.1:2";

    /// The situation, the events, the age and the server of the attempt; then the advice without a file, and with a file
    /// of another length: run again, restore the file, delete the receipt.
    type Row = (Situation, &'static [&'static str], u64, &'static str, &'static str, &'static str);

    const TABLE: [Row; 32] = [
        (Check, SENT, 0, SERVICE, "", ""),
        (Check, SENT, 6 * DAYS, SERVICE, "", ""),
        (Check, SENT, 8 * DAYS, SERVICE, "delete", "delete"),
        (Check, RUNNING, 0, SERVICE, "", ""),
        (Check, RUNNING, 99 * DAYS, SERVICE, "", ""),
        (Check, COMPLETE, 99 * DAYS, SERVICE, "restore", "restore"),
        (Check, OVER, 0, SERVICE, "delete", "delete"),
        (Sent, SENT, 0, SERVICE, "run", "run"),
        (NotListed, SENT, 0, SERVICE, "run", "run"),
        (NotListed, SENT, 2 * HOURS, SERVICE, "delete", "delete"),
        (NotListed, SENT, 8 * DAYS, SERVICE, "delete", "delete"),
        (LookupFailed, SENT, 0, SERVICE, "run", "run"),
        (LookupFailed, SENT, 6 * DAYS, SERVICE, "run", "run"),
        (LookupFailed, SENT, 8 * DAYS, SERVICE, "delete", "delete"),
        (Refused(404), RUNNING, 0, SERVICE, "", ""),
        (Refused(404), RUNNING, 6 * DAYS, SERVICE, "", ""),
        (Refused(404), RUNNING, 8 * DAYS, SERVICE, "delete", "delete"),
        (Refused(404), COMPLETE, 6 * DAYS, SERVICE, "", ""),
        (Refused(404), COMPLETE, 8 * DAYS, SERVICE, "restore delete", "restore delete"),
        (Refused(401), COMPLETE, 99 * DAYS, SERVICE, "", ""),
        (FileRefused(410), RUNNING, 6 * DAYS, SERVICE, "", ""),
        (FileRefused(410), RUNNING, 8 * DAYS, SERVICE, "delete", "delete"),
        (FileRefused(403), COMPLETE, 8 * DAYS, SERVICE, "restore delete", "restore delete"),
        (FileRefused(502), COMPLETE, 99 * DAYS, SERVICE, "", ""),
        (NoResponse, COMPLETE, 99 * DAYS, SERVICE, "", ""),
        (EndedNow, RUNNING, 0, SERVICE, "delete", "delete"),
        (EndedNow, COMPLETE, 0, SERVICE, "restore delete", "restore delete"),
        (OtherServer, RUNNING, 0, SERVICE, "", ""),
        (OtherServer, COMPLETE, 99 * DAYS, SERVICE, "", ""),
        (OtherServer, SENT, 0, SERVICE, "", ""),
        (OtherServer, RUNNING, 0, EMULATOR, "delete", "delete"),
        (OtherServer, COMPLETE, 0, EMULATOR, "delete", "delete"),
    ];

    #[test]
    fn advice_to_pay_again_is_given_only_if_nothing_is_cheaper() {
        for (situation, events, age, server, without_file, with_other_file) in TABLE {
            for (file_len, expected) in [(None, without_file), (Some(9), with_other_file)] {
                let text = advice(situation, events, age, server, file_len);
                let words = ["run this again", "restore", "delete"];
                let found: Vec<&str> = words.into_iter().filter(|word| text.contains(word)).collect();
                let case = format!("{situation:?} {events:?} {age} {file_len:?}: {text}");
                assert_eq!(found.join(" ").replace("run this again", "run"), expected, "{case}");
                // It says that it costs money, and keeps the file that is there.
                let says_the_cost = text.contains("charge") || server == EMULATOR;
                assert!(!text.contains("delete") || says_the_cost, "{case}");
                assert_eq!(text.contains("move fox.mp4 away"), text.contains("delete") && file_len.is_some(), "{case}");
            }
        }
    }
}
