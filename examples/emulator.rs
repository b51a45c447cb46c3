//! The emulator as a process of its own, for any client: `cargo run --example emulator -- --port 8080`.

use std::process::ExitCode;
use std::thread;

use clap::Parser;
use kling::emulator::Emulator;

/// Serves the emulator until it is interrupted.
#[derive(Parser)]
struct Arguments {
    /// The port to listen on; a free one unless it is given
    #[arg(long, default_value_t = 0)]
    port: u16,
}

fn main() -> ExitCode {
    let Arguments { port } = Arguments::parse();
    let emulator = match Emulator::builder().port(port).try_start() {
        Ok(emulator) => emulator,
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}; name another one with --port");
            return ExitCode::FAILURE;
        }
    };
    let base = emulator.base_url();
    println!("Serving on {base} until interrupted. Nothing is generated and nothing is paid.");
    println!("In another shell: AIML_API_BASE={base} AIML_API_KEY=rehearsal my-program");
    loop {
        thread::park();
    }
}
