//! Batches: many generations on one thread.

mod support;

use std::collections::BTreeMap;

use kling::emulator::{Emulator, Step};
use kling::{Batch, Error, GenerationId, Poll, Result, Status, Update, Video, VideoRequest};
use support::{accepted, cause, fox, millis};

fn foxes(count: usize) -> Vec<VideoRequest> {
    (0..count).map(|n| VideoRequest::new(format!("Fox number {n}"))).collect()
}

/// Returns the outcomes by index. Fails if an index has more than one.
#[track_caller]
fn outcomes(batch: Batch) -> BTreeMap<usize, Result<Video>> {
    let mut outcomes = BTreeMap::new();
    for (index, outcome) in batch {
        assert!(outcomes.insert(index, outcome).is_none(), "two items for {index}");
    }
    outcomes
}

#[test]
fn items_are_in_the_order_of_completion() {
    let emulator = Emulator::builder()
        .status_of(0, vec![Step::Generating; 40])
        .status_of(1, [])
        .status_of(2, vec![Step::Generating; 10])
        .start();
    let order: Vec<usize> = emulator.client().generate_all(foxes(3)).map(|(index, _)| index).collect();
    assert_eq!(order, [1, 2, 0]);
}

#[test]
fn max_in_flight_bounds_the_unfinished_generations() {
    for max in [1, 3, 8] {
        let emulator = Emulator::start();
        let mut batch = emulator.client().generate_all(foxes(8)).max_in_flight(max);
        for finished in 0..8 {
            batch.next().unwrap().1.unwrap();
            assert!(emulator.creates().len() <= finished + max, "{max}: {} at {finished}", emulator.creates().len());
            assert_eq!(batch.len(), 7 - finished);
        }
        assert!(batch.next().is_none());
        assert_eq!(emulator.creates().len(), 8);
    }
    // A batch that may create nothing would never end: 0 counts as 1.
    assert_eq!(Emulator::start().client().generate_all(foxes(2)).max_in_flight(0).count(), 2);
}

#[test]
fn four_generations_are_in_flight_by_default() {
    let emulator = Emulator::builder().status_of(0, vec![Step::Queued; 3]).status(vec![Step::Queued; 999]).start();
    let mut batch = emulator.client().generate_all(foxes(9));
    assert_eq!(batch.next().unwrap().0, 0);
    assert_eq!(emulator.creates().len(), 4);
    let ids: Vec<usize> = batch.unfinished().into_iter().map(|(index, _)| index).collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn invalid_requests_are_reported_before_anything_is_sent() {
    let emulator = Emulator::start();
    let mut requests = foxes(4);
    requests[1] = VideoRequest::new(" ");
    requests[2] = fox().client_request_id("fox-1");
    requests[3] = fox().client_request_id("fox-1");
    let mut batch = emulator.client().generate_all(&requests).max_in_flight(1);
    for (index, field) in [(1, "prompt"), (3, "client request id")] {
        let (found_index, outcome) = batch.next().unwrap();
        assert!(matches!(outcome, Err(Error::InvalidRequest { field: found, .. }) if found == field), "{index}");
        assert_eq!((found_index, emulator.connections()), (index, 0));
    }
    assert_eq!(batch.filter(|(_, outcome)| outcome.is_ok()).count(), 2);
}

#[test]
fn polls_that_a_busy_thread_sends_late_are_not_counted_as_too_late() {
    let emulator = Emulator::builder().status_of(0, [Step::Queued]).status([Step::Queued, Step::Http(503)]).start();
    // The second generation is created and polled for the first time within one interval.
    let poll = Poll { interval: millis(50), max_wait: millis(1000) };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let mut batch = client.generate_all(foxes(2));
    assert_eq!(batch.next().unwrap().0, 0);
    // The thread is busy until after the deadline.
    std::thread::sleep(millis(1100));
    batch.next().unwrap().1.unwrap();
}

#[test]
fn a_retry_after_that_is_too_long_delays_the_next_create_request() {
    let emulator = Emulator::builder().create([Step::http_retry_after(429, "86400")]).start();
    let mut updates = emulator.client().generate_all(foxes(2)).updates().tick(millis(1));
    let refused = updates.by_ref().flatten().nth(1);
    assert!(matches!(refused, Some((0, Update::Finished(Err(Error::Refused { status: 429, .. }))))), "{refused:?}");
    assert!(updates.next().unwrap().is_none(), "the second request is not sent at once");
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn a_refused_create_request_is_not_sent_again_before_its_delay() {
    let emulator = Emulator::builder().create([Step::http_retry_after(429, "60")]).start();
    let mut updates = emulator.client().generate_all(foxes(1)).updates().tick(millis(1));
    let retrying = updates.by_ref().flatten().nth(1);
    assert!(matches!(retrying, Some((0, Update::Retrying(_)))), "{retrying:?}");
    assert!(updates.next().unwrap().is_none(), "the next attempt is due later");
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn polls_do_not_hurry_a_delayed_create_request() {
    let emulator = Emulator::builder().create([Step::Queued, Step::http_retry_after(400, "60")]).start();
    let mut batch = emulator.client().generate_all(foxes(3));
    assert!(matches!(batch.next(), Some((1, Err(Error::Refused { status: 400, .. })))));
    assert!(matches!(batch.next(), Some((0, Ok(_)))));
    assert_eq!(emulator.creates().len(), 2);
}

#[test]
fn a_full_account_holds_create_requests_back_until_a_generation_has_finished() {
    let emulator = Emulator::builder().max_concurrent(2).start();
    let outcomes = outcomes(emulator.client().generate_all(foxes(8)).max_in_flight(4));
    assert_eq!(outcomes.len(), 8);
    assert!(outcomes.values().all(Result::is_ok), "{outcomes:?}");
    // Each generation that has finished makes room for one: at most one request is refused for each.
    assert_eq!(accepted(&emulator), 8);
    assert!(emulator.creates().len() <= 16, "{} create requests", emulator.creates().len());
}

#[test]
fn a_429_is_retried_until_no_other_generation_is_in_flight() {
    // The first two 429s are not counted as attempts: other generations are in flight.
    let create = [vec![Step::Queued; 2], vec![Step::Http(429); 4]].concat();
    let emulator = Emulator::builder().create(create).start();
    let outcomes = outcomes(emulator.client().generate_all(foxes(3)));
    assert!(outcomes.values().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((emulator.creates().len(), accepted(&emulator)), (7, 3));
}

#[test]
fn failures_do_not_affect_other_generations() {
    let emulator = Emulator::builder()
        .create([Step::Queued, Step::Close, Step::Http(400), Step::Queued, Step::Http(429), Step::Queued])
        // The accepted requests, in order: 0, 1 (its response is lost), 3, 4, 5, 7, 8.
        .status_of(2, [Step::failed("moderated")])
        .status_of(3, [Step::Http(401)])
        .status_of(4, [Step::Html(502), Step::Truncate(3), Step::Queued])
        .start();
    let mut requests = foxes(9);
    requests[6] = VideoRequest::new(" ");
    let outcomes = outcomes(emulator.client().generate_all(&requests).max_in_flight(9));

    assert_eq!(outcomes.len(), 9);
    let video = |index: usize| outcomes[&index].as_ref().unwrap();
    let error = |index: usize| outcomes[&index].as_ref().unwrap_err();
    for index in [0, 5, 7, 8] {
        assert_eq!(video(index).duration, Some(5.0));
    }
    assert!(matches!(error(1), Error::OutcomeUnknown { .. }));
    assert!(matches!(error(2), Error::Refused { status: 400, .. }));
    assert!(matches!(error(3), Error::Failed { .. }));
    assert!(matches!(cause(error(4)), Error::Refused { status: 401, .. }));
    assert!(error(4).generation_id().is_some());
    assert!(matches!(error(6), Error::InvalidRequest { .. }));
    assert_eq!(accepted(&emulator), 7);
}

#[test]
fn faults_of_every_third_generation_do_not_affect_the_others() {
    let mut builder = Emulator::builder();
    for n in (0..60).step_by(3) {
        let steps = [vec![Step::failed("x")], vec![Step::Http(403)], vec![Step::Reset; 3], vec![Step::Body(vec![]); 9]];
        builder = builder.status_of(n, steps[n / 3 % 4].clone());
    }
    let emulator = builder.start();
    for (index, outcome) in outcomes(emulator.client().generate_all(foxes(60)).max_in_flight(60)) {
        match (index % 3, index / 3 % 4, outcome) {
            (0, 0, Err(Error::Failed { .. })) | (0, 1, Err(Error::Unfinished { .. })) => {}
            (0, 2 | 3, Ok(_)) | (1 | 2, _, Ok(_)) => {}
            (_, _, outcome) => panic!("{index}: {outcome:?}"),
        }
    }
    assert_eq!(emulator.creates().len(), 60);
}

#[test]
fn a_429_delays_create_requests_but_not_polls() {
    let emulator = Emulator::builder().create([Step::Queued, Step::http_retry_after(429, "60")]).start();
    let mut batch = emulator.client().generate_all(foxes(3));
    let (index, outcome) = batch.next().unwrap();
    assert_eq!((index, outcome.is_ok()), (0, true));
    assert_eq!(
        (emulator.creates().len(), batch.progress().to_create),
        (2, 2),
        "the second create request waits for a minute"
    );
}

#[test]
fn create_requests_are_sent_at_most_three_times() {
    let emulator = Emulator::builder().create(vec![Step::Http(429); 5]).start();
    let outcomes = outcomes(emulator.client().generate_all(foxes(2)));
    assert!(matches!(outcomes[&0], Err(Error::Refused { status: 429, .. })));
    assert!(outcomes[&1].is_ok(), "its third attempt is accepted");
    assert_eq!(emulator.creates().len(), 6);
}

#[test]
fn each_generation_has_its_own_delay_and_deadline() {
    let emulator = Emulator::builder()
        .status_of(0, [Step::http_retry_after(429, "60")])
        .status_of(1, vec![Step::Generating; 1000])
        .start();
    // Long enough for three polls on a busy machine, and too short for a thousand.
    let poll = Poll { interval: millis(2), max_wait: millis(800) };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let outcomes = outcomes(client.generate_all(foxes(3)));
    // Its delay was shortened to the deadline, and the second poll returns `completed`.
    assert!(outcomes[&0].is_ok());
    assert!(matches!(cause(outcomes[&1].as_ref().unwrap_err()), Error::DeadlineExceeded { .. }));
    assert!(outcomes[&2].is_ok());
    let polls_of_0 =
        emulator.polls().iter().filter(|poll| poll.generation_id == emulator.creates()[0].generation_id).count();
    assert_eq!(polls_of_0, 2);
}

#[test]
fn unfinished_generations_can_be_waited_for_elsewhere() {
    let emulator = Emulator::builder().status_of(1, vec![]).status(vec![Step::Generating; 50]).start();
    let client = emulator.client();
    let mut batch = client.generate_all(foxes(9)).max_in_flight(3);
    assert_eq!(batch.next().unwrap().0, 1);
    let left: Vec<_> = batch.unfinished().into_iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(left.len(), accepted(&emulator) - 1);
    drop(batch);
    let created = emulator.creates().len();

    // As another process would, with the ids from a file.
    let other = emulator.client();
    let outcomes = outcomes(other.wait_all(left.clone()));
    assert!(outcomes.iter().all(|(index, outcome)| outcome.as_ref().unwrap().id == left[*index]));
    assert_eq!(emulator.creates().len(), created, "nothing was paid twice");
}

#[test]
fn progress_and_statuses_can_be_read_between_items() {
    let emulator = Emulator::builder()
        .status_of(0, vec![Step::Queued; 3])
        .status_of(1, vec![Step::Generating; 999])
        .status_of(2, vec![Step::other_status("waiting"); 999])
        .status_of(3, vec![Step::Queued; 999])
        .start();
    let mut batch = emulator.client().generate_all(foxes(5));
    assert_eq!(batch.progress().to_string(), "5 to create, 0 queued, 0 generating, 0 finished");
    assert_eq!(batch.status(0), None);
    batch.next().unwrap().1.unwrap();
    assert_eq!(batch.progress().to_string(), "1 to create, 1 queued, 1 generating, 1 with another status, 1 finished");
    assert_eq!(batch.status(1), Some(&Status::Generating));
    assert_eq!(batch.status(2), Some(&Status::Other("waiting".to_owned())));
    assert_eq!(batch.status(0), None, "it has finished");
}

#[test]
fn a_thousand_generations_are_polled_on_one_connection() {
    let emulator = Emulator::start();
    // Three thousand polls take a while on a slow machine.
    let poll = Poll { interval: millis(5), max_wait: millis(1_200_000) };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let ids: Vec<_> = foxes(1000).iter().map(|fox| client.create(fox).unwrap()).collect();
    let before = emulator.connections();
    let outcomes = outcomes(client.wait_all(ids));
    assert_eq!(outcomes.len(), 1000);
    assert!(outcomes.values().all(Result::is_ok));
    assert_eq!(emulator.connections(), before);
}

#[test]
fn an_empty_batch_ends_at_once() {
    let client = Emulator::start().client();
    assert!(client.generate_all([] as [VideoRequest; 0]).next().is_none());
    assert!(client.wait_all([] as [GenerationId; 0]).next().is_none());
    let request = fox();
    let mut batch = client.generate_all([&request]);
    assert!(batch.next().is_some());
    assert!(batch.next().is_none());
    assert!(batch.next().is_none());
}
