//! CLIP: pixels and texts to points on one unit sphere.
//!
//! [`Clip`] runs any geometry of Hugging Face's `CLIPModel`. There are two forward passes over the same checkpoint: the 8-bit
//! one ([`vision`], [`text`], on `quant` and `kernels`), and the f32 reference ([`reference`], on candle) against which the
//! first is held. The pipeline sees neither, only the trait [`Encoder`], so that it can be tested with a fake.
//!
//! It does not know what is normal or how cosines become scores (see `score`).

pub mod config;
mod entities;
pub mod layers;
pub mod lexicon;
mod mojibake;
pub mod on_demand;
pub mod reference;
pub mod text;
pub mod text_cleaning;
pub mod text_table;
pub mod tokenizer;
pub mod vision;
pub mod vocabulary;

use thiserror::Error;

use crate::embedding::{EmbeddingError, Embeddings};
use crate::kernels::Kernels;
use crate::quant::Fastest;
use crate::weights::ahead::Ahead;
use crate::weights::{Checkpoint, DType, Source, Tensors, Value, WeightsError, convert};
pub use config::{Activation, Config};
use lexicon::Lexicon;
use text_table::TextTable;
use tokenizer::TokenizerError;
use vocabulary::Vocabulary;

/// Why a model cannot be built or does not answer.
#[derive(Debug, Error)]
pub enum ClipError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("the model gave no usable embedding: {0}")]
    Embedding(#[from] EmbeddingError),
    #[error("pixels: expected a multiple of {expected} numbers (3 x {size} x {size}), got {got}")]
    Pixels { size: usize, expected: usize, got: usize },
    #[error("the model's text tower is not in memory")]
    NoTextTower,
    #[error("the f32 reference path failed: {0}")]
    Reference(#[from] candle_core::Error),
}

/// Embeddings of texts, and which of them were too long.
#[derive(Clone, Debug, PartialEq)]
pub struct TextEmbeddings {
    pub embeddings: Embeddings,
    /// Along the texts: whether the end of this one was cut off.
    pub truncated: Vec<bool>,
}

/// What the pipeline needs of a model.
pub trait Encoder {
    /// Side of the square it sees, pixels.
    fn image_size(&self) -> usize;

    /// Length of an embedding.
    fn embed_dim(&self) -> usize;

    /// Normalised pixels `[n,3,s,s]` to `n` embeddings.
    ///
    /// # Errors
    /// When the count does not fit, or an embedding has no direction (broken weights).
    fn embed_pixels(&self, pixels: &[f32]) -> Result<Embeddings, ClipError>;

    /// Texts to embeddings, in order.
    ///
    /// # Errors
    /// When an embedding has no direction (broken weights).
    fn embed_texts(&self, texts: &[String]) -> Result<TextEmbeddings, ClipError>;

    /// The names that it knows.
    fn vocabulary(&self) -> &Vocabulary;
}

/// Which forward pass to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compute {
    /// 8-bit weights and 12-bit activations (in all but tiny image towers 7-bit ones, but for the class token's), on our kernels.
    #[default]
    Q8,
    /// f32 throughout, on candle: the reference.
    F32,
}

/// On what the 8-bit towers run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    pub kernels: Kernels,
    /// Activations of 7 bits in the image tower; `None` leaves it to the tower's size.
    pub fast: Option<bool>,
}

/// What a checkpoint does not carry itself and its neighbours may: all of it is optional.
#[derive(Clone, Debug, Default)]
pub struct Sidecars {
    /// Hugging Face's `config.json`, or OpenCLIP's `open_clip_config.json`.
    pub config: Option<String>,
    /// The MLPs' non-linearity, whatever the file or its configuration say.
    pub activation: Option<Activation>,
    /// OpenAI's merge rules, best first; used where the file has none of its own.
    pub merges: Option<Vec<String>>,
    /// BPE ids of the rows of a pruned token embedding; -1 for the row of unknown tokens.
    pub token_ids: Option<Vec<i64>>,
    /// The names that a model with a closed vocabulary was taught.
    pub vocabulary: Option<Vec<String>>,
}

/// A CLIP ready to run.
pub struct Clip {
    config: Config,
    lexicon: Lexicon,
    vocabulary: Vocabulary,
    /// Texts that the file carries the embeddings of: those in 8 bits.
    known: TextTable,
    towers: Towers,
}

enum Towers {
    /// `text` is missing where it is read later, by an [`on_demand::OnDemand`].
    Q8 {
        vision: Box<vision::VisionTower>,
        text: Option<Box<text::TextTower>>,
        choice: Choice,
    },
    F32(Box<reference::Reference>),
}

impl Clip {
    /// Builds the model of a checkpoint.
    ///
    /// # Errors
    /// When the file holds no usable CLIP, or there are no merge rules to be had.
    pub fn new(checkpoint: &Checkpoint, sidecars: &Sidecars, compute: Compute) -> Result<Self, ClipError> {
        Self::with_kernels(checkpoint, sidecars, compute, Choice { kernels: Kernels::best(), fast: None })
    }

    /// The model without its text tower, which is read later ([`on_demand`]), on the kernels that are fastest,
    /// where that matters.
    ///
    /// # Errors
    /// As [`Clip::new`].
    fn for_pictures(checkpoint: &Checkpoint, sidecars: &Sidecars, fastest: &Fastest) -> Result<Self, ClipError> {
        let fast = vision::is_fast(&Config::of(checkpoint, sidecars)?);
        let kernels = if fast { fastest.get() } else { Kernels::best() };
        Self::build(checkpoint, sidecars, Compute::Q8, Choice { kernels, fast: None }, false)
    }

    /// [`Clip::new`] on kernels of one's choice; all of them give the same embeddings.
    ///
    /// # Errors
    /// As [`Clip::new`].
    pub fn with_kernels(
        checkpoint: &Checkpoint,
        sidecars: &Sidecars,
        compute: Compute,
        choice: Choice,
    ) -> Result<Self, ClipError> {
        Self::build(checkpoint, sidecars, compute, choice, true)
    }

    fn build(
        checkpoint: &Checkpoint,
        sidecars: &Sidecars,
        compute: Compute,
        choice: Choice,
        with_texts: bool,
    ) -> Result<Self, ClipError> {
        let config = Config::of(checkpoint, sidecars)?;
        let lexicon = Lexicon::new(checkpoint, sidecars, config.vocabulary)?;
        let mut known = TextTable::empty(config.embed_dim);
        let towers = match compute {
            Compute::Q8 => {
                known = TextTable::of(checkpoint, config.embed_dim)?;
                let text = || text::TextTower::new(checkpoint, &config, &choice).map(Box::new);
                Towers::Q8 {
                    vision: Box::new(vision::VisionTower::new(checkpoint, &config, &choice)?),
                    text: with_texts.then(text).transpose()?,
                    choice,
                }
            }
            Compute::F32 => Towers::F32(Box::new(reference::Reference::new(checkpoint, &config)?)),
        };
        Ok(Self { config, lexicon, vocabulary: Vocabulary::new(checkpoint, sidecars), known, towers })
    }

    /// Reads the text tower of the file that this model comes from.
    fn text_tower(&self, checkpoint: &Checkpoint) -> Result<text::TextTower, ClipError> {
        match &self.towers {
            Towers::Q8 { choice, .. } => Ok(text::TextTower::new(checkpoint, &self.config, choice)?),
            Towers::F32(_) => Err(ClipError::NoTextTower),
        }
    }

    /// A text's embedding by this model's text tower, and whether its end was cut off.
    fn embed_texts_with(&self, tower: &text::TextTower, texts: &[&str]) -> Result<TextEmbeddings, ClipError> {
        let Towers::Q8 { choice, .. } = &self.towers else { return Err(ClipError::NoTextTower) };
        let (rows, truncated) = self.rows(texts);
        let embeddings = Embeddings::normalise(self.config.embed_dim, tower.forward(&choice.kernels, &rows))?;
        Ok(TextEmbeddings { embeddings, truncated })
    }

    /// Token rows of texts, and which of these are cut.
    fn rows(&self, texts: &[&str]) -> (Vec<Vec<u32>>, Vec<bool>) {
        texts.iter().map(|text| self.lexicon.rows(text, self.config.context)).unzip()
    }

    /// Texts that the file carries the embeddings of.
    pub fn known(&self) -> &TextTable {
        &self.known
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The kernel in use, or `f32-candle`.
    pub fn kernel_name(&self) -> &'static str {
        match &self.towers {
            Towers::Q8 { vision, choice, .. } if vision.is_fast() => choice.kernels.name(),
            Towers::Q8 { choice, .. } => choice.kernels.pairs.name(),
            Towers::F32(_) => "f32-candle",
        }
    }

    /// Weights and tables held, bytes.
    pub fn memory_bytes(&self) -> usize {
        match &self.towers {
            Towers::Q8 { vision, text, .. } => {
                vision.memory_bytes() + text.as_ref().map_or(0, |text| text.memory_bytes())
            }
            Towers::F32(reference) => reference.memory_bytes(),
        }
    }

    /// Embeds token rows (not BPE ids), start and end included; the end row must come last.
    ///
    /// # Errors
    /// When an embedding has no direction.
    ///
    /// # Panics
    /// When a text is empty or longer than the context, or has a row that the table lacks.
    pub fn embed_rows(&self, texts: &[Vec<u32>]) -> Result<Embeddings, ClipError> {
        for rows in texts {
            assert!(!rows.is_empty() && rows.len() <= self.config.context, "a text fits the context");
            assert!(rows.iter().all(|&r| (r as usize) < self.config.vocabulary), "rows are of the table");
        }
        let values = match &self.towers {
            Towers::Q8 { text: Some(text), choice, .. } => text.forward(&choice.kernels, texts),
            Towers::Q8 { text: None, .. } => return Err(ClipError::NoTextTower),
            Towers::F32(reference) => {
                texts.iter().map(|rows| reference.text(rows)).collect::<Result<Vec<_>, _>>()?.concat()
            }
        };
        Ok(Embeddings::normalise(self.config.embed_dim, values)?)
    }
}

/// The embeddings `[texts,width]` of texts: those that are `known`, and the others, which `embed` answers together.
fn completed(
    width: usize,
    texts: &[String],
    known: impl Fn(&str) -> Option<Vec<f32>>,
    embed: impl FnOnce(&[&str]) -> Result<TextEmbeddings, ClipError>,
) -> Result<TextEmbeddings, ClipError> {
    let mut rows: Vec<Option<Vec<f32>>> = texts.iter().map(|text| known(text)).collect();
    let mut truncated = vec![false; texts.len()];
    let unknown: Vec<usize> = (0..texts.len()).filter(|&i| rows[i].is_none()).collect();
    if !unknown.is_empty() {
        let embedded = embed(&unknown.iter().map(|&i| texts[i].as_str()).collect::<Vec<_>>())?;
        for ((i, row), cut) in unknown.into_iter().zip(embedded.embeddings.rows()).zip(embedded.truncated) {
            (rows[i], truncated[i]) = (Some(row.to_vec()), cut);
        }
    }
    let values = rows.into_iter().flatten().flatten().collect();
    Ok(TextEmbeddings { embeddings: Embeddings::unit(width, values)?, truncated })
}

/// What our GGUF of this checkpoint holds beside the checkpoint's own keys and tensors: geometry, merge rules, ids of pruned token
/// rows, vocabulary; and, where its weights are to be rounded, the large channels as they are (see [`layers::large_channels`]). What
/// the file carries itself wins over its neighbours, as it does when a model is loaded.
///
/// # Errors
/// When the checkpoint holds no usable CLIP.
pub fn gguf_additions(
    checkpoint: &Checkpoint,
    sidecars: &Sidecars,
    rounded: bool,
) -> Result<convert::Additions, ClipError> {
    let config = Config::of(checkpoint, sidecars)?;
    let mut keys = config.keys();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value.filter(|_| !checkpoint.metadata.contains_key(key)) {
            keys.insert(key.into(), value);
        }
    };
    put(lexicon::MERGES_KEY, sidecars.merges.clone().map(Value::Texts));
    put(lexicon::TOKEN_IDS_KEY, sidecars.token_ids.clone().map(Value::Integers));
    put(vocabulary::VOCABULARY_KEY, sidecars.vocabulary.clone().map(Value::Texts));
    let mut additions = convert::Additions { keys, tensors: Vec::new() };
    // a file that keeps them already keeps them still
    let fresh = |prefix: &str| rounded && !checkpoint.metadata.contains_key(&layers::large_key(prefix));
    for (prefix, parts) in [("vision_model", vision::exact as Exact), ("text_model", text::exact)] {
        if fresh(prefix) {
            let parts = parts(checkpoint, &config)?;
            additions.keys.extend(parts.keys);
            additions.tensors.extend(parts.tensors);
        }
    }
    Ok(additions)
}

/// Whether the checkpoint is our GGUF in 8 bits, complete in itself, which need not be made from it.
pub fn is_own(checkpoint: &Checkpoint) -> bool {
    let rounded = checkpoint.tensors().values().any(|t| t.dtype == DType::Q8_0);
    rounded && checkpoint.metadata.contains_key(lexicon::MERGES_KEY)
}

/// Any usable model file as our GGUF in 8 bits, piece by piece, unless it is one ([`is_own`]). Page and command line both compute in 8 bits with
/// this, so that a file has the same scores in both.
///
/// # Errors
/// When the checkpoint holds no usable CLIP.
pub fn own_file<'a>(checkpoint: &'a Checkpoint, sidecars: &Sidecars) -> Result<convert::Conversion<'a>, ClipError> {
    let additions = gguf_additions(checkpoint, sidecars, true)?;
    Ok(convert::Conversion::new(checkpoint, additions, convert::Quant::Q8)?)
}

/// What [`own_file`] can begin with before all of a file has come; nothing where the file is ours already, or no CLIP by its tensors.
pub fn own_ahead(checkpoint: Checkpoint) -> Option<Ahead> {
    let is_to_be_made = !is_own(&checkpoint) && Config::from_shapes(&checkpoint).is_ok();
    is_to_be_made.then(|| Ahead::of(checkpoint, convert::Quant::Q8))
}

/// The merge rules that a GGUF of ours carries.
pub fn merges_of(file: impl Source + 'static) -> Option<Vec<String>> {
    let mut checkpoint = Checkpoint::open(file).ok()?;
    match checkpoint.metadata.remove(lexicon::MERGES_KEY) {
        Some(Value::Texts(merges)) => Some(merges),
        _ => None,
    }
}

/// The names that a GGUF of ours with a closed vocabulary was taught.
pub fn names_of(file: impl Source + 'static) -> Vec<String> {
    let checkpoint = Checkpoint::open(file).map(|mut c| c.metadata.remove(vocabulary::VOCABULARY_KEY));
    match checkpoint {
        Ok(Some(Value::Texts(names))) => names,
        _ => Vec::new(),
    }
}

type Exact = fn(&dyn Tensors, &Config) -> Result<layers::ExactParts, WeightsError>;

impl Encoder for Clip {
    fn image_size(&self) -> usize {
        self.config.image_size
    }

    fn embed_dim(&self) -> usize {
        self.config.embed_dim
    }

    fn embed_pixels(&self, pixels: &[f32]) -> Result<Embeddings, ClipError> {
        let size = self.config.image_size;
        let one = 3 * size * size;
        if !pixels.len().is_multiple_of(one) {
            return Err(ClipError::Pixels { size, expected: one, got: pixels.len() });
        }
        let mut values = Vec::with_capacity(pixels.len() / one * self.config.embed_dim);
        for picture in pixels.chunks_exact(one) {
            match &self.towers {
                Towers::Q8 { vision, choice, .. } => values.extend(vision.forward(&choice.kernels, picture)),
                Towers::F32(reference) => values.extend(reference.image(picture)?),
            }
        }
        Ok(Embeddings::normalise(self.config.embed_dim, values)?)
    }

    fn embed_texts(&self, texts: &[String]) -> Result<TextEmbeddings, ClipError> {
        completed(
            self.config.embed_dim,
            texts,
            |text| self.known.get(text).map(<[f32]>::to_vec),
            |unknown| {
                let (rows, truncated) = self.rows(unknown);
                Ok(TextEmbeddings { embeddings: self.embed_rows(&rows)?, truncated })
            },
        )
    }

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }
}
