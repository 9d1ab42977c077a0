//! Means of pixels: every kernel gives the formula's bytes, natively and in WebAssembly with and without simd128.

use oddlens::kernels::taps::{self, Pixel, Taps, WEIGHT_BITS};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Knuth's linear congruential generator: enough for test data, the same everywhere.
struct Noise(u64);

impl Noise {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    /// Weights whose magnitudes sum to at most 2^23, in all sizes and both signs, and with halves at their ends.
    fn weights(&mut self, count: usize) -> Vec<i32> {
        let ends = [0x7fff, 0x8000, 0x8001, 0xffff, 0x1_0000, 0x1_7fff, 0x1_8000, 0];
        let mut left = 1 << 23;
        let mut weight = |i: usize| {
            let magnitude = match self.below(4) {
                0 => ends[self.below(ends.len())],
                1 => self.below(300) as i32,
                2 if i + 1 == count => left,
                _ => self.below(2 * (1 << 23) / count) as i32,
            };
            let magnitude = magnitude.min(left);
            left -= magnitude;
            if self.below(3) == 0 { -magnitude } else { magnitude }
        };
        (0..count).map(&mut weight).collect()
    }

    /// Noise, or nothing but the extremes.
    fn pixels(&mut self, count: usize) -> Vec<Pixel> {
        let kind = self.below(4);
        let mut sample = || match kind {
            0 => 255,
            1 => [0, 255][self.below(2)],
            _ => self.below(256) as u8,
        };
        (0..count).map(|_| std::array::from_fn(|_| sample())).collect()
    }
}

/// Rounded half up and clipped, in i64.
fn byte(terms: impl Iterator<Item = (u8, i32)>) -> u8 {
    let sum: i64 = terms.map(|(v, weight)| i64::from(v) * i64::from(weight)).sum();
    ((sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// First sample and weights of each output sample, often at the end of the input.
fn spans(noise: &mut Noise, input: usize, most: usize) -> Vec<(usize, Vec<i32>)> {
    let mut span = || {
        let count = 1 + noise.below(most.min(input));
        let from = [input - count, noise.below(input - count + 1)][noise.below(2)];
        (from, noise.weights(count))
    };
    let mut spans = vec![span()];
    spans.resize_with(1 + input % 20, span);
    spans
}

fn taps(input: usize, spans: &[(usize, Vec<i32>)]) -> Taps {
    let taps = Taps::new(input, spans.iter().map(|(from, weights)| (*from, &weights[..])));
    assert_eq!(taps.output(), spans.len());
    taps
}

/// Around one step and several, and a photo's.
fn inputs() -> impl Iterator<Item = (usize, usize)> {
    (1..=34).chain([63, 64, 65, 200]).flat_map(|input| [1, 2, 5, 8, 9, 16, 17, 55].map(|most| (input, most)))
}

#[test]
fn rows_follow_the_formula() {
    let mut noise = Noise(1);
    for (input, most) in inputs() {
        for rows in [0, 1, 2, 3, 4, 7] {
            let spans = spans(&mut noise, input, most);
            let pixels = noise.pixels(rows * input);
            let mean = |row: &[Pixel], (from, weights): &(usize, Vec<i32>)| -> Pixel {
                std::array::from_fn(|c| byte(row[*from..].iter().map(|pixel| pixel[c]).zip(weights.iter().copied())))
            };
            let row = |row| spans.iter().map(move |span| mean(row, span));
            let expected: Vec<Pixel> = pixels.chunks(input).flat_map(row).collect();
            for kernel in taps::all() {
                let mut out = vec![[77; 4]; rows * spans.len()];
                kernel.across(&taps(input, &spans), &pixels, &mut out);
                assert!(out == expected, "{} on {rows} rows of {input}, at most {most} weights", kernel.name());
            }
        }
    }
}

#[test]
fn columns_follow_the_formula() {
    let mut noise = Noise(2);
    for (input, most) in inputs() {
        for stride in [1, 4, 15, 16, 17, 31, 32, 33, 70, 257] {
            let spans = spans(&mut noise, input, most);
            let rows = noise.pixels((input * stride).div_ceil(4));
            let rows = &rows.as_flattened()[..input * stride];
            let mean = |x: usize, (from, weights): &(usize, Vec<i32>)| {
                byte(rows[from * stride + x..].iter().copied().step_by(stride).zip(weights.iter().copied()))
            };
            let row = |span| (0..stride).map(move |x| mean(x, span));
            let expected: Vec<u8> = spans.iter().flat_map(row).collect();
            for kernel in taps::all() {
                let mut out = vec![77; spans.len() * stride];
                kernel.down(&taps(input, &spans), rows, &mut out);
                assert!(out == expected, "{} on {input} rows of {stride}, at most {most} weights", kernel.name());
            }
        }
    }
}

#[test]
fn this_target_has_the_kernels_it_should() {
    let names: Vec<_> = taps::all().iter().map(|kernel| kernel.name()).collect();
    assert_eq!(names[0], "scalar-u8i24");
    if cfg!(all(target_arch = "wasm32", target_feature = "simd128")) {
        assert_eq!(names, ["scalar-u8i24", "simd128-u8i24"]);
    } else if !cfg!(target_arch = "x86_64") {
        assert_eq!(names.len(), 1, "{names:?}");
    }
}
