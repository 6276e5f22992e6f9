"""The arrows of the design, and the house's limits, read from the syntax trees of our own modules.

app -> playground -> evaluation -> presets, and align -> evaluation -> presets; each heavy library has one home.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MAY_IMPORT = {
    "presets": set(),
    "evaluation": {"presets"},
    "align": {"presets", "evaluation"},
    "playground": {"presets", "evaluation"},
    "app": {"presets", "evaluation", "playground"},
    "benchmarks": {"presets", "evaluation", "playground", "app"},
    "deploy": {"presets"},
}
"""Which of our packages each of them may import, itself apart. The tests may import everything."""

HOMES = {
    "gradio": ("playground/", "app.py"),
    "sqlite_utils": ("evaluation/store.py", "evaluation/schema.py", "evaluation/migrations.py"),
    "trl": ("align/",),
    "peft": ("align/",),
    "accelerate": ("align/",),
    "vllm": (),
}
"""Where each heavy library may be imported: folders and files. vllm runs as a server process only."""

OPTIONAL = {"inspect_ai": ("evaluation/inspect_log.py",)}
"""Packages that a user installs for one command only, and the modules that do without them; the tests install them."""

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60

PACKAGE_OF = {"yaml": "pyyaml", "PIL": "pillow", "markdown_it": "markdown-it-py", "argon2": "argon2-cffi"}
"""Imported names whose package on the index is called otherwise."""


@dataclass(frozen=True)
class Module:
    """One of our Python files: its path from the root with forward slashes, and its source."""

    path: str
    source: str

    @property
    def package(self) -> str:
        """The top-level package, or `app` for app.py."""
        return self.path.split("/")[0].removesuffix(".py")

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, self.path)


def our_modules() -> list[Module]:
    files = [file for name in MAY_IMPORT for file in sorted((ROOT / name).rglob("*.py"))]
    files += [file for file in [ROOT / "app.py"] if file.exists()]
    return [Module(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")) for file in files]


def imported(module: Module) -> Iterator[tuple[int, str]]:
    """Yield (line, top-level name) of everything imported from elsewhere, by statement or by `import_module("name")`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "importlib.import_module", "__import__"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, argument.value.split(".")[0]


def called(node: ast.Call) -> str:
    """The name that a call calls, as far as it is written out: `print`, `pdb.set_trace`."""
    return ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""


def wrong_arrows(module: Module) -> list[str]:
    allowed = MAY_IMPORT[module.package] | {module.package}
    ours = (set(MAY_IMPORT) | {"tests"}) - allowed
    return [f"{module.path}:{line} imports {name}" for line, name in imported(module) if name in ours]


def homeless_libraries(module: Module) -> list[str]:
    return [
        f"{module.path}:{line} imports {name}, whose home is {' and '.join(HOMES[name]) or 'a process of its own'}"
        for line, name in imported(module)
        if name in HOMES and not module.path.startswith(HOMES[name])
    ]


def too_long(module: Module) -> list[str]:
    lines = len(module.source.splitlines())
    found = [f"{module.path} has {lines} lines"] if lines > MAX_MODULE_LINES else []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                found.append(f"{module.path}:{node.lineno} {node.name} has {length} lines")
    return found


def left_from_debugging(module: Module) -> list[str]:
    """Breakpoints anywhere; `print` in a module without a command line (a `main`), unless it names the `file=`."""
    functions = [
        node.name for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    has_command_line = "main" in functions or module.path.endswith("__main__.py")
    found = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        to_stdout = name == "print" and not any(keyword.arg == "file" for keyword in node.keywords)
        if name == "breakpoint" or name.endswith(".set_trace") or (to_stdout and not has_command_line):
            found.append(f"{module.path}:{node.lineno} calls {name}")
    return found


def unpinned_packages(module: Module) -> list[str]:
    """Imports of packages that requirements.txt does not name."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    known = set(sys.stdlib_module_names) | set(MAY_IMPORT)
    return [
        f"{module.path}:{line} imports {name}, which requirements.txt does not pin"
        for line, name in imported(module)
        if name not in known
        and PACKAGE_OF.get(name, name.replace("_", "-")).lower() not in pinned
        and module.path not in OPTIONAL.get(name, ())
    ]


Rule = Callable[[Module], list[str]]
RULES: list[Rule] = [wrong_arrows, homeless_libraries, too_long, left_from_debugging, unpinned_packages]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_our_modules_keep_the_rule(rule: Rule) -> None:
    assert [finding for module in our_modules() for finding in rule(module)] == []


def test_the_rules_see_our_modules() -> None:
    paths = {module.path for module in our_modules()}
    assert {"presets/safety_config.py", "presets/profile.py", "evaluation/judgement.py"} <= paths
    assert not [path for path in paths if ".venv" in path or path.startswith("tests/")]


LONG_FUNCTION = "def long():\n" + "    x = 1\n" * MAX_FUNCTION_LINES

VIOLATIONS = [
    pytest.param(wrong_arrows, "presets/a.py", "import evaluation.vote", id="presets-imports-ours"),
    pytest.param(wrong_arrows, "evaluation/a.py", "from playground import page", id="evaluation-imports-playground"),
    pytest.param(wrong_arrows, "align/a.py", "from playground import page", id="align-imports-playground"),
    pytest.param(wrong_arrows, "playground/a.py", "def f():\n    import align", id="playground-imports-align-late"),
    pytest.param(wrong_arrows, "app.py", "from align import sft", id="app-imports-align"),
    pytest.param(wrong_arrows, "evaluation/a.py", "import_module('align.sft')", id="import-by-name"),
    pytest.param(wrong_arrows, "evaluation/a.py", "from tests import miniature", id="product-imports-tests"),
    pytest.param(homeless_libraries, "evaluation/a.py", "import gradio as gr", id="gradio-in-evaluation"),
    pytest.param(homeless_libraries, "playground/a.py", "from sqlite_utils import Database", id="sqlite-in-playground"),
    pytest.param(homeless_libraries, "evaluation/a.py", "from peft import LoraConfig", id="peft-in-evaluation"),
    pytest.param(homeless_libraries, "align/a.py", "import vllm", id="vllm-anywhere"),
    pytest.param(too_long, "presets/a.py", "x = 1\n" * (MAX_MODULE_LINES + 1), id="long-module"),
    pytest.param(too_long, "presets/a.py", LONG_FUNCTION, id="long-function"),
    pytest.param(left_from_debugging, "presets/a.py", "breakpoint()", id="breakpoint"),
    pytest.param(left_from_debugging, "align/__main__.py", "import pdb\npdb.set_trace()", id="set-trace"),
    pytest.param(left_from_debugging, "presets/a.py", "print('here')", id="print"),
    pytest.param(unpinned_packages, "evaluation/a.py", "import pandas", id="unpinned"),
    pytest.param(unpinned_packages, "evaluation/a.py", "import inspect_ai", id="optional-elsewhere"),
]


@pytest.mark.parametrize(("rule", "path", "source"), VIOLATIONS)
def test_a_violation_is_found_once(rule: Rule, path: str, source: str) -> None:
    assert len(rule(Module(path, source))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        pytest.param("app.py", "import gradio\nfrom playground import page\nfrom evaluation import store", id="app"),
        pytest.param("align/sft.py", "import trl, peft\nfrom presets import profile", id="align"),
        pytest.param("evaluation/store.py", "import sqlite_utils\nfrom presets import arm", id="store"),
        pytest.param("evaluation/benchmarks/a.py", "from . import b\nfrom evaluation.benchmarks import b", id="inside"),
        pytest.param("evaluation/__main__.py", "print('a table')", id="a-program-prints"),
        pytest.param("evaluation/report.py", "import sys\nprint('x', file=sys.stderr)", id="a-named-stream"),
    ],
)
def test_what_the_design_allows_is_not_reported(path: str, source: str) -> None:
    assert [finding for rule in RULES for finding in rule(Module(path, source))] == []


def test_no_module_is_named_after_nothing() -> None:
    vague = re.compile(r"(^|/)(utils?|common|helpers?|core|misc)(\.py|/)")
    assert [module.path for module in our_modules() if vague.search(module.path)] == []
