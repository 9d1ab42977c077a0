//! A hand: this program in a further worker, started by the engine's own ([`crate::hands`]) to see pictures. It has the model's image
//! tower and nothing else: no texts, no session, no network. It does not know the page.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::ArrayBuffer;
use oddlens::clip::on_demand::OnDemand;
use oddlens::engine::pipeline::{Failure, Sight};
use oddlens::link::worker_side::{listen, post};
use oddlens::link::{FromHand, Received, ToHand};
use oddlens::protocol::Stage;
use oddlens::quant::Fastest;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{DedicatedWorkerGlobalScope, File};

use crate::blob::BlobSource;
use crate::look::look;
use crate::store;
use crate::work::now;

/// How the names of hands begin.
pub const NAME: &str = "oddlens-hand";

/// Whether this instance is one.
pub fn is_hand() -> bool {
    js_sys::global().unchecked_into::<DedicatedWorkerGlobalScope>().name().starts_with(NAME)
}

#[derive(Default)]
struct Hand {
    model: RefCell<Option<Rc<OnDemand>>>,
    waiting: RefCell<VecDeque<Received<ToHand>>>,
    busy: Cell<bool>,
}

pub fn start() {
    console_error_panic_hook::set_once();
    let hand = Rc::new(Hand::default());
    listen::<ToHand, FromHand>(move |received| {
        hand.waiting.borrow_mut().push_back(received);
        if !hand.busy.replace(true) {
            spawn_local(hand.clone().work());
        }
    });
}

impl Hand {
    /// What was asked for, one after the other.
    async fn work(self: Rc<Self>) {
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            let Some(received) = next else { break };
            match received.message {
                ToHand::Open { stored } => match open(received.file, stored).await {
                    Ok(model) => {
                        post(&FromHand::Open { memory_bytes: model.clip().memory_bytes() as u64 }, vec![]);
                        *self.model.borrow_mut() = Some(Rc::new(model));
                    }
                    Err(why) => post(&FromHand::Trouble(why), vec![]),
                },
                ToHand::See { ticket } => {
                    let model = self.model.borrow().clone();
                    answer(ticket, see(model, received.buffers.first()).await);
                }
            }
        }
        self.busy.set(false);
    }
}

/// The image tower of a model's file.
async fn open(file: Option<File>, stored: Option<String>) -> Result<OnDemand, String> {
    let file = file.ok_or("the model's file did not arrive")?;
    let access = match stored {
        Some(name) => store::reading(&name).await.ok(),
        None => None,
    };
    let model = OnDemand::open(BlobSource::with(file.into(), access)?, &Fastest::by(now)).map_err(|e| e.to_string())?;
    model.rest();
    Ok(model)
}

async fn see(model: Option<Rc<OnDemand>>, file: Option<&ArrayBuffer>) -> Result<Sight, Failure> {
    let model = model.ok_or_else(|| Failure::new(Stage::Worker, "a worker was asked before it had a model"))?;
    let file = file.ok_or_else(|| Failure::new(Stage::Worker, "the picture did not arrive"))?;
    look(&*model, file).await
}

fn answer(ticket: u32, seen: Result<Sight, Failure>) {
    match seen {
        Ok(Sight { info, embedding, thumbnail, timings }) => {
            let embedding = embedding.iter().flat_map(|v| v.to_le_bytes()).collect();
            post(&FromHand::Seen { ticket, info, timings }, vec![thumbnail, embedding]);
        }
        Err(Failure { stage, message }) => post(&FromHand::NotSeen { ticket, stage, message }, vec![]),
    }
}
