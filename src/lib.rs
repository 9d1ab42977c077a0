//! Oddlens tells whether a picture is normal: say in words what is normal, and CLIP scores how anomalous each picture is.
//!
//! This page is the map of the house: one package, one library, three thin binaries. A room uses only rooms of lower layers;
//! `tests/architecture.rs` holds that and the laws below.
//!
//! | layer | room | what lives there | what it does not know |
//! |---|---|---|---|
//! | 0 | [`kernels`] | integer products, f32 vector math and means of pixels, threads that share them, the only home of `unsafe` and intrinsics | candle, allocation, errors |
//! | 0 | [`metrics`] | AUROC and its interval, ROC and PR points, average precision, FPR95, conformal thresholds: slices in, numbers out | models |
//! | 0 | [`embedding`] | `Embeddings`: n x d, unit rows | where they came from |
//! | 0 | [`protocol`] | what page and engine say to each other: plain serde data | behaviour; weights never travel through it |
//! | 1 | [`pixels`] | encoded file or RGBA to `[3,s,s]`, as Pillow and CLIP do it | models |
//! | 1 | [`quant`] | linear layers in 8 bits | file formats |
//! | 2 | `weights` | bytes to named tensors and back: GGUF, safetensors, PyTorch archives, their names for tensors, the manifest, conversion | the forward pass |
//! | 3 | `clip` | geometry, tokenizer, both towers in 8 bits and in f32, the text tower on demand, texts known by heart; `trait Encoder` | scoring |
//! | 3 | `score` | one file per method and the static list `METHODS`; prompts | images, models, how heads are trained, the page |
//! | 4 | `train` | heads on cached embeddings, stepwise (candle's autograd); cross-validation, few-shot curve, one-outlier search, head files | images, models, the page |
//! | 5 | `engine` | requests in, events out: where pixels, model, scoring and learning meet; the self-test of a model; who of several workers sees which picture | browser, network, files |
//! | 5 | `app_state` | the page's pure reducer | Yew, DOM, models |
//! | 5 | `bench` | how fast a model runs here, from a seed and a given clock | browser, files |
//! | 6 | `eval` (`cli`) | data sets on disk, the cache of embeddings, tasks and runs, measures, tables and charts | the page, the terminal |
//! | 6 | `link` | the wires between page and worker, and between that one and its hands: taking over, transfer, respawn | what the messages mean |
//! | 6 | `ui` | the page: `app`, `hooks`, `components` | tensors, models, scorers |
//! | - | `bin/page`, `bin/worker`, `bin/oddlens` | entry points and the edges: network in the worker, files and network in the command line | |
//!
//! # Laws
//! 1. `ui` and `app_state` name no tensor, model or scorer: a new scoring method needs no edit in the page.
//! 2. `score` never sees an image or a model; `metrics` never sees a score's origin.
//! 3. `unsafe` only in `kernels`. Integer results there are equal bit for bit on every instruction set.
//! 4. Page and command line share every step from bytes to score (`engine::pipeline`).
//! 5. A larger score is more anomalous, everywhere.
//! 6. The library exports nothing to JavaScript, so the page's wasm sheds the model.
//! 7. Clock, network, camera and files are touched only in `bin`, `link` and `ui`, files also in `eval`; all else gets bytes, or
//!    something to read them from, and a clock function.
//! 8. No global mutable state: the engine owns the session. (Threads are the whole program's, and so is what they meet at,
//!    `kernels::crew`.)
//! 9. candle only in `clip`, for the f32 path that the 8-bit one is held against, and in `train`, for the gradients of heads.
//!    GGUF is read by our own code, because candle's reader believes the header's sizes.
//! 10. No picture is silently judged by what was learned from it: its score comes from cross-validation, or is marked.
//!
//! # Journey of a dropped picture
//! `ui` -> `link` (bytes transferred, not copied) -> `bin/worker` -> `engine` -> `pixels` -> `clip` (-> `quant` -> `kernels`) ->
//! `score` -> `Event::Scored` -> `app_state`, which drops stale answers -> the card shows it. `oddlens score` enters at `engine`.
//!
//! Where threads do not share the work on a picture (the browser does not let them, or the model is too small) and many pictures wait, the
//! worker has hands (`bin/worker/hands`: further workers with the model's image tower): `engine::sharing` deals the pictures out,
//! `bin/worker/hand` goes the way from `pixels` to `clip`, and the first worker scores what comes back, in order of arrival.
//!
//! # Journey of a label
//! `ui` -> `app_state::learning` (by hand, or from the folder's name) -> `Request::Label` and `Request::Fit` ->
//! `engine::learning` (the queue, worked off in slices between messages) -> `train` (a fit on all examples, then one for each
//! fold) -> `Event::Fitted`, and `Event::Rescored` if the method is in force -> `Request::Evaluate` -> `metrics` ->
//! `Event::Evaluated`. `cargo run --release --example heads` measures the heads.
//!
//! # Journey of a data set
//! `oddlens eval` -> `eval::dataset` (pictures in a fixed order) -> `eval::seen` (`engine::pipeline`, or the cache) -> `eval::plan` (tasks
//! and runs: who is learned from, who is judged) -> `eval::run` (`train`) -> `eval::summary` (`metrics`) -> table, `results.json`,
//! `scores.csv`, charts.
//!
//! # Recipes
//! * A scoring method: one file in `score/`, one line in `METHODS`, an example worked by hand. A trained one has a `Loss`, too:
//!   its formula in `train/loss.rs`, its map in `train/fit.rs`, its numbers in `train/recipe.rs` with the figures, a case in
//!   `tests/reference/heads.py`.
//! * A kernel: the scalar contract, shapes, the tests of `tests/kernels.rs`, a file per instruction set, then the product's `all`.
//! * A model format: a reader that is total on hostile input, recognition by content, its names in `weights/names.rs`, a file made by the
//!   public tool in `tests/reference/files.py`, a target in `fuzz/`, a line in `weights/README.md`.
#![deny(unsafe_code)]

pub mod app_state;
#[cfg(feature = "model")]
pub mod bench;
#[cfg(feature = "model")]
pub mod clip;
pub mod embedding;
#[cfg(feature = "model")]
pub mod engine;
#[cfg(feature = "cli")]
pub mod eval;
pub mod kernels;
#[cfg(all(feature = "web", target_arch = "wasm32"))]
pub mod link;
pub mod metrics;
pub mod pixels;
pub mod protocol;
pub mod quant;
#[cfg(feature = "model")]
pub mod score;
#[cfg(feature = "model")]
pub mod train;
#[cfg(all(feature = "web", target_arch = "wasm32"))]
pub mod ui;
#[cfg(feature = "model")]
pub mod weights;
