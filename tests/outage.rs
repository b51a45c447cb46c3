//! Waiting for generations while the service, the network or the operating system fails.

mod support;

use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicUsize, Ordering};

use kling::emulator::{Emulator, Step};
use kling::{Error, GenerationId, Poll, Status, Update};
use support::{RawServer, cause, fox, millis, printed, respond};

fn ids(count: usize) -> Vec<GenerationId> {
    (0..count).map(|n| format!("{n}:a-model").parse().unwrap()).collect()
}

#[test]
fn an_outage_lasts_no_longer_for_many_than_for_one() {
    let server = RawServer::silent();
    let emulator = Emulator::builder().client_timeout(millis(20)).start();
    let poll = Poll { interval: millis(1), max_wait: millis(200) };
    let base_url = format!("http://127.0.0.1:{}", server.port);
    let client = emulator.client_builder().base_url(base_url).poll(poll).build().unwrap();
    let outcomes: Vec<_> = client.wait_all(ids(100)).collect();
    assert_eq!(outcomes.len(), 100);
    for (_, outcome) in outcomes {
        let error = outcome.unwrap_err();
        assert!(matches!(cause(&error), Error::DeadlineExceeded { .. }), "{error:?}");
    }
    // A poll per 20 ms for 200 ms, and one after that. A poll for each generation would be 100 of them.
    assert!(server.connections() <= 25, "{} polls", server.connections());
}

#[test]
fn a_generation_is_polled_once_more_if_the_caller_was_busy() {
    let emulator = Emulator::script([]);
    let client = emulator.client();
    let ids: Vec<_> = (0..3).map(|_| client.create(&fox()).unwrap()).collect();
    let poll = Poll { interval: millis(5), max_wait: millis(1) };
    let mut batch = emulator.client_builder().poll(poll).build().unwrap().wait_all(ids);
    batch.next().unwrap().1.unwrap();
    std::thread::sleep(millis(50));
    assert!(batch.all(|(_, outcome)| outcome.is_ok()));
}

/// A server whose responses to polls are these HTTP statuses, in turn, and a generating status for each 200.
fn polls(statuses: &'static [u16]) -> RawServer {
    let next = AtomicUsize::new(0);
    RawServer::start(move |mut stream| {
        let _ = BufReader::new(&stream).read_line(&mut String::new());
        let status = statuses[next.fetch_add(1, Ordering::SeqCst) % statuses.len()];
        let body = if status == 200 { r#"{"status":"generating"}"# } else { "" };
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        respond(&mut stream, (head + body).as_bytes());
    })
}

#[test]
fn a_404_between_good_polls_does_not_end_the_wait() {
    let server = polls(&[200, 404, 200, 404, 404]);
    let emulator = Emulator::start();
    let poll = Poll { interval: millis(1), max_wait: millis(500) };
    let base_url = format!("http://127.0.0.1:{}", server.port);
    let client = emulator.client_builder().base_url(base_url).poll(poll).build().unwrap();
    let updates: Vec<_> = client.watch(&ids(1)[0]).collect();
    let (last, statuses) = updates.split_last().unwrap();
    assert!(statuses.iter().all(|status| *status.as_ref().unwrap() == Status::Generating));
    let error = last.as_ref().unwrap_err();
    assert!(matches!(cause(error), Error::DeadlineExceeded { .. }), "{error:?}");
}

#[test]
fn a_loop_over_ticks_can_stop_between_polls() {
    let emulator = Emulator::script(vec![Step::Http(503); 9]);
    // The next poll is due in an hour.
    let poll = Poll { interval: millis(3_600_000), max_wait: millis(36_000_000) };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let id = client.create(&fox()).unwrap();
    let mut events = client.watch(&id).updates().tick(millis(1));
    assert!(matches!(
        events.next(),
        Some(Some(Update::Missed(Error::Refused { status: 503, .. } | Error::UnexpectedResponse { status: 503, .. })))
    ));
    for _ in 0..3 {
        assert!(matches!(events.next(), Some(None)));
    }
    assert_eq!(emulator.polls().len(), 1);
}

#[test]
fn an_exceeded_deadline_reports_the_failure_of_the_last_poll() {
    let table = [
        (
            Step::Http(429),
            "caused by: the service refused GET http://127.0.0.1:PORT/v2/generate/video/kling/generation with status 429: ",
        ),
        (
            Step::Http(503),
            "caused by: GET http://127.0.0.1:PORT/v2/generate/video/kling/generation: unexpected response with status 503: ",
        ),
        (Step::Close, "caused by: GET http://127.0.0.1:PORT/v2/generate/video/kling/generation: no response\n"),
    ];
    for (step, expected) in table {
        let emulator = Emulator::script(vec![step; 9999]);
        let poll = Poll { interval: millis(1), max_wait: millis(20) };
        let client = emulator.client_builder().poll(poll).build().unwrap();
        let error = client.generate(&fox()).unwrap_err();
        assert!(matches!(cause(&error), Error::DeadlineExceeded { .. }), "{error:?}");
        let printed = printed(&error);
        assert!(printed.contains(expected) && !printed.contains("a poll:"), "{printed}");
    }
}

/// A stack that no address space has room for, so that no thread can be started.
const NO_THREADS: &str = "35184372088832";

#[test]
#[cfg_attr(not(unix), ignore = "the test harness itself needs a thread there")]
fn without_threads_nothing_is_lost_and_nothing_panics() {
    // The emulator runs in this process, and the client in another one, which cannot start a thread.
    const CHILD: &str = "KLING_TEST_WITHOUT_THREADS";
    if let Some(base_url) = std::env::var_os(CHILD) {
        let poll = Poll { interval: millis(1), max_wait: millis(20) };
        let builder = kling::Client::builder("rehearsal-key").base_url(base_url.to_str().unwrap()).poll(poll);
        let client = builder.build().unwrap();
        let error = client.create(&fox()).unwrap_err();
        assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
        let id = &ids(1)[0];
        let error = client.wait(id).unwrap_err();
        assert!(matches!(cause(&error), Error::DeadlineExceeded { .. }), "{error:?}");
        assert_eq!(error.generation_id(), Some(id));
        println!("nothing was lost");
        return;
    }
    let emulator = Emulator::script([Step::Queued]);
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "without_threads_nothing_is_lost_and_nothing_panics", "--nocapture", "--test-threads=1"]);
    let output = command.env("RUST_MIN_STACK", NO_THREADS).env(CHILD, emulator.base_url()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("nothing was lost"), "{stdout}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(emulator.creates().len() + emulator.polls().len(), 0);
}
