//! Statuses and shapes of responses that the service's documents do not describe, but that it or its siblings send.

mod support;

use std::io::{BufRead, BufReader};

use kling::emulator::{Emulator, Step};
use kling::{Charged, Client, Error, GenerationId, Recovery, Status, Video};
use support::{RawServer, cause, fox, only_id, respond};

const FILE: &str = "https://cdn.example/fox.mp4";

/// Returns a server that sends these responses in turn, and a client of it with this key.
fn client_of(key: &str, responses: Vec<String>) -> (RawServer, Client) {
    let responses = std::sync::Mutex::new(responses.into_iter());
    let server = RawServer::start(move |mut stream| {
        let mut request = BufReader::new(&stream).lines().map_while(Result::ok);
        let _ = request.find(String::is_empty);
        let response = responses.lock().unwrap().next().unwrap_or_default();
        respond(&mut stream, response.as_bytes());
    });
    let client = Client::builder(key).base_url(format!("http://127.0.0.1:{}", server.port)).build().unwrap();
    (server, client)
}

fn response(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} Status\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Returns the outcome of a generation whose first poll gets this response, and the number of polls.
fn generated(body: &str) -> (Result<Video, Error>, usize) {
    let emulator = Emulator::script([Step::body(body)]);
    let outcome = emulator.client().generate(&fox());
    (outcome, emulator.polls().len())
}

#[test]
fn the_error_of_a_lost_body_names_the_id_in_its_head() {
    for step in [Step::Truncate(10), Step::body("{}"), Step::ResetAfter(10)] {
        let emulator = Emulator::builder().create([step.clone()]).start();
        let error = emulator.client().create(&fox()).unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{step:?}: {error:?}");
        let is_named = format!("{error:?}").contains(only_id(&emulator).as_str());
        // A body of the script has no head of the service.
        assert_eq!(is_named, !matches!(step, Step::Body(_)), "{error:?}");
    }
}

#[test]
fn failed_statuses_end_the_wait_with_their_reason() {
    let detail = r#""error":{"detail":[{"loc":["body","prompt"],"msg":"too long","type":"t","input":"x"}]}"#;
    let table = [
        (r#""status":"error","error":"no""#, "no", true),
        (r#""status":"failed","error":{"message":"the reason"}"#, "the reason", true),
        (r#""status":"FAILED","error":{"name":"Policy","message":"no"}"#, "Policy: no", true),
        (r#""status":" Error ","error":[{"message":"a"},"b"]"#, "a; b", true),
        (&format!(r#""status":"error",{detail}"#), "body.prompt: too long", true),
        (r#""status":"failed","error":null,"message":"elsewhere""#, "elsewhere", true),
        (r#""status":"failed""#, "the service gave no reason", true),
        (r#""status":"failure","failure_reason":"why""#, "why (status failure)", false),
        (r#""status":"Cancelled","reason":"by you""#, "by you (status Cancelled)", false),
        (r#""status":"canceled""#, "the service gave no reason (status canceled)", false),
        (r#""status":"rejected","detail":"policy""#, "policy (status rejected)", false),
        (r#""status":"expired""#, "the service gave no reason (status expired)", false),
        (r#""status":"timeout""#, "the service gave no reason (status timeout)", false),
        (r#""status":"timed_out""#, "the service gave no reason (status timed_out)", false),
        (r#""status":"TIMED OUT""#, "the service gave no reason (status TIMED OUT)", false),
        // A failure is a failure, whatever URL stands beside it.
        (r#""status":"failed","error":"no","video":{"url":"https://h/v"}"#, "no", true),
    ];
    for (fields, reason, is_free) in table {
        let (outcome, polls) = generated(&format!("{{{fields}}}"));
        let Err(error @ Error::Failed { .. }) = outcome else { panic!("{fields}: {outcome:?}") };
        assert!(error.to_string().ends_with(&format!(": {reason}")), "{fields}: {error}");
        assert_eq!(polls, 1, "{fields}");
        let charged = if is_free { Charged::No } else { Charged::Perhaps };
        assert_eq!(error.charged(), charged, "{fields}");
        let Error::Failed { failure, .. } = error else { unreachable!() };
        assert_eq!(failure.is_free(), is_free, "{fields}");
    }
}

#[test]
fn completed_statuses_end_the_wait_with_the_video() {
    let object = format!(r#""video":{{"url":"{FILE}"}}"#);
    for status in ["completed", "COMPLETED", " Succeeded ", "success", "done", "finished", "ready", "queued"] {
        let (outcome, polls) = generated(&format!(r#"{{"status":"{status}",{object}}}"#));
        assert_eq!((outcome.unwrap().url.as_str(), polls), (FILE, 1), "{status}");
    }
    for video in [
        format!(r#""video":"{FILE}""#),
        format!(r#""video":["{FILE}"]"#),
        format!(r#""video":[{{"url":null}},{{"url":"{FILE}"}}]"#),
        format!(r#""videos":["{FILE}","https://cdn.example/other.mp4"]"#),
        format!(r#""videos":[{{"id":"1","url":"{FILE}","duration":"5"}}]"#),
        format!(r#""video":null,"videos":{{"url":"{FILE}"}}"#),
        format!(r#"{object},"error":{{"name":"Error","message":"<string>"}}"#),
    ] {
        let (outcome, polls) = generated(&format!(r#"{{"status":"completed",{video}}}"#));
        assert_eq!((outcome.unwrap().url.as_str(), polls), (FILE, 1), "{video}");
    }
}

#[test]
fn other_statuses_keep_the_wait_running() {
    for body in [
        r#"{"status":"waiting"}"#,
        r#"{"status":"In_Progress","video":null}"#,
        r#"{"status":"QUEUED","video":{"url":""}}"#,
        r#"{"status":"generating","video":{"url":"/pending.mp4"}}"#,
        r#"{"status":"processing","error":{"message":"retrying"}}"#,
        r#"{"status":"completed","video":[]}"#,
        r#"{"video":{"url":"https://h/v"}}"#,
    ] {
        let (outcome, polls) = generated(body);
        assert!(outcome.unwrap().url.starts_with("http://127.0.0.1") && polls >= 2, "{body}");
    }
}

#[test]
fn the_response_about_another_generation_is_a_missed_poll() {
    let other = "b248abc5-3122-45a9-a9ee-352e4642e01c:klingai/v2.5-turbo/pro/text-to-video";
    for fields in [format!(r#""id":"{other}""#), format!(r#""generation_id":"{other}""#), r#""id":"x""#.to_owned()] {
        for rest in [format!(r#""status":"completed","video":{{"url":"{FILE}"}}"#), r#""status":"error""#.to_owned()] {
            let emulator = Emulator::script([Step::body(format!("{{{fields},{rest}}}"))]);
            let client = emulator.client();
            let id = client.create(&fox()).unwrap();
            let error = client.status(&id).unwrap_err();
            assert!(matches!(cause(&error), Error::UnexpectedResponse { .. }), "{fields}: {error:?}");
            assert!(format!("{error:?}").contains("another generation"), "{error:?}");
            assert_ne!(client.wait(&id).unwrap().url, FILE, "{fields}");
        }
    }
}

#[test]
fn the_id_may_be_spelled_differently_in_a_status() {
    let emulator = Emulator::start();
    let id = emulator.client().create(&fox()).unwrap();
    let uuid = id.as_str().split(':').next().unwrap().to_owned();
    let encoded = id.as_str().replace(':', "%3A").replace('/', "%2F");
    for found in [id.to_string(), uuid.clone(), encoded, format!("{uuid}:kling-video/v2.5")] {
        let body = format!(r#"{{"id":"{found}","status":"generating"}}"#);
        let (_server, client) = client_of("some-key", vec![response(200, "", &body)]);
        assert_eq!(client.status(&id).unwrap(), Status::Generating, "{found}");
    }
}

#[test]
fn the_id_of_a_create_request_is_found_where_siblings_put_it() {
    let header = "X-Inference-Id: c:d\r\n";
    let table = [
        ("", r#"{"id":"a:b","status":"queued"}"#, "a:b"),
        ("", r#"{"generation_id":"a:b","status":"queued"}"#, "a:b"),
        ("", r#"{"id":null,"generation_id":"234954179076239"}"#, "234954179076239"),
        ("", "\u{feff}{\"id\":\"a:b\"}", "a:b"),
        (header, r#"{"id":"a:b"}"#, "a:b"),
        (header, r#"{"id":7,"status":"queued"}"#, "c:d"),
        (header, "{}", "c:d"),
    ];
    for (headers, body, id) in table {
        let (server, client) = client_of("some-key", vec![response(200, headers, body)]);
        assert_eq!(client.create(&fox()).unwrap().as_str(), id, "{body}");
        server.assert_connections(1, body);
    }
    // A gateway's page says nothing about the generation.
    for body in ["", "<html>", r#"{"id":"a:"#] {
        let (_server, client) = client_of("some-key", vec![response(200, header, body)]);
        assert!(matches!(client.create(&fox()), Err(Error::OutcomeUnknown { .. })), "{body}");
    }
}

#[test]
fn a_byte_order_mark_is_skipped_in_every_response() {
    let generating = "\u{feff}{\"status\":\"generating\"}";
    let emulator = Emulator::script([Step::body(generating), Step::body(format!(" \n{generating}"))]);
    let client = emulator.client();
    let id = client.create(&fox()).unwrap();
    for _ in 0..2 {
        assert_eq!(client.status(&id).unwrap(), Status::Generating);
    }

    let entry = r#"{"client_request_id":"fox-1","status":"succeeded","inference_id":"a:b"}"#;
    let logs = format!("\u{feff}{{\"data\":[{entry}],\"pagination\":{{\"has_more\":false}}}}");
    let refusal = "\u{feff}{\"message\":\"no credit\",\"requestId\":\"r-1\"}";
    let (_server, client) = client_of("some-key", vec![response(200, "", &logs), response(403, "", refusal)]);
    assert_eq!(client.recover("fox-1").unwrap(), Recovery::Found("a:b".parse().unwrap()));
    match client.create(&fox()).unwrap_err() {
        Error::Refused { message, request_id, .. } => {
            assert_eq!((message.as_str(), request_id.as_deref()), ("no credit", Some("r-1")));
        }
        error => panic!("{error:?}"),
    }
}

#[test]
fn refusals_show_their_details() {
    let table = [
        (
            r#"{"message":"Body validation error","statusCode":"400","requestId":"r-1","meta":{"issues":[
                {"code":"invalid_enum_value","path":["duration"],"message":"Expected 5 | 10, received 7"},
                {"path":["prompt"],"message":"Required"}]}}"#,
            "Body validation error: duration: Expected 5 | 10, received 7; prompt: Required",
        ),
        (r#"{"message":"m","errors":["a",{"field":"f","message":"b"}]}"#, "m: a; f: b"),
        (
            r#"{"detail":[{"loc":["body","prompt"],"msg":"field required","type":"missing"}]}"#,
            "body.prompt: field required",
        ),
        (r#"{"detail":"Not enough credit"}"#, "Not enough credit"),
        (r#"{"error":{"message":"bad","data":{"limit":5}}}"#, r#"bad: {"limit":5}"#),
        ("<h1>Bad\n Request</h1>", "<h1>Bad  Request</h1>"),
    ];
    for (body, expected) in table {
        let (_server, client) = client_of("some-key", vec![response(400, "", body)]);
        match client.create(&fox()).unwrap_err() {
            Error::Refused { status: 400, message, .. } => assert_eq!(message, expected),
            error => panic!("{error:?}"),
        }
    }
}

#[test]
fn the_key_is_redacted_in_text_and_kept_in_data() {
    // A key that is also a part of every id.
    let key = "text-to-video";
    let id: GenerationId = "a248abc5:klingai/v2.5-turbo/pro/text-to-video".parse().unwrap();
    let url = "https://cdn.example/text-to-video/fox.mp4";
    let name = r#""file_name":"text-to-video.mp4""#;
    let (_server, client) = client_of(
        key,
        vec![
            response(200, "", &format!(r#"{{"id":"{id}","status":"queued"}}"#)),
            response(200, "", &format!(r#"{{"status":"completed","video":{{"url":"{url}",{name}}}}}"#)),
            response(200, "", r#"{"status":"text\u002dto-video"}"#),
            response(
                200,
                "",
                r#"{"status":"failed","error":{"name":"text-to-video","message":"text\\u002dto-video"}}"#,
            ),
            response(400, "", r#"{"message":"Bearer dGV4dC10by12aWRlbw==","requestId":"746578742d746f2d766964656f"}"#),
            response(502, "", "<p>text&#45;to%2Dvideo</p>"),
        ],
    );
    assert_eq!(client.create(&fox()).unwrap(), id);
    let Ok(Status::Completed(video)) = client.status(&id) else { panic!("not completed") };
    assert_eq!((video.url.as_str(), video.file_name.as_deref()), (url, Some("text-to-video.mp4")));
    assert_eq!(client.status(&id).unwrap(), Status::Other("[redacted]".to_owned()));
    assert_eq!(client.status(&id).unwrap().to_string(), "failed: [redacted]: [redacted]");
    let error = client.create(&fox()).unwrap_err();
    assert!(error.to_string().ends_with("400: Bearer [redacted]w== (request id [redacted])"), "{error}");
    let error = client.create(&fox()).unwrap_err();
    assert!(cause(&error).to_string().ends_with("<p>[redacted]</p>"), "{error:?}");
}

#[test]
fn a_placeholder_error_does_not_hide_a_paid_video() {
    let body = format!(r#"{{"status":"completed","error":{{"name":"E","message":"m"}},"video":["{FILE}"]}}"#);
    let emulator = Emulator::script([Step::body(body)]);
    let video = emulator.client().generate(&fox()).unwrap();
    assert_eq!((video.id, video.url.as_str()), (only_id(&emulator), FILE));
}
