//! What is derived from [`State`] for showing: order, filter, counts, histogram. Nothing here changes anything.

use std::rc::Rc;

use super::State;
use super::picture::{Phase, Picture};

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
    /// Is a score above the threshold in use?
    pub fn is_odd(&self, picture: &Picture) -> Option<bool> {
        picture.outcome().map(|o| o.score.is_anomalous(self.threshold_in_use()))
    }

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

    /// How many scores fall into each of `bins` equal parts of 0 to 1; the last part includes 1.
    pub fn histogram(&self, bins: usize) -> Vec<usize> {
        let mut counts = vec![0; bins];
        for p in self.pictures.iter().filter(|p| !p.removed) {
            if let Some(o) = p.outcome() {
                // float to integer casts saturate, so a NaN or a negative score lands in the first part
                let bin = (o.score.value * bins as f32) as usize;
                counts[bin.min(bins - 1)] += 1;
            }
        }
        counts
    }
}

/// Compares names as people number them: "img2" before "img10".
pub fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a.chars().peekable(), b.chars().peekable());
    loop {
        match (a.peek().copied(), b.peek().copied()) {
            (None, None) => return std::cmp::Ordering::Equal,
            (None, _) => return std::cmp::Ordering::Less,
            (_, None) => return std::cmp::Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let order = digits(&mut a).cmp(&digits(&mut b));
                if order.is_ne() {
                    return order;
                }
            }
            (Some(x), Some(y)) => {
                let order = x.to_lowercase().cmp(y.to_lowercase());
                if order.is_ne() {
                    return order;
                }
                a.next();
                b.next();
            }
        }
    }
}

/// The next run of digits without leading zeros: its length first, so that longer numbers are larger.
fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> (usize, String) {
    let mut run = String::new();
    while let Some(c) = chars.next_if(char::is_ascii_digit) {
        if !(run.is_empty() && c == '0') {
            run.push(c);
        }
    }
    (run.len(), run)
}
