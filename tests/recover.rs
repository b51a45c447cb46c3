//! A create whose answer was lost is found in the service's logs, or is not taken for what it is not.

mod support;

use std::io::{BufRead, BufReader};

use kling::Recovery::{Found, NotCharged, NotListed};
use kling::emulator::Emulator;
use kling::emulator::Step::{self, Close, Html, Http, Queued, Reset, Truncate};
use kling::{Client, Error, Recovery, Result};
use serde_json::{Value, json};
use support::{RawServer, fox, only_id, say};

#[test]
fn a_create_whose_answer_was_lost_is_found_in_the_logs() {
    for lost in [Close, Reset, Html(502), Truncate(5), body("")] {
        let emulator = Emulator::builder().create([lost.clone()]).start();
        let client = emulator.client();
        let Err(Error::OutcomeUnknown { client_request_id, .. }) = client.create(&fox()) else { panic!("{lost:?}") };
        let found = client.recover(&client_request_id).unwrap();
        assert_eq!(found, Found(only_id(&emulator)), "{lost:?}");
        assert_eq!(client.recover("another-one").unwrap(), NotListed);
    }
}

#[test]
fn a_row_that_appears_late_is_first_not_found() {
    let emulator = Emulator::builder().logs_lag(2).start();
    let client = emulator.client();
    let id = client.create(&fox().client_request_id("fox-1")).unwrap();
    let looks: Vec<_> = (0..3).map(|_| client.recover("fox-1").unwrap()).collect();
    assert_eq!(looks, [NotListed, NotListed, Found(id)]);
}

#[test]
fn a_failed_row_is_told_apart_from_no_row() {
    let emulator = Emulator::script([Step::failed("moderated")]);
    let client = emulator.client();
    client.create(&fox().client_request_id("fox-1")).unwrap();
    assert_eq!(client.recover("fox-1").unwrap(), NotCharged);
}

#[test]
fn the_logs_are_read_page_by_page() {
    let emulator = Emulator::start();
    let client = emulator.client();
    let first = client.create(&fox().client_request_id("fox-0")).unwrap();
    for n in 1..=250 {
        client.create(&fox().client_request_id(format!("fox-{n}"))).unwrap();
    }
    assert_eq!(client.recover("fox-0").unwrap(), Found(first));
    assert_eq!(client.recover("fox-251").unwrap(), NotListed);
}

#[test]
fn a_look_into_the_logs_is_tried_again() {
    let emulator = Emulator::builder().logs([Html(502), Truncate(20), Queued, Http(403)]).start();
    let client = emulator.client();
    let id = client.create(&fox().client_request_id("fox-1")).unwrap();
    assert_eq!(client.recover("fox-1").unwrap(), Found(id));
    assert!(matches!(client.recover("fox-1"), Err(Error::Refused { status: 403, .. })));
    assert!(matches!(client.recover("no id"), Err(Error::InvalidRequest { .. })));

    let emulator = Emulator::builder().logs(vec![body("{}"); 3]).start();
    assert!(matches!(emulator.client().recover("fox-1"), Err(Error::UnexpectedResponse { .. })));
}

fn body(text: &str) -> Step {
    Step::Body(text.into())
}

/// A client of a service whose logs are these pages, by their offset. Of all models: one that is spelt otherwise in the
/// logs would give an empty page.
fn client_of(pages: Vec<(usize, Value)>) -> (RawServer, Client) {
    let server = RawServer::start(move |mut stream| {
        let mut line = String::new();
        let _ = BufReader::new(&stream).read_line(&mut line);
        let target = |offset| format!("GET /v2/logs?period=7d&limit=100&offset={offset} ");
        let asked = pages.iter().find(|(offset, _)| line.starts_with(&target(*offset)));
        let answer = asked.map_or(String::new(), |(_, page)| page.to_string());
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
        say(&mut stream, (head + &answer).as_bytes());
    });
    let base_url = format!("http://127.0.0.1:{}", server.port);
    let client = Emulator::start().client_builder().base_url(base_url).build().unwrap();
    (server, client)
}

fn page(rows: Vec<Value>, has_more: bool) -> Value {
    json!({ "data": rows, "pagination": { "limit": 100, "offset": 0, "total": 9, "has_more": has_more } })
}

fn row(client_request_id: &str, status: &str, id: Option<&str>) -> Value {
    json!({ "client_request_id": client_request_id, "status": status, "inference_id": id })
}

fn recovered(pages: Vec<(usize, Value)>) -> Result<Recovery> {
    client_of(pages).1.recover("fox-1")
}

fn found(id: &str) -> Recovery {
    Found(id.parse().unwrap())
}

#[test]
fn a_row_that_exists_counts_more_than_one_that_failed() {
    // Newest first: a try that failed after one that was accepted, which is what was paid for.
    let rows = vec![
        row("fox-1", "failed", Some("b:c")),
        row("fox-2", "succeeded", None),
        row("fox-1", "succeeded", Some("a:b")),
    ];
    assert_eq!(recovered(vec![(0, page(rows.clone(), false))]).unwrap(), found("a:b"));
    let pages = vec![(0, page(rows[..2].to_vec(), true)), (2, page(rows[2..].to_vec(), false))];
    assert_eq!(recovered(pages).unwrap(), found("a:b"));
    assert_eq!(recovered(vec![(0, page(rows[..2].to_vec(), false))]).unwrap(), NotCharged);
}

#[test]
fn a_row_that_does_not_tell_its_id_is_not_taken_for_no_row() {
    for id in [None, Some(""), Some("a b")] {
        let error = recovered(vec![(0, page(vec![row("fox-1", "succeeded", id)], false))]).unwrap_err();
        assert!(matches!(error, Error::UnexpectedResponse { .. }), "{id:?}: {error:?}");
    }
}

#[test]
fn a_page_may_be_shorter_than_was_asked_for() {
    let pages = vec![
        (0, page(vec![row("fox-2", "succeeded", Some("b:c")); 3], true)),
        (3, page(vec![row("fox-2", "succeeded", Some("b:c")); 50], true)),
        (53, page(vec![row("fox-1", "succeeded", Some("a:b"))], false)),
    ];
    assert_eq!(recovered(pages).unwrap(), found("a:b"));
}

#[test]
fn logs_without_an_end_are_an_error_and_not_no_row() {
    // Each page says that there is more.
    let pages = (0..=1000).map(|n| (n, page(vec![row("fox-2", "failed", None)], true))).collect();
    let error = recovered(pages).unwrap_err();
    assert!(format!("{error:?}").contains("pagination never ends"), "{error:?}");
}
