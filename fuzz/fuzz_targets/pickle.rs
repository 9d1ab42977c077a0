//! Any bytes as a pickle: by itself, and as the one entry of an archive, of which tensors are wanted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oddlens::weights::{Checkpoint, pickle};

fuzz_target!(|bytes: &[u8]| {
    match pickle::read(bytes, 1 << 20) {
        Ok(pickle) => assert!(pickle.node_count() <= bytes.len()),
        Err(error) => assert!(error.to_string().len() < 2000),
    }
    if let Err(error) = Checkpoint::read(archive(bytes)) {
        assert!(error.to_string().len() < 2000);
    }
});

/// A zip archive with a stored pickle, without its checksum, at which nobody looks (PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.12, 4.3.16).
fn archive(pickle: &[u8]) -> Vec<u8> {
    let name = b"a/data.pkl";
    let size = (pickle.len() as u32).to_le_bytes();
    // version; flags, stored, date and checksum; sizes; lengths of the name and of nothing else
    let common = [&[20, 0][..], &[0; 12], &size, &size, &[name.len() as u8, 0, 0, 0]].concat();
    let entry = [b"PK\x03\x04", &common[..], name, pickle].concat();
    let directory = [b"PK\x01\x02", &[20, 0][..], &common, &[0; 14], name].concat();
    let (at, len) = ((entry.len() as u32).to_le_bytes(), (directory.len() as u32).to_le_bytes());
    let end = [b"PK\x05\x06", &[0, 0, 0, 0, 1, 0, 1, 0][..], &len, &at, &[0, 0]].concat();
    [entry, directory, end].concat()
}
