//! Relaxed SIMD. Its dot products multiply signed bytes by bytes of seven bits; the latter always being in `0..=127`, they are exact
//! and the same in every engine. Two kernels, because engines differ in what they make of them:
//!
//! * [`INTO_I16`]: `i16x8.relaxed_dot_i8x16_i7x16`, one `pmaddubsw` on x86, with sums of sixteen in i16 (see the module above);
//! * [`INTO_I32`]: `i32x4.relaxed_dot_i8x16_i7x16_add`, one `sdot` on Arm, one `vpdpbusd` where the engine uses AVX-VNNI, and five
//!   instructions elsewhere.

use core::arch::wasm32::*;

use super::super::{MR, NR, Peak};
use super::{GROUP, Kernel, Panel, QUAD, STARTS};

/// `relaxed-u7i8-i16`.
pub const INTO_I16: Kernel = Kernel {
    name: "relaxed-u7i8-i16",
    run: into_i16,
    run_two: None,
    peak: Some(Peak { run: |rounds, seed| peak_into_i16(rounds, seed), macs: PEAK_MACS }),
};
/// `relaxed-u7i8-i32`.
pub const INTO_I32: Kernel = Kernel {
    name: "relaxed-u7i8-i32",
    run: into_i32,
    run_two: None,
    peak: Some(Peak { run: |rounds, seed| peak_into_i32(rounds, seed), macs: PEAK_MACS }),
};
/// Products in a round of `peak`.
const PEAK_MACS: usize = 2 * PEAK_ROWS * 16;
/// One row fewer than in a tile, so that everything stays in registers.
const PEAK_ROWS: usize = MR - 1;

#[target_feature(enable = "relaxed-simd")]
fn peak_into_i16(rounds: usize, seed: i32) -> i32 {
    peak(rounds, seed, |w, a, acc| i16x8_add(acc, i16x8_relaxed_dot_i8x16_i7x16(w, a)))
}

#[target_feature(enable = "relaxed-simd")]
fn peak_into_i32(rounds: usize, seed: i32) -> i32 {
    peak(rounds, seed, |w, a, acc| i32x4_relaxed_dot_i8x16_i7x16_add(w, a, acc))
}

/// Nearly a step's dot products and additions, on registers.
#[inline(always)]
fn peak(rounds: usize, seed: i32, add_dot: impl Fn(v128, v128, v128) -> v128) -> i32 {
    let mut weights = [i32x4_splat(seed), i32x4_splat(3 * seed)];
    let rows: [v128; PEAK_ROWS] =
        std::array::from_fn(|i| v128_and(i32x4_splat(seed.wrapping_mul(7 + i as i32)), i8x16_splat(127)));
    let step = i32x4_splat(11 * seed);
    let mut acc = [[i32x4_splat(0); 2]; PEAK_ROWS];
    for _ in 0..rounds {
        for (acc, &row) in acc.iter_mut().zip(&rows) {
            for (acc, &weights) in acc.iter_mut().zip(&weights) {
                *acc = add_dot(weights, row, *acc);
            }
        }
        // else the products would be the same in each round
        weights = weights.map(|w| i8x16_add(w, step));
    }
    i32x4_extract_lane::<0>(acc.as_flattened().iter().fold(step, |all, &v| v128_xor(all, v)))
}

/// Steps of the inner loop that are written out.
const UNROLL: usize = 2;

fn into_i16(panel: Panel<'_>, activations: &[u8], sums: &mut [i32]) {
    let Panel { steps, starts, k, .. } = panel;
    assert!(
        steps.len() == NR * k && k.is_multiple_of(GROUP) && starts.len() == k / GROUP * STARTS,
        "a panel is NR x k bytes"
    );
    for (tile, sums) in activations.chunks_exact(MR * k).zip(sums.chunks_exact_mut(MR * NR)) {
        // SAFETY: the panel holds NR * k bytes and k / GROUP * STARTS starts (asserted), the tile MR * k bytes and `sums` MR * NR
        // numbers (their chunks).
        unsafe { tile_into_i16(steps.as_ptr(), starts.as_ptr(), tile.as_ptr(), k, sums.as_mut_ptr()) };
    }
}

/// One tile against one panel.
///
/// # Safety
/// `w` holds `NR * k` bytes, `starts` holds `k / GROUP * STARTS` numbers, `a` holds `MR * k` bytes, `k` is a multiple of `GROUP`, and
/// `sums` is writable for `MR * NR` numbers.
#[target_feature(enable = "relaxed-simd")]
unsafe fn tile_into_i16(w: *const i8, starts: *const i16, a: *const u8, k: usize, sums: *mut i32) {
    // SAFETY: group `g < k / GROUP` reads STARTS numbers at `STARTS * g` of `starts`, and its step `s < GROUP / QUAD` reads QUAD * NR
    // bytes of `w` and QUAD * MR bytes of `a` at the step's number times as much: inside by the conditions. So are the stores.
    unsafe {
        let ones = i16x8_splat(1);
        let mut acc = [[i32x4_splat(0); 2]; MR];
        let (mut w, mut a, mut starts) = (w, a, starts);
        for _ in 0..k / GROUP {
            let start = [v128_load(starts.cast()), v128_load(starts.add(8).cast())];
            let mut lanes = [start; MR];
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

fn into_i32(panel: Panel<'_>, activations: &[u8], sums: &mut [i32]) {
    let Panel { steps, offsets, k, .. } = panel;
    assert!(steps.len() == NR * k && k.is_multiple_of(QUAD) && offsets.len() == NR, "a panel is NR x k bytes");
    for (tile, sums) in activations.chunks_exact(MR * k).zip(sums.chunks_exact_mut(MR * NR)) {
        // SAFETY: the panel holds NR * k bytes and NR offsets (asserted), the tile MR * k bytes and `sums` MR * NR numbers (their
        // chunks).
        unsafe { tile_into_i32(steps.as_ptr(), offsets.as_ptr(), tile.as_ptr(), k, sums.as_mut_ptr()) };
    }
}

/// One tile against one panel.
///
/// # Safety
/// `w` holds `NR * k` bytes, `offsets` holds `NR` numbers, `a` holds `MR * k` bytes, `k` is a multiple of `QUAD`, and `sums` is
/// writable for `MR * NR` numbers.
#[target_feature(enable = "relaxed-simd")]
unsafe fn tile_into_i32(w: *const i8, offsets: *const i32, a: *const u8, k: usize, sums: *mut i32) {
    // SAFETY: step `s < k / QUAD` reads QUAD * NR bytes at `QUAD * NR * s` of `w` and QUAD * MR bytes at `QUAD * MR * s` of `a`,
    // inside by the conditions, as are the offsets and the stores.
    unsafe {
        let mut acc = [[v128_load(offsets.cast()), v128_load(offsets.add(4).cast())]; MR];
        let (mut w, mut a) = (w, a);
        for _ in 0..k / QUAD {
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
        for (i, row) in acc.iter().enumerate() {
            v128_store(sums.add(NR * i).cast(), row[0]);
            v128_store(sums.add(NR * i + 4).cast(), row[1]);
        }
    }
}
