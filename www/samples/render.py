#!/usr/bin/env python3
"""Draws the sample pictures of the page's first visit and writes samples.json beside them.

  python render.py                 all pictures of PICTURES, 320 x 320, JPEG
  python render.py --size 96 --only teapot --out DIR    a small draft of one subject

One function per subject returns a Scene; light and lens are in raymarch.py. Everything is computed from the formulas here, with fixed
seeds: no photograph, texture or model of anyone else is used, so the pictures carry the project's own licence.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from raymarch import (
    F,
    Body,
    Scene,
    blend,
    both,
    box,
    capsule,
    cylinder,
    displaced,
    ellipsoid,
    fbm,
    flat,
    minus,
    mix,
    moved,
    noise,
    render,
    rgb,
    sphere,
    step,
    torus,
    turning,
    union,
    unit,
    vec,
)

HERE = Path(__file__).parent


# ------------------------------------------------------------------------------------------------ grounds and backdrops
def ground(paint, gloss=0.1, bump=None):
    return Body(lambda p: p[:, 1], paint, gloss, 25, bump)


def wood(dark=(112, 68, 36), light=(176, 122, 74), plank=0.9, gloss=0.35):
    """A table of planks that run away from the viewer."""

    def paint(p):
        k = np.floor(p[:, 0] / plank)
        q = np.stack([p[:, 0] * 5 + k * 7.3, p[:, 1], p[:, 2] * 0.55 + k * 3.1], 1)
        rings = 0.5 + 0.5 * np.sin((fbm(q, 3) * 9 + q[:, 0] * 0.6) * 4)
        fine = fbm(q * vec(9, 1, 2.5), 2, 5)
        c = mix(
            rgb(*dark), rgb(*light), np.clip(0.55 * rings + 0.5 * fine - 0.05 + 0.25 * (noise(k[:, None] * vec(3.7, 0, 0)) - 0.5), 0, 1)
        )
        gap = np.abs(p[:, 0] / plank - np.round(p[:, 0] / plank))
        return c * (0.25 + 0.75 * step(0.004, 0.02, gap))[:, None]

    return ground(paint, gloss)


def cloth(colour, weave=38.0):
    def bump(p):
        return 0.0035 * (np.sin(p[:, 0] * weave) * np.sin(p[:, 2] * weave)) + 0.05 * fbm(p * 1.2, 2)

    return ground(lambda p: mix(rgb(*colour) * 0.85, rgb(*colour), fbm(p * vec(14, 1, 14), 3)), 0.02, bump)


def stone(a=(150, 150, 152), b=(196, 194, 190)):
    return ground(lambda p: mix(rgb(*a), rgb(*b), fbm(p * 3, 5)) * (0.9 + 0.2 * noise(p * 40))[:, None], 0.25)


def lawn(a=(46, 92, 26), b=(128, 170, 62)):
    def height(p):
        q = p + 0.25 * np.stack([noise(p * 3, 1), 0 * p[:, 0], noise(p * 3, 2)], 1)
        return 0.11 * noise(q * vec(26, 0, 9), 3) + 0.05 * noise(q * vec(60, 0, 22), 4)

    return Body(
        lambda p: 0.6 * (p[:, 1] - height(p) + 0.08),
        lambda p: mix(rgb(*a), rgb(*b), np.clip(1.6 * (height(p) * 6 - 0.15), 0, 1)) * (0.55 + 0.9 * fbm(p * vec(2, 0, 2), 3))[:, None],
        0.08,
    )


def room(top, bottom, spot=None):
    """A softly lit wall; `spot` adds a paler patch, as from a window."""

    def paint(ray):
        c = mix(rgb(*bottom), rgb(*top), step(-0.15, 0.75, ray[:, 1]))
        if spot:
            d = ((ray[:, 0] - spot[0]) ** 2 + (ray[:, 1] - spot[1]) ** 2) / 0.16
            c = c * (1 + 0.9 * np.exp(-d))[:, None]
        return c

    return paint


def garden(ray):
    """Out-of-focus leaves and gaps of light."""
    n = fbm(ray * 9, 3, 7)
    c = mix(rgb(40, 74, 30), rgb(150, 186, 96), step(0.3, 0.7, n))
    return mix(c, rgb(232, 240, 222), step(0.62, 0.8, fbm(ray * 7, 2, 21)) * step(-0.1, 0.4, ray[:, 1]))


def daylight(ray):
    """Blue sky with some clouds."""
    c = mix(rgb(214, 229, 240), rgb(74, 134, 205), step(-0.02, 0.75, ray[:, 1]))
    q = ray / np.maximum(ray[:, 1:2] + 0.25, 0.05)
    return mix(c, rgb(250, 250, 250), 0.8 * step(0.5, 0.78, fbm(q * vec(1.6, 1, 1.6), 5, 3)) * step(-0.02, 0.2, ray[:, 1]))


# ------------------------------------------------------------------------------------------------ fruit
PEEL, PEEL_DEEP = (244, 118, 6), (222, 80, 2)


def orange_bodies(centre, r=1.0, seed=0, turn=(0, 0, 0), stem=True, peel=(PEEL, PEEL_DEEP)):
    """A whole orange: pores, a dimple at the stem, the dry green star of the calyx."""
    centre, m = vec(*centre), turning(turn)
    local = lambda p: (p - centre) @ m / r
    pores = lambda p: -0.011 * r * step(0.5, 0.95, noise(local(p) * 30, seed)) - 0.008 * r * fbm(local(p) * 12, 2, seed)

    def shape(p):
        q = local(p)
        d = np.linalg.norm(q * vec(1, 1.05, 1), axis=1) - 1
        dimple = 0.09 * np.exp(-(q[:, 0] ** 2 + q[:, 2] ** 2) / 0.045) * (q[:, 1] > 0)
        return (d + dimple + 0.02 * (fbm(q * 1.5, 2, seed) - 0.5)) * r * 0.93

    def paint(p):
        q = local(p)
        c = mix(rgb(*peel[1]), rgb(*peel[0]), np.clip(fbm(q * 2.2, 3, seed + 3) * 1.5 - 0.2, 0, 1))
        c = c * (1 - 0.22 * step(0.5, 0.95, noise(q * 30, seed)))[:, None]
        return mix(c, rgb(214, 176, 50), 0.5 * step(0.22, 0.0, np.hypot(q[:, 0], q[:, 2])) * (q[:, 1] > 0))

    bodies = [Body(shape, paint, 0.5, 26, pores, 0.25)]
    if stem:

        def calyx(p):
            q = local(p)
            a = np.arctan2(q[:, 2], q[:, 0])
            rad = np.hypot(q[:, 0], q[:, 2])
            return np.maximum(np.abs(q[:, 1] - 0.885 - 0.25 * rad) - 0.03, rad - 0.085 - 0.035 * np.cos(5 * a)) * 0.6 * r

        bodies.append(Body(calyx, lambda p: mix(rgb(70, 84, 30), rgb(128, 128, 66), noise(local(p) * 40)), 0.1))
    return bodies


def leaf(base, turn, length=0.9, colours=((34, 88, 26), (80, 142, 48))):
    """A flat pointed leaf with a folded middle, along +z from its base."""

    def field(p):
        q = (p - vec(*base)) @ turning(turn)
        t = np.clip(q[:, 2] / length, 0, 1)
        half = 0.27 * length * np.sin(np.pi * np.clip(t, 0.0, 1) ** 0.8) + 0.004
        y = q[:, 1] - 0.28 * np.abs(q[:, 0]) + 0.22 * length * t * t
        return (
            np.linalg.norm(
                np.maximum(np.stack([np.abs(q[:, 0]) - half, np.abs(y) - 0.008, np.abs(q[:, 2] - length / 2) - length / 2], 1), 0), axis=1
            )
            * 0.6
        )

    def paint(p):
        q = (p - vec(*base)) @ turning(turn)
        vein = np.abs(np.sin((q[:, 2] - 0.6 * np.abs(q[:, 0])) * 26 / length))
        c = mix(rgb(*colours[0]), rgb(*colours[1]), 0.35 + 0.4 * fbm(q * 6, 2) + 0.25 * step(0.25, 0.0, vein))
        return mix(c, rgb(150, 180, 96), step(0.025, 0.008, np.abs(q[:, 0])))

    return Body(field, paint, 0.55, 30)


def cut_half(centre, r=1.0, face=(0, 0, 0), rind=PEEL, flesh=((250, 136, 12), (238, 92, 4)), pith=(252, 236, 200), segments=10, seed=4):
    """Half a citrus fruit whose cut face looks along +z before `face` turns it."""
    m = turning(face)
    local = lambda p: (p - vec(*centre)) @ m / r

    def shape(p):
        q = local(p)
        return np.maximum(np.linalg.norm(q, axis=1) - 1, q[:, 2]) * r

    def wedge(q):
        rad, a = np.hypot(q[:, 0], q[:, 1]), np.arctan2(q[:, 1], q[:, 0]) * segments / (2 * np.pi) + 0.15 * np.sin(q[:, 0] * 3)
        side = np.abs(a - np.floor(a) - 0.5) * 2  # 0 middle of a segment, 1 at the skin
        edge = (1 - side) * rad * np.pi / segments
        return step(0.012, 0.035, edge) * step(0.07, 0.12, rad) * step(0.875, 0.845, rad + 0.05 * side**3), rad, a

    def paint(p):
        q = local(p)
        inside, rad, a = wedge(q)
        drops = fbm(np.stack([rad * 6, a * 9, 0 * a], 1) + noise(q * 5)[:, None], 3, seed)
        c = mix(rgb(*flesh[1]), rgb(*flesh[0]), np.clip(1.7 * drops - 0.35, 0, 1))
        c = mix(rgb(*pith), c, inside)
        c = mix(c, rgb(*rind), step(0.945, 0.96, rad))
        return np.where((q[:, 2] > -0.012)[:, None], c, rgb(*rind))

    def bump(p):
        q = local(p)
        inside, rad, a = wedge(q)
        on_face = q[:, 2] > -0.03
        return (
            np.where(
                on_face,
                0.012 * inside + 0.02 * inside * fbm(np.stack([rad * 8, a * 12, 0 * a], 1), 2, seed),
                -0.011 * step(0.5, 0.95, noise(q * 30)),
            )
            * r
        )

    return [Body(shape, paint, 0.6, 40, bump, 0.5)]


TABLE = dict(sun=(-0.55, 0.75, 0.5), blur=9, focus=5.2, zoom=2.75)


def orange_on_wood():
    return Scene(
        [wood()] + orange_bodies((0, 0.94, 0), turn=(18, 20, 12), seed=1),
        (0.3, 2.0, 4.6),
        (0, 0.86, 0),
        backdrop=room((206, 196, 180), (150, 132, 112), (-0.4, 0.25)),
        **TABLE
    )


def orange_with_leaf():
    bodies = orange_bodies((-0.05, 0.94, 0), turn=(24, 0, -16), seed=5, stem=False)
    top = vec(-0.05, 0.94, 0) + turning((24, 0, -16)) @ vec(0, 0.86, 0)
    twig = capsule(top, top + vec(0.14, 0.22, 0.02), 0.045, 0.035)
    return Scene(
        [cloth((226, 226, 220))] + bodies + [Body(twig, flat(rgb(88, 96, 44)), 0.1), leaf(top + vec(0.08, 0.12, 0.02), (-12, 68, 0), 1.0)],
        (0.0, 1.9, 4.7),
        (0.1, 0.92, 0),
        backdrop=room((222, 226, 230), (186, 190, 196)),
        **TABLE
    )


def oranges_four():
    bodies = [wood((92, 62, 40), (140, 98, 62))]
    for k, (c, t) in enumerate(
        [
            ((-0.95, 0.92, 0.2), (30, 0, 20)),
            ((0.95, 0.92, 0.1), (10, 0, -35)),
            ((0.0, 0.92, -1.15), (20, 0, 5)),
            ((0, 2.25, -0.28), (35, 0, -6)),
        ]
    ):
        bodies += orange_bodies(c, 0.98, seed=20 + k, turn=t)
    return Scene(bodies, (0.2, 2.9, 6.2), (0, 1.35, -0.2), backdrop=garden, sun=(-0.6, 0.8, 0.4), zoom=2.75, blur=10, focus=7.5)


def orange_halves():
    return Scene(
        [wood((150, 108, 70), (206, 164, 116))]
        + cut_half((-0.62, 0.97, 0.25), 1.0, (-16, 14, 0))
        + orange_bodies((1.0, 0.95, -0.85), 1.0, seed=13, turn=(20, 0, -25)),
        (0.1, 2.2, 5.2),
        (0.1, 0.9, 0),
        backdrop=room((214, 220, 214), (170, 178, 168)),
        sun=(-0.45, 0.75, 0.75),
        zoom=2.35,
        blur=9,
        focus=6.0,
    )


def oranges_two():
    return Scene(
        [stone((60, 66, 72), (92, 98, 104))]
        + orange_bodies((-0.75, 0.94, 0.1), seed=31, turn=(30, 0, 15))
        + orange_bodies((1.0, 0.94, -0.7), seed=33, turn=(20, 0, -30)),
        (0.1, 2.2, 5.2),
        (0.12, 0.92, 0),
        backdrop=room((92, 100, 108), (60, 66, 72)),
        sun=(-0.45, 0.75, 0.75),
        zoom=2.35,
        blur=9,
        focus=6.4,
    )


# ------------------------------------------------------------------------------------------------ balls
def golf_ball():
    n = 336
    k = np.arange(n) + 0.5
    polar, turn = np.arccos(1 - 2 * k / n), np.pi * (1 + 5**0.5) * k
    dots = np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], 1).astype(F)
    centre = vec(0, 0.98, 0)

    def dimples(p):
        q = unit(p - centre)
        return np.concatenate([-0.03 * step(0.99, 0.9972, (q[a : a + 4096] @ dots.T).max(1)) for a in range(0, len(q), 4096)])

    return Scene(
        [lawn(), Body(sphere(centre, 1.0), flat(rgb(246, 246, 243)), 0.55, 50, dimples)],
        (0.2, 1.55, 4.6),
        (0, 0.88, 0),
        backdrop=garden,
        sun=(-0.6, 0.7, 0.45),
        zoom=2.9,
        blur=11,
        focus=5.0,
    )


# ------------------------------------------------------------------------------------------------ vehicles
YELLOW = (248, 160, 2)


def school_bus():
    yellow, black, glass = flat(rgb(*YELLOW)), flat(rgb(22, 22, 24)), flat(rgb(36, 48, 60))
    cabin = box(vec(-0.45, 1.35, 0), (2.15, 0.95, 0.82), 0.16)
    hood = box(vec(2.1, 0.86, 0), (0.62, 0.42, 0.7), 0.14)
    body = union(cabin, hood)
    windows = [box(vec(-2.1 + 0.56 * k, 1.68, 0), (0.21, 0.26, 1.2), 0.04) for k in range(6)]
    sides = both(union(*windows), displaced(cabin, lambda p: 0.012 + 0 * p[:, 0]))
    front = both(box(vec(1.9, 1.66, 0), (0.4, 0.34, 0.66), 0.06), displaced(cabin, lambda p: 0.012 + 0 * p[:, 0]))
    door = both(box(vec(1.3, 1.28, 1.0), (0.22, 0.7, 0.5), 0.04), displaced(cabin, lambda p: 0.014 + 0 * p[:, 0]))
    rails = both(
        union(*[box(vec(-0.45, y, 0), (3, 0.026, 2), 0.0) for y in (0.72, 1.02, 1.3)]), displaced(cabin, lambda p: 0.02 + 0 * p[:, 0])
    )
    wheels = union(*[cylinder(vec(x, 0.42, z), 0.42, 0.15, 2, 0.05) for x in (-1.55, 1.95) for z in (-0.66, 0.66)])
    hubs = union(*[cylinder(vec(x, 0.42, z), 0.19, 0.165, 2, 0.03) for x in (-1.55, 1.95) for z in (-0.66, 0.66)])
    arches = union(*[cylinder(vec(x, 0.44, 0), 0.53, 2, 2) for x in (-1.55, 1.95)])
    bumper = box(vec(2.76, 0.5, 0), (0.08, 0.12, 0.76), 0.03)
    lamps = union(*[cylinder(vec(2.7, 0.95, z), 0.13, 0.05, 0, 0.02) for z in (-0.48, 0.48)])
    sign = box(vec(1.62, 2.2, 0), (0.1, 0.1, 0.42), 0.03)
    letters = both(displaced(sign, lambda p: 0.006 + 0 * p[:, 0]), lambda p: 0.02 * np.sin(p[:, 2] * 55))
    grille = union(*[box(vec(2.7, 0.78 + 0.08 * k, 0), (0.04, 0.022, 0.3)) for k in range(5)])
    red = union(*[sphere(vec(1.6, 2.24, z), 0.09) for z in (-0.6, -0.35, 0.35, 0.6)])
    turned = lambda d: moved(d, (0, 0, 0), (0, -40, 0))
    road = ground(lambda p: mix(rgb(84, 84, 88), rgb(112, 112, 114), fbm(p * 5, 4)) * (0.85 + 0.3 * noise(p * 30))[:, None], 0.1)
    return Scene(
        [
            road,
            Body(turned(union(minus(body, arches), sign)), yellow, 0.6, 50),
            Body(turned(union(sides, front)), glass, 1.0, 120),
            Body(turned(door), glass, 0.9, 100),
            Body(turned(union(rails, bumper, grille, letters)), black, 0.3),
            Body(turned(wheels), black, 0.2),
            Body(turned(hubs), flat(rgb(190, 190, 190)), 0.6),
            Body(turned(lamps), flat(rgb(250, 250, 240)), 0.9),
            Body(turned(red), flat(rgb(210, 20, 10)), 0.8),
        ],
        (1.6, 1.5, 8.4),
        (0.3, 1.1, 0),
        backdrop=lambda r: mix(
            mix(rgb(66, 104, 48), rgb(120, 152, 84), fbm(r * 14, 3)), daylight(r), step(0.06, 0.1, r[:, 1] + 0.05 * fbm(r * 9, 3) - 0.02)
        ),
        sun=(0.25, 0.8, 0.75),
        zoom=2.9,
        blur=3,
        focus=11,
        clear=12,
    )


# ------------------------------------------------------------------------------------------------ things
def teapot():
    def glaze(p):
        c = mix(rgb(38, 92, 128), rgb(58, 120, 156), fbm(p * 2, 3))
        return mix(c, rgb(236, 232, 220), step(0.02, 0.0, np.abs(p[:, 1] - 1.3) - 0.03) * (np.hypot(p[:, 0], p[:, 2]) < 1.06))

    spout = blend(0.15, capsule((0.8, 0.75, 0), (1.3, 1.05, 0), 0.24, 0.15), capsule((1.3, 1.05, 0), (1.62, 1.5, 0), 0.15, 0.1))
    handle = moved(both(torus(vec(0, 0, 0), 0.52, 0.1, 2), lambda p: p[:, 0] - 0.25), (-1.1, 0.98, 0), (0, 0, 0))
    body = blend(0.14, ellipsoid(vec(0, 0.88, 0), (1.08, 0.88, 1.08)), spout, handle, cylinder(vec(0, 0.06, 0), 0.62, 0.06, 1, 0.03))
    lid = blend(0.08, ellipsoid(vec(0, 1.66, 0), (0.56, 0.16, 0.56)), sphere(vec(0, 1.92, 0), 0.15))
    return Scene(
        [wood(), Body(moved(body, turn=(0, 16, 0)), glaze, 1.0, 110), Body(lid, flat(rgb(46, 104, 140)), 1.0, 110)],
        (0.3, 2.5, 5.6),
        (0.1, 0.98, 0),
        backdrop=room((222, 214, 200), (176, 162, 142)),
        zoom=2.9,
        sun=(-0.55, 0.75, 0.5),
        blur=8,
        focus=6.6,
    )


def obelisk():
    def shaft(p):
        half = 0.46 - 0.05 * p[:, 1]
        side = np.maximum(np.abs(p[:, 0]), np.abs(p[:, 2])) - np.minimum(half, (6.0 - p[:, 1]) * 0.5)
        return np.maximum(side, -p[:, 1]) * 0.9

    base = union(box(vec(0, 0.3, 0), (0.8, 0.3, 0.8), 0.03), box(vec(0, 0.08, 0), (1.15, 0.1, 1.15), 0.02))
    paint = (
        lambda p: mix(rgb(186, 168, 140), rgb(222, 208, 182), fbm(p * vec(3, 1.2, 3), 4))
        * (1 - 0.35 * step(0.03, 0.0, np.abs((p[:, 1] * 1.1) % 1 - 0.5)))[:, None]
    )
    return Scene(
        [stone((150, 142, 128), (190, 182, 168)), Body(moved(union(shaft, base), turn=(0, 30, 0)), paint, 0.1)],
        (0.6, 1.0, 8.2),
        (0, 2.85, 0),
        backdrop=daylight,
        sun=(-0.7, 0.6, 0.5),
        zoom=2.3,
    )


def sunglasses():
    def lens(s):
        return moved(both(ellipsoid(vec(0, 0, 0), (0.62, 0.5, 0.5)), box(vec(0, 0, 0), (1, 1, 0.05))), (s * 0.75, 0.52, 0), (0, s * 6, 0))

    def rim(s):
        return moved(
            minus(
                both(ellipsoid(vec(0, 0, 0), (0.72, 0.6, 0.6)), box(vec(0, 0, 0), (1, 1, 0.07), 0.02)),
                ellipsoid(vec(0, 0, 0), (0.6, 0.48, 0.9)),
            ),
            (s * 0.75, 0.52, 0),
            (0, s * 6, 0),
        )

    arms = [capsule((s * 1.42, 0.75, -0.05), (s * 1.35, 0.62, -2.0), 0.06, 0.05) for s in (-1, 1)]
    frame = union(rim(-1), rim(1), capsule((-0.16, 0.66, 0.0), (0.16, 0.66, 0.0), 0.07), *arms)
    tint = lambda p: mix(rgb(16, 14, 14), rgb(70, 56, 44), step(1.0, 0.1, p[:, 1]))
    turned = lambda d: moved(d, (0, 0.02, 0), (0, -22, 0))
    return Scene(
        [
            ground(lambda p: mix(rgb(222, 198, 158), rgb(240, 222, 188), fbm(p * 8, 4)), 0.02, lambda p: 0.03 * fbm(p * 4, 3)),
            Body(turned(frame), flat(rgb(20, 18, 18)), 0.9, 90),
            Body(turned(union(lens(-1), lens(1))), tint, 1.0, 130),
        ],
        (0.2, 1.6, 4.4),
        (0, 0.42, -0.2),
        backdrop=room((190, 216, 232), (120, 178, 206)),
        sun=(-0.5, 0.8, 0.5),
        zoom=2.4,
        blur=8,
        focus=5.4,
    )


# ------------------------------------------------------------------------------------------------ what the page shows
PICTURES = [  # subject, label, text for those who do not see the picture
    (orange_on_wood, "orange", "A rendered orange on a wooden table"),
    (orange_with_leaf, "orange", "A rendered orange with a leaf on a white cloth"),
    (oranges_four, "orange", "Four rendered oranges in a pile in a garden"),
    (orange_halves, "orange", "Half an orange in front of a whole one, rendered"),
    (oranges_two, "orange", "Two rendered oranges on dark slate"),
    (golf_ball, "golf ball", "A rendered golf ball on grass"),
    (school_bus, "school bus", "A rendered yellow school bus"),
    (sunglasses, "sunglasses", "Rendered sunglasses on sand"),
    (obelisk, "obelisk", "A rendered stone obelisk under a blue sky"),
    (teapot, "teapot", "A rendered blue teapot on a wooden table"),
]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=HERE, type=Path, help="folder, this one unless told")
    p.add_argument("--size", default=320, type=int, help="pixels a side")
    p.add_argument("--only", default="", help="subjects, comma separated; leaves samples.json alone")
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    chosen, listed = [n for n in a.only.split(",") if n], []
    for seed, (subject, label, alt) in enumerate(PICTURES):
        file = subject.__name__.replace("_", "-") + ".jpg"
        listed.append({"file": file, "label": label, "alt": alt})
        if not chosen or subject.__name__ in chosen:
            render(subject(), a.size, seed).save(a.out / file, quality=86, optimize=True)
            print(file, (a.out / file).stat().st_size, "bytes", flush=True)
    if not chosen:
        (a.out / "samples.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
