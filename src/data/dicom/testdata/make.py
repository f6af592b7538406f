"""Writes the DICOM files of this folder and figures.json: what pydicom makes of them, scaled to [0, 1].

Formula pixels and an invented patient. python make.py, with numpy, pydicom, pillow and imagecodecs.
"""
import io
import json
import os
import warnings

import imagecodecs
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import (DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit,
                         JPEGLosslessSV1, RLELossless)

warnings.simplefilter("ignore")
HERE = os.path.dirname(os.path.abspath(__file__))
W, H = 12, 9
FIGURES = {}


def ramp(low, high):
    """Values from low to high over the whole image, in an order without neighbours."""
    n = W * H
    k = (np.arange(n) * 37) % n
    return (low + (high - low) * k / (n - 1)).round().astype(np.int64).reshape(H, W)


def make(name, pixels, stored, signed=False, allocated=16, syntax=ExplicitVRLittleEndian, mono=2, fragment=None,
         tolerance=2e-6, **elements):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "2.25.1"
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PatientName = "Nobody^Phantom"
    ds.PatientID = "NOBODY-1"
    ds.PatientBirthDate = "19000101"
    # What a reader must step over: nested sequences, private ones, a small picture with pixel data of its own.
    inner, icon = Dataset(), Dataset()
    inner.PatientName = "Nobody^Inner"
    icon.Rows = icon.Columns = 2
    icon.BitsAllocated = icon.BitsStored = 8
    icon.PixelData = b"\x01\x02\x03\x04"
    inner.IconImageSequence = Sequence([icon])
    ds.ReferencedImageSequence = Sequence([inner, inner])
    ds.ReferencedImageSequence.is_undefined_length = True
    ds["ReferencedImageSequence"].is_undefined_length = True
    inner.is_undefined_length_sequence_item = True
    ds.IconImageSequence = Sequence([icon])
    block = ds.private_block(0x0029, "RADIOGRAD TEST", create=True)
    block.add_new(0x01, "UN", b"\x00" * 6)
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = f"MONOCHROME{mono}"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, stored, stored - 1
    ds.PixelRepresentation = int(signed)
    for key, value in elements.items():
        setattr(ds, key, value)
    kind = f"{'i' if signed else 'u'}{allocated // 8}"
    raw = pixels.astype(f"<{kind}")
    if fragment is not None:
        ds.PixelData = encapsulate([fragment])
    else:
        ds.PixelData = raw.tobytes()
        if syntax == RLELossless:
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.compress(RLELossless, generate_instance_uid=False)
    ds["PixelData"].VR = "OB" if fragment is not None or syntax == RLELossless else "OW"
    path = os.path.join(HERE, f"{name}.dcm")
    ds.save_as(path, enforce_file_format=True)

    # What pydicom makes of the pixels, on its own scale, and that scale.
    arr = raw.astype(kind)
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)
    out = apply_modality_lut(arr, ds)
    if "ModalityLUTSequence" in ds:
        low, high = 0, 2 ** ds.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    elif "RescaleSlope" in ds:
        low, high = (v * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for v in (low, high))
    out = apply_voi_lut(out, ds)
    if "VOILUTSequence" in ds:
        low, high = 0, 2 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif "WindowCenter" not in ds:
        low, high = min(low, high), max(low, high)
    gray = (np.asarray(out, dtype=np.float64) - low) / (high - low)
    if mono == 1:
        gray = 1 - gray
    FIGURES[name] = {"width": W, "height": H, "tolerance": tolerance, "values": [float(f"{v:.7g}") for v in gray.ravel()]}


def table(first, bits, values, undefined=False):
    item = Dataset()
    item.add_new(0x00283002, "SS" if first < 0 else "US", [len(values), first, bits])
    item.add_new(0x00283006, "OW", np.asarray(values, dtype="<u2").tobytes())
    item.is_undefined_length_sequence_item = undefined
    return Sequence([item])


make("linear", ramp(0, 4095), 12, WindowCenter="2000", WindowWidth="1500", RescaleSlope="1", RescaleIntercept="-20")
make("linear_exact", ramp(0, 65535), 16, syntax=ImplicitVRLittleEndian, mono=1, WindowCenter=[30000, 100],
     WindowWidth=[41000, 7], VOILUTFunction="LINEAR_EXACT")
make("sigmoid", ramp(-2048, 2047), 12, signed=True, WindowCenter="1200.5", WindowWidth="3000", VOILUTFunction="SIGMOID",
     RescaleSlope="2.5", RescaleIntercept="-100")
make("whole", ramp(0, 255), 8, allocated=8)
make("negative", ramp(-500, 1000), 12, signed=True, RescaleSlope="-2", RescaleIntercept="7")
make("voi_lut", ramp(0, 1023), 10, mono=1, WindowCenter="5", WindowWidth="2",
     VOILUTSequence=table(100, 12, [int(4095 * (i / 699) ** 2) for i in range(700)], undefined=True))
make("voi_lut_signed", ramp(-300, 300), 10, signed=True, syntax=ImplicitVRLittleEndian,
     VOILUTSequence=table(-200, 10, [i * 1023 // 399 for i in range(400)]))
make("modality_lut", ramp(0, 255), 8, allocated=8, WindowCenter="30000", WindowWidth="50000",
     ModalityLUTSequence=table(10, 16, [65535 - (i * i) for i in range(200)]))
make("deflated", ramp(0, 4095), 12, syntax=DeflatedExplicitVRLittleEndian, WindowCenter="2048", WindowWidth="1")
make("run_lengths", np.where(ramp(0, 4095) > 2000, 4095, ramp(0, 4095)), 12, syntax=RLELossless)
make("run_lengths_8", np.where(ramp(0, 255) > 90, 200, ramp(0, 255)), 8, allocated=8, syntax=RLELossless, mono=1)
smooth = np.add.outer(np.arange(H) * 9, np.arange(W) * 11) + 20
file = io.BytesIO()
Image.fromarray(smooth.astype(np.uint8)).save(file, "JPEG", quality=95)
decoded = np.asarray(Image.open(file)).astype(np.int64)
make("jpeg", decoded, 8, allocated=8, syntax=JPEGBaseline8Bit, fragment=file.getvalue(), tolerance=0.005)
deep = ramp(0, 4095)
make("jpeg_lossless", deep, 12, syntax=JPEGLosslessSV1, WindowCenter="2048", WindowWidth="4000",
     fragment=bytes(imagecodecs.ljpeg_encode(deep.astype(np.uint16), bitspersample=12)))
with open(os.path.join(HERE, "figures.json"), "w") as out:
    out.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in FIGURES.items()) + "\n}\n")
