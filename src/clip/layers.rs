//! The transformer that both towers share, in 8 bits: pre-norm blocks of attention and MLP.
//!
//! Formulas are those of Hugging Face's `CLIPEncoderLayer` (transformers, `models/clip/modeling_clip.py`). Linear layers run on
//! integers (`quant`); norms, attention and activations in f32 (`kernels::vector`).

use std::ops::Range;

use super::config::{Activation, TowerConfig};
use crate::kernels::{Kernels, crew, vector};
use crate::quant::{Exact, Precision, QMatrix, Scratch};
use crate::weights::{RowCodes, Tensors, Value, WeightsError};

/// Where a tower's weights come from and how its linear layers are to run.
pub struct Source<'a> {
    pub checkpoint: &'a dyn Tensors,
    pub kernels: &'a Kernels,
    /// Activations of 7 bits instead of 12, but for the first row, the class token's.
    pub fast: bool,
    /// Channels of the residual stream that are far larger than the rest: they stay in f32.
    pub large: Vec<usize>,
}

/// A linear layer's place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// From the residual stream, normalised, to something else.
    ReadsStream,
    /// From pixels to the stream.
    PixelsToStream,
    /// From attention to the stream.
    WritesStream,
    /// From a GELU to the stream.
    ActivationToStream,
    /// From the stream to an embedding: small and last, so always fine.
    Last,
}

impl Place {
    pub fn reads_stream(self) -> bool {
        matches!(self, Place::ReadsStream | Place::Last)
    }
}

impl Source<'_> {
    fn precision(&self, place: Place) -> Precision {
        match place {
            _ if !self.fast => Precision::Bits12,
            // pixels have 8 bits themselves
            Place::Last | Place::PixelsToStream => Precision::Bits12,
            Place::ActivationToStream => Precision::Bits7OneSided,
            Place::ReadsStream | Place::WritesStream => Precision::Bits7,
        }
    }

    /// A layer of these `weights` `[n,k]`.
    fn matrix(&self, weights: Weight, bias: Option<&[f32]>, shape: (usize, usize), place: Place) -> QMatrix {
        let large = self.large.clone();
        let exact = if place.reads_stream() {
            Exact { inputs: large, outputs: Vec::new() }
        } else {
            Exact { inputs: Vec::new(), outputs: large }
        };
        let precision = self.precision(place);
        let matrix = match weights {
            Weight::F32(weights) => QMatrix::new(&weights, bias, shape, precision, exact, self.kernels),
            Weight::Codes(RowCodes { codes, scales }, kept) => {
                QMatrix::of_codes((codes, scales), kept.concat(), bias, shape, precision, exact, self.kernels)
            }
        };
        // the class token is what is read in the end: nearly all that 7 bits lose is lost in its row
        matrix.with_fine_first()
    }

    /// `{name}.weight` `[n,k]`, with the rows or columns of the large channels as they were before the file's rounding, where it keeps them.
    fn weight(&self, name: &str, (n, k): (usize, usize), place: Place) -> Result<Weight, WeightsError> {
        let weight_name = format!("{name}.weight");
        let (length, reads) = (if place.reads_stream() { n } else { k }, place.reads_stream());
        let exact = exact_name(name, if reads { "inputs" } else { "outputs" });
        let kept = if self.large.is_empty() || self.checkpoint.shape(&exact).is_none() {
            None
        } else {
            let kept = self.checkpoint.f32(&exact, &[self.large.len(), length])?;
            Some(kept.chunks_exact(length).map(<[f32]>::to_vec).collect::<Vec<_>>())
        };
        if let Some(rows) = self.checkpoint.row_codes(&weight_name, [n, k])? {
            let number = |c: usize, i: usize| rows.scales[c] * f32::from(rows.codes[c * k + i]);
            let as_rounded = |&channel: &usize| match reads {
                true => (0..n).map(|c| number(c, channel)).collect(),
                false => (0..k).map(|i| number(channel, i)).collect(),
            };
            let kept = kept.unwrap_or_else(|| self.large.iter().map(as_rounded).collect());
            return Ok(Weight::Codes(rows, kept));
        }
        let mut weight = self.checkpoint.f32(&weight_name, &[n, k])?;
        for (&channel, kept) in self.large.iter().zip(kept.iter().flatten()) {
            if reads {
                kept.iter().enumerate().for_each(|(c, &v)| weight[c * k + channel] = v);
            } else {
                weight[channel * k..(channel + 1) * k].copy_from_slice(kept);
            }
        }
        Ok(Weight::F32(weight))
    }

    /// Two layers `[n,k]` that read the same of the stream as one, `[2 n,k]`.
    fn both(&self, names: [&str; 2], (n, k): (usize, usize)) -> Result<QMatrix, WeightsError> {
        let [first, second] = names.map(|name| self.weight(name, (n, k), Place::ReadsStream));
        let weight = match (first?, second?) {
            (Weight::Codes(mut rows, mut kept), Weight::Codes(more, more_kept)) => {
                rows.codes.extend(more.codes);
                rows.scales.extend(more.scales);
                kept.iter_mut().zip(more_kept).for_each(|(kept, more)| kept.extend(more));
                Weight::Codes(rows, kept)
            }
            (first, second) => {
                let mut weights = first.multiplied_out(&self.large, k);
                weights.extend(second.multiplied_out(&self.large, k));
                Weight::F32(weights)
            }
        };
        let mut bias = self.checkpoint.f32(&format!("{}.bias", names[0]), &[n])?;
        bias.extend(self.checkpoint.f32(&format!("{}.bias", names[1]), &[n])?);
        Ok(self.matrix(weight, Some(&bias), (2 * n, k), Place::ReadsStream))
    }

    /// Reads `{name}.weight` `[n,k]` and, where it is `biased`, `{name}.bias`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn linear(
        &self,
        name: &str,
        shape: (usize, usize),
        biased: bool,
        place: Place,
    ) -> Result<QMatrix, WeightsError> {
        let weight = self.weight(name, shape, place)?;
        let bias = if biased { Some(self.checkpoint.f32(&format!("{name}.bias"), &[shape.0])?) } else { None };
        Ok(self.matrix(weight, bias.as_deref(), shape, place))
    }
}

/// A layer's weights `[n,k]` as the file has them.
enum Weight {
    F32(Vec<f32>),
    /// Integers, and for each large channel its weights as they were.
    Codes(RowCodes, Vec<Vec<f32>>),
}

impl Weight {
    /// The weights of a layer that reads the stream, whose `large` channels are columns.
    fn multiplied_out(self, large: &[usize], k: usize) -> Vec<f32> {
        match self {
            Weight::F32(weights) => weights,
            Weight::Codes(RowCodes { codes, scales }, kept) => {
                let rows = codes.chunks_exact(k).zip(scales);
                let mut weights: Vec<f32> =
                    rows.flat_map(|(row, scale)| row.iter().map(move |&code| scale * f32::from(code))).collect();
                for (&channel, kept) in large.iter().zip(kept) {
                    kept.into_iter().enumerate().for_each(|(c, v)| weights[c * k + channel] = v);
                }
                weights
            }
        }
    }
}

/// How many channels of a stream may be large: one in 32, or eight of a narrow one.
fn most_large(width: usize) -> usize {
    (width / 32).max(8).min(width - 1)
}

/// The key under which our GGUF keeps what [`large_channels`] found before rounding.
pub fn large_key(prefix: &str) -> String {
    format!("oddlens.{prefix}.large_channels")
}

/// Where our GGUF keeps the exact columns (`inputs`) or rows (`outputs`) of a rounded matrix, one a row.
pub fn exact_name(name: &str, side: &str) -> String {
    format!("{name}.weight.exact_{side}")
}

/// The channels of the residual stream of the tower `{prefix}.encoder` that stand out by what writes to them: the rows `embeddings` that
/// begin the stream (tensors of `width` columns, or of `width` rows), and each layer's outputs.
///
/// Trained CLIPs have a few (Sun et al. 2024, "Massive Activations in Large Language Models", find the same in ViTs and language
/// models). Rounded with the rest they would cost it most of its bits; and since they make up most of the stream's length, their
/// own rounding would be most of the error.
///
/// # Errors
/// When a tensor is missing or has another shape.
pub fn large_channels(
    checkpoint: &dyn Tensors,
    prefix: &str,
    config: &TowerConfig,
    embeddings: &[(&str, [usize; 2])],
) -> Result<Vec<usize>, WeightsError> {
    /// In amplitude; four times what the largest of a thousand Gaussian channels reaches by chance.
    const FAR: f32 = 8.0;

    let w = config.width;
    if let Some(Value::Integers(channels)) = checkpoint.key(&large_key(prefix)) {
        let known: Vec<usize> = channels.iter().filter_map(|&c| usize::try_from(c).ok()).filter(|&c| c < w).collect();
        if known.len() != channels.len() || known.len() > most_large(w) || !known.is_sorted_by(|a, b| a < b) {
            let message = format!("{}: expected channels of {w}, ascending, got {channels:?}", large_key(prefix));
            return Err(WeightsError::NotClip(message));
        }
        return Ok(known);
    }
    let mut energy = vec![0f32; w];
    let mut add = |name: &str, [rows, columns]: [usize; 2]| -> Result<(), WeightsError> {
        let values = checkpoint.f32(name, &[rows, columns])?;
        if columns == w && rows != w {
            let rows = rows as f32;
            values.chunks_exact(w).for_each(|row| energy.iter_mut().zip(row).for_each(|(e, v)| *e += v * v / rows));
        } else {
            energy.iter_mut().zip(values.chunks_exact(columns)).for_each(|(e, row)| *e += vector::dot(row, row));
        }
        Ok(())
    };
    for &(name, shape) in embeddings {
        add(name, shape)?;
    }
    for i in 0..config.layers {
        let name = |part: &str| format!("{prefix}.encoder.layers.{i}.{part}");
        add(&name("self_attn.out_proj.weight"), [w, w])?;
        add(&name("mlp.fc2.weight"), [w, config.mlp])?;
    }
    let mut sorted = energy.clone();
    sorted.sort_by(f32::total_cmp);
    let limit = sorted[w / 2] * FAR * FAR;
    let limit = limit.max(sorted[w - 1 - most_large(w)]);
    Ok((0..w).filter(|&c| energy[c] > limit).collect())
}

/// What a file with rounded weights must keep beside them for the large channels of one tower: their key, and the rows or columns of
/// every matrix that writes or reads the stream (`begin_and_end` are those outside of the layers). Where none is large, the key says so, which
/// spares whoever loads the file to look for them.
///
/// # Errors
/// When a tensor is missing or has another shape.
pub fn exact_parts(
    checkpoint: &dyn Tensors,
    prefix: &str,
    config: &TowerConfig,
    large: &[usize],
    begin_and_end: &[(String, (usize, usize), Place)],
) -> Result<ExactParts, WeightsError> {
    let channels = large.iter().map(|&c| c as i64).collect();
    let keys = vec![(large_key(prefix), Value::Integers(channels))];
    if large.is_empty() {
        return Ok(ExactParts { keys, tensors: Vec::new() });
    }
    let (w, mlp) = (config.width, config.mlp);
    let mut matrices = begin_and_end.to_vec();
    for i in 0..config.layers {
        let mut add = |part: &str, shape, place| {
            matrices.push((format!("{prefix}.encoder.layers.{i}.{part}"), shape, place));
        };
        for part in ["q_proj", "k_proj", "v_proj"] {
            add(&format!("self_attn.{part}"), (w, w), Place::ReadsStream);
        }
        add("self_attn.out_proj", (w, w), Place::WritesStream);
        add("mlp.fc1", (mlp, w), Place::ReadsStream);
        add("mlp.fc2", (w, mlp), Place::ActivationToStream);
    }
    let mut tensors = Vec::new();
    for (name, (n, k), place) in matrices {
        let weight = checkpoint.f32(&format!("{name}.weight"), &[n, k])?;
        let (side, length, values): (_, _, Vec<f32>) = if place.reads_stream() {
            ("inputs", n, large.iter().flat_map(|&i| (0..n).map(move |c| c * k + i)).map(|at| weight[at]).collect())
        } else {
            ("outputs", k, large.iter().flat_map(|&c| &weight[c * k..(c + 1) * k]).copied().collect())
        };
        tensors.push((exact_name(&name, side), vec![large.len(), length], values));
    }
    Ok(ExactParts { keys, tensors })
}

/// Keys and f32 tensors to add to a file.
#[derive(Clone, Debug, Default)]
pub struct ExactParts {
    pub keys: Vec<(String, Value)>,
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

/// Gain and bias of a layer norm.
#[derive(Clone, Debug)]
pub struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    /// The tensors `{name}.weight` and `{name}.bias`.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub fn new(checkpoint: &dyn Tensors, name: &str, width: usize, epsilon: f32) -> Result<Self, WeightsError> {
        let part = |part: &str| checkpoint.f32(&format!("{name}.{part}"), &[width]);
        Ok(Self { gain: part("weight")?, bias: part("bias")?, epsilon })
    }

    /// Normalises each row of `x` `[t,width]` into `out`.
    pub fn apply(&self, x: &[f32], out: &mut [f32]) {
        for (x, out) in x.chunks_exact(self.gain.len()).zip(out.chunks_exact_mut(self.gain.len())) {
            vector::layer_norm(x, &self.gain, &self.bias, self.epsilon, out);
        }
    }

    pub fn memory_bytes(&self) -> usize {
        8 * self.gain.len()
    }
}

struct Block {
    norm1: Norm,
    /// `[width, width]`.
    q: QMatrix,
    /// Keys and values in one product: `[2 width, width]`.
    kv: QMatrix,
    out: QMatrix,
    norm2: Norm,
    fc1: QMatrix,
    fc2: QMatrix,
}

impl Block {
    fn linears(&self) -> [&QMatrix; 5] {
        [&self.q, &self.kv, &self.out, &self.fc1, &self.fc2]
    }
}

/// A stack of blocks.
pub struct Transformer {
    blocks: Vec<Block>,
    width: usize,
    heads: usize,
    activation: Activation,
}

/// Buffers of one pass, made once.
#[derive(Default)]
struct Buffers {
    normed: Vec<f32>,
    q: Vec<f32>,
    kv: Vec<f32>,
    mixed: Vec<f32>,
    hidden: Vec<f32>,
    /// For each part of the heads.
    attention: Vec<AttentionBuffers>,
    scratch: Scratch,
}

impl Transformer {
    /// Reads `{prefix}.encoder.layers.*`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn new(
        source: &Source,
        prefix: &str,
        config: &TowerConfig,
        activation: Activation,
    ) -> Result<Self, WeightsError> {
        let (w, mlp) = (config.width, config.mlp);
        let mut blocks = Vec::new();
        for i in 0..config.layers {
            let name = |part: &str| format!("{prefix}.encoder.layers.{i}.{part}");
            let norm = |part: &str| Norm::new(source.checkpoint, &name(part), w, config.epsilon);
            let [k, v] = ["k_proj", "v_proj"].map(|part| name(&format!("self_attn.{part}")));
            blocks.push(Block {
                norm1: norm("layer_norm1")?,
                q: source.linear(&name("self_attn.q_proj"), (w, w), true, Place::ReadsStream)?,
                kv: source.both([&k, &v], (w, w))?,
                out: source.linear(&name("self_attn.out_proj"), (w, w), true, Place::WritesStream)?,
                norm2: norm("layer_norm2")?,
                fc1: source.linear(&name("mlp.fc1"), (mlp, w), true, Place::ReadsStream)?,
                fc2: source.linear(&name("mlp.fc2"), (w, mlp), true, Place::ActivationToStream)?,
            });
        }
        Ok(Self { blocks, width: w, heads: config.heads, activation })
    }

    /// Runs all blocks over `x` `[t,width]`, sequences of `lengths` one after the other, and returns what comes out of one row of each,
    /// `[sequences,width]`; the rest of the last block's answer is never computed. With `causal`, a token sees those before it, and
    /// the last row is read; without, the first. Sequences change nothing for each other, to the bit.
    pub fn forward(&self, kernels: &Kernels, mut x: Vec<f32>, causal: bool, lengths: &[usize]) -> Vec<f32> {
        let w = self.width;
        let t = x.len() / w;
        let mut b = Buffers::default();
        let activation = match self.activation {
            Activation::QuickGelu => vector::quick_gelu,
            Activation::Gelu => vector::gelu,
        };
        let mut end = 0;
        let sequences: Vec<Range<usize>> = lengths
            .iter()
            .map(|length| {
                end += length;
                end - length..end
            })
            .collect();
        assert_eq!(end, t, "the sequences make up the rows");
        let read = |rows: &Range<usize>| if causal { rows.end - 1..rows.end } else { rows.start..rows.start + 1 };
        for (i, block) in self.blocks.iter().enumerate() {
            b.normed.resize(t * w, 0.0);
            b.kv.resize(2 * t * w, 0.0);
            block.norm1.apply(&x, &mut b.normed);
            block.kv.apply(kernels, &b.normed, t, &mut b.scratch, &mut b.kv);
            // rows that are asked
            let is_last = i + 1 == self.blocks.len();
            let asked: Vec<Range<usize>> =
                if is_last { sequences.iter().map(read).collect() } else { sequences.clone() };
            if is_last {
                let rows_of =
                    |from: &[f32]| asked.iter().flat_map(|rows| &from[rows.start * w..rows.end * w]).copied().collect();
                (b.normed, x) = (rows_of(&b.normed), rows_of(&x));
                block.q.quantize(&b.normed, asked.len(), &mut b.scratch);
            }
            let m = x.len() / w;
            b.q.resize(m * w, 0.0);
            b.mixed.resize(m * w, 0.0);
            block.q.apply_quantized(kernels, &b.normed, m, |_| (), &mut b.scratch, &mut b.q);
            let mut at = 0;
            for (sequence, asked) in sequences.iter().zip(&asked) {
                let cells = at * w..(at + asked.len()) * w;
                let kv = &b.kv[2 * w * sequence.start..2 * w * sequence.end];
                let first = causal.then_some(asked.start - sequence.start);
                attention(&b.q[cells.clone()], kv, w, self.heads, first, &mut b.attention, &mut b.mixed[cells]);
                at += asked.len();
            }
            let update = &mut b.normed[..];
            block.out.apply(kernels, &b.mixed, m, &mut b.scratch, update);
            vector::add(update, &mut x);

            block.norm2.apply(&x, update);
            b.hidden.resize(m * block.fc1.n(), 0.0);
            block.fc1.quantize(update, m, &mut b.scratch);
            block.fc1.apply_quantized(kernels, update, m, activation, &mut b.scratch, &mut b.hidden);
            block.fc2.apply(kernels, &b.hidden, m, &mut b.scratch, update);
            vector::add(update, &mut x);
        }
        x
    }

    pub fn memory_bytes(&self) -> usize {
        let of = |b: &Block| {
            b.linears().iter().map(|q| q.memory_bytes()).sum::<usize>()
                + b.norm1.memory_bytes()
                + b.norm2.memory_bytes()
        };
        self.blocks.iter().map(of).sum()
    }
}

/// Buffers of [`attend`] for one head.
#[derive(Default)]
struct AttentionBuffers {
    /// `[m,d]`, scaled.
    queries: Vec<f32>,
    /// `[d, t padded]`: transposed.
    keys: Vec<f32>,
    /// `[t, d padded]`.
    values: Vec<f32>,
    /// `[m, t padded]`.
    weights: Vec<f32>,
    /// `[m, d padded]`.
    out: Vec<f32>,
}

/// Multi-head attention: queries `q` `[m,width]` over keys and values `kv` `[t, 2 width]` to `out` `[m,width]`, heads side by side.
///
/// With `causal`, the first query's place among the `t`, each query sees what stands up to its own place.
fn attention(
    q: &[f32],
    kv: &[f32],
    width: usize,
    heads: usize,
    causal: Option<usize>,
    buffers: &mut Vec<AttentionBuffers>,
    out: &mut [f32],
) {
    let (m, t, d) = (q.len() / width, kv.len() / (2 * width), width / heads);
    // f32, twice
    let products = 8 * m as u64 * (t * width) as u64;
    let count = crew::parts(products, heads);
    let bounds: Vec<usize> = (0..=count).map(|i| i * heads / count).collect();
    let widths: Vec<usize> = bounds.windows(2).map(|b| (b[1] - b[0]) * d).collect();
    buffers.resize_with(count.max(buffers.len()), AttentionBuffers::default);
    let mut parts: Vec<_> =
        crew::columns(out, width, &widths).into_iter().zip(bounds.windows(2)).zip(buffers).collect();
    crew::each(&mut parts, |((out, bounds), buffers)| {
        for h in bounds[0]..bounds[1] {
            attend(q, kv, (width, d), h, causal, buffers);
            let padded_d = d.next_multiple_of(vector::COLUMNS);
            for (out, from) in out.iter_mut().zip(buffers.out.chunks_exact(padded_d)) {
                out[(h - bounds[0]) * d..][..d].copy_from_slice(&from[..d]);
            }
        }
    });
}

/// [`attention`] for head `h` of width `d`, into the buffers' `out`.
fn attend(
    q: &[f32],
    kv: &[f32],
    (width, d): (usize, usize),
    h: usize,
    causal: Option<usize>,
    b: &mut AttentionBuffers,
) {
    let (m, t) = (q.len() / width, kv.len() / (2 * width));
    let (padded_t, padded_d) = (t.next_multiple_of(vector::COLUMNS), d.next_multiple_of(vector::COLUMNS));
    let scale = 1.0 / (d as f32).sqrt();
    b.queries.resize(m * d, 0.0);
    b.keys.resize(d * padded_t, 0.0);
    b.values.resize(t * padded_d, 0.0);
    b.weights.resize(m * padded_t, 0.0);
    b.out.resize(m * padded_d, 0.0);
    for (queries, q) in b.queries.chunks_exact_mut(d).zip(q.chunks_exact(width)) {
        queries.iter_mut().zip(&q[h * d..]).for_each(|(to, from)| *to = from * scale);
    }
    for (j, kv) in kv.chunks_exact(2 * width).enumerate() {
        kv[h * d..][..d].iter().enumerate().for_each(|(c, &key)| b.keys[c * padded_t + j] = key);
        b.values[j * padded_d..][..d].copy_from_slice(&kv[width + h * d..][..d]);
    }
    vector::product(&b.queries, &b.keys, d, &mut b.weights);
    for (i, row) in b.weights.chunks_exact_mut(padded_t).enumerate() {
        let seen = causal.map_or(t, |first| first + i + 1);
        vector::softmax(&mut row[..seen]);
        row[seen..].fill(0.0);
    }
    // weights are `[m, t padded]`; what is beyond `t` has no value to be multiplied by
    vector::product_of(&b.weights, padded_t, &b.values, t, &mut b.out);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tokens, one head of width 1: q.k by hand.
    #[test]
    fn attention_by_hand() {
        // token 0: q 1, k 0, v 10; token 1: q 1, k ln 3, v 20
        let (q, kv) = ([1.0, 1.0], [0.0, 10.0, 3f32.ln(), 20.0]);
        let (mut buffers, mut out) = (Vec::new(), vec![0.0; 2]);
        attention(&q, &kv, 1, 1, None, &mut buffers, &mut out);
        for v in &out {
            assert!((v - 17.5).abs() < 1e-4, "{out:?}");
        }
        attention(&q, &kv, 1, 1, Some(0), &mut buffers, &mut out);
        assert!((out[0] - 10.0).abs() < 1e-6 && (out[1] - 17.5).abs() < 1e-4, "{out:?}");
        // the second query alone
        attention(&q[1..], &kv, 1, 1, Some(1), &mut buffers, &mut out[..1]);
        assert!((out[0] - 17.5).abs() < 1e-4, "{out:?}");
    }

    /// One query alone is too little work to be shared, all together are shared: nothing changes, to the bit.
    #[test]
    fn threads_change_nothing() {
        std::thread::spawn(|| crew::lend());
        while crew::hands() < 2 {
            std::thread::yield_now();
        }
        let (t, width, heads) = (61, 192, 3);
        let noise = |count: usize| (0..count).map(|i| (i as f32 * 0.618).fract() - 0.5).collect::<Vec<f32>>();
        let (q, kv) = (noise(t * width), noise(2 * t * width));
        for causal in [None, Some(0)] {
            let (mut buffers, mut together) = (Vec::new(), vec![0.0; t * width]);
            attention(&q, &kv, width, heads, causal, &mut buffers, &mut together);
            for (i, (q, together)) in q.chunks_exact(width).zip(together.chunks_exact(width)).enumerate() {
                let mut alone = vec![0.0; width];
                attention(q, &kv, width, heads, causal.map(|_| i), &mut buffers, &mut alone);
                assert_eq!(together, alone, "query {i}, {causal:?}");
            }
        }
    }
}
