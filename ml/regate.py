"""Set a bundle's gates anew, with other kinds of picture to learn from; its weights stay.

    python -m ml.regate --bundle DIR --own DIR --other DIR ... --version 1.0.1 --out DIR

``--own`` is the data set that the bundle was fitted to, ``--other`` those of other reading tasks.
Their training pictures, and pictures of nothing (``ml.invented``), are what ``Otherness`` learns to
tell from the bundle's own training pictures. The limits are set on the bundle's own tune part, and
seen to refuse those of the others. The locked tests, and what ``ml.refusal`` measures on besides,
choose nothing.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ml import bundle as bundles
from ml.assemble import complete, far_limit, other_limit
from ml.bundle import Bundle
from ml.datasets import packed
from ml.datasets.manifest import Manifest
from ml.engines import open_engine
from ml.gates import Abstention, Array, Familiarity, Looks, Otherness, looks
from ml.invented import invent
from ml.locked_test import TEST, TRAIN, TUNE, parts_of
from ml.predict import DEFAULT_CACHE
from ml.predictor import BATCH
from ml.preprocess import PreprocessSpec
from ml.reading_task import ReadingTask
from ml.recipe import GateRecipe, NetworkRecipe, typed_from_dict
from ml.refusal import evenly
from ml.runs import code_revision

OWN_SHOWN = 1800
"""Training pictures of the bundle's own task that it is taught by."""
OF_OTHERS = {TRAIN: 400, TUNE: 200}
"""Pictures of each other task that are shown to teach, and to try."""
INVENTED = {TRAIN: 80, TUNE: 40}
"""The same of each kind that is invented."""
SEEDS = {TRAIN: 1, TUNE: 2}


def looks_of(images: Iterable[Image.Image], spec: PreprocessSpec) -> Array:
    """What pictures look like (n, k) as a bundle frames them."""
    return np.stack([looks(spec.frame(image)) for image in tqdm(images, desc="looking")])


def features_of(bundle: Bundle, images: Sequence[Image.Image], cache: Path) -> Array:
    """What the bundle's network makes of pictures (n, f), whoever's they are."""
    engine = open_engine(bundle, device="cpu", cache_dir=cache)
    nobody, spec = bundle.metadata.encode({}).vector, bundle.preprocess
    found = []
    for start in tqdm(range(0, len(images), BATCH), desc="reading"):
        frames = [spec.frame(image) for image in images[start : start + BATCH]]
        found.append(engine.run(spec.to_input(frames), np.stack([nobody] * len(frames)))[1])
    return np.concatenate(found)


def looks_of_others(
    part: str, others: Mapping[str, Manifest], spec: PreprocessSpec
) -> dict[str, Array]:
    """The looks of a part of each other data set, and of each kind that is invented, by name."""
    seen = {
        name: looks_of(
            map(manifest.open_image, evenly(parts_of(manifest)[part], OF_OTHERS[part])), spec
        )
        for name, manifest in others.items()
    }
    by_kind: dict[str, list[Array]] = {}
    for kind, image in invent(INVENTED[part], SEEDS[part]):
        by_kind.setdefault(f"invented {kind}", []).append(looks(spec.frame(image)))
    return seen | {kind: np.stack(values) for kind, values in by_kind.items()}


def limits(
    bundle: Bundle,
    gates: GateRecipe,
    otherness: Otherness,
    tune: Sequence[Image.Image],
    cache: Path,
) -> Abstention:
    """The bundle's limits, with those for what is foreign set anew on its own tune pictures."""
    tensors, seen = bundle.tensors(), looks_of(tune, bundle.preprocess)
    known, appearance = Familiarity.from_tensors(tensors), Looks.from_tensors(tensors)
    novelty = known.distance(features_of(bundle, tune, cache))
    return replace(
        bundle.abstention,
        novelty_above=far_limit(novelty, gates),
        strangeness_above=far_limit(appearance.distance(seen), gates) if appearance else None,
        otherness_above=other_limit(otherness.of(seen), gates),
    )


def regate(
    bundle: Bundle,
    own: Manifest,
    others: Mapping[str, Manifest],
    out: Path,
    *,
    version: str,
    gates: GateRecipe,
    cache: Path,
) -> Bundle:
    """Write the bundle with other gates into ``out``, as ``version``, and return it.

    Raises ValueError when ``own`` is not what the bundle was fitted to.
    """
    parts, spec = parts_of(own), bundle.preprocess
    stated = bundle.facts["training"]["images"]
    if {part: len(files) for part, files in parts.items()} != stated:
        raise ValueError(f"{bundle.path} was fitted to other data, divided as {stated}")
    taught = looks_of(map(own.open_image, evenly(parts[TRAIN], OWN_SHOWN)), spec)
    otherness = Otherness.fit(taught, list(looks_of_others(TRAIN, others, spec).values()))
    otherness = otherness.as_stored()
    abstention = limits(bundle, gates, otherness, [*map(own.open_image, parts[TUNE])], cache)
    limit = abstention.otherness_above or 0.0
    tried = {
        kind: float((otherness.of(seen) > limit).mean())
        for kind, seen in looks_of_others(TUNE, others, spec).items()
    }
    training = bundle.facts["training"]
    recipe = {**training["recipe"], "version": version, "gates": asdict(gates)}
    facts: dict[str, Any] = {
        **{name: bundle.facts[name] for name in bundle.facts if name not in bundles.COMPUTED},
        "version": version,
        "abstention": asdict(abstention),
        "training": {
            **training,
            "recipe": recipe,
            "bundled_by": code_revision(),
            "others_refused_on_tune": tried,
        },
        "self_test": [],
    }
    return complete(
        out,
        task=_task_of(bundle),
        network=typed_from_dict(NetworkRecipe, recipe["network"], "network"),
        facts=facts,
        tensors={**bundle.tensors(), **otherness.tensors()},
        manifest=own,
        tuned_on=parts[TUNE],
        test=[record for record in own.records if record.file in set(parts[TEST])],
    )


def _task_of(bundle: Bundle) -> ReadingTask:
    """Its reading task, with what it says of the data that it learnt from."""
    data = bundle.facts["training"].get("data", {})
    stated = ReadingTask.named(bundle.reading_task).taught_by(data)
    return replace(stated, licence=bundle.facts["licence"])


def main() -> None:
    """Set the gates, and say what they refuse of the tune parts."""
    parser = argparse.ArgumentParser(
        prog="python -m ml.regate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--own", type=Path, required=True, help="the bundle's own data set")
    parser.add_argument("--other", type=Path, nargs="+", required=True, help="other tasks' ones")
    parser.add_argument("--version", required=True, help="of the bundle that is written")
    parser.add_argument("--margin", type=float, help="as in a recipe's gates; else the bundle's")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write it to")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="keeps exported networks")
    options = parser.parse_args()
    bundle = bundles.load(options.bundle)
    gates = typed_from_dict(GateRecipe, bundle.facts["training"]["recipe"]["gates"], "gates")
    made = regate(
        bundle,
        packed.read(options.own),
        {folder.name: packed.read(folder) for folder in options.other},
        options.out,
        version=options.version,
        gates=gates if options.margin is None else replace(gates, margin=options.margin),
        cache=options.cache,
    )
    for kind, share in made.facts["training"]["others_refused_on_tune"].items():
        print(f"{kind}: {share:.3f} refused by looks, on tune")
    print(f"{made.path}: bundle {made.sha256}")


if __name__ == "__main__":
    main()
