//! Goes on with what was paid for: `cargo run --example resume -- ID --output raccoon.mp4`, in another process, on
//! another day. Without an id it rehearses the loss of one, on the emulator.

use std::path::{Path, PathBuf};

use clap::Parser;
use kling::emulator::{Emulator, Step};
use kling::{Client, Error, Recovery, VideoRequest};

/// Goes on with a generation.
#[derive(Parser)]
struct Arguments {
    /// The id of a generation, or the client request id of a create whose answer was lost
    id: Option<String>,
    /// The file to write
    #[arg(short, long, default_value_os_t = std::env::temp_dir().join("kling-resume.mp4"))]
    output: PathBuf,
}

fn main() -> Result<(), Error> {
    let Arguments { id, output } = Arguments::parse();
    match id {
        Some(id) => go_on(&Client::from_env()?, &id, &output),
        None => rehearse(&output),
    }
}

fn go_on(client: &Client, id: &str, output: &Path) -> Result<(), Error> {
    // The client request ids that this library draws begin so; the ids of the service do not.
    let id = if id.starts_with("kling-") {
        match client.recover(id)? {
            Recovery::Found(found) => found,
            Recovery::NotCharged => {
                println!("{id} failed and was not charged: it can be sent again");
                return Ok(());
            }
            Recovery::NotListed => {
                println!("the logs of the last 7 days do not list {id}: look again in some minutes");
                return Ok(());
            }
        }
    } else {
        id.parse()?
    };
    let video = client.wait(&id)?;
    let bytes = client.download(&video, output)?;
    println!("{}: {bytes} bytes", output.display());
    Ok(())
}

fn rehearse(output: &Path) -> Result<(), Error> {
    // The answer to the create is lost, and later the network is, for longer than the client is patient.
    let emulator = Emulator::builder().create([Step::Close]).status([Step::Queued, Step::Http(401)]).start();
    let client = emulator.client();

    let lost = client.generate(&VideoRequest::new("A cheerful white raccoon running through a sequoia forest"));
    let Err(Error::OutcomeUnknown { client_request_id, .. }) = lost else { panic!("its answer was lost") };
    println!("the answer was lost; going on with {client_request_id}");

    let stopped = go_on(&client, &client_request_id, output).expect_err("the key was refused");
    let id = stopped.generation_id().expect("an error after a create has the id");
    println!("{stopped}");

    go_on(&client, id.as_str(), output)?;
    assert_eq!(emulator.creates().len(), 1, "nothing was paid twice");
    Ok(())
}
