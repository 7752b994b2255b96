"""``python -m paceline_bench VERB`` is ``paceline bench VERB``."""

import sys

from paceline.cli import main

if __name__ == "__main__":
    main(["bench", *sys.argv[1:]])
