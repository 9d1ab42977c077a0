//! How fast a model runs here: the same cases on the command line and in the page.
//!
//! Weights are made from a seed, so that nothing is downloaded: [`RandomWeights`] has the deviations of `CLIPModel`'s own
//! initialisation (transformers, `models/clip/modeling_clip.py`). Before anything is timed, all kernels are held against the
//! scalar truth. It does not know where the time comes from: a clock is given.

mod random;

use serde::{Deserialize, Serialize};

use crate::clip::Choice;
use crate::clip::config::{Activation, Config, TowerConfig};
use crate::clip::text::TextTower;
use crate::clip::vision::VisionTower;
use crate::kernels::{Kernels, NR, Peak, crew, pairs, quads, shapes};
use crate::pixels;
use crate::quant::{Exact, Precision, QMatrix, Scratch};
use crate::weights::WeightsError;
pub use random::RandomWeights;

/// Which model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// OpenAI's geometry, 8 bits, random weights.
    #[serde(rename = "vit-b-32")]
    VitB32,
    /// What the embedded model has, random weights.
    Embedded,
}

/// Which half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    Image,
    Text,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub model: Model,
    /// `None`: both towers.
    pub only: Option<Only>,
    /// Timed runs of each case; the median counts.
    pub runs: usize,
}

/// One shape of the linear layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    /// Billions of products a second, quantization and scaling of the rows included.
    pub gmacs: f64,
}

/// What came out. Times are medians, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub threads: usize,
    pub kernel: String,
    /// One picture, from normalised pixels to its embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_ms: Option<f64>,
    /// From the tenth to the ninetieth percentile of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread_ms: Option<f64>,
    /// A prompt of [`PROMPT_TOKENS`] tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_ms: Option<f64>,
    /// [`PROMPTS`] of them in one go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub texts_ms: Option<f64>,
    /// A picture of 12 megapixels to the model's input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocess_ms: Option<f64>,
    /// Making and packing the weights.
    pub build_ms: f64,
    /// Billions of products a second of the kernel's own instructions on registers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_gmacs: Option<f64>,
    /// Of the bare product (768 x 3072 for 50 rows), as a share of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_share: Option<f64>,
    pub shapes: Vec<Shape>,
    pub memory_bytes: usize,
    pub runs: usize,
}

/// "a photo of a golden retriever" and the like, with start and end.
pub const PROMPT_TOKENS: usize = 8;
/// The names of a large setup.
pub const PROMPTS: usize = 100;

impl Model {
    /// Its geometry.
    pub fn config(self) -> Config {
        let tower = |width, layers, heads| TowerConfig { width, layers, heads, mlp: 4 * width, epsilon: 1e-5 };
        let (image_size, patch_size, vision, vocabulary, text) = match self {
            Model::VitB32 => (224, 32, tower(768, 12, 12), 49_408, tower(512, 12, 8)),
            Model::Embedded => (64, 8, tower(192, 6, 3), 3368, tower(192, 3, 3)),
        };
        Config {
            image_size,
            patch_size,
            vision,
            context: 77,
            vocabulary,
            text,
            embed_dim: 512,
            activation: Activation::QuickGelu,
        }
    }
}

/// Runs the cases. `tell` hears what is being done.
///
/// # Errors
/// When a kernel does not give the truth's numbers, or a tower gives no direction.
pub fn run(spec: Spec, kernels: Kernels, clock: fn() -> f64, tell: &mut dyn FnMut(&str)) -> Result<Report, String> {
    let config = spec.model.config();
    let choice = Choice { kernels, fast: None };
    let weights = RandomWeights::new(1, &config);
    tell("checking the kernels");
    check()?;
    let broken = |e: WeightsError| format!("random weights: {e}");
    let mut report =
        Report { threads: crew::hands(), runs: spec.runs, kernel: kernels.pairs.name().into(), ..Report::default() };
    let started = clock();
    if spec.only != Some(Only::Text) {
        tell("making the image tower");
        let tower = VisionTower::new(&weights, &config, &choice).map_err(broken)?;
        report.build_ms = clock() - started;
        report.memory_bytes += tower.memory_bytes();
        if tower.is_fast() {
            report.kernel = kernels.name().into();
        }
        tell("timing a picture");
        let pixels = weights.pixels(config.image_size);
        finite(&tower.forward(&kernels, &pixels))?;
        let times = time(spec.runs, clock, &mut || drop(tower.forward(&kernels, &pixels)));
        (report.image_ms, report.spread_ms) = (Some(times.median), Some(times.spread));
        tell("timing the linear layers");
        measure_products(&mut report, spec, &kernels, tower.is_fast(), clock);
        drop(tower);
        tell("timing a large picture");
        let picture = pixels::from_rgba(vec![127; 4 * 4000 * 3000], 4000, 3000).map_err(|e| e.to_string())?;
        let size = config.image_size;
        let runs = spec.runs.min(5);
        report.preprocess_ms = Some(time(runs, clock, &mut || drop(pixels::preprocess(&picture, size))).median);
    }
    if spec.only != Some(Only::Image) {
        tell("making the text tower");
        let started = clock();
        let tower = TextTower::new(&weights, &config, &choice).map_err(broken)?;
        report.build_ms += clock() - started;
        report.memory_bytes += tower.memory_bytes();
        tell("timing a prompt");
        let prompt = |of: u32| (0..PROMPT_TOKENS as u32).map(|i| (of + i * 37) % config.vocabulary as u32).collect();
        let prompts: Vec<Vec<u32>> = (0..PROMPTS as u32).map(prompt).collect();
        finite(&tower.forward(&kernels, &prompts[..1]))?;
        report.text_ms = Some(time(spec.runs, clock, &mut || drop(tower.forward(&kernels, &prompts[..1]))).median);
        tell("timing many prompts");
        let runs = spec.runs.min(5);
        report.texts_ms = Some(time(runs, clock, &mut || drop(tower.forward(&kernels, &prompts))).median);
    }
    Ok(report)
}

/// Times of one case.
struct Times {
    median: f64,
    /// From the tenth to the ninetieth percentile.
    spread: f64,
    least: f64,
}

/// Warms up (engines compile what runs often in the background) and times.
fn time(runs: usize, clock: fn() -> f64, case: &mut dyn FnMut()) -> Times {
    let (begin, mut warm) = (clock(), 0);
    while warm < 3 || (clock() - begin < 400.0 && warm < 50) {
        case();
        warm += 1;
    }
    let mut times: Vec<f64> = (0..runs.max(1))
        .map(|_| {
            let started = clock();
            case();
            clock() - started
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    Times { median: at(0.5), spread: at(0.9) - at(0.1), least: times[0] }
}

/// The least time of each case, after warming up. They are run in turns, since processors change their speed.
fn least_in_turns<const N: usize>(runs: usize, clock: fn() -> f64, mut cases: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut least = cases.each_mut().map(|case| time(1, clock, *case).least);
    for _ in 0..runs {
        for (least, case) in least.iter_mut().zip(&mut cases) {
            let started = clock();
            case();
            *least = least.min(clock() - started);
        }
    }
    least
}

fn finite(embedding: &[f32]) -> Result<(), String> {
    let good = embedding.iter().all(|v| v.is_finite()) && embedding.iter().any(|&v| v != 0.0);
    if good { Ok(()) } else { Err("the tower gave no usable embedding".into()) }
}

/// Gaussian weights and rows for a layer of `k` inputs and `n` outputs.
fn layer((m, k, n): (usize, usize, usize), precision: Precision, kernels: &Kernels) -> (QMatrix, Vec<f32>) {
    let weights = random::normals(7, n * k, 0.02);
    (QMatrix::new(&weights, None, (n, k), precision, Exact::default(), kernels), random::normals(8, m * k, 1.0))
}

/// All kernels that run here against the scalar ones, at uneven shapes: whichever is chosen, scores are the same. The second is
/// large enough for threads to share it, the first is not.
///
/// # Errors
/// When one gives other numbers.
pub fn check() -> Result<(), String> {
    [(7, 200, 21), (41, 768, 67)].into_iter().try_for_each(check_shape)
}

fn check_shape(shape: (usize, usize, usize)) -> Result<(), String> {
    let result = |kernels: &Kernels, precision| {
        let (layer, x) = layer(shape, precision, kernels);
        let mut y = vec![0.0; shape.0 * shape.2];
        layer.apply(kernels, &x, shape.0, &mut Scratch::default(), &mut y);
        y
    };
    for precision in [Precision::Bits12, Precision::Bits7, Precision::Bits7OneSided] {
        let truth = result(&Kernels::scalar(), precision);
        for kernels in Kernels::all() {
            if result(&kernels, precision) != truth {
                return Err(format!(
                    "{kernels:?}: expected the scalar kernels' numbers with {precision:?} at {shape:?}, got others"
                ));
            }
        }
    }
    Ok(())
}

/// The linear layers apart, the bare product, and the peak of its instructions.
fn measure_products(report: &mut Report, spec: Spec, kernels: &Kernels, fast: bool, clock: fn() -> f64) {
    let shapes = match spec.model {
        Model::VitB32 => shapes::VIT_B_32,
        Model::Embedded => shapes::EMBEDDED,
    };
    let precision = if fast { Precision::Bits7 } else { Precision::Bits12 };
    for shape in shapes {
        let (m, k, n) = shape;
        let (layer, x) = layer(shape, precision, kernels);
        let (mut scratch, mut y) = (Scratch::default(), vec![0.0; m * n]);
        let ms = time(spec.runs, clock, &mut || layer.apply(kernels, &x, m, &mut scratch, &mut y)).median;
        report.shapes.push(Shape { m, k, n, gmacs: gmacs(m * k * n, ms) });
    }
    if let Some((gmacs, peak)) = bare_product(kernels, fast, clock) {
        (report.peak_gmacs, report.peak_share) = (Some(peak), Some(gmacs / peak));
    }
}

/// Billions of products a second: of the bare product of 50 rows by weights of 768 inputs and 3072 channels, and of its instructions on
/// registers; none where that cannot be told.
fn bare_product(kernels: &Kernels, fast: bool, clock: fn() -> f64) -> Option<(f64, f64)> {
    const RUNS: usize = 200;
    const ROUNDS: usize = 200_000;
    let (m, k, n) = (50, 768, 3072);
    let codes: Vec<i8> = random::normals(9, n * k, 30.0).iter().map(|v| v.clamp(-60.0, 60.0) as i8).collect();
    let mut sums = vec![0; m * NR];
    let measured = |peak: Peak, product: &mut dyn FnMut()| {
        let mut registers = || _ = std::hint::black_box(peak.run(ROUNDS));
        let [product_ms, peak_ms] = least_in_turns(RUNS, clock, [product, &mut registers]);
        Some((gmacs(m * k * n, product_ms), gmacs(ROUNDS * peak.macs(), peak_ms)))
    };
    match kernels.quads.filter(|_| fast) {
        Some(kernel) => {
            let weights = quads::Weights::pack(&codes, n, k, 64);
            let packed = vec![65; quads::activations_len(m, k)];
            let activations = quads::Activations::new(&packed, m, k);
            let mut all = || (0..weights.panels()).for_each(|p| kernel.panel(&weights, p, &activations, &mut sums));
            measured(kernel.peak()?, &mut all)
        }
        None => {
            let mut packed = vec![0; pairs::weights_len(n, k)];
            pairs::pack_weights(&codes, n, k, &mut packed);
            let weights = pairs::Weights::new(&packed, n, k);
            let packed = vec![77; pairs::activations_len(m, k)];
            let activations = pairs::Activations::new(&packed, m, k);
            let kernel = kernels.pairs;
            let mut all = || (0..weights.panels()).for_each(|p| kernel.panel(&weights, p, &activations, &mut sums));
            measured(kernel.peak()?, &mut all)
        }
    }
}

/// Billions a second.
fn gmacs(products: usize, ms: f64) -> f64 {
    products as f64 / ms / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    static TICKS: AtomicU32 = AtomicU32::new(0);

    /// A clock that goes on by itself, so that no time is needed.
    fn clock() -> f64 {
        f64::from(TICKS.fetch_add(100, Ordering::Relaxed))
    }

    #[test]
    fn every_case_of_the_embedded_geometry_is_timed() {
        let spec = Spec { model: Model::Embedded, only: None, runs: 1 };
        let mut said = Vec::new();
        let report = run(spec, Kernels::best(), clock, &mut |what| said.push(what.to_string())).expect("it runs");
        assert!(report.image_ms.is_some() && report.text_ms.is_some() && report.preprocess_ms.is_some());
        assert_eq!(report.shapes.len(), 4);
        assert!(said.len() > 4, "{said:?}");
        let text = serde_json::to_string(&report).expect("plain data");
        assert!(text.contains("image_ms") && text.contains("kernel"), "{text}");
    }

    /// In 32 bits the first would wrap around to something small, and the tower be taken for one.
    #[test]
    fn large_towers_are_fast_and_small_ones_fine() {
        assert_eq!(Model::VitB32.config().image_macs(), 4_362_338_304);
        let embedded = Model::Embedded.config();
        let small = Config { patch_size: 16, ..embedded.clone() };
        for (config, is_fast) in [(Model::VitB32.config(), true), (embedded, true), (small, false)] {
            assert_eq!(crate::clip::vision::is_fast(&config), is_fast, "{} products", config.image_macs());
        }
    }

    #[test]
    fn one_tower_alone() {
        let spec = Spec { model: Model::Embedded, only: Some(Only::Text), runs: 1 };
        let report = run(spec, Kernels::best(), clock, &mut |_| ()).expect("it runs");
        assert!(report.image_ms.is_none() && report.text_ms.is_some());
    }
}
