//! The same training natively and in WebAssembly, to 1e-4: both are held against the scores that the native one wrote down
//! (`UPDATE=1 cargo test --test training_agrees`). In WebAssembly it runs with
//! `scripts/with-tools cargo test --target wasm32-unknown-unknown --no-default-features --features model --test training_agrees`.
#![cfg(feature = "model")]

use std::sync::Arc;

use oddlens::embedding::Embeddings;
use oddlens::protocol::EntryKind;
use oddlens::score::METHODS;
use oddlens::train::random::Random;
use oddlens::train::{Examples, Fit, Stepwise, Texts};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test;

const WIDTH: usize = 64;

/// Values of some pictures by every trained method.
fn trained() -> Vec<(String, Vec<f32>)> {
    let mut random = Random::new(1, 1);
    let mut cloud = |n: usize, shift: f32| {
        let values = (0..n * WIDTH).map(|i| random.normal() + 2.0 + if i % WIDTH < 8 { shift } else { 0.0 }).collect();
        Embeddings::normalise(WIDTH, values).expect("directions")
    };
    let texts = Arc::new(Texts::new(cloud(3, 0.0), vec![EntryKind::Normal, EntryKind::Normal, EntryKind::Anomaly]));
    let examples = Examples { normal: cloud(90, 0.0), outliers: cloud(7, 1.0) };
    let mut judged = cloud(5, 0.0);
    judged.extend(&cloud(5, 1.0));
    let mut all = Vec::new();
    for method in METHODS.iter().filter(|m| m.needs.training) {
        let mut fit = Fit::new(method, texts.clone(), &examples, 5).expect("examples");
        fit.run().expect("it ends");
        let detector = fit.detector().expect("finite");
        all.push((method.id.into(), judged.rows().map(|row| detector.score(row).value).collect()));
    }
    all
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn scores_are_those_written_down() {
    let got = trained();
    #[cfg(not(target_arch = "wasm32"))]
    if std::env::var_os("UPDATE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/trained.json");
        std::fs::write(path, serde_json::to_string(&got).expect("JSON") + "\n").expect("written");
        return;
    }
    let expected: Vec<(String, Vec<f32>)> =
        serde_json::from_str(include_str!("reference/trained.json")).expect("its form");
    assert_eq!(got.len(), expected.len(), "a method more or less: UPDATE=1");
    for ((method, got), (name, want)) in got.iter().zip(&expected) {
        assert_eq!(method, name);
        let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max);
        println!("{method}: differs by at most {worst:e}");
        assert!(worst < 1e-4, "{method}: {got:?}, expected {want:?}");
        assert!(want.iter().any(|&v| v > 0.01) && want.iter().any(|&v| v < 0.99), "{method}: the scores say something");
    }
}

/// The budget in the browser: five heads, 1,000 embeddings of 512 numbers, 30 epochs each, within 3 s. Nothing timed is
/// asserted; run this in release with the feature `web`, and read.
#[cfg(all(target_arch = "wasm32", feature = "web"))]
#[wasm_bindgen_test]
fn five_heads_on_a_thousand_embeddings() {
    let mut random = Random::new(1, 1);
    let mut cloud = |n: usize, shift: f32| {
        let values = (0..n * 512).map(|i| random.normal() + 2.0 + if i % 512 < 40 { shift } else { 0.0 }).collect();
        Embeddings::normalise(512, values).expect("directions")
    };
    let texts = Arc::new(Texts::new(cloud(2, 0.0), vec![EntryKind::Normal, EntryKind::Anomaly]));
    for (normal, outliers) in [(500, 500), (900, 100), (20, 1)] {
        let examples = Examples { normal: cloud(normal, 0.0), outliers: cloud(outliers, 1.0) };
        for method in METHODS.iter().filter(|m| m.needs.training) {
            let started = js_sys::Date::now();
            let mut fit = Fit::new(method, texts.clone(), &examples, 5).expect("examples");
            fit.run().expect("it ends");
            fit.detector().expect("finite");
            let millis = js_sys::Date::now() - started;
            wasm_bindgen_test::console_log!("{normal} + {outliers}, {}: {millis} ms", method.id);
        }
    }
}
