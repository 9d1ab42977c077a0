//! The model files of `tests/reference/files`, each made by the public tool that writes such files (`tests/reference/files.py`), with what
//! open_clip or transformers answered.
#![allow(dead_code)] // each test takes from here what it needs

use std::io::Read;
use std::path::Path;

use oddlens::clip::{Activation, Sidecars};
use oddlens::weights::Checkpoint;
use serde::Deserialize;

use super::random_clip;

/// A file and what is expected of it.
#[derive(Debug, Deserialize)]
pub struct Case {
    pub file: String,
    seed: u64,
    image_size: usize,
    /// Rows of its token embedding.
    pub rows: u64,
    images: usize,
    text_lengths: Vec<usize>,
    /// Of the image tower and of the text tower.
    pub heads: [usize; 2],
    /// "quick-gelu" or "gelu".
    pub activation: String,
    /// What Hugging Face's or OpenCLIP's configuration beside it holds.
    config: Option<serde_json::Value>,
    pub image_embeddings: Vec<Vec<f32>>,
    pub text_embeddings: Vec<Vec<f32>>,
}

/// All of them.
pub fn cases() -> Vec<Case> {
    #[derive(Deserialize)]
    struct File {
        cases: Vec<Case>,
    }
    let file: File = serde_json::from_str(include_str!("../reference/files.json")).expect("tests/reference/files.json");
    file.cases
}

/// A file of `tests/reference/files`.
pub fn unpack(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/files");
    let packed = std::fs::read(folder.join(format!("{name}.gz"))).expect("a file of tests/reference/files");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("gzip");
    bytes
}

impl Case {
    /// The file itself.
    pub fn bytes(&self) -> Vec<u8> {
        unpack(&self.file)
    }

    /// All pictures, one after the other.
    pub fn pixels(&self) -> Vec<f32> {
        (0..self.images).flat_map(|n| random_clip::image(self.seed, n, self.image_size)).collect()
    }

    /// All texts, as rows of the token embedding.
    pub fn texts(&self) -> Vec<Vec<u32>> {
        self.text_lengths.iter().enumerate().map(|(n, &len)| random_clip::text(self.seed, n, len, self.rows)).collect()
    }

    /// What lies beside the file, and ids for its rows, which are far fewer than CLIP's.
    pub fn sidecars(&self) -> Sidecars {
        let rows = self.rows as i64;
        let ids = [-1].into_iter().chain(0..rows - 3).chain([49406, 49407]).collect();
        // nothing in OpenAI's weights themselves tells their activation, unless they come in OpenAI's archive
        let untold = self.file == "openai-f16.safetensors" || self.file == "open-clip-f32.pt";
        Sidecars {
            config: self.config.as_ref().map(|config| config.to_string()),
            merges: Some(merges()),
            token_ids: Some(ids),
            activation: untold.then(|| self.activation()),
            vocabulary: None,
        }
    }

    pub fn activation(&self) -> Activation {
        if self.activation == "gelu" { Activation::Gelu } else { Activation::QuickGelu }
    }
}

/// The merge rules that the embedded model carries.
pub fn merges() -> Vec<String> {
    let file = Checkpoint::read(&include_bytes!("../../weights/mini.gguf")[..]).expect("the embedded model");
    file.metadata["tokenizer.ggml.merges"].as_texts().expect("texts").to_vec()
}
