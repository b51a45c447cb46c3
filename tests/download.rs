//! The file's column of the table of faults, and that a video file is whole or absent.

mod support;

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicUsize, Ordering};

use kling::emulator::{Emulator, EmulatorBuilder, Step};
use kling::{Client, Error, Seconds, Video};
use support::{RawServer, cause, fox, millis, names, say};

use Step::{
    Close, Completed, Html, Http, OtherFile, Reset, ResetAfter, ResetUnread, Stall, StallAfter, Throttle, Truncate,
    TruncateWithoutLength, WrongRange,
};

/// How a download ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum File {
    /// Whole, after so many requests for the file.
    Whole(usize),
    /// Absent, with the status that the file's server answered at last.
    Refused(u16),
    /// Absent, because what came is this.
    NotAVideo(&'static str),
    /// Absent, because nothing came.
    NoResponse,
}
use File::{NoResponse, NotAVideo, Refused, Whole};

fn body(bytes: impl AsRef<[u8]>) -> Step {
    Step::body(bytes.as_ref())
}

fn after(status: u16, seconds: &str) -> Step {
    Step::http_retry_after(status, seconds)
}

fn file_column() -> Vec<(&'static str, Vec<Step>, File)> {
    vec![
        ("nothing", vec![], Whole(1)),
        ("closed before an answer", vec![Close], Whole(2)),
        ("reset before an answer", vec![Reset], Whole(2)),
        ("reset before it was read", vec![ResetUnread], Whole(2)),
        ("closed for ever", vec![Close; 9], NoResponse),
        ("no answer until the timeout", vec![Stall], Whole(2)),
        ("silence in the middle", vec![StallAfter(9000)], Whole(2)),
        ("silence before the first byte", vec![StallAfter(0)], Whole(2)),
        ("a drip", vec![Throttle(millis(5))], Whole(2)),
        ("cut before the first byte", vec![Truncate(0)], Whole(2)),
        ("cut within the first box", vec![Truncate(5)], Whole(2)),
        ("cut in the middle", vec![Truncate(9000)], Whole(2)),
        (
            "cut again and again",
            vec![Truncate(4000), Truncate(4000), Truncate(100), Truncate(1), Truncate(4000), Truncate(4000)],
            Whole(7),
        ),
        (
            "cut and never a new byte",
            vec![Truncate(4000), Truncate(0), Close, Truncate(0), Reset, Truncate(0)],
            NoResponse,
        ),
        ("reset in the middle", vec![ResetAfter(9000)], Whole(2)),
        ("cut without a length", vec![TruncateWithoutLength(9000)], Whole(2)),
        ("cut without a length, before the first byte", vec![TruncateWithoutLength(0)], Whole(2)),
        ("whole without a length", vec![TruncateWithoutLength(usize::MAX)], Whole(1)),
        ("416", vec![Truncate(9000), Http(416)], Whole(3)),
        ("206 that begins elsewhere", vec![Truncate(9000), WrongRange], Whole(3)),
        ("400", vec![Http(400)], Refused(400)),
        ("413", vec![Http(413)], Refused(413)),
        ("422", vec![Http(422)], Refused(422)),
        ("401 once", vec![Http(401)], Whole(2)),
        ("402 once", vec![Http(402)], Whole(2)),
        ("403 once", vec![Http(403)], Whole(2)),
        ("404 once", vec![Http(404)], Whole(2)),
        ("410 once", vec![Http(410)], Whole(2)),
        ("403 in the middle", vec![Truncate(9000), Http(403)], Whole(3)),
        ("403 for ever", vec![Http(403); 9], Refused(403)),
        ("404 for ever", vec![Http(404); 9], Refused(404)),
        ("408", vec![Http(408)], Whole(2)),
        ("409", vec![Http(409)], Whole(2)),
        ("500", vec![Http(500)], Whole(2)),
        ("500 for ever", vec![Http(500); 9], Refused(500)),
        ("502 as a gateway's page", vec![Html(502)], Whole(2)),
        ("504", vec![Html(504)], Whole(2)),
        ("500 in the middle", vec![Truncate(9000), Http(500)], Whole(3)),
        ("429", vec![Http(429)], Whole(2)),
        ("503 with Retry-After", vec![after(503, "0")], Whole(2)),
        ("503 without Retry-After", vec![Http(503)], Whole(2)),
        ("429, Retry-After 86400", vec![after(429, "86400")], Refused(429)),
        ("429, Retry-After -1", vec![after(429, "-1")], Whole(2)),
        ("429, Retry-After garbage", vec![after(429, "soon")], Whole(2)),
        ("429, Retry-After a date", vec![after(429, "Wed, 21 Oct 2026 07:28:00 GMT")], Whole(2)),
        ("a page with 200", vec![Html(200)], NotAVideo("it is an HTML or XML page")),
        ("JSON with 200", vec![body("{}")], NotAVideo("it is JSON")),
        ("an empty body", vec![body("")], NotAVideo("it is empty")),
        ("no ftyp", vec![body(vec![7; 32253])], NotAVideo("it does not begin like an MP4 file")),
        ("another length", vec![OtherFile], NotAVideo("it has 49301 bytes, and the service says 32253")),
        ("a page as long as the video", vec![body(vec![b'<'; 32253])], NotAVideo("it is an HTML or XML page")),
        ("JSON as long as the video", vec![body(vec![b'['; 32253])], NotAVideo("it is JSON")),
    ]
}

/// A finished video whose file plays a script.
fn video(builder: EmulatorBuilder, steps: Vec<Step>) -> (Emulator, Client, Video) {
    // Only what is silent has to be given up on; all else may take its time on a busy machine.
    let silent = steps.iter().any(|step| matches!(step, Stall | StallAfter(_) | Throttle(_)));
    let patience = millis(if silent { 250 } else { 5000 });
    let emulator = builder.status([]).file(steps).client_timeout(patience).start();
    let client = emulator.client();
    let video = client.generate(&fox()).expect("nothing goes wrong before the file");
    (emulator, client, video)
}

/// The bytes of the file, without a fault.
fn whole_file() -> Vec<u8> {
    let (_emulator, client, video) = video(Emulator::builder(), vec![]);
    let mut bytes = Vec::new();
    client.open(&video).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[track_caller]
fn check(fault: &str, ends: File, requests: usize, result: Result<(), &Error>) {
    match (ends, result) {
        (Whole(expected), Ok(())) => assert!(requests >= expected, "{fault}: {requests} requests"),
        (Refused(expected), Err(error)) => match cause(error) {
            Error::UnexpectedResponse { status, .. } => assert_eq!(*status, expected, "{fault}"),
            other => panic!("{fault}: {other:?}"),
        },
        (NotAVideo(expected), Err(error)) => match cause(error) {
            Error::NotAVideo { found, .. } => assert_eq!(found, expected, "{fault}"),
            other => panic!("{fault}: {other:?}"),
        },
        (NoResponse, Err(error)) => assert!(matches!(cause(error), Error::NoResponse { .. }), "{fault}: {error:?}"),
        (ends, result) => panic!("{fault}: {ends:?}, but {result:?}"),
    }
}

#[test]
fn a_download_to_a_file_ends_as_the_table_says_and_is_whole_or_absent() {
    let whole = whole_file();
    for (fault, steps, ends) in file_column() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fox.mp4");
        let (emulator, client, video) = video(Emulator::builder(), steps);
        let result = client.download(&video, &path);
        check(fault, ends, emulator.files().len(), result.as_ref().map(|_| ()));
        match result {
            Ok(bytes) => {
                assert_eq!(bytes, whole.len() as u64, "{fault}");
                assert!(fs::read(&path).unwrap() == whole, "{fault}: the file has other bytes");
                assert_eq!(names(folder.path()), ["fox.mp4"], "{fault}");
            }
            Err(error) => {
                assert_eq!(error.generation_id(), Some(&video.id), "{fault}");
                assert_eq!(names(folder.path()), [""; 0], "{fault}: litter");
            }
        }
        assert_eq!(emulator.creates().len(), 1, "{fault}");
    }
}

#[test]
fn the_readme_counts_the_faults() {
    let readme = include_str!("../README.md");
    assert!(readme.contains(&format!("and {} the file", file_column().len())), "{}", file_column().len());
}

#[test]
fn a_download_as_a_reader_ends_as_the_table_says() {
    let whole = whole_file();
    for (fault, steps, ends) in file_column() {
        let (emulator, client, video) = video(Emulator::builder(), steps);
        let mut bytes = Vec::new();
        let result = client.open(&video).and_then(|mut download| {
            download.read_to_end(&mut bytes).map_err(|error| error.downcast::<Error>().expect("our own error"))
        });
        check(fault, ends, emulator.files().len(), result.as_ref().map(|_| ()));
        if result.is_ok() {
            assert!(bytes == whole, "{fault}: other bytes");
        }
    }
}

#[test]
fn a_broken_transfer_goes_on_where_it_broke() {
    let (emulator, client, video) = video(Emulator::builder(), vec![Truncate(9000), Truncate(1000)]);
    io::copy(&mut client.open(&video).unwrap(), &mut io::sink()).unwrap();
    let files = emulator.files();
    let ranges: Vec<_> = files.iter().map(|file| file.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=9000-"), Some("bytes=10000-")]);
    // So that a file which was replaced meanwhile is not glued to the old one.
    assert!(files[1].header("if-range").is_some_and(|etag| etag.starts_with('"')));
}

#[test]
fn a_server_that_answers_a_range_with_all_of_it_is_read_from_its_start() {
    let whole = whole_file();
    let table = [
        ("200 to a range", vec![Truncate(9000)], Whole(2)),
        ("200 to a range, cut before the new bytes", vec![Truncate(9000), Truncate(5000)], Whole(3)),
        ("200 to a range, cut after them", vec![Truncate(9000), Truncate(15000), ResetAfter(20000)], Whole(4)),
        ("200 to a range, and never a new byte", vec![Truncate(9000); 9], NoResponse),
    ];
    for (fault, steps, ends) in table {
        let (emulator, client, video) = video(Emulator::builder().ranges(false), steps);
        let mut bytes = Vec::new();
        let result = client.open(&video).unwrap().read_to_end(&mut bytes);
        let result = result.map_err(|error| error.downcast::<Error>().expect("our own error"));
        check(fault, ends, emulator.files().len(), result.as_ref().map(|_| ()));
        assert_eq!(bytes == whole, result.is_ok(), "{fault}");
    }
}

#[test]
fn a_file_that_nothing_tells_apart_is_read_again_and_compared() {
    let whole = whole_file();
    let (emulator, client, video) =
        video(Emulator::builder().etags(false).last_modified(false), vec![Truncate(9000), Truncate(15000)]);
    let mut bytes = Vec::new();
    client.open(&video).unwrap().read_to_end(&mut bytes).unwrap();
    assert!(bytes == whole);
    assert!(emulator.files().iter().all(|file| file.header("range").is_none()), "a range could be of another file");

    let (_emulator, client, mut video) =
        self::video(Emulator::builder().etags(false).last_modified(false), vec![Truncate(9000), OtherFile]);
    video.file_size = None;
    let error = io::copy(&mut client.open(&video).unwrap(), &mut io::sink()).unwrap_err();
    let error = error.downcast::<Error>().unwrap();
    assert!(matches!(cause(&error), Error::NotAVideo { .. }), "{error:?}");
}

#[test]
fn a_file_that_changes_again_and_again_is_never_glued_together() {
    let old = whole_file();
    let mut new = old.clone();
    new[8000] ^= 1;
    // The old file, cut; the new one, cut before the byte that differs; the rest of the new one, to whoever asks for
    // it.
    let (first, second) = (old.clone(), new.clone());
    let requests = AtomicUsize::new(0);
    let server = RawServer::start(move |mut stream| {
        let mut head = String::new();
        for line in BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
            head += &format!("{line}\n");
        }
        let answer = |status: &str, etag: &str, bytes: &[u8]| {
            let head = format!("HTTP/1.1 {status}\r\nETag: \"{etag}\"\r\nContent-Length: {}\r\n", first.len());
            [head.as_bytes(), b"\r\n", bytes].concat()
        };
        match requests.fetch_add(1, Ordering::SeqCst) {
            0 => say(&mut stream, &answer("200 OK", "old", &first[..9000])),
            1 => say(&mut stream, &answer("200 OK", "new", &second[..5000])),
            _ if head.contains("if-range: \"new\"") => {
                let range = format!("Content-Range: bytes 9000-{}/{}", second.len() - 1, second.len());
                let rest = &second[9000..];
                let head =
                    format!("HTTP/1.1 206 OK\r\n{range}\r\nETag: \"new\"\r\nContent-Length: {}\r\n\r\n", rest.len());
                say(&mut stream, &[head.as_bytes(), rest].concat());
            }
            _ => say(&mut stream, &answer("200 OK", "new", &second)),
        }
    });
    let (_emulator, client, mut video) = video(Emulator::builder(), vec![]);
    video.url = format!("http://127.0.0.1:{}/output.mp4", server.port);
    let mut bytes = Vec::new();
    let error = client.open(&video).unwrap().read_to_end(&mut bytes).unwrap_err().downcast::<Error>().unwrap();
    assert!(matches!(cause(&error), Error::NotAVideo { .. }), "{error:?}");
    assert!(old.starts_with(&bytes), "what was handed out is of one file");
}

#[test]
fn a_file_that_changed_is_taken_whole_from_its_start() {
    let (emulator, client, mut video) = video(Emulator::builder(), vec![Truncate(9000), OtherFile, Truncate(9000)]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fox.mp4");
    // With a length from the service, a file of another length is refused at once.
    video.file_size = None;
    let bytes = client.download(&video, &path).unwrap();
    assert_ne!(bytes, whole_file().len() as u64);
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
    assert_eq!(emulator.files().len(), 4);
}

#[test]
fn a_reader_that_has_handed_out_bytes_of_another_file_is_an_error() {
    let (_emulator, client, video) = video(Emulator::builder(), vec![Truncate(9000), OtherFile]);
    let mut download = client.open(&video).unwrap();
    let error = io::copy(&mut download, &mut io::sink()).unwrap_err().downcast::<Error>().unwrap();
    match cause(&error) {
        Error::NotAVideo { found, .. } => assert_eq!(found, "its server has another file there than before"),
        other => panic!("{other:?}"),
    }
    // What follows an error is never the end of a whole video.
    assert!(download.read(&mut [0; 10]).is_err());
}

#[test]
fn an_expired_url_is_asked_for_afresh_once() {
    let (emulator, client, video) = video(Emulator::builder(), vec![Http(403)]);
    client.open(&video).unwrap();
    assert_eq!((emulator.polls().len(), emulator.files().len()), (2, 2));

    let (emulator, client, video) = self::video(Emulator::builder(), vec![Http(403); 9]);
    client.open(&video).unwrap_err();
    assert_eq!((emulator.polls().len(), emulator.files().len()), (2, 2));
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
fn a_url_that_may_not_be_talked_to_is_refused_before_connecting() {
    for url in [
        "/relative.mp4",
        "output.mp4",
        "http://192.0.2.1/output.mp4",
        "ftp://127.0.0.1/output.mp4",
        "file:///etc/passwd",
        "https://user:word@127.0.0.1/output.mp4",
        "http://127.0.0.1@192.0.2.1/output.mp4",
    ] {
        let answer = format!(r#"{{"status":"completed","video":{{"url":"{url}"}}}}"#);
        let emulator = Emulator::script([body(&answer), body(&answer)]);
        let client = emulator.client();
        let video = client.generate(&fox()).unwrap();
        let error = client.open(&video).unwrap_err();
        assert!(matches!(cause(&error), Error::NoResponse { .. }), "{url}: {error:?}");

        let (_emulator, client, video) = self::video(Emulator::builder(), vec![Step::redirect(302, url); 2]);
        let redirected = client.open(&video);
        // A relative URL is a good redirect, and only there.
        if url.contains("://") {
            assert!(matches!(cause(&redirected.unwrap_err()), Error::NoResponse { .. }), "{url}");
        }
    }
}

#[test]
fn a_file_server_that_cannot_be_trusted_ends_the_download_at_once() {
    let plain = RawServer::saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let url = format!("https://127.0.0.1:{}/output.mp4", plain.port);
    let answer = format!(r#"{{"status":"completed","video":{{"url":"{url}"}}}}"#);
    let emulator = Emulator::script([body(&answer)]);
    let client = emulator.client();
    let video = client.generate(&fox()).unwrap();
    let error = client.open(&video).unwrap_err();
    assert!(matches!(cause(&error), Error::NoResponse { .. }), "{error:?}");
    plain.has_had(1, "it is not tried again");
}

#[test]
fn a_place_that_cannot_be_written_is_named_and_costs_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").join("fox.mp4");
    for path in [missing.as_path(), folder.path()] {
        let (_emulator, client, video) = video(Emulator::builder(), vec![]);
        let error = client.download(&video, path).unwrap_err();
        assert_eq!(error.generation_id(), Some(&video.id));
        assert!(matches!(cause(&error), Error::Io { .. }), "{error:?}");
    }
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_file_that_was_there_is_replaced_only_by_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fox.mp4");
    fs::write(&path, "the old one").unwrap();
    let (_emulator, client, broken) = video(Emulator::builder(), vec![Html(200)]);
    client.download(&broken, &path).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), b"the old one");
    client.download(&broken, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole_file());
    assert_eq!(names(folder.path()), ["fox.mp4"]);
}

#[test]
fn the_length_is_known_before_the_first_byte() {
    let (_emulator, client, video) = video(Emulator::builder(), vec![TruncateWithoutLength(usize::MAX), Completed]);
    assert_eq!(client.open(&video).unwrap().len(), video.file_size);
    assert_eq!(client.open(&video).unwrap().len(), video.file_size);
}

#[test]
fn reads_of_any_size_give_the_same_bytes() {
    let whole = whole_file();
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
        assert!(bytes == whole, "reads of {size}");
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
