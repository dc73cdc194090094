"""Data sets of the world's pictures, written in the layouts that others publish."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from unimm.world.language import caption
from unimm.world.render import render
from unimm.world.scene import sample_scene

PIXELS = 32
FINE = {"quality": 95, "subsampling": 0}  # so that pictures can be told by their pixels


def picture(number: int) -> Image.Image:
    """Return picture `number` of the world."""
    return Image.fromarray(render(sample_scene(np.random.default_rng(number)), PIXELS))


def words(number: int) -> str:
    """Return its caption."""
    rng = np.random.default_rng(number)
    return caption(sample_scene(rng), rng)


def encoded(number: int, kind: str = "png", **options) -> bytes:
    """Return it as the bytes of a file."""
    buffer = io.BytesIO()
    picture(number).save(buffer, kind, **(FINE if kind == "jpeg" else {}), **options)
    return buffer.getvalue()


def write_tar(path: Path, members: Iterable[tuple[str, bytes | tarfile.TarInfo]]) -> Path:
    """Write a tar of named contents; a TarInfo stands for itself, under its own name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def blip3o(folder: Path, tars: int = 2, rows: int = 3, with_json: bool = False) -> Path:
    """Write BLIP3-o's tars; caption and picture of row r of tar t are number 100 t + r."""
    for t in range(tars):
        members = []
        for r in range(rows):
            number, key = 100 * t + r, f"{r:09d}"
            members += [(f"{key}.jpg", encoded(number, "jpeg")), (f"{key}.txt", words(number).encode())]
            if with_json:
                facts = {"original": f"alt text {number}", "width": PIXELS}
                members.append((f"{key}.json", json.dumps(facts).encode()))
        write_tar(folder / f"{t:05d}.tar", members)
    return folder


def write_pictures(folder: Path, names: Iterable[tuple[str, int]]) -> None:
    """Write pictures by number under names in a folder; the name's ending says how."""
    for name, number in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number, "png" if path.suffix == ".png" else "jpeg"))


def talk(number: int, marker: str = "<image>\n") -> list[dict[str, str]]:
    """Return LLaVA's turns about a picture."""
    return [
        {"from": "human", "value": f"{marker}What is in picture {number}?"},
        {"from": "gpt", "value": words(number)},
    ]


def drawn(number: int) -> list[dict[str, str]]:
    """Return Scale-RAE's turns that draw a picture."""
    return [
        {"from": "human", "value": f"Generate a picture of {words(number)}"},
        {"from": "gpt", "value": "Here you go:\n<image>"},
    ]


def scale_rae(folder: Path, rows: int = 3) -> Path:
    """Write Scale-RAE's tars and manifest: rows that draw, but the last of each tar, which sees."""
    for t in range(2):
        members = []
        for r in range(rows):
            number, key = 100 * t + r, f"sample_{r + 1:06d}"
            said = drawn(number) if r < rows - 1 else talk(number, marker="")
            row = {"conversations": said, "metadata": {}, "image_filename": f"{key}.png"}
            members += [(f"{key}.json", json.dumps(row).encode()), (f"{key}.png", encoded(number))]
        write_tar(folder / "tars" / f"shard-{t}.tar", members)
    manifest = {"dataset_name": "world", "tars": ["tars/shard-0.tar", "tars/shard-1.tar"]}
    (folder / "wds_manifest.json").write_text(json.dumps(manifest))
    return folder


def scale_rae_lines(folder: Path) -> Path:
    """Write Scale-RAE's JSON lines, whose paths are absolute."""
    write_pictures(folder / "pictures", [(f"{n}.jpg", n) for n in range(3)])
    rows = [
        {"image": str(folder / "pictures" / f"{n}.jpg"), "conversations": drawn(n), "metadata": {}}
        for n in range(3)
    ]
    return write_lines(folder / "data.jsonl", rows)


def write_lines(path: Path, rows: Iterable[dict]) -> Path:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def llava_rows() -> list[dict]:
    """Return LLaVA-1.5's sorts of rows: a picture first or last, a list of them, and none."""
    return [
        {"id": "0001", "image": "coco/train2017/1.jpg", "conversations": talk(1)},
        {
            "id": 2,
            "image": "gqa/images/2.png",
            "conversations": [
                {"from": "human", "value": "What is it?\n<image>"},
                {"from": "gpt", "value": "It."},
            ],
        },
        {
            "id": "text",
            "model": "",
            "conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi."}],
        },
        {
            "id": "many",
            "image": ["coco/train2017/1.jpg", "gqa/images/2.png"],
            "conversations": [
                {"from": "human", "value": "<image>\n<image>\nCompare."},
                {"from": "gpt", "value": "No."},
            ],
        },
    ]


def llava(folder: Path, lines: bool = False) -> Path:
    """Write LLaVA-1.5's list (or Cambrian's lines) with its folders of pictures; return the JSON's path."""
    write_pictures(folder, [("coco/train2017/1.jpg", 1), ("gqa/images/2.png", 2)])
    if lines:
        return write_lines(folder / "Cambrian7M_withsystemprompt.jsonl", llava_rows())
    path = folder / "llava_v1_5_mix665k.json"
    path.write_text(json.dumps(llava_rows()))
    return path


def write_parquet(path: Path, rows: list[dict], group: int = 2) -> Path:
    """Write parquet in row groups."""
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=group)
    return path


def held(number: int) -> dict:
    """Return a picture as Hugging Face's image columns hold it."""
    return {"bytes": encoded(number), "path": f"{number}.png"}


def onevision(folder: Path) -> Path:
    """Write LLaVA-OneVision's parquet."""
    rows = [
        {"id": str(n), "image": held(n), "conversations": talk(n), "data_source": "world"} for n in range(5)
    ]
    write_parquet(folder / "world" / "train-00000-of-00001.parquet", rows)
    return folder


def bagel_t2i(folder: Path) -> Path:
    """Write BAGEL's pictures with captions."""
    rows = [
        {"image": encoded(n), "captions": json.dumps({"long": words(n), "short": f"picture {n}"})}
        for n in range(5)
    ]
    write_parquet(folder / "a.parquet", rows[:3])
    write_parquet(folder / "b.parquet", rows[3:])
    return folder


def bagel_edit(folder: Path) -> Path:
    """Write BAGEL's edits: two steps, the first with two wordings."""
    rows = [
        {
            "image_list": [encoded(n), encoded(n + 1), encoded(n + 2)],
            "instruction_list": [["make it so", "do it so"], ["now so"]],
        }
        for n in range(3)
    ]
    write_parquet(folder / "chunk_0.parquet", rows)
    return folder


def metaquery_rows() -> list[dict]:
    """Return MetaQuery-Instruct's rows."""
    return [
        {"source_images": [held(n), held(n + 1)], "target_image": held(n + 2), "prompt": f"mix {n}"}
        for n in range(3)
    ]


def omniedit(folder: Path) -> Path:
    """Write OmniEdit's parquet."""
    rows = [
        {
            "src_img": held(n),
            "edited_img": held(n + 1),
            "edited_prompt_list": ["first try", f"turn {n} into {n + 1}"],
            "sc_score_1": 9,
        }
        for n in range(3)
    ]
    write_parquet(folder / "data" / "train-00000-of-00571.parquet", rows)
    write_parquet(folder / "data" / "dev-00000-of-00001.parquet", rows[:1])
    return folder


def sharegpt4o(folder: Path, tars: bool = False) -> Path:
    """Write ShareGPT-4o-Image's two lists, with its pictures unpacked or in tars."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [{"input_prompt": words(n), "output_image": f"text_to_image/{n}.png"} for n in range(2)]
    edited = [
        {
            "input_prompt": f"change {n}",
            "input_image": [f"text_and_image_to_image/in_{n}.png"],
            "output_image": f"text_and_image_to_image/out_{n}.png",
        }
        for n in range(2)
    ]
    (folder / "text_to_image.json").write_text(json.dumps(drawn))
    (folder / "text_and_image_to_image.json").write_text(json.dumps(edited))
    files = [(f"text_to_image/{n}.png", n) for n in range(2)]
    files += [(f"text_and_image_to_image/in_{n}.png", n) for n in range(2)]
    files += [(f"text_and_image_to_image/out_{n}.png", n + 10) for n in range(2)]
    if tars:
        write_tar(folder / "part_0.tar", [(name, encoded(number)) for name, number in files])
    else:
        write_pictures(folder, files)
    return folder


def messages_rows() -> list[dict]:
    """Return chat messages: typed parts with paths, empty ones that take the row's images, and marks."""
    return [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": "p/1.png"},
                        {"type": "text", "text": "What is it?"},
                    ],
                },
                {"role": "assistant", "content": [{"type": "text", "text": words(1)}]},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Draw it."}]},
                {"role": "assistant", "content": [{"type": "image"}]},
            ],
            "images": ["p/2.png"],
        },
        {
            "messages": [
                {"role": "user", "content": "<image>\nMake it red."},
                {"role": "assistant", "content": "<image>"},
            ],
            "images": ["p/1.png", "p/2.png"],
        },
    ]


def messages(folder: Path) -> Path:
    """Write chat messages as JSON lines."""
    write_pictures(folder, [("p/1.png", 1), ("p/2.png", 2)])
    return write_lines(folder / "chat.jsonl", messages_rows())


def imagenet(folder: Path) -> Path:
    """Write two of ImageNet's folders."""
    write_pictures(folder, [(f"n01443537/n01443537_{n}.JPEG", n) for n in range(3)])
    write_pictures(folder, [(f"n01440764/n01440764_{n}.JPEG", 10 + n) for n in range(2)])
    return folder


def captions(folder: Path) -> Path:
    """Write pictures with captions beside them."""
    write_pictures(folder, [(f"sub/{n}.png", n) for n in range(3)])
    for n in range(3):
        (folder / "sub" / f"{n}.txt").write_text(words(n) + "\n")
    return folder
