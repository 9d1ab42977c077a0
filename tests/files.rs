//! Model files in every form in which people have CLIPs: what they answer, what they say when they are broken, what they cost.

mod common {
    pub mod files;
    pub mod memory;
    pub mod random_clip;
}

use std::borrow::Cow;
use std::cell::Cell;
use std::io::Cursor;
use std::ops::Range;
use std::rc::Rc;

use common::files::{Case, cases};
use common::memory;
use oddlens::clip::{Clip, Compute, Config, Encoder, Sidecars};
use oddlens::embedding::{Embeddings, cosine};
use oddlens::weights::gguf::{self, OutTensor};
use oddlens::weights::source::Seekable;
use oddlens::weights::{Checkpoint, DType, Source, Value, WeightsError, convert};

/// The smallest cosine between what the model says and the reference: (images, texts).
fn worst(case: &Case, clip: &Clip) -> (f32, f32) {
    let least = |got: Embeddings, want: &[Vec<f32>]| {
        assert_eq!(got.len(), want.len());
        got.rows().zip(want).map(|(g, w)| cosine(g, w)).fold(f32::INFINITY, f32::min)
    };
    (
        least(clip.embed_pixels(&case.pixels()).expect("pictures"), &case.image_embeddings),
        least(clip.embed_rows(&case.texts()).expect("texts"), &case.text_embeddings),
    )
}

/// Files of 4 and 5 bits are held against their own numbers, not against those they were made from.
#[test]
fn embeddings_are_those_of_the_reference() {
    for case in cases() {
        let checkpoint = Checkpoint::read(case.bytes()).unwrap_or_else(|e| panic!("{}: {e}", case.file));
        let check = |checkpoint: &Checkpoint, sidecars: &Sidecars, compute, how: &str, least| {
            let clip = Clip::new(checkpoint, sidecars, compute).unwrap_or_else(|e| panic!("{}: {e}", case.file));
            let config = clip.config();
            assert_eq!([config.vision.heads, config.text.heads], case.heads, "{}", case.file);
            assert_eq!(config.activation, case.activation(), "{}", case.file);
            let (images, texts) = worst(&case, &clip);
            println!("{}, {how}: images {images:.7}, texts {texts:.7}", case.file);
            assert!(images >= least && texts >= least, "{}, {how}: images {images}, texts {texts}", case.file);
        };
        let sidecars = case.sidecars();
        check(&checkpoint, &sidecars, Compute::F32, "f32", 0.999_99);
        check(&checkpoint, &sidecars, Compute::Q8, "8 bits", 0.999_5);
        let additions = oddlens::clip::gguf_additions(&checkpoint, &sidecars, true).expect("a CLIP");
        let gguf = convert::to_gguf(&checkpoint, additions, convert::Quant::Q8).expect("finite weights");
        let converted = Checkpoint::read(gguf).expect("our own file");
        check(&converted, &Sidecars::default(), Compute::Q8, "8 bits through GGUF", 0.999_5);
    }
}

/// A file that counts what is read of it.
struct Counted(Vec<u8>, Rc<Cell<u64>>);

impl Source for Counted {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
        self.1.set(self.1.get() + range.end - range.start);
        let bytes = self.0.read(range)?;
        Ok(Cow::Owned(bytes.into_owned()))
    }
}

/// Wherever a file lies, it is the same; and of its tensors nothing is read before it is asked for.
#[test]
fn files_are_read_where_they_lie() {
    for case in cases() {
        let bytes = case.bytes();
        let whole = Checkpoint::read(bytes.clone()).expect("a model");
        let read = Rc::new(Cell::new(0));
        let lazy = Checkpoint::open(Counted(bytes.clone(), read.clone())).expect("a model");
        let tensors: u64 = whole.tensors().values().map(|t| t.bytes()).sum();
        let head = bytes.len() as u64 - tensors;
        // a header is fetched in windows, an archive's directory, too; local headers again for each entry
        assert!(read.get() <= 2 * head + (1 << 17) || read.get() <= 1 << 20, "{}: {}, {head}", case.file, read.get());
        let sought = Checkpoint::open(Seekable::new(Cursor::new(bytes)).expect("a length")).expect("a model");
        assert_eq!(whole.tensors(), lazy.tensors(), "{}", case.file);
        assert_eq!((&whole.metadata, whole.naming()), (&sought.metadata, sought.naming()), "{}", case.file);
        for (name, info) in whole.tensors() {
            let before = read.get();
            let values = whole.f32(name, &info.shape).expect("finite");
            assert_eq!(values, lazy.f32(name, &info.shape).expect("finite"), "{name}");
            assert_eq!(values, sought.f32(name, &info.shape).expect("finite"), "{name}");
            assert_eq!(read.get() - before, info.bytes(), "{name}");
        }
    }
}

/// A file of which a part is still to come.
struct Coming {
    bytes: Vec<u8>,
    missing: Range<u64>,
}

impl Source for Coming {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn has_come(&self, range: &Range<u64>) -> bool {
        range.end <= self.missing.start || range.start >= self.missing.end
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
        assert!(self.has_come(&range), "{range:?} of {:?}", self.missing);
        self.bytes.read(range)
    }
}

/// The front of an archive and its end tell where its tensors will be.
#[test]
fn archives_are_foretold() {
    let archives: Vec<_> = cases().into_iter().filter(|case| case.bytes().starts_with(b"PK")).collect();
    assert_eq!(archives.len(), 4);
    for case in archives {
        let bytes = case.bytes();
        let missing = 1 << 15..bytes.len() as u64 - (100 << 10);
        let whole = Checkpoint::read(bytes.clone()).expect("a model");
        let coming = Checkpoint::open(Coming { bytes, missing: missing.clone() }).expect("a model");
        assert_eq!(whole.tensors(), coming.tensors(), "{}", case.file);
        assert_eq!((&whole.metadata, whole.naming()), (&coming.metadata, coming.naming()), "{}", case.file);
        let foretold =
            whole.tensors().values().filter(|t| t.range.start >= missing.start && t.range.end <= missing.end);
        assert!(foretold.count() > 20, "{}", case.file);
    }
}

/// Small files, one of each form.
fn tiny() -> Vec<(&'static str, Vec<u8>)> {
    ["tiny-clip-cpp-q5_1.gguf", "tiny-open-clip.safetensors", "tiny-open-clip.pt", "tiny-openai-jit.pt"]
        .map(|name| (name, common::files::unpack(name)))
        .into()
}

/// Their heads, which are narrower than any real model's.
const CONFIGURATION: &str = r#"{"vision_cfg":{"head_width":4},"text_cfg":{"heads":2}}"#;

/// What a file says when it is loaded; everything it says is one line of some length.
fn load(bytes: &[u8], rows: i64) -> Result<Clip, String> {
    let ids = [-1].into_iter().chain(0..rows - 3).chain([49406, 49407]).collect();
    let sidecars = Sidecars {
        token_ids: Some(ids),
        activation: Some(oddlens::clip::Activation::Gelu),
        merges: Some(merges().clone()),
        config: Some(CONFIGURATION.into()),
        vocabulary: None,
    };
    let said = |error: String| {
        assert!(!error.contains('\n') && (10..700).contains(&error.len()), "{error}");
        error
    };
    let checkpoint = Checkpoint::read(bytes.to_vec()).map_err(|e| said(e.to_string()))?;
    Config::of(&checkpoint, &sidecars).map_err(|e| said(e.to_string()))?;
    Clip::new(&checkpoint, &sidecars, Compute::Q8).map_err(|e| said(e.to_string()))
}

fn merges() -> &'static Vec<String> {
    static MERGES: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    MERGES.get_or_init(common::files::merges)
}

/// A download that was cut anywhere is refused when its table is read, before any model is built.
#[test]
fn every_truncation_is_refused() {
    for (name, bytes) in tiny() {
        load(&bytes, 5).unwrap_or_else(|e| panic!("{name}: {e}"));
        for len in 0..bytes.len() {
            let read = Checkpoint::read(bytes[..len].to_vec());
            // what is cut off at the end may be nothing but padding, or a zip's comment
            assert!(read.is_err(), "{name}, {len} of {}", bytes.len());
        }
    }
}

/// Wherever a byte or a word is changed, there is a model or one line of error, with no panic, in little time and memory.
#[test]
fn no_changed_byte_panics() {
    for (name, bytes) in tiny() {
        let begin = std::time::Instant::now();
        let mut broken = bytes.clone();
        let mut read = 0;
        for at in 0..bytes.len() {
            // the larger files have code or tensors almost everywhere
            let spare = if bytes.len() > 20_000 { 11 } else { 3 };
            if at % spare != 0 {
                continue;
            }
            for change in
                [&[0x00][..], &[0x01], &[0x7f], &[0x80], &[0xff], &[0xff; 4], &[0xff; 8], &[0, 0, 0, 0x80], &[0; 8]]
            {
                let end = (at + change.len()).min(bytes.len());
                broken[at..end].copy_from_slice(&change[..end - at]);
                let result = memory::peak(|| {
                    Checkpoint::read(broken.clone()).and_then(|c| {
                        let sidecars = Sidecars { config: Some(CONFIGURATION.into()), ..Sidecars::default() };
                        Config::of(&c, &sidecars)
                    })
                });
                // the copy of the file, and tables
                assert!(result.1 <= 3 * bytes.len() + (1 << 21), "{name} at {at}, {change:x?}: {} bytes", result.1);
                match result.0 {
                    Ok(_) => read += 1,
                    Err(error) => {
                        let error = error.to_string();
                        assert!(!error.contains('\n') && error.len() < 700, "{name} at {at}: {error}");
                    }
                }
                broken[at..end].copy_from_slice(&bytes[at..end]);
            }
        }
        println!("{name}: {read} readings, {:?}", begin.elapsed());
    }
}

/// Files that are no model, or no model for this program, are named for what they are.
#[test]
fn others_are_named() {
    let says = |bytes: &[u8], what: &str| {
        let error = load(bytes, 5).err().expect("refused");
        assert!(error.contains(what), "{error}");
    };
    says(b"", "an empty file");
    says(b"<!DOCTYPE html><html><head><title>404", "a web page");
    says(b"\xef\xbb\xbf\r\n<html>", "a web page");
    says(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 605247071\n", "Git LFS pointer");
    says(b"{\"error\":\"Entry not found\"}", "JSON");
    says(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "before version 1.6");
    says(b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00}\x94.", "a bare Python pickle");
    says(b"PK\x03\x04 and no more", "PyTorch archive");
    says(b"\x1f\x8b\x08\x00", "gzip");

    let named = |tensors: &[&str], keys: &[(&str, Value)], what: &str| {
        let tensors: Vec<_> = tensors
            .iter()
            .map(|n| OutTensor { name: n.to_string(), shape: vec![2, 2], dtype: DType::F32, bytes: vec![0; 16] })
            .collect();
        let keys = keys.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        says(&gguf::write(&keys, &tensors), what);
    };
    named(
        &["vision_model.head.probe", "vision_model.encoder.layers.0.mlp.fc1.weight", "text_model.head.weight"],
        &[],
        "SigLIP",
    );
    named(&["visual.trunk.attn_pool.latent", "visual.trunk.blocks.0.attn.qkv.weight", "logit_bias"], &[], "SigLIP");
    named(&["v.blk.0.ln1.weight", "mm.0.weight", "mm.2.bias"], &[], "mmproj");
    named(&["v.blk.0.ln1.weight"], &[("clip.projector_type", Value::Text("mlp".into()))], "mmproj");
    named(&["text_model.encoder.layers.0.mlp.fc1.weight", "text_model.final_layer_norm.weight"], &[], "clip_l");
    named(&["transformer.resblocks.0.ln_1.weight", "token_embedding.weight", "text_projection"], &[], "clip_g");
    named(
        &[
            "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
            "model.diffusion_model.out.0.weight",
        ],
        &[],
        "diffusion",
    );
    named(
        &["visual.layer1.0.conv1.weight", "visual.conv1.weight", "transformer.resblocks.0.ln_1.weight"],
        &[],
        "ResNet",
    );
    named(&["visual.trunk.stem.0.weight", "text.token_embedding.weight"], &[], "timm");
    named(&["visual.blocks.0.attn.q_bias", "text.token_embedding.weight"], &[], "EVA");
    named(&["v.blk.0.ln1.weight", "v.class_embd"], &[("clip.has_text_encoder", Value::Bool(false))], "no text tower");
    named(&["vision_model.encoder.layers.0.mlp.fc1.weight", "visual_projection.weight"], &[], "no text tower");
    named(&["t.blk.0.ln1.weight"], &[("clip.has_vision_encoder", Value::Bool(false))], "a text tower alone");
    named(&["blk.0.attn_q.weight"], &[("general.architecture", Value::Text("llama".into()))], "llama");
}

/// clip.cpp's files have a vocabulary and no merge rules: they can be told from it.
#[test]
fn a_vocabulary_tells_its_merge_rules() {
    use oddlens::clip::tokenizer::rules_of;
    // OpenAI's order: visible characters, the stand-ins of the other bytes, both once more as ends of words
    let shown = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').chain(('\u{100}'..).take(68));
    let bytes: Vec<String> = shown.map(String::from).collect();
    let ends = bytes.iter().map(|b| format!("{b}</w>"));
    let made = merges().iter().map(|rule| rule.replacen(' ', "", 1));
    let markers = ["<|startoftext|>", "<|endoftext|>"].map(String::from);
    let tokens: Vec<String> = bytes.iter().cloned().chain(ends).chain(made).chain(markers).collect();
    assert_eq!(tokens.len(), 49408);
    assert_eq!(&rules_of(&tokens).expect("OpenAI's vocabulary"), merges());
    assert!(rules_of(&tokens[..49000]).is_err());
    let mut broken = tokens.clone();
    broken[600] = "xq9z".into();
    assert!(rules_of(&broken).is_err());
}
