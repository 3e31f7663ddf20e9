#!/usr/bin/env bash
# Resolve pyproject.toml into requirements/{cpu,gpu}.lock: versions only, no address of any machine.
set -euo pipefail
cd "$(dirname "$0")/.."
known="${PIP_FIND_LINKS:-$(.venv/bin/python -m pip config get global.find-links 2>/dev/null || true)}"

resolve() { # EXTRA [further arguments]
  .venv/bin/uv pip compile pyproject.toml --quiet --upgrade --extra "$1" "${@:2}" \
    --overrides "requirements/overrides-$1.txt" --python-version 3.11 --python-platform linux \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    --output-file "requirements/$1.lock"
}

UV_FIND_LINKS="${UV_FIND_LINKS:-${known// /,}}" resolve cpu --group dev
(unset UV_FIND_LINKS; resolve gpu --group dev) # torch's CUDA build: never a wheel folder's CPU one
if grep -nE '(file:|://|^/| /)' requirements/*.lock; then
  echo "a lock holds an address" >&2
  exit 1
fi
