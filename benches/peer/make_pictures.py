"""Makes a folder of photographs' size and roughness: `make_pictures.py FOLDER [COUNT]`, JPEG, 640 x 480, from a seed."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 640, 480
WEAKER = 1.5  # makes files of 80 kB, as cameras do at this size


def picture(seed):
    """Noise in octaves, each somewhat weaker than the one twice as coarse, as in photographs."""
    random = np.random.default_rng(seed)
    total = np.zeros((HEIGHT, WIDTH, 3))
    for octave in range(8):
        cells = random.normal(size=(3 << octave, 4 << octave, 3)).astype(np.float32)
        channels = [Image.fromarray(cells[..., c]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC) for c in range(3)]
        total += np.stack(channels, axis=-1) / WEAKER**octave
    return Image.fromarray((128 + 50 * total).clip(0, 255).astype(np.uint8))


def main(folder, count=200):
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(int(count)):
        picture(seed).save(folder / f"{seed:03}.jpg", quality=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
