//! Every kernel gives the scalar truth's integers, natively and in WebAssembly with and without simd128.
//!
//! The truth itself is held against the formula over row-major matrices.

use oddlens::kernels::quads::Lanes;
use oddlens::kernels::{Kernels, MAX_K, NR, pairs, quads, shapes};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Knuth's linear congruential generator: enough for test data, the same everywhere.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
}

impl Noise {
    fn within(&mut self, low: i32, high: i32) -> i32 {
        low + (self.next() % (high - low + 1) as u32) as i32
    }
}

type Shape = (usize, usize, usize);

/// `sum_k a[m,k] w[n,k]`, in i64.
fn formula(a: &[i32], w: &[i8], (m, k, n): Shape) -> Vec<i32> {
    let mut out = vec![0; m * n];
    for r in 0..m {
        for c in 0..n {
            let sum: i64 = (0..k).map(|i| i64::from(a[r * k + i]) * i64::from(w[c * k + i])).sum();
            out[r * n + c] = i32::try_from(sum).expect("sums fit in 32 bits");
        }
    }
    out
}

/// Panels `[rows][NR]` put together to `[m,n]`, padding cut off.
fn unpadded(panels: &[Vec<i32>], (m, _, n): Shape) -> Vec<i32> {
    (0..m).flat_map(|r| (0..n).map(move |c| panels[c / NR][r * NR + c % NR])).collect()
}

fn product_of_pairs(kernel: &pairs::Kernel, a: &[i32], w: &[i8], shape: Shape) -> Vec<i32> {
    let (m, k, n) = shape;
    let mut packed_w = vec![1; pairs::weights_len(n, k)];
    // what the padding holds must not matter
    let mut packed_a = vec![1i16; pairs::activations_len(m, k)];
    pairs::pack_weights(w, n, k, &mut packed_w);
    for (r, row) in a.chunks_exact(k).enumerate() {
        let mut row: Vec<i16> = row.iter().map(|&v| v as i16).collect();
        row.resize(pairs::padded_k(k), 55);
        pairs::pack_row(&row, r, &mut packed_a);
    }
    let weights = pairs::Weights::new(&packed_w, n, k);
    let activations = pairs::Activations::new(&packed_a, m, k);
    let panel = |p| {
        let mut sums = vec![-1; activations.rows() * NR];
        kernel.panel(&weights, p, &activations, &mut sums);
        sums
    };
    let panels: Vec<_> = (0..weights.panels()).map(panel).collect();
    let mut together = vec![-1; weights.panels() * activations.rows() * NR];
    kernel.panels(&weights, 0..weights.panels(), &activations, &mut together);
    let together: Vec<_> = together.chunks_exact((activations.rows() * NR).max(1)).map(<[i32]>::to_vec).collect();
    let what = format!("all panels at once of {kernel:?} on (m,k,n) = {shape:?}");
    assert_same(&unpadded(&together, shape), &unpadded(&panels, shape), &what);
    unpadded(&panels, shape)
}

/// `a` around zero; `centre` is added for the kernel.
fn product_of_quads(kernel: &quads::Kernel, centre: u8, a: &[i32], w: &[i8], shape: Shape) -> Vec<i32> {
    let (m, k, n) = shape;
    let weights = quads::Weights::pack(w, n, k, centre);
    // what the padding holds must not matter
    let mut packed = vec![77; quads::activations_len(m, k)];
    for (r, row) in a.chunks_exact(k).enumerate() {
        let mut row: Vec<u8> = row.iter().map(|&v| (v + i32::from(centre)) as u8).collect();
        assert!(row.iter().all(|&v| v <= quads::MAX_ACTIVATION));
        row.resize(quads::padded_k(k), 33);
        quads::pack_row(&row, r, &mut packed);
    }
    let activations = quads::Activations::new(&packed, m, k);
    let panel = |p| {
        let mut sums = vec![-1; activations.rows() * NR];
        kernel.panel(&weights, p, &activations, &mut sums);
        sums
    };
    let panels: Vec<_> = (0..weights.panels()).map(panel).collect();
    let mut together = vec![-1; weights.panels() * activations.rows() * NR];
    kernel.panels(&weights, 0..weights.panels(), &activations, &mut together);
    let together: Vec<_> = together.chunks_exact((activations.rows() * NR).max(1)).map(<[i32]>::to_vec).collect();
    let what = format!("all panels at once of {kernel:?} on (m,k,n) = {shape:?}");
    assert_same(&unpadded(&together, shape), &unpadded(&panels, shape), &what);
    unpadded(&panels, shape)
}

/// One line, however many numbers there are.
fn assert_same(got: &[i32], truth: &[i32], what: &dyn std::fmt::Display) {
    let wrong = got.iter().zip(truth).filter(|(a, b)| a != b).count();
    let first = got.iter().zip(truth).position(|(a, b)| a != b).unwrap_or(0);
    assert!(
        wrong == 0,
        "{what}: {wrong} of {} are wrong; number {first} is {}, not {}",
        truth.len(),
        got[first],
        truth[first]
    );
}

fn check_pairs(shape: Shape, a: &[i32], w: &[i8]) {
    let truth = formula(a, w, shape);
    for kernel in pairs::all() {
        let what = format!("{kernel:?} on (m,k,n) = {shape:?}");
        assert_same(&product_of_pairs(&kernel, a, w, shape), &truth, &what);
    }
}

fn check_quads(shape: Shape, centre: u8, a: &[i32], w: &[i8]) {
    let truth = formula(a, w, shape);
    for kernel in quads::all() {
        let got = product_of_quads(&kernel, centre, a, w, shape);
        assert_same(&got, &truth, &format!("{kernel:?} on (m,k,n) = {shape:?} around {centre}"));
    }
    // the other layout multiplies the same numbers to the same sums
    assert_same(&product_of_pairs(&pairs::best(), a, w, shape), &truth, &format!("pairs on (m,k,n) = {shape:?}"));
}

fn random(count: usize, most: i32, noise: &mut Noise) -> Vec<i32> {
    (0..count).map(|_| noise.within(-most, most)).collect()
}

fn weights(count: usize, most: i32, noise: &mut Noise) -> Vec<i8> {
    (0..count).map(|_| noise.within(-most, most) as i8).collect()
}

/// The norms of a lane of 32 uniform numbers up to `most` stay below `most * sqrt(32)`, most of them near `most * sqrt(32 / 3)`.
const QUAD_WEIGHT: i32 = (quads::WEIGHT_NORM / 5.66) as i32;
const QUAD_ACTIVATION: i32 = (quads::ACTIVATION_NORM / 5.66) as i32;

#[test]
fn all_kernels_agree_at_every_edge() {
    for (seed, shape) in shapes::edges().into_iter().enumerate() {
        let (m, k, n) = shape;
        let noise = &mut Noise(seed as u64);
        check_pairs(shape, &random(m * k, 2047, noise), &weights(n * k, 127, noise));
        for centre in [64, 30] {
            check_quads(shape, centre, &random(m * k, QUAD_ACTIVATION, noise), &weights(n * k, QUAD_WEIGHT, noise));
        }
    }
}

#[test]
fn all_kernels_agree_on_the_embedded_models_shapes() {
    for (seed, shape) in shapes::EMBEDDED.into_iter().enumerate() {
        let (m, k, n) = shape;
        let noise = &mut Noise(1000 + seed as u64);
        check_pairs(shape, &random(m * k, 2047, noise), &weights(n * k, 127, noise));
        check_quads(shape, 64, &random(m * k, QUAD_ACTIVATION, noise), &weights(n * k, QUAD_WEIGHT, noise));
    }
}

#[test]
fn lanes_come_to_what_the_formula_says() {
    let noise = &mut Noise(7);
    for k in [0, 1, 63, 64, 65, 130, 768] {
        for channel in [weights(k, 127, noise), vec![127; k], vec![-128; k]] {
            let expected: Vec<Lanes> = channel
                .chunks(quads::GROUP)
                .map(|group| {
                    let of_lane = |lane, f: fn(i32) -> i32| {
                        group
                            .iter()
                            .enumerate()
                            .filter(|&(i, _)| quads::lane(i) == lane)
                            .map(|(_, &w)| f(w.into()))
                            .sum()
                    };
                    let both = |f| [of_lane(0, f), of_lane(1, f)];
                    Lanes { sums: both(|w| w), squares: both(|w| w * w) }
                })
                .collect();
            assert_eq!(quads::lanes(&channel).collect::<Vec<_>>(), expected, "{k} numbers");
        }
    }
}

#[test]
fn extreme_values_do_not_overflow() {
    let k = MAX_K;
    for value in [-127, 127] {
        check_pairs((6, k, 9), &vec![2047; 6 * k], &vec![value; 9 * k]);
    }
    // both sides at the limits of the norms, once all in one pair of each lane, once spread over the lane
    for sign in [-1, 1] {
        let concentrated = |i: usize, value: i32| if i % 64 < 4 { value } else { 0 };
        let a: Vec<i32> = (0..6 * 512).map(|i| sign * concentrated(i, 63)).collect();
        let w: Vec<i8> = (0..9 * 512).map(|i| concentrated(i, 127) as i8).collect();
        check_quads((6, 512, 9), 64, &a, &w);
        let a = vec![sign * QUAD_ACTIVATION; 6 * k];
        check_quads((6, k, 9), 64, &a, &vec![QUAD_WEIGHT as i8; 9 * k]);
        // a one-sided row: all at the top of its range
        let a: Vec<i32> = (0..6 * 512).map(|i| if i % 64 < 2 { 119 } else { 0 }).collect();
        let w: Vec<i8> = (0..9 * 512).map(|i| if i % 64 < 2 { sign as i8 * 127 } else { 0 }).collect();
        check_quads((6, 512, 9), 8, &a, &w);
    }
}

#[test]
fn this_target_has_the_kernels_it_should() {
    let names = Kernels::all().iter().map(|k| format!("{k:?}")).collect::<Vec<_>>();
    assert_eq!(Kernels::all()[0].pairs, pairs::scalar::KERNEL);
    let (best, name) = (Kernels::best(), Kernels::best().name());
    if cfg!(all(target_arch = "wasm32", feature = "relaxed-simd")) {
        assert_eq!(name, "relaxed-u7i8-i16", "{names:?}");
    } else if cfg!(all(target_arch = "wasm32", target_feature = "simd128")) {
        assert_eq!(name, "simd128-i16i8", "{names:?}");
    } else if cfg!(target_arch = "wasm32") {
        assert_eq!((name, best.quads), ("scalar-i16i8", None), "{names:?}");
    } else if cfg!(target_arch = "aarch64") {
        assert_eq!(best.pairs.name(), "neon-i16i8", "{names:?}");
        assert!(["neon-u7i8", "neondot-u7i8"].contains(&name), "{names:?}");
    }
}
