//! What other programs read: `results.json` with the reference's keys, and `scores.csv`, one line for each picture of each run.
//!
//! Source of the keys: the results file written at the end of `ADTrainer.run`, `src/eoe/training/ad_trainer.py` in
//! liznerski/eoe. There one file has one method; here the keys stand at the top for the first column, and for every column
//! in `columns`.

use std::io::Write;

use serde::Serialize;

use super::plan::{LeftOut, Plan, Protocol, Run, Size};
use super::run::Judged;
use super::summary::{Column, Measured};

/// Everything that came out.
#[derive(Serialize)]
pub struct Results<'a> {
    #[serde(flatten)]
    first: Option<Keys>,
    classes: &'a [String],
    protocol: &'static str,
    models: Vec<ModelEntry<'a>>,
    columns: Vec<Entry<'a>>,
    left_out: Vec<LeftOutEntry<'a>>,
    /// Pictures that could not be seen.
    failed: Vec<FailedEntry<'a>>,
}

/// The reference's own; AUROC and precision from 0 to 1.
#[derive(Serialize)]
struct Keys {
    eval_mean_auc: Option<f64>,
    /// Over classes, population.
    eval_std_auc: Option<f64>,
    eval_mean_avg_prec: Option<f64>,
    /// AUROC by class, then by seed; null where there is none.
    eval_cls_rocs: Vec<Vec<Option<f64>>>,
}

#[derive(Serialize)]
struct ModelEntry<'a> {
    name: &'a str,
    sha256: &'a str,
    compute: &'a str,
}

#[derive(Serialize)]
struct Entry<'a> {
    model: &'a str,
    method: &'a str,
    oe_size: SizeEntry,
    #[serde(flatten)]
    keys: Keys,
    eval_std_avg_prec: Option<f64>,
    eval_mean_fpr_at_95: Option<f64>,
    /// By class, then by seed.
    cells: Vec<Vec<Cell<'a>>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Cell<'a> {
    Measured {
        normal: usize,
        anomalous: usize,
        auroc: f64,
        /// 95 %, after DeLong.
        auroc_interval: [f64; 2],
        average_precision: f64,
        fpr_at_95: f64,
    },
    Nothing {
        reason: &'a str,
    },
}

/// A number, or "all".
#[derive(Serialize)]
#[serde(untagged)]
enum SizeEntry {
    Number(usize),
    All(&'static str),
}

impl From<Size> for SizeEntry {
    fn from(size: Size) -> Self {
        if size == Size::ALL { Self::All("all") } else { Self::Number(size.0) }
    }
}

#[derive(Serialize)]
struct LeftOutEntry<'a> {
    methods: &'a [&'static str],
    oe_size: SizeEntry,
    tasks: &'a [String],
    reason: String,
}

#[derive(Serialize)]
struct FailedEntry<'a> {
    path: &'a str,
    error: &'a str,
}

/// A model's name, checksum and way to compute.
pub type ModelNames = (String, String, &'static str);

/// Puts the results together. `failed` are paths with the reason.
pub fn results<'a>(
    plan: &'a Plan,
    protocol: Protocol,
    models: &'a [ModelNames],
    columns: &'a [Column],
    left_out: &'a [LeftOut],
    failed: &'a [(String, String)],
) -> Results<'a> {
    let entry = |column: &'a Column| Entry {
        model: &models[column.model].0,
        method: column.method.id,
        oe_size: column.size.into(),
        keys: keys(column),
        eval_std_avg_prec: column.overall(|m| m.average_precision).map(|f| f.deviation),
        eval_mean_fpr_at_95: column.overall(|m| m.false_alarms_at_95).map(|f| f.mean),
        cells: column.classes.iter().map(|seeds| seeds.iter().map(cell).collect()).collect(),
    };
    Results {
        first: columns.first().map(keys),
        classes: &plan.classes,
        protocol: match protocol {
            Protocol::OneVsRest => "one_vs_rest",
            Protocol::LeaveOneOut => "leave_one_out",
        },
        models: models.iter().map(|(name, sha256, compute)| ModelEntry { name, sha256, compute }).collect(),
        columns: columns.iter().map(entry).collect(),
        left_out: left_out
            .iter()
            .map(|l| LeftOutEntry { methods: &l.methods, oe_size: l.size.into(), tasks: &l.tasks, reason: l.reason() })
            .collect(),
        failed: failed.iter().map(|(path, error)| FailedEntry { path, error }).collect(),
    }
}

fn keys(column: &Column) -> Keys {
    let auroc = column.overall_auroc();
    let one = |measured: &Result<Measured, String>| measured.as_ref().ok().map(|m| m.auroc);
    Keys {
        eval_mean_auc: auroc.map(|f| f.mean),
        eval_std_auc: auroc.map(|f| f.deviation),
        eval_mean_avg_prec: column.overall(|m| m.average_precision).map(|f| f.mean),
        eval_cls_rocs: column.classes.iter().map(|seeds| seeds.iter().map(one).collect()).collect(),
    }
}

fn cell(measured: &Result<Measured, String>) -> Cell<'_> {
    match measured {
        Ok(m) => Cell::Measured {
            normal: m.normal,
            anomalous: m.anomalous,
            auroc: m.auroc,
            auroc_interval: [m.low, m.high],
            average_precision: m.average_precision,
            fpr_at_95: m.false_alarms_at_95,
        },
        Err(reason) => Cell::Nothing { reason },
    }
}

/// The scores of every run, as they come.
pub struct Scores<W: Write> {
    out: csv::Writer<W>,
}

impl<W: Write> Scores<W> {
    /// Begins with the header.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn begin(out: W) -> csv::Result<Self> {
        let mut out = csv::Writer::from_writer(out);
        out.write_record(["task", "method", "oe_size", "seed", "path", "is_anomaly", "score"])?;
        Ok(Self { out })
    }

    /// A run's lines. The score is the margin: it ranks as the score does, and without saturation; every digit is there.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(&mut self, run: &Run, judged: &Judged, plan: &Plan) -> csv::Result<()> {
        let (size, seed) = (run.size.to_string(), run.seed.to_string());
        let task = &plan.tasks[run.task].name;
        for (&(item, anomalous), margin) in judged.pictures.iter().zip(&judged.margins) {
            let odd = if anomalous { "1" } else { "0" };
            let path = &plan.items[item].path;
            self.out.write_record([task, run.method.id, &size, &seed, path, odd, &margin.to_string()])?;
        }
        Ok(())
    }

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn flush(&mut self) -> csv::Result<()> {
        Ok(self.out.flush()?)
    }
}
