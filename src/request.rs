//! Request types, and the validation that runs before anything is sent.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::fields::{AspectRatio, Seconds};

/// The default model.
pub(crate) const MODEL: &str = "klingai/v2.5-turbo/pro/text-to-video";

/// The fields with a setter, which [`VideoRequest::param`] must not set as well.
const OWN_FIELDS: [&str; 6] = ["model", "prompt", "aspect_ratio", "duration", "negative_prompt", "cfg_scale"];

/// A request for a video: a prompt and optional generation parameters.
///
/// Unset fields are left out of the request, so the service's defaults apply. The request is validated when it is sent;
/// a request that fails validation is never sent and costs nothing.
///
/// The serialized form is the body of the service's create request, field by field. A request can be read from a file as
/// well: without a `model` it has the default one, and unknown fields become parameters.
///
/// # Example
///
/// ```
/// use kling::{AspectRatio, Seconds, VideoRequest};
///
/// let request = VideoRequest::new("A raccoon running through a forest")
///     .aspect_ratio(AspectRatio::Portrait)
///     .duration(Seconds::Ten)
///     .negative_prompt("blur, text")
///     .cfg_scale(0.9);
/// assert_eq!(
///     serde_json::to_value(&request).unwrap(),
///     serde_json::json!({
///         "model": "klingai/v2.5-turbo/pro/text-to-video",
///         "prompt": "A raccoon running through a forest",
///         "aspect_ratio": "9:16",
///         "duration": 10,
///         "negative_prompt": "blur, text",
///         "cfg_scale": 0.9,
///     }),
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use = "a request does nothing until it is sent"]
pub struct VideoRequest {
    #[serde(default = "default_model")]
    model: String,
    prompt: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aspect_ratio: Option<AspectRatio>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duration: Option<Seconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    negative_prompt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cfg_scale: Option<f64>,
    #[serde(flatten)]
    params: Map<String, Value>,
    #[serde(skip)]
    client_request_id: Option<String>,
}

fn default_model() -> String {
    MODEL.to_owned()
}

impl VideoRequest {
    /// Creates a request with this prompt, which describes the scene, the subject and the action.
    ///
    /// A prompt that is empty or only white space is rejected when the request is sent.
    pub fn new(prompt: impl Into<String>) -> Self {
        VideoRequest {
            model: default_model(),
            prompt: prompt.into(),
            aspect_ratio: None,
            duration: None,
            negative_prompt: None,
            cfg_scale: None,
            params: Map::new(),
            client_request_id: None,
        }
    }

    /// Sets the aspect ratio of the video. The service does not document its default.
    pub fn aspect_ratio(mut self, ratio: AspectRatio) -> Self {
        self.aspect_ratio = Some(ratio);
        self
    }

    /// Sets the length of the video. The service defaults to 5 s (as of its June 2026 description).
    pub fn duration(mut self, seconds: Seconds) -> Self {
        self.duration = Some(seconds);
        self
    }

    /// Sets a description of what the video should not show. By default none is sent.
    pub fn negative_prompt(mut self, text: impl Into<String>) -> Self {
        self.negative_prompt = Some(text.into());
        self
    }

    /// Sets how closely the model follows the prompt (classifier-free guidance), from 0 (freely) to 1 (closely). The
    /// service does not document its default.
    ///
    /// Values outside 0 to 1, and NaN, are rejected when the request is sent.
    pub fn cfg_scale(mut self, scale: f64) -> Self {
        self.cfg_scale = Some(scale);
        self
    }

    /// Sets the model. Defaults to `klingai/v2.5-turbo/pro/text-to-video`.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// Sets a field of the request body that has no setter, for other models and newer versions of the service.
    ///
    /// A field that has a setter is rejected when the request is sent, whether or not the setter was called. Otherwise
    /// the two values could contradict each other.
    ///
    /// # Example
    ///
    /// ```
    /// use kling::VideoRequest;
    ///
    /// let request = VideoRequest::new("A fox in the snow").param("provider", "kling");
    /// assert_eq!(serde_json::to_value(&request).unwrap()["provider"], "kling");
    /// ```
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.params.insert(name.into(), value.into());
        self
    }

    /// Sets the `X-Client-Request-Id` under which the service logs the create request. With this id, a request whose
    /// response was lost can be looked up by [`Client::recover`](crate::Client::recover).
    ///
    /// An id consists of 1 to 128 characters of `A-Z a-z 0-9 . _ : -`. Any other is rejected when the request is sent,
    /// because the service would drop it silently. Use each id for one request only: it is all that distinguishes two
    /// requests in the logs.
    ///
    /// Defaults to a random id, which [`Error::OutcomeUnknown`] reports.
    pub fn client_request_id(mut self, id: impl Into<String>) -> Self {
        self.client_request_id = Some(id.into());
        self
    }

    /// Returns the prompt.
    pub fn get_prompt(&self) -> &str {
        &self.prompt
    }

    /// Returns the model.
    pub fn get_model(&self) -> &str {
        &self.model
    }

    /// Returns the aspect ratio, if it is set.
    pub fn get_aspect_ratio(&self) -> Option<AspectRatio> {
        self.aspect_ratio
    }

    /// Returns the length of the video, if it is set.
    pub fn get_duration(&self) -> Option<Seconds> {
        self.duration
    }

    /// Returns the negative prompt, if it is set.
    pub fn get_negative_prompt(&self) -> Option<&str> {
        self.negative_prompt.as_deref()
    }

    /// Returns the cfg scale, if it is set.
    pub fn get_cfg_scale(&self) -> Option<f64> {
        self.cfg_scale
    }

    /// Returns a parameter that was set with [`param`](VideoRequest::param).
    pub fn get_param(&self, name: &str) -> Option<&Value> {
        self.params.get(name)
    }

    /// Returns the client request id, if it is set.
    pub fn get_client_request_id(&self) -> Option<&str> {
        self.client_request_id.as_deref()
    }

    /// Rejects requests that the service would refuse or silently alter.
    pub(crate) fn validate(&self) -> Result<()> {
        if self.prompt.trim().is_empty() {
            return Err(Error::invalid_request("prompt", "must not be empty; describe what the video shows"));
        }
        if self.model.trim().is_empty() {
            return Err(Error::invalid_request("model", "must not be empty"));
        }
        if let Some(scale) = self.cfg_scale
            && !(0.0..=1.0).contains(&scale)
        {
            return Err(Error::invalid_request("cfg_scale", format!("must be between 0 and 1, not {scale}")));
        }
        if let Some(name) = self.params.keys().find(|name| OWN_FIELDS.contains(&name.as_str())) {
            return Err(Error::invalid_request(name.as_str(), "use the dedicated setter instead of `param`"));
        }
        if let Some(id) = &self.client_request_id {
            check_client_request_id(id)?;
        }
        Ok(())
    }

    pub(crate) fn without_client_request_id(self) -> Self {
        VideoRequest { client_request_id: None, ..self }
    }
}

/// Checks a client request id against the alphabet that the service accepts (as of its August 2026 documentation).
pub(crate) fn check_client_request_id(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    if (1..=128).contains(&id.len()) && id.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::invalid_request(
        "client request id",
        format!("must be 1 to 128 characters of A-Z a-z 0-9 . _ : -, not {id:?}"),
    ))
}

/// Returns the error for a client request id that another request of the same batch has.
pub(crate) fn duplicate_client_request_id() -> Error {
    Error::invalid_request(
        "client request id",
        "must be unique within a batch; the logs could not distinguish two requests with the same id",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_fields_are_not_sent() {
        let body = serde_json::to_string(&VideoRequest::new("a fox").client_request_id("fox-1")).unwrap();
        assert_eq!(body, r#"{"model":"klingai/v2.5-turbo/pro/text-to-video","prompt":"a fox"}"#);
    }

    #[test]
    fn validate_rejects_requests_that_the_service_would_refuse() {
        let fox = || VideoRequest::new("a fox");
        let table = [
            (VideoRequest::new(""), "invalid prompt: must not be empty; describe what the video shows"),
            (VideoRequest::new(" \n"), "invalid prompt: must not be empty; describe what the video shows"),
            (fox().model(""), "invalid model: must not be empty"),
            (fox().cfg_scale(1.01), "invalid cfg_scale: must be between 0 and 1, not 1.01"),
            (fox().cfg_scale(-0.1), "invalid cfg_scale: must be between 0 and 1, not -0.1"),
            (fox().cfg_scale(f64::NAN), "invalid cfg_scale: must be between 0 and 1, not NaN"),
            (fox().cfg_scale(f64::INFINITY), "invalid cfg_scale: must be between 0 and 1, not inf"),
            (fox().param("duration", 5), "invalid duration: use the dedicated setter instead of `param`"),
            (
                fox().client_request_id("a b"),
                "invalid client request id: must be 1 to 128 characters of A-Z a-z 0-9 . _ : -, not \"a b\"",
            ),
        ];
        for (request, message) in table {
            assert_eq!(request.validate().unwrap_err().to_string(), message);
        }
        assert!(fox().client_request_id("").validate().is_err());
        assert!(fox().client_request_id("x".repeat(129)).validate().is_err());
    }

    #[test]
    fn validate_accepts_the_limits() {
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
}
