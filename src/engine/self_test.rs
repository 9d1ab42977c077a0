//! Does a model work at all? A few pictures of the page's own samples, each of another kind, tell a CLIP from noise; embeddings in
//! 8 bits held against those in f32 tell whether rounding has broken it.
//!
//! It says nothing about how good a model is: for that, measure it on a data set. It does not know where the pictures come from.

use super::pipeline::see;
use crate::clip::Encoder;
use crate::embedding::{Embeddings, cosine};
use crate::protocol::{DEFAULT_TEMPLATE, Pixels};

/// What is on the pictures, one of a kind, and what they are called among the page's samples.
pub const SAMPLES: [(&str, &str); 6] = [
    ("orange", "orange-on-wood.jpg"),
    ("golf ball", "golf-ball.jpg"),
    ("school bus", "school-bus.jpg"),
    ("sunglasses", "sunglasses.jpg"),
    ("obelisk", "obelisk.jpg"),
    ("teapot", "teapot.jpg"),
];

/// Those that stand in the repository, put into the command line's binary.
#[cfg(feature = "cli")]
pub const EMBEDDED: [&[u8]; SAMPLES.len()] = [
    include_bytes!("../../www/samples/orange-on-wood.jpg"),
    include_bytes!("../../www/samples/golf-ball.jpg"),
    include_bytes!("../../www/samples/school-bus.jpg"),
    include_bytes!("../../www/samples/sunglasses.jpg"),
    include_bytes!("../../www/samples/obelisk.jpg"),
    include_bytes!("../../www/samples/teapot.jpg"),
];
/// Names of what is on none of them.
const OTHERS: [&str; 6] = ["dog", "banana", "piano", "umbrella", "butterfly", "pizza"];
/// All names: those of the samples, then the others.
const NAMES: usize = SAMPLES.len() + OTHERS.len();

/// Samples that a working model puts its own name on. By guessing, 1 of 12 names each, this many of 6 are right in one of 1,600 models:
/// sum over k >= 4 of C(6,k) (1/12)^k (11/12)^(6-k) = 6.3e-4; a model that says the same of everything gets 1.
const LEAST_RIGHT: usize = 4;
/// Cosine of an embedding in 8 bits with the same in f32. All models of the tests reach 0.9995; what is rounded wrongly falls far below.
pub const LEAST_COSINE: f32 = 0.99;
/// Samples and names that are compared in both ways of computing: f32 is slow.
const COMPARED: usize = 3;

/// What a model says about samples and names.
pub struct Answers {
    pictures: Embeddings,
    texts: Embeddings,
}

impl Answers {
    /// All names, and all samples: the files' bytes, in the order of [`SAMPLES`].
    ///
    /// # Errors
    /// One line: the model gives no usable embedding.
    pub fn all(encoder: &dyn Encoder, samples: &[impl AsRef<[u8]>]) -> Result<Self, String> {
        Self::of(encoder, samples, NAMES)
    }

    /// As many of both as are compared in f32.
    ///
    /// # Errors
    /// As [`Answers::all`].
    pub fn few(encoder: &dyn Encoder, samples: &[impl AsRef<[u8]>]) -> Result<Self, String> {
        Self::of(encoder, &samples[..COMPARED.min(samples.len())], COMPARED)
    }

    fn of(encoder: &dyn Encoder, samples: &[impl AsRef<[u8]>], names: usize) -> Result<Self, String> {
        let mut pictures = Embeddings::empty(encoder.embed_dim());
        for bytes in samples {
            // nobody looks at the timings
            let seen = see(encoder, &Pixels::Encoded, bytes.as_ref(), || 0.0).map_err(|failure| failure.message)?;
            let row = Embeddings::normalise(encoder.embed_dim(), seen.embedding).map_err(|error| error.to_string())?;
            pictures.extend(&row);
        }
        let names = SAMPLES.iter().map(|sample| sample.0).chain(OTHERS).take(names);
        let texts: Vec<String> = names.map(|name| DEFAULT_TEMPLATE.replace("{}", name)).collect();
        let texts = encoder.embed_texts(&texts).map_err(|error| error.to_string())?.embeddings;
        Ok(Self { pictures, texts })
    }

    /// How many samples are nearest to their own name.
    ///
    /// # Panics
    /// When these are not [`Answers::all`].
    pub fn recognition(&self) -> Recognition {
        assert_eq!((self.pictures.len(), self.texts.len()), (SAMPLES.len(), NAMES), "all samples and names");
        let nearest = |picture: &[f32]| {
            let cosines = self.texts.rows().map(|text| cosine(picture, text)).enumerate();
            cosines.max_by(|a, b| a.1.total_cmp(&b.1)).map(|best| best.0)
        };
        let right = self.pictures.rows().enumerate().filter(|(sample, picture)| nearest(picture) == Some(*sample));
        Recognition { right: right.count() }
    }

    /// The smallest cosines between two ways of computing the same model, over what both answered.
    pub fn agreement(&self, other: &Answers) -> Agreement {
        let least = |a: &Embeddings, b: &Embeddings| {
            a.rows().zip(b.rows()).map(|(a, b)| cosine(a, b)).fold(f32::INFINITY, f32::min)
        };
        Agreement { pictures: least(&self.pictures, &other.pictures), texts: least(&self.texts, &other.texts) }
    }
}

/// Samples that were named rightly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recognition {
    right: usize,
}

impl Recognition {
    /// One line for people.
    pub fn line(self) -> String {
        format!("{} of {} sample pictures recognised among {NAMES} names", self.right, SAMPLES.len())
    }

    /// # Errors
    /// When that is near chance: one line saying so.
    pub fn check(self) -> Result<(), String> {
        if self.right >= LEAST_RIGHT {
            return Ok(());
        }
        Err(format!(
            "self-test: expected at least {LEAST_RIGHT} of {} sample pictures recognised among {NAMES} names, got {}: \
            that is near chance (1 in {NAMES}), as of random or broken weights or a wrong activation",
            SAMPLES.len(),
            self.right
        ))
    }
}

/// Smallest cosines between embeddings that should be the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    pub pictures: f32,
    pub texts: f32,
}

impl Agreement {
    /// # Errors
    /// When they differ by more than rounding may: one line saying so. `how` is what was compared with f32.
    pub fn check(self, how: &str, least: f32) -> Result<(), String> {
        // NaN is not at least anything
        if self.pictures >= least && self.texts >= least {
            return Ok(());
        }
        Err(format!(
            "self-test: expected embeddings {how} whose cosine with those in f32 is at least {least}, got {:.4} (pictures) and {:.4} (texts)",
            self.pictures, self.texts
        ))
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::*;
    use crate::clip::vocabulary::Vocabulary;
    use crate::clip::{Clip, ClipError, Compute, Sidecars, TextEmbeddings};
    use crate::weights::{Checkpoint, manifest::embedded};

    #[test]
    fn the_built_in_model_works() {
        let checkpoint = Checkpoint::read(embedded::MODEL).unwrap();
        let answers = |compute| {
            let clip = Clip::new(&checkpoint, &Sidecars::default(), compute).unwrap();
            Answers::all(&clip, &EMBEDDED).unwrap()
        };
        let (fast, exact) = (answers(Compute::Q8), answers(Compute::F32));
        println!("{:?} {:?}", fast.recognition(), fast.agreement(&exact));
        assert_eq!(fast.recognition().check(), Ok(()));
        assert_eq!(fast.agreement(&exact).check("in 8 bits", LEAST_COSINE), Ok(()));
    }

    /// Says the same of every picture and something else of every text.
    struct Same(Vocabulary);

    impl Encoder for Same {
        fn image_size(&self) -> usize {
            8
        }

        fn embed_dim(&self) -> usize {
            NAMES
        }

        fn embed_pixels(&self, _: &[f32]) -> Result<Embeddings, ClipError> {
            Ok(Embeddings::normalise(NAMES, (0..NAMES).map(|i| i as f32 + 1.0).collect())?)
        }

        fn embed_texts(&self, texts: &[String]) -> Result<TextEmbeddings, ClipError> {
            let rows = (0..texts.len()).flat_map(|i| (0..NAMES).map(move |j| f32::from(u8::from(i == j)))).collect();
            Ok(TextEmbeddings { embeddings: Embeddings::normalise(NAMES, rows)?, truncated: vec![false; texts.len()] })
        }

        fn vocabulary(&self) -> &Vocabulary {
            &self.0
        }
    }

    #[test]
    fn a_model_that_sees_nothing_is_refused() {
        let answers = Answers::all(&Same(Vocabulary::default()), &EMBEDDED).unwrap();
        assert!(answers.recognition().check().unwrap_err().contains("near chance"));
    }

    #[test]
    fn embeddings_that_differ_are_refused() {
        let of = |x: f32, y: f32| Answers {
            pictures: Embeddings::normalise(2, vec![1.0, 0.0]).unwrap(),
            texts: Embeddings::normalise(2, vec![x, y]).unwrap(),
        };
        let agreement = of(1.0, 0.0).agreement(&of(1.0, 0.2));
        assert!((agreement.texts - 1.0 / 1.04f32.sqrt()).abs() < 1e-6 && agreement.pictures == 1.0);
        assert!(agreement.check("in 8 bits", LEAST_COSINE).unwrap_err().contains("0.9806"));
        assert_eq!(agreement.check("in 4 bits", 0.98), Ok(()));
        let broken = Agreement { pictures: f32::NAN, texts: 1.0 };
        assert!(broken.check("in 8 bits", LEAST_COSINE).is_err());
    }
}
