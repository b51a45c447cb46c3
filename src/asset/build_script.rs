//! The policy of build scripts: Cargo's protocol, and no cost unless `KLING_GENERATE` permits it.

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::cargo::{command, is_copy, is_emulator_set, lacks_tls};
use super::ensure::{Ensure, check_all, step_text};
use super::mode::{DENY_REHEARSALS, GENERATE, Mode, Permission, denies_rehearsals};
use super::origin::Origin;
use super::paths::dedup_by_path;
use super::receipt::is_locked;
use super::state::Asset;
use super::survey::Survey;
use crate::charged::Charged;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::generation::Usage;
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
/// | `KLING_DENY_REHEARSALS=1` | Stops the build at a test clip, for releases and CI. So does any other value but `0`. |
///
/// Nothing is ever generated in a copy that Cargo has made (packaged, vendored, a git dependency) and on docs.rs
/// (`DOCS_RS`). Offline (`CARGO_NET_OFFLINE=true`; Cargo does not pass the flag `--offline` to build scripts), only a
/// rehearsal is possible.
///
/// Relative paths start at the directory of the package's `Cargo.toml`. `OUT_DIR` is not used, because `cargo clean`
/// would delete what was paid for.
///
/// A build that stops lists the assets that are not current. It says what a run would pay for, fetch and replace, and
/// prints the command, on Windows in a form for cmd and PowerShell. A video that was paid for is never deleted: see
/// [`ensure`](crate::asset::ensure).
///
/// # Output
///
/// Prints `cargo::rerun-if-changed` for the files and their receipts, a `cargo::warning` for each asset that was
/// generated or fetched, and one for all rehearsals. Steps are printed to standard error, which `cargo build -vv` shows.
/// If nobody reads the output, the assets are still generated and recorded.
///
/// The build after a generation runs the script once more, because the new files are newer than its last run.
///
/// # Without TLS
///
/// The free check needs no TLS, and so no C compiler. A package can leave TLS out, and add it to the command that
/// generates:
///
/// ```toml
/// [build-dependencies]
/// kling = { path = "../kling", default-features = false } # a clone
/// ```
///
/// ```sh
/// KLING_GENERATE=1 cargo build -vv --features kling/rustls
/// ```
///
/// In the same way, `--features kling/emulator` permits a rehearsal.
///
/// # Errors
///
/// - [`Error::AssetNotCurrent`]: an asset is not current, and may not be generated; or it is a rehearsal, and
///   `KLING_DENY_REHEARSALS` is set. The message says why, and which command generates it.
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
    if let Some((asset, _)) = survey.stopped.iter().find(|(asset, _)| is_locked(&asset.receipt_path())) {
        let reason = "another process is generating it; build again once it has finished";
        return Err(asset.not_current(reason, Charged::Perhaps));
    }
    if !survey.stopped.is_empty() {
        return Err(stop(&survey, forbidden.as_ref(), &permission, &assets, &package));
    }
    check_rehearsals(&survey, permission.mode)
}

/// Prints a line for Cargo, and ignores errors, where `println!` would panic. If Cargo was killed, the assets must still be
/// generated and recorded.
fn print_directive(directive: impl Display) {
    let _ = writeln!(io::stdout(), "cargo::{directive}");
}

/// Prints a step for a person, and ignores errors like [`print_directive`].
fn print_step(asset: &Asset, step: &str) {
    let _ = writeln!(io::stderr(), "{}: {step}", asset.path.display());
}

/// Prints what will be done, and does it, as far as it is permitted. Fails if an asset has failed.
fn generate(assets: &[&Asset], permission: &Permission, package: &Path) -> Result<()> {
    let survey = Survey::new(assets);
    let is_included = |asset: &&Asset| permission.includes(&asset.path, package);
    let to_pay = survey.to_pay.iter().filter(|_| permission.mode != Mode::Fetch);
    let due: Vec<&Asset> = to_pay.chain(&survey.to_fetch).copied().filter(is_included).collect();
    if due.is_empty() {
        return Ok(());
    }
    let survey = Survey::new(&due);
    if let Some(purpose) = survey.purpose(permission.mode == Mode::Rehearse || is_emulator_set()) {
        let _ = writeln!(io::stderr(), "this run will {purpose}{}", survey.effects());
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
    run(ensure.afresh(), assets, || Ok(emulator.client()))
}

#[cfg(not(feature = "emulator"))]
fn rehearse(_: Ensure<'_>, _: &[&Asset]) -> Result<()> {
    let reason = "`rehearse` needs the feature `emulator` of kling; add `--features kling/emulator`";
    Err(Error::InvalidConfig { what: GENERATE, reason: reason.to_owned() })
}

/// Connects to the server in the environment.
fn connect() -> Result<Client> {
    if lacks_tls() {
        let reason = "the service needs TLS, which this build of kling leaves out; add `--features kling/rustls`";
        return Err(Error::InvalidConfig { what: GENERATE, reason: reason.to_owned() });
    }
    Client::from_env()
}

/// Generates and fetches the assets, and prints what becomes of each.
fn run(ensure: Ensure<'_>, assets: &[&Asset], connect: impl FnOnce() -> Result<Client>) -> Result<()> {
    let mut failed: Vec<Option<Error>> = assets.iter().map(|_| None).collect();
    let mut created = vec![false; assets.len()];
    let mut last_steps = vec![String::new(); assets.len()];
    for (index, update) in ensure.updates(connect)? {
        if let Some(step) = step_text(&update, &last_steps[index]) {
            print_step(assets[index], &step);
            last_steps[index] = step;
        }
        match update {
            Update::Created(_) => created[index] = true,
            // Rehearsals have a warning of their own.
            Update::Finished(Ok(_)) if is_rehearsal(assets[index]) => {}
            Update::Finished(Ok(video)) => {
                let deed = deed(created[index], video.usage);
                print_directive(format_args!("warning={} {deed}", assets[index].path.display()));
            }
            Update::Finished(Err(error)) => failed[index] = Some(error),
            _ => {}
        }
    }
    check_all(assets, failed)
}

fn is_rehearsal(asset: &Asset) -> bool {
    asset.state().is_ok_and(|state| state.origin().is_some_and(Origin::is_rehearsal))
}

/// Returns what a run has done about an asset of the service. An earlier run has paid for one that was not created by
/// this one.
fn deed(is_created: bool, cost: Option<Usage>) -> String {
    let deed = if is_created { format!("generated for {}", cost.unwrap_or_default()) } else { "fetched".to_owned() };
    format!("was {deed}; commit it with its receipt")
}

/// Returns why nothing may be generated or fetched, or `None` if something may.
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

/// Returns why a limited permission does not include the assets that are not current. A file name alone names none.
fn why_limited(assets: &[&Asset], permission: &Permission, package: &Path) -> String {
    let value = &permission.value;
    if assets.iter().any(|asset| permission.includes(&asset.path, package)) {
        return format!("{GENERATE}={value} permits nothing else");
    }
    let path = |asset: &&Asset| asset.path.strip_prefix(package).unwrap_or(&asset.path).display().to_string();
    let paths = assets.iter().map(path).collect::<Vec<_>>().join(", ");
    format!("{GENERATE}={value} names no asset of this package; its assets are {paths}")
}

/// Returns the error for assets that are not current.
fn stop(
    survey: &Survey<'_>,
    forbidden: Option<&Forbidden>,
    permission: &Permission,
    assets: &[&Asset],
    package: &Path,
) -> Error {
    let Some(((first, reason), others)) = survey.stopped.split_first() else {
        unreachable!("the caller has found some")
    };
    let others = others.iter().map(|(asset, reason)| format!("\n{} is not current: {reason}", asset.path.display()));
    let mut reason = others.fold(reason.clone(), |all, other| all + &other);
    let value = &permission.value;
    let why = match forbidden {
        Some(Forbidden::Copy) => {
            "this is a copy that Cargo has made, and a file that is generated here would be lost; generate it in the \
             package's own directory, commit the file and its receipt, and check that `include` in Cargo.toml names both"
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
            // A rehearsal replaces no file that was paid for.
            let is_hint_useful = cfg!(feature = "emulator") && survey.effects().is_empty();
            let hint = if is_hint_useful { " (`rehearse` makes test clips for free)" } else { "" };
            format!("generation costs money and is disabled unless {GENERATE}=1 is set{hint}")
        }
        None if permission.is_limited() => why_limited(assets, permission, package),
        None => format!("{GENERATE}={value} creates no generation"),
    };
    match survey.purpose(false) {
        _ if matches!(forbidden, Some(Forbidden::Copy)) => reason += &format!("\n{why}"),
        // The reasons name the next step, and no variable would help.
        None => {}
        Some(purpose) => {
            let mode = if survey.to_pay.is_empty() { "fetch" } else { "1" };
            let command = command(package, mode);
            reason += &survey.effects();
            reason += &format!("\n{why}; to {purpose}, set AIML_API_KEY and run\n  {command}");
        }
    }
    first.not_current(reason, survey.charged.unwrap_or(Charged::No))
}

/// Prints one warning for all rehearsals, or fails if they are denied.
fn check_rehearsals(survey: &Survey<'_>, mode: Mode) -> Result<()> {
    let Some(first) = survey.rehearsals.first() else { return Ok(()) };
    let paths: Vec<String> = survey.rehearsals.iter().map(|asset| asset.path.display().to_string()).collect();
    let paths = paths.join(", ");
    let how = "restore the real one with its receipt from version control, or delete the receipt, move the file away and \
               generate it";
    if denies_rehearsals() {
        let reason =
            format!("{DENY_REHEARSALS} is set, and these are test clips of an emulator: {paths}; for each, {how}");
        return Err(first.not_current(reason, Charged::No));
    }
    let are = if survey.rehearsals.len() == 1 { "is a test clip" } else { "are test clips" };
    // Otherwise, a run that has bought nothing would look like one that has.
    let kept =
        if mode == Mode::Generate && !is_emulator_set() { ", and a run that pays does not replace them" } else { "" };
    print_directive(format_args!("warning={paths} {are} of an emulator{kept}; to replace one, {how}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_printed_by_the_run_that_paid() {
        let cost = Some(Usage { credits: Some(120_000.0), usd: None });
        assert_eq!(deed(true, cost), "was generated for 120000 credits; commit it with its receipt");
        assert_eq!(deed(true, None), "was generated for an unknown cost; commit it with its receipt");
        assert_eq!(deed(false, cost), "was fetched; commit it with its receipt");
    }
}
