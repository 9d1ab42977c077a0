//! x86-64 with AVX2: `vpmaddubsw` multiplies unsigned by signed bytes and adds pairs in i16, which cannot saturate with
//! 7-bit activations (2 * 127 * 127 = 32,258 < 32,767); `vpmaddwd` with ones adds the pairs in i32.

use core::arch::x86_64::*;

use super::Kernel;
use super::pack::{Activations, MR, NR, Weights};

/// `avx2-u7i8`. Only to be listed where [`available`] says so.
pub const KERNEL: Kernel = Kernel { name: "avx2-u7i8", scratch: |_, _| 0, run };

/// Whether this processor has AVX2.
pub fn available() -> bool {
    std::is_x86_feature_detected!("avx2")
}

fn run(weights: &Weights<'_>, activations: &Activations<'_>, _: &mut [i16], out: &mut [i32]) {
    assert!(available(), "the AVX2 kernel is listed only where the processor has AVX2");
    let (k, n) = (weights.k(), weights.n());
    for p in 0..weights.panels() {
        for t in 0..activations.tiles() {
            let (w, a) = (weights.panel(p), activations.tile(t));
            // SAFETY: AVX2 is there (asserted above); the panel holds NR * k bytes, the tile MR * k, and `out` has `n`
            // numbers for each of this tile's MR rows from column p * NR on (asserted in `Kernel::gemm`).
            unsafe { tile_product(w.as_ptr(), a.as_ptr(), k, out.as_mut_ptr().add(t * MR * n + p * NR), n) };
        }
    }
}

/// One tile against one panel, written to `MR` rows of `out`, `stride` apart.
///
/// # Safety
/// The processor has AVX2; `w` holds `NR * k` bytes, `a` holds `MR * k`, `k` is a multiple of 4, and `out` is writable at
/// `r * stride .. r * stride + NR` for `r < MR`.
#[target_feature(enable = "avx2")]
unsafe fn tile_product(w: *const i8, a: *const u8, k: usize, out: *mut i32, stride: usize) {
    // SAFETY: step `s < k / 4` reads 4 * NR = 32 bytes at `32 * s` of `w` and 4 at `4 * (MR * s + i)` of `a`, inside by the
    // conditions on `w` and `a`; the stores are inside by the last condition.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let mut acc = [_mm256_setzero_si256(); MR];
        for s in 0..k / 4 {
            let weights = _mm256_loadu_si256(w.add(4 * NR * s).cast());
            for (i, sum) in acc.iter_mut().enumerate() {
                let row = _mm256_set1_epi32(a.add(4 * (MR * s + i)).cast::<i32>().read_unaligned());
                let pairs = _mm256_maddubs_epi16(row, weights);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        for (i, sum) in acc.iter().enumerate() {
            _mm256_storeu_si256(out.add(i * stride).cast(), *sum);
        }
    }
}
