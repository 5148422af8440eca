"""python launch.py --config sds-gaussian.yaml prompt="a red car": the command line from a checkout, nothing to install on PATH."""

import sys

from dream3d.cli import main

if __name__ == "__main__":
    sys.exit(main())
