//! The steps from bytes to a score, as plain functions over any [`Encoder`]: what page and command line share.

use std::sync::Arc;

use crate::clip::Encoder;
use crate::embedding::Embeddings;
use crate::pixels::{self, Picture, PixelsError};
use crate::protocol::{Decoder, Entry, Event, ImageId, JobId, Note, NoteKind, PictureInfo, Pixels, Setup};
use crate::protocol::{Stage, Timings};
use crate::score::{Method, prompts::prompts};
use crate::train::{Detector, Examples, Texts};

/// Side of the small pictures to show, pixels.
const THUMBNAIL_SIDE: u32 = 320;

/// Why one picture (or a setup) has no score: one line saying what, expected, got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub stage: Stage,
    pub message: String,
}

impl Failure {
    pub fn new(stage: Stage, message: impl ToString) -> Self {
        Self { stage, message: message.to_string() }
    }

    /// As the protocol says it.
    pub fn event(self, job: JobId, image: Option<ImageId>) -> Event {
        Event::Failed { job, image, stage: self.stage, message: self.message }
    }
}

impl From<PixelsError> for Failure {
    fn from(e: PixelsError) -> Self {
        Self::new(if e.is_format() { Stage::Format } else { Stage::Decode }, e)
    }
}

/// A setup whose texts are encoded.
pub struct Prepared {
    setup: Setup,
    entries: Vec<Entry>,
    texts: Arc<Texts>,
    notes: Vec<Note>,
    method: &'static Method,
}

impl Prepared {
    /// Encodes the texts of a setup. Several templates are averaged: the mean of unit vectors, made unit length again.
    ///
    /// # Errors
    /// When the setup cannot be asked (see `score::prompts`) or the model refuses.
    pub fn new(encoder: &dyn Encoder, setup: &Setup) -> Result<Self, Failure> {
        let vocabulary = encoder.vocabulary();
        let (prompts, method) =
            prompts(setup, |name| vocabulary.spell(name)).map_err(|e| Failure::new(Stage::Score, e))?;
        // together, which is faster than one by one
        let all: Vec<String> = prompts.iter().flat_map(|prompt| &prompt.texts).cloned().collect();
        let encoded = encoder.embed_texts(&all).map_err(|e| Failure::new(Stage::Encode, e))?;
        let mut texts = Embeddings::empty(encoder.embed_dim());
        let mut notes = Vec::new();
        let mut end = 0;
        for prompt in &prompts {
            let own = end..end + prompt.texts.len();
            end = own.end;
            let mut mean = vec![0f32; encoder.embed_dim()];
            for i in own.clone() {
                mean.iter_mut().zip(encoded.embeddings.row(i)).for_each(|(m, v)| *m += v);
            }
            let mean = Embeddings::normalise(encoder.embed_dim(), mean).map_err(|e| Failure::new(Stage::Encode, e))?;
            texts.extend(&mean);
            if let Some(name) = prompt.asked_name().filter(|name| !vocabulary.knows(name)) {
                notes.push(unknown(name, vocabulary.names().map_or(0, |n| n.len()), vocabulary.nearest(name)));
            }
            if encoded.truncated[own].contains(&true) {
                let message = format!("'{}' is longer than the model reads; its end is left out", prompt.label);
                notes.push(Note {
                    label: prompt.label.clone(),
                    kind: NoteKind::Truncated,
                    message,
                    suggestions: vec![],
                });
            }
        }
        let entries: Vec<Entry> = prompts.iter().map(|p| p.entry()).collect();
        let texts = Arc::new(Texts::new(texts, entries.iter().map(|e| e.kind).collect()));
        Ok(Self { setup: setup.clone(), entries, texts, notes, method })
    }

    /// What was asked for.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The method of the setup.
    pub fn method(&self) -> &'static Method {
        self.method
    }

    /// The texts as detectors use them.
    pub fn texts(&self) -> &Arc<Texts> {
        &self.texts
    }

    /// What pictures are compared with, in the order of a score's cosines.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What is doubtful about the texts.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// What scores pictures by the texts alone.
    ///
    /// # Errors
    /// When the method needs examples or training.
    pub fn detector(&self) -> Result<Detector, Failure> {
        let none = Examples::none(self.texts.embeddings().width());
        Detector::untrained(self.method, self.texts.clone(), &none).map_err(|e| Failure::new(Stage::Score, e))
    }
}

fn unknown(name: &str, known: usize, suggestions: Vec<String>) -> Note {
    let message =
        format!("'{name}' is not in this model's vocabulary of {known} names; load a full CLIP for free text");
    Note { label: name.into(), kind: NoteKind::UnknownName, message, suggestions }
}

/// A picture as the model sees it.
pub struct Seen<'a> {
    pub picture: Picture<'a>,
    pub info: PictureInfo,
    /// Unit vector.
    pub embedding: Vec<f32>,
    pub timings: Timings,
}

/// What is kept of a picture that was seen: all that a score and a card need, so that it may have been seen elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    pub info: PictureInfo,
    /// Unit vector.
    pub embedding: Vec<f32>,
    /// A small JPEG to show.
    pub thumbnail: Vec<u8>,
    pub timings: Timings,
}

/// [`see`], and a small picture to show.
///
/// # Errors
/// As [`see`].
pub fn look(encoder: &dyn Encoder, pixels: &Pixels, bytes: &[u8], clock: fn() -> f64) -> Result<Sight, Failure> {
    let Seen { picture, info, embedding, timings } = see(encoder, pixels, bytes, clock)?;
    Ok(Sight { info, embedding, thumbnail: pixels::thumbnail_jpeg(&picture, THUMBNAIL_SIDE), timings })
}

/// Bytes to an embedding: decode, preprocess, encode. `clock` tells milliseconds.
///
/// # Errors
/// When the bytes are no picture that can be read, or the model refuses.
pub fn see<'a>(
    encoder: &dyn Encoder,
    pixels: &Pixels,
    bytes: &'a [u8],
    clock: fn() -> f64,
) -> Result<Seen<'a>, Failure> {
    let started = clock();
    let (picture, decoder) = match *pixels {
        Pixels::Encoded => (pixels::decode(bytes)?, Decoder::Oddlens),
        Pixels::Rgba { width, height, by } => (pixels::from_rgba(bytes, width, height)?, by),
    };
    let decoded = clock();
    let input = pixels::preprocess(&picture, encoder.image_size());
    let preprocessed = clock();
    let embeddings = encoder.embed_pixels(&input).map_err(|e| Failure::new(Stage::Encode, e))?;
    let encoded = clock();
    let info =
        PictureInfo { width: picture.width(), height: picture.height(), format: picture.format().into(), decoder };
    let timings = Timings {
        decode_millis: Some(decoded - started),
        preprocess_millis: Some(preprocessed - decoded),
        encode_millis: Some(encoded - preprocessed),
        score_millis: None,
    };
    Ok(Seen { picture, info, embedding: embeddings.row(0).to_vec(), timings })
}
