//! How models come to a folder of models: from files, and from a hub that behaves as hubs do on bad days.
#![cfg(feature = "cli")]

mod common {
    pub mod random_clip;
    pub mod scene;
}

use std::fs;
use std::path::Path;

use common::random_clip;
use common::scene::Scene;
use oddlens::weights::manifest;
use sha2::Digest;

const MINI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/mini.gguf");

fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the folder's manifest offers; every file that it names is there, whole and as it says.
fn offered(folder: &Path) -> manifest::Manifest {
    let text = fs::read_to_string(folder.join("manifest.json")).expect("a manifest");
    let manifest = manifest::parse(&text).expect("a manifest");
    for model in &manifest.models {
        let mut whole = Vec::new();
        for part in &model.parts {
            let bytes = fs::read(folder.join(&part.file)).expect("a part");
            assert_eq!((bytes.len() as u64, sha256(&bytes)), (part.bytes, part.sha256.clone()), "{}", part.file);
            whole.extend(bytes);
        }
        if model.parts.is_empty() {
            whole = fs::read(folder.join(&model.file)).expect("the file");
        }
        assert_eq!((whole.len() as u64, sha256(&whole)), (model.bytes, model.sha256.clone()), "{}", model.id);
    }
    manifest
}

/// A safetensors file of random weights, its configuration, and ids for its few rows.
fn noise() -> (Vec<u8>, String, String) {
    let case = random_clip::case("odd-widths", "strong", false);
    let rows = case.config["text_config"]["vocab_size"].as_i64().expect("a size");
    let ids: Vec<i64> = [-1].into_iter().chain(0..rows - 3).chain([49406, 49407]).collect();
    (case.safetensors(), case.config.to_string(), serde_json::to_string(&ids).expect("JSON"))
}

#[test]
fn a_file_is_added_whole_or_in_parts_and_scores_the_same() {
    let scene = Scene::new("models-add");
    let run = scene.oddlens(&["model", "add", MINI, "--out", "shelf"]);
    assert_eq!((run.status, run.out.as_str()), (0, ""), "{run:?}");
    let folder = scene.0.join("shelf");
    let manifest = offered(&folder);
    assert_eq!((manifest.default.as_str(), manifest.models.len()), ("mini", 1));
    assert_eq!(fs::read(MINI).unwrap(), fs::read(folder.join("mini.gguf")).unwrap(), "ours already: as it is");
    assert_eq!(manifest.models[0].threshold, 0.5);
    assert!(manifest.models[0].threshold_source.contains("Not measured"));

    let run = scene.oddlens(&["model", "add", MINI, "--out", "shelf", "--id", "split", "--part-bytes", "3000000"]);
    assert!(run.status == 0 && run.err.contains("in 3 parts"), "{run:?}");
    let manifest = offered(&folder);
    assert_eq!((manifest.default.as_str(), manifest.models.len()), ("mini", 2));
    let names = ["manifest.json", "mini.gguf", "split.gguf.part1", "split.gguf.part2", "split.gguf.part3"];
    assert_eq!(scene.list("shelf"), names);
    image::RgbImage::from_fn(80, 60, |x, y| image::Rgb([x as u8, 3 * y as u8, 90]))
        .save(scene.0.join("a.png"))
        .unwrap();
    let score =
        |model: &str| scene.oddlens(&["score", "--normal", "dog", "--format", "json", "--model", model, "a.png"]);
    assert_eq!(score("shelf/split.gguf").json(), score("shelf/mini.gguf").json());

    // the same name again: nothing of the old one stays
    let run = scene.oddlens(&["model", "add", MINI, "--out", "shelf", "--id", "split", "--default"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert_eq!((offered(&folder).default.as_str(), offered(&folder).models.len()), ("split", 2));
    assert_eq!(scene.list("shelf"), ["manifest.json", "mini.gguf", "split.gguf"]);
    let run = scene.oddlens(&["model", "add", MINI, "--out", "shelf", "--id", "split", "--part-bytes", "6000000"]);
    assert_eq!((run.status, scene.list("shelf").len()), (0, 4), "{run:?}");
    offered(&folder);
    scene.write("shelf/manifest.json", "<html>");
    let run = scene.oddlens(&["model", "add", MINI, "--out", "shelf"]);
    assert!(run.status == 2 && run.error().contains("manifest.json"), "{run:?}");
}

#[test]
fn a_model_at_chance_is_added_only_by_force() {
    let scene = Scene::new("models-noise");
    let (model, config, ids) = noise();
    scene.write("noise.safetensors", model);
    scene.write("config.json", config);
    scene.write("token_ids.json", ids);
    let run = scene.oddlens(&["model", "add", "noise.safetensors", "--out", "shelf"]);
    assert_eq!(run.status, 1, "{run:?}");
    assert!(run.error().contains("near chance") && run.error().contains("--force"), "{run:?}");
    assert!(scene.list("shelf").is_empty());
    let run = scene.oddlens(&["model", "add", "noise.safetensors", "--out", "shelf", "--force"]);
    assert!(run.status == 0 && run.err.contains("warning: self-test"), "{run:?}");
    assert_eq!(offered(&scene.0.join("shelf")).default, "noise");
}
