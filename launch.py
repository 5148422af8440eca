"""python launch.py --config sds-gaussian.yaml prompt="a red car": the command line from a checkout, nothing to install on PATH."""

import sys

try:
    from dream3d.cli import main
except KeyboardInterrupt:  # before there is anything to save
    print("interrupted", file=sys.stderr)
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
