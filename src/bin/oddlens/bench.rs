//! `oddlens bench`: how fast a model runs here.

use std::io::Write;
use std::sync::LazyLock;
use std::time::Instant;

use clap::ValueEnum;
use oddlens::kernels::crew;
use oddlens::{bench, quant};

use crate::report::json_line;
use crate::{Done, Failure, say};

const EXAMPLES: &str = "\
Examples:
  oddlens bench vit-b-32
  oddlens bench embedded --runs 50 --json

Weights are made from a seed, nothing is downloaded. The kernels are checked against the scalar
ones first. Times are medians; a busy machine makes them longer.

Exit status: 0 everything was timed, 1 a kernel gave wrong numbers.";

/// Time a model on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The geometry
    #[arg(value_enum, default_value = "vit-b-32")]
    model: Model,
    /// Only one tower
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Timed runs of each case
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
    /// Threads for one picture; pictures of a folder are spread over all cores anyway
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Model {
    /// OpenAI's ViT-B/32
    #[value(name = "vit-b-32")]
    VitB32,
    /// The built-in model
    Embedded,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Only {
    Image,
    Text,
}

/// Milliseconds since the first look.
fn clock() -> f64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_secs_f64() * 1e3
}

/// Times.
///
/// # Errors
/// When a kernel gives wrong numbers.
pub fn run(arguments: Args) -> Result<Done, Failure> {
    let model = match arguments.model {
        Model::VitB32 => bench::Model::VitB32,
        Model::Embedded => bench::Model::Embedded,
    };
    let only = arguments.only.map(|only| match only {
        Only::Image => bench::Only::Image,
        Only::Text => bench::Only::Text,
    });
    let spec = bench::Spec { model, only, runs: arguments.runs as usize };
    let mut tell = |what: &str| {
        if !arguments.json {
            say(what);
        }
    };
    for _ in 1..arguments.threads {
        std::thread::spawn(|| crew::lend());
    }
    while crew::hands() < arguments.threads as usize {
        std::thread::yield_now();
    }
    let report = bench::run(spec, quant::fastest(clock), clock, &mut tell).map_err(Failure::Failed)?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        json_line(&mut out, &report)?;
        return Ok(Done::All);
    }
    let mut row = |name: &str, value: Option<String>| match value {
        Some(value) => writeln!(out, "{name:<34} {value}"),
        None => Ok(()),
    };
    let ms = |value: Option<f64>| value.map(|v| format!("{v:8.2} ms"));
    row(
        "kernel",
        Some(format!("{}, {} thread{}", report.kernel, report.threads, if report.threads == 1 { "" } else { "s" })),
    )?;
    row("one picture", ms(report.image_ms))?;
    row("  tenth to ninetieth percentile", ms(report.spread_ms))?;
    row("one prompt of 8 tokens", ms(report.text_ms))?;
    row("100 prompts in one go", ms(report.texts_ms))?;
    row("12 megapixels to the input", ms(report.preprocess_ms))?;
    for shape in &report.shapes {
        let name = format!("linear layer {} x {} x {}", shape.m, shape.k, shape.n);
        row(&name, Some(format!("{:8.1} GMAC/s", shape.gmacs)))?;
    }
    row("peak of the instructions", report.peak_gmacs.map(|v| format!("{v:8.1} GMAC/s")))?;
    row("  reached by the bare product", report.peak_share.map(|v| format!("{:8.0} %", 100.0 * v)))?;
    row("weights in memory", Some(format!("{:8.1} MB", report.memory_bytes as f64 / 1e6)))?;
    Ok(Done::All)
}
