//! [`Plan`]: from a data set and what is asked of it to tasks and runs.
//!
//! A task is named by its class. One-vs-rest: the class is normal, all others are anomalous. Leave-one-out: the others are normal,
//! the class is anomalous. With `<class>/{normal,anomalous}/` the folders say it. A run is a task with a method, a number of outlier
//! examples and a seed.
//!
//! What is learned from is never judged: where the data set is split, the one is `train/` and the other `test/`; else, as soon as
//! any method learns, half of each class (and kind), drawn by the seed, is learned from and the other half judged, by all methods.
//! Outliers to learn from are those that were given, else pictures to learn from that are anomalous in the task. Copies of judged
//! pictures (same bytes) are left out of what is learned from.
//!
//! It does not know embeddings, models or files.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use super::EvalError;
use super::dataset::{Dataset, Item, Layout, Split};
use super::store::Key;
use crate::protocol::Setup;
use crate::score::{Loss, Method};
use crate::train::random::Random;

/// Streams of draws; `train` uses small numbers and 1000 and up.
const HALVES: u64 = 1 << 20;
const NORMALS: u64 = 2 << 20;
const OUTLIERS: u64 = 3 << 20;

/// What is normal in a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    OneVsRest,
    LeaveOneOut,
}

/// A number of outlier examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

impl Size {
    /// All that there are.
    pub const ALL: Self = Self(usize::MAX);
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL { f.write_str("all") } else { self.0.fmt(f) }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    pub protocol: Protocol,
    pub methods: Vec<&'static Method>,
    /// Sorted, without repetition.
    pub sizes: Vec<Size>,
    pub seeds: u64,
    /// Normal examples to learn from at most, drawn by the seed; `None`: all.
    pub most_normal: Option<usize>,
}

impl Ask {
    /// Whether anything is learned from the data set's own pictures.
    fn learns(&self) -> bool {
        self.methods.iter().any(|m| !m.needs_texts_only())
    }
}

/// What is asked of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub class: usize,
    /// The class as the data set spells it.
    pub name: String,
    /// The paper's prompts with class names verbatim, underscores included. (`Prepared` asks a model with a closed vocabulary in the
    /// spelling that it was taught, as `weights/training/evaluate.py` does.)
    pub setup: Setup,
}

/// One cell of the evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Of [`Plan::tasks`].
    pub task: usize,
    pub method: &'static Method,
    pub size: Size,
    pub seed: u64,
}

/// Pictures of a run by their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    pub normal: Vec<usize>,
    /// All that may be drawn, in the order in which they are.
    pub outliers: Vec<usize>,
    /// In the order of the data set; true: anomalous.
    pub judged: Vec<(usize, bool)>,
    /// Copies of judged pictures that are not learned from.
    pub copies: usize,
}

/// Why runs are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub size: Size,
    pub expected: String,
    /// Least and most, over the tasks.
    pub got: (usize, usize),
    pub methods: Vec<&'static str>,
    /// Names of the tasks.
    pub tasks: Vec<String>,
}

impl LeftOut {
    /// Expected and got, in one line.
    pub fn reason(&self) -> String {
        match self.got {
            (least, most) if least == most => format!("expected {}, got {least}", self.expected),
            (least, most) => format!("expected {}, got {least} to {most}", self.expected),
        }
    }
}

/// Tasks on a data set.
pub struct Plan {
    pub classes: Vec<String>,
    /// Of the data set, then those given as outliers.
    pub items: Vec<Item>,
    pub tasks: Vec<Task>,
    ask: Ask,
    layout: Layout,
    /// Of the data set.
    own: usize,
    is_split: bool,
}

impl Plan {
    /// # Errors
    /// When the protocol cannot be had on this data set.
    pub fn new(dataset: Dataset, outliers: Option<Vec<Item>>, ask: Ask) -> Result<Self, EvalError> {
        let is_split = dataset.is_split();
        let Dataset { layout, classes, mut items, .. } = dataset;
        if ask.protocol == Protocol::LeaveOneOut {
            if layout == Layout::NormalAnomalous {
                let message = "leave-one-out: expected classes without normal/ and anomalous/ folders, got them; use --protocol ovr, where these folders say what is anomalous";
                return Err(EvalError::Plan(message.into()));
            }
            if classes.len() < 2 {
                let message = "leave-one-out: expected at least 2 classes, so that one can be left out, got 1";
                return Err(EvalError::Plan(message.into()));
            }
        }
        let task = |class: usize| {
            let normal = match ask.protocol {
                Protocol::OneVsRest => vec![classes[class].clone()],
                Protocol::LeaveOneOut => {
                    (0..classes.len()).filter(|&c| c != class).map(|c| classes[c].clone()).collect()
                }
            };
            Task { class, name: classes[class].clone(), setup: Setup { normal, ..Setup::default() } }
        };
        let tasks = (0..classes.len()).map(task).collect();
        let own = items.len();
        items.extend(outliers.unwrap_or_default());
        Ok(Self { classes, items, tasks, ask, layout, own, is_split })
    }

    /// Whether the seed draws what is judged.
    fn is_drawn(&self) -> bool {
        !self.is_split && self.ask.learns()
    }

    fn has_given_outliers(&self) -> bool {
        self.items.len() > self.own
    }

    /// What people should know about what is learned from, one line each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.ask.learns() {
            return notes;
        }
        notes.push(match self.is_split {
            true => "learned from: the train split; judged: the test split".to_string(),
            false => {
                "no train/ and test/: by each seed, half of each class is learned from and the other half judged".into()
            }
        });
        notes.push(match (self.has_given_outliers(), self.layout, self.ask.protocol) {
            (true, ..) => "outlier examples: the pictures given with --oe".into(),
            (_, Layout::NormalAnomalous, _) => "outlier examples: the anomalous pictures to learn from".into(),
            (_, _, Protocol::OneVsRest) => "outlier examples: pictures to learn from of all other classes (no --oe)".into(),
            (_, _, Protocol::LeaveOneOut) => {
                "outlier examples: pictures to learn from of the class left out (no --oe), an easier task than the paper's".into()
            }
        });
        notes
    }

    /// The pictures that must be seen for what is asked.
    pub fn wanted(&self) -> Vec<usize> {
        let outliers = self.ask.methods.iter().any(|m| m.needs.outlier_examples > 0) && self.ask.sizes != [Size(0)];
        (0..self.items.len())
            .filter(|&i| match self.items[i].split {
                _ if i >= self.own => outliers,
                Some(Split::Train) if self.is_split => self.ask.learns(),
                _ => true,
            })
            .collect()
    }

    fn is_anomalous(&self, task: &Task, item: &Item) -> bool {
        match (self.layout, self.ask.protocol) {
            (Layout::NormalAnomalous, _) => item.anomalous,
            (_, Protocol::OneVsRest) => item.class != task.class,
            (_, Protocol::LeaveOneOut) => item.class == task.class,
        }
    }

    /// Who is learned from and who is judged. `content` gives what a picture holds, and nothing for one that was not seen (broken,
    /// or not wanted): it takes no part.
    pub fn parts<'a>(&self, task: &Task, seed: u64, content: &dyn Fn(usize) -> Option<&'a Key>) -> Parts {
        let learned = self.is_drawn().then(|| self.drawn_half(seed, content));
        let mut parts = Parts::default();
        let (mut normal, mut outliers) = (Vec::new(), Vec::new());
        for (i, item) in self.items.iter().enumerate().filter(|&(i, _)| content(i).is_some()) {
            if i >= self.own {
                outliers.push(i);
                continue;
            }
            // with normal/ and anomalous/, each class is a world of its own
            if self.layout == Layout::NormalAnomalous && item.class != task.class {
                continue;
            }
            let anomalous = self.is_anomalous(task, item);
            let learn = match (&learned, self.is_split) {
                (Some(learned), _) => learned.contains(&i),
                (None, true) => item.split == Some(Split::Train),
                (None, false) => false,
            };
            match (learn, anomalous) {
                (false, _) => parts.judged.push((i, anomalous)),
                (true, false) => normal.push(i),
                (true, true) if !self.has_given_outliers() => outliers.push(i),
                (true, true) => {}
            }
        }
        let judged: HashSet<&Key> = parts.judged.iter().filter_map(|&(i, _)| content(i)).collect();
        let mut unknown = |from: Vec<usize>| -> Vec<usize> {
            let before = from.len();
            let kept: Vec<usize> =
                from.into_iter().filter(|&i| content(i).is_some_and(|c| !judged.contains(c))).collect();
            parts.copies += before - kept.len();
            kept
        };
        let (normal, outliers) = (unknown(normal), unknown(outliers));
        let class = task.class as u64;
        parts.normal = match self.ask.most_normal {
            Some(most) if most < normal.len() => {
                let mut drawn = Random::new(seed, NORMALS + class).order(normal.len());
                drawn.truncate(most);
                drawn.sort_unstable();
                drawn.into_iter().map(|at| normal[at]).collect()
            }
            _ => normal,
        };
        let order = Random::new(seed, OUTLIERS + class).order(outliers.len());
        parts.outliers = order.into_iter().map(|at| outliers[at]).collect();
        parts
    }

    /// Half of each class and kind, the larger half where it is odd.
    fn drawn_half<'a>(&self, seed: u64, content: &dyn Fn(usize) -> Option<&'a Key>) -> HashSet<usize> {
        let mut groups: BTreeMap<(usize, bool), Vec<usize>> = BTreeMap::new();
        for (i, item) in self.items[..self.own].iter().enumerate().filter(|&(i, _)| content(i).is_some()) {
            groups.entry((item.class, item.anomalous)).or_default().push(i);
        }
        let mut half = HashSet::new();
        for ((class, anomalous), group) in groups {
            let order = Random::new(seed, HALVES + 2 * class as u64 + u64::from(anomalous)).order(group.len());
            half.extend(order[..group.len().div_ceil(2)].iter().map(|&at| group[at]));
        }
        half
    }

    /// All runs, and those that cannot be with the reason, in the order of tasks, methods, sizes and seeds.
    pub fn runs<'a>(&self, content: &dyn Fn(usize) -> Option<&'a Key>) -> (Vec<Run>, Vec<LeftOut>) {
        let (mut runs, mut left_out) = (Vec::new(), Vec::<LeftOut>::new());
        for (at, task) in self.tasks.iter().enumerate() {
            let parts = self.parts(task, 0, content);
            for &method in &self.ask.methods {
                for size in self.sizes_of(method) {
                    match self.lacking(method, size, task, &parts) {
                        None => runs.extend((0..self.seeds_of(method, size)).map(|seed| Run {
                            task: at,
                            method,
                            size,
                            seed,
                        })),
                        Some((expected, got)) => {
                            let place = left_out.iter().position(|l| l.size == size && l.expected == expected);
                            let place = place.unwrap_or_else(|| {
                                let none = LeftOut { size, expected, got: (got, got), methods: vec![], tasks: vec![] };
                                left_out.push(none);
                                left_out.len() - 1
                            });
                            let known = &mut left_out[place];
                            known.got = (known.got.0.min(got), known.got.1.max(got));
                            if !known.methods.contains(&method.id) {
                                known.methods.push(method.id);
                            }
                            if known.tasks.last() != Some(&task.name) {
                                known.tasks.push(task.name.clone());
                            }
                        }
                    }
                }
            }
        }
        (runs, left_out)
    }

    /// A method that looks at no outliers stands at 0 alone.
    fn sizes_of(&self, method: &Method) -> Vec<Size> {
        if method.needs.outlier_examples == 0 { vec![Size(0)] } else { self.ask.sizes.clone() }
    }

    /// Runs that a seed cannot change are done once.
    fn seeds_of(&self, method: &Method, size: Size) -> u64 {
        let learns = size > Size(0) || (method.needs.training && method.needs.outlier_examples == 0);
        let draws = !method.needs_texts_only() && self.ask.most_normal.is_some();
        if learns || draws || self.is_drawn() { self.ask.seeds } else { 1 }
    }

    /// What a method lacks: expected, and how many there are.
    fn lacking(&self, method: &Method, size: Size, task: &Task, parts: &Parts) -> Option<(String, usize)> {
        let (needs, names) = (method.needs, task.setup.normal.len());
        if names < needs.normal_names {
            return Some((format!("at least {} normal classes", needs.normal_names), names));
        }
        if is_zero_shot(method, size) {
            return None;
        }
        if parts.normal.len() < needs.normal_examples {
            let expected = format!("at least {} normal pictures to learn from", needs.normal_examples);
            return Some((expected, parts.normal.len()));
        }
        if needs.outlier_examples == 0 {
            return None;
        }
        // a number is that number or nothing
        let least = if size == Size::ALL { needs.outlier_examples } else { needs.outlier_examples.max(size.0) };
        let got = if size == Size(0) { 0 } else { parts.outliers.len() };
        (got < least).then(|| (format!("{least} outlier examples"), got))
    }
}

/// CLIP-OE without outliers is where it starts: zero-shot.
pub fn is_zero_shot(method: &Method, size: Size) -> bool {
    size == Size(0) && method.loss == Some(Loss::ClipOe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::dataset::Source;
    use crate::score::{METHODS, method};

    /// Three classes of seven pictures; where they are split, five to learn from.
    fn dataset(layout: Layout, split: bool) -> Dataset {
        let item = |i: usize| Item {
            path: i.to_string(),
            class: i % 3,
            split: split.then_some(if i < 15 { Split::Train } else { Split::Test }),
            anomalous: layout == Layout::NormalAnomalous && i % 2 == 1,
            source: Source::Broken("not read here".into()),
        };
        let classes = ["a", "b", "c"].map(String::from).to_vec();
        Dataset { layout, classes, items: (0..21).map(item).collect(), notes: vec![] }
    }

    fn ask(protocol: Protocol, ids: &[&str], sizes: &[usize]) -> Ask {
        let methods = ids.iter().map(|id| method(id).expect("listed")).collect();
        Ask { protocol, methods, sizes: sizes.iter().map(|&s| Size(s)).collect(), seeds: 2, most_normal: None }
    }

    /// Contents of pictures, all different but for those that `copies` names.
    fn contents(n: usize, copies: &[(usize, usize)]) -> Vec<Key> {
        let of = |i: usize| copies.iter().find(|c| c.0 == i).map_or(i, |c| c.1);
        (0..n).map(|i| [of(i) as u8; 32]).collect()
    }

    /// Whatever is asked: nothing is learned from and judged, kinds are right, and the seed alone draws.
    #[test]
    fn what_is_learned_from_is_not_judged() {
        let contents = contents(21, &[(0, 20), (2, 17)]);
        let content = |i: usize| (i != 4).then(|| &contents[i]);
        let mut asked = 0;
        for (layout, protocol) in [
            (Layout::Classes, Protocol::OneVsRest),
            (Layout::Classes, Protocol::LeaveOneOut),
            (Layout::NormalAnomalous, Protocol::OneVsRest),
        ] {
            for split in [true, false] {
                let plan = Plan::new(dataset(layout, split), None, ask(protocol, &["bce"], &[2])).expect("a plan");
                for task in &plan.tasks {
                    for seed in 0..4 {
                        let parts = plan.parts(task, seed, &content);
                        assert_eq!(parts, plan.parts(task, seed, &content));
                        let judged: HashSet<&Key> = parts.judged.iter().map(|&(i, _)| &contents[i]).collect();
                        let learned: Vec<usize> = parts.normal.iter().chain(&parts.outliers).copied().collect();
                        assert!(learned.iter().all(|&i| !judged.contains(&contents[i]) && i != 4));
                        assert!(!learned.is_empty() && !parts.judged.is_empty());
                        let is_odd = |i: usize| plan.is_anomalous(task, &plan.items[i]);
                        assert!(parts.normal.iter().all(|&i| !is_odd(i)) && parts.outliers.iter().all(|&i| is_odd(i)));
                        assert!(parts.judged.iter().all(|&(i, odd)| odd == is_odd(i)));
                        assert!(parts.judged.is_sorted());
                        if layout == Layout::Classes {
                            assert_eq!(learned.len() + parts.judged.len() + parts.copies, 20);
                        }
                        asked += 1;
                    }
                }
                let (a, b) = (plan.parts(&plan.tasks[0], 0, &content), plan.parts(&plan.tasks[0], 1, &content));
                assert_eq!(a.judged == b.judged, split, "a split stays, halves are drawn");
            }
        }
        assert_eq!(asked, 3 * 2 * 3 * 4);
    }

    #[test]
    fn given_outliers_are_the_only_ones() {
        let given: Vec<Item> = dataset(Layout::Classes, false).items.into_iter().take(3).collect();
        let plan = Plan::new(dataset(Layout::Classes, true), Some(given), ask(Protocol::OneVsRest, &["bce"], &[1]));
        let plan = plan.expect("a plan");
        // the last one given is a copy of a judged picture
        let contents = contents(24, &[(23, 20)]);
        let mut outliers = plan.parts(&plan.tasks[1], 0, &|i| Some(&contents[i])).outliers;
        outliers.sort_unstable();
        assert_eq!(outliers, [21, 22]);
        assert_eq!(plan.wanted().len(), 24);
    }

    #[test]
    fn only_what_is_needed_is_seen() {
        let wanted = |ids: &[&str], split: bool| {
            let plan = Plan::new(dataset(Layout::Classes, split), None, ask(Protocol::OneVsRest, ids, &[1]));
            plan.expect("a plan").wanted().len()
        };
        assert_eq!((wanted(&["zero-shot"], true), wanted(&["zero-shot", "bce"], true)), (6, 21));
        assert_eq!(wanted(&["zero-shot"], false), 21);
    }

    #[test]
    fn every_method_runs_or_is_left_out_with_a_reason() {
        let all: Vec<&str> = METHODS.iter().map(|m| m.id).collect();
        let contents = contents(21, &[]);
        let sizes = [0, 2, 100];
        for protocol in [Protocol::OneVsRest, Protocol::LeaveOneOut] {
            let plan = Plan::new(dataset(Layout::Classes, true), None, ask(protocol, &all, &sizes)).expect("a plan");
            let (runs, left_out) = plan.runs(&|i| Some(&contents[i]));
            for m in METHODS {
                for size in plan.sizes_of(m) {
                    let runs = runs.iter().filter(|r| r.method == m && r.size == size && r.task == 0).count();
                    let reasons = left_out.iter().filter(|l| l.size == size && l.methods.contains(&m.id)).count();
                    assert_eq!(reasons, usize::from(runs == 0), "{} {size}", m.id);
                }
            }
            assert!(left_out.iter().all(|l| l.reason().starts_with("expected ") && l.reason().contains(", got ")));
            assert_eq!(runs.iter().filter(|r| r.method.id == "zero-shot").count(), 3, "no seed can change it");
            assert_eq!(runs.iter().any(|r| r.method.id == "mcm"), protocol == Protocol::LeaveOneOut);
        }
    }
}
