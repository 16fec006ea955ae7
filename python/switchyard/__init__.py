"""switchyard: mixture-of-experts training with the same bits on every layout, from Python.

    import switchyard as sy
    config = sy.Config({"model.flavor": "micro_gqa", "training.dataset_path": ["tests/data/prose.jsonl"]})
    with sy.Run(config, "mine") as run:
        for result in run:
            print(result.step, result.loss)
        run.save()

Options are the keys of docs/CONFIG.md. Arrays go in and out by the buffer protocol: anything with it is taken; what
comes out is a numpy array where numpy is, else a memoryview of that shape.
"""

import collections
import ctypes
import json
import math

from . import _library
from ._library import Error, check, library

try:
    import numpy
except ImportError:
    numpy = None

__all__ = ["Config", "Run", "Result", "Error", "generate", "version"]

version = library.sy_version().decode()

Result = collections.namedtuple("Result", "step loss grad_norm lr tokens applied weights_digest")
Result.__doc__ = "A step that was done: its number from 1; loss and grad_norm are nan where they are not finite."


def _empty(shape):
    """A new fp32 array of a shape, and its address."""
    n = math.prod(shape)
    memory = (ctypes.c_float * n)()
    view = memoryview(memory).cast("B").cast("f", shape)
    return (numpy.asarray(view) if numpy else view), ctypes.addressof(memory)


def _array(values, kind, name):
    """A C array of `kind` ("i" int32, "f" fp32) from a buffer of that type, or a sequence; how many."""
    c_type = {"i": ctypes.c_int32, "f": ctypes.c_float}[kind]
    try:
        view = memoryview(values)
    except TypeError:
        values = list(values)
        return (c_type * len(values))(*values), len(values)
    if view.format not in ({"i", "=i", "<i"} if kind == "i" else {"f", "=f", "<f"}):
        if numpy is not None and kind == "i" and numpy.asarray(values).dtype.kind in "iu":
            wide = numpy.asarray(values)
            narrow = wide.astype(numpy.int32)
            if (narrow != wide).any():
                raise ValueError(f"{name}: an id is beyond int32")
            view = memoryview(narrow)
        else:
            raise TypeError(f"{name}: elements are {view.format!r}: {'int32' if kind == 'i' else 'float32'} is needed")
    flat = view.tobytes()
    return (c_type * (len(flat) // 4)).from_buffer_copy(flat), len(flat) // 4


def _io(write=None, log=None):
    """An io, and what must live as long as it."""

    def on_write(user, text, n):
        write(ctypes.string_at(text, n))

    def on_log(user, warning, line):
        log(line.decode(errors="replace"), bool(warning))

    callbacks = (_library.WRITE(on_write) if write else _library.WRITE(), _library.LOG(on_log) if log else _library.LOG())
    io = _library.Io(size=ctypes.sizeof(_library.Io), write=callbacks[0], log=callbacks[1])
    return io, callbacks


class Config:
    """Options by key; a file of TOML, then single ones."""

    def __init__(self, options=None, file=None):
        self._handle = ctypes.c_void_p()
        check(library.sy_config_create(ctypes.byref(self._handle)))
        if file is not None:
            check(library.sy_config_load_file(self._handle, str(file).encode()))
        for key, value in (options or {}).items():
            self[key] = value

    def __setitem__(self, key, value):
        """Sets an option: bool, number or str; items of a list are added to those that were set before."""
        for item in value if isinstance(value, (list, tuple)) else [value]:
            text = str(item).lower() if isinstance(item, bool) else str(item)
            check(library.sy_option_set(self._handle, key.encode(), text.encode()))

    def __getitem__(self, key):
        """The value of an option as TOML text."""
        text = ctypes.c_char_p()
        check(library.sy_option_get(self._handle, key.encode(), ctypes.byref(text)))
        return text.value.decode()

    def __del__(self):
        if getattr(self, "_handle", None):
            library.sy_config_destroy(self._handle)
            self._handle = None


class Run:
    """A run of one rank: a new one, or one that goes on from its newest checkpoint (run.dir, or runs/NAME)."""

    def __init__(self, config, name="run", log=None):
        """log(line, is_warning): what the run says of itself."""
        self._handle = ctypes.c_void_p()
        self._config = config
        self._io, self._callbacks = _io(log=log)
        check(library.sy_run_open(config._handle, name.encode(), ctypes.byref(self._io), ctypes.byref(self._handle)))

    def _open(self):
        if not self._handle:
            raise ValueError("the run is closed")
        return self._handle

    def close(self):
        """Ends the run; saves nothing."""
        handle, self._handle = self._handle, None
        if handle:
            check(library.sy_run_close(handle))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.close()
        elif self._handle:
            library.sy_run_close(self._handle)
            self._handle = None

    def __del__(self):
        if getattr(self, "_handle", None):
            library.sy_run_close(self._handle)
            self._handle = None

    @property
    def about(self):
        """A dict: step, steps, seq_len, vocab_size, n_parameters, n_tensors, weights_digest, run_dir."""
        about = _library.RunAbout()
        library.sy_run_about(self._open(), ctypes.byref(about))
        values = {name: getattr(about, name) for name, _ in about._fields_}
        return {name: v.decode() if isinstance(v, bytes) else v for name, v in values.items()}

    def step(self):
        """One training step; a Result."""
        r = _library.RunResult()
        check(library.sy_run_step(self._open(), ctypes.byref(r)))
        return Result(r.step, r.loss, r.grad_norm, r.lr, r.tokens, bool(r.applied), r.weights_digest.decode())

    def __iter__(self):
        """The steps that are left, each done when it is asked for."""
        while self.about["step"] < self.about["steps"]:
            yield self.step()

    def save(self):
        """A checkpoint of this step, if there is none."""
        check(library.sy_run_save(self._open()))

    def eval(self):
        """Loss over the held-out sequences, nats per token."""
        loss = ctypes.c_double()
        check(library.sy_run_eval(self._open(), ctypes.byref(loss)))
        return loss.value

    def logits(self, ids):
        """fp32 [n, vocab_size] after each of ids [n] int32, one sequence of one document; n is 1 to seq_len."""
        array, n = _array(ids, "i", "ids")
        out, at = _empty((max(n, 1), self.about["vocab_size"]))
        check(library.sy_run_logits(self._open(), array, n, at))
        return out

    @property
    def tensors(self):
        """Name to shape of every tensor, as a checkpoint has them."""
        shapes, t = {}, _library.RunTensor()
        for i in range(self.about["n_tensors"]):
            check(library.sy_run_tensor(self._open(), i, ctypes.byref(t)))
            shapes[t.name.decode()] = tuple(t.dims[: t.n_dims])
        return shapes

    def weights(self, name):
        """The fp32 weights of a tensor, a copy, in its shape."""
        shapes = self.tensors
        if name not in shapes:
            raise KeyError(name)
        out, at = _empty(shapes[name])
        check(library.sy_run_weights(self._open(), name.encode(), math.prod(shapes[name]), at))
        return out

    def set_weights(self, name, values):
        """Sets the weights of a tensor from fp32 values, row-major, as many as it has; all finite."""
        array, n = _array(values, "f", name)
        check(library.sy_run_set_weights(self._open(), name.encode(), n, array))


def generate(model, prompts=("",), *, samples=1, max_tokens=200, temperature=0.8, top_k=0, top_p=1.0, seed=42, stops=(),
             together=0, options=None, log=None):
    """Samples of a run, a checkpoint or a Hugging Face folder: a list of dicts as `switchyard generate --json` has.

    together: texts that are computed at the same time, 1 to 1024, which changes none of them; 0: 8."""
    if isinstance(prompts, str):
        prompts = [prompts]
    texts = (ctypes.c_char_p * max(len(prompts), 1))(*[p.encode() for p in prompts])
    ends = (ctypes.c_char_p * max(len(stops), 1))(*[s.encode() for s in stops])
    lines = []
    io, callbacks = _io(write=lines.append, log=log)
    config = Config(options)
    o = _library.GenerateOptions(
        size=ctypes.sizeof(_library.GenerateOptions), prompts=texts, n_prompts=len(prompts), samples=samples,
        max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, stops=ends,
        n_stops=len(stops), json=1, together=together)
    check(library.sy_generate(config._handle, str(model).encode(), ctypes.byref(o), ctypes.byref(io)))
    del callbacks
    return [json.loads(line) for line in b"".join(lines).decode().splitlines()]
