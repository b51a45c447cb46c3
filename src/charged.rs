//! Whether an error may have cost money.

use std::fmt;

/// Whether the service has charged for the generation that an error concerns, returned by
/// [`Error::charged`](crate::Error::charged). Ordered by what may have been charged: `No`, `Perhaps`, `Yes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Charged {
    /// Nothing was charged. The request can be sent again once the cause of the error is resolved.
    No,
    /// It is unknown whether the service has charged. Look the generation up before you pay again.
    Perhaps,
    /// The generation exists and was charged, or will be. Resume it instead of paying again.
    Yes,
}

impl fmt::Display for Charged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Charged::No => "not charged",
            Charged::Perhaps => "perhaps charged",
            Charged::Yes => "charged",
        })
    }
}
