"""arrays.py FOLDER: writes the arrays that run.test reads; arrays.py FOLDER check: looks at what it wrote."""
import os
import sys

import numpy as np

folder = sys.argv[1]
x = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
if len(sys.argv) > 2:
    assert np.array_equal(np.load(f"{folder}/y.npy"), np.maximum(x, 0))
    assert np.array_equal(np.load(f"{folder}/y2.npz")["y"], np.maximum(x, 0))
    sys.exit()
os.makedirs(folder, exist_ok=True)
np.save(f"{folder}/x.npy", x)
np.save(f"{folder}/fortran.npy", np.asfortranarray(x.astype(">f4")))
np.savez_compressed(f"{folder}/packed.npz", other=x, more=np.zeros(3))
np.save(f"{folder}/double.npy", x.astype(np.float64))
np.save(f"{folder}/wide.npy", np.zeros((2, 4), np.float32))
np.save(f"{folder}/complex.npy", x.astype(np.complex64))
open(f"{folder}/cut.npy", "wb").write(open(f"{folder}/x.npy", "rb").read()[:-4])
open(f"{folder}/cut.npz", "wb").write(open(f"{folder}/packed.npz", "rb").read()[:-30])
