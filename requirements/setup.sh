#!/usr/bin/env bash
# Make .venv hold exactly requirements/$1.lock and the `laconic` command. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."
extra="${1:-cpu}"
lock="requirements/$extra.lock"
stamp=".venv/.installed-$extra"
wanted="$(cat "$lock" requirements/setup.sh pyproject.toml | cksum)"

say() { printf 'setup: %s\n' "$*"; }

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi

python="${PYTHON:-python3}"
"$python" - <<'PY' || { say "Python 3.11 or newer is needed; name one with PYTHON=… make setup"; exit 2; }
import sys
sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PY
if ! command -v c++ >/dev/null && ! command -v g++ >/dev/null; then
  say "a C++ compiler is needed (DeepSpeed compiles a small extension); install g++"
  exit 2
fi

say "1/3 virtual environment in .venv"
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"

say "2/3 $(grep -c == "$lock") packages of $lock, about 4 GB (a few minutes the first time)"
# uv does not read pip's settings: a wheel folder that pip knows may hold torch's CPU build.
known="${PIP_FIND_LINKS:-$(.venv/bin/python -m pip config get global.find-links 2>/dev/null || true)}"
export UV_FIND_LINKS="${UV_FIND_LINKS:-${known// /,}}"
# Compiled once here: otherwise every process of a first run compiles the same gigabytes.
install=(.venv/bin/uv pip install --python .venv/bin/python --no-deps --compile-bytecode
  --requirements "$lock")
if [ "$extra" = cpu ]; then
  "${install[@]}" || "${install[@]}" --index-strategy unsafe-best-match \
    --extra-index-url https://download.pytorch.org/whl/cpu
else
  "${install[@]}"
fi

say "3/3 the laconic command"
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --editable .
printf '%s' "$wanted" > "$stamp"
say "done: .venv/bin/laconic"
