//! Requests and results as data: read from files, written to them, compared and summed up.

mod support;

use kling::emulator::{Emulator, Step};
use kling::{AspectRatio, Recovery, Seconds, Status, Usage, Video, VideoRequest};
use serde_json::{Value, from_str, json, to_string, to_value};
use support::fox;

#[test]
fn requests_read_from_json_send_the_same_body() {
    let table = [
        json!({"prompt": "a fox"}),
        json!({"prompt": "a fox", "duration": 10, "aspect_ratio": "1:1", "negative_prompt": "", "cfg_scale": 0.25}),
        json!({"prompt": "a fox", "provider": "kling", "loop": true, "camera": {"zoom": [1, 2.5, null]}}),
        json!({"prompt": "a fox", "model": "klingai/v2-master/text-to-video"}),
    ];
    for json in table {
        let request: VideoRequest = serde_json::from_value(json.clone()).unwrap();
        let mut expected = json;
        let model = request.get_model().to_owned();
        expected.as_object_mut().unwrap().entry("model").or_insert_with(|| model.into());
        assert_eq!(to_value(&request).unwrap(), expected);
        let again: VideoRequest = from_str(&to_string(&request).unwrap()).unwrap();
        assert_eq!(again, request);
    }
    let request: VideoRequest = from_str(r#"{"prompt": "a fox", "duration": "5", "aspect_ratio": null}"#).unwrap();
    assert_eq!(request, VideoRequest::new("a fox").duration(Seconds::Five));
    let emulator = Emulator::start();
    let _ = emulator.client().create(&request).unwrap();
    assert_eq!(emulator.creates()[0].body, to_value(&request).unwrap());
}

#[test]
fn requests_with_invalid_fields_are_not_read() {
    let table = [
        (r#"{}"#, "missing field `prompt`"),
        (r#"{"prompt": 7}"#, "invalid type: integer `7`, expected a string"),
        (r#"{"prompt": "a fox", "duration": 7}"#, "invalid duration: must be 5 or 10 (seconds), not \"7\""),
        (r#"{"prompt": "a fox", "duration": 5.5}"#, "must be 5 or 10 (seconds)"),
        (r#"{"prompt": "a fox", "aspect_ratio": "4:3"}"#, "invalid aspect_ratio: must be 16:9, 9:16 or 1:1"),
    ];
    for (json, message) in table {
        let error = from_str::<VideoRequest>(json).unwrap_err().to_string();
        assert!(error.contains(message), "{json}: {error}");
    }
}

#[test]
fn getters_return_what_was_set() {
    let request = fox();
    assert_eq!(request.get_prompt(), "A fox in the snow");
    assert_eq!((request.get_duration(), request.get_aspect_ratio(), request.get_cfg_scale()), (None, None, None));
    assert_eq!((request.get_negative_prompt(), request.get_client_request_id()), (None, None));
    let request = request.duration(Seconds::Ten).aspect_ratio(AspectRatio::Square).cfg_scale(0.5).model("m");
    let request = request.negative_prompt("blur").client_request_id("fox-1").param("provider", "kling");
    assert_eq!(request.get_duration(), Some(Seconds::Ten));
    assert_eq!(request.get_aspect_ratio().map(AspectRatio::as_str), Some("1:1"));
    assert_eq!(request.get_cfg_scale(), Some(0.5));
    assert_eq!(request.get_model(), "m");
    assert_eq!(request.get_negative_prompt(), Some("blur"));
    assert_eq!(request.get_client_request_id(), Some("fox-1"));
    assert_eq!(request.get_param("provider"), Some(&Value::from("kling")));
    assert_eq!(request.get_param("prompt"), None);
}

#[test]
fn seconds_convert_from_numbers() {
    assert_eq!(Seconds::try_from(5).unwrap(), Seconds::Five);
    assert_eq!(Seconds::try_from(10).unwrap(), Seconds::Ten);
    assert!(Seconds::try_from(7).is_err());
}

#[test]
fn results_are_read_as_they_were_written() {
    let emulator = Emulator::builder().status_of(1, [Step::other_status("waiting"), Step::failed("moderated")]).start();
    let client = emulator.client();
    let video = client.generate(&fox()).unwrap();
    let again: Video = from_str(&to_string(&video).unwrap()).unwrap();
    assert_eq!(again, video);

    let id = client.create(&fox()).unwrap();
    let statuses: Vec<Status> = client.watch(&id).map(Result::unwrap).chain([Status::Completed(video)]).collect();
    let again: Vec<Status> = from_str(&to_string(&statuses).unwrap()).unwrap();
    assert_eq!(again, statuses);
    assert_eq!(to_value(&statuses[0]).unwrap(), json!({"other": "waiting"}));

    for recovery in [Recovery::Found(id), Recovery::NotCharged, Recovery::NotListed] {
        assert_eq!(from_str::<Recovery>(&to_string(&recovery).unwrap()).unwrap(), recovery);
    }
}

#[test]
fn costs_are_summed_up_as_far_as_they_are_known() {
    let sum = |json: Value| serde_json::from_value::<Vec<Usage>>(json).unwrap().iter().sum::<Usage>();
    let table = [
        (json!([]), "an unknown cost"),
        (json!([{}, {}]), "an unknown cost"),
        (json!([{"credits": 1}, {}, {"credits": 2.5}]), "3.5 credits"),
        (json!([{"credits": 1}, {"usd": 0.25}]), "1 credits ($0.25)"),
    ];
    for (usages, total) in table {
        assert_eq!(sum(usages.clone()).to_string(), total, "{usages}");
    }
}
