"""libswitchyard by ctypes: where it is, its structs and prototypes as include/switchyard.h has them, and errors."""

import ctypes
import ctypes.util
import os
import pathlib

c_int64_p = ctypes.POINTER(ctypes.c_int64)
WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t)
LOG = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
PROGRESS = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class Io(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("write", WRITE),
        ("log", LOG),
        ("progress", PROGRESS),
        ("user", ctypes.c_void_p),
        ("stop", ctypes.c_void_p),
        ("save", ctypes.c_void_p),
        ("columns", ctypes.c_int),
    ]


class RunResult(ctypes.Structure):
    _fields_ = [
        ("step", ctypes.c_int64),
        ("loss", ctypes.c_double),
        ("grad_norm", ctypes.c_double),
        ("lr", ctypes.c_double),
        ("tokens", ctypes.c_int64),
        ("applied", ctypes.c_int),
        ("weights_digest", ctypes.c_char * 33),
    ]


class RunAbout(ctypes.Structure):
    _fields_ = [
        ("step", ctypes.c_int64),
        ("steps", ctypes.c_int64),
        ("seq_len", ctypes.c_int64),
        ("vocab_size", ctypes.c_int64),
        ("n_parameters", ctypes.c_int64),
        ("n_tensors", ctypes.c_int),
        ("weights_digest", ctypes.c_char * 33),
        ("run_dir", ctypes.c_char * 4096),
    ]


class RunTensor(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("n_dims", ctypes.c_int),
        ("dims", ctypes.c_int64 * 2),
        ("n", ctypes.c_int64),
    ]


class GenerateOptions(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("prompts", ctypes.POINTER(ctypes.c_char_p)),
        ("n_prompts", ctypes.c_int),
        ("prompt_file", ctypes.c_char_p),
        ("samples", ctypes.c_int64),
        ("max_tokens", ctypes.c_int64),
        ("temperature", ctypes.c_double),
        ("top_k", ctypes.c_int64),
        ("top_p", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        ("stops", ctypes.POINTER(ctypes.c_char_p)),
        ("n_stops", ctypes.c_int),
        ("json", ctypes.c_int),
        ("together", ctypes.c_int),
    ]


_P = ctypes.POINTER
_PROTOTYPES = {
    "sy_error_message": (ctypes.c_char_p, []),
    "sy_status_exit_code": (ctypes.c_int, [ctypes.c_int]),
    "sy_version": (ctypes.c_char_p, []),
    "sy_config_create": (ctypes.c_int, [_P(ctypes.c_void_p)]),
    "sy_config_destroy": (None, [ctypes.c_void_p]),
    "sy_config_load_file": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]),
    "sy_option_set": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]),
    "sy_option_get": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, _P(ctypes.c_char_p)]),
    "sy_run_open": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, _P(Io), _P(ctypes.c_void_p)]),
    "sy_run_close": (ctypes.c_int, [ctypes.c_void_p]),
    "sy_run_step": (ctypes.c_int, [ctypes.c_void_p, _P(RunResult)]),
    "sy_run_save": (ctypes.c_int, [ctypes.c_void_p]),
    "sy_run_eval": (ctypes.c_int, [ctypes.c_void_p, _P(ctypes.c_double)]),
    "sy_run_logits": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]),
    "sy_run_about": (None, [ctypes.c_void_p, _P(RunAbout)]),
    "sy_run_tensor": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int, _P(RunTensor)]),
    "sy_run_weights": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p]),
    "sy_run_set_weights": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p]),
    "sy_generate": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, _P(GenerateOptions), _P(Io)]),
}


class Error(RuntimeError):
    """What the library says of a call that failed; `exit_code` is that of the program."""

    def __init__(self, message, exit_code):
        super().__init__(message)
        self.exit_code = exit_code


def _candidates():
    if os.environ.get("SWITCHYARD_LIBRARY"):
        yield os.environ["SWITCHYARD_LIBRARY"]
        return
    yield str(pathlib.Path(__file__).resolve().parents[2] / "build" / "libswitchyard.so")
    found = ctypes.util.find_library("switchyard")
    if found:
        yield found


def _load():
    tried = []
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            tried.append(f"{path}: {error}")
            continue
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        return library
    raise ImportError(
        "libswitchyard.so is not found: `make install`, or say where it is in SWITCHYARD_LIBRARY\n" + "\n".join(tried)
    )


library = _load()


def check(status):
    """Raises Error unless the status is OK."""
    if status:
        raise Error(library.sy_error_message().decode(), library.sy_status_exit_code(status))
