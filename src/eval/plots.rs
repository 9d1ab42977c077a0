//! The charts of an evaluation: ROC and precision-recall curves, all methods together and each method by class, and the few-shot curve.

use super::plan::Size;
use super::summary::{Column, GRID, Measured};
use super::svg::{Axis, Chart, Line};
use super::table::heading;

/// Every chart as a file name and its content. A method stands in the common charts at its largest number of outliers.
pub fn all(columns: &[Column], classes: &[String], models: &[String]) -> Vec<(String, String)> {
    let last: Vec<&Column> = columns
        .iter()
        .filter(|c| c.overall_auroc().is_some())
        .filter(|c| {
            let same = |d: &&Column| d.method == c.method && d.model == c.model && d.overall_auroc().is_some();
            columns.iter().filter(same).map(|d| d.size).max() == Some(c.size)
        })
        .collect();
    let mut files = Vec::new();
    for (kind, curve) in KINDS {
        if !last.is_empty() {
            let lines = last.iter().filter_map(|c| line(heading(c, models), c.curve(curve.of), false)).collect();
            files
                .push((format!("{}.svg", curve.file), kind_chart(&curve, format!("{kind}, mean over classes"), lines)));
        }
        for column in &last {
            let mut lines: Vec<Line> = classes
                .iter()
                .enumerate()
                .filter_map(|(i, name)| line(name.clone(), column.class_curve(i, curve.of), false))
                .collect();
            if lines.len() > 1 {
                lines.extend(line("mean".into(), column.curve(curve.of), true));
            }
            let model = if models.len() > 1 { format!("-{}", column.model + 1) } else { String::new() };
            let title = format!("{kind} by class: {}", heading(column, models));
            files.push((format!("{}-{}{model}.svg", curve.file, column.method.id), kind_chart(&curve, title, lines)));
        }
    }
    files.extend(few_shot(columns, models).map(|svg| ("few-shot.svg".into(), svg)));
    files
}

/// A kind of curve over the grid.
struct Curve {
    file: &'static str,
    x: &'static str,
    y: &'static str,
    diagonal: bool,
    of: fn(&Measured) -> &[f32],
}

const KINDS: [(&str, Curve); 2] = [
    (
        "ROC",
        Curve {
            file: "roc",
            x: "normal pictures called anomalous, %",
            y: "anomalous pictures found, %",
            diagonal: true,
            of: |m| &m.roc,
        },
    ),
    (
        "Precision and recall",
        Curve {
            file: "pr",
            x: "recall: anomalous pictures found, %",
            y: "precision: rightly called anomalous, %",
            diagonal: false,
            of: |m| &m.precision,
        },
    ),
];

fn kind_chart(curve: &Curve, title: String, mut lines: Vec<Line>) -> String {
    let y = if curve.diagonal {
        // the curve begins where nothing is called anomalous; the grid has the upper end there
        lines.iter_mut().for_each(|line| line.points.insert(0, (0.0, 0.0)));
        Axis::percent(curve.y)
    } else {
        let lowest = lines.iter().flat_map(|l| &l.points).map(|p| p.1).fold(100.0, f64::min);
        Axis::between(curve.y, lowest.min(90.0), 100.0)
    };
    Chart { title, x: Axis::percent(curve.x), y, diagonal: curve.diagonal, lines }.svg()
}

fn line(name: String, curve: Option<Vec<f32>>, bold: bool) -> Option<Line> {
    let step = 100.0 / (GRID - 1) as f64;
    let points = curve?.iter().enumerate().map(|(i, &y)| (i as f64 * step, 100.0 * f64::from(y))).collect();
    Some(Line { name, points, spread: vec![], bold })
}

/// AUROC against the number of outliers, in equal steps; a method that looks at none is level. Bars: deviation over seeds of the
/// mean over classes. `None` where there is one number of outliers only.
fn few_shot(columns: &[Column], models: &[String]) -> Option<String> {
    let mut sizes: Vec<Size> = columns.iter().filter(|c| c.overall_auroc().is_some()).map(|c| c.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.len() < 2 {
        return None;
    }
    let mut lines: Vec<Line> = Vec::new();
    for first in columns.iter().filter(|c| c.by_seed().is_some()) {
        let name = heading(&Column { size: Size(0), classes: vec![], ..first.clone() }, models);
        if lines.iter().any(|l| l.name == name) {
            continue;
        }
        let level = first.method.needs.outlier_examples == 0;
        let at = |(x, &size): (usize, &Size)| {
            let same = |c: &&Column| c.method == first.method && c.model == first.model && (level || c.size == size);
            let figure = columns.iter().find(same)?.by_seed()?;
            Some(((x as f64, 100.0 * figure.mean), 100.0 * figure.deviation))
        };
        let (points, mut spread): (Vec<_>, Vec<_>) = sizes.iter().enumerate().filter_map(at).unzip();
        if spread.iter().all(|&s| s == 0.0) {
            spread.clear();
        }
        lines.push(Line { name, points, spread, bold: false });
    }
    let heights = || lines.iter().flat_map(|l| l.points.iter().map(|p| p.1));
    let (low, high) = (heights().fold(f64::INFINITY, f64::min), heights().fold(f64::NEG_INFINITY, f64::max));
    let ticks = sizes.iter().enumerate().map(|(x, size)| (x as f64, size.to_string())).collect();
    let x = Axis { label: "outlier examples, number".into(), low: 0.0, high: (sizes.len() - 1) as f64, ticks };
    let y = Axis::between("AUROC, %", (low - 0.5).max(0.0), (high + 0.5).min(100.0));
    let title = "Few-shot curve: mean over classes, bars: deviation over seeds".into();
    Some(Chart { title, x, y, diagonal: false, lines }.svg())
}
