"""A small picture maker: signed distance fields, sphere tracing, one sun, a sky, soft shadows, and what a camera adds.

For: `render.py`, which describes things and leaves light and lens to this module. It knows no subjects.
Ideas: sphere tracing (Hart 1996); penumbra from the narrowest passage on the way to the sun and the usual distance fields of
simple bodies, both as commonly taught (Quilez, iquilezles.org); filmic curve as published by Narkowicz (2016). Code is our own.

Conventions: points are float32 [n,3], y up, the ground is y = 0, lengths are about one per subject. A distance field maps points
[n,3] to distances [n]. A paint maps points [n,3] to linear RGB [n,3]. Colours are written as sRGB 0..255 and kept linear.
"""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter

F = np.float32


def rgb(*c):
    """sRGB 0..255 to linear light [3]."""
    return ((np.array(c, F) / 255.0) ** 2.2).astype(F)


def vec(*v):
    return np.array(v, F)


def unit(v):
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def mix(a, b, t):
    """a where t = 0, b where t = 1; t is [n], a and b are colours [3] or [n,3]."""
    return a + (b - a) * np.asarray(t)[..., None]


def step(lo, hi, x):
    """Smooth 0..1 ramp between lo and hi."""
    t = np.clip((x - lo) / (hi - lo), 0, 1)
    return t * t * (3 - 2 * t)


# ------------------------------------------------------------------------------------------------ noise
def noise(p, seed=0):
    """Value noise 0..1 of points [n,3], one cell per unit."""
    c = np.floor(p).astype(np.int64)
    f = (p - c).astype(F)
    f = f * f * (3 - 2 * f)
    out = 0
    for k in range(8):
        o = np.array([k & 1, k >> 1 & 1, k >> 2])
        q = (c + o).astype(np.uint32)
        h = q[:, 0] * np.uint32(374761393) + q[:, 1] * np.uint32(668265263) + q[:, 2] * np.uint32(1440662683)
        h = (h + np.uint32(seed * 2654435761 % 4294967296)).astype(np.uint32)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
        h = (h ^ (h >> np.uint32(16))) * np.uint32(2246822519)
        v = (h >> np.uint32(8)).astype(F) / F(1 << 24)
        out = out + v * np.prod(np.where(o, f, 1 - f), axis=1)
    return out


def fbm(p, octaves=4, seed=0):
    """Sum of octaves of noise, about 0..1."""
    out, a, s = 0, 0.5, 1.0
    for k in range(octaves):
        out, a, s = out + a * noise(p * s, seed + k), a / 2, s * 2.03
    return out / (1 - 0.5**octaves)


# ------------------------------------------------------------------------------------------------ distance fields
def sphere(centre, r):
    return lambda p: np.linalg.norm(p - centre, axis=1) - r


def ellipsoid(centre, radii):
    radii = vec(*radii)

    def d(p):
        q = p - centre
        k0, k1 = np.linalg.norm(q / radii, axis=1), np.linalg.norm(q / radii**2, axis=1)
        return np.where(k0 < 0.1, k0 - radii.min(), k0 * (k0 - 1) / np.maximum(k1, 1e-6))

    return d


def box(centre, half, r=0.0):
    half = vec(*half) - F(r)

    def d(p):
        q = np.abs(p - centre) - half
        return np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0) - r

    return d


def capsule(a, b, ra, rb=None):
    """Rod from a to b with round ends; the radius runs from ra to rb."""
    a, b, rb = vec(*a), vec(*b), ra if rb is None else rb

    def d(p):
        t = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        return np.linalg.norm(p - a - t[:, None] * (b - a), axis=1) - (ra + (rb - ra) * t)

    return d


def cylinder(centre, r, half, axis=1, edge=0.0):
    """Cylinder along a coordinate axis; half is half its length, edge rounds it."""
    others = [k for k in range(3) if k != axis]

    def d(p):
        q = p - centre
        w = np.stack([np.linalg.norm(q[:, others], axis=1) - r + edge, np.abs(q[:, axis]) - half + edge], 1)
        return np.linalg.norm(np.maximum(w, 0), axis=1) + np.minimum(w.max(1), 0) - edge

    return d


def torus(centre, big, small, axis=1):
    others = [k for k in range(3) if k != axis]

    def d(p):
        q = p - centre
        return np.hypot(np.linalg.norm(q[:, others], axis=1) - big, q[:, axis]) - small

    return d


def union(*ds):
    return lambda p: np.min([d(p) for d in ds], axis=0)


def blend(k, *ds):
    """Union with fillets of about k."""

    def d(p):
        out = ds[0](p)
        for e in ds[1:]:
            v = e(p)
            h = np.maximum(k - np.abs(out - v), 0) / k
            out = np.minimum(out, v) - h * h * k / 4
        return out

    return d


def minus(a, b):
    return lambda p: np.maximum(a(p), -b(p))


def both(a, b):
    return lambda p: np.maximum(a(p), b(p))


def displaced(d, height):
    """Surface raised by height(p); heights must be small against the body."""
    return lambda p: d(p) - height(p)


def moved(d, by=(0, 0, 0), turn=(0, 0, 0)):
    """Turned about x, then y, then z (degrees), then moved."""
    m = turning(turn)
    return lambda p: d((p - vec(*by)) @ m)


def turning(turn):
    m = np.eye(3, dtype=F)
    for axis, deg in enumerate(turn):
        c, s = np.cos(np.radians(deg)), np.sin(np.radians(deg))
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        r = np.eye(3, dtype=F)
        r[i, i], r[i, j], r[j, i], r[j, j] = c, -s, s, c
        m = r @ m
    return m.astype(F)


# ------------------------------------------------------------------------------------------------ scene
@dataclass
class Body:
    """A thing of one material: distance field, paint, gloss 0..1 (wet), bump (height field seen by the light only), glow through."""

    field: object
    paint: object
    gloss: float = 0.3
    sharp: float = 40.0
    bump: object = None
    through: float = 0.0


@dataclass
class Scene:
    bodies: list
    eye: tuple
    look: tuple
    zoom: float = 2.0  # focal length in half picture widths
    sun: tuple = (-0.5, 0.8, 0.45)
    sunlight: np.ndarray = field(default_factory=lambda: rgb(255, 244, 225) * 2.6)
    high: np.ndarray = field(default_factory=lambda: rgb(200, 215, 235))  # sky above
    low: np.ndarray = field(default_factory=lambda: rgb(235, 235, 232))  # sky at the horizon
    backdrop: object = None  # paint of directions [n,3] instead of the plain sky
    soft: float = 9.0  # sharpness of the shadows
    far: float = 30.0
    clear: float = 9.0  # haze begins at this distance from the eye
    blur: float = 0.0  # how much what lies behind is out of focus, in 1/320 of the width
    focus: float = 0.0  # distance from the eye where the blur begins
    exposure: float = 0.86
    colour: float = 1.12  # saturation
    grain: float = 0.012


def flat(colour):
    return lambda p: np.broadcast_to(colour, p.shape)


def sky(scene, ray):
    if scene.backdrop:
        return scene.backdrop(ray)
    return mix(scene.low, scene.high, step(-0.05, 0.6, ray[:, 1]))


def nearest(scene, p):
    return np.min([b.field(p) for b in scene.bodies], axis=0)


def march(scene, start, ray, steps=110):
    """Distance along each ray to the first surface, infinite where there is none."""
    t = np.full(len(ray), 0.02, F)
    live, hit = np.arange(len(ray)), np.zeros(len(ray), bool)
    for _ in range(steps):
        if not len(live):
            break
        d = nearest(scene, start[live] + ray[live] * t[live, None])
        done = d < 0.0006 * (1 + t[live])
        hit[live[done]] = True
        t[live] += np.where(done, 0, d * 0.85)
        live = live[~done & (t[live] < scene.far)]
    hit[live] |= t[live] < scene.far * 0.6  # grazing rays that ran out of steps
    return np.where(hit, t, np.inf).astype(F)


def shadow(scene, p, to_sun, steps=34):
    """Share of the sun 0..1 that reaches p."""
    light, t = np.ones(len(p), F), np.full(len(p), 0.03, F)
    live = np.arange(len(p))
    for _ in range(steps):
        d = nearest(scene, p[live] + to_sun * t[live, None])
        light[live] = np.minimum(light[live], np.clip(0.5 + 0.5 * scene.soft * d / t[live], 0, 1))
        t[live] += np.clip(d, 0.02, 0.35)
        live = live[(t[live] < 7) & (light[live] > 0.004)]
        if not len(live):
            break
    return light * light * (3 - 2 * light)


def shade(scene, p, ray):
    """Linear light [n,3] that leaves the surface points p towards the eye."""
    which = np.argmin([b.field(p) for b in scene.bodies], axis=0)
    normal, albedo = np.zeros_like(p), np.zeros_like(p)
    gloss, sharp, through = (np.zeros(len(p), F) for _ in range(3))
    tetra = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], F)
    for k, b in enumerate(scene.bodies):
        m = which == k
        if not m.any():
            continue
        q = p[m]
        n = unit(sum(e * b.field(q + e * 0.0015)[:, None] for e in tetra))
        if b.bump:
            h = 0.004
            g = sum(e * b.bump(q + e * h)[:, None] for e in tetra) / (4 * h)
            n = unit(n - (g - n * (g * n).sum(1, keepdims=True)))
        normal[m], albedo[m] = n, b.paint(q)
        gloss[m], sharp[m], through[m] = b.gloss, b.sharp, b.through
    sun = unit(vec(*scene.sun))
    facing = normal @ sun
    direct = np.clip((facing + through * 0.6) / (1 + through * 0.6), 0, 1)
    lit = np.zeros(len(p), F)
    on = direct > 0.001
    lit[on] = shadow(scene, p[on] + normal[on] * 0.012, sun)
    open_, weight = np.zeros(len(p), F), 0
    for k, s in enumerate((0.02, 0.06, 0.14, 0.3, 0.55)):
        w = 0.8**k
        open_, weight = open_ + w * np.clip(nearest(scene, p + normal * s) / s, 0, 1), weight + w
    open_ = (open_ / weight) ** 1.15
    up = normal[:, 1] * 0.5 + 0.5
    ground = rgb(176, 164, 148) * 0.55
    light = (direct * lit)[:, None] * scene.sunlight + mix(ground, scene.high * 0.5 + scene.low * 0.5, up) * open_[:, None] * 0.85
    half = unit(sun - ray)
    back = ray - 2 * (ray * normal).sum(1, keepdims=True) * normal
    fresnel = 0.04 + 0.96 * np.clip(1 + (ray * normal).sum(1), 0, 1) ** 5
    spark = np.clip((normal * half).sum(1), 0, 1) ** sharp * lit * (facing > 0) * gloss * (sharp + 8) / 40
    return (
        albedo * light
        + spark[:, None] * scene.sunlight * 0.22
        + (fresnel * gloss * open_)[:, None] * mix(ground, scene.low, step(-0.2, 0.3, back[:, 1])) * 0.9
    )


def render(scene, size, seed=0, oversample=2):
    """The picture as Pillow RGB, size x size."""
    n = size * oversample
    eye, look = vec(*scene.eye), vec(*scene.look)
    ahead = unit(look - eye)
    right = unit(np.cross(ahead, vec(0, 1, 0)))
    up = np.cross(right, ahead)
    g = (np.arange(n, dtype=F) + 0.5) / n * 2 - 1
    x, y = np.meshgrid(g, -g)
    ray = unit(ahead * scene.zoom + x.reshape(-1, 1) * right + y.reshape(-1, 1) * up).astype(F)
    start = np.broadcast_to(eye, ray.shape)
    colour, depth = sky(scene, ray).astype(F).copy(), np.full(len(ray), np.inf, F)
    for a in range(0, len(ray), 1 << 16):
        s = slice(a, a + (1 << 16))
        depth[s] = march(scene, start[s], ray[s])
        k = a + np.flatnonzero(np.isfinite(depth[s]))
        if len(k):
            colour[k] = shade(scene, eye + ray[k] * depth[k, None], ray[k])
            fade = 1 - np.exp(-((np.maximum(depth[k] - scene.clear, 0) / 9) ** 2))
            colour[k] = mix(colour[k], sky(scene, ray[k] * vec(1, 0, 1)), fade)
    return develop(scene, colour.reshape(n, n, 3), depth.reshape(n, n), size, seed)


def box_blur(a, radius):
    """Two passes of a box of the given radius over [h,w,c], edges repeated."""
    r = max(1, int(round(radius)))
    for _ in range(2):
        for axis in (0, 1):
            pad = [(0, 0)] * 3
            pad[axis] = (r + 1, r)
            sums = np.cumsum(np.pad(a, pad, mode="edge"), axis=axis, dtype=np.float64)
            n = a.shape[axis]
            a = ((np.take(sums, np.arange(2 * r + 1, 2 * r + 1 + n), axis) - np.take(sums, np.arange(n), axis)) / (2 * r + 1)).astype(F)
    return a


def develop(scene, light, depth, size, seed):
    """What a camera adds: blur behind the subject, lens shading, film curve, grain."""
    n = len(light)
    c = light * scene.exposure
    c = (c * (2.51 * c + 0.03)) / (c * (2.43 * c + 0.59) + 0.14)
    grey = c @ vec(0.21, 0.72, 0.07)
    c = grey[..., None] + (c - grey[..., None]) * scene.colour
    sharp = Image.fromarray((np.clip(c, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8))
    out = np.asarray(sharp, F)
    if scene.blur:
        behind = np.clip((np.where(np.isfinite(depth), depth, scene.far) - scene.focus) / 2.5, 0, 1)
        near = np.asarray(Image.fromarray(((behind <= 0.02) * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(n / 320)), F) / 255
        for share in (0.35, 1.0):
            radius = scene.blur * n / 320 * share
            # weights keep the sharp subject from bleeding into the blurred background
            w = (behind > 0.02).astype(F)[..., None]
            blurred = box_blur(out * w, radius) / np.maximum(box_blur(w, radius), 1e-3)
            t = (step(0.0, 0.5, behind) if share < 1 else step(0.4, 1.0, behind)) * (1 - near)
            out = mix(out, blurred, t)
    g = np.linspace(-1, 1, n, dtype=F)
    out *= (1 - 0.16 * (g[:, None] ** 2 + g[None] ** 2))[..., None] * 1.04
    small = np.asarray(Image.fromarray(np.clip(out, 0, 255).astype(np.uint8)).resize((size, size), Image.Resampling.LANCZOS), F)
    draw = np.random.default_rng(seed)
    grain = draw.normal(0, 255 * scene.grain, (size, size, 1)) + draw.normal(0, 90 * scene.grain, (size, size, 3))
    return Image.fromarray(np.clip(small + grain, 0, 255).astype(np.uint8))
