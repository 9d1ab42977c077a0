//! The f32 reference path, on candle: the same formulas as [`super::vision`] and [`super::text`] with none of their
//! shortcuts, to hold them against and to run when asked for (`--compute f32`).

use std::collections::BTreeMap;

use candle_core::{D, Device, Result, Tensor};

use super::config::{Activation, Config, TowerConfig};
use super::vision::cut_patches;
use crate::weights::Checkpoint;

/// All weights as f32 tensors, by name.
pub struct Reference {
    config: Config,
    tensors: BTreeMap<String, Tensor>,
}

impl Reference {
    /// Reads every tensor that the geometry calls for.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub fn new(checkpoint: &Checkpoint, config: &Config) -> std::result::Result<Self, super::ClipError> {
        let mut tensors = BTreeMap::new();
        let mut read = |name: String, shape: &[usize]| -> std::result::Result<(), super::ClipError> {
            let values = checkpoint.f32(&name, shape)?;
            tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
            Ok(())
        };
        let (v, t) = (config.vision.width, config.text.width);
        read("vision_model.embeddings.class_embedding".into(), &[v])?;
        read("vision_model.embeddings.patch_embedding.weight".into(), &[v, 3 * config.patch_size.pow(2)])?;
        read("vision_model.embeddings.position_embedding.weight".into(), &[1 + config.patches(), v])?;
        read("text_model.embeddings.token_embedding.weight".into(), &[config.vocabulary, t])?;
        read("text_model.embeddings.position_embedding.weight".into(), &[config.context, t])?;
        read("visual_projection.weight".into(), &[config.embed_dim, v])?;
        read("text_projection.weight".into(), &[config.embed_dim, t])?;
        let norms = ["vision_model.pre_layrnorm", "vision_model.post_layernorm", "text_model.final_layer_norm"];
        for (norm, w) in norms.into_iter().zip([v, v, t]) {
            read(format!("{norm}.weight"), &[w])?;
            read(format!("{norm}.bias"), &[w])?;
        }
        for (prefix, tower) in [("vision_model", &config.vision), ("text_model", &config.text)] {
            let (w, mlp) = (tower.width, tower.mlp);
            for i in 0..tower.layers {
                let layer = format!("{prefix}.encoder.layers.{i}");
                for (part, n, k) in [
                    ("self_attn.q_proj", w, w),
                    ("self_attn.k_proj", w, w),
                    ("self_attn.v_proj", w, w),
                    ("self_attn.out_proj", w, w),
                    ("mlp.fc1", mlp, w),
                    ("mlp.fc2", w, mlp),
                ] {
                    read(format!("{layer}.{part}.weight"), &[n, k])?;
                    read(format!("{layer}.{part}.bias"), &[n])?;
                }
                for norm in ["layer_norm1", "layer_norm2"] {
                    read(format!("{layer}.{norm}.weight"), &[w])?;
                    read(format!("{layer}.{norm}.bias"), &[w])?;
                }
            }
        }
        Ok(Self { config: config.clone(), tensors })
    }

    /// One picture, normalised pixels `[3,s,s]`, to its projection.
    ///
    /// # Errors
    /// When candle refuses (a defect of ours).
    pub fn image(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        let c = &self.config;
        let cut = cut_patches(pixels, c.image_size, c.patch_size);
        let cut = Tensor::from_vec(cut, (c.patches(), 3 * c.patch_size.pow(2)), &Device::Cpu)?;
        let x = cut.matmul(&self.get("vision_model.embeddings.patch_embedding.weight").t()?)?;
        let class = self.get("vision_model.embeddings.class_embedding").reshape((1, c.vision.width))?;
        let x = Tensor::cat(&[&class, &x], 0)?;
        let x = (x + self.get("vision_model.embeddings.position_embedding.weight"))?;
        let x = self.norm(&x, "vision_model.pre_layrnorm", c.vision.epsilon)?;
        let x = self.blocks(x, "vision_model", &c.vision, None)?;
        let class = self.norm(&x.narrow(0, 0, 1)?, "vision_model.post_layernorm", c.vision.epsilon)?;
        class.matmul(&self.get("visual_projection.weight").t()?)?.flatten_all()?.to_vec1()
    }

    /// Token rows of one text, the end row last, to its projection.
    ///
    /// # Errors
    /// When candle refuses (a defect of ours).
    pub fn text(&self, rows: &[u32]) -> Result<Vec<f32>> {
        let c = &self.config;
        let n = rows.len();
        let rows = Tensor::new(rows, &Device::Cpu)?;
        let x = self.get("text_model.embeddings.token_embedding.weight").index_select(&rows, 0)?;
        let x = (x + self.get("text_model.embeddings.position_embedding.weight").narrow(0, 0, n)?)?;
        let mask: Vec<f32> = (0..n * n).map(|i| if i % n > i / n { f32::NEG_INFINITY } else { 0.0 }).collect();
        let mask = Tensor::from_vec(mask, (1, n, n), &Device::Cpu)?;
        let x = self.blocks(x, "text_model", &c.text, Some(&mask))?;
        let end = self.norm(&x.narrow(0, n - 1, 1)?, "text_model.final_layer_norm", c.text.epsilon)?;
        end.matmul(&self.get("text_projection.weight").t()?)?.flatten_all()?.to_vec1()
    }

    pub fn memory_bytes(&self) -> usize {
        self.tensors.values().map(|t| 4 * t.elem_count()).sum()
    }

    fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).expect("the constructor read every tensor of the geometry")
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let y = x.matmul(&self.get(&format!("{name}.weight")).t()?)?;
        y.broadcast_add(self.get(&format!("{name}.bias")))
    }

    fn norm(&self, x: &Tensor, name: &str, epsilon: f32) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + f64::from(epsilon))?.sqrt()?;
        let y = centred.broadcast_div(&deviation)?.broadcast_mul(self.get(&format!("{name}.weight")))?;
        y.broadcast_add(self.get(&format!("{name}.bias")))
    }

    fn blocks(&self, mut x: Tensor, prefix: &str, tower: &TowerConfig, mask: Option<&Tensor>) -> Result<Tensor> {
        let (t, d) = (x.dim(0)?, tower.width / tower.heads);
        let heads = |y: Tensor| y.reshape((t, tower.heads, d))?.transpose(0, 1)?.contiguous();
        for i in 0..tower.layers {
            let layer = format!("{prefix}.encoder.layers.{i}");
            let y = self.norm(&x, &format!("{layer}.layer_norm1"), tower.epsilon)?;
            let q = heads((self.linear(&y, &format!("{layer}.self_attn.q_proj"))? * (d as f64).powf(-0.5))?)?;
            let k = heads(self.linear(&y, &format!("{layer}.self_attn.k_proj"))?)?;
            let v = heads(self.linear(&y, &format!("{layer}.self_attn.v_proj"))?)?;
            let logits = q.matmul(&k.t()?)?;
            let logits = if let Some(mask) = mask { logits.broadcast_add(mask)? } else { logits };
            let y = softmax(&logits)?.matmul(&v)?.transpose(0, 1)?.reshape((t, tower.width))?;
            x = (x + self.linear(&y, &format!("{layer}.self_attn.out_proj"))?)?;

            let y = self.norm(&x, &format!("{layer}.layer_norm2"), tower.epsilon)?;
            let y = self.linear(&y, &format!("{layer}.mlp.fc1"))?;
            let y = match self.config.activation {
                Activation::QuickGelu => quick_gelu(&y)?,
                Activation::Gelu => y.gelu_erf()?,
            };
            x = (x + self.linear(&y, &format!("{layer}.mlp.fc2"))?)?;
        }
        Ok(x)
    }
}

/// `x * sigmoid(1.702 x) = x / (1 + e^(-1.702 x))`.
fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    x / ((x * -1.702)?.exp()? + 1.0)?
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}
