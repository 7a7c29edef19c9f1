"""Weights on disk as state dicts that are read tensor by tensor, so that a checkpoint need not fit into memory."""

import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from wsdm_arena.errors import UserError

INDEX_SUFFIX = ".index.json"
SAFETENSORS = ".safetensors"
PICKLES = (".pth", ".pt", ".bin")
"""Written by ``torch.save``; read by torch's restricted unpickler, which builds tensors and runs no code."""
_ZIP_START = b"PK\x03\x04"
_DAMAGE = (RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError)
"""What damaged pickles make torch raise."""


class WeightFileError(UserError, RuntimeError):
    """A file of weights is missing, damaged or not to be trusted."""


class LazyState(Mapping[str, torch.Tensor]):
    """A state dict whose tensors are made when they are asked for, and not kept.

    Args:
        readers: By key, what makes the tensor.
    """

    def __init__(self, readers: Mapping[str, Callable[[], torch.Tensor]]) -> None:
        self._readers = dict(readers)

    def __getitem__(self, key: str) -> torch.Tensor:
        return self._readers[key]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    def __contains__(self, key: object) -> bool:
        return key in self._readers  # Mapping's own would make the tensor

    @classmethod
    def renamed(cls, state: Mapping[str, torch.Tensor], names: Mapping[str, str]) -> "LazyState":
        """Some of the tensors under other names, ``{new name: name in state}``."""
        return cls({name: partial(state.__getitem__, key) for name, key in names.items()})


def find_weight_files(directory: Path) -> list[Path]:
    """Files that hold a directory's weights.

    Safetensors come before pickles, an index before single files, ``model.safetensors`` before other names.

    Returns:
        The files, then their index if there is one.

    Raises:
        WeightFileError: There are none, one that the index names is missing, or it is not clear which ones count.
    """
    for suffixes in ((SAFETENSORS,), PICKLES):
        files = sorted(path for path in directory.iterdir() if path.is_file() and path.suffix in suffixes)
        indices = [path for path in sorted(directory.glob(f"*{INDEX_SUFFIX}")) if _is_index_of(path, suffixes)]
        if len(indices) == 1:
            return [*_indexed_files(indices[0]), indices[0]]
        named = [path for path in files if path.name == "model.safetensors"]
        if len(indices) > 1 or (len(files) > 1 and not named):
            raise WeightFileError(
                f"{directory} holds several candidates for its weights and no index that chooses among them: "
                f"{[path.name for path in (*indices, *files)]}; keep one"
            )
        if files:
            return named or files
    raise WeightFileError(f"{directory} holds no weights: no file ends in {', '.join((SAFETENSORS, *PICKLES))}")


def open_weights(files: Sequence[Path]) -> LazyState:
    """Read files of weights, safetensors or pickles, as one state dict; nothing is loaded yet.

    Raises:
        WeightFileError: A file is damaged or holds anything but tensors, or a key stands in two files.
    """
    readers: dict[str, Callable[[], torch.Tensor]] = {}
    for path in files:
        if path.name.endswith(INDEX_SUFFIX):
            continue
        found = _safetensors_readers(path) if path.suffix == SAFETENSORS else _pickle_readers(path)
        if twice := sorted(set(found) & set(readers)):
            raise WeightFileError(f"{path} holds {twice[0]} (of {len(twice)} such weights) once more")
        readers |= found
    return LazyState(readers)


def without_values(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The shapes and types of a state dict, as tensors on the meta device."""
    return {key: torch.empty_like(tensor, device="meta") for key, tensor in state.items()}


def write_weights(
    directory: Path,
    state: Mapping[str, torch.Tensor],
    *,
    like: Mapping[str, torch.Tensor],
    max_shard_size: int | str,
) -> None:
    """Write ``model.safetensors``, or shards and their index; no more than one shard is held in memory.

    Args:
        directory: Exists.
        state: Dense tensors; each one is read once, when its shard is written.
        like: Their shapes and types, by which shards are planned; see :func:`without_values`.
        max_shard_size: Bytes, or text such as ``"4GB"``.
    """
    plan = split_torch_state_dict_into_shards(dict(like), max_shard_size=max_shard_size)
    for name, keys in plan.filename_to_tensors.items():
        save_tensors({key: state[key].contiguous() for key in keys}, directory / name)
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (directory / f"model{SAFETENSORS}{INDEX_SUFFIX}").write_text(json.dumps(index, indent=2, sort_keys=True))


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write one safetensors file that is as readable as any other: by itself safetensors lets nobody but its owner.

    Args:
        tensors: Dense and contiguous.
        path: Is replaced.
    """
    path.touch()
    mode = path.stat().st_mode & 0o777  # as this process's umask has it
    save_file(dict(tensors), path, metadata={"format": "pt"})
    path.chmod(mode)


def _is_index_of(index: Path, suffixes: tuple[str, ...]) -> bool:
    return Path(index.name.removesuffix(INDEX_SUFFIX)).suffix in suffixes


def _indexed_files(index: Path) -> list[Path]:
    try:
        names = sorted({Path(name).as_posix() for name in json.loads(index.read_text())["weight_map"].values()})
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightFileError(f"{index} is no index of weights: {error!r}") from error
    for name in names:
        if Path(name).name != name:
            raise WeightFileError(f"{index} names {name!r}, which is not in its folder")
        if not (index.parent / name).is_file():
            raise WeightFileError(f"{index.parent / name} is missing, but {index.name} names it; copy it again")
    return [index.parent / name for name in names]


def _safetensors_readers(path: Path) -> dict[str, Callable[[], torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise WeightFileError(f"{path} cannot be read as safetensors ({error}); copy it again") from error
    return {key: partial(_read_safetensors, path, key) for key in keys}


def _read_safetensors(path: Path, key: str) -> torch.Tensor:
    """A view of the mapped file. It is mapped anew each time, so that pages go with the tensors that need them."""
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(key)


def _pickle_readers(path: Path) -> dict[str, Callable[[], torch.Tensor]]:
    try:
        with path.open("rb") as file:
            can_be_mapped = file.read(len(_ZIP_START)) == _ZIP_START  # else written before torch 1.6, or as it was then
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=can_be_mapped)
    except pickle.UnpicklingError as error:
        raise WeightFileError(
            f"{path} holds more than tensors and would run code when loaded, so it is refused; have its owner save "
            f"the plain state dict as safetensors ({str(error).splitlines()[0]})"
        ) from error
    except _DAMAGE as error:
        raise WeightFileError(f"{path} cannot be read as a file of torch.save ({error}); copy it again") from error
    if not isinstance(state, Mapping):
        raise WeightFileError(f"{path} holds a {type(state).__name__}, not a state dict")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise WeightFileError(f"{path}: entry {key!r} is a {type(value).__name__}, not a tensor; save a state dict")
    return {key: partial(_itself, value) for key, value in state.items()}


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor
