//! The emulator as a process of its own, for any client: `cargo run --example emulator -- --port 8080`.

use std::io;
use std::thread;

use kling::emulator::Emulator;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = match &arguments[..] {
        [] => 0,
        [flag, port] if flag == "--port" => port.parse().map_err(io::Error::other)?,
        _ => return Err(io::Error::other("usage: emulator [--port PORT]")),
    };
    let emulator = Emulator::builder().port(port).try_start()?;
    println!("Serving on {} until interrupted. Nothing is generated and nothing is paid.", emulator.base_url());
    println!("In another shell: export AIML_API_BASE={} AIML_API_KEY=rehearsal", emulator.base_url());
    loop {
        thread::park();
    }
}
