"""`help`: all commands, or the help of one."""

from dream3d.commands import COMMANDS, run
from dream3d.commands.parser import Parser, one_of

EXAMPLES = ['--config sds-gaussian.yaml prompt="a red car"', "help export", "list guidance", "describe sds", "doctor"]


def main(words: list[str]) -> int:
    """Print what there is to call."""
    parser = Parser("help", "All commands, or the help of one.", ["help", "help export"])
    parser.add_argument("command", nargs="?", type=one_of(COMMANDS, "command"))
    command = parser.parse_args(words).command
    if command not in (None, "help"):
        return run([command, "--help"])
    print("Text to 3D by score distillation. python launch.py [COMMAND] ..., where COMMAND is one of\n")
    for name, what in COMMANDS.items():
        print(f"  {name:11} {what}")
    print("\nEvery command answers --help. Examples:\n")
    print("\n".join(f"  python launch.py {line}" for line in EXAMPLES))
    return 0
