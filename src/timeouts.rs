//! The time limits of single requests.

use std::time::Duration;

/// The time limits of single requests. How long a wait may take in total is [`Poll::max_wait`](crate::Poll::max_wait).
///
/// The service documents no limits. Each value must be greater than zero and at most one hour; building a client fails
/// otherwise.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use kling::{Client, Timeouts};
///
/// let timeouts = Timeouts { connect: Duration::from_secs(30), ..Timeouts::default() };
/// let client = Client::builder("my-key")
///     .base_url("http://127.0.0.1:8080")
///     .timeouts(timeouts)
///     .build()?;
/// assert_eq!(Timeouts::default().poll, Duration::from_secs(30));
/// # Ok::<(), kling::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// Connecting, including the TLS handshake. Defaults to 10 s.
    pub connect: Duration,
    /// A create request, from the name lookup to the last byte of the response. A timeout after the request was sent
    /// leaves the outcome unknown, so this should be generous. Defaults to 60 s.
    pub create: Duration,
    /// A poll, or the lookup of a page of logs, from the name lookup to the last byte of the response. Defaults to 30 s.
    pub poll: Duration,
    /// The silence after which a download counts as broken. Defaults to 30 s.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(10),
            create: Duration::from_secs(60),
            poll: Duration::from_secs(30),
            stall: Duration::from_secs(30),
        }
    }
}

/// The longest timeout. Longer ones would hide a connection that is dead.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

impl Timeouts {
    /// Returns the setting that cannot be used, and the reason.
    pub(crate) fn validate(&self) -> Result<(), (&'static str, &'static str)> {
        let settings = [
            ("connect timeout", self.connect),
            ("create timeout", self.create),
            ("poll timeout", self.poll),
            ("stall timeout", self.stall),
        ];
        for (name, value) in settings {
            if value.is_zero() {
                return Err((name, "must be greater than zero"));
            }
            if value > MAX_TIMEOUT {
                return Err((name, "must be at most one hour"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validate_rejects_zero_and_more_than_an_hour() {
        let usual = Timeouts::default();
        let table = [
            (usual, Ok(())),
            (Timeouts { poll: MAX_TIMEOUT, ..usual }, Ok(())),
            (Timeouts { connect: Duration::ZERO, ..usual }, Err(("connect timeout", "must be greater than zero"))),
            (Timeouts { stall: Duration::MAX, ..usual }, Err(("stall timeout", "must be at most one hour"))),
        ];
        for (timeouts, expected) in table {
            assert_eq!(timeouts.validate(), expected, "{timeouts:?}");
        }
    }
}
