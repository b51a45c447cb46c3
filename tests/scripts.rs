//! Random scripts of faults: nothing is paid for twice, no id is lost, nothing hangs, and no partial file is left behind.

mod support;

use std::fs;

use fastrand::Rng;
use kling::emulator::{Emulator, Step};
use kling::{Error, Poll, Recovery};
use support::{accepted, fox, millis, names};

/// Returns a step that ends within milliseconds. Timeouts would make the outcome depend on the machine's speed.
fn any_step(rng: &mut Rng) -> Step {
    let n = rng.usize(..40_000);
    let status =
        rng.choice([400, 401, 403, 404, 408, 409, 410, 413, 416, 422, 425, 429, 500, 502, 503, 504, 524]).unwrap();
    match rng.u8(..27) {
        0 => Step::Queued,
        1 => Step::Generating,
        2 => Step::Completed,
        3 => Step::failed("at random"),
        4 => Step::other_status(rng.choice(["waiting", "active", "completed", "succeeded", ""]).unwrap()),
        5 | 6 => Step::Http(status),
        7 => Step::http_retry_after(status, rng.choice(["0", "-1", "86400", "soon"]).unwrap()),
        8 => Step::Html(rng.choice([200, 500, 502]).unwrap()),
        9 => Step::body(rng.choice(["", "null", "{}", "[[[[", "{\"id\":7}", "\u{fffd}"]).unwrap()),
        10 => Step::redirect(302, rng.choice(["/elsewhere", "http://192.0.2.1/", "output.mp4", ""]).unwrap()),
        11 => Step::Truncate(n % 200),
        12 => Step::Truncate(n),
        13 => Step::TruncateWithoutLength(n % 200),
        14 => Step::TruncateWithoutLength(n),
        15 => Step::ResetAfter(n % 200),
        16 => Step::ResetAfter(n),
        17 => Step::Close,
        18 => Step::Reset,
        19 => Step::ResetUnread,
        20 => Step::WrongRange,
        21 => Step::OtherFile,
        22 => Step::Chunked,
        23 => Step::TruncateChunked(n % 200),
        24 => Step::TruncateChunked(n),
        25 => Step::EchoAuthorization(status),
        _ => Step::EchoAuthorizationEscaped(status),
    }
}

fn any_script(rng: &mut Rng) -> Vec<Step> {
    (0..rng.usize(..=6)).map(|_| any_step(rng)).collect()
}

/// Plays a script from the create request to the file, as a careful user would, and checks the promises.
fn play(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let (create, status, file) = (any_script(&mut rng), any_script(&mut rng), any_script(&mut rng));
    let case = format!("seed {seed}: create {create:?}, status {status:?}, file {file:?}");
    let emulator = Emulator::builder().create(create).status(status).file(file).start();
    let poll = Poll { interval: millis(1), max_wait: millis(200) };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fox.mp4");

    let id = match client.create(&fox()) {
        Ok(id) => {
            assert_eq!(emulator.creates().last().unwrap().generation_id.as_deref(), Some(id.as_str()), "{case}");
            Some(id)
        }
        Err(Error::OutcomeUnknown { client_request_id, .. }) => match client.recover(&client_request_id) {
            Ok(Recovery::Found(id)) => Some(id),
            Ok(Recovery::NotCharged | Recovery::NotListed) => None,
            Err(error) => panic!("{case}: {error:?}"),
        },
        Err(Error::Refused { .. }) => {
            assert_eq!(accepted(&emulator), 0, "{case}");
            None
        }
        Err(error) => panic!("{case}: {error:?}"),
    };
    assert!(accepted(&emulator) <= 1, "{case}: paid twice");

    if let Some(id) = id {
        let result = client.wait(&id).and_then(|video| client.download(&video, &path));
        match result {
            Ok(bytes) => {
                let file = fs::read(&path).unwrap();
                assert_eq!(file.len() as u64, bytes, "{case}");
                assert!(is_a_clip(&file), "{case}: not a clip");
                assert_eq!(names(folder.path()), ["fox.mp4"], "{case}: leftover files");
            }
            Err(error) => {
                assert_eq!(error.generation_id(), Some(&id), "{case}: {error:?}");
                assert_eq!(names(folder.path()), [""; 0], "{case}: leftover files");
            }
        }
    }
    assert!(accepted(&emulator) <= 1, "{case}: paid twice");
}

/// Returns `true` if these are the bytes of one of the emulator's clips, which are stored beside its source.
fn is_a_clip(bytes: &[u8]) -> bool {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/emulator/clips");
    fs::read_dir(folder).unwrap().any(|entry| fs::read(entry.unwrap().path()).unwrap() == bytes)
}

#[test]
fn random_faults_never_break_a_promise() {
    (0..300).for_each(play);
}

#[test]
#[ignore = "takes a minute"]
fn many_random_faults_never_break_a_promise() {
    (1000..6000).for_each(play);
}
