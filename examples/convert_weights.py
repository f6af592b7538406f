#!/usr/bin/env python3
"""Turns PyTorch weights (.pt, .pth: a state dict) into safetensors that radiograd reads.

    python -m pip install torch numpy
    python examples/convert_weights.py resnet50-0676ba61.pth resnet50.safetensors --network resnet50
    python examples/convert_weights.py model.pth model.safetensors --key state_dict --half

A .pt file is a pickle, that is a program. radiograd never runs one; this script does it here, with
torch.load(weights_only=True), which allows tensors and plain containers and nothing else. A file that needs more is
refused.

Names are kept as they are (torchvision's for VGG, ResNet50, DenseNet121 and InceptionV3, timm's for InceptionResNetV2 and
Xception): src/weights/names.rs has the table of old keys, of prefixes and of what is ignored. Numbers are kept too, except
that F64 becomes F32 and, with --half, filters become F16. Integer tensors (num_batches_tracked) are left out.
"""

import argparse
import json
import os
import struct
import sys
import tempfile


def state_dict(path, key):
    """The tensors of the file by name."""
    import torch

    found = torch.load(path, map_location="cpu", weights_only=True)
    for part in key.split(".") if key else []:
        if not isinstance(found, dict) or part not in found:
            sys.exit(f"{path}: there is no '{part}'; there is {', '.join(map(str, found))[:300]}")
        found = found[part]
    if not isinstance(found, dict):
        sys.exit(f"{path}: holds a {type(found).__name__}, needed is a state dict")
    wrong = [name for name, value in found.items() if not torch.is_tensor(value)]
    if wrong:
        sys.exit(f"{path}: {', '.join(map(str, wrong))[:300]} is no tensor; name the state dict with --key")
    return found


def encode(tensors, half):
    """Header entries and numbers, the wider types first so that each tensor lies on a multiple of its element size."""
    import torch

    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    rows = []
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            print(f"left out: {name} ({tensor.dtype})", file=sys.stderr)
            continue
        if tensor.dtype not in names:
            tensor = tensor.to(torch.float32)
        if half and tensor.dim() > 1:
            tensor = tensor.to(torch.float16)
        if not torch.isfinite(tensor).all():
            sys.exit(f"{name} holds a NaN or an infinity" + (" as F16" if half else ""))
        rows.append((tensor.element_size() < 4, name, tensor.detach().contiguous()))
    header, data = {}, bytearray()
    for _, name, tensor in sorted(rows, key=lambda row: row[:2]):
        start = len(data)
        # NumPy has no bfloat16: the bytes are taken as integers of the same size.
        flat = tensor.reshape(-1).view(torch.int16 if tensor.element_size() == 2 else torch.int32)
        data += flat.numpy().astype(flat.numpy().dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, len(data)],
        }
    return header, data


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help=".pt or .pth file")
    parser.add_argument("target", help=".safetensors file to write")
    parser.add_argument("--key", default="", help="where the state dict lies in the file: state_dict, model.ema")
    parser.add_argument("--network", default="", help="radiograd's name of the network, for the file's metadata")
    parser.add_argument("--half", action="store_true", help="write filters as F16")
    args = parser.parse_args()

    header, data = encode(state_dict(args.source, args.key), args.half)
    about = {"converted_from": os.path.splitext(args.source)[1]}
    if args.network:
        about["network"] = args.network
    text = json.dumps({"__metadata__": about, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    folder = os.path.dirname(os.path.abspath(args.target))
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".radiograd-", delete=False) as out:
        try:
            out.write(struct.pack("<Q", len(text)) + text)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
            os.chmod(out.name, 0o644)
            os.replace(out.name, args.target)
        except BaseException:
            os.unlink(out.name)
            raise
    print(f"{args.target}: {len(header)} tensors, {len(data)} bytes of numbers", file=sys.stderr)


if __name__ == "__main__":
    main()
