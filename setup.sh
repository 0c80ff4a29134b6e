#!/bin/sh
# Make this checkout ready: system libraries, virtual environment, data/tools.json. Safe to run again: each part
# is done only when it is missing or older than what it is made from. `./setup.sh browser` also sees to the Chromium
# that the tests open the report page with, `./setup.sh docs` to what builds docs/ as a site, `./setup.sh weights` to the
# ImageNet weights (17 MB) that fc_lstm in preset study starts from.
set -eu
cd "$(dirname "$0")"

say() { printf '%s\n' "$*" >&2; }

missing=""
command -v ffmpeg >/dev/null 2>&1 && command -v ffprobe >/dev/null 2>&1 || missing="$missing ffmpeg"
# ldconfig lives in /sbin, which is not on every user's PATH.
PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -q 'libfluidsynth\.so\.3' || missing="$missing libfluidsynth3"
case " $* " in *" browser "*)
    command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || missing="$missing chromium" ;;
esac
if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        say "setup: missing$missing, and there is no apt-get here: install them with this system's package manager"
        exit 1
    fi
    sudo=""
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || { say "setup: missing$missing: ask an administrator to run 'apt-get install$missing'"; exit 1; }
        sudo="sudo"
    fi
    say "setup: installing$missing"
    $sudo apt-get update -qq
    # shellcheck disable=SC2086  # one word a package
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { say "setup: $("$python" --version) found, expected Python 3.11 or newer (PYTHON=... names another)"; exit 1; }
if [ ! -x .venv/bin/python ]; then
    "$python" -m venv .venv || { say "setup: cannot make a virtual environment: on Debian and Ubuntu, install python3-venv"; exit 1; }
fi
stamp=.venv/installed
if ! cat pyproject.toml constraints.txt | cmp -s - "$stamp"; then
    say "setup: installing the locked Python packages (a few minutes, about 3 GB)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
    cat pyproject.toml constraints.txt >"$stamp"
fi
case " $* " in *" docs "*)
    if ! cmp -s "$stamp" .venv/installed-docs; then
        say "setup: installing what builds the documents"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
        cp "$stamp" .venv/installed-docs
    fi ;;
esac
case " $* " in *" weights "*) .venv/bin/python -m tasks.families.image_weights ;; esac
# Compiled ahead, so that the first stage does not pay for it.
[ -d .dvc ] || { say "setup: no .dvc folder here: is this a whole checkout?"; exit 1; }
.venv/bin/python -m tasks.tools
