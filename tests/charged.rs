//! What `Error::charged` says, for each way in which a call can fail.

mod support;

use kling::emulator::{Emulator, EmulatorBuilder, Step};
use kling::{Asset, Charged, Client, Error, Poll, asset};
use support::{closed_address, fox, millis};

fn client(emulator: &Emulator) -> Client {
    let poll = Poll { interval: millis(1), max_wait: millis(50) };
    emulator.client_builder().poll(poll).build().unwrap()
}

#[track_caller]
fn assert_charged(error: &Error, charged: Charged) {
    assert_eq!(error.charged(), charged, "{error:?}");
}

#[test]
fn create_requests_are_charged_only_if_they_may_have_been_accepted() {
    let table = [
        (Step::Http(400), Charged::No),
        (Step::Http(401), Charged::No),
        (Step::Http(429), Charged::No),
        (Step::Http(500), Charged::Perhaps),
        (Step::http_retry_after(503, "5"), Charged::Perhaps),
        (Step::Close, Charged::Perhaps),
        (Step::body("{}"), Charged::Perhaps),
        (Step::redirect(302, "/elsewhere"), Charged::Perhaps),
    ];
    for (step, charged) in table {
        let emulator = Emulator::builder().create(vec![step; 3]).start();
        assert_charged(&client(&emulator).generate(&fox()).unwrap_err(), charged);
    }
    let emulator = Emulator::start();
    assert_charged(&client(&emulator).generate(&fox().cfg_scale(2.0)).unwrap_err(), Charged::No);
    let base_url = format!("http://{}", closed_address());
    let nowhere = emulator.client_builder().base_url(base_url).build().unwrap();
    assert_charged(&nowhere.generate(&fox()).unwrap_err(), Charged::No);
    assert_charged(&Client::new("").unwrap_err(), Charged::No);
}

#[test]
fn generations_that_exist_are_charged_unless_they_fail_for_free() {
    let table = [
        (vec![Step::Http(401)], Charged::Yes),
        (vec![Step::Http(403)], Charged::Yes),
        (vec![Step::Queued; 500], Charged::Yes),
        (vec![Step::Http(503); 500], Charged::Yes),
        (vec![Step::redirect(302, "/elsewhere")], Charged::Yes),
        (vec![Step::failed("moderated")], Charged::No),
        (vec![Step::other_status("cancelled")], Charged::Perhaps),
    ];
    for (steps, charged) in table {
        let emulator = Emulator::script(steps);
        assert_charged(&client(&emulator).generate(&fox()).unwrap_err(), charged);
    }
    let emulator = Emulator::start();
    let error = client(&emulator).status(&"unknown:model".parse().unwrap()).unwrap_err();
    assert!(matches!(error, Error::UnknownGeneration { .. }), "{error:?}");
    assert_charged(&error, Charged::Perhaps);
    let error = client(&emulator).recover("fox-1 with spaces").unwrap_err();
    assert_charged(&error, Charged::No);
    let emulator = Emulator::builder().logs([Step::Http(403)]).start();
    assert_charged(&client(&emulator).recover("fox-1").unwrap_err(), Charged::Perhaps);
}

#[test]
fn videos_that_cannot_be_downloaded_are_charged() {
    let fails = |emulator: EmulatorBuilder| {
        let emulator = emulator.status([]).start();
        let client = client(&emulator);
        let video = client.generate(&fox()).unwrap();
        client.download(&video, "/missing/fox.mp4").unwrap_err()
    };
    assert_charged(&fails(Emulator::builder()), Charged::Yes);
    assert_charged(&fails(Emulator::builder().file(vec![Step::Html(200); 9])), Charged::Yes);
}

#[test]
fn a_refusal_costs_nothing_only_if_it_is_that_of_a_create_request() {
    let request = |method| format!("{method} https://api.aimlapi.com/v2/generate/video/kling/generation");
    for (method, refused, unclear) in [("POST", Charged::No, Charged::Perhaps), ("GET", Charged::Yes, Charged::Yes)] {
        let (status, message, body) = (403, "no".to_owned(), String::new());
        let request = || request(method);
        let refusal = Error::Refused { request: request(), status, message, request_id: None, retry_after: None };
        assert_charged(&refusal, refused);
        assert_charged(&Error::NoResponse { request: request(), source: "closed".into() }, unclear);
        assert_charged(&Error::UnexpectedResponse { request: request(), status, body, source: None }, unclear);
    }
}

#[test]
fn several_assets_are_charged_as_the_worst_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let assets = ["a.mp4", "b.mp4"].map(|name| Asset::new(folder.path().join(name), fox()));
    let emulator = Emulator::builder().create([Step::Http(400), Step::Close]).start();
    let error = asset::ensure(&assets, || Ok(client(&emulator))).unwrap_err();
    assert_charged(&error, Charged::Perhaps);
}
