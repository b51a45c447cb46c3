//! The job with attohttpc, which opens a connection for each request.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter};

use attohttpc::Session;
use serde::Deserialize;

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
    let session = session();
    let api = format!("{origin}/v2/generate/video/kling/generation");
    let request = session.post(&api).header("authorization", "Bearer a-key");
    let request = request.header("content-type", "application/json");
    let body = r#"{"model":"klingai/v2.5-turbo/pro/text-to-video","prompt":"A fox in the snow"}"#;
    let id = request.text(body).send()?.json::<Generation>()?.id;
    let url = loop {
        let request = session.get(format!("{api}?generation_id={id}")).header("authorization", "Bearer a-key");
        let generation: Generation = request.send()?.json()?;
        if generation.status == "completed" {
            break generation.video.ok_or("no video")?.url;
        }
    };
    let body = || session.get(&url).send();
    match job.as_str() {
        "save" => drop(io::copy(&mut body()?, &mut BufWriter::with_capacity(64 * 1024, File::create(file)?))?),
        "read" => drop(io::copy(&mut body()?, &mut BufWriter::with_capacity(64 * 1024, io::sink()))?),
        _ => {}
    }
    Ok(())
}

fn session() -> Session {
    #[cfg_attr(not(feature = "system-roots"), expect(unused_mut))]
    let mut session = Session::new();
    #[cfg(feature = "system-roots")]
    for certificate in rustls_native_certs::load_native_certs().certs {
        session.add_root_certificate(certificate);
    }
    session
}
