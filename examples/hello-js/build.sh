#!/bin/sh
# Makes target/hello-js.wasm; what that takes goes into node_modules/.
set -eu
cd "$(dirname "$0")"
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "hello-js needs Node.js 20 or newer with npm; install it from https://nodejs.org or as your system does it" >&2
  exit 1
fi
npm install --no-audit --no-fund --no-package-lock --silent
npm run --silent build
