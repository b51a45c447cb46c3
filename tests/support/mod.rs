//! Helpers that the tests share.

#![allow(dead_code)] // Each test file uses only some of them.

pub mod assets;
pub mod file_server;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use kling::emulator::{Emulator, Step};
use kling::{Error, GenerationId, VideoRequest};

/// Returns a valid request.
pub fn fox() -> VideoRequest {
    VideoRequest::new("A fox in the snow")
}

pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns the client timeout for an emulator with these steps. Only a silent server has to time out within the test:
/// everything else may take long on a busy machine.
pub fn timeout_for(steps: &[Step]) -> Duration {
    let is_silent = |step: &Step| matches!(step, Step::Stall | Step::StallAfter(_) | Step::Throttle(_));
    millis(if steps.iter().any(is_silent) { 250 } else { 5000 })
}

/// Returns how many create requests the service accepted, and so charged.
pub fn accepted(emulator: &Emulator) -> usize {
    emulator.creates().iter().filter(|create| create.generation_id.is_some()).count()
}

/// Returns the id of the only accepted create request.
#[track_caller]
pub fn only_id(emulator: &Emulator) -> GenerationId {
    assert_eq!(accepted(emulator), 1, "accepted create requests");
    let id = emulator.creates().into_iter().find_map(|create| create.generation_id);
    id.expect("one was accepted").parse().expect("a valid id")
}

/// Returns why a generation's video was not received, or why its outcome is unknown.
#[track_caller]
pub fn cause(error: &Error) -> &Error {
    match error {
        Error::Unfinished { source, .. } | Error::OutcomeUnknown { source, .. } => source,
        other => panic!("neither unfinished nor unknown: {other:?}"),
    }
}

/// Returns the error as `fn main` prints it, with placeholders for its ports, random ids and error numbers.
pub fn printed(error: &Error) -> String {
    const MODEL: &str = "klingai/v2.5-turbo/pro/text-to-video";
    let is_id = |c: char| c.is_ascii_hexdigit() || c == '-';
    let is_digit = |c: char| c.is_ascii_digit();
    let text = format!("{error:?}").replace(MODEL, "MODEL").replace("127.0.0.2", "127.0.0.1");
    // Paths are compared as Unix writes them.
    let text = if cfg!(windows) { text.replace('\\', "/") } else { text };
    let text = replace_after(&text, "http://127.0.0.1:", 2, is_digit, "PORT");
    let text = replace_after(&text, "kling-", 32, is_id, "RANDOM");
    let text = replace_after(&text, "generation ", 36, is_id, "UUID");
    replace_after(&text, " (os error ", 1, is_digit, "N")
}

/// Replaces the characters of one kind that follow each `prefix`, if there are at least `min` of them.
fn replace_after(text: &str, prefix: &str, min: usize, is_kind: impl Fn(char) -> bool, placeholder: &str) -> String {
    let mut pieces = text.split(prefix);
    let mut replaced = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(&is_kind);
        let is_long = piece.len() - rest.len() >= min;
        replaced += &if is_long { format!("{prefix}{placeholder}{rest}") } else { format!("{prefix}{piece}") };
    }
    replaced
}

/// Waits until `condition` is met, for at most 60 s.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        thread::sleep(millis(1));
    }
}

/// Returns the names of the files in a directory.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("the directory can be read");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

/// Returns an address that nobody listens on. No test takes its port: they all use 127.0.0.1, where macOS has nothing else.
pub fn closed_address() -> SocketAddr {
    let host = if cfg!(target_os = "macos") { "127.0.0.1" } else { "127.0.0.2" };
    let listener = TcpListener::bind((host, 0)).expect("a free port");
    listener.local_addr().expect("an address")
}

/// Sends a response and closes the connection. Reads what the client still sends: closing with unread data would reset
/// the connection.
pub fn respond(stream: &mut TcpStream, response: &[u8]) {
    let _ = stream.write_all(response);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = io::copy(stream, &mut io::sink());
}

/// A TCP server that handles each connection the same way. It runs until the test process exits.
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

    /// Starts a server that sends the same response to everything.
    pub fn responding(response: &'static [u8]) -> Self {
        RawServer::start(move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            respond(&mut stream, response);
        })
    }

    /// Starts a server that accepts connections and sends nothing.
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

    /// Checks how many connections were made. The operating system completes a connection before the server's thread
    /// accepts it, so this waits up to 5 s for the last ones.
    #[track_caller]
    pub fn assert_connections(&self, expected: usize, case: &str) {
        for _ in 0..1000 {
            if self.connections.load(Ordering::SeqCst) >= expected {
                break;
            }
            thread::sleep(millis(5));
        }
        assert_eq!(self.connections.load(Ordering::SeqCst), expected, "{case}");
    }
}

/// Runs `body` in a child process with these environment variables, and returns the child's output.
///
/// Tests run on several threads, which share one environment. The child is this test program, restricted to the test
/// that calls this: there, the call runs `body` and exits. Must be called on the test's own thread, which has its name.
#[track_caller]
pub fn in_child_process(environment: &[(&str, &str)], directory: &Path, body: impl FnOnce()) -> String {
    const CHILD: &str = "KLING_TEST_CHILD";
    const DONE: &str = "the body of the test has run";
    if env::var_os(CHILD).is_some() {
        body();
        println!("{DONE}");
        process::exit(0);
    }
    let thread = thread::current();
    let test = thread.name().expect("a test's thread has the name of the test");
    let mut command = Command::new(env::current_exe().expect("the path of this test program"));
    for (variable, _) in env::vars_os() {
        let name = variable.to_string_lossy().to_uppercase();
        if name.starts_with("AIML") || name.starts_with("CARGO") || name.ends_with("_PROXY") {
            command.env_remove(variable);
        }
    }
    command.envs(environment.iter().copied()).env(CHILD, "1").current_dir(directory);
    let output = command.args(["--exact", test, "--nocapture"]).output().expect("the test program starts again");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stdout.contains(DONE), "{environment:?}\n{stdout}\n{stderr}");
    format!("{stdout}{stderr}")
}

/// Runs a command, and returns its output.
#[track_caller]
pub fn run(command: &mut Command, succeeds: bool) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.success(), succeeds, "{command:?}\n{text}");
    text
}
