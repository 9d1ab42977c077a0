//! AArch64. With NEON alone: `smull` and `smlal` leave the sum of two products in i16 (at most 2 x 127 x 127 < 2^15), `sadalp` adds
//! neighbours into i32. With the dot-product extension, `sdot` adds four products in i32 in one instruction.

use core::arch::aarch64::*;

use super::super::{MR, NR, Peak};
use super::{Kernel, Panel, QUAD};

/// `neon-u7i8`.
const NEON: Kernel = Kernel {
    name: "neon-u7i8",
    run: |panel, activations, sums| {
        let Panel { steps, offsets, k, .. } = panel;
        check(&panel);
        for ((tile, _), sums) in activations.tiles().zip(sums.chunks_exact_mut(MR * NR)) {
            // SAFETY: the panel holds NR * k bytes and NR offsets (checked), the tile MR * k bytes and `sums` MR * NR numbers (their
            // chunks).
            unsafe { neon_tile(steps.as_ptr(), offsets.as_ptr(), tile.as_ptr(), k, sums.as_mut_ptr()) };
        }
    },
    run_two: None,
    peak: None,
};
/// `neondot-u7i8`. Only to be listed where the processor has the extension.
const DOT: Kernel = Kernel {
    name: "neondot-u7i8",
    run: |panel, activations, sums| {
        let Panel { steps, offsets, k, .. } = panel;
        assert!(has_dot(), "the kernel is listed only where the processor can run it");
        check(&panel);
        let mut tiles = activations.bytes.chunks_exact(2 * MR * k);
        let mut sums = sums.chunks_exact_mut(2 * MR * NR);
        // two tiles at a time: the sums of one alone would wait for their own additions
        for (tile, sums) in tiles.by_ref().zip(sums.by_ref()) {
            // SAFETY: the extension is there (asserted); the panel holds NR * k bytes and NR offsets (checked), the tiles 2 * MR * k
            // bytes and `sums` 2 * MR * NR numbers (their chunks).
            unsafe { dot_tiles::<2>(steps.as_ptr(), offsets.as_ptr(), tile.as_ptr(), k, sums.as_mut_ptr()) };
        }
        for (tile, sums) in tiles.remainder().chunks_exact(MR * k).zip(sums.into_remainder().chunks_exact_mut(MR * NR))
        {
            // SAFETY: as above, with one tile.
            unsafe { dot_tiles::<1>(steps.as_ptr(), offsets.as_ptr(), tile.as_ptr(), k, sums.as_mut_ptr()) };
        }
    },
    run_two: None,
    peak: Some(Peak {
        run: |rounds, seed| {
            assert!(has_dot(), "the kernel is listed only where the processor can run it");
            // SAFETY: the extension is there.
            unsafe { dot_peak(rounds, seed) }
        },
        macs: 2 * MR * NR * QUAD,
    }),
};

/// The kernels that this processor can run, the slowest first.
pub fn available() -> Vec<Kernel> {
    if has_dot() { vec![NEON, DOT] } else { vec![NEON] }
}

fn has_dot() -> bool {
    std::arch::is_aarch64_feature_detected!("dotprod")
}

fn check(panel: &Panel<'_>) {
    let whole = panel.steps.len() == NR * panel.k && panel.k.is_multiple_of(2 * QUAD) && panel.offsets.len() == NR;
    assert!(whole, "a panel is NR x k bytes");
}

/// A row's four bytes at `a` in every lane. As signed bytes they are the same: none is above 127.
///
/// # Safety
/// Four bytes can be read at `a`.
unsafe fn quad(a: *const u8) -> int8x16_t {
    // SAFETY: by the condition; NEON is part of the architecture.
    unsafe { vreinterpretq_s8_s32(vdupq_n_s32(a.cast::<i32>().read_unaligned())) }
}

/// A tile against a panel.
///
/// # Safety
/// `w` holds `NR * k` bytes, `offsets` holds `NR` numbers, `a` holds `MR * k` bytes, `k` is a multiple of `2 * QUAD`, and `sums` is
/// writable for `MR * NR` numbers.
unsafe fn neon_tile(w: *const i8, offsets: *const i32, a: *const u8, k: usize, sums: *mut i32) {
    // SAFETY: steps `s` and `s + 1`, both `< k / QUAD`, read QUAD * NR bytes at `QUAD * NR * s` of `w` and, for row `i`, QUAD bytes at
    // `QUAD * (MR * s + i)` of `a`: inside by the conditions, as are the offsets and the stores.
    unsafe {
        // a register: two channels, of each the sums of the first and the second half of quads
        let mut acc = [[vdupq_n_s32(0); 4]; MR];
        for s in (0..k / QUAD).step_by(2) {
            let load = |s: usize| [vld1q_s8(w.add(QUAD * NR * s)), vld1q_s8(w.add(QUAD * NR * s + 16))];
            let (first, second) = (load(s), load(s + 1));
            for (i, acc) in acc.iter_mut().enumerate() {
                let (p, q) = (quad(a.add(QUAD * (MR * s + i))), quad(a.add(QUAD * (MR * (s + 1) + i))));
                for half in 0..2 {
                    let low = vmlal_s8(
                        vmull_s8(vget_low_s8(first[half]), vget_low_s8(p)),
                        vget_low_s8(second[half]),
                        vget_low_s8(q),
                    );
                    let high = vmlal_high_s8(vmull_high_s8(first[half], p), second[half], q);
                    acc[2 * half] = vpadalq_s16(acc[2 * half], low);
                    acc[2 * half + 1] = vpadalq_s16(acc[2 * half + 1], high);
                }
            }
        }
        for (i, [a, b, c, d]) in acc.into_iter().enumerate() {
            for (half, sum) in [vpaddq_s32(a, b), vpaddq_s32(c, d)].into_iter().enumerate() {
                let at = NR / 2 * half;
                vst1q_s32(sums.add(NR * i + at), vaddq_s32(sum, vld1q_s32(offsets.add(at))));
            }
        }
    }
}

/// `sum + dot products of four signed bytes each`. Its intrinsic is not stable yet.
#[target_feature(enable = "dotprod")]
fn dot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the extension is there; the instruction reads and writes these registers only.
    unsafe {
        core::arch::asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// `T` tiles against one panel.
///
/// # Safety
/// The processor has the extension; `w` holds `NR * k` bytes, `offsets` holds `NR` numbers, `a` holds `T * MR * k` bytes, `k` is a multiple
/// of `QUAD`, and `sums` is writable for `T * MR * NR` numbers.
#[target_feature(enable = "dotprod")]
unsafe fn dot_tiles<const T: usize>(w: *const i8, offsets: *const i32, a: *const u8, k: usize, sums: *mut i32) {
    // SAFETY: step `s < k / QUAD` reads QUAD * NR bytes at `QUAD * NR * s` of `w` and, for tile `t` and row `i`, QUAD bytes at
    // `t * MR * k + QUAD * (MR * s + i)` of `a`: inside by the conditions, as are the offsets and the stores.
    unsafe {
        let start = [vld1q_s32(offsets), vld1q_s32(offsets.add(NR / 2))];
        let mut acc = [[start; MR]; T];
        for s in 0..k / QUAD {
            let weights = [vld1q_s8(w.add(QUAD * NR * s)), vld1q_s8(w.add(QUAD * NR * s + 16))];
            for (t, acc) in acc.iter_mut().enumerate() {
                for (i, sums) in acc.iter_mut().enumerate() {
                    let row = quad(a.add(t * MR * k + QUAD * (MR * s + i)));
                    *sums = [dot(sums[0], weights[0], row), dot(sums[1], weights[1], row)];
                }
            }
        }
        for (i, [low, high]) in acc.into_iter().flatten().enumerate() {
            vst1q_s32(sums.add(NR * i), low);
            vst1q_s32(sums.add(NR * i + NR / 2), high);
        }
    }
}

/// The multiplications and additions of a step of two tiles, on registers.
///
/// # Safety
/// The processor has the extension.
#[target_feature(enable = "dotprod")]
unsafe fn dot_peak(rounds: usize, seed: i32) -> i32 {
    let bytes = |i: i32| vreinterpretq_s8_s32(vdupq_n_s32(seed.wrapping_mul(7 + i) & 0x7f7f_7f7f));
    let rows: [int8x16_t; 2 * MR] = std::array::from_fn(|i| bytes(i as i32));
    let (mut weights, step) = ([bytes(20), bytes(21)], bytes(22));
    let mut acc = [[vdupq_n_s32(0); 2]; 2 * MR];
    for _ in 0..rounds {
        for (acc, &row) in acc.iter_mut().zip(&rows) {
            *acc = [dot(acc[0], weights[0], row), dot(acc[1], weights[1], row)];
        }
        // else the products would be the same in each round
        weights = [vaddq_s8(weights[0], step), vaddq_s8(weights[1], step)];
    }
    acc.iter().flatten().fold(0, |all, &v| all ^ vaddvq_s32(v))
}
