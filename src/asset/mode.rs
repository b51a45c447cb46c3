//! The permissions that the environment gives a build script.

use std::env;
use std::path::{Path, PathBuf};

/// The variable that permits generation. Cargo stores the values of the variables that a build script names as plain
/// text under `target`, so the API key must not be among them.
pub(super) const GENERATE: &str = "KLING_GENERATE";

/// The variable that makes a rehearsal an error.
pub(super) const DENY_REHEARSALS: &str = "KLING_DENY_REHEARSALS";

/// What a build script may do about assets that are not current.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// Nothing.
    Check,
    /// Resume and fetch what exists.
    Fetch,
    /// Pay for generations as well.
    Generate,
    /// Generate test clips on an emulator of its own.
    Rehearse,
}

/// The value of `KLING_GENERATE`.
#[derive(Debug, PartialEq)]
pub(super) struct Permission {
    pub(super) mode: Mode,
    /// The value, as it was set.
    pub(super) value: String,
    /// The assets that it is limited to; `None` means all.
    only: Option<Vec<PathBuf>>,
}

impl Permission {
    pub(super) fn from_env() -> Self {
        // A value that is not Unicode permits nothing.
        Permission::parse(&env::var_os(GENERATE).unwrap_or_default().to_string_lossy())
    }

    /// Parses a mode, and a list of assets that limits it: `1:assets/intro.mp4,assets/outro.mp4`. A list without entries
    /// permits nothing: a shell script leaves one where a variable is empty.
    fn parse(value: &str) -> Self {
        let (name, list) = value.split_once(':').map_or((value, None), |(name, list)| (name, Some(list)));
        let entries =
            |list: &str| list.split(',').map(str::trim).filter(|path| !path.is_empty()).map(PathBuf::from).collect();
        let only: Option<Vec<PathBuf>> = list.map(entries);
        let mode = match name {
            _ if only.as_ref().is_some_and(Vec::is_empty) => Mode::Check,
            "1" => Mode::Generate,
            "fetch" => Mode::Fetch,
            "rehearse" => Mode::Rehearse,
            _ => Mode::Check,
        };
        Permission { mode, value: value.to_owned(), only }
    }

    /// Returns `true` if a value is set that means nothing.
    pub(super) fn is_unknown(&self) -> bool {
        self.mode == Mode::Check && !matches!(self.value.as_str(), "" | "0")
    }

    /// Returns `true` if the permission is limited to some assets.
    pub(super) fn is_limited(&self) -> bool {
        self.only.is_some()
    }

    /// Returns `true` if the permission includes the asset at this path.
    pub(super) fn includes(&self, path: &Path, package: &Path) -> bool {
        let is_it = |entry: &PathBuf| package.join(entry) == package.join(path);
        self.only.as_ref().is_none_or(|only| only.iter().any(is_it))
    }
}

/// Returns `true` if `KLING_DENY_REHEARSALS` is set. A safety catch that ignored `true` would be none.
pub(super) fn denies_rehearsals() -> bool {
    env::var_os(DENY_REHEARSALS).is_some_and(|value| !value.is_empty() && value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_values_permit_something() {
        let table = [
            ("", Mode::Check, false),
            ("0", Mode::Check, false),
            ("1", Mode::Generate, false),
            ("fetch", Mode::Fetch, false),
            ("rehearse", Mode::Rehearse, false),
            ("1:assets/fox.mp4", Mode::Generate, false),
            ("fetch: assets/fox.mp4 , assets/owl.mp4,", Mode::Fetch, false),
            ("true", Mode::Check, true),
            ("1 ", Mode::Check, true),
            ("Fetch", Mode::Check, true),
            ("1:", Mode::Check, true),
            ("1: ,", Mode::Check, true),
            ("2:assets/fox.mp4", Mode::Check, true),
            ("assets/fox.mp4", Mode::Check, true),
        ];
        for (value, mode, is_unknown) in table {
            let permission = Permission::parse(value);
            assert_eq!((permission.mode, permission.is_unknown()), (mode, is_unknown), "{value:?}");
        }
    }

    #[test]
    fn a_list_limits_the_permission() {
        let package = Path::new("/home/me/trailer");
        let permission = Permission::parse("1:assets/fox.mp4,/elsewhere/owl.mp4,./assets/cat.mp4");
        for (path, is_included) in [
            ("assets/fox.mp4", true),
            ("/home/me/trailer/assets/fox.mp4", true),
            ("/elsewhere/owl.mp4", true),
            ("assets/owl.mp4", false),
            ("assets/cat.mp4", true),
            ("fox.mp4", false),
        ] {
            assert_eq!(permission.includes(Path::new(path), package), is_included, "{path}");
        }
        assert!(Permission::parse("1").includes(Path::new("any.mp4"), package));
    }
}
