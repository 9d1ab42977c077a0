//! A model whose text tower is read when a text is asked for that is not known by heart, and can be let go again.
//!
//! The image tower is enough to see with. Half of a CLIP's memory, and of the time until it is ready, is the text tower's, which answers
//! once for each text that anybody types.

use std::cell::{Ref, RefCell};

use super::text::TextTower;
use super::text_table::TextTable;
use super::vocabulary::Vocabulary;
use super::{Clip, ClipError, Encoder, Sidecars, TextEmbeddings, completed};
use crate::embedding::Embeddings;
use crate::quant::Fastest;
use crate::weights::{Checkpoint, Source};

/// A [`Clip`] in 8 bits over the file that it comes from.
pub struct OnDemand {
    clip: Clip,
    /// Where the text tower can be read; none where it is in memory for good.
    file: Option<Checkpoint>,
    tower: RefCell<Option<TextTower>>,
    /// What was embedded here, or before.
    learned: RefCell<TextTable>,
}

impl OnDemand {
    /// Reads the image tower; the text tower, too, where the file is in memory, which then is not kept twice.
    ///
    /// # Errors
    /// As [`Clip::new`].
    pub fn open(file: impl Source + 'static, fastest: &Fastest) -> Result<Self, ClipError> {
        let checkpoint = Checkpoint::open(file)?;
        let clip = Clip::for_pictures(&checkpoint, &Sidecars::default(), fastest)?;
        let held = checkpoint.source().is_in_memory();
        let tower = held.then(|| clip.text_tower(&checkpoint)).transpose()?;
        let learned = RefCell::new(TextTable::empty(clip.embed_dim()));
        Ok(Self { clip, file: (!held).then_some(checkpoint), tower: RefCell::new(tower), learned })
    }

    /// The model without its text tower.
    pub fn clip(&self) -> &Clip {
        &self.clip
    }

    /// Weights and tables held when both towers are in memory, bytes.
    pub fn memory_bytes(&self) -> usize {
        let tower = match &*self.tower.borrow() {
            Some(tower) => tower.memory_bytes(),
            // as stored, which is as large
            None => self.file.as_ref().map_or(0, |file| file.bytes_under("text_")) as usize,
        };
        self.clip.memory_bytes() + tower
    }

    /// Nothing will be read from the file for a while.
    pub fn rest(&self) {
        if let Some(file) = &self.file {
            file.source().rest();
        }
    }

    /// Whether the text tower is in memory.
    pub fn has_text_tower(&self) -> bool {
        self.tower.borrow().is_some()
    }

    /// Gives the text tower's memory back, where it can be read again.
    pub fn drop_text_tower(&self) {
        if self.file.is_some() {
            *self.tower.borrow_mut() = None;
        }
    }

    /// Texts that are known beside those that the file carries.
    pub fn learned(&self) -> Ref<'_, TextTable> {
        self.learned.borrow()
    }

    /// Learns texts that were embedded by this very model before.
    ///
    /// # Panics
    /// When they are of another width.
    pub fn learn(&self, texts: &TextTable) {
        self.learned.borrow_mut().extend(texts);
    }

    /// Whether a text is known by heart.
    pub fn knows(&self, text: &str) -> bool {
        self.by_heart(text).is_some()
    }

    /// The embedding of a text that is known by heart.
    fn by_heart(&self, text: &str) -> Option<Vec<f32>> {
        let learned = self.learned.borrow();
        self.clip.known().get(text).or_else(|| learned.get(text)).map(<[f32]>::to_vec)
    }

    /// Texts' embeddings by the tower, which is read first where it has to be.
    fn embed(&self, texts: &[&str]) -> Result<TextEmbeddings, ClipError> {
        let mut tower = self.tower.borrow_mut();
        let tower = match (&mut *tower, &self.file) {
            (Some(tower), _) => tower,
            (none, Some(file)) => {
                let read = self.clip.text_tower(file)?;
                none.insert(read)
            }
            (None, None) => return Err(ClipError::NoTextTower),
        };
        let embedded = self.clip.embed_texts_with(tower, texts)?;
        let mut learned = self.learned.borrow_mut();
        for (i, text) in texts.iter().enumerate().filter(|&(i, _)| !embedded.truncated[i]) {
            learned.insert(text, &embedded.embeddings.select(&[i]));
        }
        Ok(embedded)
    }
}

impl Encoder for OnDemand {
    fn image_size(&self) -> usize {
        self.clip.image_size()
    }

    fn embed_dim(&self) -> usize {
        self.clip.embed_dim()
    }

    fn embed_pixels(&self, pixels: &[f32]) -> Result<Embeddings, ClipError> {
        self.clip.embed_pixels(pixels)
    }

    fn embed_texts(&self, texts: &[String]) -> Result<TextEmbeddings, ClipError> {
        completed(self.embed_dim(), texts, |text| self.by_heart(text), |unknown| self.embed(unknown))
    }

    fn vocabulary(&self) -> &Vocabulary {
        self.clip.vocabulary()
    }
}
