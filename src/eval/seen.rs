//! From a picture of the data set to its embedding, by the same steps as everywhere (`engine::pipeline`), or from the cache.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::dataset::Item;
use super::store::{Key, Store, key};
use crate::clip::vocabulary::Vocabulary;
use crate::clip::{ClipError, Encoder, TextEmbeddings};
use crate::embedding::Embeddings;
use crate::engine::pipeline;
use crate::pixels::PREPROCESSING_VERSION;
use crate::protocol::Pixels;

/// What a length of 1 may be off by, in a cached vector.
const LENGTH_TOLERANCE: f64 = 1e-3;

/// A model, and what tells it from others.
pub struct Model<'a> {
    /// For people, unique among those compared.
    pub name: String,
    /// SHA-256 of its file, lower-case hex.
    pub sha256: String,
    /// How it computes: "q8" or "f32".
    pub compute: &'static str,
    pub encoder: &'a (dyn Encoder + Sync),
}

impl Model<'_> {
    /// Tells models apart whose numbers differ.
    pub fn identity(&self) -> Vec<u8> {
        format!("{} {} preprocessing {PREPROCESSING_VERSION}", self.sha256, self.compute).into_bytes()
    }

    /// The name of its cache.
    pub fn cache_name(&self) -> String {
        let start: String = self.sha256.chars().take(12).collect();
        format!("embeddings-{start}-{}.bin", self.compute)
    }
}

/// A picture as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Of its bytes: equal for copies.
    pub content: Key,
    /// Unit vector.
    pub embedding: Vec<f32>,
}

/// Sees a picture, or remembers it.
///
/// # Errors
/// One line: the picture cannot be read, or the model gives no usable embedding.
pub fn see(item: &Item, model: &Model<'_>, store: &Store) -> Result<Seen, String> {
    let (pixels, bytes) = item.read()?;
    let content = match pixels {
        Pixels::Encoded => key(&[b"encoded", &bytes]),
        Pixels::Rgba { width, height, .. } => key(&[b"rgba", &width.to_le_bytes(), &height.to_le_bytes(), &bytes]),
    };
    let own = key(&[b"embedding", &content, &model.identity()]);
    if let Some(embedding) = store.get(&own).filter(|e| is_unit(e, model.encoder.embed_dim())) {
        return Ok(Seen { content, embedding });
    }
    // nobody looks at the timings
    let seen = pipeline::see(model.encoder, &pixels, &bytes, || 0.0).map_err(|f| f.message)?;
    if !is_unit(&seen.embedding, model.encoder.embed_dim()) {
        return Err("embedding: expected a vector of length 1, got numbers that are none".into());
    }
    store.keep(&own, &seen.embedding);
    Ok(Seen { content, embedding: seen.embedding })
}

fn is_unit(vector: &[f32], width: usize) -> bool {
    let square: f64 = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    // NaN is not within
    vector.len() == width && (square.sqrt() - 1.0).abs() <= LENGTH_TOLERANCE
}

/// An encoder that remembers texts: every task asks almost the same.
pub struct Remembering<'a> {
    encoder: &'a (dyn Encoder + Sync),
    texts: Mutex<HashMap<String, (Vec<f32>, bool)>>,
}

impl<'a> Remembering<'a> {
    pub fn new(encoder: &'a (dyn Encoder + Sync)) -> Self {
        Self { encoder, texts: Mutex::default() }
    }
}

impl Encoder for Remembering<'_> {
    fn image_size(&self) -> usize {
        self.encoder.image_size()
    }

    fn embed_dim(&self) -> usize {
        self.encoder.embed_dim()
    }

    fn embed_pixels(&self, pixels: &[f32]) -> Result<Embeddings, ClipError> {
        self.encoder.embed_pixels(pixels)
    }

    fn embed_texts(&self, texts: &[String]) -> Result<TextEmbeddings, ClipError> {
        let mut known = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::new();
        let mut truncated = Vec::new();
        for text in texts {
            if !known.contains_key(text) {
                let one = self.encoder.embed_texts(std::slice::from_ref(text))?;
                known.insert(text.clone(), (one.embeddings.row(0).to_vec(), one.truncated.contains(&true)));
            }
            let (row, cut) = &known[text];
            rows.extend_from_slice(row);
            truncated.push(*cut);
        }
        Ok(TextEmbeddings { embeddings: Embeddings::normalise(self.embed_dim(), rows)?, truncated })
    }

    fn vocabulary(&self) -> &Vocabulary {
        self.encoder.vocabulary()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_vectors_of_length_one_are_embeddings() {
        assert!(is_unit(&[0.6, 0.8], 2));
        for (wrong, width) in
            [(&[0.6, 0.8][..], 3), (&[0.6, 0.9], 2), (&[f32::NAN, 1.0], 2), (&[f32::INFINITY, 0.0], 2)]
        {
            assert!(!is_unit(wrong, width), "{wrong:?}");
        }
    }
}
