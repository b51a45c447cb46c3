//! The limits that a change must keep. They are instructions, so that a busy machine cannot break them.

use std::error::Error;

use crate::jobs::{Setting, per_byte, per_poll};
use crate::measure::Samples;
use crate::peers::{KLING, Profile, UREQ};

/// Compares kling with ureq over http, and fails if a ratio is above its limit.
pub fn check() -> Result<(), Box<dyn Error>> {
    let peers = [KLING, UREQ];
    let setting = |profile| Setting { scheme: "http", profile, rounds: 2 };
    let (debug, release) = (setting(Profile::Debug), setting(Profile::Release));
    for profile in [Profile::Debug, Profile::Release] {
        for peer in peers {
            // Without TLS, the packages are built in seconds.
            peer.prepare(profile, false)?;
        }
    }
    let table = [
        ("instructions per poll", per_poll(&peers, release, 200)?, 1.3),
        ("instructions per byte", per_byte(&peers, release, 4_000_000)?, 1.15),
        ("instructions per byte in a debug build", per_byte(&peers, debug, 2_000_000)?, 1.15),
    ];
    let mut broken = Vec::new();
    for (name, measured, limit) in table {
        let ratio = least(&measured[0]) / least(&measured[1]);
        println!("{name}: {ratio:.2} times those of ureq (limit {limit})");
        if ratio > limit {
            broken.push(name);
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(format!("above the limit: {}", broken.join(", ")).into()) }
}

/// A thread that waits in vain, or a chunk that arrives in pieces, only adds instructions.
fn least(samples: &Samples) -> f64 {
    samples.0.iter().copied().fold(f64::MAX, f64::min)
}
