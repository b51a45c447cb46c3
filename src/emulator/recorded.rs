//! The requests that the emulator has received.

use serde_json::Value;

use super::server::Request;

/// A request that the emulator received.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The method, such as `GET` or `POST`.
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// The headers, in the order in which they were received.
    pub headers: Vec<(String, String)>,
    /// The body, or null if the body is not JSON.
    pub body: Value,
    /// The id of the generation that the request is about. For a create request, this is the generation that it
    /// created, or `None` if it was refused.
    pub generation_id: Option<String>,
}

impl RecordedRequest {
    pub(super) fn new(request: &Request, generation_id: Option<String>) -> Self {
        RecordedRequest {
            method: request.method.clone(),
            target: request.target.clone(),
            headers: request.headers.clone(),
            body: serde_json::from_slice(&request.body).unwrap_or(Value::Null),
            generation_id,
        }
    }

    /// Returns the value of the first header with this name, ignoring case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}
