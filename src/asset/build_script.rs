//! The policy of build scripts: Cargo's protocol, and no cost unless `KLING_GENERATE` permits it.

use std::env;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::advice::{Advice, Remedy};
use super::ensure::{Ensure, check_all, step_text};
use super::state::Asset;
use crate::charged::Charged;
use crate::client::Client;
use crate::error::Result;
use crate::update::Update;

/// The variable that permits generation. It is the only one passed to `rerun-if-env-changed`: Cargo stores the values
/// of those variables as plain text under `target`, so the API key must not be among them.
const GENERATE: &str = "KLING_GENERATE";

/// Checks the assets of a package in its `build.rs`: stops the build unless all of them are current, and generates them
/// if `KLING_GENERATE=1` is set.
///
/// One developer generates the files, and pays, by running `KLING_GENERATE=1 cargo build` with the API key in the
/// environment, and commits the files and their receipts. All other builds are free: they compare the request and the
/// file's length with the receipt, and need no network and no key. Nothing is ever generated on docs.rs (`DOCS_RS`),
/// offline (`CARGO_NET_OFFLINE=true`; Cargo does not pass the flag `--offline` to build scripts), and in a copy that
/// Cargo has made (packaged, vendored, a git dependency).
///
/// Relative paths start at the directory of the package's `Cargo.toml`. `OUT_DIR` is not used, because `cargo clean`
/// would delete what was paid for.
///
/// Prints `cargo::rerun-if-changed` for the files and their receipts, and a `cargo::warning` for each asset that was
/// generated and for each rehearsal: an asset that was generated on another server than the service. Steps are printed
/// to standard error, which `cargo build -vv` shows. Nobody has to read the output: an asset is recorded before it is
/// printed.
///
/// # Errors
///
/// - [`Error::AssetNotCurrent`](crate::Error::AssetNotCurrent): an asset is not current, and may not be generated. The message says why, and which
///   command generates it.
/// - The errors of [`ensure`](crate::asset::ensure), and [`Error::MissingKey`](crate::Error::MissingKey).
///
/// # Example
///
/// ```
/// use kling::emulator::Emulator;
/// use kling::{Asset, Error, VideoRequest, asset};
///
/// let path = std::env::temp_dir().join(format!("bonfire-{}.mp4", std::process::id()));
/// let bonfire = Asset::new(&path, VideoRequest::new("A bonfire, seamless loop"));
/// let stopped = kling::build_script([bonfire.clone()]);
/// assert!(matches!(stopped, Err(Error::AssetNotCurrent { .. })));
///
/// let emulator = Emulator::start();
/// asset::ensure([&bonfire], || Ok(emulator.client()))?;
/// kling::build_script([bonfire.clone()])?;
/// # std::fs::remove_file(bonfire.receipt_path()).unwrap();
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), kling::Error>(())
/// ```
pub fn build_script(assets: impl IntoIterator<Item = Asset>) -> Result<()> {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let assets: Vec<Asset> =
        assets.into_iter().map(|asset| Asset { path: package.join(&asset.path), ..asset }).collect();
    print_directive(format_args!("rerun-if-env-changed={GENERATE}"));
    for asset in &assets {
        print_directive(format_args!("rerun-if-changed={}", asset.path.display()));
        print_directive(format_args!("rerun-if-changed={}", asset.receipt_path().display()));
    }
    let rehearsals = match generation_forbidden(&package) {
        Some(refusal) => check(&assets, &refusal)?,
        None => generate(&assets)?,
    };
    for rehearsal in rehearsals {
        print_directive(format_args!("warning={rehearsal}"));
    }
    Ok(())
}

/// Prints a line for Cargo. If nobody reads it (Cargo was killed), the assets are still generated and recorded, so the
/// error is ignored, where `println!` would panic.
fn print_directive(directive: impl Display) {
    let _ = writeln!(io::stdout(), "cargo::{directive}");
}

/// Prints a step for a person, and ignores errors like [`print_directive`].
fn print_step(asset: &Asset, step: &str) {
    let _ = writeln!(io::stderr(), "{}: {step}", asset.path.display());
}

/// Generates the assets that are not current, and returns the warnings about rehearsals.
fn generate(assets: &[Asset]) -> Result<Vec<String>> {
    let assets: Vec<&Asset> = assets.iter().collect();
    let mut failed = Vec::new();
    let mut last_steps = vec![String::new(); assets.len()];
    for (index, update) in Ensure::new(assets.iter().copied()).notify(print_step).updates(Client::from_env)? {
        if let Some(step) = step_text(&update, &last_steps[index]) {
            print_step(assets[index], &step);
            last_steps[index] = step;
        }
        match update {
            Update::Finished(Ok(video)) => {
                let cost = video.usage.unwrap_or_default();
                let path = assets[index].path.display();
                print_directive(format_args!("warning={path} was generated for {cost}"));
            }
            Update::Finished(Err(error)) => failed.push((index, error)),
            _ => {}
        }
    }
    check_all(&assets, failed)?;
    Ok(assets
        .iter()
        .filter_map(|asset| {
            let (finding, journal) = asset.inspect().ok()?;
            Advice::new(asset, &finding, &journal).rehearsal()
        })
        .collect())
}

/// Why nothing may be generated, and the command that would generate it.
struct Refusal {
    reason: &'static str,
    command: Option<String>,
}

/// Returns `None` if assets may be generated.
fn generation_forbidden(package: &Path) -> Option<Refusal> {
    let is = |name: &str, value: &str| env::var_os(name).is_some_and(|found| found == value);
    if is_copy(package) {
        let reason = "this is a copy that Cargo has made, and a file that is generated here would be lost; generate it \
                      in the package's own directory, and check that `include` in its Cargo.toml names the file and its \
                      receipt";
        return Some(Refusal { reason, command: None });
    }
    let reason = if env::var_os("DOCS_RS").is_some() {
        "docs.rs (DOCS_RS is set) builds without a network"
    } else if is("CARGO_NET_OFFLINE", "true") {
        "Cargo is offline (CARGO_NET_OFFLINE is set)"
    } else if !is(GENERATE, "1") {
        // No other value counts: a payment must be intended.
        "generation costs money and is disabled unless KLING_GENERATE=1 is set"
    } else {
        return None;
    };
    Some(Refusal { reason, command: Some(command(package)) })
}

/// Returns `true` if this is a copy that Cargo has made: of a package that it has packaged (`cargo package`, a
/// registry, `cargo vendor`) or checked out (a git dependency).
fn is_copy(package: &Path) -> bool {
    let manifest = fs::read(package.join("Cargo.toml")).unwrap_or_default();
    let is_packaged = manifest.starts_with(b"# THIS FILE IS AUTOMATICALLY GENERATED BY CARGO");
    is_packaged || package.ancestors().any(|directory| directory.join(".cargo-ok").exists())
}

/// Checks that all assets are current, and returns the warnings about rehearsals.
fn check(assets: &[Asset], refusal: &Refusal) -> Result<Vec<String>> {
    let (mut to_pay, mut to_resume) = (0, 0);
    let mut rehearsals = Vec::new();
    let mut charged = Charged::No;
    let mut stopped = Vec::new();
    for asset in assets {
        let reason = match asset.inspect() {
            Ok((finding, journal)) => {
                let advice = Advice::new(asset, &finding, &journal);
                if finding.state.is_current() {
                    rehearsals.extend(advice.rehearsal());
                    continue;
                }
                match advice.remedy(&finding.state) {
                    Remedy::Generate => to_pay += 1,
                    Remedy::Resume => to_resume += 1,
                    Remedy::Person => {}
                }
                charged = charged.max(finding.state.charged());
                advice.reason(&finding.state)
            }
            Err(error) => {
                charged = charged.max(error.charged());
                format!("{error:?}")
            }
        };
        stopped.push((asset, reason));
    }
    let Some(((first, reason), others)) = stopped.split_first() else { return Ok(rehearsals) };
    let others: String =
        others.iter().map(|(asset, reason)| format!("\n{} is not current: {reason}", asset.path.display())).collect();
    let purpose = match (to_pay, to_resume) {
        // The reasons name the next step.
        (0, 0) => None,
        (0, _) => Some("to resume without paying again".to_owned()),
        (1, _) => Some("to pay for 1 generation".to_owned()),
        (more, _) => Some(format!("to pay for {more} generations")),
    };
    let mut reason = format!("{reason}{others}\n{}", refusal.reason);
    if let (Some(purpose), Some(command)) = (purpose, &refusal.command) {
        reason += &format!("; {purpose}, {command}");
    }
    Err(first.not_current(reason, charged))
}

/// Returns the command that generates the assets, from any directory.
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
    fn copies_that_cargo_has_made_are_recognized() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("checkout/package");
        fs::create_dir_all(&package).unwrap();
        fs::write(package.join("Cargo.toml"), "[package]\n").unwrap();
        assert!(!is_copy(&package));
        fs::write(package.join("Cargo.toml"), "# THIS FILE IS AUTOMATICALLY GENERATED BY CARGO\n").unwrap();
        assert!(is_copy(&package), "a package from a registry");
        fs::remove_file(package.join("Cargo.toml")).unwrap();
        fs::write(folder.path().join("checkout/.cargo-ok"), "").unwrap();
        assert!(is_copy(&package), "a git dependency");
    }
}
