//! The job with ureq and nothing else: the floor for a library that is built on it.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter};

use serde::Deserialize;
use ureq::Agent;

#[derive(Deserialize)]
struct Generation {
    id: String,
    status: String,
    video: Option<Video>,
}

#[derive(Deserialize)]
struct Video {
    url: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    // As a build script, it is only built.
    let [job, origin, file, ..] = &args[..] else { return Ok(()) };
    let agent = agent();
    let api = format!("{origin}/v2/generate/video/kling/generation");
    let request = agent.post(&api).header("authorization", "Bearer a-key").header("content-type", "application/json");
    let created = request.send(r#"{"model":"klingai/v2.5-turbo/pro/text-to-video","prompt":"A fox in the snow"}"#)?;
    let id = read(created)?.id;
    let url = loop {
        let request = agent.get(format!("{api}?generation_id={id}")).header("authorization", "Bearer a-key");
        let generation = read(request.call()?)?;
        if generation.status == "completed" {
            break generation.video.ok_or("no video")?.url;
        }
    };
    let body = || Ok::<_, ureq::Error>(agent.get(&url).call()?.into_body().into_reader());
    match job.as_str() {
        "save" => drop(io::copy(&mut body()?, &mut BufWriter::with_capacity(64 * 1024, File::create(file)?))?),
        "read" => drop(io::copy(&mut body()?, &mut BufWriter::with_capacity(64 * 1024, io::sink()))?),
        _ => {}
    }
    Ok(())
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Generation, Box<dyn Error>> {
    Ok(serde_json::from_str(&response.body_mut().read_to_string()?)?)
}

#[cfg(not(feature = "system-roots"))]
fn agent() -> Agent {
    Agent::new_with_defaults()
}

#[cfg(feature = "system-roots")]
fn agent() -> Agent {
    use ureq::tls::{RootCerts, TlsConfig};
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    Agent::config_builder().tls_config(tls).build().into()
}
