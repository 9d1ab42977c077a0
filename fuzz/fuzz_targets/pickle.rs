//! Any bytes as a pickle.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| match oddlens::weights::pickle::read(bytes, 1 << 20) {
    Ok(pickle) => assert!(pickle.node_count() <= bytes.len()),
    Err(error) => assert!(error.to_string().len() < 2000),
});
