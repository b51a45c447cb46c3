//! The emulator's own behavior, as a client sees it that shares no code with this crate.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kling::emulator::{Emulator, EmulatorBuilder, Step};
use kling::{Error, Status};
use serde_json::{Value, json};
use support::{accepted, cause, fox};

const API: &str = "/v2/video/generations";
const KEY: &str = "Authorization: Bearer a/b&c+d\r\n";

/// The response to a request on a connection of its own.
struct Response {
    head: String,
    /// The bytes after the head, with the framing of chunks.
    body: Vec<u8>,
}

impl Response {
    fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Sends these bytes to a URL's host, and reads until the connection ends.
fn exchange(url: &str, bytes: &str) -> Vec<u8> {
    let host = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    received
}

fn send(url: &str, method: &str, headers: &str, body: &str) -> Response {
    let target = url.splitn(4, '/').nth(3).unwrap();
    let length = body.len();
    let received = exchange(
        url,
        &format!("{method} /{target} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"),
    );
    let end = received.windows(4).position(|four| four == b"\r\n\r\n").expect("a complete head");
    Response { head: String::from_utf8(received[..end].to_vec()).unwrap(), body: received[end + 4..].to_vec() }
}

fn get(url: &str, headers: &str) -> Response {
    send(url, "GET", headers, "")
}

fn create(emulator: &Emulator) -> Response {
    let body = json!({ "model": "klingai/v2.5-turbo/pro/text-to-video", "prompt": "A fox" }).to_string();
    let headers = format!("{KEY}Content-Type: application/json\r\nX-Client-Request-Id: fox-1\r\n");
    send(&(emulator.base_url() + API), "POST", &headers, &body)
}

/// Polls the generation with this index.
fn poll(emulator: &Emulator, index: usize) -> Response {
    let ids: Vec<_> = emulator.creates().into_iter().filter_map(|create| create.generation_id).collect();
    get(&format!("{}{API}?generation_id={}", emulator.base_url(), ids[index]), KEY)
}

/// Starts an emulator, and returns the URL of a file that it serves.
fn file(builder: EmulatorBuilder) -> (Emulator, String) {
    let emulator = builder.status([]).start();
    create(&emulator);
    let url = poll(&emulator, 0).json()["video"]["url"].as_str().unwrap().to_owned();
    (emulator, url)
}

/// Decodes a chunked body. Returns whether it has its last chunk.
fn dechunk(mut body: &[u8]) -> (Vec<u8>, bool) {
    let mut decoded = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        let chunk = &body[end + 2..];
        assert_eq!(&chunk[length..length + 2], b"\r\n");
        if length == 0 {
            return (decoded, true);
        }
        decoded.extend_from_slice(&chunk[..length]);
        body = &chunk[length + 2..];
    }
    (decoded, false)
}

#[test]
fn a_create_request_is_accepted_with_200() {
    let emulator = Emulator::start();
    let response = create(&emulator);
    assert_eq!(response.head.lines().next(), Some("HTTP/1.1 200 OK"));
    let id = emulator.creates()[0].generation_id.clone();
    assert_eq!(response.json()["id"].as_str(), id.as_deref());
    assert_eq!(response.header("X-Inference-Id"), id.as_deref());
    assert_eq!(response.header("X-Client-Request-Id"), Some("fox-1"));
}

#[test]
fn a_create_request_is_refused_only_by_a_4xx_that_proves_it() {
    for status in [200, 302, 400, 401, 402, 403, 404, 407, 408, 409, 410, 422, 425, 429, 499, 500, 502, 503, 524] {
        let refuses = (400..500).contains(&status) && status != 408 && status != 409;
        let steps = [
            Step::Http(status),
            Step::http_retry_after(status, "5"),
            Step::http_retry_after(status, "soon"),
            Step::Html(status),
            Step::EchoAuthorization(status),
            Step::EchoAuthorizationEscaped(status),
        ];
        for step in steps {
            let emulator = Emulator::builder().create([step.clone()]).start();
            assert_eq!(create(&emulator).status(), status);
            assert_eq!(accepted(&emulator), usize::from(!refuses), "{step:?}");
        }
    }
}

#[test]
fn unregistered_statuses_have_an_empty_reason_phrase() {
    for status in 520..=530 {
        let emulator = Emulator::script([Step::Http(status)]);
        let client = emulator.client();
        let id = client.create(&fox()).unwrap();
        let error = client.status(&id).unwrap_err();
        assert!(matches!(cause(&error), Error::UnexpectedResponse { status: found, .. } if *found == status));

        let emulator = Emulator::builder().create([Step::Http(status)]).start();
        assert_eq!(create(&emulator).head.lines().next(), Some(format!("HTTP/1.1 {status} ").as_str()));
    }
}

#[test]
fn statuses_without_a_body_leave_the_connection_in_order() {
    for status in [204, 304] {
        let emulator = Emulator::script([Step::Http(status)]);
        create(&emulator);
        let response = poll(&emulator, 0);
        assert_eq!((response.status(), response.text()), (status, ""));
    }
    let emulator = Emulator::start();
    let head = exchange(&emulator.base_url(), "HEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.0\r\n\r\n");
    let text = String::from_utf8(head).unwrap();
    let (first, second) = text.split_once("\r\n\r\n").unwrap();
    assert!(first.starts_with("HTTP/1.1 404") && second.starts_with("HTTP/1.1 404"), "{text}");
}

#[test]
fn an_echo_contains_the_authorization_header() {
    let emulator =
        Emulator::script([Step::EchoAuthorization(401), Step::EchoAuthorizationEscaped(500), Step::Completed]);
    create(&emulator);
    let [plain, escaped] = [(); 2].map(|()| poll(&emulator, 0));
    assert_eq!((plain.status(), escaped.status()), (401, 500));
    for response in [&plain, &escaped] {
        assert_eq!(response.json()["message"], "Refused by the script: Authorization: Bearer a/b&c+d");
    }
    assert!(plain.text().contains("Bearer a/b&c+d"), "{}", plain.text());
    assert!(escaped.text().contains(r"Bearer a\/b\u0026c\u002bd"), "{}", escaped.text());
}

#[test]
fn chunked_bodies_end_with_a_last_chunk_unless_truncated() {
    let steps = [Step::Completed, Step::Chunked, Step::TruncateChunked(9000), Step::TruncateChunked(usize::MAX)];
    let (_emulator, url) = file(Emulator::builder().file(steps));
    let complete = get(&url, "").body;
    for (length, has_last_chunk) in [(complete.len(), true), (9000, false), (complete.len(), false)] {
        let response = get(&url, "");
        assert_eq!(response.header("Transfer-Encoding"), Some("chunked"));
        assert_eq!(response.header("Content-Length"), None);
        assert!(dechunk(&response.body) == (complete[..length].to_vec(), has_last_chunk), "{length}");
    }

    let emulator = Emulator::builder().create([Step::Chunked]).status([Step::Chunked]).start();
    let client = emulator.client();
    let id = client.create(&fox()).unwrap();
    assert!(matches!(client.status(&id), Ok(Status::Completed(_))));
}

#[test]
fn ranges_are_sent_if_the_validator_is_that_of_the_file() {
    let new = Emulator::builder;
    let (strong, weak, date) = (r#""16:9-5""#, r#"W/"16:9-5""#, "Wed, 01 Jan 2025 00:00:00 GMT");
    let table = [
        (new(), strong, 206),
        (new(), date, 206),
        (new(), weak, 200),
        (new(), r#""16:9-10""#, 200),
        (new(), "Wed, 01 Jan 2025 01:00:00 GMT", 200),
        (new().weak_etags(true), strong, 200),
        (new().weak_etags(true), weak, 200),
        (new().weak_etags(true), date, 206),
        (new().etags(false), strong, 200),
        (new().etags(false), date, 206),
        (new().last_modified(false), strong, 206),
        (new().last_modified(false), date, 200),
        (new().ranges(false), strong, 200),
    ];
    for (builder, if_range, status) in table {
        let case = format!("{if_range}: {builder:?}");
        let (_emulator, url) = file(builder);
        let response = get(&url, &format!("Range: bytes=100-\r\nIf-Range: {if_range}\r\n"));
        assert_eq!(response.status(), status, "{case}");
        assert_eq!(response.header("Content-Range").is_some(), status == 206, "{case}");
    }
}

#[test]
fn files_carry_the_validators_that_were_set() {
    let new = Emulator::builder;
    let (strong, weak, date) = (Some(r#""16:9-5""#), Some(r#"W/"16:9-5""#), Some("Wed, 01 Jan 2025 00:00:00 GMT"));
    let table = [
        (new(), strong, date, date),
        (new().etags(false), None, date, date),
        (new().weak_etags(true), weak, date, date),
        (new().last_modified(false), strong, None, None),
        (new().last_modified_on_206(false), strong, date, None),
    ];
    for (builder, etag, on_200, on_206) in table {
        let case = format!("{builder:?}");
        let (_emulator, url) = file(builder);
        let (complete, rest) = (get(&url, ""), get(&url, "Range: bytes=100-\r\n"));
        assert_eq!((complete.status(), rest.status()), (200, 206), "{case}");
        assert_eq!((complete.header("ETag"), rest.header("ETag")), (etag, etag), "{case}");
        assert_eq!((complete.header("Last-Modified"), rest.header("Last-Modified")), (on_200, on_206), "{case}");
    }
    // A file that is replaced has other validators.
    let (_emulator, url) = file(new().file([Step::Completed, Step::OtherFile]));
    let (before, after) = (get(&url, ""), get(&url, ""));
    for name in ["ETag", "Last-Modified"] {
        assert_ne!(before.header(name), after.header(name));
    }
}

#[test]
fn the_reported_file_size_can_be_wrong_or_absent() {
    let length = |emulator: &Emulator| emulator.client().generate(&fox()).unwrap().file_size;
    let right = length(&Emulator::start()).unwrap();
    assert_eq!(length(&Emulator::builder().file_size_offset(-1).start()), Some(right - 1));
    assert_eq!(length(&Emulator::builder().file_size_offset(7).start()), Some(right + 7));
    assert_eq!(length(&Emulator::builder().file_size_offset(None).start()), None);
}

/// Returns the status of each log entry, newest first, and checks that all of them are of one create request.
fn log_statuses(emulator: &Emulator) -> Vec<String> {
    let page = get(&(emulator.base_url() + "/v2/logs"), KEY).json();
    let entries = page["data"].as_array().unwrap();
    let statuses = entries.iter().map(|entry| {
        assert_eq!(entry["client_request_id"], "fox-1");
        // Only the real outcome has an id.
        assert_eq!(entry["inference_id"].is_null(), entry["status"] == "failed" && entries.last() == Some(entry));
        entry["status"].as_str().unwrap().to_owned()
    });
    statuses.collect()
}

#[test]
fn a_fallback_is_logged_as_failed_before_its_outcome_is() {
    for (script, outcome) in [(vec![], "succeeded"), (vec![Step::failed("moderated")], "failed")] {
        let emulator = Emulator::builder().status(script).logs_lag(1).logs_fallback(2).start();
        create(&emulator);
        let reads: Vec<_> = (0..4).map(|_| log_statuses(&emulator)).collect();
        assert_eq!(reads, [vec![], vec!["failed"], vec!["failed"], vec![outcome, "failed"]]);
    }
}

/// Parses `2026-01-31T23:59:59.000Z`, by counting the days of each year and month.
fn parse_time(text: &str) -> SystemTime {
    let bytes = text.as_bytes();
    assert!(bytes.len() == 24 && bytes[10] == b'T' && bytes[19] == b'.' && bytes[23] == b'Z', "{text}");
    let field = |from: usize, to: usize| text[from..to].parse::<u64>().unwrap();
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (year, month) = (field(0, 4), field(5, 7));
    let days_of_years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = days_of_years + lengths[..month as usize - 1].iter().sum::<u64>() + field(8, 10) - 1;
    let seconds = days * 86_400 + field(11, 13) * 3600 + field(14, 16) * 60 + field(17, 19);
    UNIX_EPOCH + Duration::from_millis(seconds * 1000 + field(20, 23))
}

#[test]
fn log_entries_carry_the_time_of_their_create_request() {
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);
    for age in [Duration::ZERO, 3 * DAY] {
        let emulator = Emulator::builder().logs_age(age).start();
        create(&emulator);
        let logs = |period: &str| get(&format!("{}/v2/logs?{period}", emulator.base_url()), KEY).json();
        let created = parse_time(logs("period=7d")["data"][0]["created"].as_str().unwrap());
        // A clock may be set while the test runs.
        let expected = SystemTime::now() - age;
        assert!(expected - HOUR < created && created < expected + HOUR, "{created:?}");
        let is_recent = age < DAY;
        assert_eq!(logs("period=24h")["pagination"]["total"], usize::from(is_recent));
        assert_eq!(logs("period=1d")["pagination"]["total"], usize::from(is_recent));
        assert_eq!(logs("")["pagination"]["total"], 1);
    }
}

#[test]
fn create_requests_beyond_the_limit_are_refused_until_a_generation_has_finished() {
    let emulator = Emulator::builder()
        .create([Step::Http(403)])
        .status([Step::Queued])
        .status_of(1, [Step::failed("moderated")])
        .max_concurrent(2)
        .start();
    // A refused create request takes no place, and one that is beyond the limit plays no step.
    let statuses: Vec<_> = (0..4).map(|_| create(&emulator).status()).collect();
    assert_eq!(statuses, [403, 200, 200, 429]);
    assert_eq!(accepted(&emulator), 2);

    poll(&emulator, 0);
    assert_eq!(create(&emulator).status(), 429, "the first one is queued");
    poll(&emulator, 0);
    assert_eq!(create(&emulator).status(), 200, "the first one is completed");
    assert_eq!(create(&emulator).status(), 429);
    poll(&emulator, 1);
    assert_eq!(create(&emulator).status(), 200, "the second one has failed");
}

#[test]
fn an_emulator_without_a_port_is_an_error() {
    let emulator = Emulator::start();
    let port = emulator.base_url().rsplit(':').next().unwrap().parse().unwrap();
    assert!(Emulator::builder().port(port).try_start().is_err());
    drop(emulator);
    let _ = Emulator::builder().port(port).try_start().unwrap();
}
