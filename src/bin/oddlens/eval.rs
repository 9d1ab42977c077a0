//! `oddlens eval`: the paper's protocols on a data set. This file reads the arguments and spreads the work; what is done stands in
//! the library's `eval`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser};
use oddlens::engine::pipeline::Prepared;
use oddlens::eval::plan::{Ask, LeftOut, Plan, Run, Size};
use oddlens::eval::results::{ModelNames, Scores, results};
use oddlens::eval::run::{Context, Judged, judge};
use oddlens::eval::seen::{Model, Remembering, Seen, see};
use oddlens::eval::store::Store;
use oddlens::eval::summary::{Columns, measure};
use oddlens::eval::{
    EvalError, dataset,
    paths::{one_line, replace},
    plan, plots, table,
};
use oddlens::score::{METHODS, Method};
use oddlens::train::Texts;

use crate::load::{Compute, Loaded, load_file};
use crate::pictures::{self, Threads};
use crate::report::visible;
use crate::{Done, Failure, say};

const EXAMPLES: &str = "\
Examples:
  oddlens eval cifar-10-batches-bin --methods zero-shot --out results
  oddlens eval imagenet30 --protocol loo --methods mcm,clip-oe --oe tiny-images --out results
  oddlens eval parts --methods all --oe-sizes 0,1,2,4,8 --seeds 5 --out results
  oddlens eval cifar-10-batches-bin --model clip.gguf --compute q8 --compute f32 --out results

DATASET is a folder of one of these layouts:
  data_batch_*.bin, test_batch.bin, batches.meta.txt   CIFAR-10's binary version, as distributed
  <class>/*                                            also below train/ and test/
  <class>/{normal,anomalous}/*                         also below train/ and test/
The class is the name in the prompt, verbatim: 'a photo of a <class>' against 'a photo of something'
(a model with a closed vocabulary, like the built-in one, is asked in the spelling that it was
taught). With normal/ and anomalous/ each class is judged on its own pictures.

Methods that learn do so from train/ and are judged on test/. Without these, as soon as one method
learns, half of each class, drawn by the seed, is learned from and all methods are judged on the
other half; where none learns, all pictures are judged. Outlier examples are the pictures of --oe;
without it, those of the other classes (ovr), of the class left out (loo) or in anomalous/, from
the half to learn from. What a method cannot have is left out, with a line that says why.

Written to --out (figures there run from 0 to 1, on screen in percent):
  results.json   eval_mean_auc, eval_std_auc, eval_mean_avg_prec, eval_cls_rocs (by class, then
                 seed) and classes, as the paper's code writes them, for the first column; under
                 columns the same for each, with 95 % intervals (DeLong) and false-alarm rates
  scores.csv     task,method,oe_size,seed,path,is_anomaly,score: the score is the margin, which
                 ranks without saturation; a task is named by its class; some 60 bytes for each
                 picture of each run (a second model: scores-2.csv)
  table.md, roc*.svg, pr*.svg, few-shot.svg
  cache/         embeddings and scores: a run that was stopped (Ctrl-C) goes on from there

Exit status: 0 everything was done, 1 some pictures or runs failed (lines say which),
2 wrong usage.";

/// Measure methods on a data set, as the paper does
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The folder of the data set
    #[arg(value_name = "DATASET")]
    dataset: PathBuf,
    /// What is normal: one class (one-vs-rest) or all but one (leave-one-out)
    #[arg(long, value_enum, default_value = "ovr")]
    protocol: Protocol,
    /// Methods, separated by commas
    #[arg(long, value_name = "METHODS", value_delimiter = ',', default_value = "all", value_parser = method_names())]
    methods: Vec<String>,
    /// A folder of outlier pictures to learn from
    #[arg(long, value_name = "DIR")]
    oe: Option<PathBuf>,
    /// Numbers of outlier examples, drawn by the seed; 'all': every one
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = size, default_value = "0,1,2,4,8,16,32,64")]
    oe_sizes: Vec<Size>,
    /// Seeds; a run that no seed can change is done once
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Normal pictures to learn from at most, drawn by the seed [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    normals: Option<u32>,
    /// Where the results go; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where embeddings and scores are kept [default: cache/ in --out]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// CLIP to use, as for 'oddlens score'; several are set side by side, with the difference from the first
    #[arg(long, value_name = "FILE")]
    model: Vec<PathBuf>,
    /// How to compute: once for all models, or once for each; several for one model compare them
    #[arg(long, value_enum, default_value = "q8")]
    compute: Vec<Compute>,
    #[command(flatten)]
    threads: Threads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// One class is normal, all others are anomalous
    Ovr,
    /// All classes but one are normal
    Loo,
}

fn method_names() -> PossibleValuesParser {
    let of = |method: &Method| PossibleValue::new(method.id).help(method.name);
    let all = PossibleValue::new("all").help("Every one that has what it needs");
    PossibleValuesParser::new(METHODS.iter().map(of).chain([all]))
}

fn size(text: &str) -> Result<Size, String> {
    match text.trim() {
        "all" => Ok(Size::ALL),
        number => number.parse().map(Size).map_err(|_| "expected a number or 'all'".into()),
    }
}

/// The methods that were named, in the order of [`METHODS`].
fn methods(ids: &[String]) -> Vec<&'static Method> {
    METHODS.iter().filter(|m| ids.iter().any(|id| id == "all" || id == m.id)).collect()
}

impl From<EvalError> for Failure {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Dataset { .. } | EvalError::Plan(_) | EvalError::CacheInUse(_) => {
                Failure::Usage(error.to_string())
            }
            EvalError::Io { .. } | EvalError::Csv(_) => Failure::Failed(error.to_string()),
        }
    }
}

/// What goes wrong without ending the whole.
#[derive(Default)]
struct Troubles {
    /// Paths of pictures that could not be seen, with the reason.
    pictures: Vec<(String, String)>,
    runs: usize,
}

/// Evaluates.
///
/// # Errors
/// When the data set, a model or the cache cannot be used, or the results cannot be written.
pub fn run(arguments: Args) -> Result<Done, Failure> {
    begin_again_with_known_threads();
    let methods = methods(&arguments.methods);
    let mut sizes = arguments.oe_sizes.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let protocol = match arguments.protocol {
        Protocol::Ovr => plan::Protocol::OneVsRest,
        Protocol::Loo => plan::Protocol::LeaveOneOut,
    };
    let most_normal = arguments.normals.map(|n| n as usize);
    let ask = Ask { protocol, methods, sizes, seeds: arguments.seeds, most_normal };
    let data = dataset::read(&arguments.dataset)?;
    if is_below(&arguments.out, &arguments.dataset) {
        let message = "--out: expected a folder outside of the data set, got one inside, where its folders would be taken for classes";
        return Err(Failure::Usage(message.into()));
    }
    data.notes.iter().for_each(|note| say(&format!("note: {}", visible(note))));
    let outliers = arguments.oe.as_deref().map(dataset::read_outliers).transpose()?;
    let plan = Plan::new(data, outliers, ask)?;
    plan.notes().iter().for_each(|note| say(&format!("note: {note}")));
    let models = load_models(&arguments)?;
    fs::create_dir_all(&arguments.out).map_err(|e| cannot_write(&arguments.out, &e))?;
    let cache = arguments.cache.clone().unwrap_or_else(|| arguments.out.join("cache"));

    let mut columns = Columns::new(&plan);
    let mut left_out = Vec::new();
    let mut troubles = Troubles::default();
    for (number, (loaded, compute, name)) in models.iter().enumerate() {
        let encoder = Remembering::new(&loaded.clip);
        let (sha256, compute) = (loaded.sha256.clone(), compute.name());
        let model = Model { name: name.clone(), sha256, compute, encoder: &encoder };
        if models.len() > 1 {
            say(&format!("model {}: {name}", number + 1));
        }
        let first = number == 0;
        let seen = look(&arguments, &plan, &model, &cache, &mut troubles)?;
        let texts = prepare(&plan, &encoder, first)?;
        let store = Store::open(&cache.join(model.cache_name().replace("embeddings", "scores")))?;
        let context = Context { plan: &plan, seen: &seen, texts: &texts, model: &model, store: &store };
        let (runs, lacking) = plan.runs(&|i| context.content(i));
        if first {
            lacking.iter().for_each(|l| say(&left_out_line(l, plan.tasks.len())));
            left_out = lacking;
        }
        let file = if first { "scores.csv".to_string() } else { format!("scores-{}.csv", number + 1) };
        judge_all(&arguments, &runs, &context, (number, &arguments.out.join(file)), &mut columns, &mut troubles)?;
        store.notes().iter().for_each(|note| say(&format!("note: {note}")));
    }

    let columns = columns.finish();
    if columns.is_empty() {
        return Err(Failure::Failed(
            "nothing is left to measure: expected a method that has what it needs, got none".into(),
        ));
    }
    let names: Vec<String> = models.iter().map(|(_, _, name)| name.clone()).collect();
    let text = table::text(&columns, &plan.classes, &names);
    let described: Vec<ModelNames> =
        models.iter().map(|(loaded, compute, name)| (name.clone(), loaded.sha256.clone(), compute.name())).collect();
    let all = results(&plan, protocol, &described, &columns, &left_out, &troubles.pictures);
    let json = serde_json::to_vec_pretty(&all).map_err(|e| Failure::Failed(format!("results.json: {e}")))?;
    let mut files = vec![("results.json".to_string(), json), ("table.md".to_string(), text.clone().into_bytes())];
    let charts = plots::all(&columns, &plan.classes, &names);
    files.extend(charts.into_iter().map(|(name, svg)| (name, svg.into_bytes())));
    for (name, bytes) in files {
        let path = arguments.out.join(name);
        replace(&path, &bytes).map_err(|e| cannot_write(&path, &e))?;
    }
    let mut out = io::stdout().lock();
    out.write_all(text.trim_end().as_bytes())?;
    writeln!(out)?;
    say(&format!("written to {}", arguments.out.display()));
    Ok(if troubles.pictures.is_empty() && troubles.runs == 0 { Done::All } else { Done::Some })
}

/// Where nobody has said on how many threads candle computes a product, it reads the list of processors before every one, which
/// makes training twice as slow as it is; pictures and runs are spread over threads anyway. It can be told by the environment
/// alone, and that only before the program begins (changing one's own environment is unsafe).
#[cfg(unix)]
fn begin_again_with_known_threads() {
    use std::os::unix::process::CommandExt;
    const NAME: &str = "RAYON_NUM_THREADS";
    if std::env::var_os(NAME).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        // the same process; it comes back here only on failure, and goes on as it is
        let _ = std::process::Command::new(program).args(std::env::args_os().skip(1)).env(NAME, "1").exec();
    }
}

#[cfg(not(unix))]
fn begin_again_with_known_threads() {}

/// Each model, how it computes, and its name among the others.
fn load_models(arguments: &Args) -> Result<Vec<(Loaded, Compute, String)>, Failure> {
    let files: Vec<Option<&Path>> = match arguments.model.is_empty() {
        true => vec![None],
        false => arguments.model.iter().map(|path| Some(path.as_path())).collect(),
    };
    let computes = &arguments.compute;
    let pairs: Vec<(Option<&Path>, Compute)> = match (files.len(), computes.len()) {
        (_, 1) => files.iter().map(|&file| (file, computes[0])).collect(),
        (1, _) => computes.iter().map(|&compute| (files[0], compute)).collect(),
        (a, b) if a == b => files.iter().copied().zip(computes.iter().copied()).collect(),
        (a, b) => {
            return Err(Failure::Usage(format!("--compute: expected one, or one for each of {a} models, got {b}")));
        }
    };
    let loaded: Vec<(Loaded, Compute)> = pairs
        .iter()
        .map(|&(file, compute)| Ok((load_file(file, compute, None)?, compute)))
        .collect::<Result<_, Failure>>()?;
    let mut names: Vec<String> = Vec::new();
    for (model, compute) in &loaded {
        let alike = loaded.iter().filter(|(other, _)| other.name == model.name).count() > 1;
        let name = if alike { format!("{} {}", model.name, compute.name()) } else { model.name.clone() };
        let number = names.len() + 1;
        names.push(if names.contains(&name) { format!("{name} ({number})") } else { name });
    }
    Ok(loaded.into_iter().zip(names).map(|((model, compute), name)| (model, compute, name)).collect())
}

/// Sees every picture that is wanted. Those that cannot be seen are told to `troubles`, each with a line.
fn look(
    arguments: &Args,
    plan: &Plan,
    model: &Model<'_>,
    cache: &Path,
    troubles: &mut Troubles,
) -> Result<Vec<Option<Seen>>, Failure> {
    let store = Store::open(&cache.join(model.cache_name()))?;
    let wanted = plan.wanted();
    let mut seen: Vec<Option<Seen>> = vec![None; plan.items.len()];
    pictures::work_through(
        &arguments.threads,
        ("pictures", &wanted),
        |&item| see(&plan.items[item], model, &store),
        &mut (&mut seen, troubles),
        |(seen, troubles), &item, outcome| {
            match outcome {
                Ok(found) => seen[item] = Some(found),
                Err(message) => {
                    let failed = (plan.items[item].path.clone(), message);
                    // a second model fails on the same files
                    if !troubles.pictures.contains(&failed) {
                        say(&format!("{}: {}; left out", visible(&failed.0), visible(&failed.1)));
                        troubles.pictures.push(failed);
                    }
                }
            }
            Ok(())
        },
        |_| Ok(()),
    )?;
    store.notes().iter().for_each(|note| say(&format!("note: {note}")));
    Ok(seen)
}

/// Encodes the texts of all tasks; doubts about them are said once.
fn prepare(plan: &Plan, encoder: &Remembering<'_>, tell: bool) -> Result<Vec<Arc<Texts>>, Failure> {
    let mut told: Vec<String> = Vec::new();
    let mut texts = Vec::new();
    for task in &plan.tasks {
        let prepared = Prepared::new(encoder, &task.setup).map_err(|failure| Failure::Failed(failure.message))?;
        for note in prepared.notes() {
            if tell && !told.contains(&note.message) {
                say(&format!("note: {}", visible(&note.message)));
                told.push(note.message.clone());
            }
        }
        texts.push(prepared.texts().clone());
    }
    Ok(texts)
}

/// Does all runs of a model; their scores go to `file`, which is there only when they are complete.
fn judge_all(
    arguments: &Args,
    runs: &[Run],
    context: &Context<'_>,
    (model, file): (usize, &Path),
    columns: &mut Columns,
    troubles: &mut Troubles,
) -> Result<(), Failure> {
    let plan = context.plan;
    let part = file.with_extension("csv.part");
    let out = File::create(&part).map_err(|e| cannot_write(&part, &e))?;
    let scores = Scores::begin(BufWriter::new(out)).map_err(EvalError::from)?;
    let mut judging = Judging { scores, columns, copies: 0, failed: 0, told: vec![] };
    pictures::work_through(
        &arguments.threads,
        ("runs", runs),
        |run| judge(run, context),
        &mut judging,
        |judging, run, outcome| judging.take(model, run, plan, outcome),
        |_| Ok(()),
    )?;
    let Judging { mut scores, copies, failed, .. } = judging;
    troubles.runs += failed;
    if copies > 0 {
        say(&format!(
            "note: {copies} pictures to learn from are copies of pictures that are judged; nothing was learned from them"
        ));
    }
    scores.flush().map_err(EvalError::from)?;
    drop(scores);
    fs::rename(&part, file).map_err(|e| cannot_write(file, &e))
}

/// Where the outcomes of runs go.
struct Judging<'a, W: Write> {
    scores: Scores<W>,
    columns: &'a mut Columns,
    copies: usize,
    failed: usize,
    /// Lines that were said.
    told: Vec<String>,
}

impl<W: Write> Judging<'_, W> {
    fn take(&mut self, model: usize, run: &Run, plan: &Plan, outcome: Result<Judged, String>) -> Result<(), Failure> {
        let measured = match outcome {
            Ok(judged) => {
                self.copies = self.copies.max(judged.copies);
                self.scores.write(run, &judged, plan).map_err(EvalError::from)?;
                measure(&judged).map_err(|e| e.to_string())
            }
            Err(message) => Err(message),
        };
        if let Err(message) = &measured {
            self.failed += 1;
            let line = format!("{}: no ROC: {message}", plan.tasks[run.task].name);
            if !self.told.contains(&line) {
                say(&visible(&line));
                self.told.push(line);
            }
        }
        self.columns.take(model, run, plan, measured);
        Ok(())
    }
}

/// Whether a path, which may not exist yet, is that folder or lies in it.
fn is_below(path: &Path, folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    full.ancestors().filter_map(|above| above.canonicalize().ok()).any(|above| above == folder)
}

fn left_out_line(left_out: &LeftOut, tasks: usize) -> String {
    let LeftOut { size, methods, tasks: missing, .. } = left_out;
    let share = if missing.len() == tasks { String::new() } else { format!(" ({} of {tasks} classes)", missing.len()) };
    format!("left out: {} with {size} outliers: {}{share}", methods.join(", "), left_out.reason())
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot write {}: {}", path.display(), one_line(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_or_all() {
        assert_eq!((size("0"), size(" 64"), size("all")), (Ok(Size(0)), Ok(Size(64)), Ok(Size::ALL)));
        assert!(size("-1").is_err() && size("many").is_err() && size("").is_err());
    }

    #[test]
    fn methods_come_in_the_order_of_the_list() {
        let ids = |named: &[&str]| -> Vec<&str> {
            let named: Vec<String> = named.iter().map(|n| n.to_string()).collect();
            methods(&named).iter().map(|m| m.id).collect()
        };
        assert_eq!(ids(&["bce", "zero-shot"]), ["zero-shot", "bce"]);
        assert_eq!(ids(&["all"]).len(), METHODS.len());
    }
}
