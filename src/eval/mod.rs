//! `oddlens eval`: the paper's protocols on a data set on disk, every method side by side.
//!
//! The journey, one file a step: [`dataset`] lists the pictures of a folder ([`cifar`] those of CIFAR-10's batches) in a fixed
//! order; [`seen`] turns each into an embedding by `engine::pipeline`, kept in a [`store`] on disk; [`plan`] makes tasks and runs
//! out of them: what is normal, what is learned from, what is judged; [`run`] does one run; [`summary`] measures and
//! averages; [`table`], [`results`] and [`plots`] (by [`svg`]) say what came out. [`paths`] expands what people name on the
//! command line.
//!
//! It does not know the terminal, threads or progress bars: those are the binary's, which calls [`seen::see`] for each picture
//! and [`run::judge`] for each run, in any order and on any thread.
//!
//! Source of the protocols: Liznerski et al., "Exposing Outlier Exposure", TMLR 2022 (arXiv 2205.11474), section 4, and
//! the results file of its code, `src/eoe/training/ad_trainer.py` in liznerski/eoe.

pub mod cifar;
pub mod dataset;
pub mod paths;
pub mod plan;
pub mod plots;
pub mod results;
pub mod run;
pub mod seen;
pub mod store;
pub mod summary;
pub mod svg;
pub mod table;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why an evaluation cannot be done: one line saying what, expected, got.
#[derive(Debug, Error)]
pub enum EvalError {
    #[error("{}: {}", path.display(), paths::one_line(source))]
    Io { path: PathBuf, source: io::Error },
    #[error("data set {}: expected {expected}, got {got}", path.display())]
    Dataset { path: PathBuf, expected: &'static str, got: String },
    #[error("cache {}: expected to be the only run that uses it, got another that does; give this one its own --cache", .0.display())]
    CacheInUse(PathBuf),
    #[error("{0}")]
    Plan(String),
    #[error(transparent)]
    Csv(#[from] csv::Error),
}

impl EvalError {
    /// What went wrong with that file.
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}
