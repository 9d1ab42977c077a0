//! Oddlens tells whether a picture is normal. This page is the map of the house.
#![deny(unsafe_code)]
#[cfg(feature = "model")]
pub mod clip;
pub mod embedding;
#[cfg(feature = "model")]
pub mod engine;
pub mod kernels;
pub mod pixels;
pub mod protocol;
pub mod quant;
#[cfg(feature = "model")]
pub mod score;
#[cfg(feature = "model")]
pub mod weights;
pub mod app_state;
#[cfg(all(feature = "web", target_arch = "wasm32"))]
pub mod link;
#[cfg(all(feature = "web", target_arch = "wasm32"))]
pub mod ui;
