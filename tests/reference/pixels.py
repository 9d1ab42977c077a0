"""What Pillow makes of pictures: sources and expected crops for tests/pixels.rs.

    python tests/reference/pixels.py        (Pillow 13.0.0 and numpy; rewrites tests/reference/pixels/)

Sources are synthetic and made here. `crops.bin` holds the expected [size, size, 3] bytes one behind the other; `index.json` says
where each lies and how near it must be met. Cases without a file are noise that both sides compute (`noise` here and there).
"""
import io, json, pathlib, shutil
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

HERE = pathlib.Path(__file__).parent / "pixels"
cases, crops = [], bytearray()


def noise(width, height, seed, channels=4):
    """Bytes from a multiplicative hash of their index (Knuth's 2^32 / golden ratio), the same in tests/pixels.rs."""
    i = np.arange(width * height * channels, dtype=np.uint64)
    v = ((i + seed) * 2654435761) & 0xFFFFFFFF
    v = ((v ^ (v >> 15)) * 2246822519) & 0xFFFFFFFF
    return ((v >> 24).astype(np.uint8)).reshape(height, width, channels)


def scene(width, height, channels=3):
    """Slopes, an edge and a few dots: something of every frequency, and small when compressed."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    slopes = [255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1), 127 + 120 * np.sin(x / 5 + y / 3), 255 - 2 * ((x * 3 + y) % 100)]
    out = np.stack(slopes[:channels], -1)
    out[(x - width / 2) ** 2 + (y - height / 3) ** 2 < (min(width, height) / 4) ** 2] = [250, 5, 60, 0][:channels]
    return out.astype(np.uint8)


def crop(picture, size):
    """OpenAI CLIP's preprocessing up to the crop, on RGB."""
    width, height = picture.size
    short = min(width, height)
    wide, tall = size * width // short, size * height // short
    picture = picture.resize((wide, tall), Image.BICUBIC)
    left, top = round((wide - size) / 2), round((tall - size) / 2)
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def case(name, rgb, size, off=0, **how):
    """`off`: how far a byte may lie from Pillow's (0: equal), where the decoder has a choice."""
    pixels = crop(rgb, size)
    assert pixels.shape == (size, size, 3) and rgb.mode == "RGB"
    cases.append(dict(name=name, width=rgb.width, height=rgb.height, size=size, at=len(crops), off=off, **how))
    crops.extend(pixels.tobytes())


def file(name, picture, size=24, off=0, rgb=None, format=None, **save):
    picture.save(HERE / name, format=format, **save)
    if rgb is None:
        with Image.open(HERE / name) as stored:
            rgb = ImageOps.exif_transpose(stored).convert("RGB")
    fmt = {"jpg": "JPEG", "png": "PNG", "webp": "WebP", "gif": "GIF", "bmp": "BMP", "tif": "TIFF"}[name.rsplit(".")[-1]]
    case(name, rgb, size, off, file=name, format=fmt)


def high_byte(array16):
    return Image.fromarray(np.repeat((array16 >> 8).astype(np.uint8)[..., None], 3, -1), "RGB")


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    seed = 0
    for width, height in [(1, 1), (1, 2), (2, 1), (1, 33), (33, 1), (3, 5), (23, 23), (24, 24), (24, 25), (25, 24), (24, 77), (47, 48),
                          (48, 48), (49, 200), (100, 99), (640, 480), (37, 5000), (5000, 37), (1, 100000), (100000, 1), (4032, 3024)]:
        for size in (24, 7) if width * height < 300 else (24,):
            seed += 1
            rgb = Image.fromarray(np.ascontiguousarray(noise(width, height, seed)[..., :3]), "RGB")
            case(f"noise {width} x {height} to {size}", rgb, size, seed=seed)
    case("noise 301 x 224 to 64", Image.fromarray(np.ascontiguousarray(noise(301, 224, 99)[..., :3]), "RGB"), 64, seed=99)

    modes = {"rgb": Image.fromarray(scene(61, 43)), "rgba": Image.fromarray(scene(61, 43, 4), "RGBA"),
             "grey": Image.fromarray(scene(61, 43)[..., 2]), "grey-alpha": Image.fromarray(scene(61, 43, 2), "LA"),
             "palette": Image.fromarray(scene(61, 43)).quantize(23), "bits": Image.fromarray(scene(61, 43)[..., 2]).convert("1")}
    for mode, picture in modes.items():
        file(f"{mode}.png", picture)
        if mode in ("rgb", "grey", "bits", "rgba"):
            file(f"{mode}.tif", picture)
        if mode in ("rgb", "grey", "palette", "bits", "rgba"):
            file(f"{mode}.bmp", picture)
        if mode in ("palette", "grey"):
            file(f"{mode}.gif", picture)
        if mode in ("rgb", "rgba"):
            file(f"{mode}.webp", picture, lossless=True, exact=True)
            file(f"{mode}-lossy.webp", picture, quality=90, off=3)
    for bits in (2, 4):
        file(f"palette-{bits}-bit.png", modes["rgb"].quantize(1 << bits), bits=bits)
    file("palette-clear.png", modes["palette"], transparency=3)
    file("palette-clear.gif", modes["palette"], transparency=3)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        file(f"{compression}.tif", modes["rgb"], compression=compression)
    frames = [Image.fromarray(np.roll(scene(40, 30), 7 * i, 1)).quantize(16) for i in range(3)]
    file("moving.gif", frames[0], save_all=True, append_images=frames[1:], duration=50)
    frames = [frame.convert("RGB") for frame in frames]
    file("moving.webp", frames[0], save_all=True, append_images=frames[1:], duration=50, lossless=True)
    deep = (scene(61, 43).astype(np.uint16) << 8) + noise(61, 43, 5)[..., :3]
    file("grey-16.png", Image.fromarray(deep[..., 2]), rgb=high_byte(deep[..., 2]))
    file("grey-16.tif", Image.fromarray(deep[..., 2]), rgb=high_byte(deep[..., 2]))
    rgb16(deep, HERE / "rgb-16.png")
    with Image.open(HERE / "rgb-16.png") as stored:
        case("rgb-16.png", stored.convert("RGB"), 24, file="rgb-16.png", format="PNG")
    # JPEG decoders may round differently, and interpolate chroma differently
    for name, picture, save in [("444", modes["rgb"], dict(subsampling=0)), ("422", modes["rgb"], dict(subsampling=1)),
                                ("420", modes["rgb"], dict(subsampling=2)), ("grey", modes["grey"], {}), ("progressive", modes["rgb"], dict(progressive=True)),
                                ("cmyk", modes["rgb"].convert("CMYK"), {}), ("1-pixel", Image.new("RGB", (1, 1), (200, 30, 90)), {}),
                                ("restarts", modes["rgb"], dict(restart_marker_blocks=3))]:
        file(f"{name}.jpg", picture, quality=92, off=2, **save)
    corner = scene(48, 32)
    corner[:16, :16] = [255, 255, 0]
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[274] = turn
        file(f"turn-{turn}.jpg", Image.fromarray(corner), size=16, quality=95, subsampling=0, off=2, exif=exif)
        file(f"turn-{turn}.webp", Image.fromarray(corner), size=16, lossless=True, exif=exif)
        file(f"turn-{turn}.png", Image.fromarray(corner), size=16, exif=exif)
        tags = {274: turn}
        file(f"turn-{turn}.tif", Image.fromarray(corner[::4, ::4]), size=16, tiffinfo=tags)

    (HERE / "crops.bin").write_bytes(crops)
    lines = ",\n".join(json.dumps(c) for c in cases)
    (HERE / "index.json").write_text(f"[\n{lines}\n]\n")
    total = sum(f.stat().st_size for f in HERE.iterdir())
    print(f"{len(cases)} cases, {total} bytes")


def rgb16(array, path):
    """Pillow writes no 16-bit RGB; PNG is simple enough."""
    import struct, zlib
    height, width, _ = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


if __name__ == "__main__":
    main()
