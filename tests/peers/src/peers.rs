//! The clients that are compared, and how to build and start each.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::measure::{is_there, run};

/// One client.
#[derive(Clone, Copy, PartialEq)]
pub struct Peer {
    pub name: &'static str,
    pub program: Program,
    pub speaks_https: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Program {
    /// A package in `clients`.
    Package(&'static str),
    /// A file in `clients` for Python.
    Python(&'static str),
    /// A file in `clients` for the shell.
    Shell(&'static str),
}

use Program::{Package, Python, Shell};

pub const KLING: Peer = Peer { name: "kling", program: Package("with-kling"), speaks_https: true };
/// All ratios are to this one.
pub const UREQ: Peer = Peer { name: "ureq", program: Package("with-ureq"), speaks_https: true };
/// The dependencies of kling alone. They are built, and do nothing.
pub const FOUR_PACKAGES: Peer =
    Peer { name: "its four packages", program: Package("four-packages"), speaks_https: true };

const OTHERS: [Peer; 6] = [
    Peer { name: "reqwest (blocking)", program: Package("with-reqwest"), speaks_https: true },
    Peer { name: "reqwest (tokio)", program: Package("with-tokio"), speaks_https: true },
    Peer { name: "attohttpc", program: Package("with-attohttpc"), speaks_https: true },
    Peer { name: "requests (Python)", program: Python("with_requests.py"), speaks_https: true },
    Peer { name: "curl", program: Shell("with_curl.sh"), speaks_https: true },
    Peer { name: "plain socket", program: Package("plain-socket"), speaks_https: false },
];

/// The interpreter of Python, if it has `requests`. `python3` may be a script that looks for the interpreter, which costs
/// more than the job.
static PYTHON: LazyLock<Option<String>> = LazyLock::new(|| {
    let output = Command::new("python3").args(["-c", "import requests, sys; print(sys.executable)"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
});

/// Returns the clients that can run on this machine.
pub fn present() -> Vec<Peer> {
    [KLING, UREQ].into_iter().chain(OTHERS).filter(Peer::is_present).collect()
}

/// Returns the clients that cannot run on this machine.
pub fn absent() -> impl Iterator<Item = Peer> {
    OTHERS.into_iter().filter(|peer| !peer.is_present())
}

/// How a client is built.
#[derive(Clone, Copy, PartialEq)]
pub enum Profile {
    Debug,
    Release,
}

impl Profile {
    pub fn name(self) -> &'static str {
        if self == Profile::Debug { "debug" } else { "release" }
    }
}

/// Returns the folder of this package.
pub fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns a `cargo build` of one client, with these features and its output in a folder within `target`.
pub fn build(package: &str, profile: Profile, features: &[&str], target: &str) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(folder()).args(["build", "--quiet", "--locked", "--package", package]).args(features);
    command.arg("--target-dir").arg(folder().join("target").join(target));
    if profile == Profile::Release {
        command.arg("--release");
    }
    command
}

impl Peer {
    fn is_present(&self) -> bool {
        match self.program {
            Package(_) => true,
            Python(_) => PYTHON.is_some(),
            Shell(_) => is_there("curl", &["--version"]),
        }
    }

    pub fn package(&self) -> Option<&'static str> {
        match self.program {
            Package(package) => Some(package),
            Python(_) | Shell(_) => None,
        }
    }

    /// Builds the client, with root certificates of the operating system unless it is built without TLS.
    pub fn prepare(&self, profile: Profile, with_tls: bool) -> Result<(), Box<dyn Error>> {
        let Package(package) = self.program else { return Ok(()) };
        let features: &[&str] = match (with_tls, self.speaks_https) {
            (true, true) => &["--features", "system-roots"],
            (true, false) => &[],
            (false, _) => &["--no-default-features"],
        };
        eprintln!("building {package} ({})", profile.name());
        run(&mut build(package, profile, features, "run")).map(drop)
    }

    /// Returns the program with its arguments before those of the job.
    pub fn command(&self, profile: Profile) -> Command {
        let (interpreter, file) = match self.program {
            Package(package) => return Command::new(program_path("run", profile, package)),
            Python(file) => (PYTHON.as_deref().unwrap_or("python3"), file),
            Shell(file) => ("sh", file),
        };
        let mut command = Command::new(interpreter);
        command.arg(folder().join("clients").join(file));
        command
    }
}

pub fn program_path(target: &str, profile: Profile, package: &str) -> PathBuf {
    folder().join("target").join(target).join(profile.name()).join(package)
}
