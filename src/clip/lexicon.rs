//! Words to rows of the token embedding.
//!
//! A published CLIP has a row for each of the 49,408 BPE ids. A small one may keep only the rows that its training used; all
//! other ids then share row 0, the unknown.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::tokenizer::{self, END_ID, START_ID, Tokenizer};
use super::{ClipError, Sidecars};
use crate::weights::{Checkpoint, Value, WeightsError};

/// The key of the merge rules, as in other GGUF files.
pub const MERGES_KEY: &str = "tokenizer.ggml.merges";
/// The key of the vocabulary, from which rules can be told, as in other GGUF files.
pub const TOKENS_KEY: &str = "tokenizer.ggml.tokens";
/// The key of the BPE ids of a pruned table.
pub const TOKEN_IDS_KEY: &str = "oddlens.token_ids";
/// Rows of the whole token embedding.
const WHOLE_TABLE: usize = END_ID as usize + 1;

/// A model's tokens.
pub struct Lexicon {
    tokenizer: Tokenizer,
    /// BPE id to row, for a pruned table.
    rows: Option<BTreeMap<u32, u32>>,
}

impl Lexicon {
    /// From what the checkpoint carries, else from its neighbours.
    ///
    /// # Errors
    /// When there are no usable merge rules, or the table's ids do not fit a table of `table_rows`.
    pub fn new(checkpoint: &Checkpoint, sidecars: &Sidecars, table_rows: usize) -> Result<Self, ClipError> {
        let own = checkpoint.metadata.get(MERGES_KEY).and_then(Value::as_texts);
        let known = own.or(sidecars.merges.as_deref());
        let merges = match (known, checkpoint.metadata.get(TOKENS_KEY).and_then(Value::as_texts)) {
            (Some(merges), _) => Cow::Borrowed(merges),
            (None, Some(tokens)) => Cow::Owned(tokenizer::rules_of(tokens)?),
            (None, None) => {
                let message = format!("it has no merge rules of the tokenizer (key {MERGES_KEY}), and none were given");
                return Err(WeightsError::NotClip(message).into());
            }
        };
        let ids = match checkpoint.metadata.get(TOKEN_IDS_KEY) {
            Some(Value::Integers(ids)) => Some(ids.as_slice()),
            _ => sidecars.token_ids.as_deref(),
        };
        let rows = match ids {
            Some(ids) => Some(row_map(ids, table_rows)?),
            None if table_rows < WHOLE_TABLE => {
                let message = format!(
                    "its token embedding has {table_rows} rows: expected {WHOLE_TABLE}, or the ids of its rows"
                );
                return Err(WeightsError::NotClip(message).into());
            }
            None => None,
        };
        Ok(Self { tokenizer: Tokenizer::new(&merges)?, rows })
    }

    /// A text's rows, start and end included, at most `context` of them; and whether its end was cut off.
    ///
    /// The tower is read at the first end token (transformers: `argmax` of the ids), also where a text spells one out.
    pub fn rows(&self, text: &str, context: usize) -> (Vec<u32>, bool) {
        let mut tokens = self.tokenizer.encode_for(text, context);
        if let Some(end) = tokens.ids.iter().position(|&id| id == END_ID) {
            tokens.ids.truncate(end + 1);
        }
        let rows = match &self.rows {
            // row 0 is that of the unknown
            Some(map) => tokens.ids.iter().map(|id| map.get(id).copied().unwrap_or(0)).collect(),
            None => tokens.ids,
        };
        (rows, tokens.truncated)
    }
}

/// BPE id to row, from the ids of the rows.
fn row_map(ids: &[i64], table_rows: usize) -> Result<BTreeMap<u32, u32>, WeightsError> {
    let bad = |expected: &str, got: String| {
        Err(WeightsError::NotClip(format!("ids of its token rows: expected {expected}, got {got}")))
    };
    if ids.len() != table_rows {
        return bad(&format!("{table_rows}, one a row"), ids.len().to_string());
    }
    if ids.first() != Some(&-1) {
        return bad("-1 (the unknown) for row 0", format!("{:?}", ids.first()));
    }
    let mut map = BTreeMap::new();
    for (row, &id) in ids.iter().enumerate().skip(1) {
        match u32::try_from(id) {
            Ok(id) if id <= END_ID && map.insert(id, row as u32).is_none() => {}
            _ => return bad("each BPE id at most once", format!("{id} for row {row}")),
        }
    }
    if !map.contains_key(&START_ID) || !map.contains_key(&END_ID) {
        return bad("rows for the start and the end", "none".into());
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_do_not_fit_are_refused() {
        let (start, end) = (i64::from(START_ID), i64::from(END_ID));
        assert_eq!(row_map(&[-1, 7, start, end], 4).expect("fits")[&7], 1);
        for bad in
            [&[-1, 7, start, end][..3], &[0, 7, start, end], &[-1, 7, 7, end], &[-1, 7, 8, 9], &[-1, -2, start, end]]
        {
            assert!(row_map(bad, 4).is_err(), "{bad:?}");
        }
        assert!(row_map(&[-1, 1 << 40, start, end], 4).is_err());
    }
}
