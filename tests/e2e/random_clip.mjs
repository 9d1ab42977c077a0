// A CLIP of the very form that the hub has (Hugging Face's names in safetensors, config.json beside it), small and with weights from a
// seed: it knows nothing, but everything about it can be read, converted and computed with.

const TEXT = { hidden_size: 64, intermediate_size: 128, num_attention_heads: 2, num_hidden_layers: 2, max_position_embeddings: 77, vocab_size: 49408 };
const VISION = { hidden_size: 64, intermediate_size: 128, num_attention_heads: 2, num_hidden_layers: 2, image_size: 64, patch_size: 16 };
const WIDTH = 32;

/// An image tower that takes 35 MB in 8 bits, which threads share.
export const LARGE_VISION = { ...VISION, hidden_size: 512, intermediate_size: 2048, num_attention_heads: 8, num_hidden_layers: 11 };

/// Shapes by name.
function tensors(vision) {
  const all = { logit_scale: [], "text_projection.weight": [WIDTH, TEXT.hidden_size], "visual_projection.weight": [WIDTH, vision.hidden_size] };
  const norm = (name, n) => { all[`${name}.weight`] = all[`${name}.bias`] = [n]; };
  const linear = (name, out, n) => { all[`${name}.weight`] = [out, n]; all[`${name}.bias`] = [out]; };
  for (const [tower, { hidden_size: n, intermediate_size: mlp, num_hidden_layers: layers }] of [["text_model", TEXT], ["vision_model", vision]]) {
    for (let i = 0; i < layers; i++) {
      const layer = `${tower}.encoder.layers.${i}`;
      for (const part of ["q_proj", "k_proj", "v_proj", "out_proj"]) linear(`${layer}.self_attn.${part}`, n, n);
      norm(`${layer}.layer_norm1`, n);
      norm(`${layer}.layer_norm2`, n);
      linear(`${layer}.mlp.fc1`, mlp, n);
      linear(`${layer}.mlp.fc2`, n, mlp);
    }
  }
  all["text_model.embeddings.token_embedding.weight"] = [TEXT.vocab_size, TEXT.hidden_size];
  all["text_model.embeddings.position_embedding.weight"] = [TEXT.max_position_embeddings, TEXT.hidden_size];
  norm("text_model.final_layer_norm", TEXT.hidden_size);
  all["vision_model.embeddings.class_embedding"] = [vision.hidden_size];
  all["vision_model.embeddings.patch_embedding.weight"] = [vision.hidden_size, 3, vision.patch_size, vision.patch_size];
  all["vision_model.embeddings.position_embedding.weight"] = [(vision.image_size / vision.patch_size) ** 2 + 1, vision.hidden_size];
  // the reference's spelling
  norm("vision_model.pre_layrnorm", vision.hidden_size);
  norm("vision_model.post_layernorm", vision.hidden_size);
  return all;
}

/// The bytes of model.safetensors, and the text of config.json.
export function randomClip(seed = 1, vision = VISION) {
  let state = seed;
  // Park and Miller's generator
  const uniform = () => (state = (state * 48271) % 2147483647) / 2147483647;
  const header = {};
  const parts = [];
  let at = 0;
  for (const [name, shape] of Object.entries(tensors(vision))) {
    const count = shape.reduce((product, n) => product * n, 1);
    const fan = shape.length > 1 ? count / shape[0] : 1;
    const isNorm = /norm\d?\.weight$/.test(name);
    const spread = name.includes("embedding") && !name.includes("patch") ? 0.3 : shape.length > 1 ? 1.7 / Math.sqrt(fan) : 0.1;
    const values = Float32Array.from({ length: count }, () => (isNorm ? 1 : 0) + (uniform() * 2 - 1) * spread);
    if (name === "logit_scale") values[0] = Math.log(100);
    parts.push(Buffer.from(values.buffer));
    header[name] = { dtype: "F32", shape, data_offsets: [at, at + 4 * count] };
    at += 4 * count;
  }
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  const config = {
    architectures: ["CLIPModel"], model_type: "clip", projection_dim: WIDTH, logit_scale_init_value: 2.6592,
    text_config: { ...TEXT, hidden_act: "quick_gelu", layer_norm_eps: 1e-5, projection_dim: WIDTH },
    vision_config: { ...vision, hidden_act: "quick_gelu", layer_norm_eps: 1e-5, projection_dim: WIDTH },
  };
  return { bytes: Buffer.concat([size, text, ...parts]), config: JSON.stringify(config) };
}
