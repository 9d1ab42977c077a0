//! AUROC, its interval, curves, average precision and FPR95 against scikit-learn (tests/reference/metrics.py).

use std::path::Path;

use oddlens::metrics::{Ranking, auroc_interval};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    scores: Vec<f64>,
    anomalous: Vec<bool>,
    auroc: f64,
    average_precision: f64,
    fpr95: f64,
    roc: Vec<(f64, f64)>,
    pr: Vec<(f64, f64)>,
    interval: Option<(f64, f64)>,
}

fn same(name: &str, what: &str, got: &[(f64, f64)], want: &[(f64, f64)]) {
    assert_eq!(got.len(), want.len(), "{name}: points of {what}");
    for (g, w) in got.iter().zip(want) {
        assert!((g.0 - w.0).abs() < 1e-9 && (g.1 - w.1).abs() < 1e-9, "{name}: {what} {g:?}, expected {w:?}");
    }
}

#[test]
fn as_scikit_learn_has_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/metrics.json");
    let cases: Vec<Case> =
        serde_json::from_str(&std::fs::read_to_string(path).expect("metrics.json")).expect("its form");
    assert!(cases.len() >= 15 && cases.iter().filter(|c| c.interval.is_some()).count() >= 8);
    for case in cases {
        let name = &case.name;
        let ranking = Ranking::new(&case.scores, &case.anomalous).expect("both kinds");
        for (what, got, want) in [
            ("AUROC", ranking.auroc(), case.auroc),
            ("average precision", ranking.average_precision(), case.average_precision),
            ("FPR95", ranking.false_alarm_rate_at(0.95).expect("a fraction"), case.fpr95),
        ] {
            assert!((got - want).abs() < 1e-9, "{name}: {what} {got}, expected {want}");
        }
        let roc: Vec<_> = ranking.roc().iter().map(|p| (p.false_alarm_rate, p.hit_rate)).collect();
        same(name, "ROC", &roc, &case.roc);
        let pr: Vec<_> = ranking.precision_recall().iter().map(|p| (p.precision, p.recall)).collect();
        same(name, "PR", &pr, &case.pr);
        let interval = auroc_interval(&case.scores, &case.anomalous).expect("both kinds");
        if let Some(want) = case.interval {
            same(name, "interval", &[(interval.low, interval.high)], &[want]);
        }
        assert!(interval.low <= case.auroc && case.auroc <= interval.high, "{name}: {interval:?}");
    }
}
