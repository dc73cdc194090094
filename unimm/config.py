"""YAML and dotted overrides become typed, frozen dataclasses. Knows no room.

A file states values, never classes. An unknown key, a wrong type and a missing key are errors that say where
and suggest. One section of a run file may name another file and state its differences, and that is all the
inheritance there is:

    model:
      file: ../model/tiny.yaml      # relative to the file that names it
      dit: {depth: 6}
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

T = TypeVar("T")
ROOT = "config"
FILE_KEY = "file"


def load(cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Read a YAML file, apply `key.sub=value` overrides, and build `cls`.

    Raises:
        FileNotFoundError: the file, or one it names, does not exist.
        ValueError: the file is no YAML mapping, or a key is unknown, missing or of the wrong type.
    """
    path = Path(path)
    values = _expand_files(cls, _read(path), path)
    try:
        merged = OmegaConf.merge(values, OmegaConf.from_dotlist(_checked_overrides(overrides)))
        values = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"{path}: cannot apply {list(overrides)}: {error}") from None
    try:
        return build(cls, values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def fits(cls: type, path: str | Path) -> bool:
    """Return whether a YAML file's own keys, whatever their values, are all of `cls` and all that it needs.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is no YAML mapping.
    """
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    keys = _read(Path(path)).keys()
    return keys <= fields.keys() and all(name in keys for name in fields if _is_required(fields[name]))


def build(cls: type[T], mapping: Mapping[str, Any], where: str = ROOT) -> T:
    """Build the dataclass `cls` from plain values; nested dataclasses from nested mappings.

    Raises:
        ValueError: an unknown key (with a suggestion), a missing key, a wrong type, or the dataclass's own
        refusal.
    """
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{where}: expected a mapping for {cls.__name__}, got {_shown(mapping)}")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for key in mapping:
        if key not in fields:
            raise ValueError(f"{where}: {_unknown(str(key), fields)}")
    missing = [name for name, field in fields.items() if name not in mapping and _is_required(field)]
    if missing:
        raise ValueError(f"{where}: missing key{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}")
    hints = typing.get_type_hints(cls)
    values = {key: _convert(hints[key], value, f"{where}.{key}") for key, value in mapping.items()}
    try:
        return cls(**values)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(where) else f"{where}: {text}") from None


def to_dict(obj: Any) -> dict[str, Any]:
    """Plain values of a dataclass: mappings, lists, numbers, strings; `build` reads them back."""
    return {field.name: _plain(getattr(obj, field.name)) for field in dataclasses.fields(obj) if field.init}


def save(obj: Any, path: str | Path) -> None:
    """Write a dataclass (or a plain mapping) as YAML that `load` reads back to an equal one; atomically."""
    path = Path(path)
    text = OmegaConf.to_yaml(OmegaConf.create(_plain(obj)))
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise FileNotFoundError(f"{path}: no such config file{hint}")
    try:
        values = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: expected a YAML mapping, could not read it: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a YAML mapping of keys to values, got a {type(values).__name__}")
    return values


def _expand_files(cls: type, values: dict[str, Any], path: Path) -> dict[str, Any]:
    """Replace a top section that names a file by that file's values with the section's differences."""
    hints = typing.get_type_hints(cls)
    expanded = dict(values)
    for key, section in values.items():
        names_file = (
            isinstance(section, dict) and FILE_KEY in section and not _has_field(hints.get(key), FILE_KEY)
        )
        if not names_file:
            continue
        differences = {name: value for name, value in section.items() if name != FILE_KEY}
        base = _read(path.parent / str(section[FILE_KEY]))
        expanded[key] = OmegaConf.to_container(OmegaConf.merge(base, differences), resolve=False)
    return expanded


def _has_field(hint: Any, name: str) -> bool:
    options = [hint, *typing.get_args(hint)]
    return any(
        dataclasses.is_dataclass(o) and name in {f.name for f in dataclasses.fields(o)} for o in options
    )


def _checked_overrides(overrides: Sequence[str]) -> list[str]:
    for item in overrides:
        if "=" not in item or item.startswith("="):
            raise ValueError(f"override: expected key=value, such as optim.lr=1e-4, got {item!r}")
    return list(overrides)


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _unknown(key: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"unknown key {key!r}{hint} (known: {', '.join(known)})"


def _convert(hint: Any, value: Any, where: str) -> Any:
    """One value to the type its field declares; never a lossy conversion."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, where)
    if origin is typing.Literal:
        if value in args and type(value) in {type(a) for a in args}:
            return value
        near = difflib.get_close_matches(str(value), [str(a) for a in args], n=1)
        hint_text = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{where}: expected one of {', '.join(map(repr, args))}, got {_shown(value)}{hint_text}"
        )
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else build(hint, value, where)
    if (origin or hint) in (tuple, list, Sequence):
        return _convert_sequence(hint, args, value, where)
    if (origin or hint) in (dict, Mapping):
        return _convert_mapping(args, value, where)
    return _convert_scalar(hint, value, where)


def _convert_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    exact = [option for option in options if option is type(value)]
    refusals = []
    for option in exact or options:
        try:
            return _convert(option, value, where)
        except ValueError as error:
            refusals.append(str(error))
    if len(options) == 1:
        raise ValueError(refusals[0])
    raise ValueError(f"{where}: expected one of {', '.join(map(_name, options))}, got {_shown(value)}")


def _convert_sequence(hint: Any, args: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where}: expected a list, got {_shown(value)}")
    is_tuple = (typing.get_origin(hint) or hint) is not list
    if is_tuple and args and args[-1] is not Ellipsis and typing.get_origin(hint) is tuple:
        if len(value) != len(args):
            raise ValueError(f"{where}: expected {len(args)} values, got {len(value)}: {list(value)}")
        kinds = args
    else:
        kinds = [args[0] if args else Any] * len(value)
    items = [
        _convert(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
    ]
    return tuple(items) if is_tuple else items


def _convert_mapping(args: tuple[Any, ...], value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected a mapping, got {_shown(value)}")
    key_kind, item_kind = args or (Any, Any)
    return {
        _convert(key_kind, key, where): _convert(item_kind, item, f"{where}.{key}")
        for key, item in value.items()
    }


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 (no dot) as a string
        try:
            return float(value)
        except ValueError:
            pass
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    if type(value) is hint:
        return value
    raise ValueError(f"{where}: expected {_name(hint)}, got {_shown(value)}")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _name(hint: Any) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )


def _shown(value: Any) -> str:
    return "nothing (null)" if value is None else f"{value!r} ({type(value).__name__})"
