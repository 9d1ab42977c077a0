//! The geometry of a `CLIPModel`: from the tensors' shapes, and what these cannot tell from our GGUF's keys or from Hugging Face's
//! `config.json`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::weights::{Checkpoint, Value, WeightsError};

/// Which non-linearity the MLPs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`: OpenAI's models.
    QuickGelu,
    /// `x * (1 + erf(x / sqrt 2)) / 2`: OpenCLIP's later models.
    Gelu,
}

/// One transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct TowerConfig {
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// Width of the MLP's hidden layer.
    pub mlp: usize,
    /// Added to the variance in layer norms.
    pub epsilon: f32,
}

/// A whole CLIP.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Side of the square that the image tower sees, pixels; a multiple of the patch.
    pub image_size: usize,
    /// Side of a patch, pixels.
    pub patch_size: usize,
    pub vision: TowerConfig,
    /// Most tokens that the text tower reads.
    pub context: usize,
    /// Rows of the token embedding.
    pub vocabulary: usize,
    pub text: TowerConfig,
    /// Length of an embedding.
    pub embed_dim: usize,
    pub activation: Activation,
}

/// Sizes beyond this are no CLIP's.
const LARGEST: usize = 1 << 17;
/// A layer with more inputs than this cannot be summed in 32 bits; the largest CLIPs published stay below it.
const MOST_INPUTS: usize = crate::kernels::MAX_K;

impl Config {
    /// Patches in a picture.
    pub fn patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }

    /// Products of the linear layers for one picture. More than 32 bits can count, already for ViT-B/32.
    pub fn image_macs(&self) -> u64 {
        let v = &self.vision;
        let [width, mlp, patches] = [v.width, v.mlp, self.patches()].map(|n| n as u64);
        let a_token = v.layers as u64 * (4 * width * width + 2 * width * mlp);
        (patches + 1) * a_token + patches * 3 * (self.patch_size as u64).pow(2) * width
    }

    /// From the shapes of its tensors, and its own keys or else `json` (a `config.json` beside it).
    ///
    /// # Errors
    /// When the file holds no such model, the sizes contradict each other, or nothing says what shapes cannot tell: a wrong guess
    /// at the heads (64 wide in OpenAI's models, 80 to 104 in OpenCLIP's large ones) or the activation gives wrong scores in silence.
    pub fn of(checkpoint: &Checkpoint, json: Option<&str>) -> Result<Self, WeightsError> {
        let mut config = Self::from_shapes(checkpoint)?;
        if checkpoint.metadata.contains_key("clip.vision.image_size") {
            config.read_keys(&checkpoint.metadata)?;
        } else if let Some(json) = json {
            config.read_json(json)?;
        } else {
            let message = "heads and activation: expected keys in the file or a config.json beside it, got neither";
            return Err(WeightsError::NotClip(message.into()));
        }
        config.check()?;
        Ok(config)
    }

    /// What shapes tell. Heads, epsilon and activation are left for [`Config::of`] to fill in.
    fn from_shapes(checkpoint: &Checkpoint) -> Result<Self, WeightsError> {
        let shape = |name: &str, axes: usize| match checkpoint.shape(name) {
            Some(s) if s.len() == axes || (axes == 4 && s.len() == 2) => Ok(s.to_vec()),
            Some(s) => Err(WeightsError::NotClip(format!("tensor {name} has shape {s:?}, expected {axes} axes"))),
            None => Err(WeightsError::NotClip(format!("it has no tensor {name}; {}", what_it_is(checkpoint)))),
        };
        let patch = shape("vision_model.embeddings.patch_embedding.weight", 4)?;
        let patch_area = patch[1..].iter().fold(1usize, |area, &dim| area.saturating_mul(dim)) / 3;
        let patch_size = patch_area.isqrt();
        let positions = shape("vision_model.embeddings.position_embedding.weight", 2)?;
        let grid = positions[0].saturating_sub(1).isqrt();
        let tower = |prefix: &str| -> Result<TowerConfig, WeightsError> {
            let fc1 = shape(&format!("{prefix}.encoder.layers.0.mlp.fc1.weight"), 2)?;
            let layers = (0..)
                .take_while(|i| checkpoint.shape(&format!("{prefix}.encoder.layers.{i}.mlp.fc1.weight")).is_some())
                .count();
            Ok(TowerConfig { width: fc1[1], layers, heads: 0, mlp: fc1[0], epsilon: 0.0 })
        };
        let tokens = shape("text_model.embeddings.token_embedding.weight", 2)?;
        Ok(Self {
            image_size: grid.saturating_mul(patch_size),
            patch_size,
            vision: tower("vision_model")?,
            context: shape("text_model.embeddings.position_embedding.weight", 2)?[0],
            vocabulary: tokens[0],
            text: tower("text_model")?,
            embed_dim: shape("visual_projection.weight", 2)?[0],
            activation: Activation::QuickGelu,
        })
    }

    /// What shapes cannot tell: heads, epsilon, activation; the rest of the keys must agree with them.
    fn read_keys(&mut self, keys: &BTreeMap<String, Value>) -> Result<(), WeightsError> {
        let size = |key: &str| keys.get(key).and_then(Value::as_u64).and_then(|v| usize::try_from(v).ok());
        let need =
            |key: &str| size(key).ok_or_else(|| WeightsError::NotClip(format!("key {key}: expected a size, got none")));
        for (tower, name) in [(&mut self.vision, "vision"), (&mut self.text, "text")] {
            tower.heads = need(&format!("clip.{name}.attention.head_count"))?;
            let epsilon = keys.get(&format!("clip.{name}.attention.layer_norm_epsilon")).and_then(Value::as_f64);
            tower.epsilon = epsilon.unwrap_or(1e-5) as f32;
        }
        let image_size = need("clip.vision.image_size")?;
        if image_size != self.image_size {
            let message = format!("image size is {image_size} by its keys and {} by its tensors", self.image_size);
            return Err(WeightsError::NotClip(message));
        }
        self.activation = if keys.get("clip.use_gelu") == Some(&Value::Bool(true)) {
            Activation::Gelu
        } else {
            Activation::QuickGelu
        };
        Ok(())
    }

    fn read_json(&mut self, json: &str) -> Result<(), WeightsError> {
        let config: HfConfig = serde_json::from_str(json)
            .map_err(|e| WeightsError::NotClip(format!("its config.json is not usable: {e}")))?;
        self.vision.heads = config.vision_config.num_attention_heads.unwrap_or(12);
        self.text.heads = config.text_config.num_attention_heads.unwrap_or(8);
        self.vision.epsilon = config.vision_config.layer_norm_eps.unwrap_or(1e-5);
        self.text.epsilon = config.text_config.layer_norm_eps.unwrap_or(1e-5);
        // Hugging Face's default
        let activation = |tower: &HfTower| tower.hidden_act.clone().unwrap_or_else(|| "quick_gelu".into());
        self.activation = match (&*activation(&config.vision_config), &*activation(&config.text_config)) {
            ("quick_gelu", "quick_gelu") => Activation::QuickGelu,
            ("gelu", "gelu") => Activation::Gelu,
            (vision, text) => {
                let message =
                    format!("hidden_act: expected quick_gelu or gelu in both towers, got {vision} and {text}");
                return Err(WeightsError::NotClip(message));
            }
        };
        Ok(())
    }

    fn check(&self) -> Result<(), WeightsError> {
        let wrong = |what: &str, expected: &str, got: usize| {
            Err(WeightsError::NotClip(format!("{what}: expected {expected}, got {got}")))
        };
        if self.patch_size == 0 || self.image_size == 0 || self.image_size > 4096 {
            return wrong("image size", "1 to 4096 pixels", self.image_size);
        }
        if self.patch_size > self.image_size || self.patch_size > (MOST_INPUTS / 3).isqrt() {
            return wrong("patch size", &format!("1 to {} pixels", (MOST_INPUTS / 3).isqrt()), self.patch_size);
        }
        for (name, t) in [("vision", &self.vision), ("text", &self.text)] {
            if t.layers == 0 || t.layers > 512 {
                return wrong(&format!("{name} layers"), "1 to 512", t.layers);
            }
            if t.width == 0 || t.width > MOST_INPUTS || t.mlp == 0 || t.mlp > MOST_INPUTS {
                return wrong(&format!("{name} width"), &format!("1 to {MOST_INPUTS}"), t.width.max(t.mlp));
            }
            if t.heads == 0 || !t.width.is_multiple_of(t.heads) {
                return wrong(&format!("{name} heads"), &format!("a divisor of {}", t.width), t.heads);
            }
            if !(t.epsilon.is_finite() && t.epsilon > 0.0) {
                return Err(WeightsError::NotClip(format!("{name} epsilon: expected above 0, got {}", t.epsilon)));
            }
        }
        if self.embed_dim == 0 || self.embed_dim > LARGEST {
            return wrong("projection", "1 to 131072", self.embed_dim);
        }
        if !(2..=LARGEST).contains(&self.context) || self.vocabulary < 2 {
            return wrong("text context and vocabulary", "at least 2", self.context.min(self.vocabulary));
        }
        Ok(())
    }

    /// The keys under which our GGUF keeps the geometry (clip.cpp's names).
    pub fn keys(&self) -> BTreeMap<String, Value> {
        let mut keys = BTreeMap::new();
        let mut put = |key: &str, value: Value| keys.insert(key.to_string(), value);
        put("general.architecture", Value::Text("clip".into()));
        put("clip.has_text_encoder", Value::Bool(true));
        put("clip.has_vision_encoder", Value::Bool(true));
        put("clip.use_gelu", Value::Bool(self.activation == Activation::Gelu));
        put("clip.vision.image_size", Value::Unsigned(self.image_size as u64));
        put("clip.vision.patch_size", Value::Unsigned(self.patch_size as u64));
        put("clip.text.context_length", Value::Unsigned(self.context as u64));
        for (name, t) in [("vision", &self.vision), ("text", &self.text)] {
            let mut put = |key: &str, value: Value| put(&format!("clip.{name}.{key}"), value);
            put("embedding_length", Value::Unsigned(t.width as u64));
            put("feed_forward_length", Value::Unsigned(t.mlp as u64));
            put("block_count", Value::Unsigned(t.layers as u64));
            put("projection_dim", Value::Unsigned(self.embed_dim as u64));
            put("attention.head_count", Value::Unsigned(t.heads as u64));
            put("attention.layer_norm_epsilon", Value::Float(f64::from(t.epsilon)));
        }
        keys
    }
}

/// A guess at what a file without our tensors is.
fn what_it_is(checkpoint: &Checkpoint) -> String {
    let has = |part: &str| checkpoint.tensors().keys().any(|n| n.contains(part));
    let name = if has("vision_model.head.attention") {
        "SigLIP, which pools differently"
    } else if has("visual.layer1.") || has("visual.attnpool") {
        "a CLIP with a ResNet"
    } else if has("visual.transformer.resblocks") {
        "OpenAI's or OpenCLIP's tensor names, which are not read yet"
    } else if has("v.blk.") || has("t.blk.") {
        "clip.cpp's tensor names, which are not read yet"
    } else if has("text_model.encoder") {
        "a text encoder alone"
    } else if has("vision_model.encoder") {
        "an image tower alone"
    } else {
        "another kind of model"
    };
    format!("this looks like {name}")
}

#[derive(Deserialize)]
struct HfConfig {
    text_config: HfTower,
    vision_config: HfTower,
}

#[derive(Deserialize)]
struct HfTower {
    num_attention_heads: Option<usize>,
    layer_norm_eps: Option<f32>,
    hidden_act: Option<String>,
}
