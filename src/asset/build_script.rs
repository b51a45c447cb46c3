//! The policy of build scripts: Cargo's protocol, and no cost unless `KLING_GENERATE` permits it.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::cargo::{command, is_copy};
use super::ensure::{Ensure, check_all, step_text};
use super::mode::{DENY_REHEARSALS, GENERATE, Mode, Permission, denies_rehearsals};
use super::paths::dedup_by_path;
use super::state::Asset;
use super::survey::Survey;
use crate::charged::Charged;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::update::Update;

/// Checks the assets of a package in its `build.rs`: stops the build unless all of them are current, and generates them
/// if the environment permits it.
///
/// One developer generates the files, and pays, by running `KLING_GENERATE=1 cargo build -vv` with the API key in the
/// environment, and commits the files and their receipts. All other builds are free: they compare the request and the
/// file's length with the receipt, and need no network and no key.
///
/// | Variable | Effect |
/// |---|---|
/// | `KLING_GENERATE=1` | Generates missing and changed assets, which is charged, and fetches those that exist. Needs `AIML_API_KEY`. |
/// | `KLING_GENERATE=fetch` | Resumes generations that exist, and fetches their videos. Never creates one. Needs `AIML_API_KEY`. |
/// | `KLING_GENERATE=rehearse` | Makes test clips with an emulator inside the build script, offline and for free. Needs the feature `emulator`. |
/// | `KLING_GENERATE=1:assets/a.mp4,assets/b.mp4` | Limits any of the three to these assets. |
/// | not set, `0`, any other value | Generates nothing and sends nothing. A value that means nothing is reported. |
/// | `KLING_DENY_REHEARSALS=1` | Stops the build at a test clip, for releases and CI. |
///
/// Nothing is ever generated in a copy that Cargo has made (packaged, vendored, a git dependency) and on docs.rs
/// (`DOCS_RS`). Offline (`CARGO_NET_OFFLINE=true`; Cargo does not pass the flag `--offline` to build scripts), only a
/// rehearsal is possible.
///
/// Relative paths start at the directory of the package's `Cargo.toml`. `OUT_DIR` is not used, because `cargo clean`
/// would delete what was paid for.
///
/// A build that stops lists the assets that are not current, what a run would pay for, fetch and replace, and the command. A
/// video that was paid for is never deleted: see [`ensure`](crate::asset::ensure).
///
/// Prints `cargo::rerun-if-changed` for the files and their receipts, a `cargo::warning` for each asset that was
/// generated or fetched, and one for all rehearsals. Steps are printed to standard error, which `cargo build -vv` shows.
/// Nobody has to read the output: an asset is recorded before it is printed.
///
/// # Without TLS
///
/// The free check needs no TLS, and so neither a C compiler nor most of the dependencies. A package can leave TLS out of
/// all builds but those that generate:
///
/// ```toml
/// [features]
/// generate = ["kling/rustls"]
///
/// [build-dependencies]
/// kling = { version = "0.1", default-features = false }
/// ```
///
/// ```sh
/// KLING_GENERATE=1 cargo build -vv --features generate
/// ```
///
/// # Errors
///
/// - [`Error::AssetNotCurrent`]: an asset is not current, and may not be generated; or it is a rehearsal, and
///   `KLING_DENY_REHEARSALS=1` is set. The message says why, and which command generates it.
/// - [`Error::InvalidConfig`]: one path has two different requests; or TLS is needed, and was left out.
/// - The errors of [`ensure`](crate::asset::ensure), and [`Error::MissingKey`].
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
    // Cargo runs build scripts in the package's directory, where relative paths are right as they are, and shorter.
    let is_here = env::current_dir().is_ok_and(|here| here == package);
    let locate = |asset: Asset| if is_here { asset } else { Asset { path: package.join(&asset.path), ..asset } };
    let assets: Vec<Asset> = assets.into_iter().map(locate).collect();
    for variable in [GENERATE, DENY_REHEARSALS] {
        print_directive(format_args!("rerun-if-env-changed={variable}"));
    }
    for asset in &assets {
        print_directive(format_args!("rerun-if-changed={}", asset.path.display()));
        print_directive(format_args!("rerun-if-changed={}", asset.receipt_path().display()));
    }
    let indexed: Vec<_> = assets.iter().enumerate().collect();
    let assets: Vec<&Asset> = dedup_by_path(&indexed)?.into_iter().map(|(_, asset)| asset).collect();
    let permission = Permission::from_env();
    let forbidden = generation_forbidden(&package, permission.mode);
    if forbidden.is_none() {
        generate(&assets, &permission, &package)?;
    }
    let survey = Survey::new(&assets);
    if !survey.stopped.is_empty() {
        return Err(stop(&survey, forbidden.as_ref(), &permission, &package));
    }
    check_rehearsals(&survey)
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

/// Does what is permitted, after it has been printed. Fails if an asset has failed.
fn generate(assets: &[&Asset], permission: &Permission, package: &Path) -> Result<()> {
    let survey = Survey::new(assets);
    let is_included = |asset: &&Asset| permission.includes(&asset.path, package);
    let to_pay = survey.to_pay.iter().filter(|_| permission.mode != Mode::Fetch);
    let due: Vec<&Asset> = to_pay.chain(&survey.to_fetch).copied().filter(is_included).collect();
    if due.is_empty() {
        return Ok(());
    }
    if let Some(plan) = Survey::new(&due).plan(permission.mode == Mode::Rehearse) {
        let _ = writeln!(io::stderr(), "{plan}");
    }
    let ensure = Ensure::new(due.iter().copied()).may_create(permission.mode != Mode::Fetch);
    let ensure = ensure.beside(assets).notify(print_step);
    if permission.mode == Mode::Rehearse { rehearse(ensure, &due) } else { run(ensure, &due, connect) }
}

/// Runs on an emulator of its own, which ends with the run.
#[cfg(feature = "emulator")]
fn rehearse(ensure: Ensure<'_>, assets: &[&Asset]) -> Result<()> {
    let started = crate::emulator::Emulator::builder().try_start();
    let emulator = started.map_err(|error| Error::InvalidConfig { what: GENERATE, reason: error.to_string() })?;
    run(ensure, assets, || Ok(emulator.client()))
}

#[cfg(not(feature = "emulator"))]
fn rehearse(_: Ensure<'_>, _: &[&Asset]) -> Result<()> {
    let reason = "`rehearse` needs the feature `emulator` of kling; in Cargo.toml, add features = [\"emulator\"] to it";
    Err(Error::InvalidConfig { what: GENERATE, reason: reason.to_owned() })
}

/// Connects to the server in the environment.
fn connect() -> Result<Client> {
    let has_tls = cfg!(any(feature = "rustls", feature = "native-tls"));
    let is_loopback = |name: &str| env::var(name).is_ok_and(|base| base.starts_with("http://"));
    if !has_tls && !is_loopback("AIML_API_BASE") && !is_loopback("AIMLAPI_API_BASE") {
        let reason = "the service needs TLS, which this build of kling leaves out; enable its feature `rustls`, for \
                      example with `generate = [\"kling/rustls\"]` under [features] in Cargo.toml, and `cargo build \
                      --features generate`";
        return Err(Error::InvalidConfig { what: GENERATE, reason: reason.to_owned() });
    }
    Client::from_env()
}

/// Generates and fetches the assets, and prints what becomes of each.
fn run(ensure: Ensure<'_>, assets: &[&Asset], connect: impl FnOnce() -> Result<Client>) -> Result<()> {
    let mut failed = Vec::new();
    let mut created = BTreeSet::new();
    let mut last_steps = vec![String::new(); assets.len()];
    for (index, update) in ensure.updates(connect)? {
        if let Some(step) = step_text(&update, &last_steps[index]) {
            print_step(assets[index], &step);
            last_steps[index] = step;
        }
        match update {
            Update::Created(_) => {
                created.insert(index);
            }
            Update::Finished(Ok(video)) => {
                let cost = video.usage.unwrap_or_default();
                // An earlier run has paid for a generation that was resumed.
                let deed =
                    if created.contains(&index) { format!("generated for {cost}") } else { "fetched".to_owned() };
                let is_rehearsal =
                    assets[index].state().is_ok_and(|state| state.origin().is_some_and(|origin| origin.is_rehearsal()));
                let advice = if is_rehearsal { "" } else { "; commit it with its receipt" };
                print_directive(format_args!("warning={} was {deed}{advice}", assets[index].path.display()));
            }
            Update::Finished(Err(error)) => failed.push((index, error)),
            _ => {}
        }
    }
    check_all(assets, failed)
}

/// Returns why nothing may be generated here, whatever is set, and whether a command elsewhere would.
fn generation_forbidden(package: &Path, mode: Mode) -> Option<Forbidden> {
    if is_copy(package) {
        return Some(Forbidden::Copy);
    }
    let is_offline = env::var_os("CARGO_NET_OFFLINE").is_some_and(|value| value == "true");
    if env::var_os("DOCS_RS").is_some() {
        Some(Forbidden::Because("docs.rs (DOCS_RS is set) builds without a network"))
    } else if is_offline && mode != Mode::Rehearse {
        Some(Forbidden::Because("Cargo is offline (CARGO_NET_OFFLINE is set)"))
    } else if mode == Mode::Check {
        Some(Forbidden::NotPermitted)
    } else {
        None
    }
}

/// Why nothing may be generated.
enum Forbidden {
    /// The directory is a copy that Cargo has made.
    Copy,
    Because(&'static str),
    /// `KLING_GENERATE` does not permit it.
    NotPermitted,
}

/// Returns the error for assets that are not current.
fn stop(survey: &Survey<'_>, forbidden: Option<&Forbidden>, permission: &Permission, package: &Path) -> Error {
    let Some(((first, reason), others)) = survey.stopped.split_first() else {
        unreachable!("the caller has found some")
    };
    let others = others.iter().map(|(asset, reason)| format!("\n{} is not current: {reason}", asset.path.display()));
    let mut reason = others.fold(reason.clone(), |all, other| all + &other) + &survey.effects();
    let value = &permission.value;
    let why = match forbidden {
        Some(Forbidden::Copy) => {
            "this is a copy that Cargo has made, and a file that is generated here would be lost; generate it in the \
             package's own directory, and check that `include` in its Cargo.toml names the file and its receipt"
                .to_owned()
        }
        Some(Forbidden::Because(reason)) => (*reason).to_owned(),
        Some(Forbidden::NotPermitted) if permission.is_unknown() => {
            format!("{GENERATE}={value} permits nothing, because the known values are 1, fetch and rehearse")
        }
        Some(Forbidden::NotPermitted) if survey.to_pay.is_empty() => {
            format!("a build fetches nothing unless {GENERATE} is set")
        }
        Some(Forbidden::NotPermitted) => {
            format!("generation costs money and is disabled unless {GENERATE}=1 is set")
        }
        None if permission.is_limited() => format!("{GENERATE}={value} permits nothing else"),
        None => format!("{GENERATE}={value} creates no generation"),
    };
    let is_copy = matches!(forbidden, Some(Forbidden::Copy));
    match survey.purpose() {
        _ if is_copy => reason += &format!("\n{why}"),
        // The reasons name the next step, and no variable would help.
        None => {}
        Some(purpose) => {
            let mode = if survey.to_pay.is_empty() { "fetch" } else { "1" };
            let command = command(package, mode);
            reason += &format!("\n{why}; to {purpose}, set AIML_API_KEY and run\n  {command}");
        }
    }
    first.not_current(reason, survey.charged.unwrap_or(Charged::No))
}

/// Prints one warning for all rehearsals, or fails if they are denied.
fn check_rehearsals(survey: &Survey<'_>) -> Result<()> {
    let Some(first) = survey.rehearsals.first() else { return Ok(()) };
    let paths: Vec<String> = survey.rehearsals.iter().map(|asset| asset.path.display().to_string()).collect();
    let (paths, how) = (
        paths.join(", "),
        "restore the real one with its receipt from version control, or delete the \
                                           receipt, move the file away and generate it",
    );
    if denies_rehearsals() {
        let reason =
            format!("{DENY_REHEARSALS}=1 is set, and these are test clips of an emulator: {paths}; for each, {how}");
        return Err(first.not_current(reason, Charged::No));
    }
    let are = if survey.rehearsals.len() == 1 { "is a test clip" } else { "are test clips" };
    print_directive(format_args!("warning={paths} {are} of an emulator; to replace one, {how}"));
    Ok(())
}
