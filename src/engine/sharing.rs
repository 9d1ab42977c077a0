//! Who sees which picture, where further workers ("hands") help the engine's own: plain bookkeeping.
//!
//! Pictures are dealt in order of arrival and their answers leave in order of arrival, whoever is done first. A hand that dies loses
//! nothing: what it had goes to others, and a picture on which [`DEADLY`] hands died is refused. It does not know what a hand is, nor
//! where the picture's bytes (`B`) are.

use std::collections::VecDeque;

use super::pipeline::{Failure, Sight};
use crate::protocol::{ImageId, JobId, Stage};

/// Pictures that a hand is given ahead: one that it sees, one that waits, so that it is never idle.
const AHEAD: usize = 2;
/// So many hands die of one picture before it is refused: the first may have died of something else.
const DEADLY: u32 = 2;
/// Workers in all, at most: a browser's other work needs cores, too, and each worker holds a model.
pub const MOST_WORKERS: usize = 4;
/// What a worker takes beside the model: its program, the pictures that it is given, and the largest of them in pixels
/// (12 megapixels are 48 MB, and there are two copies while it is made smaller).
const WORKING_BYTES: u64 = 128 << 20;
/// The share of the device's memory that all workers may take together.
const SHARE: u64 = 4;
/// What they may take where the browser does not say how much memory there is: a share of a phone's 4 GB.
const UNTOLD_BYTES: u64 = 1 << 30;

/// How many workers may work at a time, the engine's own among them, at least 1: as many as cores, within memory. The engine's holds
/// `model_bytes`, each other one `image_tower_bytes`.
pub fn workers_for(cores: usize, device_bytes: Option<u64>, model_bytes: u64, image_tower_bytes: u64) -> usize {
    let budget = device_bytes.map_or(UNTOLD_BYTES, |bytes| bytes / SHARE);
    let further = budget.saturating_sub(model_bytes + WORKING_BYTES) / (image_tower_bytes + WORKING_BYTES);
    let cores = cores.clamp(1, MOST_WORKERS);
    cores.min(1 + usize::try_from(further).unwrap_or(MOST_WORKERS))
}

/// Names one picture here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u32);

/// Names one hand; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandId(pub u32);

/// Pictures that are not answered yet, in order of arrival.
#[derive(Debug)]
pub struct Sharing<B> {
    pictures: VecDeque<Picture<B>>,
    next: u32,
}

#[derive(Debug)]
struct Picture<B> {
    ticket: Ticket,
    job: JobId,
    image: ImageId,
    bytes: B,
    whose: Whose,
    /// Hands that died of it.
    deaths: u32,
    /// The page does not know the picture any more.
    forgotten: bool,
}

#[derive(Debug, PartialEq)]
enum Whose {
    Nobodys,
    Own,
    Hands(HandId),
    Done(Box<Result<Sight, Failure>>),
}

/// A picture whose turn it is to be answered.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub job: JobId,
    pub image: ImageId,
    pub seen: Result<Sight, Failure>,
    /// It was to be forgotten meanwhile.
    pub forgotten: bool,
}

impl<B> Default for Sharing<B> {
    fn default() -> Self {
        Self { pictures: VecDeque::new(), next: 0 }
    }
}

impl<B> Sharing<B> {
    /// A picture that is to be seen.
    pub fn add(&mut self, job: JobId, image: ImageId, bytes: B) {
        let ticket = Ticket(self.next);
        self.next += 1;
        let (whose, deaths, forgotten) = (Whose::Nobodys, 0, false);
        self.pictures.push_back(Picture { ticket, job, image, bytes, whose, deaths, forgotten });
    }

    /// Whether all pictures are answered.
    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }

    /// Whether a hand has pictures.
    pub fn has_given(&self, hand: HandId) -> bool {
        self.pictures.iter().any(|p| p.whose == Whose::Hands(hand))
    }

    /// The next picture for a hand; none where it has enough, or there is none. The bytes stay here until the picture is answered.
    pub fn give(&mut self, hand: HandId) -> Option<(Ticket, &B)> {
        let has = self.pictures.iter().filter(|p| p.whose == Whose::Hands(hand)).count();
        let next = self.pictures.iter_mut().find(|p| p.whose == Whose::Nobodys).filter(|_| has < AHEAD)?;
        next.whose = Whose::Hands(hand);
        Some((next.ticket, &next.bytes))
    }

    /// The next picture for the engine's own worker; while there are hands, none that one has died of.
    pub fn take(&mut self, has_hands: bool) -> Option<(Ticket, JobId, &B)> {
        let harmless = |p: &&mut Picture<B>| p.whose == Whose::Nobodys && !(has_hands && p.deaths > 0);
        let next = self.pictures.iter_mut().find(harmless)?;
        next.whose = Whose::Own;
        Some((next.ticket, next.job, &next.bytes))
    }

    /// What [`Sharing::take`] would give.
    pub fn first_own(&self, has_hands: bool) -> Option<Ticket> {
        let harmless = |p: &&Picture<B>| p.whose == Whose::Nobodys && !(has_hands && p.deaths > 0);
        self.pictures.iter().find(harmless).map(|p| p.ticket)
    }

    /// The ticket that the next picture gets: larger than all before.
    pub fn next_ticket(&self) -> Ticket {
        Ticket(self.next)
    }

    /// What came of a picture; whether anybody waits for that.
    pub fn done(&mut self, ticket: Ticket, seen: Result<Sight, Failure>) -> bool {
        let given = |p: &&mut Picture<B>| p.ticket == ticket && matches!(p.whose, Whose::Own | Whose::Hands(_));
        let Some(picture) = self.pictures.iter_mut().find(given) else { return false };
        picture.whose = Whose::Done(Box::new(seen));
        true
    }

    /// A hand has died, and how: the first picture that it had may be to blame, all of them are others' now.
    pub fn lose(&mut self, hand: HandId, how: &str) {
        let mut at_work = true;
        for picture in self.pictures.iter_mut().filter(|p| p.whose == Whose::Hands(hand)) {
            picture.whose = Whose::Nobodys;
            if std::mem::take(&mut at_work) {
                picture.deaths += 1;
                if picture.deaths >= DEADLY {
                    let message = format!("{} workers stopped on this picture ({how})", picture.deaths);
                    picture.whose = Whose::Done(Box::new(Err(Failure::new(Stage::Worker, message))));
                }
            }
        }
    }

    /// The next answer, if its turn has come.
    pub fn answer(&mut self) -> Option<Answer> {
        let Picture { job, image, whose, forgotten, .. } =
            self.pictures.pop_front_if(|p| matches!(p.whose, Whose::Done(_)))?;
        match whose {
            Whose::Done(seen) => Some(Answer { job, image, seen: *seen, forgotten }),
            _ => None,
        }
    }

    /// These pictures are not wanted any more. They are answered all the same, since somebody counts.
    pub fn forget(&mut self, images: &[ImageId]) {
        for picture in self.pictures.iter_mut().filter(|p| images.contains(&p.image)) {
            picture.forgotten = true;
        }
    }

    /// All pictures that are not answered: nobody sees them here any more.
    pub fn clear(&mut self) -> Vec<(JobId, ImageId)> {
        self.pictures.drain(..).map(|p| (p.job, p.image)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Decoder, PictureInfo, Timings};

    const ONE: HandId = HandId(1);
    const TWO: HandId = HandId(2);

    fn sight(n: u32) -> Result<Sight, Failure> {
        let info = PictureInfo { width: n, height: 1, format: "PNG".into(), decoder: Decoder::Oddlens };
        Ok(Sight { info, embedding: vec![1.0], thumbnail: vec![], timings: Timings::default() })
    }

    fn some(count: u32) -> Sharing<u32> {
        let mut sharing = Sharing::default();
        for n in 0..count {
            sharing.add(JobId(10 + n), ImageId(n), n);
        }
        sharing
    }

    fn give(sharing: &mut Sharing<u32>, hand: HandId) -> Option<u32> {
        sharing.give(hand).map(|(Ticket(ticket), &bytes)| {
            assert_eq!(ticket, bytes);
            ticket
        })
    }

    fn take(sharing: &mut Sharing<u32>, has_hands: bool) -> Option<u32> {
        sharing.take(has_hands).map(|(Ticket(ticket), job, &bytes)| {
            assert_eq!((ticket, job), (bytes, JobId(10 + bytes)));
            ticket
        })
    }

    fn answers(sharing: &mut Sharing<u32>) -> Vec<u32> {
        std::iter::from_fn(|| sharing.answer().map(|a| a.image.0)).collect()
    }

    #[test]
    fn answers_leave_in_order_of_arrival() {
        let mut sharing = some(6);
        assert_eq!(
            [give(&mut sharing, ONE), give(&mut sharing, ONE), give(&mut sharing, ONE)],
            [Some(0), Some(1), None]
        );
        assert_eq!([take(&mut sharing, true), give(&mut sharing, TWO)], [Some(2), Some(3)]);
        assert!(sharing.done(Ticket(2), sight(2)) && sharing.done(Ticket(1), sight(1)));
        assert_eq!(answers(&mut sharing), [] as [u32; 0], "the first is not done");
        // a hand that is done with its second has room for one
        assert_eq!([give(&mut sharing, ONE), give(&mut sharing, ONE)], [Some(4), None]);
        assert!(sharing.done(Ticket(0), sight(0)));
        assert!(!sharing.done(Ticket(0), sight(0)), "once");
        assert_eq!(answers(&mut sharing), [0, 1, 2]);
        for n in [5, 4, 3] {
            take(&mut sharing, true);
            assert!(sharing.done(Ticket(n), sight(n)));
        }
        assert_eq!(answers(&mut sharing), [3, 4, 5]);
        assert!(sharing.is_empty());
    }

    #[test]
    fn a_hand_that_dies_loses_nothing() {
        let mut sharing = some(4);
        assert_eq!(
            [give(&mut sharing, ONE), give(&mut sharing, ONE), take(&mut sharing, true)],
            [Some(0), Some(1), Some(2)]
        );
        assert!(sharing.has_given(ONE) && !sharing.has_given(TWO));
        sharing.lose(ONE, "trap");
        assert!(!sharing.has_given(ONE));
        assert!(!sharing.done(Ticket(0), sight(0)), "the dead have no say");
        // the first may have killed it: that is for another hand
        assert_eq!([take(&mut sharing, true), give(&mut sharing, TWO)], [Some(1), Some(0)]);
        for n in 0..3 {
            assert!(sharing.done(Ticket(n), sight(n)));
        }
        assert_eq!(answers(&mut sharing), [0, 1, 2]);
    }

    #[test]
    fn a_picture_that_kills_is_refused() {
        let mut sharing = some(2);
        give(&mut sharing, ONE);
        sharing.lose(ONE, "trap");
        // without hands it is the worker's own, which may die of it
        assert_eq!([true, false].map(|hands| sharing.first_own(hands)), [Some(Ticket(1)), Some(Ticket(0))]);
        assert_eq!([give(&mut sharing, TWO), give(&mut sharing, TWO)], [Some(0), Some(1)]);
        assert_eq!(sharing.first_own(false), None);
        sharing.lose(TWO, "out of memory");
        let refused = sharing.answer().expect("its turn");
        let failure = refused.seen.expect_err("it killed");
        assert_eq!((failure.stage, failure.message.contains("out of memory")), (Stage::Worker, true), "{failure:?}");
        assert!(!failure.message.contains('\n'));
        assert_eq!(take(&mut sharing, false), Some(1));
    }

    #[test]
    fn what_is_forgotten_is_answered_and_marked() {
        let mut sharing = some(2);
        sharing.forget(&[ImageId(1), ImageId(7)]);
        for n in 0..2 {
            take(&mut sharing, false);
            sharing.done(Ticket(n), sight(n));
        }
        assert_eq!([sharing.answer(), sharing.answer()].map(|a| a.expect("done").forgotten), [false, true]);
        let mut sharing = some(2);
        give(&mut sharing, ONE);
        assert_eq!(sharing.clear(), [(JobId(10), ImageId(0)), (JobId(11), ImageId(1))]);
        assert!(!sharing.done(Ticket(0), sight(0)) && sharing.answer().is_none());
    }

    #[test]
    fn workers_keep_within_cores_and_memory() {
        let (mib, gib) = (1 << 20, 1 << 30);
        // a ViT-B/32 in 8 bits: 186 MB, of which 88 MB see
        let b32 = |cores, memory| workers_for(cores, memory, 186 * mib, 88 * mib);
        assert_eq!([0, 1, 2, 4, 64].map(|cores| b32(cores, None)), [1, 1, 2, 4, 4]);
        assert_eq!([1, 2, 4, 8].map(|memory| b32(8, Some(memory * gib))), [1, 1, 4, 4]);
        // a ViT-L/14: 430 MB, of which 305 MB see
        let l14 = |memory| workers_for(8, memory, 430 * mib, 305 * mib);
        assert_eq!([None, Some(4 * gib), Some(8 * gib), Some(32 * gib)].map(l14), [2, 2, 4, 4]);
        assert_eq!(workers_for(8, Some(u64::MAX), 0, 0), 4);
    }
}
