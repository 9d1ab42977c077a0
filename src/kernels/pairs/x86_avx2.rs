//! x86-64 with AVX2: weights are widened to i16 as they are loaded, then `vpmaddwd` multiplies pairs and adds them in i32.

use core::arch::x86_64::*;

use super::super::{MR, NR, Peak};
use super::{Activations, Kernel};

/// `avx2-i16i8`. Only to be listed where [`available`] says so.
pub const KERNEL: Kernel = Kernel { name: "avx2-i16i8", run, peak: Some(Peak { run: peak, macs: 2 * MR * 16 }) };

fn peak(rounds: usize, seed: i32) -> i32 {
    assert!(available(), "the AVX2 kernel is listed only where the processor has AVX2");
    // SAFETY: AVX2 is there.
    unsafe { peak_of_avx2(rounds, seed) }
}

/// The multiplications and additions of two steps, on registers.
#[target_feature(enable = "avx2")]
fn peak_of_avx2(rounds: usize, seed: i32) -> i32 {
    let mut weights = _mm256_set1_epi32(seed);
    let rows: [__m256i; 2 * MR] = std::array::from_fn(|i| _mm256_set1_epi32(seed.wrapping_mul(7 + i as i32)));
    let step = _mm256_set1_epi32(11 * seed);
    let mut acc = [_mm256_setzero_si256(); 2 * MR];
    for _ in 0..rounds {
        for (acc, &row) in acc.iter_mut().zip(&rows) {
            *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(weights, row));
        }
        // else the products would be the same in each round
        weights = _mm256_add_epi16(weights, step);
    }
    _mm256_extract_epi32::<0>(acc.iter().fold(step, |all, &v| _mm256_xor_si256(all, v)))
}

/// Whether this processor has AVX2.
pub fn available() -> bool {
    std::is_x86_feature_detected!("avx2")
}

fn run(weights: &[i8], activations: &Activations<'_>, sums: &mut [i32]) {
    let k = activations.k();
    assert!(available(), "the AVX2 kernel is listed only where the processor has AVX2");
    assert!(weights.len() == NR * k && k.is_multiple_of(2), "a panel is NR x k bytes");
    // two tiles at a time: five sums alone would wait for their own additions
    let (mut tiles, mut sums) = (activations.numbers.chunks_exact(2 * MR * k), sums.chunks_exact_mut(2 * MR * NR));
    for (tile, sums) in tiles.by_ref().zip(sums.by_ref()) {
        // SAFETY: AVX2 is there (asserted); the panel holds NR * k bytes (asserted), the tiles 2 * MR * k numbers and `sums`
        // 2 * MR * NR (their chunks).
        unsafe { tile_product::<2>(weights.as_ptr(), tile.as_ptr(), k, sums.as_mut_ptr()) };
    }
    for (tile, sums) in tiles.remainder().chunks_exact(MR * k).zip(sums.into_remainder().chunks_exact_mut(MR * NR)) {
        // SAFETY: as above, with one tile.
        unsafe { tile_product::<1>(weights.as_ptr(), tile.as_ptr(), k, sums.as_mut_ptr()) };
    }
}

/// `T` tiles against one panel.
///
/// # Safety
/// The processor has AVX2; `w` holds `NR * k` bytes, `a` holds `T * MR * k` numbers, `k` is a multiple of 2, and `sums` is
/// writable for `T * MR * NR` numbers.
#[target_feature(enable = "avx2")]
unsafe fn tile_product<const T: usize>(w: *const i8, a: *const i16, k: usize, sums: *mut i32) {
    // SAFETY: step `s < k / 2` reads 2 * NR = 16 bytes at `16 * s` of `w` and, for tile `t` and row `i`, 2 numbers at
    // `t * MR * k + 2 * (MR * s + i)` of `a`, inside by the conditions on `w` and `a`; the stores are inside by the last condition.
    unsafe {
        let mut acc = [[_mm256_setzero_si256(); MR]; T];
        for s in 0..k / 2 {
            let weights = _mm256_cvtepi8_epi16(_mm_loadu_si128(w.add(2 * NR * s).cast()));
            for (t, acc) in acc.iter_mut().enumerate() {
                for (i, sum) in acc.iter_mut().enumerate() {
                    let pair = a.add(t * MR * k + 2 * (MR * s + i)).cast::<i32>().read_unaligned();
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(weights, _mm256_set1_epi32(pair)));
                }
            }
        }
        // one loop over both would keep the sums in memory all the time
        for (t, acc) in acc.iter().enumerate() {
            for (i, &sum) in acc.iter().enumerate() {
                _mm256_storeu_si256(sums.add(NR * (MR * t + i)).cast(), sum);
            }
        }
    }
}
