//! What is derived from [`State`] for showing: order, filter, counts, histogram. Nothing here changes anything.

use std::cmp::Ordering;
use std::rc::Rc;

use super::State;
use super::picture::{Phase, Picture};
use crate::protocol::Kind;

/// In which order pictures stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Arrival,
    /// By margin, which orders like the score but has no ties where the score saturates.
    OddFirst,
    NormalFirst,
    Name,
}

/// Which pictures are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    #[default]
    All,
    Odd,
    Normal,
    Failed,
}

impl Sort {
    pub const ALL: [(Sort, &'static str, &'static str); 4] = [
        (Sort::Arrival, "arrival", "as they came"),
        (Sort::OddFirst, "odd", "most odd first"),
        (Sort::NormalFirst, "normal", "most normal first"),
        (Sort::Name, "name", "by name"),
    ];
}

impl Filter {
    pub const ALL: [(Filter, &'static str, &'static str); 4] = [
        (Filter::All, "all", "all"),
        (Filter::Odd, "odd", "odd"),
        (Filter::Normal, "normal", "normal"),
        (Filter::Failed, "failed", "failed"),
    ];
}

/// How many pictures are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub all: usize,
    pub odd: usize,
    pub normal: usize,
    pub failed: usize,
    /// Queued or being scored.
    pub waiting: usize,
}

impl State {
    pub fn counts(&self) -> Counts {
        let threshold = self.threshold_in_use();
        let mut counts = Counts::default();
        for p in self.pictures.iter().filter(|p| !p.removed) {
            counts.all += 1;
            match &p.phase {
                Phase::Queued | Phase::Scoring { .. } => counts.waiting += 1,
                Phase::Failed { .. } => counts.failed += 1,
                Phase::Done(o) if o.score.is_anomalous(threshold) => counts.odd += 1,
                Phase::Done(_) => counts.normal += 1,
            }
        }
        counts
    }

    /// The pictures to show, in the order to show them. Unscored ones come last where scores rule.
    pub fn visible(&self) -> Vec<Rc<Picture>> {
        let threshold = self.threshold_in_use();
        let wanted = |p: &Picture| match (self.filter, &p.phase) {
            (Filter::All, _) | (Filter::Failed, Phase::Failed { .. }) => true,
            (Filter::Odd, Phase::Done(o)) => o.score.is_anomalous(threshold),
            (Filter::Normal, Phase::Done(o)) => !o.score.is_anomalous(threshold),
            _ => false,
        };
        let mut shown: Vec<Rc<Picture>> = self.pictures.iter().filter(|p| !p.removed && wanted(p)).cloned().collect();
        // a stable sort keeps the order of arrival among equals
        let margin = |p: &Picture| p.outcome().map(|o| o.score.margin);
        match self.sort {
            Sort::Arrival => {}
            Sort::Name => shown.sort_by(|a, b| natural(&a.name, &b.name)),
            Sort::OddFirst | Sort::NormalFirst => shown.sort_by(|a, b| match (margin(a), margin(b)) {
                (Some(x), Some(y)) if self.sort == Sort::OddFirst => y.total_cmp(&x),
                (Some(x), Some(y)) => x.total_cmp(&y),
                (x, y) => y.is_some().cmp(&x.is_some()),
            }),
        }
        shown
    }

    /// How many scores fall into each of `bins` equal parts of 0 to 1 (the last includes 1): of pictures without a label, labelled
    /// normal, labelled outlier.
    pub fn histogram(&self, bins: usize) -> Vec<[usize; 3]> {
        let mut counts = vec![[0; 3]; bins];
        for p in self.pictures.iter().filter(|p| !p.removed) {
            if let Some(o) = p.outcome() {
                // float to integer casts saturate, so a NaN or a negative score lands in the first part
                let bin = (o.score.value * bins as f32) as usize;
                let part = match p.label.map(|l| l.kind) {
                    None => 0,
                    Some(Kind::Normal) => 1,
                    Some(Kind::Outlier) => 2,
                };
                counts[bin.min(bins - 1)][part] += 1;
            }
        }
        counts
    }
}

/// Compares names as people number them: "img2" before "img10", capitals like small letters.
pub fn natural(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let (x, y) = match (a.chars().next(), b.chars().next()) {
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(x), Some(y)) => (x, y),
        };
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (number_a, rest_a) = digits(a);
            let (number_b, rest_b) = digits(b);
            (a, b) = (rest_a, rest_b);
            // of numbers without leading zeros the longer is the larger
            number_a.len().cmp(&number_b.len()).then(number_a.cmp(number_b))
        } else {
            (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]);
            x.to_lowercase().cmp(y.to_lowercase())
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// The digits in front, without leading zeros, and what follows them.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].trim_start_matches('0'), &text[end..])
}
