"""The network: CLIP's two towers as PyTorch modules, reading and writing their files, and the preprocessing of pictures.

Modules are named so that `state_dict()` has exactly the tensor names of Hugging Face's `CLIPModel` ("pre_layrnorm" is
spelled so there); `config` is its CLIPConfig as a dict. Source of the architecture: A. Radford et al., "Learning
Transferable Visual Models From Natural Language Supervision", 2021 (arXiv 2103.00020), section 2.4.
It does not know training; nothing here but `initialise` draws random numbers.
"""
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from tokenizer import CONTEXT, TokenTable, Tokenizer

# CLIP's, of RGB in [0, 1]
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
LOGIT_SCALE = math.log(100.0)
QUICK = 1.702


# ---------------------------------------------------------------------------------------------------- pictures
def resize_crop(image, size):
    """Pillow image -> uint8 [size, size, 3]: short side to `size` (bicubic, antialiased), centre crop, as CLIP does."""
    image = image.convert("RGB")
    w, h = image.size
    short = min(w, h)
    w, h = int(size * w / short), int(size * h / short)
    if (w, h) != image.size:
        image = image.resize((w, h), Image.Resampling.BICUBIC)
    left, top = round((w - size) / 2), round((h - size) / 2)
    return np.array(image.crop((left, top, left + size, top + size)), np.uint8)


def normalise(pixels):
    """[n, 3, h, w] in 0..255 (uint8 or float) -> float32 with CLIP's mean and deviation taken out."""
    of = lambda v: torch.tensor(v, device=pixels.device).view(1, 3, 1, 1)
    return (pixels.float() / 255.0 - of(MEAN)) / of(DEVIATION)


# ------------------------------------------------------------------------------------------------------ layers
class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, causal):
        """[n, t, w] -> [n, t, w]; written out because PyTorch's fused attention is slower on a CPU at 65 positions."""
        three = (self.q_proj, self.k_proj, self.v_proj)
        weight, bias = torch.cat([f.weight for f in three]), torch.cat([f.bias for f in three])
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in F.linear(x, weight, bias).chunk(3, -1))
        score = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
        if causal:
            t = x.shape[1]
            score = score.masked_fill(torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1), -math.inf)
        mixed = score.softmax(-1).to(v.dtype) @ v
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        """Quick GELU, x * sigmoid(1.702 x), is silu(1.702 x) / 1.702; both factors go into the weights, which are smaller."""
        h = F.silu(F.linear(x, QUICK * self.fc1.weight, QUICK * self.fc1.bias))
        return F.linear(h, self.fc2.weight / QUICK, self.fc2.bias)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config["hidden_size"]
        self.self_attn = Attention(width, config["num_attention_heads"])
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = Mlp(width, config["intermediate_size"])

    def forward(self, x, causal):
        x = x + self.self_attn(self.layer_norm1(x), causal)
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    def __init__(self, config, causal):
        super().__init__()
        self.causal = causal
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x, self.causal)
        return x


# ------------------------------------------------------------------------------------------------------ towers
class VisionEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, self.patch = config["hidden_size"], config["patch_size"]
        self.grid = config["image_size"] // self.patch
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(3, width, self.patch, self.patch, bias=False)
        self.position_embedding = nn.Embedding(self.grid**2 + 1, width)

    def positions(self, grid):
        """The table [1 + grid^2, width], resampled where the model is trained at a lower resolution than its own."""
        table = self.position_embedding.weight
        if grid == self.grid:
            return table
        square = table[1:].T.unflatten(-1, (self.grid, self.grid))[None]
        square = F.interpolate(square, (grid, grid), mode="bilinear", align_corners=False, antialias=True)
        return torch.cat([table[:1], square[0].flatten(1).T])

    def forward(self, pixels, kept=None):
        """`kept` [n, k]: which patches are taken, all without it."""
        # patches are cut by hand, because a convolution without overlap is a matrix product, much faster so on a CPU
        patches = F.pixel_unshuffle(pixels, self.patch).flatten(2).transpose(1, 2)
        x = F.linear(patches, self.patch_embedding.weight.flatten(1))
        x = torch.cat([self.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], 1)
        x = x + self.positions(pixels.shape[-1] // self.patch).to(x.dtype)
        if kept is None:
            return x
        return torch.cat([x[:, :1], x[:, 1:].gather(1, kept[..., None].expand(-1, -1, x.shape[-1]))], 1)


class VisionTransformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = VisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config["hidden_size"])
        self.encoder = Encoder(config, causal=False)
        self.post_layernorm = nn.LayerNorm(config["hidden_size"])

    def forward(self, pixels, kept=None):
        return self.post_layernorm(self.encoder(self.pre_layrnorm(self.embeddings(pixels, kept)))[:, 0])


class TextEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.token_embedding = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.position_embedding = nn.Embedding(config["max_position_embeddings"], config["hidden_size"])

    def forward(self, rows):
        return self.token_embedding(rows) + self.position_embedding.weight[:rows.shape[1]]


class TextTransformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.end_row = config["eos_token_id"]
        self.embeddings = TextEmbeddings(config)
        self.encoder = Encoder(config, causal=True)
        self.final_layer_norm = nn.LayerNorm(config["hidden_size"])

    def forward(self, rows):
        x = self.encoder(self.embeddings(rows))
        first_end = (rows == self.end_row).int().argmax(1)
        return self.final_layer_norm(x[torch.arange(len(rows), device=x.device), first_end])


class Clip(nn.Module):
    def __init__(self, config):
        super().__init__()
        vision, text, width = config["vision_config"], config["text_config"], config["projection_dim"]
        self.config = config
        self.vision_model, self.text_model = VisionTransformer(vision), TextTransformer(text)
        self.visual_projection = nn.Linear(vision["hidden_size"], width, bias=False)
        self.text_projection = nn.Linear(text["hidden_size"], width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(LOGIT_SCALE), requires_grad=False)

    def image(self, pixels, kept=None):
        """Normalised pixels [n, 3, s, s] -> unit vectors [n, d], float32. `kept` [n, k] are the only patches looked at."""
        return F.normalize(self.visual_projection(self.vision_model(pixels, kept)).float(), dim=-1)

    def text(self, rows):
        """Rows of the token table [n, t] -> unit vectors [n, d], float32."""
        return F.normalize(self.text_projection(self.text_model(rows)).float(), dim=-1)

    def image_parameters(self):
        return self._named("vision_model", "visual_projection")

    def text_parameters(self):
        return self._named("text_model", "text_projection")

    def _named(self, *heads):
        return [(name, p) for name, p in self.named_parameters() if name.startswith(heads)]


def initialise(model):
    """Draws the weights in place: inputs of deviation 1 stay so through a layer, and all layers together add about as much
    as they were given (outputs to the stream are smaller by the root of their number)."""
    normal = nn.init.normal_
    for tower, head in ((model.vision_model, model.visual_projection), (model.text_model, model.text_projection)):
        width = head.weight.shape[1]
        layers = tower.encoder.layers
        for layer in layers:
            attention, mlp = layer.self_attn, layer.mlp
            for linear in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.fc1):
                normal(linear.weight, std=width**-0.5)
            for linear in (attention.out_proj, mlp.fc2):
                normal(linear.weight, std=(2 * len(layers) * width) ** -0.5)
            for linear in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj, mlp.fc1, mlp.fc2):
                nn.init.zeros_(linear.bias)
        normal(head.weight, std=width**-0.5)
    vision, text = model.vision_model.embeddings, model.text_model.embeddings
    normal(vision.patch_embedding.weight, std=vision.patch_embedding.weight[0].numel() ** -0.5)
    for table in (vision.class_embedding, vision.position_embedding.weight, text.token_embedding.weight):
        normal(table, std=0.02)
    normal(text.position_embedding.weight, std=0.01)
    return model


def clip_config(projection, vision, text, image_size, patch, rows):
    """A CLIPConfig; `vision` and `text` are (width, layers, heads), `rows` is the length of the token table."""
    def side(shape, **own):
        width, layers, heads = shape
        return {
            "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers, "num_attention_heads": heads,
            "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "attention_dropout": 0.0, "projection_dim": projection, **own,
        }

    return {
        "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": projection, "torch_dtype": "float16",
        "logit_scale_init_value": LOGIT_SCALE,
        "text_config": side(
            text, model_type="clip_text_model", vocab_size=rows, max_position_embeddings=CONTEXT,
            bos_token_id=rows - 2, eos_token_id=rows - 1, pad_token_id=rows - 1,
        ),
        "vision_config": side(
            vision, model_type="clip_vision_model", num_channels=3, image_size=image_size, patch_size=patch,
        ),
    }


# ------------------------------------------------------------------------------------------------------- files
def save_weights(path, state):
    """Writes tensors as float16 safetensors; scalars stay float32."""
    half = lambda t: t.detach().cpu().to(torch.float16 if t.ndim else torch.float32).contiguous()
    save_file({name: half(t) for name, t in state.items()}, path, metadata={"format": "pt"})


class TrainedModel:
    """A safetensors file with config.json, token_ids.json and vocabulary.json beside it, in float32 on the CPU."""

    def __init__(self, weights, bpe):
        self.path = Path(weights)
        beside = lambda name: json.loads((self.path.parent / name).read_text(encoding="utf-8"))
        self.config = beside("config.json")
        self.net = Clip(self.config).eval()
        self.net.load_state_dict({name: t.float() for name, t in load_file(self.path).items()})
        self.table = TokenTable(beside("token_ids.json")["ids"])
        self.vocabulary = beside("vocabulary.json")
        self.tokenizer = Tokenizer(bpe)
        self.size = self.config["vision_config"]["image_size"]

    def rows(self, prompt):
        return self.table.mark(self.table.body(self.tokenizer.encode(prompt)))

    @torch.no_grad()
    def text(self, prompts, chunk=512):
        """Unit vectors [n, d] of prompts."""
        parts = (prompts[at:at + chunk] for at in range(0, len(prompts), chunk))
        return torch.cat([self.net.text(self.table.batch([self.rows(p) for p in part])) for part in parts])

    @torch.no_grad()
    def images(self, pixels, chunk=250):
        """Unit vectors [n, d] of uint8 [n, s, s, 3] pictures of the model's own size."""
        if pixels.shape[1:] != (self.size, self.size, 3):
            raise ValueError(f"pictures of {pixels.shape[1:]}, expected {(self.size, self.size, 3)}: prepare with --size")
        parts = (np.array(pixels[at:at + chunk]) for at in range(0, len(pixels), chunk))
        return torch.cat([self.net.image(normalise(torch.from_numpy(p).permute(0, 3, 1, 2))) for p in parts])
