//! Compares what the same job costs with kling, with bare ureq, and with other HTTP clients.

mod check;
mod cold;
mod jobs;
mod measure;
mod peers;
mod report;
mod server;

use std::env;
use std::error::Error;
use std::process::ExitCode;

use jobs::{FileUse, Job, Setting, per_byte, per_poll};
use measure::{Samples, is_there};
use peers::{FOUR_PACKAGES, Peer, Profile};
use report::Table;

/// The file in the service's own sample.
const FILE: u64 = 20_000_000;

const USAGE: &str = "usage: peers [--quick | --check]

  --quick   small files, few rounds, no cold builds, and debug builds of few clients
  --check   only kling and ureq, by instructions; fails if a ratio is above its limit";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Not with `Debug`, as a result of `main` is: it may be the output of a command.
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("serve") => server::serve(&args[1..]),
        Some("--check") if !has_valgrind() => {
            println!("skipped: valgrind is not installed");
            Ok(())
        }
        Some("--check") => check::check(),
        Some("--quick") => compare(&QUICK),
        None => compare(&FULL),
        Some(_) => Err(USAGE.into()),
    }
}

fn has_valgrind() -> bool {
    is_there("valgrind", &["--version"])
}

/// How much is measured.
struct Scale {
    /// The runs of a job that takes milliseconds. Longer ones run three times.
    rounds: usize,
    large: u64,
    large_name: &'static str,
    cold_builds: usize,
    polls: u64,
}

const FULL: Scale = Scale { rounds: 11, large: 1 << 30, large_name: "1 GiB", cold_builds: 3, polls: 1000 };
const QUICK: Scale = Scale { rounds: 5, large: 64 << 20, large_name: "64 MiB", cold_builds: 0, polls: 200 };

fn compare(scale: &Scale) -> Result<(), Box<dyn Error>> {
    let peers = peers::present();
    println!("{}.", report::versions()?);
    let mut absent: Vec<_> = peers::absent().map(|peer| peer.name).collect();
    if !has_valgrind() {
        absent.push("valgrind, which counts instructions");
    }
    if !absent.is_empty() {
        println!("Left out, because not installed: {}.", absent.join(", "));
    }
    println!("Times as much as bare ureq: medians of alternating runs, ± half of their range.");
    let in_debug: Vec<_> = peers.iter().copied().filter(|peer| scale.cold_builds > 0 || is_quick(peer)).collect();
    for (profile, peers) in [(Profile::Release, &peers), (Profile::Debug, &in_debug)] {
        for peer in peers {
            peer.prepare(profile, true)?;
        }
    }
    for (scheme, profile) in
        [("http", Profile::Release), ("http", Profile::Debug), ("https", Profile::Release), ("https", Profile::Debug)]
    {
        let peers = if profile == Profile::Release { &peers } else { &in_debug };
        let with_scheme: Vec<_> = peers.iter().copied().filter(|peer| peer.speaks_https || scheme == "http").collect();
        runs(&with_scheme, Setting { scheme, profile, rounds: scale.rounds }, scale)?;
    }
    builds(&peers, scale)
}

/// Returns `true` for the clients whose debug build takes seconds, and for those that need none.
fn is_quick(peer: &Peer) -> bool {
    !["reqwest", "attohttpc"].iter().any(|name| peer.name.starts_with(name))
}

fn builds(peers: &[Peer], scale: &Scale) -> Result<(), Box<dyn Error>> {
    let mut built: Vec<_> =
        peers.iter().copied().filter(|peer| peer.package().is_some() && peer.speaks_https).collect();
    built.insert(1, FOUR_PACKAGES);
    let packages: Vec<_> = built.iter().filter_map(Peer::package).collect();
    let table = Table::new("Builds", &built);
    let crates = packages.iter().map(|package| Ok(Samples(vec![cold::crates(package)?])));
    table.row("crates", &built, &crates.collect::<Result<Vec<_>, Box<dyn Error>>>()?);
    if scale.cold_builds == 0 {
        return Ok(());
    }
    let seconds = cold::build_dependency(&packages, scale.cold_builds)?;
    table.row("cold debug build as a build-dependency: CPU", &built, &seconds);
    let (seconds, sizes) = cold::release(&packages, scale.cold_builds)?;
    table.row("cold release build: CPU", &built, &seconds);
    table.row("size of the stripped program", &built, &sizes);
    Ok(())
}

fn runs(peers: &[Peer], setting: Setting, scale: &Scale) -> Result<(), Box<dyn Error>> {
    let table = Table::new(&format!("Over {}, {} build", setting.scheme, setting.profile.name()), peers);
    let (seconds, memory) = Job { file: FileUse::Save, polls: 20, bytes: FILE }.usage(peers, setting)?;
    table.row("20 polls and 20 MB, saved: CPU", peers, &seconds);
    table.row("the same: peak memory", peers, &memory);
    if setting.profile == Profile::Release {
        let job = Job { file: FileUse::Poll, polls: scale.polls, bytes: FILE };
        table.row(&format!("{} polls: CPU", scale.polls), peers, &job.usage(peers, setting)?.0);
    }
    // In a debug build with TLS, each of these runs would take a minute.
    if (setting.scheme, setting.profile) != ("https", Profile::Debug) {
        let job = Job { file: FileUse::Read, polls: 1, bytes: scale.large };
        let (seconds, memory) = job.usage(peers, Setting { rounds: 3, ..setting })?;
        table.row(&format!("{} to nowhere: CPU", scale.large_name), peers, &seconds);
        table.row("the same: peak memory", peers, &memory);
    }
    if has_valgrind() {
        let programs: Vec<_> = peers.iter().copied().filter(|peer| peer.package().is_some()).collect();
        instructions(&table, &programs, Setting { rounds: 3, ..setting }, scale)?;
    }
    Ok(())
}

fn instructions(table: &Table, peers: &[Peer], setting: Setting, scale: &Scale) -> Result<(), Box<dyn Error>> {
    let job = Job { file: FileUse::Save, polls: 1, bytes: 100_000 };
    table.row("instructions of a small job", peers, &job.instructions(peers, setting)?);
    // With TLS, most instructions of a poll and of a byte are those of the encryption.
    if setting.scheme == "http" {
        table.row("instructions per poll", peers, &per_poll(peers, setting, scale.polls.min(200))?);
        table.row("instructions per byte", peers, &per_byte(peers, setting, FILE / 5)?);
    }
    Ok(())
}
