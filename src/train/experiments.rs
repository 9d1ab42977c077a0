//! The paper's two questions asked of one's own pictures: how much do few outliers teach (the curve), and which single outlier
//! teaches most (the search)?
//!
//! Both judge only pictures that were not learned from. Pictures set aside for judging are used where both kinds have some; else
//! each draw sets half of the examples aside, at random.

use std::sync::Arc;

use super::random::Random;
use super::{Examples, Fit, Progress, Stepwise, Texts, TrainError, mean_and_deviation};
use crate::metrics;
use crate::score::{Loss, METHODS, Method};

/// Pictures that are judged and never learned from; one of the two may be empty.
pub type Judged = Examples;

/// What is learned from in a draw, in the order in which outliers are taken, and what is judged.
struct Split {
    normal: Vec<usize>,
    outliers: Vec<usize>,
    judged: Examples,
    /// Of the pool: the outliers that stand in `judged` (empty where the caller set pictures aside).
    judged_outliers: Vec<usize>,
}

fn split(pool: &Examples, judged: &Judged, random: &mut Random) -> Split {
    let (normal, outliers) = (random.order(pool.normal.len()), random.order(pool.outliers.len()));
    if !judged.normal.is_empty() && !judged.outliers.is_empty() {
        return Split { normal, outliers, judged: judged.clone(), judged_outliers: vec![] };
    }
    let (n, m) = (normal.len().div_ceil(2), outliers.len().div_ceil(2));
    let halves = pool.subset(&normal[n..], &outliers[m..]);
    Split {
        normal: normal[..n].to_vec(),
        outliers: outliers[..m].to_vec(),
        judged: halves,
        judged_outliers: outliers[m..].to_vec(),
    }
}

/// A detector's AUROC on what is judged.
fn auroc(fit: &Fit, judged: &Examples, except: Option<usize>) -> Result<f64, TrainError> {
    let detector = fit.detector()?;
    let mut margins = detector.margins(&judged.normal);
    let mut odd = vec![false; margins.len()];
    for (i, row) in judged.outliers.rows().enumerate() {
        if except != Some(i) {
            margins.push(f64::from(detector.score(row).margin));
            odd.push(true);
        }
    }
    Ok(metrics::auroc(&margins, &odd)?)
}

/// AUROC of a method at a number of outlier examples, once for each draw.
#[derive(Clone, Debug, PartialEq)]
pub struct CurvePoint {
    /// The `id` of a method.
    pub method: &'static str,
    pub outliers: usize,
    pub aurocs: Vec<f64>,
}

impl CurvePoint {
    /// Over the draws.
    pub fn mean_and_deviation(&self) -> Option<(f64, f64)> {
        mean_and_deviation(&self.aurocs)
    }
}

/// What to do next: a method at a size in a draw.
#[derive(Clone, Copy)]
struct Task {
    method: &'static Method,
    size: usize,
    draw: usize,
}

/// The few-shot curve.
pub struct Curve {
    texts: Arc<Texts>,
    pool: Examples,
    splits: Vec<Split>,
    seed: u64,
    tasks: Vec<Task>,
    next: usize,
    current: Option<Fit>,
    points: Vec<CurvePoint>,
}

impl Curve {
    /// Begins: every method at 0, 1, 2, 4, ... outliers as far as `sizes` and the pool go, in `draws` seeded draws. At 0 stand the
    /// methods that need no outlier, and CLIP-OE, which is zero-shot there; a method that looks at no outliers is fitted once for
    /// each draw and is level.
    ///
    /// # Errors
    /// When a method that is asked for cannot be had with the pool, or nothing can be judged.
    pub fn new(
        methods: &[&'static Method],
        texts: Arc<Texts>,
        pool: Examples,
        judged: Judged,
        sizes: &[usize],
        draws: usize,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let splits: Vec<Split> =
            (0..draws).map(|draw| split(&pool, &judged, &mut Random::new(seed, 1000 + draw as u64))).collect();
        let most = splits.first().map_or(0, |s| s.outliers.len());
        let sizes: Vec<usize> = sizes.iter().copied().filter(|&size| size <= most).collect();
        if let Some(split) = splits.first() {
            let kinds: Vec<bool> = [(split.judged.normal.len(), false), (split.judged.outliers.len(), true)]
                .into_iter()
                .flat_map(|(n, odd)| std::iter::repeat_n(odd, n))
                .collect();
            metrics::auroc(&vec![0.0; kinds.len()], &kinds)?;
            for method in methods {
                let outliers = split.outliers.len().min(method.needs.outlier_examples);
                pool.subset(&split.normal, &split.outliers[..outliers]).check(method, texts.embeddings().width())?;
            }
        }
        let mut tasks = Vec::new();
        let mut points = Vec::new();
        for &method in methods {
            let least = if method.loss == Some(Loss::ClipOe) { 0 } else { method.needs.outlier_examples };
            for &size in sizes.iter().filter(|&&size| size >= least) {
                points.push(CurvePoint { method: method.id, outliers: size, aurocs: vec![] });
                let level = method.needs.outlier_examples == 0;
                if !level || Some(&size) == sizes.first() {
                    tasks.extend((0..draws).map(|draw| Task { method, size, draw }));
                }
            }
        }
        let mut curve = Self { texts, pool, splits, seed, tasks, next: 0, current: None, points };
        curve.begin()?;
        Ok(curve)
    }

    /// The points so far, in the order of methods and sizes; those not yet reached have no AUROCs.
    pub fn points(&self) -> &[CurvePoint] {
        &self.points
    }

    fn begin(&mut self) -> Result<(), TrainError> {
        self.current = None;
        if let Some(&task) = self.tasks.get(self.next) {
            let split = &self.splits[task.draw];
            let examples = self.pool.subset(&split.normal, &split.outliers[..task.size]);
            // nothing to learn from: where CLIP-OE starts
            let method = if task.size < task.method.needs.outlier_examples { &METHODS[0] } else { task.method };
            self.current = Some(Fit::new(method, self.texts.clone(), &examples, self.seed + task.draw as u64)?);
        }
        Ok(())
    }
}

impl Stepwise for Curve {
    fn step(&mut self) -> Result<Progress, TrainError> {
        let (Some(fit), Some(&task)) = (&mut self.current, self.tasks.get(self.next)) else {
            return Ok(self.progress());
        };
        if !fit.step()?.finished() {
            return Ok(self.progress());
        }
        let value = auroc(fit, &self.splits[task.draw].judged, None)?;
        let level = task.method.needs.outlier_examples == 0;
        for point in &mut self.points {
            if point.method == task.method.id && (level || point.outliers == task.size) {
                point.aurocs.push(value);
            }
        }
        self.next += 1;
        self.begin()?;
        Ok(self.progress())
    }

    /// In hundredths of a fit.
    fn progress(&self) -> Progress {
        Progress { done: 100 * self.next + hundredths(self.current.as_ref()), total: 100 * self.tasks.len() }
    }
}

/// The paper's one-outlier search: every outlier of the pool in turn as the only example.
pub struct OutlierSearch {
    method: &'static Method,
    texts: Arc<Texts>,
    pool: Examples,
    split: Split,
    seed: u64,
    next: usize,
    current: Option<Fit>,
    aurocs: Vec<f64>,
}

impl OutlierSearch {
    /// Begins. Without pictures set aside, half of the normal examples are learned from, and the other half and all other outliers
    /// are judged.
    ///
    /// # Errors
    /// When the method cannot be had with one outlier, or nothing can be judged.
    pub fn new(
        method: &'static Method,
        texts: Arc<Texts>,
        pool: Examples,
        judged: Judged,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let mut split = split(&pool, &judged, &mut Random::new(seed, 5));
        let own = judged.normal.is_empty() || judged.outliers.is_empty();
        if own {
            split.judged = Examples { normal: split.judged.normal, outliers: pool.outliers.clone() };
        }
        split.judged_outliers = if own { (0..pool.outliers.len()).collect() } else { vec![] };
        let least = if own { 2 } else { 1 };
        if pool.outliers.len() < least {
            let got = pool.outliers.len();
            return Err(TrainError::TooFew { method: "one-outlier search", what: "outlier examples", least, got });
        }
        let mut search = Self { method, texts, pool, split, seed, next: 0, current: None, aurocs: vec![] };
        let kinds = [search.split.judged.normal.len(), search.split.judged.outliers.len() - usize::from(own)];
        let labels: Vec<bool> = (0..kinds[0]).map(|_| false).chain((0..kinds[1]).map(|_| true)).collect();
        metrics::auroc(&vec![0.0; labels.len()], &labels)?;
        search.begin()?;
        Ok(search)
    }

    /// AUROC that each outlier of the pool taught when it was the only one, in the order of the pool, as far as it has come.
    pub fn aurocs(&self) -> &[f64] {
        &self.aurocs
    }

    fn begin(&mut self) -> Result<(), TrainError> {
        self.current = None;
        if self.next < self.pool.outliers.len() {
            let examples = self.pool.subset(&self.split.normal, &[self.next]);
            self.current = Some(Fit::new(self.method, self.texts.clone(), &examples, self.seed)?);
        }
        Ok(())
    }
}

impl Stepwise for OutlierSearch {
    fn step(&mut self) -> Result<Progress, TrainError> {
        let Some(fit) = &mut self.current else { return Ok(self.progress()) };
        if !fit.step()?.finished() {
            return Ok(self.progress());
        }
        let except = self.split.judged_outliers.iter().position(|&i| i == self.next);
        self.aurocs.push(auroc(fit, &self.split.judged, except)?);
        self.next += 1;
        self.begin()?;
        Ok(self.progress())
    }

    /// In hundredths of a fit.
    fn progress(&self) -> Progress {
        Progress { done: 100 * self.next + hundredths(self.current.as_ref()), total: 100 * self.pool.outliers.len() }
    }
}

/// How far a fit has come, 0 to 99.
fn hundredths(fit: Option<&Fit>) -> usize {
    fit.map_or(0, |fit| {
        let Progress { done, total } = fit.progress();
        (100 * done / total.max(1)).min(99)
    })
}
