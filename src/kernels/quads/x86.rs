//! x86-64. With AVX2: `vpmaddubsw` (two products of bytes each leave at most 2 x 127 x 127 < 2^15, so that its saturation never
//! happens), then `vpmaddwd` by ones. With VNNI, `vpdpbusd` does both and the addition in one instruction.

use core::arch::x86_64::*;

use super::super::{MR, NR, Peak};
use super::{Activations, Kernel, Panel, QUAD};

/// `avx2-u7i8`. Only to be listed where the processor has AVX2.
const AVX2: Kernel = Kernel {
    name: "avx2-u7i8",
    run: |p, a, sums| run(has_avx2, [avx2::tiles::<1>, avx2::tiles::<2>], p, a, sums),
    run_two: None,
    peak: Some(Peak { run: |rounds, seed| peak(has_avx2, avx2::peak, rounds, seed), macs: PEAK_MACS }),
};
/// `avx512vnni-u7i8`: two panels fill registers of 512 bits, a single one those of 256. Only to be listed where the processor has
/// AVX-512 VNNI, and VL.
const AVX512_VNNI: Kernel = Kernel {
    name: "avx512vnni-u7i8",
    run: |p, a, sums| run(has_avx512_vnni, [avx512_vnni::tiles::<1>, avx512_vnni::tiles::<2>], p, a, sums),
    run_two: Some(run_two),
    peak: Some(Peak { run: |rounds, seed| peak(has_avx512_vnni, peak_of_512, rounds, seed), macs: PEAK_MACS_OF_512 }),
};
/// `avxvnni-u7i8`. Only to be listed where the processor has AVX-VNNI.
const AVX_VNNI: Kernel = Kernel {
    name: "avxvnni-u7i8",
    run: |p, a, sums| run(has_avx_vnni, [avx_vnni::tiles::<1>, avx_vnni::tiles::<2>], p, a, sums),
    run_two: None,
    peak: Some(Peak { run: |rounds, seed| peak(has_avx_vnni, avx_vnni::peak, rounds, seed), macs: PEAK_MACS }),
};
/// Products in a round of `peak`.
const PEAK_MACS: usize = 2 * MR * 32;
/// The same of [`peak_of_512`].
const PEAK_MACS_OF_512: usize = 2 * MR * 64;

fn peak(available: fn() -> bool, of: unsafe fn(usize, i32) -> i32, rounds: usize, seed: i32) -> i32 {
    assert!(available(), "the kernel is listed only where the processor can run it");
    // SAFETY: the instructions are there.
    unsafe { of(rounds, seed) }
}

/// The kernels that this processor can run, the slowest first.
pub fn available() -> Vec<Kernel> {
    let all: [(fn() -> bool, Kernel); 3] = [(has_avx2, AVX2), (has_avx_vnni, AVX_VNNI), (has_avx512_vnni, AVX512_VNNI)];
    all.into_iter().filter(|(available, _)| available()).map(|(_, kernel)| kernel).collect()
}

fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2")
}

fn has_avx_vnni() -> bool {
    std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("avxvnni")
}

fn has_avx512_vnni() -> bool {
    std::is_x86_feature_detected!("avx512vnni") && std::is_x86_feature_detected!("avx512vl")
}

/// A product of one tile or of two: weights, offsets, activations, `k`, sums.
type Tiles = unsafe fn(*const i8, *const i32, *const u8, usize, *mut i32);

fn run(
    available: fn() -> bool,
    product: [Tiles; 2],
    panel: Panel<'_>,
    activations: &Activations<'_>,
    sums: &mut [i32],
) {
    let Panel { steps, offsets, k, .. } = panel;
    assert!(available(), "the kernel is listed only where the processor can run it");
    assert!(steps.len() == NR * k && k.is_multiple_of(QUAD) && offsets.len() == NR, "a panel is NR x k bytes");
    // two tiles at a time: five sums alone would wait for their own additions
    let (mut tiles, mut sums) = (activations.bytes.chunks_exact(2 * MR * k), sums.chunks_exact_mut(2 * MR * NR));
    for (tile, sums) in tiles.by_ref().zip(sums.by_ref()) {
        // SAFETY: the instructions are there (asserted); the panel holds NR * k bytes and NR offsets (asserted), the tiles 2 * MR * k
        // bytes and `sums` 2 * MR * NR numbers (their chunks).
        unsafe { product[1](steps.as_ptr(), offsets.as_ptr(), tile.as_ptr(), k, sums.as_mut_ptr()) };
    }
    for (tile, sums) in tiles.remainder().chunks_exact(MR * k).zip(sums.into_remainder().chunks_exact_mut(MR * NR)) {
        // SAFETY: as above, with one tile.
        unsafe { product[0](steps.as_ptr(), offsets.as_ptr(), tile.as_ptr(), k, sums.as_mut_ptr()) };
    }
}

/// Tiles that [`run_two`] takes at a time, as long as there are so many: 25 sums, which with a step's weights and a row's quad fill 27 of
/// 32 registers. Each quad is loaded for 16 channels only, and loads are what this waits for: so many rows share a load of weights.
const MOST_TILES: usize = 5;

fn run_two(panels: [Panel<'_>; 2], activations: &Activations<'_>, sums: &mut [i32]) {
    let k = panels[0].k;
    assert!(has_avx512_vnni(), "the kernel is listed only where the processor can run it");
    assert!(
        k.is_multiple_of(QUAD) && panels.iter().all(|p| p.k == k && p.steps.len() == NR * k),
        "a panel is NR x k bytes"
    );
    assert!(panels.iter().all(|p| p.offsets.len() == NR), "a panel has NR offsets");
    assert_eq!(sums.len() * k, 2 * NR * activations.bytes.len(), "two panels have NR sums a row");
    let (mut first, mut second) = sums.split_at_mut(sums.len() / 2);
    let mut rest = activations.bytes;
    while let Some(tiles) = [MOST_TILES, 2, 1].into_iter().find(|t| *t * MR * k <= rest.len() && !rest.is_empty()) {
        let (some, more) = rest.split_at(tiles * MR * k);
        let ((a, more_a), (b, more_b)) = (first.split_at_mut(tiles * MR * NR), second.split_at_mut(tiles * MR * NR));
        let product = match tiles {
            MOST_TILES => tiles_of_512::<MOST_TILES>,
            2 => tiles_of_512::<2>,
            _ => tiles_of_512::<1>,
        };
        // SAFETY: the instructions are there (asserted); each panel holds NR * k bytes and NR offsets (asserted), the tiles
        // tiles * MR * k bytes, and both halves of the sums tiles * MR * NR numbers (split off above).
        unsafe {
            product(
                panels.map(|p| (p.steps.as_ptr(), p.offsets.as_ptr())),
                some.as_ptr(),
                k,
                [a.as_mut_ptr(), b.as_mut_ptr()],
            )
        };
        (first, second, rest) = (more_a, more_b, more);
    }
}

/// `T` tiles against two panels: weights and offsets of each, activations, `k`, sums of each.
///
/// # Safety
/// The processor has AVX-512 VNNI, and VL (without which the compiler leaves half of the registers unused); for each panel, its weights are
/// `NR * k` bytes, its offsets `NR` numbers, and its sums are writable for `T * MR * NR` numbers; `a` holds `T * MR * k` bytes, and `k` is
/// a multiple of `QUAD`.
#[target_feature(enable = "avx512f,avx512vl,avx512vnni")]
unsafe fn tiles_of_512<const T: usize>(w: [(*const i8, *const i32); 2], a: *const u8, k: usize, sums: [*mut i32; 2]) {
    // SAFETY: step `s < k / QUAD` reads QUAD * NR bytes at `QUAD * NR * s` of each panel's weights and, for tile `t` and row `i`, QUAD
    // bytes at `t * MR * k + QUAD * (MR * s + i)` of `a`: inside by the conditions, as are the offsets and the stores.
    unsafe {
        let both = |low: *const __m256i, high: *const __m256i| {
            let low = _mm512_castsi256_si512(low.read_unaligned());
            _mm512_inserti64x4::<1>(low, high.read_unaligned())
        };
        let mut acc = [[both(w[0].1.cast(), w[1].1.cast()); MR]; T];
        for s in 0..k / QUAD {
            let weights = both(w[0].0.add(QUAD * NR * s).cast(), w[1].0.add(QUAD * NR * s).cast());
            // the two panels that follow come from far away: a line of them at each step. What is no memory is not fetched.
            _mm_prefetch::<_MM_HINT_T0>(w[0].0.wrapping_add(2 * NR * k + 2 * QUAD * NR * s));
            for (t, acc) in acc.iter_mut().enumerate() {
                for (i, sum) in acc.iter_mut().enumerate() {
                    let quad = a.add(t * MR * k + QUAD * (MR * s + i)).cast::<i32>().read_unaligned();
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi32(quad), weights);
                }
            }
        }
        // one loop over both would keep the sums in memory all the time
        for (t, acc) in acc.iter().enumerate() {
            for (i, &sum) in acc.iter().enumerate() {
                let at = NR * (MR * t + i);
                sums[0].add(at).cast::<__m256i>().write_unaligned(_mm512_castsi512_si256(sum));
                sums[1].add(at).cast::<__m256i>().write_unaligned(_mm512_extracti64x4_epi64::<1>(sum));
            }
        }
    }
}

/// The multiplications and additions of a step of two tiles and two panels, on registers.
///
/// # Safety
/// The processor has AVX-512 VNNI and VL.
#[target_feature(enable = "avx512f,avx512vl,avx512vnni")]
unsafe fn peak_of_512(rounds: usize, seed: i32) -> i32 {
    let mut weights = _mm512_set1_epi32(seed);
    let rows: [__m512i; 2 * MR] =
        std::array::from_fn(|i| _mm512_set1_epi32(seed.wrapping_mul(7 + i as i32) & 0x7f7f_7f7f));
    let step = _mm512_set1_epi32(11 * seed);
    let mut acc = [_mm512_setzero_si512(); 2 * MR];
    for _ in 0..rounds {
        for (acc, &row) in acc.iter_mut().zip(&rows) {
            *acc = _mm512_dpbusd_epi32(*acc, row, weights);
        }
        // else the products would be the same in each round
        weights = _mm512_add_epi32(weights, step);
    }
    _mm512_reduce_add_epi32(acc.iter().fold(step, |all, &v| _mm512_xor_si512(all, v)))
}

/// A module with the tiles of one instruction set, and with its peak where that is to be told; `$dot(sum, quads, weights)` adds the products
/// of quads to the sums.
macro_rules! instruction_set {
    ($name:ident, $features:literal, $dot:expr $(, $peak:ident)?) => {
        mod $name {
            use super::*;

            /// `T` tiles against one panel.
            ///
            /// # Safety
            /// The processor has the features; `w` holds `NR * k` bytes, `offsets` holds `NR` numbers, `a` holds `T * MR * k` bytes, `k`
            /// is a multiple of `QUAD`, and `sums` is writable for `T * MR * NR` numbers.
            #[target_feature(enable = $features)]
            pub unsafe fn tiles<const T: usize>(
                w: *const i8,
                offsets: *const i32,
                a: *const u8,
                k: usize,
                sums: *mut i32,
            ) {
                // SAFETY: step `s < k / QUAD` reads QUAD * NR bytes at `QUAD * NR * s` of `w` and, for tile `t` and row `i`, QUAD bytes
                // at `t * MR * k + QUAD * (MR * s + i)` of `a`: inside by the conditions, as are the offsets and the stores.
                unsafe {
                    let mut acc = [[_mm256_loadu_si256(offsets.cast()); MR]; T];
                    for s in 0..k / QUAD {
                        let weights = _mm256_loadu_si256(w.add(QUAD * NR * s).cast());
                        for (t, acc) in acc.iter_mut().enumerate() {
                            for (i, sum) in acc.iter_mut().enumerate() {
                                let quad = a.add(t * MR * k + QUAD * (MR * s + i)).cast::<i32>().read_unaligned();
                                *sum = $dot(*sum, _mm256_set1_epi32(quad), weights);
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

            $(
                /// The multiplications and additions of a step of two tiles, on registers.
                ///
                /// # Safety
                /// The processor has the features.
                #[target_feature(enable = $features)]
                pub unsafe fn $peak(rounds: usize, seed: i32) -> i32 {
                    let mut weights = _mm256_set1_epi32(seed);
                    let rows: [__m256i; 2 * MR] =
                        std::array::from_fn(|i| _mm256_set1_epi32(seed.wrapping_mul(7 + i as i32) & 0x7f7f_7f7f));
                    let step = _mm256_set1_epi32(11 * seed);
                    let mut acc = [_mm256_setzero_si256(); 2 * MR];
                    for _ in 0..rounds {
                        for (acc, &row) in acc.iter_mut().zip(&rows) {
                            *acc = $dot(*acc, row, weights);
                        }
                        // else the products would be the same in each round
                        weights = _mm256_add_epi8(weights, step);
                    }
                    _mm256_extract_epi32::<0>(acc.iter().fold(step, |all, &v| _mm256_xor_si256(all, v)))
                }
            )?
        }
    };
}

instruction_set!(
    avx2,
    "avx2",
    |sum, quads, weights| {
        _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(quads, weights), _mm256_set1_epi16(1)))
    },
    peak
);
instruction_set!(avx_vnni, "avx2,avxvnni", |sum, quads, weights| _mm256_dpbusd_avx_epi32(sum, quads, weights), peak);
instruction_set!(avx512_vnni, "avx2,avx512vnni,avx512vl", |sum, quads, weights| _mm256_dpbusd_epi32(
    sum, quads, weights
));
