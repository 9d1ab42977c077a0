//! Cosines of kept pictures with normal examples, each computed once: a class or a label changes who is an example, never how much
//! two pictures are alike.

use std::collections::BTreeMap;

use super::learning::Kept;
use crate::embedding::cosine;
use crate::protocol::ImageId;

/// Cosines that are remembered at most, 4 bytes each; with more pictures than that they are computed anew whenever asked for.
const MAX_REMEMBERED: usize = 8 << 20;

/// What has been computed so far.
#[derive(Default)]
pub struct Cosines {
    /// A column for every picture, in order of arrival here.
    columns: BTreeMap<ImageId, usize>,
    order: Vec<ImageId>,
    /// By example: its cosines with the pictures of the first columns.
    rows: BTreeMap<ImageId, Vec<f32>>,
}

impl Cosines {
    /// Nothing is known any more of what may have changed.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// A picture is gone; another one may come under its number.
    pub fn forget(&mut self, image: ImageId) {
        self.columns.remove(&image);
        self.rows.remove(&image);
    }

    /// Calls `each` for all of `kept`, in its order, with the picture's cosines with `examples`, in theirs.
    ///
    /// # Panics
    /// When an example is not kept.
    pub fn for_each(&mut self, kept: &Kept, examples: &[ImageId], mut each: impl FnMut(ImageId, &[f32], &[f32])) {
        let mut row = Vec::with_capacity(examples.len());
        if kept.len().saturating_mul(examples.len()) > MAX_REMEMBERED {
            self.clear();
            let vectors: Vec<&Vec<f32>> = examples.iter().map(|example| &kept[example]).collect();
            for (&image, picture) in kept {
                row.clear();
                row.extend(vectors.iter().map(|vector| cosine(vector, picture)));
                each(image, picture, &row);
            }
            return;
        }
        self.complete(kept, examples);
        let rows: Vec<&Vec<f32>> = examples.iter().map(|example| &self.rows[example]).collect();
        for (&image, picture) in kept {
            let column = self.columns[&image];
            row.clear();
            row.extend(rows.iter().map(|cosines| cosines[column]));
            each(image, picture, &row);
        }
    }

    /// Computes what is lacking.
    fn complete(&mut self, kept: &Kept, examples: &[ImageId]) {
        // pictures that are gone, and examples that are none any more, are not carried along for ever
        if self.rows.len() * self.order.len() > 2 * MAX_REMEMBERED {
            self.clear();
        }
        for &image in kept.keys() {
            self.columns.entry(image).or_insert_with(|| {
                self.order.push(image);
                self.order.len() - 1
            });
        }
        for example in examples {
            let vector = &kept[example];
            let row = self.rows.entry(*example).or_default();
            for image in &self.order[row.len()..] {
                row.push(kept.get(image).map_or(0.0, |picture| cosine(vector, picture)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_pictures_and_examples() {
        let vector = |i: u32| vec![(i as f32).cos(), (i as f32).sin()];
        let mut kept: Kept = (1..=4).map(|i| (ImageId(i), vector(i))).collect();
        let mut cosines = Cosines::default();
        let check = |cosines: &mut Cosines, kept: &Kept, examples: &[u32]| {
            let examples: Vec<ImageId> = examples.iter().copied().map(ImageId).collect();
            let mut seen = Vec::new();
            cosines.for_each(kept, &examples, |image, picture, row| {
                assert_eq!(picture, &kept[&image]);
                let expected: Vec<f32> = examples.iter().map(|e| cosine(&kept[e], picture)).collect();
                assert_eq!(row, expected);
                seen.push(image);
            });
            assert!(seen.iter().eq(kept.keys()));
        };
        check(&mut cosines, &kept, &[]);
        check(&mut cosines, &kept, &[2]);
        check(&mut cosines, &kept, &[4, 2]);
        kept.remove(&ImageId(1));
        kept.insert(ImageId(7), vector(7));
        check(&mut cosines, &kept, &[2, 7]);
        // an earlier number that arrives later
        kept.insert(ImageId(5), vector(5));
        check(&mut cosines, &kept, &[5, 4, 2]);
        // and one that is another picture now
        cosines.forget(ImageId(2));
        kept.insert(ImageId(2), vector(9));
        check(&mut cosines, &kept, &[2, 4]);
        check(&mut cosines, &Kept::new(), &[]);
    }
}
