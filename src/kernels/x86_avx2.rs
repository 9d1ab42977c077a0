//! x86-64 with AVX2: weights are widened to i16 as they are loaded, then `vpmaddwd` multiplies pairs and adds them in i32.

use core::arch::x86_64::*;

use super::Kernel;
use super::pack::{Activations, MR, NR, Weights};

/// `avx2-i16i8`. Only to be listed where [`available`] says so.
pub const KERNEL: Kernel = Kernel { name: "avx2-i16i8", run };

/// Whether this processor has AVX2.
pub fn available() -> bool {
    std::is_x86_feature_detected!("avx2")
}

fn run(weights: &Weights<'_>, activations: &Activations<'_>, out: &mut [i32]) {
    assert!(available(), "the AVX2 kernel is listed only where the processor has AVX2");
    let (k, n) = (weights.k(), weights.n());
    for p in 0..weights.panels() {
        for t in 0..activations.tiles() {
            let (w, a) = (weights.panel(p), activations.tile(t));
            // SAFETY: AVX2 is there (asserted above); the panel holds NR * k bytes, the tile MR * k numbers, and `out` has
            // `n` numbers for each of this tile's MR rows from column p * NR on (asserted in `Kernel::gemm`).
            unsafe { tile_product(w.as_ptr(), a.as_ptr(), k, out.as_mut_ptr().add(t * MR * n + p * NR), n) };
        }
    }
}

/// One tile against one panel, written to `MR` rows of `out`, `stride` apart.
///
/// # Safety
/// The processor has AVX2; `w` holds `NR * k` bytes, `a` holds `MR * k` numbers, `k` is a multiple of 2, and `out` is writable
/// at `r * stride .. r * stride + NR` for `r < MR`.
#[target_feature(enable = "avx2")]
unsafe fn tile_product(w: *const i8, a: *const i16, k: usize, out: *mut i32, stride: usize) {
    // SAFETY: step `s < k / 2` reads 2 * NR = 16 bytes at `16 * s` of `w` and 2 numbers at `2 * (MR * s + i)` of `a`, inside
    // by the conditions on `w` and `a`; the stores are inside by the last condition.
    unsafe {
        let mut acc = [_mm256_setzero_si256(); MR];
        for s in 0..k / 2 {
            let weights = _mm256_cvtepi8_epi16(_mm_loadu_si128(w.add(2 * NR * s).cast()));
            for (i, sum) in acc.iter_mut().enumerate() {
                let pair = _mm256_set1_epi32(a.add(2 * (MR * s + i)).cast::<i32>().read_unaligned());
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(weights, pair));
            }
        }
        for (i, sum) in acc.iter().enumerate() {
            _mm256_storeu_si256(out.add(i * stride).cast(), *sum);
        }
    }
}
