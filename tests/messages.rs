//! Error messages, verbatim.

mod support;

use std::io;

use kling::emulator::{Emulator, Step};
use kling::{AspectRatio, Charged, Client, Error, GenerationId, Poll, Seconds, Video};
use support::{RawServer, closed_address, fox, millis, printed};

const POST: &str = "POST http://127.0.0.1:PORT/v2/generate/video/kling/generation";
const GET: &str = "GET http://127.0.0.1:PORT/v2/generate/video/kling/generation";
const FILE: &str = "http://127.0.0.1:PORT/generations/0/output.mp4";
const UNFINISHED: &str = "generation UUID:MODEL exists, but its video was not received; \
                          resume it by this id instead of paying again";

#[track_caller]
fn assert_prints(error: &Error, expected: &str) {
    assert_eq!(printed(error), expected);
}

fn create_error(step: Step) -> Error {
    let emulator = Emulator::builder().create(vec![step; 3]).start();
    emulator.client().create(&fox()).unwrap_err()
}

#[test]
fn refusals_name_the_request_the_reason_and_what_to_check() {
    let reason = "Refused by the script (request id 5b0e8f5c-0000-4000-8000-000000000001)";
    let credit = "check the account's credit and the API key's permissions";
    for (step, expected) in [
        (Step::Http(400), format!("400: {reason}")),
        (Step::Http(401), format!("401: {reason}; check the API key in AIML_API_KEY")),
        (Step::Http(403), format!("403: {reason}; {credit}")),
        (Step::Http(429), format!("429: {reason}; try again later")),
        (Step::http_retry_after(429, "120"), format!("429: {reason}; try again after 120 s")),
        (Step::Html(403), format!("403: <html><body><h1>403</h1></body></html>; {credit}")),
    ] {
        assert_prints(&create_error(step), &format!("the service refused {POST} with status {expected}"));
    }
}

#[test]
#[cfg_attr(not(unix), ignore = "quotes the words of a Unix system")]
fn unknown_outcomes_name_the_id_to_look_up() {
    let unknown = "the create request with client request id kling-RANDOM may have been accepted and charged; \
                   before sending it again, look this id up in the service's logs, which go back 7 days";
    for (step, causes) in [
        (Step::Close, "no response\n  caused by: the server closed the connection"),
        (Step::Reset, "no response\n  caused by: Connection reset by peer (os error N)"),
        (Step::Html(502), "unexpected response with status 502: <html><body><h1>502</h1></body></html>"),
        (
            Step::Truncate(10),
            "unexpected response with status 200: {\"error\":n\n  \
             caused by: the server closed the connection; its header x-inference-id names generation UUID:MODEL",
        ),
        (
            Step::redirect(307, "/elsewhere"),
            "unexpected response with status 307\n  \
             caused by: redirects are not followed, because they could send the API key to another host",
        ),
        (Step::body("{}"), "unexpected response with status 200: {}\n  caused by: the id is missing or invalid"),
        (
            Step::body("<p>"),
            "unexpected response with status 200: <p>\n  \
             caused by: unexpected JSON at line 1, column 1",
        ),
    ] {
        assert_prints(&create_error(step), &format!("{unknown}\n  caused by: {POST}: {causes}"));
    }
}

#[test]
fn a_response_that_is_not_http_is_described() {
    let server = RawServer::responding(b"SSH-2.0-OpenSSH_9.2\r\n");
    let base_url = format!("http://127.0.0.1:{}", server.port);
    let client = Emulator::start().client_builder().base_url(base_url).build().unwrap();
    let error = printed(&client.create(&fox()).unwrap_err());
    assert!(error.contains(&format!("{POST}: no response\n  caused by: the response is not HTTP: ")), "{error}");
}

#[test]
#[cfg_attr(not(unix), ignore = "quotes the words of a Unix system")]
fn requests_that_were_not_sent_are_reported_as_not_charged() {
    let emulator = Emulator::start();
    let base_url = format!("http://{}", closed_address());
    let client = emulator.client_builder().base_url(base_url).build().unwrap();
    let expected = "was not sent, so nothing was charged; check the connection and try again\n  \
                    caused by: Connection refused (os error N)";
    assert_prints(&client.create(&fox()).unwrap_err(), &format!("{POST} {expected}"));
}

#[test]
fn unfinished_waits_name_the_id_to_resume() {
    let wait_error = |step: Step| Emulator::script(vec![step; 4]).client().generate(&fox()).unwrap_err();
    for (step, causes) in [
        (
            Step::Http(401),
            format!(
                "the service refused {GET} with status 401: Refused by the script (request id \
                 5b0e8f5c-0000-4000-8000-000000000001); check the API key in AIML_API_KEY"
            ),
        ),
        (
            Step::redirect(302, "/elsewhere"),
            format!(
                "{GET}: unexpected response with status 302\n  \
                 caused by: redirects are not followed, because they could send the API key to another host"
            ),
        ),
        (
            Step::body(r#"{"status":"completed"}"#),
            format!(
                "{GET}: unexpected response with status 200: {{\"status\":\"completed\"}}\n  \
                 caused by: status is completed, but the video URL is missing"
            ),
        ),
    ] {
        assert_prints(&wait_error(step), &format!("{UNFINISHED}\n  caused by: {causes}"));
    }
    assert_prints(&wait_error(Step::failed("moderated")), "generation UUID:MODEL failed: GenerationFailed: moderated");
}

#[test]
fn exceeded_deadlines_report_the_last_status_and_the_last_failure() {
    let exceeded = |poll_count: u32, last_status: Option<&str>, source: Option<Box<Error>>| {
        let last_status = last_status.map(str::to_owned);
        Error::DeadlineExceeded { max_wait: Poll::default().max_wait, poll_count, last_status, source }
    };
    assert_prints(
        &exceeded(101, Some("generating"), None),
        "generation not finished after 1000s (101 polls), last status \"generating\"; it may still finish",
    );
    let request = "GET https://api.aimlapi.com/v2/generate/video/kling/generation".to_owned();
    let no_response = Error::NoResponse { request, source: "the name lookup timed out".into() };
    assert_prints(
        &exceeded(1, None, Some(Box::new(no_response))),
        "generation not finished after 1000s (1 poll), and no poll returned a status\n  \
         caused by: GET https://api.aimlapi.com/v2/generate/video/kling/generation: no response\n  \
         caused by: the name lookup timed out",
    );
}

fn video_with_file(steps: Vec<Step>) -> (Emulator, Client, Video) {
    let emulator = Emulator::builder().status([]).file(steps).start();
    // How long a download waits for the file's server.
    let poll = Poll { max_wait: millis(50), ..Poll::default() };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let video = client.generate(&fox()).unwrap();
    (emulator, client, video)
}

#[test]
fn failed_downloads_name_the_id_to_resume() {
    let folder = tempfile::tempdir().unwrap();
    for (step, causes) in [
        (Step::Http(404), format!("GET {FILE}: unexpected response with status 404")),
        (Step::Html(200), format!("{FILE} is not a complete video: it is an HTML or XML page")),
        (Step::Close, format!("GET {FILE}: no response\n  caused by: the server closed the connection")),
        (
            Step::redirect(302, "http://cdn.example/v.mp4?sig=s"),
            format!(
                "GET {FILE}: no response\n  caused by: redirected to http://cdn.example/v.mp4: \
                 must use https (http is allowed only for loopback)"
            ),
        ),
        (
            Step::redirect(302, "/generations/0/output.mp4"),
            format!("GET {FILE}: no response\n  caused by: too many redirects (limit 5)"),
        ),
    ] {
        let (_emulator, client, video) = video_with_file(vec![step; 999]);
        let error = client.download(&video, folder.path().join("fox.mp4")).unwrap_err();
        assert_prints(&error, &format!("{UNFINISHED}\n  caused by: {causes}"));
    }
}

#[test]
#[cfg_attr(not(unix), ignore = "quotes the words of a Unix system")]
fn unusable_paths_and_urls_are_named() {
    let (_emulator, client, mut video) = video_with_file(vec![]);
    for (path, causes) in [
        ("/", "failed to write a video to /\n  caused by: is a directory"),
        ("", "failed to write a video to \"\" (an empty path)\n  caused by: is a directory"),
        ("missing/fox.mp4", "failed to create a file in missing\n  caused by: No such file or directory (os error N)"),
    ] {
        let error = client.download(&video, path).unwrap_err();
        assert_prints(&error, &format!("{UNFINISHED}\n  caused by: {causes}"));
    }
    video.url = "cdn.example/v.mp4".to_owned();
    let causes = "GET cdn.example/v.mp4: no response\n  caused by: must start with https:// (or http:// for loopback)";
    assert_prints(&client.open(&video).unwrap_err(), &format!("{UNFINISHED}\n  caused by: {causes}"));
}

#[test]
fn failed_assets_are_counted_and_name_their_path_once() {
    let not_current = |path: &str, reason: &str| {
        let (path, reason) = (path.into(), reason.to_owned());
        Error::AssetNotCurrent { path, reason, charged: Charged::No }
    };
    let (fox, owl, sea) = ("assets/fox.mp4", "assets/owl.mp4", "assets/sea.mp4");
    let failed = vec![(fox.into(), not_current(fox, "its request has changed"))];
    assert_prints(
        &Error::AssetsNotMade { failed },
        "1 asset could not be made:\nassets/fox.mp4 is not current: its request has changed",
    );
    // The reason names the client request id.
    let unknown = Error::OutcomeUnknown {
        client_request_id: "fox-1".to_owned(),
        source: Box::new(not_current(fox, "look fox-1 up again in some minutes")),
    };
    let unfinished = Error::Unfinished { id: "a:b".parse().unwrap(), source: Box::new(not_current(owl, "it is gone")) };
    assert_prints(
        &unfinished,
        "generation a:b exists, but its video was not received; resume it by this id instead of paying again\n  \
         caused by: assets/owl.mp4 is not current: it is gone",
    );
    let unwritable = Error::Io { action: "write", path: sea.into(), source: io::ErrorKind::StorageFull.into() };
    let failed = vec![(fox.into(), unknown), (owl.into(), unfinished), (sea.into(), unwritable)];
    let error = Error::AssetsNotMade { failed };
    assert_eq!(error.generation_id().map(|id| id.as_str()), Some("a:b"));
    assert_prints(
        &error,
        "3 assets could not be made:\n\
         assets/fox.mp4 is not current: look fox-1 up again in some minutes\n\
         assets/owl.mp4: generation a:b exists, but its video was not received; resume it by this id instead of paying \
         again\n  \
         caused by: it is gone\n\
         failed to write assets/sea.mp4; free some disk space\n  \
         caused by: no storage space",
    );
}

#[test]
fn failed_assets_are_named_unless_their_error_names_them() {
    let lost = Error::OutcomeUnknown {
        client_request_id: "fox-1".to_owned(),
        source: Box::new(Error::NoResponse { request: "POST URL".to_owned(), source: "closed".into() }),
    };
    let missing =
        Error::Io { action: "create a file in", path: "assets".into(), source: io::ErrorKind::NotFound.into() };
    assert_prints(
        &Error::AssetsNotMade { failed: vec![("assets/fox.mp4".into(), lost), ("assets/owl.mp4".into(), missing)] },
        "2 assets could not be made:\n\
         assets/fox.mp4: the create request with client request id fox-1 may have been accepted and charged; before \
         sending it again, look this id up in the service's logs, which go back 7 days\n  \
         caused by: POST URL: no response\n  \
         caused by: closed\n\
         assets/owl.mp4: failed to create a file in assets\n  \
         caused by: entity not found",
    );
}

#[test]
fn io_errors_say_how_to_resolve_them() {
    let permission = match cfg!(windows) {
        true => "; close it in other programs, or change its permissions",
        false => "; give this user permission to read and write there",
    };
    let table = [
        (io::ErrorKind::PermissionDenied, permission),
        (io::ErrorKind::ReadOnlyFilesystem, "; make the file system writable"),
        (io::ErrorKind::StorageFull, "; free some disk space"),
        (io::ErrorKind::QuotaExceeded, "; free some disk space"),
        (io::ErrorKind::NotFound, ""),
    ];
    for (kind, hint) in table {
        let error = Error::Io { action: "write", path: "fox.mp4".into(), source: kind.into() };
        assert_eq!(error.to_string(), format!("failed to write fox.mp4{hint}"));
    }
}

#[test]
fn invalid_values_are_reported_with_what_is_valid() {
    let table = [
        ("4:3".parse::<AspectRatio>().unwrap_err(), "invalid aspect_ratio: must be 16:9, 9:16 or 1:1, not \"4:3\""),
        ("7".parse::<Seconds>().unwrap_err(), "invalid duration: must be 5 or 10 (seconds), not \"7\""),
        (
            "a b".parse::<GenerationId>().unwrap_err(),
            "invalid generation id: must not contain white space or control characters",
        ),
        (
            Client::new("a b").unwrap_err(),
            "invalid API key: must be non-empty visible ASCII without spaces or line breaks",
        ),
        (Error::MissingKey, "no API key in the environment; set AIML_API_KEY"),
    ];
    for (error, expected) in table {
        assert_prints(&error, expected);
    }
}
