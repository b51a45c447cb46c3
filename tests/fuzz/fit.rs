//! Whether a text is fit to be shown, whoever wrote it.

pub fn assert_fit(text: &str) {
    // The first KiB, of which each byte may have become a replacement character.
    assert!(text.chars().count() <= 1024, "{} characters", text.chars().count());
    assert!(!text.contains(char::is_control), "{text:?}");
    // None of these may stand in a URL, so all else may be a part of its query.
    for word in text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>')) {
        let query = word.split_once('?').map_or("", |(_, query)| query);
        assert!(!query.contains('='), "{text:?}");
    }
}
