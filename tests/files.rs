//! Model files in every form in which people have CLIPs: what they answer, what they say when they are broken, what they cost.

mod common {
    pub mod files;
    pub mod random_clip;
}

use common::files::{Case, cases};
use oddlens::clip::{Clip, Compute, Encoder, Sidecars};
use oddlens::embedding::{Embeddings, cosine};
use oddlens::weights::{Checkpoint, convert};

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
