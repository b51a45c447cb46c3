//! Where a file ends: the framing of its transfer and its structure decide, and hints do not.

mod support;

use std::fs;
use std::io::{self, Read, Write};

use kling::Error;
use kling::emulator::Emulator;
use support::file_server::{FileServer, boxes, chunked, chunks, file, framed, header, part, range, response};
use support::{RawServer, cause, fox, millis, names};

/// The end of a download.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// With the complete file, after this many requests for it.
    Saved(usize),
    /// Without a file, because what arrived is this, again and again.
    NotAVideo(&'static str),
    /// Without a file, because no transfer ended well.
    NoResponse,
    /// Without a file, because its server sent this status.
    Status(u16),
}
use End::{NoResponse, NotAVideo, Saved, Status};

const ETAG: &str = "ETag: \"a\"\r\n";
const UNPROVEN: &str = "it ends after 12000 bytes, and nothing shows that this is its end";
const MEDIA: &str = "it ends after 6000 bytes, without an index (moov) or without media (mdat)";

/// Returns the response to a request, given the file and the head of the request.
type Respond = Box<dyn Fn(&[u8], &str) -> Vec<u8> + Send + Sync>;

/// One situation: the file, the `file_size` that the service reports, and the response of the file's server.
struct Case {
    name: &'static str,
    file: Vec<u8>,
    file_size: Option<u64>,
    response: Respond,
    end: End,
}

fn case(
    name: &'static str,
    file: Vec<u8>,
    file_size: Option<u64>,
    response: impl Fn(&[u8], &str) -> Vec<u8> + Send + Sync + 'static,
    end: End,
) -> Case {
    Case { name, file, file_size, response: Box::new(response), end }
}

#[track_caller]
fn assert_ends(cases: Vec<Case>) {
    for Case { name, file, file_size, response, end } in cases {
        let sent = file.clone();
        let server = FileServer::start(move |_, head| response(&sent, head));
        let max_wait = if matches!(end, Saved(_)) { 60_000 } else { 40 };
        let (_emulator, client, video) = server.video(file_size, max_wait);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fox.mp4");
        let result = client.download(&video, &path);
        match (end, result) {
            (Saved(requests), Ok(bytes)) => {
                assert!(fs::read(&path).unwrap() == file, "{name}: {bytes} other bytes");
                assert_eq!(server.requests().len(), requests, "{name}");
                continue;
            }
            (NotAVideo(expected), Err(error)) => match cause(&error) {
                Error::NotAVideo { found, .. } => assert_eq!(found, expected, "{name}"),
                other => panic!("{name}: {other:?}"),
            },
            (NoResponse, Err(error)) => assert!(matches!(cause(&error), Error::NoResponse { .. }), "{name}: {error:?}"),
            (Status(expected), Err(error)) => match cause(&error) {
                Error::UnexpectedResponse { status, .. } => assert_eq!(*status, expected, "{name}"),
                other => panic!("{name}: {other:?}"),
            },
            (end, result) => panic!("{name}: {end:?}, but {result:?}"),
        }
        assert_eq!(names(directory.path()), [""; 0], "{name}: leftovers");
    }
}

fn with_length(file: &[u8], _: &str) -> Vec<u8> {
    framed("200 OK", "", file)
}

fn in_chunks(file: &[u8], _: &str) -> Vec<u8> {
    chunked("", file)
}

fn until_close(file: &[u8], _: &str) -> Vec<u8> {
    response("200 OK", "", file)
}

/// A body without a length, but a server that knows ranges.
fn until_close_with_ranges(file: &[u8], head: &str) -> Vec<u8> {
    match range(head) {
        None => response("200 OK", ETAG, file),
        Some(first) if first < file.len() => part(file, first, ETAG),
        Some(_) => framed("416 Range Not Satisfiable", &format!("Content-Range: bytes */{}\r\n", file.len()), b""),
    }
}

/// Returns boxes, and bytes after them.
fn with(names: &str, rest: &[u8]) -> Vec<u8> {
    [&boxes(names), rest].concat()
}

fn fragments() -> Vec<u8> {
    boxes("ftyp moov moof mdat")
}

#[test]
fn file_size_is_a_hint_where_the_transfer_shows_its_end() {
    let sizes = [Some(11_999), Some(12_001), Some(0), Some(1), Some(u64::MAX), Some(12_000), None];
    let cases = sizes.into_iter().flat_map(|size| {
        [
            case("a length", file(), size, with_length, Saved(1)),
            case("chunks", file(), size, in_chunks, Saved(1)),
            case("a length, fragments", fragments(), size, with_length, Saved(1)),
            case("chunks, fragments", fragments(), size, in_chunks, Saved(1)),
        ]
    });
    assert_ends(cases.collect());
}

#[test]
fn file_size_decides_where_only_the_connection_ends() {
    let open_ended = || with("ftyp moov", b"\0\0\0\0mdat1234");
    let stray = || with("ftyp moov mdat", b"1234");
    let mfra = || boxes("ftyp moov moof mdat mfra");
    assert_ends(vec![
        // Complete boxes prove the end.
        case("no hint", file(), None, until_close, Saved(1)),
        case("the right hint", file(), Some(12_000), until_close, Saved(1)),
        case("a hint that is too low", file(), Some(11_999), until_close, Saved(1)),
        case("fragments that end with mfra", mfra(), None, until_close, Saved(1)),
        // They do not if the service announced more.
        case("a hint that is too high", file(), Some(12_001), until_close, NotAVideo("it ends after 12000 bytes")),
        case(
            "a cut between boxes",
            boxes("ftyp moov mdat"),
            Some(12_000),
            until_close,
            NotAVideo("it ends after 9000 bytes"),
        ),
        // Fragments, a last box without a length, and stray bytes could hide a cut.
        case("fragments", fragments(), None, until_close, NotAVideo(UNPROVEN)),
        case("fragments and the right hint", fragments(), Some(12_000), until_close, Saved(1)),
        case("fragments and a low hint", fragments(), Some(11_999), until_close, NotAVideo(UNPROVEN)),
        case(
            "no last length",
            open_ended(),
            None,
            until_close,
            NotAVideo("it ends after 6012 bytes, and nothing shows that this is its end"),
        ),
        case("no last length, and the right hint", open_ended(), Some(6012), until_close, Saved(1)),
        case(
            "stray bytes",
            stray(),
            None,
            until_close,
            NotAVideo("it ends after 9004 bytes, and nothing shows that this is its end"),
        ),
        case("stray bytes and the right hint", stray(), Some(9004), until_close, Saved(1)),
        // A server that knows ranges shows that there is no byte after the last one.
        case("a high hint, and ranges", file(), Some(12_001), until_close_with_ranges, Saved(2)),
        case("fragments, and ranges", fragments(), None, until_close_with_ranges, Saved(2)),
        case("no last length, and ranges", open_ended(), None, until_close_with_ranges, Saved(2)),
    ]);
}

#[test]
fn a_complete_file_needs_no_close() {
    // Without a length, the server would have to close the connection, but stays silent.
    let server = RawServer::start(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(&response("200 OK", "", &file()));
        let _ = stream.read(&mut [0; 4096]);
    });
    let emulator = Emulator::builder().status([]).client_timeout(millis(1000)).start();
    let client = emulator.client();
    let mut video = client.generate(&fox()).unwrap();
    (video.url, video.file_size) = (format!("http://127.0.0.1:{}/output.mp4", server.port), Some(12_000));
    assert_eq!(io::copy(&mut client.open(&video).unwrap(), &mut io::sink()).unwrap(), 12_000);
    server.assert_connections(1, "the file is not requested again");
}

#[test]
fn odd_but_complete_files_are_saved() {
    let table = [
        ("a free box before ftyp", boxes("free ftyp moov mdat")),
        ("a wide box before ftyp", boxes("wide ftyp mdat moov")),
        ("a skip box before ftyp", boxes("skip ftyp moov mdat")),
        ("QuickTime without ftyp", boxes("wide mdat moov")),
        ("QuickTime with a preview", boxes("moov mdat pnot PICT")),
        ("styp first", boxes("styp ftyp moov mdat")),
        ("uuid, sidx and vendor boxes", boxes("ftyp uuid pdin sidx moov Xtra mdat udta meta")),
        ("several mdat", boxes("ftyp mdat mdat moov mdat")),
        ("a 64-bit length", with("ftyp moov", b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x1412345678")),
        ("no last length", with("ftyp moov", b"\0\0\0\0mdat1234")),
        ("an index without a length", with("ftyp mdat", b"\0\0\0\0moov1234")),
        ("one stray byte", with("ftyp moov mdat", b"\n")),
        ("seven stray bytes", with("ftyp moov mdat", b"1234567")),
        ("zeros", with("ftyp moov mdat", &[0; 100])),
        ("zeros after fragments", with("ftyp moov moof mdat", &[0; 3])),
        ("more zeros after fragments", with("ftyp moov moof mdat", &[0; 4096])),
        ("a foreign trailer", with("ftyp moov mdat", b"TAG a title that a tagging program has appended")),
        ("fragments of a player", boxes("ftyp moov sidx moof mdat emsg moof mdat prft moof mdat")),
        ("CMAF", boxes("ftyp moov styp moof mdat styp moof mdat")),
    ];
    let cases = table.into_iter().flat_map(|(name, file)| {
        [case(name, file.clone(), None, with_length, Saved(1)), case(name, file, None, in_chunks, Saved(1))]
    });
    assert_ends(cases.collect());
}

#[test]
fn other_files_are_rejected_however_they_are_framed() {
    let table: [(&str, Vec<u8>, &str); 14] = [
        ("nothing", Vec::new(), "it is empty"),
        ("HTML", b"<!doctype html><title>Sign in</title>".to_vec(), "it is an HTML or XML page"),
        ("HTML after white space", b"\n\n  <html>".to_vec(), "it is an HTML or XML page"),
        ("XML", b"\xef\xbb\xbf<?xml version='1.0'?><Error/>".to_vec(), "it is an HTML or XML page"),
        ("JSON", b" {\"error\": \"expired\"}".to_vec(), "it is JSON"),
        ("text", b"not found".to_vec(), "it does not begin like an MP4 file"),
        ("short text", b"no".to_vec(), "it does not begin like an MP4 file"),
        ("text that looks like a box", b"The free trial is over".to_vec(), "it ends after 22 bytes, within a box"),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03ftyp".to_vec(), "it is compressed with gzip"),
        ("brotli", b"\x8b\x0f\x80\0\0\0\x20ftypisom\x03".to_vec(), "it does not begin like an MP4 file"),
        ("several ranges", b"--x\r\nContent-Type: video/mp4".to_vec(), "it does not begin like an MP4 file"),
        ("a cut box", file()[..11_999].to_vec(), "it ends after 11999 bytes, within a box"),
        ("no media", boxes("ftyp moov"), MEDIA),
        (
            "a segment",
            boxes("styp moof mdat"),
            "it ends after 9000 bytes, without an index (moov) or without media (mdat)",
        ),
    ];
    let cases = table.into_iter().flat_map(|(name, file, found)| {
        [
            case(name, file.clone(), None, with_length, NotAVideo(found)),
            case(name, file.clone(), Some(file.len() as u64), with_length, NotAVideo(found)),
            case(name, file.clone(), None, in_chunks, NotAVideo(found)),
            case(name, file, None, until_close, NotAVideo(found)),
        ]
    });
    assert_ends(cases.collect());
}

#[test]
fn odd_responses_are_read_as_rfc_9110_reads_them() {
    let partial = |headers: &'static str| move |file: &[u8], _: &str| framed("206 Partial Content", headers, file);
    let ok = |headers: &'static str| move |file: &[u8], _: &str| framed("200 OK", headers, file);
    let status = |line: &'static str| move |_: &[u8], _: &str| response(line, "Connection: close\r\n", b"");
    let first_part = |file: &[u8], head: &str| match range(head) {
        None => framed("206 Partial Content", &format!("{ETAG}Content-Range: bytes 0-999/12000\r\n"), &file[..1000]),
        Some(first) => part(file, first, ETAG),
    };
    // Lengths that disagree could smuggle a second response.
    let two_lengths = |file: &[u8], _: &str| framed("200 OK", "Content-Length: 5\r\n", file);
    let without_last_chunk = |file: &[u8], head: &str| match range(head) {
        None => chunks(ETAG, file),
        Some(_) => until_close_with_ranges(file, head),
    };
    let http_1_0 = |file: &[u8], _: &str| [b"HTTP/1.0 200 OK\r\n\r\n", file].concat();
    let too_long = |_: &[u8], _: &str| response("200 OK", "Content-Length: 20000000000\r\n", b"");
    assert_ends(vec![
        // 206 to a request without `Range`.
        case("206 with all bytes", file(), None, partial("Content-Range: bytes 0-11999/12000\r\n"), Saved(1)),
        case("206 of an unknown total", file(), None, partial("Content-Range: bytes 0-11999/*\r\n"), Saved(1)),
        case("206 without a range", file(), None, partial(""), Saved(1)),
        case("206 without a range, fragments", fragments(), None, partial(""), NotAVideo(UNPROVEN)),
        case("206 with fewer bytes", file(), None, first_part, Saved(2)),
        case("206 from the middle", file(), None, partial("Content-Range: bytes 5-12004/12005\r\n"), Status(206)),
        // `Content-Range` has no meaning in a 200.
        case("200 with a range of all", file(), None, ok("Content-Range: bytes 0-11999/12000\r\n"), Saved(1)),
        case("200 with a wrong range", file(), None, ok("Content-Range: bytes 0-5/10\r\n"), Saved(1)),
        case("200 with an invalid range", file(), None, ok("Content-Range: all\r\n"), Saved(1)),
        // Framing.
        case("the same length twice", file(), None, ok("Content-Length: 12000\r\n"), Saved(1)),
        case("two lengths", file(), None, two_lengths, NoResponse),
        case("a length beside chunks", file(), None, |file, _| chunked("Content-Length: 5\r\n", file), Saved(1)),
        case("no last chunk", file(), None, without_last_chunk, Saved(2)),
        case("no last chunk, and no ranges", file(), None, |file, _| chunks("", file), NoResponse),
        case("HTTP/1.0", file(), None, http_1_0, Saved(1)),
        case("more than 16 GiB", file(), None, too_long, NotAVideo("it is longer than 16 GiB")),
        // The bytes decide, not the encoding or the type that are claimed for them.
        case("a claimed encoding", file(), None, ok("Content-Encoding: gzip\r\n"), Saved(1)),
        case("a claimed page", file(), None, ok("Content-Type: text/html\r\n"), Saved(1)),
        // Responses without a file.
        case("202", file(), None, status("202 Accepted"), Status(202)),
        case("204", file(), None, status("204 No Content"), Status(204)),
        case("205", file(), None, status("205 Reset Content"), Status(205)),
        case(
            "416 of nothing",
            file(),
            None,
            |_, _| response("416 No", "Content-Range: bytes */0\r\n", b""),
            Status(416),
        ),
        case("304", file(), None, status("304 Not Modified"), Status(304)),
        case("300", file(), None, status("300 Multiple Choices"), Status(300)),
        case("302 without Location", file(), None, status("302 Found"), Status(302)),
    ]);
}

#[test]
fn a_reader_reports_an_incomplete_file_by_itself() {
    // Not left to `save`, which checks the bytes once more.
    let too_long = |file: &[u8], _: &str| {
        let range = "Content-Range: bytes 0-8999/9000\r\n";
        [response("206 Partial Content", &format!("{range}Transfer-Encoding: chunked\r\n"), b"2ee0\r\n"), file.to_vec()]
            .concat()
    };
    let cut = || file()[..11_999].to_vec();
    let within_a_box = NotAVideo("it ends after 11999 bytes, within a box");
    for Case { name, file, file_size, response, end } in [
        case("a cut box", cut(), None, with_length, within_a_box),
        case("a cut box in chunks", cut(), None, in_chunks, within_a_box),
        case("no media", boxes("ftyp moov"), None, with_length, NotAVideo(MEDIA)),
        case("no length", fragments(), None, until_close, NotAVideo(UNPROVEN)),
        case("a high hint", file(), Some(12_001), until_close, NotAVideo("it ends after 12000 bytes")),
        case("too long", file(), None, too_long, NotAVideo("it is longer than the announced 9000 bytes")),
    ] {
        let server = FileServer::start(move |_, head| response(&file, head));
        let (_emulator, client, video) = server.video(file_size, 40);
        let read = io::copy(&mut client.open(&video).unwrap(), &mut io::sink());
        let error = read.unwrap_err().downcast::<Error>().unwrap();
        match (cause(&error), end) {
            (Error::NotAVideo { found, .. }, NotAVideo(expected)) => assert_eq!(found, expected, "{name}"),
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn no_encoding_is_accepted() {
    let server = FileServer::always(framed("200 OK", "", &file()));
    let (_emulator, client, video) = server.video(None, 60_000);
    let _ = client.open(&video).unwrap();
    assert_eq!(header(&server.requests()[0], "accept-encoding"), Some("identity"));
}
