//! The transformer that both towers share, in 8 bits: pre-norm blocks of attention and MLP.
//!
//! Formulas are those of Hugging Face's `CLIPEncoderLayer` (transformers, `models/clip/modeling_clip.py`). Linear layers run on
//! integers (`quant`); norms, attention and activations in f32 (`kernels::vector`).

use super::config::{Activation, TowerConfig};
use crate::kernels::{Kernel, vector};
use crate::quant::{QMatrix, Scratch};
use crate::weights::{Checkpoint, WeightsError};

/// Gain and bias of a layer norm.
#[derive(Clone, Debug)]
pub struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    /// The tensors `{name}.weight` and `{name}.bias`.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub fn new(checkpoint: &Checkpoint, name: &str, width: usize, epsilon: f32) -> Result<Self, WeightsError> {
        let part = |part: &str| checkpoint.f32(&format!("{name}.{part}"), &[width]);
        Ok(Self { gain: part("weight")?, bias: part("bias")?, epsilon })
    }

    /// Normalises each row of `x` `[t,width]` into `out`.
    pub fn apply(&self, x: &[f32], out: &mut [f32]) {
        for (x, out) in x.chunks_exact(self.gain.len()).zip(out.chunks_exact_mut(self.gain.len())) {
            vector::layer_norm(x, &self.gain, &self.bias, self.epsilon, out);
        }
    }

    pub fn memory_bytes(&self) -> usize {
        8 * self.gain.len()
    }
}

/// Reads `{name}.weight` `[n,k]`, with `{name}.bias` where it is said to have one.
///
/// # Errors
/// When a tensor is missing or has another shape.
pub fn linear(checkpoint: &Checkpoint, name: &str, n: usize, k: usize, biased: bool) -> Result<QMatrix, WeightsError> {
    let weight = checkpoint.f32(&format!("{name}.weight"), &[n, k])?;
    let bias = if biased { Some(checkpoint.f32(&format!("{name}.bias"), &[n])?) } else { None };
    Ok(QMatrix::new(&weight, bias.as_deref(), n, k))
}

struct Block {
    norm1: Norm,
    /// Queries, keys and values in one product: `[3 width, width]`.
    qkv: QMatrix,
    out: QMatrix,
    norm2: Norm,
    fc1: QMatrix,
    fc2: QMatrix,
}

/// A stack of blocks.
pub struct Transformer {
    blocks: Vec<Block>,
    width: usize,
    heads: usize,
    activation: Activation,
}

/// Buffers of one pass, made once.
#[derive(Default)]
struct Buffers {
    normed: Vec<f32>,
    qkv: Vec<f32>,
    mixed: Vec<f32>,
    hidden: Vec<f32>,
    keys: Vec<f32>,
    weights: Vec<f32>,
    scratch: Scratch,
}

impl Transformer {
    /// Reads `{prefix}.encoder.layers.*`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn new(
        checkpoint: &Checkpoint,
        prefix: &str,
        config: &TowerConfig,
        activation: Activation,
    ) -> Result<Self, WeightsError> {
        let (w, mlp) = (config.width, config.mlp);
        let mut blocks = Vec::new();
        for i in 0..config.layers {
            let name = |part: &str| format!("{prefix}.encoder.layers.{i}.{part}");
            let (mut weight, mut bias) = (Vec::with_capacity(3 * w * w), Vec::with_capacity(3 * w));
            for part in ["q_proj", "k_proj", "v_proj"] {
                weight.extend(checkpoint.f32(&name(&format!("self_attn.{part}.weight")), &[w, w])?);
                bias.extend(checkpoint.f32(&name(&format!("self_attn.{part}.bias")), &[w])?);
            }
            blocks.push(Block {
                norm1: Norm::new(checkpoint, &name("layer_norm1"), w, config.epsilon)?,
                qkv: QMatrix::new(&weight, Some(&bias), 3 * w, w),
                out: linear(checkpoint, &name("self_attn.out_proj"), w, w, true)?,
                norm2: Norm::new(checkpoint, &name("layer_norm2"), w, config.epsilon)?,
                fc1: linear(checkpoint, &name("mlp.fc1"), mlp, w, true)?,
                fc2: linear(checkpoint, &name("mlp.fc2"), w, mlp, true)?,
            });
        }
        Ok(Self { blocks, width: w, heads: config.heads, activation })
    }

    /// Runs all blocks over `x` `[t,width]` in place. With `causal`, a token sees itself and those before it.
    pub fn forward(&self, kernel: Kernel, x: &mut [f32], causal: bool) {
        let t = x.len() / self.width;
        let mut b = Buffers::default();
        b.normed.resize(x.len(), 0.0);
        b.qkv.resize(3 * x.len(), 0.0);
        b.mixed.resize(x.len(), 0.0);
        for block in &self.blocks {
            block.norm1.apply(x, &mut b.normed);
            block.qkv.apply(kernel, &b.normed, t, &mut b.scratch, &mut b.qkv);
            attention(&b.qkv, t, self.width, self.heads, causal, &mut b.keys, &mut b.weights, &mut b.mixed);
            block.out.apply(kernel, &b.mixed, t, &mut b.scratch, &mut b.normed);
            vector::add(&b.normed, x);

            block.norm2.apply(x, &mut b.normed);
            b.hidden.resize(t * block.fc1.n(), 0.0);
            block.fc1.apply(kernel, &b.normed, t, &mut b.scratch, &mut b.hidden);
            match self.activation {
                Activation::QuickGelu => vector::quick_gelu(&mut b.hidden),
                Activation::Gelu => vector::gelu(&mut b.hidden),
            }
            block.fc2.apply(kernel, &b.hidden, t, &mut b.scratch, &mut b.normed);
            vector::add(&b.normed, x);
        }
    }

    pub fn memory_bytes(&self) -> usize {
        let of = |b: &Block| {
            [&b.qkv, &b.out, &b.fc1, &b.fc2].iter().map(|q| q.memory_bytes()).sum::<usize>()
                + b.norm1.memory_bytes()
                + b.norm2.memory_bytes()
        };
        self.blocks.iter().map(of).sum()
    }
}

/// Multi-head attention: `qkv` `[t, 3 width]` to `out` `[t,width]`, heads side by side.
///
/// Keys are transposed per head, so that both products run along contiguous numbers without a horizontal sum.
#[allow(clippy::too_many_arguments)] // sizes and buffers of one formula
fn attention(
    qkv: &[f32],
    t: usize,
    width: usize,
    heads: usize,
    causal: bool,
    keys: &mut Vec<f32>,
    weights: &mut Vec<f32>,
    out: &mut [f32],
) {
    let d = width / heads;
    let scale = 1.0 / (d as f32).sqrt();
    keys.resize(d * t, 0.0);
    weights.resize(t, 0.0);
    for h in 0..heads {
        let at = |token: usize, part: usize| token * 3 * width + part * width + h * d;
        for j in 0..t {
            for (c, &key) in qkv[at(j, 1)..at(j, 1) + d].iter().enumerate() {
                keys[c * t + j] = key;
            }
        }
        for i in 0..t {
            let seen = if causal { i + 1 } else { t };
            let row = &mut weights[..seen];
            row.fill(0.0);
            for (c, &q) in qkv[at(i, 0)..at(i, 0) + d].iter().enumerate() {
                vector::axpy(q * scale, &keys[c * t..c * t + seen], row);
            }
            vector::softmax(row);
            let out = &mut out[i * width + h * d..i * width + (h + 1) * d];
            out.fill(0.0);
            for (j, &weight) in row.iter().enumerate() {
                vector::axpy(weight, &qkv[at(j, 2)..at(j, 2) + d], out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tokens, one head of width 1: q.k by hand.
    #[test]
    fn attention_by_hand() {
        // token 0: q 1, k 0, v 10; token 1: q 1, k ln 3, v 20
        let qkv = [1.0, 0.0, 10.0, 1.0, 3f32.ln(), 20.0];
        let (mut keys, mut weights, mut out) = (Vec::new(), Vec::new(), vec![0.0; 2]);
        attention(&qkv, 2, 1, 1, false, &mut keys, &mut weights, &mut out);
        for v in &out {
            assert!((v - 17.5).abs() < 1e-4, "{out:?}");
        }
        attention(&qkv, 2, 1, 1, true, &mut keys, &mut weights, &mut out);
        assert!((out[0] - 10.0).abs() < 1e-6 && (out[1] - 17.5).abs() < 1e-4, "{out:?}");
    }
}
