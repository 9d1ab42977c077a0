//! [`Detector`]: a method with all the evidence that it needs, ready to score embeddings.

use std::sync::Arc;

use super::{Examples, Head, Texts, TrainError};
use crate::embedding::{Embeddings, cosine};
use crate::protocol::Score;
use crate::score::{Evidence, Method};

/// Scores embeddings by one method. Cheap to clone.
#[derive(Clone)]
pub struct Detector {
    method: &'static Method,
    texts: Arc<Texts>,
    /// Empty where the method does not compare with examples.
    normal: Arc<Embeddings>,
    head: Option<Arc<Head>>,
}

impl Detector {
    /// For methods without training: texts and, where the method needs them, normal examples.
    ///
    /// # Errors
    /// When the method must be trained, or needs more examples.
    pub fn untrained(method: &'static Method, texts: Arc<Texts>, examples: &Examples) -> Result<Self, TrainError> {
        if method.needs.training {
            let message = "expected a trained head, got none; fit it to examples or load a saved one".into();
            return Err(TrainError::Head { method: method.name, message });
        }
        examples.check(method, texts.embeddings().width())?;
        let normal = if method.compares_with_examples() { examples.normal.clone() } else { Embeddings::empty(1) };
        Ok(Self { method, texts, normal: Arc::new(normal), head: None })
    }

    /// For trained methods.
    ///
    /// # Errors
    /// When the head was trained for another method or another width of embeddings.
    pub fn trained(method: &'static Method, texts: Arc<Texts>, head: Head) -> Result<Self, TrainError> {
        if method.loss != Some(head.loss()) {
            let message = format!("expected a head of its own, got one trained by {:?}", head.loss());
            return Err(TrainError::Head { method: method.name, message });
        }
        if head.width() != texts.embeddings().width() {
            return Err(TrainError::Width { expected: texts.embeddings().width(), got: head.width() });
        }
        Ok(Self { method, texts, normal: Arc::new(Embeddings::empty(1)), head: Some(Arc::new(head)) })
    }

    pub fn method(&self) -> &'static Method {
        self.method
    }

    pub fn head(&self) -> Option<&Head> {
        self.head.as_deref()
    }

    pub fn texts(&self) -> &Arc<Texts> {
        &self.texts
    }

    /// Scores a picture by its unit vector, in microseconds.
    ///
    /// # Panics
    /// When the vector is of another model (another width).
    pub fn score(&self, embedding: &[f32]) -> Score {
        let normal_examples: Vec<f32> = self.normal.rows().map(|row| cosine(row, embedding)).collect();
        self.score_among(embedding, &normal_examples)
    }

    /// The same where its cosines with the normal examples are known already, or only some of the examples are to count.
    ///
    /// # Panics
    /// As [`Detector::score`].
    pub fn score_among(&self, embedding: &[f32], normal_examples: &[f32]) -> Score {
        let cosines = self.texts.cosines(embedding);
        let output = self.head.as_ref().map(|head| head.output(embedding, &self.texts)).unwrap_or_default();
        self.method.score(&Evidence { cosines: &cosines, kinds: self.texts.kinds(), normal_examples, head: &output })
    }

    /// [`Score::margin`] of every embedding: what ranks are made of.
    pub fn margins(&self, embeddings: &Embeddings) -> Vec<f64> {
        embeddings.rows().map(|row| f64::from(self.score(row).margin)).collect()
    }

    /// The same with other texts; a head of CLIP-OE was trained for its own texts, and stays useful as far as they are alike.
    pub fn with_texts(&self, texts: Arc<Texts>) -> Self {
        Self { texts, ..self.clone() }
    }
}
