//! Templates: a text with `@words@`, filled in.
//!
//! Law: every word has a value, so that no file of a project holds one.

/// The text with the words' values in their places.
pub(super) fn fill(template: &str, words: &[(&str, String)]) -> String {
    words.iter().fold(template.to_owned(), |text, (word, value)| text.replace(&format!("@{word}@"), value))
}

/// The `@word@` that a text still has.
#[cfg(test)]
pub(super) fn left(text: &str) -> Option<&str> {
    let is_word = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let parts: Vec<&str> = text.split('@').collect();
    parts.get(1..parts.len().saturating_sub(1)).and_then(|inner| inner.iter().copied().find(is_word))
}
