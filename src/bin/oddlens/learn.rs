//! What `score` and `train` share: example pictures, and what a method learns from them. All learning is the engine's own
//! (`engine::learning`), so that the page gives the same scores for the same examples, setup and seed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oddlens::engine::learning::{Kept, Learning, Ready};
use oddlens::engine::pipeline::{Prepared, see};
use oddlens::eval::paths;
use oddlens::eval::store::{Key, key};
use oddlens::protocol::{Event, Fitted, ImageId, JobId, Kind, Label, MAX_HEAD_BYTES, Outcome, Pixels, Role};
use oddlens::score::Method;

use crate::load::Loaded;
use crate::pictures::{self, Threads, no_clock};
use crate::report::visible;
use crate::{Failure, say};

/// What is learned from.
#[derive(Debug, Default, clap::Args)]
pub struct ExampleArgs {
    /// Pictures that are known to be normal, to learn from: files, folders and patterns
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub normal_examples: Vec<PathBuf>,
    /// Pictures that are known to be outliers, to learn from
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub outlier_examples: Vec<PathBuf>,
    /// Seed of the training; the page has 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

impl ExampleArgs {
    pub fn is_empty(&self) -> bool {
        self.normal_examples.is_empty() && self.outlier_examples.is_empty()
    }

    /// # Errors
    /// When a method is asked for without the kind of examples that it needs: one line saying what.
    pub fn check(&self, method: &Method) -> Result<(), Failure> {
        let needs = method.needs;
        let sides = [
            (needs.normal_examples, self.normal_examples.is_empty(), "normal", "--normal-examples"),
            (needs.outlier_examples, self.outlier_examples.is_empty(), "outlier", "--outlier-examples"),
        ];
        let needed: Vec<_> = sides.iter().filter(|side| side.0 > 0).collect();
        let missing: Vec<&str> = needed.iter().filter(|side| side.1).map(|side| side.2).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let said = |&&(least, _, kind, option): &&(usize, bool, &str, &str)| format!("{least} {kind} ({option})");
        let needed: Vec<String> = needed.iter().map(said).collect();
        let (id, needed, missing) = (method.id, needed.join(" and "), missing.join(" and no "));
        Err(Failure::Usage(format!("{id}: expected example pictures, at least {needed}; got no {missing} ones")))
    }
}

/// Examples as the model sees them, and what was learned from them.
pub struct Lessons {
    learning: Learning,
    kept: Kept,
    /// By what they hold, so that a copy of one is not judged as if it were new.
    by_content: HashMap<Key, (ImageId, Kind)>,
    /// Examples that could not be seen.
    pub failed: usize,
}

impl Lessons {
    /// No examples.
    pub fn none() -> Self {
        Self { learning: Learning::default(), kept: Kept::new(), by_content: HashMap::new(), failed: 0 }
    }

    /// Sees the examples; one that cannot be seen is a line on standard error.
    ///
    /// # Errors
    /// When there is none of a kind that was named.
    pub fn look(arguments: &ExampleArgs, loaded: &Loaded, threads: &Threads) -> Result<Self, Failure> {
        let mut lessons = Self::none();
        let mut labels = Vec::new();
        let sides = [(Kind::Normal, &arguments.normal_examples), (Kind::Outlier, &arguments.outlier_examples)];
        for (kind, paths) in sides.into_iter().filter(|(_, paths)| !paths.is_empty()) {
            let listing = pictures::list(paths)?;
            let mut side = Side { kind, lessons: &mut lessons, labels: &mut labels };
            pictures::work_through(
                threads,
                ("examples", &listing.found),
                |found| {
                    let bytes = paths::read(found.file()?)?;
                    let seen = see(&loaded.clip, &Pixels::Encoded, &bytes, no_clock).map_err(|f| f.message)?;
                    Ok((content(&bytes), seen.embedding))
                },
                &mut side,
                |side, found, outcome| side.take(found.path(), outcome),
                |_| Ok(()),
            )?;
        }
        lessons.learning.label(labels);
        Ok(lessons)
    }

    /// The example that is a copy of this picture, and of which kind it is.
    pub fn example(&self, bytes: &[u8]) -> Option<(ImageId, Kind)> {
        if self.by_content.is_empty() { None } else { self.by_content.get(&content(bytes)).copied() }
    }

    /// Trains a method on the examples and cross-validates it.
    ///
    /// # Errors
    /// One line: what it lacks.
    pub fn fit(&mut self, method: &'static Method, prepared: &Prepared, seed: u64) -> Result<Fitted, Failure> {
        self.learning.ask_fit(JobId(0), &[method.id.to_string()], seed).map_err(Failure::Usage)?;
        let bar = progress_bar(method);
        let mut answer = None;
        let mut failure = None;
        while self.learning.has_work() {
            self.learning.work(&self.kept, Some(prepared), clock, &mut |parcel| match parcel.message {
                Event::Learning { done, total, .. } => {
                    bar.set_length(total as u64);
                    bar.set_position(done as u64);
                }
                Event::Fitted { fitted, .. } => answer = Some(fitted),
                Event::LearningEnded { outcome: Outcome::Failed(message), .. } => failure = Some(message),
                _ => {}
            });
        }
        bar.finish_and_clear();
        match (answer, failure) {
            (Some(Fitted { problem: Some(problem), .. }), _) | (None, Some(problem)) => Err(Failure::Usage(problem)),
            (Some(fitted), _) => Ok(fitted),
            (None, None) => Err(Failure::Failed(format!("{}: nothing was learned", method.name))),
        }
    }

    /// Takes a saved head for the model in use; whether it was trained with the texts of `prepared`.
    ///
    /// # Errors
    /// One line: it is no head for this model.
    pub fn take_head(&mut self, bytes: &[u8], sha256: &str, prepared: &Prepared) -> Result<bool, Failure> {
        let (_, same_texts) = self.learning.load(bytes, sha256, prepared).map_err(Failure::Usage)?;
        Ok(same_texts)
    }

    /// What scores pictures.
    ///
    /// # Errors
    /// One line: what the method lacks.
    pub fn ready(&self, method: &'static Method, prepared: &Prepared) -> Result<Ready, Failure> {
        self.learning.ready(method, &self.kept, prepared).map_err(Failure::Usage)
    }

    /// A trained head as a file.
    ///
    /// # Errors
    /// When none was trained.
    pub fn save(&self, method: &Method, loaded: &Loaded) -> Result<Vec<u8>, Failure> {
        let model = (loaded.name.clone(), loaded.sha256.clone());
        self.learning.save(method.id, &model).map(|(_, bytes)| bytes).map_err(Failure::Usage)
    }

    /// A threshold that the normal examples alone give, with the false-alarm rate that it promises: 5 %, or the least that can be
    /// promised with so few.
    pub fn threshold(&self, method: &Method, prepared: &Prepared) -> Option<(f32, f64)> {
        let normal = self.learning.counts(&self.kept).normal_examples;
        let rate = f64::max(0.05, 1.0 / (normal + 1) as f64);
        let advice = self.learning.advise(method.id, rate, &self.kept, prepared).ok()?;
        Some((advice.threshold, advice.false_alarm_rate))
    }
}

/// One kind of examples as they come in.
struct Side<'a> {
    kind: Kind,
    lessons: &'a mut Lessons,
    labels: &'a mut Vec<(ImageId, Option<Label>)>,
}

impl Side<'_> {
    fn take(&mut self, path: &Path, outcome: Result<(Key, Vec<f32>), String>) -> Result<(), Failure> {
        let lessons = &mut *self.lessons;
        match outcome {
            Ok((content, embedding)) => {
                let image = ImageId(self.labels.len() as u32);
                lessons.kept.insert(image, embedding);
                // of copies the first stands for all
                lessons.by_content.entry(content).or_insert((image, self.kind));
                self.labels.push((image, Some(Label { kind: self.kind, role: Role::Example })));
            }
            Err(message) => {
                lessons.failed += 1;
                let kind = if self.kind == Kind::Normal { "normal" } else { "outlier" };
                say(&format!("{kind} example {}: {}; left out", visible(&path.to_string_lossy()), visible(&message)));
            }
        }
        Ok(())
    }
}

fn content(bytes: &[u8]) -> Key {
    key(&[bytes])
}

/// The bytes of a head file.
///
/// # Errors
/// One line: it cannot be read. (One that is too large is read as far as to know that.)
pub fn read_head(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let file = File::open(path).and_then(|file| file.take(MAX_HEAD_BYTES + 1).read_to_end(&mut bytes));
    file.map_err(|error| Failure::Usage(format!("head {}: {}", path.display(), paths::one_line(&error))))?;
    Ok(bytes)
}

/// Milliseconds, by which training gives way to the progress bar.
fn clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// Hidden where standard error is no terminal.
fn progress_bar(method: &Method) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{msg} {bar:30} {percent} %, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(format!("training {}", method.id))
}
