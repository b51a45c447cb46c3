//! The reasons that the service gives for a failed generation and for a refused request, each as one readable line.

use serde_json::value::RawValue;

use crate::generation::Failure;
use crate::json::{self, Object};
use crate::redact::Redactor;

/// The fields of an object that explain it, the best one first.
const MESSAGES: [&str; 10] = [
    "message",
    "msg",
    "error_message",
    "errorMessage",
    "failure_reason",
    "failureReason",
    "fail_reason",
    "reason",
    "description",
    "title",
];

/// The fields of an object that hold its details: strings, objects such as the issues of zod or of FastAPI, or lists of
/// either.
const DETAILS: [&str; 8] = ["error", "errors", "issues", "detail", "details", "unionErrors", "data", "meta"];

/// The fields of a failed generation in which its reason may be, if `error` has none.
const FAILURE_REASONS: [&str; 14] = [
    "error",
    "message",
    "error_message",
    "errorMessage",
    "failure_reason",
    "failureReason",
    "fail_reason",
    "failure",
    "reason",
    "errors",
    "detail",
    "details",
    "description",
    "failure_code",
];

/// The maximum depth at which a reason is searched for. The list of a validator's issues in the `meta` of an envelope
/// is at a depth of 3.
const MAX_DEPTH: usize = 8;

/// The length after which nothing is added to a list of reasons: more than is displayed.
const MAX_LIST_BYTES: usize = 4096;

/// The explanation of a refused request.
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) request_id: Option<String>,
}

/// Reads a refusal. A body that is not an error envelope, such as a gateway's HTML page, becomes the message itself.
pub(crate) fn refusal(body: &[u8], redactor: &Redactor) -> Refusal {
    let fields = Object::parse(body).unwrap_or_default();
    let message = explain_fields(&fields, 0).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let request_id = ["requestId", "request_id"].iter().find_map(|name| scalar(fields.get(name)?));
    Refusal {
        message: redactor.excerpt(message.as_bytes()),
        request_id: request_id.map(|id| redactor.excerpt(id.as_bytes())),
    }
}

/// Reads the reason from the response for a failed generation with this status.
pub(crate) fn failure(body: &[u8], status: &str, redactor: &Redactor) -> Failure {
    let fields = Object::parse(body).unwrap_or_default();
    let excerpt = |text: String| redactor.excerpt(text.as_bytes());
    let reason = FAILURE_REASONS.iter().find_map(|name| {
        let json = fields.get(name)?;
        let object = Object::parse(json.get().as_bytes()).unwrap_or_default();
        match explain_fields(&object, 1) {
            Some(message) => Some((name_of(&object), message)),
            None => Some((None, explain(json, 1)?)),
        }
    });
    let (name, message) = reason.unwrap_or_else(|| (None, "the service gave no reason".to_owned()));
    Failure::new(&redactor.excerpt(status.as_bytes()), name.map(excerpt), excerpt(message))
}

/// Returns the text of a JSON value, or `None` if it has none.
fn explain(json: &RawValue, depth: usize) -> Option<String> {
    let raw = json.get();
    let text = match raw.as_bytes() {
        _ if depth > MAX_DEPTH => raw.to_owned(),
        b"null" => return None,
        [b'"', ..] => explain_string(json, depth),
        [b'[', ..] => explain_list(&json::items(json).unwrap_or_default(), depth),
        [b'{', ..] => {
            let fields = Object::parse(raw.as_bytes()).unwrap_or_default();
            match explain_issue(&fields, depth) {
                Some(text) => text,
                None if fields.is_empty() => return None,
                None => raw.to_owned(),
            }
        }
        _ => raw.to_owned(),
    };
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// A string may itself be JSON: zod's own message is the list of its issues.
fn explain_string(json: &RawValue, depth: usize) -> String {
    let Some(text) = json::string(json) else { return json.get().to_owned() };
    let nested = Some(&text).filter(|text| text.trim_start().starts_with(['[', '{']));
    let nested = nested.and_then(|json| serde_json::from_slice::<&RawValue>(json.as_bytes()).ok());
    nested.and_then(|json| explain(json, depth + 1)).unwrap_or(text)
}

fn explain_list(items: &[&RawValue], depth: usize) -> String {
    let mut text = String::new();
    for item in items {
        let Some(item) = explain(item, depth + 1) else { continue };
        if !text.is_empty() {
            text += "; ";
        }
        text += &item;
        if text.len() > MAX_LIST_BYTES {
            break;
        }
    }
    text
}

/// Explains an object by its place, its name and its message, such as `body.prompt: field required`.
fn explain_issue(fields: &Object, depth: usize) -> Option<String> {
    let message = explain_fields(fields, depth)?;
    let place = ["loc", "path", "field", "param", "parameter"].iter().find_map(|name| place(fields.get(name)?));
    let name = fields.get("name").and_then(scalar);
    Some([place, name, Some(message)].into_iter().flatten().collect::<Vec<_>>().join(": "))
}

/// Explains an object by its message and its details, or returns `None` if it has neither.
fn explain_fields(fields: &Object, depth: usize) -> Option<String> {
    let message = MESSAGES.iter().find_map(|name| explain(fields.get(name)?, depth + 1));
    let mut details: Vec<String> = Vec::new();
    for name in DETAILS {
        let Some(json) = fields.get(name).filter(|json| !matches!(json.get(), "true" | "false")) else { continue };
        let detail = if name == "meta" { explain_meta(json, depth + 1) } else { explain(json, depth + 1) };
        // Some envelopes repeat their message in their details.
        let is_new = |detail: &String| message.iter().chain(&details).all(|said| !said.contains(detail.as_str()));
        details.extend(detail.filter(is_new));
    }
    let details = Some(details.join("; ")).filter(|details| !details.is_empty());
    let text = [message, details].into_iter().flatten().collect::<Vec<_>>().join(": ");
    (!text.is_empty()).then_some(text)
}

/// Explains metadata only if it has a message or details: otherwise it is about something else, such as the usage.
fn explain_meta(json: &RawValue, depth: usize) -> Option<String> {
    let fields = Object::parse(json.get().as_bytes()).ok()?;
    (depth <= MAX_DEPTH).then(|| explain_fields(&fields, depth)).flatten()
}

/// Returns the kind of failure that an object names.
fn name_of(fields: &Object) -> Option<String> {
    ["name", "code", "type"].iter().find_map(|name| scalar(fields.get(name)?))
}

/// Returns a path, such as `["body", "prompt"]`, with dots.
fn place(json: &RawValue) -> Option<String> {
    match json::items(json) {
        Some(segments) => {
            let segments: Vec<String> = segments.into_iter().filter_map(scalar).collect();
            (!segments.is_empty()).then(|| segments.join("."))
        }
        None => scalar(json),
    }
}

/// Returns a string that is not empty, or a number.
fn scalar(json: &RawValue) -> Option<String> {
    match json.get().as_bytes() {
        [b'"', ..] => json::string(json).filter(|text| !text.trim().is_empty()),
        [b'-' | b'0'..=b'9', ..] => Some(json.get().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: &str) -> String {
        failure(body.as_bytes(), "error", &Redactor::default()).to_string()
    }

    fn refused(body: &str) -> String {
        refusal(body.as_bytes(), &Redactor::default()).message
    }

    #[test]
    fn any_json_is_a_reason() {
        let table = [
            ("null", "the service gave no reason"),
            ("{}", "the service gave no reason"),
            (r#"[null,"x"]"#, "x"),
            ("[]", "the service gave no reason"),
            (r#"" ""#, "the service gave no reason"),
            (r#""out of luck""#, "out of luck"),
            (r#"{"name":"ContentPolicy","message":"not allowed"}"#, "ContentPolicy: not allowed"),
            (r#"{"code":1301,"message":"not allowed"}"#, "1301: not allowed"),
            (r#"{"name":null,"message":{"code":7}}"#, r#"{"code":7}"#),
            (r#"{"message":"","reason":"no face"}"#, "no face"),
            (r#"{"code":7}"#, r#"{"code":7}"#),
            ("500", "500"),
            ("[true]", "true"),
            (r#"["a","b"]"#, "a; b"),
            (r#"[{"message":"a"},{"name":"N","message":"b"}]"#, "a; N: b"),
            ("1e999", "1e999"),
            // A string that was cut within an emoji.
            (r#"{"name":"Policy","message":"no \ud83d"}"#, r#"Policy: "no \ud83d""#),
            (
                r#"{"detail":[{"loc":["body","image_url"],"msg":"Could not detect face","type":"face","input":"https://h"},
                              {"loc":["body","items",0],"msg":"field required"}]}"#,
                "body.image_url: Could not detect face; body.items.0: field required",
            ),
            (r#"{"error":{"message":"inner"},"status":500}"#, "inner"),
            (r#""{\"detail\":\"quoted\"}""#, "quoted"),
        ];
        for (error, message) in table {
            assert_eq!(reason(&format!(r#"{{"status":"error","error":{error}}}"#)), message, "{error}");
        }
        assert_eq!(reason(r#"{"status":"error"}"#), "the service gave no reason");
    }

    #[test]
    fn a_reason_may_be_in_another_field() {
        for field in FAILURE_REASONS {
            assert_eq!(
                reason(
                    &format!(r#"{{"status":"failed","error":null,"{field}":"why"}}"#)
                        .replace(r#""error":null,"error""#, r#""error""#)
                ),
                "why",
                "{field}"
            );
        }
        assert_eq!(reason(r#"{"message":"second","error":"first"}"#), "first");
        assert_eq!(reason(r#"{"detail":[{"loc":["prompt"],"msg":"too long"}]}"#), "prompt: too long");
        let failure = failure(br#"{"error":{"name":"N","message":"m"}}"#, " Cancelled ", &Redactor::default());
        assert_eq!(failure.to_string(), "N: m (status Cancelled)");
    }

    #[test]
    fn a_refusal_is_explained_by_its_message_and_details() {
        let table = [
            (
                r#"{"message":"no credit","path":"/v2","requestId":"r-1","statusCode":"403","timestamp":"t"}"#,
                "no credit",
            ),
            (
                r#"{"message":"Body validation error","meta":{"issues":[
                    {"code":"invalid_type","path":["duration"],"message":"Expected 5, received 7"},
                    {"path":["a",0,"b"],"message":"Required"},{"path":[],"message":"Invalid"}]}}"#,
                "Body validation error: duration: Expected 5, received 7; a.0.b: Required; Invalid",
            ),
            (r#"{"message":["a","b"],"statusCode":400}"#, "a; b"),
            (r#"{"message":"m","errors":[{"field":"prompt","message":"too long"},"x"]}"#, "m: prompt: too long; x"),
            (r#"{"message":"m","errors":{"prompt":["too long"]}}"#, r#"m: {"prompt":["too long"]}"#),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            (
                r#"{"detail":[{"loc":["body","prompt"],"msg":"field required","type":"missing"}]}"#,
                "body.prompt: field required",
            ),
            (
                r#"{"error":{"message":"bad","data":[{"path":["cfg_scale"],"message":"Too big"}]}}"#,
                "bad: cfg_scale: Too big",
            ),
            (r#"{"error":{"message":"bad","data":{"limit":5}}}"#, r#"bad: {"limit":5}"#),
            (r#"{"error":"invalid key"}"#, "invalid key"),
            (r#"{"message":"Unauthorized","error":"Unauthorized"}"#, "Unauthorized"),
            (r#"{"message":"m","error":true,"meta":{"usage":{"credits_used":0}}}"#, "m"),
            (r#"{"title":"Forbidden","detail":"No credit","status":403}"#, "Forbidden: No credit"),
            (r#"{"message":"[{\"path\":[\"prompt\"],\"message\":\"Required\"}]"}"#, "prompt: Required"),
            (r#"{"message":"[not JSON"}"#, "[not JSON"),
            (r#"{"errors":[[{"path":["a"],"message":"b"}]]}"#, "a: b"),
            (r#"{"code":7}"#, r#"{"code":7}"#),
            ("\u{feff}{\"message\":\"m\"}", "m"),
            (r#"["a","b"]"#, r#"["a","b"]"#),
            ("<h1>403</h1>\n", "<h1>403</h1>"),
            ("", ""),
        ];
        for (body, message) in table {
            assert_eq!(refused(body), message, "{body}");
        }
    }

    #[test]
    fn reasons_are_searched_for_up_to_a_depth() {
        let wraps: [fn(&str) -> String; 4] = [
            |json| format!("[{json}]"),
            |json| format!(r#"{{"message":{json}}}"#),
            |json| format!(r#"{{"errors":{json}}}"#),
            |json| serde_json::to_string(&format!("[{json}]")).unwrap(),
        ];
        let nested = |wrap: fn(&str) -> String, innermost: &str, times| {
            (0..times).fold(innermost.to_owned(), |json, _| wrap(&json))
        };
        for (wrap, most) in wraps.into_iter().zip([7, 7, 7, 3]) {
            let found = |times| reason(&format!(r#"{{"error":{}}}"#, nested(wrap, r#""x""#, times)));
            assert_eq!((found(most).as_str(), found(most + 1).as_str()), ("x", r#""x""#), "{}", wrap("…"));
        }
        let found = |times| refused(&nested(|json| format!(r#"{{"meta":{json}}}"#), r#"{"message":"x"}"#, times));
        assert_eq!((found(7).as_str(), found(8).as_str()), ("x", r#""x""#));
        assert!(found(9).starts_with(r#"{"meta":"#), "{}", found(9));
    }

    #[test]
    fn a_refusal_has_the_request_id_of_its_envelope() {
        let request_id = |body: &str| refusal(body.as_bytes(), &Redactor::default()).request_id;
        assert_eq!(request_id(r#"{"message":"m","requestId":"r-1"}"#).as_deref(), Some("r-1"));
        assert_eq!(request_id(r#"{"request_id":"r-2"}"#).as_deref(), Some("r-2"));
        for body in [r#"["a","b"]"#, r#"{"requestId":null}"#, r#"{"requestId":{}}"#, "<p>"] {
            assert_eq!(request_id(body), None, "{body}");
        }
    }

    #[test]
    fn reasons_are_redacted_and_short() {
        let redactor = Redactor::new("sk-12345678");
        let body = r#"{"message":"m","requestId":"sk-12345678","errors":["key sk\u002d12345678"],"error":{"name":"sk-12345678","message":"x"}}"#;
        let refusal = refusal(body.as_bytes(), &redactor);
        assert_eq!(refusal.message, "m: sk-12345678: x; key [redacted]".replace("sk-12345678", "[redacted]"));
        assert_eq!(refusal.request_id.as_deref(), Some("[redacted]"));
        let failure = failure(body.as_bytes(), "sk-12345678", &redactor);
        assert_eq!(failure.to_string(), "[redacted]: x (status [redacted])");

        let many = format!(r#"{{"errors":[{}"x"]}}"#, r#""too long","#.repeat(50_000));
        assert_eq!(refused(&many).len(), 1024);
        let deep = format!("{}1{}", r#"{"message":["#.repeat(60), "]}".repeat(60));
        assert!(refused(&deep).contains(r#"{"message":["#));
    }
}
