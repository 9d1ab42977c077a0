//! What tensors are called: by Hugging Face, by OpenAI and OpenCLIP, by clip.cpp. Here all go by Hugging Face's `CLIPModel`.
//!
//! Two things differ beside the names. OpenAI's attention holds queries, keys and values in one matrix, of which each is a third of the rows;
//! and its projections stand at the other side (`x @ P`), so they are transposed. Both change no byte, only where and how it is read.
//!
//! OpenAI's names: `clip/model.py` (openai/CLIP a9b1bf5); OpenCLIP's are the same. clip.cpp's: `models/convert_hf_to_gguf.py`
//! (57f00e2), where `ffn_down` is the MLP's first layer and `ffn_up` its second.

use std::collections::BTreeMap;

use super::{TensorInfo, Value, WeightsError, malformed};

/// Whose names a file uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Also where nothing is recognised.
    HuggingFace,
    /// OpenAI's and OpenCLIP's.
    OpenAi,
    ClipCpp,
}

impl Naming {
    pub fn name(self) -> &'static str {
        match self {
            Naming::HuggingFace => "Hugging Face",
            Naming::OpenAi => "OpenAI or OpenCLIP",
            Naming::ClipCpp => "clip.cpp",
        }
    }
}

/// Metadata that says that the file has what only OpenAI's own archive has: its geometry as tensors of one integer.
pub const OPENAI_MARK: &str = "openai.archive";
/// Metadata: the class of the MLP's non-linearity, where an archive of PyTorch names it.
pub const ACTIVATION_CLASS: &str = "pytorch.activation";

/// Bytes of the longest name that makes sense; clip.cpp and llama.cpp allow 64, whole diffusion models have some of 150.
const MOST_NAME: usize = 512;

/// Three integers that stand beside the weights in OpenAI's archive.
const OPENAI_INTEGERS: [&str; 3] = ["input_resolution", "context_length", "vocab_size"];

/// Notes an integer tensor of this name, which is not kept, if it says something.
pub(super) fn note_integer(metadata: &mut BTreeMap<String, Value>, name: &str) {
    if name == "input_resolution" {
        metadata.insert(OPENAI_MARK.into(), Value::Bool(true));
    }
}

/// The tensor by which each naming is known, which is the image tower's convolution.
const ANCHORS: [(&str, Naming); 3] = [
    ("vision_model.embeddings.patch_embedding.weight", Naming::HuggingFace),
    ("visual.conv1.weight", Naming::OpenAi),
    ("v.patch_embd.weight", Naming::ClipCpp),
];

/// Gives the tensors of a CLIP Hugging Face's names; what stands beside the model in a training checkpoint is left out. A file that has
/// none of the known image towers keeps its names, and so does a tensor that is not understood.
///
/// # Errors
/// When two tensors come to have the same name, or one has a name that is no line of text.
pub(super) fn canonical(
    tensors: BTreeMap<String, TensorInfo>,
) -> Result<(Naming, BTreeMap<String, TensorInfo>), WeightsError> {
    if let Some(name) = tensors.keys().find(|name| name.len() > MOST_NAME || name.contains(char::is_control)) {
        return Err(malformed("tensors", "names", format!("one line of up to {MOST_NAME} bytes"), name));
    }
    // the anchor with the shortest prefix: "", "module.", "state_dict.module."
    let anchor = |name: &String| {
        let found = |&(anchor, naming): &(&str, Naming)| {
            let prefix = name.strip_suffix(anchor)?;
            (prefix.is_empty() || prefix.ends_with('.')).then(|| (prefix.len(), prefix.to_string(), naming))
        };
        ANCHORS.iter().find_map(found)
    };
    let Some((_, prefix, naming)) = tensors.keys().filter_map(anchor).min_by_key(|&(length, ..)| length) else {
        return Ok((Naming::HuggingFace, tensors));
    };
    if naming == Naming::HuggingFace && prefix.is_empty() {
        return Ok((naming, tensors));
    }
    // OpenCLIP's models whose text tower is a module of its own
    let text_module = tensors.contains_key(&format!("{prefix}text.token_embedding.weight"));
    let mut out = BTreeMap::new();
    for (name, info) in tensors {
        let Some(name) = name.strip_prefix(&prefix) else { continue };
        let name = if text_module { name.strip_prefix("text.").unwrap_or(name) } else { name };
        match naming {
            Naming::HuggingFace => put(&mut out, name.into(), info)?,
            Naming::OpenAi => open_ai(&mut out, name, info)?,
            Naming::ClipCpp => put(&mut out, clip_cpp(name).unwrap_or_else(|| name.into()), info)?,
        }
    }
    Ok((naming, out))
}

fn put(tensors: &mut BTreeMap<String, TensorInfo>, name: String, info: TensorInfo) -> Result<(), WeightsError> {
    match tensors.insert(name.clone(), info) {
        None => Ok(()),
        Some(_) => Err(malformed("tensors", "names", "each name once", format!("{name} twice"))),
    }
}

/// `"{i}.{rest}"`, the number written as Python writes it.
fn layer(text: &str) -> Option<(&str, &str)> {
    let (i, rest) = text.split_once('.')?;
    let plain =
        !i.is_empty() && i.len() <= 4 && i.bytes().all(|b| b.is_ascii_digit()) && (i == "0" || !i.starts_with('0'));
    plain.then_some((i, rest))
}

/// Takes in a tensor of OpenAI's under the name, or the three names, it has here.
fn open_ai(out: &mut BTreeMap<String, TensorInfo>, name: &str, info: TensorInfo) -> Result<(), WeightsError> {
    // the causal mask is the same in all of them; OpenAI's integers may have become floats
    if name == "attn_mask" || OPENAI_INTEGERS.contains(&name) {
        return Ok(());
    }
    let (tower, inside) = match name.strip_prefix("visual.") {
        Some(inside) => ("vision_model", inside),
        None => ("text_model", name),
    };
    if let Some((i, part)) = inside.strip_prefix("transformer.resblocks.").and_then(layer) {
        let block = format!("{tower}.encoder.layers.{i}");
        if let Some(kind @ ("weight" | "bias")) = part.strip_prefix("attn.in_proj_") {
            return thirds(out, name, &block, kind, info);
        }
        let renamed = [
            ("attn.out_proj.", "self_attn.out_proj."),
            ("ln_1.", "layer_norm1."),
            ("ln_2.", "layer_norm2."),
            ("mlp.c_fc.", "mlp.fc1."),
            ("mlp.c_proj.", "mlp.fc2."),
        ];
        let renamed = renamed.iter().find_map(|(old, new)| Some(format!("{block}.{new}{}", part.strip_prefix(old)?)));
        return put(out, renamed.unwrap_or_else(|| name.into()), info);
    }
    let renamed = match name {
        "visual.proj" => return put_transposed(out, "visual_projection.weight", name, info),
        "text_projection" => return put_transposed(out, "text_projection.weight", name, info),
        "visual.class_embedding" => "vision_model.embeddings.class_embedding",
        "visual.positional_embedding" => "vision_model.embeddings.position_embedding.weight",
        "visual.conv1.weight" => "vision_model.embeddings.patch_embedding.weight",
        "visual.ln_pre.weight" => "vision_model.pre_layrnorm.weight",
        "visual.ln_pre.bias" => "vision_model.pre_layrnorm.bias",
        "visual.ln_post.weight" => "vision_model.post_layernorm.weight",
        "visual.ln_post.bias" => "vision_model.post_layernorm.bias",
        "token_embedding.weight" => "text_model.embeddings.token_embedding.weight",
        "positional_embedding" => "text_model.embeddings.position_embedding.weight",
        "ln_final.weight" => "text_model.final_layer_norm.weight",
        "ln_final.bias" => "text_model.final_layer_norm.bias",
        other => other,
    };
    put(out, renamed.into(), info)
}

/// Queries, keys and values, each a third of the rows.
fn thirds(
    out: &mut BTreeMap<String, TensorInfo>,
    name: &str,
    block: &str,
    kind: &str,
    info: TensorInfo,
) -> Result<(), WeightsError> {
    let rows = info.shape.first().copied().unwrap_or(0);
    // a block type's rows are whole blocks, so a third of the rows is a third of the bytes
    if !rows.is_multiple_of(3) || !info.bytes().is_multiple_of(3) || info.transposed {
        return put(out, name.into(), info);
    }
    let third = info.bytes() / 3;
    for (n, part) in (0..).zip(["q_proj", "k_proj", "v_proj"]) {
        let mut info = info.clone();
        info.shape[0] = rows / 3;
        info.range = info.range.start + n * third..info.range.start + (n + 1) * third;
        put(out, format!("{block}.self_attn.{part}.{kind}"), info)?;
    }
    Ok(())
}

/// A matrix with its axes exchanged. One of another number of axes, or of blocks, is none that is known here and keeps its `own` name.
fn put_transposed(
    out: &mut BTreeMap<String, TensorInfo>,
    name: &str,
    own: &str,
    mut info: TensorInfo,
) -> Result<(), WeightsError> {
    if info.shape.len() != 2 || info.dtype.bytes_for(1).is_none() {
        return put(out, own.into(), info);
    }
    info.shape.reverse();
    info.transposed = !info.transposed;
    put(out, name.into(), info)
}

/// Hugging Face's name of clip.cpp's tensor; `None` for one that is not known.
fn clip_cpp(name: &str) -> Option<String> {
    let (tower, inside) = match name.split_once('.')? {
        ("v", inside) => ("vision_model", inside),
        ("t", inside) => ("text_model", inside),
        _ => return None,
    };
    let whole = match inside {
        "class_embd" => Some("embeddings.class_embedding"),
        "patch_embd.weight" => Some("embeddings.patch_embedding.weight"),
        "token_embd.weight" => Some("embeddings.token_embedding.weight"),
        "position_embd.weight" => Some("embeddings.position_embedding.weight"),
        _ => None,
    };
    if let Some(whole) = whole {
        return Some(format!("{tower}.{whole}"));
    }
    let (part, kind) = inside.rsplit_once('.').filter(|(_, kind)| ["weight", "bias"].contains(kind))?;
    if let Some((i, part)) = part.strip_prefix("blk.").and_then(layer) {
        let part = match part {
            "attn_q" => "self_attn.q_proj",
            "attn_k" => "self_attn.k_proj",
            "attn_v" => "self_attn.v_proj",
            "attn_out" => "self_attn.out_proj",
            "ln1" => "layer_norm1",
            "ln2" => "layer_norm2",
            "ffn_down" => "mlp.fc1",
            "ffn_up" => "mlp.fc2",
            _ => return None,
        };
        return Some(format!("{tower}.encoder.layers.{i}.{part}.{kind}"));
    }
    let part = match (tower, part) {
        ("vision_model", "pre_ln") => "pre_layrnorm",
        ("vision_model", "post_ln") => "post_layernorm",
        ("text_model", "post_ln") => "final_layer_norm",
        _ => return None,
    };
    Some(format!("{tower}.{part}.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::super::DType;
    use super::*;

    fn info(shape: &[usize], start: u64) -> TensorInfo {
        let bytes = 4 * shape.iter().product::<usize>() as u64;
        TensorInfo { shape: shape.to_vec(), dtype: DType::F32, range: start..start + bytes, transposed: false }
    }

    #[test]
    fn the_one_matrix_of_attention_is_cut_in_three() {
        let block = "state_dict.module.visual.transformer.resblocks.11.attn";
        let tensors = BTreeMap::from([
            ("state_dict.module.visual.conv1.weight".to_string(), info(&[2, 3, 1, 1], 100)),
            (format!("{block}.in_proj_weight"), info(&[6, 2], 1000)),
            ("state_dict.module.visual.proj".to_string(), info(&[2, 5], 2000)),
            ("optimizer.x".to_string(), info(&[7], 0)),
        ]);
        let (naming, got) = canonical(tensors).expect("names");
        assert_eq!((naming, got.len()), (Naming::OpenAi, 5));
        let k = &got["vision_model.encoder.layers.11.self_attn.k_proj.weight"];
        assert_eq!((k.shape.as_slice(), k.range.clone()), (&[2, 2][..], 1016..1032));
        let projection = &got["visual_projection.weight"];
        assert_eq!((projection.shape.as_slice(), projection.transposed), (&[5, 2][..], true));
    }

    #[test]
    fn clip_cpps_mlp_is_the_other_way_round() {
        assert_eq!(
            clip_cpp("v.blk.3.ffn_down.weight").as_deref(),
            Some("vision_model.encoder.layers.3.mlp.fc1.weight")
        );
        assert_eq!(clip_cpp("t.blk.0.ffn_up.bias").as_deref(), Some("text_model.encoder.layers.0.mlp.fc2.bias"));
        assert_eq!(clip_cpp("t.post_ln.bias").as_deref(), Some("text_model.final_layer_norm.bias"));
        for unknown in
            ["v.blk.03.ln1.weight", "v.blk.x.ln1.weight", "v.blk.1.ln3.weight", "mm.0.weight", "v", "t.pre_ln.bias"]
        {
            assert_eq!(clip_cpp(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn two_tensors_of_one_name_are_an_error() {
        let tensors = BTreeMap::from([
            ("visual.conv1.weight".to_string(), info(&[2, 3, 1, 1], 100)),
            ("vision_model.embeddings.patch_embedding.weight".to_string(), info(&[2, 3, 1, 1], 200)),
            ("visual.ln_pre.bias".to_string(), info(&[2], 300)),
            ("vision_model.pre_layrnorm.bias".to_string(), info(&[2], 400)),
        ]);
        // the shorter anchor wins no privilege: prefixes are equally long, the first in order is Hugging Face's
        assert_eq!(canonical(tensors.clone()).expect("Hugging Face").0, Naming::HuggingFace);
        let inside: BTreeMap<_, _> = tensors.into_iter().filter(|(name, _)| !name.contains("patch")).collect();
        assert!(canonical(inside).expect_err("twice").to_string().contains("twice"));
    }
}
