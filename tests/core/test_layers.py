"""The core imports only what is pure, downwards, and at the top of a file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import callstream_core

ROOT = Path(callstream_core.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
PURE = {
    *(
        "__future__",
        "abc",
        "array",
        "base64",
        "binascii",
        "codecs",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        # Arithmetic on bytes: the signatures of HTTP callbacks.
        "hmac",
    ),
    *("itertools", "json", "math", "operator", "re", "string", "struct", "types", "typing", "urllib.parse"),
}
HEAVY = {"numpy": {"codecs.py", "resample.py"}, "soxr": {"resample.py"}}
# Each file may import those above its own line, and none beside or below it.
LAYERS = [
    {
        "errors",
        "limits",
        "audio",
        "websocket_rules",
        "closing",
        "timers",
        "framer",
        "flow",
        "ledger",
        "paced_run",
        "masking",
    },
    {"codecs", "fields", "websocket", "pacer", "early_audio", "sign_of_life"},
    {"resample"},
    {"events"},
    {"commands", "cadence"},
    {"outputs", "machine"},
    {"dialect", "marks", "inquiries"},
    {"wording", "outbox", "playout", "tracks"},
    {"senders"},
    {"reply", "stream_playout", "clip_playout"},
    {"player"},
    {"app_session", "platform_session"},
]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def imports(tree: ast.AST) -> list[tuple[str, bool]]:
    """Return the modules that a tree imports, and whether only for type checking."""
    for_types = {
        node
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and isinstance(test.test, ast.Name) and test.test.id == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node in for_types) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            assert node.module is not None
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            is_package = node.module in ("callstream_core", "callstream_core.dialects")
            found += [(name, node in for_types) for name in (names if is_package else [node.module])]
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_imports_only_what_is_pure(path: Path) -> None:
    for module, _ in imports(ast.parse(path.read_text(encoding="utf-8"))):
        top = module.partition(".")[0]
        is_pure = module in PURE or top in PURE or module.startswith("collections.")
        is_heavy = path.name in HEAVY.get(top, ())
        assert is_pure or is_heavy or top in ("attrs", "callstream_core"), f"{module} has no place in the core"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_imported_inside_a_function(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert imports(node) == [], f"{node.name} imports"


@pytest.mark.parametrize("layer", range(len(LAYERS)))
def test_imports_go_down(layer: int) -> None:
    allowed = set().union(*LAYERS[:layer])
    for name in LAYERS[layer]:
        for module, for_types in imports(ast.parse((ROOT / f"{name}.py").read_text(encoding="utf-8"))):
            if module.startswith("callstream_core.") and not for_types:
                assert module.split(".")[1] in allowed, f"{name} imports {module}"


def test_the_core_loads_none_of_the_shells_libraries() -> None:
    program = (
        "import sys, callstream_core; "
        "print([name for name in ('trio', 'wsproto', 'numpy', 'click', 'soxr') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
