"""``python -m paceline.worker``: what a node starts. Not for people."""

import sys

from paceline.worker.main import main

if __name__ == "__main__":  # not in the children that a task starts with multiprocessing
    sys.exit(main(sys.argv[1:]))
