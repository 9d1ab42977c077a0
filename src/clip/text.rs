//! The text tower in 8 bits: token rows, causal transformer, the state at the end token, projection.
//!
//! Formulas are those of `CLIPTextTransformer` (transformers, `models/clip/modeling_clip.py`). The tower is causal and read at
//! the first end token, so what would come after it is never computed.

use super::Choice;
use super::config::Config;
use super::layers::{ExactParts, Norm, Place, Source, Transformer, exact_parts, large_channels};
use crate::kernels::{Kernels, vector};
use crate::quant::{QMatrix, Scratch};
use crate::weights::{Table, Tensors, WeightsError};

/// Rows that go through a layer together: enough to be busy with each weight, few enough that all numbers of a layer stay near.
const ROWS: usize = 256;

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
    pub fn new(checkpoint: &dyn Tensors, config: &Config, choice: &Choice) -> Result<Self, WeightsError> {
        let w = config.text.width;
        let name = |part: &str| format!("text_model.{part}");
        let (tokens, positions) =
            (name("embeddings.token_embedding.weight"), name("embeddings.position_embedding.weight"));
        let large = large(checkpoint, config)?;
        // a prompt has few tokens: 12 bits are fast enough, and texts are what 7 bits hurt most
        let source = Source { checkpoint, kernels: &choice.kernels, fast: false, large };
        Ok(Self {
            width: w,
            tokens: checkpoint.table(&tokens, [config.vocabulary, w])?,
            positions: checkpoint.f32(&positions, &[config.context, w])?,
            transformer: Transformer::new(&source, "text_model", &config.text, config.activation)?,
            final_norm: Norm::new(checkpoint, &name("final_layer_norm"), w, config.text.epsilon)?,
            projection: source.linear("text_projection", (config.embed_dim, w), false, Place::Last)?,
        })
    }

    /// Token rows of texts, each with its end row last, to their projections `[texts,embed]` (not yet of unit length). They go through the
    /// layers together, as many as make up [`ROWS`]: a single one is over before a layer's weights have come from memory.
    pub fn forward(&self, kernels: &Kernels, texts: &[Vec<u32>]) -> Vec<f32> {
        let mut out = Vec::with_capacity(texts.len() * self.projection.n());
        let mut rest = texts;
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = rest.iter().take_while(|text| {
                rows += text.len();
                rows <= ROWS
            });
            let (batch, more) = rest.split_at(fits.count().max(1));
            out.extend(self.batch(kernels, batch));
            rest = more;
        }
        out
    }

    fn batch(&self, kernels: &Kernels, texts: &[Vec<u32>]) -> Vec<f32> {
        let w = self.width;
        let mut x = Vec::with_capacity(texts.iter().map(Vec::len).sum::<usize>() * w);
        for text in texts {
            let start = x.len();
            for &row in text {
                x.extend(self.tokens.row(row as usize));
            }
            vector::add(&self.positions[..text.len() * w], &mut x[start..]);
        }
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let read = self.transformer.forward(kernels, x, true, &lengths);
        let mut ends = vec![0.0; read.len()];
        self.final_norm.apply(&read, &mut ends);
        let mut out = vec![0.0; texts.len() * self.projection.n()];
        self.projection.apply(kernels, &ends, texts.len(), &mut Scratch::default(), &mut out);
        out
    }

    pub fn memory_bytes(&self) -> usize {
        self.tokens.memory_bytes()
            + 4 * self.positions.len()
            + self.transformer.memory_bytes()
            + self.projection.memory_bytes()
    }
}

/// The large channels of this tower's stream.
fn large(checkpoint: &dyn Tensors, config: &Config) -> Result<Vec<usize>, WeightsError> {
    let begin = [("text_model.embeddings.position_embedding.weight", [config.context, config.text.width])];
    large_channels(checkpoint, "text_model", &config.text, &begin)
}

/// What a rounded file must keep of this tower as it was.
///
/// # Errors
/// When a tensor is missing or has another shape.
pub fn exact(checkpoint: &dyn Tensors, config: &Config) -> Result<ExactParts, WeightsError> {
    let ends = [("text_projection".into(), (config.embed_dim, config.text.width), Place::Last)];
    exact_parts(checkpoint, "text_model", &config.text, &large(checkpoint, config)?, &ends)
}
