//! The shapes that go over the wire become the types of this library here, and only here.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::generation::{Failure, GenerationId, Status, Usage, Video};
use crate::redact::excerpt;

/// An answer with a good status that does not say what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it is not the JSON that was expected (line {line}, column {column})")]
    Json { line: usize, column: usize },
    #[error("it is an array, and not the object that was expected")]
    Array,
    #[error("it has no usable id")]
    NoId,
    #[error("it has no status")]
    NoStatus,
    #[error("it says completed, but has no URL of the video")]
    MissingUrl,
}

impl From<serde_json::Error> for Malformed {
    /// Not what serde says: it quotes the answer.
    fn from(error: serde_json::Error) -> Self {
        Malformed::Json { line: error.line(), column: error.column() }
    }
}

/// Reads an object. serde would also take an array, for the fields in their order: some list's first text for an id.
fn parse_object<T: DeserializeOwned>(json: &[u8]) -> Result<T, Malformed> {
    match json.trim_ascii_start() {
        [b'[', ..] => Err(Malformed::Array),
        _ => Ok(serde_json::from_slice(json)?),
    }
}

/// A field that counts as absent if it has another type than documented, or cannot be read, as half a surrogate pair
/// and 1e999: that shall cost nobody a paid video.
struct Lenient<T>(Option<T>);

impl<T> Default for Lenient<T> {
    fn default() -> Self {
        Lenient(None)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let field = <&RawValue>::deserialize(deserializer)?;
        Ok(Lenient(parse_object(field.get().as_bytes()).ok()))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Created {
    id: Lenient<GenerationId>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Generation {
    status: Lenient<String>,
    video: Lenient<File>,
    duration: Lenient<f64>,
    error: Option<Box<RawValue>>,
    meta: Lenient<Meta>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    url: Lenient<String>,
    content_type: Lenient<String>,
    file_name: Lenient<String>,
    file_size: Lenient<u64>,
    duration: Lenient<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    usage: Lenient<MetaUsage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetaUsage {
    tokens_used: Lenient<f64>,
    credits_used: Lenient<f64>,
    usd_spent: Lenient<f64>,
}

/// Reads the id from the answer to a create.
pub(crate) fn created(body: &[u8]) -> Result<GenerationId, Malformed> {
    let answer: Option<Created> = parse_object(body)?;
    answer.unwrap_or_default().id.0.ok_or(Malformed::NoId)
}

/// Reads the answer to the question how far `id` is.
pub(crate) fn status(body: &[u8], id: &GenerationId) -> Result<Status, Malformed> {
    let answer: Option<Generation> = parse_object(body)?;
    let answer = answer.unwrap_or_default();
    Ok(match answer.status.0.as_deref() {
        None => return Err(Malformed::NoStatus),
        Some("queued") => Status::Queued,
        Some("generating") => Status::Generating,
        // Sibling models end in `succeeded`.
        Some("completed" | "succeeded") => {
            let file = answer.video.0.unwrap_or_default();
            Status::Completed(Video {
                id: id.clone(),
                url: file.url.0.filter(|url| !url.is_empty()).ok_or(Malformed::MissingUrl)?,
                content_type: file.content_type.0,
                file_name: file.file_name.0,
                // An empty file is no video: the number is not meant.
                file_size: file.file_size.0.filter(|size| *size > 0),
                duration: file.duration.0.or(answer.duration.0),
                usage: answer.meta.0.and_then(|meta| meta.usage.0).map(|usage| Usage {
                    credits: usage.credits_used.0.or(usage.tokens_used.0),
                    usd: usage.usd_spent.0,
                }),
            })
        }
        Some("error") => Status::Failed(failure(answer.error.as_deref())),
        Some(word) => Status::Other(excerpt(word.as_bytes())),
    })
}

/// The documents promise an object with `name` and `message`, a string, or null; anything else is shown as it is.
fn failure(error: Option<&RawValue>) -> Failure {
    #[derive(Deserialize)]
    struct Reason {
        #[serde(default)]
        name: Lenient<String>,
        message: Box<RawValue>,
    }
    let Some(error) = error else {
        return Failure { status: "error".to_owned(), name: None, message: "the service gave no reason".to_owned() };
    };
    match parse_object::<Reason>(error.get().as_bytes()) {
        Ok(Reason { name, message }) => Failure {
            status: "error".to_owned(),
            name: name.0.map(|name| excerpt(name.as_bytes())),
            message: text(&message),
        },
        Err(_) => Failure { status: "error".to_owned(), name: None, message: text(error) },
    }
}

/// What a string says, or any other JSON as it came.
fn text(json: &RawValue) -> String {
    let said = serde_json::from_str(json.get()).unwrap_or_else(|_| json.get().to_owned());
    excerpt(said.as_bytes())
}

/// A page of the service's logs.
#[derive(Default, Deserialize)]
pub(crate) struct LogPage {
    data: Vec<Lenient<LogEntry>>,
    #[serde(default)]
    pagination: Lenient<Pagination>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pagination {
    has_more: Lenient<bool>,
}

/// One request of the account.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct LogEntry {
    status: Lenient<String>,
    client_request_id: Lenient<String>,
    inference_id: Lenient<GenerationId>,
}

impl LogPage {
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether the logs end here. A page that does not say so is no proof.
    pub(crate) fn is_last(&self) -> bool {
        let has_more = self.pagination.0.as_ref().and_then(|pagination| pagination.has_more.0);
        self.data.is_empty() || has_more == Some(false)
    }

    pub(crate) fn step(&self) -> usize {
        self.data.len()
    }

    pub(crate) fn entries_for(&self, client_request_id: &str) -> impl Iterator<Item = &LogEntry> {
        let rows = self.data.iter().filter_map(|row| row.0.as_ref());
        rows.filter(move |row| row.client_request_id.0.as_deref() == Some(client_request_id))
    }
}

impl LogEntry {
    pub(crate) fn has_failed(&self) -> bool {
        self.status.0.as_deref() == Some("failed")
    }

    pub(crate) fn created_at(&self) -> Option<u64> {
        None
    }

    /// For an asynchronous generation the id that the create returned.
    pub(crate) fn generation_id(&self) -> Option<&GenerationId> {
        self.inference_id.0.as_ref()
    }
}

/// Reads a page of the logs.
pub(crate) fn log_page(body: &[u8]) -> Result<LogPage, Malformed> {
    parse_object(body)
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
        message: Box<RawValue>,
        #[serde(rename = "requestId", default)]
        request_id: Lenient<String>,
    }
    match parse_object::<WireEnvelope>(body) {
        Ok(WireEnvelope { message, request_id }) => {
            Envelope { message: text(&message), request_id: request_id.0.map(|id| excerpt(id.as_bytes())) }
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
    fn a_field_that_cannot_be_read_costs_nobody_a_video() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for field in [r#""\ud83d""#, "1e999", "[1]", r#"["https://h/w"]"#, &deep] {
            let video = video(&format!(
                r#"{{"status":"completed","video":{{"url":"https://h/v","file_name":{field},"duration":{field}}},
                    "error":{field},"meta":{{"usage":{field}}}}}"#
            ));
            assert_eq!((video.url.as_str(), video.duration, video.usage), ("https://h/v", None, None), "{field}");
        }
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
            (r#"["a","b"]"#, r#"["a","b"]"#),
            ("1e999", "1e999"),
            // A text that was cut within an emoji.
            (r#"{"name":"Policy","message":"no \ud83d"}"#, r#"Policy: "no \ud83d""#),
        ];
        for (error, message) in table {
            let status = read(&format!(r#"{{"status":"error","error":{error}}}"#)).unwrap();
            assert_eq!(status.to_string(), format!("failed: {message}"));
        }
        assert_eq!(read(r#"{"status":"error"}"#).unwrap().to_string(), "failed: the service gave no reason");
    }

    #[test]
    fn an_answer_that_does_not_say_what_was_asked_is_malformed() {
        for body in ["null", "{}", r#"{"status":null}"#, r#"{"status":7}"#] {
            assert_eq!(read(body), Err("it has no status".to_owned()), "{body}");
        }
        for video in ["null", "{}", r#"{"url":null}"#, r#"{"url":""}"#, r#""https://h/v""#] {
            let body = format!(r#"{{"status":"completed","video":{video}}}"#);
            assert_eq!(read(&body), Err("it says completed, but has no URL of the video".to_owned()), "{body}");
        }
        for body in ["null", "{}", r#"{"id":null}"#, r#"{"id":7}"#, r#"{"id":"a b"}"#] {
            assert!(matches!(created(body.as_bytes()), Err(Malformed::NoId)), "{body}");
        }
    }

    #[test]
    fn an_array_is_not_taken_for_an_object() {
        assert!(matches!(created(br#" ["a:b"]"#), Err(Malformed::Array)));
        assert_eq!(read(r#"["queued"]"#), Err("it is an array, and not the object that was expected".to_owned()));
        assert!(log_page(b"[[]]").is_err());
        assert!(read(r#"{"status":"completed","video":["https://h/v"]}"#).is_err());
        assert_eq!(refusal(br#"["a","b"]"#).request_id, None);
    }

    #[test]
    fn hostile_json_is_an_error_and_not_a_crash() {
        let deep = "[".repeat(200_000);
        let deep_field = format!(r#"{{"error":{deep}"#);
        let huge = format!(r#"{{"status":{}}}"#, "9".repeat(100_000));
        let cases: [&[u8]; 7] = [
            b"",
            b"<html>",
            b"{\"id\":\"x\",\"sta",
            b"{\"id\":\"\xff\xfe\",\"status\":\"\xff\xfe\"}",
            deep.as_bytes(),
            deep_field.as_bytes(),
            huge.as_bytes(),
        ];
        for case in cases {
            let shown = excerpt(&case[..case.len().min(40)]);
            assert!(status(case, &id()).is_err(), "{shown}");
            assert!(created(case).is_err(), "{shown}");
            assert!(log_page(case).is_err(), "{shown}");
        }
    }

    #[test]
    fn the_same_key_twice_is_an_error() {
        assert!(matches!(created(br#"{"id":"a","id":"b"}"#), Err(Malformed::Json { .. })));
        assert!(matches!(status(br#"{"status":"queued","status":"error"}"#, &id()), Err(Malformed::Json { .. })));
    }

    #[test]
    fn only_what_was_asked_for_has_to_be_there() {
        assert_eq!(created(br#"{"id":"paid:1","status":5,"video":7}"#).unwrap().as_str(), "paid:1");
        assert!(matches!(
            read(r#"{"id":7,"status":"completed","video":{"url":"https://h/v"}}"#),
            Ok(Status::Completed(_))
        ));
    }

    #[test]
    fn the_logs_end_only_where_they_say_so() {
        let row = r#"{"status":"succeeded","client_request_id":"fox","inference_id":"a:b"}"#;
        let table = [
            (r#""pagination":{"has_more":false}"#, true),
            (r#""pagination":{"has_more":true}"#, false),
            (r#""pagination":{"total":101}"#, false),
            (r#""more":1"#, false),
        ];
        for (pagination, is_last) in table {
            let page = log_page(format!(r#"{{"data":[null,7,{row}],{pagination}}}"#).as_bytes()).unwrap();
            assert_eq!((page.len(), page.is_last()), (3, is_last), "{pagination}");
            let ids: Vec<_> = page.entries_for("fox").map(|row| row.generation_id().unwrap().as_str()).collect();
            assert_eq!(ids, ["a:b"]);
        }
        assert!(log_page(br#"{"data":[]}"#).unwrap().is_last());
        assert!(log_page(b"{}").is_err());
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
        assert_eq!(read(""), (String::new(), None));
    }
}
