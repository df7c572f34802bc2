"""Prepare a publisher's data for training, or describe what is in a prepared set."""

import argparse
from pathlib import Path

from ml.datasets.catalogue import LAYOUTS, layout
from ml.datasets.describe import describe
from ml.datasets.layout import LayoutError
from ml.datasets.prepare import prepare, terms


def main(arguments: list[str] | None = None) -> None:
    """Run ``prepare`` or ``describe``; a layout that is not as expected ends it with a sentence."""
    parser = argparse.ArgumentParser(prog="python -m ml.datasets", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare", help="write manifest.csv and dataset.json")
    preparing.add_argument("name", choices=LAYOUTS)
    preparing.add_argument(
        "--from", dest="folder", type=Path, help="the publisher's files; without it, what to fetch"
    )
    preparing.add_argument("--out", type=Path, help="folder to write to")
    preparing.add_argument("--licence", default="", help="terms of use, where yours are others")
    preparing.add_argument("--pack", action="store_true", help="copy the pictures into images.zip")
    describing = commands.add_parser("describe", help="write a page about a prepared set")
    describing.add_argument("manifest", type=Path, help="manifest.csv or its folder")
    describing.add_argument("--out", type=Path, required=True, help="the HTML file to write")
    options = parser.parse_args(arguments)
    if options.command == "describe":
        describe(options.manifest, options.out)
        print(options.out)
    elif options.folder is None:
        print(terms(layout(options.name)))
    elif options.out is None:
        parser.error("--from needs --out")
    else:
        _prepare(parser, options)


def _prepare(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    chosen = layout(options.name)
    try:
        count = prepare(
            chosen, options.folder, options.out, licence=options.licence, pack=options.pack
        )
    except LayoutError as error:
        parser.exit(1, f"{error}\n\n{terms(chosen)}\n")
    print(f"{options.out}: {count} pictures")


if __name__ == "__main__":
    main()
