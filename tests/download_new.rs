//! Downloads that never replace a file, and downloads through a reader of the caller's.

mod support;

use std::cell::Cell;
use std::fs;
use std::io;
use std::process::{Command, Stdio};

use kling::emulator::{Emulator, Step};
use kling::{Client, Error, Poll};
use support::{cause, fox, millis, names};

const CHILD: &str = "KLING_TEST_DOWNLOAD_NEW";

#[test]
fn of_eight_processes_exactly_one_downloads_to_a_path() {
    if let Ok(base_url) = std::env::var(CHILD) {
        let poll = Poll { interval: millis(1), ..Poll::default() };
        let client = Client::builder("rehearsal-key").base_url(base_url).poll(poll).build().unwrap();
        let video = client.generate(&fox()).unwrap();
        match client.download_new(&video, "fox.mp4") {
            Ok(_) => println!("saved"),
            Err(error) => {
                let Error::Io { source, .. } = cause(&error) else { panic!("{error:?}") };
                assert_eq!(source.kind(), io::ErrorKind::AlreadyExists);
            }
        }
        return;
    }
    let emulator = Emulator::start();
    let folder = tempfile::tempdir().unwrap();
    let mut children = Vec::new();
    for _ in 0..8 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "of_eight_processes_exactly_one_downloads_to_a_path", "--nocapture"]);
        command.env(CHILD, emulator.base_url()).current_dir(folder.path());
        children.push(command.stdout(Stdio::piped()).spawn().unwrap());
    }
    let outputs: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    assert!(outputs.iter().all(|output| output.status.success()));
    let saved = outputs.iter().filter(|output| String::from_utf8_lossy(&output.stdout).contains("saved")).count();
    assert_eq!(saved, 1);
    assert_eq!(names(folder.path()), ["fox.mp4"]);
}

#[test]
fn an_existing_file_is_an_error_before_anything_is_requested() {
    let emulator = Emulator::script([]);
    let client = emulator.client();
    let video = client.generate(&fox()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fox.mp4");
    fs::write(&path, "old").unwrap();
    let error = client.download_new(&video, &path).unwrap_err();
    assert_eq!(error.generation_id(), Some(&video.id));
    assert_eq!(emulator.files().len(), 0);
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
fn a_reader_of_the_callers_is_made_again_when_the_download_starts_over() {
    let emulator = Emulator::builder().status([]).file([Step::ResetAfter(9000), Step::OtherFile]).start();
    let client = emulator.client();
    let video = client.generate(&fox()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fox.mp4");
    let wrapped = Cell::new(0);
    let bytes = client.download_with(&video, &path, |download| {
        wrapped.set(wrapped.get() + 1);
        assert_eq!(download.video().id, video.id);
        download
    });
    assert_eq!(bytes.unwrap(), fs::metadata(&path).unwrap().len());
    assert_eq!(wrapped.get(), 2);
}

#[test]
fn an_error_of_the_callers_reader_leaves_no_file_and_keeps_the_id() {
    struct Fails;
    impl io::Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the user has pressed Ctrl-C"))
        }
    }
    let emulator = Emulator::script([]);
    let client = emulator.client();
    let video = client.generate(&fox()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = client.download_with(&video, folder.path().join("fox.mp4"), |_| Fails).unwrap_err();
    assert_eq!(error.generation_id(), Some(&video.id));
    assert!(format!("{error:?}").contains("the user has pressed Ctrl-C"), "{error:?}");
    assert_eq!(names(folder.path()), [""; 0]);
}
