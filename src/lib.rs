//! Oddlens tells whether a picture is normal. This page is the map of the house.
#![deny(unsafe_code)]
pub mod app_state;
#[cfg(feature = "model")]
pub mod clip;
pub mod embedding;
#[cfg(feature = "model")]
pub mod engine;
pub mod kernels;
#[cfg(all(feature = "web", target_arch = "wasm32"))]
pub mod link;
pub mod pixels;
pub mod protocol;
pub mod quant;
#[cfg(feature = "model")]
pub mod score;
#[cfg(all(feature = "web", target_arch = "wasm32"))]
pub mod ui;
#[cfg(feature = "model")]
pub mod weights;
