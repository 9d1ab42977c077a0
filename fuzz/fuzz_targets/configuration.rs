//! Any text as the configuration beside a small model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oddlens::clip::{Config, Sidecars};
use oddlens::weights::Checkpoint;

thread_local! {
    static MODEL: Checkpoint = {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/safetensors/tiny-open-clip.safetensors");
        Checkpoint::read(std::fs::read(path).expect("fuzz/seed makes it")).expect("a model")
    };
}

fuzz_target!(|json: &str| {
    let sidecars = Sidecars { config: Some(json.into()), ..Sidecars::default() };
    let _ = MODEL.with(|model| Config::of(model, &sidecars));
});
