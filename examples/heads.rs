//! Measures what heads learn on real CLIP embeddings, and how long it takes: `cargo run --release --example heads`.
//!
//! The data are 500 CIFAR-10 test pictures as embedded by OpenAI's ViT-B/32 and name vectors of LVIS and Objects365, in the folder
//! `golden` beside this repository's `shared` (or `$ODDLENS_SHARED`); without it, only the timing is done, on random vectors.
//! Each of 10 classes is in turn the normal one (one-vs-rest) or the anomalous one (leave-one-out). Half of the pictures are
//! learned from, the other half judged; "other kinds": outliers are of four kinds, and judged are the other five.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use oddlens::embedding::Embeddings;
use oddlens::metrics::auroc;
use oddlens::protocol::EntryKind;
use oddlens::score::{METHODS, Method};
use oddlens::train::random::Random;
use oddlens::train::{Examples, Fit, Recipe, Stepwise, Texts};
use oddlens::weights::DType;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&Method> =
        METHODS.iter().filter(|m| arguments.is_empty() || arguments.iter().any(|a| a == m.id)).collect();
    time(&wanted);
    match golden() {
        Some(folder) => measure(&Golden::read(&folder), &wanted),
        None => println!("skipped: golden data not found (set ODDLENS_SHARED)"),
    }
}

/// Five heads, 1,000 embeddings of 512 numbers, 30 epochs: the budget is 3 s in the browser.
fn time(wanted: &[&'static Method]) {
    let mut random = Random::new(1, 1);
    let mut cloud = |n: usize, shift: f32| {
        let values = (0..n * 512).map(|i| random.normal() + 2.0 + if i % 512 < 40 { shift } else { 0.0 }).collect();
        Embeddings::normalise(512, values).expect("directions")
    };
    let texts = Texts::new(cloud(2, 0.0), vec![EntryKind::Normal, EntryKind::Anomaly]);
    let texts = Arc::new(texts);
    for (normal, outliers) in [(500, 500), (900, 100), (20, 1)] {
        let examples = Examples { normal: cloud(normal, 0.0), outliers: cloud(outliers, 1.0) };
        let mut all = 0.0;
        print!("{normal} normal, {outliers} outliers:");
        for &method in wanted.iter().filter(|m| m.loss.is_some()) {
            let started = Instant::now();
            let mut fit = Fit::new(method, texts.clone(), &examples, 1).expect("examples");
            fit.run().expect("it ends");
            fit.detector().expect("finite");
            let millis = started.elapsed().as_secs_f64() * 1e3;
            all += millis;
            print!(" {} {millis:.0} ms ({} steps),", method.id, fit.progress().total);
        }
        println!(" together {all:.0} ms");
    }
}

struct Golden {
    images: Embeddings,
    labels: Vec<u8>,
    /// One for each class, then the mean of LVIS for "something".
    texts: Embeddings,
}

fn measure(golden: &Golden, wanted: &[&'static Method]) {
    const SIZES: [usize; 6] = [0, 1, 2, 4, 16, 64];
    const SEEDS: u64 = 3;
    for (protocol, others) in [("one-vs-rest", false), ("one-vs-rest, other kinds", true), ("leave-one-out", false)] {
        println!("\nAUROC, {protocol}: mean over 10 classes and {SEEDS} draws, by number of outlier examples");
        println!("| method | {} |", SIZES.map(|s| s.to_string()).join(" | "));
        for &method in wanted {
            print!("| {}", method.id);
            for size in SIZES {
                let mut found = Vec::new();
                for class in 0..10u8 {
                    for seed in 0..SEEDS {
                        found.extend(golden.auroc(method, class, protocol == "leave-one-out", others, size, seed));
                    }
                }
                match found.len() {
                    0 => print!(" | "),
                    n => print!(" | {:.4}", found.iter().sum::<f64>() / n as f64),
                }
            }
            println!(" |");
        }
    }
}

impl Golden {
    fn auroc(
        &self,
        method: &'static Method,
        class: u8,
        leave_one_out: bool,
        others: bool,
        size: usize,
        seed: u64,
    ) -> Option<f64> {
        let is_normal = |i: usize| (self.labels[i] == class) != leave_one_out;
        // of the other nine kinds, four are learned from and five are judged
        let known = |i: usize| !others || (self.labels[i] + 10 - class) % 10 <= 4;
        let order = Random::new(seed, 2).order(self.labels.len());
        let (learned, judged) = order.split_at(self.labels.len() / 2);
        let of = |from: &[usize], keep: &dyn Fn(usize) -> bool| -> Vec<usize> {
            from.iter().copied().filter(|&i| keep(i)).collect()
        };
        let mut outliers = of(learned, &|i| !is_normal(i) && known(i));
        if method.needs.outlier_examples == 0 && size > 0 {
            return None;
        }
        outliers.truncate(size);
        let examples =
            Examples { normal: self.images.select(&of(learned, &is_normal)), outliers: self.images.select(&outliers) };
        let kind = |k: u8| (k == class) != leave_one_out;
        let normal: Vec<usize> = (0..10).filter(|&k| kind(k)).map(usize::from).collect();
        let rows: Vec<usize> = normal.iter().copied().chain([10]).collect();
        let kinds = rows.iter().map(|&r| if r == 10 { EntryKind::Anomaly } else { EntryKind::Normal }).collect();
        let texts = Arc::new(Texts::new(self.texts.select(&rows), kinds));
        if method.needs.normal_names > normal.len() {
            return None;
        }
        let mut fit = Fit::by(method, texts, &examples, seed, &recipe(method)).ok()?;
        fit.run().expect("it ends");
        let detector = fit.detector().expect("finite");
        let judged = of(judged, &|i| is_normal(i) || !others || !known(i));
        let odd: Vec<bool> = judged.iter().map(|&i| !is_normal(i)).collect();
        Some(auroc(&detector.margins(&self.images.select(&judged)), &odd).expect("both kinds"))
    }

    fn read(folder: &Path) -> Self {
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a golden file");
        let names = |name: &str| -> Vec<String> { serde_json::from_str(&text(name)).expect("names") };
        let vectors = |name: &str| {
            let (shape, bytes) = npy(&folder.join(name));
            let half = bytes.len() == 2 * shape[0] * shape[1];
            let numbers = if half { DType::F16 } else { DType::F32 }.decode(&bytes);
            Embeddings::normalise(shape[1], numbers).expect("embeddings")
        };
        let (lvis, lvis_names) = (vectors("lvis_v1_clip_a+cname.npy"), names("lvis_names.json"));
        let (objects, objects_names) = (vectors("o365_clip_a+cnamefix.npy"), names("objects365_names.json"));
        let mut texts = Embeddings::empty(lvis.width());
        for name in ["airplane", "car_(automobile)", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"] {
            let found = match lvis_names.iter().position(|n| n == name) {
                Some(at) => lvis.select(&[at]),
                None => {
                    let at = objects_names.iter().position(|n| n.eq_ignore_ascii_case(name));
                    objects.select(&[at.expect("every class has a vector")])
                }
            };
            texts.extend(&found);
        }
        let mut mean = vec![0f32; lvis.width()];
        lvis.rows().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += x));
        texts.extend(&Embeddings::normalise(lvis.width(), mean).expect("a direction"));
        let labels = npy(&folder.join("cifar10_500_labels_u8.npy")).1;
        Self { images: vectors("cifar10_500_image_embs_f32.npy"), labels, texts }
    }
}

/// The method's own, changed by `RATE`, `DECAY`, `ROWS`, `STEPS`, `EPOCHS`, `START` in the environment.
fn recipe(method: &Method) -> Recipe {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<f64>().ok());
    let mut recipe = Recipe::of(method);
    recipe.rate = number("RATE").unwrap_or(recipe.rate);
    recipe.weight_decay = number("DECAY").unwrap_or(recipe.weight_decay);
    recipe.start = number("START").unwrap_or(recipe.start);
    if recipe.rows > 1 {
        recipe.rows = number("ROWS").map_or(recipe.rows, |n| n as usize);
    }
    recipe.least_steps = number("STEPS").map_or(recipe.least_steps, |n| n as usize);
    recipe.epochs = number("EPOCHS").map_or(recipe.epochs, |n| n as usize);
    recipe
}

fn golden() -> Option<PathBuf> {
    let shared = std::env::var_os("ODDLENS_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    Some(shared.join("golden")).filter(|folder| folder.join("cifar10_500_image_embs_f32.npy").exists())
}

/// Shape and raw bytes of an .npy file.
fn npy(path: &Path) -> (Vec<usize>, Vec<u8>) {
    let bytes = std::fs::read(path).expect("a golden file");
    let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + header_len]).expect("a header");
    let shape = header.split("'shape': (").nth(1).expect("a shape").split(')').next().expect("its end");
    (shape.split(',').filter_map(|n| n.trim().parse().ok()).collect(), bytes[10 + header_len..].to_vec())
}
