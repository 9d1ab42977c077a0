//! The image tower in 8 bits: patches, class token, transformer, projection.
//!
//! Formulas are those of `CLIPVisionTransformer` (transformers, `models/clip/modeling_clip.py`), `pre_layrnorm` spelled as there.

use super::Choice;
use super::config::Config;
use super::layers::{ExactParts, Norm, Place, Source, Transformer, exact_parts, large_channels};
use crate::kernels::Kernels;
use crate::quant::{QMatrix, Scratch};
use crate::weights::{Tensors, WeightsError};

/// Image towers with at least this many products a picture have activations of 7 bits, and 12 for pixels and in the class token's row:
/// they take long enough to be worth it. The embedded model has 180 million.
const FAST_FROM_MACS: u64 = 100_000_000;

/// Whether the image tower of this geometry has activations of 7 bits.
pub fn is_fast(config: &Config) -> bool {
    config.image_macs() >= FAST_FROM_MACS
}

/// Weights of the image tower.
pub struct VisionTower {
    size: usize,
    patch: usize,
    width: usize,
    /// `[width, 3 * patch * patch]`, no bias.
    patches: QMatrix,
    /// `[width]`.
    class: Vec<f32>,
    /// `[1 + patches, width]`.
    positions: Vec<f32>,
    pre_norm: Norm,
    transformer: Transformer,
    post_norm: Norm,
    projection: QMatrix,
    fast: bool,
}

impl VisionTower {
    /// Reads `vision_model.*` and `visual_projection`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn new(checkpoint: &dyn Tensors, config: &Config, choice: &Choice) -> Result<Self, WeightsError> {
        let (w, p) = (config.vision.width, config.patch_size);
        let name = |part: &str| format!("vision_model.{part}");
        let epsilon = config.vision.epsilon;
        let positions = name("embeddings.position_embedding.weight");
        let large = large(checkpoint, config)?;
        let fast = choice.fast.unwrap_or_else(|| is_fast(config));
        let source = Source { checkpoint, kernels: &choice.kernels, fast, large };
        Ok(Self {
            size: config.image_size,
            patch: p,
            width: w,
            patches: source.linear(
                &name("embeddings.patch_embedding"),
                (w, 3 * p * p),
                false,
                Place::PixelsToStream,
            )?,
            class: checkpoint.f32(&name("embeddings.class_embedding"), &[w])?,
            positions: checkpoint.f32(&positions, &[1 + config.patches(), w])?,
            pre_norm: Norm::new(checkpoint, &name("pre_layrnorm"), w, epsilon)?,
            transformer: Transformer::new(&source, "vision_model", &config.vision, config.activation)?,
            post_norm: Norm::new(checkpoint, &name("post_layernorm"), w, epsilon)?,
            projection: source.linear("visual_projection", (config.embed_dim, w), false, Place::Last)?,
            fast,
        })
    }

    /// One picture, normalised pixels `[3,s,s]`, to its projection (not yet of unit length).
    pub fn forward(&self, kernels: &Kernels, pixels: &[f32]) -> Vec<f32> {
        let w = self.width;
        let mut scratch = Scratch::default();
        let cut = cut_patches(pixels, self.size, self.patch);
        let mut x = vec![0.0; self.positions.len()];
        x[..w].copy_from_slice(&self.class);
        self.patches.apply(kernels, &cut, x.len() / w - 1, &mut scratch, &mut x[w..]);
        crate::kernels::vector::add(&self.positions, &mut x);
        let mut normed = vec![0.0; x.len()];
        self.pre_norm.apply(&x, &mut normed);
        let rows = normed.len() / w;
        let read = self.transformer.forward(kernels, normed, false, &[rows]);
        let mut class = vec![0.0; w];
        self.post_norm.apply(&read, &mut class);
        let mut out = vec![0.0; self.projection.n()];
        self.projection.apply(kernels, &class, 1, &mut scratch, &mut out);
        out
    }

    /// Whether its activations have 7 bits.
    pub fn is_fast(&self) -> bool {
        self.fast
    }

    pub fn memory_bytes(&self) -> usize {
        self.patches.memory_bytes()
            + 4 * (self.class.len() + self.positions.len())
            + self.transformer.memory_bytes()
            + self.projection.memory_bytes()
    }
}

/// The large channels of this tower's stream.
fn large(checkpoint: &dyn Tensors, config: &Config) -> Result<Vec<usize>, WeightsError> {
    let (w, p) = (config.vision.width, config.patch_size);
    let begin = [
        ("vision_model.embeddings.patch_embedding.weight", [w, 3 * p * p]),
        ("vision_model.embeddings.position_embedding.weight", [1 + config.patches(), w]),
    ];
    large_channels(checkpoint, "vision_model", &config.vision, &begin)
}

/// What a rounded file must keep of this tower as it was.
///
/// # Errors
/// When a tensor is missing or has another shape.
pub fn exact(checkpoint: &dyn Tensors, config: &Config) -> Result<ExactParts, WeightsError> {
    let (w, p) = (config.vision.width, config.patch_size);
    let ends = [
        ("vision_model.embeddings.patch_embedding".into(), (w, 3 * p * p), Place::PixelsToStream),
        ("visual_projection".into(), (config.embed_dim, w), Place::Last),
    ];
    exact_parts(checkpoint, "vision_model", &config.vision, &large(checkpoint, config)?, &ends)
}

/// Pixels `[3,s,s]` to patches `[(s/p)^2, 3*p*p]`, each in the order of the convolution's weights: channel, row, column.
/// What is left over at the right and at the bottom is not seen, as in a convolution of stride `p`.
pub fn cut_patches(pixels: &[f32], size: usize, patch: usize) -> Vec<f32> {
    let grid = size / patch;
    let mut out = Vec::with_capacity(grid * grid * 3 * patch * patch);
    for gy in 0..grid {
        for gx in 0..grid {
            for c in 0..3 {
                for y in 0..patch {
                    let at = c * size * size + (gy * patch + y) * size + gx * patch;
                    out.extend_from_slice(&pixels[at..at + patch]);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn patches_by_hand() {
        // 4 x 4 pixels, patch 2, values 100 c + 10 y + x
        let pixels: Vec<f32> = (0..48).map(|i| (100 * (i / 16) + 10 * (i / 4 % 4) + i % 4) as f32).collect();
        let cut = super::cut_patches(&pixels, 4, 2);
        assert_eq!(cut[..12], [0., 1., 10., 11., 100., 101., 110., 111., 200., 201., 210., 211.]);
        assert_eq!(cut[36..40], [22., 23., 32., 33.]);
        assert_eq!(cut.len(), 48);
    }
}
