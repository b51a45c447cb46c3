//! What a build script may do: Cargo's protocol, and the policy that a build costs nothing unless somebody says so.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Asset, State, all_made, work};
use crate::charged::Charged;
use crate::client::Client;
use crate::error::{Error, Result};

/// The variable that allows to generate. It is the only one whose change runs the build script again: Cargo writes the
/// values of such variables in plain text under `target`, where a key has no business.
const GENERATE: &str = "KLING_GENERATE";

/// For a `build.rs`: stops the build unless all assets are current, and generates them if `KLING_GENERATE=1`.
///
/// The first developer pays once, on purpose: `KLING_GENERATE=1 cargo build`, with the key in the environment. The
/// files and their receipts are committed; for everybody else the build looks at both, needs no network and no key, and
/// costs nothing. On docs.rs (`DOCS_RS`), offline (`CARGO_NET_OFFLINE=true`; the flag `--offline` is not told to build
/// scripts) and in a copy that Cargo has made (packed, vendored, a git dependency), nothing is ever generated.
///
/// Relative paths start at the package's `Cargo.toml`. `OUT_DIR` is not used: `cargo clean` would throw away what was
/// paid for. It prints `cargo::rerun-if-changed` for the files and their receipts, and a `cargo::warning` for each
/// asset that was made, or that is a rehearsal: made at another server than the service. Steps on the way go to
/// standard error, which `cargo build -vv` shows.
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
        Some(policy) => check(&assets, &policy)?,
        None => generate(&assets)?,
    }
    for asset in &assets {
        if let Some(server) = asset.rehearsed_at() {
            let advice = "to have the real one, restore it and its receipt from version control, or delete both, and \
                          generate it again";
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

/// Why nothing may be generated, and what would generate it.
struct Policy {
    why: &'static str,
    command: Option<String>,
}

/// `None` if something may be generated.
fn why_not_to_generate(package: &Path) -> Option<Policy> {
    let is = |name: &str, value: &str| env::var_os(name).is_some_and(|found| found == value);
    if is_copy(package) {
        let why = "this is a copy that Cargo has made, and what is paid for in it would be lost: generate in the \
                   package's own folder, and see that `include` in its Cargo.toml names the file and its receipt";
        return Some(Policy { why, command: None });
    }
    let why = if env::var_os("DOCS_RS").is_some() {
        "docs.rs (DOCS_RS is set) builds without a network"
    } else if is("CARGO_NET_OFFLINE", "true") {
        "Cargo is offline (CARGO_NET_OFFLINE is set)"
    } else if !is(GENERATE, "1") {
        // Nor with another value: a payment should be meant.
        "a build generates nothing without KLING_GENERATE=1, since it costs money"
    } else {
        return None;
    };
    Some(Policy { why, command: Some(command(package)) })
}

/// Whether this is a copy that Cargo has made: of a package that it has packed (`cargo package`, a registry, `cargo
/// vendor`) or checked out (a git dependency).
fn is_copy(package: &Path) -> bool {
    let manifest = fs::read(package.join("Cargo.toml")).unwrap_or_default();
    let is_packed = manifest.starts_with(b"# THIS FILE IS AUTOMATICALLY GENERATED BY CARGO");
    is_packed || package.ancestors().any(|folder| folder.join(".cargo-ok").exists())
}

/// Passes if all assets are current.
fn check(assets: &[Asset], policy: &Policy) -> Result<()> {
    let (mut to_pay, mut to_go_on_with) = (0, 0);
    let mut stopped = Vec::new();
    for asset in assets {
        let why = match asset.state() {
            Ok(State::Current) => continue,
            Ok(state) => {
                match state {
                    State::Missing | State::Stale { .. } => to_pay += 1,
                    State::InProgress { .. } | State::Unknown { client_request_id: Some(_) } => to_go_on_with += 1,
                    _ => {}
                }
                asset.why(&state)
            }
            Err(error) => format!("{error:?}"),
        };
        stopped.push((asset, why));
    }
    let Some(((first, why), others)) = stopped.split_first() else { return Ok(()) };
    let others: String =
        others.iter().map(|(asset, why)| format!("\n{} is not current: {why}", asset.path.display())).collect();
    let price = match (to_pay, to_go_on_with) {
        // The reasons say what to do.
        (0, 0) => None,
        (0, _) => Some("to go on without paying again".to_owned()),
        (1, _) => Some("to pay for 1 generation".to_owned()),
        (more, _) => Some(format!("to pay for {more} generations")),
    };
    let mut reason = format!("{why}{others}\n{}", policy.why);
    if let (Some(price), Some(command)) = (price, &policy.command) {
        reason += &format!("; {price}, {command}");
    }
    Err(Error::AssetNotCurrent { path: first.path.clone(), reason, charged: Charged::Perhaps })
}

/// What generates, from any folder.
fn command(package: &Path) -> String {
    let manifest = package.join("Cargo.toml").display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/\\:._-+@%,=~".contains(c);
    let quoted =
        if manifest.chars().all(is_plain) { manifest } else { format!("'{}'", manifest.replace('\'', r"'\''")) };
    format!("set AIML_API_KEY and run\n  {GENERATE}=1 cargo build --manifest-path {quoted}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        let table = [
            ("/home/me/trailer", "/home/me/trailer/Cargo.toml"),
            ("/home/me/my trailer", "'/home/me/my trailer/Cargo.toml'"),
            ("/home/me/$5 & more's", r"'/home/me/$5 & more'\''s/Cargo.toml'"),
        ];
        for (package, manifest) in table {
            let expected =
                format!("set AIML_API_KEY and run\n  KLING_GENERATE=1 cargo build --manifest-path {manifest}");
            assert_eq!(command(Path::new(package)), expected);
        }
    }

    #[test]
    fn a_copy_that_cargo_has_made_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("checkout/package");
        fs::create_dir_all(&package).unwrap();
        fs::write(package.join("Cargo.toml"), "[package]\n").unwrap();
        assert!(!is_copy(&package));
        fs::write(folder.path().join("checkout/.cargo-ok"), "").unwrap();
        assert!(is_copy(&package), "a git dependency");
    }
}
