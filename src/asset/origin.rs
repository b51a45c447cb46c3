//! The facts that a receipt records about a current file.

use serde::Serialize;

use crate::generation::{GenerationId, Usage};

/// The generation that a current file is from, as the receipt records it.
///
/// # Example
///
/// ```
/// use kling::asset::{self, State};
/// use kling::emulator::Emulator;
/// use kling::{Asset, VideoRequest};
///
/// let emulator = Emulator::start();
/// let path = std::env::temp_dir().join(format!("meadow-{}.mp4", std::process::id()));
/// let meadow = Asset::new(&path, VideoRequest::new("A meadow in the wind"));
/// asset::ensure([&meadow], || Ok(emulator.client()))?;
///
/// let State::Current(origin) = meadow.state()? else { panic!("it was generated") };
/// assert_eq!(origin.cost.credits, Some(120_000.0));
/// assert!(origin.is_rehearsal());
/// # std::fs::remove_file(meadow.receipt_path()).unwrap();
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), kling::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Origin {
    /// The generation.
    pub id: GenerationId,
    /// The length of the file in bytes.
    pub file_size: u64,
    /// The cost of the generation. An unknown cost has no amounts.
    pub cost: Usage,
    /// When the generation was requested first, in seconds since the Unix epoch.
    pub requested_at: u64,
    /// The scheme, host and port of the server, unless it is the service's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

impl Origin {
    /// Returns `true` if an emulator has generated the file: it is a test clip, and has cost nothing.
    pub fn is_rehearsal(&self) -> bool {
        self.server.as_deref().is_some_and(is_emulator)
    }
}

/// Returns `true` for the server of a rehearsal. Only loopback is requested without TLS; a gateway of the service has
/// it, and its generations cost money.
pub(super) fn is_emulator(server: &str) -> bool {
    server.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_without_tls_is_a_rehearsal() {
        let table = [(None, false), (Some("https://gateway.example"), false), (Some("http://127.0.0.1:8080"), true)];
        for (server, is_rehearsal) in table {
            let (id, server) = ("a:b".parse().unwrap(), server.map(str::to_owned));
            let origin = Origin { id, file_size: 7, cost: Usage::default(), requested_at: 1, server };
            assert_eq!(origin.is_rehearsal(), is_rehearsal, "{:?}", origin.server);
        }
    }
}
