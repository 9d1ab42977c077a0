//! Scores of pictures that were learned from, as if they had not been: stratified folds, each judged by a detector that was fitted
//! without it.
//!
//! Source of the practice: Stone, "Cross-Validatory Choice and Assessment of Statistical Predictions", JRSS B 36 (1974).

use std::sync::Arc;

use super::random::Random;
use super::{Detector, Examples, Fit, Progress, Stepwise, Texts, TrainError};
use crate::metrics;
use crate::protocol::Score;
use crate::score::{METHODS, Method};

/// Folds where examples allow.
pub const FOLDS: usize = 5;

/// What cross-validation found.
#[derive(Clone, Debug, PartialEq)]
pub struct Validated {
    /// Along the normal examples; `None` where a picture could not be left out, because the method needs it.
    pub normal: Vec<Option<Score>>,
    /// Along the outliers.
    pub outliers: Vec<Option<Score>>,
    /// AUROC of the method on the pictures that could be left out; `None` where one kind has none.
    pub auroc: Option<f64>,
    /// AUROC of zero-shot on those very pictures.
    pub zero_shot: Option<f64>,
}

/// How a method compares with zero-shot on pictures that it had not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Higher or equal.
    NotWorse,
    /// Lower: better not used, and people must be told.
    Worse,
    /// There were not enough examples to tell.
    Unknown,
}

impl Validated {
    pub fn verdict(&self) -> Verdict {
        match (self.auroc, self.zero_shot) {
            (Some(own), Some(zero_shot)) if own < zero_shot => Verdict::Worse,
            (Some(_), Some(_)) => Verdict::NotWorse,
            _ => Verdict::Unknown,
        }
    }
}

/// The work; take [`CrossValidation::result`] when it is finished.
pub struct CrossValidation {
    method: &'static Method,
    texts: Arc<Texts>,
    examples: Examples,
    seed: u64,
    /// Fold of each picture; `None`: in every training set.
    normal_folds: Vec<Option<usize>>,
    outlier_folds: Vec<Option<usize>>,
    folds: usize,
    /// The fold at work and its fit; `None` when all are done.
    current: Option<(usize, Fit)>,
    steps_before: usize,
    result: Validated,
}

impl CrossValidation {
    /// Begins.
    ///
    /// # Errors
    /// As [`Fit::new`] on all examples.
    pub fn new(method: &'static Method, texts: Arc<Texts>, examples: Examples, seed: u64) -> Result<Self, TrainError> {
        examples.check(method, texts.embeddings().width())?;
        let (normal, outliers) = (examples.normal.len(), examples.outliers.len());
        let (normal_folds, outlier_folds) = folds(method, normal, outliers, seed);
        let folds = normal_folds.iter().chain(&outlier_folds).flatten().max().map_or(0, |&last| last + 1);
        let result =
            Validated { normal: vec![None; normal], outliers: vec![None; outliers], auroc: None, zero_shot: None };
        let mut work = Self {
            method,
            texts,
            examples,
            seed,
            normal_folds,
            outlier_folds,
            folds,
            current: None,
            steps_before: 0,
            result,
        };
        work.current = work.fit(0)?;
        Ok(work)
    }

    /// What was found, when finished.
    pub fn result(&self) -> Option<&Validated> {
        self.current.is_none().then_some(&self.result)
    }

    fn fit(&self, fold: usize) -> Result<Option<(usize, Fit)>, TrainError> {
        if fold >= self.folds {
            return Ok(None);
        }
        let kept =
            |folds: &[Option<usize>]| -> Vec<usize> { (0..folds.len()).filter(|&i| folds[i] != Some(fold)).collect() };
        let rest = self.examples.subset(&kept(&self.normal_folds), &kept(&self.outlier_folds));
        Ok(Some((fold, Fit::new(self.method, self.texts.clone(), &rest, self.seed)?)))
    }

    fn judge(&mut self, fold: usize, detector: &Detector) {
        let sides = [
            (&self.normal_folds, &self.examples.normal, &mut self.result.normal),
            (&self.outlier_folds, &self.examples.outliers, &mut self.result.outliers),
        ];
        for (folds, embeddings, scores) in sides {
            for (i, row) in embeddings.rows().enumerate().filter(|&(i, _)| folds[i] == Some(fold)) {
                scores[i] = Some(detector.score(row));
            }
        }
    }

    /// Both AUROCs over all pictures that were left out once.
    fn compare(&mut self) {
        let zero_shot = &METHODS[0];
        let (mut own, mut theirs, mut odd) = (vec![], vec![], vec![]);
        let none = Examples::none(self.texts.embeddings().width());
        let Ok(reference) = Detector::untrained(zero_shot, self.texts.clone(), &none) else { return };
        let sides = [
            (&self.examples.normal, &self.result.normal, false),
            (&self.examples.outliers, &self.result.outliers, true),
        ];
        for (embeddings, scores, is_odd) in sides {
            for (row, score) in embeddings.rows().zip(scores) {
                let Some(score) = score else { continue };
                own.push(f64::from(score.margin));
                theirs.push(f64::from(reference.score(row).margin));
                odd.push(is_odd);
            }
        }
        self.result.auroc = metrics::auroc(&own, &odd).ok();
        self.result.zero_shot = metrics::auroc(&theirs, &odd).ok();
    }
}

impl Stepwise for CrossValidation {
    fn step(&mut self) -> Result<Progress, TrainError> {
        let Some((fold, mut fit)) = self.current.take() else { return Ok(self.progress()) };
        let progress = fit.step()?;
        if !progress.finished() {
            self.current = Some((fold, fit));
            return Ok(self.progress());
        }
        self.steps_before += progress.total.max(1);
        self.judge(fold, &fit.detector()?);
        self.current = self.fit(fold + 1)?;
        if self.current.is_none() {
            self.compare();
        }
        Ok(self.progress())
    }

    /// Later folds are taken to be as long as the present one.
    fn progress(&self) -> Progress {
        match &self.current {
            None => Progress { done: self.steps_before, total: self.steps_before },
            Some((fold, fit)) => {
                let now = fit.progress();
                let total = self.steps_before + (self.folds - fold) * now.total.max(1);
                Progress { done: self.steps_before + now.done.min(now.total.max(1) - 1), total }
            }
        }
    }
}

/// The fold in which each normal example, and each outlier, is left out; `None`: in none.
pub fn folds(
    method: &'static Method,
    normal: usize,
    outliers: usize,
    seed: u64,
) -> (Vec<Option<usize>>, Vec<Option<usize>>) {
    let mut random = Random::new(seed, 4);
    let normal_folds = assign(normal, method.needs.normal_examples, &mut random);
    let outlier_folds = assign(outliers, method.needs.outlier_examples, &mut random);
    (normal_folds, outlier_folds)
}

/// A fold for each of `n` pictures, at random and evenly, so that at least `needed` always remain; `None` for all where that
/// cannot be.
fn assign(n: usize, needed: usize, random: &mut Random) -> Vec<Option<usize>> {
    // the largest fold has ceil(n / folds) pictures
    let folds = FOLDS.min(n);
    if n == 0 || (n - n.div_ceil(folds)) < needed {
        return vec![None; n];
    }
    let mut fold_of = vec![None; n];
    for (place, picture) in random.order(n).into_iter().enumerate() {
        fold_of[picture] = Some(place % folds);
    }
    fold_of
}
