"""Names to classes. A catalogue is a folder (or a module) of the package; a name is a file (or a class) in it.

Settings are read from the source with `ast`, so a configuration is checked, listed and described without importing torch.
"""

import ast
import importlib
import importlib.util
import os
import sys
import typing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import dream3d
from dream3d import options, schedule
from dream3d.errors import Mistake, choices, nearest
from dream3d.typed import typed

FOLDERS = {"guidance": "Guidance", "renderers": "Representation", "priors": "Prior", "systems": "System"}
MODULES = ("cameras", "background", "optim")  # one module each; a name is one of its classes, in lower case
KINDS = {"renderers": "renderer", "priors": "prior", "systems": "system", "optim": "optimizer"}  # one thing of a catalogue
MISSING = object()
SAID = ("vocabulary", "memory", "weights", "edits", "needs", "offers", "perp_neg", "completes", "pulls", "gives")  # said by a class
_NAMES = {**vars(typing), **{k: v for k, v in vars(schedule).items() if not k.startswith("_")}}
plugins: dict[tuple[str, str], str] = {}  # (catalogue, name) -> dotted module, from --plugin only


@dataclass(frozen=True)
class Signature:
    """A class's keyword-only parameters: name -> (type, default or MISSING), and where it is written."""

    module: str
    name: str
    path: Path
    parameters: dict[str, tuple[Any, Any]]
    vocabulary: str | None = None
    memory: str | None = None
    weights: str | None = None
    edits: bool | None = None
    needs: frozenset[str] | None = None
    offers: dict[str, str] | None = None
    perp_neg: bool | None = None
    completes: str | None = None
    pulls: bool | None = None
    gives: dict[str, str] | None = None


def place(folder: str) -> Path:
    """A data folder of the package, such as configs or assets: beside it in a checkout, inside it in a wheel."""
    return next(p for root in reversed(dream3d.__path__) if (p := Path(root) / folder).is_dir())


def available(catalogue: str) -> list[str]:
    """The names in a catalogue, sorted."""
    if catalogue in MODULES:
        return sorted(node.name.lower() for node in _classes(f"dream3d.{catalogue}"))
    files = (file for root in dream3d.__path__ for file in (Path(root) / catalogue).glob("*.py"))
    own = {file.stem for file in files if not file.stem.startswith("_")}
    return sorted(own | {name for kind, name in plugins if kind == catalogue})


def signature(catalogue: str, name: str, *, where: str = "") -> Signature:
    """The class called `name`, read from its source. Raises Mistake with the nearest names."""
    if name not in available(catalogue):
        raise Mistake(f"there is no {KINDS.get(catalogue, catalogue)} {name!r}", where=where,
                      near=choices(name, available(catalogue)),
                      fix="a class of your own comes by --plugin MODULE" if catalogue in FOLDERS else "")  # fmt: skip
    module = plugins.get((catalogue, name)) or f"dream3d.{catalogue}" + ("" if catalogue in MODULES else f".{name}")
    path = Path(importlib.util.find_spec(module).origin)
    node = _class(_parsed(path, path.stat().st_mtime_ns), catalogue, name, path)
    line = [*lineage(node, path)]
    try:
        known = {name: value for part in reversed(line) for name, value in _parameters(part)}
        own = {name: known.pop(name) for name, _ in _parameters(node)}
        return Signature(module, node.name, path, own | known, *(_heard(line, key) for key in SAID))
    except Mistake as mistake:
        raise mistake.completed(where=str(path)) from None


def load(found: Signature) -> type:
    """Import the class. This is where torch comes in."""
    try:
        cls = getattr(importlib.import_module(found.module), found.name)
    except Exception as error:
        if not isinstance(error, ImportError) and found.module not in plugins.values():
            raise
        problem = f"{found.module} cannot be imported: {type(error).__name__}: {error}"
        raise Mistake(problem, where=str(found.path), fix=f'python -c "import {found.module}" shows more') from error
    if lacks := sorted(getattr(cls, "__abstractmethods__", ())):
        raise Mistake(f"{found.module} does not define {', '.join(lacks)}", where=str(found.path),
                      fix="dream3d/interfaces.py says what it must return")  # fmt: skip
    return cls


def make(catalogue: str, settings: dict, *positional):
    """An instance from validated settings ({type: name, ...}) and what only the builder knows."""
    found = signature(catalogue, settings["type"])
    own = {
        key: typed(value, found.parameters[key][0], key) for key, value in settings.items() if key in found.parameters
    }
    return load(found)(*positional, **own)


def _tree(module: str) -> ast.Module:
    path = Path(importlib.util.find_spec(module).origin)
    return _parsed(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _parsed(path: Path, changed: int) -> ast.Module:
    """A source file, read again only when it has changed: a configuration may have many stages and terms."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _classes(module: str) -> list[ast.ClassDef]:
    return [n for n in _tree(module).body if isinstance(n, ast.ClassDef) and not n.bases and not n.name.startswith("_")]


def penalties() -> list[str]:
    """The names that `penalties` may use: the public functions of dream3d/penalties.py."""
    functions = [n for n in _tree("dream3d.penalties").body if isinstance(n, ast.FunctionDef)]
    return sorted(n.name for n in functions if not n.name.startswith("_"))


def penalty_needs() -> dict[str, tuple[str, int]]:
    """What renderers have to offer for a penalty, and how many moments it compares: NEEDS in dream3d/penalties.py."""
    found = [n for n in _tree("dream3d.penalties").body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "NEEDS"]
    return ast.literal_eval(found[0].value)


def sees() -> list[str]:
    """What a term may look at: the keys of SEES in dream3d/sees.py."""
    table = next(
        n for n in _tree("dream3d.sees").body if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "SEES"
    )
    return [ast.literal_eval(key) for key in table.value.keys]


def term_parameters() -> dict[str, tuple[Any, Any]]:
    """The settings of a term, which stand beside those of its guidance."""
    node = next(n for n in _tree("dream3d.term").body if isinstance(n, ast.ClassDef))
    return {**dict(_parameters(node)), **dict.fromkeys(options.TEXTS, (str | None, None))}


def _class(tree: ast.Module, catalogue: str, name: str, path: Path) -> ast.ClassDef:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    if catalogue in MODULES:
        return next(node for node in classes if node.name.lower() == name)
    base = FOLDERS[catalogue]
    match [node for node in classes if base in {ast.unparse(b).split(".")[-1] for b in node.bases}]:
        case [only]:
            return only
        case found:
            raise Mistake(
                f"{name} must hold exactly one class that derives from {base}, but has {len(found)}", where=str(path)
            )


def lineage(node: ast.ClassDef, path: Path):
    """A class and, where its __init__ takes `**rest`, its first base, which is imported by name: rest are the base's settings."""
    yield node
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is None or init.args.kwarg is None:
        return
    base, tree = ast.unparse(node.bases[0]), _parsed(path, path.stat().st_mtime_ns)
    module = next(n.module for n in tree.body if isinstance(n, ast.ImportFrom) and base in {a.name for a in n.names})
    known = {n.name: n for n in _tree(module).body if isinstance(n, ast.ClassDef)}
    yield from lineage(known[base], Path(importlib.util.find_spec(module).origin))


def _parameters(node: ast.ClassDef):
    """Keyword-only parameters of __init__, or of a dataclass the fields after `_: KW_ONLY`."""
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
            yield argument.arg, (_value(argument.annotation), MISSING if default is None else _value(default))
        return
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
    start = next((i for i, n in enumerate(fields) if ast.unparse(n.annotation).endswith("KW_ONLY")), len(fields))
    for field in fields[start + 1 :]:
        if not ast.unparse(field.annotation).startswith("ClassVar"):
            yield field.target.id, (_value(field.annotation), MISSING if field.value is None else _value(field.value))


def _value(node: ast.expr | None) -> Any:
    """Annotations and defaults use only the names of typing and of dream3d.schedule."""
    if node is None:
        raise Mistake("a keyword-only parameter without a type: every setting needs one", fix="scale: float = 7.5")
    try:
        if not hasattr(node, "code"):  # compiling is most of what loading a configuration takes
            node.code = compile(ast.Expression(node), "<signature>", "eval")
        return eval(node.code, dict(_NAMES))
    except Exception as error:
        raise Mistake(f"line {node.lineno}: {ast.unparse(node)[:60]!r} cannot be read as a setting's type or default: {error}",
                      fix="types and defaults use only typing and dream3d.schedule") from None  # fmt: skip


def _heard(line: list[ast.ClassDef], name: str) -> Any:
    """What a class says of itself, or else the next of its line that says it."""
    return next((value for node in line if (value := _said(node, name)) is not None), None)


def _said(node: ast.ClassDef, name: str) -> Any:
    """What a class says of itself in `name: ClassVar[str] = "..."`: `vocabulary`, the torch-free module that checks the prompts of a
    prior that has one; `memory`, the bytes it takes (dream3d.estimate); `weights`, the model in assets/ that a prior loads; `offers`, what
    a prior or renderer has for formulas under which settings (dream3d.claims); of a guidance `needs`, what of this it must have, `edits`,
    that it changes a scene it has to be told of, and `perp_neg`, whether it heeds such rows; `completes`, the torch-free module whose
    `complete(settings, prompt, where)` finishes settings that name files or hold other parts; of a system
    `pulls`, that scenes learn of it without guidance; of a renderer `gives`, what files can hold of it (dream3d.export.fits). None where
    it does not say, or says it in other words than literals."""
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and ast.unparse(item.target) == name and item.value is not None:
            match item.value:
                case ast.Call(func=ast.Name(id="frozenset"), args=[members]):
                    return frozenset(ast.literal_eval(members))
                case value:
                    return ast.literal_eval(value)
    return None


def option_parameters(cls: type) -> dict[str, tuple[Any, Any]]:
    """The same view of a dataclass in dream3d.options."""
    return {name: (field.type, field.default) for name, field in cls.__dataclass_fields__.items()}


OPTIONS = {"text": options.Words, "init": options.Init, "keep": options.Keep, "export": options.Export}


def add_plugin(module: str) -> None:
    """Make the one class of a dotted module available under the module's last name. Only the command line may do this; the
    current folder counts as a place to look in."""
    help = "name a module that Python finds from this folder: --plugin my_guidance for my_guidance.py"
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    if module.endswith(".py") or "/" in module:
        dotted = module.removesuffix(".py").strip("./").replace("/", ".")
        raise Mistake(f"{module!r} is a path; a module has dots and no .py", where="--plugin", near=f"--plugin {dotted}")
    try:
        found = importlib.util.find_spec(module)
        tree = _tree(module) if found is not None else None
    except (Exception, SystemExit) as error:  # whatever a stranger's package does while it is looked for
        raise Mistake(f"the module {module!r} cannot be read: {error}", where="--plugin", fix=help) from None
    if tree is None or not found.origin:
        near = ", ".join(nearest(module, [path.stem for path in Path().glob("*.py")]))
        raise Mistake(f"there is no module {module!r} to plug in", where="--plugin", near=near, fix=help)
    bases = [ast.unparse(b).split(".")[-1] for n in tree.body if isinstance(n, ast.ClassDef) for b in n.bases]
    kinds = [catalogue for base in bases for catalogue, known in FOLDERS.items() if base == known]
    name = module.rpartition(".")[2]
    if len(kinds) != 1:
        raise Mistake(f"{module} must hold exactly one Guidance, Representation, Prior or System, but has {len(kinds)}",
                      where=found.origin, fix="one new class per module")  # fmt: skip
    if name in available(kinds[0]) and plugins.get((kinds[0], name)) != module:
        raise Mistake(f"there is a {KINDS.get(kinds[0], kinds[0])} {name!r} already", where=found.origin, near=f"my_{name}.py",
                      fix="give the module another name")  # fmt: skip
    plugins[kinds[0], name] = module
