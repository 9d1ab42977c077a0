//! Work on many things at once, give the results out in order, and never hold more than a few of them.
//!
//! A slow item holds back the results after it; they wait in a window of fixed size, and no item beyond the window is begun.
//! So memory does not grow with the number of items, and the output does not depend on the number of threads.
//!
//! It does not know what the work is.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError, mpsc};

/// Results that may wait for an earlier one, per thread. A picture takes milliseconds to seconds, the large ones a hundred
/// times the small: with this many, threads rarely idle behind one large picture.
const WINDOW_PER_THREAD: usize = 16;

/// Calls `work` on every item, on the threads of `pool`, and `sink` with index and result in the items' order on this thread.
///
/// Where `work` panics the result is `Err` with the panic's message. `idle` is called when the sink has all there is for now (a good moment to flush).
/// What runs inside `work` keeps to the threads of the pool too. `pool` must be idle.
///
/// # Errors
/// The first error of `sink` or `idle`; no new item is begun after it.
pub fn map_in_order<T, R, E>(
    pool: &rayon::ThreadPool,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut sink: impl FnMut(usize, Result<R, String>) -> Result<(), E>,
    mut idle: impl FnMut() -> Result<(), E>,
) -> Result<(), E>
where
    T: Sync,
    R: Send,
{
    let window = pool.current_num_threads() * WINDOW_PER_THREAD;
    let (ask, asked) = mpsc::channel::<usize>();
    let (answer, answers) = mpsc::channel::<(usize, Result<R, String>)>();
    let asked = Mutex::new(asked);
    let worker = |answer: mpsc::Sender<(usize, Result<R, String>)>| {
        loop {
            let next = asked.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(index) = next else { return };
            let result = catch_unwind(AssertUnwindSafe(|| work(&items[index]))).map_err(|panic| {
                let message = panic.downcast_ref::<String>().map(String::as_str);
                message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_string()
            });
            if answer.send((index, result)).is_err() {
                return;
            }
        }
    };
    // One job for each thread of the pool (`spawn_broadcast`), which no other thread can steal: a thread that waits for work
    // of its own inside `work` must never pick up a second loop, which would end only with the last item.
    pool.in_place_scope(|scope| {
        scope.spawn_broadcast(|_, _| worker(answer.clone()));
        // Moved in, so that an early return hangs up and the workers end.
        let (ask, answers) = (ask, answers);
        let mut begun = 0;
        let mut begin_one = || {
            if begun < items.len() {
                // The receiver lives outside of this scope.
                let _ = ask.send(begun);
                begun += 1;
            }
        };
        (0..window).for_each(|_| begin_one());
        let mut waiting = BTreeMap::new();
        for index in 0..items.len() {
            while !waiting.contains_key(&index) {
                let (i, result) = match answers.try_recv() {
                    Ok(pair) => pair,
                    Err(_) => {
                        idle()?;
                        answers.recv().expect("workers live until we hang up, and answer every item, panics too")
                    }
                };
                waiting.insert(i, result);
            }
            if let Some(result) = waiting.remove(&index) {
                sink(index, result)?;
            }
            begin_one();
        }
        idle()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    fn collect(threads: usize, items: &[u64], work: impl Fn(&u64) -> u64 + Sync) -> Vec<Result<u64, String>> {
        let mut out = Vec::new();
        let sink = |index: usize, result| {
            assert_eq!(index, out.len());
            out.push(result);
            Ok::<(), ()>(())
        };
        map_in_order(&pool(threads), items, work, sink, || Ok(())).unwrap();
        out
    }

    #[test]
    fn order_is_kept_whatever_takes_long() {
        let items: Vec<u64> = (0..300).collect();
        let expected: Vec<_> = items.iter().map(|x| Ok(x * x)).collect();
        for threads in [1, 2, 7] {
            let got = collect(threads, &items, |&x| {
                std::thread::sleep(Duration::from_micros(if x % 17 == 0 { 3000 } else { 10 }));
                x * x
            });
            assert_eq!(got, expected);
        }
        assert!(collect(3, &[], |&x| x).is_empty());
        assert_eq!(collect(64, &[5], |&x| x), [Ok(5)]);
    }

    #[test]
    fn no_more_than_a_window_is_begun_ahead() {
        let items: Vec<usize> = (0..5000).collect();
        let (begun, given) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let most = AtomicUsize::new(0);
        let work = |&x: &usize| {
            let ahead = begun.fetch_add(1, Ordering::SeqCst) + 1 - given.load(Ordering::SeqCst);
            most.fetch_max(ahead, Ordering::SeqCst);
            if x == 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        let sink = |_, _| {
            given.fetch_add(1, Ordering::SeqCst);
            Ok::<(), ()>(())
        };
        map_in_order(&pool(4), &items, work, sink, || Ok(())).unwrap();
        assert_eq!(given.load(Ordering::SeqCst), 5000);
        // One more: a worker may begin the next item before the sink has counted the one that made room for it.
        assert!(most.load(Ordering::SeqCst) <= 4 * WINDOW_PER_THREAD + 4, "{most:?}");
    }

    #[test]
    fn a_panic_fails_its_item_alone() {
        let got = collect(1, &[1, 13, 2], |&x| {
            assert!(x != 13, "thirteen");
            x
        });
        assert_eq!(got, [Ok(1), Err("thirteen".into()), Ok(2)]);
    }

    #[test]
    fn an_error_of_the_sink_ends_it_early() {
        let items: Vec<usize> = (0..100_000).collect();
        let begun = AtomicUsize::new(0);
        let work = |_: &usize| begun.fetch_add(1, Ordering::SeqCst);
        let result =
            map_in_order(&pool(4), &items, work, |index, _| if index == 10 { Err("full") } else { Ok(()) }, || Ok(()));
        assert_eq!(result, Err("full"));
        assert!(begun.load(Ordering::SeqCst) <= 11 + 4 * WINDOW_PER_THREAD);
    }
}
