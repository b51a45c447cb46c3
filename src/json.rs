//! Lenient JSON: a field that cannot be read counts as absent, so that it cannot make a paid video unreachable.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Why a body is not the JSON that was expected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonError {
    #[error("unexpected JSON at line {line}, column {column}")]
    Unexpected { line: usize, column: usize },
    #[error("expected a JSON object, found an array")]
    Array,
}

impl From<serde_json::Error> for JsonError {
    /// Keeps only the position: serde's own message quotes the response.
    fn from(error: serde_json::Error) -> Self {
        JsonError::Unexpected { line: error.line(), column: error.column() }
    }
}

/// Parses an object, after an optional byte order mark and white space.
///
/// serde would also take an array for a struct, and its items for the fields in order: the first text of some list
/// would become an id.
pub(crate) fn parse_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, JsonError> {
    let json = json.trim_ascii_start();
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    match json.trim_ascii_start() {
        [b'[', ..] => Err(JsonError::Array),
        object => Ok(serde_json::from_slice(object)?),
    }
}

/// A field that deserializes to `None` if its value is missing, malformed or of an undocumented type, such as a lone
/// surrogate or `1e999`.
pub(crate) struct Lenient<T>(pub(crate) Option<T>);

impl<T> Default for Lenient<T> {
    fn default() -> Self {
        Lenient(None)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let field = <&RawValue>::deserialize(deserializer)?;
        // Most fields of most polls are null, and building serde's error for each takes longer than everything else.
        let field = Some(field.get()).filter(|field| *field != "null");
        Ok(Lenient(field.and_then(|field| parse_object(field.as_bytes()).ok())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Object {
        a: Lenient<u64>,
        b: Lenient<String>,
    }

    #[test]
    fn a_byte_order_mark_and_white_space_are_skipped() {
        for text in
            ["{\"a\":1}", " \r\n{\"a\":1}", "\u{feff}{\"a\":1}", "\u{feff}\n {\"a\":1}", "\n\u{feff}{\"a\":1}\n"]
        {
            assert_eq!(parse_object::<Object>(text.as_bytes()).unwrap().a.0, Some(1), "{text:?}");
        }
        assert!(parse_object::<Object>("\u{feff}\u{feff}{}".as_bytes()).is_err());
        assert!(matches!(parse_object::<Object>("\u{feff}[1]".as_bytes()), Err(JsonError::Array)));
    }

    #[test]
    fn a_field_that_cannot_be_read_spoils_no_other() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for a in ["null", "-1", "1e999", "\"1\"", "[1]", r#""\ud83d""#, &deep] {
            let json = format!(r#"{{"a":{a},"b":"x"}}"#);
            let object: Object = parse_object(json.as_bytes()).unwrap();
            assert_eq!((object.a.0, object.b.0.as_deref()), (None, Some("x")), "{a}");
        }
    }
}
