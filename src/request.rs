//! The question: what to generate, and what is refused before a byte is sent.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The model that this library is for.
pub(crate) const MODEL: &str = "klingai/v2.5-turbo/pro/text-to-video";

/// Fields that have a setter, which [`VideoRequest::param`] may not shadow.
const OWN_FIELDS: [&str; 6] = ["model", "prompt", "aspect_ratio", "duration", "negative_prompt", "cfg_scale"];

/// A video to be generated: a prompt, and what else the model can be told.
///
/// What is not set is not sent, so that the service's own default applies. The request is checked when it is sent;
/// a refusal costs nothing.
///
/// Its serialised form is the body of the service's create call, field by field.
///
/// # Example
///
/// ```
/// use kling::{AspectRatio, Seconds, VideoRequest};
///
/// let request = VideoRequest::new("A cheerful white raccoon running through a sequoia forest")
///     .aspect_ratio(AspectRatio::Portrait)
///     .duration(Seconds::Ten)
///     .negative_prompt("blur, text")
///     .cfg_scale(0.9);
/// assert_eq!(
///     serde_json::to_value(&request).unwrap(),
///     serde_json::json!({
///         "model": "klingai/v2.5-turbo/pro/text-to-video",
///         "prompt": "A cheerful white raccoon running through a sequoia forest",
///         "aspect_ratio": "9:16",
///         "duration": 10,
///         "negative_prompt": "blur, text",
///         "cfg_scale": 0.9,
///     }),
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[must_use]
pub struct VideoRequest {
    model: String,
    prompt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    aspect_ratio: Option<AspectRatio>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    negative_prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cfg_scale: Option<f64>,
    #[serde(flatten)]
    params: Map<String, Value>,
    #[serde(skip)]
    client_request_id: Option<String>,
}

impl VideoRequest {
    /// A request for a video of what the prompt describes: the scene, the subject, the action.
    ///
    /// A prompt of white space alone is refused when the request is sent.
    pub fn new(prompt: impl Into<String>) -> Self {
        VideoRequest {
            model: MODEL.to_owned(),
            prompt: prompt.into(),
            aspect_ratio: None,
            duration: None,
            negative_prompt: None,
            cfg_scale: None,
            params: Map::new(),
            client_request_id: None,
        }
    }

    /// Sets the shape of the picture. The service does not document its default.
    pub fn aspect_ratio(mut self, ratio: AspectRatio) -> Self {
        self.aspect_ratio = Some(ratio);
        self
    }

    /// Sets the length of the video. The service defaults to 5 s (its description of June 2026).
    pub fn duration(mut self, seconds: Seconds) -> Self {
        self.duration = Some(seconds);
        self
    }

    /// Describes what the video should not show. Not sent unless it is set.
    pub fn negative_prompt(mut self, text: impl Into<String>) -> Self {
        self.negative_prompt = Some(text.into());
        self
    }

    /// Sets how closely the model sticks to the prompt (classifier-free guidance): 0 is freely, 1 is closely. The
    /// service does not document its default.
    ///
    /// A value outside 0 to 1, or one that is no number, is refused when the request is sent.
    pub fn cfg_scale(mut self, scale: f64) -> Self {
        self.cfg_scale = Some(scale);
        self
    }

    /// Names another model of the service. Defaults to `klingai/v2.5-turbo/pro/text-to-video`.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// Sets a field of the body that has no setter here, for sibling models and newer editions of the service.
    ///
    /// A field that has a setter is refused when the request is sent, whether or not the setter was used: two ways to
    /// say one thing would let them disagree.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::VideoRequest;
    ///
    /// let request = VideoRequest::new("A lighthouse in a storm").param("provider", "kling");
    /// assert_eq!(serde_json::to_value(&request).unwrap()["provider"], "kling");
    /// ```
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.params.insert(name.into(), value.into());
        self
    }

    /// Sets the `X-Client-Request-Id` under which the service logs the create, so that it can be looked up if its
    /// answer is lost. Defaults to a random one, which [`Error::OutcomeUnknown`] tells.
    ///
    /// 1 to 128 characters of `A-Z a-z 0-9 . _ : -`; the service drops any other silently, so any other is refused
    /// when the request is sent. Use an id for one create only: it is all that tells two rows of the logs apart.
    pub fn client_request_id(mut self, id: impl Into<String>) -> Self {
        self.client_request_id = Some(id.into());
        self
    }

    /// What the service would refuse, or silently drop, is refused here for nothing.
    pub(crate) fn validate(&self) -> Result<()> {
        if self.prompt.trim().is_empty() {
            return Err(refused("prompt", "it is empty: say what the video shows"));
        }
        if self.model.trim().is_empty() {
            return Err(refused("model", "it is empty"));
        }
        if let Some(scale) = self.cfg_scale
            && !(0.0..=1.0).contains(&scale)
        {
            return Err(refused("cfg_scale", format!("{scale} is not between 0 and 1")));
        }
        if let Some(name) = self.params.keys().find(|name| OWN_FIELDS.contains(&name.as_str())) {
            return Err(refused(name.as_str(), "it has a setter of its own: use that instead of `param`"));
        }
        if let Some(id) = &self.client_request_id {
            check_client_request_id(id)?;
        }
        Ok(())
    }

    pub(crate) fn without_client_request_id(self) -> Self {
        VideoRequest { client_request_id: None, ..self }
    }

    pub(crate) fn own_client_request_id(&self) -> Option<&str> {
        self.client_request_id.as_deref()
    }
}

/// The alphabet of the service's tracing documents of August 2026.
pub(crate) fn check_client_request_id(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    if (1..=128).contains(&id.len()) && id.chars().all(allowed) {
        return Ok(());
    }
    Err(refused("client request id", format!("{id:?} is not 1 to 128 characters of A-Z a-z 0-9 . _ : -")))
}

/// The refusal of a client request id that another request of the same batch has.
pub(crate) fn duplicate_client_request_id() -> Error {
    refused("client request id", "another request of this batch has it, and the logs could not tell the two apart")
}

fn refused(field: &str, reason: impl Into<String>) -> Error {
    Error::InvalidRequest { field: field.to_owned(), reason: reason.into() }
}

/// The shape of the picture. Parses from and prints as `16:9`, `9:16`, `1:1`.
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
    const fn as_str(self) -> &'static str {
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
    /// [`Error::InvalidRequest`] for anything but `16:9`, `9:16` and `1:1`.
    fn from_str(text: &str) -> Result<Self> {
        [AspectRatio::Landscape, AspectRatio::Portrait, AspectRatio::Square]
            .into_iter()
            .find(|ratio| ratio.as_str() == text)
            .ok_or_else(|| refused("aspect_ratio", format!("{text:?} is none of 16:9, 9:16, 1:1")))
    }
}

impl Serialize for AspectRatio {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
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
/// assert_eq!("7".parse::<Seconds>().unwrap_err().to_string(), "invalid duration: \"7\" is none of 5, 10 (seconds)");
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
    /// [`Error::InvalidRequest`] for anything but `5` and `10`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "5" => Ok(Seconds::Five),
            "10" => Ok(Seconds::Ten),
            _ => Err(refused("duration", format!("{text:?} is none of 5, 10 (seconds)"))),
        }
    }
}

impl Serialize for Seconds {
    /// The schema wants the integer, though the service's own sample sends a string.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.as_u8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(request: VideoRequest) -> String {
        request.validate().unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_set_is_not_sent() {
        let body = serde_json::to_string(&VideoRequest::new("a fox").client_request_id("fox-1")).unwrap();
        assert_eq!(body, r#"{"model":"klingai/v2.5-turbo/pro/text-to-video","prompt":"a fox"}"#);
    }

    #[test]
    fn a_request_that_would_be_refused_is_refused_here() {
        let fox = || VideoRequest::new("a fox");
        let table = [
            (VideoRequest::new(""), "invalid prompt: it is empty: say what the video shows"),
            (VideoRequest::new(" \n"), "invalid prompt: it is empty: say what the video shows"),
            (fox().model(""), "invalid model: it is empty"),
            (fox().cfg_scale(1.01), "invalid cfg_scale: 1.01 is not between 0 and 1"),
            (fox().cfg_scale(-0.1), "invalid cfg_scale: -0.1 is not between 0 and 1"),
            (fox().cfg_scale(f64::NAN), "invalid cfg_scale: NaN is not between 0 and 1"),
            (fox().cfg_scale(f64::INFINITY), "invalid cfg_scale: inf is not between 0 and 1"),
            (fox().param("duration", 5), "invalid duration: it has a setter of its own: use that instead of `param`"),
            (
                fox().client_request_id("a b"),
                "invalid client request id: \"a b\" is not 1 to 128 characters of A-Z a-z 0-9 . _ : -",
            ),
        ];
        for (request, message) in table {
            assert_eq!(refusal(request), message);
        }
        assert!(fox().client_request_id("").validate().is_err());
        assert!(fox().client_request_id("x".repeat(129)).validate().is_err());
    }

    #[test]
    fn the_edges_of_what_is_allowed_are_allowed() {
        let fox = || VideoRequest::new("a fox");
        for request in [
            fox().cfg_scale(0.0),
            fox().cfg_scale(1.0),
            fox().param("provider", "auto"),
            fox().client_request_id("x".repeat(128)),
            fox().client_request_id("Az09._:-"),
        ] {
            request.validate().unwrap();
        }
    }

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
