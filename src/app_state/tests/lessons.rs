//! Labels and learning, with a hand-played engine.

use super::*;
use crate::app_state::learning::{Confusion, Lesson, Work};
use crate::protocol::{
    Advice, Basis, Fitted, Judged, Kind, Label, LabelCounts, Measures, MethodState, Outcome, Readiness, Report,
    RocPoint, Role, Verdict,
};

const N: Kind = Kind::Normal;
const O: Kind = Kind::Outlier;

/// Ready with a model that has a method that learns.
fn school() -> Bench {
    let mut b = Bench::default();
    b.act(Action::WorkerAlive);
    b.event(Event::Ready { job: b.last_job(), model: learner() });
    let job = b.state.setup_job;
    b.event(Event::SetupDone { job, entries: entries(), notes: vec![], timings: Timings::default() });
    b
}

fn labels_of(b: &Bench) -> Vec<Option<(Kind, Role)>> {
    b.state.pictures.iter().map(|p| p.label.map(|l| (l.kind, l.role))).collect()
}

fn lesson(b: &mut Bench, lesson: Lesson) -> Vec<Effect> {
    b.act(Action::Learning(lesson))
}

/// The labels that effects tell the engine.
fn told(effects: &[Effect]) -> Vec<(u32, Option<Label>)> {
    effects
        .iter()
        .filter_map(|e| if let Effect::Ask(Request::Label { labels, .. }) = e { Some(labels) } else { None })
        .flatten()
        .map(|(id, label)| (id.0, *label))
        .collect()
}

fn comparison(effects: &[Effect]) -> Option<JobId> {
    effects.iter().find_map(|e| if let Effect::Ask(Request::Evaluate { job, .. }) = e { Some(*job) } else { None })
}

fn report(method: &str, auroc: f64, pictures: &[(u32, Basis)]) -> Report {
    let judged = |&(id, basis): &(u32, Basis)| Judged { image: ImageId(id), value: 0.5, margin: 0.0, basis };
    let measures = Measures {
        normal: 1,
        outliers: 1,
        cross_validated: 0,
        auroc,
        auroc_low: 0.1,
        auroc_high: 1.0,
        average_precision: 0.5,
        false_alarm_rate_at_95: 0.5,
        roc: vec![RocPoint { threshold: Some(0.25), false_alarm_rate: 0.0, hit_rate: 1.0 }],
        precision_recall: vec![],
    };
    Report { method: method.into(), pictures: pictures.iter().map(judged).collect(), measures: Ok(measures) }
}

fn states(readiness: Readiness) -> Vec<MethodState> {
    vec![
        MethodState { method: "zero-shot".into(), readiness: Readiness::Ready },
        MethodState { method: "bce".into(), readiness },
    ]
}

fn labelled(b: &mut Bench, readiness: Readiness) -> Vec<Effect> {
    b.event(Event::Labelled { job: JobId(0), counts: LabelCounts::default(), methods: states(readiness) })
}

fn fitted(problem: Option<&str>) -> Fitted {
    Fitted {
        method: "bce".into(),
        problem: problem.map(str::to_owned),
        normal_examples: 1,
        outlier_examples: 1,
        loss: None,
        auroc: None,
        zero_shot_auroc: None,
        verdict: Verdict::Unknown,
    }
}

#[test]
fn folders_and_hands_label() {
    let mut b = school();
    b.add(&["x/normal/1.jpg", "x/Anomalous/2.jpg", "test/good/3.jpg", "holiday/4.jpg", "5.jpg"]);
    use Role::{Example, Judged};
    // a folder that is named after nothing normal says nothing
    assert_eq!(labels_of(&b), [Some((N, Example)), Some((O, Example)), Some((N, Judged)), None, None]);
    b.add(&["all/dog/6.jpg"]);
    // but where one folder is a class, the others are the rest
    assert_eq!(labels_of(&b)[3..], [Some((O, Example)), None, Some((N, Example))]);
    b.act(Action::SetNormal(vec!["holiday".into()]));
    assert_eq!(labels_of(&b)[3..], [Some((N, Example)), None, Some((O, Example))]);
    assert!(!b.state.is_worth_a_question());
    // a hand counts more than a folder; the same word again takes it back, and says nothing at all
    lesson(&mut b, Lesson::Toggle(ImageId(1), O));
    assert_eq!(labels_of(&b)[0], Some((O, Example)));
    assert!(b.state.is_worth_a_question());
    lesson(&mut b, Lesson::Toggle(ImageId(1), O));
    assert_eq!(labels_of(&b)[0], None);
    lesson(&mut b, Lesson::ToggleRole(ImageId(2)));
    assert_eq!(labels_of(&b)[1], Some((O, Judged)));
    // step by step back
    b.act(Action::Undo);
    assert_eq!(labels_of(&b)[1], Some((O, Example)));
    b.act(Action::Undo);
    b.act(Action::Undo);
    assert_eq!(labels_of(&b)[0], Some((N, Example)));
    let counts = b.state.label_counts();
    assert_eq!((counts.normal_examples, counts.normal_judged, counts.outlier_examples), (2, 1, 2));
    // what is removed is no example
    b.act(Action::Remove(vec![ImageId(1)]));
    assert_eq!(b.state.label_counts().normal_examples, 1);
    lesson(&mut b, Lesson::Unlabel);
    assert_eq!(labels_of(&b), [None; 6]);
}

#[test]
fn files_dropped_on_a_shelf_and_dealing() {
    let mut b = school();
    let files: Vec<_> = (0..5).map(|i| (format!("{i}.jpg"), 1)).collect();
    b.act(Action::AddPictures(files[..3].to_vec(), Some(N)));
    b.act(Action::AddPictures(files[3..].to_vec(), Some(O)));
    lesson(&mut b, Lesson::Deal(true));
    let roles: Vec<_> = labels_of(&b).into_iter().flatten().map(|(_, role)| role == Role::Judged).collect();
    assert_eq!(roles, [false, true, false, false, true]);
    lesson(&mut b, Lesson::Deal(false));
    assert_eq!((b.state.label_counts().normal_examples, b.state.label_counts().outlier_examples), (3, 2));
    b.act(Action::Undo);
    assert_eq!(b.state.label_counts().normal_judged, 1);
}

/// Labels go to the engine once, and a comparison with them; one at a time.
#[test]
fn a_change_is_told_at_once_and_only_once() {
    let mut b = school();
    b.add(&["1.jpg", "2.jpg"]);
    assert_eq!(b.run_queue(|_| 0.5).len(), 2);
    assert!(b.effects.iter().all(|e| !matches!(e, Effect::Ask(Request::Label { .. } | Request::Evaluate { .. }))));
    let label = |kind| Some(Label { kind, role: Role::Example });
    let effects = lesson(&mut b, Lesson::Toggle(ImageId(1), N));
    assert_eq!(told(&effects), [(1, label(N))]);
    let job = comparison(&effects).expect("asked for");
    assert!(b.state.lab.open && b.state.awaits_answer());
    // the next waits for the answer
    let effects = lesson(&mut b, Lesson::Toggle(ImageId(2), O));
    assert_eq!((told(&effects), comparison(&effects)), (vec![], None));
    // one that nobody asked for changes nothing
    b.event(Event::Evaluated { job: JobId(job.0 + 100), reports: vec![] });
    let effects = b.event(Event::Evaluated { job, reports: vec![report("zero-shot", 0.75, &[(1, Basis::Unseen)])] });
    assert_eq!(told(&effects), [(2, label(O))]);
    let job = comparison(&effects).expect("asked for");
    assert_eq!(b.state.lab.report("zero-shot").and_then(|r| r.measures.as_ref().ok()).map(|m| m.auroc), Some(0.75));
    let effects = b.event(Event::Evaluated { job, reports: vec![] });
    assert!(effects.is_empty() && !b.state.awaits_answer(), "{effects:?}");
    // a removed picture is no example any more
    let effects = b.act(Action::Remove(vec![ImageId(2)]));
    assert_eq!(told(&effects), [(2, None)]);
}

/// While pictures stream in, comparisons are few.
#[test]
fn a_long_queue_is_compared_now_and_then() {
    let mut b = school();
    let names: Vec<String> = (0..300).map(|i| format!("normal/{i}.jpg")).collect();
    let effects = b.add(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let job = comparison(&effects).expect("labels are told at once");
    b.event(Event::Evaluated { job, reports: vec![] });
    let mut comparisons = 0;
    while let Some((job, image)) = b.state.outstanding.iter().find_map(|o| match o.what {
        Asked::Score(image) => Some((o.job, image)),
        _ => None,
    }) {
        if let Some(job) = comparison(&b.scored(job, image, 0.5)) {
            comparisons += 1;
            b.now += 100.0;
            b.event(Event::Evaluated { job, reports: vec![] });
        }
    }
    // 300 steps of 10 ms, and what the comparisons themselves took
    assert!((3..=8).contains(&comparisons), "{comparisons}");
}

#[test]
fn learning_from_begin_to_end() {
    let mut b = school();
    assert!(b.state.lesson_missing().is_some());
    assert!(lesson(&mut b, Lesson::Learn).is_empty());
    b.act(Action::AddPictures(vec![("1.jpg".into(), 1)], Some(N)));
    b.act(Action::AddPictures(vec![("2.jpg".into(), 1)], Some(O)));
    b.run_queue(|_| 0.5);
    labelled(&mut b, Readiness::Untrained);
    assert_eq!(b.state.lesson_missing(), None);
    let effects = lesson(&mut b, Lesson::Learn);
    let Some(Effect::Ask(Request::Fit { job, methods, .. })) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(methods, &["bce"]);
    let job = *job;
    // one at a time
    assert!(lesson(&mut b, Lesson::Search("bce".into())).is_empty());
    b.event(Event::Learning { job, method: "bce".into(), done: 3, total: 10 });
    assert_eq!(b.state.lab.running.as_ref().map(|r| (r.what, r.done, r.total)), Some((Work::Fit, 3, 10)));
    assert!(matches!(&lesson(&mut b, Lesson::Cancel)[..], [Effect::Ask(Request::Cancel { job: j })] if *j == job));
    b.event(Event::LearningEnded { job: JobId(job.0 + 1), outcome: Outcome::Cancelled });
    assert!(b.state.lab.running.is_some(), "another job's end");
    b.event(Event::LearningEnded { job, outcome: Outcome::Cancelled });
    assert!(b.state.lab.running.is_none() && b.state.status.contains("cancelled"));
    // wanted before it can score: words alone meanwhile
    b.act(Action::SetMethod("bce".into()));
    assert_eq!(b.state.method_in_use(), "zero-shot");
    lesson(&mut b, Lesson::Learn);
    let effects = b.event(Event::Fitted { job: b.last_job(), fitted: fitted(None) });
    assert!(
        effects.iter().any(|e| matches!(e, Effect::Ask(Request::Setup { setup, .. }) if setup.method == "bce")),
        "{effects:?}"
    );
    assert_eq!((b.state.method_in_use().as_str(), b.state.threshold_in_use()), ("bce", 0.5));
    let rows = b.state.method_rows();
    assert!(rows.iter().any(|r| r.info.id == "bce" && r.in_force && r.readiness == Some(Readiness::Ready)));
    // without its examples it cannot be had
    let effects = labelled(&mut b, Readiness::Lacking("BCE: expected at least 1 outlier, got 0".into()));
    assert!(
        effects.iter().any(|e| matches!(e, Effect::Ask(Request::Setup { setup, .. }) if setup.method == "zero-shot"))
    );
}

/// What has learned once follows the labels, until somebody cancels.
#[test]
fn heads_follow_the_labels() {
    let mut b = school();
    b.act(Action::AddPictures((1..=3).map(|i| (format!("{i}.jpg"), 1)).collect(), Some(N)));
    b.act(Action::AddPictures(vec![("4.jpg".into(), 1)], Some(O)));
    b.run_queue(|_| 0.5);
    let asked = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Ask(Request::Fit { .. })));
    // answers comparisons until none is asked for any more
    let compared = |b: &mut Bench| {
        let last = b.effects.iter().rev().find_map(|e| comparison(std::slice::from_ref(e)));
        let (mut job, mut all) = (last, vec![]);
        while let Some(now) = job {
            let effects = b.event(Event::Evaluated { job: now, reports: vec![] });
            job = comparison(&effects);
            all.extend(effects);
        }
        all
    };
    // nobody asked for learning yet
    compared(&mut b);
    labelled(&mut b, Readiness::Stale);
    lesson(&mut b, Lesson::ToggleRole(ImageId(3)));
    assert!(!asked(&compared(&mut b)));
    lesson(&mut b, Lesson::Learn);
    let job = b.state.lab.running.as_ref().expect("it runs").job;
    b.event(Event::Fitted { job, fitted: fitted(None) });
    b.event(Event::LearningEnded { job, outcome: Outcome::Finished });
    assert!(!asked(&compared(&mut b)), "it is up to date");
    lesson(&mut b, Lesson::ToggleRole(ImageId(3)));
    labelled(&mut b, Readiness::Stale);
    assert!(asked(&compared(&mut b)), "it follows");
    // not behind a person's back who has cancelled
    lesson(&mut b, Lesson::Cancel);
    let job = b.state.lab.running.as_ref().expect("it runs").job;
    b.event(Event::LearningEnded { job, outcome: Outcome::Cancelled });
    assert!(!asked(&compared(&mut b)));
}

/// A worker dies: labels, restored pictures and what was learned come back by themselves.
#[test]
fn what_was_learned_survives_the_worker() {
    let mut b = school();
    b.act(Action::AddPictures(vec![("1.jpg".into(), 1)], Some(N)));
    b.act(Action::AddPictures(vec![("2.jpg".into(), 1)], Some(O)));
    b.run_queue(|_| 0.5);
    labelled(&mut b, Readiness::Untrained);
    lesson(&mut b, Lesson::Learn);
    let job = b.last_job();
    b.event(Event::Fitted { job, fitted: fitted(None) });
    b.event(Event::LearningEnded { job, outcome: Outcome::Finished });
    b.act(Action::SetMethod("bce".into()));
    b.act(Action::WorkerDied("test".into()));
    assert!(!b.state.awaits_answer());
    b.act(Action::WorkerAlive);
    let effects = b.event(Event::Ready { job: b.last_job(), model: learner() });
    assert!(
        effects.iter().any(|e| matches!(e, Effect::Ask(Request::Setup { setup, .. }) if setup.method == "zero-shot"))
    );
    let restores: Vec<_> = effects.iter().filter(|e| matches!(e, Effect::Restore { .. })).cloned().collect();
    assert_eq!(restores.len(), 2);
    let setup = b.state.setup_job;
    let effects =
        b.event(Event::SetupDone { job: setup, entries: entries(), notes: vec![], timings: Timings::default() });
    assert_eq!(told(&effects).len(), 2);
    let first = comparison(&effects).expect("asked for");
    // its answer comes before the pictures are back
    let effects = b.event(Event::Evaluated { job: first, reports: vec![] });
    assert!(!effects.iter().any(|e| matches!(e, Effect::Ask(Request::Fit { .. }))));
    let mut effects = vec![];
    for restore in restores {
        let Effect::Restore { job, image } = restore else { panic!() };
        effects = b.event(Event::Rescored { job, scores: vec![(image, score(0.5))] });
    }
    let again = comparison(&effects).expect("asked for again");
    let effects = b.event(Event::Evaluated { job: again, reports: vec![] });
    assert!(
        effects.iter().any(|e| matches!(e, Effect::Ask(Request::Fit { methods, .. }) if methods == &["bce"])),
        "{effects:?}"
    );
}

#[test]
fn scores_of_examples_say_how_they_came_about() {
    let mut b = school();
    b.act(Action::AddPictures((1..=4).map(|i| (format!("{i}.jpg"), 1)).collect(), Some(N)));
    b.act(Action::AddPictures((5..=7).map(|i| (format!("{i}.jpg"), 1)).collect(), Some(O)));
    b.run_queue(|id| if [2, 5, 7].contains(&id.0) { 0.9 } else { 0.1 });
    let job = b.effects.iter().rev().find_map(|e| comparison(std::slice::from_ref(e))).expect("asked for");
    let pictures: Vec<_> =
        [1, 2, 3, 5, 6, 7].map(|i| (i, if i == 7 { Basis::Learned } else { Basis::CrossValidated })).to_vec();
    b.event(Event::Evaluated { job, reports: vec![report("zero-shot", 0.5, &pictures)] });
    assert_eq!(b.state.picture(ImageId(7)).and_then(|p| p.basis), Some(Basis::Learned));
    assert_eq!(b.state.picture(ImageId(4)).and_then(|p| p.basis), None);
    let expected = Confusion { normal_passed: 3, false_alarms: 1, missed: 1, hits: 1, left_out: 1 };
    assert_eq!(b.state.confusion(), expected);
    b.act(Action::SetThreshold(Some(0.95)));
    assert_eq!(b.state.confusion(), Confusion { normal_passed: 4, false_alarms: 0, missed: 2, hits: 0, left_out: 1 });
    let columns = b.state.histogram(2);
    assert_eq!(columns, [[0, 3, 1], [0, 1, 2]]);
}

#[test]
fn curve_search_and_advice_are_shown() {
    let mut b = school();
    b.act(Action::AddPictures(vec![("1.jpg".into(), 1), ("2.jpg".into(), 1)], Some(N)));
    b.run_queue(|_| 0.5);
    lesson(&mut b, Lesson::Curve(vec!["bce".into()]));
    let job = b.last_job();
    b.event(Event::LearningEnded { job, outcome: Outcome::Failed("expected both kinds, got one".into()) });
    assert_eq!(b.state.lab.trouble.as_deref(), Some("expected both kinds, got one"));
    lesson(&mut b, Lesson::Search("bce".into()));
    assert_eq!(b.state.lab.trouble, None);
    let job = b.last_job();
    let ranking = vec![(ImageId(1), 0.9)];
    b.event(Event::Search { job, method: "bce".into(), ranking, done: 1, total: 1 });
    b.event(Event::LearningEnded { job, outcome: Outcome::Finished });
    assert!(b.state.lab.search.as_ref().is_some_and(|s| s.finished && s.ranking.len() == 1));
    lesson(&mut b, Lesson::Advise(0.2));
    let job = b.last_job();
    let advice = Advice { threshold: 0.7, false_alarm_rate: 0.2, normal: 4 };
    b.event(Event::Advised { job, method: "zero-shot".into(), advice: Ok(advice) });
    assert_eq!((b.state.chosen_threshold(), b.state.lab.advice.as_ref().map(|a| a.rate)), (Some(0.7), Some(0.2)));
    // too few: the threshold stays
    lesson(&mut b, Lesson::Advise(0.01));
    b.event(Event::Advised { job: b.last_job(), method: "zero-shot".into(), advice: Err("too few".into()) });
    assert_eq!(b.state.chosen_threshold(), Some(0.7));
}

#[test]
fn a_head_from_a_file() {
    let mut b = school();
    let effects = lesson(&mut b, Lesson::LoadHead("h.json".into()));
    let [Effect::LoadHead { job, again: false }] = effects[..] else { panic!("{effects:?}") };
    b.event(Event::HeadFailed { job, message: "head file: expected JSON, got noise".into() });
    assert!(b.state.lab.trouble.as_ref().is_some_and(|t| t.starts_with("h.json: ") && t.contains("noise")));
    let effects = lesson(&mut b, Lesson::LoadHead("h.json".into()));
    let [Effect::LoadHead { job, again: false }] = effects[..] else { panic!("{effects:?}") };
    b.act(Action::SetThreshold(Some(0.05)));
    let setup = Setup { normal: vec!["cat".into()], method: "bce".into(), ..Setup::default() };
    let loaded = Event::HeadLoaded {
        job,
        method: "bce".into(),
        setup,
        same_texts: false,
        normal_examples: 3,
        outlier_examples: 2,
    };
    let effects = b.event(loaded);
    assert!(
        effects.iter().any(
            |e| matches!(e, Effect::Ask(Request::Setup { setup, .. }) if setup.method == "bce" && setup.normal == ["cat"])
        ),
        "{effects:?}"
    );
    assert!(effects.contains(&Effect::KeepHead), "{effects:?}");
    assert!(b.state.lab.trouble.is_none() && b.state.lab.loaded.is_some());
    // what was chosen for other scores cuts none of these
    assert_eq!(b.state.threshold_in_use(), 0.5);
    b.act(Action::Undo);
    assert_eq!(b.state.setup.normal, ["dog"]);
    assert_eq!((b.state.setup.method.as_str(), b.state.threshold_in_use()), ("zero-shot", 0.05));
    // after a worker's death the head comes back, and what a person set up meanwhile stays
    b.act(Action::WorkerDied("by hand".into()));
    b.act(Action::WorkerAlive);
    b.event(Event::Ready { job: b.last_job(), model: learner() });
    let job = b.state.setup_job;
    b.event(Event::SetupDone { job, entries: entries(), notes: vec![], timings: Timings::default() });
    b.act(Action::Learning(Lesson::Open(false)));
    let job = b.effects.iter().rev().find_map(|e| comparison(std::slice::from_ref(e)));
    let effects = b.event(Event::Evaluated { job: job.expect("asked for"), reports: vec![] });
    let again = effects.iter().find_map(|e| match e {
        Effect::LoadHead { job, again: true } => Some(*job),
        _ => None,
    });
    let setup = Setup { normal: vec!["cat".into()], method: "bce".into(), ..Setup::default() };
    b.event(Event::HeadLoaded {
        job: again.expect("given back"),
        method: "bce".into(),
        setup,
        same_texts: true,
        normal_examples: 3,
        outlier_examples: 2,
    });
    assert_eq!(
        (b.state.setup.normal.as_slice(), b.state.setup.method.as_str()),
        (&["dog".to_owned()][..], "zero-shot")
    );
    assert!(!b.state.lab.open && b.state.method_rows().iter().any(|r| r.info.id == "bce" && b.state.can_use(&r.info)));
}

#[test]
fn advice_for_another_method_comes_too_late() {
    let mut b = school();
    labelled(&mut b, Readiness::Ready);
    b.act(Action::AddPictures(vec![("1.jpg".into(), 1)], Some(N)));
    b.run_queue(|_| 0.5);
    lesson(&mut b, Lesson::Advise(0.2));
    let job = b.last_job();
    b.act(Action::SetMethod("bce".into()));
    let advice = Advice { threshold: 0.07, false_alarm_rate: 0.2, normal: 4 };
    b.event(Event::Advised { job, method: "zero-shot".into(), advice: Ok(advice) });
    assert_eq!((b.state.threshold_in_use(), b.state.lab.advice.as_ref()), (0.5, None));
}

#[test]
fn a_link_with_a_method_that_must_learn_says_so_and_cuts_nothing_else() {
    let mut b = Bench::default();
    b.act(Action::OpenLink("normal=dog&method=bce&threshold=0.9".into()));
    b.act(Action::WorkerAlive);
    b.event(Event::Ready { job: b.last_job(), model: learner() });
    assert_eq!((b.state.method_in_use().as_str(), b.state.threshold_in_use()), ("zero-shot", 0.4));
    assert!(b.state.notices.iter().any(|n| n.contains("BCE has learned nothing here yet")), "{:?}", b.state.notices);
    labelled(&mut b, Readiness::Ready);
    assert_eq!((b.state.method_in_use().as_str(), b.state.threshold_in_use()), ("bce", 0.9));
}
