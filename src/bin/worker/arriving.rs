//! A model's file of which the beginning has come, perhaps also the end, and later the rest, as a [`Source`].

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
    /// Its last bytes, fetched before what lies in front of them.
    end: Vec<u8>,
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
        Self::with_end(size, beginning, Vec::new())
    }

    /// The same, of which the last bytes have come, too.
    pub fn with_end(size: u64, beginning: Rc<Partial>, end: Vec<u8>) -> Self {
        Self(Rc::new(Inner { size, end, there: RefCell::new(There::Beginning(beginning)) }))
    }

    /// A range of the last bytes.
    fn end(&self, range: &Range<u64>) -> Option<&[u8]> {
        let start = self.0.size.checked_sub(self.0.end.len() as u64)?;
        let at = |offset: u64| Some(offset.checked_sub(start)? as usize);
        self.0.end.get(at(range.start)?..at(range.end)?)
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
            _ => match self.end(&range) {
                Some(bytes) => Ok(Cow::Owned(bytes.to_vec())),
                None => Err(unreadable(&range, "the model's text tower has not come yet")),
            },
        }
    }

    fn has_come(&self, range: &Range<u64>) -> bool {
        match &*self.0.there.borrow() {
            There::Whole(_) => true,
            There::Beginning(file) if range.end <= file.len() => true,
            _ => self.end(range).is_some(),
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
