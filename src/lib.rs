//! Oddlens tells whether a picture is normal. This page is the map of the house.
#![deny(unsafe_code)]
pub mod embedding;
pub mod protocol;
