"""What is released: a wheel and an archive of the sources, installed where there is no checkout; its
version, and how it is cited."""
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from configparser import ConfigParser
from importlib.metadata import distribution
from pathlib import Path

import jsonschema
import pytest
import yaml

import collapse_nb

ROOT = Path(__file__).resolve().parents[1]
TRACKED = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True,
                         text=True).stdout.split("\0")[:-1]


def run(*command: object, cwd: Path) -> str:
    "What a command prints; its end has to be a good one."
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} # which would lead to the checkout
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    "A folder with the archive of the sources, and the wheel that is made of that archive."
    if not TRACKED: pytest.skip("not a checkout, so nobody knows which files are the project's")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in TRACKED:
        if not (ROOT / name).is_file(): continue
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source, cwd=out)
    return out


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    "An environment with the wheel, and with what this one has beside collapse_nb."
    place = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=place)
    paths = sysconfig.get_paths("venv", {"base": str(place), "platbase": str(place)})
    # a folder that a .pth file names is searched; .pth files in it, such as the checkout's own, are not read
    Path(paths["purelib"], "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    wheel, = built.glob("*.whl")
    python = Path(paths["scripts"], "python")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index",
        "--ignore-installed", wheel,
        cwd=place)
    return Path(paths["scripts"])


def test_wheel_and_archive_hold_what_is_theirs(built):
    wheel, archive = next(built.glob("*.whl")), next(built.glob("*.tar.gz"))
    names = zipfile.ZipFile(wheel).namelist()
    modules = {n for n in TRACKED if n.startswith("collapse_nb/") and n.endswith(".py")}
    cards = {f"collapse_nb/cards/{Path(n).name}" for n in TRACKED
             if Path(n).parent == Path("data") and n.endswith((".toml", ".csv", ".py"))}
    assert modules | cards == {n for n in names if n.startswith("collapse_nb/")}
    with tarfile.open(archive) as tar: there = {n.partition("/")[2] for n in tar.getnames()}
    assert modules | {"README.md", "LICENSE", "pyproject.toml"} <= there


def test_installed_command_encodes_by_a_card_of_its_own(installed, tmp_path):
    assert "encode" in run(installed / "collapse", "--help", cwd=tmp_path)
    run(installed / "collapse", "synth", "criteo", "--rows", 3000, "--out", "raw.txt", cwd=tmp_path)
    run(installed / "collapse", "encode", "criteo", "--source", "raw.txt", "--out", "out", cwd=tmp_path)
    assert json.loads((tmp_path / "out" / "schema.json").read_text())["names"][:1] == ["I1"]


def test_installed_library_draws_and_is_documented(installed, tmp_path):
    code = """if True:
        import collapse_nb, pathlib, sys
        assert sys.prefix in collapse_nb.__file__, collapse_nb.__file__
        from collapse_nb.data.cards import load_card
        from collapse_nb.nn.zoo import ModelSpec
        from collapse_nb.show.architecture import architecture_chart
        load_card("hflights")
        architecture_chart().save("chart.svg")
        from nbdev.doclinks import NbdevLookup
        look = NbdevLookup("collapse_nb")
        print(look.doc("information_abundance"), look.code("information_abundance"))
    """
    page, code_page = run(installed / "python", "-c", code, cwd=tmp_path).split()
    assert "information_abundance" in page and "/collapse_nb/abundance.py" in code_page
    assert "<svg" in (tmp_path / "chart.svg").read_text()


def test_version_is_one(built):
    settings = ConfigParser()
    settings.read(ROOT / "settings.ini")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    first = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    version = collapse_nb.__version__
    assert settings["DEFAULT"]["version"] == cited == first.split()[1] == version
    assert next(built.glob("*.whl")).name.split("-")[1] == version


def test_citation_is_one_by_its_schema():
    """The schema of the Citation File Format travels with its converter, whose other needs do not agree with
    Jupyter's."""
    files = distribution("cffconvert").files
    schema = json.loads(next(f for f in files if f.parts[-2:] == ("1.2.0", "schema.json")).read_text())
    checker = jsonschema.validators.validator_for(schema)(schema)
    cited = yaml.load((ROOT / "CITATION.cff").read_text(), yaml.BaseLoader) # dates stay texts
    assert [e.message for e in checker.iter_errors(cited)] == []
    assert list(checker.iter_errors(cited | {"authors": []}))
