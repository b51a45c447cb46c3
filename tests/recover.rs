//! Recovering a create request whose response was lost, from the service's logs.

mod support;

use std::io::{BufRead, BufReader};
use std::time::Instant;

use kling::Recovery::{Found, NotCharged, NotListed};
use kling::emulator::Emulator;
use kling::emulator::Step::{self, Close, Html, Http, Queued, Reset, Truncate};
use kling::{Client, Error, Recovery, Result};
use serde_json::{Value, json};
use support::{RawServer, cause, fox, millis, only_id, respond};

#[test]
fn create_requests_whose_response_was_lost_are_found_in_the_logs() {
    for lost in [Close, Reset, Html(502), Truncate(5), Step::body("")] {
        let emulator = Emulator::builder().create([lost.clone()]).start();
        let client = emulator.client();
        let Err(Error::OutcomeUnknown { client_request_id, .. }) = client.create(&fox()) else { panic!("{lost:?}") };
        let found = client.recover(&client_request_id).unwrap();
        assert_eq!(found, Found(only_id(&emulator)), "{lost:?}");
        assert_eq!(client.recover("another-one").unwrap(), NotListed);
    }
}

#[test]
fn entries_that_appear_late_are_not_listed_at_first() {
    let emulator = Emulator::builder().logs_lag(2).start();
    let client = emulator.client();
    let id = client.create(&fox().client_request_id("fox-1")).unwrap();
    let lookups: Vec<_> = (0..3).map(|_| client.recover("fox-1").unwrap()).collect();
    assert_eq!(lookups, [NotListed, NotListed, Found(id)]);
}

#[test]
fn a_recent_failed_entry_does_not_prove_that_nothing_was_charged() {
    // A gateway may have sent the request on, and that entry appears when its generation has finished.
    let emulator = Emulator::script([Step::failed("moderated")]);
    let client = emulator.client();
    let _ = client.create(&fox().client_request_id("fox-1")).unwrap();
    assert_eq!(client.recover("fox-1").unwrap(), NotListed);
}

#[test]
fn the_logs_are_read_to_the_last_page() {
    let emulator = Emulator::start();
    let client = emulator.client();
    let first = client.create(&fox().client_request_id("fox-0")).unwrap();
    for n in 1..=250 {
        let _ = client.create(&fox().client_request_id(format!("fox-{n}"))).unwrap();
    }
    assert_eq!(client.recover("fox-0").unwrap(), Found(first));
    assert_eq!(client.recover("fox-251").unwrap(), NotListed);
}

#[test]
fn lookups_are_retried_and_their_failures_are_unknown_outcomes() {
    let emulator = Emulator::builder().logs([Html(502), Truncate(20), Queued, Http(403)]).start();
    let client = emulator.client();
    let id = client.create(&fox().client_request_id("fox-1")).unwrap();
    assert_eq!(client.recover("fox-1").unwrap(), Found(id));
    let error = client.recover("fox-1").unwrap_err();
    assert!(matches!(cause(&error), Error::Refused { status: 403, .. }), "{error:?}");
    assert!(matches!(client.recover("no id"), Err(Error::InvalidRequest { .. })));

    let emulator = Emulator::builder().logs(vec![Step::body("{}"); 3]).start();
    let error = emulator.client().recover("fox-1").unwrap_err();
    assert!(matches!(cause(&error), Error::UnexpectedResponse { .. }), "{error:?}");
}

/// Returns a client of a service whose logs are these pages, by their offset. Requests that filter by model get an empty
/// response: if the logs spell the name differently, the page would be empty.
fn client_of(pages: Vec<(usize, Value)>) -> (RawServer, Client) {
    let server = RawServer::start(move |mut stream| {
        let mut line = String::new();
        let _ = BufReader::new(&stream).read_line(&mut line);
        let target = |offset| format!("GET /v2/logs?period=7d&limit=100&offset={offset} ");
        let requested = pages.iter().find(|(offset, _)| line.starts_with(&target(*offset)));
        let body = requested.map_or(String::new(), |(_, page)| page.to_string());
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        respond(&mut stream, (head + &body).as_bytes());
    });
    let base_url = format!("http://127.0.0.1:{}", server.port);
    let client = Emulator::start().client_builder().base_url(base_url).build().unwrap();
    (server, client)
}

fn page(entries: Vec<Value>, has_more: bool) -> Value {
    json!({ "data": entries, "pagination": { "limit": 100, "offset": 0, "total": 9, "has_more": has_more } })
}

/// Returns a log entry that is older than any other one that could still appear.
fn entry(client_request_id: &str, status: &str, id: Option<&str>) -> Value {
    let created = "2026-01-01T00:00:00.000Z";
    json!({ "client_request_id": client_request_id, "status": status, "inference_id": id, "created": created })
}

fn recovered(pages: Vec<(usize, Value)>) -> Result<Recovery> {
    client_of(pages).1.recover("fox-1")
}

fn found(id: &str) -> Recovery {
    Found(id.parse().unwrap())
}

#[test]
fn an_old_failed_entry_was_not_charged() {
    let entries = vec![entry("fox-1", "failed", None)];
    assert_eq!(recovered(vec![(0, page(entries, false))]).unwrap(), NotCharged);
}

#[test]
fn an_accepted_entry_is_preferred_to_a_failed_one() {
    // Newest first: an attempt that failed, after the accepted one, which was paid for.
    let entries = vec![
        entry("fox-1", "failed", Some("b:c")),
        entry("fox-2", "succeeded", None),
        entry("fox-1", "succeeded", Some("a:b")),
    ];
    assert_eq!(recovered(vec![(0, page(entries.clone(), false))]).unwrap(), found("a:b"));
    let pages = vec![(0, page(entries[..2].to_vec(), true)), (2, page(entries[2..].to_vec(), false))];
    assert_eq!(recovered(pages).unwrap(), found("a:b"));
    assert_eq!(recovered(vec![(0, page(entries[..2].to_vec(), false))]).unwrap(), NotCharged);
}

#[test]
fn an_accepted_entry_without_a_valid_id_is_an_error() {
    for id in [None, Some(""), Some("a b")] {
        let error = recovered(vec![(0, page(vec![entry("fox-1", "succeeded", id)], false))]).unwrap_err();
        assert!(matches!(cause(&error), Error::UnexpectedResponse { .. }), "{id:?}: {error:?}");
    }
}

#[test]
fn pages_may_be_shorter_than_requested() {
    let pages = vec![
        (0, page(vec![entry("fox-2", "succeeded", Some("b:c")); 3], true)),
        (3, page(vec![entry("fox-2", "succeeded", Some("b:c")); 50], true)),
        (53, page(vec![entry("fox-1", "succeeded", Some("a:b"))], false)),
    ];
    assert_eq!(recovered(pages).unwrap(), found("a:b"));
}

#[test]
fn the_pages_are_read_at_the_rate_that_the_service_allows() {
    // 200 requests a minute.
    let pages = vec![(0, page(vec![entry("fox-2", "failed", None)], true)), (1, page(vec![], false))];
    let (server, _) = client_of(pages);
    let client = Client::builder("a-key").base_url(format!("http://127.0.0.1:{}", server.port)).build().unwrap();
    let started = Instant::now();
    assert_eq!(client.recover("fox-1").unwrap(), NotListed);
    assert!(started.elapsed() >= millis(300));
}

#[test]
fn logs_without_an_end_are_an_error() {
    // Each page reports one more.
    let pages = (0..=1000).map(|n| (n, page(vec![entry("fox-2", "failed", None)], true))).collect();
    let error = recovered(pages).unwrap_err();
    assert!(format!("{error:?}").contains("pagination never ends"), "{error:?}");
}
