//! The whole session with a fake model: a picture's embedding is its mean colour, a text's the colour it names.

use super::*;
use crate::clip::{ClipError, TextEmbeddings, vocabulary::Vocabulary};
use crate::embedding::Embeddings;
use crate::protocol::{Decoder, EntryKind, NoteKind, Pixels, Setup};

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
    engine.use_encoder(Box::new(Colours(Vocabulary::closed(&["red", "green"]))));
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

#[test]
fn a_file_that_is_no_model_is_refused_and_the_old_model_stays() {
    let mut engine = engine_with_red();
    let entry = ModelEntry {
        id: "x".into(),
        name: "x".into(),
        file: "x.gguf".into(),
        bytes: 3,
        sha256: String::new(),
        threshold: 0.5,
        threshold_source: String::new(),
        can: String::new(),
        cannot: String::new(),
    };
    let mut events = Vec::new();
    engine.load(JobId(9), entry, b"<html>not found</html>".to_vec(), 0.0, &mut |e| events.push(e));
    assert!(
        matches!(&events[0].message, Event::LoadFailed { message, .. } if message.contains("web page")),
        "{events:?}"
    );
    assert!(value(&score_square(&mut engine, 4, [255, 0, 0]).message) < 0.01);
}
