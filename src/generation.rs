//! The answers: what the service says of a generation. Its wire shapes become these types here, and only here.

use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

/// The name of a generation at the service: all that another process, machine or day needs to go on with it.
///
/// # Example
///
/// ```
/// use kling::GenerationId;
///
/// let text = "a248abc5-3122-45a9-a9ee-352e4642e01c:klingai/v2.5-turbo/pro/text-to-video";
/// let id: GenerationId = text.parse()?;
/// assert_eq!(id.to_string(), text);
/// assert!("raccoon.id\n".parse::<GenerationId>().is_err());
/// # Ok::<(), kling::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct GenerationId(String);

impl GenerationId {
    /// The id as the service gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for GenerationId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for GenerationId {
    type Error = Error;

    /// # Errors
    ///
    /// [`Error::InvalidRequest`] if the text is empty, longer than 1,024 bytes, or holds white space or control
    /// characters: trim what was read from a file.
    fn try_from(text: String) -> Result<Self> {
        let reason = if text.is_empty() {
            "it is empty"
        } else if text.len() > 1024 {
            "it is longer than 1,024 bytes"
        } else if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            "it holds white space or control characters"
        } else {
            return Ok(GenerationId(text));
        };
        Err(Error::InvalidRequest { field: "generation id".to_owned(), reason: reason.to_owned() })
    }
}

impl FromStr for GenerationId {
    type Err = Error;

    /// # Errors
    ///
    /// As [`TryFrom<String>`](#impl-TryFrom<String>-for-GenerationId).
    fn from_str(text: &str) -> Result<Self> {
        text.to_owned().try_into()
    }
}

/// How far a generation is. `Display` gives the service's word, and the reason of a failure.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// It waits for its turn.
    Queued,
    /// The model is at work.
    Generating,
    /// The video can be downloaded.
    Completed(Video),
    /// The generation ended without a video (the service's word is `error`).
    Failed(Failure),
    /// Another word: not finished. The service's samples know `waiting` and `active`.
    Other(String),
}

impl Status {
    /// Whether nothing more will come: the generation is completed or has failed.
    pub fn is_finished(&self) -> bool {
        matches!(self, Status::Completed(_) | Status::Failed(_))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Queued => f.pad("queued"),
            Status::Generating => f.pad("generating"),
            Status::Completed(_) => f.pad("completed"),
            Status::Failed(failure) => write!(f, "failed: {failure}"),
            Status::Other(word) => f.pad(word),
        }
    }
}

/// A finished video, still at the service. It keeps its generation's id, so that a URL that expired can be asked for
/// afresh.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Video {
    /// The generation that it came from.
    pub id: GenerationId,
    /// Where the file lies: on another host, and not for ever. Its query may be a signature, so `Debug` leaves it out.
    pub url: String,
    /// The media type, usually `video/mp4`.
    pub content_type: Option<String>,
    /// The service's name for the file.
    pub file_name: Option<String>,
    /// The length of the file in bytes.
    pub file_size: Option<u64>,
    /// The length of the video in seconds.
    pub duration: Option<f64>,
    /// What it cost.
    pub usage: Option<Usage>,
}

impl fmt::Debug for Video {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Video")
            .field("id", &self.id)
            .field("url", &without_query(&self.url))
            .field("content_type", &self.content_type)
            .field("file_name", &self.file_name)
            .field("file_size", &self.file_size)
            .field("duration", &self.duration)
            .field("usage", &self.usage)
            .finish()
    }
}

/// The part of a URL that may be shown: a signature stands in the query, a password before the `@`.
pub(crate) fn without_query(url: &str) -> String {
    let shown = url.split(['?', '#']).next().unwrap_or_default();
    match shown.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => shown.to_owned(),
    }
}

/// What a generation cost.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// In credits. The service calls them `tokens_used` (2025) or `credits_used` (2026).
    pub credits: Option<f64>,
    /// In US dollars.
    pub usd: Option<f64>,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.credits, self.usd) {
            (Some(credits), Some(usd)) => write!(f, "{credits} credits (${usd})"),
            (Some(credits), None) => write!(f, "{credits} credits"),
            (None, Some(usd)) => write!(f, "${usd}"),
            (None, None) => f.pad("a cost that the service did not tell"),
        }
    }
}

/// Why a generation ended without a video.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The kind of failure, where the service names one.
    pub name: Option<String>,
    /// The service's explanation, or whatever stood in its place.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl From<Option<Value>> for Failure {
    /// The documents promise an object with `name` and `message`, a string, or null; anything else is shown as it is.
    fn from(error: Option<Value>) -> Self {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let (name, message) = match &error {
            None | Some(Value::Null) => (None, "the service gave no reason".to_owned()),
            Some(Value::Object(object)) if object.contains_key("message") => {
                (object.get("name").filter(|name| !name.is_null()).map(text), text(&object["message"]))
            }
            Some(other) => (None, text(other)),
        };
        Failure { name, message: excerpt(message.as_bytes()) }
    }
}

/// The first KiB of a text that somebody else wrote, on one line: it ends up on terminals and in logs.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
    text.trim().replace(char::is_control, " ")
}

/// An answer with a good status that does not say what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it is not the JSON that was expected: {0}")]
    Json(serde_json::Error),
    #[error("it has no usable id")]
    NoId,
    #[error("it has no status")]
    NoStatus,
    #[error("it says completed, but has no URL of the video")]
    NoUrl,
}

#[derive(Deserialize)]
struct WireGeneration {
    id: Option<GenerationId>,
    status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    video: Option<WireVideo>,
    #[serde(default, deserialize_with = "lenient")]
    duration: Option<f64>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default, deserialize_with = "lenient")]
    meta: Option<WireMeta>,
}

#[derive(Deserialize)]
struct WireVideo {
    #[serde(default, deserialize_with = "lenient")]
    url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    content_type: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    file_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    file_size: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    duration: Option<f64>,
}

#[derive(Deserialize)]
struct WireMeta {
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default, deserialize_with = "lenient")]
    tokens_used: Option<f64>,
    #[serde(default, deserialize_with = "lenient")]
    credits_used: Option<f64>,
    #[serde(default, deserialize_with = "lenient")]
    usd_spent: Option<f64>,
}

/// A field that is nice to have: one of another type than documented counts as absent, and costs nobody a paid video.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// Reads the id from the answer to a create.
pub(crate) fn created(body: &[u8]) -> Result<GenerationId, Malformed> {
    let answer: Option<WireGeneration> = serde_json::from_slice(body).map_err(Malformed::Json)?;
    answer.and_then(|answer| answer.id).ok_or(Malformed::NoId)
}

/// Reads the answer to the question how far `id` is.
pub(crate) fn status(body: &[u8], id: &GenerationId) -> Result<Status, Malformed> {
    let answer: Option<WireGeneration> = serde_json::from_slice(body).map_err(Malformed::Json)?;
    let answer = answer.ok_or(Malformed::NoStatus)?;
    Ok(match answer.status.as_deref() {
        None => return Err(Malformed::NoStatus),
        Some("queued") => Status::Queued,
        Some("generating") => Status::Generating,
        // Sibling models end in `succeeded`.
        Some("completed" | "succeeded") => {
            let video = answer.video.ok_or(Malformed::NoUrl)?;
            Status::Completed(Video {
                id: id.clone(),
                url: video.url.filter(|url| !url.is_empty()).ok_or(Malformed::NoUrl)?,
                content_type: video.content_type,
                file_name: video.file_name,
                file_size: video.file_size,
                duration: video.duration.or(answer.duration),
                usage: answer
                    .meta
                    .and_then(|meta| meta.usage)
                    .map(|usage| Usage { credits: usage.credits_used.or(usage.tokens_used), usd: usage.usd_spent }),
            })
        }
        Some("error") => Status::Failed(answer.error.into()),
        Some(word) => Status::Other(excerpt(word.as_bytes())),
    })
}

/// A page of the service's logs.
#[derive(Deserialize)]
pub(crate) struct LogPage {
    #[serde(rename = "data")]
    pub(crate) rows: Vec<LogRow>,
    #[serde(default, deserialize_with = "lenient")]
    pagination: Option<WirePagination>,
}

#[derive(Deserialize)]
struct WirePagination {
    #[serde(default, deserialize_with = "lenient")]
    has_more: Option<bool>,
}

/// One request of the account.
#[derive(Deserialize)]
pub(crate) struct LogRow {
    #[serde(default, deserialize_with = "lenient")]
    status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    client_request_id: Option<String>,
    /// For an asynchronous generation the id that the create returned.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) inference_id: Option<GenerationId>,
}

impl LogPage {
    pub(crate) fn has_more(&self) -> bool {
        !self.rows.is_empty() && self.pagination.as_ref().and_then(|page| page.has_more) == Some(true)
    }
}

impl LogRow {
    pub(crate) fn is_of(&self, client_request_id: &str) -> bool {
        self.client_request_id.as_deref() == Some(client_request_id)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.status.as_deref() == Some("failed")
    }
}

/// Reads a page of the logs.
pub(crate) fn log_page(body: &[u8]) -> Result<LogPage, Malformed> {
    serde_json::from_slice(body).map_err(Malformed::Json)
}

/// How the service explains a refusal.
pub(crate) struct Envelope {
    pub(crate) message: String,
    pub(crate) request_id: Option<String>,
}

/// Reads a refusal. What is no envelope, such as a gateway's page, is its own message.
pub(crate) fn refusal(body: &[u8]) -> Envelope {
    #[derive(Deserialize)]
    struct WireEnvelope {
        message: Value,
        #[serde(rename = "requestId", default, deserialize_with = "lenient")]
        request_id: Option<String>,
    }
    match serde_json::from_slice::<WireEnvelope>(body) {
        Ok(envelope) => {
            let message = envelope.message.as_str().map_or_else(|| envelope.message.to_string(), str::to_owned);
            Envelope { message: excerpt(message.as_bytes()), request_id: envelope.request_id }
        }
        Err(_) => Envelope { message: excerpt(body), request_id: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> GenerationId {
        "a248abc5:klingai/v2.5-turbo/pro/text-to-video".parse().unwrap()
    }

    fn read(body: &str) -> Result<Status, String> {
        status(body.as_bytes(), &id()).map_err(|error| error.to_string())
    }

    fn video(body: &str) -> Video {
        match read(body) {
            Ok(Status::Completed(video)) => video,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_word_of_the_contract_is_understood() {
        let table = [
            (r#"{"id":"x","status":"queued"}"#, Status::Queued),
            (r#"{"id":"x","status":"generating","video":null,"error":null,"meta":null}"#, Status::Generating),
            (r#"{"status":"waiting"}"#, Status::Other("waiting".to_owned())),
            (r#"{"status":"active","eta":12,"more":{"a":[1]}}"#, Status::Other("active".to_owned())),
        ];
        for (body, status) in table {
            assert_eq!(read(body), Ok(status), "{body}");
        }
    }

    #[test]
    fn the_documented_sample_is_a_video_with_its_cost() {
        let video = video(
            r#"{"id": "x", "status": "completed",
                "video": {"url": "https://cdn.aimlapi.com/output.mp4?sig=s", "content_type": "video/mp4",
                          "file_name": "output.mp4", "file_size": 20235536},
                "error": null, "meta": {"usage": {"credits_used": 120000}}}"#,
        );
        assert_eq!(video.file_size, Some(20_235_536));
        assert_eq!(video.usage.unwrap().to_string(), "120000 credits");
        assert_eq!(video.id, id());
        assert!(!format!("{video:?}").contains("sig"), "{video:?}");
    }

    #[test]
    fn both_editions_and_sibling_models_are_understood() {
        let older = video(
            r#"{"status":"succeeded","video":{"url":"https://h/v"},"duration":5,
                "meta":{"usage":{"tokens_used":1.5,"usd_spent":0.25}}}"#,
        );
        assert_eq!(older.duration, Some(5.0));
        assert_eq!(older.usage.unwrap().to_string(), "1.5 credits ($0.25)");
        let newer = video(r#"{"status":"completed","video":{"url":"https://h/v","duration":10.0},"duration":5}"#);
        assert_eq!(newer.duration, Some(10.0));
        assert_eq!(newer.usage, None);
    }

    #[test]
    fn a_field_of_another_type_costs_nobody_a_video() {
        let video = video(
            r#"{"status":"completed","video":{"url":"https://h/v","file_size":"big","content_type":7,"file_name":null,
                "duration":"5"},"meta":"none","error":[]}"#,
        );
        assert_eq!((video.file_size, video.content_type, video.duration, video.usage), (None, None, None, None));
    }

    #[test]
    fn any_json_says_why_a_generation_failed() {
        let table = [
            (r#"null"#, "the service gave no reason"),
            (r#""out of luck""#, "out of luck"),
            (r#"{"name":"ContentPolicy","message":"not allowed"}"#, "ContentPolicy: not allowed"),
            (r#"{"name":null,"message":{"code":7}}"#, r#"{"code":7}"#),
            (r#"{"code":7}"#, r#"{"code":7}"#),
            (r#"500"#, "500"),
            (r#"[true]"#, "[true]"),
        ];
        for (error, message) in table {
            let status = read(&format!(r#"{{"status":"error","error":{error}}}"#)).unwrap();
            assert_eq!(status.to_string(), format!("failed: {message}"));
        }
        assert_eq!(read(r#"{"status":"error"}"#).unwrap().to_string(), "failed: the service gave no reason");
    }

    #[test]
    fn an_answer_that_does_not_say_what_was_asked_is_malformed() {
        for body in ["null", "{}", r#"{"status":null}"#] {
            assert_eq!(read(body), Err("it has no status".to_owned()), "{body}");
        }
        for video in ["null", "{}", r#"{"url":null}"#, r#"{"url":""}"#, r#""https://h/v""#] {
            let body = format!(r#"{{"status":"completed","video":{video}}}"#);
            assert_eq!(read(&body), Err("it says completed, but has no URL of the video".to_owned()), "{body}");
        }
        for body in ["null", "{}", r#"{"id":null}"#] {
            assert!(matches!(created(body.as_bytes()), Err(Malformed::NoId)), "{body}");
        }
    }

    #[test]
    fn hostile_json_is_an_error_and_not_a_crash() {
        let deep = "[".repeat(200_000);
        let deep_field = format!(r#"{{"error":{deep}"#);
        let huge = format!(r#"{{"status":{}}}"#, "9".repeat(100_000));
        let cases: [&[u8]; 9] = [
            b"",
            b"<html>",
            b"{\"id\":\"x\",\"sta",
            b"{\"id\":\"\xff\xfe\",\"status\":\"queued\"}",
            b"{\"id\":\"a\",\"id\":\"b\",\"status\":\"queued\"}",
            b"{\"id\":\"a b\"}",
            deep.as_bytes(),
            deep_field.as_bytes(),
            huge.as_bytes(),
        ];
        for case in cases {
            let shown = excerpt(&case[..case.len().min(40)]);
            assert!(matches!(status(case, &id()), Err(Malformed::Json(_))), "{shown}");
            assert!(matches!(created(case), Err(Malformed::Json(_))), "{shown}");
        }
    }

    #[test]
    fn a_refusal_is_explained_by_whatever_came() {
        let read = |body: &str| {
            let envelope = refusal(body.as_bytes());
            (envelope.message, envelope.request_id)
        };
        assert_eq!(
            read(r#"{"message":"no credit","path":"/v2","requestId":"r-1","statusCode":"403","timestamp":"t"}"#),
            ("no credit".to_owned(), Some("r-1".to_owned()))
        );
        assert_eq!(read(r#"{"message":["a","b"],"statusCode":400}"#), (r#"["a","b"]"#.to_owned(), None));
        assert_eq!(read("<h1>403</h1>\n"), ("<h1>403</h1>".to_owned(), None));
        assert_eq!(read("two\r\nlines \u{1b}[31m"), ("two  lines  [31m".to_owned(), None));
        assert_eq!(read(""), (String::new(), None));
        assert_eq!(read(&"x".repeat(5000)).0.len(), 1024);
    }

    #[test]
    fn what_may_be_secret_in_a_url_is_not_shown() {
        let table = [
            ("https://h/v.mp4?sig=s#f", "https://h/v.mp4"),
            ("https://user:word@h:8/v.mp4", "https://h:8/v.mp4"),
            ("https://h", "https://h"),
            ("/relative?sig=s", "/relative"),
        ];
        for (url, shown) in table {
            assert_eq!(without_query(url), shown);
        }
    }

    #[test]
    fn an_id_is_one_word() {
        for text in ["", " a", "a\n", "a b", "a\u{0}"] {
            assert!(text.parse::<GenerationId>().is_err(), "{text:?}");
        }
        assert!("x".repeat(1025).parse::<GenerationId>().is_err());
        let id: GenerationId = serde_json::from_str("\"a:b/c\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"a:b/c\"");
    }
}
