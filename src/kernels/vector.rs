//! f32 vector math that the towers need between two products. Plain loops over independent lanes, which the compiler
//! turns into SIMD on every target; no fused multiply-add and a fixed order of sums, so that all machines agree.

/// Lanes that sums are split into; a power of two, so that the order of additions is the same everywhere.
const LANES: usize = 8;

/// Sum of `f(x)` over all `x`, in [`LANES`] interleaved partial sums.
#[inline(always)]
fn lane_sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane += f(v);
    }
    (lanes[0] + lanes[4]) + (lanes[1] + lanes[5]) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]))
}

/// Sum of the numbers.
pub fn sum(x: &[f32]) -> f32 {
    lane_sum(x, |v| v)
}

/// Sum of the magnitudes.
pub fn sum_abs(x: &[f32]) -> f32 {
    lane_sum(x, f32::abs)
}

/// `(minimum, maximum)`; of nothing: `(inf, -inf)`. NaN is passed over.
pub fn min_max(x: &[f32]) -> (f32, f32) {
    let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    for chunk in x.chunks(LANES) {
        for (i, &v) in chunk.iter().enumerate() {
            low[i] = if v < low[i] { v } else { low[i] };
            high[i] = if v > high[i] { v } else { high[i] };
        }
    }
    (low.iter().copied().fold(f32::INFINITY, f32::min), high.iter().copied().fold(f32::NEG_INFINITY, f32::max))
}

/// `e^x` with relative error below 3e-7; below -87 it stays at e^-87 (1.6e-38), above 88 at e^88.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2` (Cody and Waite's split of ln 2), a Taylor polynomial of degree 7 for `e^r`, and
/// `2^n` put into the exponent's bits.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(power)
}

/// The error function, absolute error below 3e-7: Abramowitz and Stegun 7.1.26.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let p = 1.061_405_4;
    let p = p * t - 1.453_152;
    let p = p * t + 1.421_413_7;
    let p = p * t - 0.284_496_74;
    let p = p * t + 0.254_829_6;
    (1.0 - p * t * exp(-a * a)).copysign(x)
}

/// `x * sigmoid(1.702 x)` in place: the activation of OpenAI's CLIP.
pub fn quick_gelu(x: &mut [f32]) {
    for v in x {
        *v /= 1.0 + exp(-1.702 * *v);
    }
}

/// `x * (1 + erf(x / sqrt 2)) / 2` in place: the exact GELU.
pub fn gelu(x: &mut [f32]) {
    for v in x {
        *v = 0.5 * *v * (1.0 + erf(*v * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// `(x - mean) / sqrt(variance + epsilon) * gain + bias` for one row; the variance is that of the population.
pub fn layer_norm(x: &[f32], gain: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) {
    assert!(
        x.len() == gain.len() && x.len() == bias.len() && x.len() == out.len(),
        "one gain and bias for each number"
    );
    let n = x.len() as f32;
    let mean = sum(x) / n;
    let variance = lane_sum(x, |v| (v - mean) * (v - mean)) / n;
    let inverse = 1.0 / (variance + epsilon).sqrt();
    for (((o, &v), &g), &b) in out.iter_mut().zip(x).zip(gain).zip(bias) {
        *o = (v - mean) * inverse * g + b;
    }
}

/// Softmax of one row, in place. An empty row stays empty.
pub fn softmax(x: &mut [f32]) {
    let (_, top) = min_max(x);
    for v in x.iter_mut() {
        *v = exp(*v - top);
    }
    let scale = 1.0 / sum(x);
    for v in x {
        *v *= scale;
    }
}

/// `y += a * x`.
#[inline(always)]
pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// `y += x`.
pub fn add(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_follows_the_standard_library() {
        let mut worst = 0f64;
        for i in -8700..=8800 {
            let x = i as f32 / 100.0;
            let truth = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - truth).abs() / truth);
        }
        assert!(worst < 3e-7, "relative error {worst}");
        assert!(exp(-1000.0) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn erf_meets_tabulated_values() {
        // Abramowitz and Stegun, table 7.1
        for (x, y) in [(0.0, 0.0), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.0, 0.995_322_3), (-1.0, -0.842_700_8)] {
            assert!((erf(x) - y).abs() < 3e-7, "erf({x}) = {}", erf(x));
        }
    }

    #[test]
    fn layer_norm_by_hand() {
        let mut out = [0.0; 4];
        layer_norm(&[1.0, 2.0, 3.0, 6.0], &[1.0, 1.0, 2.0, 1.0], &[0.0, 0.5, 0.0, 0.0], 0.0, &mut out);
        // mean 3, variance 3.5
        let s = 3.5f32.sqrt();
        for (got, want) in out.iter().zip([-2.0 / s, -1.0 / s + 0.5, 0.0, 3.0 / s]) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }

    #[test]
    fn softmax_by_hand() {
        let mut x = [0.0, 3f32.ln(), 0.0];
        softmax(&mut x);
        for (got, want) in x.iter().zip([0.2, 0.6, 0.2]) {
            assert!((got - want).abs() < 1e-6, "{x:?}");
        }
        softmax(&mut []);
    }

    #[test]
    fn activations_by_hand() {
        let mut x = [0.0, 1.0, -1.0, 10.0];
        quick_gelu(&mut x);
        for (got, want) in x.iter().zip([0.0, 0.845_795_8, -0.154_204_2, 10.0]) {
            assert!((got - want).abs() < 1e-6, "{x:?}");
        }
        let mut x = [0.0, 1.0, -1.0, 10.0];
        gelu(&mut x);
        for (got, want) in x.iter().zip([0.0, 0.841_344_7, -0.158_655_3, 10.0]) {
            assert!((got - want).abs() < 1e-6, "{x:?}");
        }
    }

    #[test]
    fn sums_and_extremes() {
        let x: Vec<f32> = (1..=21).map(|i| i as f32 * if i % 2 == 0 { -1.0 } else { 1.0 }).collect();
        assert_eq!((sum(&x), sum_abs(&x), min_max(&x)), (11.0, 231.0, (-20.0, 21.0)));
    }
}
