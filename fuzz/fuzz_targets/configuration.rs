//! Any text as the configuration beside a small model.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use oddlens::clip::{Config, Sidecars};
use oddlens::weights::Checkpoint;

static MODEL: LazyLock<Checkpoint> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/safetensors/tiny-open-clip.safetensors");
    Checkpoint::read(std::fs::read(path).expect("fuzz/seed makes it")).expect("a model")
});

fuzz_target!(|json: &str| {
    let sidecars = Sidecars { config: Some(json.into()), ..Sidecars::default() };
    let _ = Config::of(&MODEL, &sidecars);
});
