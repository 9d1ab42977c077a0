//! Any bytes as a model file, up to both towers in 8 bits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oddlens::clip::text::TextTower;
use oddlens::clip::vision::VisionTower;
use oddlens::clip::{Activation, Choice, Config, Sidecars};
use oddlens::kernels::Kernels;
use oddlens::weights::Checkpoint;

fuzz_target!(|bytes: &[u8]| {
    let checkpoint = match Checkpoint::read(bytes.to_vec()) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return assert!(!error.to_string().contains('\n')),
    };
    let sidecars = Sidecars { activation: Some(Activation::Gelu), ..Sidecars::default() };
    let config = match Config::of(&checkpoint, &sidecars) {
        Ok(config) => config,
        Err(error) => return assert!(!error.to_string().contains('\n')),
    };
    let choice = Choice { kernels: Kernels::best(), fast: None };
    let _ = VisionTower::new(&checkpoint, &config, &choice);
    let _ = TextTower::new(&checkpoint, &config, &choice);
});
