//! [`Texts`]: the vectors of the texts in use with what each stands for.

use crate::embedding::{Embeddings, cosine};
use crate::protocol::EntryKind;

/// Unit vectors of the entries and their kinds, in one order; at least one entry is normal.
#[derive(Clone, Debug, PartialEq)]
pub struct Texts {
    embeddings: Embeddings,
    kinds: Vec<EntryKind>,
}

impl Texts {
    /// # Panics
    /// When the two differ in length or no entry is normal.
    pub fn new(embeddings: Embeddings, kinds: Vec<EntryKind>) -> Self {
        assert_eq!(embeddings.len(), kinds.len(), "one vector for each entry");
        assert!(kinds.contains(&EntryKind::Normal), "a setup has a normal class");
        Self { embeddings, kinds }
    }

    pub fn embeddings(&self) -> &Embeddings {
        &self.embeddings
    }

    pub fn kinds(&self) -> &[EntryKind] {
        &self.kinds
    }

    /// Cosines of a picture with all entries.
    ///
    /// # Panics
    /// When the widths differ.
    pub fn cosines(&self, embedding: &[f32]) -> Vec<f32> {
        self.embeddings.rows().map(|text| cosine(text, embedding)).collect()
    }
}
