//! Scores from cosines: one file per method, and the static list [`METHODS`] from which the command line's `--method`, its
//! help and the page's menu follow. A larger score is more anomalous.
//!
//! It knows neither images nor models: a picture is a row of cosines with the texts in use.
//!
//! Source: Liznerski et al., "Exposing Outlier Exposure: What Can Be Learned From Few, One, and Zero Outlier Images",
//! TMLR 2022 (arXiv 2205.11474).

pub mod mcm;
pub mod prompts;
pub mod zero_shot;

use thiserror::Error;

use crate::protocol::{EntryKind, MethodInfo, Score};

/// What cosines are multiplied with before softmax: CLIP's logit scale at its upper bound, fixed in the paper.
pub const LOGIT_SCALE: f64 = 100.0;

/// Why nothing can be scored.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ScoreError {
    #[error("method: expected one of {known}, got '{got}'")]
    UnknownMethod { known: String, got: String },
    #[error("{method}: expected at least {least} normal classes, got {got}")]
    TooFewNormal { method: &'static str, least: usize, got: usize },
    #[error("normal classes: expected at least one, got none")]
    NoNormal,
    #[error("anomaly texts: expected at least one, got none")]
    NoAnomaly,
    #[error("template: expected '{{}}' where the name goes, got '{0}'")]
    NoPlaceholder(String),
}

/// A way to score.
pub struct Method {
    /// Stable, used in links and on the command line.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    /// One paragraph with the source.
    pub explanation: &'static str,
    /// Fewest normal classes it makes sense with.
    pub least_normal: usize,
    /// Logits (100 x cosine, f64) and kinds of all entries, in that order, to value, margin and probabilities.
    judge: fn(&[f64], &[EntryKind]) -> Judgement,
}

/// What a method makes of one picture.
struct Judgement {
    value: f64,
    margin: f64,
    probabilities: Vec<f64>,
}

/// Every method, in the order to show.
pub static METHODS: &[Method] = &[zero_shot::METHOD, mcm::METHOD];

/// The method named `id`.
///
/// # Errors
/// When there is none; the message lists those there are.
pub fn method(id: &str) -> Result<&'static Method, ScoreError> {
    METHODS.iter().find(|m| m.id == id).ok_or_else(|| ScoreError::UnknownMethod {
        known: METHODS.iter().map(|m| m.id).collect::<Vec<_>>().join(", "),
        got: id.into(),
    })
}

impl Method {
    /// Scores one picture: `cosines` with all entries, `kinds` of the same entries, at least one of them normal.
    ///
    /// # Panics
    /// When the two differ in length or no entry is normal.
    pub fn score(&self, cosines: &[f32], kinds: &[EntryKind]) -> Score {
        assert_eq!(cosines.len(), kinds.len(), "one cosine for each entry");
        let logits: Vec<f64> = cosines.iter().map(|&c| LOGIT_SCALE * f64::from(c)).collect();
        let judgement = (self.judge)(&logits, kinds);
        let nearest = (0..cosines.len())
            .filter(|&i| kinds[i] == EntryKind::Normal)
            .reduce(|best, i| if cosines[i] > cosines[best] { i } else { best })
            .expect("a setup has a normal class");
        Score {
            value: judgement.value as f32,
            margin: judgement.margin as f32,
            nearest,
            cosines: cosines.to_vec(),
            probabilities: judgement.probabilities.iter().map(|&p| p as f32).collect(),
        }
    }

    /// As shown to people.
    pub fn info(&self) -> MethodInfo {
        MethodInfo { id: self.id.into(), name: self.name.into(), explanation: self.explanation.into() }
    }
}

/// `ln(sum(exp(x)))` without overflow; of nothing: `-inf`.
fn log_sum_exp(x: impl Iterator<Item = f64> + Clone) -> f64 {
    let top = x.clone().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY { top } else { top + x.map(|v| (v - top).exp()).sum::<f64>().ln() }
}

/// The logits of the entries of one kind.
fn of_kind<'a>(logits: &'a [f64], kinds: &'a [EntryKind], kind: EntryKind) -> impl Iterator<Item = f64> + Clone + 'a {
    logits.iter().zip(kinds).filter(move |(_, k)| **k == kind).map(|(&l, _)| l)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_found() {
        for m in METHODS {
            assert_eq!(method(m.id).expect("listed").id, m.id);
            assert!(m.explanation.len() > 80, "{} is explained", m.id);
        }
        let message = method("magic").err().expect("no such method").to_string();
        assert!(message.contains("zero-shot") && message.contains("'magic'"), "{message}");
    }

    /// Every method: more like the normal texts is never more anomalous, and margins rank as values do.
    #[test]
    fn a_larger_score_is_more_anomalous() {
        use EntryKind::{Anomaly, Normal};
        for m in METHODS {
            let kinds = [Normal, Normal, Anomaly];
            let like = m.score(&[0.30, 0.20, 0.22], &kinds);
            let unlike = m.score(&[0.21, 0.20, 0.25], &kinds);
            assert!(like.value < unlike.value && like.margin < unlike.margin, "{}", m.id);
            assert!((0.0..=1.0).contains(&like.value) && (0.0..=1.0).contains(&unlike.value));
            assert_eq!((like.nearest, unlike.nearest), (0, 0));
            assert_eq!(like.probabilities.len(), 3);
        }
    }

    #[test]
    fn nothing_saturates_the_order() {
        use EntryKind::{Anomaly, Normal};
        let m = method("zero-shot").expect("listed");
        let near = m.score(&[-0.9, 0.90], &[Normal, Anomaly]);
        let far = m.score(&[-0.9, 0.95], &[Normal, Anomaly]);
        assert_eq!((near.value, far.value), (1.0, 1.0));
        assert!(near.margin < far.margin);
    }
}
