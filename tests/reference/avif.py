"""Writes tests/e2e/tiny.avif: a small picture in a format that our decoders do not read and browsers do.

Run from the repository root with a Pillow that has AVIF (11.3 or later): python tests/reference/avif.py
"""

from PIL import Image

size = 48
picture = Image.new("RGB", (size, size))
for y in range(size):
    for x in range(size):
        inside = (x - 24) ** 2 + (y - 26) ** 2 < 17**2
        picture.putpixel((x, y), (235, 130, 20) if inside else (180 - y, 200 - y, 215))
picture.save("tests/e2e/tiny.avif", quality=60, speed=6)
