//! Parses the responses to create requests and polls into this library's types.

use serde_json::value::RawValue;

use crate::generation::{GenerationId, Status, Usage, Video};
use crate::json::{self, JsonError, Object};
use crate::outcome::{Outcome, normalized};
use crate::reason;
use crate::redact::Redactor;
use crate::url::percent_encode;

/// Why a response with a good HTTP status is not the expected one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("the id is missing or invalid")]
    NoId,
    #[error("the status is missing")]
    NoStatus,
    #[error("the response is about another generation")]
    OtherGeneration,
    #[error("status is completed, but the video URL is missing")]
    MissingUrl,
    #[error("the list of log entries is missing")]
    NoEntries,
}

/// Reads the id from the response to a create request, given its `x-inference-id` header.
///
/// The header counts only if the body is an object: otherwise the response may be a gateway's.
pub(crate) fn created(body: &[u8], inference_id: Option<&str>) -> Result<GenerationId, Malformed> {
    let body = json::repair(body);
    let response = Object::parse(&body)?;
    // Ids are strings, even if they consist of digits; a JSON number is a placeholder.
    let id = |name| response.string(name)?.parse().ok();
    id("id").or_else(|| id("generation_id")).or_else(|| inference_id?.parse().ok()).ok_or(Malformed::NoId)
}

/// Reads the response to a poll of the generation `id`.
pub(crate) fn status(body: &[u8], id: &GenerationId, redactor: &Redactor) -> Result<Status, Malformed> {
    let body = json::repair(body);
    let response = Object::parse(&body)?;
    if is_of_other_generation(&response, id) {
        return Err(Malformed::OtherGeneration);
    }
    let status = response.string("status").unwrap_or_default();
    let status = status.trim();
    if status.is_empty() {
        return Err(Malformed::NoStatus);
    }
    let normalized = normalized(status);
    let outcome = Outcome::of(&normalized);
    if outcome == Some(Outcome::Failed) {
        return Ok(Status::Failed(reason::failure(&body, status, redactor)));
    }
    // A usable URL completes a generation, whatever its status is called.
    if let Some(file) = File::find(&response, is_absolute) {
        return Ok(Status::Completed(file.into_video(id, &response)));
    }
    if outcome == Some(Outcome::Completed) {
        // The download says why another URL cannot be requested.
        let file = File::find(&response, |url| !url.trim().is_empty()).ok_or(Malformed::MissingUrl)?;
        return Ok(Status::Completed(file.into_video(id, &response)));
    }
    Ok(match normalized.as_str() {
        "queued" => Status::Queued,
        "generating" => Status::Generating,
        _ => Status::Other(redactor.excerpt(status.as_bytes())),
    })
}

/// Returns `true` if the response has ids, and each of them is certainly another generation's.
fn is_of_other_generation(response: &Object, id: &GenerationId) -> bool {
    let ids = ["id", "generation_id"].into_iter().filter_map(|name| response.string(name));
    let mut ids = ids.filter(|id| !id.trim().is_empty()).peekable();
    ids.peek().is_some() && !ids.any(|found| is_same_id(&found, id.as_str()))
}

/// A file of a response.
struct File<'a> {
    url: String,
    fields: Object<'a>,
}

impl<'a> File<'a> {
    /// Returns the first file with a usable URL.
    fn find(response: &Object<'a>, is_usable: fn(&str) -> bool) -> Option<Self> {
        ["video", "videos"].into_iter().find_map(|name| {
            let json = response.get(name)?;
            let files = json::items(json).unwrap_or_else(|| vec![json]);
            files.into_iter().filter_map(File::of).find(|file| is_usable(&file.url))
        })
    }

    /// Reads a file: an object with a URL, or the URL alone.
    fn of(json: &'a RawValue) -> Option<Self> {
        if let Some(url) = json::string(json) {
            return Some(File { url, fields: Object::default() });
        }
        let fields = Object::parse(json.get().as_bytes()).ok()?;
        Some(File { url: fields.string("url")?, fields })
    }

    fn into_video(self, id: &GenerationId, response: &Object) -> Video {
        let File { url, fields } = self;
        let usage = response.object("meta").and_then(|meta| meta.object("usage"));
        Video {
            id: id.clone(),
            url,
            content_type: fields.string("content_type"),
            file_name: fields.string("file_name"),
            // An empty file is not a video: zero stands for an unknown size.
            file_size: fields.scalar("file_size").filter(|size| *size > 0),
            duration: fields.number("duration").or_else(|| response.number("duration")),
            usage: usage.map(|usage| Usage {
                credits: usage.number("credits_used").or_else(|| usage.number("tokens_used")),
                usd: usage.number("usd_spent"),
            }),
        }
    }
}

/// Returns `true` for text that looks like an absolute URL. Whether it may be requested is decided when it is.
fn is_absolute(url: &str) -> bool {
    let scheme = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.contains(['/', '?', '#']);
    url.trim().split_once("://").is_some_and(|(start, rest)| scheme(start) && !rest.is_empty())
}

/// The length of a UUID.
const MIN_UNIQUE_NAME: usize = 36;

/// Returns `true` unless the two ids certainly belong to two generations.
///
/// An id of the service is a UUID and a model, `UUID:MODEL`. Its own samples also have the UUID alone, and a gateway may
/// return the id percent-encoded, as it stands in the query of the poll. Such an id must not make a paid video
/// unreachable, and two generations do not share a UUID.
fn is_same_id(found: &str, id: &str) -> bool {
    let found = found.trim();
    if found == id {
        return true;
    }
    let (found_name, found_rest) = found.split_at(found.find([':', '%']).unwrap_or(found.len()));
    let (name, rest) = id.split_at(id.find([':', '%']).unwrap_or(id.len()));
    let is_unique = name.len() >= MIN_UNIQUE_NAME || found_rest.is_empty() || rest.is_empty();
    found.eq_ignore_ascii_case(id)
        || found.eq_ignore_ascii_case(&percent_encode(id))
        || (is_unique && found_name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "a248abc5-3122-45a9-a9ee-352e4642e01c:klingai/v2.5-turbo/pro/text-to-video";

    fn id() -> GenerationId {
        ID.parse().unwrap()
    }

    fn read(body: &str) -> Result<Status, String> {
        status(body.as_bytes(), &id(), &Redactor::default()).map_err(|error| error.to_string())
    }

    fn create(body: &str) -> Result<GenerationId, Malformed> {
        created(body.as_bytes(), None)
    }

    #[track_caller]
    fn video(body: &str) -> Video {
        match read(body) {
            Ok(Status::Completed(video)) => video,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn documented_statuses_are_read() {
        let table = [
            (r#"{"status":"queued"}"#, Status::Queued),
            (r#"{"status":"generating","video":null,"error":null,"meta":null}"#, Status::Generating),
            (r#"{"status":" Queued "}"#, Status::Queued),
            (r#"{"status":"GENERATING"}"#, Status::Generating),
            (r#"{"status":"waiting"}"#, Status::Other("waiting".to_owned())),
            (r#"{"status":"in_progress"}"#, Status::Other("in_progress".to_owned())),
            (r#"{"status":"active","eta":12,"more":{"a":[1]}}"#, Status::Other("active".to_owned())),
        ];
        for (body, status) in table {
            assert_eq!(read(body), Ok(status), "{body}");
        }
    }

    #[test]
    fn statuses_ignore_case_and_separators() {
        for word in ["completed", "COMPLETED", "Succeeded", " success\\n", "done", "Finished"] {
            video(&format!(r#"{{"status":"{word}","video":{{"url":"https://h/v"}}}}"#));
            assert!(read(&format!(r#"{{"status":"{word}"}}"#)).is_err(), "{word}");
        }
        for word in [
            "error",
            "FAILED",
            "failure",
            "Cancelled",
            "canceled",
            "rejected",
            "EXPIRED",
            "timeout",
            "timed_out",
            "timed out",
            "timed-out",
            "TimedOut",
            "TIME_OUT",
            " aborted ",
        ] {
            // A failed generation has no video, whatever URL stands there.
            let body = format!(r#"{{"status":"{word}","video":{{"url":"https://h/v"}},"error":"no"}}"#);
            let Ok(Status::Failed(failure)) = read(&body) else { panic!("{word}") };
            assert_eq!((failure.status(), failure.message.as_str()), (word.trim(), "no"));
        }
    }

    #[test]
    fn a_usable_url_completes_a_generation() {
        for word in ["queued", "generating", "waiting", "dreaming", "READY"] {
            assert_eq!(video(&format!(r#"{{"status":"{word}","video":"https://h/v"}}"#)).url, "https://h/v");
            for unusable in [
                "null",
                "{}",
                r#"{"url":""}"#,
                r#""/v""#,
                r#""pending""#,
                r#""https://""#,
                r#""1://h/v""#,
                r#""/v?from=https://h""#,
                r#"["://"]"#,
                "[]",
                "7",
            ] {
                let status = read(&format!(r#"{{"status":"{word}","video":{unusable}}}"#)).unwrap();
                assert!(!status.is_finished(), "{word} {unusable}: {status:?}");
            }
        }
    }

    #[test]
    fn a_video_is_an_object_a_string_or_a_list() {
        let file = r#"{"url":"https://h/v","content_type":"video/mp4","file_size":7,"duration":5}"#;
        for field in ["video", "videos"] {
            for (shape, has_size) in [
                (file.to_owned(), true),
                (r#""https://h/v""#.to_owned(), false),
                (format!("[{file}]"), true),
                (r#"["https://h/v","https://h/w"]"#.to_owned(), false),
                (format!(r#"[null,7,"",{{"url":null}},{file}]"#), true),
            ] {
                let video = video(&format!(r#"{{"status":"completed","{field}":{shape}}}"#));
                assert_eq!((video.url.as_str(), video.file_size), ("https://h/v", has_size.then_some(7)), "{shape}");
            }
        }
        assert_eq!(video(r#"{"status":"completed","video":null,"videos":["https://h/v"]}"#).url, "https://h/v");
        assert_eq!(video(r#"{"status":"completed","video":["/v","https://h/v"]}"#).url, "https://h/v");
        // The download says why it cannot request this one.
        assert_eq!(video(r#"{"status":"completed","video":{"url":"/v"}}"#).url, "/v");
    }

    #[test]
    fn the_documented_sample_is_a_video_with_its_cost() {
        let video = video(&format!(
            r#"{{"id": "{ID}", "status": "completed",
                "video": {{"url": "https://cdn.aimlapi.com/output.mp4?sig=s", "content_type": "video/mp4",
                          "file_name": "output.mp4", "file_size": 20235536}},
                "error": null, "meta": {{"usage": {{"credits_used": 120000}}}}}}"#,
        ));
        assert_eq!(video.file_size, Some(20_235_536));
        assert_eq!(video.usage.unwrap().to_string(), "120000 credits");
        assert_eq!(video.id, id());
        assert!(!format!("{video:?}").contains("sig"), "{video:?}");
    }

    #[test]
    fn both_editions_and_sibling_models_are_read() {
        let older = video(
            r#"{"status":"succeeded","video":{"url":"https://h/v"},"duration":5,
                "meta":{"usage":{"tokens_used":1.5,"usd_spent":0.25}}}"#,
        );
        assert_eq!(older.duration, Some(5.0));
        assert_eq!(older.usage.unwrap().to_string(), "1.5 credits ($0.25)");
        let newer = video(r#"{"status":"completed","video":{"url":"https://h/v","duration":10.0},"duration":5}"#);
        assert_eq!(newer.duration, Some(10.0));
        assert_eq!(newer.usage, None);
        let unknown = video(r#"{"status":"completed","video":{"url":"https://h/v","file_size":0}}"#);
        assert_eq!(unknown.file_size, None);
        // Some samples carry the placeholder of an error.
        video(r#"{"status":"completed","video":{"url":"https://h/v"},"error":{"name":"Error","message":"<string>"}}"#);
    }

    #[test]
    fn a_malformed_field_costs_nobody_a_video() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for field in [r#""\ud83d""#, "1e999", "[1]", r#"["https://h/w"]"#, "\"5\"", "{}", &deep] {
            let video = video(&format!(
                r#"{{"status":"completed","duration":{field},"error":{field},"meta":{{"usage":{field}}},
                    "video":{{"url":"https://h/v","file_size":{field},"duration":{field}}}}}"#
            ));
            assert_eq!((video.url.as_str(), video.file_size, video.duration), ("https://h/v", None, None), "{field}");
        }
    }

    #[test]
    fn a_response_without_the_needed_field_is_malformed() {
        for body in ["null", "{}", r#"{"status":null}"#, r#"{"status":7}"#, r#"{"status":" "}"#] {
            assert_eq!(read(body), Err("the status is missing".to_owned()), "{body}");
        }
        for video in ["null", "{}", r#"{"url":null}"#, r#"{"url":""}"#, "[]", r#"[""]"#, "7"] {
            let body = format!(r#"{{"status":"completed","video":{video}}}"#);
            assert_eq!(read(&body), Err("status is completed, but the video URL is missing".to_owned()), "{body}");
        }
        for body in ["null", "{}", r#"{"id":null}"#, r#"{"id":7}"#, r#"{"id":"a b"}"#] {
            assert!(matches!(create(body), Err(Malformed::NoId)), "{body}");
        }
    }

    #[test]
    fn the_id_comes_from_the_body_before_the_header() {
        let table = [
            (r#"{"id":"a:b","generation_id":"c:d"}"#, Some("e:f"), "a:b"),
            (r#"{"id":null,"generation_id":"c:d"}"#, Some("e:f"), "c:d"),
            (r#"{"id":"a b","status":"queued"}"#, Some("e:f"), "e:f"),
            ("{}", Some("e:f"), "e:f"),
            ("null", Some("e:f"), "e:f"),
            (r#"{"generation_id":"c:d"}"#, Some("e f"), "c:d"),
            (r#"{"id":"paid:1","status":5,"video":7}"#, None, "paid:1"),
            (r#"{"id":7,"generation_id":"234954179076239"}"#, None, "234954179076239"),
            ("\u{feff}{\"id\":\"a:b\"}", None, "a:b"),
        ];
        for (body, header, id) in table {
            assert_eq!(created(body.as_bytes(), header).unwrap().as_str(), id, "{body}");
        }
        assert!(matches!(created(b"{}", Some("e f")), Err(Malformed::NoId)));
        // A response that is not the service's: its header proves nothing.
        for body in ["", "<html>", r#"{"id":"a"#, "[]"] {
            assert!(matches!(created(body.as_bytes(), Some("e:f")), Err(Malformed::Json(_))), "{body}");
        }
    }

    #[test]
    fn the_response_about_another_generation_is_malformed() {
        let uuid = &ID[..36];
        let same = [
            ID.to_owned(),
            format!(" {ID}\\n"),
            uuid.to_owned(),
            ID.to_uppercase(),
            percent_encode(ID),
            format!("{uuid}:kling-video/v2.5"),
            String::new(),
        ];
        for found in same {
            for field in ["id", "generation_id"] {
                let body = format!(r#"{{"{field}":"{found}","status":"queued"}}"#);
                assert_eq!(read(&body), Ok(Status::Queued), "{body}");
            }
        }
        for found in ["x", "b248abc5-3122-45a9-a9ee-352e4642e01c", &ID.replace("a248", "b248"), "klingai"] {
            let video = r#""video":{"url":"https://h/v"}"#;
            let body = format!(r#"{{"id":"{found}","status":"completed",{video}}}"#);
            assert_eq!(read(&body), Err("the response is about another generation".to_owned()), "{body}");
            // One of the two ids is enough, and a number may be the provider's own.
            let body = format!(r#"{{"id":"{found}","generation_id":"{ID}","status":"queued"}}"#);
            assert_eq!(read(&body), Ok(Status::Queued), "{body}");
        }
        assert_eq!(read(r#"{"id":7,"status":"queued"}"#), Ok(Status::Queued));
        assert!(is_same_id("a", "a:b") && is_same_id("a:b", "a") && !is_same_id("a:c", "a:b"));
        assert!(is_same_id("a%2Fc%3Ab", "a/c:b"));
    }

    #[test]
    fn an_array_is_not_taken_for_an_object() {
        assert!(matches!(create(r#" ["a:b"]"#), Err(Malformed::Json(JsonError::Array))));
        assert_eq!(read(r#"["queued"]"#), Err("expected a JSON object, found an array".to_owned()));
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
            let shown = String::from_utf8_lossy(&case[..case.len().min(40)]);
            assert!(status(case, &id(), &Redactor::default()).is_err(), "{shown}");
            assert!(created(case, None).is_err(), "{shown}");
        }
    }

    #[test]
    fn a_field_that_occurs_twice_is_not_read() {
        assert!(matches!(create(r#"{"id":"a","id":"b"}"#), Err(Malformed::NoId)));
        assert_eq!(read(r#"{"status":"queued","status":"error"}"#), Err("the status is missing".to_owned()));
    }
}
