//! What a picture's folder says of it, and how well the scores agree with that.

use std::path::Path;

use oddlens::metrics::{MetricsError, Ranking, auroc_interval};
use oddlens::protocol::{Basis, Kind, Score};
use serde::Serialize;

/// Where labels come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Labels {
    /// The nearest folder named normal or anomalous (or good, outliers, defective, ...) above the picture; else, where some folder
    /// bears a name of --normal, the picture's own: that name is normal, all others are anomalous
    Folder,
}

/// Labelled pictures as they are scored.
#[derive(Default)]
pub struct Labelled {
    /// Margin, and what `normal/` and `anomalous/` say.
    by_kind: Vec<(f64, Option<bool>, Option<bool>)>,
    cross_validated: usize,
    /// Some folder bears a name of what is normal.
    has_class: bool,
}

/// Agreement of scores with labels.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Agreement {
    Measured {
        labels: &'static str,
        normal: usize,
        anomalous: usize,
        /// Of both: examples, judged by cross-validation.
        cross_validated: usize,
        auroc: f64,
        /// 95 %, after DeLong.
        auroc_interval: [f64; 2],
        average_precision: f64,
        fpr_at_95: f64,
    },
    Nothing {
        labels: &'static str,
        error: String,
    },
}

impl Labelled {
    /// Takes a scored picture; what an example is known to be goes before its folder's name. One that the method learned from and that could not be left out is in no measure.
    pub fn take(&mut self, path: &Path, known: Option<Kind>, names: &[String], score: &Score, basis: Basis) {
        if basis == Basis::Learned {
            return;
        }
        let folders: Vec<String> = path
            .parent()
            .map(|parent| parent.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        let known = known.map(|kind| kind == Kind::Outlier);
        let kind = known.or_else(|| {
            folders.iter().rev().find_map(|folder| Kind::of_folder(folder)).map(|kind| kind == Kind::Outlier)
        });
        let class = folders.last().map(|folder| names.iter().any(|name| plain(name) == plain(folder)));
        self.has_class |= kind.is_none() && class == Some(true);
        self.cross_validated += usize::from(basis == Basis::CrossValidated);
        self.by_kind.push((f64::from(score.margin), kind, class.map(|is_normal| !is_normal)));
    }

    /// What the labels say of the scores.
    pub fn agreement(&self) -> Agreement {
        let labelled = self
            .by_kind
            .iter()
            .filter_map(|&(margin, kind, class)| Some((margin, kind.or_else(|| class.filter(|_| self.has_class))?)));
        let (margins, anomalous): (Vec<f64>, Vec<bool>) = labelled.unzip();
        let labels = "folder";
        let measured = || -> Result<Agreement, MetricsError> {
            let ranking = Ranking::new(&margins, &anomalous)?;
            let interval = auroc_interval(&margins, &anomalous)?;
            Ok(Agreement::Measured {
                labels,
                normal: ranking.normal(),
                anomalous: ranking.anomalous(),
                cross_validated: self.cross_validated,
                auroc: ranking.auroc(),
                auroc_interval: [interval.low, interval.high],
                average_precision: ranking.average_precision(),
                fpr_at_95: ranking.false_alarm_rate_at(0.95)?,
            })
        };
        measured().unwrap_or_else(|e| Agreement::Nothing { labels, error: e.to_string() })
    }
}

impl Agreement {
    /// For people.
    pub fn line(&self) -> String {
        match self {
            Agreement::Nothing { error, .. } => format!("no ROC: {error}"),
            Agreement::Measured {
                normal,
                anomalous,
                auroc,
                auroc_interval: [low, high],
                average_precision,
                fpr_at_95,
                ..
            } => {
                format!(
                    "AUROC {auroc:.4} (95 % by DeLong: {low:.4} to {high:.4}), average precision {average_precision:.4}, \
                     false-alarm rate at 95 % found {fpr_at_95:.4}, on {normal} normal and {anomalous} anomalous pictures by folder"
                )
            }
        }
    }
}

/// As classes are compared: case and underscores do not matter.
fn plain(name: &str) -> String {
    name.trim().replace('_', " ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreement(pictures: &[(&str, f32)]) -> Agreement {
        let mut labelled = Labelled::default();
        for &(path, margin) in pictures {
            let score = Score { value: 0.5, margin, nearest: 0, cosines: vec![], probabilities: vec![] };
            labelled.take(Path::new(path), None, &["school bus".into()], &score, Basis::Unseen);
        }
        labelled.agreement()
    }

    #[test]
    fn the_nearest_folder_counts() {
        let found =
            agreement(&[("normal/a/1.png", 0.0), ("normal/Anomalous/2.png", 1.0), ("3.png", 9.0), ("x/4.png", 9.0)]);
        assert!(matches!(found, Agreement::Measured { normal: 1, anomalous: 1, auroc: 1.0, .. }), "{found:?}");
        let classes = agreement(&[("School_Bus/1.png", 2.0), ("cat/2.png", 1.0), ("dog/normal/3.png", 3.0)]);
        assert!(matches!(classes, Agreement::Measured { normal: 2, anomalous: 1, auroc: 0.0, .. }), "{classes:?}");
        let none = agreement(&[("cat/2.png", 1.0), ("dog/3.png", 3.0)]);
        assert!(
            none.line().starts_with("no ROC: ") && none.line().contains("got 0 normal and 0 anomalous"),
            "{none:?}"
        );
    }
}
