//! One run: fit a method to what it learns from, and score what is judged.

use std::sync::Arc;

use super::plan::{Parts, Plan, Run, is_zero_shot};
use super::seen::{Model, Seen};
use super::store::{Key, Store, key};
use crate::embedding::Embeddings;
use crate::score::METHODS;
use crate::train::{Examples, Fit, Recipe, Stepwise, Texts};

/// Raise it when runs give other scores than before for a reason that the recipe does not show.
const RUN_VERSION: u32 = 1;

/// What a run looks at. `seen` goes along [`Plan::items`], `texts` along [`Plan::tasks`].
pub struct Context<'a> {
    pub plan: &'a Plan,
    pub seen: &'a [Option<Seen>],
    pub texts: &'a [Arc<Texts>],
    pub model: &'a Model<'a>,
    pub store: &'a Store,
}

/// Scores of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Number of the picture, and whether it is anomalous.
    pub pictures: Vec<(usize, bool)>,
    /// Along them: [`crate::protocol::Score::margin`], which ranks without saturation.
    pub margins: Vec<f32>,
    /// Copies of judged pictures that were left out of what is learned from.
    pub copies: usize,
}

impl Context<'_> {
    /// What a picture holds, if it was seen.
    pub fn content(&self, item: usize) -> Option<&Key> {
        self.seen[item].as_ref().map(|seen| &seen.content)
    }

    fn embeddings(&self, items: &[usize]) -> Result<Embeddings, String> {
        let width = self.model.encoder.embed_dim();
        let rows = items.iter().filter_map(|&i| self.seen[i].as_ref()).flat_map(|s| s.embedding.iter().copied());
        // rows of unit length are left as they are, up to the last digit
        Embeddings::normalise(width, rows.collect()).map_err(|e| e.to_string())
    }
}

/// Does a run, or remembers it.
///
/// # Errors
/// One line: what was lacking, or that training ran away.
pub fn judge(run: &Run, context: &Context<'_>) -> Result<Judged, String> {
    let task = &context.plan.tasks[run.task];
    let Parts { normal, mut outliers, judged, copies } = context.plan.parts(task, run.seed, &|i| context.content(i));
    outliers.truncate(run.size.0);
    if run.method.needs.outlier_examples == 0 {
        outliers.clear();
    }
    let method = if is_zero_shot(run.method, run.size) { &METHODS[0] } else { run.method };
    // zero-shot is done again faster than it is looked up
    let own = (!method.needs_texts_only()).then(|| {
        let contents = |items: &[usize]| -> Vec<u8> {
            items.iter().filter_map(|&i| context.content(i)).flatten().copied().collect()
        };
        let all: Vec<usize> = judged.iter().map(|&(i, _)| i).collect();
        key(&[
            b"run",
            &RUN_VERSION.to_le_bytes(),
            env!("CARGO_PKG_VERSION").as_bytes(),
            &context.model.identity(),
            method.id.as_bytes(),
            format!("{:?} {:?}", task.setup, Recipe::of(method)).as_bytes(),
            &run.seed.to_le_bytes(),
            &contents(&normal),
            &contents(&outliers),
            &contents(&all),
        ])
    });
    let known = own.as_ref().and_then(|own| context.store.get(own)).filter(|margins| margins.len() == judged.len());
    if let Some(margins) = known {
        return Ok(Judged { pictures: judged, margins, copies });
    }
    let examples = Examples { normal: context.embeddings(&normal)?, outliers: context.embeddings(&outliers)? };
    let mut fit = Fit::new(method, context.texts[run.task].clone(), &examples, run.seed).map_err(|e| e.to_string())?;
    fit.run().map_err(|e| e.to_string())?;
    let detector = fit.detector().map_err(|e| e.to_string())?;
    let margins: Vec<f32> = judged
        .iter()
        .filter_map(|&(i, _)| context.seen[i].as_ref())
        .map(|seen| detector.score(&seen.embedding).margin)
        .collect();
    if let Some(own) = &own {
        context.store.keep(own, &margins);
    }
    Ok(Judged { pictures: judged, margins, copies })
}
