//! Scores from evidence: one file per method, and the static list [`METHODS`] from which the command line's `--method`, its
//! help, the evaluation's columns and the page's menu follow. A larger score is more anomalous.
//!
//! It knows neither images nor models nor how heads are trained: of a picture it sees cosines (with the texts in use, with
//! normal examples) and, for trained methods, the output of their head.
//!
//! Source: Liznerski et al., "Exposing Outlier Exposure: What Can Be Learned From Few, One, and Zero Outlier Images",
//! TMLR 2022 (arXiv 2205.11474).

pub mod bce;
pub mod clip_oe;
pub mod dsad;
pub mod dsvdd;
pub mod focal;
pub mod hsc;
pub mod mcm;
pub mod nearest_normal;
pub mod prompts;
pub mod text_and_examples;
pub mod zero_shot;

use thiserror::Error;

use crate::protocol::{EntryKind, MethodInfo, Needs, Score};

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
    /// Stable, used in links, files and on the command line.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    /// One paragraph with the source.
    pub explanation: &'static str,
    /// What it must be given.
    pub needs: Needs,
    /// The loss that trains its head, for methods that have one.
    pub loss: Option<Loss>,
    /// The value where both kinds are equally likely, for methods that have such a point.
    pub threshold: Option<f32>,
    judge: fn(&View<'_>) -> Judgement,
}

impl PartialEq for Method {
    /// Ids are unique.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Method").field(&self.id).finish()
    }
}

/// What heads are trained by; the formulas stand in the file of the method, the training in `train`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its head gives one number.
    Bce,
    /// Its head gives one number.
    Focal,
    /// Its head gives a vector, short for normal pictures.
    Hsc,
    /// Its head gives a vector, short for normal pictures.
    Dsad,
    /// Its head gives the difference of a vector from the centre of the normal ones.
    Dsvdd,
    /// Its head gives cosines of the adapted embedding with all entries.
    ClipOe,
}

/// What is known of one picture. Slices that the method does not need may be empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// Cosines with all entries, and their kinds; at least one is normal.
    pub cosines: &'a [f32],
    pub kinds: &'a [EntryKind],
    /// Cosines with the normal examples, in any order.
    pub normal_examples: &'a [f32],
    /// The output of the method's head.
    pub head: &'a [f32],
}

impl<'a> Evidence<'a> {
    /// Texts alone.
    pub fn texts(cosines: &'a [f32], kinds: &'a [EntryKind]) -> Self {
        Self { cosines, kinds, ..Self::default() }
    }
}

/// The evidence as methods look at it.
struct View<'a> {
    /// `100 x cosine` for all entries.
    logits: &'a [f64],
    kinds: &'a [EntryKind],
    normal_examples: &'a [f32],
    head: &'a [f32],
}

/// What a method makes of one picture.
#[derive(Debug)]
struct Judgement {
    value: f64,
    margin: f64,
    /// Along the entries; empty where the method does not use them.
    probabilities: Vec<f64>,
}

impl Judgement {
    /// By a logit alone.
    fn of_logit(margin: f64) -> Self {
        Self { value: sigmoid(margin), margin, probabilities: Vec::new() }
    }

    /// By a distance from what is normal, 0 and up: `value = 1 - e^-d`, whose logit is `ln(e^d - 1)`.
    fn of_distance(d: f64) -> Self {
        // a distance of zero has no finite logit, but must have a place in the order, and a number on the wire
        let d = d.max(1e-300);
        Self { value: -(-d).exp_m1(), margin: d + (-(-d).exp_m1()).ln(), probabilities: Vec::new() }
    }
}

/// Every method, in the order to show: zero outliers first.
pub static METHODS: &[Method] = &[
    zero_shot::METHOD,
    mcm::METHOD,
    nearest_normal::METHOD,
    text_and_examples::METHOD,
    dsvdd::METHOD,
    bce::METHOD,
    focal::METHOD,
    hsc::METHOD,
    dsad::METHOD,
    clip_oe::METHOD,
];

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
    /// Scores one picture.
    ///
    /// # Panics
    /// When cosines and kinds differ in length, no entry is normal, or evidence that the method needs is absent.
    pub fn score(&self, evidence: &Evidence<'_>) -> Score {
        let Evidence { cosines, kinds, normal_examples, head } = *evidence;
        assert_eq!(cosines.len(), kinds.len(), "one cosine for each entry");
        assert!(normal_examples.len() >= self.needs.normal_examples || self.loss.is_some(), "{}: examples", self.id);
        assert!(!head.is_empty() || self.loss.is_none(), "{}: a head's output", self.id);
        let logits: Vec<f64> = cosines.iter().map(|&c| LOGIT_SCALE * f64::from(c)).collect();
        let judgement = (self.judge)(&View { logits: &logits, kinds, normal_examples, head });
        let nearest = (0..cosines.len())
            .filter(|&i| kinds[i] == EntryKind::Normal)
            .reduce(|best, i| if cosines[i] > cosines[best] { i } else { best })
            .expect("a setup has a normal class");
        let mut probabilities: Vec<f32> = judgement.probabilities.iter().map(|&p| p as f32).collect();
        probabilities.resize(cosines.len(), 0.0);
        Score {
            value: judgement.value as f32,
            margin: judgement.margin as f32,
            nearest,
            cosines: cosines.to_vec(),
            probabilities,
        }
    }

    /// Whether it compares with texts (so that other texts make other scores).
    pub fn uses_texts(&self) -> bool {
        self.needs.normal_names > 0
    }

    /// Whether it compares with the normal examples themselves, not with what was learned from them.
    pub fn compares_with_examples(&self) -> bool {
        self.needs.normal_examples > 0 && !self.needs.training
    }

    /// Whether it scores without any example picture.
    pub fn needs_texts_only(&self) -> bool {
        self.needs.normal_examples == 0 && self.needs.outlier_examples == 0
    }

    /// As shown to people.
    pub fn info(&self) -> MethodInfo {
        MethodInfo {
            id: self.id.into(),
            name: self.name.into(),
            explanation: self.explanation.into(),
            needs: self.needs,
            threshold: self.threshold,
        }
    }
}

/// The length of a head's vector as a distance that is smooth at zero (pseudo-Huber): `sqrt(norm^2 + 1) - 1`, without the loss of
/// digits that the difference has for short vectors.
fn pseudo_huber(head: &[f32]) -> f64 {
    let square = squared_norm(head);
    square / ((square + 1.0).sqrt() + 1.0)
}

fn squared_norm(head: &[f32]) -> f64 {
    head.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
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

    use EntryKind::{Anomaly, Normal};
    const KINDS: [EntryKind; 3] = [Normal, Normal, Anomaly];

    /// A picture that is like what is normal in every respect, and one that is not.
    fn like_and_unlike(method: &Method) -> (Score, Score) {
        let head = |anomaly: f32| match method.loss {
            Some(Loss::ClipOe) => vec![0.25, 0.2, 0.25 + 0.04 * anomaly],
            Some(Loss::Bce | Loss::Focal) => vec![anomaly],
            _ => vec![0.0, 0.7 + 0.5 * anomaly],
        };
        let of = |cosines: &[f32], normal_examples: &[f32], anomaly: f32| {
            method.score(&Evidence { cosines, kinds: &KINDS, normal_examples, head: &head(anomaly) })
        };
        (of(&[0.30, 0.20, 0.22], &[0.6, 0.9, 0.5], -1.0), of(&[0.21, 0.20, 0.25], &[0.6, 0.7, 0.5], 1.0))
    }

    #[test]
    fn ids_are_unique_and_found() {
        for m in METHODS {
            assert!(std::ptr::eq(method(m.id).expect("listed"), m), "{} stands once", m.id);
            assert!(m.explanation.len() > 80 && m.explanation.contains("Source: "), "{} is explained", m.id);
            assert!(!m.explanation.contains("  "), "{}", m.id);
            assert_eq!(m.needs.training, m.loss.is_some(), "{}", m.id);
            assert!(!m.needs.training || m.needs.normal_examples > 0, "{}", m.id);
        }
        let message = method("magic").expect_err("no such method").to_string();
        assert!(message.contains("zero-shot") && message.contains("'magic'"), "{message}");
    }

    /// Every method: more like what is normal is never more anomalous, and margins rank as values do.
    #[test]
    fn a_larger_score_is_more_anomalous() {
        for m in METHODS {
            let (like, unlike) = like_and_unlike(m);
            assert!(like.value < unlike.value && like.margin < unlike.margin, "{}: {like:?} {unlike:?}", m.id);
            assert!((0.0..=1.0).contains(&like.value) && (0.0..=1.0).contains(&unlike.value));
            assert_eq!((like.nearest, unlike.nearest), (0, 0));
            assert_eq!(like.probabilities.len(), 3);
            assert_eq!(like.probabilities.iter().any(|&p| p > 0.0), m.uses_texts(), "{}", m.id);
        }
    }

    /// What has no finite logit would not survive the wire.
    #[test]
    fn every_score_is_finite() {
        for m in METHODS {
            for x in [0f32, 1e-30, 1.0, -1.0, 1e4] {
                let head = if m.loss == Some(Loss::ClipOe) { vec![0.1; 3] } else { vec![x; 3] };
                let examples = [x.clamp(-1.0, 1.0)];
                let cosines = [0.3, 0.1, -0.2];
                let s =
                    m.score(&Evidence { cosines: &cosines, kinds: &KINDS, normal_examples: &examples, head: &head });
                assert!(s.value.is_finite() && s.margin.is_finite(), "{} {x}: {s:?}", m.id);
                assert!((0.0..=1.0).contains(&s.value), "{} {x}: {s:?}", m.id);
            }
        }
    }

    #[test]
    fn nothing_saturates_the_order() {
        let m = method("zero-shot").expect("listed");
        let near = m.score(&Evidence::texts(&[-0.9, 0.90], &[Normal, Anomaly]));
        let far = m.score(&Evidence::texts(&[-0.9, 0.95], &[Normal, Anomaly]));
        assert_eq!((near.value, far.value), (1.0, 1.0));
        assert!(near.margin < far.margin);
    }
}
