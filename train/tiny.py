"""Retrain the built-in model from nothing and put it in its place: python -m train.tiny [--into FOLDER]

Each stage resumes where it was stopped, so the command can be killed and run again.
"""

import argparse

from unimm.training.stages import main as train
from unimm.training.tiny import pack
from unimm.training.vocabulary import world_tokenizer

STAGES = ("encoder", "decoder", "joint", "instruct")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", default="unimm/assets/tiny", help="folder of the finished model")
    arguments = parser.parse_args(argv)
    world_tokenizer("runs/tokenizer", vocab_size=512)
    for stage in STAGES:
        result = train(stage, [f"configs/train/tiny_{stage}.yaml"])
        if not result.finished:
            print(f"stopped in stage {stage} at step {result.step}; run again to go on")
            return
    pack("runs/tiny/instruct/model", arguments.into)


if __name__ == "__main__":
    main()
