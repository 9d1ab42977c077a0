//! CLIP models with weights made from nothing, the same as those that `tests/reference/clip.py` ran through
//! transformers; the generator, the rules of scale and the planted channels are explained in that script. It knows
//! names and shapes of Hugging Face tensors, and nothing of the code under test.
#![allow(dead_code)] // each test takes from here what it needs

use serde::Deserialize;

/// One model of `tests/reference/clip.json` with the answers expected of it.
#[derive(Debug, Deserialize)]
pub struct Case {
    pub name: String,
    pub seed: u64,
    /// "initial" or "strong": which deviations the weights have.
    pub weights: String,
    /// Whether four channels of each residual stream are made 50 times larger (see [`planted`]).
    pub planted: bool,
    /// What a `config.json` beside the weights would hold (`CLIPConfig`).
    pub config: serde_json::Value,
    /// How many pictures; picture `n` is [`Case::image`].
    images: usize,
    /// Lengths of the texts, markers included; text `n` is [`Case::text`].
    pub text_lengths: Vec<usize>,
    /// One unit vector a picture.
    pub image_embeddings: Vec<Vec<f32>>,
    /// One unit vector a text.
    pub text_embeddings: Vec<Vec<f32>>,
    weight_bits_sum: String,
    pixel_bits_sum: String,
    token_sum: u64,
    samples: Vec<Sample>,
}

/// A single weight as Python made it.
#[derive(Debug, Deserialize)]
struct Sample {
    name: String,
    shape: Vec<usize>,
    index: usize,
    bits: u32,
}

/// All cases: each geometry with both kinds of weights, plain and planted. "vit-b-32" has 151 million weights (600 MB); the others are tiny.
pub fn cases() -> Vec<Case> {
    #[derive(Deserialize)]
    struct File {
        cases: Vec<Case>,
    }
    let file: File = serde_json::from_str(include_str!("../reference/clip.json")).expect("tests/reference/clip.json");
    file.cases
}

/// The case of that name.
pub fn case(name: &str, weights: &str, planted: bool) -> Case {
    cases()
        .into_iter()
        .find(|c| c.name == name && c.weights == weights && c.planted == planted)
        .expect("a case of tests/reference/clip.json")
}

impl Case {
    fn number(&self, side: &str, key: &str) -> usize {
        self.config[side][key].as_u64().unwrap_or_else(|| panic!("{side}.{key} in the config")) as usize
    }

    /// Name and shape of every tensor of the checkpoint, in no particular order.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let projection = self.config["projection_dim"].as_u64().expect("projection_dim in the config") as usize;
        let mut out = vec![("logit_scale".to_owned(), vec![])];
        for (side, tower, head) in
            [("vision_config", "vision_model", "visual_projection"), ("text_config", "text_model", "text_projection")]
        {
            let width = self.number(side, "hidden_size");
            let mlp = self.number(side, "intermediate_size");
            out.push((format!("{head}.weight"), vec![projection, width]));
            let mut add = |name: String, shape: &[usize]| out.push((format!("{tower}.{name}"), shape.to_vec()));
            let mut norms: Vec<String>;
            if side == "vision_config" {
                let patch = self.number(side, "patch_size");
                let grid = self.number(side, "image_size") / patch;
                add("embeddings.class_embedding".into(), &[width]);
                add("embeddings.patch_embedding.weight".into(), &[width, 3, patch, patch]);
                add("embeddings.position_embedding.weight".into(), &[grid * grid + 1, width]);
                norms = vec!["pre_layrnorm".into(), "post_layernorm".into()];
            } else {
                add("embeddings.token_embedding.weight".into(), &[self.number(side, "vocab_size"), width]);
                let context = self.number(side, "max_position_embeddings");
                add("embeddings.position_embedding.weight".into(), &[context, width]);
                norms = vec!["final_layer_norm".into()];
            }
            for i in 0..self.number(side, "num_hidden_layers") {
                let layer = format!("encoder.layers.{i}");
                for (linear, o, n) in [
                    ("self_attn.q_proj", width, width),
                    ("self_attn.k_proj", width, width),
                    ("self_attn.v_proj", width, width),
                    ("self_attn.out_proj", width, width),
                    ("mlp.fc1", mlp, width),
                    ("mlp.fc2", width, mlp),
                ] {
                    add(format!("{layer}.{linear}.weight"), &[o, n]);
                    add(format!("{layer}.{linear}.bias"), &[o]);
                }
                norms.extend([format!("{layer}.layer_norm1"), format!("{layer}.layer_norm2")]);
            }
            for norm in norms {
                add(format!("{norm}.weight"), &[width]);
                add(format!("{norm}.bias"), &[width]);
            }
        }
        out
    }

    /// The weights of one tensor, row-major; channels planted where the case says so.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        let mut values = self.unplanted(name, shape);
        if self.planted {
            planted(name, shape, &mut values);
        }
        values
    }

    fn unplanted(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        if name == "logit_scale" {
            return vec![100f64.ln() as f32];
        }
        let (mean, std) = match self.weights.as_str() {
            "initial" => {
                let side = if name.starts_with("vision") { "vision_config" } else { "text_config" };
                initial_mean_and_std(name, shape, self.number(side, "num_hidden_layers"))
            }
            "strong" => strong_mean_and_std(name, shape),
            other => panic!("weights of kind {other}"),
        };
        let key = key(self.seed, name);
        (0..shape.iter().product()).map(|i| (mean + std * normal(key, i)) as f32).collect()
    }

    /// The checkpoint as the bytes of a float32 safetensors file.
    pub fn safetensors(&self) -> Vec<u8> {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (name, shape) in self.shapes() {
            let start = data.len();
            for v in self.tensor(&name, &shape) {
                data.extend_from_slice(&v.to_le_bytes());
            }
            let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
            header.insert(name, entry);
        }
        let mut header = serde_json::to_vec(&header).expect("a map with string keys is JSON");
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.append(&mut header);
        file.append(&mut data);
        file
    }

    /// Side of the pictures, in pixels.
    pub fn image_size(&self) -> usize {
        self.number("vision_config", "image_size")
    }

    /// Pixels of picture `n`, `[3, s, s]`, as they enter the patch convolution (already normalised).
    pub fn image(&self, n: usize) -> Vec<f32> {
        image(self.seed, n, self.image_size())
    }

    /// Number of pictures.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Rows of the token table for text `n`: start marker, body, end marker; not padded.
    pub fn text(&self, n: usize) -> Vec<u32> {
        text(self.seed, n, self.text_lengths[n], self.number("text_config", "vocab_size") as u64)
    }
}

/// Picture `n` of side `s`, `[3, s, s]`.
pub fn image(seed: u64, n: usize, s: usize) -> Vec<f32> {
    let key = key(seed, &format!("image.{n}"));
    let mut out = Vec::with_capacity(3 * s * s);
    for c in 0..3 {
        for y in 0..s {
            for x in 0..s {
                let cell = 3 + c * 64 + (y * 8 / s) * 8 + x * 8 / s;
                let v = 0.8 * normal(key, c) + 0.6 * normal(key, cell) + 0.3 * normal(key, 195 + (c * s + y) * s + x);
                out.push(v as f32);
            }
        }
    }
    out
}

/// Text `n` of `length` tokens, markers included, in a table of `rows`.
pub fn text(seed: u64, n: usize, length: usize, rows: u64) -> Vec<u32> {
    let key = key(seed, &format!("text.{n}"));
    let body = (0..length - 2).map(|i| draw(key, i) % (rows - 2));
    std::iter::once(rows - 2).chain(body).chain([rows - 1]).map(|t| t as u32).collect()
}

/// Makes the planted channels of a tensor 50 times larger if it writes to the residual stream.
pub fn planted(name: &str, shape: &[usize], values: &mut [f32]) {
    let has = |parts: &[&str]| parts.iter().any(|p| name.contains(p));
    // seen as [.., width, run]: channel j is every run number j, counted modulo the width
    let (width, run) = if has(&["class_embedding", "token_embedding", "position_embedding"]) {
        (shape[shape.len() - 1], 1)
    } else if has(&["patch_embedding", "out_proj", "fc2"]) {
        (shape[0], shape[1..].iter().product())
    } else {
        return;
    };
    for (j, run) in values.chunks_exact_mut(run).enumerate() {
        if planted_channels(width).contains(&(j % width)) {
            run.iter_mut().for_each(|v| *v *= 50.0);
        }
    }
}

/// Which channels of a residual stream of that width are planted.
pub fn planted_channels(width: usize) -> [usize; 4] {
    [0, 1, 2, 3].map(|k| width * (2 * k + 1) / 8 + k)
}

fn initial_mean_and_std(name: &str, shape: &[usize], layers: usize) -> (f64, f64) {
    let has = |parts: &[&str]| parts.iter().any(|p| name.contains(p));
    let root = |x: usize| (x as f64).sqrt();
    match () {
        _ if has(&["norm"]) && name.ends_with(".weight") => (1.0, 0.0),
        _ if name.ends_with(".bias") => (0.0, 0.0),
        _ if has(&["class_embedding"]) => (0.0, 1.0 / root(shape[0])),
        _ if has(&["_embedding"]) => (0.0, 0.02),
        _ if has(&["q_proj", "k_proj", "v_proj", "fc2"]) => (0.0, 1.0 / root(2 * shape[0] * layers)),
        _ if has(&["fc1"]) => (0.0, 1.0 / root(2 * shape[1])),
        _ => (0.0, 1.0 / root(shape[1])),
    }
}

fn strong_mean_and_std(name: &str, shape: &[usize]) -> (f64, f64) {
    let has = |parts: &[&str]| parts.iter().any(|p| name.contains(p));
    let root = (shape[1..].iter().product::<usize>() as f64).sqrt();
    match () {
        _ if has(&["norm"]) && name.ends_with(".weight") => (1.0, 0.1),
        _ if name.ends_with(".bias") => (0.0, 0.05),
        _ if has(&["class_embedding", "token_embedding"]) => (0.0, 0.3),
        _ if has(&["position_embedding"]) => (0.0, 0.1),
        _ if has(&["patch_embedding"]) => (0.0, 0.5 / root),
        _ if has(&["q_proj", "k_proj"]) => (0.0, 1.5 / root),
        _ if has(&["out_proj", "fc2"]) => (0.0, 0.6 / root),
        _ => (0.0, 1.0 / root),
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn key(seed: u64, name: &str) -> u64 {
    let fnv1a = |h: u64, &byte: &u8| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    mix(seed) ^ name.as_bytes().iter().fold(0xCBF2_9CE4_8422_2325, fnv1a)
}

fn draw(key: u64, i: usize) -> u64 {
    mix(key.wrapping_add((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

fn normal(key: u64, i: usize) -> f64 {
    let d = draw(key, i);
    let total = [0, 16, 32, 48].iter().map(|shift| ((d >> shift) & 0xFFFF) as i64).sum::<i64>();
    (total - 131_070) as f64 / 37837.0
}

/// Compares weights, pixels and tokens of a case with what Python had.
pub fn assert_same_as_python(case: &Case) {
    let add = |sum: u64, v: &f32| sum.wrapping_add(u64::from(v.to_bits()));
    for s in &case.samples {
        let v = case.tensor(&s.name, &s.shape)[s.index];
        assert_eq!(v.to_bits(), s.bits, "{} {}[{}]: expected {}", case.name, s.name, s.index, f32::from_bits(s.bits));
    }
    let weights = case.shapes().iter().fold(0, |sum, (name, shape)| case.tensor(name, shape).iter().fold(sum, add));
    assert_eq!(weights.to_string(), case.weight_bits_sum, "{}: sum over the bits of all weights", case.name);
    let pixels = (0..case.images).fold(0, |sum, n| case.image(n).iter().fold(sum, add));
    assert_eq!(pixels.to_string(), case.pixel_bits_sum, "{}: sum over the bits of all pixels", case.name);
    let tokens = (0..case.text_lengths.len()).flat_map(|n| case.text(n)).map(u64::from).sum::<u64>();
    assert_eq!(tokens, case.token_sum, "{}: sum of all tokens", case.name);
}
