//! What a build script may do: Cargo's protocol, and the policy that a build costs nothing unless somebody says so.

use std::env;
use std::path::{Path, PathBuf};

use super::{Asset, State, all_made, work};
use crate::client::Client;
use crate::error::{Error, Result};

/// The variable that allows to generate. It is the only one whose change runs the build script again: Cargo writes the
/// values of such variables in plain text under `target`, where a key has no business.
const GENERATE: &str = "KLING_GENERATE";

/// For a `build.rs`: stops the build unless all assets are current, and generates them if `KLING_GENERATE=1`.
///
/// The first developer pays once, on purpose: `KLING_GENERATE=1 cargo build`, with the key in the environment. The files
/// and their receipts are committed; for everybody else the build looks at both, needs no network and no key, and costs
/// nothing. On docs.rs (`DOCS_RS`), offline (`CARGO_NET_OFFLINE=true`; the flag `--offline` is not told to build scripts)
/// and in a copy that `cargo package` has made, nothing is ever generated.
///
/// Relative paths start at the package's `Cargo.toml`. `OUT_DIR` is not used: `cargo clean` would throw away what was
/// paid for. It prints `cargo::rerun-if-changed` for the files and their receipts, and a `cargo::warning` for each asset
/// that was made, or that is a rehearsal: made at another server than the service. Steps on the way go to standard error,
/// which `cargo build -vv` shows.
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
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let assets: Vec<Asset> =
        assets.into_iter().map(|asset| Asset { path: package.join(&asset.path), ..asset }).collect();
    println!("cargo::rerun-if-env-changed={GENERATE}");
    for asset in &assets {
        println!("cargo::rerun-if-changed={}", asset.path.display());
        println!("cargo::rerun-if-changed={}", asset.receipt_path().display());
    }
    match why_not_to_generate(&package) {
        Some(policy) => check(&assets, policy, &package)?,
        None => generate(&assets)?,
    }
    for asset in &assets {
        if let Some(server) = asset.rehearsed_at() {
            let advice = "to have the real one, delete it and its receipt, and generate it again";
            println!("cargo::warning={} is a rehearsal, made at {server}: {advice}", asset.path.display());
        }
    }
    Ok(())
}

fn generate(assets: &[Asset]) -> Result<()> {
    let assets: Vec<&Asset> = assets.iter().collect();
    let made = work::make(&assets, Client::from_env, |asset, step| eprintln!("{}: {step}", asset.path.display()))?;
    for (asset, outcome) in &made {
        if let Ok(video) = outcome {
            let cost = video.usage.map_or("a cost that the service did not tell".to_owned(), |usage| usage.to_string());
            let advice = asset.rehearsed_at().map_or(": commit it with its receipt", |_| "");
            println!("cargo::warning={} was made for {cost}{advice}", asset.path.display());
        }
    }
    all_made(made)
}

/// Why nothing may be generated; `None` if it may.
fn why_not_to_generate(package: &Path) -> Option<&'static str> {
    let is = |name: &str, value: &str| env::var_os(name).is_some_and(|found| found == value);
    if is_packed(package) {
        Some(
            "this is a copy that Cargo has packed, and what is paid for in it would be lost: see that `include` in the \
             package's Cargo.toml names the file and its receipt",
        )
    } else if env::var_os("DOCS_RS").is_some() {
        Some("docs.rs (DOCS_RS is set) builds without a network")
    } else if is("CARGO_NET_OFFLINE", "true") {
        Some("Cargo is offline (CARGO_NET_OFFLINE is set)")
    } else if !is(GENERATE, "1") {
        // Nor with another value: a payment should be meant.
        Some("a build generates nothing without KLING_GENERATE=1, since it costs money")
    } else {
        None
    }
}

/// Whether this is a copy that Cargo has packed and unpacked again. What is paid for in it is lost with it.
fn is_packed(package: &Path) -> bool {
    package.join("Cargo.toml.orig").exists()
}

/// Passes if all assets are current.
fn check(assets: &[Asset], policy: &str, package: &Path) -> Result<()> {
    let mut to_pay = 0;
    let mut stopped = Vec::new();
    for asset in assets {
        let why = match asset.state() {
            Ok(State::Current) => continue,
            Ok(state) => {
                to_pay += usize::from(matches!(state, State::Missing | State::Stale { .. }));
                asset.why(&state)
            }
            Err(error) => format!("{error:?}"),
        };
        stopped.push((asset, why));
    }
    let Some(((first, why), others)) = stopped.split_first() else { return Ok(()) };
    let others: String =
        others.iter().map(|(asset, why)| format!("\n{} is not current: {why}", asset.path.display())).collect();
    let price = match to_pay {
        0 => "to go on without paying again".to_owned(),
        1 => "to pay for 1 generation".to_owned(),
        more => format!("to pay for {more} generations"),
    };
    let command = if is_packed(package) { String::new() } else { command(&price, package) };
    Err(Error::AssetNotCurrent { path: first.path.clone(), reason: format!("{why}{others}\n{policy}{command}") })
}

/// What generates, from any folder.
fn command(price: &str, package: &Path) -> String {
    let manifest = package.join("Cargo.toml").display().to_string();
    let manifest = if manifest.contains(' ') { format!("{manifest:?}") } else { manifest };
    format!("; {price}, set AIML_API_KEY and run\n  {GENERATE}=1 cargo build --manifest-path {manifest}")
}
