//! A download that is made ours while it comes: the matrices of a CLIP of others' are rounded as they arrive, and what is made waits in the store
//! until all of the file is there and is what was promised. Where anything is in the way, it ends, and the conversion makes all of it later.

use std::rc::Rc;

use oddlens::clip;
use oddlens::weights::ahead::{Ahead, Made};
use oddlens::weights::{Checkpoint, Format, Source, recognise};
use web_sys::AbortSignal;

use crate::arriving::Arriving;
use crate::fetch::{self, PROGRESS_MILLIS};
use crate::store::{self, Partial};
use crate::work::{now, turn};

/// Bytes with which a header is looked for first, once in an archive; then with twice as many, and so on.
const FIRST_LOOK: u64 = 1 << 18;
/// No file of a CLIP has a header as long as that.
const LAST_LOOK: u64 = 1 << 25;
/// Bytes by which a format is told.
const HEAD: u64 = 16;
/// Bytes at the end of an archive in which its directory is found.
const DIRECTORY: u64 = 1 << 18;

/// A conversion under way.
pub struct AsItComes {
    /// Of what is made: its name in the store.
    name: String,
    /// Where the file comes from in one piece, until its end was asked for; and what stops that.
    address: Option<String>,
    signal: Option<AbortSignal>,
    stage: Stage,
}

enum Stage {
    /// The header is looked for when so many bytes are there.
    Header {
        look_at: u64,
    },
    Making {
        ahead: Ahead,
        from: Arriving,
        to: Partial,
    },
    Over,
}

/// What was made of a file before all of it was there.
pub struct MadeAhead {
    made: Made,
    name: String,
}

impl AsItComes {
    /// Of the file that comes from `address`; what is made of it is called `name` in the store. The caller holds the model's lock.
    pub fn new(name: String, address: Option<String>, signal: Option<AbortSignal>) -> Self {
        Self { name, address, signal, stage: Stage::Header { look_at: FIRST_LOOK } }
    }

    /// Makes what can be made of a file of `size` bytes, of which the first `arrived` lie in `partial`. Messages are heard meanwhile.
    pub async fn go_on(&mut self, partial: &Rc<Partial>, arrived: u64, size: u64) {
        if let Stage::Header { look_at } = self.stage
            && arrived >= look_at
        {
            self.stage = self.begin(partial, look_at, size).await;
        }
        let mut heard = now();
        while let Stage::Making { ahead, to, .. } = &mut self.stage
            && let Some(piece) = ahead.next(arrived)
        {
            if !piece.is_ok_and(|piece| to.append(&piece).is_ok()) {
                self.give_up().await;
            }
            if now() - heard > PROGRESS_MILLIS {
                turn().await;
                heard = now();
                if self.signal.as_ref().is_some_and(AbortSignal::aborted) {
                    return;
                }
            }
        }
    }

    /// What follows from the beginning of a file.
    async fn begin(&mut self, partial: &Rc<Partial>, looked_at: u64, size: u64) -> Stage {
        let mut from = Arriving::new(size, partial.clone());
        let mut look_at = Some(2 * looked_at).filter(|&at| at <= LAST_LOOK);
        let format = from.read(0..HEAD).and_then(|head| recognise(&head, size));
        if let Ok(Format::PyTorch) = format {
            // asked for once: a host that does not answer would be asked again wherever the file begins anew
            let Some(address) = self.address.take() else { return Stage::Over };
            let start = size.saturating_sub(DIRECTORY);
            let Ok(end) = fetch::end(&address, start, size, self.signal.as_ref()).await else { return Stage::Over };
            from = Arriving::with_end(size, partial.clone(), end);
            look_at = None;
        }
        let checkpoint = match (Checkpoint::open(from.clone()), look_at) {
            (Ok(checkpoint), _) => checkpoint,
            (Err(_), Some(look_at)) => return Stage::Header { look_at },
            (Err(_), None) => return Stage::Over,
        };
        let Some(ahead) = clip::own_ahead(checkpoint) else { return Stage::Over };
        match Partial::open(&self.name).await {
            // what a closed page left
            Ok(to) if to.clear().is_ok() => Stage::Making { ahead, from, to },
            _ => Stage::Over,
        }
    }

    /// Nobody reads the file any more.
    pub fn let_go(&self) {
        if let Stage::Making { from, .. } = &self.stage {
            from.rest();
        }
    }

    /// Ends it, with nothing left of what was made; whether there was any.
    pub async fn give_up(&mut self) -> bool {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Making { to, .. } => {
                drop(to);
                store::remove(&self.name).await;
                true
            }
            Stage::Header { .. } | Stage::Over => false,
        }
    }

    /// Another file comes instead.
    pub async fn start_anew(&mut self) {
        self.give_up().await;
        self.stage = Stage::Header { look_at: FIRST_LOOK };
    }

    /// Ends it, with what was made.
    pub async fn made(self) -> Option<MadeAhead> {
        let Stage::Making { ahead, to, .. } = self.stage else { return None };
        let flushed = to.flush();
        drop(to);
        match (flushed, store::source(&self.name).await) {
            (Ok(()), Ok(file)) => Some(MadeAhead { made: ahead.made(Box::new(file)), name: self.name }),
            _ => {
                store::remove(&self.name).await;
                None
            }
        }
    }
}

impl MadeAhead {
    pub fn tensors(&self) -> &Made {
        &self.made
    }

    /// It is not needed any more.
    pub async fn discard(self) {
        let Self { made, name } = self;
        // nobody can remove a file that is open
        drop(made);
        store::remove(&name).await;
    }
}
