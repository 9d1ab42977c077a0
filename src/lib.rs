//! Oddlens tells whether a picture is normal. This page is the map of the house.
#![deny(unsafe_code)]
#[cfg(feature = "model")]
pub mod clip;
pub mod embedding;
pub mod pixels;
pub mod protocol;
