"""All tests in two processes side by side: what shares the engine in one, the rest in the other.

python -m tests.run
"""

import os
import subprocess
import sys
import tempfile

PYTEST = [sys.executable, "-m", "pytest"]


def main() -> int:
    """The worse of both exit statuses. The first half is shown as it runs, the second when it is over."""
    with tempfile.TemporaryFile() as log:
        parts = subprocess.Popen(
            [*PYTEST, "-m", "not product and not slow", "-p", "no:cacheprovider"],
            # The engine of the other half has the second core: with threads for both, training takes five times as long.
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            print("-- what shares the engine", flush=True)
            product = subprocess.run([*PYTEST, "-m", "product and not slow"]).returncode
            other = parts.wait()
        finally:
            parts.terminate()
        print("-- the rest, which ran beside it", flush=True)
        log.seek(0)
        sys.stdout.write(log.read().decode("utf-8", "replace"))
    return max(product, other)


if __name__ == "__main__":
    sys.exit(main())
