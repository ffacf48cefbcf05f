#!/bin/sh
# Makes target/hello-python.wasm with componentize-py, which goes into a virtual environment in target/.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
if ! "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
  echo "hello-python needs Python 3.10 or newer with its modules venv and ensurepip; install them (on Debian: python3" >&2
  echo "and python3-venv), or say where Python is: PYTHON=/path/to/python3" >&2
  exit 1
fi
mkdir -p target
[ -x target/venv/bin/pip ] || "$python" -m venv target/venv
target/venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
target/venv/bin/componentize-py --wit-path wit --world hello componentize app --output target/hello-python.wasm
