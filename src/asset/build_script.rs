//! What a build script may do: Cargo's protocol, and the policy that a build costs nothing unless somebody says so.

use std::env;
use std::path::PathBuf;

use super::{Asset, State, make};
use crate::client::Client;
use crate::error::{Error, Result};

/// The variable that allows to generate. It is the only one whose change runs the build script again: Cargo writes the
/// values of such variables in plain text under `target`, where a key has no business.
const GENERATE: &str = "KLING_GENERATE";

/// For a `build.rs`: stops the build unless all assets are current, and generates them if `KLING_GENERATE=1`.
///
/// The first developer pays once, on purpose: `KLING_GENERATE=1 cargo build`, with the key in the environment. The files
/// and their receipts are committed; for everybody else the build looks at both, needs no network and no key, and costs
/// nothing. On docs.rs (`DOCS_RS`) and offline (`CARGO_NET_OFFLINE=true`) nothing is ever generated.
///
/// Relative paths start at the package's `Cargo.toml`. `OUT_DIR` is not used: `cargo clean` would throw away what was
/// paid for. It prints `cargo::rerun-if-changed` for the files and their receipts, and a `cargo::warning` for each asset
/// that was made; steps on the way go to standard error, which `cargo build -vv` shows.
///
/// # Errors
///
/// - [`Error::AssetNotCurrent`]: something has to be generated, and may not be. It says what, and which command would.
/// - Those of [`ensure`](crate::asset::ensure), with [`Error::MissingKey`].
///
/// # Example
///
/// ```
/// # let emulator = kling::emulator::Emulator::start();
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("campfire.mp4");
/// use kling::{Asset, Error, VideoRequest, asset};
///
/// let campfire = Asset::new(&path, VideoRequest::new("A campfire, seamless loop"));
/// let stopped = kling::build_script([campfire.clone()]);
/// assert!(matches!(stopped, Err(Error::AssetNotCurrent { .. })));
///
/// asset::ensure([&campfire], || Ok(emulator.client()))?;
/// kling::build_script([campfire])?;
/// # Ok::<(), kling::Error>(())
/// ```
pub fn build_script(assets: impl IntoIterator<Item = Asset>) -> Result<()> {
    let base = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let assets: Vec<Asset> = assets.into_iter().map(|asset| Asset { path: base.join(&asset.path), ..asset }).collect();
    println!("cargo::rerun-if-env-changed={GENERATE}");
    for asset in &assets {
        println!("cargo::rerun-if-changed={}", asset.path.display());
        println!("cargo::rerun-if-changed={}", asset.receipt_path().display());
    }
    if let Some(reason) = why_not_to_generate() {
        return check(&assets, reason);
    }
    let assets: Vec<&Asset> = assets.iter().collect();
    let made = make(&assets, Client::from_env, |asset, step| eprintln!("{}: {step}", asset.path.display()))?;
    let mut first_error = None;
    for (asset, outcome) in made {
        match outcome {
            Ok(video) => {
                let cost =
                    video.usage.map_or("a cost that the service did not tell".to_owned(), |usage| usage.to_string());
                println!("cargo::warning={} was made for {cost}: commit it with its receipt", asset.path.display());
            }
            Err(error) => {
                println!("cargo::warning={}: {error}", asset.path.display());
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// Why nothing may be generated; `None` if it may.
fn why_not_to_generate() -> Option<&'static str> {
    let is = |name: &str, value: &str| env::var_os(name).is_some_and(|found| found == value);
    if env::var_os("DOCS_RS").is_some() {
        Some("docs.rs builds without a network")
    } else if is("CARGO_NET_OFFLINE", "true") {
        Some("Cargo is offline")
    } else if !is(GENERATE, "1") {
        Some("a build generates nothing by itself, since it costs money")
    } else {
        None
    }
}

/// Passes if all assets are current.
fn check(assets: &[Asset], policy: &str) -> Result<()> {
    let mut stopped = Vec::new();
    let mut to_pay = 0;
    for asset in assets {
        let state = asset.state()?;
        to_pay += usize::from(matches!(state, State::Missing | State::Stale { .. }));
        let reason = match state {
            State::Current => continue,
            State::Missing => "it was not generated yet".to_owned(),
            State::Stale { differences } => {
                let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
                format!("its request has changed ({})", list.join("; "))
            }
            State::InProgress { id } => format!("generation {id} is paid for, and its video is not here"),
            State::Unknown { .. } => "a create was on its way, and nobody knows whether it was accepted".to_owned(),
        };
        stopped.push((asset, reason));
    }
    let Some((first, reason)) = stopped.first() else { return Ok(()) };
    let others = match stopped.len() - 1 {
        0 => String::new(),
        1 => " (and 1 more is not current)".to_owned(),
        others => format!(" (and {others} more are not current)"),
    };
    let price = match to_pay {
        0 => "to go on without paying again".to_owned(),
        1 => "to pay for 1 generation".to_owned(),
        more => format!("to pay for {more} generations"),
    };
    Err(Error::AssetNotCurrent {
        path: first.path.clone(),
        reason: format!("{reason}{others}; {policy}; {price}, set AIML_API_KEY and run `{GENERATE}=1 cargo build`"),
    })
}
