//! Waiting for a file server that is away, or that refuses the URL, and renewing the URL.

mod support;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use kling::emulator::{Emulator, EmulatorBuilder, Step};
use kling::{Client, Error, Poll, Video};
use support::file_server::{FileServer, file, framed, header, response};
use support::{RawServer, cause, closed_address, fox, millis};

use Step::{Completed, Generating, Http, Queued};

/// Returns a client that waits this long without progress, and a completed video.
fn video(emulator: &Emulator, max_wait: u64) -> (Client, Video) {
    let poll = Poll { interval: millis(5), max_wait: millis(max_wait) };
    let client = emulator.client_builder().poll(poll).build().unwrap();
    let video = emulator.client().generate(&fox()).expect("only the file has faults");
    (client, video)
}

/// Returns an emulator whose generations are completed at the first poll, and then respond with these steps.
fn emulator(file: Vec<Step>, polls: Vec<Step>) -> Emulator {
    builder(file, polls).start()
}

fn builder(file: Vec<Step>, polls: Vec<Step>) -> EmulatorBuilder {
    Emulator::builder().file(file).status([vec![Completed], polls].concat())
}

fn read(client: &Client, video: &Video) -> Result<u64, Error> {
    let read = io::copy(&mut client.open(video)?, &mut io::sink());
    read.map_err(|error| error.downcast::<Error>().expect("our own error"))
}

#[test]
fn a_file_server_that_is_away_is_waited_for() {
    let emulator = emulator(vec![], vec![]);
    let (client, mut video) = video(&emulator, 60_000);
    let address = closed_address();
    video.url = format!("http://{address}/output.mp4");
    let server = thread::spawn(move || {
        // Long enough for some attempts that are refused.
        thread::sleep(millis(100));
        let listener = TcpListener::bind(address).expect("the address is still free");
        let (mut stream, _) = listener.accept().expect("an attempt");
        support::respond(&mut stream, &framed("200 OK", "", &file()));
    });
    assert_eq!(read(&client, &video).unwrap(), 12_000);
    // The server waits for the end of the connection, which the client may have kept for another request.
    drop(client);
    server.join().unwrap();
}

#[test]
fn a_file_server_that_stays_away_is_given_up() {
    let emulator = emulator(vec![], vec![]);
    let (client, mut video) = video(&emulator, 50);
    video.url = format!("http://{}/output.mp4", closed_address());
    let error = read(&client, &video).unwrap_err();
    assert_eq!(error.generation_id(), Some(&video.id));
    assert!(matches!(cause(&error), Error::NoResponse { .. }), "{error:?}");
}

#[test]
fn a_retry_after_is_honored_up_to_the_end_of_the_wait() {
    let busy = |seconds: &str| Step::http_retry_after(503, seconds);
    // After two minutes that are cut short by the limit, the file is there.
    let emulator = emulator(vec![busy("120")], vec![]);
    let (client, video) = self::video(&emulator, 100);
    let started = Instant::now();
    assert!(read(&client, &video).is_ok());
    assert!(started.elapsed() >= millis(100), "it waited as long as it might");
    assert_eq!(emulator.files().len(), 2);

    let emulator = self::emulator(vec![busy("1"), busy("0")], vec![]);
    let (client, video) = self::video(&emulator, 60_000);
    let started = Instant::now();
    assert!(read(&client, &video).is_ok());
    assert!(started.elapsed() >= millis(1000));
    assert_eq!(emulator.files().len(), 3);
}

#[test]
fn a_server_that_sends_a_byte_and_hangs_up_is_given_up() {
    let emulator = emulator(vec![Step::Truncate(1); 5000], vec![]);
    let (client, video) = video(&emulator, 50);
    let error = read(&client, &video).unwrap_err();
    assert!(matches!(cause(&error), Error::NoResponse { .. }), "{error:?}");
    assert!(emulator.files().len() < 5000);
}

#[test]
fn bytes_that_belong_to_no_file_do_not_hold_up_a_download() {
    let head = response("200 OK", "Transfer-Encoding: chunked\r\n", b"");
    let last_chunk = b"\r\n0\r\n".as_slice();
    let table = [
        ("a chunk extension", [&*head, b"2ee0;"].concat(), [b"\r\n".as_slice(), &file(), last_chunk, b"\r\n"].concat()),
        ("a trailer", [&*head, b"2ee0\r\n", &file(), last_chunk, b"X: "].concat(), b"\r\n\r\n".to_vec()),
    ];
    for (fault, start, end) in table {
        let connections = AtomicUsize::new(0);
        let server = RawServer::start(move |mut stream| {
            if connections.fetch_add(1, Ordering::SeqCst) > 0 {
                return support::respond(&mut stream, &framed("200 OK", "", &file()));
            }
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&start);
            // It ends after 20 s, so that the test would fail instead of hanging.
            (0..2000).take_while(|_| stream.write_all(b"x").is_ok()).for_each(|_| thread::sleep(millis(10)));
            let _ = stream.write_all(&end);
        });
        let emulator = Emulator::builder().client_timeout(millis(250)).start();
        let (client, mut video) = video(&emulator, 60_000);
        video.url = format!("http://127.0.0.1:{}/output.mp4", server.port);
        assert_eq!(read(&client, &video).unwrap(), 12_000, "{fault}");
        assert!(server.connections() > 1, "{fault}");
    }
}

#[test]
fn a_refused_url_is_renewed_and_tried_at_once() {
    for status in [400, 401, 402, 403, 404, 410] {
        // Without patience, there is one delay: for the second refusal.
        let emulator = emulator(vec![Http(status), Http(status)], vec![]);
        let (client, video) = video(&emulator, 0);
        assert!(read(&client, &video).is_ok(), "{status}");
        let targets: Vec<_> = emulator.files().into_iter().map(|file| file.target).collect();
        assert_eq!(targets.len(), 3, "{status}");
        // The emulator's URLs carry the number of the poll that returned them.
        assert!(targets[0] != targets[1] && targets[1] != targets[2], "{status}: {targets:?}");
        assert_eq!(emulator.polls().len(), 3, "{status}");
    }
}

#[test]
fn a_file_that_is_published_late_is_waited_for() {
    // The same URL each time, and 404 until the file is there.
    let server = FileServer::start(|number, _| match number {
        0..20 => framed("404 Not Found", "", b"<html>"),
        _ => framed("200 OK", "", &file()),
    });
    let (emulator, client, video) = server.video(None, 60_000);
    assert_eq!(read(&client, &video).unwrap(), 12_000);
    assert_eq!((server.requests().len(), emulator.polls().len()), (21, 21));
}

#[test]
fn the_same_url_is_not_tried_again_at_once() {
    let server = FileServer::start(|number, _| match number {
        0..2 => framed("404 Not Found", "", b""),
        _ => framed("200 OK", "", &file()),
    });
    // Without patience, there is one delay: for the first refusal.
    let (_emulator, client, video) = server.video(None, 0);
    client.open(&video).unwrap_err();
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_url_that_expires_during_the_transfer_is_renewed() {
    let emulator = emulator(vec![Step::Truncate(9000), Http(403), Step::Truncate(9000), Http(400)], vec![]);
    let (client, video) = video(&emulator, 60_000);
    assert!(read(&client, &video).is_ok());
    let ranges: Vec<_> = emulator.files().iter().map(|file| file.header("range").map(str::to_owned)).collect();
    let after = |first: &str| Some(format!("bytes={first}-"));
    assert_eq!(ranges, [None, after("9000"), after("9000"), after("18000"), after("18000")]);
    assert_eq!(emulator.polls().len(), 3);

    // Without patience, there is one delay: for the broken transfer. Both renewed URLs are tried at once.
    let emulator = self::emulator(vec![Http(403), Step::Truncate(9000), Http(403)], vec![]);
    let (client, video) = self::video(&emulator, 0);
    assert!(read(&client, &video).is_ok());
}

#[test]
fn a_refused_url_ends_the_download_if_the_service_has_no_other() {
    let refused = || vec![Http(403); 5000];
    let status = |error: &Error| match cause(error) {
        Error::UnexpectedResponse { status, .. } | Error::Refused { status, .. } => *status,
        other => panic!("{other:?}"),
    };
    let table = [
        // polls after the first, status of the error, requests for the file
        ("a revoked key", vec![Http(401); 9], 401, 1),
        ("no credit", vec![Http(403); 9], 403, 1),
        ("generating again", vec![Generating; 9], 403, 1),
        ("queued again", vec![Queued; 9], 403, 1),
        ("another status", vec![Step::other_status("archived"); 9], 403, 1),
    ];
    for (case, polls, expected, files) in table {
        let emulator = emulator(refused(), polls);
        let (client, video) = video(&emulator, 60_000);
        let error = client.open(&video).unwrap_err();
        assert_eq!(status(&error), expected, "{case}");
        assert_eq!(error.generation_id(), Some(&video.id), "{case}");
        assert_eq!(emulator.files().len(), files, "{case}");
    }

    let emulator = emulator(refused(), vec![Step::failed("moderated")]);
    let (client, video) = video(&emulator, 60_000);
    let error = client.open(&video).unwrap_err();
    assert!(matches!(&error, Error::Failed { failure, .. } if failure.message == "moderated"), "{error:?}");
}

#[test]
fn a_poll_that_is_missed_while_a_url_is_renewed_is_retried() {
    let missed = || vec![Http(503), Step::Close, Http(404), Step::other_status("completed"), Http(429)];
    let emulator = emulator(vec![Http(403); 3], missed());
    let (client, video) = video(&emulator, 60_000);
    assert!(read(&client, &video).is_ok());

    let emulator = self::emulator(vec![Http(403); 5000], vec![Http(503); 5000]);
    let (client, video) = self::video(&emulator, 50);
    let error = client.open(&video).unwrap_err();
    assert!(matches!(cause(&error), Error::UnexpectedResponse { .. }), "{error:?}");
}

#[test]
#[cfg_attr(not(any(feature = "rustls", feature = "native-tls")), ignore = "needs TLS")]
fn a_remote_service_cannot_point_to_loopback() {
    let emulator = emulator(vec![], vec![]);
    let (_, mut video) = video(&emulator, 0);
    let server = RawServer::responding(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let poll = Poll { interval: millis(5), max_wait: millis(0) };
    let remote = Client::builder("a-key-of-the-service").poll(poll).build().unwrap();
    for host in
        ["127.0.0.1", "127.1", "localhost", "LOCALHOST", "a.localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"]
    {
        // Over http, some of these are not even recognized as loopback, which http is limited to.
        for (scheme, reason) in [("http", ""), ("https", "a remote service must not point to loopback")] {
            video.url = format!("{scheme}://{host}:{}/output.mp4", server.port);
            let error = remote.open(&video).unwrap_err();
            assert!(matches!(cause(&error), Error::NoResponse { .. }), "{host}: {error:?}");
            assert!(format!("{error:?}").contains(reason), "{host}: {error:?}");
        }
    }
    server.assert_connections(0, "nothing is requested");
}

#[test]
fn the_file_server_never_receives_the_key_and_no_error_shows_a_signature() {
    let gone = FileServer::always(response("404 Not Found", "", b"secret"));
    let target = gone.url();
    let server = FileServer::start(move |_, _| framed("302 Found", &format!("Location: {target}\r\n"), b""));
    let (_emulator, client, video) = server.video(None, 20);
    let error = client.open(&video).unwrap_err();
    for head in [server.requests(), gone.requests()].concat() {
        assert_eq!(header(&head, "authorization"), None);
        assert!(!head.contains("offline-key"), "{head}");
    }
    assert!(!gone.requests().is_empty());
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[test]
fn a_slow_transfer_is_not_a_broken_one() {
    // Each byte arrives long before the timeout, and the last one after it.
    let server = RawServer::start(|mut stream| {
        use io::{Read, Write};
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12000\r\n\r\n");
        for bytes in file().chunks(500) {
            thread::sleep(millis(50));
            let _ = stream.write_all(bytes);
        }
        let _ = stream.shutdown(Shutdown::Write);
    });
    let emulator = builder(vec![], vec![]).client_timeout(millis(1000)).start();
    let (client, mut video) = video(&emulator, 0);
    video.url = format!("http://127.0.0.1:{}/output.mp4", server.port);
    assert_eq!(read(&client, &video).unwrap(), 12_000);
    server.assert_connections(1, "it is not requested again");
}
