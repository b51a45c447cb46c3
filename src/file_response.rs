//! The response to a file request: framing, content range and validators (RFC 9110, RFC 9112).

use std::io::Read;
use std::time::Duration;

/// The response to one file request, with its body still unread.
pub(crate) struct FileResponse {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) framing: Framing,
    pub(crate) range: Option<ContentRange>,
    pub(crate) validators: Validators,
    pub(crate) body: Box<dyn Read + Send + Sync>,
}

/// The end of a body (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Framing {
    /// After this number of bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// By the end of the connection. A cut looks the same.
    UntilClose,
}

impl Framing {
    /// `length` is the length that the HTTP library reads. It does not read a body whose `Content-Length` is 0.
    pub(crate) fn new<'a>(
        length: Option<u64>,
        content_length: Option<&str>,
        transfer_encodings: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut codings = transfer_encodings.into_iter().flat_map(|list| list.split(','));
        match length {
            Some(length) => Framing::Length(length),
            None if codings.any(|coding| coding.trim().eq_ignore_ascii_case("chunked")) => Framing::Chunked,
            None if content_length.is_some_and(|length| length.trim() == "0") => Framing::Length(0),
            None => Framing::UntilClose,
        }
    }

    pub(crate) fn length(self) -> Option<u64> {
        match self {
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::UntilClose => None,
        }
    }
}

/// A `Content-Range` (RFC 9110, 14.4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ContentRange {
    /// `bytes 5-9/10`, or `bytes 5-9/*` if the total is unknown.
    Part { first: u64, last: u64, total: Option<u64> },
    /// `bytes */10`: the requested range is not within these 10 bytes.
    Unsatisfied { total: u64 },
}

impl ContentRange {
    pub(crate) fn first(self) -> Option<u64> {
        match self {
            ContentRange::Part { first, .. } => Some(first),
            ContentRange::Unsatisfied { .. } => None,
        }
    }

    pub(crate) fn total(self) -> Option<u64> {
        match self {
            ContentRange::Part { total, .. } => total,
            ContentRange::Unsatisfied { total } => Some(total),
        }
    }

    /// Returns `None` if the value is invalid. Some servers write `bytes=5-9/10`.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let (unit, rest) = value.trim().split_at_checked(5)?;
        let rest = rest.strip_prefix([' ', '=']).filter(|_| unit.eq_ignore_ascii_case("bytes"))?;
        let (range, total) = rest.split_once('/')?;
        let total = if total == "*" { None } else { Some(parse_number(total)?) };
        if range == "*" {
            return total.map(|total| ContentRange::Unsatisfied { total });
        }
        let (first, last) = range.split_once('-')?;
        let (first, last) = (parse_number(first)?, parse_number(last)?);
        let is_valid = first <= last && total.is_none_or(|total| last < total);
        is_valid.then_some(ContentRange::Part { first, last, total })
    }
}

fn parse_number(text: &str) -> Option<u64> {
    let text = text.trim();
    // `u64::from_str` accepts a sign.
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The headers that identify one version of a file (RFC 9110, 8.8), as far as they are strong.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Validators {
    pub(crate) fn new(etag: Option<&str>, last_modified: Option<&str>, date: Option<&str>) -> Self {
        // A weak tag may stand for different bytes. An unquoted tag is invalid, but still identifies a version. An
        // empty one, or one with a single quote, counts as absent.
        let is_strong = |tag: &&str| is_quoted(tag) || !(tag.contains('"') || has_weak_prefix(tag) || tag.is_empty());
        // A file could change twice within the second that its date names (RFC 9110, 8.8.2.2). A server must not send a
        // later `Last-Modified` than its own `Date`, so any other date is an earlier one.
        let is_past = |modified: &&str| !modified.is_empty() && date.is_none_or(|date| date.trim() != *modified);
        Validators {
            etag: etag.map(str::trim).filter(is_strong).map(str::to_owned),
            last_modified: last_modified.map(str::trim).filter(is_past).map(str::to_owned),
        }
    }

    /// Returns `true` if they identify a version.
    pub(crate) fn are_strong(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// Returns `true` if both are of the same version: the strongest validator that both have is equal.
    pub(crate) fn matches(&self, other: &Validators) -> bool {
        match (&self.etag, &other.etag, &self.last_modified, &other.last_modified) {
            (Some(ours), Some(theirs), ..) | (_, _, Some(ours), Some(theirs)) => ours == theirs,
            _ => false,
        }
    }

    /// Returns `true` if a 206 with the validators `part` continues this version. If the request named a date, the
    /// response may leave `Last-Modified` out, but not an `ETag` (RFC 9110, 15.3.7).
    pub(crate) fn are_continued_by(&self, part: &Validators) -> bool {
        let names_date = self.last_modified.is_some() && self.if_range() == self.last_modified.as_deref();
        self.matches(part) || (names_date && !part.are_strong())
    }

    /// Returns the value of an `If-Range` header. A tag without quotes would be read as an invalid date.
    pub(crate) fn if_range(&self) -> Option<&str> {
        self.etag.as_deref().filter(|tag| is_quoted(tag)).or(self.last_modified.as_deref())
    }
}

fn is_quoted(tag: &str) -> bool {
    let inner = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| !inner.is_empty() && !inner.contains('"'))
}

fn has_weak_prefix(tag: &str) -> bool {
    tag.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("W/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_is_that_of_rfc_9112() {
        let table: [(_, _, &[&str], _); 8] = [
            // length, Content-Length, Transfer-Encoding
            (Some(5), Some("5"), &[], Framing::Length(5)),
            (None, None, &["chunked"], Framing::Chunked),
            (None, Some("5"), &["Chunked"], Framing::Chunked),
            (None, Some("0"), &["chunked"], Framing::Chunked),
            (None, None, &["gzip", "deflate , chunked"], Framing::Chunked),
            (None, Some("0"), &[], Framing::Length(0)),
            (None, None, &["gzip"], Framing::UntilClose),
            (None, None, &[], Framing::UntilClose),
        ];
        for (length, content_length, encodings, framing) in table {
            let found = Framing::new(length, content_length, encodings.iter().copied());
            assert_eq!(found, framing, "{length:?} {content_length:?} {encodings:?}");
        }
    }

    #[test]
    fn content_ranges_are_parsed() {
        let part = |first, last, total| Some(ContentRange::Part { first, last, total });
        let table = [
            ("bytes 5-9/10", part(5, 9, Some(10))),
            (" Bytes 5 - 9/10 ", part(5, 9, Some(10))),
            ("bytes=5-9/10", part(5, 9, Some(10))),
            ("bytes 5-9/*", part(5, 9, None)),
            ("bytes 9-9/10", part(9, 9, Some(10))),
            ("bytes */10", Some(ContentRange::Unsatisfied { total: 10 })),
            ("bytes */*", None),
            ("bytes 5-3/10", None),
            ("bytes 5-10/10", None),
            ("bytes +5-9/10", None),
            ("bytes 5-9/99999999999999999999", None),
            ("5-9/10", None),
            ("bytes -9/10", None),
            ("bytes", None),
            ("items 5-9/10", None),
            ("bytés 5-9/10", None),
        ];
        for (value, range) in table {
            assert_eq!(ContentRange::parse(value), range, "{value}");
        }
        let read = |value| ContentRange::parse(value).map(|range| (range.first(), range.total()));
        assert_eq!(read("bytes 5-9/10"), Some((Some(5), Some(10))));
        assert_eq!(read("bytes 5-9/*"), Some((Some(5), None)));
        assert_eq!(read("bytes */10"), Some((None, Some(10))));
    }

    const MONDAY: &str = "Mon, 19 Oct 2026 07:28:00 GMT";
    const TUESDAY: &str = "Tue, 20 Oct 2026 07:28:00 GMT";

    #[test]
    fn validators_identify_a_version_only_if_strong() {
        let table = [
            // ETag, Last-Modified, Date, If-Range
            (Some("\"a\""), None, None, Some("\"a\"")),
            (Some("\"a\""), Some(MONDAY), None, Some("\"a\"")),
            (Some("W/\"a\""), None, None, None),
            (Some("w/\"a\""), Some(MONDAY), None, Some(MONDAY)),
            (Some("W/a"), Some(MONDAY), None, Some(MONDAY)),
            (Some("W/a"), None, None, None),
            (Some("\"\""), Some(MONDAY), None, Some(MONDAY)),
            (Some(""), None, None, None),
            (Some("\"a"), Some(MONDAY), None, Some(MONDAY)),
            (Some("\"a\"b\""), None, None, None),
            (None, Some(MONDAY), Some(TUESDAY), Some(MONDAY)),
            (None, Some(MONDAY), Some(MONDAY), None),
            (None, Some(""), None, None),
            (None, None, Some(MONDAY), None),
        ];
        for (etag, last_modified, date, if_range) in table {
            let validators = Validators::new(etag, last_modified, date);
            assert_eq!(validators.if_range(), if_range, "{etag:?} {last_modified:?} {date:?}");
            assert_eq!(validators.are_strong(), if_range.is_some(), "{etag:?} {last_modified:?} {date:?}");
        }
        // A tag without quotes is compared, but cannot be sent.
        let unquoted = Validators::new(Some("a"), None, None);
        assert!(unquoted.are_strong() && unquoted.if_range().is_none());
    }

    #[test]
    fn the_strongest_validator_that_both_have_decides() {
        let new = |etag, last_modified| Validators::new(etag, last_modified, None);
        let table = [
            // matches, continues
            (new(Some("\"a\""), None), new(Some("\"a\""), None), true, true),
            (new(Some("\"a\""), None), new(Some("\"b\""), None), false, false),
            (new(Some("\"a\""), Some(MONDAY)), new(Some("\"a\""), None), true, true),
            (new(Some("\"a\""), Some(MONDAY)), new(Some("\"a\""), Some(TUESDAY)), true, true),
            (new(Some("\"a\""), Some(MONDAY)), new(Some("\"b\""), Some(MONDAY)), false, false),
            (new(Some("\"a\""), Some(MONDAY)), new(None, Some(MONDAY)), true, true),
            (new(Some("\"a\""), Some(MONDAY)), new(None, None), false, false),
            (new(Some("\"a\""), None), new(None, None), false, false),
            (new(Some("\"a\""), None), new(None, Some(MONDAY)), false, false),
            (new(None, Some(MONDAY)), new(None, Some(MONDAY)), true, true),
            (new(None, Some(MONDAY)), new(None, Some(TUESDAY)), false, false),
            (new(None, Some(MONDAY)), new(Some("W/\"a\""), None), false, true),
            (new(None, Some(MONDAY)), new(None, None), false, true),
            (new(None, Some(MONDAY)), new(Some("\"a\""), None), false, false),
            (new(Some("a"), None), new(Some("a"), None), true, true),
            (new(Some("a"), None), new(None, None), false, false),
            (new(None, None), new(None, None), false, false),
            (new(None, None), new(Some("\"a\""), None), false, false),
        ];
        for (file, part, matches, continues) in table {
            assert_eq!(file.matches(&part), matches, "{file:?} {part:?}");
            assert_eq!(file.are_continued_by(&part), continues, "{file:?} {part:?}");
        }
    }
}
