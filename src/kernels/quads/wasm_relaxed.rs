//! Relaxed SIMD. Its dot products multiply signed bytes by bytes of seven bits; the latter always being in `0..=127`, they are exact
//! and the same in every engine. Two kernels, because engines differ in what they make of them:
//!
//! * [`INTO_I16`]: `i16x8.relaxed_dot_i8x16_i7x16`, one `pmaddubsw` on x86, with sums of sixteen in i16 (see the module above);
//! * [`INTO_I32`]: `i32x4.relaxed_dot_i8x16_i7x16_add`, one `sdot` on Arm, one `vpdpbusd` where the engine uses AVX-VNNI, and five
//!   instructions elsewhere.

use core::arch::wasm32::*;

use super::super::{MR, NR, Peak};
use super::{Activations, GROUP, Kernel, Panel, QUAD, STARTS};

/// `relaxed-u7i8-i16`.
pub const INTO_I16: Kernel = Kernel {
    name: "relaxed-u7i8-i16",
    run: into_i16,
    run_two: None,
    peak: Some(Peak { run: |rounds, seed| peak_into_i16(rounds, seed), macs: PEAK_SUMS * 4 * QUAD }),
};
/// `relaxed-u7i8-i32`.
pub const INTO_I32: Kernel = Kernel {
    name: "relaxed-u7i8-i32",
    run: into_i32,
    run_two: None,
    peak: Some(Peak { run: |rounds, seed| peak_into_i32(rounds, seed), macs: PEAK_SUMS * 4 * QUAD }),
};

/// Sums in the loops of nothing but products: enough that none waits for its own additions, and few enough for registers.
const PEAK_SUMS: usize = 12;

/// Dot products and additions, on registers. Sums are multiplied themselves: what stays the same would be multiplied once.
#[target_feature(enable = "relaxed-simd")]
fn peak_into_i16(rounds: usize, seed: i32) -> i32 {
    let weights = i32x4_splat(seed);
    let mut sums = peak_sums(seed);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = i16x8_add(*sum, i16x8_relaxed_dot_i8x16_i7x16(weights, *sum));
        }
    }
    peak_result(&sums)
}

/// The same, where one instruction does both.
#[target_feature(enable = "relaxed-simd")]
fn peak_into_i32(rounds: usize, seed: i32) -> i32 {
    let (weights, row) = (i32x4_splat(seed), i8x16_splat(3));
    let mut sums = peak_sums(seed);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = i32x4_relaxed_dot_i8x16_i7x16_add(weights, row, *sum);
        }
    }
    peak_result(&sums)
}

fn peak_sums(seed: i32) -> [v128; PEAK_SUMS] {
    std::array::from_fn(|i| i32x4_splat(seed.wrapping_mul(7 + i as i32)))
}

fn peak_result(sums: &[v128]) -> i32 {
    i32x4_extract_lane::<0>(sums.iter().fold(i32x4_splat(0), |all, &v| v128_xor(all, v)))
}

/// Steps of the inner loop that are written out.
const UNROLL: usize = 2;

/// A product of some rows of a tile: weights, starts or offsets, activations, `k`, sums.
type Tile<S> = unsafe fn(*const i8, *const S, *const u8, usize, *mut i32);

/// For the first one, two, ... rows.
const TILES_INTO_I16: [Tile<i16>; MR] =
    [tile_into_i16::<1>, tile_into_i16::<2>, tile_into_i16::<3>, tile_into_i16::<4>, tile_into_i16::<MR>];

fn into_i16(panel: Panel<'_>, activations: &Activations<'_>, sums: &mut [i32]) {
    let Panel { steps, starts, k, .. } = panel;
    assert!(
        steps.len() == NR * k && k.is_multiple_of(GROUP) && starts.len() == k / GROUP * STARTS,
        "a panel is NR x k bytes"
    );
    for ((tile, rows), sums) in activations.tiles().zip(sums.chunks_exact_mut(MR * NR)) {
        // SAFETY: the panel holds NR * k bytes and k / GROUP * STARTS starts (asserted), the tile MR * k bytes and `sums` MR * NR
        // numbers (their chunks).
        unsafe { TILES_INTO_I16[rows - 1](steps.as_ptr(), starts.as_ptr(), tile.as_ptr(), k, sums.as_mut_ptr()) };
    }
}

/// The first `R` rows of one tile against one panel.
///
/// # Safety
/// `R <= MR`, `w` holds `NR * k` bytes, `starts` holds `k / GROUP * STARTS` numbers, `a` holds `MR * k` bytes, `k` is a multiple of
/// `GROUP`, and `sums` is writable for `R * NR` numbers.
#[target_feature(enable = "relaxed-simd")]
unsafe fn tile_into_i16<const R: usize>(w: *const i8, starts: *const i16, a: *const u8, k: usize, sums: *mut i32) {
    // SAFETY: group `g < k / GROUP` reads STARTS numbers at `STARTS * g` of `starts`, and its step `s < GROUP / QUAD` reads QUAD * NR
    // bytes of `w` and QUAD * MR bytes of `a` at the step's number times as much: inside by the conditions. So are the stores.
    unsafe {
        let ones = i16x8_splat(1);
        let mut acc = [[i32x4_splat(0); 2]; R];
        let (mut w, mut a, mut starts) = (w, a, starts);
        for _ in 0..k / GROUP {
            let start = [v128_load(starts.cast()), v128_load(starts.add(8).cast())];
            let mut lanes = [start; R];
            for _ in 0..GROUP / QUAD / UNROLL {
                for u in 0..UNROLL {
                    let w0 = v128_load(w.add(QUAD * NR * u).cast());
                    let w1 = v128_load(w.add(QUAD * NR * u + 16).cast());
                    for (i, lanes) in lanes.iter_mut().enumerate() {
                        let quad = v128_load32_splat(a.add(QUAD * (MR * u + i)).cast());
                        lanes[0] = i16x8_add(lanes[0], i16x8_relaxed_dot_i8x16_i7x16(w0, quad));
                        lanes[1] = i16x8_add(lanes[1], i16x8_relaxed_dot_i8x16_i7x16(w1, quad));
                    }
                }
                w = w.add(QUAD * NR * UNROLL);
                a = a.add(QUAD * MR * UNROLL);
            }
            for (row, lanes) in acc.iter_mut().zip(lanes) {
                row[0] = i32x4_add(row[0], i32x4_dot_i16x8(lanes[0], ones));
                row[1] = i32x4_add(row[1], i32x4_dot_i16x8(lanes[1], ones));
            }
            starts = starts.add(STARTS);
        }
        for (i, row) in acc.iter().enumerate() {
            v128_store(sums.add(NR * i).cast(), row[0]);
            v128_store(sums.add(NR * i + 4).cast(), row[1]);
        }
    }
}

/// For the first one, two, ... rows. Few rows take several steps at a time, each in sums of its own: one sum would wait for its own
/// additions.
const TILES_INTO_I32: [Tile<i32>; MR] = [
    tile_into_i32::<1, 4>,
    tile_into_i32::<2, 2>,
    tile_into_i32::<3, 1>,
    tile_into_i32::<4, 1>,
    tile_into_i32::<MR, 1>,
];

fn into_i32(panel: Panel<'_>, activations: &Activations<'_>, sums: &mut [i32]) {
    let Panel { steps, offsets, k, .. } = panel;
    assert!(steps.len() == NR * k && k.is_multiple_of(GROUP) && offsets.len() == NR, "a panel is NR x k bytes");
    for ((tile, rows), sums) in activations.tiles().zip(sums.chunks_exact_mut(MR * NR)) {
        // SAFETY: the panel holds NR * k bytes and NR offsets (asserted), the tile MR * k bytes and `sums` MR * NR numbers (their
        // chunks).
        unsafe { TILES_INTO_I32[rows - 1](steps.as_ptr(), offsets.as_ptr(), tile.as_ptr(), k, sums.as_mut_ptr()) };
    }
}

/// The first `R` rows of one tile against one panel, `U` steps at a time.
///
/// # Safety
/// `R <= MR`, `w` holds `NR * k` bytes, `offsets` holds `NR` numbers, `a` holds `MR * k` bytes, `k` is a multiple of `U * QUAD`, and
/// `sums` is writable for `R * NR` numbers.
#[target_feature(enable = "relaxed-simd")]
unsafe fn tile_into_i32<const R: usize, const U: usize>(
    w: *const i8,
    offsets: *const i32,
    a: *const u8,
    k: usize,
    sums: *mut i32,
) {
    // SAFETY: step `s < k / QUAD` reads QUAD * NR bytes at `QUAD * NR * s` of `w` and QUAD * MR bytes at `QUAD * MR * s` of `a`,
    // inside by the conditions, as are the offsets and the stores.
    unsafe {
        let mut acc = [[[i32x4_splat(0); 2]; R]; U];
        acc[0] = [[v128_load(offsets.cast()), v128_load(offsets.add(4).cast())]; R];
        let (mut w, mut a) = (w, a);
        for _ in 0..k / QUAD / U {
            for acc in &mut acc {
                let w0 = v128_load(w.cast());
                let w1 = v128_load(w.add(16).cast());
                for (i, row) in acc.iter_mut().enumerate() {
                    let quad = v128_load32_splat(a.add(QUAD * i).cast());
                    row[0] = i32x4_relaxed_dot_i8x16_i7x16_add(w0, quad, row[0]);
                    row[1] = i32x4_relaxed_dot_i8x16_i7x16_add(w1, quad, row[1]);
                }
                w = w.add(QUAD * NR);
                a = a.add(QUAD * MR);
            }
        }
        for i in 0..R {
            let sum = |half: usize| acc.iter().fold(i32x4_splat(0), |sum, acc| i32x4_add(sum, acc[i][half]));
            v128_store(sums.add(NR * i).cast(), sum(0));
            v128_store(sums.add(NR * i + 4).cast(), sum(1));
        }
    }
}
