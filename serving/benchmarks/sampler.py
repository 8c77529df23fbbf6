"""Run a module and write what its main thread spends its time on, in seconds by kind of work, as it goes.

python -m serving.benchmarks.sampler out.json vllm.entrypoints.openai.api_server --model data/models/demo

Imports nothing but the standard library: the imports of what is run are a large part of what is looked at.
"""

import json
import runpy
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

SAMPLE_S = 0.005
WRITE_S = 0.5
PACKAGES = "site-packages/"
KINDS = {
    "wait_for_engine_startup": "waiting for the engine's process: the same imports again, model, trial runs",
    "load_weights": "weights: reading them",
    "initialize_model": "model: building its modules",
    "profile_run": "trial run that measures memory",
    "determine_available_memory": "trial run that measures memory",
    "compile_or_warm_up_model": "trial run that warms up",
    "warming_up_model": "trial run that warms up",
    "initialize_kv_cache": "KV cache",
    "init_device": "device and threads",
    "create_engine_config": "configuration",
    "init_app_state": "API: templates, tokenizer, routes",
    "build_app": "API: templates, tokenizer, routes",
    "make_arg_parser": "command line",
    "parse_args": "command line",
    "load_general_plugins": "plugins",
    "get_tokenizer": "tokenizer",
    "cached_tokenizer_from_config": "tokenizer",
}
"""vLLM's functions by what they are for; the innermost one that runs counts."""


def kind(frame: FrameType | None) -> str:
    """What a stack is doing. An import counts for the package that vLLM, or else the caller, asked for."""
    asked, named = "", ""
    while frame is not None:
        code = frame.f_code
        named = named or KINDS.get(code.co_name, "")
        is_run = frame.f_globals.get("__name__") == "__main__"
        if code.co_name == "<module>" and PACKAGES in code.co_filename and not is_run:
            package = code.co_filename.split(PACKAGES)[1].split("/")[0].removesuffix(".py")
            asked = package if package != "vllm" or not asked else asked
        frame = frame.f_back
    return f"import of {asked}" if asked else named or "the rest"


def watch(thread: int, out: Path) -> None:
    """Look at a thread of this process for ever."""
    seconds: defaultdict[str, float] = defaultdict(float)
    before = written = time.perf_counter()
    while True:
        time.sleep(SAMPLE_S)
        frame = sys._current_frames().get(thread)
        now = time.perf_counter()
        seconds[kind(frame)] += now - before
        before = now
        if now - written > WRITE_S:
            written = now
            unfinished = out.with_suffix(".part")
            unfinished.write_text(json.dumps(seconds))
            unfinished.replace(out)


def main() -> None:
    out, module = Path(sys.argv[1]), sys.argv[2]
    sys.argv = [module, *sys.argv[3:]]
    threading.Thread(target=watch, args=(threading.get_ident(), out), daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
