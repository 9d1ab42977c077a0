//! What is labelled and learned from, as the page knows it: labels by hand and by folder, how methods compare, the work that runs,
//! the curve, the search, the advice. Steps are pure; the engine does the learning.
//!
//! It does not know how methods learn: it shows what the engine says, in the engine's order.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::picture::{Folder, Picture};
use super::presets::readable;
use super::{Asked, Effect, State, Undo, Worker};
use crate::protocol::{
    Advice, Basis, CurvePoint, DEFAULT_METHOD, Event, Fitted, ImageId, JobId, Kind, Label, LabelCounts, MethodInfo,
    MethodState, Outcome, Readiness, Report, Request, RocPoint, Role,
};

/// Between two comparisons of all methods while pictures still come in, milliseconds at least.
const REFRESH_MILLIS: f64 = 700.0;
/// The same, in times of what the last comparison took: pictures come first.
const REFRESH_SHARE: f64 = 4.0;
/// Seeded draws of the few-shot curve.
pub const DRAWS: usize = 5;
/// Numbers of outlier examples on the curve, as far as there are so many.
pub const SIZES: [usize; 8] = [0, 1, 2, 4, 8, 16, 32, 64];
/// What every draw and fit starts from: the same labels give the same heads, here and on the command line.
pub const SEED: u64 = 0;

/// What a person does with labels and learning.
#[derive(Clone, Debug, PartialEq)]
pub enum Lesson {
    /// Shows or folds the panels.
    Open(bool),
    /// Says what pictures are (`None`: nothing any more, also where their folder said something).
    Label(Vec<ImageId>, Option<Kind>),
    /// The same by key or click: what is so labelled already is unlabelled.
    Toggle(ImageId, Kind),
    /// An example becomes a picture to be judged only, and back.
    ToggleRole(ImageId),
    /// Every second labelled picture of each kind is judged only (`true`), or all are examples.
    Deal(bool),
    Unlabel,
    /// Trains all methods that can be trained.
    Learn,
    Cancel,
    /// The few-shot curve of these methods.
    Curve(Vec<String>),
    /// The one-outlier search of this method.
    Search(String),
    /// A threshold with at most that false-alarm rate.
    Advise(f64),
    SaveHead(String),
    /// A head file of that name was picked; the session keeps its bytes.
    LoadHead(String),
    /// It cannot even be read.
    HeadUnreadable(String),
}

/// Everything about labels and learning that the page shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lab {
    pub open: bool,
    /// What every method can do; empty before the engine said so.
    pub states: Rc<[MethodState]>,
    /// Best AUROC first; empty while nothing is labelled.
    pub reports: Rc<[Report]>,
    /// What became of the last training of each method.
    pub fitted: Rc<BTreeMap<String, Fitted>>,
    pub running: Option<Running>,
    pub curve: Rc<[CurvePoint]>,
    pub search: Option<Rc<Search>>,
    pub advice: Option<Advised>,
    /// One line: what went wrong last.
    pub trouble: Option<String>,
    /// One line about a head that was loaded.
    pub loaded: Option<String>,
    /// What has learned follows the labels by itself: since a person asked for learning, until one cancels it.
    follow: bool,
    /// Methods whose head came from a file.
    from_file: Vec<String>,
    /// To be trained again when a fresh worker has pictures and labels back.
    again: Vec<String>,
    /// The same for the head that came from a file.
    head_again: bool,
    /// The head file that was picked last.
    head_name: String,
    /// Pictures, labels or methods changed since the last comparison.
    dirty: bool,
    /// A person waits for it.
    urgent: bool,
    comparing: Option<(JobId, f64)>,
    compared_at: f64,
    took: f64,
    /// The page's clock at the present step.
    pub(super) now: f64,
}

/// Learning that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    pub job: JobId,
    pub what: Work,
    /// The method at work.
    pub method: String,
    pub done: usize,
    pub total: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Fit,
    Curve,
    Search,
}

/// The one-outlier search.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    pub method: String,
    /// AUROC that the outlier taught alone, best first.
    pub ranking: Vec<(ImageId, f64)>,
    pub finished: bool,
}

/// The answer to a wish for a threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Advised {
    pub method: String,
    pub rate: f64,
    pub advice: Result<Advice, String>,
}

/// Pictures at the threshold in use, by label; those that the method learned from and could not leave out apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    pub normal_passed: usize,
    pub false_alarms: usize,
    pub missed: usize,
    pub hits: usize,
    pub left_out: usize,
}

/// A method in the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub info: MethodInfo,
    pub readiness: Option<Readiness>,
    pub report: Option<Report>,
    pub fitted: Option<Fitted>,
    pub in_force: bool,
}

impl Lab {
    fn readiness(&self, method: &str) -> Option<&Readiness> {
        self.states.iter().find(|s| s.method == method).map(|s| &s.readiness)
    }

    /// Is what is shown of the methods up to date?
    pub fn is_settled(&self) -> bool {
        !self.dirty && self.comparing.is_none()
    }

    /// The report of a method.
    pub fn report(&self, method: &str) -> Option<&Report> {
        self.reports.iter().find(|r| r.method == method)
    }
}

/// Of the methods that a curve can show, those that it shows if nobody chooses: words alone, the first that learns from outliers, and
/// the last.
pub fn standard_curve(methods: &[MethodInfo]) -> Vec<String> {
    let mut learners = methods.iter().filter(|m| m.needs.outlier_examples > 0);
    let chosen = [methods.first(), learners.next(), learners.next_back()];
    chosen.into_iter().flatten().map(|m| m.id.clone()).collect()
}

impl State {
    /// Labelled pictures that are there.
    pub fn label_counts(&self) -> LabelCounts {
        let mut counts = LabelCounts::default();
        for p in self.pictures.iter().filter(|p| !p.removed) {
            match p.label {
                Some(Label { kind: Kind::Normal, role: Role::Example }) => counts.normal_examples += 1,
                Some(Label { kind: Kind::Outlier, role: Role::Example }) => counts.outlier_examples += 1,
                Some(Label { kind: Kind::Normal, role: Role::Judged }) => counts.normal_judged += 1,
                Some(Label { kind: Kind::Outlier, role: Role::Judged }) => counts.outlier_judged += 1,
                None => {}
            }
        }
        counts
    }

    /// Has a person labelled pictures by hand, which a closed page would forget?
    pub fn is_worth_a_question(&self) -> bool {
        self.pictures.iter().any(|p| !p.removed && matches!(p.by_hand, Some(Some(_))))
    }

    /// The method that scores now: the wanted one where it can, else the first that words are enough for.
    pub fn method_in_use(&self) -> String {
        let wanted = &self.setup.method;
        let Some(model) = self.ready() else { return wanted.clone() };
        if model.methods_by_words().any(|m| m.id == *wanted) {
            return wanted.clone();
        }
        match self.lab.readiness(wanted) {
            Some(Readiness::Ready | Readiness::Stale) => wanted.clone(),
            _ => model.methods_by_words().next().map_or_else(|| wanted.clone(), |m| m.id.clone()),
        }
    }

    /// The method that scores now, as people know it.
    pub fn method_info(&self) -> Option<&MethodInfo> {
        let id = self.method_in_use();
        self.ready()?.methods.iter().find(|m| m.id == id)
    }

    /// The threshold that holds where a person chose none, and where it comes from.
    pub fn default_threshold(&self) -> (f32, String) {
        let Some(model) = self.ready() else { return (0.5, String::new()) };
        let Some(method) = self.method_info().filter(|m| m.id != DEFAULT_METHOD) else {
            return (model.entry.threshold, format!("The model's own. {}", model.entry.threshold_source));
        };
        if let Some(threshold) = method.threshold {
            return (threshold, format!("{}: where both kinds are equally likely by its own lights.", method.name));
        }
        let report = self.lab.report(&method.id);
        let best = report.and_then(|r| r.measures.as_ref().ok()).and_then(|m| {
            let gain = |p: &RocPoint| p.hit_rate - p.false_alarm_rate;
            m.roc.iter().filter(|p| p.threshold.is_some()).max_by(|a, b| gain(a).total_cmp(&gain(b)))
        });
        if let Some(threshold) = best.and_then(|p| p.threshold) {
            // from there up is odd: the threshold is just below
            return (
                threshold.next_down().max(0.0),
                format!("{} has none of its own: this one tells your labelled pictures apart best.", method.name),
            );
        }
        let normal = self.pictures.iter().filter(|p| p.label.is_some_and(|l| l.kind == Kind::Normal));
        let highest = normal.filter_map(|p| p.outcome().map(|o| o.score.value)).reduce(f32::max);
        if let Some(t) = highest {
            return (t, format!("{} has none of its own: this one passes all your normal pictures.", method.name));
        }
        let scores = || self.pictures.iter().filter(|p| !p.removed).filter_map(|p| p.outcome()).map(|o| o.score.value);
        let why = format!("{} has none of its own: label some pictures, or choose one.", method.name);
        match (scores().reduce(f32::min), scores().reduce(f32::max)) {
            (Some(least), Some(most)) if least < most => {
                ((least + most) / 2.0, format!("{why} This one is half way between the scores so far."))
            }
            _ => (0.5, why),
        }
    }

    /// Can the method be chosen?
    pub fn can_use(&self, method: &MethodInfo) -> bool {
        method.needs.words_only() || matches!(self.lab.readiness(&method.id), Some(Readiness::Ready | Readiness::Stale))
    }

    /// The table of methods: as the engine ranked them, then those that cannot be measured, in the model's order.
    pub fn method_rows(&self) -> Vec<Row> {
        let Some(model) = self.ready() else { return vec![] };
        let in_use = self.method_in_use();
        let rank = |id: &str| {
            let reports = &self.lab.reports;
            reports.iter().position(|r| r.method == id && r.measures.is_ok()).unwrap_or(usize::MAX)
        };
        let mut rows: Vec<Row> = model
            .methods
            .iter()
            .map(|m| Row {
                info: m.clone(),
                readiness: self.lab.readiness(&m.id).cloned(),
                report: self.lab.report(&m.id).cloned(),
                fitted: self.lab.fitted.get(&m.id).cloned(),
                in_force: m.id == in_use,
            })
            .collect();
        rows.sort_by_key(|r| rank(&r.info.id));
        rows
    }

    /// Labelled pictures on both sides of the threshold in use.
    pub fn confusion(&self) -> Confusion {
        let threshold = self.threshold_in_use();
        let mut c = Confusion::default();
        for p in self.pictures.iter().filter(|p| !p.removed) {
            let (Some(label), Some(outcome)) = (p.label, p.outcome()) else { continue };
            if p.basis == Some(Basis::Learned) {
                c.left_out += 1;
                continue;
            }
            match (label.kind, outcome.score.is_anomalous(threshold)) {
                (Kind::Normal, false) => c.normal_passed += 1,
                (Kind::Normal, true) => c.false_alarms += 1,
                (Kind::Outlier, false) => c.missed += 1,
                (Kind::Outlier, true) => c.hits += 1,
            }
        }
        c
    }

    /// Works every label out anew: a folder's class is normal or not by the setup.
    pub(super) fn relabel(&mut self) {
        let normal: Vec<String> = self.setup.normal.iter().map(|n| readable(n).to_lowercase()).collect();
        let is_normal = |class: &str| normal.iter().any(|n| *n == readable(class).to_lowercase());
        // folders are classes only where at least one of them is: others have names for reasons of their own
        let classes = self.pictures.iter().any(|p| !p.removed && matches!(&p.folder, Folder::Class(c) if is_normal(c)));
        for p in &mut self.pictures {
            let kind = match (p.by_hand, &p.folder) {
                (Some(by_hand), _) => by_hand,
                (None, Folder::Says(kind)) => Some(*kind),
                (None, Folder::Class(c)) if classes => Some(if is_normal(c) { Kind::Normal } else { Kind::Outlier }),
                _ => None,
            };
            let label = kind.filter(|_| !p.removed).map(|kind| Label { kind, role: p.role });
            if label != p.label {
                let p = Rc::make_mut(p);
                p.label = label;
                p.basis = None;
                self.lab.dirty = true;
                self.lab.urgent = true;
            }
        }
    }

    pub(super) fn take_lesson(&mut self, lesson: Lesson, effects: &mut Vec<Effect>) {
        match lesson {
            Lesson::Open(open) => self.lab.open = open,
            Lesson::Label(images, kind) => self.label(&images, kind, effects),
            Lesson::Toggle(image, kind) => {
                let now = self.picture(image).and_then(|p| p.label).map(|l| l.kind);
                self.label(&[image], (now != Some(kind)).then_some(kind), effects);
            }
            Lesson::ToggleRole(image) => {
                let Some(p) = self.picture(image).filter(|p| p.label.is_some()) else { return };
                let role = if p.role == Role::Example { Role::Judged } else { Role::Example };
                let name = p.name.clone();
                self.remember_labels(&[image], format!("{name}: role changed"), effects);
                if let Some(p) = self.picture_mut(image) {
                    p.role = role;
                }
                let what = if role == Role::Example { "an example to learn from" } else { "judged only" };
                self.say(format!("{name} is {what}."));
                self.relabel();
            }
            Lesson::Deal(half) => self.deal(half, effects),
            Lesson::Unlabel => {
                let images = self.ids_where(|p| p.label.is_some());
                self.label(&images, None, effects);
            }
            Lesson::Learn => {
                self.lab.follow = true;
                let methods = self.trainable();
                self.ask_fit(methods, effects);
            }
            Lesson::Cancel => {
                self.lab.follow = false;
                if let Some(running) = &self.lab.running {
                    effects.push(Effect::Ask(Request::Cancel { job: running.job }));
                }
            }
            Lesson::Curve(methods) => {
                if self.can_work() {
                    self.flush(effects);
                    let (job, draws, sizes) = (self.job(), DRAWS, SIZES.to_vec());
                    let first = methods.first().cloned().unwrap_or_default();
                    self.lab.curve = Rc::new([]);
                    self.begin(job, Work::Curve, first);
                    effects.push(Effect::Ask(Request::Curve { job, methods, sizes, draws, seed: SEED }));
                }
            }
            Lesson::Search(method) => {
                if self.can_work() {
                    self.flush(effects);
                    let job = self.job();
                    self.lab.search = None;
                    self.begin(job, Work::Search, method.clone());
                    effects.push(Effect::Ask(Request::Search { job, method, seed: SEED }));
                }
            }
            Lesson::Advise(rate) => {
                let method = self.method_in_use();
                if self.can_speak() {
                    self.flush(effects);
                    let job = self.job();
                    self.lab.advice = None;
                    self.expect_answer(job, Asked::Advice(rate.to_bits()));
                    effects.push(Effect::Ask(Request::Advise { job, method, false_alarm_rate: rate }));
                }
            }
            Lesson::SaveHead(method) => {
                if self.can_speak() {
                    let job = self.job();
                    self.expect_answer(job, Asked::SavedHead);
                    effects.push(Effect::Ask(Request::SaveHead { job, method }));
                }
            }
            Lesson::LoadHead(name) => {
                self.lab.head_name = name;
                if !self.can_speak() {
                    self.lab.trouble = Some("A head can be loaded as soon as the model is ready.".into());
                } else {
                    self.ask_head(Asked::Head, effects);
                }
            }
            Lesson::HeadUnreadable(message) => {
                self.say(message.as_str());
                self.lab.trouble = Some(message);
            }
        }
    }

    fn ask_head(&mut self, what: Asked, effects: &mut Vec<Effect>) {
        let job = self.job();
        self.expect_answer(job, what);
        effects.push(Effect::LoadHead { job, again: what == Asked::HeadAgain });
    }

    /// The engine can be asked about methods.
    fn can_speak(&self) -> bool {
        self.ready().is_some() && self.worker == Worker::Alive && self.in_force.is_some()
    }

    fn can_work(&mut self) -> bool {
        let can = self.can_speak() && self.lab.running.is_none();
        if can {
            self.lab.trouble = None;
        }
        can
    }

    fn begin(&mut self, job: JobId, what: Work, method: String) {
        self.lab.running = Some(Running { job, what, method, done: 0, total: 0 });
    }

    /// Methods that can be trained on the labels as they are.
    fn trainable(&self) -> Vec<String> {
        let counts = self.label_counts();
        let names = self.setup.normal.len();
        let can = |m: &&MethodInfo| {
            let needs = m.needs;
            needs.training
                && names >= needs.normal_names
                && needs.met_by(counts.normal_examples, counts.outlier_examples)
        };
        let Some(model) = self.ready() else { return vec![] };
        model.methods.iter().filter(can).map(|m| m.id.clone()).collect()
    }

    /// What must be labelled before anything can be trained, in words; `None`: it can.
    pub fn lesson_missing(&self) -> Option<&'static str> {
        let counts = self.label_counts();
        match (counts.normal_examples, counts.outlier_examples) {
            _ if !self.trainable().is_empty() => None,
            (0, 0) => Some("Label some pictures first: normal examples (N) and, where you have them, outliers (O)."),
            (0, _) => Some("Label at least one normal example (N), too: methods learn what outliers differ from."),
            _ => Some("One normal example and one outlier, or two normal examples, are the least to learn from."),
        }
    }

    fn ask_fit(&mut self, methods: Vec<String>, effects: &mut Vec<Effect>) {
        if methods.is_empty() || !self.can_work() {
            return;
        }
        self.flush(effects);
        let job = self.job();
        self.begin(job, Work::Fit, methods[0].clone());
        effects.push(Effect::Ask(Request::Fit { job, methods, seed: SEED }));
    }

    fn label(&mut self, images: &[ImageId], kind: Option<Kind>, effects: &mut Vec<Effect>) {
        let known: Vec<ImageId> =
            images.iter().copied().filter(|i| self.picture(*i).is_some_and(|p| !p.removed)).collect();
        let Some(first) = known.first().and_then(|i| self.picture(*i)).map(|p| p.name.clone()) else { return };
        let word = match kind {
            Some(Kind::Normal) => "normal",
            Some(Kind::Outlier) => "an outlier",
            None => "not labelled any more",
        };
        let said = match known.len() {
            1 => format!("{first} is {word}."),
            n => format!("{n} pictures are {}.", if kind == Some(Kind::Outlier) { "outliers" } else { word }),
        };
        self.remember_labels(&known, format!("Labels changed: {said}"), effects);
        for image in known {
            if let Some(p) = self.picture_mut(image) {
                p.by_hand = Some(kind);
            }
        }
        self.relabel();
        let counts = self.label_counts();
        self.say(format!(
            "{said} {} normal, {} outliers.",
            counts.normal_examples + counts.normal_judged,
            counts.outlier_examples + counts.outlier_judged
        ));
        self.lab.open = true;
    }

    fn deal(&mut self, half: bool, effects: &mut Vec<Effect>) {
        let labelled = self.ids_where(|p| p.label.is_some());
        if labelled.is_empty() {
            return;
        }
        self.remember_labels(&labelled, "Roles changed".into(), effects);
        let (mut seen_normal, mut seen_outliers) = (0_usize, 0_usize);
        for image in labelled {
            let Some(p) = self.picture_mut(image) else { continue };
            let seen = match p.label.map(|l| l.kind) {
                Some(Kind::Outlier) => &mut seen_outliers,
                _ => &mut seen_normal,
            };
            p.role = if half && *seen % 2 == 1 { Role::Judged } else { Role::Example };
            *seen += 1;
        }
        self.say(if half {
            "Every second labelled picture is judged only."
        } else {
            "All labelled pictures are examples."
        });
        self.relabel();
    }

    fn remember_labels(&mut self, images: &[ImageId], what: String, effects: &mut Vec<Effect>) {
        let before = images.iter().filter_map(|i| self.picture(*i)).map(|p| (p.id, p.by_hand, p.role)).collect();
        self.remember(Undo::Labels(before, what), effects);
    }

    pub(super) fn take_back_labels(&mut self, before: Vec<(ImageId, Option<Option<Kind>>, Role)>) {
        for (image, by_hand, role) in before {
            if let Some(p) = self.picture_mut(image) {
                (p.by_hand, p.role) = (by_hand, role);
            }
        }
        self.relabel();
    }

    /// Something that the comparison of methods depends on has changed.
    pub(super) fn learning_changed(&mut self, urgent: bool) {
        self.lab.dirty = true;
        self.lab.urgent |= urgent;
    }

    /// A fresh worker knows no labels and no heads.
    pub(super) fn forget_told(&mut self) {
        for p in &mut self.pictures {
            if p.told.is_some() || p.basis.is_some() {
                let p = Rc::make_mut(p);
                (p.told, p.basis) = (None, None);
            }
        }
        let lab = &mut self.lab;
        lab.states = Rc::new([]);
        lab.comparing = None;
        lab.dirty = true;
    }

    /// What was learned is void: another model, whose embeddings are others.
    pub(super) fn forget_learned(&mut self) {
        let lab = &mut self.lab;
        (lab.fitted, lab.from_file, lab.again, lab.head_again) = (Rc::default(), vec![], vec![], false);
        (lab.reports, lab.curve, lab.search, lab.advice) = (Rc::new([]), Rc::new([]), None, None);
        (lab.running, lab.loaded) = (None, None);
    }

    /// The worker died: what it learned is learned again, when its pictures are back.
    pub(super) fn bury_learning(&mut self) {
        let lab = &mut self.lab;
        if lab.running.take().is_some() {
            lab.trouble = Some("Learning was broken off, because the worker stopped.".into());
        }
        let learned = lab.fitted.iter().filter(|(_, f)| f.problem.is_none()).map(|(id, _)| id.clone());
        lab.again = learned.filter(|id| !lab.from_file.contains(id)).collect();
        lab.head_again = !lab.from_file.is_empty();
        self.forget_told();
    }

    /// Whether a comparison is on its way (the watchdog's question).
    pub(super) fn awaits_learning(&self) -> bool {
        self.lab.comparing.is_some() || self.lab.running.is_some()
    }

    /// Tells the engine of labels, and has methods compared, when that is due.
    pub(super) fn pump_learning(&mut self, effects: &mut Vec<Effect>) {
        if !self.lab.dirty || self.lab.comparing.is_some() || !self.can_speak() {
            return;
        }
        let idle = self.outstanding.is_empty();
        let due = self.lab.now - self.lab.compared_at >= REFRESH_MILLIS.max(REFRESH_SHARE * self.lab.took);
        if !(self.lab.urgent || idle || due) {
            return;
        }
        let labelled = self.pictures.iter().any(|p| p.label.is_some());
        let told = self.pictures.iter().any(|p| p.told.is_some());
        if !labelled && !told && self.lab.reports.is_empty() && !self.lab.head_again {
            self.lab.dirty = false;
            return;
        }
        self.flush(effects);
    }

    /// Tells the engine of labels, and has methods compared.
    fn flush(&mut self, effects: &mut Vec<Effect>) {
        if !self.lab.dirty || !self.can_speak() {
            return;
        }
        let mut labels = Vec::new();
        for p in &mut self.pictures {
            if p.label != p.told {
                let p = Rc::make_mut(p);
                p.told = p.label;
                labels.push((p.id, p.label));
            }
        }
        let job = self.job();
        effects.push(Effect::Ask(Request::Label { job, labels }));
        let job = self.job();
        let detail = vec![self.method_in_use()];
        effects.push(Effect::Ask(Request::Evaluate { job, methods: vec![], detail }));
        let lab = &mut self.lab;
        lab.comparing = Some((job, lab.now));
        (lab.dirty, lab.urgent) = (false, false);
    }

    /// Learns again what a dead worker had learned, as soon as its pictures are back, and what is out of date.
    fn learn_again(&mut self, effects: &mut Vec<Effect>) {
        let back = self.outstanding.is_empty() && self.to_restore.is_empty();
        if !back || self.lab.running.is_some() || self.lab.dirty {
            return;
        }
        if std::mem::take(&mut self.lab.head_again) {
            self.ask_head(Asked::HeadAgain, effects);
        }
        let mut again = std::mem::take(&mut self.lab.again);
        if self.lab.follow {
            // other labels or classes than those it learned from
            let stale = self.lab.states.iter().filter(|s| s.readiness == Readiness::Stale).map(|s| s.method.clone());
            let trainable = self.trainable();
            // neither what failed, which would fail for ever, nor what came from a file
            let failed = |m: &String| self.lab.fitted.get(m).is_some_and(|f| f.problem.is_some());
            again.extend(stale.filter(|m| trainable.contains(m) && !failed(m) && !self.lab.from_file.contains(m)));
            again.dedup();
        }
        self.ask_fit(again, effects);
    }

    /// The engine's words on labels and learning.
    pub(super) fn hear_learning(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Labelled { methods, .. } => {
                let before = self.method_in_use();
                self.lab.states = methods.into();
                self.method_may_change(&before, effects);
            }
            Event::Evaluated { job, reports } => self.hear_reports(job, reports, effects),
            Event::Learning { job, method, done, total } => {
                if let Some(running) = self.lab.running.as_mut().filter(|r| r.job == job) {
                    (running.method, running.done, running.total) = (method, done, total);
                }
            }
            Event::Fitted { fitted, .. } => {
                let before = self.method_in_use();
                let id = fitted.method.clone();
                if fitted.problem.is_none() {
                    self.lab.from_file.retain(|m| *m != id);
                    let ready = |s: &MethodState| {
                        let readiness = if s.method == id { Readiness::Ready } else { s.readiness.clone() };
                        MethodState { method: s.method.clone(), readiness }
                    };
                    self.lab.states = self.lab.states.iter().map(ready).collect();
                }
                Rc::make_mut(&mut self.lab.fitted).insert(id, fitted);
                self.learning_changed(false);
                self.method_may_change(&before, effects);
            }
            Event::LearningEnded { job, outcome } => {
                let Some(running) = self.lab.running.take_if(|r| r.job == job) else { return };
                let what = match running.what {
                    Work::Fit => "Learning",
                    Work::Curve => "The curve",
                    Work::Search => "The search",
                };
                match outcome {
                    Outcome::Finished => self.say(format!("{what} is finished.")),
                    Outcome::Cancelled => self.say(format!("{what} was cancelled.")),
                    Outcome::Failed(message) => {
                        self.say(message.as_str());
                        self.lab.trouble = Some(message);
                    }
                }
                if let (Work::Search, Some(search)) = (running.what, &mut self.lab.search) {
                    Rc::make_mut(search).finished = true;
                }
                self.learning_changed(true);
            }
            Event::Curve { job, points, done, total } => {
                if let Some(running) = self.lab.running.as_mut().filter(|r| r.job == job) {
                    (running.done, running.total) = (done, total);
                    self.lab.curve = points.into();
                }
            }
            Event::Search { job, method, ranking, done, total } => {
                if let Some(running) = self.lab.running.as_mut().filter(|r| r.job == job) {
                    (running.done, running.total) = (done, total);
                    self.lab.search = Some(Rc::new(Search { method, ranking, finished: false }));
                }
            }
            Event::Advised { job, method, advice } => {
                let Some(Asked::Advice(rate)) = self.settle(job) else { return };
                if method != self.method_in_use() {
                    return;
                }
                if let Ok(advice) = &advice {
                    self.choose_threshold(advice.threshold);
                    self.say(format!("The threshold is {:.3} now.", advice.threshold));
                }
                self.lab.advice = Some(Advised { method, rate: f64::from_bits(rate), advice });
            }
            Event::HeadSaved { job, .. } => {
                self.settle(job);
            }
            Event::HeadLoaded { job, method, setup, same_texts, normal_examples, outlier_examples } => {
                if self.settle(job) == Some(Asked::HeadAgain) {
                    let before = self.method_in_use();
                    self.has_learned(method, if same_texts { Readiness::Ready } else { Readiness::Stale });
                    return self.method_may_change(&before, effects);
                }
                let name = self.ready().and_then(|m| m.methods.iter().find(|m| m.id == method)).map(|m| m.name.clone());
                let name = name.unwrap_or_else(|| method.clone());
                let learned =
                    format!("{name}, learned from {normal_examples} normal examples and {outlier_examples} outliers");
                self.say(format!("Loaded: {learned}."));
                self.lab.loaded = Some(if same_texts {
                    format!("In use: {learned}.")
                } else {
                    format!("In use: {learned}; what is normal was taken from the file, too.")
                });
                self.lab.trouble = None;
                effects.push(Effect::KeepHead);
                self.has_learned(method.clone(), Readiness::Ready);
                self.lab.advice = None;
                let before = self.setup.clone();
                if !same_texts {
                    self.setup = setup;
                }
                self.setup.method = method;
                self.lab.open = true;
                self.remember(Undo::Setup(before, "A head was loaded".into()), effects);
                self.relabel();
                self.learning_changed(true);
                self.ask_setup(effects);
            }
            Event::HeadFailed { job, message } => {
                let message = match self.settle(job) {
                    Some(Asked::SavedHead) => message,
                    Some(Asked::HeadAgain) => format!("The head from a file was lost with the worker: {message}"),
                    _ => format!("{}: {message}", self.lab.head_name),
                };
                self.say(message.as_str());
                self.lab.trouble = Some(message);
            }
            _ => {}
        }
    }

    fn hear_reports(&mut self, job: JobId, reports: Vec<Report>, effects: &mut Vec<Effect>) {
        let Some((_, since)) = self.lab.comparing.take_if(|(asked, _)| *asked == job) else { return };
        self.lab.took = (self.lab.now - since).max(0.0);
        self.lab.compared_at = self.lab.now;
        let mut judged = reports.iter().find(|r| !r.pictures.is_empty()).map_or(&[][..], |r| &r.pictures);
        for p in &mut self.pictures {
            // both run by number
            while judged.first().is_some_and(|j| j.image < p.id) {
                judged = &judged[1..];
            }
            let basis = judged.first().filter(|j| j.image == p.id).map(|j| j.basis);
            if basis != p.basis {
                Rc::make_mut(p).basis = basis;
            }
        }
        self.lab.reports = reports.into();
        if !self.pictures.iter().any(|p| p.label.is_some()) {
            self.lab.reports = Rc::new([]);
        }
        self.learn_again(effects);
    }

    /// A method's head came from a file.
    fn has_learned(&mut self, method: String, readiness: Readiness) {
        let lab = &mut self.lab;
        Rc::make_mut(&mut lab.fitted).remove(&method);
        let mut states: Vec<MethodState> = lab.states.to_vec();
        states.retain(|s| s.method != method);
        states.push(MethodState { method: method.clone(), readiness });
        lab.states = states.into();
        if !lab.from_file.contains(&method) {
            lab.from_file.push(method);
        }
    }

    /// The wanted method can score now, or cannot any more.
    fn method_may_change(&mut self, before: &str, effects: &mut Vec<Effect>) {
        let now = self.method_in_use();
        if now != before {
            self.lab.advice = None;
            let name = |id: &str| {
                self.ready()
                    .and_then(|m| m.methods.iter().find(|m| m.id == id))
                    .map_or(id.to_owned(), |m| m.name.clone())
            };
            if now == self.setup.method {
                self.say(format!("{} is in use.", name(&now)));
            } else {
                self.say(format!(
                    "{} cannot score without examples; {} is used.",
                    name(&self.setup.method),
                    name(&now)
                ));
            }
            self.ask_setup(effects);
        }
    }
}

/// What a picture's path says of it: `normal/`, `anomalous/` and their like, or the class that its folder is named after.
pub(super) fn folder_of(path: &str) -> (Folder, Role) {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    let is = |part: &str, words: &[&str]| words.iter().any(|w| part.eq_ignore_ascii_case(w));
    let role = if parts.iter().any(|p| is(p, &["test", "val", "judged"])) { Role::Judged } else { Role::Example };
    let folder = parts.iter().rev().find_map(|part| Kind::of_folder(part)).map(Folder::Says);
    let folder = folder.or_else(|| parts.last().filter(|p| !p.is_empty()).map(|class| Folder::Class((*class).into())));
    (folder.unwrap_or_default(), role)
}

impl Picture {
    /// The label in a word, with what it is for.
    pub fn label_words(&self) -> Option<&'static str> {
        Some(match self.label? {
            Label { kind: Kind::Normal, role: Role::Example } => "normal example",
            Label { kind: Kind::Normal, role: Role::Judged } => "normal, judged only",
            Label { kind: Kind::Outlier, role: Role::Example } => "outlier example",
            Label { kind: Kind::Outlier, role: Role::Judged } => "outlier, judged only",
        })
    }
}
