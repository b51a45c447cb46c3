//! The jobs that each client does, against a server of their own.

use std::error::Error;
use std::fs;
use std::process::Command;

use crate::measure::{Samples, Usage, instructions, run};
use crate::peers::{Peer, Profile, folder};
use crate::server::Server;

/// A create request, some polls, and what happens to the file.
#[derive(Clone, Copy)]
pub struct Job {
    pub file: FileUse,
    pub polls: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy)]
pub enum FileUse {
    /// It is saved.
    Save,
    /// It is read, and goes nowhere.
    Read,
    /// It is not requested.
    Poll,
}

/// Where and how a job runs.
#[derive(Clone, Copy)]
pub struct Setting {
    pub scheme: &'static str,
    pub profile: Profile,
    pub rounds: usize,
}

impl Job {
    /// Runs the job with each client in turn, several times, and returns the CPU seconds and the peak memory of each.
    pub fn usage(&self, peers: &[Peer], setting: Setting) -> Result<(Vec<Samples>, Vec<Samples>), Box<dyn Error>> {
        let mut samples = (vec![Samples::default(); peers.len()], vec![Samples::default(); peers.len()]);
        self.each(peers, setting, |index, command| {
            let Usage { cpu, memory } = run(command)?;
            samples.0[index].0.push(cpu);
            samples.1[index].0.push(memory);
            Ok(())
        })?;
        Ok(samples)
    }

    /// Like [`usage`](Job::usage), for the number of instructions.
    pub fn instructions(&self, peers: &[Peer], setting: Setting) -> Result<Vec<Samples>, Box<dyn Error>> {
        let mut samples = vec![Samples::default(); peers.len()];
        self.each(peers, setting, |index, command| {
            samples[index].0.push(instructions(command)?);
            Ok(())
        })?;
        Ok(samples)
    }

    fn each(
        &self,
        peers: &[Peer],
        setting: Setting,
        mut measure: impl FnMut(usize, &mut Command) -> Result<(), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let scratch = folder().join("target").join("scratch");
        fs::create_dir_all(&scratch)?;
        let server = Server::start(setting.scheme, self.polls, self.bytes, &scratch)?;
        let video = scratch.join("video.mp4");
        for _ in 0..setting.rounds {
            for (index, peer) in peers.iter().enumerate() {
                let mut command = peer.command(setting.profile);
                command.arg(self.file.name()).arg(&server.origin).arg(&video).arg(self.polls.to_string());
                command.env("SSL_CERT_FILE", scratch.join("ca.pem")).env_remove("SSL_CERT_DIR");
                for name in ["http_proxy", "https_proxy", "all_proxy"] {
                    command.env_remove(name).env_remove(name.to_uppercase());
                }
                let _ = fs::remove_file(&video);
                measure(index, &mut command)?;
                if let (FileUse::Save, length) = (self.file, fs::metadata(&video).map_or(0, |found| found.len()))
                    && length != self.bytes
                {
                    return Err(format!("{} saved {length} of {} bytes", peer.name, self.bytes).into());
                }
            }
        }
        Ok(fs::remove_file(&video).or_else(|error| if video.exists() { Err(error) } else { Ok(()) })?)
    }
}

impl FileUse {
    /// Returns the first argument of each client.
    fn name(self) -> &'static str {
        match self {
            FileUse::Save => "save",
            FileUse::Read => "read",
            FileUse::Poll => "poll",
        }
    }
}

/// Returns the instructions of each poll: the difference between many and one.
pub fn per_poll(peers: &[Peer], setting: Setting, polls: u64) -> Result<Vec<Samples>, Box<dyn Error>> {
    let job = |polls| Job { file: FileUse::Poll, polls, bytes: 100_000 };
    slope(job(1).instructions(peers, setting)?, job(polls + 1).instructions(peers, setting)?, polls)
}

/// Returns the instructions of each byte of a file that is saved: the difference between a large file and a small one.
pub fn per_byte(peers: &[Peer], setting: Setting, bytes: u64) -> Result<Vec<Samples>, Box<dyn Error>> {
    let job = |bytes| Job { file: FileUse::Save, polls: 1, bytes };
    slope(job(1_000_000).instructions(peers, setting)?, job(1_000_000 + bytes).instructions(peers, setting)?, bytes)
}

fn slope(small: Vec<Samples>, large: Vec<Samples>, difference: u64) -> Result<Vec<Samples>, Box<dyn Error>> {
    let slopes = small.into_iter().zip(large).map(|(small, large)| {
        Samples(small.0.iter().zip(large.0).map(|(small, large)| (large - small) / difference as f64).collect())
    });
    Ok(slopes.collect())
}
