# shellcheck shell=bash
# What the scripts share: headings with seconds, clear refusals, root rights. Sourced, never run.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034  # read by the scripts that source this file
venv=$root/.venv
readonly root
started=$SECONDS
bold='' red='' green='' dim='' plain=''
[[ ! -t 1 ]] || bold=$'\033[1m' red=$'\033[31m' green=$'\033[32m' dim=$'\033[2m' plain=$'\033[0m'

# say TEXT: one line of progress, with the seconds since the script began.
say() { printf '%s%4ds%s  %s\n' "$dim" "$((SECONDS - started))" "$plain" "$*"; }

heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }

ok() { printf '%sok%s    %s\n' "$green" "$plain" "$*"; }

# die WHAT REMEDY...: what went wrong on one line, what to do about it on the next ones.
die() {
    printf '%serror:%s %s\n' "$red" "$plain" "$1" >&2
    shift
    for remedy in "$@"; do printf '       %s\n' "$remedy" >&2; done
    exit 1
}

# as_root COMMAND...: runs it as root; by sudo, keeping the proxy settings, when the caller is another user.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    else
        sudo --preserve-env=http_proxy,https_proxy,no_proxy -- "$@"
    fi
}

# need_root: refuses now what a password prompt would stop later, in the middle of an unattended step.
need_root() {
    [[ $EUID -eq 0 ]] || sudo -n true 2>/dev/null ||
        die "this step needs root, and sudo asks for a password" "Run it as root: sudo make up" \
            "Or let sudo answer for a while: sudo -v"
}

# run_logged LOG COMMAND...: runs it quietly, and shows the log's last lines only when it fails.
run_logged() {
    local log=$1
    shift
    mkdir -p "$(dirname "$log")"
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 25 "$log" >&2
        return 1
    fi
}
