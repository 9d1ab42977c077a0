//! A file converted while it still comes: its matrices, one after the other as they lie there, in the form in which a [`Conversion`] stores them.
//! The rest of a conversion needs the whole file, and goes on from what was made: it reads those matrices instead of making them, where they lie
//! and are what they seemed.
//!
//! It does not know whence a file comes, nor where what is made is put.
//!
//! [`Conversion`]: super::convert::Conversion

use std::collections::BTreeMap;
use std::ops::Range;

use super::convert::{Quant, converted_piece, numbers_at_once, rows_of, stored_as};
use super::gguf::OutHeader;
use super::{Checkpoint, DType, Source, TensorInfo, WeightsError, count};

/// The matrices of a file of which the beginning can be read.
pub struct Ahead {
    checkpoint: Checkpoint,
    /// In the order in which they come.
    matrices: Vec<OutHeader>,
    /// The one that is made, and how many of its numbers are.
    matrix: usize,
    number: usize,
    made: Places,
    /// Bytes that were made, and before the present matrix.
    written: u64,
    begin: u64,
}

/// Whole tensors by name: what they were in the file, how they are stored, and where their bytes begin.
type Places = BTreeMap<String, (TensorInfo, OutHeader, u64)>;

impl Ahead {
    /// Of a checkpoint whose header has come; its source gives what has come since when it is asked for it.
    pub fn of(checkpoint: Checkpoint, quant: Quant) -> Self {
        let matrix = |name: &String, shape: &[usize]| {
            let dtype = stored_as(name, shape, quant);
            (dtype != DType::F32).then(|| OutHeader { name: name.clone(), shape: rows_of(shape), dtype })
        };
        let tensors = checkpoint.tensors().iter();
        let tensors = tensors.filter(|(_, info)| !info.range.is_empty());
        let mut matrices: Vec<_> =
            tensors.filter_map(|(name, info)| Some((info.range.end, matrix(name, &info.shape)?))).collect();
        matrices.sort_by_key(|&(end, _)| end);
        let matrices = matrices.into_iter().map(|(_, out)| out).collect();
        Self { checkpoint, matrices, matrix: 0, number: 0, made: Places::new(), written: 0, begin: 0 }
    }

    /// What comes next of what is made, a few megabytes (of transposed matrices all), where the first `arrived` bytes of the file suffice for it.
    ///
    /// # Errors
    /// When it cannot be read, or holds NaN, infinity, or what is too large for 16 bits; there is no more then.
    pub fn next(&mut self, arrived: u64) -> Option<Result<Vec<u8>, WeightsError>> {
        let out = self.matrices.get(self.matrix)?;
        let info = self.checkpoint.tensors().get(&out.name)?;
        let count = count(&out.shape).unwrap_or(0);
        let range = self.number..count.min(self.number + numbers_at_once(out, Some(info)));
        if info.bytes_of(&range).end > arrived {
            return None;
        }
        let made = converted_piece(&self.checkpoint, out, info, range.clone());
        match &made {
            Err(_) => self.matrix = self.matrices.len(),
            Ok(bytes) => {
                if range.start == 0 {
                    self.begin = self.written;
                }
                self.written += bytes.len() as u64;
                self.number = range.end;
                if range.end == count {
                    self.made.insert(out.name.clone(), (info.clone(), out.clone(), self.begin));
                    (self.matrix, self.number) = (self.matrix + 1, 0);
                }
            }
        }
        Some(made)
    }

    /// What was made, all pieces of it one after the other in `file`.
    pub fn made(self, file: Box<dyn Source>) -> Made {
        Made { file, places: self.made }
    }
}

/// Tensors that were converted before.
pub struct Made {
    file: Box<dyn Source>,
    places: Places,
}

impl Made {
    /// Some numbers of a tensor that is stored as `out`; nothing where it was not made, or from something else, or cannot be read.
    pub(super) fn read(&self, info: &TensorInfo, out: &OutHeader, numbers: &Range<usize>) -> Option<Vec<u8>> {
        let (_, _, start) = self.places.get(&out.name).filter(|(from, made, _)| from == info && made == out)?;
        let at = |number| start + out.dtype.bytes_of_blocks(number);
        self.file.read(at(numbers.start)..at(numbers.end)).ok().map(std::borrow::Cow::into_owned)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::super::convert::{Additions, Conversion};
    use super::super::gguf::{self, OutTensor};
    use super::super::{PIECE, source};
    use super::*;

    /// A file of which the first bytes have come, and which counts what is read of it.
    #[derive(Clone)]
    struct Coming {
        bytes: Rc<Vec<u8>>,
        arrived: Rc<Cell<u64>>,
        read: Rc<Cell<u64>>,
    }

    impl Source for Coming {
        fn size(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn read(&self, range: Range<u64>) -> Result<std::borrow::Cow<'_, [u8]>, WeightsError> {
            if range.end > self.arrived.get() {
                return Err(source::unreadable(&range, "it has not come yet"));
            }
            self.read.set(self.read.get() + range.end - range.start);
            self.bytes.read(range)
        }
    }

    /// Bytes that readers of GGUF ask for at first.
    const HEADER: u64 = 1 << 20;

    fn file(nan: bool) -> Coming {
        let numbers = |count: usize| (0..count).map(|i| (i * 7919 % 1013) as f32 / 64.0 - 8.0).collect::<Vec<f32>>();
        let tensors = [
            ("text_model.a.weight", vec![PIECE / 512 + 3, 1024]),
            ("text_model.embeddings.token_embedding.weight", vec![40, 33]),
            ("vision_model.bias", vec![7]),
            ("vision_model.embeddings.patch_embedding.weight", vec![4, 3, 4, 8]),
            ("vision_model.encoder.layers.0.none.weight", vec![0, 64]),
            ("vision_model.encoder.layers.0.x.weight", vec![5, 64]),
        ];
        let tensors = tensors.map(|(name, shape)| {
            let mut values = numbers(shape.iter().product());
            if nan && name == "text_model.embeddings.token_embedding.weight" {
                values[3] = f32::NAN;
            }
            OutTensor { name: name.into(), shape, dtype: DType::F32, bytes: DType::F32.encode(&values) }
        });
        let bytes = Rc::new(gguf::write(&BTreeMap::new(), &tensors));
        Coming { bytes, arrived: Rc::default(), read: Rc::default() }
    }

    /// All that can be made while a file comes, `step` bytes at a time until only the last `missing` are not there; and how many pieces that were.
    fn made(coming: &Coming, step: u64, missing: u64) -> (Made, usize) {
        coming.arrived.set(HEADER);
        let mut ahead = Ahead::of(Checkpoint::open(coming.clone()).expect("our own file"), Quant::Q8);
        let (mut out, mut pieces) = (Vec::new(), 0);
        let mut arrived = HEADER;
        loop {
            coming.arrived.set(arrived);
            while let Some(Ok(piece)) = ahead.next(arrived) {
                assert!(piece.len() <= 4 * PIECE, "pieces are small");
                out.extend(piece);
                pieces += 1;
            }
            if arrived == coming.size() - missing {
                return (ahead.made(Box::new(out)), pieces);
            }
            arrived = (arrived + step).min(coming.size() - missing);
        }
    }

    fn converted(coming: &Coming, made: Option<&Made>) -> Result<Vec<u8>, WeightsError> {
        coming.arrived.set(coming.size());
        let checkpoint = Checkpoint::open(coming.clone())?;
        Conversion::new(&checkpoint, Additions::default(), Quant::Q8)?.with(made).into_bytes()
    }

    /// However a file comes, and wherever that ends: the conversion is the one that nothing was made ahead for, and reads the less.
    #[test]
    fn what_was_made_is_not_made_again() {
        let coming = file(false);
        let expected = converted(&coming, None).expect("finite");
        for (step, missing, pieces) in
            [(1000, 0, 6), (1 << 20, 0, 6), (u64::MAX / 2, 0, 6), (99_991, 1, 5), (1000, 5000, 3), (1000, 20_000, 2)]
        {
            let (made, got) = made(&coming, step, missing);
            assert_eq!(got, pieces, "{step}, {missing}");
            coming.read.set(0);
            assert!(converted(&coming, Some(&made)).expect("finite") == expected, "{step}, {missing}");
            let read = coming.read.get();
            // of the large matrix, the last piece had not come in the last case
            assert_eq!(read < HEADER + missing + 5000, missing < 20_000, "{read}, {missing}");
        }
    }

    /// Numbers that are none end it, and the conversion says so as ever.
    #[test]
    fn what_cannot_be_made_is_left() {
        let coming = file(true);
        let (made, pieces) = made(&coming, 1 << 20, 0);
        assert_eq!(pieces, 3);
        let error = converted(&coming, Some(&made)).expect_err("NaN").to_string();
        assert!(error.contains("token_embedding") && error.contains("NaN"), "{error}");
        assert!(made.places.keys().eq(["text_model.a.weight"]), "{:?}", made.places.keys());
    }
}
