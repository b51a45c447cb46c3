//! The table of faults, as far as it is about creating and waiting: a row is a line. The file's column is in
//! `download.rs`.

mod support;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kling::emulator::{Emulator, Step};
use kling::{Client, Error, Poll, VideoRequest};
use support::{RawServer, accepted, cause, closed_port, fox, millis, only_id};

use Step::{
    Close, Completed, Html, Http, Queued, Reset, ResetAfter, ResetUnread, Stall, StallAfter, Throttle, Truncate,
    TruncateWithoutLength,
};

const README: &str = include_str!("../README.md");

/// How a create ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Create {
    /// With an id, after so many tries.
    Made(usize),
    Refused(u16, usize),
    /// Never sent again.
    Unknown,
}
use Create::{Made, Refused, Unknown};

fn after(status: u16, seconds: &str) -> Step {
    Step::http_retry_after(status, seconds)
}

fn body(bytes: impl AsRef<[u8]>) -> Step {
    Step::body(bytes.as_ref())
}

fn deep() -> Step {
    body("[".repeat(200_000))
}

fn huge() -> Step {
    body(format!(r#"{{"id":"x","status":"queued","padding":"{}"}}"#, "x".repeat(1024 * 1024)))
}

/// Only what is silent has to be given up on; all else may take its time on a busy machine.
fn client_timeout(steps: &[Step]) -> Duration {
    let silent = steps.iter().any(|step| matches!(step, Stall | StallAfter(_) | Throttle(_)));
    millis(if silent { 250 } else { 5000 })
}

fn create_column() -> Vec<(&'static str, Vec<Step>, Create)> {
    vec![
        ("closed before an answer", vec![Close], Unknown),
        ("reset before an answer", vec![Reset], Unknown),
        ("reset before it was read", vec![ResetUnread], Unknown),
        ("no answer until the timeout", vec![Stall], Unknown),
        ("the answer drips", vec![Throttle(millis(20))], Unknown),
        ("the answer stops", vec![StallAfter(10)], Unknown),
        ("cut short", vec![Truncate(10)], Unknown),
        ("cut before the body", vec![Truncate(0)], Unknown),
        ("reset within the body", vec![ResetAfter(10)], Unknown),
        ("cut without a length", vec![TruncateWithoutLength(10)], Unknown),
        ("not JSON", vec![body("queued")], Unknown),
        ("empty", vec![body("")], Unknown),
        ("null", vec![body("null")], Unknown),
        ("invalid UTF-8", vec![body(b"{\"id\":\"\xff\"}")], Unknown),
        ("200,000 nested arrays", vec![deep()], Unknown),
        ("without an id", vec![body(r#"{"status":"queued"}"#)], Unknown),
        ("an id that is none", vec![body(r#"{"id":"a b","status":"queued"}"#)], Unknown),
        ("the same key twice", vec![body(r#"{"id":"a","id":"b"}"#)], Unknown),
        ("over 1 MiB", vec![huge()], Unknown),
        ("400", vec![Http(400)], Refused(400, 1)),
        ("404", vec![Http(404)], Refused(404, 1)),
        ("413", vec![Http(413)], Refused(413, 1)),
        ("422", vec![Http(422)], Refused(422, 1)),
        ("401", vec![Http(401)], Refused(401, 1)),
        ("402", vec![Http(402)], Refused(402, 1)),
        ("403", vec![Http(403)], Refused(403, 1)),
        ("403 as a page", vec![Html(403)], Refused(403, 1)),
        ("408", vec![Http(408)], Unknown),
        ("409", vec![Http(409)], Unknown),
        ("500", vec![Http(500)], Unknown),
        ("502 as a gateway's page", vec![Html(502)], Unknown),
        ("504", vec![Html(504)], Unknown),
        ("500 with Retry-After", vec![after(500, "0")], Unknown),
        ("429 once", vec![Http(429)], Made(2)),
        ("429 twice", vec![Http(429), after(429, "0")], Made(3)),
        ("429 for ever", vec![Http(429); 9], Refused(429, 3)),
        ("503 with Retry-After", vec![after(503, "0")], Made(2)),
        ("503 with Retry-After for ever", vec![after(503, "0"); 9], Refused(503, 3)),
        ("503 without Retry-After", vec![Http(503)], Unknown),
        ("429, Retry-After 86400", vec![after(429, "86400")], Refused(429, 1)),
        ("429, Retry-After -1", vec![after(429, "-1")], Made(2)),
        ("429, Retry-After garbage", vec![after(429, "soon")], Made(2)),
        ("429, Retry-After a date", vec![after(429, "Wed, 21 Oct 2026 07:28:00 GMT")], Made(2)),
        ("503, Retry-After 86400", vec![after(503, "86400")], Refused(503, 1)),
        ("503, Retry-After garbage", vec![after(503, "soon")], Unknown),
        ("503, Retry-After a date", vec![after(503, "Wed, 21 Oct 2026 07:28:00 GMT")], Unknown),
        ("a redirect", vec![Step::redirect(302, "/v2/elsewhere")], Unknown),
        ("429, and then a lost answer", vec![Http(429), Close], Unknown),
    ]
}

#[test]
fn creating_ends_as_the_table_says() {
    for (fault, steps, ends) in create_column() {
        let emulator = Emulator::builder().create(steps.clone()).client_timeout(client_timeout(&steps)).start();
        let result = emulator.client().create(&fox());
        let tries = emulator.creates().len();
        assert!(accepted(&emulator) <= 1, "{fault}: paid twice");
        match (ends, &result) {
            (Made(expected), Ok(id)) => {
                assert_eq!((tries, id), (expected, &only_id(&emulator)), "{fault}");
            }
            (Refused(status, expected), Err(Error::Refused { status: found, message, .. })) => {
                assert_eq!((tries, *found, accepted(&emulator)), (expected, status, 0), "{fault}");
                assert!(!message.is_empty(), "{fault}");
            }
            (Unknown, Err(Error::OutcomeUnknown { client_request_id, .. })) => {
                assert_eq!(tries, steps.len(), "{fault}: the create with an unknown outcome was the last one sent");
                let last = emulator.creates().pop().expect("it was sent");
                assert_eq!(last.header("x-client-request-id"), Some(client_request_id.as_str()), "{fault}");
            }
            _ => panic!("{fault}: {result:?}"),
        }
    }
}

#[test]
fn the_readme_counts_the_faults() {
    assert!(README.contains(&format!("{} strike the create", create_column().len())), "{}", create_column().len());
    assert!(README.contains(&format!("{} the status", status_column().len())), "{}", status_column().len());
}

#[test]
fn what_never_left_is_not_sent_after_three_tries() {
    let emulator = Emulator::builder().client_timeout(millis(100)).start();
    let silent = RawServer::silent();
    let hangs_up = RawServer::start(drop);
    let table = [
        ("refused", format!("http://127.0.0.1:{}", closed_port()), None),
        ("name not found", "https://kling.invalid".to_owned(), None),
        ("no TLS handshake until the timeout", format!("https://127.0.0.1:{}", silent.port), Some(&silent)),
        ("end of stream in the handshake", format!("https://127.0.0.1:{}", hangs_up.port), Some(&hangs_up)),
    ];
    for (fault, base_url, server) in table {
        let client = emulator.client_builder().base_url(base_url).build().unwrap();
        let error = client.create(&fox()).unwrap_err();
        assert!(matches!(error, Error::NotSent { .. }), "{fault}: {error:?}");
        if let Some(server) = server {
            server.has_had(3, fault);
        }
    }
}

#[test]
fn tls_that_cannot_be_trusted_is_not_tried_again() {
    let plain = RawServer::saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let base_url = format!("https://127.0.0.1:{}", plain.port);
    let client = Emulator::start().client_builder().base_url(base_url).build().unwrap();

    let error = client.create(&fox()).unwrap_err();
    assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
    plain.has_had(1, "a create is not tried again");

    let error = client.wait(&"some:id".parse().unwrap()).unwrap_err();
    assert!(matches!(cause(&error), Error::NoResponse { .. }), "{error:?}");
    plain.has_had(2, "a wait ends at once");
}

/// How a wait ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wait {
    /// With the video, at the next turn.
    Miss,
    /// With the video, after so many polls.
    Video(usize),
    /// With `Unfinished`, after so many polls.
    Ends(usize),
    /// With `Failed`, and this reason.
    Fails(&'static str),
}
use Wait::{Ends, Fails, Miss, Video};

fn status_column() -> Vec<(&'static str, Vec<Step>, Wait)> {
    vec![
        ("closed before an answer", vec![Close], Miss),
        ("reset before an answer", vec![Reset], Miss),
        ("reset before it was read", vec![ResetUnread], Miss),
        ("no answer until the timeout", vec![Stall], Miss),
        ("the answer drips", vec![Throttle(millis(20))], Miss),
        ("the answer stops", vec![StallAfter(10)], Miss),
        ("cut short", vec![Truncate(10)], Miss),
        ("cut before the body", vec![Truncate(0)], Miss),
        ("reset within the body", vec![ResetAfter(10)], Miss),
        ("cut without a length", vec![TruncateWithoutLength(10)], Miss),
        ("not JSON", vec![body("queued")], Miss),
        ("empty", vec![body("")], Miss),
        ("null", vec![body("null")], Miss),
        ("invalid UTF-8", vec![body(b"{\"status\":\"\xff\"}")], Miss),
        ("200,000 nested arrays", vec![deep()], Miss),
        ("without a status", vec![body(r#"{"id":"x"}"#)], Miss),
        ("the same key twice", vec![body(r#"{"status":"error","status":"error"}"#)], Miss),
        ("over 1 MiB", vec![huge()], Miss),
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
        ("502 as a gateway's page", vec![Html(502)], Miss),
        ("a page with 200", vec![Html(200)], Miss),
        ("504", vec![Html(504)], Miss),
        ("429", vec![Http(429)], Miss),
        ("503 with Retry-After", vec![after(503, "0")], Miss),
        ("503 without Retry-After", vec![Http(503)], Miss),
        ("429, Retry-After -1", vec![after(429, "-1")], Miss),
        ("429, Retry-After garbage", vec![after(429, "soon")], Miss),
        ("429, Retry-After a date", vec![after(429, "Wed, 21 Oct 2026 07:28:00 GMT")], Miss),
        ("a redirect", vec![Step::redirect(302, "/v2/elsewhere")], Ends(1)),
        ("the word waiting", vec![Step::other_status("waiting")], Miss),
        ("the word active", vec![Step::other_status("active")], Miss),
        ("a word nobody knows", vec![Step::other_status("dreaming")], Miss),
        ("completed without a URL", vec![Step::other_status("completed"); 3], Video(4)),
        ("completed without a URL for ever", vec![Step::other_status("completed"); 9], Ends(4)),
        ("error null", vec![body(r#"{"status":"error","error":null}"#)], Fails("the service gave no reason")),
        ("error a string", vec![body(r#"{"status":"error","error":"no"}"#)], Fails("no")),
        ("error an object", vec![Step::failed("moderated")], Fails("GenerationFailed: moderated")),
        ("error a number", vec![body(r#"{"status":"error","error":7}"#)], Fails("7")),
        (
            "nine faults in a row",
            vec![Close, Reset, Html(502), Truncate(3), body(""), Http(429), Http(404), Queued, ResetUnread],
            Video(10),
        ),
    ]
}

#[test]
fn waiting_ends_as_the_table_says() {
    for (fault, steps, ends) in status_column() {
        let emulator = Emulator::builder().client_timeout(client_timeout(&steps)).status(steps).start();
        let client = emulator.client();
        let id = client.create(&fox()).expect(fault);
        let result = client.wait(&id);
        let polls = emulator.polls().len();
        match (ends, &result) {
            // A machine that is busy may miss the patience of 100 ms once more: a missed poll is a missed poll.
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
fn a_connection_that_cannot_be_made_is_a_missed_poll_until_the_deadline() {
    let emulator = Emulator::builder().client_timeout(millis(50)).start();
    let silent = RawServer::silent();
    let table = [
        ("refused", format!("http://127.0.0.1:{}", closed_port())),
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
fn a_retry_after_lengthens_the_pause_and_never_moves_the_deadline() {
    let emulator = Emulator::script([after(429, "86400"), Queued]);
    let poll = Poll { interval: millis(1), max_wait: millis(300) };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let error = client.generate(&fox()).unwrap_err();
    // The second poll falls on the deadline.
    assert_eq!(emulator.polls().len(), 2);
    assert!(matches!(cause(&error), Error::DeadlineExceeded { poll_count: 2, .. }), "{error:?}");
}

#[test]
fn a_lost_answer_keeps_the_first_kib_of_what_came() {
    let long = "x".repeat(5000);
    let emulator = Emulator::builder().create([body(&long)]).start();
    let error = emulator.client().create(&fox()).unwrap_err();
    match cause(&error) {
        Error::UnexpectedResponse { status: 200, body, source: Some(_), .. } => assert_eq!(*body, long[..1024]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_that_is_refused_here_is_never_sent() {
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
fn a_client_that_would_be_unsafe_is_not_built() {
    let table = [
        (
            Client::builder("key\n"),
            "invalid API key: it is empty, or holds a space, a line break or a character beyond ASCII",
        ),
        (
            Client::builder("clé"),
            "invalid API key: it is empty, or holds a space, a line break or a character beyond ASCII",
        ),
        (
            Client::builder(""),
            "invalid API key: it is empty, or holds a space, a line break or a character beyond ASCII",
        ),
        (
            Client::builder("key").base_url("http://api.example"),
            "invalid base URL: it is not https (http is for loopback alone)",
        ),
        (
            Client::builder("key").base_url("https://user:word@api.example"),
            "invalid base URL: it holds a user name or a password",
        ),
        (Client::builder("key").base_url("api.example"), "invalid base URL: it has to begin with https://"),
        (
            Client::builder("key").user_agent("a\r\nb: c"),
            "invalid user agent: it is empty, or holds more than visible ASCII and single spaces",
        ),
        (
            Client::builder("key").poll(Poll { interval: millis(0), ..Poll::default() }),
            "invalid poll interval: it is zero: the service would be asked without a pause",
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
fn a_script_that_has_ended_completes() {
    let emulator = Emulator::builder().create([Completed]).status([]).file([Completed]).start();
    assert!(emulator.client().generate(&fox()).is_ok());
    assert_eq!(emulator.polls().len(), 1);
}

#[test]
fn the_deadline_bounds_a_poll_that_gets_no_answer() {
    // The client alone would wait for an hour.
    let emulator = Emulator::builder().status(vec![Stall; 99]).client_timeout(Duration::from_secs(3600)).start();
    let poll = Poll { interval: millis(1), max_wait: millis(20) };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let (send, receive) = mpsc::channel();
    thread::spawn(move || drop(send.send(client.generate(&fox()))));
    let error = receive.recv_timeout(Duration::from_secs(60)).expect("it never hangs").unwrap_err();
    assert!(matches!(cause(&error), Error::DeadlineExceeded { source: Some(_), .. }), "{error:?}");
}

#[test]
fn a_deadline_tells_what_was_heard_last_and_what_failed_last() {
    let poll = Poll { interval: millis(1), max_wait: millis(30) };
    let exceeded = |steps: Vec<Step>| {
        let emulator = Emulator::script(steps);
        let client = emulator.client_builder().poll(poll).build().unwrap();
        match client.generate(&fox()).unwrap_err() {
            Error::Unfinished { source, .. } => *source,
            error => panic!("{error:?}"),
        }
    };
    let long = |last: Step| [vec![Queued, Html(502), Step::Generating], vec![last; 999]].concat();
    let error = exceeded(long(Queued));
    assert!(
        matches!(&error, Error::DeadlineExceeded { last_status: Some(word), source: None, .. } if word == "queued")
    );
    let error = exceeded(long(Html(502)));
    assert!(
        matches!(&error, Error::DeadlineExceeded { last_status: Some(word), source: Some(_), .. } if word == "generating")
    );
}

#[test]
fn every_answer_to_a_poll_may_ask_for_a_longer_pause() {
    let poll = Poll { interval: millis(1), max_wait: millis(300) };
    for answer in [
        &b"HTTP/1.1 200 OK\r\nRetry-After: 60\r\nContent-Length: 34\r\n\r\n{\"id\":\"a:b\",\"status\":\"generating\"}"
            [..],
        b"HTTP/1.1 200 OK\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Oh\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n",
    ] {
        let server = RawServer::saying(answer);
        let base_url = format!("http://127.0.0.1:{}", server.port);
        let client = Emulator::start().client_builder().base_url(base_url).poll(poll).build().unwrap();
        let error = client.wait(&"a:b".parse().unwrap()).unwrap_err();
        assert!(
            matches!(cause(&error), Error::DeadlineExceeded { poll_count: 2, .. }),
            "{}: {error:?}",
            answer.escape_ascii()
        );
    }
}

#[test]
fn one_question_that_fails_keeps_the_id() {
    let emulator = Emulator::script([Close]);
    let client = emulator.client();
    let id = client.create(&fox()).unwrap();
    let error = client.status(&id).unwrap_err();
    assert!(matches!(cause(&error), Error::NoResponse { .. }), "{error:?}");
    assert_eq!(error.generation_id(), Some(&id));
}
