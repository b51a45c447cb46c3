//! The properties of every text that is safe to display.

pub fn assert_fit(text: &str) {
    assert!(text.len() <= 1024, "{} bytes", text.len());
    assert!(!text.contains(char::is_control), "{text:?}");
    // None of these may stand in a URL, so every other character may be part of its query.
    for word in text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>')) {
        let query = word.split_once('?').map_or("", |(_, query)| query);
        assert!(!query.contains('='), "{text:?}");
    }
}
