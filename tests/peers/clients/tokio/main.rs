//! The job with tokio and reqwest, on one thread.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};

use reqwest::Client;
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    // As a build script, it is only built.
    let [job, origin, file, ..] = &args[..] else { return Ok(()) };
    #[cfg(feature = "https")]
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "a second provider")?;
    let client = Client::new();
    let api = format!("{origin}/v2/generate/video/kling/generation");
    let request = client.post(&api).header("authorization", "Bearer a-key").header("content-type", "application/json");
    let body = r#"{"model":"klingai/v2.5-turbo/pro/text-to-video","prompt":"A fox in the snow"}"#;
    let id = request.body(body).send().await?.json::<Generation>().await?.id;
    let url = loop {
        let request = client.get(format!("{api}?generation_id={id}")).header("authorization", "Bearer a-key");
        let generation: Generation = request.send().await?.json().await?;
        if generation.status == "completed" {
            break generation.video.ok_or("no video")?.url;
        }
    };
    let mut file: Box<dyn Write> = match job.as_str() {
        "save" => Box::new(File::create(file)?),
        "read" => Box::new(io::sink()),
        _ => return Ok(()),
    };
    let mut response = client.get(&url).send().await?;
    while let Some(chunk) = response.chunk().await? {
        file.write_all(&chunk)?;
    }
    Ok(())
}
