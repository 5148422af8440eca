"""`completion`: scripts for bash, zsh and fish. They are small; what may stand next is asked of `complete` at every Tab."""

from dream3d.commands.parser import Parser, one_of

BASH = """\
# dream3d in bash: eval "$(dream3d completion bash)" in ~/.bashrc
_dream3d() {
  local line=${COMP_LINE:0:COMP_POINT} program=("${COMP_WORDS[0]}") word cut i
  COMPREPLY=()
  [[ ${COMP_WORDS[1]} == *launch.py ]] && program+=("${COMP_WORDS[1]}")
  [[ ${COMP_WORDS[0]} == *python* && ${#program[@]} == 1 ]] && return
  mapfile -t COMPREPLY < <("${program[@]}" complete -- "$line" 2>/dev/null)
  word=${line##*[[:space:]]}
  cut=${word%"${word##*[=:]}"}  # bash completes what follows the last = or :
  COMPREPLY=("${COMPREPLY[@]#"$cut"}")
  for i in "${!COMPREPLY[@]}"; do [[ ${COMPREPLY[i]} == *[=./] ]] || COMPREPLY[i]+=' '; done
}
complete -o default -o bashdefault -o nospace -F _dream3d dream3d
"""
BASH_LAUNCH = "complete -o default -o bashdefault -o nospace -F _dream3d python python3\n"
ZSH = """\
#compdef dream3d
# dream3d in zsh: eval "$(dream3d completion zsh)" in ~/.zshrc, after compinit
_dream3d() {
  local -a program found
  program=("${words[1]}")
  [[ ${words[2]} == *launch.py ]] && program+=("${words[2]}")
  if [[ ${words[1]} == *python* && ${#program} == 1 ]]; then _default; return; fi
  found=("${(@f)$("${program[@]}" complete -- "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
  [[ -n $found ]] && compadd -Q -S '' -- $found || _files
}
compdef _dream3d dream3d
"""
ZSH_LAUNCH = "compdef _dream3d python python3\n"
FISH = """\
# dream3d in fish: dream3d completion fish > ~/.config/fish/completions/dream3d.fish
function _dream3d
  set -l words (commandline -opc)
  set -l program $words[1]
  string match -q '*launch.py' -- $words[2]; and set -a program $words[2]
  string match -q '*python*' -- $words[1]; and test (count $program) = 1; and return
  $program complete -- (commandline -cp) 2>/dev/null
end
complete -c dream3d -a '(_dream3d)'
"""
FISH_LAUNCH = "complete -c python -a '(_dream3d)'\ncomplete -c python3 -a '(_dream3d)'\n"
SCRIPTS = {"bash": (BASH, BASH_LAUNCH), "zsh": (ZSH, ZSH_LAUNCH), "fish": (FISH, FISH_LAUNCH)}


def main(words: list[str]) -> int:
    """Print the script of a shell."""
    parser = Parser("completion", "A script that lets a shell complete commands, names, recipes, run folders, settings and their values.",
                    ["completion bash >> ~/.bashrc", "completion zsh --launch >> ~/.zshrc", "completion fish"])  # fmt: skip
    parser.add_argument("shell", type=one_of(SCRIPTS, "completion for"), metavar="bash|zsh|fish")
    parser.add_argument("--launch", action="store_true", help="also complete `python launch.py`; replaces python's own completion")
    options = parser.parse_args(words)
    script, launch = SCRIPTS[options.shell]
    print(script + (launch if options.launch else ""), end="")
    return 0
