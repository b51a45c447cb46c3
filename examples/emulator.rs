//! Runs the emulator as a process of its own, for any client: `cargo run --example emulator -- --port 8080`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use kling::emulator::Emulator;

/// Serves an emulator of the service until it is interrupted. Nothing is generated and nothing is charged.
#[derive(Parser)]
struct Arguments {
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
}

fn main() -> ExitCode {
    let Arguments { port } = Arguments::parse();
    let emulator = match Emulator::builder().port(port).try_start() {
        Ok(emulator) => emulator,
        Err(error) => {
            eprintln!("failed to listen on port {port}: {error}; choose another one with --port");
            return ExitCode::FAILURE;
        }
    };
    let base_url = emulator.base_url();
    // A reader that has left, such as `head -1`, must not stop the emulator, as `println!` would.
    let _ = writeln!(
        io::stdout(),
        "Serving on {base_url} until interrupted. Nothing is generated and nothing is charged.\n\
         In another shell: AIML_API_BASE={base_url} AIML_API_KEY=rehearsal my-program"
    );
    loop {
        thread::park();
    }
}
