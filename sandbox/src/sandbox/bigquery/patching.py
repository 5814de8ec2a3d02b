"""Replace functions and routes of the emulator, and refuse to start when one of them is not there any more."""

import importlib
from importlib.metadata import version

TRIED = {"bqemulator": "1.4.0", "duckdb": "1.5.5"}  # other versions: look at every patch again
REASONS = []  # (what, why), in the order applied


class Moved(SystemExit):
    """A function this launcher replaces is gone: the emulator has changed under it."""


def check_versions():
    for package, wanted in TRIED.items():
        if (found := version(package)) != wanted:
            raise Moved(
                f"sandbox: written for {package} {wanted}, found {found}; check the patches, then change TRIED"
            )


def module(name):
    return importlib.import_module("bqemulator." + name)


def get(mod, attr):
    try:
        return getattr(module(mod), attr)
    except AttributeError:
        raise Moved(f"sandbox: bqemulator.{mod}.{attr} is gone") from None


def replace(mod, attr, new, why, also=()):
    """Set `mod.attr` to `new` (and in the modules `also`, which imported the name); give back the old one."""
    old = get(mod, attr)
    for m in (mod, *also):
        if get(m, attr) is not old:
            raise Moved(f"sandbox: bqemulator.{m}.{attr} is not bqemulator.{mod}.{attr}")
        setattr(module(m), attr, new)
    REASONS.append((f"{mod}.{attr}", why))
    return old


def replace_method(cls, attr, new, why):
    if attr not in vars(cls):
        raise Moved(f"sandbox: {cls.__qualname__}.{attr} is gone")
    old = vars(cls)[attr]
    setattr(cls, attr, new)
    REASONS.append((f"{cls.__qualname__}.{attr}", why))
    return old


def replace_route(mod, method, path, endpoint, why):
    """Put `endpoint` in the place of a route of that module's router (before the application is built)."""
    router = module(mod).router
    for i, route in enumerate(router.routes):
        if route.path == router.prefix + path and method in route.methods:
            kept = list(router.routes)
            router.add_api_route(path, endpoint, methods=[method], status_code=route.status_code)
            kept[i] = router.routes[-1]
            router.routes[:] = kept
            REASONS.append((f"{method} {path}", why))
            return route.endpoint
    raise Moved(f"sandbox: route {method} {path} is gone from bqemulator.{mod}")
