//! Lenient JSON: a field that cannot be read counts as absent, so that it cannot make a paid video unreachable.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{MapAccess, Visitor};
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

/// The fields of a JSON object, each as it came, such as a lone surrogate or `1e999`.
///
/// One type reads every object: a derived type for each would take much longer to compile.
#[derive(Default)]
pub(crate) struct Object<'a>(Vec<(Name<'a>, &'a RawValue)>);

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Object<'a> {
    /// Parses an object, after an optional byte order mark and white space. `null` has no fields.
    pub(crate) fn parse(json: &'a [u8]) -> Result<Self, JsonError> {
        let json = json.trim_ascii_start();
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        match json.trim_ascii() {
            [b'[', ..] => Err(JsonError::Array),
            b"null" => Ok(Object::default()),
            object => Ok(serde_json::from_slice(object)?),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the only field, with its name.
    pub(crate) fn only(&self) -> Option<(&str, &'a RawValue)> {
        match self.0.as_slice() {
            [(name, json)] => Some((&name.0, json)),
            _ => None,
        }
    }

    /// Returns a field, or `None` if it is missing or null. A field that occurs twice counts as missing, because it is
    /// not known which of the two holds.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let mut found = self.0.iter().filter(|(found, _)| found.0 == name).map(|(_, json)| *json);
        let json = found.next().filter(|json| json.get() != "null")?;
        found.next().is_none().then_some(json)
    }

    /// Returns a string.
    pub(crate) fn string(&self, name: &str) -> Option<String> {
        string(self.get(name)?)
    }

    /// Returns a number or a boolean, if it is one of `T`.
    pub(crate) fn scalar<T: FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.get().parse().ok()
    }

    /// Returns a finite number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.scalar(name).filter(|number: &f64| number.is_finite())
    }

    /// Returns an object.
    pub(crate) fn object(&self, name: &str) -> Option<Object<'a>> {
        Object::parse(self.get(name)?.get().as_bytes()).ok()
    }
}

/// Replaces each invalid sequence of UTF-8 by the escape of half a surrogate pair: a string that contains one cannot be
/// read, and spoils no other field.
pub(crate) fn repair(json: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(json).is_ok() {
        return Cow::Borrowed(json);
    }
    let repaired = json.utf8_chunks().map(|chunk| {
        let replacement = if chunk.invalid().is_empty() { "" } else { r"\ud800" };
        chunk.valid().to_owned() + replacement
    });
    Cow::Owned(repaired.collect::<String>().into_bytes())
}

/// Returns the text of a JSON string.
pub(crate) fn string(json: &RawValue) -> Option<String> {
    // Building serde's error for another value takes longer than reading a response.
    let json = Some(json.get()).filter(|json| json.starts_with('"'))?;
    serde_json::from_slice(json.as_bytes()).ok()
}

/// Returns the items of a JSON array.
pub(crate) fn items(json: &RawValue) -> Option<Vec<&RawValue>> {
    let json = Some(json.get()).filter(|json| json.starts_with('['))?;
    serde_json::from_slice(json.as_bytes()).ok()
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_and_white_space_are_skipped() {
        for text in
            ["{\"a\":1}", " \r\n{\"a\":1}", "\u{feff}{\"a\":1}", "\u{feff}\n {\"a\":1}", "\n\u{feff}{\"a\":1}\n"]
        {
            assert_eq!(Object::parse(text.as_bytes()).unwrap().scalar::<u64>("a"), Some(1), "{text:?}");
        }
        assert!(Object::parse("\u{feff}\u{feff}{}".as_bytes()).is_err());
        assert!(matches!(Object::parse("\u{feff}[1]".as_bytes()), Err(JsonError::Array)));
    }

    #[test]
    fn a_field_that_cannot_be_read_spoils_no_other() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for a in ["null", "-1", "1e999", "\"1\"", "[1]", "1.0", "true", r#""\ud83d""#, &deep] {
            let json = format!(r#"{{"a":{a},"\u0062":"x"}}"#);
            let object = Object::parse(json.as_bytes()).unwrap();
            assert_eq!((object.scalar::<u64>("a"), object.string("b").as_deref()), (None, Some("x")), "{a}");
        }
    }

    #[test]
    fn invalid_utf_8_spoils_only_the_field_that_contains_it() {
        let json = b"{\"a\":\"\xff\",\"b\":\"x\",\"c\":[\"\xc3\"],\"d\":{\"e\xe2\x82\":1}}";
        let repaired = repair(json);
        let object = Object::parse(&repaired).unwrap();
        assert_eq!((object.string("a"), object.string("b").as_deref()), (None, Some("x")));
        assert!(Object::parse(&repair(b"{\"a\":1}\xff")).is_err());
        assert!(matches!(repair("{\"a\":\"é\"}".as_bytes()), Cow::Borrowed(_)));
    }

    #[test]
    fn fields_are_read_as_their_types() {
        let json = br#"{"integer":7,"number":-1.5e3,"large":1e999,"string":"a\n","object":{"a":1},"array":[1]}"#;
        let object = Object::parse(json).unwrap();
        let names = ["integer", "number", "large", "string", "object", "array"];
        assert_eq!(names.map(|name| object.scalar::<u64>(name)), [Some(7), None, None, None, None, None]);
        assert_eq!(names.map(|name| object.number(name)), [Some(7.0), Some(-1500.0), None, None, None, None]);
        assert_eq!(names.map(|name| object.string(name)), [None, None, None, Some("a\n".to_owned()), None, None]);
        assert_eq!(names.map(|name| object.object(name).is_some()), [false, false, false, false, true, false]);
        assert_eq!(
            names.map(|name| items(object.get(name).unwrap()).is_some()),
            [false, false, false, false, false, true]
        );
        assert!(Object::parse(b" null ").unwrap().is_empty());
    }

    #[test]
    fn a_field_that_occurs_twice_counts_as_missing() {
        for json in [r#"{"a":1,"a":2}"#, r#"{"a":1,"b":3,"\u0061":1}"#, r#"{"a":null,"a":1}"#, r#"{"a":1,"a":null}"#] {
            assert_eq!(Object::parse(json.as_bytes()).unwrap().scalar::<u64>("a"), None, "{json}");
        }
    }
}
