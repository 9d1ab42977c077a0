//! The whole session with a fake model: a picture's embedding is its mean colour, a text's the colour it names.

use super::*;
use crate::clip::{ClipError, TextEmbeddings, vocabulary::Vocabulary};
use crate::embedding::Embeddings;
use crate::protocol::{Basis, Decoder, EntryKind, Kind, Label, NoteKind, Pixels, Readiness, Role, Setup, Verdict};
use crate::train::cross_validation::CrossValidation;
use crate::train::{Detector, Examples, Stepwise};

struct Colours(Vocabulary);

impl Encoder for Colours {
    fn image_size(&self) -> usize {
        4
    }

    fn embed_dim(&self) -> usize {
        3
    }

    fn embed_pixels(&self, pixels: &[f32]) -> Result<Embeddings, ClipError> {
        let mean = |c: usize| pixels[16 * c..16 * (c + 1)].iter().sum::<f32>() / 16.0 + 2.0;
        Ok(Embeddings::normalise(3, vec![mean(0), mean(1), mean(2)])?)
    }

    fn embed_texts(&self, texts: &[String]) -> Result<TextEmbeddings, ClipError> {
        let colour = |t: &String| match t {
            t if t.contains("red") => [1.0, 0.0, 0.0],
            t if t.contains("green") => [0.0, 1.0, 0.0],
            _ => [0.5, 0.5, 0.5],
        };
        let embeddings = Embeddings::normalise(3, texts.iter().flat_map(colour).collect())?;
        Ok(TextEmbeddings { embeddings, truncated: texts.iter().map(|t| t.len() > 40).collect() })
    }

    fn vocabulary(&self) -> &Vocabulary {
        &self.0
    }
}

fn engine() -> Engine {
    let mut engine = Engine::new(|| 0.0);
    engine.use_encoder(std::rc::Rc::new(Colours(Vocabulary::closed(&["red", "green"]))));
    engine
}

fn ask(engine: &mut Engine, request: Request, attachment: Vec<u8>) -> Vec<Parcel<Event>> {
    let mut events = Vec::new();
    engine.handle(Parcel::new(request, vec![attachment]), &mut |e| events.push(e));
    events
}

fn setup(normal: &[&str]) -> Setup {
    Setup { normal: normal.iter().map(|n| n.to_string()).collect(), ..Setup::default() }
}

fn square(rgb: [u8; 3]) -> (Pixels, Vec<u8>) {
    let rgba = [rgb[0], rgb[1], rgb[2], 255].repeat(64);
    (Pixels::Rgba { width: 8, height: 8, by: Decoder::Camera }, rgba)
}

fn score_square(engine: &mut Engine, id: u32, rgb: [u8; 3]) -> Parcel<Event> {
    let (pixels, rgba) = square(rgb);
    ask(engine, Request::Score { job: JobId(id), image: ImageId(id), pixels }, rgba).remove(0)
}

fn value(event: &Event) -> f32 {
    match event {
        Event::Scored { score, .. } | Event::FrameScored { score, .. } => score.value,
        other => panic!("expected a score, got {other:?}"),
    }
}

#[test]
fn nothing_to_score_with_is_said() {
    let mut engine = Engine::new(|| 0.0);
    let answer = score_square(&mut engine, 1, [255, 0, 0]).message;
    assert!(
        matches!(&answer, Event::Failed { stage: Stage::Score, message, .. } if message.contains("no model")),
        "{answer:?}"
    );
    let events = ask(&mut engine, Request::Setup { job: JobId(1), setup: setup(&["red"]) }, vec![]);
    assert!(matches!(events[0].message, Event::SetupFailed { .. }));
    let mut engine = self::engine();
    let answer = score_square(&mut engine, 1, [255, 0, 0]).message;
    assert!(matches!(&answer, Event::Failed { message, .. } if message.contains("normal")), "{answer:?}");
}

#[test]
fn a_picture_seen_elsewhere_scores_the_same_and_is_kept() {
    let mut engine = engine();
    assert_eq!(engine.eyes().map(|_| ()).expect_err("no setup").stage, Stage::Score);
    ask(&mut engine, Request::Setup { job: JobId(1), setup: setup(&["red"]) }, vec![]);
    let here = score_square(&mut engine, 2, [200, 90, 10]);
    let (pixels, rgba) = square([200, 90, 10]);
    let seen = pipeline::look(&Colours(Vocabulary::closed(&["red"])), &pixels, &rgba, || 0.0);
    let mut events = Vec::new();
    engine.judge(JobId(2), ImageId(2), seen, &mut |e| events.push(e));
    assert_eq!(events, [here]);
    engine.judge(JobId(3), ImageId(3), Err(Failure::new(Stage::Decode, "why")), &mut |e| events.push(e));
    assert!(
        matches!(&events[1].message, Event::Failed { job: JobId(3), image: Some(ImageId(3)), stage: Stage::Decode, message } if message == "why")
    );
    let events = ask(&mut engine, Request::Setup { job: JobId(4), setup: setup(&["green"]) }, vec![]);
    assert!(matches!(&events[1].message, Event::Rescored { scores, .. } if scores.len() == 1));
}

#[test]
fn a_session() {
    let mut engine = engine();
    let events = ask(&mut engine, Request::Setup { job: JobId(1), setup: setup(&["red"]) }, vec![]);
    let Event::SetupDone { entries, notes, .. } = &events[0].message else { panic!("{events:?}") };
    assert_eq!(entries.iter().map(|e| e.kind).collect::<Vec<_>>(), [EntryKind::Normal, EntryKind::Anomaly]);
    assert!(notes.is_empty() && events.len() == 1);

    let red = score_square(&mut engine, 2, [255, 0, 0]);
    let green = score_square(&mut engine, 3, [0, 255, 0]);
    assert!(value(&red.message) < 0.01 && value(&green.message) > 0.99);
    assert_eq!(red.attachments.len(), 2);
    assert!(red.attachments[0].starts_with(&[0xff, 0xd8]), "a JPEG to show");

    // another setup: both pictures are scored again without being seen again
    let events = ask(&mut engine, Request::Setup { job: JobId(4), setup: setup(&["green"]) }, vec![]);
    let Event::Rescored { job, scores } = &events[1].message else { panic!("{events:?}") };
    assert_eq!((*job, scores.len()), (JobId(4), 2));
    assert!(scores[0].1.value > 0.99 && scores[1].1.value < 0.01);

    // what was forgotten is not scored again; what is given back is
    ask(&mut engine, Request::Forget { images: vec![ImageId(2)] }, vec![]);
    let events = ask(&mut engine, Request::Setup { job: JobId(5), setup: setup(&["red"]) }, vec![]);
    assert!(matches!(&events[1].message, Event::Rescored { scores, .. } if scores.len() == 1));
    let back = ask(&mut engine, Request::Restore { job: JobId(6), image: ImageId(2) }, red.attachments[1].clone());
    let Event::Rescored { scores, .. } = &back[0].message else { panic!("{back:?}") };
    assert_eq!(scores[0].1.value, value(&red.message));
    let mut poisoned = red.attachments[1].clone();
    poisoned[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let bad = ask(&mut engine, Request::Restore { job: JobId(7), image: ImageId(9) }, poisoned);
    assert!(
        matches!(&bad[0].message, Event::Failed { message, .. } if message.contains("expected a finite vector")),
        "{bad:?}"
    );
    let bad = ask(&mut engine, Request::Restore { job: JobId(7), image: ImageId(2) }, vec![1, 2, 3]);
    assert!(matches!(bad[0].message, Event::Failed { .. }));
}

/// The page reads an event in one go, so none may be large: neither by its pictures nor by their texts.
#[test]
fn many_scores_come_in_portions() {
    let mut engine = engine();
    ask(&mut engine, Request::Setup { job: JobId(1), setup: setup(&["red"]) }, vec![]);
    for id in 2..=206 {
        score_square(&mut engine, id, [id as u8, 0, 0]);
    }
    let names: Vec<String> = (0..199).map(|i| format!("red {i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (normal, most) in [(&["green"][..], 100), (&names[..], 25)] {
        let events = ask(&mut engine, Request::Setup { job: JobId(300), setup: setup(normal) }, vec![]);
        let sizes: Vec<usize> = events[1..]
            .iter()
            .map(|e| match &e.message {
                Event::Rescored { scores, .. } => scores.len(),
                other => panic!("expected scores, got {other:?}"),
            })
            .collect();
        assert!(sizes.iter().all(|n| *n <= most) && sizes.iter().sum::<usize>() == 205, "{sizes:?}");
    }
}

/// A fresh worker gets embeddings back before a setup that may be refused: none must be seen again for that.
#[test]
fn what_is_given_back_before_a_setup_waits_for_it() {
    let red = score_square(&mut engine_with_red(), 2, [255, 0, 0]);
    let mut engine = engine();
    let back = ask(&mut engine, Request::Restore { job: JobId(1), image: ImageId(2) }, red.attachments[1].clone());
    assert!(matches!(&back[0].message, Event::Rescored { scores, .. } if scores.is_empty()), "{back:?}");
    let events = ask(&mut engine, Request::Setup { job: JobId(2), setup: setup(&["red"]) }, vec![]);
    let Event::Rescored { scores, .. } = &events[1].message else { panic!("{events:?}") };
    assert_eq!((scores[0].0, scores[0].1.value), (ImageId(2), value(&red.message)));
}

#[test]
fn a_frame_scores_like_a_picture_and_is_not_kept() {
    let mut engine = engine();
    ask(&mut engine, Request::Setup { job: JobId(1), setup: setup(&["red"]) }, vec![]);
    let (pixels, rgba) = square([200, 30, 30]);
    let frame = ask(&mut engine, Request::Frame { job: JobId(2), pixels }, rgba).remove(0);
    assert!(matches!(frame.message, Event::FrameScored { .. }));
    let events = ask(&mut engine, Request::Setup { job: JobId(3), setup: setup(&["green"]) }, vec![]);
    assert_eq!(events.len(), 1);
    assert_eq!(value(&frame.message), value(&score_square(&mut engine_with_red(), 4, [200, 30, 30]).message));
}

fn engine_with_red() -> Engine {
    let mut engine = engine();
    ask(&mut engine, Request::Setup { job: JobId(1), setup: setup(&["red"]) }, vec![]);
    engine
}

#[test]
fn bad_pictures_are_named_and_the_session_goes_on() {
    let mut engine = engine_with_red();
    let request = || Request::Score { job: JobId(2), image: ImageId(2), pixels: Pixels::Encoded };
    for (bytes, stage) in [(&b"hello"[..], Stage::Format), (b"", Stage::Format), (b"\x89PNG\r\n\x1a\n", Stage::Decode)]
    {
        let answer = ask(&mut engine, request(), bytes.to_vec()).remove(0).message;
        let Event::Failed { stage: got, message, image, .. } = &answer else { panic!("{answer:?}") };
        assert_eq!(*image, Some(ImageId(2)));
        assert!(!message.contains('\n'), "{message}");
        assert!(*got == stage || bytes.is_empty(), "{answer:?}");
    }
    let short = Request::Score { job: JobId(3), image: ImageId(3), pixels: square([0; 3]).0 };
    assert!(matches!(ask(&mut engine, short, vec![0; 7])[0].message, Event::Failed { .. }));
    assert!(value(&score_square(&mut engine, 4, [255, 0, 0]).message) < 0.01);
}

/// A model proves itself when it is asked to: what chance would say is doubtful, a broken tower is a failure, and both are refused.
#[test]
fn a_model_proves_itself() {
    use crate::weights::gguf::{OutTensor, write};

    let mini: &[u8] = include_bytes!("../../weights/mini.gguf");
    let samples: Vec<Vec<u8>> = ["orange-on-wood", "golf-ball", "school-bus", "sunglasses", "obelisk", "teapot"]
        .iter()
        .map(|name| {
            let path = format!("{}/www/samples/{name}.jpg", env!("CARGO_MANIFEST_DIR"));
            std::fs::read(path).expect("a sample")
        })
        .collect();
    let file = Checkpoint::read(mini).expect("the embedded model");
    // the same with one tensor changed
    let changed = |name: &str, change: fn(&mut OutTensor)| {
        let tensors: Vec<OutTensor> = file
            .tensors()
            .iter()
            .map(|(tensor, info)| {
                let bytes = file.source().read(info.range.clone()).expect("bytes").into_owned();
                let mut out = OutTensor { name: tensor.clone(), shape: info.shape.clone(), dtype: info.dtype, bytes };
                if tensor == name {
                    change(&mut out);
                }
                out
            })
            .collect();
        write(&file.metadata, &tensors)
    };
    let load = |bytes: Vec<u8>, samples: Option<&[Vec<u8>]>| {
        let mut engine = Engine::new(|| 0.0);
        let mut events = Vec::new();
        // as from a browser's store: not in memory
        let source = crate::weights::source::Seekable::new(std::io::Cursor::new(bytes)).expect("a length");
        let file = ModelFile { samples, ..ModelFile::alone(source) };
        engine.load(JobId(1), entry(), file, 0.0, &mut |e| events.push(e.message));
        events.remove(0)
    };
    let whole = |samples| load(mini.to_vec(), samples);
    assert!(matches!(whole(Some(&samples)), Event::Ready { .. }));
    assert!(matches!(whole(Some(&[])), Event::Ready { .. }));
    assert!(matches!(whole(None), Event::Ready { .. }));

    // an image tower that sees nothing
    let blind = changed("visual_projection.weight", |tensor| {
        // whole rows: each number of an embedding in another's place
        let half = tensor.bytes.len() / 2;
        tensor.bytes.rotate_left(half);
    });
    let told = load(blind.clone(), Some(&samples));
    assert!(
        matches!(&told, Event::LoadFailed { why: NotLoaded::Doubtful, message, .. } if message.starts_with("x: self-test")),
        "{told:?}"
    );
    assert!(matches!(load(blind, None), Event::Ready { .. }), "believed in where it was not asked to");
    // a text tower that cannot be read is found before anybody types a text
    let torn = changed("text_model.encoder.layers.1.mlp.fc1.bias", |tensor| {
        tensor.shape = vec![tensor.shape[0] - 1];
        tensor.bytes.truncate(4 * tensor.shape[0]);
    });
    for samples in [&samples[..], &[]] {
        let told = load(torn.clone(), Some(samples));
        assert!(
            matches!(&told, Event::LoadFailed { why: NotLoaded::Failed, message, .. } if message.contains("fc1.bias")),
            "{told:?}"
        );
    }
}

#[test]
fn doubtful_texts_are_noted() {
    let mut engine = engine();
    let mut s = setup(&["Reds", "oscilloscope", "greene"]);
    s.anomaly = vec!["an anomaly text that is far too long for this model".into()];
    let events = ask(&mut engine, Request::Setup { job: JobId(1), setup: s }, vec![]);
    let Event::SetupDone { notes, .. } = &events[0].message else { panic!("{events:?}") };
    let brief: Vec<(&str, NoteKind, usize)> =
        notes.iter().map(|n| (n.label.as_str(), n.kind, n.suggestions.len())).collect();
    assert_eq!(brief[0], ("oscilloscope", NoteKind::UnknownName, 0));
    assert_eq!(brief[1], ("greene", NoteKind::UnknownName, 1));
    assert_eq!(brief[2].1, NoteKind::Truncated);
    assert!(notes[0].message.contains("vocabulary of 2 names"), "{}", notes[0].message);
}

#[test]
fn several_templates_are_averaged() {
    let mut engine = engine();
    let mut s = setup(&["red"]);
    s.templates = vec!["{}".into(), "green, not {}".replace("not {}", "or {}")];
    ask(&mut engine, Request::Setup { job: JobId(1), setup: s }, vec![]);
    let between = value(&score_square(&mut engine, 1, [255, 255, 0]).message);
    assert!(between.is_finite());
}

fn entry() -> ModelEntry {
    ModelEntry {
        id: "x".into(),
        name: "x".into(),
        file: "x.gguf".into(),
        address: None,
        parts: vec![],
        front: None,
        bytes: 3,
        sha256: String::new(),
        threshold: 0.5,
        threshold_source: String::new(),
        can: String::new(),
        cannot: String::new(),
        memory_bytes: 0,
        kept: false,
        partial: 0,
    }
}

#[test]
fn a_file_that_is_no_model_is_refused_and_the_old_model_stays() {
    let mut engine = engine_with_red();
    let mut events = Vec::new();
    engine.load(JobId(9), entry(), ModelFile::alone(b"<html>not found</html>".to_vec()), 0.0, &mut |e| events.push(e));
    assert!(
        matches!(&events[0].message, Event::LoadFailed { message, .. } if message.starts_with("x: ") && message.contains("web page")),
        "{events:?}"
    );
    assert!(value(&score_square(&mut engine, 4, [255, 0, 0]).message) < 0.01);
}

/// Reds are normal (1 to 10), greens are outliers (11 to 20), each a little different.
fn engine_with_pictures() -> Engine {
    let mut engine = engine_with_red();
    for i in 0..10u8 {
        score_square(&mut engine, 1 + u32::from(i), [255, 7 * i, 5 * i]);
        score_square(&mut engine, 11 + u32::from(i), [5 * i, 255, 3 * i]);
    }
    engine
}

fn label(engine: &mut Engine, images: std::ops::RangeInclusive<u32>, kind: Kind, role: Role) -> Event {
    let labels = images.map(|i| (ImageId(i), Some(Label { kind, role }))).collect();
    ask(engine, Request::Label { job: JobId(50), labels }, vec![]).remove(0).message
}

/// All examples: 1 to 6 and 11 to 16; to be judged: 7 to 10 and 17 to 20.
fn engine_with_labels() -> Engine {
    let mut engine = engine_with_pictures();
    label(&mut engine, 1..=6, Kind::Normal, Role::Example);
    label(&mut engine, 7..=10, Kind::Normal, Role::Judged);
    label(&mut engine, 11..=16, Kind::Outlier, Role::Example);
    label(&mut engine, 17..=20, Kind::Outlier, Role::Judged);
    engine
}

fn learn(engine: &mut Engine, request: Request) -> Vec<Event> {
    let mut events = ask(engine, request, vec![]);
    while engine.has_work() {
        engine.work(&mut |e| events.push(e));
    }
    events.into_iter().map(|e| e.message).collect()
}

fn fit(engine: &mut Engine, methods: &[&str]) -> Vec<Event> {
    let methods = methods.iter().map(|m| m.to_string()).collect();
    learn(engine, Request::Fit { job: JobId(60), methods, seed: 1 })
}

fn readiness(engine: &mut Engine, id: &str) -> Readiness {
    let events = ask(engine, Request::Label { job: JobId(51), labels: vec![] }, vec![]);
    let Event::Labelled { methods, .. } = &events[0].message else { panic!("{events:?}") };
    methods.iter().find(|m| m.method == id).expect("listed").readiness.clone()
}

fn evaluate(engine: &mut Engine, methods: &[&str]) -> Vec<crate::protocol::Report> {
    let methods = methods.iter().map(|m| m.to_string()).collect();
    let detail = vec!["bce".into()];
    let event = ask(engine, Request::Evaluate { job: JobId(70), methods, detail }, vec![]).remove(0).message;
    let Event::Evaluated { reports, .. } = event else { panic!("{event:?}") };
    reports
}

#[test]
fn labels_make_methods_ready() {
    let mut engine = engine_with_pictures();
    assert!(matches!(readiness(&mut engine, "nearest-normal"), Readiness::Lacking(m) if m.contains("got 0")));
    assert_eq!(readiness(&mut engine, "zero-shot"), Readiness::Ready);
    assert!(matches!(readiness(&mut engine, "mcm"), Readiness::Lacking(m) if m.contains("got 1")));
    let event = label(&mut engine, 1..=6, Kind::Normal, Role::Example);
    let Event::Labelled { counts, .. } = event else { panic!("{event:?}") };
    assert_eq!((counts.normal_examples, counts.outlier_examples), (6, 0));
    assert_eq!(readiness(&mut engine, "nearest-normal"), Readiness::Ready);
    assert_eq!(readiness(&mut engine, "dsvdd"), Readiness::Untrained);
    assert!(matches!(readiness(&mut engine, "bce"), Readiness::Lacking(_)));
    // a label for a picture that is not there yet waits for it
    let event = label(&mut engine, 99..=99, Kind::Outlier, Role::Example);
    assert!(matches!(event, Event::Labelled { counts, .. } if counts.outlier_examples == 0));
    score_square(&mut engine, 99, [0, 255, 0]);
    assert_eq!(readiness(&mut engine, "bce"), Readiness::Untrained);
    ask(&mut engine, Request::Forget { images: vec![ImageId(99)] }, vec![]);
    assert!(matches!(readiness(&mut engine, "bce"), Readiness::Lacking(_)));
}

/// The short way, with cosines that are remembered, gives what folds and detectors give.
#[test]
fn comparing_with_examples_is_cross_validated() {
    for method in METHODS.iter().filter(|m| m.compares_with_examples()) {
        let mut engine = engine_with_labels();
        let asked = Setup { method: method.id.into(), ..setup(&["red"]) };
        let events = ask(&mut engine, Request::Setup { job: JobId(3), setup: asked }, vec![]);
        let Event::Rescored { scores, .. } = &events[1].message else { panic!("{events:?}") };
        let detail = vec![method.id.into()];
        let asked = Request::Evaluate { job: JobId(4), methods: detail.clone(), detail };
        let Event::Evaluated { reports, .. } = ask(&mut engine, asked, vec![]).remove(0).message else { panic!() };
        // a row for each normal example, 1 to 6, and each picture
        let rows = |images: std::ops::RangeInclusive<u32>| {
            let values = images.flat_map(|i| engine.kept[&ImageId(i)].clone()).collect();
            Embeddings::normalise(3, values).expect("unit vectors")
        };
        let examples = Examples { normal: rows(1..=6), outliers: rows(11..=16) };
        let texts = engine.in_force.as_ref().expect("set up").prepared.texts().clone();
        let mut validation = CrossValidation::new(method, texts.clone(), examples.clone(), 0).expect("enough");
        validation.run().expect("no training");
        let left_out = &validation.result().expect("finished").normal;
        let detector = Detector::untrained(method, texts, &examples).expect("no training");
        assert_eq!((scores.len(), reports[0].pictures.len()), (20, 20));
        for ((image, score), judged) in scores.iter().zip(&reports[0].pictures) {
            let (expected, basis) = match image.0 {
                i @ 1..=6 => (left_out[i as usize - 1].clone().expect("left out once"), Basis::CrossValidated),
                _ => (detector.score(&engine.kept[image]), Basis::Unseen),
            };
            assert!((score.value - expected.value).abs() < 1e-6, "{}: {image:?} {score:?} {expected:?}", method.id);
            assert_eq!((judged.image, judged.value, judged.basis), (*image, score.value, basis));
        }
    }
}

#[test]
fn fitting_evaluating_and_using_a_trained_method() {
    let mut engine = engine_with_labels();
    let events = fit(&mut engine, &["bce", "clip-oe", "zero-shot"]);
    let fitted: Vec<_> =
        events.iter().filter_map(|e| if let Event::Fitted { fitted, .. } = e { Some(fitted) } else { None }).collect();
    assert_eq!(fitted.iter().map(|f| f.method.as_str()).collect::<Vec<_>>(), ["bce", "clip-oe", "zero-shot"]);
    assert!(fitted.iter().all(|f| f.problem.is_none() && f.verdict == Verdict::NotWorse), "{fitted:?}");
    assert_eq!((fitted[0].normal_examples, fitted[0].auroc), (6, Some(1.0)));
    assert_eq!(events.last(), Some(&Event::LearningEnded { job: JobId(60), outcome: Outcome::Finished }));
    assert_eq!(readiness(&mut engine, "bce"), Readiness::Ready);

    let reports = evaluate(&mut engine, &[]);
    let ids: Vec<_> = reports.iter().map(|r| r.method.as_str()).collect();
    for id in ["zero-shot", "nearest-normal", "text-and-examples", "bce", "clip-oe"] {
        assert!(ids.contains(&id), "{ids:?}");
    }
    let bce = reports.iter().find(|r| r.method == "bce").expect("fitted");
    let measures = bce.measures.as_ref().expect("both kinds");
    assert_eq!((measures.normal, measures.outliers, measures.cross_validated, measures.auroc), (10, 10, 12, 1.0));
    assert!(measures.auroc_low < 1.0 && measures.roc.len() > 2 && measures.roc[0].threshold.is_none());
    // the others' measures come without what is not asked for
    let other = reports.iter().find(|r| r.method == "zero-shot").expect("ready");
    let brief = other.measures.as_ref().expect("both kinds");
    assert!(other.pictures.is_empty() && brief.roc.is_empty() && brief.precision_recall.is_empty());
    assert_eq!((brief.normal, brief.outliers, brief.cross_validated), (10, 10, 0));
    let basis = |i: u32| bce.pictures.iter().find(|p| p.image == ImageId(i)).expect("kept").basis;
    assert_eq!((basis(1), basis(12), basis(7)), (Basis::CrossValidated, Basis::CrossValidated, Basis::Unseen));

    // in force: the grid shows what cross-validation says of examples
    let bce_setup = Setup { method: "bce".into(), ..setup(&["red"]) };
    let events = ask(&mut engine, Request::Setup { job: JobId(80), setup: bce_setup }, vec![]);
    let Event::Rescored { scores, job } = &events[1].message else { panic!("{events:?}") };
    assert_eq!((scores.len(), *job), (20, JobId(80)));
    for (image, score) in scores {
        let judged = bce.pictures.iter().find(|p| p.image == *image).expect("kept");
        assert_eq!(score.value, judged.value, "{image:?}");
    }
    // other labels: it goes on by what it knew, and says that it is stale; trained again, pictures are scored again
    label(&mut engine, 7..=7, Kind::Normal, Role::Example);
    assert_eq!(readiness(&mut engine, "bce"), Readiness::Stale);
    let events = fit(&mut engine, &["bce"]);
    assert!(events.iter().any(|e| matches!(e, Event::Rescored { job: JobId(80), .. })));
    assert_eq!(readiness(&mut engine, "bce"), Readiness::Ready);
}

/// Other outliers make a method stale that learned from outliers, and only such a one.
#[test]
fn what_is_not_looked_at_makes_nothing_stale() {
    let mut engine = engine_with_labels();
    fit(&mut engine, &["dsvdd", "bce"]);
    assert_eq!(readiness(&mut engine, "dsvdd"), Readiness::Ready);
    label(&mut engine, 17..=17, Kind::Outlier, Role::Example);
    assert_eq!(readiness(&mut engine, "dsvdd"), Readiness::Ready);
    assert_eq!(readiness(&mut engine, "bce"), Readiness::Stale);
}

#[test]
fn what_cannot_be_learned_is_said() {
    let mut engine = engine_with_pictures();
    let events = fit(&mut engine, &["bce"]);
    assert!(
        matches!(&events[0], Event::Fitted { fitted, .. } if fitted.problem.as_deref().is_some_and(|p| p.contains("got 0")))
    );
    let events = fit(&mut engine, &["magic"]);
    assert!(matches!(&events[..], [Event::LearningEnded { outcome: Outcome::Failed(_), .. }]), "{events:?}");
    let setup = Setup { method: "bce".into(), ..setup(&["red"]) };
    let events = ask(&mut engine, Request::Setup { job: JobId(2), setup }, vec![]);
    assert!(
        matches!(&events[0].message, Event::SetupFailed { message, .. } if message.contains("expected at least 1"))
    );
    // one kind alone: no curve, and the reason
    label(&mut engine, 1..=10, Kind::Normal, Role::Judged);
    let reports = evaluate(&mut engine, &["zero-shot", "bce"]);
    assert!(matches!(&reports[0].measures, Err(why) if why.contains("10 normal and 0 anomalous")), "{reports:?}");
    assert!(matches!(&reports[1].measures, Err(why) if why.contains("normal examples")), "{reports:?}");
}

#[test]
fn the_curve_and_the_search_come_in_parts() {
    let mut engine = engine_with_labels();
    let methods = vec!["zero-shot".to_string(), "clip-oe".to_string()];
    let request = Request::Curve { job: JobId(61), methods, sizes: vec![0, 1, 2], draws: 2, seed: 1 };
    let events = learn(&mut engine, request);
    let Some(Event::Curve { points, done, total, .. }) = events.iter().rev().nth(1) else { panic!("{events:?}") };
    assert_eq!((points.len(), done), (6, total));
    assert!(points.iter().all(|p| p.draws == 2 && p.mean > 0.9));
    let events = learn(&mut engine, Request::Search { job: JobId(62), method: "bce".into(), seed: 1 });
    let Some(Event::Search { ranking, .. }) = events.iter().rev().nth(1) else { panic!("{events:?}") };
    assert!(ranking.len() == 6 && ranking.iter().all(|(image, _)| (11..=16).contains(&image.0)), "{ranking:?}");
    assert!(ranking.is_sorted_by(|a, b| a.1 >= b.1));

    // cancelled before it begins
    let request = Request::Search { job: JobId(63), method: "bce".into(), seed: 1 };
    assert!(ask(&mut engine, request, vec![]).is_empty() && engine.has_work());
    let events = ask(&mut engine, Request::Cancel { job: JobId(63) }, vec![]);
    assert_eq!(events[0].message, Event::LearningEnded { job: JobId(63), outcome: Outcome::Cancelled });
    assert!(!engine.has_work());
}

#[test]
fn a_threshold_is_promised_from_normal_pictures() {
    let mut engine = engine_with_labels();
    let advise = |engine: &mut Engine, method: &str, false_alarm_rate: f64| {
        let request = Request::Advise { job: JobId(64), method: method.into(), false_alarm_rate };
        let event = ask(engine, request, vec![]).remove(0).message;
        let Event::Advised { advice, .. } = event else { panic!("{event:?}") };
        advice
    };
    let advice = advise(&mut engine, "zero-shot", 0.1).expect("ten are enough for 1 in 10");
    assert_eq!((advice.normal, advice.false_alarm_rate), (10, 1.0 / 11.0));
    let few = advise(&mut engine, "nearest-normal", 0.01).expect_err("ten are too few");
    assert!(few.contains("at least 99") && few.contains("got 10"), "{few}");
    assert!(advise(&mut engine, "bce", 0.1).is_err());
}

#[test]
fn heads_are_saved_and_loaded_and_others_refused() {
    let mut engine = engine_with_labels();
    fit(&mut engine, &["clip-oe"]);
    let save = |engine: &mut Engine, method: &str| {
        ask(engine, Request::SaveHead { job: JobId(65), method: method.into() }, vec![]).remove(0)
    };
    assert!(matches!(save(&mut engine, "bce").message, Event::HeadFailed { .. }));
    let saved = save(&mut engine, "clip-oe");
    assert!(matches!(&saved.message, Event::HeadSaved { file_name, .. } if file_name == "oddlens-clip-oe.json"));
    let file = saved.attachments[0].clone();
    let load =
        |engine: &mut Engine, file: Vec<u8>| ask(engine, Request::LoadHead { job: JobId(66) }, file).remove(0).message;
    let mut fresh = engine_with_red();
    let event = load(&mut fresh, file.clone());
    assert!(matches!(&event, Event::HeadLoaded { same_texts: true, normal_examples: 6, .. }), "{event:?}");
    assert_eq!(readiness(&mut fresh, "clip-oe"), Readiness::Ready);
    ask(&mut fresh, Request::Setup { job: JobId(67), setup: setup(&["green"]) }, vec![]);
    let event = load(&mut fresh, file.clone());
    assert!(matches!(&event, Event::HeadLoaded { same_texts: false, .. }), "{event:?}");
    assert_eq!(readiness(&mut fresh, "clip-oe"), Readiness::Stale);
    let other = String::from_utf8(file).expect("JSON").replace(r#""model_sha256":"""#, r#""model_sha256":"ff""#);
    let event = load(&mut fresh, other.into_bytes());
    assert!(matches!(&event, Event::HeadFailed { message, .. } if message.contains("model")), "{event:?}");
    assert!(matches!(load(&mut fresh, b"<html>".to_vec()), Event::HeadFailed { .. }));
}
