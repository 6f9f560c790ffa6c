"""Run by `vitesse.deploy.memory` as a script of its own: serves one file and prints what its process took."""

from __future__ import annotations

import json
import resource
import sys

import numpy as np
import onnxruntime


def peak() -> int:
    """The largest resident memory of this process so far, in bytes."""
    try:
        # Not getrusage: on Linux that also counts what the parent held when it started this process.
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except FileNotFoundError:
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return taken if sys.platform == "darwin" else taken * 1024


def main(path: str, threads: int, shape: list[int]) -> None:
    """Load the file, run it three times, print the peak before and after as JSON."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    images = np.zeros(shape, dtype=np.float32)
    before = peak()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for _ in range(3):
        session.run(None, {session.get_inputs()[0].name: images})
    print(json.dumps({"before": before, "after": peak()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
