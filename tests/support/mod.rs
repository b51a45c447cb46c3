//! What the tests share.

#![allow(dead_code)] // Each test file uses a part of it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, thread};

use kling::emulator::Emulator;
use kling::{Error, GenerationId, VideoRequest};

pub fn fox() -> VideoRequest {
    VideoRequest::new("A fox in the snow")
}

pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How many creates the service accepted, and so charged.
pub fn accepted(emulator: &Emulator) -> usize {
    emulator.creates().iter().filter(|create| create.generation_id.is_some()).count()
}

/// The id of the only accepted create.
#[track_caller]
pub fn only_id(emulator: &Emulator) -> GenerationId {
    assert_eq!(accepted(emulator), 1, "accepted creates");
    let id = emulator.creates().into_iter().find_map(|create| create.generation_id);
    id.expect("it was accepted").parse().expect("a good id")
}

/// What stopped a generation from being received.
#[track_caller]
pub fn cause(error: &Error) -> &Error {
    match error {
        Error::Unfinished { source, .. } | Error::OutcomeUnknown { source, .. } => source,
        other => panic!("neither unfinished nor unknown: {other:?}"),
    }
}

/// The names in a folder.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

/// A port that nobody listens on.
pub fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Sends these bytes and ends well: what the client still sends is read, so that the connection is not reset.
pub fn say(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = io::copy(stream, &mut io::sink());
}

/// A server that does one thing with each connection. It lives as long as the test process.
pub struct RawServer {
    pub port: u16,
    connections: Arc<AtomicUsize>,
}

impl RawServer {
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        RawServer { port, connections }
    }

    /// A server that says these bytes to whatever comes first, and closes.
    pub fn saying(bytes: &'static [u8]) -> Self {
        RawServer::start(move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            say(&mut stream, bytes);
        })
    }

    /// A server that accepts and says nothing.
    pub fn silent() -> Self {
        RawServer::start(|stream| {
            thread::sleep(Duration::from_secs(60));
            drop(stream);
        })
    }

    /// Returns how many connections were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many connections were made. The system completes one before this server's thread has taken it, so this
    /// waits a little for the last of them.
    #[track_caller]
    pub fn has_had(&self, connections: usize, case: &str) {
        for _ in 0..1000 {
            if self.connections.load(Ordering::SeqCst) >= connections {
                break;
            }
            thread::sleep(millis(5));
        }
        assert_eq!(self.connections.load(Ordering::SeqCst), connections, "{case}");
    }
}

/// Runs the body of the test `name` in a process of its own, with these environment variables: the environment of this
/// process belongs to all its threads. Returns what it has printed.
pub fn in_a_process_of_its_own(name: &str, environment: &[(&str, &str)], folder: &Path, body: impl FnOnce()) -> String {
    const CHILD: &str = "KLING_TEST_CHILD";
    const DONE: &str = "the body of the test has run";
    if std::env::var_os(CHILD).is_some() {
        body();
        println!("{DONE}");
        std::process::exit(0);
    }
    let mut command = Command::new(std::env::current_exe().expect("the path of this test"));
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy().to_uppercase();
        if name.starts_with("AIML") || name.starts_with("CARGO") || name.ends_with("_PROXY") {
            command.env_remove(variable);
        }
    }
    command.envs(environment.iter().copied()).env(CHILD, "1").current_dir(folder);
    let output = command.args(["--exact", name, "--nocapture"]).output().expect("the test starts again");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(DONE), "{environment:?}\n{text}\n{complaint}");
    format!("{text}{complaint}")
}
