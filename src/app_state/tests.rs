//! The page's memory, step by step, with a hand-played worker instead of a real one.

mod lessons;

use super::camera::CameraPhase;
use super::view::{Filter, Sort, natural};
use super::*;
use crate::protocol::{Decoder, EntryKind, MethodInfo, ModelPart, Needs, NotLoaded, PictureInfo, Score, Timings};

fn info(id: &str) -> ModelInfo {
    ModelInfo {
        entry: ModelEntry {
            id: id.into(),
            name: id.into(),
            file: format!("{id}.gguf"),
            address: None,
            parts: vec![],
            front: None,
            bytes: 5_800_000,
            sha256: String::new(),
            threshold: 0.4,
            threshold_source: "by hand".into(),
            can: String::new(),
            cannot: String::new(),
            memory_bytes: 0,
            kept: false,
            partial: 0,
        },
        image_size: 64,
        embed_dim: 4,
        memory_bytes: 0,
        kernel: "scalar".into(),
        vocabulary: None,
        methods: vec![MethodInfo {
            id: "zero-shot".into(),
            name: "Zero-shot".into(),
            explanation: String::new(),
            needs: Needs::default(),
            threshold: None,
        }],
        load_millis: 1.0,
    }
}

/// A model with a method that must learn.
fn learner() -> ModelInfo {
    let mut model = info("mini");
    let needs = Needs { normal_examples: 1, outlier_examples: 1, training: true, ..Needs::default() };
    let (id, name) = ("bce".into(), "BCE".into());
    model.methods.push(MethodInfo { id, name, needs, threshold: Some(0.5), ..model.methods[0].clone() });
    model
}

fn score(value: f32) -> Score {
    Score {
        value,
        margin: (value / (1.0 - value)).ln(),
        nearest: 0,
        cosines: vec![0.25, 0.5],
        probabilities: vec![1.0 - value, value],
    }
}

fn picture_info() -> PictureInfo {
    PictureInfo { width: 3, height: 2, format: "PNG".into(), decoder: Decoder::Oddlens }
}

fn entries() -> Vec<Entry> {
    vec![
        Entry { text: "a photo of a dog".into(), label: "dog".into(), kind: EntryKind::Normal },
        Entry { text: "a photo of something".into(), label: "a photo of something".into(), kind: EntryKind::Anomaly },
    ]
}

/// A state and everything it wanted done.
#[derive(Default)]
struct Bench {
    state: State,
    effects: Vec<Effect>,
    now: f64,
}

impl Bench {
    fn act(&mut self, action: Action) -> Vec<Effect> {
        self.now += 10.0;
        let effects = self.state.update(action, self.now);
        self.effects.extend(effects.clone());
        effects
    }

    fn event(&mut self, event: Event) -> Vec<Effect> {
        self.act(Action::Engine { event, thumbnail: None })
    }

    fn last_job(&self) -> JobId {
        JobId(self.state.next_job - 1)
    }

    /// Worker alive, model loaded, setup done.
    fn ready() -> Self {
        let mut b = Bench::default();
        b.act(Action::WorkerAlive);
        b.come_up("mini");
        b
    }

    fn come_up(&mut self, model: &str) {
        self.event(Event::Ready { job: self.last_job(), model: info(model) });
        let job = self.state.setup_job;
        self.event(Event::SetupDone { job, entries: entries(), notes: vec![], timings: Timings::default() });
    }

    fn add(&mut self, names: &[&str]) -> Vec<Effect> {
        self.act(Action::AddPictures(names.iter().map(|n| ((*n).to_owned(), 1)).collect(), None))
    }

    fn scored(&mut self, job: JobId, image: ImageId, value: f32) -> Vec<Effect> {
        self.event(Event::Scored {
            job,
            image,
            score: score(value),
            picture: picture_info(),
            timings: Timings::default(),
        })
    }

    fn phases(&self) -> Vec<&'static str> {
        self.state.pictures.iter().map(|p| p.phase_name()).collect()
    }

    /// Answers every picture that was sent, until none is left.
    fn run_queue(&mut self, value: impl Fn(ImageId) -> f32) -> Vec<ImageId> {
        let mut order = Vec::new();
        while let Some((job, image)) = self.state.outstanding.iter().find_map(|o| match o.what {
            Asked::Score(image) => Some((o.job, image)),
            _ => None,
        }) {
            order.push(image);
            self.scored(job, image, value(image));
        }
        order
    }
}

fn sent(effects: &[Effect]) -> Vec<(JobId, ImageId)> {
    effects
        .iter()
        .filter_map(|e| match e {
            Effect::ScoreFile { job, image } => Some((*job, *image)),
            _ => None,
        })
        .collect()
}

#[test]
fn nothing_is_sent_before_model_and_setup() {
    let mut b = Bench::default();
    b.add(&["a.png"]);
    b.act(Action::WorkerAlive);
    assert!(sent(&b.effects).is_empty());
    let load = b.last_job();
    let effects = b.event(Event::Ready { job: load, model: info("mini") });
    assert!(matches!(&effects[..], [Effect::Ask(Request::Setup { setup, .. })] if setup.normal == ["dog"]));
    assert_eq!(b.state.threshold_in_use(), 0.4);
    let effects =
        b.event(Event::SetupDone { job: b.last_job(), entries: entries(), notes: vec![], timings: Timings::default() });
    assert_eq!(sent(&effects).len(), 1);
}

#[test]
fn five_hundred_pictures_go_in_order_two_at_a_time() {
    let mut b = Bench::ready();
    let names: Vec<String> = (0..500).map(|i| format!("{i}.png")).collect();
    let effects = b.add(&names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(sent(&effects).len(), AHEAD);
    assert_eq!(b.state.batch, Batch { total: 500, done: 0 });
    let order = b.run_queue(|_| 0.1);
    assert_eq!(order, (1..=500).map(ImageId).collect::<Vec<_>>());
    assert_eq!(b.state.batch, Batch { total: 500, done: 500 });
    assert_eq!(b.state.counts().normal, 500);
    assert_eq!(&*b.state.status, "All 500 pictures are done.");
}

#[test]
fn cancel_drops_the_queue_and_undo_brings_it_back() {
    let mut b = Bench::ready();
    b.add(&["a", "b", "c", "d"]);
    b.act(Action::CancelQueue);
    assert_eq!(b.state.visible().len(), 2);
    b.run_queue(|_| 0.2);
    assert_eq!(b.state.batch, Batch { total: 2, done: 2 });
    b.act(Action::Undo);
    b.run_queue(|_| 0.3);
    assert_eq!(b.phases(), ["done"; 4]);
}

#[test]
fn answers_to_another_job_are_dropped() {
    let mut b = Bench::ready();
    let (job, image) = sent(&b.add(&["a"]))[0];
    let effects = b.act(Action::Engine {
        event: Event::Scored {
            job: JobId(job.0 + 50),
            image,
            score: score(0.9),
            picture: picture_info(),
            timings: Timings::default(),
        },
        thumbnail: Some("blob:1".into()),
    });
    assert_eq!(b.phases(), ["scoring"]);
    assert_eq!(effects, [Effect::Discard { images: vec![], addresses: vec!["blob:1".into()] }]);
    b.scored(job, image, 0.3);
    b.scored(job, image, 0.9);
    assert_eq!(b.state.picture(image).and_then(|p| p.outcome()).map(|o| o.score.value), Some(0.3));
}

#[test]
fn classes_are_split_trimmed_and_told_apart() {
    let mut b = Bench::ready();
    let effects = b.act(Action::AddClasses(" cat, Dog ,, truck\n".into()));
    assert_eq!(b.state.setup.normal, ["dog", "cat", "truck"]);
    assert!(matches!(&effects[..], [Effect::Ask(Request::Setup { setup, .. })] if setup.normal.len() == 3));
    assert!(b.act(Action::AddClasses("CAT".into())).is_empty());
    b.act(Action::RemoveClass(0));
    assert_eq!(b.state.setup.normal, ["cat", "truck"]);
    assert_eq!(b.state.undoable().as_deref(), Some("“dog” removed"));
    b.act(Action::Undo);
    assert_eq!(b.state.setup.normal, ["dog", "cat", "truck"]);
}

#[test]
fn without_a_class_nothing_is_asked_and_it_is_said() {
    let mut b = Bench::ready();
    assert!(b.act(Action::RemoveClass(0)).is_empty());
    assert!(b.state.setup_error.is_some());
    b.act(Action::AddClasses("cat".into()));
    assert_eq!(b.state.setup_error, None);
}

#[test]
fn a_new_setup_changes_scores_without_reading_a_file_again() {
    let mut b = Bench::ready();
    b.add(&["a", "b"]);
    b.run_queue(|_| 0.2);
    b.act(Action::AddClasses("cat".into()));
    let job = b.last_job();
    b.event(Event::SetupDone { job, entries: entries(), notes: vec![], timings: Timings::default() });
    let effects = b.event(Event::Rescored { job, scores: vec![(ImageId(1), score(0.8)), (ImageId(9), score(0.1))] });
    assert!(effects.is_empty());
    assert_eq!(b.state.counts(), view::Counts { all: 2, odd: 1, normal: 1, failed: 0, waiting: 0 });
    // the answer to an older setup comes late
    b.event(Event::Rescored { job: JobId(job.0 - 1), scores: vec![(ImageId(1), score(0.1))] });
    assert_eq!(b.state.counts().odd, 1);
}

#[test]
fn the_picture_that_killed_the_worker_is_marked_and_the_queue_goes_on() {
    let mut b = Bench::ready();
    b.add(&["good", "killer", "later", "last"]);
    let (job, image) = sent(&b.effects)[0];
    b.scored(job, image, 0.1);
    let effects = b.act(Action::WorkerDied("out of memory".into()));
    assert_eq!(effects, [Effect::Respawn]);
    assert_eq!(b.phases(), ["done", "failed", "queued", "queued"]);
    assert!(
        matches!(&b.state.pictures[1].phase, Phase::Failed { stage: Stage::Worker, message } if message.contains("out of memory"))
    );
    let effects = b.act(Action::WorkerAlive);
    assert!(matches!(&effects[..], [Effect::Ask(Request::Load { .. })]));
    let effects = b.event(Event::Ready { job: b.last_job(), model: info("mini") });
    assert!(matches!(&effects[..], [Effect::Ask(Request::Setup { .. }), Effect::Restore { image: ImageId(1), .. }]));
    b.event(Event::SetupDone {
        job: b.state.setup_job,
        entries: entries(),
        notes: vec![],
        timings: Timings::default(),
    });
    let order = b.run_queue(|_| 0.1);
    assert_eq!(order, [ImageId(3), ImageId(4)]);
    b.act(Action::Retry(ImageId(2)));
    b.run_queue(|_| 0.1);
    assert_eq!(b.phases(), ["done"; 4]);
}

/// Hundreds of embeddings posted in one go would hold the page up.
#[test]
fn a_fresh_worker_is_given_a_few_embeddings_at_a_time() {
    let mut b = Bench::ready();
    let count = RESTORES_AHEAD + 5;
    b.add(&vec!["p"; count]);
    b.run_queue(|_| 0.2);
    b.act(Action::WorkerDied("trap".into()));
    b.act(Action::WorkerAlive);
    let restored = |effects: &[Effect]| {
        let one = |e: &Effect| if let Effect::Restore { job, image } = e { Some((*job, *image)) } else { None };
        effects.iter().filter_map(one).collect::<Vec<_>>()
    };
    let mut waiting = restored(&b.event(Event::Ready { job: b.last_job(), model: info("mini") }));
    assert_eq!(waiting.len(), RESTORES_AHEAD);
    // one that is forgotten meanwhile is not given back
    b.state.pictures.retain(|p| p.id.0 as usize != count);
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let (job, image) = waiting.remove(0);
        order.push(image.0 as usize);
        waiting.extend(restored(&b.event(Event::Rescored { job, scores: vec![] })));
    }
    assert_eq!(order, (1..count).collect::<Vec<_>>());
    assert!(!b.state.awaits_answer() || b.state.outstanding.iter().all(|o| o.what == Asked::Setup));
}

#[test]
fn three_deaths_without_a_score_stop_until_a_person_asks() {
    let mut b = Bench::ready();
    for death in 1..=MAX_DEATHS {
        let effects = b.act(Action::WorkerDied("trap".into()));
        assert_eq!(effects.contains(&Effect::Respawn), death < MAX_DEATHS);
        if death < MAX_DEATHS {
            b.act(Action::WorkerAlive);
            b.come_up("mini");
        }
    }
    assert!(matches!(b.state.worker, Worker::Stopped(_)));
    assert_eq!(b.act(Action::RetryWorker), [Effect::Respawn]);
    b.act(Action::WorkerAlive);
    b.come_up("mini");
    b.add(&["a", "b"]);
    b.run_queue(|_| 0.5);
    assert_eq!(b.phases(), ["done", "done"]);
}

#[test]
fn pictures_that_kill_are_marked_and_the_queue_goes_on() {
    let mut b = Bench::ready();
    b.add(&["killer"; 7]);
    for _ in 0..MAX_DEATHS + 2 {
        assert!(b.act(Action::WorkerDied("trap".into())).contains(&Effect::Respawn));
        b.act(Action::WorkerAlive);
        b.come_up("mini");
    }
    b.run_queue(|_| 0.5);
    assert_eq!(b.phases(), ["failed", "failed", "failed", "failed", "failed", "done", "done"]);
}

#[test]
fn many_pictures_are_told_once_and_several_workers_get_more_of_them() {
    let told = |effects: &[Effect]| effects.contains(&Effect::TellManyWait);
    let mut b = Bench::ready();
    assert!(!told(&b.add(&["few"; MANY - 1])));
    assert!(told(&b.add(&["more"; 9])));
    assert!(!told(&b.add(&["yet more"; 9])));
    let effects = b.act(Action::Workers { count: 3, further_bytes: 5 });
    assert_eq!(sent(&effects).len(), 3 * AHEAD_EACH - AHEAD);
    assert_eq!((b.state.workers, b.state.further_bytes), (3, 5));
    let order = b.run_queue(|_| 0.1);
    assert_eq!(order, (1..=MANY as u32 + 17).map(ImageId).collect::<Vec<_>>());
    assert!(b.act(Action::Workers { count: 1, further_bytes: 0 }).is_empty());
    // the next many are told again; when the helpers go before they are done, too
    assert!(told(&b.add(&["many"; MANY])));
    b.act(Action::Workers { count: 2, further_bytes: 5 });
    assert!(told(&b.act(Action::Workers { count: 1, further_bytes: 0 })));
}

#[test]
fn several_workers_have_no_more_bytes_at_a_time_than_there_is_room_for() {
    let mut b = Bench::ready();
    let large = |count| Action::AddPictures(vec![("large".into(), AHEAD_BYTES / 2 - 1); count], None);
    b.act(Action::Workers { count: 4, further_bytes: 0 });
    assert_eq!(sent(&b.act(large(6))).len(), 2);
    let (job, image) = sent(&b.effects)[0];
    assert_eq!(sent(&b.scored(job, image, 0.1)).len(), 1, "one goes, one comes");
    b.run_queue(|_| 0.1);
    // one worker gets its two whatever their size, and small ones behind them wait their turn
    assert_eq!(sent(&b.act(Action::AddPictures(vec![("huge".into(), 2 * AHEAD_BYTES); 3], None))).len(), AHEAD);
    assert_eq!(b.add(&["small"]), []);
    b.run_queue(|_| 0.1);
    assert_eq!(b.phases(), ["done"; 10]);
}

#[test]
fn a_worker_with_helpers_dies_of_the_picture_that_it_had_begun() {
    let mut b = Bench::ready();
    b.add(&["a", "b", "c", "d"]);
    b.act(Action::Workers { count: 2, further_bytes: 0 });
    let third = sent(&b.effects)[2].0;
    b.act(Action::WorkerBegins(third));
    b.act(Action::WorkerDied("trap".into()));
    assert_eq!(b.phases(), ["queued", "queued", "failed", "queued"]);
    assert_eq!((b.state.workers, b.state.deaths), (1, 1));
    b.act(Action::WorkerAlive);
    b.come_up("mini");
    // of none, if it was at none
    b.act(Action::Workers { count: 2, further_bytes: 0 });
    b.act(Action::WorkerBegins(third));
    b.act(Action::WorkerDied("trap".into()));
    assert_eq!(b.phases(), ["queued", "queued", "failed", "queued"]);
}

#[test]
fn a_score_between_deaths_counts() {
    let mut b = Bench::ready();
    for _ in 0..6 {
        b.add(&["good", "killer"]);
        let (job, image) = sent(&b.effects)[sent(&b.effects).len() - 2];
        b.scored(job, image, 0.1);
        assert!(b.act(Action::WorkerDied("trap".into())).contains(&Effect::Respawn));
        b.act(Action::WorkerAlive);
        b.come_up("mini");
    }
}

#[test]
fn another_model_scores_everything_anew() {
    let mut b = Bench::ready();
    b.add(&["a", "b"]);
    b.run_queue(|_| 0.2);
    b.act(Action::LoadModel(Some("large".into())));
    b.come_up("large");
    assert_eq!(b.run_queue(|_| 0.7), [ImageId(1), ImageId(2)]);
    assert_eq!(b.state.counts().odd, 2);
}

#[test]
fn old_removals_are_forgotten_with_their_memory() {
    let mut b = Bench::ready();
    let names: Vec<String> = (0..12).map(|i| i.to_string()).collect();
    b.add(&names.iter().map(String::as_str).collect::<Vec<_>>());
    b.run_queue(|_| 0.2);
    let mut effects = Vec::new();
    for i in 1..=12 {
        effects.extend(b.act(Action::Remove(vec![ImageId(i)])));
    }
    let gone: Vec<_> = effects.iter().filter(|e| matches!(e, Effect::Discard { .. })).collect();
    assert_eq!(gone.len(), 2);
    assert_eq!(b.state.pictures.len(), 10);
    for _ in 0..12 {
        b.act(Action::Undo);
    }
    assert_eq!(b.state.visible().len(), 10);
}

#[test]
fn a_file_that_vanished_is_a_failed_card() {
    let mut b = Bench::ready();
    let (job, image) = sent(&b.add(&["gone.png", "b"]))[0];
    b.act(Action::Unreadable { job, image, message: "the file is not there any more".into() });
    assert_eq!(b.phases(), ["failed", "scoring"]);
    assert_eq!(b.state.batch.done, 1);
}

#[test]
fn order_and_filter() {
    let mut b = Bench::ready();
    b.add(&["img10", "img2", "broken", "IMG1"]);
    let values = [0.2, 0.9, 0.0, 0.5];
    for _ in 0..4 {
        let Some(o) = b.state.outstanding.front().copied() else { break };
        match o.what {
            Asked::Score(ImageId(3)) => {
                b.event(Event::Failed {
                    job: o.job,
                    image: Some(ImageId(3)),
                    stage: Stage::Format,
                    message: "no".into(),
                });
            }
            Asked::Score(i) => {
                b.scored(o.job, i, values[i.0 as usize - 1]);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    let names = |b: &Bench| b.state.visible().iter().map(|p| p.name.to_string()).collect::<Vec<_>>();
    b.act(Action::SetSort(Sort::OddFirst));
    assert_eq!(names(&b), ["img2", "IMG1", "img10", "broken"]);
    b.act(Action::SetSort(Sort::NormalFirst));
    assert_eq!(names(&b), ["img10", "IMG1", "img2", "broken"]);
    b.act(Action::SetSort(Sort::Name));
    assert_eq!(names(&b), ["broken", "IMG1", "img2", "img10"]);
    b.act(Action::SetFilter(Filter::Odd));
    assert_eq!(names(&b), ["IMG1", "img2"]);
    b.act(Action::SetThreshold(Some(0.6)));
    assert_eq!(names(&b), ["img2"]);
    b.act(Action::SetFilter(Filter::Failed));
    assert_eq!(names(&b), ["broken"]);
    let without_label: Vec<usize> = b.state.histogram(10).iter().map(|n| n[0]).collect();
    assert_eq!(without_label, [0, 0, 1, 0, 0, 1, 0, 0, 0, 1]);
    assert!(natural("a9", "a10").is_lt() && natural("a010", "a10").is_eq() && natural("b", "A").is_gt());
}

#[test]
fn the_threshold_takes_only_sensible_numbers() {
    let mut b = Bench::ready();
    b.act(Action::SetThreshold(Some(f32::NAN)));
    assert_eq!(b.state.chosen_threshold(), None);
    b.act(Action::SetThreshold(Some(7.0)));
    assert_eq!(b.state.threshold_in_use(), 1.0);
    b.act(Action::SetThreshold(None));
    assert_eq!(b.state.threshold_in_use(), 0.4);
}

#[test]
fn at_most_one_frame_is_in_flight() {
    let mut b = Bench::ready();
    b.act(Action::StartCamera);
    assert!(b.act(Action::FrameDue).is_empty());
    b.act(Action::CameraLive);
    let [Effect::SendFrame { job }] = b.act(Action::FrameDue)[..] else { panic!("one frame") };
    assert!(b.act(Action::FrameDue).is_empty());
    b.event(Event::FrameScored { job: JobId(job.0 + 1), score: score(0.9), timings: Timings::default() });
    assert!(b.act(Action::FrameDue).is_empty());
    b.event(Event::FrameScored { job, score: score(0.9), timings: Timings::default() });
    assert_eq!(b.state.camera.as_ref().map(|c| c.history.clone()), Some(vec![0.9]));
    assert_eq!(b.act(Action::FrameDue).len(), 1);
    b.act(Action::FreezeCamera(true));
    b.event(Event::FrameScored { job: b.last_job(), score: score(0.1), timings: Timings::default() });
    assert_eq!(b.state.camera.as_ref().map(|c| (c.phase.clone(), c.history.len())), Some((CameraPhase::Frozen, 1)));
    b.act(Action::FreezeCamera(false));
    assert_eq!(b.act(Action::FrameDue).len(), 1);
}

#[test]
fn a_link_sets_up_the_page_and_its_flaws_are_said() {
    let mut b = Bench::default();
    b.act(Action::OpenLink("#normal=cat,fox&threshold=0.3&method=unheard-of&bad".into()));
    b.act(Action::WorkerAlive);
    b.come_up("mini");
    assert_eq!(b.state.setup.normal, ["cat", "fox"]);
    assert_eq!(b.state.setup.method, "zero-shot");
    // a threshold for the scores of another method cuts none of these
    assert_eq!(b.state.threshold_in_use(), 0.4);
    assert_eq!(b.state.notices.len(), 2);
}

#[test]
fn a_model_that_is_not_here_is_replaced_by_the_standard_one() {
    let mut b = Bench::default();
    b.act(Action::OpenLink("model=huge".into()));
    let effects = b.act(Action::WorkerAlive);
    assert!(matches!(&effects[..], [Effect::Ask(Request::Load { model: Some(huge), .. })] if huge == "huge"));
    b.event(Event::Manifest { job: b.last_job(), models: vec![info("mini").entry] });
    let effects =
        b.event(Event::LoadFailed { job: b.last_job(), message: "no such model".into(), why: NotLoaded::Failed });
    assert!(matches!(&effects[..], [Effect::Ask(Request::Load { model: None, .. })]));
    assert_eq!(b.state.notices.len(), 1);
    b.come_up("mini");
    assert!(b.state.ready().is_some());
}

/// A link may name a method that learns: words alone score until it has.
#[test]
fn a_method_that_must_learn_waits_for_its_examples() {
    let mut b = Bench::default();
    b.act(Action::OpenLink("normal=cat&method=bce".into()));
    b.act(Action::WorkerAlive);
    let effects = b.event(Event::Ready { job: b.last_job(), model: learner() });
    assert_eq!((b.state.setup.method.as_str(), b.state.method_in_use().as_str()), ("bce", "zero-shot"));
    assert!(matches!(&effects[..], [Effect::Ask(Request::Setup { setup, .. })] if setup.method == "zero-shot"));
    // one that nobody knows is not waited for
    let mut b = Bench::default();
    b.act(Action::OpenLink("normal=cat&method=magic".into()));
    b.act(Action::WorkerAlive);
    b.event(Event::Ready { job: b.last_job(), model: learner() });
    assert_eq!(b.state.setup.method, "zero-shot");
    assert!(b.state.notices.iter().any(|n| n.contains("magic")), "{:?}", b.state.notices);
}

#[test]
fn loading_estimates_the_time_left() {
    let mut b = Bench::default();
    b.act(Action::WorkerAlive);
    b.event(Event::Loading { job: b.last_job(), received: 0, total: Some(1000) });
    b.now = 2000.0;
    b.event(Event::Loading { job: b.last_job(), received: 250, total: Some(1000) });
    let Model::Loading { seconds_left: Some(left), .. } = b.state.model else { panic!("{:?}", b.state.model) };
    assert!((left - 6.0).abs() < 0.1, "{left}");
    b.event(Event::LoadFailed { job: b.last_job(), message: "404".into(), why: NotLoaded::Failed });
    assert_eq!(b.state.model, Model::Failed("404".into()));
    let effects = b.act(Action::LoadModel(None));
    assert!(matches!(&effects[..], [Effect::Ask(Request::Load { model: None, .. })]));
}

/// A model that is refused as doubtful is used all the same by those who want it, and only once.
#[test]
fn a_doubtful_model_waits_for_a_word() {
    let mut b = Bench::default();
    b.act(Action::WorkerAlive);
    b.event(Event::Ready { job: b.last_job(), model: info("mini") });
    assert!(b.act(Action::UseDoubtful).is_empty());
    b.act(Action::FetchModel("a/b".into()));
    let why = "self-test: near chance".to_string();
    b.event(Event::LoadFailed { job: b.last_job(), message: why, why: NotLoaded::Doubtful });
    assert!(matches!(b.state.model, Model::Ready(_)) && b.state.doubtful);
    assert!(b.state.notices.iter().any(|n| n.contains("near chance") && n.contains("stays in use")));
    let effects = b.act(Action::UseDoubtful);
    assert!(matches!(&effects[..], [Effect::Ask(Request::UseDoubtful { .. })]), "{effects:?}");
    let info = info("mini");
    let entry = ModelEntry { id: "far".into(), kept: true, ..info.entry.clone() };
    b.event(Event::Ready { job: b.last_job(), model: ModelInfo { entry, ..info } });
    assert_eq!((b.state.doubtful, b.state.wanted_model.as_deref()), (false, Some("far")));
    assert!(b.act(Action::UseDoubtful).is_empty());
}

/// A model is in use before its text tower is there; what is said of that ends with it, or with the model.
#[test]
fn a_text_tower_may_come_later() {
    let mut b = Bench::default();
    b.act(Action::WorkerAlive);
    let job = b.last_job();
    b.event(Event::Ready { job, model: info("far") });
    let comes = |received, trouble: Option<&str>| Event::TextTower {
        job,
        received,
        total: 100,
        trouble: trouble.map(str::to_owned),
    };
    b.event(comes(40, None));
    assert_eq!(b.state.text_tower, Some(TextTower { received: 40, total: 100, trouble: None }));
    assert_eq!(b.act(Action::CancelLoad), [Effect::CancelLoad]);
    b.event(comes(60, Some("the connection broke")));
    assert!(b.state.status.contains("has not come: the connection broke"), "{}", b.state.status);
    assert!(b.state.text_tower.as_ref().is_some_and(|tower| tower.trouble.is_some()));
    b.event(comes(100, None));
    assert_eq!(b.state.text_tower, None);
    assert!(b.state.status.contains("reads any words"), "{}", b.state.status);
    // from now on it is one of those that are kept, under the same checksum
    let kept = ModelEntry { kept: true, ..info("far").entry };
    b.event(Event::Manifest { job, models: vec![ModelEntry { sha256: "other".into(), ..kept.clone() }, kept] });
    assert!(matches!(&b.state.model, Model::Ready(info) if info.entry.kept));
    // what ends because another is asked for stands there should that one fail, and goes when it is there
    b.act(Action::LoadModel(Some("mini".into())));
    b.event(comes(70, Some("paused")));
    assert!(b.state.text_tower.is_some());
    b.event(Event::Ready { job: b.last_job(), model: info("mini") });
    assert_eq!(b.state.text_tower, None);
}

/// What an earlier visit left comes at once, and says nothing about the network.
#[test]
fn a_download_that_is_gone_on_with_estimates_by_what_comes_now() {
    let mut b = Bench::default();
    b.act(Action::WorkerAlive);
    let left = |b: &Bench| match b.state.model {
        Model::Loading { seconds_left, .. } => seconds_left,
        _ => panic!("{:?}", b.state.model),
    };
    for second in 0..20 {
        b.now = 1000.0 * f64::from(second);
        let received = 900_000 + 1000 * second as u64;
        b.event(Event::Loading { job: b.last_job(), received, total: Some(1_000_000) });
    }
    let seconds = left(&b).expect("bytes come");
    assert!((seconds - 81.0).abs() < 3.0, "{seconds}");
    // begun anew
    b.event(Event::Loading { job: b.last_job(), received: 0, total: Some(1_000_000) });
    assert_eq!(left(&b), None);
}

#[test]
fn a_paused_download_is_no_trouble() {
    let far = ModelEntry { id: "far".into(), address: Some("https://hub/far".into()), ..info("far").entry };
    let mut b = Bench::ready();
    b.event(Event::Manifest { job: b.last_job(), models: vec![info("mini").entry, far.clone()] });
    b.act(Action::LoadModel(Some("far".into())));
    assert!(b.state.is_downloading());
    b.event(Event::LoadFailed { job: b.last_job(), message: "paused.".into(), why: NotLoaded::Paused });
    assert!(b.state.notices.is_empty() && !b.state.is_downloading());
    assert_eq!(b.state.ready().map(|m| m.entry.id.as_str()), Some("mini"));
    assert!(b.state.status.contains("paused"), "{}", b.state.status);
    // a page that begins with a model in parts goes on with one that is at hand
    let parts = vec![ModelPart { file: "a".into(), bytes: 1, sha256: String::new() }];
    let large = ModelEntry { address: None, parts, ..far };
    let mut b = Bench::default();
    b.act(Action::OpenLink("model=far".into()));
    b.act(Action::WorkerAlive);
    b.event(Event::Manifest { job: b.last_job(), models: vec![large.clone(), info("mini").entry] });
    let effects = b.event(Event::LoadFailed { job: b.last_job(), message: "paused.".into(), why: NotLoaded::Paused });
    assert!(matches!(&effects[..], [Effect::Ask(Request::Load { model: Some(id), .. })] if id == "mini"));
    // where there is none, it waits, and says so
    let mut b = Bench::default();
    b.act(Action::WorkerAlive);
    b.event(Event::Manifest { job: b.last_job(), models: vec![large] });
    b.event(Event::LoadFailed { job: b.last_job(), message: "paused.".into(), why: NotLoaded::Paused });
    assert!(matches!(&b.state.model, Model::Failed(why) if why.contains("paused")), "{:?}", b.state.model);
}

/// Whoever follows a link has not asked another host for half a gigabyte.
#[test]
fn a_link_fetches_nothing_from_afar() {
    let mut b = Bench::default();
    b.act(Action::OpenLink("model=far".into()));
    let effects = b.act(Action::WorkerAlive);
    assert!(matches!(&effects[..], [Effect::Ask(Request::Load { from_afar: false, .. })]));
    let far = ModelEntry { address: Some("https://hub/far".into()), ..info("far").entry };
    b.event(Event::Manifest { job: b.last_job(), models: vec![info("mini").entry, far] });
    let effects = b.event(Event::LoadFailed { job: b.last_job(), message: String::new(), why: NotLoaded::NotAsked });
    assert!(matches!(&effects[..], [Effect::Ask(Request::Load { model: None, .. })]));
    assert!(b.state.notices[0].contains("Download"), "{:?}", b.state.notices);
    b.come_up("mini");
    let effects = b.act(Action::LoadModel(Some("far".into())));
    assert!(matches!(&effects[..], [Effect::Ask(Request::Load { from_afar: true, .. })]));
}

#[test]
fn a_model_that_is_deleted_while_it_comes_is_not_waited_for() {
    let far = ModelEntry { address: Some("https://hub/far".into()), ..info("far").entry };
    let mut b = Bench::ready();
    b.event(Event::Manifest { job: b.last_job(), models: vec![info("mini").entry, far] });
    b.act(Action::LoadModel(Some("far".into())));
    let load = b.last_job();
    let effects = b.act(Action::DeleteModel("far".into()));
    assert!(matches!(&effects[..], [Effect::CancelLoad, Effect::Ask(Request::DeleteModel { .. })]), "{effects:?}");
    b.event(Event::LoadFailed { job: load, message: "x".into(), why: NotLoaded::Failed });
    let effects = b.act(Action::DeleteModel("far".into()));
    assert!(matches!(&effects[..], [Effect::Ask(Request::DeleteModel { .. })]), "{effects:?}");
}

#[test]
fn an_address_is_asked_for_until_its_model_is_kept() {
    let mut b = Bench::ready();
    let effects = b.act(Action::FetchModel("a/b".into()));
    assert!(matches!(&effects[..], [Effect::Ask(Request::LoadAddress { address, .. })] if address == "a/b"));
    assert!(b.state.is_downloading());
    let mut model = info("own-1");
    model.entry.kept = true;
    b.event(Event::Ready { job: b.last_job(), model });
    b.act(Action::WorkerDied("lost".into()));
    let effects = b.act(Action::WorkerAlive);
    assert!(matches!(&effects[..], [Effect::Ask(Request::Load { model: Some(id), .. })] if id == "own-1"));
}

#[test]
fn what_is_taken_away_has_the_command_lines_keys() {
    let mut b = Bench::ready();
    b.add(&["a, \"b\".png", "broken"]);
    let (job, image) = sent(&b.effects)[0];
    b.scored(job, image, 0.75);
    b.event(Event::Failed {
        job: b.last_job(),
        image: Some(ImageId(2)),
        stage: Stage::Format,
        message: "not a picture".into(),
    });
    let json: String = export::Snapshot::of(&b.state).json_lines().collect();
    let lines: Vec<serde_json::Value> = json.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(lines[0]["path"], "a, \"b\".png");
    assert_eq!(lines[0]["score"], 0.75);
    assert_eq!(lines[0]["verdict"], "anomalous");
    assert_eq!(lines[0]["nearest"], "dog");
    assert_eq!(
        lines[0]["entries"][1],
        serde_json::json!({"text": "a photo of something", "kind": "anomaly", "cosine": 0.5, "probability": 0.75})
    );
    assert_eq!(lines[1], serde_json::json!({"path": "broken", "error": "not a picture"}));
    let csv: String = export::Snapshot::of(&b.state).csv().collect();
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows[0], "path,score,margin,verdict,nearest,error");
    assert!(rows[1].starts_with("\"a, \"\"b\"\".png\",0.75,"), "{}", rows[1]);
    assert_eq!(rows[2], "broken,,,,,not a picture");
}

/// Progress must come to its end whatever was removed while the worker changed hands.
#[test]
fn a_removed_picture_never_holds_the_progress_open() {
    let over = |b: &Bench| b.state.batch.done == b.state.batch.total;
    // another model: removed pictures are not scored before they are brought back
    let mut b = Bench::ready();
    b.add(&["a", "b"]);
    b.run_queue(|_| 0.2);
    b.act(Action::Remove(vec![ImageId(1)]));
    b.act(Action::LoadModel(Some("large".into())));
    b.come_up("large");
    assert_eq!(b.run_queue(|_| 0.7), [ImageId(2)]);
    assert!(over(&b), "{:?}", b.state.batch);
    b.act(Action::Undo);
    assert_eq!(b.run_queue(|_| 0.7), [ImageId(1)]);
    assert!(over(&b), "{:?}", b.state.batch);
    // removed in the worker's hands, and the worker died
    let mut b = Bench::ready();
    b.add(&["a", "b", "c"]);
    b.act(Action::Remove(vec![ImageId(2)]));
    b.act(Action::WorkerDied("trap".into()));
    b.act(Action::WorkerAlive);
    b.come_up("mini");
    assert_eq!(b.run_queue(|_| 0.2), [ImageId(3)]);
    assert!(over(&b), "{:?}", b.state.batch);
}

/// A file that was still being read when another model was asked for reaches the worker before the setup does.
#[test]
fn a_picture_that_overtakes_the_setup_is_scored_after_it() {
    let mut b = Bench::ready();
    b.add(&["a"]);
    let (job, image) = sent(&b.effects)[0];
    b.act(Action::LoadModel(Some("large".into())));
    b.event(Event::Ready { job: b.last_job(), model: info("large") });
    let early = Event::Failed { job, image: Some(image), stage: Stage::Score, message: "nothing is normal yet".into() };
    assert_eq!(sent(&b.event(early)), []);
    assert_eq!(b.phases(), ["queued"]);
    let setup = b.state.setup_job;
    b.event(Event::SetupDone { job: setup, entries: entries(), notes: vec![], timings: Timings::default() });
    assert_eq!(b.run_queue(|_| 0.2), [image]);
    assert_eq!((b.state.batch.done, b.state.batch.total), (1, 1));
}

/// 200 names, 200 templates and 200 anomaly texts fit into a link of 3 kB, and would keep the worker busy for minutes.
#[test]
fn a_link_with_too_many_texts_is_refused_with_a_word() {
    let mut b = Bench::ready();
    let names = (0..200).map(|i| format!("n{i}")).collect::<Vec<_>>().join(",");
    let lines = "{}x%0A".repeat(200);
    let effects = b.act(Action::OpenLink(format!("normal={names}&template={lines}&anomaly={lines}")));
    assert_eq!(effects, []);
    assert!(b.state.setup_error.as_ref().is_some_and(|e| e.contains("80000")), "{:?}", b.state.setup_error);
}

#[test]
fn a_link_that_names_the_model_in_use_does_not_load_it_again() {
    let mut b = Bench::ready();
    assert_eq!(b.act(Action::OpenLink("model=mini".into())), []);
    assert!(b.state.ready().is_some());
}

#[test]
fn what_is_changed_while_another_model_comes_holds_when_it_does_not() {
    let mut b = Bench::ready();
    b.act(Action::LoadModel(Some("large".into())));
    let load = b.last_job();
    b.act(Action::SetNormal(vec!["cat".into()]));
    let effects = b.event(Event::LoadFailed { job: load, message: "paused".into(), why: NotLoaded::Paused });
    let asked = |e: &Effect| matches!(e, Effect::Ask(Request::Setup { setup, .. }) if setup.normal == ["cat"]);
    assert!(effects.iter().any(asked), "{effects:?}");
}

#[test]
fn a_model_that_came_when_another_was_asked_for_is_what_the_worker_has() {
    let mut b = Bench::ready();
    b.add(&["a.jpg"]);
    b.run_queue(|_| 0.5);
    b.act(Action::LoadModel(Some("first".into())));
    let first = b.last_job();
    b.act(Action::LoadModel(Some("second".into())));
    let second = b.last_job();
    b.event(Event::Ready { job: first, model: info("first") });
    assert!(matches!(b.state.model, Model::Loading { .. }));
    b.event(Event::LoadFailed { job: second, message: "no such file".into(), why: NotLoaded::Failed });
    assert_eq!(b.state.ready().map(|m| m.entry.id.as_str()), Some("first"));
    assert_eq!(b.phases(), ["queued"]);
    let job = b.state.setup_job;
    b.event(Event::SetupDone { job, entries: entries(), notes: vec![], timings: Timings::default() });
    assert_eq!(b.run_queue(|_| 0.25), [ImageId(1)]);
    assert_eq!(b.phases(), ["done"]);
}

#[test]
fn a_refused_setup_says_what_scores_are_for() {
    let mut b = Bench::ready();
    b.act(Action::SetTemplates("no braces".into()));
    b.event(Event::SetupFailed { job: b.state.setup_job, message: "expected “{}”".into() });
    assert_eq!(b.state.setup_error.as_deref(), Some("expected “{}”. Until then, scores are those for: dog."));
    let mut b = Bench::default();
    b.act(Action::WorkerAlive);
    b.event(Event::Ready { job: b.last_job(), model: info("mini") });
    b.event(Event::SetupFailed { job: b.state.setup_job, message: "expected “{}”".into() });
    assert_eq!(b.state.setup_error.as_deref(), Some("expected “{}”. Until then, pictures wait."));
}

#[test]
fn a_frozen_picture_is_scored_by_new_texts() {
    let mut b = Bench::ready();
    b.act(Action::StartCamera);
    b.act(Action::CameraLive);
    b.act(Action::FreezeCamera(true));
    assert!(b.act(Action::FrameDue).is_empty());
    b.act(Action::SetNormal(vec!["cat".into()]));
    let effects = b.event(Event::SetupDone {
        job: b.state.setup_job,
        entries: entries(),
        notes: vec![],
        timings: Timings::default(),
    });
    let [Effect::SendFrame { job }] = effects[..] else { panic!("{effects:?}") };
    let effects = b.event(Event::FrameScored { job, score: score(0.75), timings: Timings::default() });
    assert!(effects.is_empty(), "{effects:?}");
    let latest = b.state.camera.as_ref().and_then(|c| c.latest.as_ref()).map(|l| l.0.value);
    assert_eq!(latest, Some(0.75));
}

#[test]
fn a_link_to_another_model_leaves_a_picked_file() {
    let mut b = Bench::ready();
    b.act(Action::PickModel("own.gguf".into()));
    b.come_up("own");
    let effects = b.act(Action::OpenLink("model=mini".into()));
    let asked = |e: &Effect| matches!(e, Effect::Ask(Request::Load { model: Some(id), .. }) if id == "mini");
    assert!(effects.iter().any(asked), "{effects:?}");
}

#[test]
fn a_method_without_a_threshold_is_cut_in_the_middle_of_its_scores() {
    let mut b = Bench::default();
    b.act(Action::WorkerAlive);
    let mut model = info("mini");
    model.methods.push(MethodInfo { id: "mcm".into(), ..model.methods[0].clone() });
    b.event(Event::Ready { job: b.last_job(), model });
    b.act(Action::SetMethod("mcm".into()));
    b.event(Event::SetupDone {
        job: b.state.setup_job,
        entries: entries(),
        notes: vec![],
        timings: Timings::default(),
    });
    b.add(&["a.jpg", "b.jpg"]);
    b.run_queue(|id| if id.0 == 1 { 0.0 } else { 0.5 });
    assert_eq!(b.state.threshold_in_use(), 0.25);
}
