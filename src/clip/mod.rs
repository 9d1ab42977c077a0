//! CLIP: its configuration, its tokenizer, its two towers.
pub mod text_cleaning;
pub mod tokenizer;
