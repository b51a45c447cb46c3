//! Faults in file downloads. A video file is either complete or absent.

mod support;

use std::fs;
use std::io::{self, Read};

use kling::emulator::{Emulator, EmulatorBuilder, Step};
use kling::{Client, Error, Poll, Seconds, Video};
use support::{RawServer, cause, fox, millis, names, timeout_for};

use Step::{
    Chunked, Close, Completed, Html, Http, OtherFile, Reset, ResetAfter, ResetUnread, Stall, StallAfter, Throttle,
    Truncate, TruncateChunked, TruncateWithoutLength, WrongRange,
};

/// The end of a download.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// With the complete file, after at least this many requests for it.
    Complete(usize),
    /// Without a file, because its server refused the last request with this status.
    Refused(u16),
    /// Without a file, because the body is not a video.
    NotAVideo(&'static str),
    /// Without a file, because the last transfer failed.
    NoResponse,
}
use End::{Complete, NoResponse, NotAVideo, Refused};

fn body(bytes: impl AsRef<[u8]>) -> Step {
    Step::body(bytes.as_ref())
}

fn after(status: u16, seconds: &str) -> Step {
    Step::http_retry_after(status, seconds)
}

/// Returns more steps than a short wait can play.
fn always(step: Step) -> Vec<Step> {
    vec![step; 5000]
}

fn faults() -> Vec<(&'static str, Vec<Step>, End)> {
    let sixfold = vec![Truncate(4000), Truncate(4000), Truncate(100), Truncate(1), Truncate(4000), Truncate(4000)];
    vec![
        ("none", vec![], Complete(1)),
        ("closed before the response", vec![Close], Complete(2)),
        ("reset before the response", vec![Reset], Complete(2)),
        ("reset before the request was read", vec![ResetUnread], Complete(2)),
        ("closed nine times", vec![Close; 9], Complete(10)),
        ("always closed", always(Close), NoResponse),
        ("no response until the timeout", vec![Stall], Complete(2)),
        ("silence in the middle", vec![StallAfter(9000)], Complete(2)),
        ("silence before the first byte", vec![StallAfter(0)], Complete(2)),
        ("a drip", vec![Throttle(millis(5))], Complete(2)),
        ("cut before the first byte", vec![Truncate(0)], Complete(2)),
        ("cut within the first box", vec![Truncate(5)], Complete(2)),
        ("cut in the middle", vec![Truncate(9000)], Complete(2)),
        ("cut six times", sixfold, Complete(7)),
        ("cut, and never a new byte", [vec![Truncate(4000)], always(Truncate(0))].concat(), NoResponse),
        ("always one new byte", always(Truncate(1)), NoResponse),
        ("reset in the middle", vec![ResetAfter(9000)], Complete(2)),
        ("chunked", vec![Chunked], Complete(1)),
        ("chunked, without any chunk", vec![TruncateChunked(0)], Complete(2)),
        ("chunked, cut in the middle", vec![TruncateChunked(9000)], Complete(2)),
        ("chunked, without the last chunk", vec![TruncateChunked(usize::MAX)], Complete(2)),
        ("cut without a length", vec![TruncateWithoutLength(9000)], Complete(2)),
        ("cut without a length, before the first byte", vec![TruncateWithoutLength(0)], Complete(2)),
        ("complete without a length", vec![TruncateWithoutLength(usize::MAX)], Complete(1)),
        ("416", vec![Truncate(9000), Http(416)], Complete(3)),
        ("206 that begins elsewhere", vec![Truncate(9000), WrongRange], Complete(3)),
        ("202 once", vec![Http(202)], Complete(2)),
        ("400 once", vec![Http(400)], Complete(2)),
        ("401 once", vec![Http(401)], Complete(2)),
        ("402 once", vec![Http(402)], Complete(2)),
        ("403 once", vec![Http(403)], Complete(2)),
        ("404 once", vec![Http(404)], Complete(2)),
        ("410 once", vec![Http(410)], Complete(2)),
        ("404 twelve times", vec![Http(404); 12], Complete(13)),
        ("403 in the middle", vec![Truncate(9000), Http(403)], Complete(3)),
        ("always 400", always(Http(400)), Refused(400)),
        ("always 403", always(Http(403)), Refused(403)),
        ("always 404", always(Http(404)), Refused(404)),
        ("413", vec![Http(413)], Refused(413)),
        ("422", vec![Http(422)], Refused(422)),
        ("408", vec![Http(408)], Complete(2)),
        ("409", vec![Http(409)], Complete(2)),
        ("500", vec![Http(500)], Complete(2)),
        ("500 nine times", vec![Http(500); 9], Complete(10)),
        ("always 500", always(Http(500)), Refused(500)),
        ("502 with a gateway's page", vec![Html(502)], Complete(2)),
        ("504 with a gateway's page", vec![Html(504)], Complete(2)),
        ("500 in the middle", vec![Truncate(9000), Http(500)], Complete(3)),
        ("429", vec![Http(429)], Complete(2)),
        ("503, Retry-After 0", vec![after(503, "0")], Complete(2)),
        ("503", vec![Http(503)], Complete(2)),
        ("429, Retry-After 86400", vec![after(429, "86400")], Complete(2)),
        ("always 429, Retry-After 86400", always(after(429, "86400")), Refused(429)),
        ("429, Retry-After -1", vec![after(429, "-1")], Complete(2)),
        ("429, Retry-After garbage", vec![after(429, "soon")], Complete(2)),
        ("429, Retry-After a past date", vec![after(429, "Wed, 21 Oct 2015 07:28:00 GMT")], Complete(2)),
        ("a page with 200", vec![Html(200)], NotAVideo("it is an HTML or XML page")),
        ("JSON with 200", vec![body("{}")], NotAVideo("it is JSON")),
        ("an empty body", vec![body("")], NotAVideo("it is empty")),
        ("other bytes", vec![body(vec![7; 32253])], NotAVideo("it does not begin like an MP4 file")),
        ("a page as long as the video", vec![body(vec![b'<'; 32253])], NotAVideo("it is an HTML or XML page")),
        ("JSON as long as the video", vec![body(vec![b'['; 32253])], NotAVideo("it is JSON")),
    ]
}

/// Returns a completed video whose file plays these steps.
fn video(builder: EmulatorBuilder, steps: Vec<Step>) -> (Emulator, Client, Video) {
    // A wait that nothing but its limit ends has a short one.
    let is_long = steps.len() > 100 || steps.contains(&after(429, "86400"));
    let poll = Poll { interval: millis(5), max_wait: millis(if is_long { 100 } else { 60_000 }) };
    let emulator = builder.status([]).client_timeout(timeout_for(&steps)).file(steps).start();
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let video = emulator.client().generate(&fox()).expect("only the file has faults");
    (emulator, client, video)
}

fn complete_file() -> Vec<u8> {
    let (_emulator, client, video) = video(Emulator::builder(), vec![]);
    let mut bytes = Vec::new();
    client.open(&video).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[track_caller]
fn assert_end(fault: &str, end: End, requests: usize, result: Result<(), &Error>) {
    match (end, result) {
        (Complete(expected), Ok(())) => assert!(requests >= expected, "{fault}: {requests} requests"),
        (Refused(expected), Err(error)) => match cause(error) {
            Error::UnexpectedResponse { status, .. } => assert_eq!(*status, expected, "{fault}"),
            other => panic!("{fault}: {other:?}"),
        },
        (NotAVideo(expected), Err(error)) => match cause(error) {
            Error::NotAVideo { found, .. } => assert_eq!(found, expected, "{fault}"),
            other => panic!("{fault}: {other:?}"),
        },
        (NoResponse, Err(error)) => assert!(matches!(cause(error), Error::NoResponse { .. }), "{fault}: {error:?}"),
        (end, result) => panic!("{fault}: {end:?}, but {result:?}"),
    }
}

#[test]
fn a_downloaded_file_is_complete_or_absent_after_each_fault() {
    let complete = complete_file();
    for (fault, steps, end) in faults() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fox.mp4");
        let (emulator, client, video) = video(Emulator::builder(), steps);
        let result = client.download(&video, &path);
        assert_end(fault, end, emulator.files().len(), result.as_ref().map(|_| ()));
        match result {
            Ok(bytes) => {
                assert_eq!(bytes, complete.len() as u64, "{fault}");
                assert!(fs::read(&path).unwrap() == complete, "{fault}: the file has other bytes");
                assert_eq!(names(directory.path()), ["fox.mp4"], "{fault}");
            }
            Err(error) => {
                assert_eq!(error.generation_id(), Some(&video.id), "{fault}");
                assert!(!format!("{error:?}").contains("signature"), "{fault}: {error:?}");
                assert_eq!(names(directory.path()), [""; 0], "{fault}: leftovers");
            }
        }
        assert_eq!(emulator.creates().len(), 1, "{fault}");
    }
}

#[test]
fn a_reader_ends_like_a_downloaded_file_after_each_fault() {
    let complete = complete_file();
    for (fault, steps, end) in faults() {
        let (emulator, client, video) = video(Emulator::builder(), steps);
        let mut bytes = Vec::new();
        let result = client.open(&video).and_then(|mut download| {
            download.read_to_end(&mut bytes).map_err(|error| error.downcast::<Error>().expect("our own error"))
        });
        assert_end(fault, end, emulator.files().len(), result.as_ref().map(|_| ()));
        if result.is_ok() {
            assert!(bytes == complete, "{fault}: other bytes");
        }
    }
}

#[test]
fn the_readme_counts_the_faults() {
    let readme = include_str!("../README.md");
    assert!(readme.contains(&format!("and {} the file", faults().len())), "{}", faults().len());
}

#[test]
fn redirects_are_followed_five_times() {
    let target = || Step::redirect(302, "output.mp4?hop");
    let (emulator, client, video) = video(Emulator::builder(), vec![target(); 5]);
    io::copy(&mut client.open(&video).unwrap(), &mut io::sink()).unwrap();
    assert_eq!(emulator.files().len(), 6);

    let (emulator, client, video) = self::video(Emulator::builder(), vec![target(); 9]);
    let error = client.open(&video).unwrap_err();
    assert!(matches!(cause(&error), Error::NoResponse { .. }), "{error:?}");
    assert_eq!(emulator.files().len(), 6);
}

#[test]
fn urls_that_must_not_be_requested_are_rejected_before_connecting() {
    for url in [
        "/relative.mp4",
        "output.mp4",
        "http://192.0.2.1/output.mp4",
        "ftp://127.0.0.1/output.mp4",
        "file:///etc/passwd",
        "https://user:word@127.0.0.1/output.mp4",
        "http://127.0.0.1@192.0.2.1/output.mp4",
    ] {
        let status = format!(r#"{{"status":"completed","video":{{"url":"{url}"}}}}"#);
        let emulator = Emulator::script([body(&status), body(&status)]);
        let client = emulator.client();
        let video = client.generate(&fox()).unwrap();
        let error = client.open(&video).unwrap_err();
        assert!(matches!(cause(&error), Error::NoResponse { .. }), "{url}: {error:?}");

        let (_emulator, client, video) = self::video(Emulator::builder(), vec![Step::redirect(302, url); 2]);
        let redirected = client.open(&video);
        // A relative URL is a valid redirect, but not a valid video URL.
        if url.contains("://") {
            assert!(matches!(cause(&redirected.unwrap_err()), Error::NoResponse { .. }), "{url}");
        }
    }
}

#[test]
#[cfg_attr(not(any(feature = "rustls", feature = "native-tls")), ignore = "needs TLS")]
fn a_file_server_that_cannot_be_trusted_ends_the_download_at_once() {
    let plain = RawServer::responding(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let url = format!("https://127.0.0.1:{}/output.mp4", plain.port);
    let status = format!(r#"{{"status":"completed","video":{{"url":"{url}"}}}}"#);
    let emulator = Emulator::script([body(&status)]);
    let client = emulator.client();
    let video = client.generate(&fox()).unwrap();
    let error = client.open(&video).unwrap_err();
    assert!(matches!(cause(&error), Error::NoResponse { .. }), "{error:?}");
    plain.assert_connections(1, "it is not retried");
}

#[test]
fn an_unwritable_path_is_named_before_the_file_is_requested() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing").join("fox.mp4");
    for path in [missing.as_path(), directory.path()] {
        let (emulator, client, video) = video(Emulator::builder(), vec![]);
        let error = client.download(&video, path).unwrap_err();
        assert_eq!(error.generation_id(), Some(&video.id));
        assert!(matches!(cause(&error), Error::Io { .. }), "{error:?}");
        assert!(emulator.files().is_empty(), "{}", path.display());
    }
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn an_existing_file_is_replaced_only_by_a_complete_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fox.mp4");
    fs::write(&path, "the old one").unwrap();
    let (_emulator, client, broken) = video(Emulator::builder(), vec![Html(200)]);
    client.download(&broken, &path).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), b"the old one");
    client.download(&broken, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), complete_file());
    assert_eq!(names(directory.path()), ["fox.mp4"]);
}

#[test]
fn the_length_is_known_before_the_first_byte() {
    let (_emulator, client, video) = video(Emulator::builder(), vec![TruncateWithoutLength(usize::MAX), Completed]);
    assert_eq!(client.open(&video).unwrap().len(), video.file_size, "from the service");
    assert_eq!(client.open(&video).unwrap().len(), video.file_size, "from the file's server");

    let (_emulator, client, video) = self::video(Emulator::builder().file_size_offset(1), vec![OtherFile]);
    let mut download = client.open(&video).unwrap();
    assert_eq!(download.len(), Some(io::copy(&mut download, &mut io::sink()).unwrap()), "the server knows better");
}

#[test]
fn reads_of_any_size_return_the_same_bytes() {
    let complete = complete_file();
    for size in [1, 7, 4096] {
        let (_emulator, client, video) = video(Emulator::builder().ranges(false), vec![Truncate(9000)]);
        let mut download = client.open(&video).unwrap();
        let mut bytes = Vec::new();
        let mut buffer = vec![0; size];
        assert_eq!(download.read(&mut []).unwrap(), 0);
        loop {
            match download.read(&mut buffer).unwrap() {
                0 => break,
                n => bytes.extend_from_slice(&buffer[..n]),
            }
        }
        assert!(bytes == complete, "reads of {size}");
        assert_eq!(download.read(&mut buffer).unwrap(), 0, "the end stays the end");
    }
}

#[test]
fn the_clip_fits_the_request() {
    let emulator = Emulator::start();
    let client = emulator.client();
    let mut sizes = std::collections::HashSet::new();
    for ratio in ["16:9", "9:16", "1:1"] {
        for seconds in [Seconds::Five, Seconds::Ten] {
            let video = client.generate(&fox().aspect_ratio(ratio.parse().unwrap()).duration(seconds)).unwrap();
            assert_eq!(video.duration.map(|duration| duration.to_string()), Some(seconds.to_string()));
            sizes.insert(io::copy(&mut client.open(&video).unwrap(), &mut io::sink()).unwrap());
        }
    }
    assert_eq!(sizes.len(), 6, "six different clips");
}
