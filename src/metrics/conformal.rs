//! A threshold with a promise, from normal examples alone.
//!
//! Split conformal prediction: if the normal examples and a new normal picture are drawn alike, the new one's score is equally
//! likely to fall into each of the `n + 1` gaps between the examples' scores. Source: V. Vovk, A. Gammerman, G. Shafer,
//! "Algorithmic Learning in a Random World" (2005), chapter 2; for anomaly detection: S. Bates et al., "Testing for Outliers
//! with Conformal p-values", Annals of Statistics 51 (2023).

use super::MetricsError;

/// A threshold and what it promises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Advice {
    /// Scores above it are called anomalous.
    pub threshold: f64,
    /// The promise: of normal pictures drawn like the examples, at most this fraction is called anomalous, on average over
    /// draws of the examples. Never more than what was asked for.
    pub false_alarm_rate: f64,
    /// Normal examples that the promise rests on.
    pub examples: usize,
}

/// The smallest threshold that promises a false-alarm rate of at most `rate`: with `k = floor((n + 1) rate)`, the `k`-th largest
/// of the `n` scores. It promises `k / (n + 1)`. The scores must be of pictures that nothing was learned from.
///
/// # Errors
/// When the rate is not between 0 and 1, a score is NaN, or there are fewer than `1 / rate - 1` examples.
pub fn conformal(normal_scores: &[f64], rate: f64) -> Result<Advice, MetricsError> {
    if !(rate > 0.0 && rate < 1.0) {
        return Err(MetricsError::Fraction { what: "false-alarm rate", got: rate });
    }
    if let Some(index) = normal_scores.iter().position(|s| s.is_nan()) {
        return Err(MetricsError::NotANumber { index });
    }
    let n = normal_scores.len();
    // a rate like 0.1 is no binary number: 10 x 0.1 must be 1 all the same
    let above = ((n + 1) as f64 * rate + 1e-9).floor() as usize;
    if above == 0 {
        return Err(MetricsError::TooFewExamples {
            rate,
            needed: examples_needed(rate),
            got: n,
            possible: 1.0 / (n + 1) as f64,
        });
    }
    let mut sorted = normal_scores.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Ok(Advice { threshold: sorted[n - above], false_alarm_rate: above as f64 / (n + 1) as f64, examples: n })
}

/// The least number of normal examples from which a false-alarm rate can be promised: `1 / rate - 1`, rounded up.
pub fn examples_needed(rate: f64) -> usize {
    (1.0 / rate - 1.0 - 1e-9).ceil().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let scores: Vec<f64> = (1..=19).map(f64::from).collect();
        // 20 gaps, one above the largest: 1 in 20
        let advice = conformal(&scores, 0.05).expect("19 are enough for 5 %");
        assert_eq!(advice, Advice { threshold: 19.0, false_alarm_rate: 0.05, examples: 19 });
        assert_eq!(conformal(&scores, 0.1).expect("enough").threshold, 18.0);
        // 0.09 x 20 = 1.8: only 1 in 20 can be had without breaking the promise
        assert_eq!(conformal(&scores, 0.09).expect("enough").false_alarm_rate, 0.05);
        let few = conformal(&scores[..18], 0.05).expect_err("18 are too few");
        assert_eq!(few, MetricsError::TooFewExamples { rate: 0.05, needed: 19, got: 18, possible: 1.0 / 19.0 });
        assert!(few.to_string().contains("at least 19"), "{few}");
        assert!(conformal(&[], 0.5).is_err() && conformal(&[1.0], 0.5).is_ok());
        for bad in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(matches!(conformal(&scores, bad), Err(MetricsError::Fraction { .. })));
        }
        assert!(matches!(conformal(&[f64::NAN], 0.5), Err(MetricsError::NotANumber { index: 0 })));
    }

    /// The promise counted out: over all ways to leave one of n + 1 scores out as the new picture.
    #[test]
    fn the_promise_is_kept_exactly() {
        for n in [1usize, 4, 9, 19, 33] {
            for rate in [0.5, 0.2, 0.1, 0.05, 0.03] {
                let all: Vec<f64> = (0..=n).map(|i| ((i * 7919) % 1009) as f64).collect();
                let Ok(advice) = conformal(&all[1..], rate) else {
                    assert!(n < examples_needed(rate));
                    continue;
                };
                let alarms = (0..=n).filter(|&new| {
                    let rest: Vec<f64> = (0..=n).filter(|&i| i != new).map(|i| all[i]).collect();
                    all[new] > conformal(&rest, rate).expect("as many").threshold
                });
                let share = alarms.count() as f64 / (n + 1) as f64;
                assert!((share - advice.false_alarm_rate).abs() < 1e-12 && share <= rate + 1e-9, "{n} {rate} {share}");
            }
        }
    }
}
