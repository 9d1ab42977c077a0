//! Hands: further workers of this worker that see pictures while many wait, where threads do not share the work on each ([`crate::threads`]). Each runs the same
//! program, compiled once, and opens the same file of the same model; nothing is fetched again. Who sees what, and in which order
//! answers leave, is [`sharing`](oddlens::engine::sharing)'s; this starts hands, speaks with them, and ends them.
//!
//! The script that started this worker (www/worker-boot.js) starts them, since addresses and version marks are its business; where
//! there may be any, it gives us the function `startHand` and the number `coresForWorkers`.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use gloo::timers::callback::Timeout;
use js_sys::{Array, ArrayBuffer, Function, Reflect, Uint8Array};
use oddlens::engine::pipeline::{Failure, Sight};
use oddlens::engine::sharing::{Answer, HandId, Sharing, Ticket, workers_for};
use oddlens::link::owner_side::{Heard, WorkerLink, new_name};
use oddlens::link::worker_side::post;
use oddlens::link::{FromHand, FromWorker, ToHand, error_text};
use oddlens::protocol::{ImageId, JobId};
use oddlens::weights::{Source, source};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{Blob, File};

use crate::hand;
use crate::threads;
use crate::work::{device_gib, now, turn};

/// Hands that may die one after the other, with no picture seen between, before it is left at that.
const MAX_DEATHS: u32 = 3;
/// Silence after which a hand that has something to do counts as hung; the page's patience with this worker is 60 s.
const SILENCE_MILLIS: u32 = 40_000;
/// How long hands stay when there is nothing to see.
const REST_MILLIS: u32 = 10_000;
/// A frame of the camera that is no older means that another will come: this worker keeps itself free for it.
const CAMERA_MILLIS: f64 = 1_000.0;

/// The model in use, as hands can open it.
pub struct Model {
    pub file: File,
    /// Its name in this browser's store, where it lies there.
    pub stored: Option<String>,
    /// What it takes here, bytes.
    pub memory_bytes: u64,
    /// What its image tower alone takes, bytes.
    pub image_tower_bytes: u64,
}

/// A picture for this worker to see.
pub struct Own {
    pub ticket: Ticket,
    pub file: ArrayBuffer,
}

/// All hands, and the pictures that are not answered.
pub struct Hands {
    sharing: RefCell<Sharing<ArrayBuffer>>,
    hands: RefCell<Vec<Hand>>,
    model: RefCell<Option<Model>>,
    next: Cell<u32>,
    deaths: Cell<u32>,
    /// The clock's time of the last frame of a camera.
    framed: Cell<f64>,
    rest: RefCell<Option<Timeout>>,
    /// Workers that can see, and bytes of those beside this one, as the page was told.
    told: Cell<(u32, u64)>,
    /// Called when there may be answers, or pictures for this worker.
    changed: Box<dyn Fn()>,
}

struct Hand {
    id: HandId,
    link: WorkerLink,
    /// Bytes of its model, once it can see.
    memory_bytes: Option<u64>,
    watch: Option<Timeout>,
}

/// How many workers may work with a model that takes so many bytes, this one among them, where others hold but its image tower.
fn most_workers(memory_bytes: u64, image_tower_bytes: u64) -> usize {
    let device = device_gib().map(|gib| (gib * f64::from(1 << 30)) as u64);
    workers_for(cores(), device, memory_bytes, image_tower_bytes)
}

/// How many workers there are cores for; 0 where there cannot be several.
fn cores() -> usize {
    Reflect::get(&js_sys::global(), &"coresForWorkers".into()).ok().and_then(|n| n.as_f64()).map_or(0, |n| n as usize)
}

/// A model's bytes as a file of the browser's, one for all hands; none where there cannot be hands with such a model.
pub fn file_of(model: &dyn Source) -> Option<File> {
    // in 8 bits a model takes as much as its file, and the browser keeps that, too; a tower takes most of it at worst
    if threads::are_worth_it(model.size()) || most_workers(2 * model.size(), model.size()) == 1 {
        return None;
    }
    let pieces = Array::new();
    for piece in source::pieces(model) {
        let piece = Uint8Array::from(&*piece.ok()?);
        pieces.push(&Blob::new_with_u8_array_sequence(&Array::of1(&piece)).ok()?.into());
    }
    File::new_with_blob_sequence(&pieces, "model.gguf").ok()
}

impl Hands {
    pub fn new(changed: impl Fn() + 'static) -> Rc<Self> {
        Rc::new(Self {
            sharing: RefCell::default(),
            hands: RefCell::default(),
            model: RefCell::default(),
            next: Cell::new(0),
            deaths: Cell::new(0),
            framed: Cell::new(f64::NEG_INFINITY),
            rest: RefCell::default(),
            told: Cell::new((1, 0)),
            changed: Box::new(changed),
        })
    }

    /// A picture's file that is to be seen.
    pub fn add(self: &Rc<Self>, job: JobId, image: ImageId, file: ArrayBuffer) {
        self.sharing.borrow_mut().add(job, image, file);
        self.deal();
    }

    /// Many pictures wait: as many hands as there may be are started.
    pub fn gather(self: &Rc<Self>) {
        while self.hands.borrow().len() < self.most() {
            if let Err(why) = self.start() {
                self.deaths.set(MAX_DEATHS);
                warn(&format!("no further worker can be started: {why}"));
            }
        }
        self.look_around();
    }

    /// Whether there are any, though they may not see yet.
    pub fn any(&self) -> bool {
        !self.hands.borrow().is_empty()
    }

    /// A camera is on: this worker is for it.
    pub fn frame(&self) {
        self.framed.set(now());
    }

    /// Whether this worker is not to see pictures: it waits for the camera, and others see.
    fn is_reserved(&self) -> bool {
        now() - self.framed.get() < CAMERA_MILLIS && self.told.get().0 > 1
    }

    /// The next picture for this worker.
    pub fn take(&self) -> Option<Own> {
        if self.is_reserved() {
            return None;
        }
        let mut sharing = self.sharing.borrow_mut();
        let (ticket, job, file) = sharing.take(self.any())?;
        if self.any() {
            post(&FromWorker::Begun { job }, vec![]);
        }
        Some(Own { ticket, file: file.clone() })
    }

    /// Whether there is a picture for this worker; with `before`: one that came before that.
    pub fn has_own(&self, before: Option<Ticket>) -> bool {
        let next = self.sharing.borrow().first_own(self.any());
        !self.is_reserved() && next.is_some_and(|next| before.is_none_or(|before| next < before))
    }

    /// The ticket that the next picture gets.
    pub fn next_ticket(&self) -> Ticket {
        self.sharing.borrow().next_ticket()
    }

    /// What came of this worker's picture.
    pub fn done(&self, ticket: Ticket, seen: Result<Sight, Failure>) {
        self.sharing.borrow_mut().done(ticket, seen);
    }

    /// The next answer, if its turn has come.
    pub fn answer(self: &Rc<Self>) -> Option<Answer> {
        let answer = self.sharing.borrow_mut().answer();
        if answer.is_none() {
            self.look_around();
        }
        answer
    }

    /// The page does not know these pictures any more.
    pub fn forget(&self, images: &[ImageId]) {
        self.sharing.borrow_mut().forget(images);
    }

    /// Another model is in use: the hands of the last one are ended. Gives the pictures that were not answered.
    pub fn use_model(&self, model: Option<Model>) -> Vec<(JobId, ImageId)> {
        *self.model.borrow_mut() = model;
        self.deaths.set(0);
        self.end();
        self.sharing.borrow_mut().clear()
    }

    /// The file of the model in use is there only now.
    pub fn open_from(&self, model: Model) {
        *self.model.borrow_mut() = Some(model);
    }

    /// The file of the model in use is gone: hands that have read it see on, and no further ones are started.
    pub fn start_no_more(&self) {
        *self.model.borrow_mut() = None;
    }

    fn end(&self) {
        drop_later((self.rest.take(), self.hands.take()));
        self.tell();
    }

    /// How many hands there may be.
    fn most(&self) -> usize {
        let model = self.model.borrow();
        let Some(model) = model.as_ref().filter(|_| self.deaths.get() < MAX_DEATHS) else { return 0 };
        if threads::are_worth_it(model.memory_bytes) {
            return 0;
        }
        // a file that is not in the store is in memory
        let kept = if model.stored.is_some() { 0 } else { model.file.size() as u64 };
        most_workers(model.memory_bytes + kept, model.image_tower_bytes) - 1
    }

    fn start(self: &Rc<Self>) -> Result<(), String> {
        let id = HandId(self.next.get());
        self.next.set(id.0 + 1);
        let name = new_name(hand::NAME);
        let start = Reflect::get(&js_sys::global(), &"startHand".into()).and_then(JsCast::dyn_into::<Function>);
        let start = start.map_err(|_| "this page starts none")?;
        let worker = start.call2(&JsValue::NULL, &name.as_str().into(), &wasm_bindgen::module());
        let worker = worker.map_err(|e| error_text(&e))?.unchecked_into();
        let hands = Rc::downgrade(self);
        let link = WorkerLink::over(worker, name, move |heard| {
            if let Some(hands) = hands.upgrade() {
                hands.hear(id, heard);
            }
        });
        let watch = Some(self.watch(id));
        self.hands.borrow_mut().push(Hand { id, link, memory_bytes: None, watch });
        Ok(())
    }

    fn watch(self: &Rc<Self>, id: HandId) -> Timeout {
        let hands: Weak<Self> = Rc::downgrade(self);
        Timeout::new(SILENCE_MILLIS, move || {
            if let Some(hands) = hands.upgrade() {
                hands.lose(id, &format!("no answer for {} s", SILENCE_MILLIS / 1000));
            }
        })
    }

    fn hear(self: &Rc<Self>, id: HandId, heard: Heard<FromHand>) {
        let (said, buffers) = match heard {
            Heard::Alive => return self.open(id),
            Heard::Died(how) => return self.lose(id, &how),
            Heard::Said(said, buffers) => (said, buffers),
        };
        match said {
            FromHand::Open { memory_bytes } => {
                if let Some(hand) = self.hands.borrow_mut().iter_mut().find(|hand| hand.id == id) {
                    hand.memory_bytes = Some(memory_bytes);
                }
                self.tell();
                self.deal_to(id);
            }
            FromHand::Seen { ticket, info, timings } => {
                let [thumbnail, opaque] = [0, 1].map(|i| buffers.get(i).map(|b| Uint8Array::new(b).to_vec()));
                let opaque = opaque.unwrap_or_default();
                let embedding = opaque.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
                let sight = Sight { info, embedding, thumbnail: thumbnail.unwrap_or_default(), timings };
                self.hear_seen(id, Ticket(ticket), Ok(sight));
            }
            FromHand::NotSeen { ticket, stage, message } => {
                self.hear_seen(id, Ticket(ticket), Err(Failure { stage, message }));
            }
            // the link keeps these to itself
            FromHand::Alive | FromHand::Trouble(_) => {}
        }
    }

    fn hear_seen(self: &Rc<Self>, id: HandId, ticket: Ticket, seen: Result<Sight, Failure>) {
        self.deaths.set(0);
        self.sharing.borrow_mut().done(ticket, seen);
        self.deal_to(id);
        (self.changed)();
    }

    fn open(self: &Rc<Self>, id: HandId) {
        let sent = {
            let (hands, model) = (self.hands.borrow(), self.model.borrow());
            let Some((hand, model)) = hands.iter().find(|hand| hand.id == id).zip(model.as_ref()) else { return };
            let open = ToHand::Open { stored: model.stored.clone() };
            hand.link.send(&open, &[], None, Some(&model.file))
        };
        if let Err(why) = sent {
            self.lose(id, &why);
        }
    }

    /// Gives pictures to all hands that have room.
    fn deal(self: &Rc<Self>) {
        let ids: Vec<HandId> = self.hands.borrow().iter().map(|hand| hand.id).collect();
        for id in ids {
            self.deal_to(id);
        }
        self.look_around();
    }

    fn deal_to(self: &Rc<Self>, id: HandId) {
        let sent = {
            let (mut hands, mut sharing) = (self.hands.borrow_mut(), self.sharing.borrow_mut());
            let hand = hands.iter_mut().find(|hand| hand.id == id && hand.memory_bytes.is_some());
            let Some(hand) = hand else { return };
            let mut sent = Ok(());
            while let (Ok(()), Some((Ticket(ticket), file))) = (&sent, sharing.give(id)) {
                sent = hand.link.send_copy(&ToHand::See { ticket }, file);
            }
            hand.watch = sharing.has_given(id).then(|| self.watch(id));
            sent
        };
        if let Err(why) = sent {
            self.lose(id, &why);
        }
    }

    /// A hand has died, or is no use: another one takes its place, as long as that makes sense.
    fn lose(self: &Rc<Self>, id: HandId, how: &str) {
        {
            let mut hands = self.hands.borrow_mut();
            let Some(at) = hands.iter().position(|hand| hand.id == id) else { return };
            drop_later(hands.remove(at));
        }
        self.deaths.set(self.deaths.get() + 1);
        warn(&format!("a further worker has ended: {how}"));
        self.sharing.borrow_mut().lose(id, how);
        if !self.sharing.borrow().is_empty() {
            self.gather();
        }
        self.tell();
        self.deal();
        (self.changed)();
    }

    /// Tells the page how many workers see, where that has changed.
    fn tell(&self) {
        let ready: Vec<u64> = self.hands.borrow().iter().filter_map(|hand| hand.memory_bytes).collect();
        let now = (1 + ready.len() as u32, ready.iter().sum());
        if self.told.replace(now) != now {
            post(&FromWorker::Workers { count: now.0, further_bytes: now.1 }, vec![]);
        }
    }

    /// Ends the hands in a while, if there is nothing to see.
    fn look_around(self: &Rc<Self>) {
        let mut rest = self.rest.borrow_mut();
        if !self.sharing.borrow().is_empty() || !self.any() {
            *rest = None;
        } else if rest.is_none() {
            let hands = Rc::downgrade(self);
            *rest = Some(Timeout::new(REST_MILLIS, move || {
                if let Some(hands) = hands.upgrade() {
                    hands.end();
                }
            }));
        }
    }
}

fn warn(text: &str) {
    web_sys::console::warn_1(&text.into());
}

/// Links and timers are not dropped from within what they call.
fn drop_later<T: 'static>(ended: T) {
    spawn_local(async move {
        turn().await;
        drop(ended);
    });
}
