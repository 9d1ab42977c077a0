//! Every kernel gives the scalar truth's integers, natively and in WebAssembly with and without simd128.
//!
//! The truth itself is held against the formula over row-major matrices.

use oddlens::kernels::{self, Kernel, pack, shapes};
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

fn random(m: usize, k: usize, n: usize, seed: u64) -> (Vec<i16>, Vec<i8>) {
    let mut noise = Noise(seed);
    let a = (0..m * k).map(|_| (noise.next() % 4095) as i16 - 2047).collect();
    let w = (0..n * k).map(|_| (noise.next() % 255) as i32 - 127).map(|v| v as i8).collect();
    (a, w)
}

/// `[m,n]` sums by a kernel, padding cut off.
fn product(kernel: &Kernel, a: &[i16], w: &[i8], (m, k, n): (usize, usize, usize)) -> Vec<i32> {
    let mut packed_w = vec![1; pack::weights_len(n, k)];
    let mut packed_a = vec![1i16; pack::activations_len(m, k)];
    pack::pack_weights(w, n, k, &mut packed_w);
    pack::pack_activations(a, m, k, &mut packed_a);
    let weights = pack::Weights::new(&packed_w, n, k);
    let activations = pack::Activations::new(&packed_a, m, k);
    let mut out = vec![-1; activations.rows() * weights.n()];
    kernel.gemm(&weights, &activations, &mut out);
    out.chunks_exact(weights.n()).take(m).flat_map(|row| row[..n].to_vec()).collect()
}

fn formula(a: &[i16], w: &[i8], (m, k, n): (usize, usize, usize)) -> Vec<i32> {
    let mut out = vec![0; m * n];
    for r in 0..m {
        for c in 0..n {
            out[r * n + c] = (0..k).map(|i| i32::from(a[r * k + i]) * i32::from(w[c * k + i])).sum();
        }
    }
    out
}

fn check(shape: (usize, usize, usize), a: &[i16], w: &[i8]) {
    let truth = formula(a, w, shape);
    for kernel in kernels::all() {
        assert_eq!(product(&kernel, a, w, shape), truth, "{kernel:?} on (m,k,n) = {shape:?}");
    }
}

#[test]
fn all_kernels_agree_at_every_edge() {
    for (seed, shape) in shapes::edges().into_iter().enumerate() {
        let (a, w) = random(shape.0, shape.1, shape.2, seed as u64);
        check(shape, &a, &w);
    }
}

#[test]
fn all_kernels_agree_on_the_embedded_models_shapes() {
    for (seed, shape) in shapes::EMBEDDED.into_iter().enumerate() {
        let (a, w) = random(shape.0, shape.1, shape.2, 1000 + seed as u64);
        check(shape, &a, &w);
    }
}

#[test]
fn extreme_values_do_not_overflow() {
    let k = pack::MAX_K;
    for value in [-127, 127] {
        check((6, k, 9), &vec![2047; 6 * k], &vec![value; 9 * k]);
    }
}

#[test]
fn this_target_has_the_kernel_it_should() {
    let names: Vec<&str> = kernels::all().iter().map(|k| k.name()).collect();
    assert_eq!(names[0], "scalar-i16i8");
    if cfg!(all(target_arch = "wasm32", target_feature = "simd128")) {
        assert_eq!(kernels::best().name(), "simd128-i16i8");
    } else if cfg!(target_arch = "wasm32") {
        assert_eq!(names.len(), 1);
    }
}
