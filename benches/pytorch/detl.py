#!/usr/bin/env python3
"""DETL (Basu and Mitra, arXiv:2004.10507) in PyTorch, on the split that `cargo run --example detl` wrote.

The twin of `examples/detl.rs`: the same images, decoded and scaled the same way, the same stages, epochs, learning
rates, augmentation ranges and rule for the best weights. What differs: the order of batches, the random numbers of
initialisation and augmentation, and the order of floating-point sums.

Usage (PyTorch, NumPy and Pillow; CPU, 2 threads):

    cargo run --release --example detl -- --data DIR --out OUT
    python benches/pytorch/detl.py OUT/split.json --out pytorch.json --compare OUT/metrics.json

split.json, format "radiograd-split-1":

    {"format": "radiograd-split-1", "root": DIR, "side": 64, "seed": 1,
     "images": [{"id", "file", "source", "group"}],            file is relative to root (root relative to split.json)
     "stage1": {"classes": [..], "train": [[id, label]], "val": [[id, label]]},
     "stage2": {"classes": [..], "folds": [{"train": [[id, label]], "val": [..], "test": [..]}]},
     "protocol": {"stage1_epochs", "stage2_epochs", "batch", "lr1", "lr2", "momentum",
                  "augment": {"rotation_degrees", "scale", "shift", "mirror", "brightness"},
                  "class_weights": of stage 1's classes, or null,
                  "normalise": "..." or {"subtract": 0.5, "multiply": 4.0}}}

A label is an index or a name from `classes`. Augmentation: rotation uniform in +-rotation_degrees, zoom uniform in
1 +- scale, shift uniform in +-shift of the side, mirroring with probability 1/2 if `mirror` is true (or with the
probability given), brightness added uniformly in +-brightness (x in [0, 1]); outside the image is its edge. Stage 2 is mirrored if `stage2_mirror` says so,
otherwise not augmented.

Network: conv 3x3 valid + ReLU 32, 32, max pool 2, 64, 64, pool, 128, 128, pool, flatten (C H W), dense 256, ReLU,
dense 128, ReLU, dense K. Initialisation as in the engine: weights uniform in +-sqrt(6 / fan_in) (He), biases zero.
Stage 1: Adam, cosine annealing epoch by epoch. Stage 2: new last layer, blocks 1 and 2 frozen, SGD with
momentum, constant rate. Both keep the weights with the best validation accuracy, the first epoch of a tie.
"""

import argparse
import json
import math
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn
from torch.nn import functional as F

FORMAT = "radiograd-split-1"
# Modules of `detl` before this one belong to the blocks that stage 2 freezes: conv, ReLU, conv, ReLU, pool, twice.
FROZEN = 10
# Two-sided 95 % quantile of Student's t for 1 to 30 degrees of freedom; 1.96 beyond is off by less than 0.1.
T975 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042]


def say(*words):
    """Progress goes to stderr, results to stdout."""
    print(*words, file=sys.stderr, flush=True)


def he_uniform(layer):
    bound = math.sqrt(6.0 / layer.weight[0].numel())
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)


def detl(side, classes):
    layers, channels, size = [], 1, side
    for width in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3), nn.ReLU()]
            channels, size = width, size - 2
        layers.append(nn.MaxPool2d(2))
        size //= 2
    if size < 1:
        sys.exit(f"side {side} is too small for three blocks of valid convolutions: at least 36")
    layers += [nn.Flatten(), nn.Linear(channels * size * size, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(),
               nn.Linear(128, classes)]
    net = nn.Sequential(*layers)
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            he_uniform(layer)
    # Channels last: many times faster than the default for one input channel on CPUs. The results are the same.
    return net.to(memory_format=torch.channels_last)


def decode(path, side):
    """Grey image, scaled to side x side, as bytes."""
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion clips instead of scaling
            image = Image.fromarray((np.asarray(image, dtype=np.float64) / 257.0).round().astype(np.uint8))
        return np.asarray(image.convert("L").resize((side, side), Image.Resampling.BILINEAR), dtype=np.uint8)


class Data:
    """The images of a split in memory, N x 1 x side x side in [0, 1], and a map from id to row."""

    def __init__(self, split, base, side, root=None):
        folder = Path(root) if root else (base / split["root"])
        used = set()
        parts = [split["stage1"]["train"], split["stage1"]["val"]]
        parts += [fold[part] for fold in split["stage2"]["folds"] for part in ("train", "val", "test")]
        for part in parts:
            used.update(entry[0] for entry in part)
        images = [image for image in split["images"] if image["id"] in used]
        unknown = used - {image["id"] for image in images}
        if unknown:
            sys.exit(f"{len(unknown)} ids of the folds are not in `images`, {sorted(unknown)[0]!r} for one")
        with ThreadPoolExecutor(2) as pool:
            pixels = list(pool.map(lambda image: decode(folder / image["file"], side), images))
        self.x = torch.from_numpy(np.stack(pixels)).unsqueeze(1).float() / 255.0
        self.row = {image["id"]: i for i, image in enumerate(images)}

    def part(self, entries, classes):
        """Entries [[id, label]] as (images, labels)."""
        rows = [self.row[i] for i, _ in entries]
        labels = [label if isinstance(label, int) else classes.index(label) for _, label in entries]
        return self.x[rows], torch.tensor(labels, dtype=torch.long)


class Protocol:
    def __init__(self, values, overrides):
        values = {**values, **{k: v for k, v in overrides.items() if v is not None}}
        self.stage1_epochs, self.stage2_epochs = int(values["stage1_epochs"]), int(values["stage2_epochs"])
        self.batch, self.lr1, self.lr2 = int(values["batch"]), float(values["lr1"]), float(values["lr2"])
        self.momentum = float(values.get("momentum", 0.9))
        self.augment = values.get("augment") or {}
        self.class_weights = values.get("class_weights")
        self.stage2_mirror = bool(values.get("stage2_mirror"))
        rule = values.get("normalise")
        # The text form documents the numbers; only the one known text is accepted, so that no other scaling is missed.
        if isinstance(rule, dict):
            self.subtract, self.multiply = float(rule["subtract"]), float(rule["multiply"])
        elif rule in (None, "x in [0,1], minus 0.5, times 4"):
            self.subtract, self.multiply = 0.5, 4.0
        else:
            sys.exit(f'protocol.normalise is {rule!r}: give {{"subtract": a, "multiply": b}}')

    def prepare(self, x):
        return ((x - self.subtract) * self.multiply).contiguous(memory_format=torch.channels_last)

    def augmented(self, x, rng):
        a, n = self.augment, len(x)

        def uniform(*shape):
            return torch.rand(*shape, generator=rng) * 2 - 1

        angle = uniform(n) * math.radians(a.get("rotation_degrees", 0.0))
        # The matrix takes output to input coordinates: a zoom by z divides.
        zoom = 1.0 / (1.0 + uniform(n) * a.get("scale", 0.0))
        mirror = a.get("mirror", False)
        chance = (0.5 if mirror else 0.0) if isinstance(mirror, bool) else float(mirror)
        flip = torch.where(torch.rand(n, generator=rng) < chance, -1.0, 1.0)
        matrix = torch.zeros(n, 2, 3)
        matrix[:, 0, 0], matrix[:, 0, 1] = flip * zoom * angle.cos(), -zoom * angle.sin()
        matrix[:, 1, 0], matrix[:, 1, 1] = flip * zoom * angle.sin(), zoom * angle.cos()
        matrix[:, :, 2] = 2.0 * a.get("shift", 0.0) * uniform(n, 2)
        grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return x + a.get("brightness", 0.0) * uniform(n, 1, 1, 1)


def predict(net, x, protocol):
    with torch.no_grad():
        return torch.cat([net(protocol.prepare(x[i:i + 64])).argmax(1) for i in range(0, len(x), 64)])


def accuracy(net, part, protocol):
    return (predict(net, part[0], protocol) == part[1]).float().mean().item()


def fit(net, train, val, optimizer, epochs, stage1, protocol, rng, label):
    """Trains and leaves the best weights (validation accuracy, the first of equals) in `net`.

    Stage 1 is augmented, its rate annealed by the cosine once an epoch, its loss weighted by class if the protocol says so."""
    x, y = train
    top = optimizer.param_groups[0]["lr"]
    weights = torch.tensor(protocol.class_weights) if stage1 and protocol.class_weights else torch.ones(int(y.max()) + 1)
    best, kept = -1.0, None
    for epoch in range(epochs):
        start, total = time.time(), 0.0
        if stage1:
            optimizer.param_groups[0]["lr"] = 0.5 * top * (1 + math.cos(math.pi * epoch / epochs))
        order = torch.randperm(len(x), generator=rng)
        for i in range(0, len(x), protocol.batch):
            rows = order[i:i + protocol.batch]
            batch = protocol.augmented(x[rows], rng) if stage1 else x[rows]
            if not stage1 and protocol.stage2_mirror:
                flip = torch.rand(len(rows), generator=rng) < 0.5
                batch = torch.where(flip.view(-1, 1, 1, 1), batch.flip(3), batch)
            # The mean over images of the weighted losses, as the engine has it; PyTorch's own divides by the weights' sum.
            loss = (F.cross_entropy(net(protocol.prepare(batch)), y[rows], reduction="none") * weights[y[rows]]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        if not math.isfinite(total):
            sys.exit(f"{label}: the loss of epoch {epoch + 1} is not finite: use a smaller learning rate")
        score = accuracy(net, val, protocol)
        if score > best:
            best, kept = score, {name: value.clone() for name, value in net.state_dict().items()}
        rate = len(x) / (time.time() - start)
        say(f"{label} epoch {epoch + 1}/{epochs}: loss {total / len(x):.4f}, validation {score:.3f}, {rate:.0f} img/s")
    if kept is not None:
        net.load_state_dict(kept)
    return best


def t_interval(differences):
    """Mean and 95 % interval of paired differences."""
    n = len(differences)
    mean = sum(differences) / n
    if n < 2:
        return mean, None, None
    error = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    reach = (T975[n - 2] if n - 1 <= len(T975) else 1.96) * error
    return mean, mean - reach, mean + reach


def compare(report, path):
    """Paired per-fold difference PyTorch minus radiograd."""
    ours = [fold["accuracy"] for fold in json.loads(Path(path).read_text())["folds"]]
    theirs = [fold["accuracy"] for fold in report["folds"]]
    if len(ours) != len(theirs):
        sys.exit(f"{path} has {len(ours)} folds, this run {len(theirs)}: not the same split")
    differences = [b - a for a, b in zip(ours, theirs)]
    mean, low, high = t_interval(differences)
    print("fold   radiograd   PyTorch   difference")
    for i, (a, b, d) in enumerate(zip(ours, theirs, differences), 1):
        print(f"{i:4}   {a:9.4f}   {b:7.4f}   {d:+10.4f}")
    if low is None:
        print(f"difference {mean:+.4f}; one fold gives no interval")
    else:
        holds = "contains" if low <= 0 <= high else "does not contain"
        print(f"mean difference {mean:+.4f}, 95 % t interval [{low:+.4f}, {high:+.4f}]: {holds} 0")
    return {"radiograd": ours, "pytorch": theirs, "mean_difference": mean, "low": low, "high": high}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog="See the head of this file.")
    parser.add_argument("split", type=Path, help="split.json of the example")
    parser.add_argument("--root", help="folder of the images, instead of the split's `root`")
    parser.add_argument("--out", type=Path, help="write the results here as JSON")
    parser.add_argument("--compare", help="metrics.json of the same split: print the paired difference")
    parser.add_argument("--seed", type=int, help="instead of the split's seed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folds", type=int, help="only the first so many folds")
    for name, kind in (("stage1_epochs", int), ("stage2_epochs", int), ("batch", int), ("lr1", float), ("lr2", float)):
        parser.add_argument("--" + name.replace("_", "-"), type=kind, help="instead of the split's protocol")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)  # dead units leave denormal Adam moments, which make a CPU crawl

    split = json.loads(args.split.read_text())
    if split.get("format") != FORMAT:
        sys.exit(f"{args.split}: format is {split.get('format')!r}, this script reads {FORMAT!r}")
    names = ("stage1_epochs", "stage2_epochs", "batch", "lr1", "lr2")
    protocol = Protocol(split["protocol"], {name: getattr(args, name) for name in names})
    seed = split["seed"] if args.seed is None else args.seed
    side, started = split["side"], time.time()
    data = Data(split, args.split.resolve().parent, side, args.root)
    say(f"{len(data.x)} images decoded in {time.time() - started:.1f} s")

    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    first = split["stage1"]
    base = detl(side, len(first["classes"]))
    stage1 = fit(base, data.part(first["train"], first["classes"]), data.part(first["val"], first["classes"]),
                 torch.optim.Adam(base.parameters(), protocol.lr1), protocol.stage1_epochs, True, protocol, rng, "stage 1")
    weights = {name: value.clone() for name, value in base.state_dict().items()}

    classes = split["stage2"]["classes"]
    pooled, results = np.zeros((len(classes), len(classes)), dtype=int), []
    for number, fold in enumerate(split["stage2"]["folds"][:args.folds], 1):
        base.load_state_dict(weights)
        net = detl(side, len(classes))
        head = net[-1]
        for i, layer in enumerate(base[:-1]):
            net[i].load_state_dict(layer.state_dict())
        he_uniform(head)
        for parameter in net[:FROZEN].parameters():
            parameter.requires_grad_(False)
        trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        best = fit(net, data.part(fold["train"], classes), data.part(fold["val"], classes),
                   torch.optim.SGD(trained, protocol.lr2, momentum=protocol.momentum), protocol.stage2_epochs, False,
                   protocol, rng, f"fold {number}")
        x, y = data.part(fold["test"], classes)
        confusion = np.zeros_like(pooled)
        np.add.at(confusion, (y.numpy(), predict(net, x, protocol).numpy()), 1)
        pooled += confusion
        results.append({"accuracy": np.trace(confusion) / confusion.sum(), "val_accuracy": best,
                        "confusion": confusion.tolist()})
        print(f"fold {number}: accuracy {results[-1]['accuracy']:.4f} on {confusion.sum()} images")
    overall = np.trace(pooled) / pooled.sum()
    report = {"engine": f"PyTorch {torch.__version__} CPU, {args.threads} threads", "seed": seed, "side": side,
              "stage1_val_accuracy": stage1, "classes": classes, "folds": results, "accuracy": overall,
              "confusion": pooled.tolist(), "seconds": time.time() - started}
    print(f"pooled: accuracy {overall:.4f} on {pooled.sum()} images")
    width = max(len(name) for name in classes)
    print("confusion (row = truth, column = prediction):")
    for name, row in zip(classes, pooled):
        print(f"  {name:<{width}} " + " ".join(f"{count:6}" for count in row))
    if args.compare:
        report["comparison"] = compare(report, args.compare)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
