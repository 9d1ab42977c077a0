//! A confidence interval of the AUROC.
//!
//! Source: E. DeLong, D. DeLong, D. Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver Operating
//! Characteristic Curves", Biometrics 44 (1988); computed by ranks as X. Sun and W. Xu, "Fast Implementation of DeLong's
//! Algorithm", IEEE Signal Processing Letters 21 (2014).

use super::{MetricsError, counted};

/// The 0.975 quantile of the normal distribution: 95 % lie within as many deviations.
const DEVIATIONS: f64 = 1.959_963_984_540_054;

/// Where the true AUROC lies, in 95 of 100 such samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// The 95 % confidence interval of the AUROC of these scores, after DeLong, cut to 0..1.
///
/// DeLong's variance is zero where all pairs are in order, and undefined where a kind has one picture. An interval without
/// width would claim certainty that few pictures cannot give; there the bound of Clopper and Pearson stands in, with the
/// smaller kind as the number of trials, all of them successes (failures, where all pairs are in the wrong order):
/// `0.025^(1/m)`. It errs on the wide side. With one picture of a kind and an AUROC between, nothing is known: 0 to 1.
///
/// # Errors
/// When lengths differ, a score is NaN, or one of the two kinds is absent.
pub fn auroc_interval(scores: &[f64], anomalous: &[bool]) -> Result<Interval, MetricsError> {
    let (normal, odd) = counted(scores, anomalous)?;
    let all = mid_ranks(&scores.iter().copied().enumerate().collect::<Vec<_>>());
    let kind = |wanted: bool| -> Vec<(usize, f64)> {
        scores.iter().copied().enumerate().filter(|&(i, _)| anomalous[i] == wanted).collect()
    };
    // for each picture, the share of the other kind that it stands above (or, of a normal one, below); ties half
    let placements = |members: &[(usize, f64)], others: usize| -> Vec<f64> {
        let own = mid_ranks(members);
        members.iter().zip(own).map(|(&(i, _), own)| (all[i] - own) / others as f64).collect()
    };
    let of_odd = placements(&kind(true), normal);
    let of_normal = placements(&kind(false), odd);
    let auroc = of_odd.iter().sum::<f64>() / odd as f64;
    let smaller = normal.min(odd);
    let spread = (variance(&of_odd) / odd as f64 + variance(&of_normal) / normal as f64).sqrt();
    // the same placement for all: every pair in order, or every pair in the wrong one, or all scores equal
    if smaller == 1 || spread == 0.0 {
        let bound = 0.025f64.powf(1.0 / smaller as f64);
        return Ok(match auroc {
            a if a >= 1.0 => Interval { low: bound, high: 1.0 },
            a if a <= 0.0 => Interval { low: 0.0, high: 1.0 - bound },
            _ if smaller == 1 => Interval { low: 0.0, high: 1.0 },
            a => Interval { low: a, high: a },
        });
    }
    Ok(Interval { low: (auroc - DEVIATIONS * spread).max(0.0), high: (auroc + DEVIATIONS * spread).min(1.0) })
}

/// Ranks from 1 up, in the order given; equal values share the mean of their ranks.
fn mid_ranks(values: &[(usize, f64)]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].1.total_cmp(&values[b].1));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let value = values[order[start]].1;
        let end = start + order[start..].iter().take_while(|&&i| values[i].1 == value).count();
        for &i in &order[start..end] {
            ranks[i] = (start + 1 + end) as f64 / 2.0;
        }
        start = end;
    }
    ranks
}

/// Of a sample (divided by n - 1); of one value: 0.
fn variance(x: &[f64]) -> f64 {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (x.len().max(2) - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // anomalous 3, 1; normal 2, 0: placements 1, 1/2 and 1/2, 1; each variance 1/8, halved and added: 1/8
        let got = auroc_interval(&[3.0, 1.0, 2.0, 0.0], &[true, true, false, false]).expect("both kinds");
        let spread = DEVIATIONS * 0.125f64.sqrt();
        assert!((got.low - (0.75 - spread)).abs() < 1e-15 && got.high == 1.0, "{got:?}");
    }

    #[test]
    fn few_pictures_give_no_certainty() {
        let perfect = |n: usize| {
            let scores: Vec<f64> = (0..2 * n).map(|i| i as f64).collect();
            let odd: Vec<bool> = (0..2 * n).map(|i| i >= n).collect();
            auroc_interval(&scores, &odd).expect("both kinds")
        };
        assert_eq!(perfect(1), Interval { low: 0.025, high: 1.0 });
        assert!((perfect(3).low - 0.2924).abs() < 1e-4, "{:?}", perfect(3));
        assert!(perfect(100).low > 0.96);
        let worst = auroc_interval(&[1.0, 0.0], &[false, true]).expect("both kinds");
        assert_eq!(worst, Interval { low: 0.0, high: 0.975 });
        let single = auroc_interval(&[1.0, 0.0, 2.0], &[true, false, false]).expect("both kinds");
        assert_eq!(single, Interval { low: 0.0, high: 1.0 });
        assert!(auroc_interval(&[1.0], &[true]).is_err());
    }
}
