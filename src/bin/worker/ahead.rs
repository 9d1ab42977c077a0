//! A download that is made ours while it comes: the matrices of a CLIP of others' are rounded as they arrive, and what is made waits in the store
//! until all of the file is there and is what was promised. Where anything is in the way, it ends, and the conversion makes all of it later.

use std::rc::Rc;

use oddlens::clip;
use oddlens::weights::ahead::{Ahead, Made};
use oddlens::weights::{Checkpoint, Source, WeightsError};

use crate::arriving::Arriving;
use crate::store::{self, Incoming, Partial};
use crate::work::turn;

/// Bytes with which a header is looked for first; then with twice as many, and so on.
const FIRST_LOOK: u64 = 1 << 18;
/// No file of a CLIP has a header as long as that, unless it stands at the end.
const LAST_LOOK: u64 = 1 << 25;

/// A conversion under way.
pub struct AsItComes(Stage);

enum Stage {
    /// The header is looked for when so many bytes are there.
    Header {
        look_at: u64,
    },
    Making {
        ahead: Ahead,
        from: Arriving,
        to: Incoming,
    },
    Over,
}

/// What was made of a file before all of it was there.
pub struct MadeAhead {
    made: Made,
    name: String,
}

impl AsItComes {
    pub fn new() -> Self {
        Self(Stage::Header { look_at: FIRST_LOOK })
    }

    /// Makes what can be made of a file of `size` bytes, of which the first `arrived` lie in `partial`. Messages are heard between two pieces.
    pub async fn go_on(&mut self, partial: &Rc<Partial>, arrived: u64, size: u64) {
        if let Stage::Header { look_at } = self.0
            && arrived >= look_at
        {
            self.0 = header(partial, look_at, size).await;
        }
        let mut failed = false;
        if let Stage::Making { ahead, to, .. } = &mut self.0 {
            while let (false, Some(piece)) = (failed, ahead.next(arrived)) {
                failed = !piece.is_ok_and(|piece| to.write(&piece).is_ok());
                turn().await;
            }
        }
        if failed {
            self.give_up().await;
        }
    }

    /// Nobody reads the file any more.
    pub fn let_go(&self) {
        if let Stage::Making { from, .. } = &self.0 {
            from.rest();
        }
    }

    /// Ends it, with nothing left of what was made; whether there was any.
    pub async fn give_up(&mut self) -> bool {
        match std::mem::replace(&mut self.0, Stage::Over) {
            Stage::Making { to, .. } => {
                to.discard().await;
                true
            }
            Stage::Header { .. } | Stage::Over => false,
        }
    }

    /// Another file comes instead.
    pub async fn start_anew(&mut self) {
        self.give_up().await;
        *self = Self::new();
    }

    /// Ends it, with what was made.
    pub async fn made(self) -> Option<MadeAhead> {
        let Stage::Making { ahead, to, .. } = self.0 else { return None };
        let name = to.name().to_owned();
        let file = to.whole().await.ok()?;
        Some(MadeAhead { made: ahead.made(Box::new(file)), name })
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

/// What follows from the beginning of a file.
async fn header(partial: &Rc<Partial>, looked_at: u64, size: u64) -> Stage {
    let from = Arriving::new(size, partial.clone());
    let ahead = match Checkpoint::open(from.clone()) {
        Ok(checkpoint) => clip::own_ahead(checkpoint),
        Err(WeightsError::Unreadable { .. }) if looked_at < LAST_LOOK => {
            return Stage::Header { look_at: 2 * looked_at };
        }
        Err(_) => None,
    };
    let Some(ahead) = ahead else { return Stage::Over };
    Incoming::begin().await.map_or(Stage::Over, |to| Stage::Making { ahead, from, to })
}
