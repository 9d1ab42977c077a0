//! The whole way from a file to a score against PyTorch on the embedded model; and, where the golden data of the workshop is
//! present, published outputs of OpenAI's CLIP.

use std::path::{Path, PathBuf};

use oddlens::clip::{Clip, Compute, Encoder, Sidecars};
use oddlens::embedding::{Embeddings, cosine};
use oddlens::engine::pipeline::{Prepared, see};
use oddlens::protocol::{EntryKind, Pixels, Setup};
use oddlens::score;
use oddlens::weights::Checkpoint;

fn embedded(compute: Compute) -> Clip {
    let file = Checkpoint::read(&include_bytes!("../weights/mini.gguf")[..]).expect("the embedded model");
    Clip::new(&file, &Sidecars::default(), compute).expect("a CLIP")
}

/// PyTorch ran on the f16 weights, these are in 8 bits. A logit of 100 times the cosine then differs by up to 0.3; the same on
/// the side of the anomaly, so that the margin between them differs less; of a score in the middle by a quarter of that.
#[test]
fn the_embedded_model_scores_as_pytorch_does() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/mini");
    let text = std::fs::read_to_string(here.join("expected.json")).expect("expected.json");
    let expected: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for compute in [Compute::Q8, Compute::F32] {
        let clip = embedded(compute);
        let prepared = Prepared::new(&clip, &Setup::default()).expect("dogs").detector().expect("texts are enough");
        let (mut worst_score, mut worst_cosine, mut worst_margin) = (0f64, 0f64, 0f64);
        let images = expected["images"].as_array().expect("images");
        assert_eq!(images.len(), 16);
        for image in images {
            let bytes = std::fs::read(here.join(image["file"].as_str().expect("a name"))).expect("a picture");
            let seen = see(&clip, &Pixels::Encoded, &bytes, || 0.0).expect("a picture");
            let score = prepared.score(&seen.embedding);
            worst_score = worst_score.max((f64::from(score.value) - image["score"].as_f64().expect("a score")).abs());
            let wanted = |i: usize| image["cosines"][i].as_f64().expect("a cosine");
            worst_margin = worst_margin.max((f64::from(score.margin) - 100.0 * (wanted(0) - wanted(1))).abs());
            // entries: dog, something; in the file: something, dog
            for (got, want) in [(score.cosines[1], wanted(0)), (score.cosines[0], wanted(1))] {
                worst_cosine = worst_cosine.max((f64::from(got) - want).abs());
            }
        }
        let said = format!(
            "{compute:?}: scores differ by at most {worst_score:.5}, cosines by {worst_cosine:.5}, margins by {worst_margin:.3}"
        );
        println!("{said}");
        assert!(worst_score < 0.05 && worst_cosine < 0.004 && worst_margin < 0.25, "{said}");
        for prompt in expected["prompts"].as_array().expect("prompts") {
            let text = prompt["text"].as_str().expect("a text").to_string();
            let got = clip.embed_texts(std::slice::from_ref(&text)).expect("a text").embeddings;
            for (got, want) in got.row(0).iter().zip(prompt["first"].as_array().expect("numbers")) {
                assert!((f64::from(*got) - want.as_f64().expect("a number")).abs() < 0.003, "{text}");
            }
        }
    }
}

/// A file of the workshop's golden data, where it is present.
fn golden(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("ODDLENS_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let path = shared.join("golden").join(name);
    if !path.exists() {
        println!("skipped: golden data not found ({name})");
        return None;
    }
    Some(path)
}

/// Shape and raw bytes of an .npy file.
fn npy(path: &Path) -> (Vec<usize>, Vec<u8>) {
    let bytes = std::fs::read(path).expect("a golden file");
    let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + header_len]).expect("a header").to_string();
    let shape = header.split("'shape': (").nth(1).expect("a shape").split(')').next().expect("its end");
    (shape.split(',').filter_map(|n| n.trim().parse().ok()).collect(), bytes[10 + header_len..].to_vec())
}

fn npy_f32(path: &Path) -> Embeddings {
    let (shape, bytes) = npy(path);
    let half = bytes.len() == 2 * shape[0] * shape[1];
    let dtype = if half { oddlens::weights::DType::F16 } else { oddlens::weights::DType::F32 };
    Embeddings::normalise(shape[1], dtype.decode(&bytes)).expect("embeddings")
}

/// OpenAI's README prints these for its picture: a diagram, a dog, a cat.
#[test]
fn the_published_softmax_is_met() {
    let (Some(image), Some(texts)) = (golden("npclip_image_features_f32.npy"), golden("npclip_text_features_f32.npy"))
    else {
        return;
    };
    let (image, texts) = (npy_f32(&image), npy_f32(&texts));
    let cosines: Vec<f32> = texts.rows().map(|t| cosine(t, image.row(0))).collect();
    let kinds = [EntryKind::Normal, EntryKind::Normal, EntryKind::Anomaly];
    let score = score::method("zero-shot").expect("listed").score(&score::Evidence::texts(&cosines, &kinds));
    for (got, want) in score.probabilities.iter().zip([0.992_793_57, 0.004_210_68, 0.002_995_75]) {
        assert!((got - want).abs() < 2e-5, "{:?}", score.probabilities);
    }
    assert_eq!(score.value, score.probabilities[2]);
}

/// 500 CIFAR-10 test pictures by their real ViT-B/32 embeddings: top-1 0.896 and one-vs-rest AUROC 0.9765 by the cosine.
#[test]
fn the_published_embeddings_rank_as_they_should() {
    let files = ["cifar10_500_image_embs_f32.npy", "cifar10_500_labels_u8.npy", "lvis_v1_clip_a+cname.npy"];
    let more = ["lvis_names.json", "o365_clip_a+cnamefix.npy", "objects365_names.json"];
    let Some(paths) = files.iter().chain(&more).map(|f| golden(f)).collect::<Option<Vec<_>>>() else { return };
    let images = npy_f32(&paths[0]);
    let (_, labels) = npy(&paths[1]);
    let (lvis, objects) = (npy_f32(&paths[2]), npy_f32(&paths[4]));
    let names = |path: &Path| -> Vec<String> {
        serde_json::from_str(&std::fs::read_to_string(path).expect("names")).expect("a list of names")
    };
    let (lvis_names, objects_names) = (names(&paths[3]), names(&paths[5]));
    let vector = |name: &str| match name {
        "ship" => objects.row(objects_names.iter().position(|n| n.eq_ignore_ascii_case("ship")).expect("ship")),
        _ => lvis.row(lvis_names.iter().position(|n| n == name).unwrap_or_else(|| panic!("{name}"))),
    };
    let classes = ["airplane", "car_(automobile)", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    let cosines: Vec<Vec<f32>> =
        images.rows().map(|i| classes.iter().map(|c| cosine(i, vector(c))).collect()).collect();
    let best = |row: &Vec<f32>| (0..10).reduce(|a, b| if row[b] > row[a] { b } else { a }).expect("ten");
    let hits = cosines.iter().zip(&labels).filter(|(row, label)| best(row) == usize::from(**label)).count();
    assert!((hits as f64 / 500.0 - 0.896).abs() < 0.0025, "top-1 {}", hits as f64 / 500.0);
    let mut mean = 0f64;
    for class in 0..10 {
        let (mut better, mut pairs) = (0.0, 0.0);
        for (odd, _) in cosines.iter().zip(&labels).filter(|(_, l)| usize::from(**l) != class) {
            for (normal, _) in cosines.iter().zip(&labels).filter(|(_, l)| usize::from(**l) == class) {
                pairs += 1.0;
                better += match odd[class].total_cmp(&normal[class]) {
                    std::cmp::Ordering::Less => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Greater => 0.0,
                };
            }
        }
        mean += better / pairs / 10.0;
    }
    assert!((mean - 0.9765).abs() < 5e-4, "AUROC {mean}");
}
