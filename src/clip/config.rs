//! The geometry of a `CLIPModel`: from the tensors' shapes, and what these cannot tell from our GGUF's keys or from Hugging Face's
//! `config.json`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Sidecars;
use crate::pixels::normalise::{MEAN, STD};
use crate::weights::names::{ACTIVATION_CLASS, OPENAI_MARK};
use crate::weights::{Checkpoint, Naming, Value, WeightsError};

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

    /// From the shapes of its tensors, and its own keys or else the configuration beside it. A file with OpenAI's names needs neither: its heads
    /// are as wide as in all models that go by these names, and its activation may be known by what else OpenAI's archive holds.
    ///
    /// # Errors
    /// When the file holds no such model, the sizes contradict each other, or nothing says what shapes cannot tell: a wrong guess
    /// at the heads or the activation gives wrong scores in silence.
    pub fn of(checkpoint: &Checkpoint, sidecars: &Sidecars) -> Result<Self, WeightsError> {
        let mut config = Self::from_shapes(checkpoint)?;
        let mut activation = sidecars.activation;
        if checkpoint.metadata.contains_key("clip.vision.image_size") {
            config.read_keys(&checkpoint.metadata)?;
        } else if let Some(json) = &sidecars.config {
            config.read_json(json)?;
        } else if checkpoint.naming() == Naming::OpenAi {
            config.take_open_ai_heads()?;
            activation = activation.or_else(|| known_activation(&checkpoint.metadata));
            if activation.is_none() {
                let message = "activation: nothing in the file says whether it is quick-gelu (OpenAI's weights and OpenCLIP's models \
                               named so) or gelu (OpenCLIP's others); expected an open_clip_config.json beside it (on the command line also --activation)";
                return Err(WeightsError::NotClip(message.into()));
            }
        } else {
            let message = "heads and activation: expected keys in the file or a config.json beside it, got neither";
            return Err(WeightsError::NotClip(message.into()));
        }
        config.activation = activation.unwrap_or(config.activation);
        config.check()?;
        config.check_layers(checkpoint)?;
        Ok(config)
    }

    /// Heads where only shapes are known: 64 wide, as OpenAI's `build_model` (`clip/model.py`) has it and OpenCLIP by default. OpenCLIP's image
    /// towers wider than 1024 have 16 instead (its model configurations ViT-H-14, ViT-g-14, ViT-bigG-14, ViT-e-14).
    fn take_open_ai_heads(&mut self) -> Result<(), WeightsError> {
        for (name, tower) in [("vision", &mut self.vision), ("text", &mut self.text)] {
            tower.heads = match (name, tower.width) {
                ("vision", 1280 | 1408 | 1664 | 1792) => 16,
                (_, width) if width.is_multiple_of(64) && (name == "text" || width <= 1024) => width / 64,
                (_, width) => {
                    let message = format!(
                        "{name} heads: width {width} is none of OpenAI's or OpenCLIP's; expected an open_clip_config.json beside it"
                    );
                    return Err(WeightsError::NotClip(message));
                }
            };
            tower.epsilon = 1e-5;
        }
        Ok(())
    }

    /// What shapes tell. Heads, epsilon and activation are left for [`Config::of`] to fill in.
    pub(super) fn from_shapes(checkpoint: &Checkpoint) -> Result<Self, WeightsError> {
        if let Some(other) = unusable(checkpoint) {
            return Err(WeightsError::NotClip(format!("it is {other}")));
        }
        let shape = |name: &str, axes: usize| match checkpoint.shape(name) {
            Some(s) if s.len() == axes || (axes == 4 && s.len() == 2) => Ok(s.to_vec()),
            Some(s) => Err(WeightsError::NotClip(format!("tensor {name} has shape {s:?}, expected {axes} axes"))),
            None => Err(WeightsError::NotClip(format!("it has no tensor {name}"))),
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
        for (key, expected) in [("clip.vision.image_mean", MEAN), ("clip.vision.image_std", STD)] {
            if let Some(Value::Floats(got)) = keys.get(key) {
                check_pixels(key, expected, got)?;
            }
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

    /// Hugging Face's `config.json`, or OpenCLIP's `open_clip_config.json`.
    fn read_json(&mut self, json: &str) -> Result<(), WeightsError> {
        let unusable = |e: serde_json::Error| WeightsError::NotClip(format!("its configuration is not usable: {e}"));
        let config: HfConfig = match serde_json::from_str(json).map_err(unusable)? {
            AnyConfig::HuggingFace(config) => config,
            AnyConfig::OpenClip { model_cfg, preprocess_cfg } => {
                for (key, expected, got) in [("mean", MEAN, preprocess_cfg.mean), ("std", STD, preprocess_cfg.std)] {
                    got.map_or(Ok(()), |got| check_pixels(&format!("preprocess_cfg.{key}"), expected, &got))?;
                }
                return self.read_open_clip(&model_cfg);
            }
            AnyConfig::OpenClipModel(model) => return self.read_open_clip(&model),
            AnyConfig::Other {} => {
                let message =
                    "its configuration: expected vision_config and text_config, or OpenCLIP's model_cfg, got neither";
                return Err(WeightsError::NotClip(message.into()));
            }
        };
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

    /// OpenCLIP's `CLIPVisionCfg` and `CLIPTextCfg` (`open_clip/model.py`), whose defaults these are.
    fn read_open_clip(&mut self, model: &OpenClipModel) -> Result<(), WeightsError> {
        for (side, tower, changes) in
            [("vision_cfg", &model.vision_cfg, VISION_CHANGES), ("text_cfg", &model.text_cfg, TEXT_CHANGES)]
        {
            for &(key, plain) in changes {
                let got = tower.other.get(key).unwrap_or(&serde_json::Value::Null);
                if !(got.is_null() || got == &serde_json::Value::Bool(false) || got.as_str() == Some(plain)) {
                    return Err(WeightsError::NotClip(format!("{side}.{key}: expected a plain CLIP, got {got}")));
                }
            }
        }
        let (vision, text) = (&model.vision_cfg, &model.text_cfg);
        let head_width = vision.head_width.unwrap_or(64);
        if head_width == 0 || !self.vision.width.is_multiple_of(head_width) {
            let message =
                format!("vision_cfg.head_width: expected a divisor of {}, got {head_width}", self.vision.width);
            return Err(WeightsError::NotClip(message));
        }
        self.vision.heads = self.vision.width / head_width;
        self.text.heads = text.heads.unwrap_or(8);
        let epsilon = |tower: &OpenClipTower| tower.norm_kwargs.as_ref().and_then(|norm| norm.eps).unwrap_or(1e-5);
        (self.vision.epsilon, self.text.epsilon) = (epsilon(vision), epsilon(text));
        self.activation = if model.quick_gelu { Activation::QuickGelu } else { Activation::Gelu };
        Ok(())
    }

    /// No layer is left out because one before it is missing, and nothing in the towers is passed over that would change their answer.
    fn check_layers(&self, checkpoint: &Checkpoint) -> Result<(), WeightsError> {
        const PARTS: [&str; 8] = [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.out_proj",
            "layer_norm1",
            "layer_norm2",
            "mlp.fc1",
            "mlp.fc2",
        ];
        for name in checkpoint.tensors().keys() {
            for (tower, layers) in [("vision_model", self.vision.layers), ("text_model", self.text.layers)] {
                let Some(inside) = name.strip_prefix(tower).and_then(|name| name.strip_prefix(".encoder.layers."))
                else {
                    continue;
                };
                let (i, part) = inside.split_once('.').unwrap_or((inside, ""));
                if !i.parse::<usize>().is_ok_and(|i| i < layers) {
                    let message = format!("tensor {name}: expected layers 0 to {} without a gap", layers - 1);
                    return Err(WeightsError::NotClip(message));
                }
                // what our own GGUF keeps beside a rounded matrix is named after it: "mlp.fc1.weight.exact_inputs"
                let part = part.split(".exact_").next().unwrap_or(part);
                let known = part
                    .rsplit_once('.')
                    .is_some_and(|(p, kind)| PARTS.contains(&p) && ["weight", "bias"].contains(&kind));
                if !known {
                    return Err(WeightsError::NotClip(format!("tensor {name}: expected none of this name in a layer")));
                }
            }
            let foreign =
                ["visual.", "transformer.", "text.", "v.", "t."].iter().any(|prefix| name.starts_with(prefix));
            if foreign && checkpoint.naming() != Naming::HuggingFace {
                let message = format!("tensor {name}: expected none of this name, or of another shape");
                return Err(WeightsError::NotClip(message));
            }
        }
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

/// What the file itself says about its activation: the class of the layer in a TorchScript archive, else a mark that only OpenAI's weights
/// have, which are all of quick GELU.
fn known_activation(metadata: &BTreeMap<String, Value>) -> Option<Activation> {
    match metadata.get(ACTIVATION_CLASS).and_then(Value::as_text) {
        Some("QuickGELU") => Some(Activation::QuickGelu),
        Some(_) => Some(Activation::Gelu),
        None => metadata.contains_key(OPENAI_MARK).then_some(Activation::QuickGelu),
    }
}

/// Pixels are normalised in one way only, CLIP's.
fn check_pixels(name: &str, expected: [f32; 3], got: &[f64]) -> Result<(), WeightsError> {
    // files have five digits or more of these
    let close = got.len() == 3 && expected.iter().zip(got).all(|(e, g)| (f64::from(*e) - g).abs() < 1e-3);
    if close {
        Ok(())
    } else {
        Err(WeightsError::NotClip(format!("{name}: expected CLIP's {expected:?}, got {got:?}")))
    }
}

/// What a file is that goes by the name of CLIP, or lies beside such files, and cannot be used here; nothing for what may be one.
fn unusable(checkpoint: &Checkpoint) -> Option<String> {
    let has = |part: &str| checkpoint.tensors().keys().any(|n| n.contains(part));
    let key = |key: &str| checkpoint.metadata.get(key);
    let no = |name: &str| key(name) == Some(&Value::Bool(false));
    let image = ["vision_model.embeddings.", "vision_model.encoder.", "visual.", "v.blk.", "v.patch_embd"]
        .iter()
        .any(|&n| has(n));
    let named =
        if has("mm.") || key("clip.projector_type").is_some() || has("mm_projector") || has("multi_modal_projector") {
            "the image part of a language model (an mmproj file), which has no text tower"
        } else if has("vision_model.head.") || has("visual.trunk.attn_pool.") || has("v.head.") {
            "SigLIP, whose pooling and scores are of another kind"
        } else if has("model.diffusion_model.") || has("first_stage_model.") {
            "a whole diffusion model; its text encoder is no use without an image tower"
        } else if has("visual.layer1.") || has("visual.attnpool.") {
            "a CLIP with a ResNet; only those with a vision transformer (ViT) are read"
        } else if has("visual.trunk.") {
            "a CLIP with an image tower of timm; only plain vision transformers (ViT) are read"
        } else if has("visual.blocks.") {
            "EVA-CLIP, whose image tower is of another kind"
        } else if has("text_decoder.") || has("visual.attn_pool.") {
            "CoCa, whose towers are of another kind"
        } else if has("text_model.embeddings.token_type")
            || has("text.transformer.encoder.")
            || has("text.transformer.embeddings.")
        {
            "a CLIP whose text tower is not CLIP's"
        } else if !image && (has("text_model.encoder.") || has("transformer.resblocks.")) {
            "a text encoder alone, as diffusion models have (clip_l, clip_g); it has no image tower"
        } else if (no("clip.has_vision_encoder") || !image) && has("t.blk.") {
            "a text tower alone"
        } else if has("v.blk.") && !has("t.blk.")
            || has("vision_model.encoder.") && !has("text_model.encoder.")
            || has("visual.transformer.") && !has(".resblocks.") && !has("text_model.encoder.")
        {
            "an image tower alone; it has no text tower"
        } else if !image {
            return Some(match key("general.architecture").and_then(Value::as_text) {
                Some(architecture) if architecture != "clip" => {
                    format!("another kind of model, {:?}", architecture.chars().take(40).collect::<String>())
                }
                _ => "another kind of model: none of its tensors is named as a CLIP's".into(),
            });
        } else {
            return None;
        };
    Some(named.into())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AnyConfig {
    HuggingFace(HfConfig),
    OpenClip {
        model_cfg: OpenClipModel,
        #[serde(default)]
        preprocess_cfg: OpenClipPixels,
    },
    OpenClipModel(OpenClipModel),
    Other {},
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

#[derive(Deserialize)]
struct OpenClipModel {
    #[serde(default)]
    quick_gelu: bool,
    vision_cfg: OpenClipTower,
    text_cfg: OpenClipTower,
}

#[derive(Deserialize)]
struct OpenClipTower {
    head_width: Option<usize>,
    heads: Option<usize>,
    norm_kwargs: Option<OpenClipNorm>,
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct OpenClipNorm {
    eps: Option<f32>,
}

#[derive(Default, Deserialize)]
struct OpenClipPixels {
    mean: Option<Vec<f64>>,
    std: Option<Vec<f64>>,
}

/// Settings by which OpenCLIP's image tower becomes another one, each with the word that leaves it as it is.
const VISION_CHANGES: &[(&str, &str)] = &[
    ("timm_model_name", ""),
    ("attentional_pool", ""),
    ("no_ln_pre", ""),
    ("pool_type", "tok"),
    ("act_kwargs", ""),
    ("ls_init_value", ""),
    ("block_type", "default"),
    ("qk_norm", ""),
    ("scaled_cosine_attn", ""),
    ("scale_heads", ""),
    ("scale_attn_inner", ""),
    ("scale_attn", ""),
    ("scale_fc", ""),
];

/// The same for its text tower.
const TEXT_CHANGES: &[(&str, &str)] = &[
    ("hf_model_name", ""),
    ("hf_tokenizer_name", ""),
    ("tokenizer_kwargs", ""),
    ("embed_cls", ""),
    ("no_causal_mask", ""),
    ("pool_type", "argmax"),
    ("proj_bias", ""),
    ("proj_type", "linear"),
    ("act_kwargs", ""),
    ("ls_init_value", ""),
    ("block_type", "default"),
    ("qk_norm", ""),
    ("scaled_cosine_attn", ""),
    ("scale_heads", ""),
    ("scale_attn_inner", ""),
    ("scale_attn", ""),
    ("scale_fc", ""),
];
