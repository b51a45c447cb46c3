//! An answer is read as what it says or refused, whatever its bytes are, and no field that nobody needs can spoil it.

#![no_main]

mod fit;

use fit::assert_fit;
use kling::fuzzing::{created, log_page, refusal, status};
use kling::{Failure, GenerationId, Status};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let id: GenerationId = "a248abc5:klingai/v2.5-turbo/pro/text-to-video".parse().unwrap();
    // Not all that is read is a value: one with a number beyond f64, or with half a surrogate pair, is none.
    let value: Option<Value> = serde_json::from_slice(body).ok();

    let created_id = created(body);
    if let (Some(id), Some(value)) = (&created_id, &value) {
        assert_eq!(value["id"], id.as_str());
    }

    let read = status(body, &id);
    match &read {
        Some(Status::Completed(video)) => {
            assert_eq!(video.id, id);
            assert!(!video.url.is_empty());
            if let Some(value) = &value {
                assert_eq!(value["video"]["url"], video.url);
            }
        }
        Some(Status::Failed(failure)) => assert_failure_fit(failure),
        Some(Status::Other(word)) => assert_fit(word),
        _ => {}
    }
    if let (Some(_), Some(value)) = (&read, &value) {
        assert!(value["status"].is_string());
    }

    if let Some((len, is_last, ids)) = log_page(body, "fox") {
        assert!(ids.len() <= len);
        assert!(is_last || len > 0);
        if let Some(value) = &value {
            assert_eq!(value["data"].as_array().map(Vec::len), Some(len));
        }
    }

    let (message, request_id) = refusal(body);
    assert_fit(&message);
    request_id.iter().for_each(|id| assert_fit(id));

    if let (Ok(field), Ok(_)) = (str::from_utf8(body), serde_json::from_slice::<IgnoredAny>(body)) {
        assert_needless(field, &id);
    }
});

/// Puts any JSON where nobody needs it.
fn assert_needless(field: &str, id: &GenerationId) {
    let read = |answer: String| status(answer.as_bytes(), id);
    assert_eq!(created(format!(r#"{{"id":"{id}","status":{field},"video":{field}}}"#).as_bytes()).as_ref(), Some(id));
    let video = format!(r#"{{"url":"https://cdn.example/v.mp4","file_name":{field},"file_size":{field}}}"#);
    for rest in ["duration", "error", "meta", "more"] {
        let answer = format!(r#"{{"status":"completed","video":{video},"{rest}":{field}}}"#);
        assert!(matches!(read(answer), Some(Status::Completed(_))), "{rest}");
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
    assert!(page.is_some_and(|(len, _, ids)| len == 2 && ids.last().is_some_and(|id| id.as_str() == "a:b")));
}

fn assert_failure_fit(failure: &Failure) {
    assert_fit(&failure.message);
    failure.name.iter().for_each(|name| assert_fit(name));
}
