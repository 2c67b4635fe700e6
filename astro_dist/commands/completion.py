"""The completion of `astro-dist` in bash and zsh: a function of words that is printed once and sourced."""

from collections.abc import Mapping, Sequence

from astro_dist import pipelines

BODY = """\
_astro_dist() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    case "$prev" in
        --to|--redo|--stage) words="{stages}" ;;
        --on) words="serial processes ray" ;;
        --color) words="auto always never" ;;
        *)
            if [ "$COMP_CWORD" = 1 ]; then
                words="{commands}"
            else
                case "${{COMP_WORDS[1]}}" in
{cases}
                esac
            fi ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    # Anything else is a file: a configuration, a map, a run directory.
    case "$cur" in -*) ;; *) COMPREPLY+=($(compgen -f -- "$cur")) ;; esac
}}
complete -o filenames -F _astro_dist astro-dist"""
ZSH = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n"


def write_script(shell: str, words: Mapping[str, Sequence[str]]) -> str:
    """Return the text to source; ``words`` are the options of each command."""
    stages = [name.split()[-1] for name in pipelines.commands()]
    configs, cases = pipelines.shipped(), []
    for command, options in words.items():
        # A command with `--set` takes a configuration.
        more = configs if "--set" in options else ()
        cases.append(f'                    {command}) words="{" ".join((*options, *more))}" ;;')
    text = BODY.format(stages=" ".join(stages), commands=" ".join(words), cases="\n".join(cases))
    return (ZSH if shell == "zsh" else "") + text
