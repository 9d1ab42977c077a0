//! The text tower in 8 bits: token rows, causal transformer, the state at the end token, projection.
//!
//! Formulas are those of `CLIPTextTransformer` (transformers, `models/clip/modeling_clip.py`). The tower is causal and read at
//! the first end token, so what would come after it is never computed.

use super::config::Config;
use super::layers::{Norm, Transformer, linear};
use crate::kernels::{Kernel, vector};
use crate::quant::{QMatrix, Scratch};
use crate::weights::{Checkpoint, Table, WeightsError};

/// Weights of the text tower.
pub struct TextTower {
    width: usize,
    /// `[vocabulary, width]`, as stored.
    tokens: Table,
    /// `[context, width]`.
    positions: Vec<f32>,
    transformer: Transformer,
    final_norm: Norm,
    projection: QMatrix,
}

impl TextTower {
    /// Reads `text_model.*` and `text_projection`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn new(checkpoint: &Checkpoint, config: &Config) -> Result<Self, WeightsError> {
        let w = config.text.width;
        let name = |part: &str| format!("text_model.{part}");
        Ok(Self {
            width: w,
            tokens: checkpoint.table(&name("embeddings.token_embedding.weight"), [config.vocabulary, w])?,
            positions: checkpoint.f32(&name("embeddings.position_embedding.weight"), &[config.context, w])?,
            transformer: Transformer::new(checkpoint, "text_model", &config.text, config.activation)?,
            final_norm: Norm::new(checkpoint, &name("final_layer_norm"), w, config.text.epsilon)?,
            projection: linear(checkpoint, "text_projection", config.embed_dim, w, false)?,
        })
    }

    /// Token rows of one text, the end row last, to its projection (not yet of unit length).
    pub fn forward(&self, kernel: Kernel, rows: &[u32]) -> Vec<f32> {
        let w = self.width;
        let mut x = Vec::with_capacity(rows.len() * w);
        for &row in rows {
            x.extend(self.tokens.row(row as usize));
        }
        vector::add(&self.positions[..x.len()], &mut x);
        self.transformer.forward(kernel, &mut x, true);
        let mut end = vec![0.0; w];
        self.final_norm.apply(&x[x.len() - w..], &mut end);
        let mut out = vec![0.0; self.projection.n()];
        self.projection.apply(kernel, &end, 1, &mut Scratch::default(), &mut out);
        out
    }

    pub fn memory_bytes(&self) -> usize {
        self.tokens.memory_bytes()
            + 4 * self.positions.len()
            + self.transformer.memory_bytes()
            + self.projection.memory_bytes()
    }
}
