//! Losses, gradients and scores of the trained methods against PyTorch (tests/reference/heads.py), gradients by finite
//! differences, and what training must and must not do.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use oddlens::embedding::Embeddings;
use oddlens::metrics::auroc;
use oddlens::protocol::{EntryKind, Setup};
use oddlens::score::{Evidence, Loss, METHODS, Method, method};
use oddlens::train::cross_validation::Verdict;
use oddlens::train::head_file::{self, HeadFileError, SavedHead};
use oddlens::train::loss::{Outputs, mean_loss};
use oddlens::train::random::Random;
use oddlens::train::{CrossValidation, Curve, Detector, Examples, Fit, OutlierSearch, Stepwise, Texts, TrainError};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    method: String,
    kinds: Vec<EntryKind>,
    normal: usize,
    outputs: Vec<Vec<f64>>,
    loss: f64,
    gradient: Vec<Vec<f64>>,
    scores: Vec<f64>,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/heads.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("heads.json")).expect("its form")
}

impl Case {
    fn loss_kind(&self) -> Loss {
        method(&self.method).expect("listed").loss.expect("trained")
    }

    /// The mean loss and its gradient with respect to the outputs, in f64.
    fn loss_at(&self, outputs: &[Vec<f64>]) -> (f64, Vec<f64>) {
        let (n, k) = (outputs.len(), outputs[0].len());
        let all = Tensor::from_vec(outputs.concat(), (n, k), &Device::Cpu).expect("a tensor");
        let all = Var::from_tensor(&all).expect("a variable");
        let normal = all.narrow(0, 0, self.normal).expect("rows");
        let outliers = all.narrow(0, self.normal, n - self.normal).expect("rows");
        let outputs = Outputs { normal: &normal, outliers: Some(&outliers) };
        let loss = mean_loss(self.loss_kind(), &outputs, &self.kinds).expect("a loss");
        let gradients = loss.backward().expect("gradients");
        let gradient = gradients.get(&all).expect("of the outputs").flatten_all().and_then(|g| g.to_vec1());
        (loss.to_scalar().expect("a number"), gradient.expect("numbers"))
    }
}

fn near(got: f64, want: f64, what: &str) {
    assert!((got - want).abs() < 1e-5 * want.abs().max(1.0), "{what}: {got}, expected {want}");
}

#[test]
fn losses_gradients_and_scores_are_pytorchs() {
    let cases = cases();
    for trained in METHODS.iter().filter(|m| m.loss.is_some()) {
        assert!(cases.iter().any(|c| c.method == trained.id), "{} has a case", trained.id);
    }
    for case in &cases {
        let (loss, gradient) = case.loss_at(&case.outputs);
        near(loss, case.loss, &case.method);
        for (got, want) in gradient.iter().zip(case.gradient.concat()) {
            near(*got, want, &format!("{} gradient", case.method));
        }
        let m = method(&case.method).expect("listed");
        let kinds = if case.kinds.is_empty() { &[EntryKind::Normal][..] } else { &case.kinds };
        for (f, want) in case.outputs.iter().zip(&case.scores) {
            let head: Vec<f32> = f.iter().map(|&x| x as f32).collect();
            let cosines = vec![0.2; kinds.len()];
            let score = m.score(&Evidence { cosines: &cosines, kinds, head: &head, ..Evidence::default() });
            // DSVDD's distance is shown as 1 - e^-s; the logit gives it back
            let got = match m.loss {
                Some(Loss::Dsvdd) => f64::from(score.margin).exp().ln_1p(),
                _ => f64::from(score.value),
            };
            near(got, *want, &format!("{} score", case.method));
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for case in cases() {
        let (_, gradient) = case.loss_at(&case.outputs);
        let k = case.outputs[0].len();
        for (at, g) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let mut outputs = case.outputs.clone();
                outputs[at / k][at % k] += by;
                case.loss_at(&outputs).0
            };
            let h = 1e-6;
            let difference = (moved(h) - moved(-h)) / (2.0 * h);
            assert!((g - difference).abs() < 1e-4 * g.abs().max(1.0), "{}: {g}, {difference}", case.method);
        }
    }
}

const WIDTH: usize = 24;

/// A small world: texts for two normal classes and the anomaly; pictures scattered about a class's direction, outliers about
/// another.
struct World {
    texts: Arc<Texts>,
    random: Random,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, 99);
        let texts = Embeddings::normalise(WIDTH, (0..3 * WIDTH).map(|_| random.normal()).collect()).expect("texts");
        let kinds = vec![EntryKind::Normal, EntryKind::Normal, EntryKind::Anomaly];
        Self { texts: Arc::new(Texts::new(texts, kinds)), random }
    }

    /// `n` pictures about direction `class`: 0 and 1 are normal, 2 the anomaly's own, others further kinds.
    fn pictures(&mut self, class: usize, n: usize) -> Embeddings {
        let mut centre = Random::new(class as u64, 98);
        let centre: Vec<f32> = (0..WIDTH).map(|_| centre.normal()).collect();
        let text = self.texts.embeddings().row(class.min(2)).to_vec();
        let values =
            (0..n * WIDTH).map(|i| 3.0 + centre[i % WIDTH] + 2.0 * text[i % WIDTH] + 0.6 * self.random.normal());
        Embeddings::normalise(WIDTH, values.collect()).expect("pictures")
    }

    fn examples(&mut self, normal: usize, outliers: usize) -> Examples {
        let mut both = self.pictures(0, normal.div_ceil(2));
        both.extend(&self.pictures(1, normal / 2));
        Examples { normal: both, outliers: self.pictures(5, outliers) }
    }
}

fn fitted(m: &'static Method, texts: &Arc<Texts>, examples: &Examples, seed: u64) -> Detector {
    let mut fit = Fit::new(m, texts.clone(), examples, seed).expect("enough examples");
    fit.run().expect("it learns");
    fit.detector().expect("finite")
}

fn auroc_on(detector: &Detector, judged: &Examples) -> f64 {
    let mut margins = detector.margins(&judged.normal);
    let odd: Vec<bool> = (0..margins.len() + judged.outliers.len()).map(|i| i >= margins.len()).collect();
    margins.extend(detector.margins(&judged.outliers));
    auroc(&margins, &odd).expect("both kinds")
}

fn trained() -> impl Iterator<Item = &'static Method> {
    METHODS.iter().filter(|m| m.loss.is_some())
}

/// Every method learns what can be learned, and the same seed gives the same head.
#[test]
fn every_method_learns() {
    let mut world = World::new(1);
    let (examples, judged) = (world.examples(40, 20), world.examples(30, 30));
    for m in METHODS {
        let detector = fitted(m, &world.texts, &examples, 7);
        let found = auroc_on(&detector, &judged);
        println!("{}: {found:.4}", m.id);
        assert!(found > if m.needs.outlier_examples > 0 { 0.97 } else { 0.3 }, "{}: {found}", m.id);
        let again = fitted(m, &world.texts, &examples, 7);
        assert_eq!(detector.head(), again.head(), "{} is the same again", m.id);
        assert_eq!(detector.margins(&judged.normal), again.margins(&judged.normal), "{}", m.id);
    }
}

/// Before the first step CLIP-OE is zero-shot; the maps of HSC, DSAD and DSVDD have no bias.
#[test]
fn heads_start_where_they_should() {
    let mut world = World::new(2);
    let examples = world.examples(10, 3);
    let zero_shot = fitted(&METHODS[0], &world.texts, &examples, 0);
    let fit = Fit::new(method("clip-oe").expect("listed"), world.texts.clone(), &examples, 3).expect("a fit");
    let start = fit.detector().expect("finite");
    for row in examples.normal.rows().chain(examples.outliers.rows()) {
        assert!((start.score(row).margin - zero_shot.score(row).margin).abs() < 1e-4);
    }
}

/// Outliers that are the normal examples themselves, one example alone, copies: a line or a head, never NaN or a panic.
#[test]
fn hard_examples_do_no_harm() {
    let mut world = World::new(3);
    let normal = world.pictures(0, 6);
    let single = normal.select(&[0]);
    let copies = normal.select(&[0, 0, 0]);
    let same = Examples { normal: normal.clone(), outliers: normal.clone() };
    let one = Examples { normal: single.clone(), outliers: world.pictures(5, 1) };
    let identical = Examples { normal: copies.clone(), outliers: copies };
    for m in trained() {
        for (what, examples) in [("same", &same), ("one", &one), ("identical", &identical)] {
            let mut fit = match Fit::new(m, world.texts.clone(), examples, 1) {
                Ok(fit) => fit,
                Err(TrainError::TooFew { .. }) => continue,
                Err(e) => panic!("{} {what}: {e}", m.id),
            };
            fit.run().expect("it ends");
            let detector = fit.detector().expect("finite");
            for row in normal.rows() {
                let score = detector.score(row);
                assert!(score.value.is_finite() && score.margin.is_finite(), "{} {what}: {score:?}", m.id);
            }
        }
    }
    let none = Examples::none(WIDTH);
    for m in METHODS.iter().filter(|m| !m.needs_texts_only()) {
        let refused = Fit::new(m, world.texts.clone(), &none, 1).err().expect("nothing to learn from").to_string();
        assert!(refused.starts_with(m.name) && refused.contains("got 0"), "{refused}");
    }
    let other = Examples { normal: Embeddings::normalise(2, vec![1.0; 4]).expect("rows"), outliers: normal };
    assert!(matches!(Fit::new(&METHODS[2], world.texts.clone(), &other, 1).err(), Some(TrainError::Width { .. })));
}

/// Examples are judged by heads that did not see them: labels drawn at random teach nothing.
#[test]
fn cross_validation_does_not_judge_what_was_learned() {
    let mut world = World::new(4);
    let one_kind = world.pictures(0, 60);
    let (even, odd): (Vec<usize>, Vec<usize>) = (0..60).partition(|i| i % 2 == 0);
    let examples = Examples { normal: one_kind.select(&even), outliers: one_kind.select(&odd) };
    for id in ["bce", "hsc", "clip-oe", "nearest-normal"] {
        let m = method(id).expect("listed");
        let seen = auroc_on(&fitted(m, &world.texts, &examples, 1), &examples);
        let mut work = CrossValidation::new(m, world.texts.clone(), examples.clone(), 1).expect("enough");
        work.run().expect("it ends");
        let found = work.result().expect("finished");
        let unseen = found.auroc.expect("both kinds");
        println!("{id}: {seen:.3} on what was learned, {unseen:.3} in cross-validation");
        assert!(unseen < 0.75 && seen > unseen, "{id}: {seen} {unseen}");
        assert!(found.normal.iter().chain(&found.outliers).all(Option::is_some));
    }
}

#[test]
fn a_single_outlier_cannot_be_left_out_and_the_verdict_says_so() {
    let mut world = World::new(5);
    let examples = world.examples(12, 1);
    let mut work =
        CrossValidation::new(method("bce").expect("listed"), world.texts.clone(), examples, 1).expect("enough");
    work.run().expect("it ends");
    let found = work.result().expect("finished");
    assert!(found.normal.iter().all(Option::is_some));
    assert_eq!((found.outliers.as_slice(), found.verdict()), (&[None][..], Verdict::Unknown));
}

/// What is worse than zero-shot is called worse.
#[test]
fn a_head_below_zero_shot_is_told() {
    let mut world = World::new(6);
    // outliers as the text says: zero-shot is right; one-class training knows nothing of them
    let examples = Examples { normal: world.pictures(0, 10), outliers: world.pictures(0, 10) };
    let mut worse = 0;
    for m in trained() {
        let mut work = CrossValidation::new(m, world.texts.clone(), examples.clone(), 1).expect("enough");
        work.run().expect("it ends");
        let found = work.result().expect("finished");
        let (own, zero_shot) = (found.auroc.expect("both"), found.zero_shot.expect("both"));
        assert_eq!(found.verdict() == Verdict::Worse, own < zero_shot, "{}", m.id);
        worse += usize::from(own < zero_shot);
    }
    assert!(worse > 0, "among heads trained on noise some end below");
}

#[test]
fn the_curve_rises_from_zero_shot_with_outliers() {
    let mut world = World::new(7);
    let (pool, judged) = (world.examples(20, 10), world.examples(30, 30));
    let methods: Vec<_> =
        ["zero-shot", "clip-oe", "bce", "nearest-normal"].map(|id| method(id).expect("listed")).into();
    for judged in [judged, Examples::none(WIDTH)] {
        let sizes = [0, 1, 2, 4, 8, 99];
        let mut curve = Curve::new(&methods, world.texts.clone(), pool.clone(), judged, &sizes, 3, 1).expect("a curve");
        curve.run().expect("it ends");
        let at = |id: &str, size: usize| {
            let point = curve.points().iter().find(|p| p.method == id && p.outliers == size);
            point.map(|p| (p.mean_and_deviation().expect("drawn").0, p.aurocs.len()))
        };
        assert_eq!(at("clip-oe", 0), at("zero-shot", 0), "it starts as zero-shot");
        assert_eq!(at("nearest-normal", 4), at("nearest-normal", 0), "it looks at no outliers");
        assert_eq!((at("bce", 0), at("bce", 99)), (None, None));
        let (last, draws) = at("clip-oe", 4).expect("four outliers are there");
        assert!(draws == 3 && last >= at("clip-oe", 0).expect("a start").0, "{last}");
    }
    let one_kind = Examples { normal: pool.normal.clone(), outliers: Embeddings::empty(WIDTH) };
    let refused = Curve::new(&methods[..1], world.texts.clone(), one_kind, Examples::none(WIDTH), &[0], 1, 1);
    assert!(matches!(refused.err(), Some(TrainError::Metrics(_))));
}

#[test]
fn the_search_finds_the_outlier_that_teaches_most() {
    let mut world = World::new(8);
    let mut pool = world.examples(20, 5);
    // the sixth outlier is one of the normal pictures
    pool.outliers.extend(&pool.normal.select(&[0]));
    let judged = world.examples(30, 30);
    for judged in [judged, Examples::none(WIDTH)] {
        let mut search =
            OutlierSearch::new(method("bce").expect("listed"), world.texts.clone(), pool.clone(), judged, 1)
                .expect("two kinds");
        search.run().expect("it ends");
        let found = search.aurocs();
        let worst = (0..6).min_by(|&a, &b| found[a].total_cmp(&found[b]));
        assert_eq!((found.len(), worst), (6, Some(5)), "{found:?}");
    }
}

fn saved(m: &'static Method, detector: &Detector) -> SavedHead {
    SavedHead {
        method: m,
        model_sha256: "abc123".into(),
        model_name: "A model".into(),
        setup: Setup::default(),
        normal_examples: 10,
        outlier_examples: 4,
        head: detector.head().expect("trained").clone(),
    }
}

#[test]
fn heads_come_back_from_files_as_they_were() {
    let mut world = World::new(9);
    let examples = world.examples(10, 4);
    for m in trained() {
        let detector = fitted(m, &world.texts, &examples, 1);
        let bytes = head_file::write(&saved(m, &detector));
        let back = head_file::read(&bytes, "abc123", WIDTH).expect("its own file");
        assert_eq!(back, saved(m, &detector));
        let again = Detector::trained(m, world.texts.clone(), back.head).expect("its own head");
        assert_eq!(again.score(examples.normal.row(0)), detector.score(examples.normal.row(0)));
    }
}

#[test]
fn other_files_are_refused_in_one_line() {
    let mut world = World::new(10);
    let m = method("clip-oe").expect("listed");
    let examples = world.examples(4, 2);
    let detector = fitted(m, &world.texts, &examples, 1);
    let good = String::from_utf8(head_file::write(&saved(m, &detector))).expect("JSON");
    let refused = |bytes: &[u8], sha: &str, width: usize| {
        let error = head_file::read(bytes, sha, width).expect_err("no head to use");
        let line = error.to_string();
        assert!(!line.contains('\n') && line.len() < 300, "{line}");
        error
    };
    assert!(matches!(refused(good.as_bytes(), "another", WIDTH), HeadFileError::Model { .. }));
    assert!(matches!(refused(good.as_bytes(), "abc123", 512), HeadFileError::Shape { .. }));
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        refused(good.replacen(from, to, 1).as_bytes(), "abc123", WIDTH)
    };
    assert_eq!(changed("\"version\":1", "\"version\":2"), HeadFileError::Version(2));
    assert!(matches!(changed("oddlens-head", "tail"), HeadFileError::NotAHead(_)));
    assert!(matches!(changed("clip-oe", "zero-shot"), HeadFileError::Method(_)));
    assert!(matches!(changed("clip-oe", "dsvdd"), HeadFileError::Shape { .. }));
    assert!(matches!(changed("clip-oe", "bce"), HeadFileError::Shape { .. }));
    assert!(matches!(changed("\"map\":[", "\"map\":[1e30,"), HeadFileError::Shape { .. }));
    assert!(matches!(changed("\"scale\":", "\"scale\":1e30,\"was\":"), HeadFileError::Numbers(_)));
    assert!(matches!(
        refused(&vec![b' '; oddlens::protocol::MAX_HEAD_BYTES as usize + 1], "", 1),
        HeadFileError::TooLarge(_)
    ));
    for junk in [&b""[..], b"{", b"<html>", b"null", b"\xff\xfe", &good.as_bytes()[..good.len() / 2]] {
        assert!(matches!(refused(junk, "abc123", WIDTH), HeadFileError::NotAHead(_)));
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(refused(deep.as_bytes(), "abc123", WIDTH), HeadFileError::NotAHead(_)));
}
