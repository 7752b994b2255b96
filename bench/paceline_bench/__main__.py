"""``python -m paceline_bench VERB`` is ``paceline bench VERB``."""

import sys

from paceline.cli.app import run

if __name__ == "__main__":
    sys.exit(run(["bench", *sys.argv[1:]]))
