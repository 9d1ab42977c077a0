//! AArch64 with NEON (which every such processor has): weights are widened to i16 as they are loaded, `smlal` multiplies and adds in
//! i32. Both numbers of a pair keep sums of their own until the end, where `addp` adds neighbours.

use core::arch::aarch64::*;

use super::super::{MR, NR, Peak};
use super::{Activations, Kernel};

/// `neon-i16i8`.
pub const KERNEL: Kernel = Kernel { name: "neon-i16i8", run, peak: Some(Peak { run: peak, macs: 2 * NR * MR }) };

/// Sums of a row while they grow: of the two numbers of each pair, for two channels in each register.
type Sums = [int32x4_t; 4];

fn zero() -> Sums {
    // SAFETY: NEON is part of the architecture.
    [unsafe { vdupq_n_s32(0) }; 4]
}

/// Adds a pair's products with the weights of eight channels, widened.
fn add([a, b, c, d]: Sums, [low, high]: [int16x8_t; 2], pair: int16x8_t) -> Sums {
    // SAFETY: NEON is part of the architecture.
    unsafe {
        [
            vmlal_s16(a, vget_low_s16(low), vget_low_s16(pair)),
            vmlal_high_s16(b, low, pair),
            vmlal_s16(c, vget_low_s16(high), vget_low_s16(pair)),
            vmlal_high_s16(d, high, pair),
        ]
    }
}

fn peak(rounds: usize, seed: i32) -> i32 {
    // SAFETY: NEON is part of the architecture.
    unsafe {
        let pair = |i: i32| vreinterpretq_s16_s32(vdupq_n_s32(seed.wrapping_mul(7 + i)));
        let rows: [int16x8_t; MR] = std::array::from_fn(|i| pair(i as i32));
        let (mut weights, step) = ([pair(20), pair(21)], pair(22));
        let mut acc = [zero(); MR];
        for _ in 0..rounds {
            for (acc, &row) in acc.iter_mut().zip(&rows) {
                *acc = add(*acc, weights, row);
            }
            // else the products would be the same in each round
            weights = weights.map(|w| vaddq_s16(w, step));
        }
        acc.iter().flatten().fold(0, |all, &v| all ^ vaddvq_s32(v))
    }
}

fn run(weights: &[i8], activations: &Activations<'_>, sums: &mut [i32]) {
    let k = activations.k();
    assert!(weights.len() == NR * k && k.is_multiple_of(2), "a panel is NR x k bytes");
    for ((tile, _), sums) in activations.tiles().zip(sums.chunks_exact_mut(MR * NR)) {
        // SAFETY: the panel holds NR * k bytes (asserted), the tile MR * k numbers and `sums` MR * NR (their chunks).
        unsafe { tile_product(weights.as_ptr(), tile.as_ptr(), k, sums.as_mut_ptr()) };
    }
}

/// A tile against a panel.
///
/// # Safety
/// `w` holds `NR * k` bytes, `a` holds `MR * k` numbers, `k` is a multiple of 2, and `sums` is writable for `MR * NR` numbers.
unsafe fn tile_product(w: *const i8, a: *const i16, k: usize, sums: *mut i32) {
    // SAFETY: step `s < k / 2` reads 2 * NR = 16 bytes at `16 * s` of `w` and, for row `i`, 2 numbers at `2 * (MR * s + i)` of `a`, inside
    // by the conditions on `w` and `a`; the stores are inside by the last condition.
    unsafe {
        let mut acc = [zero(); MR];
        for s in 0..k / 2 {
            let bytes = vld1q_s8(w.add(2 * NR * s));
            let weights = [vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)];
            for (i, acc) in acc.iter_mut().enumerate() {
                let pair = a.add(2 * (MR * s + i)).cast::<i32>().read_unaligned();
                *acc = add(*acc, weights, vreinterpretq_s16_s32(vdupq_n_s32(pair)));
            }
        }
        for (i, [a, b, c, d]) in acc.into_iter().enumerate() {
            vst1q_s32(sums.add(NR * i), vpaddq_s32(a, b));
            vst1q_s32(sums.add(NR * i + NR / 2), vpaddq_s32(c, d));
        }
    }
}
