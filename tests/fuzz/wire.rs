//! Responses are read or rejected, whatever their bytes are, and no unneeded field can spoil them.

#![no_main]

mod fit;

use fit::assert_fit;
use kling::fuzzing::{created, log_page, refusal, status, unix_seconds};
use kling::{Failure, GenerationId, Status};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let id: GenerationId = "a248abc5:klingai/v2.5-turbo/pro/text-to-video".parse().unwrap();
    // A body that is read need not be a `Value`: that has no lone surrogates and no numbers beyond f64.
    let json = body.trim_ascii_start();
    let value: Option<Value> = serde_json::from_slice(json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)).ok();

    let created_id = created(body, None);
    if let (Some(id), Some(value)) = (&created_id, &value) {
        assert!(value["id"] == id.as_str() || value["generation_id"] == id.as_str());
    }
    assert!(created_id.is_none() || created(body, Some("x")) == created_id);

    let read = status(body, &id);
    match &read {
        Some(Status::Completed(video)) => {
            assert_eq!(video.id, id);
            assert!(!video.url.trim().is_empty());
            if let Some(value) = &value {
                assert!(has_url(&value["video"], &video.url) || has_url(&value["videos"], &video.url));
            }
        }
        Some(Status::Failed(failure)) => assert_failure_fit(failure),
        Some(Status::Other(word)) => assert_fit(word),
        _ => {}
    }
    if let (Some(_), Some(value)) = (&read, &value) {
        assert!(value["status"].is_string());
    }

    if let Some((step, is_last, ids)) = log_page(body, "fox") {
        assert!(ids.len() <= step && step > 0);
        if let Some(value) = &value {
            let entries = value["data"].as_array().expect("a list").len();
            assert!(step == entries || (entries == 0 && step <= 100));
            assert!(!is_last || entries == 0 || value["pagination"]["has_more"] == false);
        }
    }
    unix_seconds(&String::from_utf8_lossy(body));

    let (message, request_id) = refusal(body);
    assert_fit(&message);
    request_id.iter().for_each(|id| assert_fit(id));

    if let (Ok(field), Ok(_)) = (str::from_utf8(body), serde_json::from_slice::<IgnoredAny>(body)) {
        assert_needless(field, &id);
    }
});

/// Returns `true` if this is a file, or a list of files, with this URL.
fn has_url(video: &Value, url: &str) -> bool {
    let is_file = |file: &Value| *file == url || file["url"] == url;
    is_file(video) || video.as_array().is_some_and(|files| files.iter().any(is_file))
}

/// Puts arbitrary JSON into fields that are not needed.
fn assert_needless(field: &str, id: &GenerationId) {
    let read = |response: String| status(response.as_bytes(), id);
    assert_eq!(created(format!(r#"{{"id":"{id}","status":{field},"video":{field}}}"#).as_bytes(), None).as_ref(), Some(id));
    let video = format!(r#"{{"url":"https://cdn.example/v.mp4","file_name":{field},"file_size":{field}}}"#);
    for rest in ["duration", "error", "meta", "more"] {
        let response = format!(r#"{{"status":"completed","video":{video},"{rest}":{field}}}"#);
        assert!(matches!(read(response), Some(Status::Completed(_))), "{rest}");
    }
    for error in [field, &format!(r#"{{"name":{field},"message":{field}}}"#)] {
        match read(format!(r#"{{"status":"error","error":{error}}}"#)) {
            Some(Status::Failed(failure)) => assert_failure_fit(&failure),
            other => panic!("{other:?}"),
        }
    }
    let (message, foreign_id) = refusal(format!(r#"{{"message":"m","requestId":{field}}}"#).as_bytes());
    let (_, request_id) = refusal(format!(r#"{{"message":{field},"requestId":"r"}}"#).as_bytes());
    assert_eq!((message.as_str(), request_id.as_deref()), ("m", Some("r")));
    foreign_id.iter().for_each(|id| assert_fit(id));
    let row = r#"{"client_request_id":"fox","inference_id":"a:b"}"#;
    let page = log_page(format!(r#"{{"data":[{field},{row}],"pagination":{field}}}"#).as_bytes(), "fox");
    assert!(page.is_some_and(|(step, _, ids)| step == 2 && ids.last().is_some_and(|id| id.as_str() == "a:b")));
}

fn assert_failure_fit(failure: &Failure) {
    assert_fit(&failure.message);
    failure.name.iter().for_each(|name| assert_fit(name));
}
