//! From the scores of runs to the figures that are reported: per seed, mean over seeds, mean over classes.
//!
//! As the paper does it: a class's figure is the mean over seeds; the last line is mean and (population) standard deviation over
//! classes. It does not know what the scores are of.

use std::collections::BTreeMap;

use super::plan::{Plan, Run, Size};
use super::run::Judged;
use crate::metrics::{MetricsError, Ranking, auroc_interval};
use crate::score::Method;
use crate::train::mean_and_deviation;

/// Points of a curve that is kept, evenly spaced from 0 to 1.
pub const GRID: usize = 201;

/// What one run measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub normal: usize,
    pub anomalous: usize,
    pub auroc: f64,
    /// 95 % after DeLong.
    pub low: f64,
    pub high: f64,
    pub average_precision: f64,
    /// False-alarm rate where 95 % of the anomalous pictures are found.
    pub false_alarms_at_95: f64,
    /// Hit rate along the grid of false-alarm rates.
    pub roc: Vec<f32>,
    /// Precision along the grid of recalls.
    pub precision: Vec<f32>,
}

/// Measures a run.
///
/// # Errors
/// When one of the two kinds is absent.
pub fn measure(judged: &Judged) -> Result<Measured, MetricsError> {
    let margins: Vec<f64> = judged.margins.iter().map(|&m| f64::from(m)).collect();
    let anomalous: Vec<bool> = judged.pictures.iter().map(|&(_, odd)| odd).collect();
    let ranking = Ranking::new(&margins, &anomalous)?;
    let interval = auroc_interval(&margins, &anomalous)?;
    let roc: Vec<(f64, f64)> = ranking.roc().iter().map(|p| (p.false_alarm_rate, p.hit_rate)).collect();
    let precision: Vec<(f64, f64)> = ranking.precision_recall().iter().map(|p| (p.recall, p.precision)).collect();
    Ok(Measured {
        normal: ranking.normal(),
        anomalous: ranking.anomalous(),
        auroc: ranking.auroc(),
        low: interval.low,
        high: interval.high,
        average_precision: ranking.average_precision(),
        false_alarms_at_95: ranking.false_alarm_rate_at(0.95)?,
        roc: grid(|x| between(&roc, x)),
        precision: grid(|x| reached(&precision, x)),
    })
}

fn grid(y: impl Fn(f64) -> f64) -> Vec<f32> {
    (0..GRID).map(|i| y(i as f64 / (GRID - 1) as f64) as f32).collect()
}

/// On straight lines between points whose x rises; where several have one x, the upper end.
fn between(points: &[(f64, f64)], x: f64) -> f64 {
    let after = points.partition_point(|p| p.0 <= x);
    match (after.checked_sub(1).map(|i| points[i]), points.get(after)) {
        (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (x - a.0) / (b.0 - a.0),
        (Some(a), None) => a.1,
        (None, b) => b.map_or(0.0, |b| b.1),
    }
}

/// The y of the first point whose x is at least that: precision is not interpolated.
fn reached(points: &[(f64, f64)], x: f64) -> f64 {
    let first = points.partition_point(|p| p.0 < x - 1e-12);
    points.get(first).or(points.last()).map_or(0.0, |p| p.1)
}

/// Mean and deviation, and of how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    pub mean: f64,
    pub deviation: f64,
    pub count: usize,
}

fn figure(values: &[f64]) -> Option<Figure> {
    mean_and_deviation(values).map(|(mean, deviation)| Figure { mean, deviation, count: values.len() })
}

/// One method at one number of outliers, by one model.
#[derive(Clone, Debug)]
pub struct Column {
    /// Number of the model, 0 for the first.
    pub model: usize,
    pub method: &'static Method,
    pub size: Size,
    /// By class, then by seed; the reason where nothing could be measured.
    pub classes: Vec<Vec<Result<Measured, String>>>,
}

impl Column {
    fn values(&self, class: usize, what: impl Fn(&Measured) -> f64) -> Vec<f64> {
        self.classes[class].iter().filter_map(|m| m.as_ref().ok()).map(what).collect()
    }

    /// AUROC of a class over seeds.
    pub fn class_auroc(&self, class: usize) -> Option<Figure> {
        figure(&self.values(class, |m| m.auroc))
    }

    /// Over classes, of the means over seeds.
    pub fn overall(&self, what: impl Fn(&Measured) -> f64 + Copy) -> Option<Figure> {
        let means: Vec<f64> =
            (0..self.classes.len()).filter_map(|c| figure(&self.values(c, what))).map(|f| f.mean).collect();
        figure(&means)
    }

    pub fn overall_auroc(&self) -> Option<Figure> {
        self.overall(|m| m.auroc)
    }

    /// Over seeds, of the mean AUROC over the classes that have that seed.
    pub fn by_seed(&self) -> Option<Figure> {
        let most = self.classes.iter().map(Vec::len).max().unwrap_or(0);
        let of = |seed: usize| -> Option<f64> {
            let found: Vec<f64> =
                self.classes.iter().filter_map(|c| c.get(seed)?.as_ref().ok()).map(|m| m.auroc).collect();
            figure(&found).map(|f| f.mean)
        };
        figure(&(0..most).filter_map(of).collect::<Vec<f64>>())
    }

    /// The mean curve of a class over seeds.
    pub fn class_curve(&self, class: usize, what: fn(&Measured) -> &[f32]) -> Option<Vec<f32>> {
        let curves: Vec<&[f32]> = self.classes[class].iter().filter_map(|m| m.as_ref().ok()).map(what).collect();
        mean_curve(&curves)
    }

    /// The mean curve over classes, of the means over seeds.
    pub fn curve(&self, what: fn(&Measured) -> &[f32]) -> Option<Vec<f32>> {
        let curves: Vec<Vec<f32>> = (0..self.classes.len()).filter_map(|c| self.class_curve(c, what)).collect();
        mean_curve(&curves.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}

fn mean_curve(curves: &[&[f32]]) -> Option<Vec<f32>> {
    let n = curves.len() as f32;
    (!curves.is_empty()).then(|| (0..GRID).map(|i| curves.iter().map(|c| c[i]).sum::<f32>() / n).collect())
}

/// Columns in the making.
pub struct Columns {
    classes: usize,
    by: BTreeMap<(usize, usize, Size), Column>,
}

impl Columns {
    pub fn new(plan: &Plan) -> Self {
        Self { classes: plan.classes.len(), by: BTreeMap::new() }
    }

    /// Takes what a run measured; runs of a class come by rising seed.
    pub fn take(&mut self, model: usize, run: &Run, plan: &Plan, measured: Result<Measured, String>) {
        let place = crate::score::METHODS.iter().position(|m| m == run.method).unwrap_or(usize::MAX);
        let (classes, method, size) = (self.classes, run.method, run.size);
        let column = self.by.entry((place, model, size)).or_insert_with(|| Column {
            model,
            method,
            size,
            classes: vec![vec![]; classes],
        });
        column.classes[plan.tasks[run.task].class].push(measured);
    }

    /// By method, then size, then model.
    pub fn finish(self) -> Vec<Column> {
        let mut columns: Vec<((usize, usize, Size), Column)> = self.by.into_iter().collect();
        columns.sort_by_key(|((place, model, size), _)| (*place, *size, *model));
        columns.into_iter().map(|(_, column)| column).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(margins: &[f32], anomalous: &[bool]) -> Judged {
        Judged { pictures: anomalous.iter().copied().enumerate().collect(), margins: margins.into(), copies: 0 }
    }

    #[test]
    fn by_hand() {
        // anomalous 0.8, 0.5; normal 0.5, 0.2: see `metrics`
        let m = measure(&judged(&[0.8, 0.5, 0.5, 0.2], &[true, true, false, false])).expect("both kinds");
        assert_eq!((m.auroc, m.normal, m.anomalous, m.false_alarms_at_95), (3.5 / 4.0, 2, 2, 0.5));
        // from (0, 1/2) straight to (1/2, 1)
        assert_eq!((m.roc[0], m.roc[50], m.roc[100], m.roc[200]), (0.5, 0.75, 1.0, 1.0));
        assert_eq!((m.precision[0], m.precision[100]), (1.0, 1.0));
        assert!((m.precision[101] - 2.0 / 3.0).abs() < 1e-6);
        assert!(measure(&judged(&[1.0], &[true])).is_err());
    }

    #[test]
    fn means_are_over_seeds_first() {
        let m = measure(&judged(&[0.8, 0.5, 0.5, 0.2], &[true, true, false, false])).expect("both kinds");
        let with = |auroc: f64| Ok(Measured { auroc, ..m.clone() });
        let classes = vec![vec![with(0.9), with(0.7)], vec![with(0.6)], vec![Err("none".into())]];
        let column = Column { model: 0, method: &crate::score::METHODS[0], size: Size(0), classes };
        let all = column.overall_auroc().expect("two classes");
        assert!((all.mean - 0.7).abs() < 1e-12 && (all.deviation - 0.1).abs() < 1e-12 && all.count == 2);
        let first = column.class_auroc(0).expect("two seeds");
        assert!((first.mean - 0.8).abs() < 1e-12 && (first.deviation - 0.1).abs() < 1e-12);
        assert_eq!(column.class_auroc(2), None);
        // seeds: (0.9 + 0.6) / 2 and 0.7
        assert!((column.by_seed().expect("two seeds").mean - 0.725).abs() < 1e-12);
    }
}
