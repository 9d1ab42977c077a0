//! [`Window`]: which rows of a long grid are drawn. All rows are of one height, so what is not drawn leaves a gap of known size.
//! It does not know the browser: a [`Look`] at the screen comes in, rows and gaps go out.

use std::ops::Range;

/// Rows drawn before the first look.
const FIRST_ROWS: usize = 24;
/// Pictures by which a window grows after one look: a few milliseconds' work.
const STEP: usize = 20;

/// What is seen of a grid; lengths in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// The grid's upper edge, counted from the screen's; negative when it is scrolled.
    pub top: f64,
    /// The screen's height.
    pub screen: f64,
    /// From one row to the next; more than 0.
    pub pitch: f64,
    pub columns: usize,
}

/// The rows that are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    rows: Range<usize>,
    columns: usize,
    pitch: f64,
}

impl Default for Window {
    fn default() -> Self {
        Self { rows: 0..FIRST_ROWS, columns: 1, pitch: 0.0 }
    }
}

impl Window {
    /// The window for what is seen now: that, and half a screen's height or more on both sides. It comes there in steps, one with
    /// each look, so that no look is followed by long work, and it stays as it is while it is large enough.
    pub fn after(&self, look: Look) -> Self {
        let columns = look.columns.max(1);
        let rows = |pixels: f64| (pixels / look.pitch).ceil().max(0.0) as usize;
        let seen = (-look.top / look.pitch).max(0.0) as usize..rows(look.screen - look.top);
        let margin = rows(look.screen);
        let around = |margin: usize| seen.start.saturating_sub(margin)..seen.end + margin;
        let (farthest, wanted, needed) = (around(2 * margin), around(margin), around(margin / 2));
        // the same pictures in rows of another length
        let old = self.rows.start * self.columns / columns..(self.rows.end * self.columns).div_ceil(columns);
        let mut rows = old.start.max(farthest.start)..old.end.min(farthest.end);
        if rows.start >= seen.end || rows.end <= seen.start {
            // far from what was seen before: first what is seen now
            rows = seen;
        } else {
            let step = (STEP / columns).max(1);
            if rows.start > needed.start {
                rows.start = rows.start.saturating_sub(step).max(wanted.start).min(seen.start);
            }
            if rows.end < needed.end {
                rows.end = (rows.end + step).min(wanted.end).max(seen.end);
            }
        }
        Self { rows, columns, pitch: look.pitch }
    }

    /// Pictures in a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The places of the pictures drawn, of `count`.
    pub fn places(&self, count: usize) -> Range<usize> {
        (self.rows.start * self.columns).min(count)..(self.rows.end * self.columns).min(count)
    }

    /// Heights of the gaps above and below the rows drawn.
    pub fn gaps(&self, count: usize) -> (f64, f64) {
        let all = count.div_ceil(self.columns);
        let height = |rows: usize| rows as f64 * self.pitch;
        (height(self.rows.start.min(all)), height(all.saturating_sub(self.rows.end)))
    }

    /// From the grid's upper edge to the row of `place`.
    pub fn offset(&self, place: usize) -> f64 {
        (place / self.columns) as f64 * self.pitch
    }

    pub fn pitch(&self) -> f64 {
        self.pitch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A screen of four rows of five pictures, scrolled by `rows`.
    fn scrolled(rows: f64) -> Look {
        Look { top: -rows * 250.0, screen: 1000.0, pitch: 250.0, columns: 5 }
    }

    /// Where it comes to rest.
    fn settled(mut window: Window, look: Look) -> Window {
        for _ in 0..100 {
            let next = window.after(look);
            let grown = next.places(100_000).len().saturating_sub(window.places(100_000).len());
            assert!(window.rows.start.abs_diff(next.rows.start) > 8 || grown <= 2 * STEP, "grown by {grown}");
            if next == window {
                return window;
            }
            window = next;
        }
        panic!("it never comes to rest: {window:?}");
    }

    #[test]
    fn some_rows_on_each_side_are_drawn_and_the_rest_leaves_gaps() {
        let window = Window::default().after(scrolled(100.5));
        // first rows 100 to 104, which are seen
        assert_eq!(window.places(2000), 500..525);
        // then those of at least half a screen more on each side
        let window = settled(window, scrolled(100.5));
        assert_eq!(window.places(2000), 480..545);
        assert_eq!(window.gaps(2000), (96.0 * 250.0, 291.0 * 250.0));
        assert_eq!(window.offset(501), 25_000.0);
        // the end of a grid that does not fill its last row
        assert_eq!(window.places(502), 480..502);
        assert_eq!(window.gaps(502), (96.0 * 250.0, 0.0));
        // fewer pictures than were scrolled past
        assert_eq!(window.places(7), 7..7);
        assert_eq!(window.gaps(7), (500.0, 0.0));
    }

    #[test]
    fn it_moves_only_when_its_edge_comes_near() {
        let window = settled(Window::default(), scrolled(100.0));
        assert_eq!(window.after(scrolled(102.0)), window);
        assert_eq!(window.after(scrolled(98.0)), window);
        assert_ne!(window.after(scrolled(103.0)), window);
        assert_ne!(window.after(scrolled(97.0)), window);
    }

    /// Whatever was seen before, what is seen now is drawn after one look.
    #[test]
    fn what_is_seen_is_drawn_at_once() {
        let looks = [
            scrolled(0.0),
            scrolled(3.0),
            scrolled(900.0),
            Look { columns: 2, ..scrolled(20.0) },
            scrolled(4.5),
            scrolled(10.9),
        ];
        for before in looks {
            for now in looks {
                let window = settled(Window::default(), before).after(now);
                let first = (-now.top / now.pitch) as usize * now.columns;
                let last = (((now.screen - now.top) / now.pitch).ceil() as usize - 1) * now.columns;
                let places = window.places(100_000);
                assert!(places.contains(&first) && places.contains(&last), "{before:?} {now:?} {places:?}");
                // and not much more, in the end
                assert!(settled(window, now).places(100_000).len() <= 24 * now.columns);
            }
        }
    }

    #[test]
    fn before_and_at_the_top_it_begins_with_the_first() {
        assert_eq!(Window::default().places(500), 0..24);
        assert_eq!(Window::default().gaps(500).0, 0.0);
        let below = Look { top: 600.0, ..scrolled(0.0) };
        assert_eq!(settled(Window::default(), below).places(500), 0..25);
    }
}
