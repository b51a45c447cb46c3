//! The job with kling.

use std::env;
use std::io::{self, BufWriter};
use std::time::Duration;

use kling::{Client, Poll, VideoRequest};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    // As a build script, it is only built.
    let [job, origin, file, ..] = &args[..] else { return Ok(()) };
    let poll = Poll { interval: Duration::from_nanos(1), max_wait: Duration::from_secs(3600) };
    let client = Client::builder("a-key-for-the-peers").base_url(origin).poll(poll).build()?;
    let video = client.generate(&VideoRequest::new("A fox in the snow"))?;
    match job.as_str() {
        "save" => drop(client.download(&video, file)?),
        "read" => drop(io::copy(&mut client.open(&video)?, &mut BufWriter::with_capacity(64 * 1024, io::sink()))?),
        _ => {}
    }
    Ok(())
}
