//! Makes untrusted text safe to display: truncated, on one line, without secrets or terminal escapes.

use std::error::Error;

use crate::key_search::{KeySearch, is_bidi_control};

/// The text that is shown in place of the API key.
const REDACTED: &str = "[redacted]";

/// The maximum length of an excerpt: enough for any documented response, and for a person to read.
const MAX_EXCERPT_BYTES: usize = 1024;

/// How much of a text is read for an excerpt. More than is shown, so that a key that the end of the excerpt would cut
/// is found, and text follows where a long URL query was left out.
const MAX_READ_BYTES: usize = 4 * MAX_EXCERPT_BYTES;

/// Prepares the text of servers for display, without the API key. Cheap enough to be made once per client.
///
/// Only text that is shown or recorded is redacted. Data, such as ids and URLs that are requested, must stay as it is:
/// a key may be a word that also stands in an id.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    key: KeySearch,
}

impl Redactor {
    /// Creates a redactor for this key. A key of fewer than 8 characters is not searched for: it would be found in
    /// ordinary words.
    pub(crate) fn new(key: &str) -> Self {
        Redactor { key: KeySearch::new(key) }
    }

    /// Returns the first KiB of a text on one line, without the API key and without URL queries, which may be
    /// signatures.
    pub(crate) fn excerpt(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_READ_BYTES)]);
        let text = self.mask_key(text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}'));
        // A terminal would obey an escape sequence, and show the text after a bidi control backwards.
        let line = text.replace(|c: char| c.is_control() || is_bidi_control(c), " ");
        // Only what can stand in no URL ends one: a `'` can, and a backslash where JSON escapes (`\/`, `\u0026`).
        let words = line.split_inclusive(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>'));
        truncated(words.map(redact_query).collect())
    }

    /// Returns the part of a URL that may be shown: the query may be a signature, and a password stands before the `@`.
    pub(crate) fn url(&self, url: &str) -> String {
        let bare = url.split(['?', '#']).next().unwrap_or_default();
        // Not "://": a reference may leave out the scheme.
        let shown = match bare.split_once("//") {
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let host = authority.rsplit('@').next().unwrap_or_default();
                format!("{scheme}//{host}{path}")
            }
            None => bare.to_owned(),
        };
        self.excerpt(shown.as_bytes())
    }

    /// Redacts the text of a cause. A cause without the key keeps its type.
    pub(crate) fn cause(&self, cause: Box<dyn Error + Send + Sync>) -> Box<dyn Error + Send + Sync> {
        let text = cause.to_string();
        let shown = self.excerpt(text.as_bytes());
        if shown == text { cause } else { shown.into() }
    }

    fn mask_key(&self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        let (mut masked, mut end) = (String::with_capacity(text.len()), 0);
        for found in self.key.find(&chars) {
            masked.extend(&chars[end..found.start]);
            masked += REDACTED;
            end = found.end;
        }
        masked.extend(&chars[end..]);
        masked
    }
}

/// Returns the part of a URL that may be shown, where no API key is known.
pub(crate) fn redact_url(url: &str) -> String {
    Redactor::default().url(url)
}

/// Returns a word without the query of a URL, but with the punctuation that follows it.
fn redact_query(word: &str) -> String {
    let (url, query) = word.split_once('?').unwrap_or((word, ""));
    let hidden = query.trim_end_matches(|c: char| c != '=' && !c.is_alphanumeric());
    if hidden.is_empty() { word.to_owned() } else { format!("{url}?…{}", &query[hidden.len()..]) }
}

/// Cuts a text to the length of an excerpt, between two characters.
fn truncated(mut text: String) -> String {
    let mut end = text.len().min(MAX_EXCERPT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(bytes: &[u8]) -> String {
        Redactor::default().excerpt(bytes)
    }

    #[test]
    fn excerpts_are_short_and_without_terminal_escapes() {
        assert_eq!(excerpt(b" two\r\nlines \x1b[31m\n"), "two  lines  [31m");
        assert_eq!(excerpt("a\u{202e}4pm.b".as_bytes()), "a 4pm.b");
        assert_eq!(excerpt(b"\xff"), "\u{fffd}");
        assert_eq!(excerpt("x".repeat(5000).as_bytes()).len(), 1024);
    }

    #[test]
    fn excerpts_omit_url_queries() {
        let table = [
            (r#"{"url":"https://h/v.mp4?sig=s&x=1","a":"b?"}"#, r#"{"url":"https://h/v.mp4?…","a":"b?"}"#),
            (r#"{"url":"https:\/\/h\/v.mp4?sig=s"}"#, r#"{"url":"https:\/\/h\/v.mp4?…"}"#),
            ("<a href='/v.mp4?sig=s'>why?</a>", "<a href='/v.mp4?…'>why?</a>"),
            ("cut https://h/v.mp4?sig=s", "cut https://h/v.mp4?…"),
            // As JavaScript, PHP, Go and Java write it.
            ("https://h/v.mp4?name=UTF-8''v.mp4&sig=s", "https://h/v.mp4?…"),
            (r#"{"url":"https:\/\/h\/v.mp4?path=a\/b&sig=s"}"#, r#"{"url":"https:\/\/h\/v.mp4?…"}"#),
            (r#"{"url":"https://h/v.mp4?a=b\u0026sig=s"}"#, r#"{"url":"https://h/v.mp4?…"}"#),
            (r#"{"url":"https://h/v.mp4?sig\u003ds"}"#, r#"{"url":"https://h/v.mp4?…"}"#),
            ("Really?! Why???", "Really?! Why???"),
        ];
        for (text, shown) in table {
            assert_eq!(excerpt(text.as_bytes()), shown);
        }
    }

    #[test]
    fn urls_are_shown_without_credentials_and_query() {
        let table = [
            ("https://h/v.mp4?sig=s#f", "https://h/v.mp4"),
            ("https://user:word@h:8/v.mp4", "https://h:8/v.mp4"),
            ("https://h", "https://h"),
            ("/relative?sig=s", "/relative"),
            ("//user:word@h/v.mp4", "//h/v.mp4"),
            ("https://h/\u{1b}[31m", "https://h/ [31m"),
        ];
        for (url, shown) in table {
            assert_eq!(redact_url(url), shown);
        }
        assert_eq!(redact_url(&format!("https://h/{}", "x".repeat(5000))).len(), 1024);
    }
}
