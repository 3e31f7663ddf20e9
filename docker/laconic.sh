#!/bin/sh
# The command inside the image; see laconic_cli.py for why it is not a console script.
exec /opt/venv/bin/python /app/laconic_cli.py "$@"
