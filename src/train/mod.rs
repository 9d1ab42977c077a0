//! Outlier exposure on cached embeddings: heads trained in steps by candle's autograd, detectors, cross-validation, the
//! few-shot curve and the one-outlier search.
//!
//! Everything that takes long is [`Stepwise`]: a step is a few milliseconds, what stands between two steps is up to the caller
//! (messages, a progress bar), and dropping it cancels. Draws come from a seed and from integers alone ([`random`]), so that the
//! browser and the command line get the same heads up to rounding.
//!
//! It does not know images, files, the page or the clock. What is learned from and what is judged never mix here: see
//! [`cross_validation`] and [`experiments`].
//!
//! Source: Liznerski et al., "Exposing Outlier Exposure: What Can Be Learned From Few, One, and Zero Outlier Images",
//! TMLR 2022 (arXiv 2205.11474), sections 3 and 4, with the image tower kept as it is.

pub mod cross_validation;
pub mod detector;
pub mod experiments;
pub mod fit;
pub mod head;
pub mod head_file;
pub mod loss;
pub mod random;
pub mod recipe;
pub mod texts;

use thiserror::Error;

use crate::embedding::{EmbeddingError, Embeddings};
use crate::metrics::MetricsError;
use crate::score::Method;

pub use cross_validation::{CrossValidation, Validated};
pub use detector::Detector;
pub use experiments::{Curve, CurvePoint, Judged, OutlierSearch};
pub use fit::Fit;
pub use head::Head;
pub use recipe::Recipe;
pub use texts::Texts;

/// Why nothing was learned.
#[derive(Debug, Error)]
pub enum TrainError {
    #[error("{method}: expected at least {least} {what}, got {got}")]
    TooFew { method: &'static str, what: &'static str, least: usize, got: usize },
    #[error("embeddings: expected {expected} numbers each, as the texts have, got {got}")]
    Width { expected: usize, got: usize },
    #[error(transparent)]
    Embedding(EmbeddingError),
    #[error(
        "{method}: training ran away after {step} steps (a loss or weight is no finite number); are outliers and normal examples the same pictures?"
    )]
    Diverged { method: &'static str, step: usize },
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error("{method}: {message}")]
    Head { method: &'static str, message: String },
    #[error("training: {0}")]
    Candle(#[from] candle_core::Error),
}

/// Pictures to learn from, by their unit vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Examples {
    pub normal: Embeddings,
    pub outliers: Embeddings,
}

impl Examples {
    /// No examples of that width.
    pub fn none(width: usize) -> Self {
        Self { normal: Embeddings::empty(width), outliers: Embeddings::empty(width) }
    }

    /// Those of the given numbers.
    pub fn subset(&self, normal: &[usize], outliers: &[usize]) -> Self {
        Self { normal: self.normal.select(normal), outliers: self.outliers.select(outliers) }
    }

    /// # Errors
    /// When the method needs more of them, or embeddings are not `width` wide.
    pub fn check(&self, method: &'static Method, width: usize) -> Result<(), TrainError> {
        for embeddings in [&self.normal, &self.outliers] {
            if embeddings.width() != width && !embeddings.is_empty() {
                return Err(TrainError::Width { expected: width, got: embeddings.width() });
            }
        }
        let needs = method.needs;
        for (what, least, got) in [
            ("normal examples", needs.normal_examples, self.normal.len()),
            ("outlier examples", needs.outlier_examples, self.outliers.len()),
        ] {
            if got < least {
                return Err(TrainError::TooFew { method: method.name, what, least, got });
            }
        }
        Ok(())
    }
}

/// How far work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub done: usize,
    pub total: usize,
}

impl Progress {
    pub fn finished(self) -> bool {
        self.done >= self.total
    }
}

/// Work that is done in steps of a few milliseconds each; dropping it cancels.
pub trait Stepwise {
    /// Does a little more; nothing, when it is finished.
    ///
    /// # Errors
    /// When the work cannot go on; it must not be stepped again then.
    fn step(&mut self) -> Result<Progress, TrainError>;

    /// How far it has come.
    fn progress(&self) -> Progress;

    /// Steps until it is finished.
    ///
    /// # Errors
    /// As [`Stepwise::step`].
    fn run(&mut self) -> Result<(), TrainError> {
        while !self.progress().finished() {
            self.step()?;
        }
        Ok(())
    }
}

/// Mean and (population) standard deviation; `None` of nothing.
pub fn mean_and_deviation(x: &[f64]) -> Option<(f64, f64)> {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let deviation = (x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt();
    (!x.is_empty()).then_some((mean, deviation))
}
