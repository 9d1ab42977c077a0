//! Which kernels are fastest here: asked of the processor, not of its name.

use std::cell::OnceCell;

use super::{Exact, Precision, QMatrix, Scratch};
use crate::kernels::{Kernels, quads};

/// Rounds over all candidates; in each, each has some turns. Engines run new code in a slow form first and compile it well in the
/// background: with V8 that takes some tens of milliseconds, and what is measured before it means nothing.
const ROUNDS: usize = 60;
const TURNS: usize = 5;

/// The kernels that are [`fastest`], found when they are first wanted.
#[derive(Debug)]
pub struct Fastest {
    clock: fn() -> f64,
    found: OnceCell<Kernels>,
}

impl Fastest {
    /// By a clock that tells milliseconds.
    pub fn by(clock: fn() -> f64) -> Self {
        Self { clock, found: OnceCell::new() }
    }

    pub fn get(&self) -> Kernels {
        *self.found.get_or_init(|| fastest(self.clock))
    }
}

/// The kernels that multiply a small layer of 7-bit activations soonest. Takes about 60 milliseconds where there is a choice, and
/// none where there is not. `clock` tells milliseconds.
pub fn fastest(clock: fn() -> f64) -> Kernels {
    let pairs = Kernels::best().pairs;
    let quick = quads::all().into_iter().filter(|kernel| *kernel != quads::scalar::KERNEL);
    let candidates: Vec<Kernels> =
        [None].into_iter().chain(quick.map(Some)).map(|quads| Kernels { pairs, quads }).collect();
    let [first, _, ..] = candidates[..] else { return Kernels::best() };
    // as many rows as a picture has in ViT-B/32: some kernels take more of them at a time than others
    let (m, k, n) = (50, 768, 64);
    let noise = |count: usize| (0..count).map(|i| (i as f32 * 0.618).fract() - 0.5).collect::<Vec<f32>>();
    let (weights, x) = (noise(n * k), noise(m * k));
    let layer = |kernels: &Kernels| QMatrix::new(&weights, None, (n, k), Precision::Bits7, Exact::default(), kernels);
    let layers: Vec<QMatrix> = candidates.iter().map(layer).collect();
    let (mut scratch, mut y) = (Scratch::default(), vec![0.0; m * n]);
    let mut best = (f64::INFINITY, first);
    // in rounds, so that engines have time to compile all of them well, and a busy moment hits none alone
    for _ in 0..ROUNDS {
        for (kernels, layer) in candidates.iter().zip(&layers) {
            let started = clock();
            for _ in 0..TURNS {
                layer.apply(kernels, &x, m, &mut scratch, &mut y);
            }
            let time = clock() - started;
            if time < best.0 {
                best = (time, *kernels);
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    static TICKS: AtomicU32 = AtomicU32::new(0);

    /// Each look is later than the one before by one more: the first candidate of the first round is the fastest.
    fn slower_and_slower() -> f64 {
        let i = TICKS.fetch_add(1, Ordering::Relaxed);
        f64::from(i * i)
    }

    #[test]
    fn the_shortest_time_wins() {
        let choice = fastest(slower_and_slower);
        let alone = quads::all().len() == 1;
        assert_eq!(choice, if alone { Kernels::best() } else { Kernels { quads: None, ..Kernels::best() } });
    }
}
