//! Plain `simd128`: both sides widened to i16, then `i32x4.dot_i16x8`, which every engine turns into one `pmaddwd`.
//!
//! Activations are widened once a call into scratch as `[m / MR][k / 2][MR][2]`, a weight panel once a panel as
//! `[k / 2][NR][2]`; a step then is two loads, five broadcasts and ten dot products.

use core::arch::wasm32::*;

use super::Kernel;
use super::pack::{Activations, MR, NR, Weights};

/// `simd128-u7i8`.
pub const KERNEL: Kernel = Kernel { name: "simd128-u7i8", scratch: |rows, k| rows * k + NR * k, run };

fn run(weights: &Weights<'_>, activations: &Activations<'_>, scratch: &mut [i16], out: &mut [i32]) {
    let (k, n) = (weights.k(), weights.n());
    let (a16, w16) = scratch.split_at_mut(activations.rows() * k);
    widen_activations(activations.bytes(), a16);
    for p in 0..weights.panels() {
        widen_panel(weights.panel(p), &mut w16[..NR * k]);
        for (t, tile) in a16.chunks_exact(MR * k).enumerate() {
            // SAFETY: the tile holds MR * k numbers, the panel NR * k, and `out` has `n` numbers for each of this tile's
            // MR rows from column p * NR on (asserted in `Kernel::gemm`), so every pointer stays inside.
            unsafe {
                tile_product(w16.as_ptr(), tile.as_ptr(), k, out.as_mut_ptr().add(t * MR * n + p * NR), n);
            }
        }
    }
}

/// `[k / 4][MR][4]` bytes of each tile to `[k / 2][MR][2]` numbers.
fn widen_activations(bytes: &[u8], out: &mut [i16]) {
    for (from, to) in bytes.chunks_exact(4 * MR).zip(out.chunks_exact_mut(4 * MR)) {
        let (low, high) = to.split_at_mut(2 * MR);
        for i in 0..MR {
            low[2 * i] = i16::from(from[4 * i]);
            low[2 * i + 1] = i16::from(from[4 * i + 1]);
            high[2 * i] = i16::from(from[4 * i + 2]);
            high[2 * i + 1] = i16::from(from[4 * i + 3]);
        }
    }
}

/// `[k / 4][NR][4]` bytes of a panel to `[k / 2][NR][2]` numbers.
fn widen_panel(bytes: &[i8], out: &mut [i16]) {
    for (from, to) in bytes.chunks_exact(4 * NR).zip(out.chunks_exact_mut(4 * NR)) {
        // SAFETY: both chunks are 4 * NR = 32 numbers; four channels are read at 0 and 16, four vectors of eight are
        // written at 0, 8, 16 and 24.
        unsafe {
            for half in 0..2 {
                let v = v128_load(from.as_ptr().add(16 * half).cast());
                // bytes 0 and 1 of each channel first, then bytes 2 and 3
                let v = i16x8_shuffle::<0, 2, 4, 6, 1, 3, 5, 7>(v, v);
                v128_store(to.as_mut_ptr().add(8 * half).cast(), i16x8_extend_low_i8x16(v));
                v128_store(to.as_mut_ptr().add(16 + 8 * half).cast(), i16x8_extend_high_i8x16(v));
            }
        }
    }
}

/// One tile against one panel, written to `MR` rows of `out`, `stride` apart.
///
/// # Safety
/// `w` holds `NR * k` numbers, `a` holds `MR * k`, `k` is a multiple of 2, and `out` is writable at
/// `r * stride .. r * stride + NR` for `r < MR`.
#[inline(never)]
unsafe fn tile_product(w: *const i16, a: *const i16, k: usize, out: *mut i32, stride: usize) {
    // SAFETY: step `s < k / 2` reads 2 * NR numbers at `2 * NR * s` of `w` and 2 * MR at `2 * MR * s` of `a`, inside by
    // the first two conditions; the stores are inside by the last.
    unsafe {
        let mut acc = [[i32x4_splat(0); 2]; MR];
        let (mut w, mut a) = (w, a);
        for _ in 0..k / 2 {
            let w0 = v128_load(w.cast());
            let w1 = v128_load(w.add(8).cast());
            for (i, row) in acc.iter_mut().enumerate() {
                let pair = v128_load32_splat(a.add(2 * i).cast());
                row[0] = i32x4_add(row[0], i32x4_dot_i16x8(w0, pair));
                row[1] = i32x4_add(row[1], i32x4_dot_i16x8(w1, pair));
            }
            w = w.add(2 * NR);
            a = a.add(2 * MR);
        }
        for (i, row) in acc.iter().enumerate() {
            v128_store(out.add(i * stride).cast(), row[0]);
            v128_store(out.add(i * stride + 4).cast(), row[1]);
        }
    }
}
