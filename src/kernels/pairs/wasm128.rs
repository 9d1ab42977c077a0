//! Plain `simd128`: weights are widened to i16 as they are loaded (`v128.load8x8_s`), then `i32x4.dot_i16x8_s`, which engines
//! turn into one `pmaddwd`. A step of two `k` is two loads, five broadcasts and ten dot products.

use core::arch::wasm32::*;

use super::super::{MR, NR, Peak};
use super::{Activations, Kernel};

/// `simd128-i16i8`.
pub const KERNEL: Kernel = Kernel { name: "simd128-i16i8", run, peak: Some(Peak { run: peak, macs: PEAK_SUMS * 8 }) };

/// Sums in the loop of nothing but products: enough that none waits for its own additions, and few enough for registers.
const PEAK_SUMS: usize = 12;

/// Dot products and additions, on registers. Sums are multiplied themselves: what stays the same would be multiplied once.
fn peak(rounds: usize, seed: i32) -> i32 {
    let weights = i32x4_splat(seed);
    let mut sums: [v128; PEAK_SUMS] = std::array::from_fn(|i| i32x4_splat(seed.wrapping_mul(7 + i as i32)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = i32x4_add(*sum, i32x4_dot_i16x8(weights, *sum));
        }
    }
    i32x4_extract_lane::<0>(sums.iter().fold(weights, |all, &v| v128_xor(all, v)))
}

/// A product of the first one, two, ... rows of a tile: weights, activations, `k`, sums.
const TILES: [unsafe fn(*const i8, *const i16, usize, *mut i32); MR] =
    [tile_product::<1>, tile_product::<2>, tile_product::<3>, tile_product::<4>, tile_product::<MR>];

fn run(weights: &[i8], activations: &Activations<'_>, sums: &mut [i32]) {
    let k = activations.k();
    assert!(weights.len() == NR * k && k.is_multiple_of(2), "a panel is NR x k bytes");
    for ((tile, rows), sums) in activations.tiles().zip(sums.chunks_exact_mut(MR * NR)) {
        // SAFETY: the panel holds NR * k bytes (asserted), the tile MR * k numbers and `sums` MR * NR (their chunks).
        unsafe { TILES[rows - 1](weights.as_ptr(), tile.as_ptr(), k, sums.as_mut_ptr()) };
    }
}

/// The first `R` rows of one tile against one panel.
///
/// # Safety
/// `R <= MR`, `w` holds `NR * k` bytes, `a` holds `MR * k` numbers, `k` is a multiple of 2, and `sums` is writable for `R * NR` numbers.
#[inline(never)]
unsafe fn tile_product<const R: usize>(w: *const i8, a: *const i16, k: usize, sums: *mut i32) {
    // SAFETY: step `s < k / 2` reads 2 * NR bytes at `2 * NR * s` of `w` and 2 * MR numbers at `2 * MR * s` of `a`, inside by
    // the first two conditions; the stores are inside by the last.
    unsafe {
        let mut acc = [[i32x4_splat(0); 2]; R];
        let (mut w, mut a) = (w, a);
        for _ in 0..k / 2 {
            let w0 = i16x8_load_extend_i8x8(w);
            let w1 = i16x8_load_extend_i8x8(w.add(8));
            for (i, row) in acc.iter_mut().enumerate() {
                let pair = v128_load32_splat(a.add(2 * i).cast());
                row[0] = i32x4_add(row[0], i32x4_dot_i16x8(w0, pair));
                row[1] = i32x4_add(row[1], i32x4_dot_i16x8(w1, pair));
            }
            w = w.add(2 * NR);
            a = a.add(2 * MR);
        }
        for (i, row) in acc.iter().enumerate() {
            v128_store(sums.add(NR * i).cast(), row[0]);
            v128_store(sums.add(NR * i + 4).cast(), row[1]);
        }
    }
}
