//! The clients that are compared, and how to build and start each.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    /// An interpreter, and a file in `clients`.
    Script(&'static str, &'static str),
}

use Program::{Package, Script};

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
    Peer { name: "requests (Python)", program: Script("python3", "with_requests.py"), speaks_https: true },
    Peer { name: "curl", program: Script("sh", "with_curl.sh"), speaks_https: true },
    Peer { name: "plain socket", program: Package("plain-socket"), speaks_https: false },
];

/// Returns the clients that can run on this machine.
pub fn present() -> Vec<Peer> {
    let others = OTHERS.into_iter().filter(|peer| match peer.program {
        Package(_) => true,
        Script("python3", _) => is_there("python3", &["-c", "import requests"]),
        Script(..) => is_there("curl", &["--version"]),
    });
    [KLING, UREQ].into_iter().chain(others).collect()
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
    pub fn package(&self) -> Option<&'static str> {
        match self.program {
            Package(package) => Some(package),
            Script(..) => None,
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
        match self.program {
            Package(package) => Command::new(program_path("run", profile, package)),
            Script(interpreter, file) => {
                let mut command = Command::new(interpreter);
                command.arg(folder().join("clients").join(file));
                command
            }
        }
    }
}

pub fn program_path(target: &str, profile: Profile, package: &str) -> PathBuf {
    folder().join("target").join(target).join(profile.name()).join(package)
}
