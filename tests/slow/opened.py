"""Open a model as training does, and print how much memory that took at most, as JSON.

`opened.py FOLDER whole|pieces`, under torchrun. Besides: how many numbers differ from those in the folder.
"""

from __future__ import annotations

import json
import sys
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.training.toy import toy_recipe  # noqa: E402
from unimm.training.engine import building  # noqa: E402
from unimm.training.opening import open_model  # noqa: E402
from unimm.training.recipe import DeepSpeedRecipe  # noqa: E402
from unimm.training.sharding import is_sharded, own_piece  # noqa: E402
from unimm.weights.shards import stored_tensors  # noqa: E402


def own_memory() -> int:
    """Bytes that belong to this process alone: not the pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@contextmanager
def peak():
    found, done = [own_memory()], threading.Event()

    def watch():
        while not done.wait(0.002):
            found.append(own_memory())

    thread = threading.Thread(target=watch)
    thread.start()
    yield found
    done.set()
    thread.join()


def main(folder: str, how: str) -> None:
    torch.set_num_threads(1)
    recipe = toy_recipe("unused", device="cpu", deepspeed=DeepSpeedRecipe(3))
    with building(recipe):  # everything is imported and the ranks have met
        torch.nn.Linear(2, 2)
    with peak() as memory, building(recipe) if how == "pieces" else nullcontext():
        model = open_model(folder)
        if how == "whole":  # until now a memory map of files; training writes to it
            for parameter in model.parameters():
                parameter.data = parameter.data.clone()
    stored = stored_tensors(Path(folder))
    pieces = [own_piece(name, x) for name, x in model.state_dict(keep_vars=True).items() if name in stored]
    wrong = sum(int((p.values != stored[p.name].reshape(-1)[p.start : p.stop]).sum()) for p in pieces)
    facts = {
        "rank": torch.distributed.get_rank(),
        "bytes": max(memory) - memory[0],
        "numbers": sum(p.values.numel() for p in pieces),
        "wrong": wrong,
        "sharded": all(is_sharded(x) for x in model.parameters()),
    }
    print("FACTS" + json.dumps(facts), flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
