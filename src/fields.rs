//! The values of request fields: aspect ratios and lengths.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};

/// The aspect ratio of a video. Parses from and prints as `16:9`, `9:16`, `1:1`.
///
/// # Example
///
/// ```
/// use kling::AspectRatio;
///
/// let ratio: AspectRatio = "9:16".parse()?;
/// assert_eq!(ratio, AspectRatio::Portrait);
/// assert_eq!(ratio.to_string(), "9:16");
/// # Ok::<(), kling::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AspectRatio {
    /// 16:9, as on a television.
    Landscape,
    /// 9:16, as on a telephone.
    Portrait,
    /// 1:1.
    Square,
}

impl AspectRatio {
    /// Returns the ratio as the service writes it: `16:9`, `9:16` or `1:1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            AspectRatio::Landscape => "16:9",
            AspectRatio::Portrait => "9:16",
            AspectRatio::Square => "1:1",
        }
    }
}

impl fmt::Display for AspectRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AspectRatio {
    type Err = Error;

    /// # Errors
    ///
    /// [`Error::InvalidRequest`] for any text except `16:9`, `9:16` and `1:1`.
    fn from_str(text: &str) -> Result<Self> {
        [AspectRatio::Landscape, AspectRatio::Portrait, AspectRatio::Square]
            .into_iter()
            .find(|ratio| ratio.as_str() == text)
            .ok_or_else(|| Error::invalid_request("aspect_ratio", format!("must be 16:9, 9:16 or 1:1, not {text:?}")))
    }
}

impl Serialize for AspectRatio {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AspectRatio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The length of a video. Parses from and prints as `5`, `10`.
///
/// # Example
///
/// ```
/// use kling::Seconds;
///
/// let seconds: Seconds = "10".parse()?;
/// assert_eq!(seconds, Seconds::Ten);
/// let error = "7".parse::<Seconds>().unwrap_err();
/// assert!(error.to_string().starts_with("invalid duration: must be 5 or 10"));
/// # Ok::<(), kling::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Seconds {
    /// 5 s.
    Five,
    /// 10 s.
    Ten,
}

impl Seconds {
    const fn as_u8(self) -> u8 {
        match self {
            Seconds::Five => 5,
            Seconds::Ten => 10,
        }
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_u8().fmt(f)
    }
}

impl FromStr for Seconds {
    type Err = Error;

    /// # Errors
    ///
    /// [`Error::InvalidRequest`] for any text except `5` and `10`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "5" => Ok(Seconds::Five),
            "10" => Ok(Seconds::Ten),
            _ => Err(Error::invalid_request("duration", format!("must be 5 or 10 (seconds), not {text:?}"))),
        }
    }
}

impl TryFrom<u8> for Seconds {
    type Error = Error;

    /// # Errors
    ///
    /// [`Error::InvalidRequest`] for any number except 5 and 10.
    fn try_from(seconds: u8) -> Result<Self> {
        seconds.to_string().parse()
    }
}

impl<'de> Deserialize<'de> for Seconds {
    /// Takes numbers and strings, as the service does.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "must be 5 or 10 (seconds)")]
        enum Text {
            Number(u8),
            String(String),
        }
        let seconds = match Text::deserialize(deserializer)? {
            Text::Number(seconds) => Seconds::try_from(seconds),
            Text::String(text) => text.parse(),
        };
        seconds.map_err(D::Error::custom)
    }
}

impl Serialize for Seconds {
    // The schema requires an integer, although the service's own sample sends a string.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.as_u8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_lengths_print_as_they_parse() {
        for text in ["16:9", "9:16", "1:1"] {
            assert_eq!(text.parse::<AspectRatio>().unwrap().to_string(), text);
        }
        for text in ["5", "10"] {
            assert_eq!(text.parse::<Seconds>().unwrap().to_string(), text);
        }
        assert!("4:3".parse::<AspectRatio>().is_err());
        assert!("5s".parse::<Seconds>().is_err());
    }
}
