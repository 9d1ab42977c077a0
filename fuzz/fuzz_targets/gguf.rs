//! The table of tensors of any bytes: one line of error, or ranges within the file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| match oddlens::weights::gguf::read(&bytes) {
    Ok((_, tensors)) => tensors.values().for_each(|t| assert!(t.range.end <= bytes.len() as u64)),
    Err(error) => assert!(error.to_string().len() < 2000),
});
