//! Integer matrix products and the f32 vector math around them: the only home of `unsafe` and of intrinsics.
//!
//! The product is `acc[m,n] = sum_k a[m,k] * w[n,k]` with activations of 12 bits (`-2047..=2047`, in i16) and weights of 8 bits
//! (`-127..=127`), in panels and tiles laid out by [`pack`], summed in i32. Every implementation gives the same integers:
//! [`scalar`] is the truth, the others are held against it. Both WebAssembly (`i32x4.dot_i16x8_s`) and x86 (`vpmaddwd`) multiply
//! pairs of i16 and add them in one instruction, so 12 bits cost there what 8 would.
//!
//! It knows nothing of candle, of allocation (all memory comes from the caller) and of errors: lengths are promises of
//! our own code and are asserted once, in [`Kernel::gemm`].
#![allow(unsafe_code)]

pub mod pack;
pub mod scalar;
pub mod shapes;
pub mod vector;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub mod wasm128;
#[cfg(target_arch = "x86_64")]
pub mod x86_avx2;

use pack::{Activations, Weights};

/// One implementation of the integer product.
#[derive(Clone, Copy)]
pub struct Kernel {
    name: &'static str,
    run: fn(&Weights<'_>, &Activations<'_>, &mut [i32]),
}

impl Kernel {
    /// `{isa}-{types}`, for example `simd128-i16i8`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `out[r * n_padded + c] = sum_k a[r,k] * w[c,k]` for all rows, the padding included.
    ///
    /// # Panics
    /// When the two sides differ in `k`, or `out` is too short.
    pub fn gemm(&self, weights: &Weights<'_>, activations: &Activations<'_>, out: &mut [i32]) {
        assert_eq!(weights.k(), activations.k(), "both sides of a product have the same k");
        assert!(out.len() >= activations.rows() * weights.n(), "room for every sum");
        (self.run)(weights, activations, out);
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every kernel that this processor can run, the slowest (the truth) first.
pub fn all() -> Vec<Kernel> {
    #[allow(unused_mut)]
    let mut kernels = vec![scalar::KERNEL];
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    kernels.push(wasm128::KERNEL);
    #[cfg(target_arch = "x86_64")]
    if x86_avx2::available() {
        kernels.push(x86_avx2::KERNEL);
    }
    kernels
}

/// The fastest kernel that this processor can run.
pub fn best() -> Kernel {
    *all().last().expect("the scalar kernel runs everywhere")
}
