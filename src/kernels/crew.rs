//! Threads that share the parts of one piece of work: whoever calls [`each`], and the helpers that were [`lend`]-ed.
//!
//! A picture's pass is some hundred pieces of a tenth of a millisecond, one after the other, so what counts is how soon helpers
//! begin: they look for work for a moment before they sleep, and parts are handed out by one counter. That is all; whoever wants
//! queues, nesting or results takes rayon, as the command line does, where a whole picture is a piece.
//!
//! The crew is one for all of a program's memory, as its threads are, and knows nothing of what they do. It lives here because
//! lending borrowed work to threads that outlive it takes `unsafe`. Without helpers (natively, and in a browser without
//! shared memory) everything runs on the thread that asks.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Looks before a thread sleeps, some 0.05 ms: longer than most of what lies between two shared pieces of a pass. Where other programs
/// have the processor, whoever only looks keeps it from those that are waited for.
const LOOKS: u32 = 30_000;

/// Less work than so many products (some 30 microseconds) is done sooner than shared.
const SHARED_FROM: u64 = 2_000_000;

/// Parts for each hand: a hand that is disturbed leaves its last ones to the others.
const PARTS_PER_HAND: usize = 4;

/// Set in [`Crew::gate`] while parts are handed out; the rest of it counts the helpers inside.
const OPEN: u32 = 1 << 31;

/// A piece of work with its type and lifetime taken off.
#[derive(Clone, Copy)]
struct Piece {
    /// Does part number so much of what the pointer points to.
    run: unsafe fn(*const (), usize),
    work: *const (),
    parts: usize,
}

struct Crew {
    /// Threads that help.
    helpers: AtomicUsize,
    /// Somebody has the helpers.
    taken: AtomicBool,
    /// Written by whoever holds `taken`, while the gate is shut and nobody is inside.
    piece: UnsafeCell<Piece>,
    gate: AtomicU32,
    /// The next part.
    next: AtomicUsize,
    /// Counts pieces, so that nobody comes to the same one twice.
    turn: AtomicU32,
    /// Helpers that sleep until `bell`.
    asleep: AtomicUsize,
    /// Whether the one with `taken` sleeps until `last_bell`.
    waiting: AtomicBool,
    bed: Mutex<()>,
    bell: Condvar,
    last_bell: Condvar,
}

// SAFETY: `piece` is the only part that is not `Sync` by itself. It is written only while the gate is shut and empty, by the one
// thread that holds `taken`, and read only between entering the open gate and leaving it.
unsafe impl Sync for Crew {}

static CREW: Crew = Crew {
    helpers: AtomicUsize::new(0),
    taken: AtomicBool::new(false),
    piece: UnsafeCell::new(Piece { run: |_, _| (), work: std::ptr::null(), parts: 0 }),
    gate: AtomicU32::new(0),
    next: AtomicUsize::new(0),
    turn: AtomicU32::new(0),
    asleep: AtomicUsize::new(0),
    waiting: AtomicBool::new(false),
    bed: Mutex::new(()),
    bell: Condvar::new(),
    last_bell: Condvar::new(),
};

/// Threads that would share a piece of work: the one that asks, and the helpers.
pub fn hands() -> usize {
    1 + CREW.helpers.load(Ordering::Relaxed)
}

/// Into how many parts work that takes as long as so many products should be cut; at most into `most`, and into one where it is too
/// little or there are no helpers.
pub fn parts(products: u64, most: usize) -> usize {
    let hands = hands();
    if hands < 2 || products < SHARED_FROM { 1 } else { (PARTS_PER_HAND * hands).min(most).max(1) }
}

/// Calls `work` on each of `parts`, in any order and on all hands at once, and returns when all are done. Where the helpers are busy
/// with another thread's work, this thread does all of it.
///
/// # Panics
/// When `work` does on this thread. A helper that panics is lost, and nobody is told: it must not.
pub fn each<T: Send, F: Fn(&mut T) + Sync>(parts: &mut [T], work: F) {
    if parts.len() < 2 || hands() < 2 || CREW.taken.swap(true, Ordering::Acquire) {
        parts.iter_mut().for_each(work);
        return;
    }
    let call = Call { work: &work, parts: parts.as_mut_ptr() };
    let piece = Piece { run: run::<T, F>, work: (&raw const call).cast(), parts: parts.len() };
    // SAFETY: this thread holds `taken`, and whoever held it before left the gate shut and empty.
    unsafe { *CREW.piece.get() = piece };
    CREW.next.store(0, Ordering::Relaxed);
    CREW.gate.store(OPEN, Ordering::Release);
    // its end, also by a panic, waits until no helper is inside: `call`, `work` and `parts` outlive their use
    let open = Opened;
    CREW.turn.fetch_add(1, Ordering::SeqCst);
    if CREW.asleep.load(Ordering::SeqCst) > 0 {
        drop(bed());
        CREW.bell.notify_all();
    }
    // SAFETY: the piece is the one made above, and `open` still lives.
    unsafe { do_parts(piece) };
    drop(open);
}

/// Makes this thread a helper, for good.
pub fn lend() -> ! {
    let mut seen = CREW.turn.load(Ordering::SeqCst);
    CREW.helpers.fetch_add(1, Ordering::Relaxed);
    loop {
        seen = next_turn(seen);
        let mut gate = CREW.gate.load(Ordering::Relaxed);
        while gate & OPEN != 0 {
            match CREW.gate.compare_exchange_weak(gate, gate + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => {
                    let inside = Inside;
                    // SAFETY: the gate was open when this thread entered, so the piece is written, and nobody writes another until it left.
                    unsafe { do_parts(*CREW.piece.get()) };
                    drop(inside);
                    break;
                }
                Err(now) => gate = now,
            }
        }
    }
}

fn bed() -> MutexGuard<'static, ()> {
    CREW.bed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until there was another piece than number `seen`.
fn next_turn(seen: u32) -> u32 {
    for _ in 0..LOOKS {
        let turn = CREW.turn.load(Ordering::Acquire);
        if turn != seen {
            return turn;
        }
        std::hint::spin_loop();
    }
    let mut bed = bed();
    // before the look at `turn`: whoever turns it later sees a sleeper, and rings
    CREW.asleep.fetch_add(1, Ordering::SeqCst);
    let turn = loop {
        let turn = CREW.turn.load(Ordering::SeqCst);
        if turn != seen {
            break turn;
        }
        bed = CREW.bell.wait(bed).unwrap_or_else(PoisonError::into_inner);
    };
    CREW.asleep.fetch_sub(1, Ordering::Relaxed);
    turn
}

/// Does parts until none is left.
///
/// # Safety
/// What the piece points to lives, and only threads inside the gate or its maker call this.
unsafe fn do_parts(piece: Piece) {
    loop {
        let part = CREW.next.fetch_add(1, Ordering::Relaxed);
        if part >= piece.parts {
            return;
        }
        // SAFETY: it lives by the caller's promise; the counter gives each part to one thread.
        unsafe { (piece.run)(piece.work, part) };
    }
}

struct Call<'a, T, F> {
    work: &'a F,
    parts: *mut T,
}

/// # Safety
/// `call` points to a `Call<T, F>` whose slice has a part of that number, which nobody else touches.
unsafe fn run<T, F: Fn(&mut T)>(call: *const (), part: usize) {
    // SAFETY: the first promise.
    let call = unsafe { &*call.cast::<Call<'_, T, F>>() };
    // SAFETY: the second promise.
    (call.work)(unsafe { &mut *call.parts.add(part) });
}

/// While it lives helpers may enter.
struct Opened;

impl Drop for Opened {
    fn drop(&mut self) {
        CREW.gate.fetch_and(!OPEN, Ordering::Relaxed);
        // at most as long as one part takes: what helpers wrote is seen after their last leave
        let empty = || CREW.gate.load(Ordering::SeqCst) == 0;
        let soon = (0..LOOKS).any(|_| {
            std::hint::spin_loop();
            empty()
        });
        if !soon {
            let mut bed = bed();
            // before the look at `gate`: whoever leaves last later sees it, and rings
            CREW.waiting.store(true, Ordering::SeqCst);
            while !empty() {
                bed = CREW.last_bell.wait(bed).unwrap_or_else(PoisonError::into_inner);
            }
            CREW.waiting.store(false, Ordering::Relaxed);
        }
        CREW.taken.store(false, Ordering::Release);
    }
}

/// A helper within the gate.
struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        let last = CREW.gate.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && CREW.waiting.load(Ordering::SeqCst) {
            drop(bed());
            CREW.last_bell.notify_one();
        }
    }
}

/// A slice `[rows][n]`, cut into blocks of columns: for each block, its piece of every row.
///
/// # Panics
/// When the widths do not add up to `n`, or `all` is no whole rows.
pub fn columns<'a, T>(all: &'a mut [T], n: usize, widths: &[usize]) -> Vec<Vec<&'a mut [T]>> {
    assert!(widths.iter().sum::<usize>() == n && all.len().is_multiple_of(n), "widths add up to a row");
    let mut blocks: Vec<Vec<&mut [T]>> = widths.iter().map(|_| Vec::with_capacity(all.len() / n)).collect();
    for mut row in all.chunks_exact_mut(n) {
        for (block, &width) in blocks.iter_mut().zip(widths) {
            let (piece, rest) = row.split_at_mut(width);
            block.push(piece);
            row = rest;
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Once;
    use std::time::Duration;

    /// Two helpers for all tests of this process.
    fn gather() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            for _ in 0..2 {
                std::thread::spawn(|| lend());
            }
        });
        while hands() < 3 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn every_part_is_done_once() {
        gather();
        let parts = (0..2000).flat_map(|i| [i % 7, 64]);
        for (turn, count) in parts.enumerate() {
            let mut parts = vec![turn; count];
            each(&mut parts, |part| *part += 1);
            assert!(parts.iter().all(|&part| part == turn + 1), "{count} parts in turn {turn}: {parts:?}");
        }
    }

    /// Only one thread at a time has the helpers, and tests run side by side: it is tried until another thread has come.
    #[test]
    fn sleepers_are_woken() {
        gather();
        let me = std::thread::current().id();
        let woken = (0..1000).any(|_| {
            while CREW.asleep.load(Ordering::SeqCst) < 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut parts = [me; 20];
            each(&mut parts, |part| {
                *part = std::thread::current().id();
                std::thread::sleep(Duration::from_millis(1));
            });
            parts.iter().any(|&part| part != me)
        });
        assert!(woken);
    }

    #[test]
    fn who_finds_the_helpers_taken_works_alone() {
        gather();
        let mut outer = vec![vec![0; 100]; 8];
        std::thread::scope(|scope| {
            for half in outer.chunks_mut(4) {
                scope.spawn(|| each(half, |inner| each(inner, |v| *v += 1)));
            }
        });
        assert_eq!(outer, vec![vec![1; 100]; 8]);
    }

    #[test]
    fn a_panic_leaves_the_crew_in_order() {
        gather();
        let me = std::thread::current().id();
        let caught = std::panic::catch_unwind(|| {
            each(&mut [0; 20], |_| {
                assert!(std::thread::current().id() != me, "this one, on purpose");
                std::thread::sleep(Duration::from_millis(1));
            });
        });
        assert!(caught.is_err());
        let mut parts = [0; 10];
        each(&mut parts, |part| *part += 1);
        assert_eq!(parts, [1; 10]);
    }

    #[test]
    fn columns_by_hand() {
        let mut all = [1, 2, 3, 4, 5, 6];
        let blocks = columns(&mut all, 3, &[1, 2]);
        assert_eq!(blocks, [vec![&mut [1][..], &mut [4]], vec![&mut [2, 3][..], &mut [5, 6]]]);
    }

    #[test]
    fn little_work_stays_in_one_part() {
        gather();
        assert_eq!((parts(1000, 50), parts(1 << 40, 3), parts(1 << 40, 0)), (1, 3, 1));
    }
}
