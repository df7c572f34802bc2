"""Every publisher's layout becomes the one manifest, and a page says what is in it."""

import csv
import hashlib
import io
import json
import re
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.datasets import medmnist, packed
from ml.datasets.__main__ import main
from ml.datasets.catalogue import LAYOUTS, layout
from ml.datasets.ct import _subject
from ml.datasets.describe import describe
from ml.datasets.layout import LayoutError
from ml.datasets.manifest import Manifest, Record
from ml.datasets.odir5k import labels_of
from ml.datasets.prepare import check, prepare
from ml.datasets.survey import by_class, columns, cramer, looks, twins
from ml.parts import targets_of
from ml.reading_task import ReadingTask
from ml.recipe import Recipe
from ml.splits import split_manifest

RECIPES = Path(__file__).parents[3] / "ml" / "recipes"


def put(path: Path, seed: int = 0, mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> None:
    """A picture of noise, which is like no other seed's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(noise).convert(mode).save(path)


def table(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def prepared(name: str, folder: Path, **options: bool) -> Manifest:
    """The manifest that comes of a folder, read back; every picture in it opens."""
    out = folder.parent / "prepared"
    count = prepare(layout(name), folder, out, pack=options.get("pack", False))
    manifest = packed.read(out)
    assert count == len(manifest.records) > 0
    assert all(record.licence for record in manifest.records)
    for record in manifest.records:
        manifest.open_image(record.file)
    return manifest


@pytest.fixture
def ham(tmp_path: Path) -> Path:
    """Two pictures of one lesion in both folders, and one of another."""
    folder = tmp_path / "ham"
    names = ("image_id", "lesion_id", "dx", "dx_type", "age", "sex", "localization")
    rows = [
        ("ISIC_1", "HAM_1", "bkl", "histo", "80.0", "male", "scalp"),
        ("ISIC_2", "HAM_1", "bkl", "histo", "80.0", "male", "scalp"),
        ("ISIC_3", "HAM_2", "mel", "histo", "", "female", "back"),
    ]
    table(folder / "HAM10000_metadata.csv", [dict(zip(names, row, strict=True)) for row in rows])
    for index, part in enumerate((1, 2, 2), 1):
        put(folder / f"HAM10000_images_part_{part}" / f"ISIC_{index}.jpg", index)
    return folder


def test_ham10000(ham: Path) -> None:
    first, second, third = prepared("ham10000", ham).records
    assert first.file == "HAM10000_images_part_1/ISIC_1.jpg"
    assert (first.labels, first.subject, first.source) == (("bkl",), "HAM_1", "ham10000")
    assert first.metadata == {
        "age": "80.0",
        "sex": "male",
        "localization": "scalp",
        "dx_type": "histo",
    }
    assert second.subject == first.subject
    assert "age" not in third.metadata
    assert third.licence == "CC BY-NC 4.0"


def test_a_missing_picture_is_named(ham: Path, tmp_path: Path) -> None:
    (ham / "HAM10000_images_part_2" / "ISIC_3.jpg").unlink()
    with pytest.raises(LayoutError, match="1 pictures are missing, ISIC_3"):
        prepare(layout("ham10000"), ham, tmp_path / "out", pack=False)
    assert not (tmp_path / "out").exists()


def test_a_missing_table_or_column_is_named(ham: Path) -> None:
    path = ham / "HAM10000_metadata.csv"
    path.write_text(path.read_text().replace("lesion_id", "lesion"))
    with pytest.raises(LayoutError, match="lacks the column lesion_id"):
        layout("ham10000").read(ham)
    path.unlink()
    with pytest.raises(LayoutError, match=r"HAM10000_metadata\.csv is missing"):
        layout("ham10000").read(ham)


def test_isic2019(tmp_path: Path) -> None:
    folder = tmp_path / "isic"
    codes = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
    shown = {"ISIC_1": "MEL", "ISIC_2": "AK", "ISIC_3": "SCC", "ISIC_4": "UNK"}
    truth = [
        {"image": image, **{code: str(float(code == kind)) for code in codes}}
        for image, kind in shown.items()
    ]
    table(folder / "ISIC_2019_Training_GroundTruth.csv", truth)
    lesions = ("BCN_0001", "HAM_0002", "", "MSK4_0011169")
    particulars = [
        {
            "image": image,
            "age_approx": "55.0",
            "anatom_site_general": "",
            "lesion_id": lesion,
            "sex": "female",
        }
        for image, lesion in zip(shown, lesions, strict=True)
    ]
    table(folder / "ISIC_2019_Training_Metadata.csv", particulars)
    for index, image in enumerate(shown):
        put(folder / "ISIC_2019_Training_Input" / f"{image}.jpg", index)
    manifest = prepared("isic2019", folder)
    records = manifest.records
    assert [record.label for record in records] == ["mel", "akiec", "scc"]
    assert [record.source for record in records] == ["bcn", "ham", "unnamed"]
    assert [record.subject for record in records] == ["BCN_0001", "HAM_0002", ""]
    assert records[0].metadata == {"age": "55.0", "sex": "female"}
    left_out = Recipe.load(RECIPES / "s0-skin-mvitv2-t.toml").data.leave_out
    assert manifest.without(left_out).labels == ("akiec", "mel")


def test_pbc_also_in_a_folder_of_its_own(tmp_path: Path) -> None:
    codes = ReadingTask.named("blood-cell").codes
    for seed, code in enumerate(codes):
        put(tmp_path / "in" / "PBC_dataset_normal_DIB" / code / f"{code}_1.jpg", seed)
    records = prepared("pbc", tmp_path / "in").records
    assert {record.label for record in records} == set(codes)
    assert records[0].file == "PBC_dataset_normal_DIB/basophil/basophil_1.jpg"
    assert {(record.subject, record.split) for record in records} == {("", "")}


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    put(tmp_path / "in" / "basophil" / "1.jpg")
    with pytest.raises(LayoutError, match="no pictures in eosinophil, erythroblast"):
        layout("pbc").read(tmp_path / "in")


def test_bloodmnist_is_packed_pixel_by_pixel(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {
        f"{part}_{kind}": values
        for part, count in (("train", 8), ("val", 2), ("test", 1))
        for kind, values in (
            ("images", random.integers(0, 256, (count, 28, 28, 3)).astype(np.uint8)),
            ("labels", np.arange(count, dtype=np.uint8)[:, None]),
        )
    }
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "bloodmnist_28.npz", **arrays)
    manifest = prepared("bloodmnist", tmp_path / "in")
    labels = [record.label for record in manifest.records if record.split == "train"]
    assert tuple(labels) == medmnist.pbc.LABELS
    assert labels[3] == "ig"
    assert [record.split for record in manifest.records].count("val") == 2
    shown = np.asarray(manifest.open_image("val/00001.png"))
    np.testing.assert_array_equal(shown, arrays["val_images"][1])
    assert (tmp_path / "prepared" / "images.zip").exists()


def breastmnist(folder: Path, labels: list[int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 28, 28)).astype(np.uint8)
    folder.mkdir()
    np.savez(folder / "breast.npz", train_images=images, train_labels=np.array(labels, np.uint8))
    (folder / "breast.npz").rename(folder / "breastmnist_28.npz")


def test_breastmnist_counts_from_malignant(tmp_path: Path) -> None:
    breastmnist(tmp_path / "in", [0, 1, 1])
    manifest = prepared("breastmnist", tmp_path / "in")
    assert [record.label for record in manifest.records] == ["malignant", *["benign_or_normal"] * 2]


def test_breastmnist_agrees_with_the_full_size_pictures(data_dir: Path) -> None:
    """The published arrays hold the pictures of the packed folder, label 0 the malignant ones."""
    folder = data_dir / "breast-busi"
    small = medmnist.read("breastmnist", medmnist.BREAST, folder)
    shared = packed.read(folder)
    assert sorted(record.label for record in small.records) == sorted(
        record.label for record in shared.records
    )


def test_an_unknown_label_is_refused(tmp_path: Path) -> None:
    breastmnist(tmp_path / "in", [0, 2])
    with pytest.raises(LayoutError, match="label 2"):
        layout("breastmnist").read(tmp_path / "in")


def test_busi_leaves_masks_out(tmp_path: Path) -> None:
    root = tmp_path / "in" / "Dataset_BUSI_with_GT"
    for seed, kind in enumerate(("benign", "malignant", "normal")):
        put(root / kind / f"{kind} (1).png", seed, "L")
        put(root / kind / f"{kind} (1)_mask.png", seed, "1")
        put(root / kind / f"{kind} (1)_mask_1.png", seed, "1")
    records = prepared("busi", tmp_path / "in").records
    found = {record.metadata["finding"]: record.label for record in records}
    assert found == {
        "benign": "benign_or_normal",
        "malignant": "malignant",
        "normal": "benign_or_normal",
    }
    assert len(records) == 3


def odir_row(number: int, eye: str, left: str, right: str, published: str) -> dict[str, str]:
    return {
        "ID": str(number),
        "Patient Age": "57",
        "Patient Sex": "Male",
        "Left-Diagnostic Keywords": left,
        "Right-Diagnostic Keywords": right,
        "labels": f"['{published}']",
        "filename": f"{number}_{eye}.jpg",
    }


def test_odir5k_labels_each_eye_by_its_own_keywords(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    both = ("cataract\uff0cmoderate non proliferative retinopathy", "normal fundus")
    rows = [
        odir_row(1, "left", *both, "D"),
        odir_row(1, "right", *both, "D"),
        odir_row(2, "left", "low image quality", "glaucoma", "G"),
    ]
    table(folder / "full_df.csv", rows)
    for seed, row in enumerate(rows):
        put(folder / "preprocessed_images" / row["filename"], seed)
    left, right = prepared("odir5k", folder).records
    assert (left.labels, right.labels) == (("D", "C"), ("N",))
    assert left.subject == right.subject == "1"
    assert left.file == "preprocessed_images/1_left.jpg"
    assert left.metadata["label_published"] == "D"
    assert (left.metadata["age"], left.metadata["sex"], left.metadata["eye"]) == (
        "57",
        "male",
        "left",
    )
    assert left.metadata["keywords"] == "cataract,moderate non proliferative retinopathy"


@pytest.mark.parametrize(
    ("keywords", "labels"),
    [
        ("normal fundus,lens dust", ("N",)),
        ("epiretinal membrane,normal fundus,lens dust", ("O",)),
        ("suspected glaucoma,suspicious diabetic retinopathy", ("D", "G")),
        ("hypertensive retinopathy", ("H",)),
        ("wet age-related macular degeneration,myopia retinopathy", ("A", "M")),
        ("lens dust", ()),
        ("", ()),
    ],
)
def test_the_rule_for_keywords(keywords: str, labels: tuple[str, ...]) -> None:
    assert labels_of(keywords) == labels


def test_the_rule_for_keywords_agrees_with_every_packed_eye(data_dir: Path) -> None:
    records = packed.read(data_dir / "eye-odir5k").records
    wrong = [r.file for r in records if set(labels_of(r.metadata["keywords"])) != set(r.labels)]
    assert wrong == []


CT = {
    "hust19": {
        "nCT/nCT1.jpg": "non_covid",
        "pCT/pCT26.jpg": "covid",
        "NiCT/NiCT3.jpg": "non_informative",
    },
    "sars-cov-2-ct": {
        "COVID/Covid (1).png": "covid",
        "non-COVID/Non-Covid (30).png": "non_covid",
    },
    "covid-ct": {
        "CT_COVID/2020.02.10.20021584-p6-52%0.png": "covid",
        "CT_NonCOVID/1%1.jpg": "non_covid",
    },
}


@pytest.mark.parametrize("name", CT)
def test_ct_slices(tmp_path: Path, name: str) -> None:
    for seed, file in enumerate(CT[name]):
        put(tmp_path / "in" / file, seed, "L")
    records = prepared(name, tmp_path / "in").records
    assert {record.file: record.label for record in records} == CT[name]
    assert len({record.subject for record in records}) == len(records)
    assert len({record.source for record in records}) == 1


def test_hust_19_is_trained_on_without_the_slices_that_show_no_lung(tmp_path: Path) -> None:
    """They are a class of S1's, and no finding of the reading task."""
    for kind, stem in enumerate(("nCT", "pCT", "NiCT")):
        for block in range(10):
            put(tmp_path / "in" / stem / f"{stem}{25 * block}.jpg", 10 * kind + block, "L")
    manifest = prepared("hust19", tmp_path / "in")
    recipe = Recipe.load(RECIPES / "s1-efficientnetv2-b0.toml")
    task = ReadingTask.named(recipe.reading_task)
    split = split_manifest(manifest, recipe.data, recipe.seed)
    for part in (split.train, split.tune, split.test):
        records = [record for record in manifest.records if record.file in part]
        assert (targets_of(records, task).sum(dim=0) > 0).all()
    assert len(split.train + split.tune + split.test + split.dropped) == 20
    with pytest.raises(ValueError, match="non_informative is not of chest-ct"):
        targets_of(manifest.records, task)


def test_what_a_slice_belongs_to() -> None:
    assert _subject("Covid (24)") == "0"
    assert _subject("Non-Covid (25)") == _subject("pCT49") == _subject("NiCT30") == "1"
    paper = "2020.02.10.20021584"
    assert _subject(f"{paper}-p6-52%0") == _subject(f"{paper}-p7-9%11") == paper
    assert _subject("12%1") == _subject("12%2") == "12"


def test_a_plain_tree_keeps_its_parts(tmp_path: Path) -> None:
    for seed, file in enumerate(("train/a/1.png", "train/b/2.png", "val/a/3.png", "test/b/4.png")):
        put(tmp_path / "in" / file, seed)
    (tmp_path / "in" / "train" / "a" / "notes.txt").write_text("not a picture")
    records = prepared("tree", tmp_path / "in").records
    assert [(record.split, record.label) for record in records] == [
        ("train", "a"),
        ("train", "b"),
        ("val", "a"),
        ("test", "b"),
    ]
    with pytest.raises(LayoutError, match="no pictures in train"):
        layout("tree").read(tmp_path / "in" / "train")


@pytest.fixture
def packed_folder(tmp_path: Path) -> Path:
    """A packed folder: three pictures, metadata, and one label in several."""
    folder = tmp_path / "packed"
    rows = [
        {"file": "a/1.png", "subject": "p", "labels": "D|O", "split": "train", "age": "50"},
        {"file": "a/2.png", "subject": "p", "labels": "N", "split": "train", "age": ""},
        {"file": "b/3.png", "subject": "q", "labels": "N", "split": "val", "age": "61"},
    ]
    table(folder / "manifest.csv", rows)
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for seed, row in enumerate(rows):
            put(tmp_path / "one.png", seed)
            archive.write(tmp_path / "one.png", row["file"])
    return folder


def test_packed_folders_are_one_more_layout(packed_folder: Path) -> None:
    before = packed.read(packed_folder)
    after = prepared("packed", packed_folder)
    assert [replace(record, licence="") for record in after.records] == list(before.records)
    assert after.records[0].labels == ("D", "O")
    assert after.read("a/1.png") == before.read("a/1.png")
    out = packed_folder.parent / "prepared"
    assert not (out / "images.zip").exists()
    assert packed.read_facts(out)["title"] == "packed", "a folder of one's own goes by its name"


def test_pictures_can_be_packed(ham: Path) -> None:
    manifest = prepared("ham10000", ham, pack=True)
    published = {path.relative_to(ham).as_posix(): path.read_bytes() for path in ham.rglob("*.jpg")}
    for path in ham.rglob("*.jpg"):
        path.unlink()
    assert {record.file: manifest.read(record.file) for record in manifest.records} == published


def test_the_facts_say_where_the_pictures_are_and_on_what_terms(ham: Path, tmp_path: Path) -> None:
    prepare(layout("ham10000"), ham, tmp_path / "out", licence="by letter", pack=False)
    facts = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert facts["publisher"] == layout("ham10000").publication.publisher
    assert facts["licence"] == "by letter"
    assert facts["images"] == str(ham.resolve())
    assert facts["count"] == 3
    assert {record.licence for record in packed.read(tmp_path / "out").records} == {"by letter"}


@pytest.mark.parametrize("name", ["bloodmnist", "breastmnist"])
@pytest.mark.parametrize("size", ["", "_64", "_128", "_224"])
def test_a_wrong_checksum_is_refused(name: str, size: str, tmp_path: Path) -> None:
    known, file = layout(name), f"{name}{size}.npz"
    (tmp_path / file).write_bytes(b"cut off")
    with pytest.raises(LayoutError, match=f"its publisher says {known.publication.md5[file]}"):
        check(known, tmp_path)
    right = {file: hashlib.md5(b"cut off").hexdigest()}
    check(replace(known, publication=replace(known.publication, md5=right)), tmp_path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_without_files_it_says_what_to_fetch(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["prepare", name])
    said = capsys.readouterr().out
    publication = layout(name).publication
    assert publication.publisher in said
    assert publication.licence in said
    assert all(file in said for file in publication.files)
    assert all(md5 in said for md5 in publication.md5.values())
    assert publication.md5 or "none is known here" in said


def test_the_command_prepares_and_names_what_is_wrong(
    ham: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["prepare", "ham10000", "--from", str(ham), "--out", str(tmp_path / "out")])
    assert "3 pictures" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["prepare", "pbc", "--from", str(ham), "--out", str(tmp_path / "other")])
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert "no pictures in basophil" in said
    assert "Mendeley" in said
    with pytest.raises(SystemExit):
        main(["prepare", "pbc", "--from", str(ham)])
    assert "--from needs --out" in capsys.readouterr().err


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown data set x; known are ham10000, isic2019"):
        layout("x")


def test_cramers_v_of_tables_worked_by_hand() -> None:
    def rows(pairs: dict[tuple[str, str], int]) -> list[Record]:
        return [
            Record(f"{label}{part}{index}", (label,), split=part)
            for (label, part), count in pairs.items()
            for index in range(count)
        ]

    def v(pairs: dict[tuple[str, str], int]) -> float:
        return cramer(by_class(rows(pairs), lambda record: record.split))

    assert v({("a", "x"): 5, ("b", "y"): 5}) == pytest.approx(1)
    assert v({("a", "x"): 5, ("a", "y"): 5, ("b", "x"): 5, ("b", "y"): 5}) == pytest.approx(0)
    # Rows 8, 2 and 4, 6: expected 6, 4 twice; chi squared 4/6 + 4/4 + 4/6 + 4/4 = 10/3 of 20.
    assert v({("a", "x"): 8, ("a", "y"): 2, ("b", "x"): 4, ("b", "y"): 6}) == pytest.approx(
        (1 / 6) ** 0.5
    )
    assert np.isnan(v({("a", "x"): 5, ("b", "x"): 5}))


def test_columns_are_numbers_categories_or_free_text() -> None:
    records = [
        Record(
            str(index),
            ("a" if index < 20 else "b",),
            source="s" if index % 2 else "t",
            metadata={"age": str(index), "sex": "mf"[index % 2], "words": f"word {index}"}
            if index
            else {},
        )
        for index in range(40)
    ]
    found = {column.name: column for column in columns(records)}
    assert set(found) == {"age", "sex", "words", "source"}, "one published part says nothing"
    ages = found["age"].numbers
    assert ages is not None
    assert ages["a"].quantiles == (1, 5.5, 10, 14.5, 19)
    assert (ages["a"].count, ages["a"].missing) == (19, 1)
    assert set(found["sex"].categories) == {"m", "f", "unknown"}
    assert found["words"].different == 39
    assert found["source"].association == pytest.approx(0)


def test_duplicates_are_found_across_subjects_only() -> None:
    def data(seed: int, form: str = "PNG", gain: float = 1.0) -> bytes:
        noise = np.random.default_rng(seed).integers(60, 190, (40, 40, 3)).astype(float)
        stream = io.BytesIO()
        Image.fromarray((noise * gain).astype(np.uint8)).save(stream, form)
        return stream.getvalue()

    contents = {
        "a": data(1),
        "b": data(1),
        "c": data(1, gain=1.2),
        "d": data(2),
        "e": data(2),
        "f": b"torn",
    }
    records = [
        Record("a", ("x",), "p", "train"),
        Record("b", ("x",), "q", "val"),
        Record("c", ("y",), "r", "val"),
        Record("d", ("x",), "s"),
        Record("e", ("x",), "s"),
        Record("f", ("x",), "t"),
    ]
    seen, unreadable = looks(Manifest(tuple(records), contents.__getitem__))
    assert unreadable == ["f"]
    found = twins(records[:5], [seen[record.file] for record in records[:5]])
    pairs = [
        (twin.first.file, twin.second.file, twin.exact, twin.disagree, twin.across)
        for twin in found
    ]
    assert pairs == [
        ("a", "b", True, False, True),
        ("a", "c", False, True, True),
        ("b", "c", False, True, False),
    ]


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_stands_alone(packed_folder: Path, tmp_path: Path) -> None:
    describe(packed_folder / "manifest.csv", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe"} & set(names)
    sources = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == 4, "D, O, and both that show N"
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"url\(|@import", text)
    assert "light dark" in text
    assert all("aria-label" in attributes for tag, attributes in page.tags if tag == "svg")
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")


def test_the_page_says_what_is_in_the_set(ham: Path, tmp_path: Path) -> None:
    put(ham / "HAM10000_images_part_2" / "ISIC_3.jpg", 1)  # the picture of ISIC_1 again
    main(["prepare", "ham10000", "--from", str(ham), "--out", str(tmp_path / "out")])
    main(["describe", str(tmp_path / "out"), "--out", str(tmp_path / "page.html")])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
    assert "HAM10000, 10,015 dermatoscopic images" in words
    assert "CC BY-NC 4.0" in words
    assert "40 x 30 3 100.0" in words
    assert "JPEG RGB, colour 3" in words
    assert "1 pairs are the same file and 0 are nearly the same picture" in words
    assert "1 pairs are labelled differently" in words
    assert "bkl 2 (66.7%)" in words
    assert "localization" in words
