//! Any bytes as a model file of which a part is still to come, up to its matrices in 8 bits. The first two bytes say which part.
#![no_main]

use std::borrow::Cow;
use std::ops::Range;

use libfuzzer_sys::fuzz_target;
use oddlens::clip;
use oddlens::weights::{Checkpoint, Source, WeightsError};

struct Coming {
    bytes: Vec<u8>,
    missing: Range<u64>,
}

impl Source for Coming {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn has_come(&self, range: &Range<u64>) -> bool {
        range.end <= self.missing.start || range.start >= self.missing.end
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
        let come = self.has_come(&range);
        come.then(|| self.bytes.read(range.clone())).unwrap_or(Err(WeightsError::Unreadable {
            start: range.start,
            end: range.end,
            why: "it has not come yet".into(),
        }))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let [front, end, file @ ..] = bytes else { return };
    let at = |share: &u8| file.len() as u64 * u64::from(*share) / 255;
    let missing = at(front)..at(front).max(at(end));
    let arrived = missing.start;
    let checkpoint = match Checkpoint::open(Coming { bytes: file.to_vec(), missing }) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return assert!(!error.to_string().contains('\n')),
    };
    let Some(mut ahead) = clip::own_ahead(checkpoint) else { return };
    while let Some(piece) = ahead.next(arrived) {
        if let Err(error) = piece {
            assert!(!error.to_string().contains('\n'));
        }
    }
});
