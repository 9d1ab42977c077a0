//! CLIP: its configuration, its tokenizer, its two towers.
mod entities;
mod mojibake;
pub mod text_cleaning;
pub mod tokenizer;
