//! Runs the emulator as a process of its own, for any client: `cargo run --example emulator -- --port 8080`.
//!
//! To install it: `cargo install --path . --example emulator --features emulator`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use kling::emulator::{Emulator, Step};

/// Serves an emulator of the service until it is interrupted. Nothing is generated and nothing is charged.
///
/// A script is a list of steps, one for each request of its kind, separated by commas. After the last step, requests get
/// the response that is due: create requests are accepted, generations are completed, files are returned.
#[derive(Parser)]
#[command(after_help = HELP)]
struct Arguments {
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The script of the create requests
    #[arg(long, value_name = "STEPS", value_delimiter = ',', value_parser = parse_step)]
    create: Vec<Step>,
    /// The script of the polls, which each generation plays from its beginning [default: queued,generating]
    #[arg(long, value_name = "STEPS", value_delimiter = ',', value_parser = parse_step)]
    status: Option<Vec<Step>>,
    /// The script of the file requests, which each generation plays from its beginning
    #[arg(long, value_name = "STEPS", value_delimiter = ',', value_parser = parse_step)]
    file: Vec<Step>,
    /// How long each step of a status script lasts, such as 10s; without it, each poll plays the next step
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pace: Option<Duration>,
}

const HELP: &str = "\
Steps:
  queued, generating, completed  the status of a generation
  failed:REASON                  the status `error`, with this reason
  other:STATUS                   any other status
  503                            this HTTP status, with the service's error envelope
  503:RETRY-AFTER                the same, with this Retry-After in seconds
  html:502                       this HTTP status, with the page of a gateway
  cut:BYTES                      the first bytes of the body, then the end of the connection
  stall, stall:BYTES             no response, or the first bytes of the body, then silence
  throttle:TIME                  the body byte by byte, with this pause after each
  close, reset                   no response; the request was read, and a create request is accepted
  unread                         a reset before the request was read: not accepted

Examples:
  An account without credit:            --create 403
  A response that is lost:              --create close
  A busy service, then a failure:       --status queued,503,failed:moderated
  A transfer that breaks after 1 kB:    --file cut:1000
  A generation that takes a minute:     --pace 30s";

/// Parses a step of a script.
fn parse_step(text: &str) -> Result<Step, String> {
    let (name, argument) = text.split_once(':').map_or((text, None), |(name, argument)| (name, Some(argument)));
    let number = |what: &str| {
        let text = argument.ok_or(format!("needs {what}, as in `{name}:1000`"))?;
        text.parse::<usize>().map_err(|_| format!("`{text}` is not a number of bytes"))
    };
    Ok(match (name, argument) {
        ("queued", None) => Step::Queued,
        ("generating", None) => Step::Generating,
        ("completed", None) => Step::Completed,
        ("failed", Some(reason)) => Step::failed(reason),
        ("other", Some(status)) => Step::other_status(status),
        ("html", Some(status)) => Step::Html(parse_status(status)?),
        ("cut", _) => Step::Truncate(number("a number of bytes")?),
        ("stall", None) => Step::Stall,
        ("stall", Some(_)) => Step::StallAfter(number("a number of bytes")?),
        ("throttle", Some(time)) => Step::Throttle(parse_time(time)?),
        ("close", None) => Step::Close,
        ("reset", None) => Step::Reset,
        ("unread", None) => Step::ResetUnread,
        (status, None) => Step::Http(parse_status(status)?),
        (status, Some(retry_after)) => Step::http_retry_after(parse_status(status)?, retry_after),
    })
}

fn parse_status(text: &str) -> Result<u16, String> {
    let status = text.parse().ok().filter(|status| (100..=599).contains(status));
    status.ok_or(format!("`{text}` is neither a step nor an HTTP status; see --help"))
}

/// Parses a time such as 10s, 500ms or 2m.
fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("`{text}` is not a time such as 10s or 500ms"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        unit => Err(format!("`{unit}` is not a unit of time; use ms, s or m")),
    }
}

fn main() -> ExitCode {
    let Arguments { port, create, status, file, pace } = Arguments::parse();
    let mut builder = Emulator::builder().port(port).create(create).file(file).pace(pace.unwrap_or_default());
    if let Some(status) = status {
        builder = builder.status(status);
    }
    let emulator = match builder.try_start() {
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
    let mut seen = 0;
    loop {
        thread::sleep(Duration::from_millis(100));
        let creates = emulator.creates();
        for create in &creates[seen..] {
            let outcome = create.generation_id.as_deref().unwrap_or("not accepted");
            let _ = writeln!(io::stdout(), "create request for {}: {outcome}", create.body["prompt"]);
        }
        seen = creates.len();
    }
}
