"""What torch and the libraries around it import without need here: optional packages, and torch's compiler.

Seen in torch 2.14.1, diffusers 0.42.1, transformers 5.24.0, peft 0.21.2 and bitsandbytes 0.50.2. Each part of this has
its test in `tests/train/test_imports.py`, which fails as soon as it is needed no longer.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from diffusers.models.modeling_utils import ModelMixin

T = TypeVar("T")
COMPILER = "torch._dynamo"
ALONE = f"{COMPILER}._trace_wrapped_higher_order_op"  # needs nothing of its package; transformers' masks need it
UTILS = f"{COMPILER}.utils"
# What diffusers' models and their loaders name of transformers: for isinstance, and for loading in ways unused here.
NAMED = ("PreTrainedModel", "AutoImageProcessor", "Dinov2WithRegistersConfig", "Dinov2WithRegistersModel",
         "SiglipVisionConfig", "SiglipVisionModel", "ViTMAEConfig", "ViTMAEModel")
# Attention that is compiled; it brings sympy along. Diffusers' models name these of it.
FLEX = "torch.nn.attention.flex_attention"
OF_FLEX = ("BlockMask", "create_block_mask", "flex_attention")
NOISY = "bitsandbytes.backends.cpu.ops"  # the logger that warns of a missing package that nothing here uses


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Inside, these packages are as if they were not installed, unless they are imported already.

    None in `sys.modules` is Python's own way to say so: `find_spec` finds nothing, and an import raises
    ModuleNotFoundError, for which libraries that look for optional packages are made."""
    hidden: dict[str, Any] = {package: None for package in packages if package not in sys.modules}
    sys.modules.update(hidden)
    try:
        yield
    finally:
        for package in hidden:
            sys.modules.pop(package, None)


def load_diffusers() -> None:
    """Import diffusers, which looks around once, and uses of what is installed all it knows.

    It needs neither peft (which the trainer calls itself) nor bitsandbytes (nothing is quantized), whose imports take
    longer than all others together, nor torchvision (for videos)."""
    stand_in_for_compiler()
    with without("bitsandbytes", "peft", "torchvision"):
        importlib.import_module("diffusers")


def class_of(library: str, name: str) -> Any:
    """A class of a library, by its name."""
    load_diffusers()
    load_transformers()
    if library == "diffusers":
        return diffusers_model(name)
    return getattr(importlib.import_module(library), name)


def diffusers_model(name: str) -> type[ModelMixin]:
    """A class of diffusers' models, all of which come with it, but not what they name of transformers: its models take
    a second and more, and a run whose texts are cached needs none of them before it draws."""
    load_diffusers()
    transformers = load_transformers()
    later = [each for each in NAMED if each not in vars(transformers)]
    for each in later:
        setattr(transformers, each, _later("transformers", each))
    try:
        with _flex_later():
            return getattr(importlib.import_module("diffusers"), name)
    finally:
        for each in later:
            delattr(transformers, each)


def load_transformers() -> ModuleType:
    """Import transformers, which looks around too: its text models load torchvision, for pictures, where it is."""
    with without("torchvision"):
        return importlib.import_module("transformers")


@contextmanager
def _flex_later() -> Iterator[None]:
    """Inside, `FLEX` is a module of classes that are loaded when they are needed."""
    if FLEX in sys.modules:
        yield
        return
    flex = ModuleType(FLEX)
    for name in OF_FLEX:
        setattr(flex, name, _later(FLEX, name))
    sys.modules[FLEX] = flex
    try:
        yield
    finally:
        del sys.modules[FLEX]


def _later(module: str, name: str) -> type:
    return _LazyClass(name, (), {"__module__": module})


class _LazyClass(type):
    """A class (or a function) of another module, which is loaded when somebody asks it for anything."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls._loaded())

    def __getattr__(cls, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(cls._loaded(), name)

    def __call__(cls, *arguments: object, **options: object) -> object:
        return cls._loaded()(*arguments, **options)

    def _loaded(cls) -> type:
        return getattr(importlib.import_module(cls.__module__), cls.__name__)


@contextmanager
def without_kernels() -> Iterator[None]:
    """bitsandbytes is imported in here: it would fetch code with the package `kernels`, or warn that this is missing,
    for matrices in 4 bit, which nothing here has."""
    logger = logging.getLogger(NOISY)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with without("kernels"):
            yield
    finally:
        logger.setLevel(level)


# ---------------------------------------------------------------------------------------------------- torch's compiler


def stand_in_for_compiler() -> None:
    """Have those who only tell torch's compiler to leave their functions alone do it without importing it.

    Torch's optimizers do so, diffusers and torchvision; the import takes 1.6 CPU seconds, and brings inductor with it.
    Whoever wants more of the compiler gets the real one, which takes its place for good."""
    if COMPILER in sys.modules:
        return
    spec = find_spec(COMPILER)
    if spec is not None:
        compiler = _Compiler(spec)
        sys.modules[COMPILER] = compiler
        sys.modules[UTILS] = compiler.utils
        sys.meta_path.insert(0, _Finder())


def _real(name: str) -> ModuleType:
    """A module of the real compiler, which takes the stand-ins' places."""
    for module in (COMPILER, UTILS):
        if isinstance(sys.modules.get(module), _StandIn):
            del sys.modules[module]
    compiler = importlib.import_module(COMPILER)
    alone = sys.modules.get(ALONE)
    if alone is not None:
        setattr(compiler, ALONE.rpartition(".")[2], alone)
    return importlib.import_module(name)


class _StandIn(ModuleType):
    """A module for a process that compiles nothing; any name that it has not is the real one's."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # asked of every module by whoever looks through all of them
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


class _Compiler(_StandIn):
    """What is asked of `torch._dynamo` where modules are imported, pipelines made and optimizers at work."""

    def __init__(self, spec: ModuleSpec):
        super().__init__(COMPILER)
        self.__spec__ = spec
        self.__path__ = list(spec.submodule_search_locations or ())
        self.utils = _StandIn(UTILS)
        vars(self.utils)["is_compile_supported"] = lambda _device: False
        self.eval_frame = SimpleNamespace(OptimizedModule=_Compiled)

    @staticmethod
    def disable(fn: object = None, *_: object, **__: object) -> object:
        """`fn` as it is; without one, the decorator that leaves its function as it is."""
        if fn is None:
            return _as_it_is
        return fn

    @staticmethod
    def allow_in_graph(fn: T) -> T:
        """As it is."""
        return fn

    assume_constant_result = allow_in_graph

    @staticmethod
    def graph_break(*_: object, **__: object) -> None:
        """Outside of a graph there is none to break."""


def _as_it_is(decorated: T) -> T:
    return decorated


class _Compiled:
    """The class of compiled modules: there is none."""


class _Finder(MetaPathFinder, Loader):
    """Finds `ALONE` without its package; whoever wants another module of it gets the real package first."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
                  ) -> ModuleSpec | None:
        if not fullname.startswith(f"{COMPILER}.") or not isinstance(sys.modules.get(COMPILER), _StandIn):
            return None
        if fullname != ALONE:
            _real(COMPILER)
            if fullname in sys.modules:  # it came with the package: nothing is to be run again
                return ModuleSpec(fullname, self)
        return PathFinder.find_spec(fullname, path)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = sys.modules[spec.name]
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state
