//! Lists the assets of a package: state, cost, date, server, and the total: `cargo run --example assets -- FOLDER`.
//!
//! It reads the receipts in a folder. A program that has its `Asset`s in a function, which its `build.rs` shares, passes
//! those to `print_status` instead. Nothing is sent, and nothing is written.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use kling::asset::{Origin, State};
use kling::{Asset, Usage, VideoRequest};
use serde::Deserialize;

/// Lists the assets in a folder, from their receipts
#[derive(Parser)]
struct Arguments {
    /// The folder with the videos and their receipts
    #[arg(default_value = "assets")]
    folder: PathBuf,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let assets = assets_in(&Arguments::parse().folder)?;
    let are_current = print_status(&assets)?;
    Ok(if are_current { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a line for each asset, and the total. Returns `true` if all are current.
fn print_status(assets: &[Asset]) -> Result<bool, Box<dyn Error>> {
    let mut origins = Vec::new();
    for asset in assets {
        let state = asset.state()?;
        println!("{:<32} {}", asset.path().display(), describe(&state));
        origins.extend(state.origin().cloned());
    }
    let total: Usage = origins.iter().filter(|origin| !origin.is_rehearsal()).map(|origin| origin.cost).sum();
    let bytes: u64 = origins.iter().map(|origin| origin.file_size).sum();
    let cost = if total == Usage::default() { "no known cost".to_owned() } else { total.to_string() };
    println!("{} of {} assets are current: {bytes} bytes, {cost}", origins.len(), assets.len());
    Ok(origins.len() == assets.len())
}

fn describe(state: &State) -> String {
    match state {
        State::Current(origin) => describe_origin(origin),
        State::Missing => "missing".to_owned(),
        State::Untracked => "a file without a receipt".to_owned(),
        State::Stale { differences } => {
            let fields: Vec<&str> = differences.iter().map(|difference| difference.field.as_str()).collect();
            format!("changed: {}", fields.join(", "))
        }
        State::InProgress { id } => format!("paid for, but its video is missing: {id}"),
        State::Ended { id, reason } => format!("ended without a video: {reason}: {id}"),
        State::Unknown { client_request_id } => {
            format!("perhaps paid for: {}", client_request_id.as_deref().unwrap_or("its receipt is incomplete"))
        }
        other => format!("{other:?}"),
    }
}

fn describe_origin(origin: &Origin) -> String {
    let server = origin.server.as_deref().unwrap_or("the service");
    let cost = if origin.is_rehearsal() { "free, a test clip".to_owned() } else { origin.cost.to_string() };
    format!("{} {:>9} bytes, {cost}, from {server}", date(origin.requested_at), origin.file_size)
}

/// Returns the day of a time in seconds since the Unix epoch, in UTC (the algorithm of Howard Hinnant's
/// `civil_from_days`).
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year_of_era + u64::from(month <= 2))
}

/// A line of a receipt. Receipts are text with an event per line; only the last request is of interest here.
#[derive(Deserialize)]
struct Line {
    requested: Option<Requested>,
}

#[derive(Deserialize)]
struct Requested {
    request: VideoRequest,
}

/// Returns the assets whose receipts lie in a folder, with the last request of each.
fn assets_in(folder: &Path) -> Result<Vec<Asset>, Box<dyn Error>> {
    let mut assets = Vec::new();
    let entries = fs::read_dir(folder).map_err(|error| format!("failed to read {}: {error}", folder.display()))?;
    for entry in entries {
        let receipt = entry?.path();
        let Some(path) = receipt.to_str().and_then(|path| path.strip_suffix(".receipt.jsonl")) else { continue };
        let text = fs::read_to_string(&receipt)?;
        let mut requests = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()?.requested);
        assets.extend(requests.next_back().map(|last| Asset::new(path, last.request)));
    }
    assets.sort_by(|a, b| a.path().cmp(b.path()));
    Ok(assets)
}
