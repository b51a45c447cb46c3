//! The fault table for create and status requests, one row per fault. Faults in file downloads are in `download.rs`.

mod support;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kling::emulator::{Emulator, Step};
use kling::{Client, Error, Poll, VideoRequest};
use support::{RawServer, accepted, cause, closed_address, fox, millis, only_id, timeout_for, wait_until};

use Step::{
    Close, Completed, Html, Http, Queued, Reset, ResetAfter, ResetUnread, Stall, StallAfter, Throttle, Truncate,
    TruncateWithoutLength,
};

const README: &str = include_str!("../README.md");

/// How a create request ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Create {
    /// With an id, after this many attempts.
    Created(usize),
    /// With this HTTP status, after this many attempts.
    Refused(u16, usize),
    /// With an unknown outcome, which ends the attempts.
    Unknown,
}
use Create::{Created, Refused, Unknown};

type Row<T> = (&'static str, Vec<Step>, T);

/// Returns the faults of a response, whatever was requested. Each has the same outcome for all of them.
fn broken_responses<T: Copy>(outcome: T) -> Vec<Row<T>> {
    let long_json = format!(r#"{{"id":"x","status":"queued","padding":"{}"}}"#, "x".repeat(1024 * 1024));
    let faults = [
        ("closed before a response", vec![Close]),
        ("reset before a response", vec![Reset]),
        ("reset before it was read", vec![ResetUnread]),
        ("no response until the timeout", vec![Stall]),
        ("the response is throttled", vec![Throttle(millis(20))]),
        ("the response stalls", vec![StallAfter(10)]),
        ("truncated", vec![Truncate(10)]),
        ("truncated before the body", vec![Truncate(0)]),
        ("reset within the body", vec![ResetAfter(10)]),
        ("truncated without a length", vec![TruncateWithoutLength(10)]),
        ("not JSON", vec![Step::body("queued")]),
        ("empty", vec![Step::body("")]),
        ("null", vec![Step::body("null")]),
        ("200,000 nested arrays", vec![Step::body("[".repeat(200_000))]),
        ("over 1 MiB", vec![Step::body(long_json)]),
    ];
    faults.map(|(fault, steps)| (fault, steps, outcome)).into()
}

fn create_column() -> Vec<Row<Create>> {
    let rows = [
        ("invalid UTF-8", vec![Step::body(b"{\"id\":\"\xff\"}")], Unknown),
        ("without an id", vec![Step::body(r#"{"status":"queued"}"#)], Unknown),
        ("an invalid id", vec![Step::body(r#"{"id":"a b","status":"queued"}"#)], Unknown),
        ("the same key twice", vec![Step::body(r#"{"id":"a","id":"b"}"#)], Unknown),
        ("400", vec![Http(400)], Refused(400, 1)),
        ("404", vec![Http(404)], Refused(404, 1)),
        ("413", vec![Http(413)], Refused(413, 1)),
        ("422", vec![Http(422)], Refused(422, 1)),
        ("401", vec![Http(401)], Refused(401, 1)),
        ("402", vec![Http(402)], Refused(402, 1)),
        ("403", vec![Http(403)], Refused(403, 1)),
        ("403 with an HTML page", vec![Html(403)], Refused(403, 1)),
        ("408", vec![Http(408)], Unknown),
        ("409", vec![Http(409)], Unknown),
        ("500", vec![Http(500)], Unknown),
        ("502 with a gateway's page", vec![Html(502)], Unknown),
        ("504", vec![Html(504)], Unknown),
        ("500 with Retry-After", vec![Step::http_retry_after(500, "0")], Unknown),
        ("429 once", vec![Http(429)], Created(2)),
        ("429 twice", vec![Http(429), Step::http_retry_after(429, "0")], Created(3)),
        ("429 always", vec![Http(429); 9], Refused(429, 3)),
        ("503 with Retry-After", vec![Step::http_retry_after(503, "0")], Unknown),
        ("503, Retry-After 5, as a stock Varnish sends it", vec![Step::http_retry_after(503, "5")], Unknown),
        ("503 without Retry-After", vec![Http(503)], Unknown),
        ("429, Retry-After 86400", vec![Step::http_retry_after(429, "86400")], Refused(429, 1)),
        ("429, Retry-After -1", vec![Step::http_retry_after(429, "-1")], Created(2)),
        ("429, Retry-After garbage", vec![Step::http_retry_after(429, "soon")], Created(2)),
        ("429, Retry-After a date", vec![Step::http_retry_after(429, "Wed, 21 Oct 2026 07:28:00 GMT")], Created(2)),
        ("503, Retry-After 86400", vec![Step::http_retry_after(503, "86400")], Unknown),
        ("503, Retry-After garbage", vec![Step::http_retry_after(503, "soon")], Unknown),
        ("503, Retry-After a date", vec![Step::http_retry_after(503, "Wed, 21 Oct 2026 07:28:00 GMT")], Unknown),
        ("a redirect", vec![Step::redirect(302, "/v2/elsewhere")], Unknown),
        ("429, then a lost response", vec![Http(429), Close], Unknown),
    ];
    [broken_responses(Unknown), rows.into()].concat()
}

#[test]
fn create_requests_end_as_the_table_says() {
    for (fault, steps, outcome) in create_column() {
        let emulator = Emulator::builder().create(steps.clone()).client_timeout(timeout_for(&steps)).start();
        let result = emulator.client().create(&fox());
        if outcome == Unknown {
            // On a busy machine, the client may time out before the emulator has read the request.
            wait_until("the request has arrived", || emulator.creates().len() >= steps.len());
        }
        let attempts = emulator.creates().len();
        assert!(accepted(&emulator) <= 1, "{fault}: paid twice");
        match (outcome, &result) {
            (Created(expected), Ok(id)) => {
                assert_eq!((attempts, id), (expected, &only_id(&emulator)), "{fault}");
            }
            (Refused(status, expected), Err(Error::Refused { status: found, message, .. })) => {
                assert_eq!((attempts, *found, accepted(&emulator)), (expected, status, 0), "{fault}");
                assert!(!message.is_empty(), "{fault}");
            }
            (Unknown, Err(Error::OutcomeUnknown { client_request_id, .. })) => {
                assert_eq!(attempts, steps.len(), "{fault}: retried after an unknown outcome");
                let last = emulator.creates().pop().expect("a request was sent");
                assert_eq!(last.header("x-client-request-id"), Some(client_request_id.as_str()), "{fault}");
            }
            _ => panic!("{fault}: {result:?}"),
        }
    }
}

#[test]
fn the_readme_states_the_number_of_rows() {
    let (create, status) = (create_column().len(), status_column().len());
    assert!(README.contains(&format!("{create} hit the create request, {status} the status")), "{create}, {status}");
}

#[test]
#[cfg_attr(not(any(feature = "rustls", feature = "native-tls")), ignore = "needs TLS")]
fn create_requests_that_cannot_connect_are_not_sent_in_three_attempts() {
    let emulator = Emulator::builder().client_timeout(millis(100)).start();
    let silent = RawServer::silent();
    let hangs_up = RawServer::start(drop);
    let table = [
        ("refused", format!("http://{}", closed_address()), None),
        ("name not found", "https://kling.invalid".to_owned(), None),
        ("no TLS handshake until the timeout", format!("https://127.0.0.1:{}", silent.port), Some(&silent)),
        ("end of stream in the handshake", format!("https://127.0.0.1:{}", hangs_up.port), Some(&hangs_up)),
    ];
    for (fault, base_url, server) in table {
        let client = emulator.client_builder().base_url(base_url).build().unwrap();
        let error = client.create(&fox()).unwrap_err();
        assert!(matches!(error, Error::NotSent { .. }), "{fault}: {error:?}");
        if let Some(server) = server {
            server.assert_connections(3, fault);
        }
    }
}

#[test]
#[cfg_attr(not(any(feature = "rustls", feature = "native-tls")), ignore = "needs TLS")]
fn servers_that_do_not_speak_tls_are_not_retried() {
    let plain = RawServer::responding(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let base_url = format!("https://127.0.0.1:{}", plain.port);
    let client = Emulator::start().client_builder().base_url(base_url).build().unwrap();

    let error = client.create(&fox()).unwrap_err();
    assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
    plain.assert_connections(1, "the create request is not retried");

    let error = client.wait(&"some:id".parse().unwrap()).unwrap_err();
    assert!(matches!(cause(&error), Error::NoResponse { .. }), "{error:?}");
    plain.assert_connections(2, "the wait ends at once");
}

/// How a wait ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wait {
    /// With the video: the fault is a missed poll, which is retried.
    Miss,
    /// With the video, after at least this many polls.
    Video(usize),
    /// With `Unfinished`, after this many polls.
    Ends(usize),
    /// With `Failed`, for this reason.
    Fails(&'static str),
}
use Wait::{Ends, Fails, Miss, Video};

fn status_column() -> Vec<Row<Wait>> {
    let rows = [
        ("invalid UTF-8", vec![Step::body(b"{\"status\":\"\xff\"}")], Miss),
        ("without a status", vec![Step::body(r#"{"id":"x"}"#)], Miss),
        ("the same key twice", vec![Step::body(r#"{"status":"error","status":"error"}"#)], Miss),
        ("400", vec![Http(400)], Ends(1)),
        ("404 in the first minute", vec![Http(404)], Miss),
        ("413", vec![Http(413)], Ends(1)),
        ("422", vec![Http(422)], Ends(1)),
        ("401", vec![Http(401)], Ends(1)),
        ("402", vec![Http(402)], Ends(1)),
        ("403", vec![Http(403)], Ends(1)),
        ("408", vec![Http(408)], Miss),
        ("409", vec![Http(409)], Miss),
        ("425", vec![Http(425)], Miss),
        ("500", vec![Http(500)], Miss),
        ("502 with a gateway's page", vec![Html(502)], Miss),
        ("200 with an HTML page", vec![Html(200)], Miss),
        ("504", vec![Html(504)], Miss),
        ("429", vec![Http(429)], Miss),
        ("503 with Retry-After", vec![Step::http_retry_after(503, "0")], Miss),
        ("503 without Retry-After", vec![Http(503)], Miss),
        ("429, Retry-After -1", vec![Step::http_retry_after(429, "-1")], Miss),
        ("429, Retry-After garbage", vec![Step::http_retry_after(429, "soon")], Miss),
        ("429, Retry-After a date", vec![Step::http_retry_after(429, "Wed, 21 Oct 2026 07:28:00 GMT")], Miss),
        ("a redirect", vec![Step::redirect(302, "/v2/elsewhere")], Ends(1)),
        ("the status waiting", vec![Step::other_status("waiting")], Miss),
        ("the status active", vec![Step::other_status("active")], Miss),
        ("an unknown status", vec![Step::other_status("dreaming")], Miss),
        ("completed without a URL", vec![Step::other_status("completed"); 3], Video(4)),
        ("completed without a URL always", vec![Step::other_status("completed"); 9], Ends(4)),
        (
            "null as the error",
            vec![Step::body(r#"{"status":"error","error":null}"#)],
            Fails("the service gave no reason"),
        ),
        ("a string as the error", vec![Step::body(r#"{"status":"error","error":"no"}"#)], Fails("no")),
        ("an object as the error", vec![Step::failed("moderated")], Fails("GenerationFailed: moderated")),
        ("a number as the error", vec![Step::body(r#"{"status":"error","error":7}"#)], Fails("7")),
        (
            "nine faults in a row",
            vec![Close, Reset, Html(502), Truncate(3), Step::body(""), Http(429), Http(404), Queued, ResetUnread],
            Video(10),
        ),
    ];
    [broken_responses(Miss), rows.into()].concat()
}

#[test]
fn waits_end_as_the_table_says() {
    for (fault, steps, outcome) in status_column() {
        let emulator = Emulator::builder().client_timeout(timeout_for(&steps)).status(steps).start();
        let client = emulator.client();
        let id = client.create(&fox()).expect(fault);
        let result = client.wait(&id);
        let polls = emulator.polls().len();
        match (outcome, &result) {
            // On a busy machine, more polls than the faulty one may time out: any number may be missed.
            (Miss, Ok(video)) => assert!(polls >= 2 && video.id == id, "{fault}: {polls} polls"),
            (Video(expected), Ok(_)) => assert!(polls >= expected, "{fault}: {polls} polls"),
            (Ends(expected), Err(error @ Error::Unfinished { .. })) => {
                assert_eq!((polls, error.generation_id()), (expected, Some(&id)), "{fault}");
            }
            (Fails(reason), Err(error @ Error::Failed { failure, .. })) => {
                assert_eq!((failure.to_string().as_str(), error.generation_id()), (reason, Some(&id)), "{fault}");
            }
            _ => panic!("{fault}: {result:?}"),
        }
        assert_eq!(emulator.creates().len(), 1, "{fault}: paid twice");
    }
}

#[test]
#[cfg_attr(not(any(feature = "rustls", feature = "native-tls")), ignore = "needs TLS")]
fn polls_that_cannot_connect_are_missed_until_the_deadline() {
    let emulator = Emulator::builder().client_timeout(millis(50)).start();
    let silent = RawServer::silent();
    let table = [
        ("refused", format!("http://{}", closed_address())),
        ("name not found", "https://kling.invalid".to_owned()),
        ("no TLS handshake until the timeout", format!("https://127.0.0.1:{}", silent.port)),
    ];
    for (fault, base_url) in table {
        let poll = Poll { interval: millis(5), max_wait: millis(60) };
        let client = emulator.client_builder().base_url(base_url).poll(poll).build().unwrap();
        let error = client.wait(&"some:id".parse().unwrap()).unwrap_err();
        assert!(matches!(cause(&error), Error::DeadlineExceeded { source: Some(_), .. }), "{fault}: {error:?}");
    }
}

#[test]
fn retry_after_lengthens_the_interval_but_not_the_deadline() {
    let emulator = Emulator::script([Step::http_retry_after(429, "86400"), Queued]);
    let poll = Poll { interval: millis(1), max_wait: millis(500) };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let error = client.generate(&fox()).unwrap_err();
    // The second poll is sent at the deadline.
    assert_eq!(emulator.polls().len(), 2);
    assert!(matches!(cause(&error), Error::DeadlineExceeded { poll_count: 2, .. }), "{error:?}");
}

#[test]
fn retry_after_is_honored_in_every_response_to_a_poll() {
    let poll = Poll { interval: millis(1), max_wait: millis(500) };
    for response in [
        &b"HTTP/1.1 200 OK\r\nRetry-After: 60\r\nContent-Length: 34\r\n\r\n{\"id\":\"a:b\",\"status\":\"generating\"}"
            [..],
        b"HTTP/1.1 200 OK\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Oh\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n",
    ] {
        let server = RawServer::responding(response);
        let base_url = format!("http://127.0.0.1:{}", server.port);
        let client = Emulator::start().client_builder().base_url(base_url).poll(poll).build().unwrap();
        let error = client.wait(&"a:b".parse().unwrap()).unwrap_err();
        let polled_twice = matches!(cause(&error), Error::DeadlineExceeded { poll_count: 2, .. });
        assert!(polled_twice, "{}: {error:?}", response.escape_ascii());
    }
}

#[test]
fn an_unexpected_response_is_reported_with_its_first_kib() {
    let long = "x".repeat(5000);
    let emulator = Emulator::builder().create([Step::body(long.as_str())]).start();
    let error = emulator.client().create(&fox()).unwrap_err();
    match cause(&error) {
        Error::UnexpectedResponse { status: 200, body, source: Some(_), .. } => assert_eq!(*body, long[..1024]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_response_of_1_mib_is_read() {
    let start = r#"{"id":"a:b","padding":""#;
    let body = format!("{start}{}\"}}", "x".repeat(1024 * 1024 - start.len() - 2));
    let emulator = Emulator::builder().create([Step::body(body)]).start();
    assert_eq!(emulator.client().create(&fox()).unwrap().as_str(), "a:b");
}

#[test]
fn invalid_requests_are_not_sent() {
    let emulator = Emulator::start();
    for request in
        [VideoRequest::new(" "), fox().cfg_scale(2.0), fox().param("prompt", "x"), fox().client_request_id("ä")]
    {
        let error = emulator.client().create(&request).unwrap_err();
        assert!(matches!(error, Error::InvalidRequest { .. }), "{error:?}");
    }
    assert_eq!(emulator.connections(), 0);
}

#[test]
fn clients_with_unsafe_settings_are_not_built() {
    const KEY: &str = "invalid API key: must be non-empty visible ASCII without spaces or line breaks";
    let table = [
        (Client::builder("key\n"), KEY),
        (Client::builder("clé"), KEY),
        (Client::builder(""), KEY),
        (
            Client::builder("key").base_url("http://api.example"),
            "invalid base URL: must use https (http is allowed only for loopback)",
        ),
        (
            Client::builder("key").base_url("https://user:word@api.example"),
            "invalid base URL: must not contain a user name or password",
        ),
        (
            Client::builder("key").base_url("api.example"),
            "invalid base URL: must start with https:// (or http:// for loopback)",
        ),
        (
            Client::builder("key").user_agent("a\r\nb: c"),
            "invalid user agent: must be non-empty visible ASCII and single spaces",
        ),
        (
            Client::builder("key").poll(Poll { interval: millis(0), ..Poll::default() }),
            "invalid poll interval: must be greater than zero",
        ),
        (
            Client::builder("key").poll(Poll { max_wait: Duration::MAX, ..Poll::default() }),
            "invalid poll max_wait: must be at most one year",
        ),
    ];
    for (builder, message) in table {
        assert_eq!(builder.build().unwrap_err().to_string(), message);
    }
}

#[test]
fn a_failed_generation_stays_failed() {
    let emulator = Emulator::script([Step::failed("moderated")]);
    let client = emulator.client();
    let id = client.create(&fox()).unwrap();
    for _ in 0..2 {
        assert!(matches!(client.wait(&id), Err(Error::Failed { .. })));
    }
}

#[test]
fn the_emulator_completes_after_the_end_of_a_script() {
    let emulator = Emulator::builder().create([Completed]).status([]).file([Completed]).start();
    assert!(emulator.client().generate(&fox()).is_ok());
    assert_eq!(emulator.polls().len(), 1);
}

#[test]
fn the_deadline_bounds_a_poll_without_a_response() {
    // The client's own timeout is an hour.
    let emulator = Emulator::builder().status(vec![Stall; 99]).client_timeout(Duration::from_secs(3600)).start();
    let poll = Poll { interval: millis(1), max_wait: millis(20) };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let (send, receive) = mpsc::channel();
    thread::spawn(move || drop(send.send(client.generate(&fox()))));
    let error = receive.recv_timeout(Duration::from_secs(60)).expect("the wait ends").unwrap_err();
    assert!(matches!(cause(&error), Error::DeadlineExceeded { source: Some(_), .. }), "{error:?}");
}

#[test]
fn an_exceeded_deadline_reports_the_last_status_and_the_last_failure() {
    // Long enough for three polls on a busy machine, and too short for all polls of the script.
    let poll = Poll { interval: millis(5), max_wait: millis(500) };
    let exceeded = |last: Step| {
        let emulator = Emulator::script([vec![Queued, Html(502), Step::Generating], vec![last; 999]].concat());
        let client = emulator.client_builder().poll(poll).build().unwrap();
        match client.generate(&fox()).unwrap_err() {
            Error::Unfinished { source, .. } => match *source {
                Error::DeadlineExceeded { last_status, source, .. } => (last_status, source),
                error => panic!("{error:?}"),
            },
            error => panic!("{error:?}"),
        }
    };
    let (last_status, failure) = exceeded(Queued);
    assert_eq!(last_status.as_deref(), Some("queued"));
    assert!(failure.is_none(), "{failure:?}");
    let (last_status, failure) = exceeded(Html(502));
    assert_eq!(last_status.as_deref(), Some("generating"));
    assert!(failure.is_some());
}

#[test]
fn a_single_poll_that_fails_keeps_the_id() {
    let emulator = Emulator::script([Close]);
    let client = emulator.client();
    let id = client.create(&fox()).unwrap();
    let error = client.status(&id).unwrap_err();
    assert!(matches!(cause(&error), Error::NoResponse { .. }), "{error:?}");
    assert_eq!(error.generation_id(), Some(&id));
}
