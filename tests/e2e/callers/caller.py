import ctypes as c, sys, numpy as np

class Tensor(c.Structure):  # mica_tensor of mica.h
    _fields_ = [("size", c.c_size_t), ("data", c.c_void_p), ("nbytes", c.c_size_t), ("dtype", c.c_int32), ("rank", c.c_int32),
                ("shape", c.POINTER(c.c_int64)), ("strides", c.c_void_p)]
CODE = dict(float64=1, float32=2, float16=3, int64=5, int32=6, int16=7, int8=8, uint8=9, bool=10)
query = c.CDLL(sys.argv[1]).mica_model_query
query.restype = c.POINTER(c.c_void_p)
call = lambda slot, *a, result=c.c_int: c.CFUNCTYPE(result, *map(type, a))(query(1)[slot])(*a)  # slot: place in mica_api, in pointers
model, context, null, none = c.c_void_p(), c.c_void_p(), c.c_void_p(), c.c_size_t(0)
assert call(5, null, c.pointer(model), null, none) == 0 and call(8, model, null, c.pointer(context), null, none) == 0
def run(*arrays, inputs=1):  # C-contiguous arrays: the inputs, then the outputs to fill
    t = (Tensor * len(arrays))(*(Tensor(48, a.ctypes.data, a.nbytes, CODE[a.dtype.name], a.ndim, a.ctypes.shape, None) for a in arrays))
    if call(11, context, t, c.c_size_t(inputs), c.pointer(t[inputs]), c.c_size_t(len(arrays) - inputs)): raise ValueError(call(12, context, result=c.c_char_p).decode())
