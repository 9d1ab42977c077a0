//! What `score` and `embed` share: which pictures, on how many threads, with what progress.
//!
//! It does not know what is done with a picture's bytes.

use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oddlens::eval::paths::{self, Found, Listing};

use crate::ordered::map_in_order;
use crate::{Failure, say};

/// How work is spread.
#[derive(Clone, Debug, clap::Args)]
pub struct Threads {
    /// Threads to work on [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// Expands the paths.
///
/// # Errors
/// When paths were given and stand for nothing at all.
pub fn list(arguments: &[PathBuf]) -> Result<Listing, Failure> {
    let listing = paths::expand(arguments);
    let nothing = |found: &Found| matches!(found, Found::NoMatch { .. });
    if listing.found.iter().all(nothing) {
        let named: Vec<_> = arguments.iter().map(|path| format!("'{}'", path.display())).collect();
        let mut message = format!("no picture found in {}", named.join(", "));
        if listing.passed_over > 0 {
            message += &format!(
                "; in folders, pictures are recognised by extension ({}), and none of {} files has one",
                paths::PICTURE_EXTENSIONS.join(", "),
                listing.passed_over
            );
        }
        return Err(Failure::Usage(message));
    }
    Ok(listing)
}

/// Works on all `items` (`what` they are, for people) in parallel and gives the results to `sink` in order, with a progress bar
/// on standard error where that is a terminal. `flush` is called when there is nothing to write for the moment.
///
/// # Errors
/// Those of `sink` and `flush`; or when no thread can be started.
pub fn work_through<T: Sync, R: Send, O>(
    threads: &Threads,
    (what, items): (&'static str, &[T]),
    work: impl Fn(&T) -> Result<R, String> + Sync,
    output: &mut O,
    sink: impl Fn(&mut O, &T, Result<R, String>) -> Result<(), Failure>,
    flush: impl Fn(&mut O) -> io::Result<()>,
) -> Result<(), Failure> {
    let threads = match threads.threads {
        Some(threads) => usize::from(threads),
        None => thread::available_parallelism().map_or(1, NonZeroUsize::get),
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.min(items.len().max(1)))
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start {threads} threads: {error}")))?;
    let bar = progress_bar(what, items.len());
    // Where both are the same terminal, the bar steps aside for each line.
    let shared = !bar.is_hidden() && io::stdout().is_terminal();
    let output = std::cell::RefCell::new(output);
    let mut failed = 0_usize;
    let result = map_in_order(
        &pool,
        items,
        work,
        |index, result| {
            let result = result.unwrap_or_else(|panic| Err(format!("internal error, please report it: {panic}")));
            let is_failure = result.is_err();
            if is_failure {
                failed += 1;
                bar.set_message(format!("{failed} failed"));
            }
            bar.inc(1);
            let write = || {
                let output = &mut **output.borrow_mut();
                sink(output, &items[index], result)?;
                if shared { flush(output).map_err(Failure::from) } else { Ok(()) }
            };
            // a failure may be told on standard error, where the bar is
            if shared || is_failure { bar.suspend(write) } else { write() }
        },
        || flush(&mut output.borrow_mut()).map_err(Failure::from),
    );
    bar.finish_and_clear();
    result
}

/// Hidden where standard error is no terminal.
fn progress_bar(what: &'static str, count: usize) -> ProgressBar {
    if !io::stderr().is_terminal() || count < 2 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
    let template = "{bar:30} {pos}/{len} {prefix}, {eta} left {msg}";
    let bar = bar.with_prefix(what);
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The clock of a pipeline whose timings nobody looks at.
pub fn no_clock() -> f64 {
    0.0
}

/// Says on standard error what was passed over in folders.
pub fn say_passed_over(listing: &Listing) {
    if listing.passed_over > 0 {
        say(&format!("note: {} other files in folders passed over", listing.passed_over));
    }
}
