//! What a person reads, word for word: what was attempted, on what, and what to do next.

mod support;

use std::path::Path;
use std::{fs, io};

use kling::emulator::{Emulator, Step};
use kling::{AspectRatio, Asset, Client, Error, GenerationId, Poll, Seconds, Video, VideoRequest, asset};
use support::{closed_port, fox, millis};
use tempfile::TempDir;

const MODEL: &str = "klingai/v2.5-turbo/pro/text-to-video";

/// An error as `fn main` shows it, with its ports and random ids told by name.
fn words(error: &Error) -> String {
    let mut text = format!("{error:?}");
    for (before, length, name) in [
        ("http://127.0.0.1:", |c: char| c.is_ascii_digit(), "PORT"),
        ("kling-", |c: char| c.is_ascii_hexdigit(), "RANDOM"),
        ("generation ", |c: char| c.is_ascii_hexdigit() || c == '-', "UUID"),
        (" (os error ", |c: char| c.is_ascii_digit(), "N"),
    ] as [(&str, fn(char) -> bool, &str); 4]
    {
        let mut pieces = text.split(before);
        let mut named = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let rest = piece.trim_start_matches(length);
            let found = if rest.len() < piece.len() { name } else { "" };
            named += &format!("{before}{found}{rest}");
        }
        text = named;
    }
    text.replace(MODEL, "MODEL")
}

#[track_caller]
fn reads(error: &Error, expected: &str) {
    assert_eq!(words(error), expected);
}

fn created_with(step: Step) -> Error {
    let emulator = Emulator::builder().create(vec![step; 3]).start();
    emulator.client().create(&fox()).unwrap_err()
}

#[test]
fn a_refusal_says_who_refused_what_and_why_and_what_to_check() {
    let refused = "the service refused POST http://127.0.0.1:PORT/v2/generate/video/kling/generation with";
    let why = "Refused by the script (request id 5b0e8f5c-0000-4000-8000-rehearsal000)";
    for (step, expected) in [
        (Step::Http(400), format!("{refused} 400: {why}")),
        (Step::Http(401), format!("{refused} 401: {why}; check the key in AIML_API_KEY")),
        (Step::Http(403), format!("{refused} 403: {why}; check the credit of the account and the rights of the key")),
        (Step::Http(429), format!("{refused} 429: {why}; try again later")),
        (Step::http_retry_after(429, "120"), format!("{refused} 429: {why}; try again after 120 s")),
        (
            Step::Html(403),
            format!(
                "{refused} 403: <html><body><h1>403</h1></body></html>; check the credit of the account and the rights of the key"
            ),
        ),
    ] {
        reads(&created_with(step), &expected);
    }
}

#[test]
fn an_unknown_outcome_says_how_to_find_out() {
    let unknown = "the create with client request id kling-RANDOM may have been accepted and charged: \
                   look this id up within 7 days with `Client::recover`, as `asset::ensure` does, before sending it again";
    let post = "POST http://127.0.0.1:PORT/v2/generate/video/kling/generation";
    for (step, causes) in [
        (Step::Close, format!("{post} got no answer\n  because: the server closed the connection")),
        (Step::Reset, format!("{post} got no answer\n  because: Connection reset by peer (os error N)")),
        (Step::Html(502), format!("{post} got an unexpected answer, 502: <html><body><h1>502</h1></body></html>")),
        (
            Step::Truncate(10),
            format!("{post} got an unexpected answer, 201: {{\"error\":n\n  because: the server closed the connection"),
        ),
        (Step::body("{}"), format!("{post} got an unexpected answer, 200: {{}}\n  because: it has no usable id")),
        (
            Step::body("<p>"),
            format!(
                "{post} got an unexpected answer, 200: <p>\n  because: it is not the JSON that was expected (line 1, \
                 column 1)"
            ),
        ),
    ] {
        reads(&created_with(step), &format!("{unknown}\n  because: {causes}"));
    }
}

#[test]
fn a_create_that_was_not_sent_says_that_nothing_was_charged() {
    let emulator = Emulator::start();
    let base_url = format!("http://127.0.0.1:{}", closed_port());
    let client = emulator.client_builder().base_url(base_url).build().unwrap();
    reads(
        &client.create(&fox()).unwrap_err(),
        "POST http://127.0.0.1:PORT/v2/generate/video/kling/generation was not sent, so nothing was charged: check the \
         connection and try again\n  because: Connection refused (os error N)",
    );
}

fn waited_with(step: Step) -> Error {
    let emulator = Emulator::script(vec![step; 500]);
    let poll = Poll { interval: millis(1), max_wait: millis(20) };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    client.generate(&fox()).unwrap_err()
}

#[test]
fn a_wait_that_ended_says_how_to_go_on() {
    let go_on = "no video of generation UUID:MODEL yet: go on with this id instead of paying again\n  because:";
    let get = "GET http://127.0.0.1:PORT/v2/generate/video/kling/generation";
    for (step, causes) in [
        (
            Step::Http(401),
            format!(
                "the service refused {get} with 401: Refused by the script (request id \
                 5b0e8f5c-0000-4000-8000-rehearsal000); check the key in AIML_API_KEY"
            ),
        ),
        (
            Step::redirect(302, "/elsewhere"),
            format!(
                "{get} got an unexpected answer, 302\n  because: a redirect is not followed: it would lead the key \
                 elsewhere"
            ),
        ),
        (
            Step::body(r#"{"status":"completed"}"#),
            format!(
                "{get} got an unexpected answer, 200: {{\"status\":\"completed\"}}\n  because: it says completed, but \
                 has no URL of the video"
            ),
        ),
    ] {
        reads(&waited_with(step), &format!("{go_on} {causes}"));
    }
    reads(
        &waited_with(Step::failed("moderated")),
        "generation UUID:MODEL ended without a video: GenerationFailed: moderated",
    );
}

#[test]
fn a_deadline_says_what_was_heard_last() {
    let deadline = |last_status: Option<&str>, source: Option<Box<Error>>| {
        let last_status = last_status.map(str::to_owned);
        Error::DeadlineExceeded { max_wait: Poll::default().max_wait, poll_count: 101, last_status, source }
    };
    reads(
        &deadline(Some("generating"), None),
        "no end within 1000s, asked 101 times, the last status was \"generating\": it may still end, wait again",
    );
    let request = "GET https://api.aimlapi.com/v2/generate/video/kling/generation".to_owned();
    let no_answer = Error::NoResponse { request, source: "the name lookup took too long".into() };
    reads(
        &deadline(None, Some(Box::new(no_answer))),
        "no end within 1000s, asked 101 times: no answer told a status\n  because: GET \
         https://api.aimlapi.com/v2/generate/video/kling/generation got no answer\n  because: the name lookup took too \
         long",
    );
}

fn video(steps: Vec<Step>) -> (Emulator, Client, Video) {
    let emulator = Emulator::builder().status([]).file(steps).start();
    let client = emulator.client();
    let video = client.generate(&fox()).unwrap();
    (emulator, client, video)
}

#[test]
fn a_download_that_ended_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let go_on = "no video of generation UUID:MODEL yet: go on with this id instead of paying again\n  because:";
    let file = "http://127.0.0.1:PORT/generations/0/output.mp4";
    for (step, causes) in [
        (Step::Http(404), format!("GET {file} got an unexpected answer, 404")),
        (Step::Html(200), format!("{file} is not a whole video: it is an HTML or XML page")),
        (Step::Close, format!("GET {file} got no answer\n  because: the server closed the connection")),
        (
            Step::redirect(302, "http://cdn.example/v.mp4?sig=s"),
            format!(
                "GET {file} got no answer\n  because: it leads to http://cdn.example/v.mp4, but it is not https (http \
                 is for loopback alone)"
            ),
        ),
        (
            Step::redirect(302, "/generations/0/output.mp4"),
            format!("GET {file} got no answer\n  because: it leads on more than 5 times"),
        ),
    ] {
        let (_emulator, client, video) = video(vec![step; 99]);
        let error = client.download(&video, folder.path().join("fox.mp4")).unwrap_err();
        reads(&error, &format!("{go_on} {causes}"));
    }

    let (_emulator, client, mut video) = video(vec![]);
    let saved_to = |path: &str| words(&client.download(&video, Path::new(path)).unwrap_err());
    assert_eq!(saved_to("/"), format!("{go_on} cannot write a video to /\n  because: is a directory"));
    assert_eq!(
        saved_to("missing/fox.mp4"),
        format!("{go_on} cannot create a file in missing\n  because: No such file or directory (os error N)")
    );
    video.url = "cdn.example/v.mp4".to_owned();
    reads(
        &client.open(&video).unwrap_err(),
        &format!("{go_on} GET cdn.example/v.mp4 got no answer\n  because: it has to begin with https://"),
    );
}

/// An error about files in this folder.
fn words_in(folder: &TempDir, error: &Error) -> String {
    words(error).replace(folder.path().to_str().unwrap(), "assets")
}

/// With tests, as with build scripts, Cargo says where the package is.
fn command() -> String {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    format!("set AIML_API_KEY and run\n  KLING_GENERATE=1 cargo build --manifest-path {}", manifest.display())
}

#[test]
fn a_build_that_stops_says_what_changed_and_what_would_pay_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("campfire.mp4");
    let asset = |prompt: &str| Asset::new(&place, VideoRequest::new(prompt));
    let stopped = |assets: Vec<Asset>| words_in(&folder, &kling::build_script(assets).unwrap_err());
    let policy = "a build generates nothing without KLING_GENERATE=1, since it costs money";
    let command = command();
    assert_eq!(
        stopped(vec![asset("a campfire"), Asset::new(folder.path().join("sea.mp4"), fox())]),
        format!(
            "assets/campfire.mp4 is not current: it was not generated yet\n\
             assets/sea.mp4 is not current: it was not generated yet\n\
             {policy}; to pay for 2 generations, {command}"
        )
    );
    let emulator = Emulator::builder().status_of(0, []).status([Step::Http(401)]).start();
    asset::ensure([&asset("a campfire")], || Ok(emulator.client())).unwrap();
    assert_eq!(
        stopped(vec![Asset::new(&place, VideoRequest::new("a bonfire").duration(Seconds::Ten))]),
        format!(
            "assets/campfire.mp4 is not current: its request has changed\n  \
             duration: not set → 10\n  \
             prompt: \"a campfire\" → \"a bonfire\"\n\
             {policy}; to pay for 1 generation, {command}"
        )
    );
    asset::ensure([&asset("a bonfire")], || Ok(emulator.client())).unwrap_err();
    assert_eq!(
        stopped(vec![asset("a bonfire")]),
        format!(
            "assets/campfire.mp4 is not current: generation UUID:MODEL is paid for, and the file is not its video: \
             restore it from version control (`git lfs pull`, if it is kept there), or fetch it again\n\
             {policy}; to go on without paying again, {command}"
        )
    );
    fs::remove_file(&place).unwrap();
    assert_eq!(
        stopped(vec![asset("a bonfire")]),
        format!(
            "assets/campfire.mp4 is not current: generation UUID:MODEL is paid for, and its video is not here\n\
             {policy}; to go on without paying again, {command}"
        )
    );
}

#[test]
fn a_change_is_shown_where_it_is_and_cut_to_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Emulator::start();
    let asset = |prompt: &str| Asset::new(folder.path().join("campfire.mp4"), VideoRequest::new(prompt));
    let long = "é".repeat(50) + " the end of it ";
    asset::ensure([&asset(&format!("{long}is calm{long}"))], || Ok(emulator.client())).unwrap();
    let asset::State::Stale { differences } = asset(&format!("{long}is wild")).state().unwrap() else { panic!() };
    assert_eq!(
        differences[0].to_string(),
        format!("prompt: …éé the end of it is calm{}… → …{} the end of it is wild\"", "é".repeat(36), "é".repeat(37))
    );
}

#[test]
fn an_asset_whose_outcome_is_unknown_names_the_file_to_delete() {
    let folder = tempfile::tempdir().unwrap();
    let asset = Asset::new(folder.path().join("campfire.mp4"), fox());
    let emulator = Emulator::builder().create([Step::Close]).logs_lag(9).start();
    let made = || words_in(&folder, &asset::ensure([&asset], || Ok(emulator.client())).unwrap_err());
    let unknown = "cannot make 1 of the assets:\nassets/campfire.mp4: the create with client request id kling-RANDOM may have \
                   been accepted and charged: look this id up within 7 days with `Client::recover`, as `asset::ensure` does, before \
                   sending it again\n  because: assets/campfire.mp4 is not current:";
    let delete = "; to generate it again, and perhaps to pay again, delete assets/campfire.mp4.receipt.jsonl";
    assert_eq!(
        made(),
        format!(
            "{unknown} POST http://127.0.0.1:PORT/v2/generate/video/kling/generation got no answer: run this again in \
             some minutes, which looks it up{delete}"
        )
    );
    assert_eq!(
        made(),
        format!(
            "{unknown} the logs of the last 7 days do not show its create: run this again in some minutes, which looks it up{delete}"
        )
    );
    fs::write(asset.receipt_path(), "{\"requ").unwrap();
    assert_eq!(
        made().replace("(lost)", "kling-RANDOM"),
        format!("{unknown} its receipt breaks off within its last line: restore it from version control{delete}")
    );
}

#[test]
fn what_lies_in_the_place_of_an_asset_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Emulator::start();
    let asset = Asset::new(folder.path().join("campfire.mp4"), fox());
    let made = || words_in(&folder, &asset::ensure([&asset], || Ok(emulator.client())).unwrap_err());
    let cannot = "cannot make 1 of the assets:\nassets/campfire.mp4:";
    fs::write(asset.path(), "another file").unwrap();
    let without = "there is a file, but assets/campfire.mp4.receipt.jsonl does not say what it was made from: restore the two \
                   from version control, or delete the file to have it generated";
    assert_eq!(made(), format!("{cannot} assets/campfire.mp4 is not current: {without}"));
    fs::write(asset.receipt_path(), "another file\n").unwrap();
    let unreadable = "cannot read the receipt assets/campfire.mp4.receipt.jsonl\n  because: its line 1 is not one that it \
                      knows: restore it with its video from version control; delete both only to pay for the asset again";
    assert_eq!(made(), format!("{cannot} {unreadable}"));
    let stopped = words_in(&folder, &kling::build_script([asset.clone()]).unwrap_err());
    assert!(stopped.starts_with(&format!("assets/campfire.mp4 is not current: {unreadable}\n")), "{stopped}");
}

#[test]
fn what_the_disk_refuses_is_told_with_what_to_do() {
    let table = [
        (io::ErrorKind::PermissionDenied, ": allow this user to read and write there"),
        (io::ErrorKind::ReadOnlyFilesystem, ": make its file system writable"),
        (io::ErrorKind::StorageFull, ": make room on its disk"),
        (io::ErrorKind::QuotaExceeded, ": make room on its disk"),
        (io::ErrorKind::NotFound, ""),
    ];
    for (kind, advice) in table {
        let error = Error::Io { action: "write", path: "fox.mp4".into(), source: kind.into() };
        assert_eq!(error.to_string(), format!("cannot write fox.mp4{advice}"));
    }
}

#[test]
fn what_is_typed_wrongly_is_told_with_what_is_right() {
    let table = [
        ("4:3".parse::<AspectRatio>().unwrap_err(), "invalid aspect_ratio: must be 16:9, 9:16 or 1:1, not \"4:3\""),
        ("7".parse::<Seconds>().unwrap_err(), "invalid duration: must be 5 or 10 (seconds), not \"7\""),
        (
            "a b".parse::<GenerationId>().unwrap_err(),
            "invalid generation id: must not contain white space or control characters",
        ),
        (
            Client::new("a b").unwrap_err(),
            "invalid API key: it is empty, or holds a space, a line break or a character beyond ASCII",
        ),
        (Error::MissingKey, "no API key in the environment: set AIML_API_KEY"),
    ];
    for (error, expected) in table {
        reads(&error, expected);
    }
}
