//! What OpenAI's tokenizer does to a text before it cuts it into tokens.
/// Cleans a text.
pub fn clean(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
