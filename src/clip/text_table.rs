//! Texts whose embeddings are known beforehand: pictures can be compared with them while the text tower is not in memory.
//!
//! A file of ours may carry such a table ([`TextTable::additions`]); a page keeps one beside a model ([`TextTable::file`]). Texts are
//! the same that the tokenizer takes for the same ([`clean`]).

use std::collections::BTreeMap;

use super::text_cleaning::clean;
use crate::embedding::Embeddings;
use crate::weights::convert::{Additions, KNOWN_TEXTS, KNOWN_TEXTS_KEY};
use crate::weights::gguf::{self, OutTensor};
use crate::weights::{DType, Tensors, Value, WeightsError, malformed};

/// Texts by heart.
#[derive(Clone, Debug, PartialEq)]
pub struct TextTable {
    /// Text to row, cleaned.
    texts: BTreeMap<String, usize>,
    rows: Embeddings,
}

impl TextTable {
    /// No texts yet; embeddings have `width` numbers.
    pub fn empty(width: usize) -> Self {
        Self { texts: BTreeMap::new(), rows: Embeddings::empty(width) }
    }

    /// The table that a file carries; an empty one where it has none.
    ///
    /// # Errors
    /// When there is a list of texts without as many embeddings of `width` numbers, or one has not unit length.
    pub fn of(file: &dyn Tensors, width: usize) -> Result<Self, WeightsError> {
        let mut table = Self::empty(width);
        let Some(texts) = file.key(KNOWN_TEXTS_KEY) else { return Ok(table) };
        let texts =
            texts.as_texts().ok_or_else(|| malformed("GGUF", KNOWN_TEXTS_KEY, "a list of texts", "something else"))?;
        let values = file.f32(KNOWN_TEXTS, &[texts.len(), width])?;
        table.rows = Embeddings::unit(width, values)
            .map_err(|e| malformed("GGUF", KNOWN_TEXTS, "embeddings of unit length", e.to_string()))?;
        for (row, text) in texts.iter().enumerate() {
            table.texts.insert(clean(text), row);
        }
        Ok(table)
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// A text's embedding.
    pub fn get(&self, text: &str) -> Option<&[f32]> {
        if self.is_empty() {
            return None;
        }
        self.texts.get(&clean(text)).map(|&row| self.rows.row(row))
    }

    /// Learns a text: the one row of `embedding`. One that is known stays as it is.
    ///
    /// # Panics
    /// When `embedding` is of another width, or not one row.
    pub fn insert(&mut self, text: &str, embedding: &Embeddings) {
        assert_eq!(embedding.len(), 1, "one embedding a text");
        let next = self.rows.len();
        if let std::collections::btree_map::Entry::Vacant(place) = self.texts.entry(clean(text)) {
            place.insert(next);
            self.rows.extend(embedding);
        }
    }

    /// Learns all of another table.
    ///
    /// # Panics
    /// When it is of another width.
    pub fn extend(&mut self, other: &TextTable) {
        for (text, &row) in &other.texts {
            self.insert(text, &other.rows.select(&[row]));
        }
    }

    /// Texts in the order of their rows, and the rows.
    fn in_order(&self) -> (Vec<String>, Embeddings) {
        let rows: Vec<usize> = self.texts.values().copied().collect();
        (self.texts.keys().cloned().collect(), self.rows.select(&rows))
    }

    /// What a model's file holds beside its weights to carry this table.
    pub fn additions(&self) -> Additions {
        let mut additions = Additions::default();
        if !self.is_empty() {
            let (texts, rows) = self.in_order();
            additions.tensors.push((KNOWN_TEXTS.into(), vec![texts.len(), rows.width()], rows.as_slice().to_vec()));
            additions.keys.insert(KNOWN_TEXTS_KEY.into(), Value::Texts(texts));
        }
        additions
    }

    /// A file of its own, GGUF.
    pub fn file(&self) -> Vec<u8> {
        let Additions { keys, tensors } = self.additions();
        let tensors: Vec<OutTensor> = tensors
            .into_iter()
            .map(|(name, shape, values)| OutTensor {
                name,
                shape,
                dtype: DType::F32,
                bytes: DType::F32.encode(&values),
            })
            .collect();
        gguf::write(&keys, &tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Checkpoint;

    fn row(x: f32, y: f32) -> Embeddings {
        Embeddings::normalise(2, vec![x, y]).expect("a direction")
    }

    #[test]
    fn a_table_survives_its_file() {
        let mut table = TextTable::empty(2);
        table.insert("a photo of a dog", &row(3.0, 4.0));
        table.insert("A  photo of a CAT ", &row(1.0, 0.0));
        table.insert("a photo of a cat", &row(0.0, 1.0));
        assert_eq!(table.len(), 2);
        assert_eq!(table.get("a photo of a cat"), Some(&[1.0, 0.0][..]));
        assert_eq!(table.get(" a photo OF a dog"), Some(&[0.6, 0.8][..]));
        assert_eq!(table.get("dog"), None);
        let read = Checkpoint::read(table.file()).expect("our own file");
        let read = TextTable::of(&read, 2).expect("a table");
        assert_eq!(read.get("a photo of a dog"), table.get("a photo of a dog"));
        assert_eq!(read.get("a photo of a cat"), table.get("a photo of a cat"));
        assert_eq!(read.file(), table.file());
        let none = Checkpoint::read(TextTable::empty(2).file()).expect("our own file");
        assert!(TextTable::of(&none, 2).expect("no table").is_empty());
    }

    #[test]
    fn tables_that_are_none_are_refused() {
        let file = |texts: &[&str], values: &[f32], name: &str| {
            let keys = BTreeMap::from([(
                KNOWN_TEXTS_KEY.to_string(),
                Value::Texts(texts.iter().map(|t| t.to_string()).collect()),
            )]);
            let shape = vec![values.len() / 2, 2];
            let bytes = DType::F32.encode(values);
            let tensor = OutTensor { name: name.into(), shape, dtype: DType::F32, bytes };
            let checkpoint = Checkpoint::read(gguf::write(&keys, &[tensor])).expect("a file");
            TextTable::of(&checkpoint, 2)
        };
        assert!(file(&["a", "b"], &[1.0, 0.0, 0.0, 1.0], KNOWN_TEXTS).is_ok());
        for bad in [
            file(&["a", "b"], &[1.0, 0.0], KNOWN_TEXTS),
            file(&["a"], &[1.0, 0.5], KNOWN_TEXTS),
            file(&["a"], &[f32::NAN, 0.5], KNOWN_TEXTS),
            file(&["a"], &[1.0, 0.0], "other"),
        ] {
            let message = bad.expect_err("no table").to_string();
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
