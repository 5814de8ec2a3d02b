"""Replaces functions and routes of the emulator, and refuses to start when one of them no longer exists.

A patch is a top-level function with a decorator that names what it replaces and why; importing its module applies it.
"""

import importlib
import sys
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType
from typing import Any, TypeVar

import pydantic
from fastapi import APIRouter

Function = TypeVar("Function", bound="Callable[..., Any]")

# Tried by others, which do without them. DuckDB tries pandas again with every statement where it cannot be imported;
# the rest would slow the start.
UNUSED = ("pandas", "pydantic.v1", "rich", "watchfiles", "websockets", "wsproto")
TRIED = {"bqemulator": "1.4.0", "duckdb": "1.5.5"}  # other versions: look at every patch again
REASONS: list[tuple[str, str]] = []  # (what, why), in the order applied


class PatchTargetMissing(SystemExit):
    """The emulator has changed: what a patch replaces does not exist."""


class _Absent:
    """Lets the import of these modules fail at once."""

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> None:  # noqa: ANN401 (importlib's)
        if name in UNUSED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


class _NoServer:
    """Takes the place of the gRPC server, which only the Storage API needs."""

    async def start(self) -> None:
        """Start nothing."""

    async def stop(self, grace: float) -> None:
        """Stop nothing."""


def skip_what_is_unused() -> None:
    """Prevent imports and models that are not used; call it before anything of the emulator is imported."""
    sys.meta_path.insert(0, _Absent())
    # FastAPI has models of whole OpenAPI documents, of which none is made here.
    pydantic.BaseModel.model_config["defer_build"] = True
    grpc = ModuleType("bqemulator.grpc_api.server")
    grpc.build_grpc_server = lambda _: (_NoServer(), 0)  # type: ignore[attr-defined]
    sys.modules[grpc.__name__] = grpc


def check_versions() -> None:
    """Refuse other versions of the emulator than those the patches were written for.

    Raises:
        PatchTargetMissing: Another version is installed.
    """
    for package, wanted in TRIED.items():
        if (installed := version(package)) != wanted:
            raise PatchTargetMissing(
                f"sandbox: written for {package} {wanted}, installed {installed}; check the patches, then change TRIED"
            )


def module(name: str) -> ModuleType:
    """Return the emulator's module of that name, without the leading package."""
    return importlib.import_module("bqemulator." + name)


def get(mod: str, attr: str) -> Any:  # noqa: ANN401 (anything the emulator has)
    """Return what the emulator calls `mod.attr` now.

    Raises:
        PatchTargetMissing: There is no such thing.
    """
    try:
        return getattr(module(mod), attr)
    except AttributeError:
        raise PatchTargetMissing(f"sandbox: bqemulator.{mod}.{attr} is gone") from None


def replace(mod: str, attr: str, new: Any, why: str, also: tuple[str, ...] | list[str] = ()) -> Any:  # noqa: ANN401
    """Set `mod.attr` to `new`, in the modules `also` too, which imported the name; return the old one.

    Raises:
        PatchTargetMissing: It is gone, or one of `also` has another thing by that name.
    """
    old = get(mod, attr)
    for name in also:
        if get(name, attr) is not old:
            raise PatchTargetMissing(f"sandbox: bqemulator.{name}.{attr} is not bqemulator.{mod}.{attr}")
    for name in (mod, *also):
        setattr(module(name), attr, new)
    REASONS.append((f"{mod}.{attr}", why))
    return old


def replaces(mod: str, attr: str, why: str, also: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Decorate the function that takes the place of `mod.attr` (see replace)."""

    def decorate(function: Function) -> Function:
        replace(mod, attr, function, why, also)
        return function

    return decorate


def replaces_method(cls: type, attr: str, why: str) -> Callable[[Function], Function]:
    """Decorate the function that takes the place of a method.

    Raises:
        PatchTargetMissing: The class itself has no such method.
    """
    if attr not in vars(cls):
        raise PatchTargetMissing(f"sandbox: {cls.__qualname__}.{attr} is gone")

    def decorate(function: Function) -> Function:
        setattr(cls, attr, function)
        REASONS.append((f"{cls.__qualname__}.{attr}", why))
        return function

    return decorate


def _place(mod: str, method: str, path: str) -> int:
    router: APIRouter = module(mod).router
    for place, candidate in enumerate(router.routes):
        if candidate.path == router.prefix + path and method in candidate.methods:  # type: ignore[attr-defined]
            return place
    raise PatchTargetMissing(f"sandbox: route {method} {path} is gone from bqemulator.{mod}")


def route(mod: str, method: str, path: str) -> Callable[..., Any]:
    """Return the endpoint of a route as it is now.

    Raises:
        PatchTargetMissing: There is no such route.
    """
    return module(mod).router.routes[_place(mod, method, path)].endpoint  # type: ignore[no-any-return]


def replaces_route(mod: str, method: str, path: str, why: str) -> Callable[[Function], Function]:
    """Decorate the endpoint that takes the place of a route, before the application is built.

    Raises:
        PatchTargetMissing: There is no such route.
    """

    def decorate(endpoint: Function) -> Function:
        router, place = module(mod).router, _place(mod, method, path)
        kept = list(router.routes)
        router.add_api_route(path, endpoint, methods=[method], status_code=kept[place].status_code)
        kept[place] = router.routes[-1]
        router.routes[:] = kept
        REASONS.append((f"{method} {path}", why))
        return endpoint

    return decorate
