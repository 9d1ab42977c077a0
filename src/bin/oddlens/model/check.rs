//! `oddlens model check`: does a model work, and does it do so in 8 bits? With CIFAR-10 at hand, how well?

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use oddlens::clip::Encoder;
use oddlens::embedding::Embeddings;
use oddlens::engine::pipeline::{Prepared, see};
use oddlens::engine::self_test::{Answers, EMBEDDED, LEAST_COSINE};
use oddlens::eval::dataset::{self, Dataset, Item, Split};
use oddlens::metrics::auroc;
use oddlens::protocol::{DEFAULT_ANOMALY, DEFAULT_METHOD, DEFAULT_TEMPLATE, Setup};

use super::published::{CIFAR10_FIGURES, CIFAR10_SOURCE};
use crate::load::{Activation, Compute, load_file};
use crate::pictures::{self, Threads, no_clock};
use crate::{Done, Failure};

const EXAMPLES: &str = "\
Examples:
  oddlens model check clip.gguf
  oddlens model check clip.gguf --cifar cifar-10-batches-bin

A model passes that names most of a few sample pictures rightly, and whose embeddings in 8 bits are
those in f32 (cosine at least 0.99). With --cifar it is also measured as in the paper, zero-shot
on the test pictures, beside the paper's figure; 'oddlens eval' measures more.

Exit status: 0 it works, 1 it does not (a line says what was expected), 2 wrong usage (also: FILE
cannot be read or is no usable CLIP).";

/// Test that a model works
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model file, as for 'oddlens score --model' [default: the built-in model]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The model's activation, where neither the file nor a configuration beside it tells
    #[arg(long, value_enum)]
    activation: Option<Activation>,
    /// A folder with CIFAR-10's binary version, or one with a folder of pictures for each class
    #[arg(long, value_name = "DIR")]
    cifar: Option<PathBuf>,
    #[command(flatten)]
    threads: Threads,
}

/// Tests a model.
///
/// # Errors
/// When it cannot be read, or does not work.
pub fn run(arguments: &Args) -> Result<Done, Failure> {
    let file = arguments.file.as_deref();
    let name = file.map_or("the built-in model".into(), |file| format!("model {}", file.display()));
    let failed = |message: String| Failure::Failed(format!("{name}: {message}"));
    let exact = {
        let loaded = load_file(file, Compute::F32, arguments.activation)?;
        Answers::few(&loaded.clip, &EMBEDDED).map_err(failed)?
    };
    let loaded = load_file(file, Compute::Q8, arguments.activation)?;
    let answers = Answers::all(&loaded.clip, &EMBEDDED).map_err(failed)?;
    let (recognition, agreement) = (answers.recognition(), answers.agreement(&exact));
    let mut out = io::stdout().lock();
    writeln!(out, "{}", recognition.line())?;
    writeln!(
        out,
        "8 bits against f32: cosine at least {:.4} (pictures), {:.4} (texts)",
        agreement.pictures, agreement.texts
    )?;
    if let Some(folder) = &arguments.cifar {
        let measured = measure(folder, &loaded.clip, &arguments.threads)?;
        writeln!(out, "zero-shot on {} pictures of {} classes, mean AUROC:", measured.pictures, measured.classes)?;
        for figure in &CIFAR10_FIGURES {
            let (what, got) = if figure.leave_one_out {
                ("leave-one-out", measured.leave_one_out)
            } else {
                ("one-vs-rest", measured.one_vs_rest)
            };
            writeln!(out, "  {what:13}  {got:.4}  published {:.3} ({CIFAR10_SOURCE})", figure.auroc)?;
        }
    }
    out.flush()?;
    recognition.check().map_err(failed)?;
    agreement.check("in 8 bits", LEAST_COSINE).map_err(failed)?;
    Ok(Done::All)
}

/// Means over the classes.
struct Measured {
    pictures: usize,
    classes: usize,
    one_vs_rest: f64,
    leave_one_out: f64,
}

/// Zero-shot on the test pictures of a data set (all, where it is not split).
fn measure(folder: &Path, encoder: &(dyn Encoder + Sync), threads: &Threads) -> Result<Measured, Failure> {
    let data = dataset::read(folder)?;
    let judged = |item: &&Item| !data.is_split() || item.split == Some(Split::Test);
    let items: Vec<&Item> = data.items.iter().filter(judged).collect();
    let mut seen = (Embeddings::empty(encoder.embed_dim()), Vec::new());
    pictures::work_through(
        threads,
        ("pictures", &items),
        |item| {
            let (pixels, bytes) = item.read()?;
            let embedding = see(encoder, &pixels, &bytes, no_clock).map_err(|failure| failure.message)?.embedding;
            Embeddings::normalise(encoder.embed_dim(), embedding).map_err(|error| error.to_string())
        },
        &mut seen,
        |(rows, classes), item, outcome| {
            rows.extend(&outcome.map_err(|message| Failure::Failed(format!("{}: {message}", item.path)))?);
            classes.push(item.class);
            Ok(())
        },
        |_| Ok(()),
    )?;
    let (rows, classes) = seen;
    let mean = |leave_one_out| mean_auroc(&data, encoder, (&rows, &classes), leave_one_out);
    Ok(Measured {
        pictures: rows.len(),
        classes: data.classes.len(),
        one_vs_rest: mean(false)?,
        leave_one_out: mean(true)?,
    })
}

fn mean_auroc(
    data: &Dataset,
    encoder: &(dyn Encoder + Sync),
    (rows, classes): (&Embeddings, &[usize]),
    leave_one_out: bool,
) -> Result<f64, Failure> {
    let mut sum = 0.0;
    for class in 0..data.classes.len() {
        let is_normal = |other: usize| (other == class) != leave_one_out;
        let names = data.classes.iter().enumerate().filter(|(other, _)| is_normal(*other));
        let setup = Setup {
            normal: names.map(|(_, name)| name.clone()).collect(),
            templates: vec![DEFAULT_TEMPLATE.into()],
            anomaly: vec![DEFAULT_ANOMALY.into()],
            known_outliers: vec![],
            method: DEFAULT_METHOD.into(),
        };
        let wrong = |failure: oddlens::engine::pipeline::Failure| Failure::Usage(failure.message);
        let detector = Prepared::new(encoder, &setup).and_then(|prepared| prepared.detector()).map_err(wrong)?;
        let anomalous: Vec<bool> = classes.iter().map(|&other| !is_normal(other)).collect();
        sum += auroc(&detector.margins(rows), &anomalous)
            .map_err(|error| Failure::Usage(format!("{}: {error}", data.classes[class])))?;
    }
    Ok(sum / data.classes.len() as f64)
}
