//! A model's file of which the beginning has come, and later the rest, as a [`Source`].

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use oddlens::weights::WeightsError;
use oddlens::weights::source::{Source, room, unreadable};

use crate::store::Partial;

/// Such a file; clones are the same one.
#[derive(Clone)]
pub struct Arriving(Rc<Inner>);

struct Inner {
    size: u64,
    there: RefCell<There>,
}

/// What can be read.
enum There {
    /// What has come so far.
    Beginning(Rc<Partial>),
    /// Nothing, while the file is being written to.
    Nothing,
    Whole(Box<dyn Source>),
}

impl Arriving {
    /// A file of `size` bytes, of which `beginning` has come. It is left to whoever writes it when the source rests.
    pub fn new(size: u64, beginning: Rc<Partial>) -> Self {
        Self(Rc::new(Inner { size, there: RefCell::new(There::Beginning(beginning)) }))
    }

    /// All of it has come.
    pub fn complete(&self, file: Box<dyn Source>) {
        *self.0.there.borrow_mut() = There::Whole(file);
    }

    pub fn is_whole(&self) -> bool {
        matches!(*self.0.there.borrow(), There::Whole(_))
    }
}

impl Source for Arriving {
    fn size(&self) -> u64 {
        self.0.size
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, WeightsError> {
        let there = self.0.there.borrow();
        match &*there {
            There::Whole(file) => Ok(Cow::Owned(file.read(range)?.into_owned())),
            There::Beginning(file) if range.end <= file.len() => {
                let mut bytes = room(&range)?;
                file.read(range.start, &mut bytes).map_err(|e| unreadable(&range, e))?;
                Ok(Cow::Owned(bytes))
            }
            _ => Err(unreadable(&range, "the model's text tower has not come yet")),
        }
    }

    fn rest(&self) {
        let mut there = self.0.there.borrow_mut();
        match &*there {
            There::Whole(file) => file.rest(),
            _ => *there = There::Nothing,
        }
    }
}
