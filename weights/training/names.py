"""The vocabulary of the recipe: names.toml as Python objects, and how a name is spelled in a prompt.

It does not know vectors or pictures; prepare.py and train.py join names with those.
"""
import tomllib
from dataclasses import dataclass
from pathlib import Path

GENERIC = "generic"  # in a blend: the mean of all published vectors
GENERIC_PROMPT = "a photo of something"


@dataclass(frozen=True)
class ImageClass:
    """A kind of thing with training pictures."""

    id: str  # WordNet id, the folder name in ImageNet's subsets; of other kinds a word
    names: tuple  # spoken names; the first one is canonical
    vector: str | None  # published name whose vector stands for the class, or None: then `blend` is the start
    blend: tuple  # ((published name, weight), ...)
    also: tuple  # more general names that are true as well
    folders: tuple  # "<collection>/<folder>" of further pictures

    @property
    def is_learned(self):
        return self.vector is None

    @property
    def sources(self):
        """((published name, weight), ...) whose weighted mean is the class's text vector, at least at first."""
        return ((self.vector, 1.0),) if self.vector else self.blend


@dataclass(frozen=True)
class Names:
    """All of names.toml."""

    classes: tuple
    aliases: dict  # spoken name -> ((published name, weight), ...)
    templates: dict  # "main", "more", "plural" -> prompt templates
    generic_prompts: tuple
    benchmarks: dict  # "cifar10", "imagenet30", "coco" -> names


def load_names(path=Path(__file__).with_name("names.toml")):
    data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    classes = tuple(
        ImageClass(
            c.get("wnid") or c["id"], tuple(c["names"]), c.get("vector"), tuple(c.get("blend", {}).items()),
            tuple(c.get("also", ())), tuple(c.get("folders", ())),
        )
        for c in data["class"]
    )
    for c in classes:
        if (c.vector is None) == (not c.blend):
            raise ValueError(f"names.toml: {c.id} needs either `vector` or `blend`")
    aliases = {
        alias: ((source, 1.0),) if isinstance(source, str) else tuple(source.items())
        for alias, source in data["aliases"].items()
    }
    return Names(classes, aliases, data["templates"], tuple(data["prompts"]["generic"]), data["benchmarks"])


def spaced(name):
    """`hot_dog` -> `hot dog`, in lower case."""
    return " ".join(name.lower().replace("_", " ").split())


def clean(name):
    """`car_(automobile)` -> `car`: spaced, without remarks in brackets."""
    name = spaced(name)
    while "(" in name and name.find(")", name.index("(")) > 0:
        before, _, rest = name.partition("(")
        name = before + " " + rest.partition(")")[2]
    return " ".join(name.split())


def article(name):
    return "an" if name[:1] in tuple("aeiou") else "a"


def plural(name):
    """An English plural of the last word, good enough for a training prompt."""
    if name.endswith("s") and not name.endswith("ss"):
        return name
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2:-1] not in tuple("aeiou"):
        return name[:-1] + "ies"
    return name + "s"


def fill(template, name, first=None):
    """A template of names.toml with the name put in; `first` overrules the article."""
    return template.format(a=first or article(name), name=name, plural=plural(name))


def photo_of(name):
    """The prompt that the product uses for a normal name."""
    return f"a photo of {article(name)} {name}"
