//! The outcomes that statuses stand for, in whatever spelling.

/// How a status ends a generation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    Completed,
    Failed,
}

impl Outcome {
    /// Returns the outcome of a [`normalized`] status, or `None` if it is pending or unknown.
    pub(crate) fn of(normalized: &str) -> Option<Outcome> {
        match normalized {
            "completed" | "complete" | "succeeded" | "succeed" | "success" | "successful" | "done" | "finished" => {
                Some(Outcome::Completed)
            }
            "error" | "errored" | "failed" | "failure" | "fail" | "cancelled" | "canceled" | "rejected" | "expired"
            | "timeout" | "timedout" | "aborted" => Some(Outcome::Failed),
            _ => None,
        }
    }
}

/// Returns a status in lower case without separators: `timed_out`, `TIMED-OUT` and `timed out` are one status.
pub(crate) fn normalized(status: &str) -> String {
    let mut normalized = String::with_capacity(status.len());
    normalized.extend(status.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()));
    normalized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_status_have_one_outcome() {
        let table = [
            ("completed", Some(Outcome::Completed)),
            (" SUCCEEDED\n", Some(Outcome::Completed)),
            ("Timed-Out", Some(Outcome::Failed)),
            ("timed out", Some(Outcome::Failed)),
            ("TIME_OUT", Some(Outcome::Failed)),
            ("Canceled", Some(Outcome::Failed)),
            ("cancelling", None),
            ("incomplete", None),
            ("not failed", None),
            ("queued", None),
            ("\u{fb01}nished", None),
            ("", None),
        ];
        for (status, outcome) in table {
            assert_eq!(Outcome::of(&normalized(status)), outcome, "{status:?}");
        }
    }
}
