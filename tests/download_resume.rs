//! Resuming a broken download, and files that change on their server.

mod support;

use std::fs;
use std::io::{self, Read};

use kling::emulator::{Emulator, Step};
use kling::{Client, Error, Video};
use support::file_server::{FileServer, boxes, chunked, chunks, file, framed, header, part, range, response};
use support::{cause, fox};

use Step::{OtherFile, ResetAfter, Truncate};

const ETAG: &str = "ETag: \"a\"\r\n";
const WEAK: &str = "ETag: W/\"a\"\r\n";
const MODIFIED: &str = "Last-Modified: Mon, 19 Oct 2026 07:28:00 GMT\r\n";
const DATE: &str = "Mon, 19 Oct 2026 07:28:00 GMT";

/// The number of bytes before the first transfer breaks off.
const CUT: usize = 5000;

/// The end of a download whose first transfer broke off.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The second response was resumed with this `If-Range`.
    Resumed(Option<&'static str>),
    /// The second response was read from its start.
    Reread,
    /// The second response was not used, but the third was.
    Repeated,
    /// The second response is of another file.
    Changed,
}
use End::{Changed, Repeated, Reread, Resumed};

/// Reads everything.
fn read(client: &Client, video: &Video) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = client.open(video)?.read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|error| error.downcast::<Error>().expect("our own error"))
}

#[track_caller]
fn assert_changed(case: &str, error: &Error) {
    match cause(error) {
        Error::NotAVideo { found, .. } => {
            assert_eq!(found, "the file on the server has changed since its first bytes were read", "{case}");
        }
        other => panic!("{case}: {other:?}"),
    }
}

/// Returns the rest of the file after the first transfer.
fn rest(headers: &str) -> Vec<u8> {
    part(&file(), CUT, headers)
}

fn entire(headers: &str) -> Vec<u8> {
    framed("200 OK", headers, &file())
}

/// Returns a 206 with these headers in place of a right `Content-Range`.
fn odd_part(headers: &str) -> Vec<u8> {
    framed("206 Partial Content", &format!("{headers}{ETAG}"), &file()[CUT..])
}

#[test]
fn a_transfer_is_resumed_if_the_strongest_common_validator_is_equal() {
    let both = &format!("{ETAG}{MODIFIED}");
    let weak_and_date = &format!("{WEAK}{MODIFIED}");
    let same_second = &format!("{MODIFIED}Date: {DATE}\r\n");
    let later = &format!("{MODIFIED}Date: Mon, 19 Oct 2026 07:28:01 GMT\r\n");
    let other_etag = &format!("ETag: \"b\"\r\n{MODIFIED}");
    let other_date = "Last-Modified: Tue, 20 Oct 2026 07:28:00 GMT\r\n";
    let with_date = |etag| format!("ETag: {etag}\r\n{MODIFIED}");
    let (lowercase, unquoted, half_quoted, empty) =
        (&with_date("w/\"a\""), &with_date("a-b"), &with_date("\"a"), &with_date("\"\""));
    let quoted = Resumed(Some("\"a\""));
    let dated = Resumed(Some(DATE));
    let table: Vec<(&str, &str, Vec<u8>, End)> = vec![
        ("an ETag", ETAG, rest(ETAG), quoted),
        ("an ETag and a date", both, rest(both), quoted),
        ("a 206 without its date", both, rest(ETAG), quoted),
        ("a 206 with another date", both, rest(&format!("{ETAG}{other_date}")), quoted),
        ("a 206 without its ETag", both, rest(MODIFIED), quoted),
        ("a date", MODIFIED, rest(MODIFIED), dated),
        ("a date that a 206 may leave out", MODIFIED, rest(""), dated),
        ("a date that is certainly past", later, rest(later), dated),
        ("a weak ETag and a date", weak_and_date, rest(weak_and_date), dated),
        ("a weak ETag and a date, and a 206 with the ETag alone", weak_and_date, rest(WEAK), dated),
        ("a lowercase weak ETag", lowercase, rest(MODIFIED), dated),
        ("an ETag without quotes", "ETag: a-b\r\n", rest("ETag: a-b\r\n"), Resumed(None)),
        ("an ETag without quotes, and a date", unquoted, rest("ETag: a-b\r\n"), dated),
        ("an ETag with one quote, and a date", half_quoted, rest(MODIFIED), dated),
        ("an empty ETag, and a date", empty, rest(MODIFIED), dated),
        (
            "a range in the spelling of HTTP/1.0 days",
            ETAG,
            odd_part("Content-Range: bytes=5000-11999/12000\r\n"),
            quoted,
        ),
        ("a range without a total", ETAG, odd_part("Content-Range: bytes 5000-11999/*\r\n"), quoted),
        // All of it, since the validators are not known to be equal, or the server does not know ranges.
        ("200 with the same ETag", ETAG, entire(ETAG), Reread),
        ("200 with the same date", MODIFIED, entire(MODIFIED), Reread),
        ("200 with the same ETag, and another date", both, entire(&format!("{ETAG}{other_date}")), Reread),
        (
            "200 with a Content-Range of all",
            ETAG,
            entire(&format!("{ETAG}Content-Range: bytes 0-11999/12000\r\n")),
            Reread,
        ),
        ("203", ETAG, framed("203 Non-Authoritative Information", ETAG, &file()), Reread),
        ("no validators", "", entire(""), Reread),
        ("no validators at first", "", entire(ETAG), Reread),
        ("a weak ETag alone", WEAK, entire(WEAK), Reread),
        ("a date of the same second", same_second, entire(same_second), Reread),
        // A 206 that is not the rest of the file.
        ("a 206 with another ETag", ETAG, rest("ETag: \"b\"\r\n"), Repeated),
        ("a 206 with another ETag, and the same date", both, rest(other_etag), Repeated),
        ("a 206 without an ETag", ETAG, rest(""), Repeated),
        ("a 206 without any validator", both, rest(""), Repeated),
        ("a 206 with another date", MODIFIED, rest(other_date), Repeated),
        ("a 206 with another ETag without quotes", "ETag: a-b\r\n", rest("ETag: a-c\r\n"), Repeated),
        ("a 206 that begins elsewhere", ETAG, part(&file(), CUT + 1, ETAG), Repeated),
        ("a 206 from the start", ETAG, part(&file(), 0, ETAG), Repeated),
        ("a 206 of another total", ETAG, odd_part("Content-Range: bytes 5000-11999/12001\r\n"), Repeated),
        (
            "a 206 of another length than its range",
            ETAG,
            odd_part("Content-Range: bytes 5000-11000/12000\r\n"),
            Repeated,
        ),
        ("a 206 without a range", ETAG, odd_part(""), Repeated),
        ("a 206 of several ranges", ETAG, odd_part("Content-Type: multipart/byteranges; boundary=x\r\n"), Repeated),
        (
            "a 200 with the range",
            ETAG,
            framed("200 OK", &format!("{ETAG}Content-Range: bytes 5000-11999/12000\r\n"), &file()[CUT..]),
            Repeated,
        ),
        ("a 416", ETAG, framed("416 Range Not Satisfiable", ETAG, b""), Repeated),
        (
            "a 416 of another total",
            ETAG,
            framed("416 Range Not Satisfiable", "Content-Range: bytes */4000\r\n", b""),
            Repeated,
        ),
        // Another file.
        ("200 with another ETag", ETAG, entire("ETag: \"b\"\r\n"), Changed),
        ("200 with another ETag, and the same date", both, entire(other_etag), Changed),
        ("200 with another date", MODIFIED, entire(other_date), Changed),
        ("200 without the ETag", ETAG, entire(""), Changed),
        ("200 of another length", ETAG, framed("200 OK", ETAG, &boxes("ftyp moov free free mdat")), Changed),
        ("200 of a shorter file", "", framed("200 OK", "", &file()[..4000]), Changed),
        ("200 of another file without validators", "", framed("200 OK", "", &boxes("ftyp free moov mdat")), Changed),
    ];
    for (case, headers, second, end) in table {
        let first = response("200 OK", &format!("{headers}Content-Length: 12000\r\n"), &file()[..CUT]);
        let third = entire(headers);
        let server = FileServer::start(move |number, _| match number {
            0 => first.clone(),
            1 => second.clone(),
            _ => third.clone(),
        });
        let (_emulator, client, video) = server.video(None, 60_000);
        let result = read(&client, &video);
        let (ranges, if_ranges) = (server.headers("range"), server.headers("if-range"));
        match (end, result) {
            (Resumed(if_range), Ok(bytes)) => {
                assert!(bytes == file(), "{case}: other bytes");
                assert_eq!(ranges, [None, Some("bytes=5000-".to_owned())], "{case}");
                assert_eq!(if_ranges[1].as_deref(), if_range, "{case}");
            }
            (Reread, Ok(bytes)) => {
                assert!(bytes == file(), "{case}: other bytes");
                assert_eq!(ranges.len(), 2, "{case}");
            }
            (Repeated, Ok(bytes)) => {
                assert!(bytes == file(), "{case}: other bytes");
                assert_eq!(ranges, [None, Some("bytes=5000-".to_owned()), None], "{case}");
            }
            (Changed, Err(error)) => assert_changed(case, &error),
            (end, result) => panic!("{case}: {end:?}, but {:?}", result.map(|bytes| bytes.len())),
        }
    }
}

/// Returns a completed video of an emulator.
fn video(emulator: &Emulator) -> (Client, Video) {
    let client = emulator.client();
    let video = client.generate(&fox()).unwrap();
    (client, video)
}

fn complete_file() -> Vec<u8> {
    let emulator = Emulator::script([]);
    let (client, video) = video(&emulator);
    read(&client, &video).unwrap()
}

#[test]
fn each_break_is_resumed_where_it_happened() {
    let emulator = Emulator::builder().status([]).file([Truncate(9000), Truncate(1000), ResetAfter(50)]).start();
    let (client, video) = video(&emulator);
    io::copy(&mut client.open(&video).unwrap(), &mut io::sink()).unwrap();
    let files = emulator.files();
    let starts: Vec<_> = files.iter().map(|file| file.header("range")).collect();
    assert_eq!(starts, [None, Some("bytes=9000-"), Some("bytes=10000-"), Some("bytes=10050-")]);
}

#[test]
fn a_server_that_limits_each_response_is_read_part_by_part() {
    let limited = |head: &str| {
        let first = range(head).unwrap_or(0);
        let last = (first + 3999).min(11_999);
        let headers = format!("{ETAG}Content-Range: bytes {first}-{last}/12000\r\n");
        framed("206 Partial Content", &headers, &file()[first..=last])
    };
    let server = FileServer::start(move |_, head| limited(head));
    let (_emulator, client, video) = server.video(None, 60_000);
    assert!(read(&client, &video).unwrap() == file());
    let starts = server.headers("range");
    assert_eq!(starts, [None, Some("bytes=4000-".to_owned()), Some("bytes=8000-".to_owned())]);
}

#[test]
fn a_server_without_ranges_is_read_from_the_start_each_time() {
    let complete = complete_file();
    let steps = [Truncate(9000), Truncate(5000), Truncate(15_000), ResetAfter(20_000)];
    for etags in [true, false] {
        let builder = Emulator::builder().status([]).etags(etags).last_modified(false);
        let emulator = builder.ranges(false).file(steps.clone()).start();
        let (client, video) = video(&emulator);
        assert!(read(&client, &video).unwrap() == complete, "ETags: {etags}");
        assert_eq!(emulator.files().len(), 5);
        let has_range = emulator.files().iter().any(|file| file.header("range").is_some());
        assert_eq!(has_range, etags, "without a validator, a range could be of another file");
    }
}

#[test]
fn a_prefix_that_breaks_off_while_it_is_read_again_is_read_once_more() {
    // The file changes only after that.
    let steps = [Truncate(9000), Truncate(5000), Truncate(8999), OtherFile];
    let emulator = Emulator::builder().status([]).etags(false).last_modified(false).file(steps).start();
    let (client, mut video) = video(&emulator);
    video.file_size = None;
    assert_changed("after 9000 bytes", &read(&client, &video).unwrap_err());
    assert_eq!(emulator.files().len(), 4);
}

#[test]
fn a_file_that_ends_within_the_prefix_is_another_one() {
    let server = FileServer::start(|number, _| match number {
        0 => chunks("", &file()[..CUT]),
        _ => chunked("", &boxes("ftyp")),
    });
    let (_emulator, client, video) = server.video(None, 60_000);
    assert_changed("3000 bytes", &read(&client, &video).unwrap_err());
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_file_that_changes_repeatedly_is_never_glued_together() {
    let (old, mut new) = (file(), file());
    new[4500] ^= 1;
    // The old file, cut; the new one, cut before the byte that differs; the rest of the new one, to a request for it.
    let kept = old.clone();
    let server = FileServer::start(move |number, head| {
        let cut = |etag: &str, bytes: &[u8]| {
            response("200 OK", &format!("ETag: \"{etag}\"\r\nContent-Length: 12000\r\n"), bytes)
        };
        match number {
            0 => cut("old", &old[..CUT]),
            1 => cut("new", &new[..4000]),
            _ if header(head, "if-range") == Some("\"new\"") => part(&new, CUT, "ETag: \"new\"\r\n"),
            _ => framed("200 OK", "ETag: \"new\"\r\n", &new),
        }
    });
    let (_emulator, client, video) = server.video(None, 60_000);
    let mut bytes = Vec::new();
    let error = client.open(&video).unwrap().read_to_end(&mut bytes).unwrap_err().downcast::<Error>().unwrap();
    assert_changed("as a reader", &error);
    assert!(kept.starts_with(&bytes), "the bytes that were returned are of one file");
}

#[test]
fn a_file_that_changed_is_downloaded_from_its_start() {
    let steps = [Truncate(9000), OtherFile, Truncate(9000)];
    for (etags, last_modified) in [(true, true), (false, true), (false, false)] {
        let builder = Emulator::builder().status([]).etags(etags).last_modified(last_modified);
        let emulator = builder.file(steps.clone()).start();
        let (client, video) = video(&emulator);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fox.mp4");
        let bytes = client.download(&video, &path).unwrap();
        assert_ne!(bytes, complete_file().len() as u64);
        assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
        assert_eq!(emulator.files().len(), 4);
    }
}

#[test]
fn a_file_that_changes_before_each_response_is_given_up() {
    let server = FileServer::start(|number, _| {
        let headers = format!("ETag: \"{number}\"\r\nContent-Length: 12000\r\n");
        response("200 OK", &headers, &file()[..CUT])
    });
    let (_emulator, client, video) = server.video(None, 60_000);
    let directory = tempfile::tempdir().unwrap();
    let error = client.download(&video, directory.path().join("fox.mp4")).unwrap_err();
    assert_changed("the last time", &error);
    assert_eq!(server.requests().len(), 10, "five downloads, each of which meets two files");
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none(), "a file is left");
}

#[test]
fn a_reader_that_has_returned_bytes_of_another_file_fails_for_good() {
    let emulator = Emulator::builder().status([]).file([Truncate(9000), OtherFile]).start();
    let (client, video) = video(&emulator);
    let mut download = client.open(&video).unwrap();
    let error = io::copy(&mut download, &mut io::sink()).unwrap_err().downcast::<Error>().unwrap();
    assert_changed("as a reader", &error);
    assert!(download.read(&mut [0; 10]).is_err(), "an error is never followed by the end of a complete video");
}

#[test]
fn servers_with_all_kinds_of_validators_are_resumed() {
    let builder = || Emulator::builder().status([]).file([Truncate(9000)]);
    let table = [
        ("nginx", builder()),
        ("nginx with gzip, and Express", builder().weak_etags(true)),
        ("a date alone", builder().etags(false)),
        ("RFC 9110, 15.3.7", builder().last_modified_on_206(false)),
        ("RFC 9110, 15.3.7, and a date alone", builder().etags(false).last_modified_on_206(false)),
        ("RFC 9110, 15.3.7, and a weak ETag", builder().weak_etags(true).last_modified_on_206(false)),
        ("an ETag alone", builder().last_modified(false)),
    ];
    for (case, builder) in table {
        let emulator = builder.start();
        let (client, video) = video(&emulator);
        assert!(read(&client, &video).unwrap() == complete_file(), "{case}");
        assert_eq!(emulator.files()[1].header("range"), Some("bytes=9000-"), "{case}");
    }
}
