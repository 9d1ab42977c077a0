//! A person's own model file: made ours, 8 bits a weight, from wherever it lies, into the store or into memory; and how it is listed.

use std::borrow::Cow;
use std::rc::Rc;

use oddlens::clip::{self, Sidecars};
use oddlens::protocol::ModelEntry;
use oddlens::weights::manifest::{self, hex};
use oddlens::weights::{Checkpoint, WeightsError, source};
use sha2::{Digest, Sha256};

use crate::ahead::MadeAhead;
use crate::blob::BlobSource;
use crate::fetch::PROGRESS_MILLIS;
use crate::store;
use crate::work::{now, turn};

/// How a model is listed that is in no manifest, by a checksum and a name for people.
pub fn unknown(sha256: &str, name: &str) -> ModelEntry {
    ModelEntry {
        id: format!("own-{}", &sha256[..12]),
        file: String::new(),
        name: name.to_owned(),
        address: None,
        parts: vec![],
        front: None,
        bytes: 0,
        sha256: String::new(),
        threshold: 0.5,
        threshold_source: "Where the texts for normal and odd fit equally well: nobody has measured a better one for this model. Set it by your own pictures.".into(),
        can: "What it was trained for, as far as it is a CLIP: the file came from you.".into(),
        cannot: "Nothing is known of its limits here.".into(),
        memory_bytes: 0,
        kept: false,
        partial: 0,
    }
}

/// How a model at an address of the person's is listed.
pub fn at_address(address: &str) -> ModelEntry {
    let entry = unknown(&hex(Sha256::digest(address)), &manifest::name_of_address(address));
    ModelEntry { address: Some(address.to_owned()), ..entry }
}

/// Our file of a person's model: where it was put, how large it is, and its SHA-256.
#[derive(Clone)]
pub struct OwnFile {
    pub place: Place,
    pub bytes: u64,
    pub sha256: String,
}

#[derive(Clone)]
pub enum Place {
    /// In the store: its name there.
    Store(String, BlobSource),
    /// In memory, and why not in the store.
    Memory(InMemory, String),
}

/// A file in memory, of which a copy is the same one.
#[derive(Clone)]
pub struct InMemory(Rc<Vec<u8>>);

impl AsRef<[u8]> for InMemory {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

type Pieces<'a> = Box<dyn Iterator<Item = Result<Cow<'a, [u8]>, WeightsError>> + 'a>;

/// Why a file was not made.
enum Stop {
    /// It cannot be put there.
    Place(String),
    /// It cannot be made, or is no longer wanted.
    File(String),
}

/// Makes our file of a model and puts it into the store, or, where there is none or no room, into memory. Never are more than a few pieces of it, or
/// of its source, in memory on the way. What was made of it `ahead` is taken from there; it takes room, and goes where there is too little. `progress`
/// hears the share that is done, and says whether to go on.
///
/// # Errors
/// One line: why there is none.
pub async fn make(
    checkpoint: &Checkpoint,
    sidecars: &Sidecars,
    ahead: &mut Option<MadeAhead>,
    progress: &mut dyn FnMut(f64) -> bool,
) -> Result<OwnFile, String> {
    let why = loop {
        match into_store(checkpoint, sidecars, ahead.as_ref(), progress).await {
            Ok(file) => return Ok(file),
            Err(Stop::File(why)) => return Err(why),
            Err(Stop::Place(why)) => match ahead.take() {
                Some(ahead) => ahead.discard().await,
                None => break why,
            },
        }
    };
    let mut file = Vec::new();
    let mut keep = |piece: &[u8]| {
        let room = file.try_reserve(piece.len()).map_err(|_| "the model does not fit into memory".to_owned());
        room.map(|()| file.extend_from_slice(piece))
    };
    match write(checkpoint, sidecars, None, &mut keep, progress).await {
        Ok((bytes, sha256)) => Ok(OwnFile { place: Place::Memory(InMemory(Rc::new(file)), why), bytes, sha256 }),
        Err(Stop::Place(why) | Stop::File(why)) => Err(why),
    }
}

/// [`make`] into the store.
async fn into_store(
    checkpoint: &Checkpoint,
    sidecars: &Sidecars,
    ahead: Option<&MadeAhead>,
    progress: &mut dyn FnMut(f64) -> bool,
) -> Result<OwnFile, Stop> {
    let incoming = store::Incoming::begin().await.map_err(Stop::Place)?;
    match write(checkpoint, sidecars, ahead, &mut |piece| incoming.write(piece), progress).await {
        Ok((bytes, sha256)) => {
            let name = incoming.name().to_owned();
            let file = incoming.whole().await.map_err(Stop::Place)?;
            Ok(OwnFile { place: Place::Store(name, file), bytes, sha256 })
        }
        Err(stop) => {
            incoming.discard().await;
            Err(stop)
        }
    }
}

/// [`make`] to one place; gives size and SHA-256.
async fn write(
    checkpoint: &Checkpoint,
    sidecars: &Sidecars,
    ahead: Option<&MadeAhead>,
    place: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    progress: &mut dyn FnMut(f64) -> bool,
) -> Result<(u64, String), Stop> {
    let failed = |e: &dyn std::fmt::Display| Stop::File(e.to_string());
    let (size, pieces): (u64, Pieces) = if clip::is_own(checkpoint) {
        (checkpoint.file_bytes(), Box::new(source::pieces(checkpoint.source())))
    } else {
        let conversion = clip::own_file(checkpoint, sidecars).map_err(|e| failed(&e))?;
        let conversion = conversion.with(ahead.map(MadeAhead::tensors));
        (conversion.size(), Box::new(conversion.map(|piece| piece.map(Cow::Owned))))
    };
    let (mut digest, mut written, mut told) = (Sha256::new(), 0u64, f64::NEG_INFINITY);
    for piece in pieces {
        let piece = piece.map_err(|e| failed(&e))?;
        place(&piece).map_err(Stop::Place)?;
        digest.update(&piece);
        written += piece.len() as u64;
        if now() - told > PROGRESS_MILLIS {
            // whoever wants to stop it is heard
            turn().await;
            told = now();
            if !progress(written as f64 / size as f64) {
                return Err(Stop::File("cancelled".into()));
            }
        }
    }
    Ok((written, hex(digest.finalize())))
}
