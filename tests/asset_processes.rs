//! Each asset is paid for at most once, despite crashes and concurrent builds.

mod support;

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kling::asset::{State, ensure};
use kling::emulator::{Emulator, Step};
use kling::{Asset, Client, Error, Poll, Result, Seconds, VideoRequest};
use support::assets::{assert_current, campfire, client_of, events, generate, only_failure};
use support::{RawServer, accepted, fox, millis, names, only_id, respond, wait_until};

const CHILD_BASE: &str = "KLING_TEST_CHILD_BASE";
const CHILD_ASSET: &str = "KLING_TEST_CHILD_ASSET";

/// The body of the processes that the tests start, and kill.
#[test]
fn child() {
    let Some((_, path)) = child_environment() else { return };
    ensure([&Asset::new(path, fox())], child_client).unwrap();
}

fn child_environment() -> Option<(String, PathBuf)> {
    Some((std::env::var(CHILD_BASE).ok()?, std::env::var_os(CHILD_ASSET)?.into()))
}

fn child_client() -> Result<Client> {
    client_of(&child_environment().unwrap().0)
}

fn start_child(emulator: &Emulator, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child"])
        .env(CHILD_BASE, emulator.base_url())
        .env(CHILD_ASSET, path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn eight_threads_pay_once() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| generate(&asset, &emulator).unwrap());
        }
    });
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn eight_processes_pay_once() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    let children: Vec<Child> = (0..8).map(|_| start_child(&emulator, asset.path())).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(emulator.creates().len(), 1);
    assert_current(&asset);
}

/// Checks the state after a crash: the next run ends with a complete file, or the outcome is unknown.
#[track_caller]
fn assert_survived(asset: &Asset, emulator: &Emulator, case: &str) {
    if asset.path().exists() {
        let (_folder, complete) = campfire();
        generate(&complete, &Emulator::start()).unwrap();
        assert!(fs::read(asset.path()).unwrap() == fs::read(complete.path()).unwrap(), "{case}: an incomplete file");
    }
    match generate(asset, emulator) {
        Ok(()) => assert_current(asset),
        Err(Error::OutcomeUnknown { .. }) => {}
        Err(error) => panic!("{case}: {error:?}"),
    }
    assert!(accepted(emulator) <= 1, "{case}: paid twice");
}

#[test]
fn a_process_that_is_killed_between_two_steps_is_resumed() {
    for (case, create, status, file) in [
        ("after the request", vec![Step::Stall], vec![], vec![]),
        ("during the wait", vec![], vec![Step::Stall], vec![]),
        ("before the file", vec![], vec![], vec![Step::Stall]),
        ("within the file", vec![], vec![], vec![Step::StallAfter(9000)]),
    ] {
        let steps = (create.len(), status.len(), file.len());
        let emulator = Emulator::builder().create(create).status(status).file(file).start();
        let (_folder, asset) = campfire();
        let mut child = start_child(&emulator, asset.path());
        let has_stalled = || {
            (emulator.creates().len(), emulator.polls().len(), emulator.files().len())
                >= (1, steps.1 + steps.2, steps.2)
        };
        while !has_stalled() {
            assert!(child.try_wait().unwrap().is_none(), "{case}: it has ended");
            thread::sleep(millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!asset.path().exists(), "{case}");
        assert_survived(&asset, &emulator, case);
        assert!(asset.state().unwrap().is_current(), "{case}: all of these can be resumed");
        assert_eq!(names(asset.path().parent().unwrap()).len(), 2, "{case}: leftovers");
    }
}

#[test]
#[ignore = "kills three hundred processes, which takes a minute"]
fn a_process_that_is_killed_at_any_instant_is_resumed() {
    let mut rng = fastrand::Rng::with_seed(7);
    for n in 0..300 {
        let emulator = Emulator::start();
        let (_folder, asset) = campfire();
        let mut child = start_child(&emulator, asset.path());
        thread::sleep(Duration::from_micros(rng.u64(..80_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_survived(&asset, &emulator, &format!("instant {n}"));
    }
}

/// Opens a receipt to lock it. Not in append mode, which Windows refuses to lock.
fn open_receipt(asset: &Asset) -> fs::File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(asset.receipt_path()).unwrap()
}

/// Returns `false` under wine, where a file that was removed stays visible, and cannot be replaced, until it is closed. On
/// Windows 10 and later, it is gone at once.
fn open_files_can_be_removed() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("open");
    let _open = fs::File::create(&path).unwrap();
    fs::remove_file(&path).unwrap();
    !path.exists()
}

#[test]
fn a_locked_receipt_is_waited_for() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    let mut receipt = open_receipt(&asset);
    receipt.lock().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| generate(&asset, &emulator));
        thread::sleep(millis(20));
        assert_eq!(emulator.connections(), 0);
        // What the other process has written is read.
        receipt.write_all(b"{\"requested\":{\"at\":1,\"client_request_id\":\"x\",\"request\":{}}}\n").unwrap();
        // This unlocks it. Under wine, `unlock` does so, too, but fails.
        drop(receipt);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(emulator.creates().len(), 1);
    assert_eq!(events(&asset), ["requested", "requested", "created", "completed"]);
}

#[test]
fn a_lock_that_is_never_released_times_out() {
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    let receipt = open_receipt(&asset);
    receipt.lock().unwrap();
    let poll = Poll { max_wait: millis(20), ..Poll::default() };
    let connect = || Client::builder("rehearsal-key").base_url(emulator.base_url()).poll(poll).build();
    let error = only_failure(ensure([&asset], connect).unwrap_err());
    assert!(format!("{error:?}").contains("another process holds the lock"), "{error:?}");
    assert_eq!(emulator.connections(), 0);
}

#[test]
fn a_finished_asset_is_unlocked_while_others_run() {
    let emulator = Emulator::builder().status_of(0, []).status(vec![Step::Queued; 200]).start();
    let folder = tempfile::tempdir().unwrap();
    let assets = ["a.mp4", "b.mp4"].map(|name| Asset::new(folder.path().join(name), fox()));
    thread::scope(|scope| {
        let running = scope.spawn(|| ensure(&assets, || Ok(emulator.client())).unwrap());
        // On Windows, a locked receipt cannot be read.
        wait_until("it is current", || assets[0].state().is_ok_and(|state| state.is_current()));
        let receipt = open_receipt(&assets[0]);
        wait_until("it is unlocked", || receipt.try_lock().is_ok());
        assert!(!running.is_finished(), "the other one is still running");
    });
}

#[test]
fn the_lock_of_a_deleted_receipt_keeps_nobody_out() {
    if !open_files_can_be_removed() {
        return;
    }
    let emulator = Emulator::start();
    let (_folder, asset) = campfire();
    let deleted = open_receipt(&asset);
    deleted.lock().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| generate(&asset, &emulator));
        thread::sleep(millis(20));
        fs::remove_file(asset.receipt_path()).unwrap();
        drop(deleted);
        waiting.join().unwrap().unwrap();
    });
    assert_current(&asset);
    assert_eq!(emulator.creates().len(), 1);
}

#[test]
fn deleting_a_receipt_in_use_is_an_error_with_the_id() {
    if !open_files_can_be_removed() {
        return;
    }
    for (status, file) in [(vec![Step::Stall], vec![]), (vec![], vec![Step::Stall])] {
        let emulator = Emulator::builder().status(status).file(file).client_timeout(millis(1000)).start();
        let (_folder, asset) = campfire();
        thread::scope(|scope| {
            let running = scope.spawn(|| generate(&asset, &emulator));
            wait_until("it is polled", || !emulator.polls().is_empty());
            fs::remove_file(asset.receipt_path()).unwrap();
            let error = running.join().unwrap().unwrap_err();
            assert_eq!(error.generation_id(), Some(&only_id(&emulator)));
            assert!(format!("{error:?}").contains("deleted or replaced"), "{error:?}");
        });
        // The file is there, and is not paid for again.
        assert_eq!(asset.state().unwrap(), State::Untracked);
        generate(&asset, &emulator).unwrap_err();
        assert_eq!(emulator.creates().len(), 1);
    }
}

#[test]
fn a_receipt_that_is_replaced_in_use_keeps_its_file() {
    if !open_files_can_be_removed() {
        return;
    }
    // During the wait, and during the download.
    for (status, file) in [(vec![Step::Stall], vec![]), (vec![], vec![Step::StallAfter(9000)])] {
        let within_the_file = status.is_empty();
        let first = Emulator::script([]);
        let emulator = Emulator::builder().status(status).file(file).client_timeout(millis(1000)).start();
        let (folder, fox_asset) = campfire();
        let owl_asset = Asset::new(fox_asset.path(), VideoRequest::new("an owl").duration(Seconds::Ten));
        generate(&fox_asset, &first).unwrap();
        let (receipt, before) = (fs::read(fox_asset.receipt_path()).unwrap(), fs::read(fox_asset.path()).unwrap());
        thread::scope(|scope| {
            let running = scope.spawn(|| generate(&owl_asset, &emulator));
            wait_until("it is in use", || {
                !emulator.polls().is_empty() && (!within_the_file || !emulator.files().is_empty())
            });
            // As `git checkout` does it.
            fs::write(folder.path().join("new"), &receipt).unwrap();
            fs::rename(folder.path().join("new"), fox_asset.receipt_path()).unwrap();
            let error = running.join().unwrap().unwrap_err();
            assert!(error.generation_id().is_some(), "{error:?}");
        });
        assert!(fs::read(fox_asset.path()).unwrap() == before, "the file is still that of its receipt");
        assert_current(&fox_asset);
    }
}

#[test]
fn a_refusal_is_recorded_before_the_next_attempt_is_sent() {
    let (_folder, asset) = campfire();
    let (receipt, elsewhere) = (asset.receipt_path(), asset.path().with_extension("elsewhere"));
    let requests = AtomicUsize::new(0);
    // The receipt is out of place when the refusal is to be recorded.
    let server = RawServer::start(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        match requests.fetch_add(1, Ordering::SeqCst) {
            0 => {
                fs::rename(&receipt, &elsewhere).unwrap();
                respond(
                    &mut stream,
                    b"HTTP/1.1 429 No\r\nRetry-After: 3\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                );
                thread::sleep(millis(100));
                fs::rename(&elsewhere, &receipt).unwrap();
            }
            1 => respond(&mut stream, b"HTTP/1.1 201 Yes\r\nContent-Length: 12\r\n\r\n{\"id\":\"a:b\"}"),
            _ => respond(&mut stream, b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"),
        }
    });
    let connect = || client_of(&format!("http://127.0.0.1:{}", server.port));
    let error = only_failure(ensure([&asset], connect).unwrap_err());
    assert_eq!(error.generation_id().map(|id| id.as_str()), Some("a:b"), "{error:?}");
    assert_eq!(events(&asset), ["requested", "refused", "requested", "created"]);
}

#[test]
fn an_id_that_could_not_be_recorded_is_recorded_at_the_end() {
    let (_folder, asset) = campfire();
    let (receipt, elsewhere) = (asset.receipt_path(), asset.path().with_extension("elsewhere"));
    let requests = AtomicUsize::new(0);
    // The receipt is out of place when the id is to be recorded.
    let server = RawServer::start(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        match requests.fetch_add(1, Ordering::SeqCst) {
            0 => {
                fs::rename(&receipt, &elsewhere).unwrap();
                respond(&mut stream, b"HTTP/1.1 201 Yes\r\nContent-Length: 12\r\n\r\n{\"id\":\"a:b\"}");
            }
            1 => {
                fs::rename(&elsewhere, &receipt).unwrap();
                respond(&mut stream, b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
            }
            _ => {}
        }
    });
    let connect = || client_of(&format!("http://127.0.0.1:{}", server.port));
    let error = only_failure(ensure([&asset], connect).unwrap_err());
    assert_eq!(error.generation_id().map(|id| id.as_str()), Some("a:b"), "{error:?}");
    assert_eq!(events(&asset), ["requested", "created"]);
}

#[test]
#[cfg(unix)]
fn more_assets_than_files_may_be_open_are_generated() {
    let emulator = Emulator::start();
    let folder = tempfile::tempdir().unwrap();
    let limited = "ulimit -n 40 && exec \"$0\" --exact child_of_many --test-threads 1";
    let status = Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD_BASE, emulator.base_url())
        .env(CHILD_ASSET, folder.path().join("campfire.mp4"))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(accepted(&emulator), MANY);
}

const MANY: usize = 50;

/// The body of a process, as `child`.
#[test]
fn child_of_many() {
    let Some((_, path)) = child_environment() else { return };
    let many: Vec<Asset> = (0..MANY)
        .map(|n| Asset::new(path.with_file_name(format!("{n}.mp4")), VideoRequest::new(format!("fox {n}"))))
        .collect();
    ensure(&many, child_client).unwrap();
}
