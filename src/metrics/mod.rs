//! How well scores tell anomalous pictures from normal ones: slices in, numbers out. It does not know where scores come from.
//!
//! A score is a number that is larger for what is more anomalous; `anomalous[i]` is the truth about `scores[i]`. Only the order
//! of scores matters, and equal scores are one point of every curve. What cannot be computed is a [`MetricsError`], never NaN.
//!
//! Definitions are scikit-learn's (`roc_curve`, `precision_recall_curve`, `average_precision_score`); the interval of the AUROC
//! is in [`interval`], thresholds promised from normal examples alone are in [`conformal`].

pub mod conformal;
pub mod interval;

use thiserror::Error;

pub use conformal::{Advice, conformal};
pub use interval::{Interval, auroc_interval};

/// Why there is no number.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum MetricsError {
    #[error("scores and labels: expected one label for each score, got {scores} scores and {labels} labels")]
    Lengths { scores: usize, labels: usize },
    #[error("score {index}: expected a number, got NaN")]
    NotANumber { index: usize },
    #[error(
        "labels: expected both normal and anomalous pictures, got {normal} normal and {anomalous} anomalous; with one kind alone there is nothing to tell apart"
    )]
    OneKind { normal: usize, anomalous: usize },
    #[error("{what}: expected a number between 0 and 1, got {got}")]
    Fraction { what: &'static str, got: f64 },
    #[error(
        "false-alarm rate {rate}: expected at least {needed} normal examples that nothing was learned from, got {got}; with {got}, no rate below {possible:.3} can be promised"
    )]
    TooFewExamples { rate: f64, needed: usize, got: usize, possible: f64 },
}

/// Counts at one threshold: scores above it are called anomalous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Anomalous, and called so.
    pub hits: usize,
    /// Normal, but called anomalous.
    pub false_alarms: usize,
    /// Anomalous, but called normal.
    pub misses: usize,
    /// Normal, and called so.
    pub passes: usize,
}

/// A point of the ROC curve: what is called anomalous when scores of `threshold` and more are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// `+inf` at the first point, where nothing is called anomalous.
    pub threshold: f64,
    pub false_alarm_rate: f64,
    pub hit_rate: f64,
}

/// A point of the precision-recall curve, with the same threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrPoint {
    pub threshold: f64,
    pub precision: f64,
    pub recall: f64,
}

/// Cumulated counts after all scores of `threshold` and more.
struct Step {
    threshold: f64,
    hits: usize,
    false_alarms: usize,
}

/// Scores with their labels, checked and sorted once; every measure is read off it in one pass.
pub struct Ranking {
    /// One step for each distinct score, from the largest down.
    steps: Vec<Step>,
    normal: usize,
    anomalous: usize,
}

impl Ranking {
    /// # Errors
    /// When lengths differ, a score is NaN, or one of the two kinds is absent.
    pub fn new(scores: &[f64], anomalous: &[bool]) -> Result<Self, MetricsError> {
        let (normal, odd) = counted(scores, anomalous)?;
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let mut steps: Vec<Step> = Vec::new();
        let (mut hits, mut false_alarms) = (0, 0);
        for i in order {
            if anomalous[i] {
                hits += 1
            } else {
                false_alarms += 1
            }
            let step = Step { threshold: scores[i], hits, false_alarms };
            match steps.last_mut() {
                // `==` and not the sort's order: minus zero is zero
                Some(last) if last.threshold == scores[i] => *last = step,
                _ => steps.push(step),
            }
        }
        Ok(Self { steps, normal, anomalous: odd })
    }

    /// The probability that an anomalous picture scores higher than a normal one; equal scores count half.
    pub fn auroc(&self) -> f64 {
        // in whole pairs and halves, so that nothing is lost to rounding before the one division
        let (mut twice, mut hits) = (0u128, 0usize);
        let mut alarms = 0usize;
        for step in &self.steps {
            twice += (step.false_alarms - alarms) as u128 * (step.hits + hits) as u128;
            (hits, alarms) = (step.hits, step.false_alarms);
        }
        twice as f64 / (2 * self.normal as u128 * self.anomalous as u128) as f64
    }

    /// The ROC curve from (0, 0) to (1, 1), one point for each distinct score after the first.
    pub fn roc(&self) -> Vec<RocPoint> {
        let first = RocPoint { threshold: f64::INFINITY, false_alarm_rate: 0.0, hit_rate: 0.0 };
        std::iter::once(first).chain(self.steps.iter().map(|s| self.roc_point(s))).collect()
    }

    fn roc_point(&self, step: &Step) -> RocPoint {
        RocPoint {
            threshold: step.threshold,
            false_alarm_rate: step.false_alarms as f64 / self.normal as f64,
            hit_rate: step.hits as f64 / self.anomalous as f64,
        }
    }

    /// The precision-recall curve, one point for each distinct score, recall rising. (scikit-learn adds the point of recall 0
    /// and precision 1, which no threshold has.)
    pub fn precision_recall(&self) -> Vec<PrPoint> {
        let point = |s: &Step| PrPoint {
            threshold: s.threshold,
            precision: s.hits as f64 / (s.hits + s.false_alarms) as f64,
            recall: s.hits as f64 / self.anomalous as f64,
        };
        self.steps.iter().map(point).collect()
    }

    /// `sum of (R_n - R_{n-1}) P_n` over the precision-recall curve, without interpolation.
    pub fn average_precision(&self) -> f64 {
        let mut before = 0.0;
        let mut sum = 0.0;
        for point in self.precision_recall() {
            sum += (point.recall - before) * point.precision;
            before = point.recall;
        }
        sum
    }

    /// The smallest false-alarm rate at which at least the fraction `hit_rate` of the anomalous pictures is found
    /// (FPR95: 0.95).
    ///
    /// # Errors
    /// When the rate is not between 0 and 1.
    pub fn false_alarm_rate_at(&self, hit_rate: f64) -> Result<f64, MetricsError> {
        if !(0.0..=1.0).contains(&hit_rate) {
            return Err(MetricsError::Fraction { what: "hit rate", got: hit_rate });
        }
        let found = self.roc().into_iter().find(|p| p.hit_rate >= hit_rate);
        Ok(found.map_or(1.0, |p| p.false_alarm_rate))
    }

    pub fn normal(&self) -> usize {
        self.normal
    }

    pub fn anomalous(&self) -> usize {
        self.anomalous
    }
}

/// Counts when scores above `threshold` are called anomalous. One kind alone can be counted, too.
///
/// # Errors
/// When lengths differ or a score is NaN.
pub fn confusion(scores: &[f64], anomalous: &[bool], threshold: f64) -> Result<Confusion, MetricsError> {
    checked(scores, anomalous)?;
    let mut counts = Confusion::default();
    for (&score, &odd) in scores.iter().zip(anomalous) {
        match (odd, score > threshold) {
            (true, true) => counts.hits += 1,
            (false, true) => counts.false_alarms += 1,
            (true, false) => counts.misses += 1,
            (false, false) => counts.passes += 1,
        }
    }
    Ok(counts)
}

/// [`Ranking::auroc`] alone.
///
/// # Errors
/// As [`Ranking::new`].
pub fn auroc(scores: &[f64], anomalous: &[bool]) -> Result<f64, MetricsError> {
    Ok(Ranking::new(scores, anomalous)?.auroc())
}

/// [`Ranking::average_precision`] alone.
///
/// # Errors
/// As [`Ranking::new`].
pub fn average_precision(scores: &[f64], anomalous: &[bool]) -> Result<f64, MetricsError> {
    Ok(Ranking::new(scores, anomalous)?.average_precision())
}

fn checked(scores: &[f64], anomalous: &[bool]) -> Result<(), MetricsError> {
    if scores.len() != anomalous.len() {
        return Err(MetricsError::Lengths { scores: scores.len(), labels: anomalous.len() });
    }
    match scores.iter().position(|s| s.is_nan()) {
        Some(index) => Err(MetricsError::NotANumber { index }),
        None => Ok(()),
    }
}

/// Numbers of normal and anomalous pictures, both at least one.
fn counted(scores: &[f64], anomalous: &[bool]) -> Result<(usize, usize), MetricsError> {
    checked(scores, anomalous)?;
    let odd = anomalous.iter().filter(|&&a| a).count();
    let normal = anomalous.len() - odd;
    if odd == 0 || normal == 0 {
        return Err(MetricsError::OneKind { normal, anomalous: odd });
    }
    Ok((normal, odd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // anomalous 0.8, 0.5; normal 0.5, 0.2: pairs 1, 1, 1/2, 1 of 4
        let (scores, odd) = ([0.8, 0.5, 0.5, 0.2], [true, true, false, false]);
        let ranking = Ranking::new(&scores, &odd).expect("both kinds");
        assert_eq!(ranking.auroc(), 3.5 / 4.0);
        let roc: Vec<_> = ranking.roc().iter().map(|p| (p.false_alarm_rate, p.hit_rate)).collect();
        assert_eq!(roc, [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]);
        // 1/2 at precision 1, then 1/2 at precision 2/3
        assert!((ranking.average_precision() - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-15);
        assert_eq!(ranking.false_alarm_rate_at(0.95), Ok(0.5));
        assert_eq!(ranking.false_alarm_rate_at(0.5), Ok(0.0));
        let counts = confusion(&scores, &odd, 0.5).expect("numbers");
        assert_eq!(counts, Confusion { hits: 1, false_alarms: 0, misses: 1, passes: 2 });
    }

    #[test]
    fn what_cannot_be_computed_is_said() {
        let one_kind = auroc(&[0.1, 0.2], &[false, false]).expect_err("no anomalous picture");
        assert_eq!(one_kind, MetricsError::OneKind { normal: 2, anomalous: 0 });
        assert!(one_kind.to_string().contains("got 2 normal and 0 anomalous"));
        assert!(matches!(auroc(&[], &[]), Err(MetricsError::OneKind { .. })));
        assert_eq!(auroc(&[0.0, f64::NAN], &[true, false]), Err(MetricsError::NotANumber { index: 1 }));
        assert_eq!(auroc(&[0.0], &[true, false]), Err(MetricsError::Lengths { scores: 1, labels: 2 }));
        assert!(confusion(&[f64::NAN], &[true], 0.5).is_err());
        assert!(confusion(&[0.3], &[true], 0.5).is_ok());
        let ranking = Ranking::new(&[0.0, 1.0], &[false, true]).expect("both kinds");
        assert!(ranking.false_alarm_rate_at(f64::NAN).is_err());
    }

    #[test]
    fn infinities_have_a_place_and_zeros_are_equal() {
        assert_eq!(auroc(&[f64::INFINITY, f64::NEG_INFINITY], &[true, false]), Ok(1.0));
        assert_eq!(auroc(&[0.0, -0.0], &[true, false]), Ok(0.5));
    }
}
