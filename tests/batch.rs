//! Many generations on one thread.

mod support;

use std::collections::BTreeMap;

use kling::emulator::{Emulator, Step};
use kling::{Batch, Error, Poll, Result, Status, Video, VideoRequest};
use support::{accepted, cause, fox, millis};

fn foxes(many: usize) -> Vec<VideoRequest> {
    (0..many).map(|n| VideoRequest::new(format!("Fox number {n}"))).collect()
}

/// The outcomes by index; each index has exactly one.
#[track_caller]
fn outcomes(batch: Batch) -> BTreeMap<usize, Result<Video>> {
    let mut outcomes = BTreeMap::new();
    for (index, outcome) in batch {
        assert!(outcomes.insert(index, outcome).is_none(), "{index} ended twice");
    }
    outcomes
}

#[test]
fn items_come_in_the_order_of_completion() {
    let emulator = Emulator::builder()
        .status_of(0, vec![Step::Generating; 40])
        .status_of(1, [])
        .status_of(2, vec![Step::Generating; 10])
        .start();
    let order: Vec<usize> = emulator.client().generate_all(&foxes(3)).map(|(index, _)| index).collect();
    assert_eq!(order, [1, 2, 0]);
}

#[test]
fn in_flight_bounds_what_is_created_and_unfinished() {
    for most in [1, 3, 8] {
        let emulator = Emulator::start();
        let mut batch = emulator.client().generate_all(&foxes(8)).max_in_flight(most);
        let mut ended = 0;
        while let Some((_, outcome)) = batch.next() {
            outcome.unwrap();
            assert!(emulator.creates().len() <= ended + most, "{most}: {} after {ended}", emulator.creates().len());
            ended += 1;
            assert_eq!(batch.len(), 8 - ended);
        }
        assert_eq!((ended, emulator.creates().len()), (8, 8));
    }
    // None at all would never end.
    assert_eq!(Emulator::start().client().generate_all(&foxes(2)).max_in_flight(0).count(), 2);
}

#[test]
fn four_are_in_flight_unless_it_is_said() {
    let emulator = Emulator::builder().status_of(0, vec![Step::Queued; 3]).status(vec![Step::Queued; 999]).start();
    let mut batch = emulator.client().generate_all(&foxes(9));
    assert_eq!(batch.next().unwrap().0, 0);
    assert_eq!(emulator.creates().len(), 4);
    let ids: Vec<usize> = batch.unfinished().into_iter().map(|(index, _)| index).collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn what_cannot_be_sent_is_told_before_anything_is_paid_for() {
    let emulator = Emulator::start();
    let mut requests = foxes(4);
    requests[1] = VideoRequest::new(" ");
    requests[2] = fox().client_request_id("fox-1");
    requests[3] = fox().client_request_id("fox-1");
    let mut batch = emulator.client().generate_all(&requests).max_in_flight(1);
    for (index, field) in [(1, "prompt"), (3, "client request id")] {
        let (found, outcome) = batch.next().unwrap();
        assert!(matches!(outcome, Err(Error::InvalidRequest { field: said, .. }) if said == field), "{index}");
        assert_eq!((found, emulator.connections()), (index, 0));
    }
    assert_eq!(batch.filter(|(_, outcome)| outcome.is_ok()).count(), 2);
}

#[test]
fn a_thread_that_comes_late_costs_no_generation_its_result() {
    let emulator = Emulator::builder().status_of(0, []).status([Step::Queued, Step::Http(503)]).start();
    let poll = Poll { interval: millis(5), max_wait: millis(500) };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let mut batch = client.generate_all(&foxes(2));
    assert_eq!(batch.next().unwrap().0, 0);
    // Busy with the first one until long after the deadline.
    std::thread::sleep(millis(600));
    let (_, outcome) = batch.next().unwrap();
    outcome.unwrap();
}

#[test]
fn the_next_create_waits_as_long_as_the_last_one_was_told_to() {
    let emulator = Emulator::builder()
        .create([Step::Queued, Step::http_retry_after(429, "86400")])
        .status(vec![Step::Queued; 3])
        .start();
    let mut batch = emulator.client().generate_all(&foxes(9));
    let (index, outcome) = batch.next().unwrap();
    assert!(matches!(outcome, Err(Error::Refused { status: 429, .. })), "{outcome:?}");
    assert_eq!((index, batch.next().unwrap().0), (1, 0));
    assert_eq!(emulator.creates().len(), 2);
}

#[test]
fn one_that_fails_costs_no_other_its_result() {
    let emulator = Emulator::builder()
        .create([Step::Queued, Step::Close, Step::Http(400), Step::Queued, Step::Http(429), Step::Queued])
        // The accepted ones, in order: requests 0, 1 (whose answer was lost), 3, 4, 5, 7, 8.
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
fn a_third_with_faults_leaves_two_thirds_untouched() {
    let mut builder = Emulator::builder();
    for n in (0..60).step_by(3) {
        let steps = [vec![Step::failed("x")], vec![Step::Http(403)], vec![Step::Reset; 3], vec![Step::Body(vec![]); 9]];
        builder = builder.status_of(n, steps[n / 3 % 4].clone());
    }
    let emulator = builder.start();
    for (index, outcome) in outcomes(emulator.client().generate_all(&foxes(60)).max_in_flight(60)) {
        match (index % 3, index / 3 % 4, outcome) {
            (0, 0, Err(Error::Failed { .. })) | (0, 1, Err(Error::Unfinished { .. })) => {}
            (0, 2 | 3, Ok(_)) | (1 | 2, _, Ok(_)) => {}
            (_, _, outcome) => panic!("{index}: {outcome:?}"),
        }
    }
    assert_eq!(emulator.creates().len(), 60);
}

#[test]
fn a_429_on_create_slows_the_creating_down_and_not_the_polling() {
    let emulator = Emulator::builder().create([Step::Queued, Step::http_retry_after(429, "60")]).start();
    let mut batch = emulator.client().generate_all(&foxes(3));
    let (index, outcome) = batch.next().unwrap();
    assert_eq!((index, outcome.is_ok()), (0, true));
    assert_eq!(
        (emulator.creates().len(), batch.progress().to_create),
        (2, 2),
        "the second create waits for its minute"
    );
}

#[test]
fn a_create_is_sent_at_most_three_times() {
    let emulator = Emulator::builder().create(vec![Step::Http(429); 5]).start();
    let outcomes = outcomes(emulator.client().generate_all(&foxes(2)));
    assert!(matches!(outcomes[&0], Err(Error::Refused { status: 429, .. })));
    assert!(outcomes[&1].is_ok(), "its third try is accepted");
    assert_eq!(emulator.creates().len(), 6);
}

#[test]
fn each_generation_has_its_own_pause_and_deadline() {
    let emulator = Emulator::builder()
        .status_of(0, [Step::http_retry_after(429, "60")])
        .status_of(1, vec![Step::Generating; 1000])
        .start();
    let poll = Poll { interval: millis(2), max_wait: millis(40) };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let outcomes = outcomes(client.generate_all(&foxes(3)));
    // Its one pause was cut to the deadline, and its script has ended.
    assert!(outcomes[&0].is_ok());
    assert!(matches!(cause(outcomes[&1].as_ref().unwrap_err()), Error::DeadlineExceeded { .. }));
    assert!(outcomes[&2].is_ok());
    let polls_of_0 =
        emulator.polls().iter().filter(|poll| poll.generation_id == emulator.creates()[0].generation_id).count();
    assert_eq!(polls_of_0, 2);
}

#[test]
fn what_is_left_after_leaving_early_can_be_waited_for_elsewhere() {
    let emulator = Emulator::builder().status_of(1, vec![]).status(vec![Step::Generating; 50]).start();
    let client = emulator.client();
    let mut batch = client.generate_all(&foxes(9)).max_in_flight(3);
    assert_eq!(batch.next().unwrap().0, 1);
    let left: Vec<_> = batch.unfinished().into_iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(left.len(), accepted(&emulator) - 1);
    drop(batch);
    let created = emulator.creates().len();

    // Another process would read the ids from a file.
    let other = emulator.client();
    let outcomes = outcomes(other.wait_all(left.clone()));
    assert!(outcomes.iter().all(|(index, outcome)| outcome.as_ref().unwrap().id == left[*index]));
    assert_eq!(emulator.creates().len(), created, "nothing was paid twice");
}

#[test]
fn progress_can_be_read_between_items() {
    let emulator = Emulator::builder()
        .status_of(0, vec![Step::Queued; 3])
        .status_of(1, vec![Step::Generating; 999])
        .status_of(2, vec![Step::other_status("waiting"); 999])
        .status_of(3, vec![Step::Queued; 999])
        .start();
    let mut batch = emulator.client().generate_all(&foxes(5));
    assert_eq!(batch.progress().to_string(), "5 to create, 0 queued, 0 generating, 0 finished");
    assert_eq!(batch.status(0), None);
    batch.next().unwrap().1.unwrap();
    assert_eq!(batch.progress().to_string(), "1 to create, 1 queued, 1 generating, 1 with another status, 1 finished");
    assert_eq!(batch.status(1), Some(&Status::Generating));
    assert_eq!(batch.status(2), Some(&Status::Other("waiting".to_owned())));
    assert_eq!(batch.status(0), None, "it has finished");
}

#[test]
fn a_thousand_wait_on_one_thread_and_one_connection() {
    let emulator = Emulator::start();
    let client = emulator.client();
    let ids: Vec<_> = foxes(1000).iter().map(|fox| client.create(fox).unwrap()).collect();
    let before = emulator.connections();
    let outcomes = outcomes(client.wait_all(ids));
    assert_eq!(outcomes.len(), 1000);
    assert!(outcomes.values().all(Result::is_ok));
    assert_eq!(emulator.connections(), before + 1);
}

#[test]
fn an_empty_batch_ends_at_once() {
    let client = Emulator::start().client();
    assert!(client.generate_all(&[]).next().is_none());
    assert!(client.wait_all([]).next().is_none());
    let request = fox();
    let mut batch = client.generate_all([&request]);
    assert!(batch.next().is_some());
    assert!(batch.next().is_none());
    assert!(batch.next().is_none());
}
