"""``python -m paceline.web``: started by a node."""

import sys

from paceline.web.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
